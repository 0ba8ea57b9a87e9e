//! Values as commands: values of one real server, emitted for another, are equal there.
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use crate::support::{Client, Corners, captured, fill, options, start, stream};
use redisdump::convert::commands::{Emitter, Target};
use redisdump::rdb::Reader;
use redisdump::{CompareOptions, prove};
use sandbox::testing::require_redis;

async fn emitted(from: &str, to: &str, corners: Corners) {
    let (Some(source), Some(target)) = (require_redis(from), require_redis(to)) else { return };
    let source = start(&source, Default::default());
    let target = start(&target, Default::default());
    fill(&source, corners);
    let (rdb, report) = captured(&source).await;

    let version: Target = to.parse().unwrap();
    let mut emitter = Emitter::new(version.features());
    let mut reader = Reader::new();
    let mut client = Client::new(&target);
    for piece in rdb.chunks(10_000) {
        reader.feed(piece, &mut emitter).unwrap();
        let ready = emitter.take();
        client.pipe(&ready.resp, ready.replies).unwrap();
    }
    reader.finish().unwrap();
    let unsupported = emitter.unsupported();
    assert!(!unsupported.is_serious(), "{unsupported}");
    // Only counters that the target does not store are reported.
    let counts = |version: &str| version.parse::<Target>().unwrap().features().stream_counters;
    let expected = corners >= Corners::Streams && counts(from) && !counts(to);
    assert_eq!(!unsupported.is_empty(), expected, "{unsupported}");

    let proof = prove(stream(&rdb), &options(&target), &CompareOptions::default(), &|_| ()).await.unwrap();
    if unsupported.is_empty() {
        assert!(proof.equal() && proof.keys == report.keys(), "{proof}");
    } else {
        let named = proof.differences.iter().map(|d| d.key.clone()).collect::<Vec<_>>();
        assert!(
            named.iter().all(|key| ["s", "empty", "gone", "many", "made"].contains(&key.as_str())),
            "{proof}"
        );
    }
    if corners >= Corners::Streams {
        let mut theirs = Client::new(&source);
        client.ask("SELECT 0");
        for question in
            ["XPENDING s g", "XPENDING gone g", "XPENDING many readers", "XRANGE many - +", "XRANGE s - +"]
        {
            assert_eq!(client.ask(question), theirs.ask(question), "{question}");
        }
        client.ask("XADD gone 4-5 after last");
    }
}

#[tokio::test]
async fn from_new_to_older() {
    emitted("8.2", "7.0", Corners::Streams).await;
    emitted("valkey-9", "8.2", Corners::All).await;
    emitted("7.0", "valkey-9", Corners::All).await;
}

#[tokio::test]
#[ignore = "long: run by scripts/test --all"]
async fn from_every_version_to_every_other() {
    let versions = ["3.0", "3.2", "5.0", "6.2", "7.0", "8.2", "8.6", "valkey-8.1", "valkey-9"];
    for from in versions {
        for to in versions {
            let parse = |text: &str| text.parse::<Target>().unwrap().features();
            let (a, b) = (parse(from), parse(to));
            let corners = match (a.streams && b.streams, b.functions && (b.field_expiry || !a.field_expiry)) {
                (true, true) => Corners::All,
                (true, false) => Corners::Streams,
                _ => Corners::Oldest,
            };
            emitted(from, to, corners).await;
        }
    }
}
