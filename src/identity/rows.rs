//! Reads the rows of an import file in JSONL or CSV one by one, because a file may be larger than memory.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

use serde_json::{Map, Value};

/// A row of the file. Has no `Debug`, so that no log can show the person.
pub struct ImportRow {
    /// The line where it begins, counted from 1.
    pub line: u64,
    /// Bytes of the file up to the end of the row.
    pub read: u64,
    pub content: Result<Content, RowFault>,
}

/// The content of a row.
pub struct Content {
    pub id_number: String,
    /// Base64, a data URL or a path.
    pub portrait: String,
    /// All other fields in the row's order.
    pub attributes: Map<String, Value>,
}

/// Why a row is not imported. It quotes nothing of the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowFault {
    /// Stable code for programs.
    pub code: &'static str,
    /// Text for people.
    pub message: String,
}

impl RowFault {
    #[must_use]
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// The format of an import file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportFormat {
    /// One JSON object per line.
    Jsonl,
    /// CSV with a header line.
    Csv,
}

/// Most bytes of a row: the largest portrait in Base64, and attributes.
const MAX_LINE: u64 = 16 << 20;
const NUMBER: &str = "id_number";
const PORTRAIT: &str = "portrait";

/// Opens a file and iterates over its rows. An error of the iterator ends it, because the rest cannot be read.
///
/// # Errors
/// When the file cannot be read, or its header lacks a column.
pub fn open(path: &Path, format: ImportFormat) -> io::Result<Box<dyn Iterator<Item = io::Result<ImportRow>> + Send>> {
    let file = File::open(path)?;
    match format {
        ImportFormat::Jsonl => Ok(Box::new(Jsonl { file: BufReader::new(file), line: 0, read: 0 })),
        ImportFormat::Csv => Ok(Box::new(Csv::open(file)?)),
    }
}

struct Jsonl {
    file: BufReader<File>,
    line: u64,
    read: u64,
}

impl Jsonl {
    fn next_row(&mut self) -> io::Result<Option<ImportRow>> {
        loop {
            let mut text = Vec::new();
            let taken = (&mut self.file).take(MAX_LINE).read_until(b'\n', &mut text)? as u64;
            if taken == 0 {
                return Ok(None);
            }
            self.line += 1;
            self.read += taken;
            let content = if taken == MAX_LINE && text.last() != Some(&b'\n') {
                self.read += self.file.skip_until(b'\n')? as u64;
                Err(RowFault::new("row_too_large", format!("the row has more than {MAX_LINE} bytes")))
            } else if text.trim_ascii().is_empty() {
                continue;
            } else {
                parse_json(&text)
            };
            return Ok(Some(ImportRow { line: self.line, read: self.read, content }));
        }
    }
}

impl Iterator for Jsonl {
    type Item = io::Result<ImportRow>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_row().transpose()
    }
}

fn parse_json(text: &[u8]) -> Result<Content, RowFault> {
    let row = serde_json::from_slice::<Map<String, Value>>(text.trim_ascii());
    // The parser's own message could quote the row.
    let mut row = row.map_err(|_| RowFault::new("malformed_row", "the line is not a JSON object"))?;
    let mut required = |name: &str| match row.shift_remove(name) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(RowFault::new("invalid_type", format!("{name} must be a string"))),
        None => Err(RowFault::new("missing_field", format!("{name} is missing"))),
    };
    let (id_number, portrait) = (required(NUMBER)?, required(PORTRAIT)?);
    Ok(Content { id_number, portrait, attributes: row })
}

struct Csv {
    reader: csv::Reader<BufReader<File>>,
    names: Vec<String>,
}

impl Csv {
    fn open(file: File) -> io::Result<Self> {
        let mut reader = csv::Reader::from_reader(BufReader::new(file));
        let wrong = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
        let names = reader.headers().map_err(|_| wrong("the header cannot be read as CSV in UTF-8".to_owned()))?;
        let names: Vec<String> =
            names.iter().map(|name| name.trim().trim_start_matches('\u{feff}').to_owned()).collect();
        for name in [NUMBER, PORTRAIT] {
            if !names.iter().any(|known| known == name) {
                return Err(wrong(format!("the header has no column {name}")));
            }
        }
        let mut seen = HashSet::new();
        if names.iter().any(|name| name.is_empty() || !seen.insert(name)) {
            return Err(wrong("the header has a column twice, or one without a name".to_owned()));
        }
        Ok(Self { reader, names })
    }

    fn parse(&self, record: &csv::StringRecord) -> Result<Content, RowFault> {
        let (mut id_number, mut portrait, mut attributes) = (String::new(), String::new(), Map::new());
        for (name, cell) in self.names.iter().zip(record) {
            match name.as_str() {
                NUMBER => cell.clone_into(&mut id_number),
                PORTRAIT => cell.clone_into(&mut portrait),
                // An empty cell is no attribute.
                _ if cell.is_empty() => {}
                _ => drop(attributes.insert(name.clone(), Value::from(cell))),
            }
        }
        for (name, cell) in [(NUMBER, &id_number), (PORTRAIT, &portrait)] {
            if cell.is_empty() {
                return Err(RowFault::new("missing_field", format!("{name} is missing")));
            }
        }
        Ok(Content { id_number, portrait, attributes })
    }
}

impl Iterator for Csv {
    type Item = io::Result<ImportRow>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut record = csv::StringRecord::new();
        let found = self.reader.read_record(&mut record);
        let at = self.reader.position().byte();
        match found {
            Ok(false) => None,
            Ok(true) => {
                let line = record.position().map_or(0, csv::Position::line);
                Some(Ok(ImportRow { line, read: at, content: self.parse(&record) }))
            }
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                let message = match error.into_kind() {
                    csv::ErrorKind::Io(error) => return Some(Err(error)),
                    csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                        format!("the row has {len} cells and the header {expected_len}")
                    }
                    _ => "the row cannot be read as CSV in UTF-8".to_owned(),
                };
                Some(Ok(ImportRow { line, read: at, content: Err(RowFault::new("malformed_row", message)) }))
            }
        }
    }
}
