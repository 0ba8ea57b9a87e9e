//! Portion checks, quarantine, and the journal by which an interrupted backup's chunks are reused.

use std::time::Duration;

use crate::common::{begin, data, flip, folder, read, small, write_snapshot};
use repository::{
    Attestation, AttestationKind, CheckOptions, Error, FaultKind, InitOptions, Portion, PruneOptions, Remedy,
    Repository, Store,
};

fn check(read_data: bool) -> CheckOptions {
    CheckOptions { read_data, now: chrono::Utc::now() }
}

fn prune() -> PruneOptions {
    PruneOptions { dry_run: false, now: chrono::Utc::now() }
}

async fn portion(repo: &Repository, portion: &str) -> repository::CheckReport {
    repo.check_portion(portion.parse().unwrap(), chrono::Utc::now()).await.unwrap()
}

#[tokio::test]
async fn checks_of_a_portion_go_round_and_read_everything_in_the_end() {
    let (dir, repo) = folder(small()).await;
    let first = write_snapshot(&repo, "nightly", &[("a", &data(1, 400_000))]).await;
    let mut read = 0;
    for _ in 0..4 {
        let report = portion(&repo, "25%").await;
        assert!(report.passed() && report.broken.is_empty(), "{report}");
        let data = report.data.unwrap();
        assert!(data.stored_bytes * 100 >= data.of_stored_bytes * 25, "{data:?}");
        assert!(data.stored_bytes < data.of_stored_bytes / 2, "{data:?}");
        read += data.stored_bytes;
    }
    assert!(read >= first.stats.stored_bytes);
    // A portion check does not prove a snapshot.
    assert!(repo.attestations(&first.id).await.unwrap().is_empty());

    // A flipped bit anywhere is found within one round.
    let chunk = first.sources[0].parts[0].chunks[7];
    let path = dir.path().join(format!("repo/chunks/{}/{}", &chunk.id.to_string()[..2], chunk.id));
    std::fs::write(&path, flip(&std::fs::read(&path).unwrap(), 99)).unwrap();
    let mut found = 0;
    for _ in 0..5 {
        let report = portion(&repo, "25%").await;
        found += report.faults.len();
        if let Some(fault) = report.faults.first() {
            assert_eq!(fault.touches, [format!("{}: a", first.id)]);
            assert_eq!(report.broken, std::slice::from_ref(&first.id));
        }
    }
    assert!(found >= 1);
    let attested = repo.attestations(&first.id).await.unwrap();
    assert!(attested.iter().all(|a| a.kind == AttestationKind::Check && !a.passed) && !attested.is_empty());
    let bytes = portion(&repo, "10KiB").await.data.unwrap();
    assert_eq!(bytes.portion, Portion::Bytes(10 << 10));
    assert!(bytes.stored_bytes >= 10 << 10 && bytes.stored_bytes < 30 << 10);
    assert!(portion(&repo, "100%").await.faults.len() == 1);
}

#[tokio::test]
async fn the_newest_finding_of_each_kind_is_the_one_that_counts() {
    let (dir, repo) = folder(small()).await;
    let first = write_snapshot(&repo, "nightly", &[("a", &data(1, 20_000))]).await.id;
    let second = write_snapshot(&repo, "nightly", &[("a", &data(2, 20_000))]).await.id;
    assert!(repo.newest_attestations().await.unwrap().is_empty());
    // The same second for the last two of each, in both orders.
    let at = |millis: i64| chrono::DateTime::from_timestamp_millis(1_800_000_000_000 + millis).unwrap();
    for (kind, millis, passed) in [
        (AttestationKind::Check, 0, true),
        (AttestationKind::Check, 5_900, false),
        (AttestationKind::Check, 5_100, true),
        (AttestationKind::Rehearsal, 7_000, false),
        (AttestationKind::Rehearsal, 9_200, false),
        (AttestationKind::Rehearsal, 9_300, true),
    ] {
        let attestation = Attestation::new(kind, passed, at(millis), serde_json::Value::Null);
        repo.attest(&first, &attestation).await.unwrap();
    }
    let found = repo.newest_attestations().await.unwrap();
    assert!(!found.contains_key(&second));
    let of = |kind| {
        let mut of_kind = found[&first].iter().filter(move |a| a.kind == kind);
        (of_kind.next().map(|a| (a.at, a.passed)), of_kind.next().is_some())
    };
    assert_eq!(of(AttestationKind::Check), (Some((at(5_900), false)), false));
    assert_eq!(of(AttestationKind::Rehearsal), (Some((at(9_300), true)), false));

    // One that cannot be read counts as none: the one before it is the newest.
    for entry in std::fs::read_dir(dir.path().join(format!("repo/attestations/{first}"))).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        if text.contains("rehearsal") && text.contains("\"passed\":true") {
            std::fs::write(&path, flip(text.as_bytes(), 100)).unwrap();
        }
    }
    let found = repo.newest_attestations().await.unwrap();
    let rehearsal = found[&first].iter().find(|a| a.kind == AttestationKind::Rehearsal).unwrap();
    assert_eq!((rehearsal.at, rehearsal.passed), (at(9_200), false));
}

#[tokio::test]
async fn damage_is_quarantined_and_the_next_backup_mends_it() {
    let (dir, repo) = folder(small()).await;
    let bytes = data(1, 100_000);
    let first = write_snapshot(&repo, "nightly", &[("a", &bytes)]).await;
    let chunks = first.sources[0].parts[0].chunks.clone();
    let path = |at: usize| {
        let id = chunks[at].id.to_string();
        dir.path().join(format!("repo/chunks/{}/{id}", &id[..2]))
    };
    // The size stays, so that only the quarantine tells a writer.
    let bad = flip(&std::fs::read(path(2)).unwrap(), 77);
    std::fs::write(path(2), &bad).unwrap();
    std::fs::remove_file(path(4)).unwrap();
    let report = repo.check(&check(true)).await.unwrap();
    assert_eq!(report.faults.len(), 2);
    let done = repo.quarantine_faults(&report, chrono::Utc::now()).await.unwrap();
    assert_eq!((done.damaged.len(), done.missing.len(), done.aside.len()), (1, 1, 1));
    assert_eq!(std::fs::read(path(2)).unwrap(), bad, "nothing is taken away");
    assert_eq!(std::fs::read(dir.path().join("repo").join(&done.aside[0])).unwrap(), bad);

    // As long as nothing replaced it, prune keeps list and bytes.
    repo.prune(&prune()).await.unwrap();
    assert!(dir.path().join("repo").join(&done.aside[0]).exists());
    tokio::time::sleep(Duration::from_millis(20)).await;
    let second = write_snapshot(&repo, "nightly", &[("a", &bytes)]).await;
    assert_eq!(second.stats.new_chunks, 2, "both are written again");
    assert!(repo.check(&check(true)).await.unwrap().passed(), "and the old snapshot is whole too");
    assert_eq!(read(&repo, &first, "a").await.unwrap(), bytes);
    let third = write_snapshot(&repo, "nightly", &[("a", &bytes)]).await;
    assert_eq!(third.stats.new_chunks, 0, "what was written again counts as good");
    repo.prune(&prune()).await.unwrap();
    assert!(!dir.path().join("repo").join(&done.aside[0]).exists());
    let left = std::fs::read_dir(dir.path().join("repo/quarantine")).unwrap().count();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn repaired_snapshots_are_not_known_to_be_damaged() {
    let (dir, repo) = folder(small()).await;
    let (shared, own) = (data(1, 100_000), data(2, 20_000));
    let first = write_snapshot(&repo, "nightly", &[("a", &shared)]).await;
    let second = write_snapshot(&repo, "nightly", &[("a", &shared), ("b", &own)]).await;
    let path = |chunk: &repository::ChunkRef| {
        let id = chunk.id.to_string();
        dir.path().join(format!("repo/chunks/{}/{id}", &id[..2]))
    };
    let damage = |path: &std::path::Path| {
        let bytes = std::fs::read(path).unwrap();
        std::fs::write(path, flip(&bytes, bytes.len() * 4)).unwrap();
    };
    let both = path(&first.sources[0].parts[0].chunks[2]);
    let only_second = path(&second.sources[0].parts[1].chunks[1]);
    damage(&both);
    damage(&only_second);
    let bad = async || {
        let newest = repo.newest_attestations().await.unwrap();
        repo.known_bad(&newest).await.unwrap().into_iter().collect::<Vec<_>>()
    };
    // A portion is enough to find it; nothing but everything proves the contrary.
    let report = portion(&repo, "100%").await;
    assert_eq!((report.faults.len(), report.broken.len()), (2, 2), "{report}");
    repo.quarantine_faults(&report, chrono::Utc::now()).await.unwrap();
    assert_eq!(bad().await.len(), 2);
    tokio::time::sleep(Duration::from_millis(20)).await;
    // The next backup meets the data of one of the two chunks.
    write_snapshot(&repo, "nightly", &[("a", &shared)]).await;
    assert_eq!(bad().await, std::slice::from_ref(&second.id));
    write_snapshot(&repo, "nightly", &[("b", &own)]).await;
    assert!(bad().await.is_empty());
    // That does not prove it: the result of the newest check stays.
    assert!(!repo.attestations(&first.id).await.unwrap()[0].passed);
    damage(&both);
    assert_eq!(bad().await.len(), 2);
}

#[tokio::test]
async fn a_chunk_under_another_name_is_repaired_in_place() {
    let grace = Duration::from_secs(3);
    let (dir, repo) = folder(InitOptions { grace, ..small() }).await;
    let bytes = data(1, 60_000);
    let gone = write_snapshot(&repo, "nightly", &[("a", &bytes)]).await;
    write_snapshot(&repo, "nightly", &[("b", b"1")]).await;
    repo.forget(std::slice::from_ref(&gone.id), chrono::Utc::now()).await.unwrap();
    tokio::time::sleep(grace * 3 / 2).await;
    repo.prune(&prune()).await.unwrap();
    repo.prune(&prune()).await.unwrap();
    // Marked chunks are written under other names.
    let first = write_snapshot(&repo, "nightly", &[("a", &bytes)]).await;
    let object = |at: usize| {
        let chunk = &first.sources[0].parts[0].chunks[at];
        let id = chunk.id.to_string();
        dir.path().join(format!("repo/chunks/{}/{id}-{}", &id[..2], chunk.copy.unwrap()))
    };
    let damaged = std::fs::read(object(1)).unwrap();
    std::fs::write(object(1), flip(&damaged, damaged.len() * 4)).unwrap();
    std::fs::write(object(2), b"torn").unwrap();
    std::fs::remove_file(object(3)).unwrap();
    let report = repo.check(&check(true)).await.unwrap();
    assert_eq!(report.faults.len(), 3, "{report}");
    repo.quarantine_faults(&report, chrono::Utc::now()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let stronger = repo.clone().at_level(19);
    let second = write_snapshot(&stronger, "nightly", &[("a", &bytes)]).await;
    assert_eq!(second.stats.new_chunks, 3);
    let report = repo.check(&check(true)).await.unwrap();
    assert!(report.passed(), "{report}");
    assert_eq!(read(&repo, &first, "a").await.unwrap(), bytes);
    assert_eq!(write_snapshot(&repo, "nightly", &[("a", &bytes)]).await.stats.new_chunks, 0);
}

#[tokio::test]
async fn an_undeleted_snapshot_lists_missing_chunks() {
    let (dir, repo) = folder(small()).await;
    let first = write_snapshot(&repo, "nightly", &[("a", &data(1, 30_000))]).await;
    repo.forget(std::slice::from_ref(&first.id), chrono::Utc::now()).await.unwrap();
    assert!(repo.undelete(&first.id).await.unwrap().is_empty());
    repo.forget(std::slice::from_ref(&first.id), chrono::Utc::now()).await.unwrap();
    let id = first.sources[0].parts[0].chunks[1].id.to_string();
    let object = format!("chunks/{}/{id}", &id[..2]);
    std::fs::remove_file(dir.path().join("repo").join(&object)).unwrap();
    assert_eq!(repo.undelete(&first.id).await.unwrap(), [object]);
}

/// Writes a part and is "killed" before it commits.
async fn interrupted(repo: &Repository, bytes: &[u8]) {
    let writer = begin(repo, "nightly").await;
    let messages: Vec<_> = bytes.chunks(1000).map(|m| Ok::<_, std::io::Error>(m.to_vec().into())).collect();
    writer
        .write_part(repository::PartHeader::new("a", "test"), futures::stream::iter(messages))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_interrupted_backups_chunks_are_used_again() {
    let (dir, repo) = folder(small()).await;
    let bytes = data(1, 2_000_000);
    interrupted(&repo, &bytes).await;
    assert!(repo.snapshots().await.unwrap().manifests.is_empty());
    // Prune runs between the two: it keeps what the journal names.
    let report = repo.prune(&prune()).await.unwrap();
    // But for the sign that it was under way, which names nothing.
    let journals = || {
        let names = std::fs::read_dir(dir.path().join("repo/journals")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.ends_with("-0.json")).count()
    };
    let written = journals();
    assert!(written > 2, "{written}");
    let second = write_snapshot(&repo, "nightly", &[("a", &bytes)]).await;
    // All but the last chunks that no journal was written for any more.
    assert!(second.stats.new_chunks < 64, "{:?}", second.stats);
    assert!(second.stats.chunks > 64 * written as u64);
    assert!(report.marked < 64, "{report}");
    assert_eq!(read(&repo, &second, "a").await.unwrap(), bytes);
    assert!(repo.check(&check(true)).await.unwrap().passed());
    assert_eq!(journals(), written, "its own journal is gone; that of the interrupted one is prune's");
}

#[tokio::test]
async fn a_journal_protects_nothing_from_prune_after_the_grace_period() {
    let grace = Duration::from_secs(3);
    let (dir, repo) = folder(InitOptions { grace, ..small() }).await;
    interrupted(&repo, &data(1, 1_000_000)).await;
    tokio::time::sleep(grace * 3 / 2).await;
    let report = repo.prune(&prune()).await.unwrap();
    assert!(report.marked > 64, "{report}");
    assert_eq!(std::fs::read_dir(dir.path().join("repo/journals")).unwrap().count(), 0);
    // The journal is restored, as if prune had been killed before it removed it: marked chunks are not reused.
    let second = write_snapshot(&repo, "nightly", &[("a", &data(1, 1_000_000))]).await;
    assert_eq!(second.stats.new_plain_bytes, 1_000_000);
    tokio::time::sleep(grace * 3 / 2).await;
    let report = repo.prune(&prune()).await.unwrap();
    assert!(report.deleted > 64, "{report}");
    assert!(repo.check(&check(true)).await.unwrap().passed());
}

#[tokio::test]
async fn what_a_journal_names_and_prune_has_marked_is_written_again() {
    let grace = Duration::from_secs(3);
    let (dir, repo) = folder(InitOptions { grace, ..small() }).await;
    let bytes = data(1, 1_000_000);
    interrupted(&repo, &bytes).await;
    let folder = dir.path().join("repo/journals");
    let kept: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    tokio::time::sleep(grace * 3 / 2).await;
    assert!(repo.prune(&prune()).await.unwrap().marked > 64);
    // As if the journal were still there, and young: it names what is marked.
    for (path, bytes) in kept {
        std::fs::write(path, bytes).unwrap();
    }
    let second = write_snapshot(&repo, "nightly", &[("a", &bytes)]).await;
    assert_eq!(second.stats.new_chunks, second.stats.chunks);
    assert!(second.sources[0].parts[0].chunks.iter().all(|chunk| chunk.copy.is_some()));
    tokio::time::sleep(grace * 3 / 2).await;
    assert!(repo.prune(&prune()).await.unwrap().deleted > 64);
    assert_eq!(read(&repo, &second, "a").await.unwrap(), bytes);
    let report = repo.check(&check(true)).await.unwrap();
    assert!(report.passed() && report.faults.iter().all(|f| f.kind != FaultKind::Missing), "{report}");
}

#[tokio::test]
async fn no_manifest_is_written_over() {
    let (dir, repo) = folder(small()).await;
    let first = write_snapshot(&repo, "nightly", &[("a", &data(1, 20_000))]).await;
    let writer = begin(&repo, "other").await;
    // Another host began in the same second and drew the same number.
    let object = |id: &str| dir.path().join(format!("repo/snapshots/{id}.json"));
    let taken = object(writer.id().as_str());
    std::fs::copy(object(first.id.as_str()), &taken).unwrap();
    let before = std::fs::read(&taken).unwrap();
    let error = writer.commit(Vec::new(), true).await.unwrap_err();
    assert!(matches!(error, Error::NameTaken { .. }), "{error}");
    assert_eq!(std::fs::read(&taken).unwrap(), before);
}

#[tokio::test]
async fn the_remedy_for_a_damaged_document_is_shown_once() {
    let (dir, repo) = folder(InitOptions { grace: Duration::from_millis(300), ..small() }).await;
    let first = write_snapshot(&repo, "nightly", &[("a", &data(1, 20_000))]).await.id;
    write_snapshot(&repo, "nightly", &[("a", &data(2, 20_000))]).await;
    let says = |error: Error, remedy: Remedy| {
        let text = error.to_string();
        assert_eq!((text.matches("is damaged").count(), error.remedy()), (1, Some(remedy)), "{text}");
        assert!(!text.contains("  "), "{text}");
    };
    let tear = |folder: &str| {
        let entry = std::fs::read_dir(dir.path().join("repo").join(folder)).unwrap().next().unwrap().unwrap();
        let bytes = std::fs::read(entry.path()).unwrap();
        std::fs::write(entry.path(), &bytes[..bytes.len() / 2]).unwrap();
        (entry.path(), bytes)
    };

    let (path, bytes) = tear("snapshots");
    says(repo.prune(&prune()).await.unwrap_err(), Remedy::RestoreManifest);
    says(repo.find("latest").await.unwrap_err(), Remedy::RestoreManifest);
    // The advice works: with the object restored everything is as before.
    std::fs::write(path, bytes).unwrap();
    repo.prune(&prune()).await.unwrap();

    repo.forget(std::slice::from_ref(&first), chrono::Utc::now()).await.unwrap();
    let (path, bytes) = tear("tombstones");
    says(repo.prune(&prune()).await.unwrap_err(), Remedy::RestoreTombstone);
    std::fs::write(path, bytes).unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    repo.prune(&prune()).await.unwrap();
    repo.prune(&prune()).await.unwrap();

    let (path, _) = tear("marks");
    let start = || repository::SnapshotStart::new("nightly", chrono::Utc::now(), "test 1");
    says(repo.begin(start()).await.err().unwrap(), Remedy::RemoveMark);
    says(repo.prune(&prune()).await.unwrap_err(), Remedy::RemoveMark);
    std::fs::remove_file(path).unwrap();
    write_snapshot(&repo, "nightly", &[("a", &data(1, 20_000))]).await;
    assert!(repo.prune(&prune()).await.is_ok() && repo.check(&check(true)).await.unwrap().passed());
}

#[tokio::test]
async fn prune_tells_what_it_would_free_now_and_later() {
    let grace = Duration::from_secs(3);
    let (_dir, repo) = folder(InitOptions { grace, ..small() }).await;
    let first = write_snapshot(&repo, "nightly", &[("a", &data(1, 100_000))]).await;
    write_snapshot(&repo, "nightly", &[("a", &data(2, 100_000))]).await;
    let own = (first.stats.new_chunks, first.stats.stored_bytes);
    let look = async || {
        let now = chrono::Utc::now();
        repo.prune(&PruneOptions { dry_run: true, now }).await.unwrap()
    };
    let before = look().await;
    assert_eq!((before.marked, before.waiting, before.forgotten), (0, 0, 0));

    repo.forget(std::slice::from_ref(&first.id), chrono::Utc::now()).await.unwrap();
    let held = look().await;
    assert_eq!((held.forgotten, held.forgotten_bytes, held.marked), (own.0, own.1, 0));
    let stats = repo.stats(chrono::Utc::now()).await.unwrap();
    assert_eq!(stats.prune.unwrap().forgotten_bytes, own.1);
    assert!(held.to_string().contains("free 0 bytes now"), "{held}");

    tokio::time::sleep(grace * 3 / 2).await;
    let marked = repo.prune(&prune()).await.unwrap();
    assert_eq!((marked.marked, marked.marked_bytes, marked.forgotten), (own.0, own.1, 0));
    let waiting = look().await;
    assert_eq!((waiting.waiting, waiting.waiting_bytes, waiting.deleted_bytes), (own.0, own.1, 0));
    tokio::time::sleep(grace * 3 / 2).await;
    let due = look().await;
    assert_eq!((due.waiting, due.deleted, due.deleted_bytes), (0, own.0, own.1));
}

#[tokio::test]
async fn leftovers_are_removed_after_the_grace_period() {
    let grace = Duration::from_secs(3);
    let (dir, repo) = folder(InitOptions { grace, ..small() }).await;
    let root = dir.path().join("repo");
    let first = write_snapshot(&repo, "nightly", &[("a", &data(1, 20_000))]).await;
    let second = write_snapshot(&repo, "nightly", &[("a", &data(2, 20_000))]).await;
    assert!(repo.check(&check(true)).await.unwrap().passed());
    repo.forget(std::slice::from_ref(&first.id), chrono::Utc::now()).await.unwrap();
    std::fs::create_dir_all(root.join("clock")).unwrap();
    std::fs::create_dir_all(root.join("chunks/ab")).unwrap();
    let old = ["clock/0123", "chunks/ab/abcd#1", "dbhaul.json#2"];
    let others = ["chunks/ab/abcd#x", "#1"];
    old.iter().chain(&others).for_each(|name| std::fs::write(root.join(name), b"half").unwrap());
    assert_eq!(repo.prune(&prune()).await.unwrap().leftovers, 0, "all of it is young");
    assert_eq!(repo.attestations(&first.id).await.unwrap().len(), 1, "it can be brought back");

    tokio::time::sleep(grace * 3 / 2).await;
    let young = ["clock/4567", "chunks/ab/ef01#1"];
    young.iter().for_each(|name| std::fs::write(root.join(name), b"half").unwrap());
    let dry = repo.prune(&PruneOptions { dry_run: true, now: chrono::Utc::now() }).await.unwrap();
    assert_eq!(dry.leftovers, 4, "{dry}");
    assert!(old.iter().all(|name| root.join(name).exists()));
    let report = repo.prune(&prune()).await.unwrap();
    assert_eq!(report.leftovers, 4, "{report}");
    assert!(old.iter().all(|name| !root.join(name).exists()));
    assert!(others.iter().chain(&young).all(|name| root.join(name).exists()));
    assert!(repo.attestations(&first.id).await.unwrap().is_empty());
    assert_eq!(repo.attestations(&second.id).await.unwrap().len(), 1);
    assert!(repo.check(&check(true)).await.unwrap().passed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_hosts_that_make_a_repository_one_does() {
    let dir = tempfile::tempdir().unwrap();
    let hosts = (0..8).map(|_| {
        let store = Store::folder(&dir.path().join("repo")).unwrap();
        tokio::spawn(async move { Repository::init(store, &small()).await })
    });
    let made = futures::future::join_all(hosts).await;
    let ids: Vec<_> = made.iter().flatten().flatten().map(|repo| repo.id().to_owned()).collect();
    assert_eq!(ids.len(), 1, "{made:?}");
    assert!(made.iter().flatten().flat_map(|made| made.as_ref().err()).all(Error::is_already_exists));
    let store = Store::folder(&dir.path().join("repo")).unwrap();
    assert_eq!(Repository::open(store).await.unwrap().id(), ids[0]);
}
