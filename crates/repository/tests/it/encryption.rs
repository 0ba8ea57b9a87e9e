//! Encryption: files on a backup host decrypt nothing, and operations that need not decrypt work without an identity.

use crate::common;
use crate::common::{data, folder, read, reseal, small, write_snapshot};
use repository::{
    Access, Attestation, AttestationKind, CheckOptions, Encryption, FaultKind, Identity, InitOptions,
    Manifest, Passphrase, PruneOptions, Remedy, Repository, RepositoryKey, Store, StoreEnv,
};

fn encrypted(recipients: &[&Identity], passphrase: Option<&str>) -> InitOptions {
    let recipients = recipients.iter().map(|identity| identity.recipient()).collect();
    let passphrase = passphrase.map(|text| Passphrase::new(text).unwrap());
    InitOptions { encryption: Some(Encryption { recipients, passphrase }), ..small() }
}

fn store(dir: &tempfile::TempDir) -> Store {
    Store::open(dir.path().join("repo").to_str().unwrap(), &StoreEnv::default()).unwrap()
}

/// The access of a backup host: the key file, read back from its text.
fn host(repo: &Repository) -> Access {
    let key = RepositoryKey::parse_file(&repo.key().unwrap().to_file()).unwrap();
    Access { key: Some(key), ..Access::default() }
}

fn with(identity: &Identity) -> Access {
    Access { identities: vec![identity.clone()], ..Access::default() }
}

fn check(read_data: bool) -> CheckOptions {
    CheckOptions { read_data, now: chrono::Utc::now() }
}

/// Every file below a folder.
fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[tokio::test]
async fn a_backup_host_does_its_work_and_reads_nothing() {
    let identity = Identity::generate();
    let (dir, repo) = folder(encrypted(&[&identity], None)).await;
    let key_file = repo.key().unwrap().to_file();
    let on_host = host(&repo);
    let host_access = on_host.clone();
    let host = Repository::open_with(store(&dir), &on_host).await.unwrap();
    assert!(host.is_encrypted() && !host.can_read());
    let secret = b"a row that nobody may read ".repeat(3000);
    let first =
        write_snapshot(&host, "nightly", &[("public.secrets", &secret), ("b", &data(1, 50_000))]).await;
    let second = write_snapshot(&host, "nightly", &[("public.secrets", &secret)]).await;
    assert_eq!(second.stats.new_chunks, 0, "deduplication needs no identity");

    // All that the host does by itself.
    let listed = host.snapshots().await.unwrap().manifests;
    assert_eq!(listed.len(), 2);
    assert!(listed.iter().all(|manifest| manifest.is_sealed() && manifest.sources.is_empty()));
    assert!(host.check(&check(false)).await.unwrap().passed());
    host.forget(std::slice::from_ref(&second.id), chrono::Utc::now()).await.unwrap();
    host.undelete(&second.id).await.unwrap();
    host.prune(&PruneOptions { dry_run: false, now: chrono::Utc::now() }).await.unwrap();

    // What it cannot do fails with an error that names what is missing.
    let error = host.find("latest").await.unwrap_err();
    assert!(error.is_locked() && error.remedy() == Some(Remedy::SupplyKey), "{error}");
    assert!(host.check(&check(true)).await.unwrap_err().is_locked());
    let part = &first.sources[0].parts[0];
    let mut stream = Box::pin(host.read_part(part));
    assert!(futures::StreamExt::next(&mut stream).await.unwrap().unwrap_err().is_locked());

    // Details of a rehearsal name tables, and may quote rows.
    let details = serde_json::json!({ "tables": ["public.secrets"], "error": "nobody may read this" });
    let rehearsal = Attestation::new(AttestationKind::Rehearsal, true, chrono::Utc::now(), details);
    host.attest(&first.id, &rehearsal).await.unwrap();

    // In all its files (key file and store), neither the data, nor its names, nor its hash can be found.
    let hash = repository::ChunkId::of(&secret).to_string();
    for file in files(dir.path()) {
        let bytes = std::fs::read(&file).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        for word in ["nobody may read", "public.secrets", part.sha256.as_str(), hash.as_str()] {
            assert!(!text.contains(word), "{word} in {}", file.display());
            assert!(!file.to_string_lossy().contains(word));
        }
    }
    // Neither the key file nor the store contains an identity, and none derived from them decrypts anything.
    assert!(Identity::parse_file(&key_file).is_err());
    let config = std::fs::read_to_string(dir.path().join("repo/dbhaul.json")).unwrap();
    assert!(!config.contains("AGE-SECRET-KEY") && !key_file.contains("AGE-SECRET-KEY"));
    let stranger = Access { identities: vec![Identity::generate()], ..host_access };
    let stranger = Repository::open_with(store(&dir), &stranger).await.unwrap();
    assert!(
        stranger
            .find("latest")
            .await
            .unwrap_err()
            .to_string()
            .contains("none of the given identities can decrypt it")
    );

    // The identity alone opens all.
    let restorer = Repository::open_with(store(&dir), &with(&identity)).await.unwrap();
    let found = restorer.find(first.id.as_str()).await.unwrap();
    assert_eq!(found, first);
    assert_eq!(read(&restorer, &found, "public.secrets").await.unwrap(), secret);
    let report = restorer.check(&check(true)).await.unwrap();
    assert!(report.passed() && report.whole.len() == 2, "{report}");
    assert_eq!(restorer.attestations(&first.id).await.unwrap()[0], rehearsal);
    // Everybody can see that it passed, and when.
    let newest = host.newest_attestations().await.unwrap();
    let seen = newest[&first.id].iter().find(|found| found.kind == AttestationKind::Rehearsal).unwrap();
    let details = serde_json::Value::Null;
    assert_eq!(*seen, Attestation { details, ..rehearsal });
}

#[tokio::test]
async fn a_later_recipient_marks_no_snapshot_as_damaged() {
    let (old, new) = (Identity::generate(), Identity::generate());
    let (dir, mut repo) = folder(encrypted(&[&old], None)).await;
    let early = data(1, 60_000);
    let first = write_snapshot(&repo, "nightly", &[("a", &early)]).await;
    repo.set_recipients(vec![old.recipient(), new.recipient()]).await.unwrap();
    let second = write_snapshot(&repo, "nightly", &[("a", &early), ("b", &data(2, 60_000))]).await;
    let third = write_snapshot(&repo, "nightly", &[("c", &data(3, 60_000))]).await;

    let as_new = Repository::open_with(store(&dir), &with(&new)).await.unwrap();
    let everything = as_new.check(&check(true)).await.unwrap();
    let portion = as_new.check_portion("100%".parse().unwrap(), chrono::Utc::now()).await.unwrap();
    for report in [everything, portion] {
        assert!(!report.passed() && report.broken.is_empty(), "{report}");
        assert_eq!(report.unknown, [first.id.clone(), second.id.clone()], "{report}");
        assert_eq!(report.whole, std::slice::from_ref(&third.id), "{report}");
        assert_eq!(report.faults.len() as u64, first.stats.new_chunks);
        assert!(report.faults.iter().all(|fault| fault.kind == FaultKind::OtherRecipients), "{report}");
        let [closed] = &report.unreadable[..] else { panic!("{report}") };
        assert!(closed.name.contains(first.id.as_str()), "{report}");
        let text = report.to_string();
        assert!(!text.contains("by hand") && !text.contains("is damaged:"), "{text}");
        let done = as_new.quarantine_faults(&report, chrono::Utc::now()).await.unwrap();
        assert!(done.damaged.is_empty() && done.missing.is_empty() && done.aside.is_empty(), "{done:?}");
    }
    assert!(!dir.path().join("repo/quarantine").exists());
    for id in [&first.id, &second.id] {
        assert!(as_new.attestations(id).await.unwrap().is_empty());
    }
    assert!(as_new.attestations(&third.id).await.unwrap()[0].passed);

    // The old one is listed as encrypted, with what it requires.
    let listing = as_new.snapshots().await.unwrap();
    assert_eq!((listing.manifests.len(), listing.unreadable.len()), (3, 0));
    assert!(listing.manifests[0].is_sealed() && !listing.manifests[1].is_sealed());
    let error = as_new.find(first.id.as_str()).await.unwrap_err();
    assert!(error.is_locked() && !error.is_damaged(), "{error}");
    let (_to_dir, to) = folder(small()).await;
    let ids = [first.id.clone(), second.id.clone(), third.id.clone()];
    let copied = as_new.copy_to(&to, &ids, &|_| {}).await.unwrap();
    assert_eq!((copied.failed.len(), copied.copied.len()), (2, 1), "{copied:?}");

    let as_old = Repository::open_with(store(&dir), &with(&old)).await.unwrap();
    let report = as_old.check(&check(true)).await.unwrap();
    assert!(report.passed() && report.whole.len() == 3, "{report}");
}

/// A host that reads nothing tells by the store's clock what was written again.
#[tokio::test]
async fn a_host_without_an_identity_sees_that_a_chunk_was_repaired() {
    let identity = Identity::generate();
    let (dir, repo) = folder(encrypted(&[&identity], None)).await;
    let host = Repository::open_with(store(&dir), &host(&repo)).await.unwrap();
    let bytes = data(1, 60_000);
    let first = write_snapshot(&host, "nightly", &[("a", &bytes)]).await;
    let chunk = first.sources[0].parts[0].chunks[2].id.to_string();
    let path = dir.path().join(format!("repo/chunks/{}/{chunk}", &chunk[..2]));
    let damaged = std::fs::read(&path).unwrap();
    std::fs::write(&path, common::flip(&damaged, damaged.len() * 4)).unwrap();
    let restorer = Repository::open_with(store(&dir), &with(&identity)).await.unwrap();
    let report = restorer.check(&check(true)).await.unwrap();
    assert_eq!(report.broken, std::slice::from_ref(&first.id), "{report}");
    restorer.quarantine_faults(&report, chrono::Utc::now()).await.unwrap();
    let bad = async |repo: &Repository| {
        repo.known_bad(&repo.newest_attestations().await.unwrap())
            .await
            .unwrap()
            .into_iter()
            .collect::<Vec<_>>()
    };
    assert_eq!(bad(&host).await, std::slice::from_ref(&first.id));
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    write_snapshot(&host, "nightly", &[("a", &bytes)]).await;
    assert!(bad(&host).await.is_empty() && bad(&restorer).await.is_empty());
}

#[tokio::test]
async fn missing_or_wrong_values_are_reported() {
    let identity = Identity::generate();
    let (dir, repo) = folder(encrypted(&[&identity], None)).await;
    let (_other_dir, other) = folder(encrypted(&[&identity], None)).await;
    let open = async |access: &Access| Repository::open_with(store(&dir), access).await;
    let error = open(&Access::default()).await.unwrap_err();
    assert_eq!(error.remedy(), Some(Remedy::SupplyKey), "{error}");
    let error = open(&host(&other)).await.unwrap_err().to_string();
    assert!(error.contains("belongs to repository"), "{error}");
    assert!(open(&with(&Identity::generate())).await.unwrap_err().is_locked());
    let passphrase = Access { passphrase: Some(Passphrase::new("x").unwrap()), ..Access::default() };
    assert!(open(&passphrase).await.unwrap_err().is_locked());
    let none = Encryption::default();
    let nobody = InitOptions { encryption: Some(none), ..small() };
    let memory = Store::open("memory:", &StoreEnv::default()).unwrap();
    assert!(Repository::init(memory, &nobody).await.is_err(), "a repository that nobody could read");
    // With a key file, an unencrypted repository is refused.
    let (plain_dir, _plain) = folder(small()).await;
    let error = Repository::open_with(store(&plain_dir), &host(&repo)).await.unwrap_err().to_string();
    assert!(error.contains("not encrypted"), "{error}");
}

#[tokio::test]
async fn a_passphrase_opens_in_an_identitys_place() {
    let (dir, repo) = folder(encrypted(&[], Some("correct horse"))).await;
    assert!(repo.has_passphrase().await.unwrap());
    let bytes = data(1, 60_000);
    let host = Repository::open_with(store(&dir), &host(&repo)).await.unwrap();
    let snapshot = write_snapshot(&host, "nightly", &[("a", &bytes)]).await;
    let access = |text| Access { passphrase: Some(Passphrase::new(text).unwrap()), ..Access::default() };
    let error = Repository::open_with(store(&dir), &access("wrong horse")).await.unwrap_err().to_string();
    assert!(error.contains("passphrase") && !error.contains("horse"), "{error}");
    let restorer = Repository::open_with(store(&dir), &access("correct horse")).await.unwrap();
    assert_eq!(read(&restorer, &restorer.find("latest").await.unwrap(), "a").await.unwrap(), bytes);
    assert_eq!(restorer.find("latest").await.unwrap(), snapshot);

    // After its recipient is removed, existing snapshots stay readable with it, and it is reported as former.
    let passphrase = Passphrase::new("correct horse").unwrap();
    assert_eq!(restorer.passphrase_is_current(&passphrase).await.unwrap(), Some(true));
    let mut admin = restorer;
    admin.set_recipients(vec![Identity::generate().recipient()]).await.unwrap();
    assert_eq!(admin.passphrase_is_current(&passphrase).await.unwrap(), Some(false));
    assert!(admin.passphrase_is_current(&Passphrase::new("other").unwrap()).await.is_err());
    let both = Access { key: host.key().cloned(), ..access("correct horse") };
    let restorer = Repository::open_with(store(&dir), &both).await.unwrap();
    assert_eq!(read(&restorer, &restorer.find("latest").await.unwrap(), "a").await.unwrap(), bytes);
}

#[tokio::test]
async fn recipients_change_for_what_is_written_from_then_on() {
    let (old, new) = (Identity::generate(), Identity::generate());
    let (dir, mut repo) = folder(encrypted(&[&old], None)).await;
    let (early, late) = (data(1, 60_000), data(2, 60_000));
    let first = write_snapshot(&repo, "nightly", &[("a", &early)]).await;
    repo.set_recipients(vec![new.recipient()]).await.unwrap();
    let second = write_snapshot(&repo, "nightly", &[("a", &early), ("b", &late)]).await;
    // Chunks that only the removed recipient can decrypt are written again: a snapshot must not depend on a removed
    // identity.
    assert_eq!(second.stats.new_plain_bytes, 120_000);
    let third = write_snapshot(&repo, "nightly", &[("a", &early), ("b", &late)]).await;
    assert_eq!(third.stats.new_plain_bytes, 0, "the key, and so deduplication, stays");

    let as_old = Repository::open_with(store(&dir), &with(&old)).await;
    assert!(as_old.unwrap_err().is_locked(), "the envelope is for the new one only");
    let as_new = Repository::open_with(store(&dir), &with(&new)).await.unwrap();
    assert!(as_new.find(first.id.as_str()).await.is_err());
    let found = as_new.find(second.id.as_str()).await.unwrap();
    assert_eq!(read(&as_new, &found, "b").await.unwrap(), late);
    assert_eq!(read(&as_new, &found, "a").await.unwrap(), early);
    let both = Access { identities: vec![new.clone(), old.clone()], ..Access::default() };
    let as_both = Repository::open_with(store(&dir), &both).await.unwrap();
    assert!(as_both.check(&check(true)).await.unwrap().passed());
    assert!(repo.set_recipients(Vec::new()).await.is_err());
    assert_eq!(repo.recipients(), [new.recipient()]);
}

#[tokio::test]
async fn what_was_not_signed_with_the_key_is_refused() {
    let identity = Identity::generate();
    let (dir, repo) = folder(encrypted(&[&identity], None)).await;
    let one = write_snapshot(&repo, "nightly", &[("a", &data(1, 30_000))]).await;
    let two = write_snapshot(&repo, "nightly", &[("a", &data(2, 30_000))]).await;
    let path = |m: &Manifest| dir.path().join(format!("repo/snapshots/{}.json", m.id));
    let good = std::fs::read_to_string(path(&two)).unwrap();
    let forged = [
        reseal(&good),
        reseal(&good.replace("nightly", "nightlx")),
        std::fs::read_to_string(path(&one)).unwrap(),
        good.replace("\"hmac\":\"", "\"hmac\":\"0"),
    ];
    for text in forged {
        std::fs::write(path(&two), text).unwrap();
        let listing = repo.snapshots().await.unwrap();
        assert_eq!((listing.manifests.len(), listing.unreadable.len()), (1, 1));
        assert!(repo.prune(&PruneOptions { dry_run: false, now: chrono::Utc::now() }).await.is_err());
    }
    std::fs::write(path(&two), good).unwrap();
    // Forged recipients in dbhaul.json: a host with the key does not write to them.
    let config = dir.path().join("repo/dbhaul.json");
    let text = std::fs::read_to_string(&config).unwrap();
    let mine = identity.recipient().to_string();
    std::fs::write(&config, reseal(&text.replace(&mine, &Identity::generate().recipient().to_string())))
        .unwrap();
    let error = Repository::open_with(store(&dir), &host(&repo)).await.unwrap_err();
    assert!(error.to_string().contains("not signed"), "{error}");
}

/// What the format promises: `age -d | zstd -d` reads a chunk.
#[tokio::test]
async fn a_chunk_is_a_plain_age_file_of_a_plain_zstd_frame() {
    let identity = Identity::generate();
    let (dir, repo) = folder(encrypted(&[&identity], None)).await;
    let bytes = data(1, 900);
    let snapshot = write_snapshot(&repo, "nightly", &[("a", &bytes)]).await;
    let id = snapshot.sources[0].parts[0].chunks[0].id.to_string();
    let chunk = std::fs::read(dir.path().join(format!("repo/chunks/{}/{id}", &id[..2]))).unwrap();
    assert!(chunk.starts_with(b"age-encryption.org/v1\n-> X25519 "));
    let file = identity.to_file();
    let line = file.lines().last().unwrap();
    let parsed: age::x25519::Identity = line.parse().unwrap();
    let frame = age::decrypt(&parsed, &chunk).unwrap();
    assert_eq!(zstd::decode_all(&frame[..]).unwrap(), bytes);
}
