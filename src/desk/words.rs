//! Numbers, times and codes in plain words.

use chrono::{DateTime, SecondsFormat, Utc};

use super::pages::Moment;
use crate::domain::evidence::{Mode, Threshold};
use crate::domain::frequency::one_in;
use crate::domain::rates::Rates;

/// The time from one moment to another, as in `3 h 12 min`.
pub(super) fn age(from: DateTime<Utc>, to: DateTime<Utc>) -> String {
    seconds((to - from).num_seconds())
}

/// A span of time in its two largest units; up to an hour in one.
pub(super) fn seconds(seconds: i64) -> String {
    match seconds.max(0) {
        span @ 0..60 => format!("{span} s"),
        span @ 60..3600 => format!("{} min", span / 60),
        span @ 3600..86_400 => format!("{} h {} min", span / 3600, span % 3600 / 60),
        span => format!("{} d {} h", span / 86_400, span % 86_400 / 3600),
    }
}

/// A moment as a page shows it.
pub(super) fn moment(at: DateTime<Utc>) -> Moment {
    Moment { iso: at.to_rfc3339_opts(SecondsFormat::Secs, true), words: at.format("%-d %b %Y, %H:%M UTC").to_string() }
}

/// `LOW_FACE_MATCH_SIMILARITY` as `Low face match similarity`.
pub(super) fn risk(code: &str) -> String {
    sentence(&code.to_lowercase())
}

/// `face_match` as `Face match`.
pub(super) fn kind(kind: &str) -> &'static str {
    match kind {
        "likeness_check" => "Likeness check",
        "id_match" => "ID match",
        "face_match" => "Face match",
        _ => "Compare with liveness",
    }
}

/// `eyes_open` as `Eyes open`.
pub(super) fn sentence(name: &str) -> String {
    let name = name.replace('_', " ");
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A picture in the audit log: `probe 0 whole` as `whole selfie`, `probe 2 portrait` as `face in selfie 3`.
pub(super) fn picture(sent: &str) -> String {
    let mut parts = sent.split(' ');
    let (Some(role), Some(position), Some(variant)) = (parts.next(), parts.next(), parts.next()) else {
        return sent.to_owned();
    };
    let words = match (role, variant) {
        ("reference", _) => "document portrait",
        (_, "portrait") => "face in selfie",
        _ => "whole selfie",
    };
    match position.parse() {
        Ok(0_u16) | Err(_) => words.to_owned(),
        Ok(position) => format!("{words} {}", u32::from(position) + 1),
    }
}

/// A warning's measurements: `image=probe sharpness=0.10 limit=0.16` as names and values. Values may contain spaces.
pub(super) fn measured(data: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for word in data.split(' ') {
        let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let named = word.split_once('=').filter(|(name, _)| is_name(name));
        match (named, found.last_mut()) {
            (Some((name, value)), _) => found.push((name.to_owned(), measured_value(name, value))),
            (None, Some((_, value))) => *value = format!("{value} {word}"),
            (None, None) => {}
        }
    }
    found.into_iter().map(|(name, value)| (measure_name(&name), value)).collect()
}

/// The request's name of an image becomes the desk's; any other value stays.
fn measured_value(name: &str, value: &str) -> String {
    let words = match value {
        "source_image" | "photo" if name == "image" => "Document portrait",
        "target_image" | "probe_image" | "selfie" if name == "image" => "Selfie",
        other => other,
    };
    words.to_owned()
}

fn measure_name(name: &str) -> String {
    let words = match name {
        "image" => "Picture",
        "score" => "Score",
        "threshold" | "wanted" => "Needed",
        "limit" => "Limit",
        "liveness_score" => "Liveness score",
        "context" => "Margin around the face, in face widths",
        "jobs" => "Other jobs with this picture",
        "latest" => "Latest of these jobs",
        "code" => "Problem",
        "without_face" => "Frames without a face",
        "other_person" => "Frames with another person",
        "inter_eye_px" => "Pixels between the eyes",
        "yaw_deg" => "Head turned, degrees",
        "pitch_deg" => "Head tilted, degrees",
        other => return sentence(other),
    };
    words.to_owned()
}

/// The false match rate of a score, in a sentence.
pub(super) fn false_matches(rates: Option<&Rates>, mode: Mode, score: f64) -> String {
    let (Some(rates), Ok(threshold)) = (rates, Threshold::new(score.clamp(0.0, 1.0))) else {
        return "The false match rate of this score is not known.".to_owned();
    };
    if let Some(rate) = rates.rate_of(mode, threshold) {
        return format!("About {} pairs of different people score this high or higher.", one_in(rate));
    }
    // The score is outside the measured range. A rate above 1 is never measured, so the error names the range.
    let Err(measured) = rates.threshold_at(mode, 2.0) else { return String::new() };
    let lowest_score = rates.threshold_at(mode, measured.high);
    if lowest_score.is_ok_and(|lowest| threshold < lowest) {
        format!("More than {} pairs of different people score this high or higher.", one_in(measured.high))
    } else {
        format!("Fewer than {} pairs of different people score this high or higher.", one_in(measured.low))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::calibration::{Calibration, Knot, MeasuredRate};

    #[test]
    fn spans_are_given_in_their_two_largest_units() {
        for (span, words) in
            [(-3, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (11_520, "3 h 12 min"), (90_000, "1 d 1 h")]
        {
            assert_eq!(seconds(span), words);
        }
    }

    #[test]
    fn codes_and_measures_become_words() {
        assert_eq!(risk("LOW_FACE_MATCH_SIMILARITY"), "Low face match similarity");
        let words = measured("image=target_frames[2] sharpness=0.10 limit=0.16");
        let expected = [("Picture", "target_frames[2]"), ("Sharpness", "0.10"), ("Limit", "0.16")];
        assert_eq!(words, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let words = measured("image=photo code=too_many_pixels: 100 megapixels, x=3 allowed");
        assert_eq!(words[0].1, "Document portrait");
        assert_eq!(words[1], ("Problem".to_owned(), "too_many_pixels: 100 megapixels,".to_owned()));
        assert_eq!(measured("no pairs"), []);
    }

    #[test]
    fn pictures_in_the_audit_log_are_named_as_on_the_page() {
        for (sent, words) in [
            ("reference 0 portrait", "document portrait"),
            ("probe 0 whole", "whole selfie"),
            ("probe 2 portrait", "face in selfie 3"),
            ("odd", "odd"),
        ] {
            assert_eq!(picture(sent), words);
        }
    }

    #[test]
    fn a_score_reads_as_its_false_match_rate_and_beyond_the_measured_range_as_a_bound() {
        let knots = [0.0, 1.0].map(|raw| Knot { raw, similarity: raw }).to_vec();
        let measured = [(0.6, 1e-2), (0.7, 2e-3), (0.85, 1e-4)];
        let measured = measured.map(|(similarity, fmr)| MeasuredRate { similarity, fmr }).to_vec();
        let calibration = Calibration::new("test@1".to_owned(), knots, measured).unwrap();
        let rates = Rates::new(calibration.clone(), calibration);
        let words = |score| false_matches(Some(&rates), Mode::Fast, score);
        assert_eq!(words(0.7), "About 1 in 500 pairs of different people score this high or higher.");
        assert_eq!(words(0.5), "More than 1 in 100 pairs of different people score this high or higher.");
        assert_eq!(words(0.9), "Fewer than 1 in 10,000 pairs of different people score this high or higher.");
        assert!(false_matches(None, Mode::Fast, 0.7).contains("not known"));
    }
}
