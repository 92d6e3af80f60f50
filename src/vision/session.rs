//! ONNX Runtime: the one place that imports `ort`. The library is loaded at run time, once a process; a session belongs
//! to one thread and computes on that thread alone.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ndarray::{ArrayD, ArrayView4};
use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::Session;
use ort::value::{TensorElementType, TensorRef, ValueType};

use super::model::{Model, Outputs, RuntimeFault};

/// Name that every network of a pack gives its input.
const INPUT: &str = "input";

/// The loaded library. Clones share it.
#[derive(Clone)]
pub struct Runtime {
    environment: Environment,
    path: PathBuf,
}

static LOADED: Mutex<Option<Runtime>> = Mutex::new(None);

impl Runtime {
    /// Loads `libonnxruntime` from `path`, or returns it when that very file is loaded already.
    ///
    /// # Errors
    /// When the file is missing, no ONNX Runtime, too old, or another one is loaded.
    pub fn load(path: &Path) -> Result<Self, RuntimeFault> {
        let library = |source: Box<dyn std::error::Error + Send + Sync>| RuntimeFault::Library {
            path: path.display().to_string(),
            source,
        };
        // Links are resolved, so that `.so` and `.so.1` are one library.
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
        let runtime = Self { environment, path: file };
        *loaded = Some(runtime.clone());
        Ok(runtime)
    }

    /// The file that the library was loaded from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a session on `onnx` and checks that it takes and gives what the code feeds and reads.
    ///
    /// # Errors
    /// When the runtime refuses the bytes or the interface differs.
    pub fn open(&self, model: &str, onnx: &[u8], interface: &Interface) -> Result<OrtModel, RuntimeFault> {
        let session = self.session(onnx).map_err(|source| RuntimeFault::Model {
            model: model.to_owned(),
            what: "load",
            source: source.into(),
        })?;
        interface.check(model, &session)?;
        Ok(OrtModel { name: model.to_owned(), session })
    }

    fn session(&self, onnx: &[u8]) -> ort::Result<Session> {
        // One thread: two gained nothing per face on small networks and lost throughput. Without spinning, a session
        // that waits costs its core nothing.
        Session::builder(&self.environment)?
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            .with_intra_op_spinning(false)?
            .with_inter_op_spinning(false)?
            .commit_from_memory(onnx)
    }
}

/// What a network must take and give, the batch dimension left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Pixels of the square input [_, 3, side, side].
    pub side: usize,
    /// Names and shapes of the outputs that are read.
    pub outputs: Vec<(&'static str, Vec<usize>)>,
}

impl Interface {
    fn check(&self, model: &str, session: &Session) -> Result<(), RuntimeFault> {
        let input = vec![3, self.side, self.side];
        expect(model, "input", INPUT, &input, session.inputs().iter().map(|o| (o.name(), o.dtype())))?;
        for (name, shape) in &self.outputs {
            expect(model, "output", name, shape, session.outputs().iter().map(|o| (o.name(), o.dtype())))?;
        }
        Ok(())
    }
}

fn expect<'a>(
    model: &str,
    side: &str,
    name: &str,
    shape: &[usize],
    mut outlets: impl Iterator<Item = (&'a str, &'a ValueType)>,
) -> Result<(), RuntimeFault> {
    let fault = |found: String| RuntimeFault::Interface {
        model: model.to_owned(),
        found,
        expected: format!("an {side} \"{name}\" of f32 [batch, {}]", join(shape)),
    };
    let (_, dtype) = outlets.find(|(n, _)| *n == name).ok_or_else(|| fault(format!("it has no such {side}")))?;
    match dtype {
        ValueType::Tensor { ty: TensorElementType::Float32, shape: found, .. } if fits(found, shape) => Ok(()),
        other => Err(fault(format!("its {side} \"{name}\" is {other}"))),
    }
}

/// A batch dimension that is free or 1, then exactly `shape`.
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
    session: Session,
}

impl Model for OrtModel {
    fn name(&self) -> &str {
        &self.name
    }

    fn run(&mut self, input: ArrayView4<'_, f32>) -> Result<Outputs, RuntimeFault> {
        let outputs = run(&mut self.session, &input);
        outputs.map_err(|source| RuntimeFault::Model { model: self.name.clone(), what: "run", source: source.into() })
    }
}

fn run(session: &mut Session, input: &ArrayView4<'_, f32>) -> ort::Result<Outputs> {
    let tensor = TensorRef::from_array_view(input.view())?;
    let outputs = session.run(ort::inputs![INPUT => tensor])?;
    let read = |(name, value): (&str, ort::value::ValueRef<'_>)| -> ort::Result<(String, ArrayD<f32>)> {
        Ok((name.to_owned(), value.try_extract_array::<f32>()?.to_owned()))
    };
    Ok(Outputs::new(outputs.iter().map(read).collect::<ort::Result<_>>()?))
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
