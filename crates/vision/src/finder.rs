//! Where faces are looked for: in all of the picture, in other directions, in its parts, and once more from nearby.

use super::Error;
use super::detect::{Certainty, Detection, Detector, groups};
use super::face::Face;
use super::geometry::{Point, Rect, Transform};
use super::landmarks::Landmarker;
use super::model::RuntimeFault;
use super::pack::Pack;
use super::params::Params;
use super::picture::Picture;
use super::session::Runtime;
use super::timings::{Timings, timed};
use super::view::View;

/// Longer side of the picture that is turned: more than the detectors see.
const TURNED_SIDE: usize = 384;

/// Parts along a side: two of two thirds each, then, where these show no face either, three of a half each.
const PARTS: [usize; 2] = [2, 3];

/// A small face is looked at with so much around it: another side of its box in every direction.
const NEARBY: [f64; 4] = [-1.0, -1.0, 1.0, 1.0];

/// Seen from far away a box can be twice as wide as its face, which is then still small when seen from nearby.
const CLOSER_LOOKS: usize = 2;

/// Boxes in two parts of a picture that overlap more than this (intersection over union) are of one face.
const OVERLAP: f64 = 0.3;

/// Faces that are measured of a picture that is turned or in parts: a picture full of what detectors take for faces would
/// otherwise cost ten times what an ordinary one does.
const FEWER_FACES: usize = 4;

/// The detectors and the landmark network, which has the last word on what is a face.
pub struct Finder {
    params: Params,
    detectors: Vec<Detector>,
    certainty: Certainty,
    landmarker: Landmarker,
}

/// What was found.
#[derive(Default)]
pub struct FoundFaces {
    /// The most prominent first: large and in full view.
    pub faces: Vec<Face>,
    /// By how many quarters the picture was turned to see them upright.
    quarters: usize,
    /// Whether they were seen in parts of the picture only.
    in_parts: bool,
}

impl FoundFaces {
    fn score(&self) -> f64 {
        self.faces.first().map_or(0.0, |it| it.score)
    }
}

impl Finder {
    /// Opens a session for each network.
    ///
    /// # Errors
    /// When a network does not load or does not fit the code.
    pub fn open(pack: &Pack, runtime: &Runtime, params: Params) -> Result<Self, RuntimeFault> {
        let landmarks = pack.landmarks();
        Ok(Self {
            params,
            detectors: pack
                .detectors()
                .iter()
                .map(|it| Ok(Detector::new(it.open(runtime)?, it.spec.clone())))
                .collect::<Result<_, RuntimeFault>>()?,
            certainty: pack.certainty(),
            landmarker: Landmarker::new(landmarks.open(runtime)?, landmarks.spec.clone()),
        })
    }

    /// The faces of the picture as it stands; or, where the detector is more certain of that, as it lies on a side or on its
    /// head, because a camera did not say how it was held. Where there are none, those in its parts.
    ///
    /// # Errors
    /// When a network fails, or `checkpoint` says so.
    pub fn find(
        &mut self,
        picture: &View,
        timings: &mut Timings,
        checkpoint: &dyn Fn() -> Result<(), Error>,
    ) -> Result<FoundFaces, Error> {
        let upright = SearchRegion::at(picture.held(), picture.frame(), 0);
        let faces = self.faces(0, self.params.max_faces, &[upright], picture, timings, checkpoint)?;
        let mut best = FoundFaces { faces, ..FoundFaces::default() };
        if best.score() >= self.certainty.sure {
            return Ok(best);
        }
        let mut least = (best.score() + self.certainty.lead).max(self.certainty.turned);
        checkpoint()?;
        let small = timed(&mut timings.detect, || picture.shrunk(TURNED_SIDE));
        for quarters in [1, 2, 3] {
            checkpoint()?;
            let turned = timed(&mut timings.detect, || small.held().turned(quarters));
            let turned = SearchRegion::at(&turned, small.frame(), quarters);
            let faces = self.faces(0, FEWER_FACES, &[turned], picture, timings, checkpoint)?;
            let found = FoundFaces { faces, quarters, in_parts: false };
            if found.score() >= least {
                least = found.score();
                best = found;
            }
        }
        if best.faces.is_empty() && self.params.side_needed(picture, None).is_none() {
            best.faces = self.faces_in_parts(picture, timings, checkpoint)?;
            best.in_parts = true;
        }
        Ok(best)
    }

    /// Looks at the most prominent face from nearby where it is small in its picture: a portrait on a card. Detectors see so
    /// few pixels of such a face that the landmarks, which begin at the detector's box, are out of place. A face that was seen
    /// in a part only must stand this test.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn look_closer(
        &mut self,
        mut found: FoundFaces,
        picture: &View,
        timings: &mut Timings,
        checkpoint: &dyn Fn() -> Result<(), Error>,
    ) -> Result<Vec<Face>, Error> {
        let (Some(face), Some(detector)) = (found.faces.first_mut(), self.detectors.first_mut()) else {
            return Ok(found.faces);
        };
        let mut within = picture.frame();
        for _ in 0..CLOSER_LOOKS {
            if face.bbox.width() * detector.scale(&within) >= self.params.small_face {
                break;
            }
            checkpoint()?;
            let Some((nearby, place)) = picture.part(&face.bbox.shifted(NEARBY)) else { break };
            let nearby = nearby.turned(found.quarters);
            let look = SearchRegion::at(&nearby, place, found.quarters);
            let detections = timed(&mut timings.detect, || detector.detect(look.pixels))?;
            // The most certain one of this face. Its box may be half as wide as the first one.
            let same = detections
                .iter()
                .map(|it| it.mapped(|p| look.place.apply(p)))
                .find(|it| face.bbox.contains(it.bbox.centre()));
            let Some(same) = same else { break };
            let Some(closer) = measure(&mut self.landmarker, &same, picture, timings, checkpoint)? else { break };
            *face = closer;
            within = place;
        }
        // Of 399 pictures of things without a face, parts of 24 pass for one: fans, shoes, potatoes. Seen from nearby, 6 do.
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

    /// The last detector sees the smallest faces; in parts of 40 cards with a grey portrait the first one found 3 faces, the last one
    /// 33. Where it saw every pixel already, parts show no more.
    fn faces_in_parts(
        &mut self,
        picture: &View,
        timings: &mut Timings,
        checkpoint: &dyn Fn() -> Result<(), Error>,
    ) -> Result<Vec<Face>, Error> {
        let last = self.detectors.len().saturating_sub(1);
        if self.detectors.last().is_none_or(|it| it.scale(&picture.frame()) >= 1.0) {
            return Ok(Vec::new());
        }
        checkpoint()?;
        let small = timed(&mut timings.detect, || picture.shrunk(self.params.parts_side));
        for along in PARTS {
            checkpoint()?;
            let parts = timed(&mut timings.detect, || parts(&small, along));
            let looks: Vec<_> = parts.iter().map(|(pixels, place)| SearchRegion::at(pixels, *place, 0)).collect();
            let faces = self.faces(last, FEWER_FACES, &looks, picture, timings, checkpoint)?;
            if !faces.is_empty() {
                return Ok(faces);
            }
        }
        Ok(Vec::new())
    }

    /// At most so many faces. The next detector has its say only when the one before found no face that passes the gate; those
    /// before `first` have none.
    fn faces(
        &mut self,
        first: usize,
        most: usize,
        looks: &[SearchRegion<'_>],
        picture: &View,
        timings: &mut Timings,
        checkpoint: &dyn Fn() -> Result<(), Error>,
    ) -> Result<Vec<Face>, Error> {
        for detector in self.detectors.iter_mut().skip(first) {
            let mut found: Vec<Detection> = Vec::new();
            for look in looks {
                checkpoint()?;
                let seen = timed(&mut timings.detect, || detector.detect(look.pixels))?;
                found.extend(seen.iter().map(|it| it.mapped(|p| look.place.apply(p))));
            }
            if looks.len() > 1 {
                found = groups(found, OVERLAP).map(|(best, _)| best).collect();
            }
            // Not by plain area: a bystander cut by the edge would displace a smaller face in full view, which cost 1.5 % of
            // the genuine pairs of LFW.
            let prominence = |d: &Detection| d.bbox.prominence(picture.width(), picture.height());
            found.sort_by(|a, b| prominence(b).total_cmp(&prominence(a)));
            found.truncate(most);
            let mut faces = Vec::new();
            for detection in &found {
                faces.extend(measure(&mut self.landmarker, detection, picture, timings, checkpoint)?);
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
    timings: &mut Timings,
    checkpoint: &dyn Fn() -> Result<(), Error>,
) -> Result<Option<Face>, Error> {
    checkpoint()?;
    let landmarks = timed(&mut timings.landmarks, || landmarker.measure(picture, detection))?;
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

/// So many parts along each side of the picture; neighbours share a half.
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

/// What a detector is shown, and where it lies in the picture.
struct SearchRegion<'a> {
    pixels: &'a Picture,
    /// From these pixels to those of the picture.
    place: Transform,
}

impl<'a> SearchRegion<'a> {
    /// `pixels` are those at `part` of the picture, turned clockwise by so many quarters.
    #[expect(clippy::cast_precision_loss, reason = "sides of pictures")]
    fn at(pixels: &'a Picture, part: Rect, quarters: usize) -> Self {
        let (w, h) = (pixels.width() as f64, pixels.height() as f64);
        let (across, down) = (part.width(), part.height());
        let place = match quarters % 4 {
            0 => [[across / w, 0.0, part.left], [0.0, down / h, part.top]],
            1 => [[0.0, across / h, part.left], [-down / w, 0.0, part.bottom]],
            2 => [[-across / w, 0.0, part.right], [0.0, -down / h, part.bottom]],
            _ => [[0.0, -across / h, part.right], [down / w, 0.0, part.top]],
        };
        Self { pixels, place: Transform(place) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_of_a_turned_part_lies_where_the_part_does() {
        let part = Rect { left: 100.0, top: 50.0, right: 180.0, bottom: 90.0 };
        // A quarter of its size, 20 x 10, and its upper left corner.
        let (wide, high) = (Picture::black(20, 10), Picture::black(10, 20));
        for (quarters, pixels, corner, middle) in [
            (0, &wide, (0.0, 0.0), (10.0, 5.0)),
            (1, &high, (10.0, 0.0), (5.0, 10.0)),
            (2, &wide, (20.0, 10.0), (10.0, 5.0)),
            (3, &high, (0.0, 20.0), (5.0, 10.0)),
        ] {
            let look = SearchRegion::at(pixels, part, quarters);
            assert_eq!(look.place.apply(Point::new(corner.0, corner.1)), Point::new(100.0, 50.0), "{quarters}");
            assert_eq!(look.place.apply(Point::new(middle.0, middle.1)), part.centre(), "{quarters}");
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
