//! Marks: chunk objects pending deletion. One run of prune writes a mark, a later one executes it.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};

use crate::format::chunk::ChunkObject;
use crate::store::fetch::Fetched;
use crate::{Error, Repository};

/// Maximum number of objects in a mark, so that it can be read and rewritten at once.
const PER_MARK: usize = 10_000;
/// Content of the file next to an executed mark.
pub(crate) const DONE: &[u8] = b"{}\n";

/// `marks/<name>.json`
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct MarkFile {
    format: u64,
    /// Object names.
    objects: Vec<String>,
}

/// Result of marking.
pub(crate) struct Marked {
    pub(crate) marks: Vec<String>,
    /// Number of objects, the last ones given, for which there was no space.
    pub(crate) left: usize,
}

/// A stored mark.
pub(crate) struct Mark {
    pub(crate) object: String,
    pub(crate) written: DateTime<Utc>,
    pub(crate) objects: Vec<ChunkObject>,
    /// When all its objects had been deleted.
    pub(crate) done: Option<DateTime<Utc>>,
}

impl Mark {
    pub(crate) fn done_object(&self) -> String {
        format!("{}.done", self.object)
    }
}

impl Repository {
    /// Marks these objects, as many as there is space for.
    pub(crate) async fn mark(&self, objects: &[ChunkObject], now: DateTime<Utc>) -> Result<Marked, Error> {
        let mut marked = Marked { marks: Vec::new(), left: objects.len() };
        for (number, objects) in objects.chunks(PER_MARK).enumerate() {
            let random = uuid::Uuid::new_v4().as_fields().0;
            let object = format!("marks/{}-{random:08x}-{number}.json", now.format("%Y%m%dT%H%M%SZ"));
            let count = objects.len();
            let objects = objects.iter().map(ToString::to_string).collect();
            let mark = self.crypt.seal(&object, &MarkFile { format: crate::FORMAT, objects });
            match self.store.put(&object, mark.into()).await {
                Err(error) if error.is_no_room() => break,
                other => other?,
            }
            marked.left -= count;
            marked.marks.push(object);
        }
        Ok(marked)
    }

    /// The marked objects: a writer does not reuse them, and does not write to their names.
    pub(crate) async fn marked(&self) -> Result<HashSet<ChunkObject>, Error> {
        Ok(self.marks().await?.into_iter().flat_map(|mark| mark.objects).collect())
    }

    pub(crate) async fn marks(&self) -> Result<Vec<Mark>, Error> {
        let listed = self.store.list("marks").await?;
        let done: HashMap<String, DateTime<Utc>> = listed
            .iter()
            .filter_map(|meta| {
                Some((meta.location.as_ref().strip_suffix(".done")?.to_owned(), meta.last_modified))
            })
            .collect();
        let mut marks = Vec::new();
        let mut fetched = std::pin::pin!(self.store.fetch_listed(listed));
        while let Some(Fetched { object, meta, bytes, .. }) = fetched.next().await {
            // Removed in the meantime, because it was executed long ago.
            let Some(bytes) = bytes? else { continue };
            let damaged = |message: String| Error::Damaged { object: object.clone(), message };
            let file: MarkFile = self.crypt.read(&object, &bytes)?;
            let objects = file
                .objects
                .iter()
                .map(|name| {
                    ChunkObject::parse(name).ok_or_else(|| damaged(format!("`{name}` is not a chunk")))
                })
                .collect::<Result<_, _>>()?;
            let done = done.get(&object).copied();
            marks.push(Mark { object, written: meta.last_modified, objects, done });
        }
        marks.sort_by(|a, b| a.object.cmp(&b.object));
        Ok(marks)
    }
}
