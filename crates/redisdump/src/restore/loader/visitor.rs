//! What the loader does with each key of an RDB.

use super::{GIANT, Loader, MAX_KEPT_MEMORY, MalformedValue};
use crate::client::wire::command;
use crate::convert::commands::Unsupported;
use crate::rdb::{Dialect, EMPTY, Elements, Key, Kind, Visitor};
use crate::restore::choice::written;
use crate::restore::pipeline::Operation;
use crate::restore::settings::OnExisting;

impl Elements for Loader<'_> {}

impl Visitor for Loader<'_> {
    fn header(&mut self, dialect: Dialect, version: u16) {
        (self.dialect, self.version) = (dialect, version);
    }

    fn aux(&mut self, name: &[u8], value: &[u8]) {
        self.moment = written(name, value).unwrap_or(self.moment);
    }

    fn function(&mut self, code: &[u8]) {
        if !self.capabilities.target.features().functions {
            self.unsupported.add(&crate::convert::commands::Unsupported::Function, 0, b"");
            return;
        }
        // Each master of a cluster has functions of its own.
        let (each, nodes) = self.routes.map_or((1, 1), |routes| (routes.pipelines_each(), routes.nodes()));
        for pipeline in self.pipelines.iter_mut().step_by(each).take(nodes) {
            match self.settings.on_existing {
                OnExisting::Replace => command(&mut pipeline.out, &[b"FUNCTION", b"LOAD", b"REPLACE", code]),
                _ => command(&mut pipeline.out, &[b"FUNCTION", b"LOAD", code]),
            }
            pipeline.note(Operation::Function, 0, b"");
        }
        self.functions += 1;
    }

    fn module_aux(&mut self, module: &str) {
        if !self.modules.iter().any(|known| known == module) {
            self.modules.push(module.to_owned());
        }
        if self.dry && !self.capabilities.has_module(module) {
            self.unsupported.add(&Unsupported::ModuleData { module: module.to_owned() }, 0, b"");
        }
    }

    fn key(&mut self, key: &Key<'_>) {
        for buffer in [&mut self.raw, &mut self.payload] {
            if buffer.capacity() > MAX_KEPT_MEMORY {
                *buffer = Vec::new();
            }
        }
        self.raw.clear();
        self.raw.push(key.value_type.code());
        self.metadata.clear();
        self.metadata.extend_from_slice(key.metadata);
        self.name.clear();
        let settings = self.settings;
        let choice = &settings.choice;
        self.name.extend_from_slice(&choice.name(key.name));
        self.expiry = choice.expiry(key.expiry, self.moment);
        (self.value_type, self.chunked) = (Some(key.value_type), None);
        if self.dry {
            self.matched.note(choice, key.db, key.name);
        }
        if let Some(placeholders) = self.placeholders {
            self.expiry = key.expiry.map(|at| placeholders.placeholder(at));
        }
        (self.idle, self.frequency) = (key.idle, key.frequency);
        self.skip = false;
        if self.gone() || choice.had_expired(key.expiry, self.moment) {
            self.skip = true;
            self.expired += 1;
        } else if !choice.selects(key.db, key.name) {
            self.skip = true;
            self.unwanted += 1;
        } else {
            self.db = self.database(key.db);
            if let Some(collisions) = &mut self.collisions
                && choice.may_collide(&self.name)
            {
                collisions.add(self.db, &self.name);
            }
            self.light = self.is_plain(key.value_type);
        }
    }

    fn raw(&mut self, bytes: &[u8]) {
        if self.skip {
            return;
        }
        self.wanted_bytes += bytes.len() as u64;
        if self.light && self.raw.len() > EMPTY + 1 {
            return;
        }
        if let Some(chunked) = &mut self.chunked {
            chunked.feed(bytes);
            if let Some(pipeline) = self.pipelines.get_mut(self.next) {
                chunked.take_into(pipeline);
            }
            return;
        }
        self.raw.extend_from_slice(bytes);
        if self.raw.len() > GIANT
            && let Some(value_type) =
                self.value_type.filter(|ty| !matches!(ty.kind(), Kind::Module | Kind::Array))
        {
            self.begin_pieces(value_type);
        }
    }

    fn key_end(&mut self) {
        let Some(value_type) = self.value_type.take() else { return };
        if self.skip {
            return;
        }
        if let Some(chunked) = self.chunked.take() {
            return self.end_chunked(chunked);
        }
        let kind = value_type.kind();
        if value_type.is_empty(self.value()) {
            self.empty += 1;
            return;
        }
        if self.lacks_module(kind) {
            return;
        }
        if self.light {
            self.keys += 1;
            return;
        }
        // Room for the footer.
        let long = self.raw.len() as u64 + 64 > self.capabilities.longest;
        let by_commands = long || self.capabilities.no_restore.is_some();
        if (by_commands && kind != Kind::Module) || self.changes_fields(value_type) {
            self.begin_pieces(value_type);
            if let Some(chunked) = self.chunked.take() {
                self.end_chunked(chunked);
            }
        } else {
            let lint = self.lint(value_type);
            if self.make_payload(value_type) {
                if let Some(lint) = lint {
                    let (name, payload) = (self.name.clone(), self.raw.clone());
                    self.doubtful.push(MalformedValue { db: self.db, name, lint, payload });
                }
                self.choose_pipeline();
                self.restore(kind);
            }
        }
    }
}
