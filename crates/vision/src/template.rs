//! A biometric template: one unit vector for each embedder. It is kept in memory while a job runs, and is never stored
//! or printed.

use std::fmt;

/// Unit-length embeddings of one face, by model.
#[derive(Clone, Default)]
pub struct Template {
    vectors: Vec<(String, Vec<f32>)>,
}

impl Template {
    /// Adds the embedding that `model` made, scaled to length one. A vector of length zero stays unchanged and matches
    /// nothing.
    pub fn insert(&mut self, model: &str, mut embedding: Vec<f32>) {
        normalise(&mut embedding);
        self.vectors.push((model.to_owned(), embedding));
    }

    /// Adds the mean of two embeddings that `model` made of one face.
    pub fn insert_mean(&mut self, model: &str, mut a: Vec<f32>, mut b: Vec<f32>) {
        normalise(&mut a);
        normalise(&mut b);
        let mean = a.iter().zip(&b).map(|(a, b)| a + b).collect();
        for vector in [&mut a, &mut b] {
            wipe(vector);
        }
        self.insert(model, mean);
    }

    /// The unit vector of `model`.
    #[must_use]
    pub fn vector(&self, model: &str) -> Option<&[f32]> {
        self.vectors.iter().find(|(name, _)| name == model).map(|(_, v)| v.as_slice())
    }
}

fn normalise(embedding: &mut [f32]) {
    let norm = embedding.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    if norm > 0.0 && norm.is_finite() {
        for value in embedding {
            #[expect(clippy::cast_possible_truncation, reason = "at most 1")]
            let unit = (f64::from(*value) / norm) as f32;
            *value = unit;
        }
    }
}

/// Overwrites the numbers. `black_box` keeps the compiler from removing writes that nothing reads.
fn wipe(vector: &mut [f32]) {
    vector.fill(0.0);
    std::hint::black_box(&*vector);
}

/// Prints the models' names and no number.
impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.vectors.iter().map(|(model, _)| model)).finish()
    }
}

/// Overwrites the numbers.
impl Drop for Template {
    fn drop(&mut self) {
        for (_, vector) in &mut self.vectors {
            wipe(vector);
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
    fn a_mean_lies_half_way_whatever_the_lengths() {
        let mut template = Template::default();
        template.insert_mean("m", vec![10.0, 0.0], vec![0.0, 1.0]);
        let half = 0.5_f32.sqrt();
        assert!(template.vector("m").unwrap().iter().all(|value| (value - half).abs() < 1e-6));
    }

    #[test]
    fn debug_prints_no_number_of_the_embedding() {
        let mut template = Template::default();
        template.insert("m", vec![3.0, 4.0]);
        assert_eq!(format!("{template:?}"), "[\"m\"]");
    }
}
