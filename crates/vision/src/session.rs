//! ONNX Runtime. No other file imports `ort`. The library is loaded at run time, once in a process. A session belongs
//! to one thread, and on the CPU it computes only on that thread.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ndarray::{ArrayD, ArrayView4};
use ort::environment::Environment;
use ort::ep::{self, ExecutionProviderDispatch};
use ort::logging::LogLevel;
use ort::session::Session;
use ort::session::builder::SessionBuilder;
use ort::value::{TensorElementType, TensorRef, ValueType};

use super::fault::RuntimeFault;
use super::model::{Model, Outputs};
use super::provider::Provider;

/// The loaded library, and the provider of its sessions. Clones share the library.
#[derive(Clone)]
pub struct Runtime {
    environment: Environment,
    path: PathBuf,
    provider: Provider,
}

static LOADED: Mutex<Option<Runtime>> = Mutex::new(None);

impl Runtime {
    /// Loads `libonnxruntime` from `path`, or returns it if that file is already loaded. Sessions compute on the CPU.
    ///
    /// # Errors
    /// When the file is missing, is not an ONNX Runtime or is too old, or when another library is loaded.
    pub fn load(path: &Path) -> Result<Self, RuntimeFault> {
        let library = |source: Box<dyn std::error::Error + Send + Sync>| RuntimeFault::Library {
            path: path.display().to_string(),
            source,
        };
        // Links are resolved, so that `.so` and `.so.1` count as one library.
        let file = path.canonicalize().map_err(|e| library(Box::new(e)))?;
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = loaded.as_ref() {
            if runtime.path == file {
                return Ok(runtime.clone());
            }
            return Err(RuntimeFault::SecondLibrary {
                loaded: runtime.path.display().to_string(),
                asked: path.display().to_string(),
            });
        }
        let builder = ort::init_from(&file).map_err(|e| library(Box::new(e)))?;
        let environment =
            builder.with_name("visavis").with_telemetry(false).build().map_err(|e| library(Box::new(e)))?;
        environment.set_log_level(LogLevel::Warning);
        let runtime = Self { environment, path: file, provider: Provider::Cpu };
        *loaded = Some(runtime.clone());
        Ok(runtime)
    }

    /// The same library, with sessions that compute on `provider`. A network that does not run there completely does
    /// not open.
    ///
    /// # Errors
    /// When this binary or the library was built without the provider.
    pub fn on(self, provider: Provider) -> Result<Self, RuntimeFault> {
        let registered = registration(provider).ok_or(RuntimeFault::NotBuilt { provider })?;
        let missing = |source: ort::Error| RuntimeFault::Provider {
            provider,
            path: self.path.display().to_string(),
            source: source.into(),
        };
        self.builder().and_then(|mut builder| registered.register(&mut builder)).map_err(missing)?;
        Ok(Self { provider, ..self })
    }

    /// The file that the library was loaded from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The provider on which sessions compute.
    #[must_use]
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// Opens a session on `onnx`, and checks its inputs and outputs.
    ///
    /// # Errors
    /// When the runtime refuses the bytes, the provider does not run the whole network, or the inputs or outputs
    /// differ.
    pub fn open(&self, model: &str, onnx: &[u8], interface: &Interface) -> Result<OrtModel, RuntimeFault> {
        let session = self.session(onnx, interface).map_err(|source| RuntimeFault::Load {
            model: model.to_owned(),
            provider: self.provider,
            advice: advice(&source, self.provider),
            source: source.into(),
        })?;
        interface.check(model, &session)?;
        Ok(OrtModel { name: model.to_owned(), interface: interface.clone(), session })
    }

    fn session(&self, onnx: &[u8], interface: &Interface) -> ort::Result<Session> {
        let mut builder = self.builder()?;
        for (dimension, size) in &interface.free {
            builder = builder.with_dimension_override(dimension, *size)?;
        }
        if self.provider != Provider::Cpu {
            // Otherwise the runtime would silently run on the CPU whatever the provider does not support.
            builder = builder.with_disable_cpu_fallback()?;
        }
        if let Some(registered) = registration(self.provider) {
            registered.register(&mut builder)?;
        }
        builder.commit_from_memory(onnx)
    }

    fn builder(&self) -> ort::Result<SessionBuilder> {
        // One thread: a second one made small networks no faster and reduced the throughput. Without spinning, a
        // waiting session does not use its core.
        Ok(Session::builder(&self.environment)?
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            .with_intra_op_spinning(false)?
            .with_inter_op_spinning(false)?)
    }
}

/// The provider in `ort`; `None` when this binary was built without it.
fn registration(provider: Provider) -> Option<ExecutionProviderDispatch> {
    match provider {
        Provider::Cpu => Some(ep::CPU::default().with_arena_allocator(true).build()),
        #[cfg(feature = "cuda")]
        Provider::Cuda => Some(ep::CUDA::default().build()),
        #[cfg(feature = "tensorrt")]
        Provider::TensorRt => Some(ep::TensorRT::default().build()),
        #[cfg(feature = "openvino")]
        Provider::OpenVino => Some(ep::OpenVINO::default().with_num_threads(1).build()),
        #[cfg(feature = "migraphx")]
        Provider::MiGraphX => Some(ep::MIGraphX::default().build()),
        #[cfg_attr(
            all(feature = "cuda", feature = "tensorrt", feature = "openvino", feature = "migraphx"),
            expect(unreachable_patterns, reason = "with every provider built in, none is left")
        )]
        _ => None,
    }
}

/// What the operator can do about a network that the runtime refuses.
fn advice(error: &ort::Error, provider: Provider) -> &'static str {
    let said = error.message();
    if error.code() == ort::ErrorCode::InvalidProtobuf || said.contains("No graph") {
        "the file is not an ONNX model; restore it, or pull its pack again"
    } else if said.contains("opset") || said.contains("IR version") {
        "its ONNX version is too new for this runtime; set VISAVIS_ONNXRUNTIME to a newer runtime"
    } else if provider == Provider::Cpu {
        "set VISAVIS_ONNXRUNTIME to another version of the runtime"
    } else {
        "the provider must run the whole model; repair the provider, or set VISAVIS_PROVIDER to cpu or auto"
    }
}

/// The inputs and outputs that a network must have, without the batch dimension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Name of the input in the file.
    pub input: String,
    /// Pixels of the square input [batch, 3, side, side], a side.
    pub side: usize,
    /// Names and sizes of the dimensions that the file leaves free.
    pub free: Vec<(String, i64)>,
    /// The outputs that are read.
    pub outputs: Vec<OutputSpec>,
}

/// An output of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputSpec {
    /// Name in the code.
    pub name: String,
    /// Name in the file.
    pub tensor: String,
    /// The shape, without the batch dimension.
    pub shape: Vec<usize>,
}

impl Interface {
    fn check(&self, model: &str, session: &Session) -> Result<(), RuntimeFault> {
        let input = vec![3, self.side, self.side];
        expect(
            model,
            "input",
            &self.input,
            &input,
            session.inputs().iter().map(|input| (input.name(), input.dtype())),
        )?;
        for OutputSpec { tensor, shape, .. } in &self.outputs {
            expect(
                model,
                "output",
                tensor,
                shape,
                session.outputs().iter().map(|output| (output.name(), output.dtype())),
            )?;
        }
        Ok(())
    }
}

fn expect<'a>(
    model: &str,
    side: &str,
    name: &str,
    shape: &[usize],
    mut found: impl Iterator<Item = (&'a str, &'a ValueType)>,
) -> Result<(), RuntimeFault> {
    let fault = |found: String| RuntimeFault::Interface {
        model: model.to_owned(),
        found,
        expected: format!("an {side} \"{name}\" of f32 [batch, {}]", join(shape)),
    };
    let (_, dtype) = found.find(|(found, _)| *found == name).ok_or_else(|| fault(format!("it has no such {side}")))?;
    match dtype {
        ValueType::Tensor { ty: TensorElementType::Float32, shape: found, .. } if fits(found, shape) => Ok(()),
        other => Err(fault(format!("its {side} \"{name}\" is {other}"))),
    }
}

/// Whether `found` is a batch dimension that is free or 1, and then exactly `shape`.
fn fits(found: &[i64], shape: &[usize]) -> bool {
    let Some((batch, rest)) = found.split_first() else { return false };
    matches!(batch, -1 | 1) && rest.iter().map(|&d| usize::try_from(d).ok()).eq(shape.iter().map(|&d| Some(d)))
}

fn join(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

/// A network in ONNX Runtime.
pub struct OrtModel {
    name: String,
    interface: Interface,
    session: Session,
}

impl Model for OrtModel {
    fn name(&self) -> &str {
        &self.name
    }

    fn run(&mut self, input: ArrayView4<'_, f32>) -> Result<Outputs, RuntimeFault> {
        let outputs = run(&mut self.session, &self.interface, &input);
        outputs.map_err(|source| RuntimeFault::Model { model: self.name.clone(), what: "run", source: source.into() })
    }
}

fn run(session: &mut Session, interface: &Interface, input: &ArrayView4<'_, f32>) -> ort::Result<Outputs> {
    let tensor = TensorRef::from_array_view(input.view())?;
    let outputs = session.run(ort::inputs![interface.input.as_str() => tensor])?;
    let read = |output: &OutputSpec| -> ort::Result<(String, ArrayD<f32>)> {
        Ok((output.name.clone(), outputs[output.tensor.as_str()].try_extract_array::<f32>()?.to_owned()))
    };
    Ok(Outputs::new(interface.outputs.iter().map(read).collect::<ort::Result<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_batch_may_be_free() {
        assert!(fits(&[-1, 3, 8, 8], &[3, 8, 8]));
        assert!(fits(&[1, 3, 8, 8], &[3, 8, 8]));
        for other in [&[-1, 3, 8][..], &[2, 3, 8, 8], &[-1, 3, -1, 8], &[-1, 3, 8, 9], &[]] {
            assert!(!fits(other, &[3, 8, 8]));
        }
    }

    #[test]
    fn a_missing_library_is_named() {
        let fault = Runtime::load(Path::new("/nowhere/libonnxruntime.so")).err().unwrap();
        assert_eq!(fault.to_string(), "cannot load the ONNX Runtime from /nowhere/libonnxruntime.so");
    }
}
