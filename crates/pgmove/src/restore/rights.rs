//! Finds what a role that is not a superuser may not do on a target, before the first write. Managed servers offer no
//! other role, and elsewhere it is good practice: a role restores what it owns.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::IntoExisting;
use crate::Error;
use crate::catalog::function::Function;
use crate::catalog::plain::PlainKind;
use crate::catalog::types::TypeDefinition;
use crate::catalog::{Catalog, Meta, QualifiedName, large_objects_table};
use crate::conflict::Conflict;
use crate::connect::Session;
use crate::ddl::{self, RenderOptions, Script, Section};
use crate::quote::literal;
use crate::warning::Warning;

/// What is not permitted, and what can be omitted without harm.
#[derive(Debug, Default)]
pub(super) struct Rights {
    pub(super) conflicts: Vec<Conflict>,
    pub(super) warnings: Vec<Warning>,
}

/// Whether the session's role is a superuser.
pub(super) async fn is_superuser(session: &Session) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM pg_roles WHERE rolname = current_user AND rolsuper";
    Ok(session.value("the role's rights", sql).await?.is_some())
}

/// Checks the objects to create; `schema` is true if the schema with all its properties is restored.
pub(super) async fn to_make(
    session: &Session,
    catalog: &Catalog,
    options: &RenderOptions,
) -> Result<Rights, Error> {
    let mut rights = Rights::default();
    if is_superuser(session).await? {
        return Ok(rights);
    }
    let facts = Facts::read(session).await?;
    extensions(session, catalog, &mut rights).await?;
    if options.no_public_comment && !options.no_comments {
        public_comment(session, catalog, &mut rights).await?;
    }
    database(&facts, catalog, &mut rights);
    kinds(&facts, catalog, &mut rights);
    if !options.no_owner {
        owners(session, &facts, catalog, options, &mut rights).await?;
    }
    if !options.no_acl {
        privileges(catalog, &mut rights);
        let script = ddl::render(catalog, session.server().version_num, options)?;
        foreign_grants(&script, &mut rights);
        if options.no_public_comment {
            public_privileges(session, catalog, options, &mut rights).await?;
        }
    }
    Ok(rights)
}

/// Checks the tables that get rows.
pub(super) async fn to_fill(
    session: &Session,
    into: &IntoExisting,
    empties: bool,
) -> Result<Vec<Conflict>, Error> {
    if is_superuser(session).await? {
        return Ok(Vec::new());
    }
    let needed: &[&str] = if empties { &["INSERT", "SELECT", "TRUNCATE"] } else { &["INSERT", "SELECT"] };
    let mut names: Vec<&QualifiedName> =
        into.tables.keys().filter(|name| **name != large_objects_table()).collect();
    names.sort();
    let mut conflicts = Vec::new();
    for batch in names.chunks(200) {
        let questions: Vec<String> = batch
            .iter()
            .enumerate()
            .flat_map(|(at, name)| {
                needed.iter().map(move |right| {
                    format!(
                        "SELECT {at}, '{right}' WHERE NOT has_table_privilege({}, '{right}')",
                        literal(&name.to_string())
                    )
                })
            })
            .collect();
        for row in session.query("the role's rights", &questions.join(" UNION ALL ")).await? {
            let mut fields = row.into_iter().flatten();
            let at = fields.next().and_then(|at| at.parse::<usize>().ok());
            if let (Some(name), Some(privilege)) = (at.and_then(|at| batch.get(at)), fields.next()) {
                conflicts.push(Conflict::TablePrivilege { table: (*name).clone(), privilege });
            }
        }
    }
    Ok(conflicts)
}

/// Facts about the role and the server.
struct Facts {
    user: String,
    /// May create schemas in the database.
    may_create: bool,
    /// May create objects in `public`.
    may_use_public: bool,
    /// Languages in which only a superuser may create functions.
    untrusted: BTreeSet<String>,
    /// Roles that this one may act as.
    roles: BTreeSet<String>,
}

impl Facts {
    async fn read(session: &Session) -> Result<Facts, Error> {
        let object = "the role's rights";
        let flags = "SELECT current_user, has_database_privilege(current_database(), 'CREATE'), \
                     coalesce((SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = 'public'), true)";
        let row = session.query(object, flags).await?.into_iter().next().unwrap_or_default();
        let text = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
        let untrusted = "SELECT lanname FROM pg_language WHERE NOT lanpltrusted";
        // From 16 on a member may lack the permission to act as the role.
        let privilege = if session.server().version_num >= 160_000 { "SET" } else { "MEMBER" };
        let roles = format!("SELECT rolname FROM pg_roles WHERE pg_has_role(oid, '{privilege}')");
        let names = async |sql: &str| -> Result<BTreeSet<String>, Error> {
            Ok(session.query(object, sql).await?.into_iter().flatten().flatten().collect())
        };
        Ok(Facts {
            user: text(0),
            may_create: text(1) == "t",
            may_use_public: text(2) == "t",
            untrusted: names(untrusted).await?,
            roles: names(&roles).await?,
        })
    }
}

/// Missing extensions that only a superuser may create. Comments on existing ones may be set only by their owners.
async fn extensions(session: &Session, catalog: &Catalog, rights: &mut Rights) -> Result<(), Error> {
    let trusted = if session.server().version_num >= 130_000 { "v.trusted" } else { "false" };
    let sql = format!(
        "SELECT a.name, a.installed_version IS NULL AND v.superuser AND NOT {trusted}, coalesce(obj_description(e.oid, 'pg_extension'), a.comment) \
         FROM pg_available_extensions a JOIN pg_available_extension_versions v ON v.name = a.name AND v.version = a.default_version \
         LEFT JOIN pg_extension e ON e.extname = a.name"
    );
    let found: BTreeMap<String, (bool, String)> = session
        .query("the available extensions", &sql)
        .await?
        .into_iter()
        .filter_map(|row| {
            let mut fields = row.into_iter();
            let (name, closed) = (fields.next()??, fields.next()?? == "t");
            Some((name, (closed, fields.next()?.unwrap_or_default())))
        })
        .collect();
    for extension in &catalog.extensions {
        let name = &extension.meta.name;
        let Some((closed, comment)) = found.get(name) else { continue };
        if *closed {
            rights.conflicts.push(Conflict::UntrustedExtension { extension: name.clone() });
        }
        let at_source = catalog.comments.iter().find(|at_source| {
            at_source.class == crate::catalog::address::class::EXTENSION
                && at_source.oid == extension.meta.oid
        });
        if at_source.map_or("", |at_source| at_source.text.as_str()) != comment {
            rights.warnings.push(Warning::ExtensionComment { extension: name.clone() });
        }
    }
    Ok(())
}

/// Only its owner may comment on `public`.
async fn public_comment(session: &Session, catalog: &Catalog, rights: &mut Rights) -> Result<(), Error> {
    let Some(schema) = catalog.schemas.iter().find(|schema| schema.meta.name == "public") else {
        return Ok(());
    };
    let sql = "SELECT obj_description(to_regnamespace('public'), 'pg_namespace')";
    let here = session.value("the comment on public", sql).await?.unwrap_or_default();
    let at_source = catalog.comments.iter().find(|at_source| {
        at_source.class == crate::catalog::address::class::SCHEMA && at_source.oid == schema.meta.oid
    });
    if at_source.map_or("", |at_source| at_source.text.as_str()) != here {
        rights.warnings.push(Warning::PublicComment);
    }
    Ok(())
}

fn database(facts: &Facts, catalog: &Catalog, rights: &mut Rights) {
    let own = |meta: &Meta| meta.extension.is_none();
    let mut made = catalog.schemas.iter().filter(|schema| own(&schema.meta) && schema.meta.name != "public");
    if let (Some(schema), false) = (made.next(), facts.may_create) {
        rights
            .conflicts
            .push(Conflict::CreateSchema { schema: schema.meta.name.clone(), role: facts.user.clone() });
    }
    let in_public = catalog.metas().any(|(_, meta)| own(meta) && meta.schema == "public");
    if in_public && !facts.may_use_public {
        rights.conflicts.push(Conflict::CreateInPublic { role: facts.user.clone() });
    }
}

/// Kinds of objects that only a superuser may create.
fn kinds(facts: &Facts, catalog: &Catalog, rights: &mut Rights) {
    let mut closed = |kind: &str, name: &str| {
        let object = format!("{} {name}", kind.to_lowercase());
        rights.conflicts.push(Conflict::SuperuserObject { object });
    };
    for plain in catalog.plain.iter().filter(|plain| plain.meta.extension.is_none()) {
        let everybody = plain.statements.first().is_some_and(|sql| sql.contains("FOR ALL TABLES"));
        let closed_kind = match plain.kind {
            PlainKind::Language
            | PlainKind::AccessMethod
            | PlainKind::OperatorFamily
            | PlainKind::OperatorClass
            | PlainKind::TextSearchParser
            | PlainKind::TextSearchTemplate
            | PlainKind::ForeignDataWrapper
            | PlainKind::Subscription
            | PlainKind::EventTrigger
            | PlainKind::PublicationSchema => true,
            PlainKind::Publication => everybody,
            _ => false,
        };
        if closed_kind {
            closed(plain.kind.keyword(), &plain.identity);
        }
    }
    for kind in catalog.types.iter().filter(|kind| kind.meta.extension.is_none()) {
        if matches!(kind.definition, TypeDefinition::Base(_)) {
            closed("type", &kind.meta.qualified());
        }
    }
    for function in catalog.functions.iter().filter(|function| function.meta.extension.is_none()) {
        let head = head(function);
        let written = head.split_once("\n LANGUAGE ").map_or("", |(_, rest)| rest);
        let language = written.split_whitespace().next().unwrap_or_default().trim_matches('"');
        if facts.untrusted.contains(language) || head.contains(" LEAKPROOF") || head.contains(" SUPPORT ") {
            closed("function", &format!("{}({})", function.meta.qualified(), function.arguments));
        }
    }
}

/// A function's definition up to its body.
fn head(function: &Function) -> &str {
    let text = function.definition.as_str();
    let end = ["\nAS ", "\nBEGIN ATOMIC", "\nRETURN "].iter().filter_map(|mark| text.find(mark)).min();
    end.and_then(|end| text.get(..end)).unwrap_or(text)
}

/// An owner may be set only by a member of that role, and only if that role may create such objects.
async fn owners(
    session: &Session,
    facts: &Facts,
    catalog: &Catalog,
    options: &RenderOptions,
    rights: &mut Rights,
) -> Result<(), Error> {
    let mut owned: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (kind, meta) in catalog.metas().filter(|(_, meta)| meta.extension.is_none() && !meta.owner.is_empty())
    {
        // `public` belongs to the owner of the database, which need not be reported.
        if kind != "schema" || meta.name != "public" {
            owned.entry(options.role(&meta.owner)).or_default().push(format!("{kind} {}", meta.qualified()));
        }
    }
    let jobs = catalog.timescale.iter().flat_map(|timescale| &timescale.jobs);
    for job in jobs {
        owned.entry(options.role(&job.owner)).or_default().push(format!("job {}", job.procedure));
    }
    for (role, objects) in owned.into_iter().filter(|(role, _)| *role != facts.user) {
        if !facts.roles.contains(role) {
            rights.conflicts.push(Conflict::ForeignOwner {
                role: facts.user.clone(),
                owner: role.to_owned(),
                objects,
            });
            continue;
        }
        let in_public: Vec<String> =
            objects.into_iter().filter(|object| object.contains(" public.")).collect();
        let sql = format!(
            "SELECT 1 FROM pg_namespace n, pg_roles r WHERE n.nspname = 'public' AND r.rolname = {} AND NOT has_schema_privilege(r.oid, n.oid, 'CREATE')",
            literal(role)
        );
        if !in_public.is_empty() && session.value("the role's rights", &sql).await?.is_some() {
            rights.conflicts.push(Conflict::OwnerInPublic { owner: role.to_owned(), objects: in_public });
        }
    }
    Ok(())
}

/// Only their owners may grant privileges on objects of the server or of an extension.
fn privileges(catalog: &Catalog, rights: &mut Rights) {
    for builtin in &catalog.builtin_acls {
        rights.conflicts.push(Conflict::ServerPrivileges { object: builtin.identity.clone() });
    }
    for (kind, meta) in catalog.metas() {
        if let Some(extension) = meta.extension.as_ref().filter(|_| meta.acl != meta.initial_acl) {
            rights.conflicts.push(Conflict::ExtensionPrivileges {
                object: format!("{kind} {}", meta.qualified()),
                extension: extension.clone(),
            });
        }
    }
}

/// Privileges granted by a role other than the owner must be granted by that role, which only a superuser can do.
fn foreign_grants(script: &Script, rights: &mut Rights) {
    for (_, statement) in script.section(Section::Privileges) {
        let Some(rest) = statement.sql.strip_prefix("SET SESSION AUTHORIZATION ") else { continue };
        rights.conflicts.push(Conflict::ForeignGrantor {
            object: statement.object.to_string(),
            grantor: rest.split(';').next().unwrap_or_default().to_owned(),
        });
    }
}

/// `GRANT` on another role's schema is only a warning in the server.
async fn public_privileges(
    session: &Session,
    catalog: &Catalog,
    options: &RenderOptions,
    rights: &mut Rights,
) -> Result<(), Error> {
    let Some(schema) = catalog.schemas.iter().find(|schema| schema.meta.name == "public") else {
        return Ok(());
    };
    let sql = "SELECT unnest(nspacl)::text FROM pg_namespace WHERE nspname = 'public'";
    let here: BTreeSet<String> =
        session.query("the privileges of public", sql).await?.into_iter().flatten().flatten().collect();
    let wanted: Vec<&String> = schema.meta.acl.iter().flatten().collect();
    let lacking = wanted.iter().any(|item| !here.contains(*item));
    let mut revoked = schema.meta.initial_acl.iter().flatten().filter(|item| !wanted.contains(item));
    let differs = lacking || revoked.any(|item| here.contains(item));
    if options.role_map.is_empty() && schema.meta.acl != schema.meta.initial_acl && differs {
        rights.conflicts.push(Conflict::PublicPrivileges);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_head_of_a_function_is_searched() {
        let function = Function {
            definition: "CREATE OR REPLACE FUNCTION public.f()\n RETURNS text\n LANGUAGE sql\n IMMUTABLE\nAS $function$ SELECT ' LEAKPROOF \n LANGUAGE c' $function$\n".into(),
            ..serde_json::from_value(serde_json::json!({
                "oid": 1, "name": "f", "procedure": false, "arguments": "", "definition": "", "sql_body": false
            }))
            .unwrap()
        };
        assert!(head(&function).ends_with("IMMUTABLE"));
    }
}
