//! The manifest of a multi-part AOF: which files, in which order.

use serde::{Deserialize, Serialize};

/// What a file of a multi-part AOF is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileType {
    /// The key space at the last rewrite.
    Base,
    /// Commands since then.
    Incremental,
    /// No longer needed; a server deletes it in the background.
    History,
}

/// A line of the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ManifestFile {
    /// The file's name, in the manifest's folder.
    pub name: String,
    /// Its number.
    pub sequence: i64,
    /// What it is for.
    pub file_type: FileType,
}

/// Why a manifest is refused: by the rules with which a server refuses it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the AOF manifest (byte {offset}): {message}")]
pub struct ManifestError {
    /// Bytes before the line.
    pub offset: u64,
    /// Counted from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// Which files make the AOF.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Manifest {
    /// The base, where there is one.
    pub base: Option<ManifestFile>,
    /// The increments, oldest first.
    pub increments: Vec<ManifestFile>,
    /// Files that are not loaded.
    pub history: Vec<ManifestFile>,
}

/// The longest line that a server reads.
const LINE: usize = 1024;

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// The first line that a server would refuse: it must end with a newline, be shorter than 1024 bytes, name a file
    /// (no path), a number and a type; one base at the most; increments with rising numbers.
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
                return Err(bad(offset, number, "the line is too long, or cut off before its end"));
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
                        return Err(bad(offset, number, "the numbers of increments do not rise"));
                    }
                    manifest.increments.push(file);
                }
            }
            offset = end;
        }
        Ok(manifest)
    }

    /// The files that are loaded, in order.
    pub fn loaded(&self) -> impl Iterator<Item = &ManifestFile> {
        self.base.iter().chain(&self.increments)
    }
}

fn parse_line(line: &[u8]) -> Result<ManifestFile, &'static str> {
    const BAD: &str = "it is not of the form: file NAME seq NUMBER type b|h|i";
    let words = split_words(line).ok_or("its quotes do not close")?;
    if words.len() < 6 || words.len() % 2 != 0 {
        return Err(BAD);
    }
    let (mut name, mut sequence, mut file_type) = (None, None, None);
    // Later versions add pairs of their own (offsets, in 8.0); a server skips those that it does not know.
    for pair in words.as_chunks::<2>().0 {
        let [key, value] = pair;
        match key.to_ascii_lowercase().as_slice() {
            b"file" => {
                let value = String::from_utf8(value.clone()).map_err(|_| "the file's name is not UTF-8")?;
                if value.is_empty() || value.contains(['/', '\\', '\0']) || value == "." || value == ".." {
                    return Err("the file is a path, and not just a name");
                }
                name = Some(value);
            }
            b"seq" => {
                let number = std::str::from_utf8(value).ok().and_then(|n| n.parse::<i64>().ok());
                sequence = Some(number.filter(|n| *n > 0).ok_or("the number is none")?);
            }
            b"type" => {
                file_type = Some(match value.first() {
                    Some(b'b') => FileType::Base,
                    Some(b'i') => FileType::Incremental,
                    Some(b'h') => FileType::History,
                    _ => return Err("the type is none of b, h, i"),
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

/// Words as the server's configuration splits them (`sdssplitargs`): quoted ones may hold blanks and escapes.
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
                    // A closing quote ends the word.
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

/// What follows a backslash between double quotes.
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
            ("file a seq 1 type b", 1, "cut off"),
            ("\n", 1, "form"),
            ("file a seq 1\n", 1, "form"),
            ("file a seq 1 type b\nfile b seq 2 type b\n", 2, "second base"),
            ("file a seq 2 type i\nfile b seq 2 type i\n", 2, "rise"),
            ("file ../a seq 1 type b\n", 1, "path"),
            ("file .. seq 1 type b\n", 1, "path"),
            ("file a seq x type b\n", 1, "number"),
            ("file a seq 1 type z\n", 1, "none of"),
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
