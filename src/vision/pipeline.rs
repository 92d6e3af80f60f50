//! One picture through all stages, on one thread: decode, detect, landmarks, align, embed.

use std::time::{Duration, Instant};

use super::Error;
use super::compare::Scorers;
use super::decode::{DecodeParams, decode};
use super::detect::{Certainty, Detection, Detector, DetectorSpec};
use super::embed::{Embedder, EmbedderSpec};
use super::face::Face;
use super::geometry::{Point, Rect};
use super::landmarks::Landmarker;
use super::liveness::LivenessTester;
use super::model::RuntimeFault;
use super::network::Network;
use super::pack::Pack;
use super::picture::Picture;
use super::quality;
use super::resample;
use super::scene::Scene;
use super::session::Runtime;
use super::template::Template;
use crate::domain::evidence::{Liveness, Mode};
use crate::domain::quality::Quality;

/// The numbers that do not come with the models; those that do are in the pack's manifest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Params {
    /// Limits on the file.
    pub decode: DecodeParams,
    /// At most so many detections of a picture are looked at, the most prominent first.
    pub max_faces: usize,
}

/// Each detection costs a run of the landmark network, 7 ms on one core: 16 bound the time that a group photo takes, and
/// the most prominent face, which is the one compared, is among them.
impl Default for Params {
    fn default() -> Self {
        Self { decode: DecodeParams::default(), max_faces: 16 }
    }
}

/// What a picture shows.
#[derive(Debug, Clone)]
pub struct Analysis {
    /// Pixels across, once upright.
    pub width: usize,
    /// Pixels down, once upright.
    pub height: usize,
    /// All faces, the most prominent first: large and in full view.
    pub faces: Vec<Face>,
    /// Index in `faces` of the one that `template` is of; `None` when the picture shows no usable face.
    pub primary: Option<usize>,
    /// Present exactly when `primary` is.
    pub template: Option<Template>,
    /// How well the primary face was captured.
    pub quality: Option<Quality>,
    /// All of the picture, coarsely.
    pub scene: Scene,
    /// Time spent.
    pub timings: Timings,
}

impl Analysis {
    /// The face that the template is of.
    #[must_use]
    pub fn primary_face(&self) -> Option<&Face> {
        self.primary.and_then(|i| self.faces.get(i))
    }
}

/// Time that each stage took on its thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timings {
    /// Bytes to picture.
    pub decode: Duration,
    /// Both detectors.
    pub detect: Duration,
    /// All landmark runs.
    pub landmarks: Duration,
    /// Chips.
    pub align: Duration,
    /// Embedding networks.
    pub embed: Duration,
    /// Measures of quality.
    pub quality: Duration,
}

impl Timings {
    /// The sum.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.decode + self.detect + self.landmarks + self.align + self.embed + self.quality
    }
}

/// Something that analyses pictures on one thread: a [`Pipeline`], or a fake in tests of the engine.
pub trait Analyse {
    /// Analyses the file `image`. `checkpoint` is asked before each stage whether to go on.
    ///
    /// # Errors
    /// When the image or the machine is at fault, or `checkpoint` says so.
    fn analyse(
        &mut self,
        image: &[u8],
        mode: Mode,
        checkpoint: &dyn Fn() -> Result<(), Error>,
    ) -> Result<Analysis, Error>;

    /// Tests whether the face, which an analysis of the same file found, is a living person's; `None` without a network
    /// for it.
    ///
    /// # Errors
    /// As [`Analyse::analyse`].
    fn liveness(
        &mut self,
        _image: &[u8],
        _face: &Face,
        _checkpoint: &dyn Fn() -> Result<(), Error>,
    ) -> Result<Option<Liveness>, Error> {
        Ok(None)
    }

    /// Runs every network once, so that the first caller does not pay for lazy allocations.
    ///
    /// # Errors
    /// When a network fails.
    fn warm_up(&mut self) -> Result<(), RuntimeFault> {
        Ok(())
    }
}

/// The stages with their sessions. Not shared between threads.
pub struct Pipeline {
    params: Params,
    detectors: Vec<Detector>,
    certainty: Certainty,
    landmarker: Landmarker,
    embedders: Vec<Embedder>,
    scorers: Scorers,
    liveness: Option<LivenessTester>,
}

impl Pipeline {
    /// Opens a session for each network of `pack`.
    ///
    /// # Errors
    /// When a network does not load or does not fit the code.
    pub fn open(pack: &Pack, runtime: &Runtime, params: Params) -> Result<Self, RuntimeFault> {
        let detector = |n: &Network<DetectorSpec>| Ok(Detector::new(n.open(runtime)?, n.spec.clone()));
        let embedder = |n: &Network<EmbedderSpec>| Ok(Embedder::new(n.open(runtime)?, n.spec.clone()));
        let landmarks = pack.landmarks();
        Ok(Self {
            params,
            detectors: pack.detectors().iter().map(detector).collect::<Result<_, RuntimeFault>>()?,
            certainty: pack.certainty(),
            landmarker: Landmarker::new(landmarks.open(runtime)?, landmarks.spec.clone()),
            embedders: pack.embedders().iter().map(embedder).collect::<Result<_, RuntimeFault>>()?,
            scorers: pack.scorers().clone(),
            liveness: pack.liveness().map(|it| it.open(runtime)).transpose()?,
        })
    }

    /// The faces of the picture as it stands; or, where the detector is more certain of that, as it lies on a side or on
    /// its head, because a camera did not say how it was held.
    fn faces(
        &mut self,
        picture: &Picture,
        timings: &mut Timings,
        checkpoint: &dyn Fn() -> Result<(), Error>,
    ) -> Result<Vec<Face>, Error> {
        let score = |faces: &[Face]| faces.first().map_or(0.0, |it| it.score);
        let upright = self.faces_turned(picture, Turn::NONE, picture, timings, checkpoint)?;
        if score(&upright) >= self.certainty.sure {
            return Ok(upright);
        }
        let mut least = (score(&upright) + self.certainty.lead).max(self.certainty.turned);
        let mut best = upright;
        checkpoint()?;
        let small = timed(&mut timings.detect, || shrunk_to(picture, TURNED_SIDE));
        for quarters in [1, 2, 3] {
            checkpoint()?;
            let turned = timed(&mut timings.detect, || small.turned(quarters));
            let turn =
                Turn { quarters, of: (picture.width(), picture.height()), from: (turned.width(), turned.height()) };
            let found = self.faces_turned(&turned, turn, picture, timings, checkpoint)?;
            if score(&found) >= least {
                least = score(&found);
                best = found;
            }
        }
        Ok(best)
    }

    /// The next detector has its say only when the one before found no face that passes the gate. Looks for faces in
    /// `seen`, which is `picture` turned and perhaps smaller, and measures them in `picture`.
    fn faces_turned(
        &mut self,
        seen: &Picture,
        turn: Turn,
        picture: &Picture,
        timings: &mut Timings,
        checkpoint: &dyn Fn() -> Result<(), Error>,
    ) -> Result<Vec<Face>, Error> {
        for detector in &mut self.detectors {
            checkpoint()?;
            let found = timed(&mut timings.detect, || detector.detect(seen))?;
            let mut found: Vec<_> = found.iter().map(|it| it.mapped(|p| turn.undo(p))).collect();
            // Not by plain area: a bystander cut by the edge would displace a smaller face in full view, which cost 1.5 % of
            // the genuine pairs of LFW.
            let prominence = |d: &Detection| d.bbox.prominence(picture.width(), picture.height());
            found.sort_by(|a, b| prominence(b).total_cmp(&prominence(a)));
            let mut faces = Vec::new();
            for detection in found.into_iter().take(self.params.max_faces) {
                checkpoint()?;
                let measured = timed(&mut timings.landmarks, || self.landmarker.measure(picture, &detection))?;
                let spec = self.landmarker.spec();
                if measured.presence >= spec.presence {
                    let five_points = spec.five_points(&measured.mesh);
                    faces.push(Face {
                        bbox: detection.bbox,
                        score: detection.score,
                        presence: measured.presence,
                        landmarks: measured.mesh,
                        five_points,
                    });
                }
            }
            if !faces.is_empty() {
                return Ok(faces);
            }
        }
        Ok(Vec::new())
    }

    /// `None` when the five points coincide, which no face's do.
    fn template(
        &mut self,
        picture: &Picture,
        face: &Face,
        mode: Mode,
        timings: &mut Timings,
        checkpoint: &dyn Fn() -> Result<(), Error>,
    ) -> Result<Option<Template>, Error> {
        let mut template = Template::default();
        let scorer = self.scorers.of(mode);
        for embedder in &mut self.embedders {
            let Some(part) = scorer.part(embedder.name()) else { continue };
            checkpoint()?;
            let chip = timed(&mut timings.align, || embedder.spec().align(picture, &face.five_points));
            let Some(chip) = chip else { return Ok(None) };
            let embedding = timed(&mut timings.embed, || embedder.embed(&chip))?;
            if part.mirrored {
                checkpoint()?;
                let mirrored = timed(&mut timings.embed, || embedder.embed(&chip.mirrored()))?;
                template.insert_mean(embedder.name(), embedding, mirrored);
            } else {
                template.insert(embedder.name(), embedding);
            }
        }
        Ok(Some(template))
    }
}

impl Analyse for Pipeline {
    fn analyse(
        &mut self,
        image: &[u8],
        mode: Mode,
        checkpoint: &dyn Fn() -> Result<(), Error>,
    ) -> Result<Analysis, Error> {
        let mut timings = Timings::default();
        checkpoint()?;
        let picture = timed(&mut timings.decode, || decode(image, &self.params.decode))?;
        let faces = self.faces(&picture, &mut timings, checkpoint)?;
        let template = match faces.first() {
            Some(first) => self.template(&picture, first, mode, &mut timings, checkpoint)?,
            None => None,
        };
        let primary = template.as_ref().map(|_| 0);
        checkpoint()?;
        let quality = timed(&mut timings.quality, || quality::measure(&picture, &faces, primary?));
        let scene = timed(&mut timings.quality, || Scene::of(&picture));
        let (width, height) = (picture.width(), picture.height());
        Ok(Analysis { width, height, faces, primary, template, quality, scene, timings })
    }

    fn liveness(
        &mut self,
        image: &[u8],
        face: &Face,
        checkpoint: &dyn Fn() -> Result<(), Error>,
    ) -> Result<Option<Liveness>, Error> {
        let Some(tester) = &mut self.liveness else { return Ok(None) };
        checkpoint()?;
        let picture = decode(image, &self.params.decode)?;
        checkpoint()?;
        Ok(Some(tester.test(&picture, face)?))
    }

    fn warm_up(&mut self) -> Result<(), RuntimeFault> {
        let picture = Picture::black(64, 64);
        if let Some(tester) = &mut self.liveness {
            tester.test_box(&picture, Rect { left: 24.0, top: 24.0, right: 40.0, bottom: 40.0 })?;
        }
        for detector in &mut self.detectors {
            detector.detect(&picture)?;
        }
        let bbox = Rect { left: 16.0, top: 16.0, right: 48.0, bottom: 48.0 };
        self.landmarker.measure(&picture, &Detection { bbox, score: 1.0, eyes: [Point::default(); 2] })?;
        for embedder in &mut self.embedders {
            let side = embedder.spec().input.side;
            embedder.embed(&Picture::black(side, side))?;
        }
        Ok(())
    }
}

/// Longer side of the picture that is turned: more than the detectors see.
const TURNED_SIDE: usize = 384;

/// How a picture was turned, and scaled, before faces were looked for.
#[derive(Clone, Copy)]
struct Turn {
    quarters: usize,
    /// Sides of the picture that was turned.
    of: (usize, usize),
    /// Sides of the result.
    from: (usize, usize),
}

impl Turn {
    const NONE: Self = Self { quarters: 0, of: (1, 1), from: (1, 1) };

    /// Where a point of the result lies in the picture that was turned.
    #[expect(clippy::cast_precision_loss, reason = "sides of pictures")]
    fn undo(self, point: Point) -> Point {
        let ((w, h), (fw, fh)) = ((self.of.0 as f64, self.of.1 as f64), (self.from.0 as f64, self.from.1 as f64));
        let (x, y) = (point.x / fw, point.y / fh);
        let (x, y) = match self.quarters % 4 {
            0 => (x, y),
            1 => (y, 1.0 - x),
            2 => (1.0 - x, 1.0 - y),
            _ => (1.0 - y, x),
        };
        Point::new(x * w, y * h)
    }
}

fn shrunk_to(picture: &Picture, side: usize) -> Picture {
    let longer = picture.width().max(picture.height());
    if longer <= side {
        return picture.clone();
    }
    resample::resize(picture, (picture.width() * side / longer).max(1), (picture.height() * side / longer).max(1))
}

fn timed<T>(spent: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *spent += start.elapsed();
    result
}
