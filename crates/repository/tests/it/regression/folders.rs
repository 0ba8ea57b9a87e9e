//! Folders: permissions, foreign files, and paths.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::common::{data, folder, read, small, write_snapshot};
use repository::{CheckOptions, Error, PruneOptions, Repository, Store, StoreEnv};

fn modes(below: &Path) -> Vec<(PathBuf, u32)> {
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    let mut found = vec![(below.to_owned(), mode(below))];
    for entry in std::fs::read_dir(below).unwrap().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(modes(&path)),
            path => found.push((path.clone(), mode(&path))),
        }
    }
    found
}

async fn use_it(repo: &Repository) {
    let now = chrono::Utc::now();
    let first = write_snapshot(repo, "nightly", &[("a", &data(1, 50_000))]).await;
    write_snapshot(repo, "nightly", &[("a", &data(2, 50_000))]).await;
    repo.check(&CheckOptions { read_data: true, now }).await.unwrap();
    repo.forget(&[first.id], now).await.unwrap();
    repo.prune(&PruneOptions { dry_run: false, now }).await.unwrap();
}

#[tokio::test]
async fn a_repository_is_its_users_alone() {
    let (dir, repo) = folder(small()).await;
    use_it(&repo).await;
    let all = modes(&dir.path().join("repo"));
    assert!(all.len() > 20);
    for (path, mode) in all {
        assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
    }
}

#[tokio::test]
async fn a_shared_repository_stays_open_to_its_group() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/repo");
    let store = Store::folder(&path).unwrap();
    store.share_with_group().unwrap();
    let repo = Repository::init(store, &small()).await.unwrap();
    write_snapshot(&repo, "nightly", &[("a", &data(3, 50_000))]).await;
    let store = Store::folder(&path).unwrap();
    assert!(store.is_shared());
    use_it(&Repository::open(store).await.unwrap()).await;
    for (path, mode) in modes(&path) {
        assert_eq!(mode, if path.is_dir() { 0o2770 } else { 0o660 }, "{}", path.display());
    }
    let memory = Store::open("memory:", &StoreEnv::default()).unwrap();
    assert!(matches!(memory.share_with_group(), Err(Error::Url { .. })));
}

/// Files left by macOS, a synchronizer or a user are reported and do not stop anything.
#[tokio::test]
async fn files_of_others_are_named_and_left_alone() {
    let (dir, repo) = folder(small()).await;
    use_it(&repo).await;
    let root = dir.path().join("repo");
    let mut strays = Vec::new();
    for folder in ["snapshots", "chunks", "marks", "tombstones", "attestations", "journals", "quarantine"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
        for name in [&b"._x.json"[..], b".DS_Store", b"caf\xe9.json"] {
            let path = root.join(folder).join(std::ffi::OsStr::from_bytes(name));
            std::fs::write(&path, b"not ours").unwrap();
            strays.push(path);
        }
    }
    for name in ["snapshots/a copy of it (1).json", "tombstones/a copy of it (1).json"] {
        std::fs::write(root.join(name), b"not ours").unwrap();
        strays.push(root.join(name));
    }
    std::os::unix::fs::symlink("/nowhere/at/all", root.join("chunks/link")).unwrap();
    let repo = Repository::open(Store::folder(&root).unwrap()).await.unwrap();
    use_it(&repo).await;
    let latest = repo.find("latest").await.unwrap();
    assert_eq!(read(&repo, &latest, "a").await.unwrap(), data(2, 50_000));
    assert_eq!(repo.forgotten().await.unwrap().len(), 2);
    let now = chrono::Utc::now();
    let report = repo.check(&CheckOptions { read_data: true, now }).await.unwrap();
    assert!(report.passed(), "{report}");
    assert_eq!(report.strays.len(), strays.len(), "{:?}", report.strays);
    assert!(report.to_string().contains("snapshots/._x.json"), "{report}");
    repo.prune_now(&PruneOptions { dry_run: false, now }).await.unwrap();
    assert!(strays.iter().all(|path| path.exists()));
}

#[tokio::test]
async fn a_folder_is_found_as_a_shell_would_or_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    std::fs::create_dir_all(home.join("inner")).unwrap();
    let env = StoreEnv::of(&[("HOME", home.to_str().unwrap())]);
    let text = |rest: &str| format!("{}/{rest}", dir.path().display());
    std::os::unix::fs::symlink(home.join("inner"), dir.path().join("link")).unwrap();
    // With `..` after a link, which leads above the folder that the link names.
    for (url, place) in [
        ("~/one".to_owned(), "home/one"),
        (text("home/../two"), "two"),
        (text("link/../three"), "home/three"),
        (format!("file://{}", text("four")), "four"),
        (format!("file://localhost{}", text("five with space")), "five with space"),
    ] {
        let store = Store::open(&url, &env).unwrap();
        let repo = Repository::init(store, &small()).await.unwrap();
        write_snapshot(&repo, "nightly", &[("a", &data(1, 5_000))]).await;
        assert!(dir.path().join(place).join("dbhaul.json").exists(), "{url}");
        Repository::open(Store::open(&url, &env).unwrap()).await.unwrap();
    }
    for (url, says) in [
        ("file://relative/folder", "`relative/folder`"),
        ("file:relative", "file:///relative"),
        ("s3:bucket/prefix", "s3://bucket/prefix"),
        ("~somebody/backup", "another user"),
    ] {
        let error = Store::open(url, &env).unwrap_err();
        assert!(matches!(error, Error::Url { .. }), "{error}");
        assert!(error.to_string().contains(says), "{url}: {error}");
    }
    assert!(Store::open("~/x", &StoreEnv::default()).unwrap_err().to_string().contains("HOME"));
}
