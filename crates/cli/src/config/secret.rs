//! Secrets from the environment, a file or a command. None is taken from the command line unless it is part of a URL.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{ConfigError, RepositoryConfig, SourceConfig};

/// The environment in which `${VAR}` is looked up. It is passed as an argument, so that tests can supply their own.
#[derive(Clone, Default)]
pub(crate) struct Secrets {
    variables: HashMap<String, String>,
}

impl Secrets {
    /// The process's environment. Variables that are not Unicode are left out.
    pub(crate) fn from_process() -> Secrets {
        let variables = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .collect();
        Secrets { variables }
    }

    /// A variable that is set and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    #[cfg(test)]
    pub(crate) fn of(pairs: &[(&str, &str)]) -> Secrets {
        Secrets { variables: pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect() }
    }
}

/// Replaces each `${VAR}` in `text`; `$${` yields a literal `${`. An unset variable is an error, because an empty
/// password or host would reach the wrong server.
pub(crate) fn expand(what: &str, text: &str, secrets: &Secrets) -> Result<String, ConfigError> {
    let failed = |message: String| ConfigError::Secret { what: what.to_owned(), message };
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(kept) = before.strip_suffix('$') {
            out.push_str(kept);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(before);
        let (name, tail) = after.split_once('}').ok_or_else(|| failed("a `${` has no closing `}`".into()))?;
        let value = secrets
            .variables
            .get(name)
            .ok_or_else(|| failed(format!("the environment variable {name} is not set")))?;
        out.push_str(value);
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

impl SourceConfig {
    /// The source's URL with its variables expanded.
    pub(crate) fn expanded_url(&self, secrets: &Secrets) -> Result<String, ConfigError> {
        expand(&format!("source `{}`, url", self.name), &self.url, secrets)
    }

    /// The password, from whichever of its three keys is set.
    pub(crate) fn resolve_password(
        &self,
        folder: &Path,
        secrets: &Secrets,
    ) -> Result<Option<String>, ConfigError> {
        Places {
            key: format!("source `{}`, password", self.name),
            text: self.password.as_deref(),
            file: self.password_file.as_deref(),
            command: self.password_command.as_deref(),
        }
        .resolve(folder, secrets)
    }
}

impl RepositoryConfig {
    /// The passphrase, from whichever of its three keys is set.
    pub(crate) fn resolve_passphrase(
        &self,
        folder: &Path,
        secrets: &Secrets,
    ) -> Result<Option<String>, ConfigError> {
        Places {
            key: "repository.passphrase".to_owned(),
            text: self.passphrase.as_deref(),
            file: self.passphrase_file.as_deref(),
            command: self.passphrase_command.as_deref(),
        }
        .resolve(folder, secrets)
    }
}

/// The three keys that may provide a secret; at most one is set.
pub(super) struct Places<'a> {
    /// Name of the key; the others are this with `-file` and `-command`.
    pub(super) key: String,
    pub(super) text: Option<&'a str>,
    pub(super) file: Option<&'a Path>,
    pub(super) command: Option<&'a [String]>,
}

impl Places<'_> {
    pub(super) fn resolve(&self, folder: &Path, secrets: &Secrets) -> Result<Option<String>, ConfigError> {
        if let Some(text) = self.text {
            return expand(&self.key, text, secrets).map(Some);
        }
        if let Some(file) = self.file {
            let path = folder.join(file);
            let text = std::fs::read_to_string(&path).map_err(|e| ConfigError::Secret {
                what: format!("{}-file", self.key),
                message: format!("cannot read {}: {e}", path.display()),
            })?;
            return Ok(Some(first_line(&text)));
        }
        self.command.map(|command| run(&format!("{}-command", self.key), command)).transpose()
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn run(what: &str, command: &[String]) -> Result<String, ConfigError> {
    let failed = |message: String| ConfigError::Secret { what: what.to_owned(), message };
    let (program, arguments) = command.split_first().ok_or_else(|| failed("the command is empty".into()))?;
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| failed(format!("cannot run {program}: {e}")))?;
    if !output.status.success() {
        return Err(failed(format!("{program} ended with {}", output.status)));
    }
    let text = String::from_utf8(output.stdout).map_err(|_| failed(format!("{program} printed no text")))?;
    Ok(first_line(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in_and_missing_ones_named() {
        let secrets = Secrets::of(&[("HOST", "db-1"), ("PORT", "5433")]);
        assert_eq!(
            expand("url", "postgres://${HOST}:${PORT}/x", &secrets).unwrap(),
            "postgres://db-1:5433/x"
        );
        assert_eq!(expand("url", "a$${HOST}b", &secrets).unwrap(), "a${HOST}b");
        let error = expand("source `a`, url", "x${NOPE}", &secrets).unwrap_err().to_string();
        assert!(error.contains("source `a`, url") && error.contains("NOPE"), "{error}");
        assert!(expand("url", "x${HOST", &secrets).is_err());
    }

    #[test]
    fn a_password_comes_from_a_file_or_a_command() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pw"), "s3cret\nsecond\n").unwrap();
        let mut source = SourceConfig {
            password_file: Some("pw".into()),
            ..SourceConfig::new("db", super::super::Kind::Postgres, "")
        };
        let secrets = Secrets::default();
        assert_eq!(source.resolve_password(folder.path(), &secrets).unwrap().as_deref(), Some("s3cret"));
        source.password_file = None;
        source.password_command = Some(vec!["printf".into(), "from-command\\n".into()]);
        assert_eq!(
            source.resolve_password(folder.path(), &secrets).unwrap().as_deref(),
            Some("from-command")
        );
        source.password_command = Some(vec!["false".into()]);
        assert!(source.resolve_password(folder.path(), &secrets).is_err());
    }
}
