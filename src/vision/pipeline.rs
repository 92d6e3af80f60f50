//! One picture through all stages, on one thread: decode, detect, landmarks, align, embed.

use std::time::{Duration, Instant};

use super::Error;
use super::compare::Scorers;
use super::decode::{decode, decode_reduced};
use super::detect::{Detection, Detector, DetectorSpec, KEYPOINTS};
use super::embed::{Embedder, EmbedderSpec};
use super::face::Face;
use super::geometry::{Point, Rect};
use super::landmarks::Landmarker;
use super::liveness::LivenessTester;
use super::manifest::{Network, Pack};
use super::model::RuntimeFault;
use super::params::Params;
use super::picture::Picture;
use super::quality;
use super::resample;
use super::session::Runtime;
use super::template::Template;
use super::view::View;
use crate::domain::evidence::{Liveness, Mode};
use crate::domain::quality::Quality;

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
            landmarker: Landmarker::new(landmarks.open(runtime)?, landmarks.spec.clone()),
            embedders: pack.embedders().iter().map(embedder).collect::<Result<_, RuntimeFault>>()?,
            scorers: pack.scorers().clone(),
            liveness: pack.liveness().map(|it| it.open(runtime)).transpose()?,
        })
    }

    /// Decodes the file, at the smallest scale that suffices for the face that will be compared, and finds its faces. Where
    /// they are is seen at any scale; with more pixels they are only measured anew.
    fn look(
        &mut self,
        image: &[u8],
        timings: &mut Timings,
        checkpoint: &dyn Fn() -> Result<(), Error>,
    ) -> Result<(View, Vec<Face>), Error> {
        let mut long_side = self.params.first_side;
        let mut faces: Vec<Face> = Vec::new();
        loop {
            checkpoint()?;
            let picture = timed(&mut timings.decode, || decode_reduced(image, &self.params.decode, long_side))?;
            let known = faces.iter().map(Face::detection).collect();
            faces = measured(&mut self.landmarker, known, &picture, timings, checkpoint)?;
            if faces.is_empty() {
                faces = self.faces(&picture, timings, checkpoint)?;
            }
            match self.params.side_needed(&picture, faces.first()) {
                Some(more) => long_side = more,
                None => return Ok((picture, faces)),
            }
        }
    }

    /// The faces of the picture as it stands; or, where the detector is more certain of that, as it lies on a side or on
    /// its head, because a camera did not say how it was held.
    fn faces(
        &mut self,
        picture: &View,
        timings: &mut Timings,
        checkpoint: &dyn Fn() -> Result<(), Error>,
    ) -> Result<Vec<Face>, Error> {
        let certainty = |faces: &[Face]| faces.first().map_or(0.0, |it| it.score);
        let upright = self.faces_turned(picture.held(), 0, picture, timings, checkpoint)?;
        if certainty(&upright) >= self.params.sure {
            return Ok(upright);
        }
        let mut least = (certainty(&upright) + self.params.lead).max(self.params.turned);
        let mut best = upright;
        checkpoint()?;
        let small = timed(&mut timings.detect, || shrunk_to(picture.held(), TURNED_SIDE));
        for quarters in [1, 2, 3] {
            checkpoint()?;
            let turned = timed(&mut timings.detect, || small.turned(quarters));
            let found = self.faces_turned(&turned, quarters, picture, timings, checkpoint)?;
            if certainty(&found) >= least {
                least = certainty(&found);
                best = found;
            }
        }
        Ok(best)
    }

    /// The next detector has its say only when the one before found no face that passes the gate. Looks for faces in
    /// `seen`, which is `picture` turned by so many quarters and perhaps smaller, and measures them in `picture`.
    fn faces_turned(
        &mut self,
        seen: &Picture,
        quarters: usize,
        picture: &View,
        timings: &mut Timings,
        checkpoint: &dyn Fn() -> Result<(), Error>,
    ) -> Result<Vec<Face>, Error> {
        let turn = Turn { quarters, of: (picture.width(), picture.height()), from: (seen.width(), seen.height()) };
        for detector in &mut self.detectors {
            checkpoint()?;
            let found = timed(&mut timings.detect, || detector.detect(seen))?;
            let mut found: Vec<_> = found.iter().map(|it| it.mapped(|p| turn.undo(p))).collect();
            // Not by plain area: a bystander cut by the edge would displace a smaller face in full view, which cost 1.5 % of
            // the genuine pairs of LFW.
            let prominence = |d: &Detection| d.bbox.prominence(picture.width(), picture.height());
            found.sort_by(|a, b| prominence(b).total_cmp(&prominence(a)));
            found.truncate(self.params.max_faces);
            let faces = measured(&mut self.landmarker, found, picture, timings, checkpoint)?;
            if !faces.is_empty() {
                return Ok(faces);
            }
        }
        Ok(Vec::new())
    }

    /// `None` when the five points coincide, which no face's do.
    fn template(
        &mut self,
        picture: &View,
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
        let (picture, faces) = self.look(image, &mut timings, checkpoint)?;
        let template = match faces.first() {
            Some(first) => self.template(&picture, first, mode, &mut timings, checkpoint)?,
            None => None,
        };
        let primary = template.as_ref().map(|_| 0);
        checkpoint()?;
        let quality = timed(&mut timings.quality, || quality::measure(&picture, &faces, primary?));
        Ok(Analysis { width: picture.width(), height: picture.height(), faces, primary, template, quality, timings })
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
        let keypoints = [Point::default(); KEYPOINTS];
        self.landmarker.measure(&picture.into(), &Detection { bbox, score: 1.0, keypoints })?;
        for embedder in &mut self.embedders {
            let side = embedder.spec().input.side;
            embedder.embed(&Picture::black(side, side))?;
        }
        Ok(())
    }
}

/// Those detections that pass for faces, with their landmarks.
fn measured(
    landmarker: &mut Landmarker,
    found: Vec<Detection>,
    picture: &View,
    timings: &mut Timings,
    checkpoint: &dyn Fn() -> Result<(), Error>,
) -> Result<Vec<Face>, Error> {
    let mut faces = Vec::new();
    for detection in found {
        checkpoint()?;
        let landmarks = timed(&mut timings.landmarks, || landmarker.measure(picture, &detection))?;
        if landmarks.presence >= landmarker.spec().presence {
            let five_points = landmarker.spec().five_points(&landmarks.mesh);
            faces.push(Face {
                bbox: detection.bbox,
                score: detection.score,
                keypoints: detection.keypoints,
                presence: landmarks.presence,
                landmarks: landmarks.mesh,
                five_points,
            });
        }
    }
    Ok(faces)
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
