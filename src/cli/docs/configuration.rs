//! `visavis docs configuration`: every setting of this binary as Markdown tables, read from the command line's own
//! definition, so that the page cannot differ from the code.

use std::collections::HashSet;
use std::fmt::Write as _;

use clap::{Arg, Command};

/// Where `serve` stands among the commands; its settings come first.
const SERVE: &str = "serve";

/// One setting: an environment variable, and the flag with the same meaning.
struct Setting {
    heading: String,
    variable: String,
    flag: String,
    default: String,
    meaning: String,
    /// Full names of the commands that read it, without the binary's name.
    commands: Vec<String>,
}

/// The tables for all settings of `command`, which must be built: those of `serve` by topic, then the others with the
/// commands that read them.
pub(super) fn tables(command: &Command) -> String {
    let (mut settings, mut others) = (Vec::new(), Vec::new());
    if let Some(serve) = command.find_subcommand(SERVE) {
        collect(serve, SERVE, &mut settings);
    }
    let known: HashSet<String> = settings.iter().map(|setting| setting.variable.clone()).collect();
    walk(command, "", &mut others);
    others.retain(|setting| !known.contains(&setting.variable));
    let mut text = String::new();
    let mut headings: Vec<&str> = Vec::new();
    for setting in &settings {
        if !headings.contains(&&*setting.heading) {
            headings.push(&setting.heading);
        }
    }
    for heading in headings {
        let _ = writeln!(text, "## {heading}\n\n| variable | flag | default | meaning |\n|---|---|---|---|");
        for setting in settings.iter().filter(|setting| setting.heading == heading) {
            let Setting { variable, flag, default, meaning, .. } = setting;
            let _ = writeln!(text, "| `{variable}` | `{flag}` | {default} | {meaning} |");
        }
        text.push('\n');
    }
    text.push_str("## Other commands\n\n| variable | flag | default | meaning | read by |\n|---|---|---|---|---|\n");
    for Setting { variable, flag, default, meaning, commands, .. } in &others {
        let commands = commands.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "| `{variable}` | `{flag}` | {default} | {meaning} | {commands} |");
    }
    text
}

fn walk(command: &Command, name: &str, settings: &mut Vec<Setting>) {
    collect(command, name, settings);
    for child in command.get_subcommands().filter(|child| child.get_name() != "help") {
        let name = format!("{name} {}", child.get_name());
        walk(child, name.trim_start(), settings);
    }
}

fn collect(command: &Command, name: &str, settings: &mut Vec<Setting>) {
    for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
        let (Some(variable), Some(flag)) = (arg.get_env(), arg.get_long()) else { continue };
        let variable = variable.to_string_lossy().into_owned();
        if let Some(known) = settings.iter_mut().find(|setting| setting.variable == variable) {
            known.commands.push(name.to_owned());
            continue;
        }
        let (meaning, default) = meaning_and_default(arg);
        settings.push(Setting {
            heading: arg.get_help_heading().unwrap_or("General").to_owned(),
            variable,
            flag: format!("--{flag}"),
            default,
            meaning,
            commands: vec![name.to_owned()],
        });
    }
}

/// The help text and the default. A default that is not one value stands in the text as `[default: ...]`.
fn meaning_and_default(arg: &Arg) -> (String, String) {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default().replace('|', "\\|");
    let (meaning, stated) = match help.split_once(" [default: ") {
        Some((meaning, default)) => (meaning.to_owned(), Some(default.trim_end_matches(']').to_owned())),
        None => (help, None),
    };
    let values = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect::<Vec<_>>().join(",");
    let default = match stated {
        Some(default) => default,
        None if arg.is_required_set() => "**required**".to_owned(),
        None if !values.is_empty() => format!("`{values}`"),
        None => "none".to_owned(),
    };
    (meaning, default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_of_serve_has_a_topic_and_a_meaning() {
        let text = tables(&crate::cli::command());
        assert!(!text.contains("## General"), "{text}");
        for line in text.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<_> = line.split(" | ").collect();
            assert!(cells.len() >= 4 && cells.iter().all(|cell| cell.len() > 2), "{line}");
        }
        for part in [
            "| `DATABASE_URL` | `--database-url` | **required** | ",
            "| `VISAVIS_DATABASE_CONNECTIONS` | `--database-connections` | `16` | ",
            "| `VISAVIS_THREADS` | `--threads` | one per core | ",
            "| `VISAVIS_KEY` | `--key` | **required** | ",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}
