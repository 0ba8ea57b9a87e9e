//! Common properties of objects: identity, name, owner, privileges.

use serde::{Deserialize, Serialize};

use super::address::Address;

/// A name in a schema.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct QualifiedName {
    /// The schema, unquoted.
    pub schema: String,
    /// The name, unquoted.
    pub name: String,
}

impl QualifiedName {
    /// `schema.name` from its two parts, unquoted.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: schema.into(), name: name.into() }
    }

    /// Names from rows whose first two columns are schema and name.
    pub(crate) fn of_rows<C: FromIterator<Self>>(rows: Vec<Vec<Option<String>>>) -> C {
        let name = |row: Vec<Option<String>>| {
            let mut fields = row.into_iter().flatten();
            Some(Self::new(fields.next()?, fields.next()?))
        };
        rows.into_iter().filter_map(name).collect()
    }
}

impl std::fmt::Display for QualifiedName {
    /// Both parts, quoted as needed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", crate::quote::ident(&self.schema), crate::quote::ident(&self.name))
    }
}

/// Identity, owner and privileges of one object.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Meta {
    /// OID in the source database.
    pub oid: u32,
    /// Schema, unquoted; empty for kinds without a schema.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub schema: String,
    /// Name, unquoted.
    pub name: String,
    /// Owner, unquoted; empty for kinds without an owner.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// Privileges as `aclitem` text; `None` if they were never changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acl: Option<Vec<String>>,
    /// The object's initial privileges as `aclitem` text: the built-in default of its kind, or those granted by initdb
    /// or by its extension's script (`pg_init_privs`). Read only if `acl` is present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_acl: Option<Vec<String>>,
    /// The extension that owns the object, if any. The extension then defines it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<String>,
}

impl Meta {
    /// The qualified name, quoted for SQL; without schema for kinds that have none.
    pub fn qualified(&self) -> String {
        if self.schema.is_empty() {
            crate::quote::ident(&self.name).into_owned()
        } else {
            format!("{}.{}", crate::quote::ident(&self.schema), crate::quote::ident(&self.name))
        }
    }
}

/// An object of the catalog.
pub trait Object {
    /// OID of the kind's system catalog.
    const CLASS: u32;

    /// Identity, owner and privileges.
    fn meta(&self) -> &Meta;

    /// Its address in `pg_depend`.
    fn address(&self) -> Address {
        Address::new(Self::CLASS, self.meta().oid)
    }
}

/// Implements [`Object`] for structs with a field `meta`.
macro_rules! object {
    ($kind:ty, $class:expr) => {
        impl $crate::catalog::meta::Object for $kind {
            const CLASS: u32 = $class;
            fn meta(&self) -> &$crate::catalog::meta::Meta {
                &self.meta
            }
        }
    };
}
pub(crate) use object;

/// The select list for [`Meta`] of one kind of object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MetaColumns {
    /// The catalog, such as `pg_proc`.
    pub(crate) catalog: &'static str,
    /// Its alias in the query.
    pub(crate) alias: &'static str,
    /// Expression for the name.
    pub(crate) name: &'static str,
    /// Column with the schema's OID, if the kind has schemas.
    pub(crate) schema: Option<&'static str>,
    /// Column with the owner's OID, if the kind has owners.
    pub(crate) owner: Option<&'static str>,
    /// Column with the privileges, and the kind's code for `acldefault()`.
    pub(crate) acl: Option<(&'static str, &'static str)>,
}

impl MetaColumns {
    /// Renders the select list.
    pub(crate) fn sql(&self) -> String {
        let Self { catalog, alias, name, .. } = self;
        let mut sql = format!("{alias}.oid::int8 AS oid, {alias}.{name}::text AS name");
        if let Some(schema) = self.schema {
            sql += &format!(
                ", (SELECT nspname FROM pg_namespace WHERE pg_namespace.oid = {alias}.{schema}) AS schema"
            );
        }
        if let Some(owner) = self.owner {
            sql += &format!(", pg_get_userbyid({alias}.{owner}) AS owner");
            if let Some((acl, kind)) = self.acl {
                // The privileges are NULL if they were never changed. After privileges from an extension or initdb are
                // reset to the default, the server stores that default explicitly and keeps the pg_init_privs row. So
                // NULL always means "unchanged".
                sql += &format!(
                    ", {alias}.{acl}::text[] AS acl, CASE WHEN {alias}.{acl} IS NOT NULL THEN \
                     coalesce((SELECT initprivs FROM pg_init_privs WHERE classoid = '{catalog}'::regclass \
                     AND objoid = {alias}.oid AND objsubid = 0), acldefault({kind}, {alias}.{owner}))::text[] END AS initial_acl"
                );
            }
        }
        sql += &format!(
            ", (SELECT extname FROM pg_depend JOIN pg_extension ON pg_extension.oid = refobjid \
             WHERE classid = '{catalog}'::regclass AND objid = {alias}.oid AND objsubid = 0 AND deptype = 'e' \
             AND refclassid = 'pg_extension'::regclass LIMIT 1) AS extension"
        );
        sql
    }
}

/// The condition that an object is in a user schema.
pub(crate) fn in_user_schema(column: &str) -> String {
    format!(
        "{column} IN (SELECT oid FROM pg_namespace WHERE nspname <> 'information_schema' AND nspname !~ '^pg_')"
    )
}

/// The first OID assigned after initdb (`FirstNormalObjectId` in `access/transam.h`).
pub(crate) const FIRST_NORMAL_OID: u32 = 16384;
