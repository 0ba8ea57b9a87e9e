//! A command of an AOF, and how much of it is kept in memory.

/// How much of each command a reader keeps in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The beginning of the first arguments: enough to count by command and key.
    Beginning {
        /// Number of arguments.
        arguments: usize,
        /// Number of bytes of each.
        bytes: usize,
    },
    /// All of it. A longer command is an error.
    All {
        /// Maximum length in bytes.
        bytes: usize,
    },
}

impl Default for Keep {
    fn default() -> Self {
        Keep::Beginning { arguments: 4, bytes: 64 << 10 }
    }
}

/// A completely read command.
#[derive(Debug, Clone, Copy)]
pub struct Command<'a> {
    /// Byte offset in its file.
    pub offset: u64,
    /// Its length in the file, in bytes.
    pub length: u64,
    /// The database selected when it runs.
    pub db: u64,
    /// Number of arguments, including the command's name.
    pub arguments: u64,
    /// True between MULTI and EXEC: it takes effect only with EXEC.
    pub in_transaction: bool,
    pub(super) held: &'a HeldArguments,
}

impl<'a> Command<'a> {
    /// An argument, as far as it is kept; the first is the command's name.
    pub fn argument(&self, at: usize) -> Option<&'a [u8]> {
        let (start, end) = *self.held.ranges.get(at)?;
        self.held.bytes.get(start..end)
    }

    /// The arguments, as far as they are kept.
    pub fn held(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let held = self.held;
        held.ranges.iter().filter_map(|(start, end)| held.bytes.get(*start..*end))
    }

    /// True when all bytes of all arguments are kept.
    pub fn is_whole(&self) -> bool {
        self.held.whole
    }

    /// True for this command name, case-insensitively.
    pub fn is(&self, name: &str) -> bool {
        self.argument(0).is_some_and(|first| first.eq_ignore_ascii_case(name.as_bytes()))
    }
}

/// The kept arguments.
#[derive(Debug, Default)]
pub(super) struct HeldArguments {
    bytes: Vec<u8>,
    ranges: Vec<(usize, usize)>,
    whole: bool,
    room: usize,
}

impl HeldArguments {
    pub(super) fn begin(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(1 << 20);
        self.ranges.clear();
        self.ranges.shrink_to(1 << 16);
        self.whole = true;
    }

    /// Begins an argument. Nothing is allocated yet.
    pub(super) fn argument(&mut self, keep: Keep) {
        self.room = match keep {
            Keep::Beginning { arguments, .. } if self.ranges.len() >= arguments => {
                self.whole = false;
                0
            }
            Keep::Beginning { bytes, .. } => bytes,
            Keep::All { .. } => usize::MAX,
        };
        if self.room > 0 {
            self.ranges.push((self.bytes.len(), self.bytes.len()));
        }
    }

    /// Adds bytes to the last argument; false when a limit is exceeded.
    pub(super) fn push(&mut self, bytes: &[u8], keep: Keep) -> bool {
        let taken = bytes.get(..self.room.min(bytes.len())).unwrap_or_default();
        self.whole &= taken.len() == bytes.len();
        self.room -= taken.len();
        if let Some((_, end)) = self.ranges.last_mut().filter(|_| !taken.is_empty()) {
            self.bytes.extend_from_slice(taken);
            *end = self.bytes.len();
        }
        match keep {
            Keep::All { bytes } => {
                self.bytes.len() + self.ranges.len() * size_of::<(usize, usize)>() <= bytes
            }
            Keep::Beginning { .. } => true,
        }
    }
}
