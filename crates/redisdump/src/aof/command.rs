//! One command of an AOF, and how much of it is held.

/// How much of each command a reader holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The first arguments, and of each the first bytes: enough to count by command and key.
    Beginning {
        /// How many arguments.
        arguments: usize,
        /// How many bytes of each.
        bytes: usize,
    },
    /// All of it. A command of more bytes than this is an error.
    All {
        /// The limit.
        bytes: usize,
    },
}

impl Default for Keep {
    fn default() -> Self {
        Keep::Beginning { arguments: 4, bytes: 64 << 10 }
    }
}

/// A command, when it has been read whole.
#[derive(Debug, Clone, Copy)]
pub struct Command<'a> {
    /// Where it begins in its file.
    pub offset: u64,
    /// Its length in the file.
    pub length: u64,
    /// The database that is selected when it runs.
    pub db: u64,
    /// How many arguments it has, its name included.
    pub arguments: u64,
    /// True between MULTI and EXEC: it counts only once EXEC comes.
    pub in_transaction: bool,
    pub(super) held: &'a Held,
}

impl<'a> Command<'a> {
    /// An argument, as far as it is held; the first is the command's name.
    pub fn argument(&self, at: usize) -> Option<&'a [u8]> {
        let (start, end) = *self.held.ranges.get(at)?;
        self.held.bytes.get(start..end)
    }

    /// The arguments, as far as they are held.
    pub fn held(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let held = self.held;
        held.ranges.iter().filter_map(|(start, end)| held.bytes.get(*start..*end))
    }

    /// True when every byte of every argument is held.
    pub fn is_whole(&self) -> bool {
        self.held.whole
    }

    /// True when this is its name, in any case.
    pub fn is(&self, name: &str) -> bool {
        self.argument(0).is_some_and(|first| first.eq_ignore_ascii_case(name.as_bytes()))
    }
}

/// The arguments that are held.
#[derive(Debug, Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    ranges: Vec<(usize, usize)>,
    whole: bool,
    room: usize,
}

impl Held {
    pub(super) fn begin(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(1 << 20);
        self.ranges.clear();
        self.ranges.shrink_to(1 << 16);
        self.whole = true;
    }

    /// An argument begins. Nothing is allocated for it yet.
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

    /// Bytes of the argument that began last; false when a limit forbids to hold them.
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
