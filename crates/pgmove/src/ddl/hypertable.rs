//! Statements for hypertables and continuous aggregates.

use super::script::{Builder, TableLock};
use crate::timescaledb::model::{Aggregate, Hypertable};
use crate::timescaledb::statements;

impl<'a> Builder<'a> {
    /// `ONLY ` for a table with children. A hypertable cannot be altered without its chunks.
    pub(super) fn only(&self, table: u32) -> &'static str {
        let hypertable = self.catalog.timescale.as_ref().and_then(|timescale| timescale.hypertable(table));
        if hypertable.is_some() { "" } else { "ONLY " }
    }

    /// The continuous aggregate that this view belongs to.
    pub(super) fn continuous_aggregate(&self, view: u32) -> Option<&'a Aggregate> {
        self.catalog.timescale.as_ref().and_then(|timescale| timescale.aggregate(view))
    }

    /// All hypertables.
    pub(super) fn hypertables(&self) -> impl Iterator<Item = &'a Hypertable> + use<'a> {
        self.catalog.timescale.iter().flat_map(|timescale| &timescale.hypertables)
    }

    /// Turns a newly created, empty table into a hypertable.
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
