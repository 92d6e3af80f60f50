//! The result of analysing one picture.

use super::face::Face;
use super::pass::Timings;
use super::scene::Scene;
use super::template::Template;
use visavis_domain::provenance::Provenance;
use visavis_domain::quality::Quality;

/// What a picture shows.
#[derive(Debug, Clone)]
pub struct Analysis {
    /// Pixels across, once upright.
    pub width: usize,
    /// Pixels down, once upright.
    pub height: usize,
    /// All faces. The most prominent comes first: large and in full view.
    pub faces: Vec<Face>,
    /// Index in `faces` of the face that `template` describes; `None` when the picture shows no usable face.
    pub primary: Option<usize>,
    /// Present exactly when `primary` is.
    pub template: Option<Template>,
    /// How well the primary face was captured.
    pub quality: Option<Quality>,
    /// What the file's metadata says about its making, unless a camera made it.
    pub provenance: Option<Provenance>,
    /// A coarse copy of the whole picture.
    pub scene: Scene,
    /// Time spent.
    pub timings: Timings,
}

impl Analysis {
    /// The face that the template describes.
    #[must_use]
    pub fn primary_face(&self) -> Option<&Face> {
        self.primary.and_then(|at| self.faces.get(at))
    }
}
