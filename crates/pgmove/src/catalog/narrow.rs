//! Narrows a catalog to the part selected by a filter.

use std::collections::{HashMap, HashSet};

use super::filter::FilterableRelation;
use super::table::{Parent, Table, TableKind};
use super::{Catalog, Filter, LeftOut, Meta, QualifiedName};

impl Catalog {
    /// Applies a filter. What an earlier filter excluded stays excluded.
    #[must_use]
    pub fn narrowed(mut self, filter: &Filter) -> Catalog {
        self.filter = self.informed(filter.after(&self.filter));
        self.apply_filter();
        self
    }

    /// The filter with the knowledge of this catalog's partitions and inheritance.
    pub(super) fn informed(&self, filter: Filter) -> Filter {
        if filter.is_all() {
            return filter;
        }
        let pairs = self
            .tables
            .iter()
            .flat_map(|table| table.parents.iter().map(|parent| (table.name(), parent.name.clone())));
        filter.with_parents(pairs)
    }

    /// Descriptions of patterns that match nothing in this catalog.
    pub fn unmatched(&self, filter: &Filter) -> Vec<String> {
        let tables = self.tables.iter().map(|table| FilterableRelation {
            name: table.name(),
            table: matches!(table.kind, TableKind::Ordinary | TableKind::Partitioned),
        });
        let sequences = self.sequences.iter().map(|s| FilterableRelation { name: s.name(), table: false });
        let relations: Vec<FilterableRelation> = tables.chain(sequences).collect();
        let schemas: Vec<String> = self.schemas.iter().map(|schema| schema.meta.name.clone()).collect();
        self.informed(filter.clone()).unmatched(&relations, &schemas)
    }

    /// Removes what the filter excludes. Dependencies and comments of removed objects are ignored later.
    pub(super) fn apply_filter(&mut self) {
        if self.filter.is_all() {
            return;
        }
        let filter = self.filter.clone();
        let tables_only = !filter.tables.is_empty();
        self.tables.retain(|table| filter.wants_table(&table.name()));
        for view in self.tables.iter_mut().filter(|table| table.kind == TableKind::MaterializedView) {
            view.populated &= filter.wants_rows(&view.name());
        }
        self.indexes.retain(|index| filter.wants_table(&index.table));
        self.part_from_parents(&filter);
        let left_out = &mut self.left_out;
        self.foreign_keys.retain(|key| {
            let (from, to) = (filter.wants_table(&key.table), filter.wants_table(&key.references));
            if from && !to {
                left_out.push(LeftOut::ForeignKey {
                    name: key.name.clone(),
                    table: key.table.clone(),
                    references: key.references.clone(),
                });
            }
            from && to
        });
        if let Some(timescale) = &mut self.timescale {
            timescale.hypertables.retain(|table| filter.wants_table(&table.name));
            timescale.aggregates.retain(|aggregate| filter.wants_table(&aggregate.name));
            timescale.jobs.retain(|job| match &job.relation {
                Some(relation) => filter.wants_table(relation),
                None => !tables_only && filter.wants_schema(&job.procedure.schema),
            });
        }
        let alone = |name: &QualifiedName| {
            self.tables.iter().any(|table| table.name() == *name && !table.is_partition())
        };
        self.triggers.retain(|trigger| {
            filter.wants_table(&trigger.table) && !(trigger.inherited && alone(&trigger.table))
        });
        self.rules.retain(|rule| filter.wants_table(&rule.table));
        self.policies.retain(|policy| filter.wants_table(&policy.table));
        self.sequences.retain(|sequence| match &sequence.owned_by {
            Some(owner) => filter.wants_table(&owner.table),
            None => filter.wants_table(&sequence.name()),
        });
        let wants = |meta: &Meta| !tables_only && filter.wants_schema(&meta.schema);
        self.types.retain(|kind| wants(&kind.meta));
        self.functions.retain(|function| wants(&function.meta));
        self.aggregates.retain(|aggregate| wants(&aggregate.meta));
        self.statistics.retain(|statistics| wants(&statistics.meta));
        self.plain.retain(|plain| {
            // A filter that selects schemas excludes objects that belong to no schema.
            let wanted = match plain.meta.schema.is_empty() {
                true => filter.schemas.is_empty(),
                false => filter.wants_schema(&plain.meta.schema),
            };
            !tables_only && wanted
        });
        if !filter.wants_large_objects() {
            self.large_objects.clear();
        }
        let kept: HashSet<String> = self.tables.iter().map(|table| table.meta.schema.clone()).collect();
        self.schemas.retain(|schema| {
            let name = &schema.meta.name;
            kept.contains(name) || (filter.wants_schema(name) && !tables_only)
        });
        if tables_only {
            self.extensions.clear();
            self.default_acls.clear();
            self.builtin_acls.clear();
        }
    }

    /// Turns a child whose parent is excluded into an independent table.
    fn part_from_parents(&mut self, filter: &Filter) {
        let kept: HashMap<u32, Table> =
            self.tables.iter().map(|table| (table.meta.oid, table.clone())).collect();
        for table in &mut self.tables {
            let (parents, excluded): (Vec<Parent>, Vec<Parent>) = std::mem::take(&mut table.parents)
                .into_iter()
                .partition(|parent| filter.wants_table(&parent.name));
            table.parents = parents;
            let Some(first) = excluded.first() else { continue };
            self.left_out.push(LeftOut::Parent {
                table: table.name(),
                parent: first.name.clone(),
                partition: table.is_partition(),
            });
            table.partition_bound = None;
            let above: Vec<&Table> =
                table.parents.iter().filter_map(|parent| kept.get(&parent.oid)).collect();
            for column in &mut table.columns {
                if !above.iter().any(|parent| parent.columns.iter().any(|theirs| theirs.name == column.name))
                {
                    column.local = true;
                    column.not_null_constraint.iter_mut().for_each(|constraint| constraint.local = true);
                }
            }
            for check in &mut table.checks {
                check.local |=
                    !above.iter().any(|parent| parent.checks.iter().any(|theirs| theirs.name == check.name));
            }
        }
        let there: HashSet<u32> = self.indexes.iter().map(|index| index.meta.oid).collect();
        for index in &mut self.indexes {
            index.parent = index.parent.take().filter(|parent| there.contains(&parent.oid));
        }
    }
}
