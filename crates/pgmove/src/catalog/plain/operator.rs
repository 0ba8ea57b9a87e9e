//! Operators, operator families and operator classes.

use crate::catalog::meta::{MetaColumns, in_user_schema};

pub(super) fn operators(_: u32) -> Option<String> {
    let meta = MetaColumns {
        catalog: "pg_operator",
        alias: "o",
        name: "oprname",
        schema: Some("oprnamespace"),
        owner: Some("oprowner"),
        acl: None,
    }
    .sql();
    let user = in_user_schema("o.oprnamespace");
    // References to other operators are by name: the server resolves them by argument types, or creates a shell
    // operator.
    let linked = |column: &str| {
        format!(
            "(SELECT format('OPERATOR(%I.%s)', x.nspname, l.oprname) FROM pg_operator l JOIN pg_namespace x ON x.oid = l.oprnamespace \
             WHERE l.oid = o.{column})"
        )
    };
    Some(format!(
        "SELECT {meta}, format('%I.%s (%s, %s)', n.nspname, o.oprname, \
           CASE WHEN o.oprleft = 0 THEN 'NONE' ELSE format_type(o.oprleft, NULL) END, \
           CASE WHEN o.oprright = 0 THEN 'NONE' ELSE format_type(o.oprright, NULL) END) AS identity, \
         ARRAY[format('CREATE OPERATOR %I.%s (%s)', n.nspname, o.oprname, concat_ws(', ', 'FUNCTION = ' || o.oprcode, \
           'LEFTARG = ' || CASE WHEN o.oprleft <> 0 THEN format_type(o.oprleft, NULL) END, \
           'RIGHTARG = ' || CASE WHEN o.oprright <> 0 THEN format_type(o.oprright, NULL) END, \
           'COMMUTATOR = ' || {commutator}, 'NEGATOR = ' || {negator}, \
           CASE WHEN o.oprcanmerge THEN 'MERGES' END, CASE WHEN o.oprcanhash THEN 'HASHES' END, \
           'RESTRICT = ' || nullif(o.oprrest::text, '-'), 'JOIN = ' || nullif(o.oprjoin::text, '-')))] AS statements \
         FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace WHERE o.oprcode <> 0 AND {user}",
        commutator = linked("oprcom"),
        negator = linked("oprnegate"),
    ))
}

/// The operators and functions of a family or class, as the list of `ALTER OPERATOR FAMILY … ADD` and `CREATE OPERATOR
/// CLASS … AS`. `pg_depend` tells whether a member belongs to the class or the family.
fn members(catalog: &str, oid: &str) -> String {
    format!(
        "(SELECT string_agg(m.item, ', ' ORDER BY m.kind, m.number, m.item) FROM ( \
          SELECT 1 AS kind, a.amopstrategy AS number, format('OPERATOR %s %s%s', a.amopstrategy, a.amopopr::regoperator, \
             coalesce((SELECT format(' FOR ORDER BY %I.%I', sn.nspname, s.opfname) FROM pg_opfamily s JOIN pg_namespace sn ON sn.oid = s.opfnamespace \
               WHERE s.oid = a.amopsortfamily), '')) AS item \
            FROM pg_depend d JOIN pg_amop a ON a.oid = d.objid \
            WHERE d.classid = 'pg_amop'::regclass AND d.refclassid = '{catalog}'::regclass AND d.refobjid = {oid} \
          UNION ALL SELECT 2, p.amprocnum, format('FUNCTION %s (%s, %s) %s', p.amprocnum, format_type(p.amproclefttype, NULL), \
             format_type(p.amprocrighttype, NULL), p.amproc::regprocedure) \
            FROM pg_depend d JOIN pg_amproc p ON p.oid = d.objid \
            WHERE d.classid = 'pg_amproc'::regclass AND d.refclassid = '{catalog}'::regclass AND d.refobjid = {oid}) m)"
    )
}

pub(super) fn families(_: u32) -> Option<String> {
    let meta = MetaColumns {
        catalog: "pg_opfamily",
        alias: "f",
        name: "opfname",
        schema: Some("opfnamespace"),
        owner: Some("opfowner"),
        acl: None,
    }
    .sql();
    let user = in_user_schema("f.opfnamespace");
    let members = members("pg_opfamily", "f.oid");
    Some(format!(
        "SELECT {meta}, format('%I.%I USING %I', n.nspname, f.opfname, a.amname) AS identity, \
         array_remove(ARRAY[format('CREATE OPERATOR FAMILY %I.%I USING %I', n.nspname, f.opfname, a.amname), \
           format('ALTER OPERATOR FAMILY %I.%I USING %I ADD ', n.nspname, f.opfname, a.amname) || {members}], NULL) AS statements \
         FROM pg_opfamily f JOIN pg_namespace n ON n.oid = f.opfnamespace JOIN pg_am a ON a.oid = f.opfmethod WHERE {user}"
    ))
}

pub(super) fn classes(_: u32) -> Option<String> {
    let meta = MetaColumns {
        catalog: "pg_opclass",
        alias: "c",
        name: "opcname",
        schema: Some("opcnamespace"),
        owner: Some("opcowner"),
        acl: None,
    }
    .sql();
    let user = in_user_schema("c.opcnamespace");
    let members = members("pg_opclass", "c.oid");
    Some(format!(
        "SELECT {meta}, format('%I.%I USING %I', n.nspname, c.opcname, a.amname) AS identity, \
         ARRAY[format('CREATE OPERATOR CLASS %I.%I %sFOR TYPE %s USING %I FAMILY %I.%I AS %s', n.nspname, c.opcname, \
           CASE WHEN c.opcdefault THEN 'DEFAULT ' ELSE '' END, format_type(c.opcintype, NULL), a.amname, fn.nspname, f.opfname, \
           coalesce(nullif(concat_ws(', ', 'STORAGE ' || CASE WHEN c.opckeytype <> 0 THEN format_type(c.opckeytype, NULL) END, {members}), ''), \
             'STORAGE ' || format_type(c.opcintype, NULL)))] AS statements \
         FROM pg_opclass c JOIN pg_namespace n ON n.oid = c.opcnamespace JOIN pg_am a ON a.oid = c.opcmethod \
         JOIN pg_opfamily f ON f.oid = c.opcfamily JOIN pg_namespace fn ON fn.oid = f.opfnamespace WHERE {user}"
    ))
}
