//! The script: ordered statements, each with its object and dependencies.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::graph::{Entity, Graph};
use super::options::RenderOptions;
use crate::catalog::address::{DependencyKind, class};
use crate::catalog::table::Table;
use crate::catalog::{Address, Catalog, Meta, Object as _};
use crate::error::without_secrets;
use crate::quote::ident;
use crate::warning::Warning;

/// When a statement runs. Sections run in this order; each starts when the previous one is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Section {
    /// Pre-data: everything required to load rows. Run one after the other.
    PreData,
    /// Data: values of sequences.
    Data,
    /// Post-data: indexes, constraints, triggers, and what depends on them. May run in parallel, subject to
    /// `depends_on` and `locks`.
    PostData,
    /// Privileges: late, because an owner may have revoked its own privileges that loading needs.
    Privileges,
    /// Last: materialized views, refreshed with the privileges in place, and event triggers, so that they do not fire
    /// during the restore.
    Finish,
}

/// The object of a statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRef {
    /// The kind, such as `table` or `foreign key`.
    pub kind: String,
    /// The object's name in SQL.
    pub name: String,
}

impl std::fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// A table lock that may conflict with other statements of the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableLock {
    /// OID of the table at the source, only for comparison with other locks of the script.
    pub table: u32,
    /// Whether it conflicts with all other locks on the table. Two that are not exclusive, such as those of two `CREATE
    /// INDEX`, do not conflict.
    pub exclusive: bool,
}

/// One statement.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// When it runs.
    pub section: Section,
    /// Its object.
    pub object: ObjectRef,
    /// The text, without a final semicolon; sometimes several commands to be sent together.
    pub sql: String,
    /// The object's owner at the target, if it has one and owners are restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The expected cost, in pages of the table that it reads: start expensive statements first.
    #[serde(default)]
    pub weight: u64,
    /// Positions of the statements that must run before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<usize>,
    /// Table locks: do not run statements with conflicting locks at the same time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locks: Vec<TableLock>,
    /// For privileges and sequence values on objects of an extension: the extension. Another version of it may lack the
    /// object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<String>,
    /// The same in two steps, the expensive one of which does not block the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<Box<Staged>>,
    /// Whether the target already has it, from an interrupted restore.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub done: bool,
}

/// A statement in two steps with the same result: a unique index and then its constraint, a foreign key and then its
/// validation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// Runs first.
    pub first: Step,
    /// Runs after the first step.
    pub then: Step,
}

/// One step of a statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The text, without a final semicolon.
    pub sql: String,
    /// As [`Statement::weight`].
    pub weight: u64,
    /// As [`Statement::locks`].
    pub locks: Vec<TableLock>,
}

impl Statement {
    /// Whether it refreshes a materialized view.
    pub fn fills_view(&self) -> bool {
        self.section == Section::Finish
            && self.object.kind == "materialized view"
            && self.sql.contains("REFRESH MATERIALIZED VIEW ")
    }
}

impl std::fmt::Debug for Statement {
    /// Hides statements that may contain a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Statement")
            .field("section", &self.section)
            .field("object", &self.object)
            .field("sql", &without_secrets(self.sql.clone()))
            .field("owner", &self.owner)
            .field("weight", &self.weight)
            .field("depends_on", &self.depends_on)
            .field("locks", &self.locks)
            .field("extension", &self.extension)
            .finish()
    }
}

/// Statements in an executable order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// The statements.
    pub statements: Vec<Statement>,
    /// Warnings about decisions without a rule, such as cycles that no rule breaks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

impl Script {
    /// The statements of one section that are to run, with their positions.
    pub fn section(&self, section: Section) -> impl Iterator<Item = (usize, &Statement)> {
        self.statements
            .iter()
            .enumerate()
            .filter(move |(_, statement)| statement.section == section && !statement.done)
    }
}

/// Collects statements of nodes.
pub(crate) struct Builder<'a> {
    pub(super) catalog: &'a Catalog,
    /// Version of the target.
    pub(super) target: u32,
    pub(super) options: &'a RenderOptions,
    pub(super) comments: HashMap<(Address, i32), &'a str>,
    pub(super) labels: HashMap<(Address, i32), Vec<(&'a str, &'a str)>>,
    /// Extensions by dependent objects (`DEPENDS ON EXTENSION`).
    pub(super) tied: HashMap<Address, Vec<&'a str>>,
    /// Parts with a statement of their own.
    separate: HashSet<Address>,
    /// Generated columns that inherit their expression.
    inherited_generated: HashSet<u32>,
    tables: HashMap<u32, &'a Table>,
    children: HashMap<u32, Vec<u32>>,
    script: Script,
    /// For each written node: the statements after which it exists.
    ends: HashMap<usize, Vec<usize>>,
    current: CurrentProperties,
}

/// Properties of the statements that are being added.
struct CurrentProperties {
    section: Section,
    object: ObjectRef,
    owner: Option<String>,
    weight: u64,
    locks: Vec<TableLock>,
    depends_on: Vec<usize>,
    extension: Option<String>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(
        catalog: &'a Catalog,
        graph: &Graph<'a>,
        target: u32,
        options: &'a RenderOptions,
    ) -> Self {
        let mut labels: HashMap<(Address, i32), Vec<(&str, &str)>> = HashMap::new();
        for label in &catalog.security_labels {
            let key = (Address::new(label.class, label.oid), label.sub);
            labels.entry(key).or_default().push((&label.provider, &label.label));
        }
        let extensions: HashMap<Address, &str> = catalog
            .extensions
            .iter()
            .map(|extension| (extension.address(), extension.meta.name.as_str()))
            .collect();
        let mut tied: HashMap<Address, Vec<&str>> = HashMap::new();
        for edge in catalog.dependencies.iter().filter(|edge| edge.kind == DependencyKind::AutoExtension) {
            if let Some(name) = extensions.get(&edge.to()) {
                tied.entry(edge.from()).or_default().push(name);
            }
        }
        tied.values_mut().for_each(|names| names.sort_unstable());
        let tables: HashMap<u32, &Table> =
            catalog.tables.iter().map(|table| (table.meta.oid, table)).collect();
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        let mut inherited_generated = HashSet::new();
        for table in &catalog.tables {
            for parent in &table.parents {
                children.entry(parent.oid).or_default().push(table.meta.oid);
            }
            for column in &table.columns {
                if let Some(default) = &column.default
                    && super::parents::inherits_same_generated(table, column, &tables)
                {
                    inherited_generated.insert(default.oid);
                }
            }
        }
        let separate =
            graph.nodes().iter().filter(|node| node.separate).filter_map(|node| match node.entity {
                Entity::Default(_, column) => {
                    column.default.as_ref().map(|default| Address::new(class::DEFAULT, default.oid))
                }
                Entity::Check(_, check) | Entity::DomainCheck(_, check) => {
                    Some(Address::new(class::CONSTRAINT, check.oid))
                }
                _ => None,
            });
        Self {
            catalog,
            target,
            options,
            separate: separate.collect(),
            inherited_generated,
            tables,
            children,
            comments: catalog
                .comments
                .iter()
                .map(|comment| {
                    ((Address::new(comment.class, comment.oid), comment.sub), comment.text.as_str())
                })
                .collect(),
            labels,
            tied,
            script: Script::default(),
            ends: HashMap::new(),
            current: CurrentProperties {
                section: Section::PreData,
                object: ObjectRef { kind: String::new(), name: String::new() },
                owner: None,
                weight: 0,
                locks: Vec::new(),
                depends_on: Vec::new(),
                extension: None,
            },
        }
    }

    /// Writes one node.
    pub(super) fn node(&mut self, graph: &Graph<'a>, id: usize) {
        let Some(node) = graph.node(id) else { return };
        let mut depends_on: Vec<usize> =
            node.needs.iter().filter_map(|need| self.ends.get(need)).flatten().copied().collect();
        depends_on.sort_unstable();
        depends_on.dedup();
        let before = self.script.statements.len();
        self.current = CurrentProperties {
            section: node.section,
            object: node.entity.object(),
            owner: None,
            weight: 0,
            locks: Vec::new(),
            depends_on: depends_on.clone(),
            extension: None,
        };
        self.write(node.entity, node.separate);
        let after = self.script.statements.len();
        // A part written by its owner exists when its dependencies exist.
        let ends = if after > before { vec![after - 1] } else { depends_on };
        self.ends.insert(id, ends);
        self.script.warnings.extend(node.warning.clone());
    }

    /// Dispatches by the kind of node.
    fn write(&mut self, entity: Entity<'a>, separate: bool) {
        match entity {
            Entity::Schema(schema) => self.schema(schema),
            Entity::Extension(extension) => self.extension(extension),
            Entity::Shell(kind) => self.shell(kind),
            Entity::Type(kind) => self.type_(kind),
            Entity::DomainCheck(kind, check) if separate => self.domain_check(kind, check),
            Entity::Function(function) => self.function(function),
            Entity::Aggregate(aggregate) => self.aggregate(aggregate),
            Entity::Plain(plain) => self.plain(plain),
            Entity::Sequence(sequence) => self.sequence(sequence),
            Entity::SequenceOwner(sequence) => self.sequence_owner(sequence),
            Entity::SequenceValue(sequence) => self.sequence_value(sequence),
            Entity::Table(table) => self.table(table, separate),
            Entity::ViewBody(table) => self.view_body(table),
            Entity::Attach(table) => self.attach(table),
            Entity::Default(table, column) if separate => self.default(table, column),
            Entity::NoDefault(table, column) => self.no_default(table, column),
            Entity::Check(table, check) if separate => self.check(table, check),
            Entity::NotNull(table, column) => self.not_null(table, column),
            Entity::DomainCheck(..) | Entity::Default(..) | Entity::Check(..) => {}
            Entity::Index(index) => self.index(index),
            Entity::IndexAttach(index) => self.index_attach(index),
            Entity::ForeignKey(key) => self.foreign_key(key),
            Entity::Trigger(trigger) => self.trigger(trigger),
            Entity::Rule(rule) => self.rule(rule),
            Entity::Policy(policy) => self.policy(policy),
            Entity::RowSecurity(table) => self.row_security(table),
            Entity::Statistics(statistics) => self.statistics(statistics),
            Entity::LargeObject(object) => self.large_object(object),
            Entity::IntegerNow(table) => self.integer_now(table),
            Entity::Refresh(table) => self.refresh(table),
            Entity::Privileges => self.privileges(),
            Entity::Gone => {}
        }
    }

    /// Whether a default or check has a statement of its own.
    pub(super) fn is_separate(&self, part: Address) -> bool {
        self.separate.contains(&part)
    }

    /// Whether a generated column inherits its expression.
    pub(super) fn inherited_generated(&self, default: u32) -> bool {
        self.inherited_generated.contains(&default)
    }

    /// Tables by OID.
    pub(super) fn tables(&self) -> &HashMap<u32, &'a Table> {
        &self.tables
    }

    pub(super) fn table_by_oid(&self, oid: u32) -> Option<&'a Table> {
        self.tables.get(&oid).copied()
    }

    /// A table and all its children.
    pub(super) fn with_children(&self, oid: u32) -> BTreeSet<u32> {
        let mut found = BTreeSet::from([oid]);
        let mut open = vec![oid];
        while let Some(next) = open.pop() {
            let below = self.children.get(&next).into_iter().flatten();
            open.extend(below.copied().filter(|child| found.insert(*child)));
        }
        found
    }

    /// The size of a table in pages, by its files or by `relpages`.
    pub(super) fn pages(&self, oid: u32) -> u64 {
        let table = self.table_by_oid(oid);
        table.map_or(0, |table| u64::try_from(table.pages.max(table.bytes / 8192)).unwrap_or(0))
    }

    /// Adds a statement to the current node, after the node's earlier ones.
    pub(super) fn push(&mut self, sql: impl Into<String>) {
        let position = self.script.statements.len();
        self.script.statements.push(Statement {
            section: self.current.section,
            object: self.current.object.clone(),
            sql: sql.into(),
            owner: self.current.owner.clone(),
            weight: self.current.weight,
            depends_on: std::mem::replace(&mut self.current.depends_on, vec![position]),
            locks: self.current.locks.clone(),
            extension: self.current.extension.clone(),
            staged: None,
            done: false,
        });
    }

    /// Sets the two-step form of the last statement.
    pub(super) fn stage(&mut self, first: Step, then: Step) {
        if let Some(statement) = self.script.statements.last_mut() {
            statement.staged = Some(Box::new(Staged { first, then }));
        }
    }

    /// Adds a warning for the user.
    pub(super) fn warn(&mut self, warning: Warning) {
        self.script.warnings.push(warning);
    }

    /// Sets object and owner of the node's statements.
    pub(super) fn about(&mut self, kind: &str, name: String) {
        self.current.object = ObjectRef { kind: kind.to_owned(), name };
    }

    /// Sets the extension that creates the object of the following statements.
    pub(super) fn made_by(&mut self, extension: Option<&String>) {
        self.current.extension = extension.cloned();
    }

    /// The following statements do not depend on each other.
    pub(super) fn free(&mut self) {
        self.current.depends_on.clear();
    }

    /// Sets cost and locks of the following statements.
    pub(super) fn cost(&mut self, weight: u64, locks: Vec<TableLock>) {
        self.current.weight = weight;
        self.current.locks = locks;
    }

    /// `ALTER … OWNER TO`, unless owners are left out.
    pub(super) fn owner(&mut self, keyword: &str, identity: &str, meta: &Meta) {
        if self.options.no_owner || meta.owner.is_empty() {
            return;
        }
        let role = self.options.role(&meta.owner).to_owned();
        self.current.owner = Some(role.clone());
        self.push(format!("ALTER {keyword} {identity} OWNER TO {}", ident(&role)));
    }

    pub(super) fn finish(self) -> Script {
        self.script
    }
}
