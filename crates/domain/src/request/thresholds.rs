//! Thresholds in requests: a number within the bounds of its field, or a false match rate that stands for one.

use serde_json::value::RawValue;

use super::fields::{Fields, read};
use super::{RequestFault, fault};
use crate::evidence::{Mode, Threshold};
use crate::rates::Rates;

/// How one field writes its threshold.
pub(super) struct Spelling<'a> {
    pub(super) field: &'a str,
    /// The number that stands for a similarity of 1.
    pub(super) scale: f64,
    pub(super) default: Threshold,
}

/// What turns `{"fmr": 1e-4}` into a threshold: the rates, and the mode whose rates count.
#[derive(Clone, Copy)]
pub(super) struct RateLookup<'a> {
    pub(super) rates: Option<&'a Rates>,
    pub(super) mode: Mode,
}

/// A number in [0, `scale`], or a false match rate.
pub(super) fn threshold(
    request: &mut Fields<'_>,
    spelling: &Spelling<'_>,
    rates: RateLookup<'_>,
) -> Result<Threshold, RequestFault> {
    let &Spelling { field, scale, default } = spelling;
    let path = request.path(field);
    let Some(value) = request.take(field)? else { return Ok(default) };
    let wrong = |message| fault("invalid_threshold", Some(&path), message);
    if value.get().starts_with('{') {
        return of_rate(value, &path, rates);
    }
    let number = read::<f64>(value).filter(|number| (0.0..=scale).contains(number));
    let number = number.ok_or_else(|| {
        wrong(format!("{field} must be a number in [0, {scale}], or a false match rate such as {{\"fmr\": 1e-3}}"))
    })?;
    // 0.75 on a scale of 100 would approve strangers.
    if scale > 1.0 && number > 0.0 && number <= 1.0 {
        return Err(wrong(format!("{field} is on a scale of 0 to {scale}, not of 0 to 1")));
    }
    Threshold::new(number / scale).map_err(|_| wrong(format!("{field} must be a number in [0, {scale}]")))
}

/// A number in [0, 1] and nothing else. Wrong types and numbers out of range have different codes.
pub(super) fn plain_threshold(
    request: &mut Fields<'_>,
    field: &str,
    default: Threshold,
) -> Result<Threshold, RequestFault> {
    let path = request.path(field);
    let Some(value) = request.take(field)? else { return Ok(default) };
    if !value.get().starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
        return Err(fault("invalid_threshold", Some(&path), format!("{path} must be a number")));
    }
    // A number too large for a float is out of range as well.
    read::<f64>(value)
        .and_then(|number| Threshold::new(number).ok())
        .ok_or_else(|| fault("threshold_out_of_range", Some(&path), format!("{path} must be a number in [0, 1]")))
}

/// A number within the bounds that the original product sets.
pub(super) fn bounded(
    request: &mut Fields<'_>,
    field: &str,
    (low, high): (f64, f64),
    default: Threshold,
) -> Result<Threshold, RequestFault> {
    let path = request.path(field);
    let Some(value) = request.take(field)? else { return Ok(default) };
    read::<f64>(value)
        .filter(|number| (low..=high).contains(number))
        .and_then(|number| Threshold::new(number).ok())
        .ok_or_else(|| fault("invalid_threshold", Some(&path), format!("{field} must be a number in [{low}, {high}]")))
}

fn of_rate(value: &RawValue, path: &str, lookup: RateLookup<'_>) -> Result<Threshold, RequestFault> {
    let wrong = |message| fault("invalid_threshold", Some(path), message);
    let shape = || wrong(format!("{path} must be a number, or a false match rate such as {{\"fmr\": 1e-3}}"));
    let mut fields: Fields<'_> = read(value).ok_or_else(shape)?;
    fields.prefix = format!("{path}.");
    fields.refuse_unknown(&["fmr"]).map_err(|unknown| wrong(unknown.message))?;
    let fmr = fields.take("fmr")?.and_then(read::<f64>).ok_or_else(shape)?;
    let Some(rates) = lookup.rates else {
        return Err(wrong(format!("{path}: false match rates are not known here; send a number")));
    };
    rates.threshold_at(lookup.mode, fmr).map_err(|measured| {
        let (low, high) = (measured.low, measured.high);
        wrong(format!("{path}: false match rates were measured from {low:e} to {high:e}; send one of these"))
    })
}
