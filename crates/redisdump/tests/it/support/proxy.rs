//! A proxy that speaks RESP, and answers some commands itself. It reads RESP by hand, because it forwards every byte as it
//! is and sends replies that no server would.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use redisdump::{ConnectOptions, Environment};
use sandbox::Redis;

/// Given a command's words: the raw reply, or nothing where the server is to answer.
pub(crate) type Answer = dyn Fn(&[Vec<u8>]) -> Option<Vec<u8>> + Send + Sync;

/// Starts a proxy in front of a server, on a socket in the server's own folder; it ends with the process.
pub(crate) fn before(
    server: &Redis,
    answer: impl Fn(&[Vec<u8>]) -> Option<Vec<u8>> + Send + Sync + 'static,
) -> ConnectOptions {
    static PROXIES: AtomicU32 = AtomicU32::new(0);
    let number = PROXIES.fetch_add(1, Ordering::Relaxed);
    let socket = server.dir().join(format!("proxy-{number}"));
    let listener = UnixListener::bind(&socket).unwrap();
    let upstream = server.socket();
    let answer: Arc<Answer> = Arc::new(answer);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (answer, upstream) = (Arc::clone(&answer), upstream.clone());
            std::thread::spawn(move || {
                let _ = serve(client, UnixStream::connect(&upstream).unwrap(), &*answer);
            });
        }
    });
    ConnectOptions::parse(&format!("redis+unix://{}", socket.display()), &Environment::default()).unwrap()
}

/// A bulk string as a reply.
pub(crate) fn bulk(text: &str) -> Vec<u8> {
    format!("${}\r\n{text}\r\n", text.len()).into_bytes()
}

fn serve(client: UnixStream, server: UnixStream, answer: &Answer) -> std::io::Result<()> {
    let (mut from, mut to) = (BufReader::new(client.try_clone()?), client);
    let (mut replies, mut upstream) = (BufReader::new(server.try_clone()?), server);
    loop {
        let mut raw = Vec::new();
        let mut words = Vec::new();
        if item(&mut from, &mut raw, &mut words)? == 0 {
            return Ok(());
        }
        let reply = match answer(&words) {
            Some(reply) => reply,
            None => {
                upstream.write_all(&raw)?;
                let mut reply = Vec::new();
                item(&mut replies, &mut reply, &mut Vec::new())?;
                reply
            }
        };
        to.write_all(&reply)?;
    }
}

/// Reads one item with all that is in it; gives the bytes of its first line.
fn item(
    from: &mut BufReader<UnixStream>,
    raw: &mut Vec<u8>,
    words: &mut Vec<Vec<u8>>,
) -> std::io::Result<usize> {
    let mut line = Vec::new();
    let n = from.read_until(b'\n', &mut line)?;
    raw.extend_from_slice(&line);
    let number = || std::str::from_utf8(&line[1..]).unwrap().trim().parse::<i64>().unwrap();
    match line.first() {
        Some(b'*') => {
            for _ in 0..number().max(0) {
                item(from, raw, words)?;
            }
        }
        Some(b'$') if number() >= 0 => {
            let mut bytes = vec![0; number() as usize + 2];
            from.read_exact(&mut bytes)?;
            raw.extend_from_slice(&bytes);
            bytes.truncate(bytes.len() - 2);
            words.push(bytes);
        }
        _ => {}
    }
    Ok(n)
}
