//! Plans for people.

use std::fmt;

use crate::{Plan, Reason, Refusal, Warning};

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Slot(period) => write!(f, "{period}"),
            Reason::Oldest(period) => write!(f, "oldest ({period} is not full)"),
            Reason::Within => f.write_str("keep-within"),
            Reason::Newest => f.write_str("newest"),
            Reason::Checked => f.write_str("newest that passed a check"),
            Reason::Rehearsed => f.write_str("newest that passed a rehearsal"),
            Reason::Pinned => f.write_str("pinned"),
            Reason::Young => f.write_str("younger than a day"),
            Reason::Future => f.write_str("dated in the future"),
            Reason::InProgress => f.write_str("in progress"),
            Reason::NothingNewer => f.write_str("not whole, but nothing whole is newer"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Unreadable { manifests } => write!(
                f,
                "{manifests} manifests cannot be read, and may belong to this series: mend or move them first"
            ),
            Refusal::Clock => {
                f.write_str("half of the snapshots or more are dated in the future: is the clock right?")
            }
            Refusal::NothingSucceeded { since } => write!(
                f,
                "no backup has succeeded since the last deletion ({}): what is here may be all there is",
                since.format("%Y-%m-%d %H:%M UTC")
            ),
            Refusal::TooMany { would_go, limit } => write!(
                f,
                "{would_go} snapshots would go, and at most {limit} may at once: if that is meant, say --max-delete {would_go}"
            ),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::Future { id, taken_at } => write!(
                f,
                "snapshot {id} is dated in the future ({}): it is kept and takes no slot",
                taken_at.format("%Y-%m-%d %H:%M UTC")
            ),
            Warning::NoneComplete => f.write_str("no snapshot of this series is complete"),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in &self.entries {
            let reasons: Vec<String> = entry.reasons.iter().map(ToString::to_string).collect();
            let verdict = if entry.keep { "keep  " } else { "remove" };
            let at = entry.taken_at.format("%Y-%m-%d %H:%M:%S");
            writeln!(f, "{verdict}  {at}  {}  {}", entry.id, reasons.join(", "))?;
        }
        writeln!(f, "{} kept, {} removed", self.kept().count(), self.removed().count())?;
        if let Some(oldest) = self.oldest_restore_point {
            writeln!(f, "oldest restore point: {}", oldest.format("%Y-%m-%d %H:%M:%S UTC"))?;
        }
        if let Some(refusal) = &self.refused {
            writeln!(f, "refused: {refusal}")?;
        }
        Ok(())
    }
}
