//! Types: enums, domains, composites, ranges, base types.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::address::class;
use super::column::{Check, Column};
use super::deparsed::{quoted, type_name};
use super::meta::{Meta, MetaColumns, QualifiedName, in_user_schema, object};
use super::query::rows;
use crate::error::Error;

/// A type. Row types of tables, array types and multiranges belong to other objects and are not listed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Type {
    /// Identity, owner and privileges.
    #[serde(flatten)]
    pub meta: Meta,
    /// Its definition.
    pub definition: TypeDefinition,
}
object!(Type, class::TYPE);

/// The definition of a type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum TypeDefinition {
    /// `AS ENUM`
    #[serde(alias = "e")]
    Enum {
        /// The labels in order.
        labels: Vec<String>,
    },
    /// A domain.
    #[serde(alias = "d")]
    Domain(Domain),
    /// A standalone composite type.
    #[serde(alias = "c")]
    Composite {
        /// OID of its row in `pg_class`.
        relation: u32,
        /// Its attributes.
        #[serde(default)]
        columns: Vec<Column>,
    },
    /// A range type.
    #[serde(alias = "r")]
    Range(Range),
    /// A base type, with input and output functions.
    #[serde(alias = "b")]
    Base(Box<BaseType>),
    /// A shell type: declared but not defined.
    #[serde(alias = "p")]
    Shell,
}

/// A domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    /// The base type, formatted.
    #[serde(deserialize_with = "super::deparsed::text")]
    pub base: String,
    /// Its collation, if it differs from the base type's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collation: Option<QualifiedName>,
    /// Whether it is NOT NULL.
    pub not_null: bool,
    /// Name of the NOT NULL constraint (17 and newer).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_null_name: Option<String>,
    /// OID of that constraint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_null_oid: Option<u32>,
    /// Its default expression.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "super::deparsed::optional"
    )]
    pub default: Option<String>,
    /// Its checks, by name.
    pub checks: Vec<Check>,
}

/// A range type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The subtype.
    #[serde(deserialize_with = "super::deparsed::text")]
    pub subtype: String,
    /// The operator class, if it is not the subtype's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opclass: Option<QualifiedName>,
    /// The collation, if it differs from the subtype's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collation: Option<QualifiedName>,
    /// The canonical function.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "super::deparsed::optional"
    )]
    pub canonical: Option<String>,
    /// The difference function.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "super::deparsed::optional"
    )]
    pub difference: Option<String>,
    /// Name of its multirange type (14 and newer).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multirange: Option<QualifiedName>,
}

/// A base type: every clause of `CREATE TYPE name (…)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseType {
    /// `INTERNALLENGTH`, -1 for variable length.
    pub length: i32,
    /// Functions by clause (`INPUT`, `OUTPUT`, `RECEIVE` and so on), as qualified names.
    #[serde(deserialize_with = "super::deparsed::pairs")]
    pub functions: Vec<(String, String)>,
    /// `PASSEDBYVALUE`
    pub by_value: bool,
    /// `ALIGNMENT`: `c`, `s`, `i` or `d`.
    pub alignment: String,
    /// `STORAGE`: `p`, `e`, `x` or `m`.
    pub storage: String,
    /// `CATEGORY`
    pub category: String,
    /// `PREFERRED`
    pub preferred: bool,
    /// `DELIMITER`
    pub delimiter: String,
    /// `ELEMENT`
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "super::deparsed::optional"
    )]
    pub element: Option<String>,
    /// `DEFAULT`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// `COLLATABLE`
    pub collatable: bool,
}

/// Types in user schemas.
pub(super) async fn read(client: &Client, version: u32) -> Result<Vec<Type>, Error> {
    let meta = MetaColumns {
        catalog: "pg_type",
        alias: "t",
        name: "typname",
        schema: Some("typnamespace"),
        owner: Some("typowner"),
        acl: Some(("typacl", "'T'")),
    }
    .sql();
    let user = in_user_schema("t.typnamespace");
    let default = quoted("coalesce(pg_get_expr(t.typdefaultbin, 0), quote_literal(t.typdefault))");
    let check = quoted("pg_get_constraintdef(k.oid)");
    let base = type_name("t.typbasetype", "t.typtypmod");
    let subtype = type_name("r.rngsubtype", "NULL");
    let element = type_name("t.typelem", "NULL");
    let canonical = quoted("nullif(r.rngcanonical::text, '-')");
    let difference = quoted("nullif(r.rngsubdiff::text, '-')");
    let proc = quoted("f.proc::text");
    let subscript = if version >= 140_000 { ", ('SUBSCRIPT', t.typsubscript)" } else { "" };
    let multirange = if version >= 140_000 {
        "(SELECT json_build_object('schema', mn.nspname, 'name', mt.typname) FROM pg_type mt \
         JOIN pg_namespace mn ON mn.oid = mt.typnamespace WHERE mt.oid = r.rngmultitypid)"
    } else {
        "NULL"
    };
    let not_null = if version >= 170_000 {
        "'not_null_name', (SELECT conname FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'n'), \
         'not_null_oid', (SELECT oid::int8 FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'n'),"
    } else {
        ""
    };
    // Array types are recognized by an element type that points back at them.
    rows(
        client,
        "types",
        &format!(
            "SELECT {meta}, CASE \
              WHEN NOT t.typisdefined THEN json_build_object('kind', 'p', 'x', 0) \
              WHEN t.typtype = 'e' THEN json_build_object('kind', 'e', 'labels', \
                coalesce((SELECT json_agg(enumlabel ORDER BY enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid), '[]')) \
              WHEN t.typtype = 'd' THEN json_build_object('kind', 'd', 'base', {base}, \
                'not_null', t.typnotnull, {not_null} \
                'default', {default}, \
                'collation', (SELECT json_build_object('schema', n.nspname, 'name', o.collname) FROM pg_collation o \
                   JOIN pg_namespace n ON n.oid = o.collnamespace JOIN pg_type u ON u.oid = t.typbasetype \
                   WHERE o.oid = t.typcollation AND t.typcollation <> u.typcollation), \
                'checks', coalesce((SELECT json_agg(json_build_object('oid', k.oid::int8, 'name', k.conname, 'local', true, \
                   'validated', k.convalidated, 'definition', {check}) ORDER BY k.conname) \
                   FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c'), '[]')) \
              WHEN t.typtype = 'c' THEN json_build_object('kind', 'c', 'relation', t.typrelid::int8) \
              WHEN t.typtype = 'r' THEN (SELECT json_build_object('kind', 'r', 'subtype', {subtype}, \
                 'opclass', CASE WHEN NOT o.opcdefault THEN json_build_object('schema', n.nspname, 'name', o.opcname) END, \
                 'collation', (SELECT json_build_object('schema', cn.nspname, 'name', l.collname) FROM pg_collation l \
                    JOIN pg_namespace cn ON cn.oid = l.collnamespace JOIN pg_type u ON u.oid = r.rngsubtype \
                    WHERE l.oid = r.rngcollation AND r.rngcollation <> u.typcollation), \
                 'canonical', {canonical}, 'difference', {difference}, \
                 'multirange', {multirange}) \
                 FROM pg_range r JOIN pg_opclass o ON o.oid = r.rngsubopc JOIN pg_namespace n ON n.oid = o.opcnamespace \
                 WHERE r.rngtypid = t.oid) \
              ELSE json_build_object('kind', 'b', 'length', t.typlen, 'by_value', t.typbyval, 'alignment', t.typalign, \
                 'storage', t.typstorage, 'category', t.typcategory, 'preferred', t.typispreferred, 'delimiter', t.typdelim, \
                 'element', CASE WHEN t.typelem <> 0 THEN {element} END, \
                 'default', coalesce(pg_get_expr(t.typdefaultbin, 0), t.typdefault), 'collatable', t.typcollation <> 0, \
                 'functions', (SELECT json_agg(json_build_array(f.clause, {proc})) FROM (VALUES ('INPUT', t.typinput), \
                    ('OUTPUT', t.typoutput), ('RECEIVE', t.typreceive), ('SEND', t.typsend), ('TYPMOD_IN', t.typmodin), \
                    ('TYPMOD_OUT', t.typmodout), ('ANALYZE', t.typanalyze){subscript}) f(clause, proc) WHERE f.proc <> 0)) \
              END AS definition \
             FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid LEFT JOIN pg_type el ON el.oid = t.typelem \
             WHERE (t.typtype IN ('b', 'e', 'd', 'r') OR (t.typtype = 'c' AND c.relkind = 'c') OR NOT t.typisdefined) \
             AND NOT (el.typarray IS NOT NULL AND el.typarray = t.oid) AND {user} ORDER BY 3, 2"
        ),
    )
    .await
}
