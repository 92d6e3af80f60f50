//! Analyses every picture of a list once, on all threads of the engine. Results are appended to a journal, so that an
//! interrupted run continues where it stopped. The journal holds templates: only its owner may read it, and it is
//! removed when the report is written.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};

use crate::domain::evidence::Mode;
use crate::vision::{Analysis, Engine, Error, Template};

/// Time limit for one picture. It is far above what any takes, because the machine may be busy.
const PATIENCE: Duration = Duration::from_mins(5);

/// The result for one picture.
#[derive(Debug)]
pub struct Analysed {
    /// `None` when no usable face was found.
    pub template: Option<Template>,
    /// The reason, when the file was at fault.
    pub fault: Option<String>,
}

/// Why a run stops.
#[derive(Debug, thiserror::Error)]
pub enum AnalysesFault {
    #[error("cannot use {}: {source}", path.display())]
    Journal { path: PathBuf, source: std::io::Error },
    #[error("cannot read {}: {source}", path.display())]
    Picture { path: PathBuf, source: std::io::Error },
    #[error("{}: {source}", path.display())]
    Engine { path: PathBuf, source: Error },
}

/// How the pictures are analysed. Notes made under other conditions are not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    /// The networks as `name@version`.
    pub models: Vec<String>,
    pub mode: Mode,
    /// The score as a formula.
    pub score: String,
}

/// The journal's line for one picture.
#[derive(Serialize, Deserialize)]
struct Note {
    image: String,
    /// Length of the file and time of its last change in nanoseconds. A changed file is analysed again.
    stamp: (u64, u64),
    /// Embeddings by model: little-endian `f32` numbers in Base64.
    vectors: Option<HashMap<String, String>>,
    fault: Option<String>,
}

/// Analyses `images`, whose paths are relative to `folder`. `done` is called after each with the number of finished
/// pictures.
///
/// # Errors
/// When a file cannot be read, the journal cannot be written, or the engine fails. A file that is not a usable image is
/// not an error but a failure to acquire.
pub async fn run(
    images: &[String],
    folder: &Path,
    engine: &Engine,
    conditions: &Conditions,
    journal: &Path,
    done: impl Fn(usize),
) -> Result<Vec<Analysed>, AnalysesFault> {
    let fault = |source| AnalysesFault::Journal { path: journal.to_owned(), source };
    let mut known = read(journal, conditions);
    let mut file = open(journal, conditions, known.is_empty()).map_err(fault)?;
    let mut found: Vec<Option<Analysed>> = std::iter::repeat_with(|| None).take(images.len()).collect();
    let mut finished = 0;
    let mut due = Vec::new();
    for (at, image) in images.iter().enumerate() {
        let stamp =
            stamp(&folder.join(image)).map_err(|source| AnalysesFault::Picture { path: folder.join(image), source })?;
        match known.remove(image).filter(|note| note.stamp == stamp).and_then(Note::analysed) {
            Some(analysed) => {
                found[at] = Some(analysed);
                finished += 1;
            }
            None => due.push((at, image, stamp)),
        }
    }
    done(finished);
    let places = engine.free_places().max(1) * 2;
    let mut results = futures_util::stream::iter(due)
        .map(async |(at, image, stamp)| (at, image, stamp, analyse(&folder.join(image), engine, conditions.mode).await))
        .buffer_unordered(places);
    while let Some((at, image, stamp, result)) = results.next().await {
        let analysed = result?;
        let note = Note::of(image, stamp, &analysed, conditions);
        let mut line = serde_json::to_vec(&note).map_err(|error| fault(error.into()))?;
        line.push(b'\n');
        file.write_all(&line).map_err(fault)?;
        found[at] = Some(analysed);
        finished += 1;
        done(finished);
    }
    drop(results);
    Ok(found.into_iter().flatten().collect())
}

async fn analyse(path: &Path, engine: &Engine, mode: Mode) -> Result<Analysed, AnalysesFault> {
    let bytes = tokio::fs::read(path).await;
    let bytes = bytes.map_err(|source| AnalysesFault::Picture { path: path.to_owned(), source })?;
    match engine.analyse(Bytes::from(bytes), mode, Instant::now() + PATIENCE).await {
        Ok(Analysis { template, .. }) => Ok(Analysed { template, fault: None }),
        Err(Error::Image(fault)) => Ok(Analysed { template: None, fault: Some(fault.to_string()) }),
        Err(source) => Err(AnalysesFault::Engine { path: path.to_owned(), source }),
    }
}

fn stamp(path: &Path) -> std::io::Result<(u64, u64)> {
    let metadata = std::fs::metadata(path)?;
    let changed = metadata.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Ok((metadata.len(), u64::try_from(changed.as_nanos()).unwrap_or(u64::MAX)))
}

/// The notes of an earlier run under the same conditions. Reading ends at an incomplete line.
fn read(journal: &Path, conditions: &Conditions) -> HashMap<String, Note> {
    let Ok(file) = File::open(journal) else { return HashMap::new() };
    let mut lines = BufReader::new(file).lines().map_while(Result::ok);
    let head = lines.next().and_then(|line| serde_json::from_str::<Conditions>(&line).ok());
    if head.as_ref() != Some(conditions) {
        return HashMap::new();
    }
    lines.map_while(|line| serde_json::from_str::<Note>(&line).ok()).map(|note| (note.image.clone(), note)).collect()
}

fn open(journal: &Path, conditions: &Conditions, anew: bool) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).mode(0o600);
    if !anew {
        let mut file = options.append(true).open(journal)?;
        // The last line may be incomplete: start a new one.
        file.write_all(b"\n")?;
        return Ok(file);
    }
    let mut file = options.write(true).truncate(true).open(journal)?;
    let mut line = serde_json::to_vec(conditions)?;
    line.push(b'\n');
    file.write_all(&line)?;
    Ok(file)
}

impl Note {
    fn of(image: &str, stamp: (u64, u64), analysed: &Analysed, conditions: &Conditions) -> Self {
        let vectors = analysed.template.as_ref().map(|template| {
            let names = conditions.models.iter().filter_map(|label| label.split('@').next());
            let encode = |vector: &[f32]| {
                BASE64_STANDARD.encode(vector.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>())
            };
            names.filter_map(|name| Some((name.to_owned(), encode(template.vector(name)?)))).collect()
        });
        Self { image: image.to_owned(), stamp, vectors, fault: analysed.fault.clone() }
    }

    fn analysed(self) -> Option<Analysed> {
        let template = match self.vectors {
            None => None,
            Some(vectors) => {
                let mut template = Template::default();
                for (model, vector) in vectors {
                    let bytes = BASE64_STANDARD.decode(vector).ok()?;
                    let (numbers, rest) = bytes.as_chunks::<4>();
                    if !rest.is_empty() {
                        return None;
                    }
                    template.insert(&model, numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect());
                }
                Some(template)
            }
        };
        Some(Analysed { template, fault: self.fault })
    }
}
