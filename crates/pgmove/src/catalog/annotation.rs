//! Comments, security labels, default privileges, changed privileges of built-in objects.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::meta::FIRST_NORMAL_OID;
use super::query::rows;
use crate::error::Error;

/// A comment on an object or on a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comment {
    /// Catalog of the object.
    pub class: u32,
    /// OID of the object.
    pub oid: u32,
    /// Column, 0 for the whole object.
    pub sub: i32,
    /// The text.
    pub text: String,
}

/// All comments on objects not created by initdb, and on the schema `public`.
pub(super) async fn read_comments(client: &Client) -> Result<Vec<Comment>, Error> {
    rows(
        client,
        "comments",
        &format!(
            "SELECT classoid::int8 AS class, objoid::int8 AS oid, objsubid AS sub, description AS text FROM pg_description \
             WHERE objoid >= {FIRST_NORMAL_OID} OR classoid IN ('pg_namespace'::regclass, 'pg_largeobject'::regclass) \
             ORDER BY 1, 2, 3"
        ),
    )
    .await
}

/// A security label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityLabel {
    /// Catalog of the object.
    pub class: u32,
    /// OID of the object.
    pub oid: u32,
    /// Column, 0 for the whole object.
    pub sub: i32,
    /// The label provider.
    pub provider: String,
    /// The label.
    pub label: String,
}

/// All security labels of the database's objects.
pub(super) async fn read_labels(client: &Client) -> Result<Vec<SecurityLabel>, Error> {
    rows(
        client,
        "security labels",
        "SELECT classoid::int8 AS class, objoid::int8 AS oid, objsubid AS sub, provider, label FROM pg_seclabel ORDER BY 1, 2, 3, 4",
    )
    .await
}

/// `ALTER DEFAULT PRIVILEGES`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefaultAcl {
    /// OID in `pg_default_acl`.
    pub oid: u32,
    /// The role whose future objects are affected.
    pub role: String,
    /// The schema; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// `TABLES`, `SEQUENCES`, `FUNCTIONS`, `TYPES`, `SCHEMAS` or `LARGE OBJECTS`.
    pub objects: String,
    /// The privileges as `aclitem` text.
    pub acl: Vec<String>,
    /// The privileges without this entry: the built-in default, or none for one schema.
    pub initial_acl: Vec<String>,
}

/// Default privileges.
pub(super) async fn read_default_acls(client: &Client) -> Result<Vec<DefaultAcl>, Error> {
    // Default privileges of a schema are added to the global ones, so their base is empty.
    rows(
        client,
        "default privileges",
        "SELECT d.oid::int8 AS oid, pg_get_userbyid(d.defaclrole) AS role, n.nspname AS schema, \
         CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS' \
           WHEN 'T' THEN 'TYPES' WHEN 'n' THEN 'SCHEMAS' ELSE 'LARGE OBJECTS' END AS objects, \
         d.defaclacl::text[] AS acl, CASE WHEN d.defaclnamespace = 0 THEN \
           acldefault(CASE WHEN d.defaclobjtype = 'S' THEN 's'::\"char\" ELSE d.defaclobjtype END, d.defaclrole) \
           ELSE '{}' END::text[] AS initial_acl \
         FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace ORDER BY role, schema NULLS FIRST, objects",
    )
    .await
}

/// Privileges of a built-in object that were changed since initdb. The object itself is not in this catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltinAcl {
    /// The keyword of the kind in `GRANT … ON`: `TABLE`, `FUNCTION`, `TYPE`, `LANGUAGE`, `SCHEMA`.
    pub kind: String,
    /// The object, ready for SQL.
    #[serde(deserialize_with = "super::deparsed::text")]
    pub identity: String,
    /// The column, unquoted, for column privileges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Its owner.
    pub owner: String,
    /// The privileges as `aclitem` text.
    pub acl: Vec<String>,
    /// The privileges after initdb.
    pub initial_acl: Vec<String>,
}

/// Objects of `pg_catalog` whose privileges differ from those after initdb.
pub(super) async fn read_builtin_acls(client: &Client) -> Result<Vec<BuiltinAcl>, Error> {
    let initial = |class: &str, alias: &str, sub: &str| {
        format!(
            "(SELECT initprivs FROM pg_init_privs i WHERE i.classoid = '{class}'::regclass AND i.objoid = {alias}.oid AND i.objsubid = {sub})"
        )
    };
    let catalog = "(SELECT oid FROM pg_namespace WHERE nspname = 'pg_catalog')";
    let function = super::deparsed::quoted(
        "'pg_catalog.' || quote_ident(p.proname) || '(' || pg_get_function_identity_arguments(p.oid) || ')'",
    );
    let sql = format!(
        "SELECT * FROM ( \
         SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, \
           'pg_catalog.' || quote_ident(c.relname) AS identity, NULL::name AS column, pg_get_userbyid(c.relowner) AS owner, \
           coalesce(c.relacl, acldefault('r', c.relowner))::text[] AS acl, \
           coalesce({class_init}, acldefault('r', c.relowner))::text[] AS initial_acl \
           FROM pg_class c WHERE c.oid < {FIRST_NORMAL_OID} AND c.relnamespace = {catalog} AND c.relkind IN ('r', 'v', 'S') \
         UNION ALL SELECT 'TABLE', 'pg_catalog.' || quote_ident(c.relname), a.attname, pg_get_userbyid(c.relowner), \
           a.attacl::text[], coalesce({att_init}, '{{}}')::text[] \
           FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE c.oid < {FIRST_NORMAL_OID} \
           AND c.relnamespace = {catalog} AND a.attacl IS NOT NULL \
         UNION ALL SELECT CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END, \
           {function}, NULL, \
           pg_get_userbyid(p.proowner), coalesce(p.proacl, acldefault('f', p.proowner))::text[], \
           coalesce({proc_init}, acldefault('f', p.proowner))::text[] \
           FROM pg_proc p WHERE p.oid < {FIRST_NORMAL_OID} AND p.pronamespace = {catalog} \
           AND (p.proacl IS NOT NULL OR EXISTS (SELECT FROM pg_init_privs i WHERE i.classoid = 'pg_proc'::regclass AND i.objoid = p.oid)) \
         UNION ALL SELECT 'TYPE', 'pg_catalog.' || quote_ident(t.typname), NULL, pg_get_userbyid(t.typowner), \
           t.typacl::text[], coalesce({type_init}, acldefault('T', t.typowner))::text[] \
           FROM pg_type t WHERE t.oid < {FIRST_NORMAL_OID} AND t.typnamespace = {catalog} AND t.typacl IS NOT NULL \
         UNION ALL SELECT 'LANGUAGE', quote_ident(l.lanname), NULL, pg_get_userbyid(l.lanowner), \
           l.lanacl::text[], coalesce({lang_init}, acldefault('l', l.lanowner))::text[] \
           FROM pg_language l WHERE l.oid < {FIRST_NORMAL_OID} AND l.lanacl IS NOT NULL \
         UNION ALL SELECT 'SCHEMA', quote_ident(n.nspname), NULL, pg_get_userbyid(n.nspowner), \
           n.nspacl::text[], coalesce({nsp_init}, acldefault('n', n.nspowner))::text[] \
           FROM pg_namespace n WHERE n.nspname = 'pg_catalog' AND n.nspacl IS NOT NULL \
         ) q WHERE acl IS DISTINCT FROM initial_acl ORDER BY kind, identity, \"column\" NULLS FIRST",
        class_init = initial("pg_class", "c", "0"),
        att_init = initial("pg_class", "c", "a.attnum"),
        proc_init = initial("pg_proc", "p", "0"),
        type_init = initial("pg_type", "t", "0"),
        lang_init = initial("pg_language", "l", "0"),
        nsp_init = initial("pg_namespace", "n", "0"),
    );
    rows(client, "changed privileges of built-in objects", &sql).await
}
