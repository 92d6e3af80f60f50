//! The native request, version 1: every kind in one envelope, by `POST /v1/jobs` and over AMQP.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::fields::{Fields, Items, metadata, read, required, string, threshold};
use super::images::{image, read_image};
use super::{Defaults, RequestFault, fault};
use crate::domain::evidence::Threshold;
use crate::domain::identity::{IdNumber, IdType};
use crate::domain::image::ImageRole;
use crate::domain::job::{Lane, Params, Submission, SubmittedImage};

/// More images than any gallery has.
const MAX_GALLERY: usize = 32;

pub(super) fn parse(body: &[u8], default_lane: Lane, defaults: &Defaults) -> Result<Submission, RequestFault> {
    let mut root = Fields::of(body)?;
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
    let mut request: Fields<'_> = read(request).ok_or_else(|| {
        fault("invalid_type", Some("request"), "request must be a JSON object of few fields".to_owned())
    })?;
    request.prefix = "request.";
    root.refuse_rest()?;

    let (params, id_number) = params(&kind, &mut request, defaults)?;
    let images = images(&params, &mut request, defaults)?;
    request.refuse_rest()?;
    Ok(Submission { params, lane, metadata, images, id_number })
}

fn params(
    kind: &str,
    request: &mut Fields<'_>,
    defaults: &Defaults,
) -> Result<(Params, Option<IdNumber>), RequestFault> {
    let mode = match request.take("search_mode")? {
        // That product's clients always name it.
        None if kind == "compare_with_liveness" => return Err(missing("request.search_mode")),
        None => defaults.mode,
        Some(value) => read(value).ok_or_else(|| {
            fault("invalid_search_mode", Some("request.search_mode"), "search_mode must be FAST or ACCURATE".to_owned())
        })?,
    };
    let params = match kind {
        "likeness_check" => {
            let threshold = threshold(request, "similarity_threshold", 1.0, defaults.threshold)?;
            Params::LikenessCheck { threshold, mode }
        }
        "id_match" => {
            let id_type = string(required(request.take("id_type")?, "request.id_type")?, "request.id_type")?;
            let id_type = IdType::parse(&id_type).ok_or_else(|| {
                let message = "id_type must be nin, bvn, vnin, drivers_license or passport".to_owned();
                fault("unknown_id_type", Some("request.id_type"), message)
            })?;
            let number = string(required(request.take("id_number")?, "request.id_number")?, "request.id_number")?;
            let number = IdNumber::parse(&number).ok_or_else(|| {
                let message = "id_number must have 1 to 64 printable characters".to_owned();
                fault("invalid_id_number", Some("request.id_number"), message)
            })?;
            let threshold = threshold(request, "threshold", 1.0, defaults.id_match)?;
            return Ok((Params::IdMatch { id_type, threshold, mode }, Some(number)));
        }
        "face_match" => {
            for field in ["target_frames", "target_video"] {
                if request.take(field)?.is_some() {
                    let message = format!("{field} is not supported by this version: send one target_image");
                    return Err(fault("unsupported_field", Some(&request.path(field)), message));
                }
            }
            let approve = threshold(request, "approve_score", 100.0, defaults.approve)?;
            let review = threshold(request, "review_score", 100.0, Threshold::min(defaults.review, approve))?;
            if review > approve {
                let message = "review_score must not be above approve_score".to_owned();
                return Err(fault("invalid_threshold", Some("request.review_score"), message));
            }
            Params::FaceMatch { approve, review, liveness: defaults.liveness, mode }
        }
        "compare_with_liveness" => {
            let os = read(required(request.take("os")?, "request.os")?).ok_or_else(|| {
                fault("invalid_os", Some("request.os"), "os must be DESKTOP, IOS or ANDROID".to_owned())
            })?;
            let compare_min = bounded(request, "compare_min_score", (0.67, 0.95), defaults.compare_min)?;
            let liveness_min = bounded(request, "liveness_min_score", (0.52, 1.0), defaults.liveness_min)?;
            Params::CompareWithLiveness { compare_min, liveness_min, os, mode }
        }
        _ => {
            let message =
                "kind must be \"likeness_check\", \"id_match\", \"face_match\" or \"compare_with_liveness\"".to_owned();
            return Err(fault("unknown_kind", Some("kind"), message));
        }
    };
    Ok((params, None))
}

fn images(params: &Params, request: &mut Fields<'_>, defaults: &Defaults) -> Result<Vec<SubmittedImage>, RequestFault> {
    let max = defaults.max_image_bytes;
    let mut images = match params {
        Params::IdMatch { .. } => Vec::new(),
        Params::LikenessCheck { .. } | Params::FaceMatch { .. } => {
            vec![image(request, params.field(ImageRole::Reference), ImageRole::Reference, max)?]
        }
        Params::CompareWithLiveness { .. } => gallery(request, max)?,
    };
    images.push(image(request, params.field(ImageRole::Probe), ImageRole::Probe, max)?);
    Ok(images)
}

/// 1 to 32 images.
fn gallery(request: &mut Fields<'_>, max_bytes: usize) -> Result<Vec<SubmittedImage>, RequestFault> {
    let path = request.path("gallery");
    let value = required(request.take("gallery")?, &path)?;
    let items: Option<Items<'_, MAX_GALLERY>> = read(value);
    let Some(Items(items)) = items.filter(|it| !it.0.is_empty()) else {
        return Err(fault("invalid_gallery", Some(&path), format!("{path} must be an array of 1 to 32 images")));
    };
    let image = |(position, value): (u16, &&RawValue)| {
        read_image(value, format!("{path}[{position}]"), ImageRole::Reference, position, max_bytes)
    };
    (0..).zip(&items).map(image).collect()
}

/// A threshold within the bounds that its product gives it.
fn bounded(
    request: &mut Fields<'_>,
    field: &str,
    (low, high): (f64, f64),
    default: Threshold,
) -> Result<Threshold, RequestFault> {
    let path = request.path(field);
    let wrong = || fault("invalid_threshold", Some(&path), format!("{field} must be a number in [{low}, {high}]"));
    match request.take(field)? {
        None => Ok(default),
        Some(value) => {
            let number = read::<f64>(value).filter(|number| (low..=high).contains(number)).ok_or_else(wrong)?;
            Threshold::new(number).map_err(|_| wrong())
        }
    }
}

fn missing(path: &str) -> RequestFault {
    fault("missing_field", Some(path), format!("{path} is required"))
}

fn version(value: Option<&RawValue>) -> Result<(), RequestFault> {
    match read::<u64>(required(value, "version")?) {
        Some(1) => Ok(()),
        _ => Err(fault("unknown_version", Some("version"), "version must be 1".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Form, MAX_BODY};
    use super::*;
    use crate::domain::evidence::Mode;
    use crate::domain::image::ImageFormat;
    use crate::domain::job::ImageContent;
    use crate::domain::tenant::LivenessPolicy;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const JPEG: &str = "/9j/4AAQ";

    fn read(value: &Value) -> Result<Submission, RequestFault> {
        parse(value.to_string().as_bytes(), Lane::Bulk, &Defaults::default())
    }

    fn parse(body: &[u8], lane: Lane, defaults: &Defaults) -> Result<Submission, RequestFault> {
        super::super::parse(Form::Native, body, lane, defaults)
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
        assert_eq!(
            submission.params,
            Params::FaceMatch {
                approve: at(0.75),
                review: at(0.60),
                liveness: LivenessPolicy::IfAvailable,
                mode: Mode::Accurate
            }
        );
        assert_eq!(submission.lane, Lane::Bulk);
        assert_eq!(submission.metadata["case"], "7");
        let ImageContent::Inline { format, .. } = submission.images[1].content else { panic!("not inline") };
        assert_eq!(format, ImageFormat::Jpeg, "the bytes decide, not the declared type");
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
        assert_eq!(
            submission.params,
            Params::FaceMatch { approve: at, review: at, liveness: LivenessPolicy::IfAvailable, mode: Mode::Accurate }
        );
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
