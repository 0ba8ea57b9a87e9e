//! Guarantees to a user of a repository, on a real folder and in memory.

use std::time::Duration;

use crate::common::{begin, data, flip, folder, is_about, read, reseal, small, write_snapshot};
use repository::{
    CheckOptions, Error, FaultKind, InitOptions, PartHeader, PruneOptions, Remedy, Repository, Store,
    StoreEnv,
};

fn check(read_data: bool) -> CheckOptions {
    CheckOptions { read_data, now: chrono::Utc::now() }
}

fn prune() -> PruneOptions {
    PruneOptions { dry_run: false, now: chrono::Utc::now() }
}

#[tokio::test]
async fn what_is_written_reads_back_and_an_unchanged_backup_costs_nothing() {
    let (_dir, repo) = folder(small()).await;
    let bytes = data(1, 300_000);
    let first =
        write_snapshot(&repo, "nightly", &[("a", &bytes), ("empty", b""), ("b", &data(2, 70_000))]).await;
    assert!(first.stats.new_chunks > 10);
    assert_eq!(first.stats.plain_bytes, 370_000);
    assert_eq!(read(&repo, &first, "a").await.unwrap(), bytes);
    assert_eq!(read(&repo, &first, "empty").await.unwrap(), b"");

    let second = write_snapshot(&repo, "nightly", &[("a", &bytes)]).await;
    assert_eq!((second.stats.new_chunks, second.stats.stored_bytes), (0, 0));
    let mut longer = bytes.clone();
    longer.extend(data(3, 3_000));
    let third = write_snapshot(&repo, "nightly", &[("a", &longer)]).await;
    assert!(third.stats.new_chunks <= 4, "{:?}", third.stats);
    assert_eq!(read(&repo, &third, "a").await.unwrap(), longer);
    assert_eq!(repo.snapshots().await.unwrap().manifests.len(), 3);
    assert_eq!(repo.find("latest").await.unwrap().id, third.id);
    assert_eq!(repo.find(first.id.as_str()).await.unwrap(), first);
    assert!(repo.find("nothing").await.unwrap_err().is_not_found());
    assert!(repo.check(&check(true)).await.unwrap().passed());
}

#[tokio::test]
async fn a_level_of_compression_changes_what_is_stored_and_nothing_else() {
    let rows: String =
        (0..9000_u32).map(|n| format!("{n}\tKRW-BTC\t{}\t\\N\n", n.wrapping_mul(2_654_435_761))).collect();
    let mut stored = Vec::new();
    // One that there is not is taken for the nearest.
    for level in [1, 19, 100] {
        let (_dir, repo) = folder(small()).await;
        let repo = repo.at_level(level);
        let manifest = write_snapshot(&repo, "nightly", &[("a", rows.as_bytes())]).await;
        assert_eq!(read(&repo, &manifest, "a").await.unwrap(), rows.as_bytes());
        assert!(repo.check(&check(true)).await.unwrap().passed());
        stored.push(manifest.stats.stored_bytes);
    }
    assert!(stored[1] < stored[0] && stored[2] <= stored[1], "{stored:?}");
}

#[tokio::test]
async fn what_is_not_committed_is_not_listed() {
    let (_dir, repo) = folder(small()).await;
    let writer = begin(&repo, "nightly").await;
    let stream = futures::stream::iter([Ok::<_, std::io::Error>(data(1, 50_000).into())]);
    writer.write_part(PartHeader::new("a", "test"), stream).await.unwrap();
    drop(writer);
    let writer = begin(&repo, "nightly").await;
    let failing =
        futures::stream::iter([Ok(data(2, 50_000).into()), Err(std::io::Error::other("connection lost"))]);
    let error = writer.write_part(PartHeader::new("public.t", "test"), failing).await.unwrap_err();
    assert!(
        error.to_string().contains("public.t") && error.to_string().contains("connection lost"),
        "{error}"
    );
    drop(writer);
    assert!(repo.snapshots().await.unwrap().manifests.is_empty());
    assert!(repo.check(&check(false)).await.unwrap().unreferenced > 0);
}

#[tokio::test]
async fn damage_is_found_and_named_and_the_next_backup_does_not_lean_on_it() {
    let (dir, repo) = folder(small()).await;
    let (hurt, whole) = (data(1, 100_000), data(2, 40_000));
    let first = write_snapshot(&repo, "nightly", &[("public.hurt", &hurt)]).await;
    let other = write_snapshot(&repo, "nightly", &[("public.whole", &whole)]).await;
    let chunk = first.sources[0].parts[0].chunks[3];
    let path = dir.path().join(format!("repo/chunks/{}/{}", &chunk.id.to_string()[..2], chunk.id));
    let good = std::fs::read(&path).unwrap();

    // A truncated chunk is seen without reading everything; a flipped bit by reading.
    for (bad, read_data) in
        [(good[..good.len() / 2].to_vec(), false), (Vec::new(), false), (flip(&good, 9), true)]
    {
        std::fs::write(&path, bad).unwrap();
        let report = repo.check(&check(read_data)).await.unwrap();
        assert_eq!(report.broken, std::slice::from_ref(&first.id));
        assert_eq!(report.whole, std::slice::from_ref(&other.id));
        assert_eq!(report.faults.len(), 1);
        assert!(matches!(report.faults[0].kind, FaultKind::Damaged { .. }));
        assert_eq!(report.faults[0].touches, [format!("{}: public.hurt", first.id)]);
        let error = read(&repo, &first, "public.hurt").await.unwrap_err();
        assert!(error.is_damaged() && error.to_string().contains("public.hurt"), "{error}");
        assert_eq!(read(&repo, &other, "public.whole").await.unwrap(), whole);
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(repo.check(&check(false)).await.unwrap().faults[0].kind, FaultKind::Missing);

    std::fs::write(&path, &good[..7]).unwrap();
    let again = write_snapshot(&repo, "nightly", &[("public.hurt", &hurt)]).await;
    assert_eq!(again.stats.new_chunks, 1);
    assert_eq!(read(&repo, &again, "public.hurt").await.unwrap(), hurt);
    assert!(
        repo.check(&check(true)).await.unwrap().passed(),
        "the chunk that was written again mends the old snapshot"
    );
}

#[tokio::test]
async fn a_damaged_manifest_is_named_and_hides_no_other() {
    let (dir, repo) = folder(small()).await;
    let good = write_snapshot(&repo, "nightly", &[("a", b"1")]).await;
    let bad = write_snapshot(&repo, "nightly", &[("a", b"2")]).await;
    let path = dir.path().join(format!("repo/snapshots/{}.json", bad.id));
    let text = std::fs::read_to_string(&path).unwrap();
    for (damage, word) in [
        (text[..text.len() / 2].to_owned(), "damaged"),
        (text.replace("nightly", "nightlx"), "damaged"),
        (reseal(&text.replace("\"format\":1", "\"format\":7")), "format 7"),
        (reseal(&text.replacen("\"bytes\":1,", "\"bytes\":4,", 1)), "its chunks"),
        (reseal(&text.replace(bad.id.as_str(), good.id.as_str())), "is the manifest of"),
    ] {
        std::fs::write(&path, damage).unwrap();
        let listing = repo.snapshots().await.unwrap();
        assert_eq!(listing.manifests.len(), 1);
        assert!(listing.unreadable[0].name.contains(bad.id.as_str()));
        assert!(listing.unreadable[0].error.contains(word), "{}", listing.unreadable[0].error);
        assert!(repo.find("latest").await.unwrap_err().to_string().contains(bad.id.as_str()));
        assert!(!repo.check(&check(false)).await.unwrap().passed());
        let error = repo.prune(&prune()).await.unwrap_err();
        assert!(error.to_string().contains("nothing was pruned"), "{error}");
        assert!(repo.stats(chrono::Utc::now()).await.unwrap().prune.is_none());
        if word == "format 7" {
            // It is intact: removing it manually would lose a snapshot.
            for error in [error, repo.find("latest").await.unwrap_err()] {
                assert!(matches!(error, Error::Format { found: 7, .. }), "{error}");
                let text = error.to_string();
                assert!(text.contains("newer version") && error.remedy().is_none(), "{text}");
            }
        } else {
            assert!(error.is_damaged() && error.remedy() == Some(Remedy::RestoreManifest), "{error}");
        }
    }
}

#[tokio::test]
async fn writers_at_the_same_time_do_not_disturb_each_other() {
    let (_dir, repo) = folder(small()).await;
    let (shared, own) = (data(1, 200_000), data(2, 100_000));
    let parts: [&[(&str, &[u8])]; 2] = [&[("a", &shared), ("b", &own)], &[("a", &shared), ("c", &shared)]];
    let (one, two) =
        tokio::join!(write_snapshot(&repo, "one", parts[0]), write_snapshot(&repo, "two", parts[1]));
    assert_ne!(one.id, two.id);
    assert_eq!(read(&repo, &one, "b").await.unwrap(), own);
    assert_eq!(read(&repo, &two, "c").await.unwrap(), shared);
    assert!(repo.check(&check(true)).await.unwrap().passed());
}

#[tokio::test]
async fn forgetting_has_two_phases() {
    let grace = Duration::from_secs(3);
    let (_dir, repo) = folder(InitOptions { grace, ..small() }).await;
    let first = write_snapshot(&repo, "nightly", &[("a", &data(1, 100_000))]).await;
    let second = write_snapshot(&repo, "nightly", &[("a", &data(2, 100_000))]).await;
    let now = chrono::Utc::now();
    repo.forget(std::slice::from_ref(&first.id), now).await.unwrap();
    assert_eq!(repo.snapshots().await.unwrap().manifests.len(), 1);
    let deleted = repo.last_deletion_at("nightly", &repo.headers().await.unwrap(), now).await.unwrap();
    assert!(is_about(deleted, now), "{deleted:?}");
    assert_eq!(repo.last_deletion_at("weekly", &repo.headers().await.unwrap(), now).await.unwrap(), None);
    repo.undelete(&first.id).await.unwrap();
    assert_eq!(repo.find(first.id.as_str()).await.unwrap(), first);

    repo.forget(std::slice::from_ref(&first.id), now).await.unwrap();
    let report = repo.prune(&prune()).await.unwrap();
    assert_eq!((report.marked, report.deleted), (0, 0), "a tombstone holds its chunks");
    tokio::time::sleep(grace * 3 / 2).await;
    assert!(repo.undelete(&first.id).await.unwrap_err().is_not_found());
    let dry = repo.prune(&PruneOptions { dry_run: true, now: chrono::Utc::now() }).await.unwrap();
    let report = repo.prune(&prune()).await.unwrap();
    assert_eq!(report.expired, std::slice::from_ref(&first.id));
    assert_eq!((dry.expired, dry.deleted), (report.expired, 0));
    let report = repo.prune(&prune()).await.unwrap();
    let marked = report.marked + report.waiting;
    assert_eq!((marked, report.deleted), (first.stats.new_chunks, 0));

    // A later backup that needs a marked chunk writes it under another name.
    let third = write_snapshot(&repo, "nightly", &[("a", &data(1, 100_000))]).await;
    assert_eq!(third.stats.new_chunks, first.stats.new_chunks);
    assert!(third.sources[0].parts[0].chunks.iter().all(|chunk| chunk.copy.is_some()));

    tokio::time::sleep(grace * 3 / 2).await;
    let report = repo.prune(&prune()).await.unwrap();
    assert_eq!((report.deleted, report.spared), (first.stats.new_chunks, 0));
    let report = repo.check(&check(true)).await.unwrap();
    assert!(report.passed() && report.unreferenced == 0, "{report}");
    assert_eq!(report.whole, [second.id, third.id]);
    let deleted = repo.last_deletion_at("nightly", &repo.headers().await.unwrap(), now).await.unwrap();
    assert!(is_about(deleted, now), "{deleted:?}");
}

#[tokio::test]
async fn a_backup_that_outlasts_the_grace_is_not_listed() {
    let (_dir, repo) = folder(InitOptions { grace: Duration::from_millis(40), ..small() }).await;
    let writer = begin(&repo, "nightly").await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert!(matches!(writer.commit(Vec::new(), true).await, Err(repository::Error::TooLong { .. })));
    assert!(repo.snapshots().await.unwrap().manifests.is_empty());
}

#[tokio::test]
async fn invalid_places_are_reported_clearly() {
    let dir = tempfile::tempdir().unwrap();
    let open = |url: &str| Store::open(url, &StoreEnv::default());
    let empty = open(dir.path().join("none").to_str().unwrap()).unwrap();
    assert!(Repository::open(empty).await.unwrap_err().is_not_found());
    // A file where the folder should be: the same error on every user, root too.
    std::fs::write(dir.path().join("file"), b"x").unwrap();
    let wrong = open(dir.path().join("file/repo").to_str().unwrap()).unwrap();
    let error = Repository::init(wrong, &InitOptions::default()).await.unwrap_err();
    assert!(error.to_string().contains("dbhaul.json"), "{error}");
    let (_dir, repo) = folder(small()).await;
    let again = Repository::init(open(&repo.address()).unwrap(), &InitOptions::default()).await;
    assert!(again.unwrap_err().is_already_exists());
    for url in ["ftp://host/x", "s3://", "s3://b?colour=red", "s3://key:secret@b/p", "s3://bucket"] {
        let error = open(url).unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
    let env = StoreEnv::of(&[("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "hush")]);
    let store = Store::open("s3://bucket/prefix?endpoint=http://127.0.0.1:1&region=r", &env).unwrap();
    assert_eq!(store.to_string(), "s3://bucket/prefix");
    assert!(!format!("{store:?} {env:?}").contains("hush"));
}
