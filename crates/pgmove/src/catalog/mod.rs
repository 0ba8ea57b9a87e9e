//! The schema of a database as data: what `pg_catalog` says, typed, serializable and versioned.
//!
//! [`read`] runs inside the caller's snapshot with an empty `search_path`, one query per kind of object. The server's
//! own deparsers write everything that is an expression or a query; what they leave out is in the fields. Nothing
//! here writes SQL for a target: that is `ddl`, which needs no connection and works on a catalog out of a snapshot.

pub mod address;
pub mod column;
pub mod constraint;
pub mod database;
pub(crate) mod deparsed;
mod depend;
pub mod filter;
pub mod function;
pub mod index;
pub mod large_object;
pub mod meta;
mod narrow;
pub mod plain;
pub(crate) mod query;
mod read;
pub mod remark;
pub(crate) mod routing;
pub mod rule;
pub mod schema;
pub mod sequence;
pub mod table;
pub mod types;
pub mod unsupported;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

pub use address::{Address, Alias, Dependency};
pub use filter::Filter;
pub use large_object::large_objects_table;
pub use meta::{Meta, Object, QualifiedName};
pub use read::read;
pub use unsupported::Unsupported;

use crate::timescaledb::model::{Aggregate, Timescale};

/// The version of the form in which a catalog is stored.
pub const FORMAT: u32 = 1;

/// The schema of one database at one moment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Catalog {
    /// Version of this form: [`FORMAT`].
    pub format: u32,
    /// The server that it was read from (`server_version_num`).
    pub server_version_num: u32,
    /// The database.
    pub database: database::DatabaseInfo,
    /// What part of the database was asked for.
    pub filter: Filter,
    /// What belongs to the part that was asked for, and needs something that does not: in words.
    pub left_out: Vec<String>,
    /// Schemas.
    pub schemas: Vec<schema::Schema>,
    /// Extensions.
    pub extensions: Vec<schema::Extension>,
    /// Types.
    pub types: Vec<types::Type>,
    /// Functions and procedures.
    pub functions: Vec<function::Function>,
    /// Aggregates.
    pub aggregates: Vec<function::Aggregate>,
    /// Tables, views, materialized views and foreign tables.
    pub tables: Vec<table::Table>,
    /// Sequences.
    pub sequences: Vec<sequence::Sequence>,
    /// Indexes.
    pub indexes: Vec<index::Index>,
    /// Foreign keys.
    pub foreign_keys: Vec<constraint::ForeignKey>,
    /// Triggers.
    pub triggers: Vec<rule::Trigger>,
    /// Rules.
    pub rules: Vec<rule::Rule>,
    /// Row security policies.
    pub policies: Vec<rule::Policy>,
    /// Extended statistics.
    pub statistics: Vec<rule::Statistics>,
    /// Kinds that are one statement each: operators, casts, collations, text search, foreign servers and so on.
    pub plain: Vec<plain::Plain>,
    /// Large objects, without their bytes.
    pub large_objects: Vec<large_object::LargeObject>,
    /// Comments.
    pub comments: Vec<remark::Comment>,
    /// Security labels.
    pub security_labels: Vec<remark::SecurityLabel>,
    /// Default privileges.
    pub default_acls: Vec<remark::DefaultAcl>,
    /// Changed privileges of built-in objects.
    pub builtin_acls: Vec<remark::BuiltinAcl>,
    /// What needs what.
    pub dependencies: Vec<Dependency>,
    /// What is a part of what.
    pub aliases: Vec<Alias>,
    /// What TimescaleDB adds, where it is installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timescale: Option<Timescale>,
    /// What the database holds and this version does not carry, found by counting.
    pub unsupported: Vec<Unsupported>,
}

impl Catalog {
    /// Objects of the database that this version does not carry. A job refuses while there are any, before data moves.
    pub fn unsupported(&self) -> &[Unsupported] {
        &self.unsupported
    }

    /// Extensions in a version that nobody has tried, each with a reason: what was read of them may be wrong. A job
    /// refuses them unless it is told to try.
    pub fn untried(&self) -> impl Iterator<Item = Unsupported> {
        let timescale = self.timescale.iter().filter_map(|timescale| timescale.untried.clone());
        timescale.map(|why| Unsupported { kind: "extension".to_owned(), name: "timescaledb".to_owned(), why })
    }

    /// The materialized views that hold rows and are not an extension's.
    pub fn filled_views(&self) -> impl Iterator<Item = &table::Table> {
        self.tables.iter().filter(|table| {
            table.kind == table::TableKind::MaterializedView
                && table.populated
                && table.meta.extension.is_none()
                && self.filter.wants_rows(&table.name())
        })
    }

    /// Takes settings of the source from elsewhere where the catalog, one of the first versions, does not have them.
    pub fn assume_settings(&mut self, settings: &std::collections::BTreeMap<String, String>) {
        if self.database.value_settings.is_empty() {
            let known = settings.iter().filter(|(name, _)| database::VALUE_SETTINGS.contains(&name.as_str()));
            self.database.value_settings = known.map(|(name, value)| (name.clone(), value.clone())).collect();
        }
    }

    /// Identity, owner and privileges of every object that has them, with the kind in words.
    pub fn metas(&self) -> impl Iterator<Item = (&'static str, &Meta)> {
        self.addressed().map(|(_, kind, meta)| (kind, meta))
    }

    /// The same with addresses instead of kinds.
    pub(crate) fn addressed_metas(&self) -> impl Iterator<Item = (Address, &Meta)> {
        self.addressed().map(|(address, _, meta)| (address, meta))
    }

    fn addressed(&self) -> impl Iterator<Item = (Address, &'static str, &Meta)> {
        fn of<'a, T: Object>(
            kind: &'static str,
            objects: &'a [T],
        ) -> impl Iterator<Item = (Address, &'static str, &'a Meta)> + use<'a, T> {
            objects.iter().map(move |object| (object.address(), kind, object.meta()))
        }
        of("schema", &self.schemas)
            .chain(of("type", &self.types))
            .chain(of("function", &self.functions))
            .chain(of("aggregate", &self.aggregates))
            .chain(of("table", &self.tables))
            .chain(of("sequence", &self.sequences))
            .chain(of("index", &self.indexes))
            .chain(of("statistics", &self.statistics))
            .chain(of("large object", &self.large_objects))
            .chain(self.plain.iter().map(|plain| (plain.address(), plain.kind.keyword(), &plain.meta)))
    }

    /// The table of that name.
    pub fn table(&self, name: &QualifiedName) -> Option<&table::Table> {
        self.tables.iter().find(|table| table.meta.schema == name.schema && table.meta.name == name.name)
    }

    /// The tables whose rows are to be copied: ordinary tables that no extension owns and that the filter wants.
    pub fn data_tables(&self) -> impl Iterator<Item = &table::Table> {
        self.tables.iter().filter(|table| {
            table.has_data() && table.meta.extension.is_none() && self.filter.wants_rows(&table.name())
        })
    }

    /// Continuous aggregates whose rows are to be copied, each after those that it reads.
    pub fn aggregates(&self) -> impl Iterator<Item = &Aggregate> {
        let aggregates = self.timescale.iter().flat_map(|timescale| &timescale.aggregates);
        aggregates.filter(|aggregate| aggregate.was_refreshed() && self.filter.wants_rows(&aggregate.name))
    }

    /// Whether an extension declares this sequence of its own as the user's, or the table of the column that it counts
    /// for: then where it stands goes with the rows.
    pub fn is_config_sequence(&self, sequence: &sequence::Sequence) -> bool {
        let table = sequence.owned_by.as_ref().map(|owner| owner.table_oid);
        sequence.meta.extension.is_some()
            && self
                .extensions
                .iter()
                .flat_map(|extension| &extension.config_tables)
                .any(|config| config.oid == sequence.meta.oid || Some(config.oid) == table)
    }

    /// The configuration tables in steps: rows of a later step may refer to those of an earlier one, for an extension's
    /// foreign keys are there before the rows. Tables that refer to each other in a circle share the last step.
    pub fn config_steps(&self) -> HashMap<QualifiedName, usize> {
        let mut open: Vec<&table::Table> = self.config_tables().map(|(table, _)| table).collect();
        let mut steps = HashMap::new();
        let mut step = 0;
        while !open.is_empty() {
            let waits = |table: &table::Table| {
                self.foreign_keys.iter().any(|key| {
                    key.table_oid == table.meta.oid
                        && key.references_oid != key.table_oid
                        && open.iter().any(|other| other.meta.oid == key.references_oid)
                })
            };
            let (later, now): (Vec<_>, Vec<_>) = open.iter().copied().partition(|table| waits(table));
            let circle = now.is_empty();
            steps.extend(if circle { &later } else { &now }.iter().map(|table| (table.name(), step)));
            open = if circle { Vec::new() } else { later };
            step += 1;
        }
        steps
    }

    /// The tables of extensions whose rows, or some of them, are the user's, with the clause that chooses the rows.
    pub fn config_tables(&self) -> impl Iterator<Item = (&table::Table, &str)> {
        self.extensions.iter().flat_map(|extension| &extension.config_tables).filter_map(|config| {
            let table = self.tables.iter().find(|table| table.meta.oid == config.oid)?;
            Some((table, config.condition.as_str()))
        })
    }
}
