//! Damaged files: real ones, mutated at random from a fixed seed, must give an answer, never a panic, never memory that
//! a length field merely claims.
//!
//! `fuzz/` runs the same entry points under libFuzzer. The seeds in `fuzz/seeds` were written by real servers, from the
//! data below; `DBHAUL_WRITE_SEEDS=1` writes them anew.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    missing_docs,
    reason = "test code; counts are to be seen"
)]

use crate::support;
use std::path::PathBuf;

use crate::support::{Client, captured, start};
use redisdump::fuzzing;
use redisdump::rdb::{Dialect, Kind};
use sandbox::RedisOptions;
use sandbox::testing::require_redis;

/// SplitMix64: a fixed sequence, so that failures are reproducible.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// Bytes with a meaning somewhere: lengths, encodings, ends, opcodes, signs.
const BYTES: [u8; 22] = [
    0, 1, 2, 3, 0x3f, 0x40, 0x7f, 0x80, 0x81, 0xc0, 0xc3, 0xdf, 0xe0, 0xef, 0xf0, 0xf4, 0xf5, 0xf7, 0xfc,
    0xfd, 0xfe, 0xff,
];

fn mutate(random: &mut Random, seed: &[u8], other: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(seed);
    for _ in 0..=random.below(4) {
        let at = random.below(out.len());
        match random.below(9) {
            _ if out.is_empty() => out.push(random.next() as u8),
            0 => out[at] ^= 1 << random.below(8),
            1 => out[at] = BYTES[random.below(BYTES.len())],
            2 => out[at] = random.next() as u8,
            3 => out.insert(at, BYTES[random.below(BYTES.len())]),
            4 => {
                out.remove(at);
            }
            5 => out.truncate(at),
            6 => {
                // A piece twice, or missing.
                let end = (at + 1 + random.below(16)).min(out.len());
                let piece = out[at..end].to_vec();
                if random.below(2) == 0 {
                    out.splice(at..at, piece);
                } else {
                    out.drain(at..end);
                }
            }
            7 => {
                // A piece of another file.
                let from = random.below(other.len());
                let end = (from + 1 + random.below(40)).min(other.len());
                out.splice(at..at, other[from.min(end)..end].iter().copied());
            }
            _ => {
                // A number where one may be.
                let number = [0, 1, u64::from(u32::MAX), u64::MAX, 1 << 31, i64::MAX as u64, random.next()];
                let bytes = number[random.below(7)].to_le_bytes();
                let width = [1, 2, 4, 8][random.below(4)];
                for (to, from) in out[at..].iter_mut().zip(&bytes[..width]) {
                    *to = *from;
                }
            }
        }
    }
}

fn seeds() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds")
}

fn files(extension: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(seeds())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Findings of fuzzing, each file for the entry point that its name begins with.
#[test]
fn what_was_found_once_is_answered() {
    let found = seeds().join("../found");
    for entry in std::fs::read_dir(found).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let entries = entries();
        let (_, target, _) =
            entries.iter().find(|(target, ..)| name.starts_with(&format!("{target}-"))).unwrap();
        target(&std::fs::read(&path).unwrap());
    }
}

/// The fuzzing corpus, reduced to inputs with new coverage: see `fuzz/README.md`.
#[test]
fn inputs_found_by_fuzzing_get_an_answer() {
    let mut count = 0;
    for (name, target, _) in entries() {
        let inputs = minimized(name);
        assert!(!inputs.is_empty(), "fuzz/minimized/{name} is empty");
        count += inputs.len();
        inputs.iter().for_each(|input| target(input));
    }
    eprintln!("count: fuzz/minimized: {count} inputs answered");
    assert!(count > 4000, "{count}");
}

/// The inputs of a target in one file, each after its length in four bytes, little-endian.
fn minimized(name: &str) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(seeds().join("../minimized").join(name)).unwrap();
    let mut rest = bytes.as_slice();
    let mut inputs = Vec::new();
    while let Some((length, more)) = rest.split_first_chunk::<4>() {
        let (input, more) = more.split_at(u32::from_le_bytes(*length) as usize);
        inputs.push(input.to_vec());
        rest = more;
    }
    assert!(rest.is_empty());
    inputs
}

/// Peak address space of this process in MiB, including reserved memory.
fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// One entry point: its name, its function, its seeds.
type Entry = (&'static str, fn(&[u8]), Vec<Vec<u8>>);

fn entries() -> Vec<Entry> {
    let rdbs = files("rdb");
    assert!(rdbs.len() >= 10, "fuzz/seeds is not whole");
    let values: Vec<_> = rdbs.iter().flat_map(|rdb| fuzzing::values(rdb)).collect();
    let blobs = |codes: &[u8]| -> Vec<Vec<u8>> {
        let of_type = values.iter().filter(|(value_type, _)| codes.contains(&value_type.code()));
        of_type.filter_map(|(value_type, raw)| fuzzing::blob(*value_type, raw)).collect()
    };
    let payloads: Vec<Vec<u8>> = values
        .iter()
        .map(|(value_type, raw)| {
            let version: u16 = if value_type.code() == 22 { 80 } else { 13 };
            [&[value_type.code()], raw.as_slice(), &version.to_le_bytes(), &[0; 8]].concat()
        })
        .collect();
    let streams = values
        .iter()
        .filter_map(|(value_type, raw)| {
            let layout = [15, 19, 21, 26].iter().position(|code| *code == value_type.code())?;
            Some([&[layout as u8], raw.as_slice()].concat())
        })
        .collect();
    let lzf = vec![
        [&11_u32.to_le_bytes()[..], &[1, b'a', b'b', 0xe0, 0, 1]].concat(),
        [&600_u32.to_le_bytes()[..], &[0, b'x', 0xe0, 255, 0, 0xe0, 255, 0, 0xe0, 59, 0]].concat(),
    ];
    let zipmap = vec![b"\x02\x03key\x05\x00value\x01a\x01\x02b  \xff".to_vec()];
    vec![
        ("rdb", fuzzing::rdb, rdbs),
        ("aof", fuzzing::aof, files("aof")),
        ("manifest", fuzzing::manifest, files("manifest")),
        ("dump", fuzzing::payload, payloads),
        ("lzf", fuzzing::lzf, lzf),
        ("listpack", fuzzing::listpack, blobs(&[16, 17, 20])),
        ("ziplist", fuzzing::ziplist, blobs(&[10, 12, 13])),
        ("intset", fuzzing::intset, blobs(&[11])),
        ("zipmap", fuzzing::zipmap, zipmap),
        ("stream", fuzzing::stream, streams),
    ]
}

fn damage(each: impl Fn(&str) -> usize, start: u64) {
    let before = most_memory();
    for (name, run, seeds) in entries() {
        assert!(!seeds.is_empty(), "{name} has no seeds");
        seeds.iter().for_each(|seed| run(seed));
        let mut random = Random(start);
        let mut damaged = Vec::new();
        let times = each(name);
        for _ in 0..times {
            let (seed, other) = (&seeds[random.below(seeds.len())], &seeds[random.below(seeds.len())]);
            mutate(&mut random, seed, other, &mut damaged);
            run(&damaged);
        }
        eprintln!("count: {name}: {times} damaged inputs of {} seeds", seeds.len());
    }
    let grown = most_memory().saturating_sub(before);
    assert!(grown < 600, "it took {grown} MiB more");
}

#[test]
fn damaged_files_give_an_answer() {
    damage(|_| 20_000, 1);
}

#[test]
#[ignore = "long: run by scripts/test --all"]
fn millions_of_damaged_files_give_an_answer() {
    let times: usize =
        std::env::var("DBHAUL_DAMAGE").ok().and_then(|times| times.parse().ok()).unwrap_or(200_000);
    let start = std::env::var("DBHAUL_DAMAGE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(2);
    damage(|_| times, start);
}

/// Why a server that looks closely refuses what we read.
fn reason(payload: &[u8], newest: u16) -> String {
    let (odd, empty) = fuzzing::lints(payload, true);
    let since =
        redisdump::rdb::ValueType::new(payload[0], redisdump::rdb::dump::dialect(newest)).unwrap().since();
    if since.is_some_and(|since| since > newest) {
        return "it is of a later version".to_owned();
    }
    match (odd.first(), payload.first()) {
        (Some(odd), _) => odd.to_string(),
        _ if empty => "nothing is in it".to_owned(),
        (_, Some(7)) => "its module is not there".to_owned(),
        // The bounds of a setting that no value depends on.
        (_, Some(26)) => "how long and how many idempotent messages a stream remembers".to_owned(),
        _ => panic!("a server refuses {payload:x?}, and we do not know why"),
    }
}

/// Damaged payloads on a server with thorough checks: what it accepts can be read here, with the same result.
#[test]
#[ignore = "long: run by scripts/test --all"]
fn accepted_payloads_are_readable() {
    let times: usize =
        std::env::var("DBHAUL_DAMAGE").ok().and_then(|times| times.parse().ok()).unwrap_or(20_000);
    for version in ["7.0", "8.2", "8.6", "valkey-9"] {
        let Some(binaries) = require_redis(version) else { continue };
        let settings = vec![("sanitize-dump-payload".to_owned(), "yes".to_owned())];
        let server = start(&binaries, RedisOptions { settings, ..RedisOptions::default() });
        let mut client = Client::new(&server);
        let stock = start(&binaries, RedisOptions::default());
        let mut as_it_comes = Client::new(&stock);
        let mut told = 0;
        let newest = version.parse::<redisdump::convert::commands::Target>().unwrap().rdb().1;
        let mut payloads = Vec::new();
        for rdb in files("rdb") {
            for (value_type, raw) in fuzzing::values(&rdb) {
                let foreign = value_type.code() >= 22
                    && (value_type.dialect() == redisdump::rdb::Dialect::Valkey) != (newest >= 80);
                if !foreign && value_type.since().is_some_and(|since| since <= newest) {
                    payloads.push([&[value_type.code()], raw.as_slice()].concat());
                }
            }
        }
        let (mut random, mut damaged) = (Random(7), Vec::new());
        let (mut taken, mut refused, mut read) = (0, 0, 0);
        let mut stricter = std::collections::BTreeMap::new();
        let mut streams = 0;
        let mut reasons = std::collections::BTreeMap::new();
        for _ in 0..times {
            let (seed, other) =
                (&payloads[random.below(payloads.len())], &payloads[random.below(payloads.len())]);
            mutate(&mut random, seed, other, &mut damaged);
            let mut payload = damaged.clone();
            redisdump::rdb::dump::seal(&mut payload, 0, newest);
            let ours = fuzzing::canonical_digest(&payload);
            let restore =
                [b"RESTORE".to_vec(), b"k".to_vec(), b"0".to_vec(), payload.clone(), b"REPLACE".to_vec()];
            if client.send(&restore).is_err() {
                refused += 1;
                if ours.is_ok() {
                    read += 1;
                    *reasons.entry(reason(&payload, newest)).or_insert(0) += 1;
                    // The verification's statement about servers with default settings is true.
                    let (odd, _) = fuzzing::lints(&payload, false);
                    // (With the other faults it may go on to where it stumbles, and end.)
                    if !odd.is_empty() && odd.iter().all(|odd| odd.refused_by(Dialect::Redis).is_some()) {
                        assert!(as_it_comes.send(&restore).is_err(), "{version} takes {odd:?}: {damaged:x?}");
                        told += 1;
                    }
                }
                continue;
            }
            taken += 1;
            if ours.is_ok() {
                let (mut odd, empty) = fuzzing::lints(&payload, true);
                // No server compares a stream's counters with its entries.
                odd.retain(|odd| *odd != redisdump::rdb::Lint::StreamCounters);
                assert!(odd.is_empty() && !empty, "{version} takes {odd:?}: {damaged:x?}");
            }
            let Ok(theirs) = client.bytes(&[b"DUMP".to_vec(), b"k".to_vec()]) else { continue };
            match (ours, fuzzing::canonical_digest(&theirs)) {
                (Err(problem), _) => *stricter.entry(format!("{problem} {}", damaged[0])).or_insert(0) += 1,
                // A server sorts a stream's nodes by their ids, which no whole stream needs.
                (Ok(ours), theirs) if ours.kind == Kind::Stream => streams += u64::from(theirs != Ok(ours)),
                (ours, theirs) => assert_eq!(ours, theirs, "{version} reads {damaged:x?} otherwise"),
            }
        }
        eprintln!(
            "count: {version}: {taken} damaged payloads taken and read alike, {refused} refused, {read} of them readable; {streams} streams otherwise; we are stricter: {stricter:#?}; read though refused: {reasons:#?}"
        );
        assert!(taken > 0 && refused > 0 && told > 0);
    }
}

/// For `fuzz/`: what each target begins with, in `fuzz/corpus`.
#[test]
#[ignore = "writes fuzz/corpus, and only with DBHAUL_WRITE_SEEDS=1"]
fn write_corpus() {
    if std::env::var_os("DBHAUL_WRITE_SEEDS").is_none() {
        return;
    }
    for (name, _, mut inputs) in entries() {
        let folder = self::seeds().join("../corpus").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        inputs.extend(minimized(name));
        for (at, input) in inputs.iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{at}")), input).unwrap();
        }
    }
}

/// For `fuzz/`: what was merged into `fuzz/merged/TARGET` becomes `fuzz/minimized/TARGET`.
#[test]
#[ignore = "writes fuzz/minimized, and only with DBHAUL_WRITE_SEEDS=1"]
fn write_minimized() {
    if std::env::var_os("DBHAUL_WRITE_SEEDS").is_none() {
        return;
    }
    for (name, ..) in entries() {
        let merged = std::fs::read_dir(self::seeds().join("../merged").join(name)).unwrap();
        let mut inputs: Vec<Vec<u8>> =
            merged.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect();
        inputs.sort();
        let packed: Vec<u8> = inputs
            .iter()
            .flat_map(|input| [&(input.len() as u32).to_le_bytes()[..], input.as_slice()].concat())
            .collect();
        std::fs::write(self::seeds().join("../minimized").join(name), packed).unwrap();
    }
}

/// A small key space with everything that a server knows, in packed form or in tables.
fn small(client: &mut Client, modern: bool, streams: bool, field_expiry: bool, functions: bool) {
    let lines = "SET int 12345|SET big -9223372036854775808|SET text hello|PEXPIREAT text 99999999999999|\
        RPUSH list a 1 -5 300 70000 9223372036854775807 some-longer-item|SADD set a b 3|SADD intset 1 -70000 3|\
        SADD intset64 9223372036854775807 1|ZADD z 1 a -inf b +inf c 1e308 d 0.1 e|HMSET hash f v g 12 h 1.5|SELECT 3|\
        SET other db|SELECT 0";
    lines.split('|').for_each(|line| drop(client.ask(line)));
    client.send(&[b"SET".to_vec(), b"lzf".to_vec(), b"compressible ".repeat(20)]).unwrap();
    client.send(&[b"RPUSH".to_vec(), b"node".to_vec(), b"x".repeat(80), b"y".to_vec()]).unwrap();
    if streams {
        let lines = "XADD s 1-1 a 1 b 2|XADD s 1-2 a 3 b 4|XADD s 5-0 d 5|XGROUP CREATE s g 0|\
            XREADGROUP GROUP g alice COUNT 2 STREAMS s >|XDEL s 1-2|XGROUP CREATE s idle $|XADD e 1-1 a b|XDEL e 1-1";
        lines.split('|').for_each(|line| drop(client.ask(line)));
    }
    if field_expiry {
        client.ask("HSET mortal f v g w");
        client.ask("HPEXPIREAT mortal 9999999999999 FIELDS 1 f");
    }
    if functions {
        let code = b"#!lua name=m\nredis.register_function('f', function() return 1 end)".to_vec();
        client.send(&[b"FUNCTION".to_vec(), b"LOAD".to_vec(), code]).unwrap();
    }
    if modern {
        client.ask("CONFIG SET maxmemory-policy allkeys-lfu");
        client.ask("SET used 1");
    }
}

#[tokio::test]
#[ignore = "writes fuzz/seeds, and only with DBHAUL_WRITE_SEEDS=1"]
async fn write_seeds() {
    if std::env::var_os("DBHAUL_WRITE_SEEDS").is_none() {
        return;
    }
    std::fs::create_dir_all(seeds()).unwrap();
    for version in ["3.0", "3.2", "5.0", "6.2", "7.0", "8.2", "8.6", "valkey-8.1", "valkey-9"] {
        let Some(binaries) = require_redis(version) else { continue };
        for form in ["packed", "tables"] {
            let server = start(&binaries, RedisOptions::default());
            let mut client = Client::new(&server);
            if form == "tables" {
                let limits = "hash-max-ziplist-entries zset-max-ziplist-entries set-max-intset-entries \
                    list-max-ziplist-entries hash-max-listpack-entries set-max-listpack-entries \
                    list-max-ziplist-size stream-node-max-entries";
                for name in limits.split(' ').filter(|name| !name.is_empty()) {
                    // Each version knows some of them.
                    let _ = client.send(&support::words(&format!("CONFIG SET {name} 1")));
                }
            }
            let features = version.parse::<redisdump::convert::commands::Target>().unwrap().features();
            small(&mut client, features.streams, features.streams, features.field_expiry, features.functions);
            if version == "8.6" {
                for line in [
                    "XADD idmp IDMP p1 i1 * a b",
                    "XADD idmp IDMP p2 i2 * a b",
                    "XADD idmp IDMPAUTO p2 * a c",
                ] {
                    client.ask(line);
                }
            }
            let (rdb, _) = captured(&server).await;
            std::fs::write(seeds().join(format!("{version}-{form}.rdb")), rdb).unwrap();
        }
    }
    for version in ["6.2", "7.0", "8.2"] {
        let Some(binaries) = require_redis(version) else { continue };
        let settings = match version {
            "6.2" => vec![("aof-use-rdb-preamble".to_owned(), "yes".to_owned())],
            _ => vec![("aof-timestamp-enabled".to_owned(), "yes".to_owned())],
        };
        let options = RedisOptions { appendonly: true, settings, ..RedisOptions::default() };
        let mut server = start(&binaries, options);
        let mut client = Client::new(&server);
        client.ask("SET a 1");
        client.ask("BGREWRITEAOF");
        while client.ask("INFO persistence").contains("aof_rewrite_in_progress:1") {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        for line in ["SET b 2", "MULTI", "INCR a", "SELECT 2", "RPUSH l a b", "EXEC", "SET c 3"] {
            client.ask(line);
        }
        server.stop();
        let files = redisdump::aof::Files::locate(server.dir()).unwrap();
        for (at, part) in files.parts.iter().enumerate() {
            std::fs::copy(&part.path, seeds().join(format!("{version}-{at}.aof"))).unwrap();
        }
        if let Some((path, _)) = &files.manifest {
            std::fs::copy(path, seeds().join(format!("{version}.manifest"))).unwrap();
        }
    }
    let odd = "# a comment\nfile \"with \\x20 \\\"quotes\\\"\" seq 1 type b\nfile 'b c' seq 2 type i startoffset 0\n";
    std::fs::write(seeds().join("quotes.manifest"), odd).unwrap();
}
