//! Comments, security labels and privileges.

use std::collections::HashMap;

use super::RenderOptions;
use super::acl::{self, GrantObject, Versions};
use super::script::Builder;
use crate::catalog::large_object::LargeObject;
use crate::catalog::plain::PlainKind;
use crate::catalog::types::TypeDefinition;
use crate::catalog::{Address, Catalog, Meta, Object as _};
use crate::quote::{ident, literal};
use crate::warning::Warning;

impl<'a> Builder<'a> {
    /// The comment on an object or column.
    pub(super) fn comment_of(&self, address: Address, sub: i32) -> Option<&'a str> {
        self.comments.get(&(address, sub)).copied()
    }

    /// Comment, security labels, and `DEPENDS ON EXTENSION`.
    pub(super) fn annotations(&mut self, keyword: &str, identity: &str, address: Address, sub: i32) {
        for extension in self.tied.get(&address).filter(|_| sub == 0).cloned().unwrap_or_default() {
            self.push(format!("ALTER {keyword} {identity} DEPENDS ON EXTENSION {}", ident(extension)));
        }
        let unwanted = self.options.no_comments
            || (keyword == "EXTENSION" && self.options.no_extension_comments)
            || (keyword == "SCHEMA" && identity == "public" && self.options.no_public_comment);
        if let Some(text) = self.comment_of(address, sub).filter(|_| !unwanted) {
            self.push(format!("COMMENT ON {keyword} {identity} IS {}", literal(text)));
        }
        if !self.options.no_security_labels {
            for (provider, label) in self.labels.get(&(address, sub)).cloned().unwrap_or_default() {
                self.push(format!(
                    "SECURITY LABEL FOR {} ON {keyword} {identity} IS {}",
                    ident(provider),
                    literal(label)
                ));
            }
        }
    }

    /// An empty large object with its OID; its data follows with the rows.
    pub(super) fn large_object(&mut self, object: &LargeObject) {
        let oid = &object.meta.name;
        self.push(format!("SELECT pg_catalog.lo_create({oid})"));
        self.owner("LARGE OBJECT", oid, &object.meta);
        self.annotations("LARGE OBJECT", oid, object.address(), 0);
    }

    /// All privileges of all objects.
    pub(super) fn privileges(&mut self) {
        if self.options.no_acl {
            return;
        }
        let catalog = self.catalog;
        for default in &catalog.default_acls {
            let role = ident(self.options.role(&default.role)).into_owned();
            let schema =
                default.schema.as_ref().map(|name| format!("IN SCHEMA {} ", ident(name))).unwrap_or_default();
            let prefix = format!("ALTER DEFAULT PRIVILEGES FOR ROLE {role} {schema}");
            self.about("default privileges", format!("of {role}"));
            let on = GrantObject {
                kind: &default.objects,
                identity: "",
                column: None,
                prefix: &prefix,
                owner: &default.role,
            };
            self.grant(on, &default.acl, &default.initial_acl);
        }
        for schema in &catalog.schemas {
            let name = ident(&schema.meta.name).into_owned();
            match self.public_initial(&schema.meta) {
                Some(initial) => {
                    self.about("schema", name.clone());
                    self.made_by(None);
                    let on = GrantObject {
                        kind: "SCHEMA",
                        identity: &name,
                        column: None,
                        prefix: "",
                        owner: &schema.meta.owner,
                    };
                    let acl = schema
                        .meta
                        .acl
                        .clone()
                        .unwrap_or_else(|| vec![format!("{0}=UC/{0}", acl::quoted(&schema.meta.owner))]);
                    self.grant(on, &acl, &initial);
                }
                None => self.object_privileges("SCHEMA", &name, &schema.meta),
            }
        }
        for (kind, identity, meta) in privileged(catalog) {
            if kind != "SCHEMA" && kind != "TABLE" {
                self.object_privileges(kind, &identity, meta);
            }
        }
        for table in &catalog.tables {
            let name = table.meta.qualified();
            self.object_privileges("TABLE", &name, &table.meta);
            for column in &table.columns {
                if let Some(acl) = &column.acl {
                    self.about("column", format!("{name}.{}", ident(&column.name)));
                    let on = GrantObject {
                        kind: "TABLE",
                        identity: &name,
                        column: Some(&column.name),
                        prefix: "",
                        owner: &table.meta.owner,
                    };
                    self.made_by(table.meta.extension.as_ref());
                    self.grant(on, acl, column.initial_acl.as_deref().unwrap_or_default());
                }
            }
        }
        for builtin in &catalog.builtin_acls {
            self.about("built-in", builtin.identity.clone());
            self.made_by(None);
            // The initial owner granted the privileges; a later owner took them over, and gets them again.
            let initial_owner = acl::grantor(&builtin.initial_acl).unwrap_or_else(|| builtin.owner.clone());
            let acl = acl::of_owner(&builtin.acl, &builtin.owner, &initial_owner);
            let on = GrantObject {
                kind: &builtin.kind,
                identity: &builtin.identity,
                column: builtin.column.as_deref(),
                prefix: "",
                owner: &initial_owner,
            };
            self.grant(on, &acl, &builtin.initial_acl);
            if initial_owner != builtin.owner && builtin.column.is_none() && !self.options.no_owner {
                let owner = ident(self.options.role(&builtin.owner)).into_owned();
                self.push(format!("ALTER {} {} OWNER TO {owner}", builtin.kind, builtin.identity));
            }
        }
    }

    fn object_privileges(&mut self, kind: &str, identity: &str, meta: &Meta) {
        if let Some(acl) = &meta.acl {
            self.about(&kind.to_lowercase(), identity.to_owned());
            self.made_by(meta.extension.as_ref());
            let on = GrantObject { kind, identity, column: None, prefix: "", owner: &meta.owner };
            self.grant(on, acl, meta.initial_acl.as_deref().unwrap_or_default());
        }
    }

    fn grant(&mut self, on: GrantObject<'_>, acl: &[String], initial: &[String]) {
        self.free();
        let target = self.options.privileges_for.unwrap_or(self.target);
        if acl::loses_maintain(on, acl, initial, target) {
            let object = format!("{} {}", on.kind.to_lowercase(), on.identity);
            self.warn(Warning::Maintain { object });
        }
        let versions = Versions { source: self.catalog.server_version_num, target };
        for sql in acl::commands(on, acl, initial, self.options, versions) {
            self.push(sql);
        }
    }

    /// Privileges of `public` at the target before any grant. They may differ from the source's, because the default
    /// changed in 15 (`CREATE` for PUBLIC).
    fn public_initial(&self, meta: &Meta) -> Option<Vec<String>> {
        (meta.name == "public").then(|| {
            let owner = acl::quoted(&meta.owner);
            let everybody = if self.target >= 150_000 { "U" } else { "UC" };
            vec![format!("{owner}=UC/{owner}"), format!("={everybody}/{owner}")]
        })
    }
}

/// Every object with privileges: the kind as in `GRANT … ON`, the object ready for SQL, and its privileges.
fn privileged(catalog: &Catalog) -> Vec<(&'static str, String, &Meta)> {
    let mut out: Vec<(&'static str, String, &Meta)> = Vec::new();
    for kind in &catalog.types {
        let keyword = if matches!(kind.definition, TypeDefinition::Domain(_)) { "DOMAIN" } else { "TYPE" };
        out.push((keyword, kind.meta.qualified(), &kind.meta));
    }
    for function in &catalog.functions {
        let keyword = if function.procedure { "PROCEDURE" } else { "FUNCTION" };
        out.push((keyword, format!("{}({})", function.meta.qualified(), function.arguments), &function.meta));
    }
    for aggregate in &catalog.aggregates {
        let identity = format!("{}({})", aggregate.meta.qualified(), aggregate.types);
        out.push(("FUNCTION", identity, &aggregate.meta));
    }
    for plain in &catalog.plain {
        let keyword = match plain.kind {
            PlainKind::Server => "FOREIGN SERVER",
            kind => kind.keyword(),
        };
        out.push((keyword, plain.identity.clone(), &plain.meta));
    }
    out.extend(catalog.sequences.iter().map(|s| ("SEQUENCE", s.meta.qualified(), &s.meta)));
    out.extend(catalog.large_objects.iter().map(|o| ("LARGE OBJECT", o.meta.name.clone(), &o.meta)));
    out.extend(catalog.tables.iter().map(|table| ("TABLE", table.meta.qualified(), &table.meta)));
    out.extend(catalog.schemas.iter().map(|schema| ("SCHEMA", schema.meta.qualified(), &schema.meta)));
    out
}

/// Statements, each with its object, that change privileges of existing objects into the wanted ones, whatever their
/// initial privileges. Objects of extensions and the schema `public` are not created by a restore.
pub(crate) fn settle_privileges(
    wanted: &Catalog,
    here: &Catalog,
    options: &RenderOptions,
    target: u32,
) -> Vec<(String, String)> {
    let there: HashMap<(&str, String), &Meta> =
        privileged(here).into_iter().map(|(kind, identity, meta)| ((kind, identity), meta)).collect();
    let own =
        |kind: &str, meta: &Meta| meta.extension.is_none() && !(kind == "SCHEMA" && meta.name == "public");
    let mut out = Vec::new();
    for (kind, identity, meta) in privileged(wanted).into_iter().filter(|(kind, _, meta)| own(kind, meta)) {
        let Some(found) = there.get(&(kind, identity.clone())) else { continue };
        // Privileges that were never changed are the server's defaults.
        let Some(acl) = &found.acl else { continue };
        let on = GrantObject { kind, identity: &identity, column: None, prefix: "", owner: &found.owner };
        let versions = Versions { source: wanted.server_version_num, target };
        let default = found.initial_acl.as_deref().unwrap_or_default();
        let wanted = acl::DesiredPrivileges { acl: meta.acl.as_deref(), owner: &meta.owner, default };
        let object = format!("{} {identity}", kind.to_lowercase());
        out.extend(
            acl::settle(on, wanted, acl, options, versions).into_iter().map(|sql| (object.clone(), sql)),
        );
    }
    out
}
