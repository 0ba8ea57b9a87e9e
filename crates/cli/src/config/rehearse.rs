//! `[[rehearse.assert]]` and `[[rehearse.sandbox]]`: queries on the restored data, and where to restore.

use std::path::PathBuf;

use serde::Deserialize;

use super::keys::{Table, key};
use super::{Kind, SourceConfig};

/// `[rehearse]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct RehearseConfig {
    /// Queries on the restored data, with the expected results.
    #[serde(rename = "assert")]
    pub(crate) assertions: Vec<AssertConfig>,
    /// Servers for sources that this host has no server programs for.
    #[serde(rename = "sandbox")]
    pub(crate) sandboxes: Vec<SandboxConfig>,
}

/// `[[rehearse.assert]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct AssertConfig {
    #[serde(default)]
    pub(crate) source: Option<String>,
    #[serde(default)]
    pub(crate) name: Option<String>,
    pub(crate) sql: String,
    pub(crate) expect: Expected,
}

/// Expected result of a query, as text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Expected {
    /// As PostgreSQL writes it: `t` or `f`.
    Flag(bool),
    /// An integer.
    Number(i64),
    /// Any text.
    Text(String),
}

impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Expected::Flag(true) => f.write_str("t"),
            Expected::Flag(false) => f.write_str("f"),
            Expected::Number(number) => write!(f, "{number}"),
            Expected::Text(text) => f.write_str(text),
        }
    }
}

impl AssertConfig {
    /// Whether it applies to a source of this name.
    pub(crate) fn is_about(&self, name: &str, sources: &[SourceConfig]) -> bool {
        let Some(wanted) = &self.source else { return true };
        wanted == name || sources.iter().any(|source| source.name == *wanted && source.covers(name))
    }

    /// Name in reports.
    pub(crate) fn shown(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.sql)
    }
}

/// What a sandbox is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SandboxKind {
    /// A database on a server that exists.
    #[default]
    Url,
    /// A container that is started for it.
    Docker,
}

/// `[[rehearse.sandbox]]`
#[derive(Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct SandboxConfig {
    pub(crate) source: String,
    #[serde(default)]
    pub(crate) kind: SandboxKind,
    /// Of a container; where none is named, the source's own.
    #[serde(default)]
    pub(crate) image: Option<String>,
    /// Of a server.
    #[serde(default)]
    pub(crate) url: String,
    #[serde(default)]
    pub(crate) password: Option<String>,
    #[serde(default)]
    pub(crate) password_file: Option<PathBuf>,
    #[serde(default)]
    pub(crate) password_command: Option<Vec<String>>,
}

/// The password is a secret, and the URL may contain one.
impl std::fmt::Debug for SandboxConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SandboxConfig").field("source", &self.source).finish_non_exhaustive()
    }
}

impl SandboxConfig {
    /// What does not go together with the source, or among its own keys.
    fn misplaced(&self, source: Option<Kind>) -> Option<String> {
        let name = &self.source;
        let login =
            self.password.is_some() || self.password_file.is_some() || self.password_command.is_some();
        match (self.kind, source) {
            (SandboxKind::Url, source) if source != Some(Kind::Postgres) => Some(format!(
                "`rehearse.sandbox` is about `{name}`, which is not a PostgreSQL source: only a database can be created beside \
                 others; kind = \"docker\" takes a Redis source too"
            )),
            (SandboxKind::Url, _) if self.url.is_empty() => {
                Some(format!("`rehearse.sandbox` of `{name}` needs `url`, or kind = \"docker\""))
            }
            (SandboxKind::Url, _) if self.image.is_some() => {
                Some(format!("`image` of `rehearse.sandbox` of `{name}` is for kind = \"docker\""))
            }
            (SandboxKind::Docker, None) => {
                Some(format!("`rehearse.sandbox` is about `{name}`, and there is no such source"))
            }
            (SandboxKind::Docker, _) if !self.url.is_empty() || login => Some(format!(
                "`rehearse.sandbox` of `{name}` is a container, which takes neither a URL nor a password"
            )),
            _ => None,
        }
    }

    /// The server, described as a source.
    pub(crate) fn server(&self) -> SourceConfig {
        SourceConfig {
            password: self.password.clone(),
            password_file: self.password_file.clone(),
            password_command: self.password_command.clone(),
            ..SourceConfig::new(&self.source, Kind::Postgres, &self.url)
        }
    }
}

impl RehearseConfig {
    /// Checks it against the configured sources.
    pub(crate) fn misplaced(&self, sources: &[SourceConfig]) -> Option<String> {
        let kind_of =
            |name: &str| sources.iter().find(|source| source.covers(name)).map(|source| source.kind);
        let postgres = sources.iter().filter(|source| source.kind == Kind::Postgres).count();
        for assertion in &self.assertions {
            let shown = assertion.shown();
            match &assertion.source {
                None if postgres > 1 => {
                    return Some(format!(
                        "`rehearse.assert` `{shown}` does not say which of the PostgreSQL sources it is about: add `source`"
                    ));
                }
                Some(name) if kind_of(name) != Some(Kind::Postgres) => {
                    return Some(format!(
                        "`rehearse.assert` `{shown}` is about `{name}`, which is not a PostgreSQL source"
                    ));
                }
                _ => {}
            }
        }
        for (at, sandbox) in self.sandboxes.iter().enumerate() {
            let name = &sandbox.source;
            if let Some(message) = sandbox.misplaced(kind_of(name)) {
                return Some(message);
            }
            if self.sandboxes.iter().take(at).any(|other| other.source == *name) {
                return Some(format!("source `{name}` has two of `rehearse.sandbox`"));
            }
        }
        None
    }
}

pub(super) const ASSERT: Table = Table {
    name: "[[rehearse.assert]]",
    meaning: "A query on the restored data, run in every rehearsal, with its expected result as text. The rehearsal fails (exit code 3) if the result differs.",
    keys: &[
        key("source", "name of a source", "the only PostgreSQL source", "", "PostgreSQL source to query."),
        key("name", "text", "the query", "", "Name in reports."),
        key(
            "sql",
            "query",
            "",
            "required",
            "Runs in a read-only transaction after the restore, for ten minutes at most, with the search path \"$user\", public.",
        ),
        key(
            "expect",
            "text, integer or boolean",
            "",
            "required",
            "Expected result: values of a row joined by |, rows by line breaks, NULL as nothing, booleans as t and f.",
        ),
    ],
};

pub(super) const SANDBOX: Table = Table {
    name: "[[rehearse.sandbox]]",
    meaning: "Where a source is rehearsed instead of in a private server of this host: in a container that is started for it, or in a separate database on another server. Both are removed afterwards. On another server roles are not created, so owners and grants are not rehearsed.",
    keys: &[
        key("source", "name of a source", "", "required", "Source that is rehearsed there."),
        key(
            "kind",
            "\"docker\" or \"url\"",
            "url",
            "",
            "\"docker\" starts a container without a network, for a PostgreSQL or Redis source. \"url\" creates a database on an existing PostgreSQL server.",
        ),
        key(
            "image",
            "image",
            "the source's own",
            "",
            "Image of the container, official or made from an official one: \"timescale/timescaledb:2.24.0-pg15\". The snapshot knows the source's own image if the source was reached through docker:// or k8s://.",
        ),
        key(
            "url",
            "URL",
            "",
            "",
            "Existing server, and an existing database to connect to: \"postgres://rehearsal@scratch-1/postgres\". The role needs CREATEDB. Required for kind \"url\".",
        ),
        key("password", "text", "", "", "Password, or better: ${VARIABLE}."),
        key("password-file", "path", "", "", "File whose first line is the password."),
        key("password-command", "list of words", "", "", "Command that prints the password."),
    ],
};
