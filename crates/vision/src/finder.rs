//! Searches a picture for faces: in the whole picture, in other orientations, in its parts, and once more in a
//! close-up.

use super::detect::detection::{Detection, groups};
use super::detect::{Certainty, Detector};
use super::face::Face;
use super::fault::{Error, RuntimeFault};
use super::geometry::{Point, Rect, Transform};
use super::landmarks::Landmarker;
use super::pack::Pack;
use super::params::Params;
use super::pass::{Pass, timed};
use super::picture::Picture;
use super::session::Runtime;
use super::view::View;

/// Longer side of the picture that is turned: more pixels than the detectors see.
const TURNED_SIDE: usize = 384;

/// Parts along each side: first two parts of two thirds each, then three parts of a half each if no part shows a face.
const PARTS: [usize; 2] = [2, 3];

/// A close-up shows the face's box and as much again on every side.
const CLOSE_UP: [f64; 4] = [-1.0, -1.0, 1.0, 1.0];

/// Close-ups of one face. Seen from far away, a box can be twice as wide as its face; the face is then still small in
/// the first close-up.
const CLOSE_UPS: usize = 2;

/// Boxes in two parts of a picture that overlap more than this (intersection over union) belong to one face.
const OVERLAP: f64 = 0.3;

/// How many faces are measured in a turned picture or in parts. Otherwise a picture full of patterns that look like
/// faces would cost ten times as much as an ordinary one.
const FEWER_FACES: usize = 4;

/// The detectors, and the landmark network, which decides what is a face.
pub struct Finder {
    params: Params,
    detectors: Vec<Detector>,
    certainty: Certainty,
    landmarker: Landmarker,
}

/// The faces that were found.
#[derive(Default)]
pub struct FoundFaces {
    /// The most prominent face comes first: large and in full view.
    pub faces: Vec<Face>,
    /// By how many quarters the picture was turned to see them upright.
    quarters: usize,
    /// Whether they were seen only in parts of the picture.
    in_parts: bool,
}

impl FoundFaces {
    fn score(&self) -> f64 {
        self.faces.first().map_or(0.0, |face| face.score)
    }
}

/// A search with the detectors from `first_detector` on, for at most `most` faces.
#[derive(Clone, Copy)]
struct Search<'a> {
    first_detector: usize,
    most: usize,
    regions: &'a [SearchRegion<'a>],
}

impl Finder {
    /// Opens a session for each network.
    ///
    /// # Errors
    /// When a network does not load, or does not fit the code.
    pub fn open(pack: &Pack, runtime: &Runtime, params: Params) -> Result<Self, RuntimeFault> {
        let landmarks = pack.landmarks();
        let detectors = pack.detectors().iter();
        let detectors = detectors.map(|network| Ok(Detector::new(network.open(runtime)?, network.spec.clone())));
        Ok(Self {
            params,
            detectors: detectors.collect::<Result<_, RuntimeFault>>()?,
            certainty: pack.certainty(),
            landmarker: Landmarker::new(landmarks.open(runtime)?, landmarks.spec.clone()),
        })
    }

    /// The faces of the picture. If the detector is unsure, the picture is also searched lying on a side and upside
    /// down, because some cameras do not record how they were held. If there are still no faces, its parts are
    /// searched.
    ///
    /// # Errors
    /// When a network fails, or the pass ends early.
    pub fn find(&mut self, picture: &View, pass: &mut Pass<'_>) -> Result<FoundFaces, Error> {
        let upright = [SearchRegion::new(picture.held(), picture.frame(), 0)];
        let search = Search { first_detector: 0, most: self.params.max_faces, regions: &upright };
        let mut best = FoundFaces { faces: self.faces(search, picture, pass)?, ..FoundFaces::default() };
        if best.score() >= self.certainty.sure {
            return Ok(best);
        }
        let mut least = (best.score() + self.certainty.lead).max(self.certainty.turned);
        pass.checkpoint()?;
        let small = timed(&mut pass.timings.detect, || picture.shrunk(TURNED_SIDE));
        for quarters in [1, 2, 3] {
            pass.checkpoint()?;
            let turned = timed(&mut pass.timings.detect, || small.held().turned(quarters));
            let turned = [SearchRegion::new(&turned, small.frame(), quarters)];
            let search = Search { first_detector: 0, most: FEWER_FACES, regions: &turned };
            let found = FoundFaces { faces: self.faces(search, picture, pass)?, quarters, in_parts: false };
            if found.score() >= least {
                least = found.score();
                best = found;
            }
        }
        if best.faces.is_empty() && self.params.side_needed(picture, None).is_none() {
            best.faces = self.faces_in_parts(picture, pass)?;
            best.in_parts = true;
        }
        Ok(best)
    }

    /// Measures the most prominent face again in a close-up, if it is small in its picture, like the portrait on an ID
    /// card. Detectors see few pixels of a small face, so its box is inaccurate, and so are the landmarks that start
    /// from it. A face that was seen only in a part of the picture is dropped if the close-up does not confirm it.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn refine(&mut self, mut found: FoundFaces, picture: &View, pass: &mut Pass<'_>) -> Result<Vec<Face>, Error> {
        let (Some(face), Some(detector)) = (found.faces.first_mut(), self.detectors.first_mut()) else {
            return Ok(found.faces);
        };
        let mut within = picture.frame();
        for _ in 0..CLOSE_UPS {
            if face.bbox.width() * detector.scale(&within) >= self.params.small_face {
                break;
            }
            pass.checkpoint()?;
            let Some((close_up, place)) = picture.part(&face.bbox.shifted(CLOSE_UP)) else { break };
            let close_up = close_up.turned(found.quarters);
            let region = SearchRegion::new(&close_up, place, found.quarters);
            let detections = timed(&mut pass.timings.detect, || detector.detect(region.pixels))?;
            // The best detection of this face. Its box may be half as wide as the first one.
            let same = detections
                .iter()
                .map(|detection| detection.mapped(|p| region.to_picture.apply(p)))
                .find(|detection| face.bbox.contains(detection.bbox.centre()));
            let Some(same) = same else { break };
            let Some(closer) = measure(&mut self.landmarker, &same, picture, pass)? else { break };
            *face = closer;
            within = place;
        }
        // Among 399 pictures of things without a face, 24 have a part that passes for one: fans, shoes, potatoes.
        // Close-ups reduce these to 6.
        if found.in_parts && face.score < self.certainty.turned {
            return Ok(Vec::new());
        }
        Ok(found.faces)
    }

    /// Runs every network once.
    ///
    /// # Errors
    /// When one fails.
    pub fn warm_up(&mut self, picture: &View) -> Result<(), RuntimeFault> {
        for detector in &mut self.detectors {
            detector.detect(picture.held())?;
        }
        let detection = Detection { bbox: picture.frame(), score: 1.0, eyes: [Point::default(); 2] };
        self.landmarker.measure(picture, &detection).map(drop)
    }

    /// Searches parts of the picture with the last detector, which sees the smallest faces: in parts of 40 cards with a
    /// grey portrait it found 33 faces, and the first detector found 3. If it saw every pixel of the whole picture,
    /// parts do not show more.
    fn faces_in_parts(&mut self, picture: &View, pass: &mut Pass<'_>) -> Result<Vec<Face>, Error> {
        if self.detectors.last().is_none_or(|detector| detector.scale(&picture.frame()) >= 1.0) {
            return Ok(Vec::new());
        }
        pass.checkpoint()?;
        let first_detector = self.detectors.len().saturating_sub(1);
        let small = timed(&mut pass.timings.detect, || picture.shrunk(self.params.parts_side));
        for along in PARTS {
            pass.checkpoint()?;
            let parts = timed(&mut pass.timings.detect, || parts(&small, along));
            let regions: Vec<_> = parts.iter().map(|(pixels, place)| SearchRegion::new(pixels, *place, 0)).collect();
            let search = Search { first_detector, most: FEWER_FACES, regions: &regions };
            let faces = self.faces(search, picture, pass)?;
            if !faces.is_empty() {
                return Ok(faces);
            }
        }
        Ok(Vec::new())
    }

    /// The most prominent faces in the regions. A detector is used only if the one before it found no face that the
    /// landmark network confirms.
    fn faces(&mut self, search: Search<'_>, picture: &View, pass: &mut Pass<'_>) -> Result<Vec<Face>, Error> {
        for detector in self.detectors.iter_mut().skip(search.first_detector) {
            let mut found: Vec<Detection> = Vec::new();
            for region in search.regions {
                pass.checkpoint()?;
                let seen = timed(&mut pass.timings.detect, || detector.detect(region.pixels))?;
                found.extend(seen.iter().map(|detection| detection.mapped(|p| region.to_picture.apply(p))));
            }
            if search.regions.len() > 1 {
                found = groups(found, OVERLAP).map(|(best, _)| best).collect();
            }
            // Not sorted by plain area: a bystander cut off by the edge would win over a smaller face in full view.
            // That cost 1.5 % of the genuine pairs of LFW.
            let prominence = |detection: &Detection| detection.bbox.prominence(picture.width(), picture.height());
            found.sort_by(|a, b| prominence(b).total_cmp(&prominence(a)));
            found.truncate(search.most);
            let mut faces = Vec::new();
            for detection in &found {
                faces.extend(measure(&mut self.landmarker, detection, picture, pass)?);
            }
            if !faces.is_empty() {
                return Ok(faces);
            }
        }
        Ok(Vec::new())
    }
}

/// The detection with its landmarks; `None` when the landmark network sees no face there.
fn measure(
    landmarker: &mut Landmarker,
    detection: &Detection,
    picture: &View,
    pass: &mut Pass<'_>,
) -> Result<Option<Face>, Error> {
    pass.checkpoint()?;
    let landmarks = timed(&mut pass.timings.landmarks, || landmarker.measure(picture, detection))?;
    let spec = landmarker.spec();
    Ok((landmarks.presence >= spec.presence).then(|| Face {
        bbox: detection.bbox,
        score: detection.score,
        presence: landmarks.presence,
        five_points: spec.five_points(&landmarks.mesh),
        decoded_side: picture.decoded_side(),
        landmarks: landmarks.mesh,
    }))
}

/// `along` x `along` parts of the picture. Neighbours overlap by half.
#[expect(clippy::cast_precision_loss, reason = "a handful of parts")]
fn parts(picture: &View, along: usize) -> Vec<(Picture, Rect)> {
    let frame = picture.frame();
    let steps = (along + 1) as f64;
    let (across, down) = (frame.width() / steps, frame.height() / steps);
    let place = |(x, y): (usize, usize)| {
        let (left, top) = (frame.left + x as f64 * across, frame.top + y as f64 * down);
        Rect { left, top, right: left + 2.0 * across, bottom: top + 2.0 * down }
    };
    let all = (0..along).flat_map(|y| (0..along).map(move |x| (x, y)));
    all.filter_map(|at| picture.part(&place(at))).collect()
}

/// Pixels for a detector, and where they lie in the picture.
struct SearchRegion<'a> {
    pixels: &'a Picture,
    /// Maps these pixels to those of the picture.
    to_picture: Transform,
}

impl<'a> SearchRegion<'a> {
    /// `pixels` show `part` of the picture, turned clockwise by so many quarters.
    #[expect(clippy::cast_precision_loss, reason = "sides of pictures")]
    fn new(pixels: &'a Picture, part: Rect, quarters: usize) -> Self {
        let (w, h) = (pixels.width() as f64, pixels.height() as f64);
        let (across, down) = (part.width(), part.height());
        let to_picture = match quarters % 4 {
            0 => [[across / w, 0.0, part.left], [0.0, down / h, part.top]],
            1 => [[0.0, across / h, part.left], [-down / w, 0.0, part.bottom]],
            2 => [[-across / w, 0.0, part.right], [0.0, -down / h, part.bottom]],
            _ => [[0.0, -across / h, part.right], [down / w, 0.0, part.top]],
        };
        Self { pixels, to_picture: Transform(to_picture) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_a_turned_part_map_back_to_the_picture() {
        let part = Rect { left: 100.0, top: 50.0, right: 180.0, bottom: 90.0 };
        // The part at a quarter of its size, 20 x 10: its upper left corner, and its centre.
        let (wide, high) = (Picture::black(20, 10), Picture::black(10, 20));
        for (quarters, pixels, corner, middle) in [
            (0, &wide, (0.0, 0.0), (10.0, 5.0)),
            (1, &high, (10.0, 0.0), (5.0, 10.0)),
            (2, &wide, (20.0, 10.0), (10.0, 5.0)),
            (3, &high, (0.0, 20.0), (5.0, 10.0)),
        ] {
            let region = SearchRegion::new(pixels, part, quarters);
            assert_eq!(region.to_picture.apply(Point::new(corner.0, corner.1)), Point::new(100.0, 50.0), "{quarters}");
            assert_eq!(region.to_picture.apply(Point::new(middle.0, middle.1)), part.centre(), "{quarters}");
        }
    }

    #[test]
    fn parts_cover_the_picture_and_overlap_by_half() {
        let picture = Picture::black(300, 150).into();
        let places: Vec<_> = parts(&picture, 2).into_iter().map(|(_, place)| place).collect();
        let at = |left, top| Rect { left, top, right: left + 200.0, bottom: top + 100.0 };
        assert_eq!(places, [at(0.0, 0.0), at(100.0, 0.0), at(0.0, 50.0), at(100.0, 50.0)]);
        assert_eq!(parts(&picture, 3).len(), 9);
    }
}
