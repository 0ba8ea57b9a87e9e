//! Human-readable plans.

use std::fmt;

use chrono::{DateTime, Utc};

use crate::{Entry, Plan, Reason, Refusal, SourcedReason, Warning};

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Slot(period) => write!(f, "{period}"),
            Reason::Oldest(period) => write!(f, "oldest ({period} is not full)"),
            Reason::Last => f.write_str("last"),
            Reason::Within => f.write_str("keep-within"),
            Reason::Newest => f.write_str("newest"),
            Reason::Checked => f.write_str("newest that passed a check"),
            Reason::Rehearsed => f.write_str("newest that passed a rehearsal"),
            Reason::Pinned => f.write_str("pinned"),
            Reason::Young => f.write_str("younger than a day"),
            Reason::Future => f.write_str("dated in the future"),
            Reason::InProgress => f.write_str("in progress"),
            Reason::NothingNewer => f.write_str("incomplete or damaged, but nothing better is newer"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Unreadable { manifests } => write!(
                f,
                "{manifests} manifest{} cannot be read and may belong to this series",
                if *manifests == 1 { "" } else { "s" }
            ),
            Refusal::Clock => f.write_str(
                "half of the snapshots or more are dated in the future: the clock of this host may be wrong",
            ),
            Refusal::NothingSucceeded { since } => write!(
                f,
                "no backup has succeeded since the last deletion ({}): these snapshots may be all there is",
                since.format("%Y-%m-%d %H:%M UTC")
            ),
            Refusal::TooMany { would_go, limit } => {
                write!(f, "{would_go} snapshots would be removed, more than the {limit} allowed at once")
            }
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::Future { id, taken_at } => write!(
                f,
                "snapshot `{id}` is dated in the future ({}): it is kept, takes no slot and is never `latest`",
                taken_at.format("%Y-%m-%d %H:%M UTC")
            ),
            Warning::NoneComplete => f.write_str("no snapshot of this series is complete"),
        }
    }
}

impl fmt::Display for SourcedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.reason)?;
        if !self.sources.is_empty() {
            write!(f, " ({})", self.sources.join(", "))?;
        }
        Ok(())
    }
}

impl Plan {
    /// A time in the policy's zone, with the zone's name.
    fn local(&self, at: DateTime<Utc>) -> impl fmt::Display {
        at.with_timezone(&self.zone).format("%Y-%m-%d %H:%M:%S %Z")
    }

    /// The reasons of an entry. Sources are named where a reason does not hold for all of them.
    fn reasons(&self, entry: &Entry) -> String {
        let reasons = entry.reasons.iter().map(|sourced| match sourced.sources.len() == self.sources.len() {
            true => sourced.reason.to_string(),
            false => sourced.to_string(),
        });
        reasons.collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in &self.entries {
            let decision = if entry.keep { "keep  " } else { "remove" };
            let at = self.local(entry.taken_at);
            let unproven = if entry.date_unproven {
                "  [stored at another time than dated: takes no slot from others]"
            } else {
                ""
            };
            writeln!(f, "{decision}  {at}  {}  {}{unproven}", entry.id, self.reasons(entry))?;
        }
        writeln!(f, "{} kept, {} removed", self.kept().count(), self.removed().count())?;
        for point in &self.oldest_restore_points {
            let of = point.source.as_ref().map(|source| format!(" of {source}")).unwrap_or_default();
            writeln!(f, "oldest restore point{of}: {}", self.local(point.taken_at))?;
        }
        if let Some(refusal) = &self.refused {
            writeln!(f, "refused: {refusal}")?;
        }
        Ok(())
    }
}
