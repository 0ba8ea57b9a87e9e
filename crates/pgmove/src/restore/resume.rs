//! Resuming an interrupted restore. The target itself is the state: its schema is compared with the schema to restore, and
//! each table's rows with the rows to load. Complete objects stay, missing ones are created, and an object that this
//! restore cannot have created is a conflict.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::plan::{LARGE_OBJECT, RestorePlan};
use super::read_back;
use super::resume_not_null::assume_pending;
use crate::Error;
use crate::catalog::{Catalog, QualifiedName, large_objects_table};
use crate::compare::{same_but_for_spelling, settled, with_inherited_first};
use crate::conflict::Conflict;
use crate::connect::Session;
use crate::ddl::{self, RenderOptions, Statement};
use crate::quote::ident;
use crate::timescaledb;

/// State of an interrupted restore, and what remains to be done.
#[derive(Debug, Clone, Default)]
pub(crate) struct Resume {
    /// Existing tables of the plan, under the names by which they are verified.
    there: BTreeSet<QualifiedName>,
    /// Those of them that are complete.
    kept: BTreeSet<QualifiedName>,
    /// Statements to run first, with their objects: drop what is recreated.
    pub(super) drops: Vec<(String, String)>,
    /// Statements that empty the tables to load again.
    pub(super) empties: Vec<(String, String)>,
    /// Foreign keys and triggers, by the tables that they touch: rows are loaded without them.
    attached: Vec<Attached>,
    /// Each table with all tables above and below it.
    families: HashMap<QualifiedName, BTreeSet<u32>>,
    large_objects: Vec<String>,
}

#[derive(Debug, Clone)]
struct Attached {
    object: String,
    tables: Vec<u32>,
    drop: Option<String>,
}

/// Kinds that can be dropped and recreated without loss once rows are loaded.
const RECREATED: [&str; 8] =
    ["index", "constraint", "foreign key", "trigger", "rule", "policy", "statistics", "event trigger"];

/// Kinds that exist in every database.
const BUILT_IN: [&str; 3] = ["default privileges ", "built-in ", "extension "];

fn is_everywhere(object: &str) -> bool {
    object == "schema public" || BUILT_IN.iter().any(|kind| object.starts_with(kind))
}

type Objects = BTreeMap<String, Vec<Statement>>;

fn objects(catalog: &Catalog, version: u32, options: &RenderOptions) -> Result<Objects, Error> {
    let mut objects = Objects::new();
    for mut statement in ddl::render(catalog, version, options)?.statements {
        statement.sql = settled(std::mem::take(&mut statement.sql));
        objects.entry(settled(statement.object.to_string())).or_default().push(statement);
    }
    Ok(objects)
}

/// Whether a statement creates its object, so that it cannot run twice.
fn makes(sql: &str) -> bool {
    (sql.starts_with("CREATE ") && !sql.starts_with("CREATE OR REPLACE ") && !sql.contains(" IF NOT EXISTS "))
        || (sql.starts_with("ALTER ")
            && (sql.contains(" ADD CONSTRAINT ") || sql.contains(" ADD GENERATED ")))
        || sql.contains("pg_catalog.lo_create(")
}

/// The statements that create an object.
fn making(statements: &[Statement]) -> Vec<String> {
    statements.iter().map(|statement| statement.sql.clone()).filter(|sql| makes(sql)).collect()
}

/// Whether a view exists in the empty form that precedes its query: the query is still to run.
fn is_empty_view(ours: &[Statement], there: &[String]) -> bool {
    ours.iter().any(|statement| statement.sql.starts_with("CREATE OR REPLACE VIEW "))
        && there.iter().all(|sql| sql.starts_with("CREATE VIEW ") && sql.contains("SELECT NULL::"))
}

fn texts(statements: &[Statement]) -> BTreeSet<&str> {
    statements.iter().map(|statement| statement.sql.as_str()).collect()
}

/// Examines the target, and marks the statements of the plan that are already done. Returns conflicts.
pub(super) async fn settle(
    session: &Session,
    plan: &mut RestorePlan,
    catalog: &Catalog,
    options: &RenderOptions,
) -> Result<Vec<Conflict>, Error> {
    if timescaledb::is_needed(catalog) {
        return Ok(vec![Conflict::ResumeTimescale]);
    }
    let mut here = read_back::read_catalog(session, &catalog.filter).await?;
    let assumed = assume_pending(&mut here, catalog);
    let (theirs, ours) = (catalog.server_version_num, session.server().version_num);
    let version = theirs.min(ours);
    let wanted = RenderOptions { privileges_for: Some(ours), ..options.clone().comparing(theirs, ours) };
    let found = RenderOptions { role_map: Default::default(), ..wanted.clone() };
    let left = objects(&with_inherited_first(catalog), version, &wanted)?;
    let mut right = objects(&with_inherited_first(&here), version, &found)?;
    assumed.iter().for_each(|object| drop(right.remove(&settled(object))));
    let exact = objects(
        &with_inherited_first(&here),
        ours,
        &RenderOptions { role_map: Default::default(), ..options.clone() },
    )?;

    let mut resume = Resume::default();
    let mut conflicts = Vec::new();
    let strays = incomplete_constraints(catalog);
    for (object, statements) in &right {
        let extension = statements.iter().all(|statement| statement.extension.is_some());
        if left.contains_key(object) || extension || is_everywhere(object) {
            continue;
        }
        match strays.get(object) {
            Some(index) => resume.drops.push((object.clone(), format!("DROP INDEX IF EXISTS {index}"))),
            None => conflicts.push(Conflict::NotOfThisRestore { object: object.clone() }),
        }
    }
    let droppable = drops(catalog);
    let mut again: BTreeSet<String> = BTreeSet::new();
    // Objects created in several steps (a shell type, an empty view), some of which ran.
    let mut in_part: BTreeSet<&String> = BTreeSet::new();
    for (object, ours) in &left {
        let Some(there) = right.get(object) else { continue };
        let (one, other) = (making(ours), making(there));
        let same = one.iter().all(|sql| other.contains(sql))
            || is_everywhere(object)
            || (catalog.server_version_num != session.server().version_num
                && same_but_for_spelling(&one, &other));
        if same {
            continue;
        }
        if is_empty_view(ours, &other) {
            continue;
        }
        if other.iter().all(|sql| one.contains(sql)) {
            in_part.insert(object);
            continue;
        }
        match (ours.first().map(|statement| statement.object.kind.as_str()), droppable.get(object)) {
            (Some(kind), Some(drop)) if RECREATED.contains(&kind) => {
                resume.drops.push((object.clone(), drop.clone()));
                again.insert(object.clone());
            }
            _ => conflicts.push(Conflict::OtherDefinition { object: object.clone() }),
        }
    }
    for statement in &mut plan.script.statements {
        let object = settled(statement.object.to_string());
        let (Some(ours), Some(there)) = (left.get(&object), right.get(&object)) else { continue };
        if statement.fills_view() || again.contains(&object) {
            continue;
        }
        let sql = settled(&statement.sql);
        let whole = texts(ours) == texts(there);
        let this = there.iter().chain(exact.get(&object).into_iter().flatten()).any(|other| other.sql == sql);
        statement.done = whole || this || (makes(&sql) && !in_part.contains(&object));
    }
    resume.fill(plan, catalog, &here, &droppable);
    plan.resume = Some(resume);
    Ok(conflicts)
}

/// Indexes without the constraint that should use them, by their names as objects.
fn incomplete_constraints(catalog: &Catalog) -> HashMap<String, QualifiedName> {
    let backing = catalog.indexes.iter().filter(|index| index.constraint.is_some());
    backing.map(|index| (settled(format!("index {}", index.meta.qualified())), index.name())).collect()
}

/// How to drop objects that can be recreated.
fn drops(catalog: &Catalog) -> HashMap<String, String> {
    let mut drops = HashMap::new();
    for index in &catalog.indexes {
        let (kind, sql) = match &index.constraint {
            Some(constraint) => (
                format!("constraint {} on {}", index.meta.name, index.table),
                format!("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {}", index.table, ident(&constraint.name)),
            ),
            None => (
                format!("index {}", index.meta.qualified()),
                format!("DROP INDEX IF EXISTS {}", index.name()),
            ),
        };
        drops.insert(settled(&kind), sql);
    }
    for key in &catalog.foreign_keys {
        let sql =
            format!("ALTER TABLE IF EXISTS {} DROP CONSTRAINT IF EXISTS {}", key.table, ident(&key.name));
        drops.insert(settled(format!("foreign key {} on {}", key.name, key.table)), sql);
    }
    let mut on_table = |kind: &str, keyword: &str, name: &str, table: &QualifiedName| {
        let sql = format!("DROP {keyword} IF EXISTS {} ON {table}", ident(name));
        drops.insert(settled(format!("{kind} {name} on {table}")), sql);
    };
    for trigger in catalog.triggers.iter().filter(|trigger| !trigger.inherited) {
        on_table("trigger", "TRIGGER", &trigger.name, &trigger.table);
    }
    for rule in &catalog.rules {
        on_table("rule", "RULE", &rule.name, &rule.table);
    }
    for policy in &catalog.policies {
        on_table("policy", "POLICY", &policy.name, &policy.table);
    }
    for statistics in &catalog.statistics {
        let name = statistics.meta.qualified();
        drops.insert(settled(format!("statistics {name}")), format!("DROP STATISTICS IF EXISTS {name}"));
    }
    for plain in
        catalog.plain.iter().filter(|plain| plain.kind == crate::catalog::plain::PlainKind::EventTrigger)
    {
        let sql = format!("DROP EVENT TRIGGER IF EXISTS {}", plain.identity);
        drops.insert(settled(format!("event trigger {}", plain.identity)), sql);
    }
    drops
}

impl Resume {
    fn fill(
        &mut self,
        plan: &RestorePlan,
        catalog: &Catalog,
        here: &Catalog,
        droppable: &HashMap<String, String>,
    ) {
        let present: BTreeSet<QualifiedName> = here.tables.iter().map(|table| table.name()).collect();
        let large = large_objects_table();
        self.large_objects = here.large_objects.iter().map(|object| object.meta.name.clone()).collect();
        let taken = plan.tables().filter(|table| match **table == large {
            true => !self.large_objects.is_empty(),
            false => present.contains(*table),
        });
        self.there = taken.map(|table| plan.proven_as(table).clone()).collect();
        for key in &catalog.foreign_keys {
            let object = settled(format!("foreign key {} on {}", key.name, key.table));
            let drop = droppable.get(&object).cloned();
            self.attached.push(Attached { object, tables: vec![key.table_oid, key.references_oid], drop });
        }
        for trigger in &catalog.triggers {
            let object = settled(format!("trigger {} on {}", trigger.name, trigger.table));
            let drop = droppable.get(&object).cloned();
            self.attached.push(Attached { object, tables: vec![trigger.table_oid], drop });
        }
        let mut near: HashMap<u32, Vec<u32>> = HashMap::new();
        for table in &catalog.tables {
            for parent in &table.parents {
                near.entry(table.meta.oid).or_default().push(parent.oid);
                near.entry(parent.oid).or_default().push(table.meta.oid);
            }
        }
        for table in &catalog.tables {
            let (mut open, mut family) = (vec![table.meta.oid], BTreeSet::new());
            while let Some(oid) = open.pop() {
                if family.insert(oid) {
                    open.extend(near.get(&oid).into_iter().flatten());
                }
            }
            self.families.insert(table.name(), family);
        }
    }
}

impl RestorePlan {
    /// The tables of an interrupted restore whose rows may be complete, under the names by which they are verified
    /// ([`RestorePlan::proven_as`]); empty if nothing is resumed.
    pub fn resumable(&self) -> Vec<QualifiedName> {
        self.resume.iter().flat_map(|resume| resume.there.iter().cloned()).collect()
    }

    /// Sets which of these tables are complete. The others are emptied and loaded again, without the foreign keys and
    /// triggers that touch them, which are recreated.
    pub fn keep(&mut self, whole: BTreeSet<QualifiedName>) {
        let Some(mut resume) = self.resume.take() else { return };
        let mut emptied: Vec<(&QualifiedName, &super::plan::TablePlan)> = self
            .tables
            .iter()
            .filter(|(name, _)| {
                let proven = self.proven_as(name);
                resume.there.contains(proven) && !whole.contains(proven)
            })
            .collect();
        emptied.sort_by_key(|(name, _)| *name);
        let mut touched: BTreeSet<u32> = BTreeSet::new();
        for (name, table) in emptied {
            let sql = if *name == large_objects_table() {
                let oids = resume.large_objects.join(", ");
                format!(
                    "SELECT pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata WHERE oid IN ({oids})"
                )
            } else if !table.condition.is_empty() {
                format!("DELETE FROM ONLY {name} {}", table.condition)
            } else if table.divided {
                format!("TRUNCATE {name}")
            } else {
                format!("TRUNCATE ONLY {name}")
            };
            resume.empties.push((name.to_string(), sql));
            touched.extend(resume.families.get(name).into_iter().flatten());
        }
        let mut undone: BTreeSet<&str> = BTreeSet::new();
        for attached in &resume.attached {
            if attached.tables.iter().any(|table| touched.contains(table)) {
                undone.insert(&attached.object);
                resume.drops.extend(attached.drop.clone().map(|drop| (attached.object.clone(), drop)));
            }
        }
        let large = resume.large_objects.is_empty() || whole.contains(&large_objects_table());
        for statement in &mut self.script.statements {
            let object = settled(statement.object.to_string());
            let rows = statement.object.kind == LARGE_OBJECT && !large;
            if rows || undone.contains(object.as_str()) {
                statement.done = false;
            }
        }
        resume.kept = whole;
        self.resume = Some(resume);
    }

    /// Whether a table's rows are already complete.
    pub fn keeps(&self, table: &QualifiedName) -> bool {
        self.resume.as_ref().is_some_and(|resume| resume.kept.contains(self.proven_as(table)))
    }

    /// The tables whose rows are replaced.
    pub fn emptied(&self) -> impl Iterator<Item = &QualifiedName> {
        let resume = self.resume.iter();
        resume.flat_map(|resume| resume.there.difference(&resume.kept))
    }
}

/// Drops and empties what is recreated and loaded again.
pub(super) async fn prepare(session: &Session, plan: &RestorePlan) -> Result<(), Error> {
    let Some(resume) = &plan.resume else { return Ok(()) };
    for (object, sql) in &resume.drops {
        session.execute(&format!("{object}, to be recreated"), sql).await?;
    }
    for (object, sql) in &resume.empties {
        session.execute(&format!("{object}, to be reloaded"), sql).await?;
    }
    Ok(())
}
