//! The native request, version 1: JSON in, a [`Submission`] that needs no further check out.
//!
//! Every refusal has a stable code, names the field at fault and says what to do; none quotes a value.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::evidence::{Mode, Threshold};
use super::image::{ImageFormat, ImageRole};
use super::job::{Lane, Params, Submission, SubmittedImage};

/// What a caller may leave out, and how much may be sent.
#[derive(Debug, Clone)]
pub struct Defaults {
    /// For kinds with one threshold.
    pub threshold: Threshold,
    pub approve: Threshold,
    pub review: Threshold,
    pub mode: Mode,
    /// Bytes of one decoded image.
    pub max_image_bytes: usize,
}

impl Default for Defaults {
    fn default() -> Self {
        let at = |value| Threshold::new(value).unwrap_or_else(|_| unreachable!("a constant within [0, 1]"));
        Self {
            threshold: at(0.75),
            approve: at(0.75),
            review: at(0.60),
            mode: Mode::Accurate,
            max_image_bytes: 10_000_000,
        }
    }
}

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RequestFault {
    /// Stable, for programs.
    pub code: &'static str,
    /// The field at fault, as a path such as `request.photo`.
    pub field: Option<String>,
    /// For people; never holds a value that was sent.
    pub message: String,
}

/// The largest body that is read: two images of 10 MB in Base64, and room for the rest.
pub const MAX_BODY: usize = 28 << 20;

/// Reads a native request. Takes little more memory than the body and its decoded images, whatever the body holds.
///
/// # Errors
/// The first fault found.
pub fn parse(body: &[u8], default_lane: Lane, defaults: &Defaults) -> Result<Submission, RequestFault> {
    if body.len() > MAX_BODY {
        return Err(fault("body_too_large", None, format!("the body must be at most {MAX_BODY} bytes")));
    }
    let mut root: Fields = serde_json::from_slice(body).map_err(|error| {
        let place = format!("(line {}, column {})", error.line(), error.column());
        fault("malformed_json", None, format!("the body is not a JSON object that we can read {place}"))
    })?;
    version(root.take("version")?)?;
    let kind = string(required(root.take("kind")?, "kind")?, "kind")?;
    let lane = match root.take("lane")? {
        None => default_lane,
        Some(value) => read::<Cow<'_, str>>(value).and_then(|name| Lane::parse(&name)).ok_or_else(|| {
            fault("invalid_lane", Some("lane"), "lane must be \"interactive\" or \"bulk\"".to_owned())
        })?,
    };
    let metadata = metadata(root.take("metadata")?)?;
    let request = required(root.take("request")?, "request")?;
    let mut request: Fields = read(request).ok_or_else(|| {
        fault("invalid_type", Some("request"), "request must be a JSON object of few fields".to_owned())
    })?;
    request.prefix = "request.";
    root.refuse_rest()?;

    let mode = match request.take("search_mode")? {
        None => defaults.mode,
        Some(value) => read(value).ok_or_else(|| {
            fault("invalid_search_mode", Some("request.search_mode"), "search_mode must be FAST or ACCURATE".to_owned())
        })?,
    };
    let params = match &*kind {
        "likeness_check" => {
            let threshold = threshold(&mut request, "similarity_threshold", 1.0, defaults.threshold)?;
            Params::LikenessCheck { threshold, mode }
        }
        "face_match" => {
            for field in ["target_frames", "target_video"] {
                if request.take(field)?.is_some() {
                    let message = format!("{field} is not supported by this version: send one target_image");
                    return Err(fault("unsupported_field", Some(&format!("request.{field}")), message));
                }
            }
            let approve = threshold(&mut request, "approve_score", 100.0, defaults.approve)?;
            let review = threshold(&mut request, "review_score", 100.0, Threshold::min(defaults.review, approve))?;
            if review > approve {
                let message = "review_score must not be above approve_score".to_owned();
                return Err(fault("invalid_threshold", Some("request.review_score"), message));
            }
            Params::FaceMatch { approve, review, mode }
        }
        _ => {
            let message = "kind must be \"likeness_check\" or \"face_match\"".to_owned();
            return Err(fault("unknown_kind", Some("kind"), message));
        }
    };
    let reference = image(&mut request, params.field(ImageRole::Reference), defaults)?;
    let probe = image(&mut request, params.field(ImageRole::Probe), defaults)?;
    request.refuse_rest()?;
    Ok(Submission { params, lane, metadata, reference, probe })
}

/// The fields of a JSON object, unread: slices of the body. A tree of values would take many times the body's memory.
struct Fields<'a> {
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
    /// For paths in messages.
    prefix: &'static str,
}

/// More fields than any request has.
const MAX_FIELDS: usize = 32;

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of few fields")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                    if fields.len() == MAX_FIELDS {
                        return Err(serde::de::Error::custom("too many fields"));
                    }
                    fields.push((name.0, value));
                }
                Ok(Fields { fields, prefix: "" })
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A string, borrowed from the body where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Fields<'a> {
    /// Takes a field out; null counts as absent.
    fn take(&mut self, name: &str) -> Result<Option<&'a RawValue>, RequestFault> {
        let Some(at) = self.fields.iter().position(|(found, _)| found == name) else { return Ok(None) };
        let (_, value) = self.fields.swap_remove(at);
        if self.fields.iter().any(|(found, _)| found == name) {
            let path = format!("{}{name}", self.prefix);
            return Err(fault("duplicate_field", Some(&path), format!("{path} is given twice")));
        }
        Ok(Some(value).filter(|value| value.get() != "null"))
    }

    /// A misspelt threshold that is silently ignored would decide wrongly.
    fn refuse_rest(&self) -> Result<(), RequestFault> {
        let Some((name, _)) = self.fields.first() else { return Ok(()) };
        let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(64).collect();
        let path = format!("{}{name}", self.prefix);
        Err(fault("unknown_field", Some(&path), format!("{path} is not a field of this request: check its spelling")))
    }
}

fn read<'a, T: Deserialize<'a>>(value: &'a RawValue) -> Option<T> {
    serde_json::from_str(value.get()).ok()
}

fn required<'a>(value: Option<&'a RawValue>, path: &str) -> Result<&'a RawValue, RequestFault> {
    value.ok_or_else(|| fault("missing_field", Some(path), format!("{path} is required")))
}

fn string<'a>(value: &'a RawValue, path: &str) -> Result<Cow<'a, str>, RequestFault> {
    let text: Option<Text<'a>> = read(value);
    text.map(|text| text.0).ok_or_else(|| fault("invalid_type", Some(path), format!("{path} must be a string")))
}

fn version(value: Option<&RawValue>) -> Result<(), RequestFault> {
    match read::<u64>(required(value, "version")?) {
        Some(1) => Ok(()),
        _ => Err(fault("unknown_version", Some("version"), "version must be 1".to_owned())),
    }
}

fn metadata(value: Option<&RawValue>) -> Result<BTreeMap<String, String>, RequestFault> {
    const MESSAGE: &str =
        "metadata must be an object of at most 16 strings, names up to 64 and values up to 512 characters";
    let wrong = || fault("invalid_metadata", Some("metadata"), MESSAGE.to_owned());
    let Some(value) = value else { return Ok(BTreeMap::new()) };
    let Fields { fields, .. } = read(value).ok_or_else(wrong)?;
    let read = fields.iter().map(|(name, value)| {
        let Text(text) = read(value)?;
        // Postgres cannot store U+0000 in JSON.
        let fits =
            name.chars().count() <= 64 && text.chars().count() <= 512 && !name.contains('\0') && !text.contains('\0');
        fits.then(|| (name.clone().into_owned(), text.into_owned()))
    });
    let metadata: BTreeMap<_, _> = read.collect::<Option<_>>().ok_or_else(wrong)?;
    if fields.len() <= 16 && metadata.len() == fields.len() { Ok(metadata) } else { Err(wrong()) }
}

fn threshold(request: &mut Fields<'_>, field: &str, scale: f64, default: Threshold) -> Result<Threshold, RequestFault> {
    match request.take(field)? {
        None => Ok(default),
        Some(value) => {
            let wrong = |message| fault("invalid_threshold", Some(&format!("request.{field}")), message);
            let number = read::<f64>(value).filter(|number| (0.0..=scale).contains(number));
            let number = number.ok_or_else(|| wrong(format!("{field} must be a number in [0, {scale}]")))?;
            // 0.75 on a scale of 100 would approve strangers.
            if scale > 1.0 && number > 0.0 && number <= 1.0 {
                return Err(wrong(format!("{field} is on a scale of 0 to {scale}, not of 0 to 1")));
            }
            Threshold::new(number / scale).map_err(|_| wrong(format!("{field} must be a number in [0, {scale}]")))
        }
    }
}

/// Padding is optional, as clients differ; trailing bits must be zero.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn image(request: &mut Fields<'_>, field: &str, defaults: &Defaults) -> Result<SubmittedImage, RequestFault> {
    let path = format!("request.{field}");
    let value = required(request.take(field)?, &path)?;
    let Some(Text(text)) = read(value) else {
        let message = format!("{field} must be a string: the image in Base64, or a data URL");
        return Err(fault("invalid_type", Some(&path), message));
    };
    let encoded = match text.strip_prefix("data:") {
        None => &*text,
        Some(rest) => rest.split_once(";base64,").map(|(_, data)| data).ok_or_else(|| {
            let message = format!("{field} must be a data URL with ;base64, or plain Base64");
            fault("invalid_base64", Some(&path), message)
        })?,
    };
    let too_large = || {
        let limit = defaults.max_image_bytes;
        fault("image_too_large", Some(&path), format!("{field} must be at most {limit} bytes once decoded"))
    };
    // Checked before the decoder allocates; four characters hold three bytes. White space may add to it.
    if encoded.len() / 4 * 3 > defaults.max_image_bytes.saturating_mul(2) {
        return Err(too_large());
    }
    let compact: Cow<'_, str> = if encoded.bytes().any(|byte| byte.is_ascii_whitespace()) {
        encoded.split_ascii_whitespace().collect::<String>().into()
    } else {
        encoded.into()
    };
    let bytes = BASE64.decode(compact.as_bytes()).map_err(|_| {
        fault("invalid_base64", Some(&path), format!("{field} is not valid Base64 (URLs are not fetched)"))
    })?;
    if bytes.is_empty() {
        return Err(fault("empty_image", Some(&path), format!("{field} is empty: send the file's bytes in Base64")));
    }
    if bytes.len() > defaults.max_image_bytes {
        return Err(too_large());
    }
    let format = ImageFormat::sniff(&bytes).ok_or_else(|| {
        let message = format!("{field} is not a JPEG, PNG or WebP file (the bytes decide, not the declared type)");
        fault("unsupported_image_format", Some(&path), message)
    })?;
    Ok(SubmittedImage { format, bytes: Bytes::from(bytes) })
}

fn fault(code: &'static str, field: Option<&str>, message: String) -> RequestFault {
    RequestFault { code, field: field.map(str::to_owned), message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const JPEG: &str = "/9j/4AAQ";

    fn read(value: &Value) -> Result<Submission, RequestFault> {
        parse(value.to_string().as_bytes(), Lane::Bulk, &Defaults::default())
    }

    fn good() -> Value {
        json!({"version": 1, "kind": "face_match", "metadata": {"case": "7"},
               "request": {"source_image": JPEG, "target_image": format!("data:image/png;base64,{JPEG}")}})
    }

    /// `good()` with the value at a JSON pointer replaced, or removed by `None`.
    fn with(pointer: &str, value: Option<Value>) -> Value {
        let mut root = good();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = root.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        match value {
            Some(value) => parent.insert(name.to_owned(), value),
            None => parent.remove(name),
        };
        root
    }

    #[test]
    fn a_good_request_is_read_with_its_defaults() {
        let submission = read(&good()).ok().unwrap();
        let at = |value| Threshold::new(value).unwrap();
        assert_eq!(submission.params, Params::FaceMatch { approve: at(0.75), review: at(0.60), mode: Mode::Accurate });
        assert_eq!(submission.lane, Lane::Bulk);
        assert_eq!(submission.metadata["case"], "7");
        assert_eq!(submission.probe.format, ImageFormat::Jpeg, "the bytes decide, not the declared type");
    }

    #[test]
    fn each_fault_has_its_code_and_names_its_field() {
        let long = "A".repeat(28_000_000);
        let cases: Vec<(&str, Option<Value>, &str, &str)> = vec![
            ("/version", None, "missing_field", "version"),
            ("/version", Some(json!(2)), "unknown_version", "version"),
            ("/version", Some(json!("1")), "unknown_version", "version"),
            ("/kind", None, "missing_field", "kind"),
            ("/kind", Some(json!("palm_reading")), "unknown_kind", "kind"),
            ("/kind", Some(json!(7)), "invalid_type", "kind"),
            ("/lane", Some(json!("fast")), "invalid_lane", "lane"),
            ("/metadata", Some(json!({"a": 1})), "invalid_metadata", "metadata"),
            ("/metadata", Some(json!({"a": "\0"})), "invalid_metadata", "metadata"),
            ("/metadata", Some(json!("text")), "invalid_metadata", "metadata"),
            ("/request", None, "missing_field", "request"),
            ("/request", Some(json!([])), "invalid_type", "request"),
            ("/request/source_image", None, "missing_field", "request.source_image"),
            ("/request/target_image", Some(json!(5)), "invalid_type", "request.target_image"),
            ("/request/target_image", Some(json!("")), "empty_image", "request.target_image"),
            ("/request/target_image", Some(json!("not base64!")), "invalid_base64", "request.target_image"),
            ("/request/target_image", Some(json!("data:image/png,abc")), "invalid_base64", "request.target_image"),
            ("/request/target_image", Some(json!("aGVsbG8=")), "unsupported_image_format", "request.target_image"),
            ("/request/target_image", Some(json!(long)), "image_too_large", "request.target_image"),
            ("/request/target_video", Some(json!("")), "unsupported_field", "request.target_video"),
            ("/request/approve_score", Some(json!(101)), "invalid_threshold", "request.approve_score"),
            ("/request/approve_score", Some(json!(0.75)), "invalid_threshold", "request.approve_score"),
            ("/request/approve_score", Some(json!("75")), "invalid_threshold", "request.approve_score"),
            ("/request/review_score", Some(json!(80)), "invalid_threshold", "request.review_score"),
            ("/request/search_mode", Some(json!("SLOW")), "invalid_search_mode", "request.search_mode"),
            ("/request/treshold", Some(json!(1)), "unknown_field", "request.treshold"),
            ("/extra", Some(json!(1)), "unknown_field", "extra"),
        ];
        for (pointer, value, code, field) in cases {
            let fault = read(&with(pointer, value)).err().unwrap_or_else(|| panic!("{pointer} was accepted"));
            assert_eq!((fault.code, fault.field.as_deref()), (code, Some(field)), "{}", fault.message);
        }
    }

    #[test]
    fn bodies_that_are_no_object_are_malformed() {
        for body in ["", "{", "[]", "null", "\"x\"", "{\"version\": 1,}", "\u{feff}{}"] {
            assert_eq!(parse(body.as_bytes(), Lane::Bulk, &Defaults::default()).err().unwrap().code, "malformed_json");
        }
    }

    #[test]
    fn a_field_given_twice_is_refused_rather_than_guessed() {
        let body = good().to_string().replacen('{', "{\"version\":1,", 1);
        let fault = parse(body.as_bytes(), Lane::Bulk, &Defaults::default()).err().unwrap();
        assert_eq!((fault.code, fault.field.as_deref()), ("duplicate_field", Some("version")));
        let body = good().to_string().replacen(
            "{\"source_image\"",
            "{\"approve_score\":1,\"approve_score\":99,\"source_image\"",
            1,
        );
        let fault = parse(body.as_bytes(), Lane::Bulk, &Defaults::default()).err().unwrap();
        assert_eq!((fault.code, fault.field.as_deref()), ("duplicate_field", Some("request.approve_score")));
    }

    #[test]
    fn objects_of_very_many_fields_and_bodies_beyond_the_limit_are_refused() {
        let many = (0..1000).map(|i| format!("\"f{i}\":0")).collect::<Vec<_>>().join(",") + ",";
        let body = good().to_string().replacen('{', &format!("{{{many}"), 1);
        assert_eq!(parse(body.as_bytes(), Lane::Bulk, &Defaults::default()).err().unwrap().code, "malformed_json");
        let body = vec![b' '; MAX_BODY + 1];
        assert_eq!(parse(&body, Lane::Bulk, &Defaults::default()).err().unwrap().code, "body_too_large");
    }

    #[test]
    fn escapes_in_names_and_images_are_understood() {
        let body = good().to_string().replacen("\"kind\"", "\"k\\u0069nd\"", 1).replace(JPEG, "\\/9j\\/4AAQ");
        assert!(parse(body.as_bytes(), Lane::Bulk, &Defaults::default()).is_ok());
    }

    #[test]
    fn an_approve_score_below_the_default_review_score_closes_the_band() {
        let submission = read(&with("/request/approve_score", Some(json!(50)))).ok().unwrap();
        let at = Threshold::new(0.5).unwrap();
        assert_eq!(submission.params, Params::FaceMatch { approve: at, review: at, mode: Mode::Accurate });
    }

    #[test]
    fn line_breaks_and_missing_padding_in_base64_are_tolerated() {
        assert!(read(&with("/request/source_image", Some(json!("/9j/\r\n4A==")))).is_ok());
        assert!(read(&with("/request/source_image", Some(json!("/9j/4A")))).is_ok());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&body, Lane::Bulk, &Defaults::default());
        }
    }
}
