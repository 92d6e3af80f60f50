//! The native request, version 1: every kind in one envelope, by `POST /v1/jobs` and over AMQP.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::fields::{Fields, metadata, read, required, string};
use super::{
    Defaults, ParsedRequest, RequestFault, compare_with_liveness, face_match, fault, id_match, likeness_check,
};
use crate::job::{Lane, Submission};
use crate::tenant::Service;

/// The fields of the envelope.
const FIELDS: &[&str] = &["version", "kind", "lane", "metadata", "request"];

/// Parses a native request.
pub(super) fn parse(body: &[u8], default_lane: Lane, defaults: &Defaults) -> Result<Submission, RequestFault> {
    let mut root = Fields::of(body)?;
    // A version that we do not know may have fields that we do not know: the version is what is wrong then.
    let version = root.take("version")?;
    if let Some(version) = version
        && read::<u64>(version) != Some(1)
    {
        return Err(fault("unknown_version", Some("version"), "version must be 1".to_owned()));
    }
    root.refuse_unknown(FIELDS)?;
    required(version, "version")?;
    let kind = kind(required(root.take("kind")?, "kind")?)?;
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
    "request.".clone_into(&mut request.prefix);
    request.refuse_unknown(fields_of(kind))?;

    let ParsedRequest { params, images, id_number, challenge } = match kind {
        Service::LikenessCheck => likeness_check::parse_fields(&mut request, defaults)?,
        Service::IdMatch => id_match::parse_fields(&mut request, defaults)?,
        Service::FaceMatch => face_match::parse_fields(&mut request, defaults)?,
        Service::CompareWithLiveness => {
            compare_with_liveness::parse_fields(&mut request, defaults, defaults.any_image())?
        }
    };
    Ok(Submission { params, lane, metadata, images, id_number, challenge })
}

fn kind(value: &RawValue) -> Result<Service, RequestFault> {
    Service::parse(&string(value, "kind")?).ok_or_else(|| {
        let message = "kind must be \"likeness_check\", \"id_match\", \"face_match\" or \"compare_with_liveness\"";
        fault("unknown_kind", Some("kind"), message.to_owned())
    })
}

fn fields_of(kind: Service) -> &'static [&'static str] {
    match kind {
        Service::LikenessCheck => likeness_check::FIELDS,
        Service::IdMatch => id_match::FIELDS,
        Service::FaceMatch => face_match::FIELDS,
        Service::CompareWithLiveness => compare_with_liveness::FIELDS,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Form, LARGEST_BODY};
    use super::*;
    use crate::evidence::{Mode, Threshold};
    use crate::image::{FileFormat, ImageFormat, VideoFormat};
    use crate::job::{ImageContent, JobParams, LiveCapture};
    use crate::tenant::LivenessPolicy;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const JPEG: &str = "/9j/4AAQ";
    /// The first bytes of an MP4.
    const MP4: &str = "AAAAIGZ0eXBpc29t";

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
            JobParams::FaceMatch {
                approve: at(0.75),
                review: at(0.60),
                target: LiveCapture::Image,
                liveness: LivenessPolicy::IfAvailable,
                liveness_min: Threshold::LIVE,
                challenge: Vec::new(),
                mode: Mode::Accurate
            }
        );
        assert_eq!(submission.lane, Lane::Bulk);
        assert_eq!(submission.metadata["case"], "7");
        let ImageContent::Inline { format, .. } = submission.images[1].content else { panic!("not inline") };
        assert_eq!(format, FileFormat::Image(ImageFormat::Jpeg), "the bytes decide, not the declared type");
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
            ("/request/target_video", Some(json!(MP4)), "conflicting_fields", "request.target_video"),
            ("/request/target_frames", Some(json!([JPEG, JPEG])), "conflicting_fields", "request.target_frames"),
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
    fn an_unknown_field_is_named_with_the_field_that_was_meant_also_where_a_required_one_is_misspelt() {
        let renamed = |pointer: &str, to: &str| {
            let value = good().pointer(pointer).cloned().unwrap();
            let mut root = with(pointer, None);
            let (parent, _) = pointer.rsplit_once('/').unwrap();
            root.pointer_mut(parent).unwrap()[to] = value;
            root
        };
        let upload = |value: Value| with("/request/target_image", Some(value));
        let at = "request.target_image";
        for (request, code, field, message) in [
            (renamed("/version", "verson"), "unknown_field", "verson", "unknown field verson, did you mean version?"),
            (renamed("/request", "requst"), "unknown_field", "requst", "unknown field requst, did you mean request?"),
            (
                renamed("/request/source_image", "source_imag"),
                "unknown_field",
                "request.source_imag",
                "unknown field request.source_imag, did you mean request.source_image?",
            ),
            // Objects in place of an image or a number keep the code of their field.
            (
                upload(json!({"imageid": "x"})),
                "invalid_type",
                at,
                "unknown field request.target_image.imageid, did you mean request.target_image.image_id?",
            ),
            (
                with("/request/approve_score", Some(json!({"fmrs": 1e-3}))),
                "invalid_threshold",
                "request.approve_score",
                "unknown field request.approve_score.fmrs, did you mean request.approve_score.fmr?",
            ),
            (
                with("/comment", Some(json!("x"))),
                "unknown_field",
                "comment",
                "unknown field comment: the fields here are version, kind, lane, metadata, request",
            ),
        ] {
            let fault = read(&request).err().unwrap();
            assert_eq!((fault.code, fault.field.as_deref()), (code, Some(field)));
            assert_eq!(fault.message, message);
        }
        let own = json!({"source_imag": JPEG, "target_image": JPEG}).to_string();
        let fault =
            super::super::parse(Form::FaceMatch, own.as_bytes(), Lane::Bulk, &Defaults::default()).err().unwrap();
        assert_eq!(fault.message, "unknown field source_imag, did you mean source_image?");
    }

    #[test]
    fn every_field_of_every_kind_is_read() {
        for &kind in Service::ALL {
            for &field in fields_of(kind) {
                let mut request = json!({
                    "photo": JPEG, "probe_image": JPEG, "selfie": JPEG, "id_type": "nin", "id_number": "1",
                    "source_image": JPEG, "target_frames": [JPEG, JPEG], "os": "IOS", "probe": JPEG, "gallery": [JPEG],
                    "search_mode": "FAST",
                });
                request.as_object_mut().unwrap().retain(|name, _| fields_of(kind).contains(&name.as_str()));
                if matches!(field, "target_image" | "target_video") {
                    request.as_object_mut().unwrap().remove("target_frames");
                }
                request[field] = json!(false);
                let body = json!({"version": 1, "kind": kind, "request": request});
                let fault = read(&body).err().unwrap_or_else(|| panic!("{field} of {} is ignored", kind.name()));
                assert_eq!(fault.field, Some(format!("request.{field}")), "{}: {}", kind.name(), fault.message);
            }
        }
    }

    /// `good()` with frames or a video in place of the image.
    fn aimed(field: &str, value: &Value) -> Value {
        let mut root = with("/request/target_image", None);
        root["request"][field] = value.clone();
        root
    }

    #[test]
    fn frames_and_a_video_stand_in_for_the_live_image() {
        let frames = read(&aimed("target_frames", &json!([JPEG, JPEG, JPEG]))).ok().unwrap();
        let JobParams::FaceMatch { target, .. } = frames.params else { panic!("another kind") };
        let probes: Vec<_> = frames.images[1..].iter().map(|image| (image.position, image.field.as_str())).collect();
        let named = ["request.target_frames[0]", "request.target_frames[1]", "request.target_frames[2]"];
        assert_eq!((target, probes), (LiveCapture::Frames, (0..).zip(named).collect()));

        let video = read(&aimed("target_video", &json!(format!("data:video/mp4;base64,{MP4}")))).ok().unwrap();
        let JobParams::FaceMatch { target, .. } = video.params else { panic!("another kind") };
        let ImageContent::Inline { format, .. } = video.images[1].content else { panic!("not inline") };
        assert_eq!((target, format), (LiveCapture::Video, FileFormat::Video(VideoFormat::Mp4)));

        let upload = json!({"image_id": "01a20177-fb1d-70ef-bfb0-d6924cc85f44"});
        let video = read(&aimed("target_video", &upload)).ok().unwrap();
        assert!(matches!(video.images[1].content, ImageContent::Upload { video: true, .. }));
    }

    #[test]
    fn too_few_or_too_many_frames_and_what_is_no_video_are_refused() {
        let many = json!(vec![JPEG; 31]);
        for (field, value, code, at) in [
            ("target_frames", json!([JPEG]), "invalid_frames", "request.target_frames"),
            ("target_frames", json!([]), "invalid_frames", "request.target_frames"),
            ("target_frames", json!(JPEG), "invalid_frames", "request.target_frames"),
            ("target_frames", many, "invalid_frames", "request.target_frames"),
            ("target_frames", json!([JPEG, 7]), "invalid_type", "request.target_frames[1]"),
            ("target_frames", json!([JPEG, MP4]), "unsupported_image_format", "request.target_frames[1]"),
            ("target_video", json!(JPEG), "unsupported_video_format", "request.target_video"),
            ("target_video", json!(""), "empty_image", "request.target_video"),
            ("target_video", json!({"image_id": 7}), "invalid_type", "request.target_video"),
        ] {
            let fault = read(&aimed(field, &value)).err().unwrap_or_else(|| panic!("{field} {value} was accepted"));
            assert_eq!((fault.code, fault.field.as_deref()), (code, Some(at)), "{}", fault.message);
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
        let body = vec![b' '; LARGEST_BODY + 1];
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
            JobParams::FaceMatch {
                approve: at,
                review: at,
                target: LiveCapture::Image,
                liveness: LivenessPolicy::IfAvailable,
                liveness_min: Threshold::LIVE,
                challenge: Vec::new(),
                mode: Mode::Accurate
            }
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
            for form in
                [Form::Native, Form::LikenessCheck, Form::IdMatch, Form::FaceMatch, Form::CompareWithLiveness]
            {
                let _ = super::super::parse(form, &body, Lane::Bulk, &Defaults::default());
            }
        }
    }
}
