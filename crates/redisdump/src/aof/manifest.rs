//! The manifest of a multi-part AOF: its files and their order.

use serde::{Deserialize, Serialize};

/// The type of a file in a multi-part AOF.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileType {
    /// `b`, base: the key space at the last rewrite.
    Base,
    /// `i`, increment: the commands since then.
    Incremental,
    /// `h`, history: obsolete, to be deleted by the server in the background.
    History,
}

/// A line of the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ManifestFile {
    /// The file's name, in the manifest's folder.
    pub name: String,
    /// Its sequence number.
    pub sequence: i64,
    /// Its type.
    pub file_type: FileType,
}

/// Why a manifest is invalid, by the server's own rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the AOF manifest (byte {offset}): {message}")]
pub struct ManifestError {
    /// Byte offset of the line.
    pub offset: u64,
    /// Line number, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// The files of an AOF.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Manifest {
    /// The base, if any.
    pub base: Option<ManifestFile>,
    /// The increments, oldest first.
    pub increments: Vec<ManifestFile>,
    /// Files that are not loaded.
    pub history: Vec<ManifestFile>,
}

/// The maximum length of a line for servers.
const LINE: usize = 1024;

impl Manifest {
    /// Parses a manifest.
    ///
    /// # Errors
    /// At the first line that a server rejects. A line must end with a newline, be shorter than 1024 bytes, and have a
    /// file name without a path, a number and a type; there may be one base, and the numbers of increments must ascend.
    pub fn parse(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        let mut manifest = Manifest::default();
        let mut offset = 0;
        let bad = |offset: u64, line: usize, message: &str| ManifestError {
            offset,
            line,
            message: message.to_owned(),
        };
        if bytes.is_empty() {
            return Err(bad(0, 1, "the manifest is empty"));
        }
        for (at, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let number = at + 1;
            if line.len() >= LINE || !line.ends_with(b"\n") {
                return Err(bad(offset, number, "the line is too long or truncated"));
            }
            let end = offset + line.len() as u64;
            if line.starts_with(b"#") {
                offset = end;
                continue;
            }
            let file = parse_line(line.trim_ascii()).map_err(|message| bad(offset, number, message))?;
            match file.file_type {
                FileType::Base if manifest.base.is_some() => {
                    return Err(bad(offset, number, "a second base file"));
                }
                FileType::Base => manifest.base = Some(file),
                FileType::History => manifest.history.push(file),
                FileType::Incremental => {
                    if manifest.increments.last().is_some_and(|last| file.sequence <= last.sequence) {
                        return Err(bad(
                            offset,
                            number,
                            "the sequence numbers of increments are not ascending",
                        ));
                    }
                    manifest.increments.push(file);
                }
            }
            offset = end;
        }
        Ok(manifest)
    }

    /// The files to load, in order.
    pub fn loaded(&self) -> impl Iterator<Item = &ManifestFile> {
        self.base.iter().chain(&self.increments)
    }
}

fn parse_line(line: &[u8]) -> Result<ManifestFile, &'static str> {
    const BAD: &str = "expected the form: file NAME seq NUMBER type b|h|i";
    let words = split_words(line).ok_or("unterminated quotes")?;
    if words.len() < 6 || words.len() % 2 != 0 {
        return Err(BAD);
    }
    let (mut name, mut sequence, mut file_type) = (None, None, None);
    // Later versions add further pairs (offsets in 8.0); servers skip unknown ones.
    for pair in words.as_chunks::<2>().0 {
        let [key, value] = pair;
        match key.to_ascii_lowercase().as_slice() {
            b"file" => {
                let value = String::from_utf8(value.clone()).map_err(|_| "the file's name is not UTF-8")?;
                if value.is_empty() || value.contains(['/', '\\', '\0']) || value == "." || value == ".." {
                    return Err("the file name contains a path");
                }
                name = Some(value);
            }
            b"seq" => {
                let number = std::str::from_utf8(value).ok().and_then(|n| n.parse::<i64>().ok());
                sequence =
                    Some(number.filter(|n| *n > 0).ok_or("the sequence number is not a positive integer")?);
            }
            b"type" => {
                file_type = Some(match value.first() {
                    Some(b'b') => FileType::Base,
                    Some(b'i') => FileType::Incremental,
                    Some(b'h') => FileType::History,
                    _ => return Err("the type must be one of b, h, i"),
                });
            }
            _ => {}
        }
    }
    match (name, sequence, file_type) {
        (Some(name), Some(sequence), Some(file_type)) => Ok(ManifestFile { name, sequence, file_type }),
        _ => Err(BAD),
    }
}

/// Splits words like the server's configuration parser (`sdssplitargs`): quoted words may contain blanks and escapes.
fn split_words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line.iter().copied().peekable();
    loop {
        while rest.next_if(u8::is_ascii_whitespace).is_some() {}
        if rest.peek().is_none() {
            return Some(words);
        }
        let mut word = Vec::new();
        while let Some(byte) = rest.next_if(|byte| !byte.is_ascii_whitespace()) {
            match byte {
                b'"' => {
                    loop {
                        match rest.next()? {
                            b'"' => break,
                            b'\\' => word.push(escape(&mut rest)?),
                            other => word.push(other),
                        }
                    }
                    // A closing quote must end the word.
                    if rest.peek().is_some_and(|next| !next.is_ascii_whitespace()) {
                        return None;
                    }
                }
                b'\'' => {
                    loop {
                        match rest.next()? {
                            b'\'' => break,
                            b'\\' => word.push(rest.next_if_eq(&b'\'').unwrap_or(b'\\')),
                            other => word.push(other),
                        }
                    }
                    if rest.peek().is_some_and(|next| !next.is_ascii_whitespace()) {
                        return None;
                    }
                }
                other => word.push(other),
            }
        }
        words.push(word);
    }
}

/// Decodes an escape between double quotes.
fn escape(rest: &mut std::iter::Peekable<impl Iterator<Item = u8> + Clone>) -> Option<u8> {
    let byte = rest.next()?;
    Some(match byte {
        b'x' => {
            let mut ahead = rest.clone();
            let digit = |byte: Option<u8>| byte.and_then(|b| char::from(b).to_digit(16));
            match (digit(ahead.next()), digit(ahead.next())) {
                (Some(high), Some(low)) => {
                    *rest = ahead;
                    u8::try_from(high << 4 | low).unwrap_or_default()
                }
                _ => b'x',
            }
        }
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_write() {
        let text = "# a comment\nfile appendonly.aof.2.base.rdb seq 2 type b\nfile old.aof seq 1 type h\n\
                    file appendonly.aof.3.incr.aof seq 3 type i startoffset 0\n\
                    file \"with \\x20 \\\"quotes\\\"\" seq 4 type i\n";
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!(manifest.base.as_ref().unwrap().name, "appendonly.aof.2.base.rdb");
        assert_eq!(manifest.history.len(), 1);
        let names: Vec<_> = manifest.loaded().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["appendonly.aof.2.base.rdb", "appendonly.aof.3.incr.aof", "with   \"quotes\""]);
    }

    #[test]
    fn what_servers_refuse() {
        for (text, line, word) in [
            ("", 1, "empty"),
            ("file a seq 1 type b", 1, "truncated"),
            ("\n", 1, "form"),
            ("file a seq 1\n", 1, "form"),
            ("file a seq 1 type b\nfile b seq 2 type b\n", 2, "second base"),
            ("file a seq 2 type i\nfile b seq 2 type i\n", 2, "ascending"),
            ("file ../a seq 1 type b\n", 1, "path"),
            ("file .. seq 1 type b\n", 1, "path"),
            ("file a seq x type b\n", 1, "integer"),
            ("file a seq 1 type z\n", 1, "one of"),
            ("file \"a seq 1 type b\n", 1, "quotes"),
            ("file \"a\"b seq 1 type b\n", 1, "quotes"),
        ] {
            let error = Manifest::parse(text.as_bytes()).unwrap_err();
            assert!(error.line == line && error.message.contains(word), "{text:?}: {error}");
            let before: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
            assert_eq!(error.offset, before as u64, "{text:?}");
        }
        let long = format!("file {} seq 1 type b\n", "x".repeat(1024));
        assert!(Manifest::parse(long.as_bytes()).is_err());
    }
}
