//! Forged documents: wrong lengths, excessive sizes, excessive depth. Each is refused by name, or does no harm; none
//! panics, and none makes us allocate much more than there is to read.

// The counts are what these tests are for.
#![allow(clippy::print_stdout)]

#[path = "it/common/mod.rs"]
mod common;

use std::path::Path;

use common::{data, read, reseal, small, write_snapshot};
use repository::{CheckOptions, Error, FaultKind, PruneOptions, Repository, Store};

/// Peak memory of this process in bytes; `None` if the system does not report it.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// Every way of use meets the malicious object. Gives what each said.
async fn use_all(folder: &Path) -> Vec<String> {
    let repo = match Repository::open(Store::folder(folder).unwrap()).await {
        Ok(repo) => repo,
        Err(error) => return vec![error.to_string()],
    };
    let now = chrono::Utc::now();
    let mut said = Vec::new();
    let mut say = |what: &str, result: Result<String, Error>| {
        said.push(format!("{what}: {}", result.unwrap_or_else(|error| format!("error: {error}"))));
    };
    say("headers", repo.headers().await.map(|headers| format!("{:?}", headers.unreadable)));
    match repo.snapshots().await {
        Ok(listing) => {
            for manifest in &listing.manifests {
                for (_, part) in manifest.parts() {
                    say("read", read(&repo, manifest, &part.name).await.map(|bytes| bytes.len().to_string()));
                }
            }
            say("snapshots", Ok(format!("{:?}", listing.unreadable)));
        }
        Err(error) => say("snapshots", Err(error)),
    }
    let check = repo.check(&CheckOptions { read_data: true, now }).await;
    say("check", check.map(|report| report.to_string()));
    say("stats", repo.stats(now).await.map(|stats| format!("{stats:?}")));
    say("prune", repo.prune(&PruneOptions { dry_run: false, now }).await.map(|report| report.to_string()));
    say("forgotten", repo.forgotten().await.map(|found| format!("{found:?}")));
    let next = common::try_snapshot(&repo, "nightly", &[("a", &data(5, 9_000))]).await;
    say("backup", next.map(|manifest| manifest.id.to_string()));
    said
}

#[tokio::test]
async fn hostile_documents_are_refused_within_bounds() {
    let (dir, repo) = common::folder(small()).await;
    let root = dir.path().join("repo");
    let good = write_snapshot(&repo, "nightly", &[("a", &data(1, 20_000))]).await;
    let bad = write_snapshot(&repo, "nightly", &[("b", &data(2, 20_000))]).await;
    let object = format!("snapshots/{}.json", bad.id);
    let text = std::fs::read_to_string(root.join(&object)).unwrap();
    let chunk = &bad.sources[0].parts[0].chunks[0];
    let bytes = format!("\"bytes\":{},\"stored\":{}", chunk.bytes, chunk.stored);
    assert!(text.contains(&bytes), "{text}");
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap();
    // Memory used so far does not count; a system that cannot reset the peak shows less growth.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let before = peak();
    let deep = format!("\"details\":{}{}", "[".repeat(1 << 20), "]".repeat(1 << 20));
    let hostile = [
        ("a chunk of 4 GiB", text.replace(&bytes, &format!("\"bytes\":{},\"stored\":1", u32::MAX))),
        ("a chunk of more than 4 GiB", text.replace(&bytes, "\"bytes\":99999999999999,\"stored\":1")),
        (
            "a stored size of 4 GiB",
            text.replace(&bytes, &format!("\"bytes\":{},\"stored\":{}", chunk.bytes, u32::MAX)),
        ),
        ("a chunk of no bytes", text.replace(&bytes, "\"bytes\":0,\"stored\":0")),
        ("a part without measure", text.replace("\"bytes\":20000", &format!("\"bytes\":{}", u64::MAX))),
        ("a negative size", text.replace("\"bytes\":20000", "\"bytes\":-1")),
        (
            "statistics without measure",
            text.replace("\"plain-bytes\":20000", &format!("\"plain-bytes\":{}", u64::MAX)),
        ),
        ("depth without end", text.replace("\"details\":null", &deep)),
        (
            "a time beyond all times",
            text.replace(
                &format!("\"taken-at\":\"{}", bad.taken_at.format("%Y")),
                "\"taken-at\":\"999999999",
            ),
        ),
        ("a name with a path", text.replace(bad.id.as_str(), "../../../../etc/passwd")),
        ("a chunk id with a path", text.replace(&chunk.id.to_string(), "../../../../../../etc/passwd")),
        ("a format of the future", text.replace("\"format\":1", &format!("\"format\":{}", u64::MAX))),
        ("no end", text[..text.len() / 2].to_owned() + "\n{}\n"),
    ];
    for (what, document) in hostile {
        assert_ne!(document, text, "{what}");
        std::fs::write(root.join(&object), reseal(&document)).unwrap();
        let said = use_all(&root).await;
        let all = said.join("\n");
        let named = all.contains(bad.id.as_str()) || all.contains(&chunk.id.to_string());
        assert!(named, "{what} is named nowhere:\n{all}");
        // The other snapshot is as readable as ever.
        assert_eq!(read(&repo, &good, "a").await.unwrap(), data(1, 20_000), "{what}");
        for manifest in repo.snapshots().await.unwrap().manifests {
            if manifest.id != good.id && manifest.id != bad.id {
                std::fs::remove_file(root.join(format!("snapshots/{}.json", manifest.id))).unwrap();
            }
        }
    }
    std::fs::write(root.join(&object), &text).unwrap();

    // A document that no document is as large as; it takes no room on the disk.
    for object in [object.as_str(), "dbhaul.json", "marks/20260101T000000Z-00000000-0.json"] {
        let path = root.join(object);
        let old = std::fs::read(&path).ok();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        let said = use_all(&root).await.join("\n");
        assert!(said.contains(object) && said.contains("1099511627776"), "{object}:\n{said}");
        match old {
            Some(old) => std::fs::write(&path, old).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
    }

    // A chunk that grows without end when it is decompressed, and one that is larger than any chunk.
    let path = root.join(format!("chunks/{:.2}/{}", chunk.id.to_string(), chunk.id));
    let sound = std::fs::read(&path).unwrap();
    std::fs::write(&path, bomb.repeat(16)).unwrap();
    let check = CheckOptions { read_data: true, now: chrono::Utc::now() };
    let report = repo.check(&check).await.unwrap();
    assert!(matches!(&report.faults[..], [fault] if fault.chunk == chunk.id), "{report}");
    std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let report = repo.check(&check).await.unwrap();
    let [fault] = &report.faults[..] else { panic!("{report}") };
    assert!(
        matches!(&fault.kind, FaultKind::Damaged { message } if message.contains("1099511627776")),
        "{report}"
    );
    std::fs::write(&path, sound).unwrap();
    assert!(repo.check(&check).await.unwrap().passed());
    if let (Some(before), Some(after)) = (before, peak()) {
        let grown = after.saturating_sub(before) >> 20;
        println!("count: hostile: peak memory grew by {grown} MiB");
        assert!(grown < 64, "peak memory grew by {grown} MiB");
    }
}
