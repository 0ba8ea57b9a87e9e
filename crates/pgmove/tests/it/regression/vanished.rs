//! Objects dropped while the catalog is read: their rows are in the snapshot, but the server's deparsers do not find
//! them. The catalog is read again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::common::{database, run, server, session};
use pgmove::{Error, Source, SourceOptions};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_that_change_meanwhile_are_read_again_and_then_named() {
    let Some(server) = server(15) else { return };
    let many: String = (0..300)
        .map(|n| format!("CREATE FUNCTION f{n}() RETURNS int LANGUAGE sql AS 'SELECT {n}';"))
        .collect();
    let from = database(&server, "a", &many).await;
    let ended = Arc::new(AtomicBool::new(false));
    let (others, stop) = (session(&server, "a").await, Arc::clone(&ended));
    let changes = tokio::spawn(async move {
        let mut at = 0;
        while !stop.load(Ordering::Relaxed) {
            at = (at + 1) % 300;
            run(&others, &format!("DROP FUNCTION public.f{at}()")).await;
            tokio::time::sleep(Duration::from_millis(2)).await;
            run(
                &others,
                &format!("CREATE FUNCTION public.f{at}() RETURNS int LANGUAGE sql AS 'SELECT {at}'"),
            )
            .await;
        }
    });
    // So many come and go that several attempts may all meet one: then it is named.
    for _ in 0..4 {
        match Source::open(&from, &SourceOptions::default()).await {
            Ok(source) => {
                assert!(source.catalog().functions.len() >= 299);
                source.finish().await.unwrap();
            }
            Err(Error::Vanished { object, .. }) => assert!(object.contains("public.f"), "{object}"),
            Err(other) => panic!("{other}"),
        }
    }
    ended.store(true, Ordering::Relaxed);
    changes.await.unwrap();
    // An occasional one is tolerated.
    let others = session(&server, "a").await;
    let drops = tokio::spawn(async move {
        for at in 0..20 {
            tokio::time::sleep(Duration::from_millis(150)).await;
            run(&others, &format!("DROP FUNCTION IF EXISTS public.f{at}()")).await;
        }
    });
    while !drops.is_finished() {
        Source::open(&from, &SourceOptions::default()).await.unwrap().finish().await.unwrap();
    }
    drops.await.unwrap();
}
