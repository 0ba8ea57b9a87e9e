//! A TCP proxy that closes a connection after a chosen number of bytes.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// The direction of bytes: from the client to the server, or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Up,
    Down,
}

/// When a connection is closed.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// The direction of the bytes that are counted.
    pub direction: Direction,
    /// After so many of them, over all connections since the proxy was armed.
    pub after: u64,
    /// Nothing gets through any more from then on; else only the connection that carried the last byte is closed.
    pub for_good: bool,
}

#[derive(Default)]
struct Shared {
    cut: Mutex<Option<Cut>>,
    up: AtomicU64,
    down: AtomicU64,
    done: AtomicBool,
    dead: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

/// A proxy in front of one server; it ends with the test's process.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    pub fn to(server: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if of_thread.dead.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(upstream) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let mut open = of_thread.open.lock().unwrap();
                open.extend([client.try_clone().unwrap(), upstream.try_clone().unwrap()]);
                drop(open);
                for (direction, from, to) in
                    [(Direction::Up, &client, &upstream), (Direction::Down, &upstream, &client)]
                {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let shared = Arc::clone(&of_thread);
                    std::thread::spawn(move || pass(direction, from, to, &shared));
                }
            }
        });
        Proxy { port, shared }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Closes open connections, and restarts the counter.
    pub fn arm(&self, cut: Option<Cut>) {
        for stream in self.shared.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        *self.shared.cut.lock().unwrap() = cut;
        for counter in [&self.shared.up, &self.shared.down] {
            counter.store(0, Ordering::SeqCst);
        }
        self.shared.done.store(false, Ordering::SeqCst);
        self.shared.dead.store(false, Ordering::SeqCst);
    }

    /// Bytes that have passed since the proxy was armed.
    pub fn passed(&self, direction: Direction) -> u64 {
        self.shared.counter(direction).load(Ordering::SeqCst)
    }

    /// True when a connection was closed.
    pub fn has_cut(&self) -> bool {
        self.shared.done.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn counter(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }
}

fn pass(direction: Direction, mut from: TcpStream, mut to: TcpStream, shared: &Shared) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        let cut = *shared.cut.lock().unwrap();
        let before = shared.counter(direction).fetch_add(n as u64, Ordering::SeqCst);
        let due = cut.filter(|cut| cut.direction == direction && before + n as u64 > cut.after);
        match due {
            Some(cut) if !shared.done.swap(true, Ordering::SeqCst) => {
                let part = usize::try_from(cut.after.saturating_sub(before)).unwrap();
                let _ = to.write_all(&buffer[..part]);
                if cut.for_good {
                    shared.dead.store(true, Ordering::SeqCst);
                    for stream in shared.open.lock().unwrap().drain(..) {
                        let _ = stream.shutdown(Shutdown::Both);
                    }
                }
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
                return;
            }
            _ => {}
        }
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
