//! Failure reports as text and JSON: what failed, on which object; each cause once; what to do.
//!
//! Errors of several crates arrive here. Some include their source in their own text and some do not, so a cause is
//! printed only if nothing above it already says the same.

use std::fmt;

use serde::Serialize;

use crate::exit;
use crate::redact::redact;
use crate::remedy;
use crate::worded::Worded;

/// An error with a hint that only the binary can give, because it names commands and flags.
#[derive(Debug)]
pub(crate) struct HintedError {
    inner: anyhow::Error,
    hint: String,
}

impl fmt::Display for HintedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl std::error::Error for HintedError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.inner.as_ref())
    }
}

/// Adds a hint to an error.
pub(crate) fn hint(error: impl Into<anyhow::Error>, hint: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(HintedError { inner: error.into(), hint: hint.into() })
}

/// An error whose root cause is known from elsewhere: the output of a program that carried the connection.
#[derive(Debug)]
pub(crate) struct WithCause {
    inner: anyhow::Error,
    words: String,
}

impl fmt::Display for WithCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl std::error::Error for WithCause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.inner.as_ref())
    }
}

/// Adds the root cause.
pub(crate) fn with_cause(error: anyhow::Error, words: String) -> anyhow::Error {
    anyhow::Error::new(WithCause { inner: error, words })
}

/// A failed run, as printed with and without `--json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Failure {
    /// What failed, and on which object.
    message: String,
    /// Causes, from the nearest to the root, without repetition.
    caused_by: Vec<String>,
    /// What to do.
    hints: Vec<String>,
    /// The reasons of a refusal, as data; the message has their sentences.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    conflicts: Vec<serde_json::Value>,
    /// The exit code of the process.
    exit_code: u8,
}

impl Failure {
    /// Splits an error into message, causes and hints.
    pub(crate) fn of(error: &anyhow::Error) -> Failure {
        let mut failure = Failure {
            message: String::new(),
            caused_by: Vec::new(),
            hints: Vec::new(),
            conflicts: Vec::new(),
            exit_code: exit::code_of(error).code(),
        };
        let mut roots = Vec::new();
        for cause in error.chain() {
            if let Some(with_cause) = cause.downcast_ref::<WithCause>() {
                roots.push(redact(&with_cause.words));
                continue;
            }
            if let Some(hinted) = cause.downcast_ref::<HintedError>() {
                failure.add_hint(&redact(&hinted.hint));
                continue;
            }
            failure.add(&redact(&cause.to_string()));
            let known = cause.downcast_ref::<repository::Error>().and_then(repository::Error::remedy);
            if let Some(hint) = known.and_then(remedy::repository) {
                failure.add_hint(hint);
            }
            if let Some(postgres) = cause.downcast_ref::<pgmove::Error>() {
                postgres
                    .remedies()
                    .into_iter()
                    .filter_map(remedy::postgres)
                    .for_each(|hint| failure.add_hint(hint));
                let conflicts = postgres.conflicts().iter().cloned().map(Worded::new);
                failure.add_conflicts(conflicts.map(serde_json::to_value));
            }
            if let Some(redis) = cause.downcast_ref::<redisdump::Error>() {
                redis
                    .remedies()
                    .into_iter()
                    .filter_map(remedy::redis)
                    .for_each(|hint| failure.add_hint(&hint));
                failure.add_conflicts(redis.conflicts().iter().map(serde_json::to_value));
            }
        }
        roots.iter().for_each(|root| failure.add(root));
        failure
    }

    /// From a command line error.
    pub(crate) fn of_usage(error: &clap::Error) -> Failure {
        let text = redact(&error.render().to_string());
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        let (message, rest) = text.split_once("\n\n").unwrap_or((text, ""));
        let hints = rest.lines().map(str::trim).filter(|line| line.starts_with("Usage:")).map(str::to_owned);
        Failure {
            message: message.trim().to_owned(),
            caused_by: Vec::new(),
            hints: hints.collect(),
            conflicts: Vec::new(),
            exit_code: exit::Exit::Usage.code(),
        }
    }

    fn add(&mut self, text: &str) {
        let mut body: Vec<&str> = Vec::new();
        for line in text.lines() {
            match line.trim_start().strip_prefix("hint: ") {
                Some(hint) => self.add_hint(hint),
                None => body.push(line),
            }
        }
        let body = body.join("\n");
        if self.message.is_empty() {
            self.message = body;
        } else if !self.contains_message(&body) {
            self.caused_by.push(body);
        }
    }

    fn add_conflicts(&mut self, conflicts: impl Iterator<Item = serde_json::Result<serde_json::Value>>) {
        self.conflicts.extend(conflicts.filter_map(Result::ok));
    }

    fn add_hint(&mut self, hint: &str) {
        if !self.hints.iter().any(|known| known == hint) {
            self.hints.push(hint.to_owned());
        }
    }

    /// Whether `text` adds nothing. Drivers repeat the server's message with labels of their own ("ERROR: …"), after
    /// a prefix such as "db error".
    fn contains_message(&self, text: &str) -> bool {
        const LABELS: [&str; 6] = ["ERROR: ", "FATAL: ", "PANIC: ", "DETAIL: ", "HINT: ", "db error: "];
        let contains = |wanted: &str| {
            let all = std::iter::once(&self.message).chain(&self.caused_by).chain(&self.hints);
            all.into_iter().any(|text| text.contains(wanted))
        };
        text.lines().map(str::trim).filter(|line| !line.is_empty() && *line != "db error").all(|line| {
            let mut plain = line;
            while let Some(rest) = LABELS.iter().find_map(|label| plain.strip_prefix(label)) {
                plain = rest.trim_start();
            }
            contains(line) || contains(plain)
        })
    }

    /// As text.
    pub(crate) fn render(&self) -> String {
        let mut text = format!("error: {}\n", self.message);
        for cause in &self.caused_by {
            text += &format!("  caused by: {}\n", cause.replace('\n', "\n  "));
        }
        for hint in &self.hints {
            text += &format!("hint: {hint}\n");
        }
        text
    }

    /// As JSON: an object with the single key `error`.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::json!({ "error": self })
    }

    /// As one paragraph, for lists of errors.
    pub(crate) fn line(&self) -> String {
        let hints = self.hints.iter().map(|hint| format!("\nhint: {hint}")).collect::<String>();
        let causes = self.caused_by.iter().map(|cause| format!(": {cause}")).collect::<String>();
        format!("{}{causes}{hints}", self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[derive(Debug)]
    struct Layer(&'static str, Option<Box<Layer>>);

    impl fmt::Display for Layer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl std::error::Error for Layer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            self.1.as_ref().map(|inner| inner.as_ref() as _)
        }
    }

    fn layers(texts: &[&'static str]) -> Layer {
        let mut inner = None;
        for text in texts.iter().rev() {
            inner = Some(Box::new(Layer(text, inner)));
        }
        *inner.unwrap()
    }

    #[test]
    fn a_cause_that_its_parent_quotes_is_shown_once() {
        let error = anyhow::Error::new(layers(&[
            "table t: relation \"t\" does not exist (SQLSTATE 42P01)\nhint: look at the name",
            "db error",
            "ERROR: relation \"t\" does not exist",
        ]))
        .context("cannot copy");
        let text = Failure::of(&error).render();
        assert_eq!(
            text,
            "error: cannot copy\n  caused by: table t: relation \"t\" does not exist (SQLSTATE 42P01)\nhint: look at the name\n"
        );
    }

    #[test]
    fn a_cause_with_new_information_is_kept_at_any_position() {
        let error = anyhow::Error::new(layers(&[
            "cannot read a: timed out",
            "wrapper",
            "timed out",
            "db error",
            "ERROR: something else",
        ]));
        let failure = Failure::of(&error);
        assert_eq!(failure.caused_by, ["wrapper", "ERROR: something else"]);
    }

    #[test]
    fn a_hint_does_not_hide_the_exit_code_or_the_message() {
        let error = hint(exit::refused("target is not empty"), "clear it");
        let error = Err::<(), _>(error).context("cannot restore").unwrap_err();
        let failure = Failure::of(&error);
        assert_eq!(failure.exit_code, 5);
        assert_eq!(
            failure.render(),
            "error: cannot restore\n  caused by: target is not empty\nhint: clear it\n"
        );
        assert_eq!(failure.json()["error"]["hints"][0], "clear it");
    }
}
