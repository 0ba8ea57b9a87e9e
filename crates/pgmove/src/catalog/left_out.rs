//! What a restore, a script or a part of a database cannot contain.

use serde::{Deserialize, Deserializer, Serialize};

use super::meta::QualifiedName;
use crate::quote::{ident, one_line};

/// One object or property that is left out. Displayed, it is one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "left-out", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LeftOut {
    /// A foreign key of a selected table to an excluded one.
    #[error(
        "foreign key {} on {} refers to {}, which the filter excludes, and is excluded too",
        one_line(.name), one_line(&.table.to_string()), one_line(&.references.to_string())
    )]
    ForeignKey {
        /// Its name.
        name: String,
        /// The referencing table.
        table: QualifiedName,
        /// The referenced table.
        references: QualifiedName,
    },
    /// The excluded parent of a selected table.
    #[error(
        "table {} is {} {}, which the filter excludes: it becomes an independent table, without the foreign keys and \
         triggers inherited from it",
        one_line(&.table.to_string()), if *.partition { "a partition of" } else { "a child of" },
        one_line(&.parent.to_string())
    )]
    Parent {
        /// The table.
        table: QualifiedName,
        /// Its parent.
        parent: QualifiedName,
        /// Whether the table is a partition.
        partition: bool,
    },

    /// A membership in a predefined role that the server does not have.
    #[error("membership of {} in {}: this server has no such role", ident(.member), ident(.role))]
    Membership {
        /// The member.
        member: String,
        /// The role.
        role: String,
    },
    /// Privileges on a configuration parameter.
    #[error("privileges on parameter {parameter}: requires PostgreSQL 15 or newer")]
    ParameterPrivileges {
        /// The parameter.
        parameter: String,
    },

    /// Rows of a continuous aggregate, in a script.
    #[error(
        "rows of continuous aggregate {}: refresh_continuous_aggregate recreates those whose raw rows still exist",
        one_line(&.aggregate.to_string())
    )]
    AggregateRows {
        /// The aggregate.
        aggregate: QualifiedName,
    },
    /// The compression of a hypertable, in a script.
    #[error("compression of hypertable {}", one_line(&.table.to_string()))]
    Compression {
        /// The hypertable.
        table: QualifiedName,
    },
    /// A job of TimescaleDB, in a script.
    #[error("job {}", one_line(.title))]
    Job {
        /// Its title.
        title: String,
    },

    /// The description in a catalog that was stored as text.
    #[error("{detail}")]
    Described {
        /// The description.
        detail: String,
    },
}

/// Reads the list of a stored catalog, whose entries may be descriptions.
pub(super) fn stored<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<LeftOut>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Entry {
        Text(String),
        Typed(LeftOut),
    }
    let typed = |entry| match entry {
        Entry::Text(detail) => LeftOut::Described { detail },
        Entry::Typed(left_out) => left_out,
    };
    Ok(Vec::<Entry>::deserialize(deserializer)?.into_iter().map(typed).collect())
}

#[cfg(test)]
mod tests {
    use super::super::Catalog;
    use super::*;

    #[test]
    fn stored_lists_may_hold_descriptions() {
        let parent = LeftOut::Parent {
            table: QualifiedName::new("public", "a\nb"),
            parent: QualifiedName::new("public", "p"),
            partition: true,
        };
        let text = LeftOut::Described { detail: "foreign key a".to_owned() };
        let catalog = Catalog { left_out: vec![parent.clone(), text.clone()], ..Catalog::default() };
        let mut json = serde_json::to_value(&catalog).unwrap();
        json["left_out"][1] = "foreign key a".into();
        let read: Catalog = serde_json::from_value(json).unwrap();
        assert_eq!(read.left_out, [parent, text]);
        assert!(
            read.left_out[0].to_string().starts_with("table public.\"a\\nb\" is a partition of public.p, ")
        );
    }
}
