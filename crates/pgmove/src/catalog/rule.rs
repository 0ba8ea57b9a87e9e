//! Objects attached to tables: triggers, rules, policies, extended statistics.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::address::class;
use super::deparsed::quoted;
use super::meta::{Meta, MetaColumns, QualifiedName, in_user_schema, object};
use super::query::rows;
use super::table::TableKind;
use crate::error::Error;

/// When a trigger, rule or event trigger fires, depending on `session_replication_role`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Firing {
    /// In sessions with the role `origin` or `local`.
    #[serde(alias = "O")]
    Origin,
    /// Never.
    #[serde(alias = "D")]
    Disabled,
    /// In sessions with the role `replica`.
    #[serde(alias = "R")]
    Replica,
    /// In every session.
    #[serde(alias = "A")]
    Always,
}

impl Firing {
    /// The keyword of `ALTER TABLE` and `ALTER EVENT TRIGGER`: `ENABLE`, `DISABLE` and so on.
    pub const fn keyword(self) -> &'static str {
        match self {
            Self::Origin => "ENABLE",
            Self::Disabled => "DISABLE",
            Self::Replica => "ENABLE REPLICA",
            Self::Always => "ENABLE ALWAYS",
        }
    }
}

/// A trigger of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// OID in `pg_trigger`.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// OID of its table.
    pub table_oid: u32,
    /// Its table.
    pub table: QualifiedName,
    /// The kind of its table.
    pub table_kind: TableKind,
    /// `CREATE TRIGGER …`, deparsed.
    #[serde(deserialize_with = "super::deparsed::text")]
    pub definition: String,
    /// When it fires.
    pub firing: Firing,
    /// Whether it was cloned from the parent of a partition. Then only `firing` differs from the parent's trigger.
    pub inherited: bool,
}

/// Triggers of user tables, except those that implement constraints.
pub(super) async fn read_triggers(client: &Client, version: u32) -> Result<Vec<Trigger>, Error> {
    // How to recognize cloned triggers: 15 records the parent and does not mark the clone internal; 13 and 14 record
    // the parent; 12 has only the dependency.
    let (parent, wanted, inherited) = match version {
        150_000.. => (
            "LEFT JOIN pg_trigger u ON u.oid = t.tgparentid",
            "((NOT t.tgisinternal AND t.tgparentid = 0) OR t.tgenabled <> u.tgenabled)",
            "t.tgparentid <> 0",
        ),
        130_000.. => (
            "LEFT JOIN pg_trigger u ON u.oid = t.tgparentid",
            "(NOT t.tgisinternal OR t.tgenabled <> u.tgenabled)",
            "t.tgparentid <> 0",
        ),
        _ => (
            "LEFT JOIN pg_depend d ON d.classid = 'pg_trigger'::regclass AND d.refclassid = 'pg_trigger'::regclass \
             AND d.objid = t.oid AND d.deptype = 'P' LEFT JOIN pg_trigger u ON u.oid = d.refobjid",
            "(NOT t.tgisinternal OR t.tgenabled <> u.tgenabled)",
            "t.tgisinternal",
        ),
    };
    let user = in_user_schema("c.relnamespace");
    let definition = quoted("pg_get_triggerdef(t.oid, false)");
    rows(
        client,
        "triggers",
        &format!(
            "SELECT t.oid::int8 AS oid, t.tgname AS name, c.oid::int8 AS table_oid, \
             json_build_object('schema', n.nspname, 'name', c.relname) AS table, c.relkind AS table_kind, \
             {definition} AS definition, t.tgenabled AS firing, {inherited} AS inherited \
             FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace {parent} \
             WHERE c.relpersistence <> 't' AND {wanted} AND {user} ORDER BY n.nspname, c.relname, t.tgname"
        ),
    )
    .await
}

/// A rewrite rule, except the `_RETURN` rules of views.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// OID in `pg_rewrite`.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// OID of its table.
    pub table_oid: u32,
    /// Its table.
    pub table: QualifiedName,
    /// The kind of its table.
    pub table_kind: TableKind,
    /// `CREATE RULE …`, deparsed.
    #[serde(deserialize_with = "super::deparsed::text")]
    pub definition: String,
    /// When it fires.
    pub firing: Firing,
}

/// Rules of user tables and views.
pub(super) async fn read_rules(client: &Client) -> Result<Vec<Rule>, Error> {
    let user = in_user_schema("c.relnamespace");
    let definition = quoted("pg_get_ruledef(r.oid)");
    rows(
        client,
        "rules",
        &format!(
            "SELECT r.oid::int8 AS oid, r.rulename AS name, c.oid::int8 AS table_oid, \
             json_build_object('schema', n.nspname, 'name', c.relname) AS table, c.relkind AS table_kind, \
             {definition} AS definition, r.ev_enabled AS firing \
             FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE NOT (r.ev_type = '1' AND r.is_instead AND c.relkind IN ('v', 'm')) AND c.relpersistence <> 't' AND {user} \
             ORDER BY n.nspname, c.relname, r.rulename"
        ),
    )
    .await
}

/// A row security policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// OID in `pg_policy`.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// OID of its table.
    pub table_oid: u32,
    /// Its table.
    pub table: QualifiedName,
    /// `ALL`, `SELECT`, `INSERT`, `UPDATE` or `DELETE`.
    pub command: String,
    /// Whether it is permissive rather than restrictive.
    pub permissive: bool,
    /// The roles that it applies to; empty for PUBLIC.
    pub roles: Vec<String>,
    /// `USING`
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "super::deparsed::optional"
    )]
    pub using: Option<String>,
    /// `WITH CHECK`
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "super::deparsed::optional"
    )]
    pub check: Option<String>,
}

/// Policies of user tables.
pub(super) async fn read_policies(client: &Client) -> Result<Vec<Policy>, Error> {
    let user = in_user_schema("c.relnamespace");
    let using = quoted("pg_get_expr(p.polqual, p.polrelid)");
    let check = quoted("pg_get_expr(p.polwithcheck, p.polrelid)");
    rows(
        client,
        "policies",
        &format!(
            "SELECT p.oid::int8 AS oid, p.polname AS name, c.oid::int8 AS table_oid, \
             json_build_object('schema', n.nspname, 'name', c.relname) AS table, \
             CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END AS command, \
             p.polpermissive AS permissive, \
             coalesce((SELECT json_agg(rolname ORDER BY rolname) FROM pg_roles WHERE oid = ANY (p.polroles)), '[]') AS roles, \
             {using} AS using, {check} AS check \
             FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relpersistence <> 't' AND {user} ORDER BY n.nspname, c.relname, p.polname"
        ),
    )
    .await
}

/// Extended statistics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Identity and owner.
    #[serde(flatten)]
    pub meta: Meta,
    /// `CREATE STATISTICS …`, deparsed.
    #[serde(deserialize_with = "super::deparsed::text")]
    pub definition: String,
    /// The statistics target, if set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<i32>,
}
object!(Statistics, class::STATISTICS);

/// Extended statistics in user schemas.
pub(super) async fn read_statistics(client: &Client, version: u32) -> Result<Vec<Statistics>, Error> {
    let meta = MetaColumns {
        catalog: "pg_statistic_ext",
        alias: "s",
        name: "stxname",
        schema: Some("stxnamespace"),
        owner: Some("stxowner"),
        acl: None,
    }
    .sql();
    let target = match version {
        170_000.. => "s.stxstattarget",
        130_000.. => "nullif(s.stxstattarget, -1)",
        _ => "NULL",
    };
    let user = in_user_schema("s.stxnamespace");
    let definition = quoted("pg_get_statisticsobjdef(s.oid)");
    rows(
        client,
        "extended statistics",
        &format!(
            "SELECT {meta}, {definition} AS definition, {target} AS target \
             FROM pg_statistic_ext s WHERE {user} ORDER BY 3, 2"
        ),
    )
    .await
}
