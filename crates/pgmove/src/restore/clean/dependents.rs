//! What `DROP … CASCADE` of some objects would drop too, determined from the target's own `pg_depend`: nothing is
//! dropped on trial, so nothing is locked and the size of the database does not matter
//! (`src/backend/catalog/dependency.c`, `findDependentObjects`).

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::Error;
use crate::catalog::address::{DependencyKind, class};
use crate::catalog::{Address, Catalog, Dependency};
use crate::connect::Session;

/// An object, or one of its columns.
type Node = (Address, i32);

/// The dependencies of a database.
pub(super) struct Dependents<'a> {
    /// By the referenced object.
    inward: HashMap<Address, Vec<&'a Dependency>>,
    /// By the dependent object.
    outward: HashMap<Address, Vec<&'a Dependency>>,
    parts: HashMap<Address, Vec<Address>>,
    whole: HashMap<Address, Address>,
    /// Objects with a name and contents of their own, which are never treated as part of another.
    entities: HashSet<Address>,
    /// Additional dependencies, which only an extension knows.
    further: HashMap<Address, Vec<Address>>,
}

impl<'a> Dependents<'a> {
    /// The dependencies in `catalog`; `further` are pairs of a dependent object and the object that it needs.
    pub(super) fn of(catalog: &'a Catalog, further: &[(Address, Address)]) -> Dependents<'a> {
        let mut found = Dependents {
            inward: HashMap::new(),
            outward: HashMap::new(),
            parts: HashMap::new(),
            whole: HashMap::new(),
            entities: HashSet::new(),
            further: HashMap::new(),
        };
        for edge in &catalog.dependencies {
            found.inward.entry(edge.to()).or_default().push(edge);
            found.outward.entry(edge.from()).or_default().push(edge);
        }
        for alias in &catalog.aliases {
            let (part, whole) =
                (Address::new(alias.class, alias.oid), Address::new(alias.of_class, alias.of_oid));
            found.parts.entry(whole).or_default().push(part);
            found.whole.insert(part, whole);
        }
        let indexes: HashSet<u32> = catalog.indexes.iter().map(|index| index.meta.oid).collect();
        let named = catalog.addressed_metas().map(|(address, _)| address);
        found.entities = named
            .filter(|address| !(address.class == class::CLASS && indexes.contains(&address.oid)))
            .filter(|address| {
                !matches!(
                    address.class,
                    class::STATISTICS | class::PUBLICATION_TABLE | class::PUBLICATION_SCHEMA
                )
            })
            .collect();
        for (dependent, needed) in further {
            found.further.entry(*needed).or_default().push(*dependent);
        }
        found
    }

    /// An upper estimate of the locks that dropping an object takes: the server locks each dropped object.
    pub(super) fn locks(&self, address: Address) -> u64 {
        let parts = self.parts.get(&address).map_or(0, Vec::len);
        let direct = self.inward.get(&address).map_or(0, Vec::len);
        // The index of a constraint, the sequence of a default: parts of parts.
        (6 + parts + 2 * direct) as u64
    }

    /// Everything that would be dropped with these objects, except for themselves and their parts.
    pub(super) fn victims(&self, dropped: &HashSet<Address>) -> Vec<Node> {
        let reached = self.closure(dropped);
        let mut known = HashMap::new();
        let foreign: Vec<Node> = reached
            .into_iter()
            .filter(|(address, _)| {
                !dropped.contains(address) && !self.is_part(*address, dropped, &mut known, 0)
            })
            .collect();
        // Objects that are dropped with a victim need not be named.
        let whole: HashSet<Address> =
            foreign.iter().filter(|(_, column)| *column == 0).map(|(address, _)| *address).collect();
        let entities: HashSet<Address> = whole.intersection(&self.entities).copied().collect();
        let mut known = HashMap::new();
        foreign
            .into_iter()
            .filter(|(address, column)| match entities.contains(address) {
                true => *column == 0,
                false => !self.is_part(*address, &entities, &mut known, 0),
            })
            .collect()
    }

    fn closure(&self, dropped: &HashSet<Address>) -> BTreeSet<Node> {
        let mut reached: BTreeSet<Node> = BTreeSet::new();
        let mut open: Vec<Node> = dropped.iter().map(|address| (*address, 0)).collect();
        while let Some(node @ (address, column)) = open.pop() {
            if !reached.insert(node) {
                continue;
            }
            let needed = self.inward.get(&address).into_iter().flatten();
            open.extend(
                needed
                    .filter(|edge| column == 0 || edge.ref_sub == column)
                    .map(|edge| (edge.from(), edge.sub)),
            );
            if column != 0 {
                continue;
            }
            open.extend(self.parts.get(&address).into_iter().flatten().map(|part| (*part, 0)));
            open.extend(self.further.get(&address).into_iter().flatten().map(|other| (*other, 0)));
            // Dropping a part drops the whole: the view of a rule, the constraint of an index.
            open.extend(self.whole.get(&address).map(|whole| (*whole, 0)));
            let owners = self.outward.get(&address).into_iter().flatten();
            open.extend(
                owners
                    .filter(|edge| edge.kind == DependencyKind::Internal)
                    .map(|edge| (edge.to(), edge.ref_sub)),
            );
        }
        reached
    }

    /// Whether an object is only a part of one of `owners`: an index, a constraint, a default, a trigger, a row type.
    fn is_part(
        &self,
        address: Address,
        owners: &HashSet<Address>,
        known: &mut HashMap<Address, bool>,
        depth: usize,
    ) -> bool {
        if owners.contains(&address) {
            return true;
        }
        if let Some(found) = known.get(&address) {
            return *found;
        }
        known.insert(address, false);
        // Chains of parts are short: an index, its constraint, its table.
        let internal = |edge: &&&Dependency| edge.kind == DependencyKind::Internal;
        let auto = |edge: &&&Dependency| {
            matches!(
                edge.kind,
                DependencyKind::Auto
                    | DependencyKind::Internal
                    | DependencyKind::PartitionPrimary
                    | DependencyKind::PartitionSecondary
            )
        };
        let edges = || self.outward.get(&address).into_iter().flatten();
        let owner = |edge: &&Dependency| edge.to();
        let candidates: Vec<Address> = match address.class {
            _ if self.entities.contains(&address) => edges().filter(internal).map(owner).collect(),
            // It belongs to the publication, whatever it publishes.
            class::PUBLICATION_TABLE | class::PUBLICATION_SCHEMA => {
                edges().map(owner).filter(|to| to.class == class::PUBLICATION).collect()
            }
            _ => edges().filter(auto).map(owner).chain(self.whole.get(&address).copied()).collect(),
        };
        let found = depth < 16 && candidates.into_iter().any(|to| self.is_part(to, owners, known, depth + 1));
        known.insert(address, found);
        found
    }
}

/// Descriptions of the victims by the server.
pub(super) async fn describe(session: &Session, victims: &[Node]) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    for batch in victims.chunks(1000) {
        let values: Vec<String> = batch
            .iter()
            .map(|(address, column)| format!("({}::oid, {}::oid, {column})", address.class, address.oid))
            .collect();
        // Chunks are covered by their hypertable, TOAST tables by their table, and triggers of a foreign key by the
        // key: a chunk's key has some on the referenced table.
        let sql = format!(
            "SELECT pg_describe_object(c, o, s) FROM (VALUES {}) v(c, o, s) \
             WHERE (SELECT identity FROM pg_identify_object(c, o, s)) NOT LIKE ALL (ARRAY['%\\_timescaledb\\_internal.%', '%pg\\_toast.%']) \
             AND NOT EXISTS (SELECT FROM pg_trigger t WHERE c = 'pg_trigger'::regclass AND t.oid = o AND t.tgisinternal) ORDER BY 1",
            values.join(", ")
        );
        let rows = session.query("what depends on what would be replaced", &sql).await?;
        found.extend(rows.into_iter().flatten().flatten());
    }
    found.sort();
    found.dedup();
    Ok(found)
}
