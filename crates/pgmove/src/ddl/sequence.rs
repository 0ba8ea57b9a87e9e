//! Sequences: creation, ownership, values.

use super::script::Builder;
use crate::catalog::Object;
use crate::catalog::sequence::Sequence;
use crate::catalog::table::Persistence;
use crate::quote::{ident, literal};

impl<'a> Builder<'a> {
    pub(super) fn sequence(&mut self, sequence: &'a Sequence) {
        let name = sequence.meta.qualified();
        if sequence.is_identity() {
            self.identity(sequence);
        } else {
            let unlogged = match sequence.persistence {
                Persistence::Unlogged if self.target >= 150_000 => "UNLOGGED ",
                _ => "",
            };
            let as_type = if sequence.type_name == "bigint" {
                String::new()
            } else {
                format!(" AS {}", sequence.type_name)
            };
            self.push(format!("CREATE {unlogged}SEQUENCE {name}{as_type}{}", clauses(sequence)));
            self.owner("SEQUENCE", &name, &sequence.meta);
        }
        self.annotations("SEQUENCE", &name, sequence.address(), 0);
    }

    pub(super) fn sequence_owner(&mut self, sequence: &'a Sequence) {
        if let Some(owner) = &sequence.owned_by {
            self.push(format!(
                "ALTER SEQUENCE {} OWNED BY {}.{}",
                sequence.name(),
                owner.table,
                ident(&owner.column)
            ));
        }
    }

    pub(super) fn sequence_value(&mut self, sequence: &'a Sequence) {
        if let Some(value) = sequence.value {
            self.made_by(sequence.meta.extension.as_ref());
            let name = literal(&sequence.name().to_string());
            self.push(format!("SELECT pg_catalog.setval({name}, {}, {})", value.last, value.called));
        }
    }
}

/// All clauses of a sequence except its type. None is omitted, because defaults differ between versions.
pub(super) fn clauses(sequence: &Sequence) -> String {
    let cycle = if sequence.cycle { " CYCLE" } else { "" };
    format!(
        " START WITH {} INCREMENT BY {} MINVALUE {} MAXVALUE {} CACHE {}{cycle}",
        sequence.start, sequence.increment, sequence.min, sequence.max, sequence.cache
    )
}
