//! Translates a command of an AOF for the target: databases and expiries adjusted, unselected keys omitted. Pure: bytes
//! in, bytes out.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::super::choice::{KeyChoice, Matched};
use super::expiry::{self, Expiring};
use super::report::UndatedExpiries;
use super::table::{Table, may_occur_in_aof};
use crate::client::wire::command;
use crate::convert::commands::{PlaceholderExpiries, Target};

/// Why a command is not sent: words that follow its name.
pub(super) type Refusal = String;

/// State carried over from earlier commands.
pub(super) struct Translator<'a> {
    pub(super) table: &'a Table,
    pub(super) choice: &'a KeyChoice,
    /// Which parts of the choice have matched keys.
    pub(super) matched: Matched,
    pub(super) times: PlaceholderExpiries,
    target: Target,
    /// `SET` supports an absolute expiry (6.2).
    set_takes_expiry: bool,
    /// The last `#TS:`, in seconds.
    pub(super) annotated: Option<i64>,
    /// The base of relative expiries before the first `#TS:`, in milliseconds.
    pub(super) expiry_base: i64,
    /// How many there were, and their earliest base.
    pub(super) undated: Option<UndatedExpiries>,
    /// Number of commands sent without stream counters, which the target does not have.
    pub(super) counters: u64,
    /// Error replies are not ignored: commands that fail elsewhere are sent unchanged.
    pub(super) strict: bool,
    /// Number of streams that were created empty with another id than 0-0.
    pub(super) empty_streams: u64,
    /// Between MULTI and EXEC.
    in_multi: bool,
    /// The last command is in a transaction of its own, so that it does not block.
    pub(super) wrapped: bool,
    /// Every selected database, and its target database.
    pub(super) databases: BTreeMap<u64, u64>,
    /// Scripts and functions that were called, by command.
    pub(super) scripts: BTreeMap<String, u64>,
    /// Number of commands for unselected keys.
    pub(super) unwanted: u64,
    /// Number of expiries sent as placeholders.
    pub(super) placeholders: u64,
    /// Those of hash fields among them.
    pub(super) field_placeholders: u64,
}

/// A command's words.
pub(super) type Words<'w> = Vec<Cow<'w, [u8]>>;

impl<'a> Translator<'a> {
    pub(super) fn new(
        table: &'a Table,
        choice: &'a KeyChoice,
        times: PlaceholderExpiries,
        target: Target,
    ) -> Translator<'a> {
        let since =
            |redis| target.flavor == crate::rdb::Dialect::Valkey || (target.major, target.minor) >= redis;
        Translator {
            table,
            choice,
            matched: Matched::default(),
            times,
            target,
            set_takes_expiry: since((6, 2)),
            annotated: None,
            expiry_base: 0,
            undated: None,
            counters: 0,
            strict: false,
            empty_streams: 0,
            in_multi: false,
            wrapped: false,
            databases: [(0, choice.database(0))].into(),
            scripts: BTreeMap::new(),
            unwanted: 0,
            placeholders: 0,
            field_placeholders: 0,
        }
    }

    /// Starts a file; returns the target database that corresponds to its first one.
    pub(super) fn begin(&mut self) -> u64 {
        self.in_multi = false;
        self.choice.database(0)
    }

    /// An annotation between commands.
    pub(super) fn annotate(&mut self, text: &[u8]) {
        let seconds = text.strip_prefix(b"TS:").and_then(|digits| std::str::from_utf8(digits).ok());
        self.annotated = seconds.and_then(|digits| digits.trim().parse().ok()).or(self.annotated);
    }

    /// Appends the commands for the target; returns their number.
    ///
    /// # Errors
    /// Why it cannot be translated.
    pub(super) fn translate(&mut self, words: &[&[u8]], out: &mut Vec<u8>) -> Result<u64, Refusal> {
        let Some(name) = words.first().and_then(|name| std::str::from_utf8(name).ok()) else {
            return Err("it has no name".to_owned());
        };
        let name = name.to_ascii_lowercase();
        let word = |at: usize| words.get(at).copied().unwrap_or_default();
        self.wrapped = false;
        match name.as_str() {
            "multi" | "exec" | "discard" | "ping" => {
                self.in_multi = name == "multi" || (self.in_multi && name == "ping");
                command(out, words);
                return Ok(1);
            }
            "select" => {
                let db = self.database(word(1))?;
                self.databases.insert(db, self.choice.database(db));
                command(out, &[b"SELECT", self.choice.database(db).to_string().as_bytes()]);
                return Ok(1);
            }
            // It would send keys to another server.
            "migrate" => return Err("no server writes this command to a file".to_owned()),
            _ => {}
        }
        let Some(entry) = self.table.get(&name, words.get(1).copied()) else {
            return Err("the target does not know this command".to_owned());
        };
        let script = matches!(name.as_str(), "eval" | "evalsha" | "fcall" | "script");
        if script {
            *self.scripts.entry(name.to_ascii_uppercase()).or_default() += 1;
        } else if !entry.writes && !may_occur_in_aof(&name, words.get(1).copied()) {
            return Err("it writes nothing: no server writes this command to a file".to_owned());
        }
        let mut words: Words<'_> = words.iter().map(|word| Cow::Borrowed(*word)).collect();
        if !self.chosen(&name, entry, &mut words)? {
            self.unwanted += 1;
            return Ok(0);
        }
        self.rename(&name, &mut words);
        self.other_databases(&name, &mut words)?;
        let mut count = 1;
        let mut after = None;
        match expiry::find(&name, &words) {
            None => {}
            Some(found) => {
                let at = self.absolute(&found);
                let placeholder = self.times.placeholder(at);
                self.placeholders += u64::from(placeholder != at);
                self.field_placeholders += u64::from(placeholder != at && found.of_fields);
                after = expiry::tell(&name, &mut words, &found, placeholder, self.set_takes_expiry);
            }
        }
        let words: Vec<&[u8]> = words.iter().map(AsRef::as_ref).collect();
        // A server that loads its file never blocks; a live one does not block within a transaction.
        self.wrapped = !self.in_multi && may_block(&name, &words);
        if self.wrapped {
            command(out, &[b"MULTI"]);
            command(out, &words);
            command(out, &[b"EXEC"]);
            count = 3;
        } else if !words.is_empty() {
            command(out, &words);
        } else {
            count = 0;
        }
        if let Some((key, at)) = after {
            command(out, &[b"PEXPIREAT", &key, at.to_string().as_bytes()]);
            count += 1;
        }
        Ok(count)
    }

    /// The absolute time, in milliseconds since the epoch.
    fn absolute(&mut self, found: &Expiring) -> i64 {
        let at = found.number.saturating_mul(found.unit);
        if !found.relative {
            return at;
        }
        match self.annotated {
            Some(seconds) => seconds.saturating_mul(1000).saturating_add(at),
            None => {
                let from = self.expiry_base;
                let undated = self.undated.get_or_insert(UndatedExpiries { count: 0, from_ms: from });
                undated.count += 1;
                undated.from_ms = undated.from_ms.min(from);
                from.saturating_add(at)
            }
        }
    }

    fn database(&self, word: &[u8]) -> Result<u64, Refusal> {
        let number = std::str::from_utf8(word).ok().and_then(|text| text.parse().ok());
        number.ok_or_else(|| "its database is not a number".to_owned())
    }

    /// Omits unselected keys; false if nothing remains.
    fn chosen(
        &mut self,
        name: &str,
        entry: super::table::Entry,
        words: &mut Words<'_>,
    ) -> Result<bool, Refusal> {
        if self.choice.include.is_empty() && self.choice.exclude.is_empty() {
            return Ok(true);
        }
        if entry.movable || matches!(name, "eval" | "evalsha" | "fcall") {
            return Err(
                "only the server knows where its key names are, so keys cannot be selected".to_owned()
            );
        }
        let keys: Vec<usize> = entry.keys(words.len()).collect();
        for key in keys.iter().filter_map(|at| words.get(*at)) {
            self.matched.note(self.choice, 0, key);
        }
        let wanted = |words: &Words<'_>, at: usize| words.get(at).is_some_and(|key| self.choice.wants(key));
        let many = keys.iter().filter(|at| wanted(words, **at)).count();
        if many == keys.len() {
            return Ok(true);
        }
        // The effect on one key does not depend on the others.
        let width = match name {
            "del" | "unlink" | "touch" => 1,
            "mset" => 2,
            _ if many == 0 => return Ok(false),
            _ => {
                return Err(
                    "only some of its keys are selected, and its effect depends on all of them".to_owned()
                );
            }
        };
        let mut kept: Words<'_> = words.iter().take(1).cloned().collect();
        for at in keys.into_iter().filter(|at| wanted(words, *at)) {
            kept.extend(words.iter().skip(at).take(width).cloned());
        }
        *words = kept;
        Ok(many > 0)
    }

    /// Commands that have other names on older servers.
    fn rename(&mut self, name: &str, words: &mut Words<'_>) {
        let features = self.target.features();
        let older = |redis| self.target.flavor == crate::rdb::Dialect::Redis && self.target.major < redis;
        match name {
            "hset" if words.len() > 4 && !features.many_fields => {
                if let Some(first) = words.first_mut() {
                    *first = Cow::Borrowed(b"HMSET");
                }
            }
            "xsetid" if words.len() > 3 && !features.stream_counters => {
                words.truncate(3);
                self.counters += 1;
            }
            "xgroup" if !features.stream_counters => {
                let at = words.iter().skip(5).position(|word| word.eq_ignore_ascii_case(b"ENTRIESREAD"));
                if let Some(at) = at {
                    words.drain(at + 5..words.len().min(at + 7));
                    self.counters += 1;
                }
            }
            // 5.0 writes an empty stream like this, and creates it although it answers with an error; later servers do
            // not create it. The form that they write themselves is sent instead; XSETID follows in any case.
            "xadd" if !self.strict && is_empty_stream(words) => {
                if let Some(id) = words.get_mut(4) {
                    *id = Cow::Borrowed(b"0-1");
                    self.empty_streams += 1;
                }
            }
            // The same in the foreground, whatever the server supports.
            "flushall" | "flushdb" if older(4) => words.truncate(1),
            _ => {}
        }
    }

    /// Databases that a command names in addition to the selected one.
    fn other_databases(&mut self, name: &str, words: &mut Words<'_>) -> Result<(), Refusal> {
        let places: Vec<usize> = match name {
            "move" => vec![2],
            "swapdb" => vec![1, 2],
            "copy" => words
                .iter()
                .skip(3)
                .position(|word| word.eq_ignore_ascii_case(b"DB"))
                .map(|at| at + 4)
                .into_iter()
                .collect(),
            _ => return Ok(()),
        };
        for at in places {
            let Some(word) = words.get_mut(at) else { continue };
            let db = self.database(word)?;
            self.databases.insert(db, self.choice.database(db));
            *word = Cow::Owned(self.choice.database(db).to_string().into_bytes());
        }
        Ok(())
    }
}

/// True for `XADD key MAXLEN 0 0-0 …`.
fn is_empty_stream(words: &Words<'_>) -> bool {
    let is = |at: usize, text: &[u8]| words.get(at).is_some_and(|word| word.eq_ignore_ascii_case(text));
    is(2, b"MAXLEN") && is(3, b"0") && is(4, b"0-0")
}

/// True for a command that waits if there is nothing to take. Servers up to 6.0 write BRPOPLPUSH as it was sent.
fn may_block(name: &str, words: &[&[u8]]) -> bool {
    const BLOCKING: &[&str] =
        &["blmove", "blmpop", "blpop", "brpop", "brpoplpush", "bzmpop", "bzpopmax", "bzpopmin"];
    let reads = matches!(name, "xread" | "xreadgroup");
    BLOCKING.contains(&name) || (reads && words.iter().any(|word| word.eq_ignore_ascii_case(b"BLOCK")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    fn table() -> Table {
        let key = |name| (name, true, false, 1, 1, 1);
        let keys =
            ["set", "getex", "setex", "expire", "pexpireat", "restore", "hset", "hpexpire", "hsetex", "move"];
        let others = [
            ("copy", true, false, 1, 2, 1),
            ("rename", true, false, 1, 2, 1),
            ("brpoplpush", true, false, 1, 2, 1),
            ("xsetid", true, false, 1, 1, 1),
            ("xgroup", true, false, 2, 2, 1),
            ("del", true, false, 1, -1, 1),
            ("mset", true, false, 1, -1, 2),
            ("flushall", true, false, 0, 0, 0),
            ("eval", false, true, 0, 0, 0),
            ("get", false, false, 1, 1, 1),
        ];
        Table::of(&keys.into_iter().map(key).chain(others).collect::<Vec<_>>())
    }

    /// The translation of these commands, as words; a refusal in angle brackets.
    fn replayed(target: Target, choice: &KeyChoice, annotated: Option<i64>, lines: &[&str]) -> Vec<String> {
        let table = table();
        let mut translator = Translator::new(&table, choice, PlaceholderExpiries::new(NOW), target);
        (translator.annotated, translator.expiry_base) = (annotated, 2_000_000_000_000);
        let mut all = Vec::new();
        for line in lines {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let mut out = Vec::new();
            match translator.translate(&words, &mut out) {
                Ok(count) => {
                    let text = String::from_utf8(out).unwrap();
                    let mut commands: Vec<String> = Vec::new();
                    for line in text.lines() {
                        match line.as_bytes()[0] {
                            b'*' => commands.push(String::new()),
                            b'$' => {}
                            _ => {
                                let last = commands.last_mut().unwrap();
                                last.push_str(if last.is_empty() { "" } else { " " });
                                last.push_str(line);
                            }
                        }
                    }
                    assert_eq!(count, commands.len() as u64, "{line}");
                    all.extend(commands);
                }
                Err(why) => all.push(format!("<{why}>")),
            }
        }
        all
    }

    fn all(target: Target, lines: &[&str]) -> Vec<String> {
        replayed(target, &KeyChoice::default(), Some(2_000_000_000), lines)
    }

    #[test]
    fn expiries_become_absolute_and_in_milliseconds() {
        for (line, new, old) in [
            ("EXPIRE k 5", "PEXPIREAT k 2000000005000", "PEXPIREAT k 2000000005000"),
            ("pexpireat k 3000000000000 GT", "PEXPIREAT k 3000000000000", "PEXPIREAT k 3000000000000"),
            ("SETEX k 5 v", "SET k v PXAT 2000000005000", "SET k v;PEXPIREAT k 2000000005000"),
            ("SET k EX EX 5 NX", "SET k EX PXAT 2000000005000 NX", "SET k EX NX;PEXPIREAT k 2000000005000"),
            ("SET k v PXAT 3000000000000", "SET k v PXAT 3000000000000", "SET k v;PEXPIREAT k 3000000000000"),
            ("GETEX k EXAT 3000000000", "PEXPIREAT k 3000000000000", "PEXPIREAT k 3000000000000"),
            ("RESTORE k 5 x", "RESTORE k 2000000000005 x ABSTTL", "RESTORE k 0 x;PEXPIREAT k 2000000000005"),
            ("RESTORE k 0 x REPLACE", "RESTORE k 0 x REPLACE", "RESTORE k 0 x REPLACE"),
            (
                "HPEXPIRE k 5 NX FIELDS 1 f",
                "HPEXPIREAT k 2000000000005 FIELDS 1 f",
                "HPEXPIREAT k 2000000000005 FIELDS 1 f",
            ),
            (
                "HSETEX k FNX EX 5 FIELDS 1 PX 7",
                "HSETEX k FNX PXAT 2000000005000 FIELDS 1 PX 7",
                "HSETEX k FNX PXAT 2000000005000 FIELDS 1 PX 7",
            ),
            ("SET k v KEEPTTL", "SET k v KEEPTTL", "SET k v KEEPTTL"),
        ] {
            assert_eq!(all(Target::redis(7, 0), &[line]).join(";"), new);
            assert_eq!(all(Target::redis(3, 0), &[line]).join(";"), old);
        }
        // Without a date, the given time is their base, and they keep their keys.
        let undated = replayed(
            Target::redis(7, 0),
            &KeyChoice::default(),
            None,
            &["EXPIRE k 5", "SET k v EX 7", "PEXPIREAT k 3000000000000"],
        );
        let from = |seconds: i64| 2_000_000_000_000 + 1000 * seconds;
        assert_eq!(undated[..2], [format!("PEXPIREAT k {}", from(5)), format!("SET k v PXAT {}", from(7))]);
    }

    #[test]
    fn expiries_that_may_pass_meanwhile_get_a_placeholder() {
        let temporary_name = PlaceholderExpiries::new(NOW).placeholder(NOW - 7);
        let line = format!("PEXPIREAT k {}", NOW - 7);
        assert_eq!(all(Target::redis(7, 0), &[&line]), [format!("PEXPIREAT k {temporary_name}")]);
    }

    #[test]
    fn older_servers_get_their_own_syntax() {
        assert_eq!(
            all(Target::redis(3, 2), &["HSET k a 1 b 2", "FLUSHALL ASYNC"]),
            ["HMSET k a 1 b 2", "FLUSHALL"]
        );
        assert_eq!(
            all(Target::redis(7, 0), &["HSET k a 1 b 2", "FLUSHALL ASYNC"]),
            ["HSET k a 1 b 2", "FLUSHALL ASYNC"]
        );
    }

    #[test]
    fn blocking_statements_inside_a_transaction_are_recognized() {
        let lines = ["BRPOPLPUSH a b 0", "MULTI", "BRPOPLPUSH a b 0", "EXEC", "SET k v"];
        let commands = all(Target::redis(7, 0), &lines);
        let expected = ["MULTI", "BRPOPLPUSH a b 0", "EXEC", "MULTI", "BRPOPLPUSH a b 0", "EXEC", "SET k v"];
        assert_eq!(commands, expected);
    }

    #[test]
    fn counters_of_streams_are_left_out_where_none_are_kept() {
        let lines = [
            "XSETID s 1-5 ENTRIESADDED 9 MAXDELETEDID 1-4",
            "XGROUP CREATE s g 1-5 MKSTREAM ENTRIESREAD 9",
            "XGROUP CREATE s ENTRIESREAD 1-5 ENTRIESREAD 9",
        ];
        assert_eq!(
            all(Target::redis(6, 2), &lines),
            ["XSETID s 1-5", "XGROUP CREATE s g 1-5 MKSTREAM", "XGROUP CREATE s ENTRIESREAD 1-5"]
        );
        assert_eq!(all(Target::redis(7, 0), &lines), lines);
    }

    #[test]
    fn databases_and_keys_as_chosen() {
        let choice =
            KeyChoice { exclude: vec!["no*".into()], databases: [(1, 4)].into(), ..KeyChoice::default() };
        let lines = [
            "SELECT 1",
            "MOVE a 1",
            "COPY a b DB 1 REPLACE",
            "DEL a no b",
            "MSET no 1 a 2",
            "SET no 1",
            "RENAME a no",
            "EVAL x 0",
        ];
        let commands = replayed(Target::redis(7, 0), &choice, None, &lines);
        assert_eq!(commands[..5], ["SELECT 4", "MOVE a 4", "COPY a b DB 4 REPLACE", "DEL a b", "MSET a 2"]);
        assert!(
            commands[5].starts_with("<only some of its keys")
                && commands[6].starts_with("<only the server knows"),
            "{commands:?}"
        );
        assert_eq!(all(Target::redis(7, 0), &["SELECT x", "GET a"])[0], "<its database is not a number>");
    }
}
