//! Converts values to a form that an older server, or the other fork, loads.
//!
//! Most types are supported by all later servers and are copied unchanged. Types that the target lacks are written in
//! the simplest form that it supports: tables for listpacks, ziplists for list nodes, older stream layouts (whose nodes
//! have never changed).

use crate::convert::commands::{Target, Unsupported, score_text};
use crate::rdb::{
    Dialect, Elements, Kind, StreamId, StreamMeta, ValueType, Walker, estimate_entries_read, module_name,
};

use super::encode::{self, Ziplist};

/// Whether a server with this RDB dialect and version loads values with this type byte.
pub(crate) fn loads(target: (Dialect, u16), value_type: ValueType) -> bool {
    // Up to 21 both dialects agree; Valkey's versions start at 80.
    let shared = value_type.code() <= 21 || value_type.dialect() == target.0;
    // Module values require 4.0; whether the module is loaded, only the server knows.
    shared && value_type.since().unwrap_or(8) <= target.1
}

/// How to write a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    List,
    Set,
    Scores { binary: bool },
    Pairs,
    PairsMeta,
    PairsValkey,
    Quicklist,
    Stream(u8),
}

impl Form {
    fn of(target: (Dialect, u16), value_type: ValueType) -> Result<(Form, u8), Unsupported> {
        let (dialect, version) = target;
        Ok(match value_type.kind() {
            Kind::List if version >= 7 => (Form::Quicklist, 14),
            Kind::List => (Form::List, 1),
            Kind::Set => (Form::Set, 2),
            Kind::Zset if version >= 8 => (Form::Scores { binary: true }, 5),
            Kind::Zset => (Form::Scores { binary: false }, 3),
            // Only types with field TTLs are newer than the plain table.
            Kind::Hash if !value_type.has_field_expiry() => (Form::Pairs, 4),
            Kind::Hash if dialect == Dialect::Valkey => (Form::PairsValkey, 22),
            Kind::Hash if version >= 12 => (Form::PairsMeta, 24),
            Kind::Hash => (Form::Pairs, 4),
            Kind::Stream if version >= 11 => (Form::Stream(3), 21),
            Kind::Stream if version >= 10 => (Form::Stream(2), 19),
            Kind::Stream if version >= 9 => (Form::Stream(1), 15),
            Kind::Stream => return Err(Unsupported::Stream),
            Kind::String => return Err(Unsupported::Contradiction),
            Kind::Module => return Err(Unsupported::Module { module: "before 4.0".to_owned() }),
            Kind::Array => return Err(Unsupported::Array),
        })
    }
}

/// Writes elements in a form that a target supports.
#[derive(Debug)]
pub(super) struct Converter {
    target: (Dialect, u16),
    form: Form,
    pub(super) out: Vec<u8>,
    count: u64,
    /// The count is already written.
    count_given: bool,
    /// The offset at which to insert the count.
    count_at: Option<usize>,
    node: Ziplist,
    first_id: Option<StreamId>,
    meta: StreamMeta,
    group: Group,
    counters: bool,
    failed: Option<Unsupported>,
    pub(super) harmless: Vec<Unsupported>,
}

/// The parts of a consumer group that are preceded by their counts.
#[derive(Debug, Default)]
struct Group {
    head: Vec<u8>,
    pending: Vec<u8>,
    pending_count: u64,
    consumers: Vec<u8>,
    consumer_count: u64,
    owned: Vec<u8>,
    owned_count: u64,
    seen: i64,
    active: Option<i64>,
    open: bool,
}

impl Converter {
    pub(super) fn new(target: (Dialect, u16)) -> Converter {
        Converter {
            target,
            form: Form::List,
            out: Vec::new(),
            count: 0,
            count_given: false,
            count_at: None,
            node: Ziplist::default(),
            first_id: None,
            meta: StreamMeta::default(),
            group: Group::default(),
            counters: false,
            failed: None,
            harmless: Vec::new(),
        }
    }

    /// Begins a value; returns the type byte that precedes it.
    pub(super) fn begin(&mut self, value_type: ValueType) -> Result<u8, Unsupported> {
        let (form, code) = Form::of(self.target, value_type)?;
        self.form = form;
        (self.count, self.count_given, self.count_at, self.first_id) = (0, false, None, None);
        (self.failed, self.counters) = (None, false);
        self.node = Ziplist::default();
        self.group = Group::default();
        self.harmless.clear();
        if form == Form::PairsMeta {
            // The base of relative times: a server accepts any, and the minimum is known only at the end.
            self.out.extend_from_slice(&0_i64.to_le_bytes());
        }
        Ok(code)
    }

    /// Ends the value.
    pub(super) fn end(&mut self) -> Result<(), Unsupported> {
        if !matches!(self.form, Form::Stream(_)) {
            self.ensure_count();
        }
        if let Some(at) = self.count_at
            && !encode::patch(&mut self.out, at, self.count)
        {
            self.fail(Unsupported::TooLong { bytes: self.count });
        }
        if self.counters {
            self.harmless.push(Unsupported::StreamCounters);
        }
        self.failed.take().map_or(Ok(()), Err)
    }

    /// True once the value is known to be unsupported.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// True when the rest of the value can no longer turn out to be unsupported.
    pub(super) fn is_safe(&self) -> bool {
        self.form != Form::Pairs && self.count_at.is_none()
    }

    fn fail(&mut self, why: Unsupported) {
        self.failed.get_or_insert(why);
    }

    fn ensure_count(&mut self) {
        if !self.count_given && self.count_at.is_none() {
            self.count_at = Some(encode::placeholder(&mut self.out));
        }
    }

    fn one(&mut self) {
        self.ensure_count();
        self.count += 1;
    }

    fn end_consumer(&mut self) {
        let group = &mut self.group;
        if !std::mem::take(&mut group.open) {
            return;
        }
        group.consumers.extend_from_slice(&group.seen.to_le_bytes());
        if self.form == Form::Stream(3) {
            let active = group.active.unwrap_or(group.seen);
            group.consumers.extend_from_slice(&active.to_le_bytes());
        }
        encode::length(&mut group.consumers, group.owned_count);
        group.consumers.append(&mut group.owned);
        group.owned_count = 0;
    }
}

impl Elements for Converter {
    fn elements(&mut self, count: u64) {
        // A quicklist that becomes a plain list has as many elements as items, not nodes.
        if self.form != Form::List {
            encode::length(&mut self.out, count);
            self.count_given = true;
        }
    }

    fn item(&mut self, bytes: &[u8]) {
        if self.form == Form::Quicklist {
            self.node.push(bytes);
        } else {
            self.one();
            encode::string(&mut self.out, bytes);
        }
    }

    fn node_end(&mut self) {
        if self.form == Form::Quicklist {
            self.one();
            if !self.node.finish(&mut self.out) {
                self.fail(Unsupported::TooLong { bytes: u64::from(u32::MAX) });
            }
        }
    }

    fn member(&mut self, bytes: &[u8]) {
        self.one();
        encode::string(&mut self.out, bytes);
    }

    fn scored(&mut self, member: &[u8], score: f64) {
        self.one();
        encode::string(&mut self.out, member);
        if self.form == (Form::Scores { binary: true }) {
            self.out.extend_from_slice(&score.to_le_bytes());
        } else if score.is_infinite() {
            self.out.push(if score > 0.0 { 254 } else { 255 });
        } else {
            let text = score_text(score);
            // The shortest text of a score has at most 24 characters.
            self.out.push(u8::try_from(text.len()).unwrap_or_default());
            self.out.extend_from_slice(text.as_bytes());
        }
    }

    fn field(&mut self, field: &[u8], value: &[u8], expiry: Option<i64>) {
        self.one();
        if self.form == Form::PairsMeta {
            // The time plus one, so that 0 means none.
            let ttl = expiry.and_then(|at| u64::try_from(at).ok()).map_or(0, |at| at.saturating_add(1));
            encode::length(&mut self.out, ttl);
        }
        encode::string(&mut self.out, field);
        encode::string(&mut self.out, value);
        if self.form == Form::PairsValkey {
            self.out.extend_from_slice(&expiry.unwrap_or(-1).to_le_bytes());
        }
        if self.form == Form::Pairs && expiry.is_some() {
            self.fail(Unsupported::FieldExpiry);
        }
    }

    fn node(&mut self, id: StreamId, listpack: &[u8]) {
        encode::string(&mut self.out, &id.to_bytes());
        encode::string(&mut self.out, listpack);
    }

    fn entry(&mut self, id: StreamId, _fields: &[u8]) {
        self.first_id.get_or_insert(id);
    }

    fn stream(&mut self, meta: &StreamMeta) {
        self.meta = *meta;
        encode::length(&mut self.out, meta.length);
        encode::id(&mut self.out, meta.last_id);
        if self.form == Form::Stream(1) {
            self.counters |= meta.entries_added != meta.length || meta.max_deleted != StreamId::default();
        } else {
            encode::id(&mut self.out, self.first_id.unwrap_or_default());
            encode::id(&mut self.out, meta.max_deleted);
            encode::length(&mut self.out, meta.entries_added);
        }
        encode::length(&mut self.out, meta.groups);
    }

    fn group(&mut self, name: &[u8], last_id: StreamId, entries_read: Option<u64>) {
        let group = &mut self.group;
        group.head.clear();
        encode::string(&mut group.head, name);
        encode::id(&mut group.head, last_id);
        if self.form == Form::Stream(1) {
            self.counters |= entries_read != estimate_entries_read(&self.meta, self.first_id, last_id);
        } else {
            encode::length(&mut group.head, entries_read.unwrap_or(u64::MAX));
        }
    }

    fn pending(&mut self, id: StreamId, at: i64, count: u64) {
        let group = &mut self.group;
        group.pending.extend_from_slice(&id.to_bytes());
        group.pending.extend_from_slice(&at.to_le_bytes());
        encode::length(&mut group.pending, count);
        group.pending_count += 1;
    }

    fn consumer(&mut self, name: &[u8], seen: i64) {
        self.end_consumer();
        let group = &mut self.group;
        encode::string(&mut group.consumers, name);
        group.consumer_count += 1;
        (group.seen, group.active, group.open) = (seen, None, true);
    }

    fn active(&mut self, at: i64) {
        self.group.active = Some(at);
    }

    fn owned(&mut self, id: StreamId) {
        self.group.owned.extend_from_slice(&id.to_bytes());
        self.group.owned_count += 1;
    }

    fn nacked(&mut self, _id: StreamId) {
        // Servers before 8.8 do not load a file with a pending entry without a consumer.
        self.fail(Unsupported::Nacked);
    }

    fn group_end(&mut self) {
        self.end_consumer();
        let mut group = std::mem::take(&mut self.group);
        self.out.append(&mut group.head);
        encode::length(&mut self.out, group.pending_count);
        self.out.append(&mut group.pending);
        encode::length(&mut self.out, group.consumer_count);
        self.out.append(&mut group.consumers);
    }

    fn producers(&mut self, count: u64) {
        if count > 0 {
            self.harmless.push(Unsupported::Producers);
        }
    }
}

/// Appends the body of a `DUMP` payload (type byte and value, without the footer) to `out`, in a form that a target
/// loads. `raw` is the value as passed to [`crate::rdb::Visitor::raw`]. Returns the RDB version for
/// [`crate::rdb::dump::seal`], and what is omitted that clients do not see.
///
/// A module's value is copied unchanged: only the server knows whether it has the module.
///
/// # Errors
/// What the target does not support, or damaged bytes; `out` is unchanged then.
pub fn convert(
    value_type: ValueType,
    raw: &[u8],
    target: Target,
    out: &mut Vec<u8>,
) -> Result<(u16, Vec<Unsupported>), Unsupported> {
    let rdb = target.rdb();
    if loads(rdb, value_type) {
        out.push(value_type.code());
        out.extend_from_slice(raw);
        return Ok((value_type.since().unwrap_or(rdb.1), Vec::new()));
    }
    if value_type.kind() == Kind::Module {
        return Err(Unsupported::Module { module: module_of(raw) });
    }
    let mut converter = Converter::new(rdb);
    let code = converter.begin(value_type)?;
    let damaged = match Walker::new(value_type).walk(raw, &mut converter) {
        Ok(walked) if walked.done && walked.consumed == raw.len() => None,
        Ok(_) => Some("the value does not end with its bytes".to_owned()),
        Err((at, problem)) => Some(format!("byte {at}: {problem}")),
    };
    if let Some(problem) = damaged {
        return Err(Unsupported::Damaged { problem });
    }
    converter.end()?;
    out.push(code);
    out.append(&mut converter.out);
    let since = ValueType::new(code, rdb.0).ok().and_then(ValueType::since);
    Ok((since.unwrap_or(rdb.1), converter.harmless))
}

/// The name of the module type at the beginning of a raw value.
pub(crate) fn module_of(raw: &[u8]) -> String {
    // The id is a length, always encoded in nine bytes.
    let id = raw.split_first().and_then(|(_, rest)| rest.first_chunk::<8>());
    module_name(id.map_or(0, |id| u64::from_be_bytes(*id)))
}
