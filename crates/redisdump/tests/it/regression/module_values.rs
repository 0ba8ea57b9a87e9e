//! Values whose payload changes with each load. Reported as "a vector set is never proven equal, and a rehearsal
//! marks the snapshot as failed for ever".
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use crate::support::proxy::before;
use crate::support::{Client, captured, options, start, stream, words};
use redisdump::{CompareOptions, Comparison, RestoreOptions, compare, prove, restore};
use sandbox::testing::require_redis;
use sandbox::{Redis, RedisOptions};

fn plain(version: &str) -> Option<Redis> {
    Some(start(&require_redis(version)?, RedisOptions::default()))
}

/// Vector sets of each kind, with attributes, reduced ones, and holes.
fn fill(client: &mut Client) {
    for (key, reduce, kind) in
        [("q8", "", ""), ("plain", "", " NOQUANT"), ("bits", "", " BIN"), ("less", "REDUCE 3 ", "")]
    {
        let mut random = 7_u64;
        for n in 0..300 {
            let vector: Vec<String> = (0..6)
                .map(|_| {
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    format!("{}", (random >> 40) as f64 / f64::from(1 << 24) - 0.5)
                })
                .collect();
            let attributes = if n % 3 == 0 { format!(" SETATTR {{\"n\":{n}}}") } else { String::new() };
            let vector = vector.join(" ");
            client.ask(&format!("VADD {key} {reduce}VALUES 6 {vector} element:{n}{kind}{attributes}"));
        }
        (0..300).step_by(7).for_each(|n| drop(client.ask(&format!("VREM {key} element:{n}"))));
    }
    client.ask("VADD one VALUES 1 1 only");
    client.ask("SET text x");
}

async fn both(source: &Redis, rdb: &[u8], target: &Redis) -> [Comparison; 2] {
    let settings = CompareOptions::default();
    let proven = prove(stream(rdb), &options(target), &settings, &|_| ()).await.unwrap();
    [proven, compare(&options(source), &options(target), &settings, &|_| ()).await.unwrap()]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vector_sets_are_proven_element_by_element() {
    for (from, to) in [("8.2", "8.2"), ("8.2", "8.6"), ("8.6", "8.6")] {
        let (Some(source), Some(target)) = (plain(from), plain(to)) else { continue };
        fill(&mut Client::new(&source));
        let (rdb, _) = captured(&source).await;
        restore(stream(&rdb), &options(&target), &RestoreOptions::default(), &|_| ()).await.unwrap();
        for found in both(&source, &rdb, &target).await {
            assert!(
                found.equal() && found.equal_keys == 6 && found.unverified() == 0,
                "{from} {to}: {found}"
            );
        }
        // Whatever a client can see counts.
        let mut to = Client::new(&target);
        for (change, key) in [
            ("VSETATTR q8 element:1 {\"n\":1}", "q8"),
            ("VREM plain element:1", "plain"),
            ("VADD bits VALUES 6 1 1 1 1 1 1 element:0 BIN", "bits"),
            ("VADD less REDUCE 3 VALUES 6 1 1 1 1 1 1 element:1", "less"),
        ] {
            to.ask(change);
            for found in both(&source, &rdb, &target).await {
                assert!(
                    found.differences.iter().any(|difference| difference.key == key),
                    "{change}: {found}"
                );
            }
        }
    }
}

/// Values of an unknown module: their payloads come from a proxy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_of_unknown_modules_are_counted_apart() {
    let (Some(source), Some(target)) = (plain("7.0"), plain("7.0")) else { return };
    for server in [&source, &target] {
        // A module's value is no string, which MGET would tell.
        for line in ["HSET same f x", "HSET changed f x", "SET text x"] {
            Client::new(server).ask(line);
        }
    }
    let payload = |text: &str| {
        // A type's id, one string, the end.
        let mut payload = vec![7, 0x81];
        payload.extend((0x1234_5678_9abc_d000_u64 | 3).to_be_bytes());
        payload.extend([5, text.len() as u8]);
        payload.extend(text.bytes());
        payload.push(0);
        redisdump::rdb::dump::seal(&mut payload, 0, 10);
        let mut reply = format!("${}\r\n", payload.len()).into_bytes();
        reply.extend(payload);
        reply.extend(b"\r\n");
        reply
    };
    let of = move |server: &Redis, changed: &'static str| {
        before(server, move |command| match (command[0].as_slice(), command.get(1).map(Vec::as_slice)) {
            (b"DUMP", Some(b"same")) => Some(payload("a")),
            (b"DUMP", Some(b"changed")) => Some(payload(changed)),
            _ => None,
        })
    };
    let (left, right) = (of(&source, "a"), of(&target, "b"));
    let found = compare(&left, &right, &CompareOptions::default(), &|_| ()).await.unwrap();
    assert!(found.equal(), "{found}");
    assert_eq!((found.keys, found.equal_keys, found.unverified()), (2, 2, 1), "{found}");
    assert!(
        found.to_string().contains("1 keys of the module type") && found.to_string().contains("NOT verified")
    );
    Client::new(&target).send(&words("DEL changed")).unwrap();
    let right = of(&target, "b");
    // The proxy goes on to give it, though PEXPIRETIME says that it is not there.
    let found = compare(&left, &right, &CompareOptions::default(), &|_| ()).await.unwrap();
    assert!(!found.equal() && found.different_keys == 1, "{found}");
}
