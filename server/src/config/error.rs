//! What a person reads when the configuration cannot be right: one line that names the variable, the value, and what would
//! be right.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, CommandFactory as _};

use super::Args;

/// Why there is no configuration to start with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// `--help` or `--version`: the text asked for. Not a failure.
    #[error("{0}")]
    Asked(String),
    /// A value cannot be right.
    #[error("{0}")]
    Invalid(String),
}

impl ConfigError {
    /// The value of a setting, known by its environment variable, cannot be right.
    pub(super) fn invalid(
        variable: &str,
        value: impl std::fmt::Display,
        problem: impl std::fmt::Display,
    ) -> Self {
        let flag = variable.to_ascii_lowercase().replace('_', "-");
        Self::Invalid(format!("{variable} (--{flag}) is {value:?}: {problem}", value = value.to_string()))
    }
}

impl From<clap::Error> for ConfigError {
    fn from(error: clap::Error) -> Self {
        if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            return Self::Asked(error.render().ansi().to_string());
        }
        let text = |kind| match error.get(kind) {
            Some(ContextValue::String(text)) => Some(text.clone()),
            Some(ContextValue::Strings(all)) => Some(all.join(", ")),
            _ => None,
        };
        let flag = text(ContextKind::InvalidArg).unwrap_or_default();
        let value = text(ContextKind::InvalidValue).unwrap_or_default();
        let variable = variable_of(&flag);
        match (error.kind(), variable) {
            (ErrorKind::ValueValidation, Some(variable)) => {
                let problem = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                Self::invalid(&variable, value, problem)
            }
            (ErrorKind::InvalidValue, Some(variable)) => {
                let valid = text(ContextKind::ValidValue).unwrap_or_default();
                let problem =
                    if valid.is_empty() { "a value is needed".into() } else { format!("one of: {valid}") };
                Self::invalid(&variable, value, problem)
            }
            _ => {
                let rendered = error.render().to_string();
                let first = rendered.lines().next().unwrap_or_default().trim_start_matches("error: ");
                Self::Invalid(format!("{first}; --help lists what there is"))
            }
        }
    }
}

/// The environment variable of the argument that clap calls `--flag <VALUE>`.
fn variable_of(shown: &str) -> Option<String> {
    let flag = shown.split_whitespace().next()?.trim_start_matches("--");
    let command = Args::command();
    let found = command.get_arguments().find(|arg| Arg::get_long(arg) == Some(flag))?;
    Some(found.get_env()?.to_string_lossy().into_owned())
}
