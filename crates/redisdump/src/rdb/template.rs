//! Hashes that share field names (Redis 8.10): the names are stored once, in a template, and each hash stores its
//! values.
//!
//! An RDB lists its templates at the front (opcode 242: an id, then field names), and its hashes refer to them by id.
//! Such a value depends on the file, and servers do not accept it in a payload. The reader inserts the names: it
//! reports the form of `DUMP`, in which the names precede the values ([`TemplateWalk`]). The layouts follow `rdb.c` of
//! 8.10 and its tests, `tests/unit/type/hash-templates.tcl`.

use std::collections::BTreeMap;

use super::cursor::{Cursor, Stop};
use super::error::Problem;
use super::listpack::Listpack;
use super::value::Elements;

/// Limit for field names in memory: those of a file's templates, and those of one hash.
const MAX_FIELD_NAMES: usize = 16 << 20;

const TOO_MANY: Problem = Problem::Item("the field names of hash templates exceed 16 MiB");
const NO_FIELDS: Problem = Problem::Item("a hash template has no fields");
const COUNT: Problem = Problem::Item("a hash has a different number of values than its template has fields");
const UNKNOWN: Problem = Problem::Item("a hash refers to a template that is not in the file");

/// The templates of a file.
#[derive(Debug, Default)]
pub(crate) struct Templates {
    by_id: BTreeMap<u64, Template>,
    bytes: usize,
}

/// Field names.
#[derive(Debug, Default, Clone)]
struct Template {
    /// As RDB strings, concatenated.
    fields: Vec<u8>,
    count: u64,
}

impl Templates {
    /// Adds a field to the template with this id.
    pub(crate) fn add(&mut self, id: u64, field: &[u8]) -> Result<(), Problem> {
        let template = self.by_id.entry(id).or_default();
        let before = template.fields.len();
        string(&mut template.fields, field);
        template.count += 1;
        self.bytes += template.fields.len() - before;
        if self.bytes + self.by_id.len() * size_of::<(u64, Template)>() > MAX_FIELD_NAMES {
            Err(TOO_MANY)
        } else {
            Ok(())
        }
    }

    /// Begins a template, replacing an earlier one with this id.
    pub(crate) fn begin(&mut self, id: u64) {
        if let Some(before) = self.by_id.remove(&id) {
            self.bytes -= before.fields.len();
        }
    }

    /// The beginning of a hash with this template in the form of `DUMP`, up to its values; and the number of values.
    pub(crate) fn front(&self, id: u64) -> Result<(Vec<u8>, u64), Problem> {
        let template = self.by_id.get(&id).filter(|template| template.count > 0).ok_or(UNKNOWN)?;
        // The names one by one, not in a listpack.
        let mut front = vec![1];
        length(&mut front, template.count);
        front.extend_from_slice(&template.fields);
        Ok((front, template.count))
    }

    /// A hash whose values are in a listpack after the id of its template, in the form that `DUMP` uses for one whose
    /// values are in a listpack of their own.
    pub(crate) fn expand(&self, listpack: &[u8], scratch: &mut Vec<u8>) -> Result<Vec<u8>, Problem> {
        let mut list = Listpack::new(listpack)?;
        let id = list.next()?.ok_or(COUNT)?.integer()?;
        let (mut raw, count) = self.front(u64::try_from(id).map_err(|_| UNKNOWN)?)?;
        for _ in 0..count {
            string(&mut raw, list.next()?.ok_or(COUNT)?.bytes(scratch)?);
        }
        if list.next()?.is_some() { Err(COUNT) } else { Ok(raw) }
    }
}

fn length(out: &mut Vec<u8>, n: u64) {
    match u8::try_from(n) {
        Ok(n) if n < 64 => out.push(n),
        _ => {
            out.push(0x81);
            out.extend_from_slice(&n.to_be_bytes());
        }
    }
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    length(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Walks a hash in the form of `DUMP`: its names, in a listpack or one by one, then its values likewise.
#[derive(Debug)]
pub(crate) struct TemplateWalk {
    /// The values are in a listpack, after an id that is not used here.
    packed: bool,
    at: At,
    names: Vec<u8>,
    /// The end of each name.
    ends: Vec<usize>,
    /// Number of values so far.
    passed: usize,
}

#[derive(Debug, Clone, Copy)]
enum At {
    Begin,
    Names(u64),
    Values,
}

impl TemplateWalk {
    pub(crate) fn new(packed: bool) -> TemplateWalk {
        TemplateWalk { packed, at: At::Begin, names: Vec::new(), ends: Vec::new(), passed: 0 }
    }

    fn name(&mut self, name: &[u8]) -> Result<(), Problem> {
        self.names.extend_from_slice(name);
        self.ends.push(self.names.len());
        let held = self.names.len() + self.ends.len() * size_of::<usize>();
        if held > MAX_FIELD_NAMES { Err(TOO_MANY) } else { Ok(()) }
    }

    /// The name of the next value.
    fn next_name(&mut self) -> Result<std::ops::Range<usize>, Problem> {
        let begin = self.passed.checked_sub(1).and_then(|at| self.ends.get(at)).copied().unwrap_or(0);
        let end = self.ends.get(self.passed).copied().ok_or(COUNT)?;
        self.passed += 1;
        Ok(begin..end)
    }

    /// Takes one step; returns true at the end.
    pub(crate) fn step<E: Elements>(
        &mut self,
        cursor: &mut Cursor<'_>,
        scratch: &mut Vec<u8>,
        out: &mut E,
    ) -> Result<bool, Stop> {
        match self.at {
            At::Begin => match cursor.count()? {
                0 => {
                    let mut list = Listpack::new(cursor.text()?.bytes(scratch)?)?;
                    let mut number = Vec::new();
                    while let Some(name) = list.next()? {
                        self.name(name.bytes(&mut number)?)?;
                    }
                    self.begin_values(out)?;
                }
                1 => self.at = At::Names(cursor.count()?),
                _ => {
                    return Err(
                        Problem::Item("the field names of a hash template have an unknown encoding").into()
                    );
                }
            },
            At::Names(0) => self.begin_values(out)?,
            At::Names(left) => {
                let name = cursor.text()?;
                self.name(name.bytes(scratch)?)?;
                self.at = At::Names(left - 1);
            }
            At::Values if self.packed => {
                let mut list = Listpack::new(cursor.text()?.bytes(scratch)?)?;
                list.next()?.ok_or(COUNT)?.integer()?;
                let mut number = Vec::new();
                for _ in 0..self.ends.len() {
                    let value = list.next()?.ok_or(COUNT)?;
                    let name = self.next_name()?;
                    out.field(self.names.get(name).unwrap_or_default(), value.bytes(&mut number)?, None);
                }
                return if list.next()?.is_some() { Err(COUNT.into()) } else { Ok(true) };
            }
            At::Values => {
                let value = cursor.text()?;
                let name = self.next_name()?;
                out.field(self.names.get(name).unwrap_or_default(), value.bytes(scratch)?, None);
                return Ok(self.passed == self.ends.len());
            }
        }
        Ok(false)
    }

    fn begin_values<E: Elements>(&mut self, out: &mut E) -> Result<(), Problem> {
        if self.ends.is_empty() {
            return Err(NO_FIELDS);
        }
        out.elements(self.ends.len() as u64);
        self.at = At::Values;
        Ok(())
    }
}
