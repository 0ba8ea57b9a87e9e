//! The reader of a single AOF file.

use crate::rdb::{self, Checksum, Corrupt, Problem};

use super::command::{Command, HeldArguments, Keep};
use super::visitor::{CutReason, End, Tail, Visitor};

/// The maximum length of a line for servers: annotations, and length fields.
const LINE: usize = 1024;

const EXPECTED_START: &str = "expected a command or an annotation";

#[derive(Debug)]
enum State {
    /// The first bytes tell whether there is a preamble.
    Begin,
    Preamble(Box<rdb::Reader>),
    /// Before a command or an annotation.
    Between,
    /// Before an argument's length.
    Length {
        left: u64,
    },
    Argument {
        left: u64,
        bytes: u64,
    },
    /// The CRLF after an argument.
    ArgumentEnd {
        left: u64,
        bytes: u8,
    },
    /// The rest is later than the requested time.
    Past,
    /// The rest is ignored.
    Trailing,
}

/// Reads a single file of an AOF.
#[derive(Debug)]
pub struct Reader {
    keep: Keep,
    until: Option<i64>,
    state: State,
    /// An incomplete line, or the file's first bytes.
    line: Vec<u8>,
    /// Bytes consumed.
    offset: u64,
    /// Offset of the current command.
    start: u64,
    arguments: u64,
    held: HeldArguments,
    db: u64,
    /// End of the last effective command.
    valid: u64,
    /// Within a transaction: the offset of its MULTI, and the number of commands and the time before it.
    transaction: Option<(u64, u64, Option<i64>)>,
    commands: u64,
    timestamp: Option<i64>,
    preamble: Option<(u64, Checksum)>,
    past: Option<u64>,
    try_newer: bool,
    may_trail: bool,
}

impl Default for Reader {
    fn default() -> Self {
        Reader::new(Keep::default())
    }
}

impl Reader {
    /// Starts at a file's first byte.
    pub fn new(keep: Keep) -> Reader {
        Reader {
            keep,
            until: None,
            state: State::Begin,
            line: Vec::new(),
            offset: 0,
            start: 0,
            arguments: 0,
            held: HeldArguments::default(),
            db: 0,
            valid: 0,
            transaction: None,
            commands: 0,
            timestamp: None,
            preamble: None,
            past: None,
            try_newer: false,
            may_trail: false,
        }
    }

    /// Starts after a preamble of this length, which is not fed.
    #[must_use]
    pub(crate) fn behind_preamble(mut self, length: u64) -> Reader {
        self.state = State::Between;
        (self.offset, self.start, self.valid) = (length, length, length);
        self
    }

    /// Reads only up to the first annotation later than this, in seconds since the epoch.
    #[must_use]
    pub fn until(mut self, seconds: Option<i64>) -> Reader {
        self.until = seconds;
        self
    }

    /// Tries to read a preamble of an RDB version newer than the known ones.
    #[must_use]
    pub fn try_newer(mut self, try_newer: bool) -> Reader {
        self.try_newer = try_newer;
        self
    }

    /// Accepts bytes after the end of an RDB that is not followed by commands, as servers do. Some tools leave the end
    /// mark of a replication transfer there.
    #[must_use]
    pub fn rdb_may_trail(mut self, may_trail: bool) -> Reader {
        self.may_trail = may_trail;
        self
    }

    /// Bytes consumed.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The end of the last complete command or transaction, even after an error; `None` within an RDB preamble.
    pub(crate) fn whole(&self) -> Option<u64> {
        match self.state {
            State::Begin | State::Preamble(_) => None,
            _ => Some(self.transaction.map_or(self.valid, |(multi, ..)| multi)),
        }
    }

    /// Feeds the next bytes.
    ///
    /// # Errors
    /// The first fault that servers do not tolerate, with its offset. Do not feed a reader that has failed.
    pub fn feed<V: Visitor>(&mut self, mut chunk: &[u8], visitor: &mut V) -> Result<(), Corrupt> {
        while !chunk.is_empty() {
            let used = self.step(chunk, visitor)?;
            chunk = chunk.get(used..).unwrap_or_default();
        }
        Ok(())
    }

    /// Ends the input.
    ///
    /// # Errors
    /// A truncated preamble, which no server tolerates.
    pub fn finish<V: Visitor>(mut self, visitor: &mut V) -> Result<End, Corrupt> {
        match &mut self.state {
            State::Begin => {
                // Too short for a preamble.
                self.state = State::Between;
                let head = std::mem::take(&mut self.line);
                self.offset = 0;
                self.feed(&head, visitor)?;
            }
            State::Preamble(reader) => {
                reader.finish()?;
            }
            _ => {}
        }
        // Servers accept a truncated annotation.
        let between = matches!(self.state, State::Between) && self.line.first().is_none_or(|b| *b == b'#');
        if matches!(self.state, State::Trailing) {
            let trailing = self.offset - self.valid;
            let (bytes, preamble) = (self.offset, self.preamble);
            return Ok(End { bytes, preamble, trailing, ..End::default() });
        }
        let (offset, reason) = match (self.past, self.transaction) {
            (Some(past), _) => (Some(past), CutReason::LaterThanAsked),
            (None, None) if between => (None, CutReason::ShortRead),
            (None, None) => (Some(self.valid), CutReason::ShortRead),
            (None, Some((multi, commands, timestamp))) => {
                (self.commands, self.timestamp) = (commands, timestamp);
                let short = if between { CutReason::UnfinishedTransaction } else { CutReason::ShortRead };
                (Some(multi), short)
            }
        };
        Ok(End {
            bytes: self.offset,
            commands: self.commands,
            timestamp: self.timestamp,
            preamble: self.preamble,
            tail: offset.map(|offset| Tail { offset, bytes: self.offset - offset, reason }),
            trailing: 0,
        })
    }

    fn bad(&self, offset: u64, problem: &'static str) -> Corrupt {
        Corrupt { offset, problem: Problem::Item(problem) }
    }

    fn step<V: Visitor>(&mut self, chunk: &[u8], visitor: &mut V) -> Result<usize, Corrupt> {
        match &mut self.state {
            State::Begin => self.begin(chunk, visitor),
            State::Preamble(reader) => {
                let used = reader.feed(chunk, visitor)?;
                self.offset += used as u64;
                if let Some(checksum) = reader.checksum() {
                    self.preamble = Some((self.offset, checksum));
                    self.valid = self.offset;
                    self.start = self.offset;
                    self.state = State::Between;
                    visitor.preamble_end(self.offset, checksum);
                }
                Ok(used)
            }
            State::Between
                if self.may_trail
                    && self.preamble.is_some_and(|(length, _)| length == self.offset)
                    && !matches!(chunk.first(), Some(b'*' | b'#')) =>
            {
                self.state = State::Trailing;
                Ok(0)
            }
            State::Between | State::Length { .. } => self.read_line(chunk, visitor),
            State::Argument { left, bytes } => {
                let left = *left;
                let used = usize::try_from(*bytes).unwrap_or(usize::MAX).min(chunk.len());
                *bytes -= used as u64;
                let done = *bytes == 0;
                if !self.held.push(chunk.get(..used).unwrap_or_default(), self.keep) {
                    return Err(self.bad(self.start, "a command exceeds the memory limit"));
                }
                self.offset += used as u64;
                if done {
                    self.state = State::ArgumentEnd { left, bytes: 2 };
                }
                Ok(used)
            }
            State::ArgumentEnd { left, bytes } => {
                let (left, bytes) = (*left, *bytes);
                let expected = if bytes == 2 { b'\r' } else { b'\n' };
                if chunk.first() != Some(&expected) {
                    return Err(self.bad(self.offset, "an argument's length is wrong"));
                }
                self.offset += 1;
                self.state = match (bytes, left) {
                    (2, _) => State::ArgumentEnd { left, bytes: 1 },
                    (_, 0) => {
                        self.take_command(visitor);
                        State::Between
                    }
                    (_, left) => State::Length { left },
                };
                Ok(1)
            }
            State::Past | State::Trailing => {
                self.offset += chunk.len() as u64;
                Ok(chunk.len())
            }
        }
    }

    /// Decides by the first bytes whether the file has an RDB preamble.
    fn begin<V: Visitor>(&mut self, chunk: &[u8], visitor: &mut V) -> Result<usize, Corrupt> {
        const MARKS: [&[u8]; 2] = [b"REDIS", b"VALKEY"];
        let (&first, _) = chunk.split_first().unwrap_or((&0, &[]));
        self.line.push(first);
        self.offset += 1;
        let is_preamble = MARKS.iter().any(|mark| self.line.starts_with(mark));
        if !is_preamble && MARKS.iter().any(|mark| mark.starts_with(&self.line)) {
            return Ok(1);
        }
        let head = std::mem::take(&mut self.line);
        self.offset = 0;
        self.state = match is_preamble {
            true => State::Preamble(Box::new(rdb::Reader::new().try_newer(self.try_newer))),
            false => State::Between,
        };
        self.feed(&head, visitor)?;
        Ok(1)
    }

    /// Reads a line between commands, or the length of an argument.
    fn read_line<V: Visitor>(&mut self, chunk: &[u8], visitor: &mut V) -> Result<usize, Corrupt> {
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(chunk.len(), |at| at + 1);
        if self.line.is_empty() && matches!(self.state, State::Between) {
            self.start = self.offset;
        }
        if self.line.is_empty()
            && matches!(self.state, State::Between)
            && !matches!(chunk.first(), Some(b'*' | b'#'))
        {
            return Err(self.bad(self.start, EXPECTED_START));
        }
        if self.line.len() + used >= LINE {
            // Reported at its beginning, however the bytes were split.
            let begin = self.offset - self.line.len() as u64;
            return Err(self.bad(begin, "a line is too long"));
        }
        self.line.extend_from_slice(chunk.get(..used).unwrap_or_default());
        self.offset += used as u64;
        if end.is_some() {
            let mut line = std::mem::take(&mut self.line);
            self.take_line(line.trim_ascii_end(), visitor)?;
            line.clear();
            self.line = line;
        }
        Ok(used)
    }

    fn take_line<V: Visitor>(&mut self, line: &[u8], visitor: &mut V) -> Result<(), Corrupt> {
        let number = || -> Option<u64> { std::str::from_utf8(line.get(1..)?).ok()?.parse().ok() };
        match (&self.state, line.first()) {
            (State::Between, Some(b'#')) => {
                let text = line.get(1..).unwrap_or_default();
                let seconds = text
                    .strip_prefix(b"TS:")
                    .and_then(|digits| std::str::from_utf8(digits).ok()?.trim().parse::<i64>().ok());
                if seconds.is_some_and(|seconds| self.until.is_some_and(|until| seconds > until)) {
                    self.past = Some(self.start);
                    self.state = State::Past;
                    return Ok(());
                }
                self.timestamp = seconds.or(self.timestamp);
                visitor.annotation(self.start, text);
                Ok(())
            }
            (State::Between, Some(b'*')) => {
                let count = number().filter(|n| (1..=i64::MAX.unsigned_abs()).contains(n));
                let left = count
                    .ok_or_else(|| self.bad(self.start, "a command's number of arguments is invalid"))?;
                self.arguments = left;
                self.held.begin();
                self.state = State::Length { left };
                Ok(())
            }
            (State::Between, _) => Err(self.bad(self.start, EXPECTED_START)),
            (State::Length { left }, Some(b'$')) => {
                let left = left.saturating_sub(1);
                let bytes =
                    number().ok_or_else(|| self.bad(self.offset, "an argument's length is not a number"))?;
                self.held.argument(self.keep);
                self.state = match bytes {
                    0 => State::ArgumentEnd { left, bytes: 2 },
                    bytes => State::Argument { left, bytes },
                };
                Ok(())
            }
            _ => Err(self.bad(self.offset, "an argument's length is missing")),
        }
    }

    fn take_command<V: Visitor>(&mut self, visitor: &mut V) {
        let command = Command {
            offset: self.start,
            length: self.offset - self.start,
            db: self.db,
            arguments: self.arguments,
            in_transaction: self.transaction.is_some(),
            held: &self.held,
        };
        visitor.command(&command);
        if command.is("SELECT") {
            let db = command.argument(1).and_then(|db| std::str::from_utf8(db).ok()?.parse().ok());
            self.db = db.unwrap_or(self.db);
        } else if command.is("MULTI") {
            self.transaction.get_or_insert((self.start, self.commands, self.timestamp));
        } else if command.is("EXEC") || command.is("DISCARD") {
            self.transaction = None;
        }
        self.commands += 1;
        self.valid = self.offset;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rdb::Elements;

    #[derive(Default)]
    struct Names(Vec<String>);
    impl Elements for Names {}
    impl rdb::Visitor for Names {}
    impl Visitor for Names {
        fn command(&mut self, command: &Command<'_>) {
            let words: Vec<_> = command.held().map(String::from_utf8_lossy).collect();
            self.0.push(format!("{}:{}", command.db, words.join(" ")));
        }
    }

    fn read(bytes: &[u8], step: usize) -> (Result<End, Corrupt>, Vec<String>) {
        let (mut reader, mut names) = (Reader::default(), Names::default());
        let fed = bytes.chunks(step).try_for_each(|piece| reader.feed(piece, &mut names));
        (fed.and_then(|()| reader.finish(&mut names)), names.0)
    }

    const SET: &str = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n";

    #[test]
    fn commands_annotations_and_databases_in_pieces_of_any_size() {
        let text = format!("#TS:1700000000\r\n*2\r\n$6\r\nselect\r\n$1\r\n3\r\n{SET}#TS:1700000009\r\n{SET}");
        for step in [1, 2, 7, 1000] {
            let (end, names) = read(text.as_bytes(), step);
            let end = end.unwrap();
            assert_eq!((end.commands, end.timestamp, end.tail), (3, Some(1_700_000_009), None));
            assert_eq!(names, ["0:select 3", "3:SET k v", "3:SET k v"]);
            assert_eq!(end.bytes, text.len() as u64);
        }
    }

    #[test]
    fn a_file_cut_anywhere_keeps_what_was_whole() {
        let text = format!("{SET}{SET}");
        for cut in 0..=text.len() {
            let (end, names) = read(&text.as_bytes()[..cut], 5);
            let end = end.unwrap();
            let whole = cut / SET.len();
            assert_eq!((end.commands, names.len()), (whole as u64, whole), "{cut}");
            let tail = end.tail.map(|tail| (tail.offset, tail.bytes, tail.reason));
            let at = (whole * SET.len()) as u64;
            let expected = (cut as u64 != at).then_some((at, cut as u64 - at, CutReason::ShortRead));
            assert_eq!(tail, expected, "{cut}");
        }
    }

    #[test]
    fn an_unfinished_transaction_is_rolled_back() {
        let multi = "*1\r\n$5\r\nMULTI\r\n";
        let text = format!("{SET}{multi}{SET}");
        let (end, _) = read(text.as_bytes(), 9);
        let end = end.unwrap();
        assert_eq!(end.commands, 1);
        let tail = end.tail.unwrap();
        assert_eq!((tail.offset, tail.reason), (SET.len() as u64, CutReason::UnfinishedTransaction));
        let (end, _) = read(format!("{text}*1\r\n$4\r\nEXEC\r\n").as_bytes(), 9);
        assert_eq!(end.unwrap().tail, None);
    }

    #[test]
    fn a_point_in_time() {
        let text = format!("#TS:100\r\n{SET}#TS:200\r\n{SET}#TS:300\r\n{SET}");
        let mut reader = Reader::default().until(Some(250));
        reader.feed(text.as_bytes(), &mut ()).unwrap();
        let end = reader.finish(&mut ()).unwrap();
        assert_eq!((end.commands, end.timestamp), (2, Some(200)));
        assert_eq!(end.tail.unwrap().reason, CutReason::LaterThanAsked);
    }

    #[test]
    fn files_that_no_server_loads_are_errors_with_a_position() {
        for (text, offset) in [
            ("SET k v\r\n", 0),
            ("*0\r\n", 0),
            ("*x\r\n", 0),
            ("*1\r\n$x\r\n", 8),
            ("*1\r\n#TS:1\r\n", 11),
            ("*1\r\n$4\r\nPINGxx", 12),
            ("X", 0),
        ] {
            let (end, _) = read(text.as_bytes(), 3);
            assert_eq!(end.unwrap_err().offset, offset, "{text:?}");
        }
    }

    #[test]
    fn claimed_lengths_allocate_nothing_and_long_commands_are_held_in_part() {
        let (end, _) = read(b"*9223372036854775807\r\n$9223372036854775807\r\nabc", 4);
        assert!(end.unwrap().tail.is_some());
        let text = format!("*2\r\n$3\r\nGET\r\n$500000\r\n{}\r\n", "x".repeat(500_000));
        let (end, names) = read(text.as_bytes(), 1000);
        assert!(end.unwrap().tail.is_none() && names[0].len() == 6 + (64 << 10));
        let mut reader = Reader::new(Keep::All { bytes: 100_000 });
        assert!(reader.feed(text.as_bytes(), &mut ()).is_err());
    }
}
