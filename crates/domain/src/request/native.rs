//! The native request, version 1: every kind in one envelope, by `POST /v1/jobs` and over AMQP.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::fields::{Fields, metadata, read, required, string};
use super::{
    Defaults, ParsedRequest, RequestFault, compare_with_liveness, face_match, fault, id_match, likeness_check,
};
use crate::job::{Lane, Submission};

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

    let ParsedRequest { params, images, id_number, challenge } = match &*kind {
        "likeness_check" => likeness_check::asked(&mut request, defaults)?,
        "id_match" => id_match::asked(&mut request, defaults)?,
        "face_match" => face_match::asked(&mut request, defaults)?,
        "compare_with_liveness" => compare_with_liveness::asked(&mut request, defaults, defaults.any_image())?,
        _ => {
            let message =
                "kind must be \"likeness_check\", \"id_match\", \"face_match\" or \"compare_with_liveness\"".to_owned();
            return Err(fault("unknown_kind", Some("kind"), message));
        }
    };
    request.refuse_rest()?;
    Ok(Submission { params, lane, metadata, images, id_number, challenge })
}

fn version(value: Option<&RawValue>) -> Result<(), RequestFault> {
    match read::<u64>(required(value, "version")?) {
        Some(1) => Ok(()),
        _ => Err(fault("unknown_version", Some("version"), "version must be 1".to_owned())),
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
        let probes: Vec<_> = frames.images[1..].iter().map(|it| (it.position, it.field.as_str())).collect();
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
