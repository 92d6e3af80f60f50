//! Compares two templates: the weighted sum of the embedders' cosines is calibrated to a similarity.

use super::fault::RuntimeFault;
use super::template::Template;
use visavis_domain::calibration::Calibration;
use visavis_domain::evidence::{Mode, RawScore, Similarity};

/// How similar two faces are, and which models and calibration say so.
#[derive(Debug, Clone, PartialEq)]
pub struct FaceComparison {
    /// The weighted sum of cosines.
    pub raw: RawScore,
    /// The calibrated score.
    pub similarity: Similarity,
    /// The embedders, `name@version` joined by `+`.
    pub model: String,
    /// Name and version of the calibration.
    pub calibration: String,
}

/// How one mode compares templates.
#[derive(Debug, Clone, PartialEq)]
pub struct Scorer {
    /// The embedders that take part.
    pub parts: Vec<ScorePart>,
    /// Maps their weighted sum to a similarity.
    pub calibration: Calibration,
}

/// One embedder's share in a mode's score.
#[derive(Debug, Clone, PartialEq)]
pub struct ScorePart {
    /// Name of the model.
    pub model: String,
    /// Version of the model.
    pub version: String,
    /// Weight of its cosine.
    pub weight: f64,
    /// Whether the embeddings of the face and of its mirror image are averaged.
    pub mirrored: bool,
}

impl Scorer {
    /// Compares two templates. Their order does not matter.
    ///
    /// # Errors
    /// When a template lacks a vector that this mode compares, or a vector has numbers that are not finite.
    pub fn compare(&self, a: &Template, b: &Template) -> Result<FaceComparison, RuntimeFault> {
        let mut sum = 0.0;
        for part in &self.parts {
            let missing = || RuntimeFault::Template { model: part.model.clone() };
            let (va, vb) = (a.vector(&part.model).ok_or_else(missing)?, b.vector(&part.model).ok_or_else(missing)?);
            sum += part.weight * cosine(va, vb);
        }
        let raw = RawScore::new(sum).map_err(|_| RuntimeFault::Score)?;
        Ok(FaceComparison {
            raw,
            similarity: self.calibration.similarity(raw),
            model: self.model(),
            calibration: self.calibration.version().to_owned(),
        })
    }

    /// The embedders, `name@version` joined by `+`.
    #[must_use]
    pub fn model(&self) -> String {
        self.parts.iter().map(|part| format!("{}@{}", part.model, part.version)).collect::<Vec<_>>().join("+")
    }

    /// The part of `model`, if it takes part.
    #[must_use]
    pub fn part(&self, model: &str) -> Option<&ScorePart> {
        self.parts.iter().find(|part| part.model == model)
    }
}

/// The scorers of both modes.
#[derive(Debug, Clone, PartialEq)]
pub struct Scorers {
    /// For [`Mode::Fast`].
    pub fast: Scorer,
    /// For [`Mode::Accurate`].
    pub accurate: Scorer,
}

impl Scorers {
    /// The scorer of `mode`.
    #[must_use]
    pub fn of(&self, mode: Mode) -> &Scorer {
        match mode {
            Mode::Fast => &self.fast,
            Mode::Accurate => &self.accurate,
        }
    }
}

/// The cosine of two unit vectors: their dot product.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use visavis_domain::calibration::Knot;

    fn scorer(parts: &[(&str, f64)]) -> Scorer {
        let knots = vec![Knot { raw: -1.0, similarity: 0.0 }, Knot { raw: 1.0, similarity: 1.0 }];
        let part = |(model, weight): &(&str, f64)| ScorePart {
            model: (*model).to_owned(),
            version: "1".to_owned(),
            weight: *weight,
            mirrored: false,
        };
        Scorer {
            parts: parts.iter().map(part).collect(),
            calibration: Calibration::new("line@1".to_owned(), knots, Vec::new()).unwrap(),
        }
    }

    fn template(parts: &[(&str, [f32; 2])]) -> Template {
        let mut template = Template::default();
        for (model, vector) in parts {
            template.insert(model, vector.to_vec());
        }
        template
    }

    #[test]
    fn the_score_is_the_weighted_sum_of_cosines() {
        let a = template(&[("m", [1.0, 0.0]), ("n", [0.0, 2.0])]);
        let b = template(&[("m", [3.0, 0.0]), ("n", [5.0, 0.0])]);
        let found = scorer(&[("m", 0.8), ("n", 0.2)]).compare(&a, &b).unwrap();
        assert!((found.raw.get() - 0.8).abs() < 1e-6);
        assert!((found.similarity.get() - 0.9).abs() < 1e-6);
        assert_eq!((found.model.as_str(), found.calibration.as_str()), ("m@1+n@1", "line@1"));
        assert_eq!(scorer(&[("m", 0.8), ("n", 0.2)]).compare(&b, &a).unwrap(), found);
    }

    #[test]
    fn a_template_of_another_mode_is_refused() {
        let a = template(&[("m", [1.0, 0.0])]);
        let fault = scorer(&[("m", 0.5), ("n", 0.5)]).compare(&a, &a);
        assert!(matches!(fault, Err(RuntimeFault::Template { model }) if model == "n"));
    }

    #[test]
    fn a_vector_of_no_numbers_gives_no_score() {
        let a = template(&[("m", [f32::NAN, 0.0])]);
        assert!(matches!(scorer(&[("m", 1.0)]).compare(&a, &a), Err(RuntimeFault::Score)));
    }
}
