//! Schemas of requests. `domain::request` parses them; the types here only describe them.

use serde_json::{Value, json};
use utoipa::openapi::schema::{AdditionalProperties, Discriminator, Object, OneOfBuilder, SchemaFormat, Type};
use utoipa::openapi::{ObjectBuilder, Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::capture_os::CaptureOs;
use crate::domain::evidence::Mode;
use crate::domain::identity::IdType;
use crate::domain::job::Lane;
use crate::domain::tenant::Service;

/// A grey square, so that the examples can be sent unchanged.
pub const EXAMPLE_IMAGE: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAQAAAAECAAAAACMmsGiAAAADklEQVR42mM4AQQMqAQAfRQMgbbgsWYAAAAASUVORK5CYII=";

/// Our own name for a format that JSON Schema does not have: an image in Base64 or as a data URL.
pub const IMAGE_FORMAT: &str = "image-base64";

/// An image: the file in Base64, a data URL, or the id of an upload.
pub struct Image;

impl PartialSchema for Image {
    fn schema() -> RefOr<Schema> {
        let inline = ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::Custom(IMAGE_FORMAT.to_owned())))
            .min_length(Some(1))
            .content_media_type("image/*")
            .description(Some(
                "The file in Base64 or as a data URL. The bytes decide the format, whatever type is declared.",
            ));
        OneOfBuilder::new()
            .item(inline)
            .item(Ref::from_schema_name("UploadedImage"))
            .description(Some("A JPEG, PNG or WebP of at most 10 MB, 6,000 pixels a side and 24 megapixels."))
            .examples([EXAMPLE_IMAGE])
            .into()
    }
}

impl ToSchema for Image {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        add::<UploadedImage>(schemas);
    }
}

/// A video: the file in Base64, a data URL, or the id of an upload.
pub struct Video;

impl PartialSchema for Video {
    fn schema() -> RefOr<Schema> {
        let inline = ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .content_encoding("base64")
            .content_media_type("video/*")
            .description(Some("The file in Base64 or as a data URL. The bytes decide the format."));
        OneOfBuilder::new()
            .item(inline)
            .item(Ref::from_schema_name("UploadedImage"))
            .description(Some(
                "An MP4 or WebM of at most 50 MB and 60 seconds, with frames of at most 4096 x 2160 pixels.",
            ))
            .into()
    }
}

impl ToSchema for Video {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        add::<UploadedImage>(schemas);
    }
}

/// An image or a video that was uploaded before.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UploadedImage {
    /// The `id` in the answer to the upload.
    #[schema(format = "uuid")]
    pub image_id: String,
}

/// A threshold given as a false match rate: the share of pairs of strangers that pass, as measured for the calibration.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FalseMatchRate {
    /// The false match rate. It must lie within the measured range.
    #[schema(exclusive_minimum = 0.0, maximum = 1.0, examples(1e-4))]
    pub fmr: f64,
}

/// A threshold on the scale of 0 to 1.
pub struct SimilarityThreshold;

impl PartialSchema for SimilarityThreshold {
    fn schema() -> RefOr<Schema> {
        OneOfBuilder::new()
            .item(number(0.0, 1.0))
            .item(Ref::from_schema_name("FalseMatchRate"))
            .description(Some("Two faces pass at or above it: a similarity in [0, 1], or a false match rate."))
            .examples([json!(0.75), json!({ "fmr": 1e-4 })])
            .into()
    }
}

impl ToSchema for SimilarityThreshold {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        add::<FalseMatchRate>(schemas);
    }
}

/// A threshold on the scale of 0 to 100.
pub struct ScoreThreshold;

impl PartialSchema for ScoreThreshold {
    fn schema() -> RefOr<Schema> {
        // A caller who means 0.75 of 1 would approve strangers, so numbers above 0 and up to 1 are refused.
        let zero = ObjectBuilder::new().schema_type(Type::Number).enum_values(Some([json!(0)]));
        let above = ObjectBuilder::new().schema_type(Type::Number).exclusive_minimum(Some(1)).maximum(Some(100));
        OneOfBuilder::new()
            .item(zero)
            .item(above)
            .item(Ref::from_schema_name("FalseMatchRate"))
            .description(Some(
                "A score in [0, 100], or a false match rate. Numbers above 0 and up to 1 are refused, because they are meant \
                 for the scale of 0 to 1.",
            ))
            .examples([json!(75), json!({ "fmr": 1e-4 })])
            .into()
    }
}

impl ToSchema for ScoreThreshold {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        add::<FalseMatchRate>(schemas);
    }
}

/// Compares a photo with a probe. They match at or above one threshold.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LikenessCheck {
    /// The reference, usually the portrait on the ID document.
    pub photo: Image,
    /// The probe, usually a selfie.
    pub probe_image: Image,
    /// Default: the organisation's, else 0.75.
    pub similarity_threshold: Option<SimilarityThreshold>,
    /// Default: the deployment's, which is `ACCURATE` unless set otherwise.
    pub search_mode: Option<Mode>,
}

/// Compares a selfie with the portrait that an identity source has for a number.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IdMatch {
    pub selfie: Image,
    #[schema(min_length = 1, max_length = 64, pattern = r"^[!-~]([ -~]*[!-~])?$", examples("12345678901"))]
    pub id_number: String,
    /// In upper or lower case.
    pub id_type: IdType,
    /// Default: the organisation's, else 0.75. 0.85 is strict, 0.75 balanced, 0.60 permissive.
    pub threshold: Option<SimilarityThreshold>,
    pub search_mode: Option<Mode>,
}

/// Compares the portrait of a document with a live image. Two thresholds decide between approval, review and rejection.
/// The live side is one of `target_image`, `target_frames` and `target_video`.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FaceMatch {
    /// A photo of the document, or of its portrait.
    pub source_image: Image,
    /// The live image.
    pub target_image: Option<Image>,
    /// Several live images in the order in which they were taken. The best one is compared.
    #[schema(min_items = 2, max_items = 30)]
    pub target_frames: Option<Vec<Image>>,
    /// A live video. The best of its frames is compared.
    pub target_video: Option<Video>,
    /// From `POST /v1/liveness/challenges`; needs frames or a video that show its actions.
    #[schema(min_length = 1)]
    pub challenge: Option<String>,
    /// At or above it: approved. Default: the organisation's, else 75.
    pub approve_score: Option<ScoreThreshold>,
    /// Below it: rejected. It must not be above `approve_score`. Default: the organisation's, else 60.
    pub review_score: Option<ScoreThreshold>,
    pub search_mode: Option<Mode>,
}

/// Compares a probe with a gallery, then tests the liveness of the probe if the best score is high enough.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompareWithLiveness {
    /// The system on which the probe was taken.
    pub os: CaptureOs,
    /// One selfie.
    pub probe: Image,
    #[schema(min_items = 1, max_items = 32)]
    pub gallery: Vec<Image>,
    pub search_mode: Mode,
    #[schema(minimum = 0.67, maximum = 0.95, default = 0.85)]
    pub compare_min_score: Option<f64>,
    /// Default: the organisation's for this `os`, else its general one, else 0.60.
    #[schema(minimum = 0.52, maximum = 1.0)]
    pub liveness_min_score: Option<f64>,
}

/// A job of any kind; `kind` says which.
pub struct JobRequest;

impl PartialSchema for JobRequest {
    fn schema() -> RefOr<Schema> {
        let mapping =
            Service::ALL.iter().map(|&service| (service.name(), format!("#/components/schemas/{}", name(service))));
        Service::ALL
            .iter()
            .fold(OneOfBuilder::new(), |one_of, service| one_of.item(Ref::from_schema_name(name(*service))))
            .discriminator(Some(Discriminator::with_mapping("kind", mapping)))
            .description(Some("A job of any kind. Unknown fields are refused, because a mistyped threshold would lead to a wrong verdict."))
            .examples(Service::ALL.iter().copied().map(example))
            .into()
    }
}

impl ToSchema for JobRequest {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        add::<LikenessCheck>(schemas);
        add::<IdMatch>(schemas);
        add::<FaceMatch>(schemas);
        add::<CompareWithLiveness>(schemas);
        add::<Lane>(schemas);
        add::<Metadata>(schemas);
        schemas.extend(Service::ALL.iter().map(|&service| (name(service).to_owned(), envelope(service))));
    }
}

/// Up to 16 strings of the caller, sent back unchanged.
pub struct Metadata;

impl PartialSchema for Metadata {
    fn schema() -> RefOr<Schema> {
        // The database cannot store U+0000.
        let text = |most| {
            Object::builder().schema_type(Type::String).max_length(Some(most)).pattern(Some(r"^[^\u0000]*$")).build()
        };
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .max_properties(Some(16))
            .property_names(Some(text(64)))
            .additional_properties(Some(AdditionalProperties::RefOr(text(512).into())))
            .description(Some("Up to 16 strings of the caller, sent back unchanged."))
            .examples([json!({ "case": "7" })])
            .into()
    }
}

impl ToSchema for Metadata {}

/// The envelope of a job. Only `request` depends on the kind.
fn envelope(service: Service) -> RefOr<Schema> {
    let request = match service {
        Service::LikenessCheck => "LikenessCheck",
        Service::IdMatch => "IdMatch",
        Service::FaceMatch => "FaceMatch",
        Service::CompareWithLiveness => "CompareWithLiveness",
    };
    let lane = OneOfBuilder::new()
        .item(ObjectBuilder::new().schema_type(Type::Null))
        .item(Ref::from_schema_name("Lane"))
        .description(Some("Default: `interactive` for requests over HTTP, `bulk` for submissions over AMQP."));
    let metadata =
        OneOfBuilder::new().item(ObjectBuilder::new().schema_type(Type::Null)).item(Ref::from_schema_name("Metadata"));
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("version", ObjectBuilder::new().schema_type(Type::Integer).enum_values(Some([1])))
        .property("kind", ObjectBuilder::new().schema_type(Type::String).enum_values(Some([service.name()])))
        .property("lane", lane)
        .property("request", Ref::from_schema_name(request))
        .property("metadata", metadata)
        .required("version")
        .required("kind")
        .required("request")
        .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)))
        .into()
}

fn name(service: Service) -> &'static str {
    match service {
        Service::LikenessCheck => "LikenessCheckJob",
        Service::IdMatch => "IdMatchJob",
        Service::FaceMatch => "FaceMatchJob",
        Service::CompareWithLiveness => "CompareWithLivenessJob",
    }
}

/// A request of that kind, as a caller may send it.
#[must_use]
pub fn example(service: Service) -> Value {
    let request = match service {
        Service::LikenessCheck => json!({ "photo": EXAMPLE_IMAGE, "probe_image": EXAMPLE_IMAGE }),
        Service::IdMatch => json!({ "selfie": EXAMPLE_IMAGE, "id_number": "12345678901", "id_type": "nin" }),
        Service::FaceMatch => json!({
            "source_image": EXAMPLE_IMAGE,
            "target_image": format!("data:image/png;base64,{EXAMPLE_IMAGE}"),
            "approve_score": 80,
            "review_score": 65,
        }),
        Service::CompareWithLiveness => json!({
            "os": "ANDROID",
            "probe": EXAMPLE_IMAGE,
            "gallery": [EXAMPLE_IMAGE],
            "search_mode": "ACCURATE",
        }),
    };
    json!({ "version": 1, "kind": service.name(), "request": request, "metadata": { "case": "7" } })
}

fn number(minimum: f64, maximum: f64) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Number).minimum(Some(minimum)).maximum(Some(maximum))
}

/// The schema, and those that it refers to.
pub(super) fn add<T: ToSchema>(schemas: &mut Vec<(String, RefOr<Schema>)>) {
    schemas.push((T::name().into_owned(), T::schema()));
    T::schemas(schemas);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::request::{self, Defaults, Form};

    #[test]
    fn every_example_is_a_valid_request() {
        for &service in Service::ALL {
            let body = example(service).to_string();
            let read = request::parse(Form::Native, body.as_bytes(), Lane::Bulk, &Defaults::default());
            assert_eq!(read.map(|submission| submission.params.service()).map_err(|fault| fault.message), Ok(service));
        }
    }
}
