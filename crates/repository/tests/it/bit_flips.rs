//! Damage anywhere in a repository's folder: a check that reads data finds every flipped bit, and every truncated,
//! missing, extended or swapped file, and names what it affects. None panics, none is silent, except for bits without
//! influence on a chunk's content.

// The counts are what these tests are for.
#![allow(clippy::print_stdout)]

use crate::common;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::common::sim::Rng;
use crate::common::{data, folder, read, small, write_snapshot};
use repository::{
    Access, CheckOptions, Encryption, Error, FaultKind, Identity, InitOptions, Manifest, Repository, Store,
};

/// Every file below a folder, with its bytes.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Damage {
    Bit,
    Cut,
    Gone,
    Grown,
    Exchanged,
}

/// The result of a check of a repository that may be unreadable as a whole.
async fn check(dir: &Path, access: &Access) -> Result<repository::CheckReport, Error> {
    let repo = Repository::open_with(Store::folder(dir)?, access).await?;
    repo.check(&CheckOptions { read_data: true, now: chrono::Utc::now() }).await
}

/// The names that a snapshot needs: its manifest and its chunks, and which parts need each chunk.
fn touched(manifest: &Manifest, object: &str) -> Vec<String> {
    let parts = manifest.parts().filter(|(_, part)| {
        part.chunks.iter().any(|chunk| object.split(['/', '-']).any(|piece| piece == chunk.id.to_string()))
    });
    parts.map(|(_, part)| format!("{}: {}", manifest.id, part.name)).collect()
}

/// Damage of all kinds, or flipped bits alone.
async fn damage_everywhere(rounds: u64, bits_alone: bool, options: InitOptions, access: Access) {
    let encrypted = options.encryption.is_some();
    let (dir, made) = folder(options).await;
    let root = dir.path().join("repo");
    let repo = Repository::open_with(Store::folder(&root).unwrap(), &access).await.unwrap();
    drop(made);
    let rows = b"1\tone\t2026-11-24\n".repeat(3_000);
    let first = write_snapshot(&repo, "nightly", &[("rows", &rows), ("noise", &data(1, 30_000))]).await;
    let second = write_snapshot(&repo, "nightly", &[("rows", &rows), ("more", &data(2, 30_000))]).await;
    let third = write_snapshot(&repo, "hourly", &[("empty", b""), ("noise", &data(1, 30_000))]).await;
    repo.forget(std::slice::from_ref(&third.id), chrono::Utc::now()).await.unwrap();
    // Makes attestations, which can be damaged too.
    assert!(check(&root, &access).await.unwrap().passed());
    let snapshots = [&first, &second];
    // The reserve has no content.
    let files: Vec<_> = files(&root).into_iter().filter(|path| !path.ends_with("reserve")).collect();
    let mut rng = Rng::new(if bits_alone { 8 } else { 7 });
    let mut counts = std::collections::BTreeMap::<(String, &str), u64>::new();
    for round in 0..rounds {
        let path = &files[rng.below(files.len())];
        let object = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let before = std::fs::read(path).unwrap();
        let damage = match if bits_alone { 9 } else { rng.below(10) } {
            0 => Damage::Cut,
            1 => Damage::Gone,
            2 => Damage::Grown,
            3 => Damage::Exchanged,
            _ => Damage::Bit,
        };
        let other = &files[rng.below(files.len())];
        let attestations = files_of(&root, "attestations");
        match damage {
            Damage::Bit => std::fs::write(path, common::flip(&before, rng.below(before.len() * 8))).unwrap(),
            Damage::Cut => std::fs::write(path, &before[..rng.below(before.len())]).unwrap(),
            Damage::Gone => std::fs::remove_file(path).unwrap(),
            Damage::Grown => {
                std::fs::write(path, [&before[..], &data(round, 1 + rng.below(40))].concat()).unwrap()
            }
            Damage::Exchanged => std::fs::write(path, std::fs::read(other).unwrap()).unwrap(),
        }
        let same = std::fs::read(path).is_ok_and(|now| now == before);
        let story = format!("round {round}: {damage:?} of {object} (other: {})", other.display());
        let found = check(&root, &access).await;
        let kind = object.split('/').next().unwrap_or_default().to_owned();
        let needs: Vec<String> = snapshots.iter().flat_map(|manifest| touched(manifest, &object)).collect();
        let how = if same {
            assert!(found.unwrap().passed(), "{story}: nothing was changed");
            "unchanged"
        } else if kind == "dbhaul.json" {
            match found {
                // Its copy is read, and the damage is still reported.
                Ok(report) => {
                    let [unreadable] = &report.unreadable[..] else { panic!("{story}: {report}") };
                    assert_eq!(
                        (&*unreadable.name, report.whole.len()),
                        ("dbhaul.json", 2),
                        "{story}: {report}"
                    );
                    "found"
                }
                // Not signed with the key: this is not an accident that a copy would cover.
                Err(error) => {
                    assert!(matches!(error, Error::Damaged { .. } | Error::Key { .. }), "{story}: {error}");
                    assert!(error.to_string().contains("dbhaul.json") || encrypted, "{story}: {error}");
                    "refused"
                }
            }
        } else if damage == Damage::Gone && kind != "chunks" {
            // A snapshot without its manifest is not listed. Nothing in a store shows that it existed, and a host
            // that may delete objects may forget snapshots.
            let report = found.unwrap();
            assert!(report.passed(), "{story}: {report}");
            let whole = if kind == "snapshots" { 1 } else { 2 };
            assert_eq!(report.whole.len(), whole, "{story}: {report}");
            "not listed"
        } else if kind == "chunks" && needs.is_empty() {
            // Only the forgotten snapshot has it.
            assert!(found.unwrap().passed(), "{story}");
            "needed by none"
        } else if kind == "chunks" && !encrypted && damage == Damage::Bit && found.as_ref().unwrap().passed()
        {
            // A zstd frame has a few bits without influence on its content: no data is damaged.
            let plain = |bytes: &[u8]| zstd::bulk::decompress(bytes, 1 << 20).unwrap();
            assert_eq!(plain(&std::fs::read(path).unwrap()), plain(&before), "{story}");
            "means nothing to zstd"
        } else if kind == "chunks" {
            let report = found.unwrap();
            let [fault] = &report.faults[..] else { panic!("{story}: {report}") };
            assert_eq!(fault.object, object, "{story}");
            assert_eq!(
                fault.touches.iter().collect::<BTreeSet<_>>(),
                needs.iter().collect::<BTreeSet<_>>(),
                "{story}: {report}"
            );
            // Damage to the header with a chunk's key looks like encryption to other recipients: it is still
            // reported.
            let header = fault.kind == FaultKind::OtherRecipients;
            assert!(!header || encrypted, "{story}: {report}");
            let hurt = if header { &report.unknown } else { &report.broken };
            assert_eq!(report.broken.len() + report.unknown.len(), hurt.len(), "{story}: {report}");
            let broken: BTreeSet<_> = hurt.iter().map(|id| id.to_string()).collect();
            let expected: BTreeSet<_> =
                needs.iter().map(|need| need.split(": ").next().unwrap().to_owned()).collect();
            assert_eq!(broken, expected, "{story}");
            for manifest in snapshots {
                for (_, part) in manifest.parts() {
                    let hurt = needs.contains(&format!("{}: {}", manifest.id, part.name));
                    assert_eq!(
                        read(&repo, manifest, &part.name).await.is_err(),
                        hurt,
                        "{story}: {}",
                        part.name
                    );
                }
            }
            "found"
        } else {
            let report = found.unwrap();
            let [unreadable] = &report.unreadable[..] else { panic!("{story}: {report}") };
            assert_eq!(unreadable.name, object, "{story}: {report}");
            if kind == "snapshots" {
                assert_eq!(report.whole.len(), 1, "{story}: {report}");
            }
            "found"
        };
        *counts.entry((kind, how)).or_default() += 1;
        std::fs::write(path, &before).unwrap();
        for new in files_of(&root, "attestations").difference(&attestations) {
            std::fs::remove_file(new).unwrap();
        }
    }
    let what = if bits_alone { "flipped bits" } else { "damages of all kinds" };
    let place = if encrypted { "an encrypted repository" } else { "a repository" };
    for ((kind, how), count) in &counts {
        println!("{what} in {place}: {count:>4} in {kind}: {how}");
    }
    assert!(check(&root, &access).await.unwrap().passed(), "all damage was undone");
    let found: u64 =
        counts.iter().filter(|((_, how), _)| *how == "found" || *how == "refused").map(|(_, n)| n).sum();
    let meaningless: u64 =
        counts.iter().filter(|((_, how), _)| how.starts_with("means")).map(|(_, n)| n).sum();
    let rest = rounds - found - meaningless;
    let undone = if bits_alone { String::new() } else { format!(", {rest} gone or as before") };
    println!(
        "count: flips: {rounds} {what} in {place}: {found} found and named, {meaningless} change nothing that a chunk decodes \
         to{undone}"
    );
    // Whatever changes data is found; in an encrypted repository every bit does.
    assert!(!bits_alone || rest == 0, "{counts:?}");
    let most = if encrypted { 0 } else { rounds / 50 };
    assert!(found > rounds * 3 / 4 && meaningless <= most, "{counts:?}");
}

fn files_of(root: &Path, folder: &str) -> BTreeSet<PathBuf> {
    files(&root.join(folder)).into_iter().collect()
}

/// An encrypted repository, and what opens it.
fn encrypted() -> (InitOptions, Access) {
    let identity = Identity::generate();
    let encryption = Encryption { recipients: vec![identity.recipient()], passphrase: None };
    let access = Access { identities: vec![identity], ..Access::default() };
    (InitOptions { encryption: Some(encryption), ..small() }, access)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_anywhere_is_found_and_named() {
    damage_everywhere(200, false, small(), Access::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_anywhere_in_an_encrypted_repository_is_found_and_named() {
    let (options, access) = encrypted();
    damage_everywhere(60, false, options, access).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flipped_bits_anywhere_are_found_and_named() {
    damage_everywhere(500, true, small(), Access::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: run by scripts/test --all"]
async fn flipped_bits_anywhere_in_an_encrypted_repository_are_found_and_named() {
    let (options, access) = encrypted();
    damage_everywhere(500, true, options, access).await;
}
