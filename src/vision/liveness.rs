//! Whether a single picture shows a living person: `MiniFASNet` (Silent-Face-Anti-Spoofing, Minivision 2020), two networks
//! that see the face with different shares of its surroundings.
//!
//! The surroundings decide: edges of a sheet of paper or of a screen lie outside the face. A picture that was cropped
//! tightly cannot be judged.

use super::face::Face;
use super::geometry::Rect;
use super::model::{InputSpec, Model, RuntimeFault};
use super::network::{Needs, Network};
use super::picture::{CHANNELS, Picture};
use super::resample;
use super::session::Runtime;
use crate::domain::evidence::{Judgement, Liveness, Similarity};

/// What one network is fed and how it is read.
#[derive(Debug, Clone, PartialEq)]
pub struct LivenessSpec {
    pub input: InputSpec,
    /// Sides of the crop in sides of the face box.
    pub scale: f64,
    /// Numbers in the output.
    pub classes: usize,
    /// Which of them is `live`.
    pub live: usize,
}

impl Needs for LivenessSpec {
    fn input(&self) -> &InputSpec {
        &self.input
    }

    fn outputs(&self) -> Vec<(String, Vec<usize>)> {
        vec![(LOGITS.to_owned(), vec![self.classes])]
    }
}

const LOGITS: &str = "logits";

/// The verified networks of a liveness test.
pub struct LivenessPack {
    name: String,
    least_context: f64,
    networks: Vec<Network<LivenessSpec>>,
}

impl LivenessPack {
    /// `name` is the pack's, `name@version`. Where a crop spans less than `least_context` sides of the face's box nothing is
    /// judged.
    #[must_use]
    pub fn new(name: String, least_context: f64, networks: Vec<Network<LivenessSpec>>) -> Self {
        Self { name, least_context, networks }
    }

    /// `name@version`, as stored with every result.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The networks whose probabilities are averaged.
    #[must_use]
    pub fn networks(&self) -> &[Network<LivenessSpec>] {
        &self.networks
    }

    /// Opens a session for each network, for the calling thread.
    ///
    /// # Errors
    /// When the runtime refuses a network or it does not fit.
    pub fn open(&self, runtime: &Runtime) -> Result<LivenessTester, RuntimeFault> {
        let open = |network: &Network<LivenessSpec>| Ok((network.open(runtime)?, network.spec.clone()));
        let networks = self.networks.iter().map(open).collect::<Result<_, RuntimeFault>>()?;
        Ok(LivenessTester { name: self.name.clone(), least_context: self.least_context, networks })
    }
}

/// The networks of one compute thread.
pub struct LivenessTester {
    name: String,
    least_context: f64,
    networks: Vec<(Box<dyn Model>, LivenessSpec)>,
}

impl LivenessTester {
    /// With networks of the caller's: tests put fakes here.
    #[must_use]
    pub fn new(name: &str, least_context: f64, networks: Vec<(Box<dyn Model>, LivenessSpec)>) -> Self {
        Self { name: name.to_owned(), least_context, networks }
    }

    /// Tests the face of `picture`.
    ///
    /// # Errors
    /// When a network fails.
    pub fn test(&mut self, picture: &Picture, face: &Face) -> Result<Liveness, RuntimeFault> {
        self.test_box(picture, tight_box(face))
    }

    /// Tests the face within `tight`, a box from forehead to chin and from cheek to cheek.
    ///
    /// # Errors
    /// When a network fails.
    pub fn test_box(&mut self, picture: &Picture, tight: Rect) -> Result<Liveness, RuntimeFault> {
        let (mut sum, mut context) = (0.0, f64::INFINITY);
        for (model, spec) in &mut self.networks {
            let window = Window::around(tight, spec.scale, picture.width(), picture.height());
            context = context.min(window.scale);
            // Plain bilinear, aliasing included: so the networks were trained.
            let chip = resample::grow(&window.cut(picture), spec.input.side, spec.input.side);
            let mut outputs = spec.input.run(model.as_mut(), &chip)?;
            let logits = outputs.take(model.name(), LOGITS, spec.classes)?;
            sum += softmax_of(&logits, spec.live);
        }
        #[expect(clippy::cast_precision_loss, reason = "a handful of networks")]
        let live = sum / self.networks.len().max(1) as f64;
        let (judgement, score) = judge(live, context, self.least_context);
        let score = Similarity::new(score).map_err(|_| RuntimeFault::Score)?;
        Ok(Liveness { score, judgement, model: self.name.clone(), raw_score: Some(live), context: Some(context) })
    }
}

/// The three-way verdict, and the score whose 0.5 is the operating point.
fn judge(live: f64, context: f64, least_context: f64) -> (Judgement, f64) {
    if context < least_context {
        // Below the operating point, whatever the networks say of a picture that they cannot judge.
        (Judgement::Uncertain, live.min(0.49))
    } else if live >= 0.5 {
        (Judgement::Live, live)
    } else {
        (Judgement::Spoof, live)
    }
}

/// The probability of class `of`.
fn softmax_of(logits: &[f32], of: usize) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponential = |logit: &f32| f64::from(logit - largest).exp();
    let sum: f64 = logits.iter().map(exponential).sum();
    logits.get(of).map_or(0.0, |it| exponential(it) / sum)
}

/// The box that the networks were trained around, from the mesh: from a little above the forehead's edge to the chin, from
/// cheek to cheek. Fitted to a detector with tight boxes; see `packs/README.md`.
fn tight_box(face: &Face) -> Rect {
    let (mut left, mut top, mut right, mut bottom) =
        (f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY);
    for [x, y, _] in &face.landmarks {
        (left, right) = (left.min(*x), right.max(*x));
        (top, bottom) = (top.min(*y), bottom.max(*y));
    }
    if left > right {
        return face.bbox;
    }
    Rect { left, top, right, bottom }.shifted(MESH_TO_BOX)
}

/// Shifts of left, top, right and bottom, in sides of the mesh's box.
const MESH_TO_BOX: [f64; 4] = [0.008, -0.145, -0.015, 0.017];

/// Pixels of a picture, all four sides inclusive, and how far the crop could grow.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Window {
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
    /// Sides of the window in sides of the box: less than asked for where the picture ends.
    scale: f64,
}

impl Window {
    /// A window of `scale` boxes around the middle of `tight`, moved to lie within the picture, smaller where it cannot.
    /// Boxes count in whole pixels, as in the networks' training.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "pixels of a picture, clamped to its sides"
    )]
    fn around(tight: Rect, scale: f64, width: usize, height: usize) -> Self {
        let (w, h) = (width as f64, height as f64);
        let (x2, y2) = (tight.right.min(w), tight.bottom.min(h));
        let (x, y) = (tight.left.max(0.0), tight.top.max(0.0));
        let (bw, bh) = ((x2 - x).max(2.0).trunc(), (y2 - y).max(2.0).trunc());
        let (x, y) = (x.trunc(), y.trunc());
        let scale = scale.min((h - 1.0) / bh).min((w - 1.0) / bw);
        let along = |start: f64, size: f64, limit: f64| {
            let (centre, half) = (start + size / 2.0, size * scale / 2.0);
            let (mut low, mut high) = (centre - half, centre + half);
            if low < 0.0 {
                high -= low;
                low = 0.0;
            }
            if high > limit - 1.0 {
                low -= high - limit + 1.0;
                high = limit - 1.0;
            }
            let last = (limit - 1.0).max(0.0);
            (low.trunc().clamp(0.0, last) as usize, high.trunc().clamp(0.0, last) as usize)
        };
        let ((left, right), (top, bottom)) = (along(x, bw, w), along(y, bh, h));
        Self { left, top, right, bottom, scale }
    }

    fn cut(&self, picture: &Picture) -> Picture {
        let (width, height) = (self.right - self.left + 1, self.bottom - self.top + 1);
        let mut pixels = Vec::with_capacity(width * height * CHANNELS);
        for y in self.top..=self.bottom {
            pixels.extend_from_slice(&picture.row(y)[self.left * CHANNELS..(self.right + 1) * CHANNELS]);
        }
        Picture::new(width, height, pixels).unwrap_or_else(|| Picture::black(width, height))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::model::{Colour, Outputs};
    use ndarray::{ArrayD, ArrayView4, IxDyn};
    use std::cell::RefCell;
    use std::rc::Rc;

    /// Gives fixed logits, and keeps what it was fed.
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

    fn rect(left: f64, top: f64, right: f64, bottom: f64) -> Rect {
        Rect { left, top, right, bottom }
    }

    fn tester(logits: [[f32; 3]; 2]) -> (LivenessTester, Rc<RefCell<Vec<Vec<f32>>>>) {
        let fed = Rc::new(RefCell::new(Vec::new()));
        let input = InputSpec { side: 2, colour: Colour::Bgr, mean: [0.0; 3], std: [1.0; 3] };
        let network = |(scale, logits)| {
            let fake: Box<dyn Model> = Box::new(Fake { logits, fed: Rc::clone(&fed) });
            (fake, LivenessSpec { input: input.clone(), scale, classes: 3, live: 1 })
        };
        let networks = [(2.7, logits[0]), (4.0, logits[1])].into_iter().map(network).collect();
        (LivenessTester::new("fake@1", 2.0, networks), fed)
    }

    #[test]
    fn the_window_grows_moves_inside_and_shrinks_where_the_picture_ends() {
        let free = Window::around(rect(100.0, 100.0, 140.0, 150.0), 2.0, 400, 400);
        assert_eq!((free.left, free.top, free.right, free.bottom), (80, 75, 160, 175));
        let moved = Window::around(rect(0.0, 0.0, 40.0, 50.0), 2.0, 400, 400);
        assert_eq!((moved.left, moved.top, moved.right, moved.bottom), (0, 0, 80, 100));
        let right = Window::around(rect(360.0, 350.0, 400.0, 400.0), 2.0, 400, 400);
        assert_eq!((right.left, right.top, right.right, right.bottom), (319, 299, 399, 399));
        let tight = Window::around(rect(76.55, 73.44, 163.55, 187.04), 2.7, 250, 250);
        assert!((tight.scale - 249.0 / 113.0).abs() < 1e-9, "as far as the height allows: {}", tight.scale);
    }

    #[test]
    fn the_networks_see_unscaled_bgr_and_their_mean_decides() {
        let pixels = [10, 20, 30].repeat(60 * 60);
        let picture = Picture::new(60, 60, pixels).unwrap();
        let (mut tester, fed) = tester([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0]]);
        let liveness = tester.test_box(&picture, rect(25.0, 25.0, 35.0, 35.0)).unwrap();
        assert_eq!(fed.borrow()[0], [30.0, 30.0, 30.0, 30.0, 20.0, 20.0, 20.0, 20.0, 10.0, 10.0, 10.0, 10.0]);
        let live = 2.0_f64.exp() / (2.0_f64.exp() + 2.0);
        assert!((liveness.score.get() - f64::midpoint(live, 1.0 / 3.0)).abs() < 1e-6);
        assert_eq!((liveness.judgement, liveness.model.as_str()), (Judgement::Live, "fake@1"));
    }

    #[test]
    fn a_tightly_cropped_picture_is_uncertain_below_the_operating_point() {
        let picture = Picture::black(60, 60);
        let (mut tester, _) = tester([[0.0, 9.0, 0.0], [0.0, 9.0, 0.0]]);
        let tight = tester.test_box(&picture, rect(10.0, 10.0, 50.0, 50.0)).unwrap();
        assert_eq!(tight.judgement, Judgement::Uncertain);
        assert!(tight.score.get() < 0.5);
    }

    #[test]
    fn below_the_operating_point_it_is_an_attack() {
        let (mut tester, _) = tester([[5.0, 0.0, 0.0], [0.0, 0.0, 5.0]]);
        let liveness = tester.test_box(&Picture::black(100, 100), rect(45.0, 45.0, 55.0, 55.0)).unwrap();
        assert_eq!(liveness.judgement, Judgement::Spoof);
    }
}
