//! The objects of a database by the names under which others could collide with them, and how to drop each.

use std::collections::HashMap;

use crate::catalog::address::{Address, class};
use crate::catalog::plain::{Plain, PlainKind};
use crate::catalog::table::TableKind;
use crate::catalog::{Catalog, Object as _};

/// Namespaces: `pg_class`, `pg_type` and `pg_proc` each contain several kinds with common names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Namespace {
    Relation,
    Type,
    Routine,
    Statistics,
    LargeObject,
    Plain(PlainKind),
}

/// The kind of TimescaleDB's materialized views.
pub(super) const CONTINUOUS_AGGREGATE: &str = "CONTINUOUS AGGREGATE";

/// An object under one of its names.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) namespace: Namespace,
    /// Qualified and quoted; routines with their argument types.
    pub(super) identity: String,
    /// The kind, as in SQL.
    pub(super) kind: &'static str,
    pub(super) address: Address,
    /// The extension that owns it.
    pub(super) extension: Option<String>,
    /// The statement that drops it; `None` if the object is dropped under another of its names.
    pub(super) drop: Option<String>,
    /// Objects of a lower rank are dropped first: dependent ones before those that they depend on, so that each
    /// statement drops little besides its object.
    pub(super) rank: (u8, usize),
}

impl Named {
    /// The kind and the name, for messages.
    pub(super) fn described(&self) -> String {
        format!("{} {}", self.kind.to_lowercase(), self.identity)
    }
}

/// How functions of two catalogs are matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signatures {
    /// By the types of their input arguments, as the server does.
    Types,
    /// By the text of their arguments, which is all that catalogs stored by earlier versions contain.
    Text,
}

impl Signatures {
    pub(super) fn of(catalog: &Catalog) -> Signatures {
        match catalog.functions.iter().all(|function| function.types.is_some()) {
            true => Signatures::Types,
            false => Signatures::Text,
        }
    }
}

/// Every object of the catalog that has a name of its own.
pub(super) fn named(catalog: &Catalog, signatures: Signatures) -> Vec<Named> {
    let mut found = Vec::new();
    for aggregate in catalog.timescale.iter().flat_map(|timescale| &timescale.aggregates) {
        let identity = aggregate.name.to_string();
        found.push(Named {
            namespace: Namespace::Relation,
            kind: CONTINUOUS_AGGREGATE,
            address: Address::new(class::CLASS, aggregate.oid),
            extension: None,
            drop: Some(format!("DROP MATERIALIZED VIEW IF EXISTS {identity} CASCADE")),
            identity,
            // Aggregates that read others are newer.
            rank: (1, usize::MAX - aggregate.oid as usize),
        });
    }
    relations(catalog, &mut found);
    routines(catalog, signatures, &mut found);
    for kind in &catalog.types {
        let identity = kind.meta.qualified();
        found.push(Named {
            namespace: Namespace::Type,
            kind: "TYPE",
            address: kind.address(),
            extension: kind.meta.extension.clone(),
            drop: Some(format!("DROP TYPE IF EXISTS {identity} CASCADE")),
            identity,
            rank: (9, 0),
        });
    }
    found.extend(catalog.statistics.iter().map(|statistics| {
        let identity = statistics.meta.qualified();
        Named {
            namespace: Namespace::Statistics,
            kind: "STATISTICS",
            address: statistics.address(),
            extension: None,
            drop: Some(format!("DROP STATISTICS IF EXISTS {identity}")),
            identity,
            rank: (1, 0),
        }
    }));
    found.extend(catalog.large_objects.iter().map(|object| {
        let oid = &object.meta.name;
        Named {
            namespace: Namespace::LargeObject,
            kind: "LARGE OBJECT",
            address: object.address(),
            extension: None,
            drop: Some(format!(
                "SELECT pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata WHERE oid = {oid}"
            )),
            identity: oid.clone(),
            rank: (10, 0),
        }
    }));
    found.extend(catalog.plain.iter().map(|plain| Named {
        namespace: Namespace::Plain(plain.kind),
        kind: plain.kind.keyword(),
        address: plain.address(),
        extension: plain.meta.extension.clone(),
        drop: plain_drop(plain),
        identity: plain.identity.clone(),
        rank: (plain_rank(plain.kind), 0),
    }));
    found
}

fn relations(catalog: &Catalog, found: &mut Vec<Named>) {
    let depths = depths(catalog);
    let aggregate =
        |oid| catalog.timescale.as_ref().is_some_and(|timescale| timescale.aggregate(oid).is_some());
    for table in catalog.tables.iter().filter(|table| !aggregate(table.meta.oid)) {
        let identity = table.name().to_string();
        let kind = match table.kind {
            TableKind::Ordinary | TableKind::Partitioned => "TABLE",
            TableKind::View => "VIEW",
            TableKind::MaterializedView => "MATERIALIZED VIEW",
            TableKind::Foreign => "FOREIGN TABLE",
        };
        // Children before their parents: dropping a parent drops its children, with all their locks at once.
        let depth = depths.get(&table.meta.oid).copied().unwrap_or(0);
        let rank = match table.kind {
            TableKind::View | TableKind::MaterializedView => (2, 0),
            _ => (3, usize::MAX - depth),
        };
        let named = Named {
            namespace: Namespace::Relation,
            kind,
            address: table.address(),
            extension: table.meta.extension.clone(),
            drop: Some(format!("DROP {kind} IF EXISTS {identity} CASCADE")),
            identity,
            rank,
        };
        // Its row type has the same name.
        found.push(Named { namespace: Namespace::Type, drop: None, ..named.clone() });
        found.push(named);
    }
    for sequence in &catalog.sequences {
        let identity = sequence.name().to_string();
        found.push(Named {
            namespace: Namespace::Relation,
            kind: "SEQUENCE",
            address: sequence.address(),
            extension: sequence.meta.extension.clone(),
            drop: Some(format!("DROP SEQUENCE IF EXISTS {identity} CASCADE")),
            identity,
            rank: (6, 0),
        });
    }
}

fn routines(catalog: &Catalog, signatures: Signatures, found: &mut Vec<Named>) {
    for function in &catalog.functions {
        let (name, arguments) = (function.meta.qualified(), &function.arguments);
        let kind = if function.procedure { "PROCEDURE" } else { "FUNCTION" };
        let types = match signatures {
            Signatures::Types => function.types.as_ref().unwrap_or(arguments),
            Signatures::Text => arguments,
        };
        found.push(Named {
            namespace: Namespace::Routine,
            kind,
            address: function.address(),
            extension: function.meta.extension.clone(),
            identity: format!("{name}({types})"),
            drop: Some(format!("DROP {kind} IF EXISTS {name}({arguments}) CASCADE")),
            rank: (5, 0),
        });
    }
    for aggregate in &catalog.aggregates {
        let (name, arguments) = (aggregate.meta.qualified(), &aggregate.arguments);
        let types = match signatures {
            Signatures::Types => &aggregate.types,
            Signatures::Text => arguments,
        };
        // An aggregate without arguments is written with an asterisk.
        let signature = if arguments.is_empty() { "*" } else { arguments };
        found.push(Named {
            namespace: Namespace::Routine,
            kind: "AGGREGATE",
            address: aggregate.address(),
            extension: aggregate.meta.extension.clone(),
            identity: format!("{name}({types})"),
            drop: Some(format!("DROP AGGREGATE IF EXISTS {name}({signature}) CASCADE")),
            rank: (4, 0),
        });
    }
}

/// The depth of each table in its inheritance tree.
fn depths(catalog: &Catalog) -> HashMap<u32, usize> {
    let parents: HashMap<u32, Vec<u32>> = catalog
        .tables
        .iter()
        .map(|table| (table.meta.oid, table.parents.iter().map(|parent| parent.oid).collect()))
        .collect();
    fn depth(oid: u32, parents: &HashMap<u32, Vec<u32>>, known: &mut HashMap<u32, usize>) -> usize {
        if let Some(depth) = known.get(&oid) {
            return *depth;
        }
        // The server does not allow inheritance cycles; this ends one in a forged catalog.
        known.insert(oid, 0);
        let above = parents.get(&oid).into_iter().flatten();
        let found = above.map(|parent| depth(*parent, parents, known) + 1).max().unwrap_or(0);
        known.insert(oid, found);
        found
    }
    let mut known = HashMap::new();
    for oid in parents.keys() {
        depth(*oid, &parents, &mut known);
    }
    known
}

/// The statement that drops a plain object; `None` if it is dropped with its table or publication.
fn plain_drop(plain: &Plain) -> Option<String> {
    match plain.kind {
        PlainKind::PublicationTable | PlainKind::PublicationSchema => None,
        // Nothing depends on a user mapping, and the server does not support CASCADE for it.
        PlainKind::UserMapping => Some(format!("DROP USER MAPPING IF EXISTS {}", plain.identity)),
        // Without its slot it is dropped alone; with it, the publisher would be asked to drop the slot, which the
        // restored subscription uses too.
        PlainKind::Subscription => {
            let name = &plain.identity;
            Some(format!(
                "ALTER SUBSCRIPTION {name} DISABLE; ALTER SUBSCRIPTION {name} SET (slot_name = NONE); DROP SUBSCRIPTION {name}"
            ))
        }
        PlainKind::EventTrigger => Some(format!("DROP EVENT TRIGGER IF EXISTS {}", plain.identity)),
        kind => Some(format!("DROP {} IF EXISTS {} CASCADE", kind.keyword(), plain.identity)),
    }
}

/// Event triggers first, so that they do not fire for the rest; then objects that use functions and types.
fn plain_rank(kind: PlainKind) -> u8 {
    match kind {
        PlainKind::EventTrigger => 0,
        PlainKind::Publication | PlainKind::PublicationTable | PlainKind::PublicationSchema => 1,
        PlainKind::Subscription | PlainKind::UserMapping => 1,
        PlainKind::OperatorClass | PlainKind::Cast | PlainKind::Transform | PlainKind::Conversion => 4,
        PlainKind::Operator | PlainKind::OperatorFamily => 4,
        _ => 8,
    }
}
