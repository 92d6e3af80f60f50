//! What a command says when required settings are missing: the variable, the flag, the meaning and an example of each.
//! Clap itself would name the flags alone, and most deployments set variables.

use std::ffi::OsString;
use std::fmt::Write as _;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Error};

/// The text for `error`, if it is about missing settings; `None` for any other error. `command` is the whole command
/// line, built, and `arguments` is what the process was called with.
pub(super) fn explain(error: &Error, command: &Command, arguments: impl Iterator<Item = OsString>) -> Option<String> {
    if error.kind() != ErrorKind::MissingRequiredArgument {
        return None;
    }
    let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg) else { return None };
    let (command, name) = called(command, arguments);
    let flag = |arg: &Arg| arg.get_long().map(|long| format!("--{long}"));
    let find = |text: &String| {
        let first = text.split_whitespace().next()?;
        command.get_arguments().find(|arg| flag(arg).as_deref() == Some(first))
    };
    if !missing.iter().filter_map(find).any(|arg| arg.get_env().is_some()) {
        return None;
    }
    let mut text = format!("error: `{name}` lacks required settings:\n");
    for missing in missing {
        let arg = find(missing);
        let help = arg.and_then(Arg::get_help).map(ToString::to_string).unwrap_or_default();
        let names = match arg.and_then(|arg| Some((arg.get_env()?.to_string_lossy(), flag(arg)?))) {
            Some((variable, flag)) => format!("{variable}  (variable; the flag is {flag})"),
            None => missing.clone(),
        };
        let _ = write!(text, "\n  {names}\n      {help}\n");
    }
    let _ = write!(
        text,
        "\nSet the variables or pass the flags. `{name} --help` describes every setting. In a checkout, `./dev up` sets \
         everything up.\n"
    );
    Some(text)
}

/// The subcommand that `arguments` name, and its full name.
fn called(command: &Command, arguments: impl Iterator<Item = OsString>) -> (&Command, String) {
    let (mut command, mut name) = (command, command.get_name().to_owned());
    for argument in arguments.skip(1) {
        if let Some(child) = argument.to_str().and_then(|text| command.find_subcommand(text)) {
            name = format!("{name} {}", child.get_name());
            command = child;
        }
    }
    (command, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(arguments: &[&str]) -> Option<String> {
        let mut command = crate::cli::command();
        // Variables of the machine that runs the test must not matter.
        for name in ["serve", "listen"] {
            command = command.mut_subcommand(name, |child| {
                child.mut_args(|arg| {
                    let is_required = arg.is_required_set();
                    if is_required && arg.get_env().is_some() { arg.env("VISAVIS_TEST_UNSET") } else { arg }
                })
            });
        }
        let error = command.try_get_matches_from_mut(arguments).unwrap_err();
        explain(&error, &command, arguments.iter().map(OsString::from))
    }

    #[test]
    fn a_missing_setting_is_named_by_variable_and_flag_with_its_meaning() {
        let text = said(&["visavis", "serve", "all"]).unwrap();
        assert!(text.starts_with("error: `visavis serve` lacks required settings:"), "{text}");
        for part in ["(variable; the flag is --database-url)", "postgres://", "--key-pepper", "openssl rand -base64 32"]
        {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(said(&["visavis", "listen"]).unwrap().contains("--forward-to <FORWARD_TO>"));
    }

    #[test]
    fn other_errors_stay_those_of_clap() {
        assert_eq!(said(&["visavis", "serve", "nothing"]), None);
        assert_eq!(said(&["visavis", "compare", "a.jpg"]), None);
    }
}
