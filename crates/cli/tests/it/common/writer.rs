//! A client that writes at a steady rate while a job runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ::redis::{Connection, ConnectionAddr, IntoConnectionInfo as _, RedisConnectionInfo};
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
        let settings = RedisConnectionInfo::default();
        let settings = match server.password() {
            Some(password) => settings.set_password(password),
            None => settings,
        };
        let address = ConnectionAddr::Unix(server.socket()).into_connection_info().unwrap();
        let client = ::redis::Client::open(address.set_redis_settings(settings)).unwrap();
        let mut connection = client.get_connection().unwrap();
        let began = Instant::now();
        let thread = {
            let (stop, count, tag) = (Arc::clone(&stop), Arc::clone(&count), tag.to_owned());
            std::thread::spawn(move || run(&mut connection, &tag, keys, rate, began, (&stop, &count)))
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
    connection: &mut Connection,
    tag: &str,
    keys: u64,
    rate: Option<u64>,
    began: Instant,
    (stop, count): (&AtomicBool, &AtomicU64),
) {
    let (mut n, mut turn) = (1_u64, 0_u64);
    while !stop.load(Ordering::SeqCst) {
        turn += 1;
        let mut pipe = ::redis::pipe();
        pipe.cmd("MULTI");
        for name in ["first", "last"] {
            pipe.cmd("SET").arg(format!("{name}{tag}")).arg(turn);
        }
        pipe.cmd("EXEC");
        for _ in 4..BATCH {
            n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (number, value) = ((n >> 33) % keys, n >> 20);
            let key = format!("w{tag}:{number}");
            match n >> 60 {
                0 => pipe.cmd("DEL").arg(key),
                1 | 2 => pipe.cmd("SET").arg(key).arg(value).arg("PX").arg(200 + (n >> 40) % 5000),
                3 => pipe.cmd("HSET").arg(format!("h{tag}:{number}")).arg("f").arg(value),
                4 => pipe.cmd("RPUSH").arg(format!("l{tag}:{number}")).arg(value),
                5 => pipe.cmd("LTRIM").arg(format!("l{tag}:{number}")).arg(0).arg(9),
                _ => pipe.cmd("SET").arg(key).arg(value),
            };
        }
        pipe.exec(connection).unwrap();
        let done = count.fetch_add(BATCH, Ordering::SeqCst) + BATCH;
        if let Some(rate) = rate
            && let Some(ahead) = Duration::from_millis(done * 1000 / rate).checked_sub(began.elapsed())
        {
            std::thread::sleep(ahead);
        }
    }
}
