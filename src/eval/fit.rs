//! Fits a calibration to scores: straight lines between knots. The knots are where impostor pairs reach given false
//! match rates, so that 0.60, 0.75 and 0.85 mean rates of 1e-2, 1e-3 and 1e-4 on the list's pairs.

use std::fmt::Write as _;

use super::statistics::Descending;

/// False match rates and their calibrated scores. From 1e-2 to 1e-4 these are the documented marks and knots half-way
/// between them. Below 0.60 the score only has to rise.
const MARKS: [(f64, f64); 10] = [
    (0.99, 0.05),
    (0.9, 0.10),
    (0.5, 0.25),
    (0.1, 0.45),
    (0.031_622_8, 0.525),
    (0.01, 0.60),
    (0.003_162_28, 0.675),
    (0.001, 0.75),
    (0.000_316_228, 0.80),
    (0.0001, 0.85),
];
/// Only a handful of impostor pairs would measure a rate of 1e-5. This mark is extrapolated by a parabola through the
/// thresholds at 1e-2 and below.
const EXTRAPOLATED: (f64, f64) = (0.000_01, 0.90);
/// Least impostor pairs: ten of them then measure the rate 1e-4.
const LEAST_IMPOSTORS: usize = 100_000;

/// Why no calibration can be fitted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FitFault {
    #[error(
        "{0} impostor pairs are too few: at least {LEAST_IMPOSTORS} are needed for a false match rate of 1e-4; list \
         pictures with identities (columns image, identity) to compare all pairs"
    )]
    TooFew(usize),
    #[error("the scores of impostor pairs are too similar: the knots do not rise")]
    Flat,
}

/// What a calibration was fitted on.
pub struct CalibrationOrigin<'a> {
    pub version: &'a str,
    pub mode: &'a str,
    /// Networks and weights, as a formula for people.
    pub score: &'a str,
    /// Name of the list.
    pub fitted_on: &'a str,
    /// The date, as year-month-day.
    pub fitted_at: &'a str,
    pub images: usize,
}

/// The text of a calibration file.
///
/// # Errors
/// When there are too few impostor pairs to measure the rates, or their scores are too similar.
pub fn calibration(
    genuine: &Descending,
    impostor: &Descending,
    origin: &CalibrationOrigin<'_>,
) -> Result<String, FitFault> {
    if impostor.len() < LEAST_IMPOSTORS {
        return Err(FitFault::TooFew(impostor.len()));
    }
    let threshold = |rate: f64| impostor.threshold_at(rate).map_or(f64::NAN, f64::from);
    let mut points: Vec<_> =
        MARKS.iter().map(|(rate, similarity)| (*rate, raised(threshold(*rate)), *similarity)).collect();
    let tail: Vec<_> = MARKS.iter().map(|mark| mark.0).filter(|rate| *rate <= 0.01).collect();
    let tail: Vec<_> = tail.iter().map(|rate| (rate.log10(), threshold(*rate))).collect();
    points.push((EXTRAPOLATED.0, raised(parabola_at(&tail, EXTRAPOLATED.0.log10())), EXTRAPOLATED.1));
    let mut knots = vec![(-1.0, 0.0)];
    knots.extend(points.iter().map(|(_, raw, score)| (*raw, *score)));
    knots.push((1.0, 1.0));
    // A comparison with NaN is false, so NaN is refused here too.
    if !knots.windows(2).all(|pair| pair[0].0 < pair[1].0) {
        return Err(FitFault::Flat);
    }
    Ok(write(genuine, impostor, origin, &knots, &points))
}

fn write(
    genuine: &Descending,
    impostor: &Descending,
    origin: &CalibrationOrigin<'_>,
    knots: &[(f64, f64)],
    points: &[(f64, f64, f64)],
) -> String {
    // A JSON string is a TOML string.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut text = String::new();
    let _ = write!(
        text,
        "# Written by `visavis eval --fit`. Straight lines between the knots; a raw score outside them is clamped.\n\
         version = {}\nmode = {}\nscore = {}\nfitted_on = {}\nfitted_at = {}\nimages = {}\ngenuine_pairs = {}\n\
         impostor_pairs = {}\n# [raw, calibrated]\nknots = [\n",
        quoted(origin.version),
        quoted(origin.mode),
        quoted(origin.score),
        quoted(origin.fitted_on),
        quoted(origin.fitted_at),
        origin.images,
        genuine.len(),
        impostor.len(),
    );
    for (raw, score) in knots {
        let _ = writeln!(text, "  [{raw:.6}, {score:?}],");
    }
    text.push_str("]\n");
    for (rate, raw, score) in points {
        #[expect(clippy::cast_possible_truncation, reason = "compared with single precision")]
        let tar = genuine.share_at(*raw as f32);
        let _ = write!(
            text,
            "\n[[operating_points]]\nfmr = {rate:e}\nraw = {raw:.6}\ncalibrated = {score:?}\ntar = {tar:.4}\n\
             extrapolated = {}\n",
            rate.total_cmp(&EXTRAPOLATED.0).is_eq(),
        );
    }
    text
}

/// Rounded up to the written digits, so that the written threshold lets no more impostors pass than the exact one.
fn raised(threshold: f64) -> f64 {
    (threshold * 1e6).ceil() / 1e6
}

/// The least-squares parabola through `points`, at `x`.
fn parabola_at(points: &[(f64, f64)], x: f64) -> f64 {
    // Normal equations of y = a + b x + c x^2, by Cramer's rule; sums of powers of x, and of y times powers of x.
    let power = |k: i32| points.iter().map(|(x, _)| x.powi(k)).sum::<f64>();
    let moment = |k: i32| points.iter().map(|(x, y)| y * x.powi(k)).sum::<f64>();
    let rows: [[f64; 3]; 3] = std::array::from_fn(|row| std::array::from_fn(|column| power(small(row + column))));
    let right: [f64; 3] = std::array::from_fn(|row| moment(small(row)));
    let whole = determinant(&rows);
    let coefficient = |column: usize| {
        let mut replaced = rows;
        for (row, value) in replaced.iter_mut().zip(right) {
            row[column] = value;
        }
        determinant(&replaced) / whole
    };
    coefficient(0) + coefficient(1) * x + coefficient(2) * x * x
}

fn small(value: usize) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn determinant(m: &[[f64; 3]; 3]) -> f64 {
    m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
        + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "made-up scores")]
mod tests {
    use super::*;
    use crate::eval::scores::Scored;

    fn sorted(scores: impl Iterator<Item = f32>) -> Descending {
        let made: Vec<_> = scores.map(|score| Scored { score, images: (0, 1), people: (0, 1) }).collect();
        Descending::new(&made)
    }

    const ORIGIN: CalibrationOrigin<'_> = CalibrationOrigin {
        version: "7",
        mode: "fast",
        score: "cosine(\"m\")",
        fitted_on: "a list",
        fitted_at: "2026-11-24",
        images: 3,
    };

    #[test]
    fn the_marks_are_at_their_rates() {
        // A rate ten times lower has a threshold 0.1 higher.
        let impostor = sorted((1..=200_000_u32).map(|rank| 0.7 - 0.1 * (rank as f32).log10()));
        let genuine = sorted([0.95, 0.97].into_iter());
        let text = calibration(&genuine, &impostor, &ORIGIN).unwrap();
        let read: toml::Table = text.parse().unwrap();
        assert_eq!(read["score"].as_str(), Some("cosine(\"m\")"));
        for point in read["operating_points"].as_array().unwrap() {
            let number = |name: &str| point[name].as_float().unwrap();
            if point["extrapolated"].as_bool() == Some(false) {
                let found = impostor.share_at(number("raw") as f32);
                assert!(found <= number("fmr") * 1.000_001 && found > number("fmr") * 0.8, "{point:?} {found}");
            }
        }
        let marks: Vec<_> = read["operating_points"]
            .as_array()
            .unwrap()
            .iter()
            .map(|point| point["calibrated"].as_float().unwrap())
            .collect();
        assert_eq!(marks, [0.05, 0.1, 0.25, 0.45, 0.525, 0.6, 0.675, 0.75, 0.8, 0.85, 0.9]);
    }

    #[test]
    fn too_few_or_equal_impostors_give_no_calibration() {
        let genuine = sorted([0.9].into_iter());
        let few = sorted([0.1, 0.2].into_iter());
        assert_eq!(calibration(&genuine, &few, &ORIGIN), Err(FitFault::TooFew(2)));
        let flat = sorted(std::iter::repeat_n(0.5, LEAST_IMPOSTORS));
        assert_eq!(calibration(&genuine, &flat, &ORIGIN), Err(FitFault::Flat));
    }

    #[test]
    fn a_parabola_is_recovered() {
        let points: Vec<_> = [-2.0, -2.5, -3.0, -3.5, -4.0].map(|x: f64| (x, 1.0 - 0.5 * x + 0.25 * x * x)).to_vec();
        assert!((parabola_at(&points, -5.0) - (1.0 + 2.5 + 6.25)).abs() < 1e-6);
    }
}
