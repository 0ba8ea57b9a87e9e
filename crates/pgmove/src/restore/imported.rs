//! The planner's statistics that a plan imports from the source.

use std::collections::HashMap;

use crate::catalog::QualifiedName;
use crate::statistics::TableStatistics;

/// Statistics to import, by table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Imported {
    /// Version of the server that they were read from.
    pub(super) version: u32,
    pub(super) tables: HashMap<QualifiedName, TableStatistics>,
}
