//! The landmark network: it tells whether a crop shows a face, and finds 468 points on it (Kartynnik et al., "Real-time
//! Facial Surface Geometry from Monocular Video on Mobile GPUs", 2019). Five of them, or means of them, align the face.

use super::detect::detection::Detection;
use super::fault::RuntimeFault;
use super::geometry::{Point, Transform};
use super::logit::sigmoid;
use super::model::{InputSpec, Model};
use super::network::NetworkSpec;
use super::view::View;

/// Points of the mesh.
pub const LANDMARKS: usize = 468;
/// Numbers of a point: x, y, z.
pub const COORDINATES: usize = 3;

/// The inputs and outputs of the landmark network.
#[derive(Debug, Clone, PartialEq)]
pub struct LandmarkSpec {
    /// How the network receives the crop.
    pub input: InputSpec,
    /// Side of the crop, as a multiple of the longer side of the face's box.
    pub crop: f64,
    /// The lowest presence, in [0, 1], at which a detection counts as a face.
    pub presence: f64,
    /// The mesh indices whose means give the subject's right eye, left eye, nose tip, right and left corner of the
    /// mouth.
    pub five_points: [Vec<usize>; 5],
}

/// The landmark network's result for one detection.
#[derive(Debug, Clone, PartialEq)]
pub struct Landmarks {
    /// Certainty in [0, 1] that the crop shows a face.
    pub presence: f64,
    /// x and y in pixels of the picture. z has the same scale and an arbitrary origin; it is smaller closer to the
    /// camera.
    pub mesh: Vec<[f64; COORDINATES]>,
}

impl NetworkSpec for LandmarkSpec {
    fn input(&self) -> &InputSpec {
        &self.input
    }

    fn outputs(&self) -> Vec<(String, Vec<usize>)> {
        vec![("landmarks".to_owned(), vec![LANDMARKS, COORDINATES]), ("presence".to_owned(), vec![1])]
    }
}

impl LandmarkSpec {
    /// The subject's right eye, left eye, nose tip, right and left corner of the mouth, computed from a mesh.
    #[must_use]
    pub fn five_points(&self, mesh: &[[f64; COORDINATES]]) -> [Point; 5] {
        self.five_points.each_ref().map(|indices| {
            let points: Vec<_> = indices.iter().filter_map(|&i| mesh.get(i)).map(|p| Point::new(p[0], p[1])).collect();
            Point::mean(&points)
        })
    }
}

/// The landmark network.
pub struct Landmarker {
    model: Box<dyn Model>,
    spec: LandmarkSpec,
}

impl Landmarker {
    /// `model` must have the outputs `landmarks` [1, 468, 3], in input pixels, and `presence` [1, 1], a logit.
    #[must_use]
    pub fn new(model: Box<dyn Model>, spec: LandmarkSpec) -> Self {
        Self { model, spec }
    }

    /// Its inputs and outputs.
    #[must_use]
    pub fn spec(&self) -> &LandmarkSpec {
        &self.spec
    }

    /// The landmarks of one detection of `picture`.
    ///
    /// # Errors
    /// When the network fails or its outputs have other shapes.
    pub fn measure(&mut self, picture: &View, face: &Detection) -> Result<Landmarks, RuntimeFault> {
        let side = self.spec.input.side;
        let to_crop = crop_transform(face, self.spec.crop, side);
        // A box without area has no crop and shows no face.
        let Some(back) = to_crop.inverse() else { return Ok(Landmarks { presence: 0.0, mesh: Vec::new() }) };
        let mut outputs = self.spec.input.run(self.model.as_mut(), &picture.warp(&to_crop, side))?;
        let name = self.model.name();
        let presence = outputs.take(name, "presence", 1)?;
        let mesh = outputs.take(name, "landmarks", LANDMARKS * COORDINATES)?;
        let depth_scale = back.scale();
        let place = |p: &[f32]| {
            let at = back.apply(Point::new(f64::from(p[0]), f64::from(p[1])));
            [at.x, at.y, f64::from(p[2]) * depth_scale]
        };
        Ok(Landmarks {
            presence: sigmoid(f64::from(presence[0])),
            mesh: mesh.chunks_exact(COORDINATES).map(place).collect(),
        })
    }
}

/// Maps the picture to the crop: a square around the box's centre, turned so that the eyes are level.
#[must_use]
pub fn crop_transform(face: &Detection, margin: f64, side: usize) -> Transform {
    #[expect(clippy::cast_precision_loss, reason = "a network's input side")]
    let side = side as f64;
    let [right_eye, left_eye] = face.eyes;
    let angle = -(left_eye.y - right_eye.y).atan2(left_eye.x - right_eye.x);
    let scale = side / (margin * face.bbox.width().max(face.bbox.height()));
    Transform::about(face.bbox.centre(), angle, scale, Point::new(side / 2.0, side / 2.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Rect;
    use crate::model::{Colour, Outputs};
    use crate::picture::Picture;
    use ndarray::{ArrayD, ArrayView4};

    /// Puts every landmark at the same place of the crop.
    struct Fixed([f32; 3]);

    impl Model for Fixed {
        fn name(&self) -> &'static str {
            "fixed"
        }
        fn run(&mut self, _: ArrayView4<'_, f32>) -> Result<Outputs, RuntimeFault> {
            let mesh = self.0.repeat(LANDMARKS);
            Ok(Outputs::new(vec![
                ("landmarks".to_owned(), ArrayD::from_shape_vec(vec![1, LANDMARKS, 3], mesh).unwrap()),
                ("presence".to_owned(), ArrayD::from_shape_vec(vec![1, 1], vec![0.0]).unwrap()),
            ]))
        }
    }

    fn spec() -> LandmarkSpec {
        LandmarkSpec {
            input: InputSpec { side: 192, colour: Colour::Rgb, mean: [0.0; 3], std: [255.0; 3] },
            crop: 1.5,
            presence: 0.5,
            five_points: [vec![33, 133], vec![362, 263], vec![1], vec![61], vec![291]],
        }
    }

    fn upright() -> Detection {
        let eyes = [Point::new(40.0, 50.0), Point::new(60.0, 50.0)];
        Detection { bbox: Rect { left: 34.0, top: 34.0, right: 66.0, bottom: 66.0 }, score: 1.0, eyes }
    }

    #[test]
    fn landmarks_come_back_in_pixels_of_the_picture() {
        let mut landmarker = Landmarker::new(Box::new(Fixed([96.0, 100.0, 8.0])), spec());
        let found = landmarker.measure(&Picture::black(100, 100).into(), &upright()).unwrap();
        // The crop spans 48 pixels on 192: four to one.
        let [x, y, z] = found.mesh[467];
        assert!((x - 50.0).abs() < 1e-9 && (y - 51.0).abs() < 1e-9 && (z - 2.0).abs() < 1e-9);
        assert!((found.presence - 0.5).abs() < 1e-12);
        assert!(spec().five_points(&found.mesh)[2].distance(Point::new(50.0, 51.0)) < 1e-9);
    }

    #[test]
    fn the_crop_levels_the_eyes() {
        let mut face = upright();
        face.eyes[1] = Point::new(54.0, 64.0);
        let map = crop_transform(&face, 1.5, 192);
        let (right, left) = (map.apply(face.eyes[0]), map.apply(face.eyes[1]));
        assert!((right.y - left.y).abs() < 1e-9 && right.x < left.x);
    }

    #[test]
    fn a_box_without_area_holds_no_face() {
        let mut face = upright();
        face.bbox = Rect::default();
        let mut landmarker = Landmarker::new(Box::new(Fixed([0.0; 3])), spec());
        assert!(landmarker.measure(&Picture::black(10, 10).into(), &face).unwrap().presence < 0.5);
    }
}
