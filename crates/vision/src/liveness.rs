//! Tests whether a single picture shows a living person. The networks see the face with more or less of its
//! surroundings.
//!
//! The surroundings matter, because the edges of a photo or a screen lie outside the face. A tightly cropped picture
//! cannot be judged.

mod sample;
mod scorer;
mod window;

use serde::Deserialize;

pub use self::scorer::LivenessScorer;
use self::window::{Window, context, tight_box};
use super::face::Face;
use super::fault::RuntimeFault;
use super::geometry::Rect;
use super::model::{InputSpec, Model};
use super::network::{Network, NetworkSpec};
use super::picture::Picture;
use super::resample;
use super::session::Runtime;
use super::view::View;
use visavis_domain::evidence::{Liveness, Similarity};

/// The inputs and outputs of one network.
#[derive(Debug, Clone, PartialEq)]
pub struct LivenessSpec {
    pub input: InputSpec,
    /// Side of the crop, as a multiple of the side of the face box.
    pub scale: f64,
    /// How the crop is resized to the input.
    pub resize: Resize,
    /// Numbers in the output.
    pub classes: usize,
    /// Index of the number for `live`.
    pub live: usize,
}

/// How crops were resized when the network was trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resize {
    /// Each pixel is the mean of the area that it covers.
    Area,
    /// Bilinear like `cv2.resize`, with the same aliasing.
    Bilinear,
}

impl NetworkSpec for LivenessSpec {
    fn input(&self) -> &InputSpec {
        &self.input
    }

    fn outputs(&self) -> Vec<(String, Vec<usize>)> {
        vec![(LOGITS.to_owned(), vec![self.classes])]
    }
}

impl LivenessSpec {
    /// The part of `picture` that the network receives.
    #[must_use]
    pub fn chip(&self, picture: &Picture, tight: Rect) -> Picture {
        let crop = Window::around(tight, self.scale, picture.width(), picture.height()).cut(picture);
        let side = self.input.side;
        match self.resize {
            Resize::Area => resample::resize(&crop, side, side),
            Resize::Bilinear => sample::sampled(&crop, side),
        }
    }
}

const LOGITS: &str = "logits";

/// Networks that were trained together. Their probabilities of `live` are averaged.
pub struct Ensemble<N> {
    /// Each network with its weight in the mean. The weights add up to 1.
    pub networks: Vec<(N, f64)>,
    /// Weight of the mean's logit in the score.
    pub weight: f64,
}

/// The verified networks of a liveness test.
pub struct LivenessPack {
    name: String,
    ensembles: Vec<Ensemble<Network<LivenessSpec>>>,
    scorer: LivenessScorer,
}

impl LivenessPack {
    #[must_use]
    pub fn new(ensembles: Vec<Ensemble<Network<LivenessSpec>>>, scorer: LivenessScorer) -> Self {
        let networks = ensembles.iter().flat_map(|ensemble| &ensemble.networks);
        let labels: Vec<_> = networks.map(|(network, _)| network.onnx.label()).collect();
        Self { name: labels.join("+"), ensembles, scorer }
    }

    /// `name@version` of each network, as stored with every result.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How their probabilities become a score and a judgement.
    #[must_use]
    pub fn scorer(&self) -> LivenessScorer {
        self.scorer
    }

    /// Every network.
    pub fn networks(&self) -> impl Iterator<Item = &Network<LivenessSpec>> {
        self.ensembles.iter().flat_map(|ensemble| &ensemble.networks).map(|(network, _)| network)
    }

    /// Opens a session for each network, for the calling thread.
    ///
    /// # Errors
    /// When the runtime refuses a network or it does not fit.
    pub fn open(&self, runtime: &Runtime) -> Result<LivenessTester, RuntimeFault> {
        let open_network = |(network, weight): &(Network<LivenessSpec>, f64)| {
            Ok(((network.open(runtime)?, network.spec.clone()), *weight))
        };
        let open_ensemble = |ensemble: &Ensemble<_>| {
            let networks = ensemble.networks.iter().map(open_network).collect::<Result<_, RuntimeFault>>()?;
            Ok(Ensemble { networks, weight: ensemble.weight })
        };
        let ensembles = self.ensembles.iter().map(open_ensemble).collect::<Result<_, RuntimeFault>>()?;
        Ok(LivenessTester { name: self.name.clone(), ensembles, scorer: self.scorer })
    }
}

/// A network of one compute thread.
type OpenNetwork = (Box<dyn Model>, LivenessSpec);

/// The networks of one compute thread.
pub struct LivenessTester {
    name: String,
    ensembles: Vec<Ensemble<OpenNetwork>>,
    scorer: LivenessScorer,
}

impl LivenessTester {
    /// Uses the caller's networks. Tests pass fakes.
    #[must_use]
    pub fn new(name: &str, ensembles: Vec<Ensemble<OpenNetwork>>, scorer: LivenessScorer) -> Self {
        Self { name: name.to_owned(), ensembles, scorer }
    }

    /// Tests the face of `picture`.
    ///
    /// # Errors
    /// When a network fails.
    pub fn test(&mut self, picture: &View, face: &Face) -> Result<Liveness, RuntimeFault> {
        self.test_box(picture.held(), picture.in_held(&tight_box(face)))
    }

    /// Tests the face within `tight`, a box from forehead to chin and from cheek to cheek.
    ///
    /// # Errors
    /// When a network fails.
    pub fn test_box(&mut self, picture: &Picture, tight: Rect) -> Result<Liveness, RuntimeFault> {
        let probabilities = self.probabilities(picture, tight)?;
        let weights = self.ensembles.iter().map(|ensemble| ensemble.weight);
        let raw = self.scorer.score(weights.zip(probabilities));
        let context = context(tight, picture.width(), picture.height());
        let (judgement, score) = self.scorer.judge(raw, context);
        Ok(Liveness {
            score: Similarity::new(score).map_err(|_| RuntimeFault::Score)?,
            judgement,
            model: self.name.clone(),
            raw_score: Some(raw),
            context: Some(context),
            least_context: Some(self.scorer.least_context),
        })
    }

    /// The raw probability of `live`, in [0, 1], that each ensemble gives.
    ///
    /// # Errors
    /// When a network fails.
    pub fn probabilities(&mut self, picture: &Picture, tight: Rect) -> Result<Vec<f64>, RuntimeFault> {
        let mean = |ensemble: &mut Ensemble<OpenNetwork>| {
            let mut sum = 0.0;
            for ((model, spec), weight) in &mut ensemble.networks {
                let mut outputs = spec.input.run(model.as_mut(), &spec.chip(picture, tight))?;
                let logits = outputs.take(model.name(), LOGITS, spec.classes)?;
                sum += *weight * softmax_of(&logits, spec.live);
            }
            Ok(sum)
        };
        self.ensembles.iter_mut().map(mean).collect()
    }
}

/// The probability of class `of`.
fn softmax_of(logits: &[f32], of: usize) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponential = |logit: &f32| f64::from(logit - largest).exp();
    let sum: f64 = logits.iter().map(exponential).sum();
    logits.get(of).map_or(0.0, |logit| exponential(logit) / sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Colour, Outputs};
    use ndarray::{ArrayD, ArrayView4, IxDyn};
    use std::cell::RefCell;
    use std::rc::Rc;
    use visavis_domain::evidence::Judgement;

    /// Returns fixed logits, and keeps its inputs.
    struct Fake {
        logits: [f32; 3],
        fed: Rc<RefCell<Vec<Vec<f32>>>>,
    }

    impl Model for Fake {
        fn name(&self) -> &'static str {
            "fake"
        }
        fn run(&mut self, input: ArrayView4<'_, f32>) -> Result<Outputs, RuntimeFault> {
            self.fed.borrow_mut().push(input.iter().copied().collect());
            let tensor = ArrayD::from_shape_vec(IxDyn(&[1, 3]), self.logits.to_vec()).unwrap();
            Ok(Outputs::new(vec![(LOGITS.to_owned(), tensor)]))
        }
    }

    const FACE: Rect = Rect { left: 25.0, top: 25.0, right: 35.0, bottom: 35.0 };

    /// Two networks with crops of 2.7 and 1.2 boxes and weights 0.6 and 0.4, and a record of their inputs.
    fn tester(logits: [[f32; 3]; 2], resize: Resize) -> (LivenessTester, Rc<RefCell<Vec<Vec<f32>>>>) {
        let fed = Rc::new(RefCell::new(Vec::new()));
        let input = InputSpec { side: 2, colour: Colour::Bgr, mean: [0.0; 3], std: [1.0; 3] };
        let network = |(scale, weight, logits)| {
            let fake: Box<dyn Model> = Box::new(Fake { logits, fed: Rc::clone(&fed) });
            ((fake, LivenessSpec { input: input.clone(), scale, resize, classes: 3, live: 1 }), weight)
        };
        let networks = [(2.7, 0.6, logits[0]), (1.2, 0.4, logits[1])].into_iter().map(network).collect();
        let scorer = LivenessScorer { shift: 0.0, spoof_below: 0.4, least_context: 2.0 };
        (LivenessTester::new("fake@1", vec![Ensemble { networks, weight: 1.0 }], scorer), fed)
    }

    #[test]
    fn the_networks_see_unscaled_bgr_and_their_weighted_mean_decides() {
        let picture = Picture::new(60, 60, [10, 20, 30].repeat(60 * 60)).unwrap();
        let (mut tester, fed) = tester([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0]], Resize::Area);
        let liveness = tester.test_box(&picture, FACE).unwrap();
        assert_eq!(fed.borrow()[0], [30.0, 30.0, 30.0, 30.0, 20.0, 20.0, 20.0, 20.0, 10.0, 10.0, 10.0, 10.0]);
        let wide = 2.0_f64.exp() / (2.0_f64.exp() + 2.0);
        assert!((liveness.score.get() - (0.6 * wide + 0.4 / 3.0)).abs() < 1e-6);
        assert_eq!((liveness.judgement, liveness.model.as_str()), (Judgement::Live, "fake@1"));
        assert!((liveness.context.unwrap() - 5.9).abs() < 1e-9, "59 pixels around 10");
    }

    #[test]
    fn a_crop_is_averaged_or_sampled_as_its_network_was_trained() {
        // Columns of 0, 0, 90, 0, 0, 90: the window of 1.2 boxes has twelve of them and one more.
        let pixels: Vec<u8> = (0..60 * 60).flat_map(|i| [if i % 3 == 2 { 90 } else { 0 }; 3]).collect();
        let picture = Picture::new(60, 60, pixels).unwrap();
        let fed = |resize| {
            let (mut tester, fed) = tester([[0.0; 3]; 2], resize);
            tester.test_box(&picture, FACE).unwrap();
            fed.borrow()[1][0]
        };
        assert!((fed(Resize::Area) - 28.0).abs() <= 3.0, "a third of them: {}", fed(Resize::Area));
        assert!((fed(Resize::Bilinear) - 30.0).abs() > 3.0, "two of them: {}", fed(Resize::Bilinear));
    }

    #[test]
    fn a_tightly_cropped_picture_is_uncertain_below_the_operating_point() {
        let (mut tester, _) = tester([[0.0, 9.0, 0.0], [0.0, 9.0, 0.0]], Resize::Area);
        let close = Rect { left: 10.0, top: 10.0, right: 50.0, bottom: 50.0 };
        let liveness = tester.test_box(&Picture::black(60, 60), close).unwrap();
        assert_eq!(liveness.judgement, Judgement::Uncertain);
        assert!(liveness.score.get() < 0.5 && liveness.raw_score.unwrap() > 0.9);
        assert!(liveness.context < liveness.least_context);
    }
}
