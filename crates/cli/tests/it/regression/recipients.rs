//! Changed recipients: `check`, `key list` and the next backup report what no current recipient can restore, and `key
//! rotate` re-encrypts it.
#![allow(clippy::unwrap_used, reason = "test code")]

use sandbox::Redis;
use sandbox::testing::require_redis;

use crate::common::{ask, dbhaul, folder, quick_redis};

/// Issue 12, section 5.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_a_removed_recipient_is_named_until_keys_are_rotated() {
    let Some(binaries) = require_redis("7.0") else { return };
    let server = Redis::start(&binaries, quick_redis()).unwrap();
    ask(&server.url(), &["SET", "key", "value"]).await.unwrap();
    let here = folder();
    let at = here.path();
    let recipient = |file: &str| {
        dbhaul(at, &["key", "generate", "-o", file]).exits(0);
        let text = std::fs::read_to_string(at.join(file)).unwrap();
        text.lines().find_map(|line| line.strip_prefix("# recipient: ")).unwrap().to_owned()
    };
    let (old, new) = (recipient("old.txt"), recipient("new.txt"));
    dbhaul(at, &["init", "--repository", "store", "--recipient", &old]).exits(0);
    let backup = || dbhaul(at, &["backup", "--json", "--no-forget", "--redis", &server.url()]).exits(0);
    let first = backup();
    assert!(!first.stderr.contains("key rotate"), "{}", first.stderr);
    let first = first.json()["snapshot"].as_str().unwrap().to_owned();
    dbhaul(at, &["key", "add", &new]).exits(0);
    let removed = dbhaul(at, &["key", "remove", &old]).exits(0);
    assert!(removed.stdout.contains(&first), "{}", removed.stdout);

    dbhaul(at, &["key", "list"]).exits(0).shows(&first).shows("dbhaul key rotate");
    dbhaul(at, &["check"]).exits(0).shows(&format!("snapshot {first} cannot be restored by any current"));
    let second = backup().says(&first).says("dbhaul key rotate");
    let second = second.json()["snapshot"].as_str().unwrap().to_owned();
    let list = dbhaul(at, &["key", "list"]).exits(0);
    assert!(!list.stdout.contains(&second), "the new one needs no old identity: {}", list.stdout);

    dbhaul(at, &["key", "rotate"]).exits(2).says("recipient");
    dbhaul(at, &["key", "rotate", "--identity", "old.txt"]).exits(2).says("recipient");
    dbhaul(at, &["key", "rotate", "--identity", "old.txt", "--identity", "new.txt"]).exits(0).shows(&first);
    let list = dbhaul(at, &["key", "list"]).exits(0);
    assert!(!list.stdout.contains("key rotate"), "{}", list.stdout);
    for id in [&first, &second] {
        dbhaul(at, &["inspect", id, "--keys", "--identity", "new.txt"]).exits(0).shows("key");
    }
    dbhaul(at, &["check", "--read-data", "--identity", "new.txt"]).exits(0);
}
