//! What commands print: text for people or, with `--json`, one JSON document for programs. Faults go to standard error.

use std::io::Write as _;

use anyhow::Context as _;
use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use comfy_table::{Table, presets};
use serde_json::Value;

/// The form of what a command prints.
#[derive(Args, Clone, Copy)]
pub(super) struct OutputArgs {
    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
}

/// The form of what a command prints while it runs.
#[derive(Args, Clone, Copy)]
pub(super) struct StreamOutputArgs {
    /// Print one JSON document per line instead of text
    #[arg(long)]
    pub json: bool,
}

impl OutputArgs {
    /// Prints `document`, or `text` where people read. Empty text prints nothing.
    ///
    /// # Errors
    /// When standard output is closed.
    pub(super) fn print(self, document: &Value, text: impl FnOnce() -> String) -> anyhow::Result<()> {
        print_line(&if self.json { format!("{document:#}") } else { text() })
    }
}

impl StreamOutputArgs {
    /// Prints one line: `document`, or `text` where people read.
    ///
    /// # Errors
    /// When standard output is closed.
    pub(super) fn print(self, document: &Value, text: impl FnOnce() -> String) -> anyhow::Result<()> {
        print_line(&if self.json { document.to_string() } else { text() })
    }
}

fn print_line(line: &str) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    let written = if line.is_empty() { Ok(()) } else { writeln!(output, "{line}") };
    written.and_then(|()| output.flush()).context("cannot write to standard output")
}

/// A table without lines, under `header`.
pub(super) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    table
}

/// A time in whole seconds of UTC, as tables show it.
pub(super) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
