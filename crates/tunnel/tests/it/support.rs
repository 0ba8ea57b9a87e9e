use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tunnel::{Address, Error, Programs, Stream, Target, Tunnel};

/// Echoes what arrives on a socket; after `flood` it sends endlessly.
pub(crate) fn echo_server(folder: &Path) -> PathBuf {
    let path = folder.join("echo.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || drop(echo(stream)));
        }
    });
    path
}

/// The same on a port of 127.0.0.1.
pub(crate) fn echo_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || drop(echo(stream)));
        }
    });
    port
}

fn echo(mut stream: impl Read + Write) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = stream.read(&mut buffer)?;
        let got = buffer.get(..read).unwrap_or_default();
        if read == 0 || got.starts_with(b"close") {
            return Ok(());
        }
        if got.starts_with(b"flood") {
            loop {
                stream.write_all(&[b'x'; 64 << 10])?;
            }
        }
        stream.write_all(got)?;
    }
}

pub(crate) async fn open(url: &str, programs: &Programs) -> Result<Tunnel, Error> {
    Tunnel::open(&Address::parse(url).unwrap(), 5432, programs).await
}

/// Any target, for destinations that need none.
pub(crate) fn anywhere() -> Target {
    Target::Tcp("localhost".to_owned(), 1)
}

/// Sends megabytes in both directions.
pub(crate) async fn echoes(stream: Stream, bytes: usize) -> Stream {
    let sent: Vec<u8> = (0..bytes).map(|n| (n >> 8) as u8 ^ n as u8).map(|byte| byte | 0x80).collect();
    let (mut read, mut write) = tokio::io::split(stream);
    let expected = sent.clone();
    let writing = tokio::spawn(async move {
        write.write_all(&sent).await.unwrap();
        write.flush().await.unwrap();
        write
    });
    let mut got = vec![0; bytes];
    read.read_exact(&mut got).await.unwrap();
    assert!(got == expected);
    read.unsplit(writing.await.unwrap())
}

/// Reads without end; returns the error that ends it and the number of bytes before it.
pub(crate) async fn flooded(mut stream: Stream) -> (std::io::Error, u64) {
    stream.write_all(b"flood").await.unwrap();
    stream.flush().await.unwrap();
    let mut buffer = vec![0; 64 << 10];
    let mut got = 0;
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) => panic!("the stream ended as if all was well, after {got} bytes"),
            Ok(read) => got += read as u64,
            Err(error) => return (error, got),
        }
    }
}

/// Waits until a condition holds.
pub(crate) fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
