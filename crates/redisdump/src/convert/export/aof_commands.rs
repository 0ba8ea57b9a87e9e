//! The effective commands of an AOF as a stream for `redis-cli --pipe`, without annotations.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write};

use crate::Error;
use crate::aof::{self, AofSummary, Command, FileError, Keep, Reader};
use crate::client::wire;
use crate::rdb::{self, Elements};

/// Maximum length of a command.
const LONGEST: usize = 1 << 30;
/// Approximate size of a write.
const BATCH: usize = 256 << 10;

#[derive(Default)]
struct Commands {
    out: Vec<u8>,
    count: u64,
}

impl Elements for Commands {}
impl rdb::Visitor for Commands {}

impl aof::Visitor for Commands {
    fn command(&mut self, command: &Command<'_>) {
        let words: Vec<&[u8]> = command.held().collect();
        wire::command(&mut self.out, &words);
        self.count += 1;
    }
}

/// Writes the commands after the preambles of an AOF that [`aof::read()`] has read: without what its summary cuts off,
/// and with database 0 selected at the beginning of every file. Blocks on disk I/O. Returns the number of commands and
/// bytes.
///
/// # Errors
/// A file that cannot be read or has changed, or a failed output.
pub fn aof_commands(summary: &AofSummary, out: &mut dyn Write) -> Result<(u64, u64), Error> {
    let mut commands = Commands::default();
    let mut bytes = 0;
    let mut buffer = vec![0; BATCH];
    for file in &summary.files {
        let io = |source| FileError::Io { path: file.path.clone(), source };
        let corrupt = |source| FileError::Corrupt { path: file.path.clone(), source };
        let begin = file.preamble_bytes.unwrap_or(0);
        let cut = summary.cut.as_ref().filter(|cut| cut.path == file.path).map(|cut| cut.tail.offset);
        if file.commands == 0 {
            continue;
        }
        wire::command(&mut commands.out, &[b"SELECT", b"0"]);
        let mut reader = Reader::new(Keep::All { bytes: LONGEST });
        if begin > 0 {
            reader = reader.behind_preamble(begin);
        }
        let mut open = File::open(&file.path).map_err(io)?;
        open.seek(SeekFrom::Start(begin)).map_err(io)?;
        let mut counted = open.take(cut.unwrap_or(file.bytes).saturating_sub(begin));
        loop {
            let read = counted.read(&mut buffer).map_err(io)?;
            reader.feed(buffer.get(..read).unwrap_or_default(), &mut commands).map_err(corrupt)?;
            if read == 0 || commands.out.len() >= BATCH {
                bytes += commands.out.len() as u64;
                out.write_all(&commands.out).map_err(Error::stream)?;
                commands.out.clear();
                commands.out.shrink_to(4 * BATCH);
            }
            if read == 0 {
                break;
            }
        }
        reader.finish(&mut commands).map_err(corrupt)?;
    }
    Ok((commands.count, bytes))
}
