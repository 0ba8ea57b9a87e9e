//! An in-process S3 server for tests.
#![allow(dead_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use repository::StoreEnv;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A server that is to be, of one bucket, `backups`.
pub(crate) fn builder() -> (tempfile::TempDir, S3ServiceBuilder) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("backups")).unwrap();
    let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(dir.path()).unwrap());
    builder.set_auth(SimpleAuth::from_single("key", "right-secret"));
    (dir, builder)
}

fn service() -> (tempfile::TempDir, S3Service) {
    let (dir, builder) = builder();
    (dir, builder.build())
}

/// A server with one bucket, `backups`; gone when the test's runtime ends.
pub(crate) async fn server() -> (tempfile::TempDir, String) {
    let (dir, service) = service();
    serve(dir, service).await
}

/// Starts a server.
pub(crate) async fn serve(dir: tempfile::TempDir, service: S3Service) -> (tempfile::TempDir, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move {
                let _ =
                    Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
            });
        }
    });
    (dir, endpoint)
}

/// The same, but one request a connection, and of every five connections one is answered with 503, one with 429, and one
/// is cut. Gives how many were.
pub(crate) async fn troubled_server() -> (tempfile::TempDir, String, Arc<AtomicUsize>) {
    let (dir, service) = service();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let refused = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&refused);
    tokio::spawn(async move {
        let mut connections = 0;
        while let Ok((socket, _)) = listener.accept().await {
            connections += 1;
            let answer = match connections % 5 {
                1 => "HTTP/1.1 503 Slow Down",
                2 => "HTTP/1.1 429 Too Many Requests",
                3 => "",
                _ => {
                    let service = service.clone();
                    tokio::spawn(async move {
                        let mut builder = Builder::new(TokioExecutor::new());
                        builder.http1().keep_alive(false);
                        let _ = builder.serve_connection(TokioIo::new(socket), service).await;
                    });
                    continue;
                }
            };
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(refuse(socket, answer));
        }
    });
    (dir, endpoint, refused)
}

/// Reads a request to its end, and answers, or hangs up.
async fn refuse(mut socket: TcpStream, answer: &str) {
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
        if let Some(end) = text.find("\r\n\r\n") {
            let body = text.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
            if request.len() >= end + 4 + body.and_then(|n| n.parse::<usize>().ok()).unwrap_or(0) {
                break;
            }
        }
        match socket.read(&mut piece).await {
            Ok(n) if n > 0 => request.extend_from_slice(&piece[..n]),
            _ => return,
        }
    }
    if !answer.is_empty() {
        let _ = socket
            .write_all(format!("{answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").as_bytes())
            .await;
    }
}

/// The server's key, with this secret.
pub(crate) fn env(secret: &str) -> StoreEnv {
    StoreEnv::of(&[("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", secret)])
}
