//! Hypertables and continuous aggregates among the statements.

use super::script::{Builder, TableLock};
use crate::timescaledb::model::{Aggregate, Hypertable};
use crate::timescaledb::statements;

impl<'a> Builder<'a> {
    /// What keeps a statement to one table, where it has heirs. A hypertable's chunks are to follow it, and it refuses
    /// to be altered alone.
    pub(super) fn only(&self, table: u32) -> &'static str {
        let hypertable = self.catalog.timescale.as_ref().and_then(|timescale| timescale.hypertable(table));
        if hypertable.is_some() { "" } else { "ONLY " }
    }

    /// The continuous aggregate whose view this is.
    pub(super) fn continuous_aggregate(&self, view: u32) -> Option<&'a Aggregate> {
        self.catalog.timescale.as_ref().and_then(|timescale| timescale.aggregate(view))
    }

    /// Every hypertable.
    pub(super) fn hypertables(&self) -> impl Iterator<Item = &'a Hypertable> + use<'a> {
        self.catalog.timescale.iter().flat_map(|timescale| &timescale.hypertables)
    }

    /// Makes a table that was just created, and is empty, a hypertable.
    pub(super) fn hypertable(&mut self, table: u32) {
        let Some(timescale) = &self.catalog.timescale else { return };
        if let Some(hypertable) = timescale.hypertable(table) {
            self.about("hypertable", hypertable.name.to_string());
            let tablespaces = !self.options.no_tablespaces;
            for sql in statements::create_hypertable(&timescale.schema, hypertable, tablespaces) {
                self.push(sql);
            }
        }
    }

    pub(super) fn integer_now(&mut self, table: &'a Hypertable) {
        let Some(timescale) = &self.catalog.timescale else { return };
        self.cost(0, vec![TableLock { table: table.oid, exclusive: true }]);
        for dimension in &table.dimensions {
            if let Some(sql) = statements::integer_now(&timescale.schema, table, dimension) {
                self.push(sql);
            }
        }
    }
}
