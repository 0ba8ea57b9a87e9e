//! The planner's statistics of a source, in its snapshot.

use super::Source;
use crate::Error;
use crate::statistics::{FIRST_VERSION, Statistics, TableStatistics, query};

impl Source {
    /// The planner's statistics of tables that are selected with all their rows, as far as they are complete and the role
    /// may read them. None from servers before 18, or if the server rejects the query: a target can collect them
    /// itself.
    ///
    /// # Errors
    /// [`Error::SnapshotLost`] and other connection errors.
    pub async fn statistics(&self) -> Result<Statistics, Error> {
        let server_version_num = self.server().version_num;
        let none = Statistics { server_version_num, tables: Vec::new() };
        if server_version_num < FIRST_VERSION {
            return Ok(none);
        }
        match self.query("the planner's statistics", &query()).await {
            Ok(rows) => {
                let tables = rows.into_iter().filter_map(TableStatistics::of).collect();
                Ok(Statistics { tables, ..none }.selected(self.catalog()))
            }
            Err(error) if error.is_lost() => Err(self.lost(error)),
            Err(Error::Server { .. } | Error::NotText { .. }) => Ok(none),
            Err(error) => Err(self.lost(error)),
        }
    }
}
