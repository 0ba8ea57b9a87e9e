//! Findings about a snapshot, and which of them counts.

use crate::common::{data, folder, small, write_snapshot};
use repository::{Attestation, AttestationKind};

#[tokio::test]
async fn an_incomplete_rehearsal_does_not_replace_one_that_passed() {
    let (_dir, repo) = folder(small()).await;
    let snapshot = write_snapshot(&repo, "nightly", &[("a", &data(1, 10_000))]).await;
    let at = |minute: i64| chrono::DateTime::from_timestamp(1_795_000_000 + minute * 60, 0).unwrap();
    let details = || serde_json::json!({});
    let newest = async || {
        let found = repo.newest_attestations().await.unwrap();
        found
            .get(&snapshot.id)
            .map(|found| found.iter().map(|a| (a.passed, a.incomplete)).collect::<Vec<_>>())
    };
    let incomplete = |minute| Attestation::incomplete(AttestationKind::Rehearsal, at(minute), details());
    let whole = |passed, minute| Attestation::new(AttestationKind::Rehearsal, passed, at(minute), details());
    repo.attest(&snapshot.id, &incomplete(0)).await.unwrap();
    assert_eq!(newest().await, Some(vec![(false, true)]), "there is no other");
    repo.attest(&snapshot.id, &whole(true, 1)).await.unwrap();
    repo.attest(&snapshot.id, &incomplete(2)).await.unwrap();
    assert_eq!(newest().await, Some(vec![(true, false)]));
    repo.attest(&snapshot.id, &whole(false, 3)).await.unwrap();
    repo.attest(&snapshot.id, &incomplete(4)).await.unwrap();
    assert_eq!(newest().await, Some(vec![(false, false)]), "a failure stays one, too");
}
