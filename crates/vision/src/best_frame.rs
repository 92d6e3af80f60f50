//! Chooses the frame that shows the face best, and tells whether all frames show one person in one take.

use super::analysis::Analysis;
use super::compare::FaceComparison;
use super::template::Template;
use visavis_domain::evidence::Threshold;
use visavis_domain::frames::FrameSummary;
use visavis_domain::policy;
use visavis_domain::quality::QualityLimits;

/// The parameters for judging several frames together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrameParams {
    /// Below this similarity to the best frame, in [0, 1], a face is another person's.
    pub same_person: Threshold,
    /// From this composite quality on, in [0, 1], a face can be recognised reliably.
    pub reliable: f64,
    /// Below this similarity of the scenes of two consecutive frames, in [-1, 1], there is a cut between them.
    pub same_take: f64,
}

/// `same_person`: one pair of strangers in a hundred reaches 0.60. Frames of one take score far higher, unless a face
/// is blurred or turned away. Such faces are left out.
///
/// `same_take`: among 614 pairs of photos of one person (LFW), 71 % have scenes with a similarity below 0.5. 800 photos
/// were compared with copies that were moved, turned by up to 8 degrees, zoomed, relit and noised, as the next frame
/// may be: no similarity was below 0.58.
impl Default for FrameParams {
    fn default() -> Self {
        Self { same_person: Threshold::PERMISSIVE, reliable: 0.1, same_take: 0.5 }
    }
}

/// Index of the frame with the best composite quality; `None` if no frame has a usable face.
#[must_use]
pub fn best(frames: &[Option<Analysis>]) -> Option<usize> {
    let usable = frames.iter().enumerate().filter_map(|(at, frame)| {
        let frame = frame.as_ref()?;
        frame.template.as_ref().map(|_| (at, composite(frame)))
    });
    // Reversed, because `max_by` returns the last of equal frames, and we want the first.
    usable.rev().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(at, _)| at)
}

/// Summarises all `frames`, which must be in their order; those that could not be read are `None`. `best` is the index
/// of the best frame, and `compare` compares two templates.
///
/// # Errors
/// When `compare` fails.
pub fn consistency<E>(
    frames: &[Option<Analysis>],
    best: Option<usize>,
    params: &FrameParams,
    compare: impl Fn(&Template, &Template) -> Result<FaceComparison, E>,
) -> Result<FrameSummary, E> {
    let count = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
    let read: Vec<&Analysis> = frames.iter().flatten().collect();
    let mut found = FrameSummary {
        best: best.map(count),
        looked_at: count(frames.len()),
        unreadable: count(frames.len() - read.len()),
        without_face: count(read.iter().filter(|frame| frame.template.is_none()).count()),
        cuts: count(read.windows(2).filter(|pair| pair[0].scene.similarity(&pair[1].scene) < params.same_take).count()),
        ..FrameSummary::default()
    };
    let best = best.and_then(|at| frames.get(at)?.as_ref()?.template.as_ref());
    for frame in &read {
        let Some((best, other)) = best.zip(frame.template.as_ref()) else { continue };
        let similarity = compare(best, other)?.similarity;
        if composite(frame) >= params.reliable && !policy::is_same_person(similarity, params.same_person) {
            found.other_person += 1;
        }
        let least = found.least_similarity.map_or(similarity.get(), |least: f64| least.min(similarity.get()));
        found.least_similarity = Some(least);
    }
    Ok(found)
}

/// The composite quality in [0, 1]; 0 without a face that could be measured.
fn composite(frame: &Analysis) -> f64 {
    frame.quality.map_or(0.0, |quality| quality.composite(&QualityLimits::default()))
}
