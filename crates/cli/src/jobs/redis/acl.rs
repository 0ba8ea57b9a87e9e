//! Users of a Redis server: stored with the keys, and created after them.

use anyhow::Context as _;
use repository::{Part, PartHeader, Repository, SnapshotWriter, SourceRecord};

use crate::endpoint::{Connection, Endpoint};
use crate::exit;
use crate::jobs::backup::once;
use crate::jobs::parts::read_json;
use crate::jobs::record::PART_ACCESS;
use crate::report::restore::TargetOutcome;
use crate::ui::Progress;

/// Stores the users and settings of a source, if requested.
pub(crate) async fn store(
    source: &Endpoint,
    writer: &SnapshotWriter,
    progress: &Progress,
) -> anyhow::Result<Option<Part>> {
    let Connection::Redis(options) = &source.connection else { return Ok(None) };
    if !source.access {
        return Ok(None);
    }
    let access = redisdump::read_access(options).await?;
    for warning in &access.warnings {
        progress.warn(format!("{}: {warning}", source.name));
    }
    if !access.secret_settings.is_empty() {
        progress.note(format!(
            "{}: not stored, being secret: {}",
            source.name,
            access.secret_settings.join(", ")
        ));
    }
    let header = PartHeader::new(format!("{}/access.json", source.name), PART_ACCESS);
    Ok(Some(writer.write_part(header, once(serde_json::to_vec(&access)?)).await?))
}

/// The users and settings stored with a source.
pub(crate) async fn stored(
    repository: &Repository,
    source: &SourceRecord,
) -> anyhow::Result<redisdump::Access> {
    let Some(part) = source.parts.iter().find(|part| part.kind == PART_ACCESS) else {
        return Err(exit::usage(format!(
            "source `{}` of this snapshot has no users: it was taken without --with-acl",
            source.name
        )));
    };
    read_json(repository, part).await
}

/// Users that the target accepts, as checked before anything is written.
pub(crate) struct Users<'a> {
    access: redisdump::Access,
    options: &'a redisdump::ConnectOptions,
}

impl<'a> Users<'a> {
    /// Checks them without changing anything.
    pub(crate) async fn tried(
        access: redisdump::Access,
        options: &'a redisdump::ConnectOptions,
    ) -> anyhow::Result<Users<'a>> {
        redisdump::try_access(&access, options).await?;
        Ok(Users { access, options })
    }

    /// Creates them after the keys, so that no rule can prevent loading the keys.
    pub(crate) async fn make(self, outcome: &mut TargetOutcome) -> anyhow::Result<()> {
        let made = redisdump::apply_access(&self.access, self.options).await;
        outcome.access = Some(made.context("all keys were loaded, but not all users")?);
        Ok(())
    }
}
