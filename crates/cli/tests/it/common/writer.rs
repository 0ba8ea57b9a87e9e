//! A client that writes at a steady rate while a job runs.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sandbox::Redis;

/// Commands that are sent at a time.
const BATCH: u64 = 100;

/// Writes to the keys `w:0` … with this tag until it is stopped: strings with and without expiry, hashes, lists, deletions.
/// `first` and `last` with the tag change together, in a transaction, so that a copy of one moment has the same in both.
pub struct Writer {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    began: Instant,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Begins, with so many commands a second, or as fast as it can be.
    pub fn start(server: &Redis, tag: &str, keys: u64, rate: Option<u64>) -> Writer {
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut stream = UnixStream::connect(server.socket()).unwrap();
        if let Some(password) = server.password() {
            let mut login = String::new();
            command(&mut login, &["AUTH", password]);
            stream.write_all(login.as_bytes()).unwrap();
            stream.read_exact(&mut [0; 5]).unwrap();
        }
        let began = Instant::now();
        let thread = {
            let (stop, count, tag) = (Arc::clone(&stop), Arc::clone(&count), tag.to_owned());
            std::thread::spawn(move || run(&stream, &tag, keys, rate, began, (&stop, &count)))
        };
        let mut writer = Writer { stop, count, began, thread: Some(thread) };
        while writer.count() < 1000 {
            if let Some(thread) = writer.thread.take_if(|thread| thread.is_finished()) {
                thread.join().unwrap();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        writer
    }

    /// Commands so far.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// Ends it, and says how many commands a second there were.
    pub fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
        let milliseconds = u64::try_from(self.began.elapsed().as_millis()).unwrap().max(1);
        self.count() * 1000 / milliseconds
    }
}

fn run(
    mut stream: &UnixStream,
    tag: &str,
    keys: u64,
    rate: Option<u64>,
    began: Instant,
    (stop, count): (&AtomicBool, &AtomicU64),
) {
    let mut replies = BufReader::new(stream);
    let (mut line, mut n, mut turn) = (String::new(), 1_u64, 0_u64);
    while !stop.load(Ordering::SeqCst) {
        turn += 1;
        let mut out = String::new();
        for words in [
            &["MULTI"][..],
            &["SET", &format!("first{tag}"), &turn.to_string()],
            &["SET", &format!("last{tag}"), &turn.to_string()],
            &["EXEC"],
        ] {
            command(&mut out, words);
        }
        for _ in 4..BATCH {
            n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (key, value) = (format!("w{tag}:{}", (n >> 33) % keys), (n >> 20).to_string());
            match n >> 60 {
                0 => command(&mut out, &["DEL", &key]),
                1 | 2 => {
                    command(&mut out, &["SET", &key, &value, "PX", &(200 + (n >> 40) % 5000).to_string()])
                }
                3 => command(&mut out, &["HSET", &format!("h{tag}:{}", (n >> 33) % keys), "f", &value]),
                4 => command(&mut out, &["RPUSH", &format!("l{tag}:{}", (n >> 33) % keys), &value]),
                5 => command(&mut out, &["LTRIM", &format!("l{tag}:{}", (n >> 33) % keys), "0", "9"]),
                _ => command(&mut out, &["SET", &key, &value]),
            }
        }
        stream.write_all(out.as_bytes()).unwrap();
        // EXEC answers with two lines more.
        for _ in 0..BATCH + 2 {
            line.clear();
            replies.read_line(&mut line).unwrap();
            assert!(!line.is_empty() && !line.starts_with('-'), "{line}");
        }
        let done = count.fetch_add(BATCH, Ordering::SeqCst) + BATCH;
        if let Some(rate) = rate
            && let Some(ahead) = Duration::from_millis(done * 1000 / rate).checked_sub(began.elapsed())
        {
            std::thread::sleep(ahead);
        }
    }
}

fn command(out: &mut String, words: &[&str]) {
    write!(out, "*{}\r\n", words.len()).unwrap();
    for word in words {
        write!(out, "${}\r\n{word}\r\n", word.len()).unwrap();
    }
}
