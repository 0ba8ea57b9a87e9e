//! Warnings about files with secrets that other users can read.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::Config;

/// Mode bits that let others read a file. The group bit is ignored for files owned by root, who grants group access
/// on purpose (as libpq does).
const GROUP: u32 = 0o040;
const OTHERS: u32 = 0o004;

/// A warning about a file that others can read; `None` if it is protected or missing.
fn warning(what: &str, path: &Path) -> Option<String> {
    let metadata = path.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let open = if metadata.uid() == 0 { OTHERS } else { GROUP | OTHERS };
    (metadata.mode() & open != 0).then(|| {
        format!(
            "{what} {} can be read by other users of this host (mode {:04o}); `chmod 600` closes it",
            path.display(),
            metadata.mode() & 0o7777
        )
    })
}

impl Config {
    /// Warnings about this configuration, if it contains a secret, and about the secret files it names. `more` are
    /// secret files named elsewhere.
    pub(crate) fn exposed(&self, more: &[(&str, &Path)]) -> Vec<String> {
        let at = |what: &'static str, file: &Option<PathBuf>| {
            file.as_ref().map(|file| (what, self.folder.join(file)))
        };
        let mut files = Vec::new();
        if self.holds_secret() {
            files.push(("the configuration", self.file.clone()));
        }
        for source in &self.sources {
            files.extend(at("the password file", &source.password_file));
            files.extend(at("the TLS key", &source.tls_key));
        }
        if let Some(repository) = &self.repository {
            files.extend(at("the passphrase file", &repository.passphrase_file));
            files.extend(at("the key file", &repository.key_file));
            files.extend(at("the identity file", &repository.identity_file));
        }
        for notify in &self.notify {
            files.extend(at("the file with the URL of a notice", &notify.url_file));
        }
        files.extend(more.iter().map(|(what, path)| (*what, (*path).to_owned())));
        let mut warnings: Vec<String> = Vec::new();
        for (what, path) in files {
            warnings.extend(warning(what, &path).filter(|warning| !warnings.contains(warning)));
        }
        warnings
    }

    /// Whether it contains a password or passphrase itself, and not only the name of a variable.
    fn holds_secret(&self) -> bool {
        let plain = |text: &Option<String>| text.as_ref().is_some_and(|text| is_plain(text));
        let in_url = |url: &str| {
            let login = url.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@'));
            let pair = url.split_once("password=").map(|(_, password)| password);
            login.and_then(|(login, _)| login.split_once(':')).is_some_and(|(_, password)| is_plain(password))
                || pair.is_some_and(is_plain)
        };
        self.sources.iter().any(|source| plain(&source.password) || in_url(&source.url))
            || self.repository.as_ref().is_some_and(|repository| plain(&repository.passphrase))
            || self.notify.iter().any(|notify| plain(&notify.url))
    }
}

fn is_plain(secret: &str) -> bool {
    !secret.is_empty() && !secret.starts_with("${")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn open_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dbhaul.toml");
        let warning_about = |mode: u32, text: &str| {
            std::fs::write(&path, text).unwrap();
            for file in [&path, &folder.path().join("pw")] {
                std::fs::write(folder.path().join("pw"), "x").unwrap();
                std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
            }
            Config::read(&path).unwrap().exposed(&[]).join("\n")
        };
        let source = "[[source]]\nname = \"a\"\nkind = \"redis\"\n";
        let url = format!("{source}url = \"redis://h\"\n");
        assert_eq!(warning_about(0o644, &url), "");
        assert!(warning_about(0o644, &format!("{url}password = \"x\"\n")).contains("the configuration"));
        assert!(warning_about(0o604, &format!("{source}url = \"redis://:x@h\"\n")).contains("(mode 0604)"));
        assert_eq!(warning_about(0o644, &format!("{url}password = \"${{X}}\"\n")), "");
        assert_eq!(warning_about(0o600, &format!("{url}password = \"x\"\n")), "");
        assert!(
            warning_about(0o644, &format!("{url}password-file = \"pw\"\n")).contains("the password file")
        );
        assert_eq!(warning_about(0o600, &format!("{url}password-file = \"pw\"\n")), "");
    }
}
