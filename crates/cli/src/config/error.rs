//! Configuration errors, worded so that they can be fixed at once.

use std::path::{Path, PathBuf};

use super::zone::nearest_zone;

/// An unusable configuration. Exit code 2.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The file does not parse.
    #[error("{}:{line}:{column}: {message}{}", path.display(), suggestion.as_ref().map(|s| format!("; did you mean `{s}`?")).unwrap_or_default())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong.
        message: String,
        /// The key that was probably meant.
        suggestion: Option<String>,
    },
    /// The keys are valid, but do not fit together.
    #[error("{}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A secret that the configuration refers to is not available.
    #[error("{what}: {message}")]
    Secret {
        /// The setting.
        what: String,
        /// The reason; never the secret.
        message: String,
    },
}

impl ConfigError {
    /// Converts the parser's error into one with file, line and suggestion.
    pub(crate) fn from_toml(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
        let at = error.span().map_or(0, |span| span.start);
        let before = text.get(..at).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
        if let Some(zone) = zone_at(text, error) {
            let suggestion = nearest_zone(&zone).map(str::to_owned);
            let message = format!("unknown time zone `{zone}`");
            return ConfigError::Syntax { path: path.to_owned(), line, column, message, suggestion };
        }
        let message = error.message().trim().replace('\n', " ");
        let suggestion = nearest(&message);
        ConfigError::Syntax { path: path.to_owned(), line, column, message, suggestion }
    }
}

/// The text of an invalid time zone, if the error is about one: the value of a key `zone`.
fn zone_at(text: &str, error: &toml::de::Error) -> Option<String> {
    let span = error.span()?;
    let (before, value) = (text.get(..span.start)?, text.get(span)?);
    let line = before.rsplit('\n').next()?;
    let key = line.trim_end().strip_suffix('=')?.trim_end();
    let name = value.strip_prefix(['"', '\''])?.strip_suffix(['"', '\''])?;
    let is_key =
        key.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').next() == Some("zone");
    (is_key && name.parse::<chrono_tz::Tz>().is_err()).then(|| name.to_owned())
}

/// For "unknown field `x`, expected one of `a`, `b`": the candidate nearest to `x`.
fn nearest(message: &str) -> Option<String> {
    let rest =
        message.strip_prefix("unknown field `").or_else(|| message.strip_prefix("unknown variant `"))?;
    let mut names = rest.split('`').step_by(2);
    let wrong = names.next()?;
    names
        .filter(|name| !name.is_empty())
        .map(|name| (strsim::damerau_levenshtein(wrong, name), name))
        .filter(|(distance, name)| *distance <= 2.max(name.len() / 3))
        .min()
        .map(|(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_keys_are_not_suggested() {
        assert_eq!(nearest("unknown field `urk`, expected one of `url`, `name`"), Some("url".into()));
        assert_eq!(nearest("unknown field `colour`, expected one of `url`, `name`"), None);
        assert_eq!(nearest("invalid type"), None);
    }
}
