//! A rate as people read it: "1 in 330".

use num_format::{Locale, ToFormattedString as _};

/// The rarest rate that is written out. Everything below it reads the same: "1 in 1,000,000,000,000".
const RAREST: f64 = 1e-12;

/// `0.003` as `1 in 330`: the reciprocal of a rate in [0, 1], rounded to two significant digits.
#[must_use]
pub fn one_in(rate: f64) -> String {
    let pairs = (1.0 / rate.clamp(RAREST, 1.0)).round();
    let unit = 10_f64.powf((pairs.log10().floor() - 1.0).max(0.0));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number from 1 to 1e12")]
    let rounded = ((pairs / unit).round() * unit) as u64;
    format!("1 in {}", rounded.to_formatted_string(&Locale::en))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_reads_as_one_in_so_many_to_two_digits() {
        for (rate, words) in [
            (1.0, "1 in 1"),
            (0.5, "1 in 2"),
            (0.01, "1 in 100"),
            (0.003_02, "1 in 330"),
            (1e-4, "1 in 10,000"),
            (8.1e-6, "1 in 120,000"),
            (3.2e-7, "1 in 3,100,000"),
            (0.0, "1 in 1,000,000,000,000"),
        ] {
            assert_eq!(one_in(rate), words);
        }
    }
}
