//! Shared code of the codec tests: servers, a key space with every edge case of a version, a digest of it.
#![allow(dead_code, reason = "each test uses its part")]

pub(crate) mod proxy;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use redis::{ConnectionAddr, ConnectionLike as _, IntoConnectionInfo as _, RedisConnectionInfo, Value};
use redisdump::{Capture, CaptureOptions, CaptureReport, ConnectOptions, Environment};
use sandbox::{Flavor, Redis, RedisBinaries, RedisOptions};

/// A server that does not wait for further replicas before it sends its snapshot.
pub(crate) fn start(binaries: &RedisBinaries, options: RedisOptions) -> Redis {
    let mut options = options;
    let old = binaries.flavor() == Flavor::Redis && binaries.version().major() < 4;
    if !old {
        options.settings.push(("repl-diskless-sync-delay".to_owned(), "0".to_owned()));
    }
    Redis::start(binaries, options).unwrap()
}

/// A connection for tests: the `redis` crate's own, so that what redisdump wrote is read by independent code.
pub(crate) struct Client(redis::Connection);

impl Client {
    pub(crate) fn new(server: &Redis) -> Client {
        let settings = RedisConnectionInfo::default();
        let settings = match server.password() {
            Some(password) => settings.set_password(password),
            None => settings,
        };
        Client::over(ConnectionAddr::Unix(server.socket()), settings)
    }

    pub(crate) fn at(port: u16) -> Client {
        Client::over(ConnectionAddr::Tcp("127.0.0.1".to_owned(), port), RedisConnectionInfo::default())
    }

    fn over(address: ConnectionAddr, settings: RedisConnectionInfo) -> Client {
        // Without CLIENT SETINFO, which old servers do not know.
        let settings = settings.set_skip_set_lib_name();
        let address = address.into_connection_info().unwrap().set_redis_settings(settings);
        Client(redis::Client::open(address).unwrap().get_connection().unwrap())
    }

    fn value(&mut self, command: &[Vec<u8>]) -> Value {
        self.0.req_packed_command(&redis::pack_command(command)).unwrap()
    }

    pub(crate) fn send(&mut self, command: &[Vec<u8>]) -> Result<String, String> {
        shown(self.value(command))
    }

    /// Sends a command whose reply is a string of any bytes.
    pub(crate) fn bytes(&mut self, command: &[Vec<u8>]) -> Result<Vec<u8>, String> {
        match self.value(command) {
            Value::BulkString(bytes) => Ok(bytes),
            other => Err(shown(other).unwrap_or_else(|error| error)),
        }
    }

    /// Sends a line of words; an error reply fails the test.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.send(&words(line)).unwrap_or_else(|e| panic!("{line}: {e}"))
    }

    /// Sends ready commands and reads so many replies; the first error of them, if there is one.
    pub(crate) fn pipe(&mut self, resp: &[u8], replies: u64) -> Result<(), String> {
        // The crate refuses to send nothing.
        if resp.is_empty() && replies == 0 {
            return Ok(());
        }
        let replies = self.0.req_packed_commands(resp, 0, replies as usize).unwrap();
        replies.into_iter().try_for_each(|reply| shown(reply).map(drop))
    }

    /// Sends ready commands, and reads replies until an ECHO after them is answered; at most so many. The first error of
    /// them, if there is one.
    pub(crate) fn run(&mut self, resp: &[u8], most: u64) -> Result<(), String> {
        const END: &str = "the-end!";
        let end = resp_of(&format!("ECHO {END}"));
        self.0.send_packed_command(&[resp, &end].concat()).unwrap();
        let mut outcome = Ok(());
        for _ in 0..=most {
            let reply = shown(self.0.recv_response().unwrap());
            if reply.as_deref() == Ok(END) {
                return outcome;
            }
            outcome = outcome.and(reply.map(drop));
        }
        panic!("the last command was not answered")
    }
}

/// A reply as text, an array's elements joined by spaces, `nil` for nothing; or the server's error message.
fn shown(reply: Value) -> Result<String, String> {
    Ok(match reply {
        Value::Nil => "nil".to_owned(),
        Value::Okay => "OK".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::SimpleString(text) => text,
        Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Value::Array(items) => items.into_iter().map(shown).collect::<Result<Vec<_>, _>>()?.join(" "),
        Value::ServerError(error) => {
            return Err([error.code()].into_iter().chain(error.details()).collect::<Vec<_>>().join(" "));
        }
        other => panic!("{other:?} in RESP2"),
    })
}

pub(crate) fn words(line: &str) -> Vec<Vec<u8>> {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// A line of words as a command in RESP, as in an append-only file.
pub(crate) fn resp_of(line: &str) -> Vec<u8> {
    redis::pack_command(&words(line))
}

/// True from this version of Redis on; Valkey counts on from Redis 7.2.
pub(crate) fn at_least(server: &Redis, major: u32, minor: u32) -> bool {
    let version = server.version();
    server.flavor() == Flavor::Valkey || (version.major(), version.minor()) >= (major, minor)
}

/// Features of a key space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Corners {
    /// Features of 3.0.
    Oldest,
    /// With streams, where the server has them.
    Streams,
    /// With function libraries and what streams count too.
    Functions,
    /// With all that the server has: fields of hashes that expire too.
    All,
}

/// Every type, small and large, with expiries, several databases; as far as the server knows it.
pub(crate) fn fill(server: &Redis, corners: Corners) {
    let mut client = Client::new(server);
    let lines = "SET int 12345|SET negative -9223372036854775808|SET text hello|SET soon x|PEXPIREAT soon 99999999999999|\
        SET past2038 y|PEXPIREAT past2038 4102444800123|RPUSH list a b c 1 -5 300 70000 9223372036854775807|\
        SADD set a b c|SADD intset 1 2 3 -70000|SADD intset64 1 9223372036854775807 -9223372036854775808|\
        ZADD z 1 a -inf b +inf c 1e308 d 0.1 e 0.30000000000000004 f 5e-324 g -0 h|HMSET hash f v g 12 h 1.5|\
        EXPIREAT hash 99999999999|PFADD hll a b c|SETRANGE bits 100 x|SELECT 3|SET other db|RPUSH text list|SELECT 0";
    for line in lines.split('|') {
        client.ask(line);
    }
    let binary: Vec<u8> = (0..=255).collect();
    let set = |client: &mut Client, key: &[u8], value: &[u8]| {
        client.send(&[b"SET".to_vec(), key.to_vec(), value.to_vec()]).unwrap();
    };
    set(&mut client, &binary, &[0, 255, 13, 10]);
    set(&mut client, b"big", &b"compressible ".repeat(20_000));
    // Incompressible, and long enough to be reported in parts.
    let noise = std::iter::successors(Some(1_u64), |n| {
        Some(n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1))
    });
    let noise: Vec<u8> = noise.take(50_000).flat_map(|n| (n >> 16).to_le_bytes()).collect();
    set(&mut client, b"noise", &noise);
    set(&mut client, "열쇠🔑".as_bytes(), "값".as_bytes());
    set(&mut client, b"", b"");
    client.send(&[b"HSET".to_vec(), b"emptyfield".to_vec(), Vec::new(), Vec::new()]).unwrap();
    let many = |client: &mut Client, name: &str, key: &str, each: &dyn Fn(usize) -> Vec<Vec<u8>>| {
        let mut command = vec![name.as_bytes().to_vec(), key.as_bytes().to_vec()];
        command.extend((0..1500).flat_map(each));
        client.send(&command).unwrap();
    };
    many(&mut client, "RPUSH", "biglist", &|n| {
        vec![format!("item {n} {}", "x".repeat(n % 90 + if n == 700 { 20_000 } else { 0 })).into_bytes()]
    });
    many(&mut client, "RPUSH", "numbers", &|n| {
        vec![(n as i64 * 123_456_789 - 9_000_000).to_string().into_bytes()]
    });
    many(&mut client, "SADD", "bigset", &|n| vec![format!("member {n}").into_bytes()]);
    many(&mut client, "ZADD", "bigz", &|n| {
        vec![format!("{}", n as f64 / 7.0).into_bytes(), format!("m{n}").into_bytes()]
    });
    many(&mut client, "HMSET", "bighash", &|n| vec![format!("f{n}").into_bytes(), binary.clone()]);
    if corners >= Corners::Streams && at_least(server, 5, 0) {
        streams(&mut client);
    }
    if corners >= Corners::Functions && at_least(server, 7, 0) {
        let code = b"#!lua name=mine\nredis.register_function('one', function() return 1 end)".to_vec();
        client.send(&[b"FUNCTION".to_vec(), b"LOAD".to_vec(), code]).unwrap();
    }
    if corners == Corners::All && field_expiry(server) {
        client.ask("HSET mortal f v g w h x");
        client.ask("HPEXPIREAT mortal 9999999999999 FIELDS 2 f g");
        many(&mut client, "HSET", "bigmortal", &|n| {
            vec![format!("f{n}").into_bytes(), format!("v{n}").into_bytes()]
        });
        client.ask("HPEXPIREAT bigmortal 9999999999998 FIELDS 3 f1 f2 f3");
    }
}

pub(crate) fn field_expiry(server: &Redis) -> bool {
    let version = server.version();
    let since = if server.flavor() == Flavor::Valkey { (9, 0) } else { (7, 4) };
    (version.major(), version.minor()) >= since
}

/// Streams with groups, consumers, deleted entries that are pending, none, many.
fn streams(client: &mut Client) {
    let lines = "XADD s 1-1 a 1 b 2|XADD s 1-2 a 3|XADD s 2-1 c 4|XADD s 5-0 d 5|XGROUP CREATE s g 0|\
        XREADGROUP GROUP g alice COUNT 3 STREAMS s >|XREADGROUP GROUP g bob COUNT 1 STREAMS s >|XDEL s 1-2|\
        XADD s 6-0 d 5|XGROUP CREATE s idle $|XADD empty 1-1 a b|XDEL empty 1-1|XGROUP CREATE made g $ MKSTREAM|\
        XADD gone 3-3 a b|XADD gone 4-4 a b|XGROUP CREATE gone g 0|XREADGROUP GROUP g c STREAMS gone >|\
        XREADGROUP GROUP g idle STREAMS gone 0|XDEL gone 3-3 4-4";
    for line in lines.split('|') {
        client.ask(line);
    }
    for n in 0..300 {
        client.ask(&format!("XADD many {}-{} field {n} other{} x", n / 7 + 1, n % 7, n % 3));
    }
    client.ask("XGROUP CREATE many readers 10-0");
    client.ask("XREADGROUP GROUP readers one COUNT 50 STREAMS many >");
    client.ask("XDEL many 11-1 11-3 20-0");
    client.ask("XTRIM many MAXLEN 280");
}

pub(crate) fn options(server: &Redis) -> ConnectOptions {
    ConnectOptions::parse(&server.url(), &Environment::default()).unwrap()
}

/// The server's RDB, and what is in it.
pub(crate) async fn captured(server: &Redis) -> (Vec<u8>, CaptureReport) {
    let mut capture = Capture::start(&options(server), &CaptureOptions::default()).await.unwrap();
    let pieces: Vec<Bytes> = (&mut capture).try_collect().await.unwrap();
    (pieces.concat(), capture.report().unwrap())
}

pub(crate) fn stream(bytes: &[u8]) -> impl futures::Stream<Item = Result<Bytes, std::io::Error>> + use<> {
    let pieces: Vec<Bytes> = bytes.chunks(50_000).map(Bytes::copy_from_slice).collect();
    futures::stream::iter(pieces).map(Ok)
}
