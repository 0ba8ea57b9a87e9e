//! Checks that a backup is of the same sources as earlier snapshots of its series. If two applications shared a job
//! id, or a URL changed, retention would remove snapshots of one for those of the other, and `latest` would silently
//! be another database.

use std::collections::BTreeMap;

use chrono::Utc;
use repository::{Content, Repository, SnapshotHeader};

use crate::endpoint::{Connection, Endpoint};
use crate::exit;
use crate::failure;
use crate::jobs::record::holds_dump;
use crate::jobs::series::{self, Configured, listed};

/// An identity of each source. Sources that cannot be reached are left out, because the backup reports them. So is
/// Redis: none of its ids outlives a restart, a failover or a move.
pub(crate) async fn identities(sources: &[&Endpoint]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for source in sources {
        let Connection::Postgres(options) = &source.connection else { continue };
        let Ok(session) = pgmove::connect(options).await else { continue };
        let server = session.server();
        if let Some(system) = &server.system_identifier {
            let identity = format!("database `{}` of system identifier {system}", server.database);
            found.insert(source.name.clone(), identity);
        }
    }
    found
}

/// Refuses a backup whose sources are not those of the series. `declared` are all sources of the job, including those
/// not backed up this time.
pub(crate) async fn check(
    repository: &Repository,
    job: &str,
    sources: &[&Endpoint],
    declared: &[Configured],
    identities: &BTreeMap<String, String>,
) -> anyhow::Result<()> {
    let listing = repository.headers().await?;
    let now = Utc::now();
    let of_job: Vec<&SnapshotHeader> = listing
        .headers
        .iter()
        .filter(|header| header.job == job && !series::is_future(header, now) && !holds_dump(header))
        .collect();
    let lineage = series::lineage(&of_job);
    let mut unlike: Vec<String> =
        other_names(&series::sources(lineage, None), declared).into_iter().collect();
    for source in sources {
        let newest = lineage.iter().rev().find_map(|header| {
            let content = header.contents.iter().flatten().find(|content| content.name == source.name)?;
            Some((*header, content))
        });
        let Some((header, content)) = newest else { continue };
        let (now_of, before) = if content.kind != source.kind().as_str() {
            (source.kind().as_str().to_owned(), content.kind.clone())
        } else {
            let identity = identities.get(&source.name);
            let Some(identity) = identity.filter(|identity| is_other(repository, identity, content)) else {
                continue;
            };
            (identity.clone(), named(repository, header, content).await)
        };
        unlike.push(format!(
            "source `{}` is now {now_of}, and was {before} in snapshot {}",
            source.name, header.id
        ));
    }
    if unlike.is_empty() {
        return Ok(());
    }
    let refused = exit::refused(format!(
        "job `{job}` has other sources than its snapshots; nothing was backed up:\n  {}",
        unlike.join("\n  ")
    ));
    Err(failure::hint(
        refused,
        "if this is another application, give it a job id of its own (`[job] id`, or --job); if it was moved to a new server, \
         upgraded or renamed, pass --new-lineage once",
    ))
}

/// Sources may be added, and sources may be left out. A new one together with a missing one is another series.
fn other_names(before: &[String], declared: &[Configured]) -> Option<String> {
    let added = declared.iter().any(|source| !before.iter().any(|name| source.covers(name)));
    let missing = before.iter().any(|name| !declared.iter().any(|source| source.covers(name)));
    let names: Vec<&str> = declared.iter().map(|source| source.name.as_str()).collect();
    (!before.is_empty() && added && missing)
        .then(|| format!("its sources are now {}, and were {}", listed(&names), listed(before)))
}

fn is_other(repository: &Repository, identity: &str, before: &Content) -> bool {
    before.identity.as_ref().is_some_and(|stored| *stored != repository.identity_as_stored(identity))
}

/// The previous database's name, if the manifest can be read here.
async fn named(repository: &Repository, header: &SnapshotHeader, before: &Content) -> String {
    let opened = match repository.is_encrypted() {
        true => repository.find(header.id.as_str()).await.ok().map(|manifest| manifest.contents),
        false => header.contents.clone(),
    };
    let identity = opened.iter().flatten().find(|content| content.name == before.name);
    identity
        .and_then(|content| content.identity.clone())
        .unwrap_or_else(|| "another database (its name is encrypted)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn declared(names: &[&str]) -> Vec<Configured> {
        let of = |name: &&str| Configured {
            name: (*name).to_owned(),
            kind: crate::config::Kind::Postgres,
            every_database: false,
        };
        names.iter().map(of).collect()
    }

    #[test]
    fn a_series_may_grow_and_shrink_but_not_become_another() {
        let before = names(&["postgres", "redis"]);
        for same in [&["postgres", "redis"][..], &["redis"], &["market", "postgres", "redis"]] {
            assert_eq!(other_names(&before, &declared(same)), None, "{same:?}");
        }
        for other in [&["bot", "cache"][..], &["main", "redis"]] {
            assert!(other_names(&before, &declared(other)).is_some(), "{other:?}");
        }
        assert_eq!(other_names(&[], &declared(&["postgres"])), None);
        // For every database of a server, databases may come and go.
        let mut every = declared(&["pg"]);
        every[0].every_database = true;
        assert_eq!(other_names(&names(&["pg/a", "pg/b"]), &every), None);
    }
}
