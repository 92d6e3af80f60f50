//! Why vision fails: the image that was sent is at fault, or this machine is.

use visavis_domain::image::ImageFormat;

use super::provider::Provider;

/// Why a picture was not analysed. A picture without a face is not an error: see
/// [`Analysis::primary`](super::analysis::Analysis::primary).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The sent bytes are at fault. Sending them again does not help.
    #[error(transparent)]
    Image(#[from] ImageFault),
    /// This machine is at fault: a model, the ONNX Runtime or a panic. Another attempt may succeed.
    #[error(transparent)]
    Runtime(#[from] RuntimeFault),
    /// The caller's deadline passed first.
    #[error("the deadline passed before the picture was analysed")]
    Deadline,
    /// The engine was shut down, or the caller went away.
    #[error("the vision engine has been shut down")]
    Closed,
}

/// What is wrong with a sent image, in words for the person who sent it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ImageFault {
    /// The file has no bytes.
    #[error("the image is empty")]
    Empty,
    /// The file is not a JPEG, PNG or WebP file, or it is a variant that we do not read.
    #[error("the image is not a JPEG, PNG or WebP file")]
    UnsupportedFormat,
    /// The file has more bytes than we accept.
    #[error("the image file has {:.1} MB; at most {:.1} MB are accepted", megabytes(*.bytes), megabytes(*.limit))]
    TooLarge {
        /// Size of the file.
        bytes: usize,
        /// Largest accepted size.
        limit: usize,
    },
    /// One side is longer than we accept.
    #[error("the image measures {width} x {height} pixels; a side of at most {limit} pixels is accepted")]
    SideTooLong {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
        /// Longest accepted side.
        limit: u32,
    },
    /// The image has more pixels than we accept.
    #[error(
        "the image measures {width} x {height} pixels, {:.1} megapixels; at most {:.1} megapixels are accepted",
        megapixels(u64::from(*.width) * u64::from(*.height)),
        megapixels(*.limit)
    )]
    TooManyPixels {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
        /// Largest accepted number of pixels.
        limit: u64,
    },
    /// The file has more than one frame.
    #[error("the {} file is animated; send a still image", .0.name())]
    Animated(ImageFormat),
    /// The end of the file is missing.
    #[error("the {} file is cut short; send the whole file", .0.name())]
    Truncated(ImageFormat),
    /// The file breaks the rules of its format, or uses a feature that we do not read.
    #[error("the {} file is damaged or of an unusual kind and cannot be read", .0.name())]
    Invalid(ImageFormat),
}

impl ImageFault {
    /// The machine-readable code. It is stable across releases.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "empty_image",
            Self::UnsupportedFormat => "unsupported_image_format",
            Self::TooLarge { .. } => "image_too_large",
            Self::SideTooLong { .. } | Self::TooManyPixels { .. } => "too_many_pixels",
            Self::Animated(_) => "animated_image",
            Self::Truncated(_) | Self::Invalid(_) => "invalid_image",
        }
    }
}

/// Why a model, the ONNX Runtime or a compute thread failed.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeFault {
    /// The ONNX Runtime library could not be loaded, or its version is too old.
    #[error("cannot load the ONNX Runtime from {path}")]
    Library {
        /// The file that we tried to load.
        path: String,
        /// The loader's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A second library was requested. A process can load only one.
    #[error("the ONNX Runtime was already loaded from {loaded}, so it cannot be loaded from {asked}")]
    SecondLibrary {
        /// The library in use.
        loaded: String,
        /// The requested library.
        asked: String,
    },
    /// The requested provider is not a cargo feature of this binary.
    #[error(
        "this binary was built without the provider {provider}: build it with `cargo build --release --features {provider}`"
    )]
    NotBuilt {
        /// The requested provider.
        provider: Provider,
    },
    /// The ONNX Runtime does not offer the requested provider, or the provider's own libraries are missing.
    #[error(
        "the ONNX Runtime at {path} does not give the provider {provider}: set VISAVIS_ONNXRUNTIME to one that does"
    )]
    Provider {
        /// The requested provider.
        provider: Provider,
        /// The library.
        path: String,
        /// The runtime's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The ONNX Runtime refused a model.
    #[error("the ONNX Runtime does not open model {model} on {provider}: {advice}")]
    Load {
        /// Name of the model in the manifest.
        model: String,
        /// The provider on which it should have run.
        provider: Provider,
        /// What the operator can do.
        advice: &'static str,
        /// The runtime's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The ONNX Runtime failed to run a model.
    #[error("model {model} failed to {what}")]
    Model {
        /// Name of the model in the manifest.
        model: String,
        /// The step that failed, such as `run`.
        what: &'static str,
        /// The runtime's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A model's inputs or outputs are not those that the code expects.
    #[error("model {model} does not fit: {found}, but {expected} is needed")]
    Interface {
        /// Name of the model in the manifest.
        model: String,
        /// What the model has.
        found: String,
        /// What the code needs.
        expected: String,
    },
    /// A template lacks a vector that the mode compares.
    #[error("a template holds no vector of {model}; it was made in another mode or with another pack")]
    Template {
        /// Name of the model whose vector is missing.
        model: String,
    },
    /// A score was NaN or infinite.
    #[error("the comparison gave a score that is no number")]
    Score,
    /// A stage panicked. The thread continues with fresh sessions.
    #[error("the vision code panicked: {0}")]
    Panicked(String),
    /// A compute thread could not be started.
    #[error("cannot start a compute thread")]
    Thread(#[source] std::io::Error),
}

#[expect(clippy::cast_precision_loss, reason = "for display")]
fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "for display")]
fn megapixels(pixels: u64) -> f64 {
    pixels as f64 / 1e6
}
