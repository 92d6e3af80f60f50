//! Outcomes for test keys. They follow from magic inputs alone, without models. `docs/integrate/sandbox.md` lists them
//! for callers.
//!
//! A directive is ASCII text anywhere in the bytes of an image, for example after the end of a JPEG:
//! `visavis:similarity=0.42`.

use std::time::Duration;

use super::identity::IdNumber;

/// The directives in one image.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a directive of its own")]
pub struct Directives {
    /// In [0, 1]; 0.95 without a directive.
    pub similarity: f64,
    /// The number of faces; 1 without a directive.
    pub faces: u32,
    pub unreadable: bool,
    /// In [0, 1]; 0.95 without a directive.
    pub liveness: f64,
    pub spoof: bool,
    /// The frames do not show the actions of the challenge.
    pub challenge_failed: bool,
    /// The job fails permanently.
    pub fail: bool,
    /// At most [`MAX_DELAY`].
    pub delay: Duration,
    /// How many attempts fail before one succeeds.
    pub retry: i32,
}

/// The longest that a directive delays a job.
pub const MAX_DELAY: Duration = Duration::from_secs(10);

/// The name in results, in place of a model's.
pub const MODEL: &str = "sandbox@1";

impl Default for Directives {
    fn default() -> Self {
        Self {
            similarity: 0.95,
            faces: 1,
            unreadable: false,
            liveness: 0.95,
            spoof: false,
            challenge_failed: false,
            fail: false,
            delay: Duration::ZERO,
            retry: 0,
        }
    }
}

impl Directives {
    /// Reads the directives in the bytes of an image. Unknown directives and values out of range are ignored.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        const MARK: &[u8] = b"visavis:";
        let mut found = Self::default();
        // A directive is appended, or stands in a comment near the start, so that both ends are searched.
        let (head, tail) = (&bytes[..bytes.len().min(WINDOW)], &bytes[bytes.len().saturating_sub(WINDOW)..]);
        let windows = if bytes.len() > WINDOW { vec![head, tail] } else { vec![bytes] };
        for window in windows {
            for (at, _) in window.windows(MARK.len()).enumerate().filter(|(_, part)| *part == MARK) {
                let rest = &window[at + MARK.len()..];
                let end = rest.iter().position(|byte| !matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'=' | b'.'));
                found.apply(std::str::from_utf8(&rest[..end.unwrap_or(rest.len())]).unwrap_or_default());
            }
        }
        found
    }

    fn apply(&mut self, directive: &str) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        let score = value.parse::<f64>().ok().filter(|score| (0.0..=1.0).contains(score));
        match name {
            "similarity" => self.similarity = score.unwrap_or(self.similarity),
            "liveness" => self.liveness = score.unwrap_or(self.liveness),
            "faces" => self.faces = value.parse().ok().filter(|count| *count <= 16).unwrap_or(self.faces),
            "no_face" => self.faces = 0,
            "unreadable" => self.unreadable = true,
            "spoof" => self.spoof = true,
            "challenge_failed" => self.challenge_failed = true,
            "fail" => self.fail = true,
            "delay_ms" => self.delay = value.parse().map_or(self.delay, Duration::from_millis).min(MAX_DELAY),
            "retry" => self.retry = value.parse().ok().filter(|count| (0..=10).contains(count)).unwrap_or(self.retry),
            _ => {}
        }
    }
}

/// Bytes that are searched at either end.
const WINDOW: usize = 8 << 10;

/// The result that a magic ID number stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    Found,
    /// The portrait shows another person: similarity 0.30.
    SomebodyElse,
    /// Similarity 0.70.
    Borderline,
    NotFound,
    /// The source does not answer the first attempt.
    SourceDown,
    /// The source refuses us for good.
    SourceRefuses,
}

impl Holder {
    #[must_use]
    pub fn of(number: &IdNumber) -> Self {
        match number.reveal() {
            "00000000002" => Self::SomebodyElse,
            "00000000003" => Self::Borderline,
            "00000000004" => Self::NotFound,
            "00000000005" => Self::SourceDown,
            "00000000006" => Self::SourceRefuses,
            _ => Self::Found,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_read_anywhere_and_unknown_ones_are_ignored() {
        let read = |text: &str| Directives::read(&[b"\xFF\xD8\xFF", text.as_bytes(), b"\0"].concat());
        assert_eq!(read(""), Directives::default());
        assert!((read("visavis:similarity=0.42").similarity - 0.42).abs() < 1e-9);
        let both = read("visavis:faces=3 visavis:liveness=0.2");
        assert!(both.faces == 3 && (both.liveness - 0.2).abs() < 1e-9);
        assert_eq!(read("visavis:no_face").faces, 0);
        assert_eq!(read("visavis:delay_ms=999999").delay, MAX_DELAY);
        for text in
            ["visavis:similarity=2", "visavis:similarity=", "visavis:similarty=0.1", "visavis:", "visavis:retry=-1"]
        {
            assert_eq!(read(text), Directives::default(), "{text}");
        }
        let long = [vec![0; 3 * WINDOW], b"visavis:spoof".to_vec()].concat();
        assert!(Directives::read(&long).spoof);
    }
}
