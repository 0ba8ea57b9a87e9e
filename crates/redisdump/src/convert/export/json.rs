//! One line of JSON for each key, for arbitrary bytes.
//!
//! `{"db":0,"key":…,"type":"hash","expiry-ms":null,"value":…}`. Byte strings are JSON strings if they are UTF-8, and
//! `{"base64":"…"}` if not, or if they are longer than 4 MiB: whether they are text is known only at their end, and
//! they are not buffered. Lists and sets are arrays; a sorted set is an array of `[member, score]`, with an infinite
//! score as the string `"inf"` or `"-inf"`; a hash is an array of `[field, value]` or `[field, value, expiry-ms]`; a
//! stream is an object with `entries` (`[id, [field, value, …]]`), its counters and `groups`; an array is an object
//! with `insert-index` and `elements` (`[index, string]`). A function library is a line `{"type":"function","code":…}`.

use super::sink::Sink;
use crate::convert::commands::{Unsupported, UnsupportedValues, score_text};
use crate::inspect::{base64, json_bytes, json_text};
use crate::rdb::{Corrupt, Elements, Key, Kind, Reader, StreamId, StreamMeta, Visitor, module_name};

/// Maximum length of a buffered string.
const MAX_BUFFERED: u64 = 4 << 20;

/// Writes JSON lines.
#[derive(Debug)]
pub(super) struct JsonWriter {
    out: Vec<u8>,
    kind: Kind,
    name: (u64, Vec<u8>),
    /// Number of elements so far.
    count: u64,
    module: Option<u64>,
    groups: u64,
    pending: u64,
    consumers: u64,
    owned: u64,
    nacked: u64,
    /// A long string: its buffered part, the number of missing bytes, and whether it is written as base64 meanwhile.
    long: Vec<u8>,
    left: u64,
    passing: bool,
    unsupported: UnsupportedValues,
    keys: u64,
}

impl JsonWriter {
    pub(super) fn new() -> JsonWriter {
        JsonWriter {
            out: Vec::new(),
            kind: Kind::String,
            name: (0, Vec::new()),
            count: 0,
            module: None,
            groups: 0,
            pending: 0,
            consumers: 0,
            owned: 0,
            nacked: 0,
            long: Vec::new(),
            left: 0,
            passing: false,
            unsupported: UnsupportedValues::default(),
            keys: 0,
        }
    }

    fn text(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn comma(&mut self) {
        if self.count > 0 {
            self.out.push(b',');
        }
        self.count += 1;
    }

    fn element(&mut self, bytes: &[u8]) {
        self.comma();
        json_bytes(&mut self.out, bytes);
    }

    fn end_consumer(&mut self) {
        if self.consumers > 0 {
            self.text("]}");
        }
    }
}

impl Elements for JsonWriter {
    fn string(&mut self, bytes: &[u8]) {
        json_bytes(&mut self.out, bytes);
    }

    fn long_string(&mut self, length: u64) {
        self.long = Vec::new();
        self.left = length;
        self.passing = length > MAX_BUFFERED;
        if self.passing {
            self.text("{\"base64\":\"");
        }
    }

    fn long_part(&mut self, bytes: &[u8]) {
        self.long.extend_from_slice(bytes);
        self.left = self.left.saturating_sub(bytes.len() as u64);
        let done = self.left == 0;
        if self.passing {
            // Three bytes make four digits; a remainder waits for the next part.
            let whole = if done { self.long.len() } else { self.long.len() / 3 * 3 };
            let digits = base64(self.long.get(..whole).unwrap_or_default());
            self.text(&digits);
            self.long.drain(..whole);
            if done {
                self.text("\"}");
            }
        } else if done {
            json_bytes(&mut self.out, &self.long);
        }
        if done {
            self.long = Vec::new();
        }
    }

    fn item(&mut self, bytes: &[u8]) {
        self.element(bytes);
    }

    fn member(&mut self, bytes: &[u8]) {
        self.element(bytes);
    }

    fn scored(&mut self, member: &[u8], score: f64) {
        self.comma();
        self.out.push(b'[');
        json_bytes(&mut self.out, member);
        let quote = if score.is_infinite() { "\"" } else { "" };
        self.text(&format!(",{quote}{}{quote}]", score_text(score)));
    }

    fn field(&mut self, field: &[u8], value: &[u8], expiry: Option<i64>) {
        self.comma();
        self.out.push(b'[');
        json_bytes(&mut self.out, field);
        self.out.push(b',');
        json_bytes(&mut self.out, value);
        if let Some(at) = expiry {
            self.text(&format!(",{at}"));
        }
        self.out.push(b']');
    }

    fn entry(&mut self, id: StreamId, mut fields: &[u8]) {
        self.comma();
        self.text(&format!("[\"{id}\",["));
        let mut first = true;
        while let Some((len, rest)) = fields.split_first_chunk::<4>() {
            let (text, rest) =
                rest.split_at_checked(u32::from_le_bytes(*len) as usize).unwrap_or((rest, &[]));
            if !std::mem::take(&mut first) {
                self.out.push(b',');
            }
            json_bytes(&mut self.out, text);
            fields = rest;
        }
        self.text("]]");
    }

    fn stream(&mut self, meta: &StreamMeta) {
        self.text(&format!(
            "],\"length\":{},\"last-id\":\"{}\",\"max-deleted-id\":\"{}\",\"entries-added\":{},\"groups\":[",
            meta.length, meta.last_id, meta.max_deleted, meta.entries_added
        ));
    }

    fn group(&mut self, name: &[u8], last_id: StreamId, entries_read: Option<u64>) {
        let comma = if self.groups > 0 { "," } else { "" };
        self.text(&format!("{comma}{{\"name\":"));
        json_bytes(&mut self.out, name);
        let read = entries_read.map_or("null".to_owned(), |read| read.to_string());
        self.text(&format!(",\"last-id\":\"{last_id}\",\"entries-read\":{read},\"pending\":["));
        self.groups += 1;
        (self.pending, self.consumers, self.nacked) = (0, 0, 0);
    }

    fn pending(&mut self, id: StreamId, at: i64, count: u64) {
        let comma = if self.pending > 0 { "," } else { "" };
        self.text(&format!("{comma}[\"{id}\",{at},{count}]"));
        self.pending += 1;
    }

    fn consumer(&mut self, name: &[u8], seen: i64) {
        self.end_consumer();
        self.text(if self.consumers > 0 { ",{\"name\":" } else { "],\"consumers\":[{\"name\":" });
        json_bytes(&mut self.out, name);
        self.text(&format!(",\"seen-ms\":{seen},\"pending\":["));
        self.consumers += 1;
        self.owned = 0;
    }

    fn owned(&mut self, id: StreamId) {
        let comma = if self.owned > 0 { "," } else { "" };
        self.text(&format!("{comma}\"{id}\""));
        self.owned += 1;
    }

    fn nacked(&mut self, id: StreamId) {
        if self.nacked == 0 {
            self.end_consumer();
            self.text(if self.consumers > 0 { "],\"nacked\":[" } else { "],\"consumers\":[],\"nacked\":[" });
        }
        let comma = if self.nacked > 0 { "," } else { "" };
        self.text(&format!("{comma}\"{id}\""));
        self.nacked += 1;
    }

    fn insert_index(&mut self, index: Option<u64>) {
        let index = index.map_or("null".to_owned(), |index| index.to_string());
        self.text(&format!("{{\"insert-index\":{index},\"elements\":["));
    }

    fn slot(&mut self, index: u64, bytes: &[u8]) {
        self.comma();
        self.text(&format!("[{index},"));
        json_bytes(&mut self.out, bytes);
        self.out.push(b']');
    }

    fn group_end(&mut self) {
        if self.nacked > 0 {
            return self.text("]}");
        }
        self.end_consumer();
        self.text(if self.consumers > 0 { "]}" } else { "],\"consumers\":[]}" });
    }

    fn producers(&mut self, count: u64) {
        if count > 0 {
            self.unsupported.add(&Unsupported::Producers, self.name.0, &self.name.1);
        }
    }

    fn opaque(&mut self, raw: &[u8]) {
        if self.module.is_none() {
            self.module = Some(raw.first_chunk::<8>().map_or(0, |id| u64::from_le_bytes(*id)));
        }
    }
}

impl Visitor for JsonWriter {
    fn function(&mut self, code: &[u8]) {
        self.text("{\"type\":\"function\",\"code\":");
        json_bytes(&mut self.out, code);
        self.text("}\n");
    }

    fn module_aux(&mut self, module: &str) {
        self.unsupported.add(&Unsupported::ModuleData { module: module.to_owned() }, 0, b"");
    }

    fn key(&mut self, key: &Key<'_>) {
        self.name.0 = key.db;
        self.name.1.clear();
        self.name.1.extend_from_slice(key.name);
        (self.kind, self.count, self.module, self.groups) = (key.value_type.kind(), 0, None, 0);
        self.text(&format!("{{\"db\":{},\"key\":", key.db));
        json_bytes(&mut self.out, key.name);
        let expiry = key.expiry.map_or("null".to_owned(), |at| at.to_string());
        self.text(&format!(",\"type\":\"{}\",\"expiry-ms\":{expiry},\"value\":", self.kind));
        match self.kind {
            Kind::List | Kind::Set | Kind::Zset | Kind::Hash => self.text("["),
            Kind::Stream => self.text("{\"entries\":["),
            Kind::String | Kind::Module | Kind::Array => {}
        }
    }

    fn key_end(&mut self) {
        match self.kind {
            Kind::List | Kind::Set | Kind::Zset | Kind::Hash => self.text("]"),
            Kind::Stream | Kind::Array => self.text("]}"),
            Kind::String => {}
            Kind::Module => {
                let module = module_name(self.module.unwrap_or(0));
                self.text("null,\"module\":");
                json_text(&mut self.out, &module);
                self.unsupported.add(&Unsupported::Module { module }, self.name.0, &self.name.1);
            }
        }
        self.text("}\n");
        self.keys += 1;
    }
}

impl Sink for JsonWriter {
    fn feed(&mut self, reader: &mut Reader, bytes: &[u8]) -> Result<usize, Corrupt> {
        reader.feed(bytes, self)
    }

    fn ready(&self) -> usize {
        self.out.len()
    }

    fn take_into(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.out);
    }

    fn unsupported(&self) -> &UnsupportedValues {
        &self.unsupported
    }

    fn keys(&self) -> u64 {
        self.keys
    }
}
