//! The opcodes between keys, and the type byte with which a key begins.

use super::{Reader, State};
use crate::rdb::cursor::{Cursor, Stop};
use crate::rdb::module;
use crate::rdb::value::{Dialect, ValueType, Walker};
use crate::rdb::visitor::{Key, Visitor};

impl Reader {
    pub(super) fn opcode<V: Visitor>(
        &mut self,
        cursor: &mut Cursor<'_>,
        visitor: &mut V,
    ) -> Result<(), Stop> {
        match (cursor.u8()?, self.dialect) {
            (242, Dialect::Redis) => {
                let id = cursor.count()?;
                let left = cursor.count()?;
                self.templates.begin(id);
                self.state = State::Template { id, left };
            }
            (243, Dialect::Redis) => {
                let left = cursor.count()?;
                self.metadata.clear();
                self.state = State::Metadata { left, open: false };
            }
            // The state of a slot migration in a cluster: a job name and slot ranges.
            (243, Dialect::Valkey) => {
                cursor.text()?;
                self.state = State::Slots { left: cursor.count()? };
            }
            (244, _) => {
                for _ in 0..3 {
                    cursor.count()?;
                }
            }
            (245, _) => {
                let code = cursor.text()?;
                visitor.function(code.bytes(&mut self.scratch)?);
            }
            // The format of the 7.0 release candidates, which 7.0 itself loads: name and engine are separate from the
            // code, rather than part of it as today (`rdbFunctionLoad`).
            (246, _) => {
                let (name, engine) = (cursor.text()?, cursor.text()?);
                if cursor.count()? > 0 {
                    cursor.text()?;
                }
                let code = cursor.text()?;
                let mut whole = b"#!".to_vec();
                whole.extend_from_slice(engine.bytes(&mut self.scratch)?);
                whole.extend_from_slice(b" name=");
                whole.extend_from_slice(name.bytes(&mut self.scratch)?);
                whole.push(b'\n');
                whole.extend_from_slice(code.bytes(&mut self.scratch)?);
                visitor.function(&whole);
            }
            (247, _) => {
                let id = cursor.count()?;
                cursor.count()?;
                cursor.count()?;
                visitor.module_aux(&module::name(id));
                self.state = State::ModuleAux;
            }
            (248, _) => self.idle = Some(cursor.count()?),
            (249, _) => self.frequency = Some(cursor.u8()?),
            (250, _) => {
                let (name, value) = (cursor.text()?, cursor.text()?);
                visitor.aux(name.bytes(&mut self.scratch)?, value.bytes(&mut self.scratch2)?);
            }
            (251, _) => {
                cursor.count()?;
                cursor.count()?;
            }
            (252, _) => self.expiry = Some(cursor.millis()?),
            (253, _) => {
                let seconds = i32::from_le_bytes(cursor.array()?);
                self.expiry = Some(i64::from(seconds) * 1000);
            }
            (254, _) => self.db = cursor.count()?,
            (255, _) => self.state = State::Footer,
            (code, dialect) => {
                // Hashes that refer to a template of this file are reported in their form without it.
                let templated = dialect == Dialect::Redis && matches!(code, 30 | 32);
                let value_type = ValueType::new(if templated { 31 } else { code }, dialect)?;
                let name = cursor.text()?.bytes(&mut self.scratch)?;
                self.name.clear();
                self.name.extend_from_slice(name);
                visitor.key(&Key {
                    db: self.db,
                    name: &self.name,
                    expiry: self.expiry.take(),
                    idle: self.idle.take(),
                    frequency: self.frequency.take(),
                    value_type,
                    metadata: &self.metadata,
                });
                self.metadata.clear();
                match &mut self.walker {
                    Some(walker) => walker.reset(value_type),
                    None => self.walker = Some(Walker::new(value_type)),
                }
                self.state = match templated {
                    true => State::Templated { packed: code == 30 },
                    false => State::Value,
                };
            }
        }
        Ok(())
    }
}
