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

/// `[[rehearse.sandbox]]`
#[derive(Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct SandboxConfig {
    pub(crate) source: String,
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
    /// The server, described as a source.
    pub(crate) fn server(&self) -> SourceConfig {
        SourceConfig {
            name: self.source.clone(),
            kind: Kind::Postgres,
            url: self.url.clone(),
            database: None,
            password: self.password.clone(),
            password_file: self.password_file.clone(),
            password_command: self.password_command.clone(),
            baseline: None,
            environment: None,
            filter: None,
            globals: false,
            role_passwords: false,
            capture: redisdump::CaptureMethod::Auto,
            with_acl: false,
            data_dir: None,
            tls_cacert: None,
            tls_cert: None,
            tls_key: None,
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
            if kind_of(name) != Some(Kind::Postgres) {
                return Some(format!(
                    "`rehearse.sandbox` is about `{name}`, which is not a PostgreSQL source: only a database can be created beside others"
                ));
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
    meaning: "Where a source is rehearsed instead of in a private server of this host: in a database of its own on another server, created under a unique name and dropped afterwards. Roles are not created there, so owners and grants are not rehearsed.",
    keys: &[
        key("source", "name of a source", "", "required", "PostgreSQL source that is rehearsed there."),
        key(
            "url",
            "URL",
            "",
            "required",
            "Server, and an existing database to connect to: \"postgres://rehearsal@scratch-1/postgres\". The role needs CREATEDB.",
        ),
        key("password", "text", "", "", "Password, or better: ${VARIABLE}."),
        key("password-file", "path", "", "", "File whose first line is the password."),
        key("password-command", "list of words", "", "", "Command that prints the password."),
    ],
};
