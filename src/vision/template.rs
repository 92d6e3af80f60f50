//! What is kept of a face in order to compare it: one unit vector per embedder. Biometric data: held in memory for the
//! length of a job, never written, never printed.

use std::fmt;

/// Unit-length embeddings of one face, by model.
#[derive(Clone, Default)]
pub struct Template {
    vectors: Vec<(String, Vec<f32>)>,
}

impl Template {
    /// Adds the embedding that `model` made, scaled to length one. A vector of length zero stays as it is and matches
    /// nothing.
    pub fn insert(&mut self, model: &str, mut embedding: Vec<f32>) {
        let norm = embedding.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        if norm > 0.0 && norm.is_finite() {
            for value in &mut embedding {
                #[expect(clippy::cast_possible_truncation, reason = "at most 1")]
                let unit = (f64::from(*value) / norm) as f32;
                *value = unit;
            }
        }
        self.vectors.push((model.to_owned(), embedding));
    }

    /// The unit vector that `model` made.
    #[must_use]
    pub fn vector(&self, model: &str) -> Option<&[f32]> {
        self.vectors.iter().find(|(name, _)| name == model).map(|(_, v)| v.as_slice())
    }
}

/// Names the models, prints no number.
impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.vectors.iter().map(|(model, _)| model)).finish()
    }
}

/// Overwrites the numbers. `black_box` keeps the compiler from leaving out writes that nothing reads.
impl Drop for Template {
    fn drop(&mut self) {
        for (_, vector) in &mut self.vectors {
            vector.fill(0.0);
            std::hint::black_box(vector.as_slice());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_kept_at_length_one() {
        let mut template = Template::default();
        template.insert("m", vec![3.0, 4.0]);
        assert_eq!(template.vector("m"), Some([0.6, 0.8].as_slice()));
        assert_eq!(template.vector("n"), None);
    }

    #[test]
    fn debug_prints_no_number_of_the_embedding() {
        let mut template = Template::default();
        template.insert("m", vec![3.0, 4.0]);
        assert_eq!(format!("{template:?}"), "[\"m\"]");
    }
}
