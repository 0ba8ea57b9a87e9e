//! Reads one file of an earlier backup script before anything is stored: verifies its checksum, its compression, and
//! that the dump is complete.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};

/// A checksum file as written by `sha256sum` is small.
const LARGEST_SUM_FILE: u64 = 64 << 10;
/// The last line of a pg_dump script; only empty lines and comments follow.
const LAST_LINE: &[u8] = b"PostgreSQL database dump complete";
/// How many bytes at the end are searched for it.
const TAIL: usize = 4 << 10;
/// pg_dump writes the server's version here.
const VERSION_LINE: &str = "-- Dumped from database version ";

/// Content of a backup file, according to its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// A pg_dump script.
    Sql,
    /// The data folder of a Redis server.
    RedisFolder,
}

impl Content {
    /// The content of a file with this name; `None` if it is not a backup.
    pub(super) fn of(name: &str) -> Option<Content> {
        if name.ends_with(".sql.gz") {
            Some(Content::Sql)
        } else if name.ends_with(".tar.gz") || name.ends_with(".tgz") {
            Some(Content::RedisFolder)
        } else {
            None
        }
    }
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing proves that it is complete.
    Suspect(String),
    /// It is not as it was written.
    Damaged(String),
}

/// An intact file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ValidFile {
    /// Checksum of the file, hexadecimal.
    pub(super) sha256: String,
    /// Size after decompression.
    pub(super) plain_bytes: u64,
    /// Server version that a script says it was dumped from.
    pub(super) dumped_from: Option<String>,
}

/// Reads a file to its end. Blocking.
pub(super) fn examine(path: &Path, content: Content) -> anyhow::Result<Result<ValidFile, Fault>> {
    let expected = match sum(path)? {
        Ok(sum) => sum,
        Err(fault) => return Ok(Err(fault)),
    };
    let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut hashed = Hashed { file, hash: Sha256::new(), failed: None };
    let decoded =
        decode(flate2::read::MultiGzDecoder::new(std::io::BufReader::with_capacity(1 << 18, &mut hashed)));
    // The checksum covers the whole file, including bytes after the compressed stream.
    std::io::copy(&mut hashed, &mut std::io::sink())
        .with_context(|| format!("cannot read {}", path.display()))?;
    if let Some(error) = hashed.failed {
        return Err(anyhow::Error::new(error).context(format!("cannot read {}", path.display())));
    }
    let sha256 = hex(&hashed.hash.finalize());
    if sha256 != expected {
        return Ok(Err(Fault::Damaged(format!(
            "its SHA-256 is {sha256}, but {} lists {expected}",
            sum_file(path).display()
        ))));
    }
    let decoded = match decoded {
        Ok(decoded) => decoded,
        Err(error) => return Ok(Err(Fault::Damaged(format!("it is not intact gzip data: {error}")))),
    };
    if content == Content::Sql && !contains(&decoded.tail, LAST_LINE) {
        return Ok(Err(Fault::Suspect(
            "the script does not end as pg_dump ends one (`PostgreSQL database dump complete`): the dump was cut off, or \
             another tool wrote it"
                .to_owned(),
        )));
    }
    let dumped_from = (content == Content::Sql).then(|| version(&decoded.head)).flatten();
    Ok(Ok(ValidFile { sha256, plain_bytes: decoded.bytes, dumped_from }))
}

/// Path of a file's checksum.
pub(super) fn sum_file(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sha256");
    PathBuf::from(name)
}

/// The checksum stored next to a file.
fn sum(path: &Path) -> anyhow::Result<Result<String, Fault>> {
    let beside = sum_file(path);
    let mut text = String::new();
    let file = match std::fs::File::open(&beside) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Err(Fault::Suspect(
                "it has no checksum file (.sha256) beside it: the script that wrote it did not reach its end"
                    .to_owned(),
            )));
        }
        Err(error) => {
            return Err(anyhow::Error::new(error).context(format!("cannot read {}", beside.display())));
        }
    };
    if file.take(LARGEST_SUM_FILE).read_to_string(&mut text).is_err() {
        return Ok(Err(Fault::Suspect(format!("{} is not a checksum file", beside.display()))));
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(stated(&text, &name)
        .ok_or_else(|| Fault::Suspect(format!("{} has no SHA-256 of this file", beside.display()))))
}

/// The checksum of a file in a checksum list: `HEX  NAME`, where the name may have a folder, or a checksum alone.
fn stated(list: &str, name: &str) -> Option<String> {
    let sums = list.lines().filter_map(|line| {
        let line = line.trim_end().trim_start_matches('\\');
        let (sum, of) = line.split_at_checked(64).unwrap_or((line, ""));
        let is_sum = sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit());
        let of = of.trim_start().trim_start_matches('*');
        let of = of.rsplit('/').next().unwrap_or(of);
        (is_sum && (of.is_empty() || of == name)).then(|| sum.to_ascii_lowercase())
    });
    let sums: Vec<String> = sums.collect();
    match sums.as_slice() {
        [only] => Some(only.clone()),
        _ => None,
    }
}

/// Result of the decompression.
struct Decoded {
    bytes: u64,
    head: Vec<u8>,
    tail: Vec<u8>,
}

fn decode(mut plain: impl Read) -> std::io::Result<Decoded> {
    let mut decoded = Decoded { bytes: 0, head: Vec::new(), tail: Vec::new() };
    let mut buffer = vec![0_u8; 1 << 17];
    loop {
        let read = match plain.read(&mut buffer) {
            Ok(0) => return Ok(decoded),
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let piece = buffer.get(..read).unwrap_or_default();
        decoded.bytes += read as u64;
        let missing = TAIL.saturating_sub(decoded.head.len()).min(read);
        decoded.head.extend_from_slice(piece.get(..missing).unwrap_or_default());
        decoded.tail.extend_from_slice(piece.get(read.saturating_sub(TAIL)..).unwrap_or_default());
        let surplus = decoded.tail.len().saturating_sub(TAIL);
        decoded.tail.drain(..surplus);
    }
}

fn version(head: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(head);
    let version = text.lines().find_map(|line| line.strip_prefix(VERSION_LINE))?;
    let version: String = version.chars().take(64).take_while(|c| !c.is_control()).collect();
    Some(version.split_whitespace().next()?.to_owned())
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|window| window == wanted)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file whose bytes are hashed as they are read. I/O errors are kept apart from decompression errors.
struct Hashed {
    file: std::fs::File,
    hash: Sha256,
    failed: Option<std::io::Error>,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.file.read(buffer) {
            Ok(read) => {
                self.hash.update(buffer.get(..read).unwrap_or_default());
                Ok(read)
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let copy = std::io::Error::new(error.kind(), error.to_string());
                self.failed = Some(error);
                Err(copy)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_read_as_sha256sum_writes_them() {
        let sum = "ab".repeat(32);
        let other = "cd".repeat(32);
        for list in [
            format!("{sum}  a.sql.gz\n"),
            format!("{} */var/backups/a.sql.gz\r\n", sum.to_uppercase()),
            sum.clone(),
            format!("{other}  b.sql.gz\n{sum}  a.sql.gz\n"),
        ] {
            assert_eq!(stated(&list, "a.sql.gz"), Some(sum.clone()), "{list}");
        }
        for list in [
            String::new(),
            format!("{sum}  b.sql.gz\n"),
            format!("{sum}  a.sql.gz\n{other}  a.sql.gz\n"),
            "zz".repeat(32),
            "ab".repeat(20),
            "é".repeat(40),
        ] {
            assert_eq!(stated(&list, "a.sql.gz"), None, "{list}");
        }
    }

    #[test]
    fn the_end_of_a_script_is_found_however_it_is_cut() {
        struct Bits<'a>(&'a [u8], usize);
        impl Read for Bits<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                let number = self.1.min(self.0.len()).min(buffer.len());
                let (now, later) = self.0.split_at(number);
                buffer[..number].copy_from_slice(now);
                self.0 = later;
                Ok(number)
            }
        }
        let mut script = b"--\n-- Dumped from database version 15.4 (Debian 15.4-1)\n".to_vec();
        script.extend(vec![b'x'; 3 * TAIL]);
        script.extend(b"\n--\n-- PostgreSQL database dump complete\n--\n\n");
        for size in [1, 7, TAIL - 1, TAIL + 1, script.len()] {
            let decoded = decode(Bits(&script, size)).unwrap();
            assert_eq!(decoded.bytes, script.len() as u64);
            assert!(contains(&decoded.tail, LAST_LINE), "{size}");
            assert_eq!(version(&decoded.head).as_deref(), Some("15.4"), "{size}");
            assert!(decoded.tail.len() <= TAIL && decoded.head.len() <= TAIL);
        }
    }
}
