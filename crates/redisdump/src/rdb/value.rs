//! Values: from the raw bytes of any encoding to elements in canonical form.
//!
//! A [`Walker`] reads a value element by element as its bytes arrive, and reports them to an [`Elements`] sink. The
//! sink does not see the encoding: a hash is a hash, whether it was a zipmap, a ziplist, a listpack or a table. The
//! bytes that the walker has consumed are the raw value, so that one pass serves both `RESTORE` and the digest.

use super::cursor::{Cursor, Length, Stop};
use super::error::Problem;
use super::lint::Lint;
use super::listpack::Listpack;
use super::lzf::{Expanded, Expander};
use super::stream::StreamWalk;
use super::template::TemplateWalk;
use super::text::{Text, parse_score};
use super::value_type::Shape;
use super::ziplist::Ziplist;
use super::zipmap::Zipmap;
use super::{array, intset, module};

pub use super::dialect::Dialect;
pub use super::elements::{Elements, StreamId, StreamMeta};
pub use super::value_type::{Kind, ValueType};

/// No empty list, set, sorted set or hash is longer, in any encoding that a server writes.
pub(crate) const EMPTY: usize = 64;

/// Records whether there was any element.
struct Any(bool);

impl Elements for Any {
    fn item(&mut self, _bytes: &[u8]) {
        self.0 = true;
    }
    fn member(&mut self, _bytes: &[u8]) {
        self.0 = true;
    }
    fn scored(&mut self, _member: &[u8], _score: f64) {
        self.0 = true;
    }
    fn field(&mut self, _field: &[u8], _value: &[u8], _expiry: Option<i64>) {
        self.0 = true;
    }
}

impl ValueType {
    /// True for an empty list, set, sorted set or hash. No server creates one, but some RDBs contain them, and servers
    /// from 7.0 on omit them on loading.
    pub(crate) fn is_empty(self, raw: &[u8]) -> bool {
        let can_be = matches!(self.kind, Kind::List | Kind::Set | Kind::Zset | Kind::Hash);
        // Most values are longer.
        if !can_be || raw.len() > EMPTY {
            return false;
        }
        let mut any = Any(false);
        matches!(Walker::new(self).walk(raw, &mut any), Ok(walked) if walked.done) && !any.0
    }
}

/// The progress of [`Walker::walk`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walked {
    /// Number of consumed bytes, to be dropped before the next call.
    pub consumed: usize,
    /// True at the end of the value.
    pub done: bool,
    /// If not done: the minimum number of bytes for the next call.
    pub want: usize,
}

/// Longer strings are reported in parts.
const LONG: u64 = 64 << 10;

/// Walks a value.
#[derive(Debug)]
pub struct Walker {
    ty: ValueType,
    state: State,
    scratch: Vec<u8>,
    scratch2: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Begin,
    Long { left: u64 },
    Packed(Box<Expander>),
    Elements { left: u64, minimum: i64 },
    Stream(Box<StreamWalk>),
    Template(Box<TemplateWalk>),
    Module,
    Done,
}

impl Walker {
    /// Starts before a value's first byte.
    pub fn new(ty: ValueType) -> Walker {
        Walker { ty, state: State::Begin, scratch: Vec::new(), scratch2: Vec::new() }
    }

    /// Starts with another value, reusing buffers unless they have become very large.
    pub fn reset(&mut self, ty: ValueType) {
        const KEEP: usize = 1 << 20;
        for scratch in [&mut self.scratch, &mut self.scratch2] {
            if scratch.capacity() > KEEP {
                *scratch = Vec::new();
            }
        }
        self.ty = ty;
        self.state = State::Begin;
    }

    /// The type of the value.
    pub fn value_type(&self) -> ValueType {
        self.ty
    }

    /// Reads as far as the bytes reach. Each element is reported once, when it is complete.
    ///
    /// # Errors
    /// The fault, and the number of valid bytes before it.
    pub fn walk<E: Elements>(&mut self, input: &[u8], out: &mut E) -> Result<Walked, (usize, Problem)> {
        let mut consumed = 0;
        loop {
            let rest = input.get(consumed..).unwrap_or_default();
            let mut cursor = Cursor::new(rest);
            match self.step(&mut cursor, rest, out) {
                Ok(()) => {
                    consumed += cursor.position();
                    if matches!(self.state, State::Done) {
                        return Ok(Walked { consumed, done: true, want: 0 });
                    }
                }
                Err(Stop::More(want)) => return Ok(Walked { consumed, done: false, want }),
                Err(Stop::Bad(problem)) => return Err((consumed, problem)),
            }
        }
    }

    fn step<E: Elements>(&mut self, cursor: &mut Cursor<'_>, rest: &[u8], out: &mut E) -> Result<(), Stop> {
        match &mut self.state {
            State::Begin => self.begin(cursor, out),
            State::Long { left } => {
                let have = rest.len() as u64;
                if have == 0 {
                    return Err(Stop::More(1));
                }
                let part = cursor.take(have.min(*left))?;
                *left -= part.len() as u64;
                let done = *left == 0;
                out.long_part(part);
                if done {
                    self.state = State::Done;
                }
                Ok(())
            }
            State::Packed(expander) => {
                match expander.step(rest)? {
                    Expanded::Part(used, part) => {
                        cursor.take(used as u64)?;
                        out.long_part(part);
                    }
                    Expanded::More(want) => return Err(Stop::More(want)),
                    Expanded::Done => self.state = State::Done,
                }
                Ok(())
            }
            State::Elements { left: 0, .. } => {
                self.state = State::Done;
                Ok(())
            }
            State::Elements { minimum, .. } => {
                let minimum = *minimum;
                self.element(cursor, minimum, out)?;
                if let State::Elements { left, .. } = &mut self.state {
                    *left = left.saturating_sub(1);
                }
                Ok(())
            }
            State::Stream(walk) => {
                if walk.step(cursor, &mut self.scratch, &mut self.scratch2, out)? {
                    self.state = State::Done;
                }
                Ok(())
            }
            State::Template(walk) => {
                if walk.step(cursor, &mut self.scratch, out)? {
                    self.state = State::Done;
                }
                Ok(())
            }
            State::Module => {
                let end = module::piece(cursor)?;
                out.opaque(rest.get(..cursor.position()).unwrap_or_default());
                if end {
                    self.state = State::Done;
                }
                Ok(())
            }
            State::Done => Ok(()),
        }
    }

    fn begin<E: Elements>(&mut self, cursor: &mut Cursor<'_>, out: &mut E) -> Result<(), Stop> {
        self.state = match self.ty.shape {
            Shape::Plain => match cursor.clone().length()? {
                Length::Plain(length) if length > LONG => {
                    cursor.length()?;
                    out.long_string(length);
                    State::Long { left: length }
                }
                Length::Encoded(3) => match long_packed(cursor)? {
                    Some((packed, length)) => {
                        let expander = Expander::new(packed, length)?;
                        out.long_string(length);
                        State::Packed(Box::new(expander))
                    }
                    None => {
                        out.string(cursor.text()?.bytes(&mut self.scratch)?);
                        State::Done
                    }
                },
                _ => {
                    out.string(cursor.text()?.bytes(&mut self.scratch)?);
                    State::Done
                }
            },
            Shape::Strings
            | Shape::Scores { .. }
            | Shape::Pairs
            | Shape::PairsMetaPreGa
            | Shape::PairsValkey
            | Shape::Quicklist
            | Shape::Quicklist2 => {
                let left = cursor.count()?;
                out.elements(left);
                State::Elements { left, minimum: 0 }
            }
            Shape::PairsMeta => {
                let minimum = cursor.millis()?;
                let left = cursor.count()?;
                out.elements(left);
                State::Elements { left, minimum }
            }
            Shape::Zipmap => {
                let mut map = Zipmap::new(cursor.text()?.bytes(&mut self.scratch)?)?;
                while let Some((field, value)) = map.next()? {
                    out.field(field, value, None);
                }
                if map.has_broken_links() {
                    out.lint(Lint::ZipmapCount);
                }
                State::Done
            }
            Shape::Intset => {
                let scratch = &mut self.scratch2;
                let ascending = intset::each(cursor.text()?.bytes(&mut self.scratch)?, |n| {
                    out.member(Text::Int(n).bytes(scratch).unwrap_or_default());
                })?;
                if !ascending {
                    out.lint(Lint::IntsetOrder);
                }
                State::Done
            }
            Shape::Ziplist | Shape::Listpack | Shape::ListpackTtl { .. } => {
                if self.ty.shape == (Shape::ListpackTtl { minimum: true }) {
                    cursor.millis()?;
                }
                let bytes = cursor.text()?.bytes(&mut self.scratch)?;
                let expiring = matches!(self.ty.shape, Shape::ListpackTtl { .. });
                if self.ty.shape == Shape::Ziplist {
                    let mut list = Ziplist::new(bytes)?;
                    packed(self.ty.kind, expiring, || list.next(), &mut self.scratch2, out)?;
                    if list.has_broken_links() {
                        out.lint(Lint::ZiplistLinks);
                    }
                } else {
                    let mut list = Listpack::new(bytes)?;
                    packed(self.ty.kind, expiring, || list.next(), &mut self.scratch2, out)?;
                    if list.has_broken_links() {
                        out.lint(Lint::ListpackLinks);
                    }
                }
                State::Done
            }
            Shape::Stream(version) => State::Stream(Box::new(StreamWalk::new(version))),
            Shape::Array => State::Elements { left: array::head(cursor, out)?, minimum: 0 },
            Shape::Template { packed } => State::Template(Box::new(TemplateWalk::new(packed))),
            Shape::Module => {
                out.opaque(&cursor.count()?.to_le_bytes());
                State::Module
            }
        };
        Ok(())
    }

    /// One element of a value that is stored element by element.
    #[inline]
    fn element<E: Elements>(
        &mut self,
        cursor: &mut Cursor<'_>,
        minimum: i64,
        out: &mut E,
    ) -> Result<(), Stop> {
        let (scratch, scratch2) = (&mut self.scratch, &mut self.scratch2);
        match self.ty.shape {
            Shape::Strings => {
                let bytes = cursor.text()?.bytes(scratch)?;
                if self.ty.kind == Kind::List {
                    out.item(bytes);
                } else {
                    out.member(bytes);
                }
            }
            Shape::Scores { binary } => {
                let member = cursor.text()?;
                let score = if binary { f64::from_le_bytes(cursor.array()?) } else { old_score(cursor)? };
                if score.is_nan() {
                    return Err(Problem::Item("a sorted set's score is not a number").into());
                }
                out.scored(member.bytes(scratch)?, score);
            }
            Shape::Pairs => {
                let (field, value) = (cursor.text()?, cursor.text()?);
                out.field(field.bytes(scratch)?, value.bytes(scratch2)?, None);
            }
            Shape::PairsMeta | Shape::PairsMetaPreGa => {
                let expiry = match cursor.count()? {
                    0 => None,
                    ttl => Some(
                        i64::try_from(ttl)
                            .ok()
                            .and_then(|ttl| match self.ty.shape {
                                Shape::PairsMeta => minimum.checked_add(ttl)?.checked_sub(1),
                                _ => Some(ttl),
                            })
                            .map_or(Err(FIELD_EXPIRY), field_expiry)?,
                    ),
                };
                let (field, value) = (cursor.text()?, cursor.text()?);
                if expiry.is_some_and(|at| at > LATEST_FIELD) {
                    out.lint(Lint::FieldExpiry);
                }
                out.field(field.bytes(scratch)?, value.bytes(scratch2)?, expiry);
            }
            Shape::PairsValkey => {
                let (field, value) = (cursor.text()?, cursor.text()?);
                let expiry = Some(cursor.millis()?).filter(|at| *at != -1).map(field_expiry).transpose()?;
                out.field(field.bytes(scratch)?, value.bytes(scratch2)?, expiry);
            }
            Shape::Array => array::element(cursor, scratch, out)?,
            Shape::Quicklist => {
                let mut list = Ziplist::new(cursor.text()?.bytes(scratch)?)?;
                while let Some(item) = list.next()? {
                    out.item(item.bytes(scratch2)?);
                }
                if list.has_broken_links() {
                    out.lint(Lint::ZiplistLinks);
                }
                out.node_end();
            }
            Shape::Quicklist2 => {
                match cursor.count()? {
                    1 => {
                        let item = cursor.text()?.bytes(scratch)?;
                        if item.is_empty() {
                            out.lint(Lint::EmptyNode);
                        }
                        out.item(item);
                    }
                    2 => {
                        let mut list = Listpack::new(cursor.text()?.bytes(scratch)?)?;
                        while let Some(item) = list.next()? {
                            out.item(item.bytes(scratch2)?);
                        }
                        if list.has_broken_links() {
                            out.lint(Lint::ListpackLinks);
                        }
                    }
                    _ => return Err(Problem::Item("a list's node has an unknown kind").into()),
                }
                out.node_end();
            }
            _ => {}
        }
        Ok(())
    }
}

/// The two lengths of a long compressed string; `None`, with nothing consumed, for other strings.
fn long_packed(cursor: &mut Cursor<'_>) -> Result<Option<(u64, u64)>, Stop> {
    let mut ahead = cursor.clone();
    ahead.length()?;
    let lengths = (ahead.count()?, ahead.count()?);
    if lengths.0.max(lengths.1) <= LONG {
        return Ok(None);
    }
    *cursor = ahead;
    Ok(Some(lengths))
}

/// The latest expiry of a hash field in Redis (`EB_EXPIRE_TIME_MAX`).
const LATEST_FIELD: i64 = (1 << 48) - 1;

const FIELD_EXPIRY: Problem = Problem::Item("a hash field's expiry is out of range");

/// The expiry of a field. Servers do not accept times before 1970, and each fork uses its own negative numbers for
/// fields that never expire, which would change their meaning in the other fork.
fn field_expiry(at: i64) -> Result<i64, Problem> {
    if at < 0 { Err(FIELD_EXPIRY) } else { Ok(at) }
}

/// The elements of a value that is one packed list.
fn packed<'a, E: Elements>(
    kind: Kind,
    expiring: bool,
    mut next: impl FnMut() -> Result<Option<Text<'a>>, Problem>,
    scratch: &mut Vec<u8>,
    out: &mut E,
) -> Result<(), Problem> {
    const CUT: Problem = Problem::Item("a packed list ends within an element");
    let mut second = Vec::new();
    while let Some(first) = next()? {
        match kind {
            Kind::List => out.item(first.bytes(scratch)?),
            Kind::Set => out.member(first.bytes(scratch)?),
            Kind::Zset => {
                let score = next()?.ok_or(CUT)?.score()?;
                out.scored(first.bytes(scratch)?, score);
            }
            _ => {
                let value = next()?.ok_or(CUT)?;
                let expiry = match expiring {
                    true => match next()?.ok_or(CUT)?.integer()? {
                        0 => None,
                        at => {
                            if at > LATEST_FIELD {
                                out.lint(Lint::PackedFieldExpiry);
                            }
                            Some(field_expiry(at)?)
                        }
                    },
                    false => None,
                };
                out.field(first.bytes(scratch)?, value.bytes(&mut second)?, expiry);
            }
        }
    }
    Ok(())
}

/// A score in the format before RDB 8: decimal after a length byte, or one of three marks.
fn old_score(cursor: &mut Cursor<'_>) -> Result<f64, Stop> {
    Ok(match cursor.u8()? {
        253 => f64::NAN,
        254 => f64::INFINITY,
        255 => f64::NEG_INFINITY,
        len => parse_score(cursor.take(u64::from(len))?)?,
    })
}
