//! A simulated database: read from a catalog, then changed statement by statement without a server.

use std::collections::{BTreeMap, BTreeSet};

use crate::baseline::script::effect::{Effect, Mark, Object};
use crate::baseline::script::names::Written;
use crate::baseline::types::CanonicalType;
use crate::catalog::types::TypeDefinition;
use crate::catalog::{Catalog, QualifiedName};

/// Existing objects; all names are qualified.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    objects: BTreeSet<Object>,
    types: BTreeMap<(Written, String), String>,
    not_null: BTreeSet<(Written, String)>,
    defaults: BTreeSet<(Written, String)>,
    labels: BTreeSet<(Written, String)>,
    /// Relations with unknown columns, because a query or another table defines them.
    opaque: BTreeSet<Written>,
    path: Vec<String>,
}

impl State {
    /// The state of a catalog. Unqualified names are looked up in `path` and created in its first schema.
    pub(super) fn of(catalog: &Catalog, path: &[String]) -> State {
        let mut state = State { path: path.to_vec(), ..State::default() };
        let objects = &mut state.objects;
        objects.extend(catalog.schemas.iter().map(|schema| Object::Schema(schema.meta.name.clone())));
        objects.extend(catalog.extensions.iter().map(|e| Object::Extension(e.meta.name.clone())));
        for kind in &catalog.types {
            let name = at(&kind.meta.schema, &kind.meta.name);
            if let TypeDefinition::Enum { labels } = &kind.definition {
                state.labels.extend(labels.iter().map(|label| (name.clone(), label.clone())));
            }
            objects.insert(Object::Type(name));
        }
        let functions = catalog.functions.iter().map(|function| &function.meta);
        for meta in functions.chain(catalog.aggregates.iter().map(|aggregate| &aggregate.meta)) {
            objects.insert(Object::Function(at(&meta.schema, &meta.name)));
        }
        for table in &catalog.tables {
            let name = written(&table.name());
            for column in &table.columns {
                let key = (name.clone(), column.name.clone());
                objects.insert(Object::Column(name.clone(), column.name.clone()));
                if column.not_null {
                    state.not_null.insert(key.clone());
                }
                if column.default.is_some() || column.identity.is_some() {
                    state.defaults.insert(key.clone());
                }
                state.types.insert(key, column.type_name.clone());
            }
            for check in &table.checks {
                objects.insert(Object::Constraint(name.clone(), check.name.clone()));
            }
            objects.insert(Object::Relation(name));
        }
        for sequence in &catalog.sequences {
            objects.insert(Object::Relation(written(&sequence.name())));
        }
        for index in &catalog.indexes {
            objects.insert(Object::Relation(at(&index.meta.schema, &index.meta.name)));
            if let Some(constraint) = &index.constraint {
                objects.insert(Object::Constraint(written(&index.table), constraint.name.clone()));
            }
        }
        for key in &catalog.foreign_keys {
            objects.insert(Object::Constraint(written(&key.table), key.name.clone()));
        }
        for trigger in &catalog.triggers {
            objects.insert(Object::Trigger(written(&trigger.table), trigger.name.clone()));
        }
        for policy in &catalog.policies {
            objects.insert(Object::Policy(written(&policy.table), policy.name.clone()));
        }
        for rule in &catalog.rules {
            objects.insert(Object::Rule(written(&rule.table), rule.name.clone()));
        }
        state
    }

    /// Qualifies the object: where it is found in the path, or else where it would be created.
    pub(super) fn resolve(&self, object: &Object, path: Option<&[String]>) -> Object {
        let Some(name) = object.written().filter(|name| name.schema.is_none()) else { return object.clone() };
        let path = path.unwrap_or(&self.path);
        let in_schema = |schema: &String| Written { schema: Some(schema.clone()), name: name.name.clone() };
        // Objects attached to a table are in the table's schema.
        let probe = |name: Written| match object {
            Object::Type(_) => Object::Type(name),
            Object::Function(_) => Object::Function(name),
            _ => Object::Relation(name),
        };
        let found = path.iter().map(in_schema).find(|name| self.objects.contains(&probe(name.clone())));
        let home = || in_schema(path.first().unwrap_or(&"public".to_owned()));
        object.with(found.unwrap_or_else(home))
    }

    /// True if the resolved object exists.
    pub(super) fn has(&self, object: &Object) -> bool {
        let column_of_opaque = match object {
            Object::Column(table, _) => self.opaque.contains(table),
            _ => false,
        };
        column_of_opaque || self.objects.contains(object)
    }

    /// True if a mark holds.
    pub(super) fn holds(&self, mark: &Mark, path: Option<&[String]>) -> bool {
        let column = |table: &Written, name: &str| match self
            .resolve(&Object::Column(table.clone(), name.to_owned()), path)
        {
            Object::Column(table, name) => (table, name),
            _ => (table.clone(), name.to_owned()),
        };
        match mark {
            Mark::Present(object) | Mark::Replaced(object) => self.has(&self.resolve(object, path)),
            Mark::Absent(object) => !self.has(&self.resolve(object, path)),
            Mark::Type(table, name, wanted) => self
                .types
                .get(&column(table, name))
                .is_some_and(|is| CanonicalType::of(is).same(&CanonicalType::of(wanted))),
            Mark::NotNull(table, name, wanted) => {
                let key = column(table, name);
                self.objects.contains(&Object::Column(key.0.clone(), key.1.clone()))
                    && self.not_null.contains(&key) == *wanted
            }
            Mark::Default(table, name, wanted) => {
                let key = column(table, name);
                self.objects.contains(&Object::Column(key.0.clone(), key.1.clone()))
                    && self.defaults.contains(&key) == *wanted
            }
            Mark::Label(kind, label) => match self.resolve(&Object::Type(kind.clone()), path) {
                Object::Type(name) => self.labels.contains(&(name, label.clone())),
                _ => false,
            },
        }
    }

    /// True if `IF NOT EXISTS` makes the statement a no-op in this state.
    pub(super) fn is_noop(&self, effect: &Effect) -> bool {
        let path = effect.path.as_deref();
        effect.if_not_exists && effect.marks.first().is_some_and(|mark| self.holds(mark, path))
    }

    /// Applies the effect of a statement.
    pub(super) fn run(&mut self, effect: &Effect) {
        if self.is_noop(effect) {
            return;
        }
        let path = effect.path.as_deref();
        if let [Mark::Absent(Object::Relation(_)), Mark::Present(Object::Relation(new))] =
            effect.marks.as_slice()
            && let Some(Mark::Absent(old)) = effect.marks.first()
        {
            self.rename(&self.resolve(old, path), new);
            return;
        }
        for mark in &effect.marks {
            let key = |table: &Written, name: &str| match self
                .resolve(&Object::Column(table.clone(), name.to_owned()), path)
            {
                Object::Column(table, name) => (table, name),
                _ => (table.clone(), name.to_owned()),
            };
            match mark {
                Mark::Present(object) | Mark::Replaced(object) => {
                    let object = self.resolve(object, path);
                    if let (true, Object::Relation(name)) = (effect.opaque, &object) {
                        self.opaque.insert(name.clone());
                    }
                    self.objects.insert(object);
                }
                Mark::Absent(object) => {
                    let object = self.resolve(object, path);
                    self.objects.retain(|other| !dropped_with(other, &object));
                }
                Mark::Type(table, name, kind) => {
                    let key = key(table, name);
                    self.types.insert(key, kind.clone());
                }
                Mark::NotNull(table, name, yes) => {
                    let key = key(table, name);
                    let _ = if *yes { self.not_null.insert(key) } else { self.not_null.remove(&key) };
                }
                Mark::Default(table, name, yes) => {
                    let key = key(table, name);
                    let _ = if *yes { self.defaults.insert(key) } else { self.defaults.remove(&key) };
                }
                Mark::Label(kind, label) => {
                    if let Object::Type(name) = self.resolve(&Object::Type(kind.clone()), path) {
                        self.labels.insert((name, label.clone()));
                    }
                }
            }
        }
    }

    /// A renamed table keeps its columns and attached objects.
    fn rename(&mut self, old: &Object, new: &Written) {
        let Some(old_name) = old.written() else { return };
        let schema = new.schema.clone().or_else(|| old_name.schema.clone());
        let new = Written { schema, name: new.name.clone() };
        let moved: Vec<Object> =
            self.objects.iter().filter(|object| dropped_with(object, old)).cloned().collect();
        for object in moved {
            self.objects.remove(&object);
            self.objects.insert(object.with(new.clone()));
        }
        if self.opaque.remove(old_name) {
            self.opaque.insert(new);
        }
    }
}

/// The table and schema with which the object is dropped.
pub(super) fn containers(object: &Object) -> Vec<Object> {
    let Some(name) = object.written() else { return Vec::new() };
    let mut containers: Vec<Object> = name.schema.clone().map(Object::Schema).into_iter().collect();
    let part = !matches!(object, Object::Relation(_) | Object::Type(_) | Object::Function(_));
    if part {
        containers.push(Object::Relation(name.clone()));
    }
    containers
}

/// True if dropping `dropped` drops `object`: it is the same, or a part of it.
fn dropped_with(object: &Object, dropped: &Object) -> bool {
    object == dropped || containers(object).contains(dropped)
}

fn at(schema: &str, name: &str) -> Written {
    Written { schema: Some(schema.to_owned()), name: name.to_owned() }
}

fn written(name: &QualifiedName) -> Written {
    at(&name.schema, &name.name)
}
