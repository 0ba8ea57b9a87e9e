//! A repository that has lost its `dbhaul.json`.

use std::collections::BTreeMap;
use std::path::Path;

use crate::common::{data, read, small, write_snapshot};
use repository::{Access, Encryption, Error, Identity, InitOptions, Repository, Store};

fn files(folder: &Path) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.insert(entry.path().display().to_string(), entry.metadata().unwrap().len());
        }
    }
    found
}

/// restic #4848, #4862; rustic #1141: `init` made a new repository over what was left of an old one, with another key.
#[tokio::test]
async fn init_refuses_a_place_that_holds_what_is_left_of_a_repository() {
    let dir = tempfile::tempdir().unwrap();
    let store = || Store::folder(&dir.path().join("repo")).unwrap();
    let repo = Repository::init(store(), &small()).await.unwrap();
    let first = write_snapshot(&repo, "nightly", &[("a", &data(1, 50_000))]).await;
    let (document, copy) = (dir.path().join("repo/dbhaul.json"), dir.path().join("repo/dbhaul.json.copy"));
    let bytes = std::fs::read(&document).unwrap();
    std::fs::remove_file(&document).unwrap();
    assert!(Repository::init(store(), &small()).await.unwrap_err().is_already_exists());
    std::fs::remove_file(&copy).unwrap();
    assert!(matches!(Repository::open(store()).await, Err(Error::Orphaned { .. })));
    let before = files(dir.path());
    for part in ["snapshots", "chunks", "nothing"] {
        let error = Repository::init(store(), &small()).await.unwrap_err();
        assert!(matches!(error, Error::Orphaned { .. }) && error.is_refused(), "{error}");
        assert!(error.to_string().contains("dbhaul.json"), "{error}");
        assert_eq!(
            files(dir.path()).len(),
            if part == "chunks" { files(dir.path()).len() } else { before.len() }
        );
        if part == "nothing" {
            break;
        }
        // Either alone is enough.
        std::fs::rename(dir.path().join("repo").join(part), dir.path().join(part)).unwrap();
        assert!(matches!(Repository::init(store(), &small()).await, Err(Error::Orphaned { .. })));
        std::fs::rename(dir.path().join(part), dir.path().join("repo").join(part)).unwrap();
    }
    assert_eq!(files(dir.path()), before, "nothing was changed");
    std::fs::write(&document, bytes).unwrap();
    let repo = Repository::open(store()).await.unwrap();
    assert_eq!(read(&repo, &first, "a").await.unwrap(), data(1, 50_000));
}

#[tokio::test]
async fn the_document_is_stored_twice_and_repaired_from_either_copy() {
    let identity = Identity::generate();
    let encryption = Encryption { recipients: vec![identity.recipient()], passphrase: None };
    let access = Access { identities: vec![identity], ..Access::default() };
    for encryption in [None, Some(encryption)] {
        let dir = tempfile::tempdir().unwrap();
        let store = || Store::folder(&dir.path().join("repo")).unwrap();
        let access = if encryption.is_some() { access.clone() } else { Access::default() };
        let mut repo = Repository::init(store(), &InitOptions { encryption, ..small() }).await.unwrap();
        if repo.is_encrypted() {
            // Changes are made in both copies.
            let more = [repo.recipients(), &[Identity::generate().recipient()]].concat();
            repo.set_recipients(more).await.unwrap();
        }
        let (document, copy) =
            (dir.path().join("repo/dbhaul.json"), dir.path().join("repo/dbhaul.json.copy"));
        let bytes = std::fs::read(&document).unwrap();
        let first = write_snapshot(&repo, "nightly", &[("a", &data(1, 50_000))]).await;
        for (file, other) in [(&document, &copy), (&copy, &document)] {
            for with in [None, Some(&b"torn"[..]), Some(&bytes[..bytes.len() / 2])] {
                assert_eq!(std::fs::read(file).unwrap(), bytes);
                assert_eq!(std::fs::read(other).unwrap(), bytes);
                match with {
                    None => std::fs::remove_file(file).unwrap(),
                    Some(with) => std::fs::write(file, with).unwrap(),
                }
                let repo = Repository::open_with(store(), &access).await.unwrap();
                assert_eq!(repo.is_from_copy(), file == &document);
                assert_eq!(
                    read(&repo, &repo.find("latest").await.unwrap(), "a").await.unwrap().len(),
                    50_000
                );
                let again = write_snapshot(&repo, "nightly", &[("a", &data(1, 50_000))]).await;
                assert_eq!(again.stats.new_chunks, 0);
            }
        }
        let repo = Repository::open_with(store(), &access).await.unwrap();
        assert!(!repo.is_from_copy());
        assert_eq!(
            read(&repo, &repo.find(first.id.as_str()).await.unwrap(), "a").await.unwrap(),
            data(1, 50_000)
        );
    }
}
