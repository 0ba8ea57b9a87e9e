//! A server that closes the connection in the middle of its snapshot: the error says why.
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{Client, options, start};
use futures::TryStreamExt as _;
use redisdump::{Capture, CaptureOptions};
use sandbox::RedisOptions;
use sandbox::testing::require_redis;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_the_output_buffer_limit_closes_is_explained_with_its_number() {
    // 6.2 and newer support rdb-only, and buffer nothing; an older server buffers what is written meanwhile.
    let Some(binaries) = require_redis("5.0") else { return };
    let settings = vec![("client-output-buffer-limit".to_owned(), "slave 1mb 1mb 0".to_owned())];
    let server = start(&binaries, RedisOptions { settings, ..RedisOptions::default() });
    let mut client = Client::new(&server);
    client.ask("DEBUG POPULATE 300000");
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let writer = std::thread::spawn(move || {
        let large = format!("SET hot {}", "y".repeat(60_000));
        while !stopped.load(Ordering::Relaxed) {
            client.ask(&large);
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let outcome = async {
        let capture = Capture::start(&options(&server), &CaptureOptions::default()).await?;
        capture.try_collect::<Vec<_>>().await
    };
    let outcome = outcome.await;
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    let error = outcome.unwrap_err().to_string();
    assert!(
        error.contains(
            "client-output-buffer-limit for replicas: here 1048576 bytes, or 1048576 bytes for 0 s"
        ),
        "{error}"
    );
    assert!(error.contains("repl-timeout, here 60 s") && error.contains("Raise it"), "{error}");
    assert!(server.log().contains("scheduled to be closed ASAP"), "{}", server.log());
}
