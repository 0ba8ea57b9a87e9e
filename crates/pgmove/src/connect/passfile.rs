//! libpq's files: passwords (`~/.pgpass`) and services (`~/.pg_service.conf`).

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::text::Parameters;
use crate::warning::Warning;

/// The password from the first matching line `host:port:database:user:password`, where `*` matches anything and a
/// backslash escapes. As in libpq, a file that other users may read is ignored with a warning.
pub(super) fn password(
    file: &Path,
    host: &str,
    port: &str,
    database: &str,
    user: &str,
) -> (Option<String>, Option<Warning>) {
    let Ok(metadata) = std::fs::metadata(file) else { return (None, None) };
    if metadata.permissions().mode() & 0o077 != 0 {
        let file = file.display().to_string();
        return (None, Some(Warning::PasswordFile { file }));
    }
    let Ok(text) = std::fs::read_to_string(file) else { return (None, None) };
    let found = text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = split(line);
        let wanted = [host, port, database, user];
        // For a Unix socket, lines match by its folder or by `localhost`.
        let local = host.starts_with('/') && fields.first().is_some_and(|field| field == "localhost");
        let fits = fields
            .iter()
            .zip(wanted)
            .enumerate()
            .all(|(at, (field, wanted))| field == "*" || field == wanted || (at == 0 && local));
        (fields.len() >= 5 && fits).then(|| fields.get(4).cloned()).flatten()
    });
    (found, None)
}

/// Splits a line at unescaped colons, into at most five fields.
fn split(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        let last = fields.len() == 5;
        match c {
            '\\' => {
                if let (Some(field), Some(next)) = (fields.last_mut(), rest.next()) {
                    field.push(next);
                }
            }
            ':' if !last => fields.push(String::new()),
            c => {
                if let Some(field) = fields.last_mut() {
                    field.push(c);
                }
            }
        }
    }
    fields
}

/// The parameters of a service, from the first of these files that defines it.
pub(super) fn service(name: &str, files: &[std::path::PathBuf]) -> Option<Parameters> {
    for file in files {
        let Ok(text) = std::fs::read_to_string(file) else { continue };
        let mut found = None;
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                if found.is_some() {
                    break;
                }
                found = (section == name).then(Parameters::new);
            } else if let (Some(found), Some((key, value))) = (&mut found, line.split_once('=')) {
                found.insert(key.trim().to_owned(), value.trim().to_owned());
            }
        }
        if found.is_some() {
            return found;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn the_first_line_that_fits_wins() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "# comment\nother:*:*:*:no\n*:5432:a\\:b:u:yes:with:colons\n*:*:*:*:last").unwrap();
        let ask = |database: &str| password(file.path(), "h", "5432", database, "u").0;
        assert_eq!(ask("a:b").as_deref(), Some("yes:with:colons"));
        assert_eq!(ask("c").as_deref(), Some("last"));
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
        let (none, warning) = password(file.path(), "h", "5432", "c", "u");
        assert!(none.is_none() && warning.unwrap().to_string().contains("chmod 600"));
    }

    #[test]
    fn services_are_sections() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "[a]\nhost=ha\n\n# x\n[b]\nhost = hb\nport=1").unwrap();
        let found = service("b", &[file.path().to_owned()]).unwrap();
        assert_eq!(found.get("host").map(String::as_str), Some("hb"));
        assert_eq!(found.len(), 2);
        assert!(service("c", &[file.path().to_owned()]).is_none());
    }
}
