//! The schema of a database as data: a typed, serializable and versioned model of `pg_catalog`.
//!
//! [`read`] runs in the caller's snapshot with an empty `search_path`, one query per kind of object. The server's own
//! deparsers produce expressions and queries; the fields hold the rest. SQL for a target is rendered by `ddl`, which
//! needs no connection and also works on a stored catalog.

pub mod address;
pub mod annotation;
pub mod column;
pub mod constraint;
pub mod database;
pub(crate) mod deparsed;
mod depend;
pub mod filter;
mod find_unsupported;
pub mod function;
pub mod index;
pub mod large_object;
mod left_out;
pub mod meta;
mod narrow;
pub mod plain;
pub(crate) mod query;
mod read;
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
pub use left_out::LeftOut;
pub use meta::{Meta, Object, QualifiedName};
pub use read::read;
pub(crate) use read::read_on_two;
pub use unsupported::Unsupported;

use crate::timescaledb::model::{Aggregate, Timescale};

/// The version of the stored form of a catalog.
pub const FORMAT: u32 = 1;

/// The schema of a database at one moment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Catalog {
    /// Version of the stored form: [`FORMAT`].
    pub format: u32,
    /// `server_version_num` of the server that it was read from.
    pub server_version_num: u32,
    /// The database.
    pub database: database::DatabaseInfo,
    /// The selected part of the database.
    pub filter: Filter,
    /// What of selected objects depends on excluded ones.
    #[serde(deserialize_with = "left_out::stored")]
    pub left_out: Vec<LeftOut>,
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
    /// Kinds defined by a single statement: operators, casts, collations, text search, foreign servers and so on.
    pub plain: Vec<plain::Plain>,
    /// Large objects, without their data.
    pub large_objects: Vec<large_object::LargeObject>,
    /// Comments.
    pub comments: Vec<annotation::Comment>,
    /// Security labels.
    pub security_labels: Vec<annotation::SecurityLabel>,
    /// Default privileges.
    pub default_acls: Vec<annotation::DefaultAcl>,
    /// Changed privileges of built-in objects.
    pub builtin_acls: Vec<annotation::BuiltinAcl>,
    /// Dependencies between objects.
    pub dependencies: Vec<Dependency>,
    /// Objects that are ordered as parts of others.
    pub aliases: Vec<Alias>,
    /// TimescaleDB's metadata, if it is installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timescale: Option<Timescale>,
    /// Objects of the database that this version does not support.
    pub unsupported: Vec<Unsupported>,
}

impl Catalog {
    /// Objects of the database that this version does not support. A job must refuse to run while there are any.
    pub fn unsupported(&self) -> &[Unsupported] {
        &self.unsupported
    }

    /// Extensions in an untested version, each with a reason: their metadata may have been misread. A job refuses them
    /// unless the user accepts the risk.
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

    /// Supplies settings of the source for a catalog of the first versions, which lacks them.
    pub fn assume_settings(&mut self, settings: &std::collections::BTreeMap<String, String>) {
        if self.database.value_settings.is_empty() {
            let known = settings.iter().filter(|(name, _)| database::VALUE_SETTINGS.contains(&name.as_str()));
            self.database.value_settings = known.map(|(name, value)| (name.clone(), value.clone())).collect();
        }
    }

    /// Identity, owner and privileges of all objects that have them, with a description of the kind.
    pub fn metas(&self) -> impl Iterator<Item = (&'static str, &Meta)> {
        self.addressed().map(|(_, kind, meta)| (kind, meta))
    }

    /// As [`Catalog::metas`], with addresses.
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

    /// The table with that name.
    pub fn table(&self, name: &QualifiedName) -> Option<&table::Table> {
        self.tables.iter().find(|table| table.meta.schema == name.schema && table.meta.name == name.name)
    }

    /// The tables whose rows are copied: selected ordinary tables that do not belong to an extension.
    pub fn data_tables(&self) -> impl Iterator<Item = &table::Table> {
        self.tables.iter().filter(|table| {
            table.has_data() && table.meta.extension.is_none() && self.filter.wants_rows(&table.name())
        })
    }

    /// The continuous aggregates whose rows are copied, each after those that it reads.
    pub fn aggregates(&self) -> impl Iterator<Item = &Aggregate> {
        let aggregates = self.timescale.iter().flat_map(|timescale| &timescale.aggregates);
        aggregates.filter(|aggregate| aggregate.was_refreshed() && self.filter.wants_rows(&aggregate.name))
    }

    /// Whether an extension declares this sequence, or the table of the owning column, as configuration: its value is
    /// then copied with the rows.
    pub fn is_config_sequence(&self, sequence: &sequence::Sequence) -> bool {
        let table = sequence.owned_by.as_ref().map(|owner| owner.table_oid);
        sequence.meta.extension.is_some()
            && self
                .extensions
                .iter()
                .flat_map(|extension| &extension.config_tables)
                .any(|config| config.oid == sequence.meta.oid || Some(config.oid) == table)
    }

    /// The step in which each configuration table is loaded. Rows of a later step may refer to those of an earlier one,
    /// because an extension's foreign keys exist before the rows. Tables with circular references share the last step.
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

    /// The configuration tables of extensions (`pg_extension_config_dump`), with the clause that selects their user
    /// rows.
    pub fn config_tables(&self) -> impl Iterator<Item = (&table::Table, &str)> {
        self.extensions.iter().flat_map(|extension| &extension.config_tables).filter_map(|config| {
            let table = self.tables.iter().find(|table| table.meta.oid == config.oid)?;
            Some((table, config.condition.as_str()))
        })
    }
}
