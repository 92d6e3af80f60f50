//! Schemas of what is sent to us. `domain::request` reads it; nothing here is ever deserialized.

use serde_json::{Value, json};
use utoipa::openapi::schema::{AdditionalProperties, Discriminator, Object, OneOfBuilder, SchemaFormat, Type};
use utoipa::openapi::{ObjectBuilder, Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::capture_os::CaptureOs;
use crate::domain::evidence::Mode;
use crate::domain::identity::IdType;
use crate::domain::job::Lane;
use crate::domain::tenant::Service;

/// A grey square, so that an example can be sent as it stands.
pub const EXAMPLE_IMAGE: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAQAAAAECAAAAACMmsGiAAAADklEQVR42mM4AQQMqAQAfRQMgbbgsWYAAAAASUVORK5CYII=";

/// A name of our own for a format that JSON Schema has no word for: Base64 of a picture, or a data URL of one.
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
                "The file in Base64, raw or as a data URL. The bytes decide the format, not a declared type.",
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
            .description(Some("The file in Base64, raw or as a data URL. The bytes decide the format."));
        OneOfBuilder::new()
            .item(inline)
            .item(Ref::from_schema_name("UploadedImage"))
            .description(Some("An MP4 or WebM of at most 50 MB and 60 seconds, its frames at most 4096 x 2160 pixels."))
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
    /// Of the upload's answer.
    #[schema(format = "uuid")]
    pub image_id: String,
}

/// The threshold at which so many of all pairs of strangers pass, by the calibration's measurements.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FalseMatchRate {
    /// False match rate, within the range that was measured.
    #[schema(exclusive_minimum = 0.0, maximum = 1.0, examples(1e-4))]
    pub fmr: f64,
}

/// A threshold on the scale of 0 to 1.
pub struct Threshold;

impl PartialSchema for Threshold {
    fn schema() -> RefOr<Schema> {
        OneOfBuilder::new()
            .item(number(0.0, 1.0))
            .item(Ref::from_schema_name("FalseMatchRate"))
            .description(Some(
                "A similarity in [0, 1] at or above which two faces pass, or the false match rate to be had there.",
            ))
            .examples([json!(0.75), json!({ "fmr": 1e-4 })])
            .into()
    }
}

impl ToSchema for Threshold {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        add::<FalseMatchRate>(schemas);
    }
}

/// A threshold on the scale of 0 to 100.
pub struct ScoreThreshold;

impl PartialSchema for ScoreThreshold {
    fn schema() -> RefOr<Schema> {
        // 0.75 on this scale would approve strangers: what lies between 0 and 1 is refused.
        let zero = ObjectBuilder::new().schema_type(Type::Number).enum_values(Some([json!(0)]));
        let above = ObjectBuilder::new().schema_type(Type::Number).exclusive_minimum(Some(1)).maximum(Some(100));
        OneOfBuilder::new()
            .item(zero)
            .item(above)
            .item(Ref::from_schema_name("FalseMatchRate"))
            .description(Some(
                "A score in [0, 100], or the false match rate to be had there. Numbers above 0 and up to 1 are refused: \
                 they are meant for another scale.",
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

/// Compares a photo with a probe: one threshold, passed at or above it.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LikenessCheck {
    /// The reference, usually the portrait on the ID document.
    pub photo: Image,
    /// The probe, usually a selfie.
    pub probe_image: Image,
    /// Default: the organisation's, or 0.75.
    pub similarity_threshold: Option<Threshold>,
    /// Default: the deployment's, `ACCURATE` unless set otherwise.
    pub search_mode: Option<Mode>,
}

/// Compares a selfie with the portrait that an identity source has for a number.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IdMatch {
    pub selfie: Image,
    #[schema(min_length = 1, max_length = 64, pattern = r"^[!-~]([ -~]*[!-~])?$", examples("12345678901"))]
    pub id_number: String,
    /// Matched without regard to case.
    pub id_type: IdType,
    /// Default: the organisation's, or 0.75. 0.85 is strict, 0.75 balanced, 0.60 permissive.
    pub threshold: Option<Threshold>,
    pub search_mode: Option<Mode>,
}

/// Compares the portrait of a document with a live image: approved, reviewed or rejected by two thresholds. The live side is
/// one of `target_image`, `target_frames` and `target_video`.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FaceMatch {
    /// A photo of the document, or of its portrait.
    pub source_image: Image,
    /// The live image.
    pub target_image: Option<Image>,
    /// Several live images, in the order in which they were taken: the best one is compared.
    #[schema(min_items = 2, max_items = 30)]
    pub target_frames: Option<Vec<Image>>,
    /// A live video: the best of its frames is compared.
    pub target_video: Option<Video>,
    /// From `POST /v1/liveness/challenges`, with frames or a video that show its actions.
    #[schema(min_length = 1)]
    pub challenge: Option<String>,
    /// Approved at or above it. Default: the organisation's, or 75.
    pub approve_score: Option<ScoreThreshold>,
    /// Rejected below it; not above `approve_score`. Default: the organisation's, or 60.
    pub review_score: Option<ScoreThreshold>,
    pub search_mode: Option<Mode>,
}

/// Compares a probe with a gallery, then tests the probe for liveness if the best score suffices.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompareWithLiveness {
    /// What the probe was taken on.
    pub os: CaptureOs,
    /// One selfie.
    pub probe: Image,
    #[schema(min_items = 1, max_items = 32)]
    pub gallery: Vec<Image>,
    pub search_mode: Mode,
    #[schema(minimum = 0.67, maximum = 0.95, default = 0.85)]
    pub compare_min_score: Option<f64>,
    /// Default: the organisation's for this `os`, or for all, or 0.60.
    #[schema(minimum = 0.52, maximum = 1.0)]
    pub liveness_min_score: Option<f64>,
}

/// A job of any kind, told apart by `kind`.
pub struct JobRequest;

impl PartialSchema for JobRequest {
    fn schema() -> RefOr<Schema> {
        let mapping =
            Service::ALL.iter().map(|&service| (service.name(), format!("#/components/schemas/{}", name(service))));
        Service::ALL
            .iter()
            .fold(OneOfBuilder::new(), |one_of, service| one_of.item(Ref::from_schema_name(name(*service))))
            .discriminator(Some(Discriminator::with_mapping("kind", mapping)))
            .description(Some("A job of any kind. Fields that are not listed are refused, as a misspelt threshold would decide wrongly."))
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

/// Up to 16 strings of the caller's, given back untouched.
pub struct Metadata;

impl PartialSchema for Metadata {
    fn schema() -> RefOr<Schema> {
        // The database stores no U+0000.
        let text = |most| {
            Object::builder().schema_type(Type::String).max_length(Some(most)).pattern(Some(r"^[^\u0000]*$")).build()
        };
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .max_properties(Some(16))
            .property_names(Some(text(64)))
            .additional_properties(Some(AdditionalProperties::RefOr(text(512).into())))
            .description(Some("Up to 16 strings of the caller's, given back untouched."))
            .examples([json!({ "case": "7" })])
            .into()
    }
}

impl ToSchema for Metadata {}

/// The same for every kind, save the fields of `request`.
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
        .description(Some("Default: bulk."));
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
    fn every_example_is_a_request_that_is_taken() {
        for &service in Service::ALL {
            let body = example(service).to_string();
            let read = request::parse(Form::Native, body.as_bytes(), Lane::Bulk, &Defaults::default());
            assert_eq!(read.map(|it| it.params.service()).map_err(|fault| fault.message), Ok(service));
        }
    }
}
