//! Tables, views and materialized views, and their parts: defaults, checks, NOT NULL, row security, partitions.

use super::parents::{not_null_in_line, says_not_null, separate_not_null};
use super::script::{Builder, TableLock};
use super::sequence::clauses;
use crate::catalog::address::class;
use crate::catalog::column::{Check, Column, Compression, Generated, Identity};
use crate::catalog::table::{Persistence, ReplicaIdentity, Table, TableKind};
use crate::catalog::{Address, Object};
use crate::quote::{ident, literal};
use crate::timescaledb::statements::create_aggregate;

impl<'a> Builder<'a> {
    pub(super) fn table(&mut self, table: &'a Table, empty_view: bool) {
        let name = table.meta.qualified();
        match table.kind {
            TableKind::View if empty_view => {
                let columns: Vec<String> = table
                    .columns
                    .iter()
                    .map(|column| {
                        let collation =
                            column.collation.as_ref().map(|c| format!(" COLLATE {c}")).unwrap_or_default();
                        format!("NULL::{}{collation} AS {}", column.type_name, ident(&column.name))
                    })
                    .collect();
                self.push(format!("CREATE VIEW {name} AS\nSELECT {}", columns.join(",\n    ")));
            }
            TableKind::View => match self.continuous_aggregate(table.meta.oid) {
                Some(aggregate) => {
                    let lock = |table| TableLock { table, exclusive: true };
                    self.cost(0, self.hypertables().map(|table| lock(table.oid)).collect());
                    self.push(create_aggregate(aggregate));
                }
                None => self.push(format!("CREATE VIEW {name}{}", view_query(table))),
            },
            TableKind::MaterializedView => {
                let using = self.access_method(table);
                let with = with(&table.options, &table.toast_options);
                let tablespace = self.tablespace(table.tablespace.as_deref());
                let query = table.definition.as_deref().unwrap_or_default().trim_end().trim_end_matches(';');
                self.push(format!(
                    "CREATE MATERIALIZED VIEW {name}{using}{with}{tablespace} AS\n{query}\nWITH NO DATA"
                ));
            }
            _ => self.create_table(table, &name),
        }
        let keyword = match self.continuous_aggregate(table.meta.oid) {
            Some(_) => "MATERIALIZED VIEW",
            None => table.kind.keyword(),
        };
        self.owner(keyword, &name, &table.meta);
        if table.kind != TableKind::View {
            for column in &table.columns {
                self.column(table, &name, column);
            }
            let only = self.only(table.meta.oid);
            // Foreign tables have no replica identity and cannot set one.
            match table.replica_identity {
                ReplicaIdentity::Nothing if table.kind != TableKind::Foreign => {
                    self.push(format!("ALTER TABLE {only}{name} REPLICA IDENTITY NOTHING"))
                }
                ReplicaIdentity::Full => self.push(format!("ALTER TABLE {only}{name} REPLICA IDENTITY FULL")),
                _ => {}
            }
        }
        self.annotations(table.kind.keyword(), &name, table.address(), 0);
        for column in &table.columns {
            let column_name = format!("{name}.{}", ident(&column.name));
            self.annotations("COLUMN", &column_name, table.address(), column.number);
            if let Some(constraint) = column
                .not_null_constraint
                .as_ref()
                .filter(|_| !separate_not_null(table, column, self.tables()))
            {
                self.not_null_comment(&name, constraint);
            }
        }
        let here = |check: &&Check| check.validated && check.local;
        for check in table.checks.iter().filter(here) {
            // If it has a statement of its own, its comment follows that.
            if !self.is_separate(Address::new(class::CONSTRAINT, check.oid)) {
                self.check_comment(&name, check);
            }
        }
        self.hypertable(table.meta.oid);
    }

    fn not_null_comment(&mut self, table: &str, constraint: &crate::catalog::column::NotNull) {
        if self.target >= 180_000 {
            let of = format!("{} ON {table}", ident(&constraint.name));
            self.annotations("CONSTRAINT", &of, Address::new(class::CONSTRAINT, constraint.oid), 0);
        }
    }

    fn check_comment(&mut self, table: &str, check: &Check) {
        let of = format!("{} ON {table}", ident(&check.name));
        self.annotations("CONSTRAINT", &of, Address::new(class::CONSTRAINT, check.oid), 0);
    }

    fn create_table(&mut self, table: &Table, name: &str) {
        let mut items = Vec::new();
        for column in table.columns.iter().filter(|column| table.prints(column)) {
            let extra = self.column_clauses(table, column);
            if table.of_type.is_none() {
                let collation =
                    column.collation.as_ref().map(|c| format!(" COLLATE {c}")).unwrap_or_default();
                items.push(format!("{} {}{collation}{extra}", ident(&column.name), column.type_name));
            } else if !extra.is_empty() {
                items.push(format!("{}{extra}", ident(&column.name)));
            }
        }
        for column in
            table.columns.iter().filter(|column| not_null_in_line(table, column, self.tables(), self.target))
        {
            if let Some(constraint) = &column.not_null_constraint {
                let no_inherit = if constraint.no_inherit { " NO INHERIT" } else { "" };
                items.push(format!(
                    "CONSTRAINT {} NOT NULL {}{no_inherit}",
                    ident(&constraint.name),
                    ident(&column.name)
                ));
            }
        }
        for check in table.checks.iter().filter(|check| check.local || table.is_partition()) {
            if !self.is_separate(Address::new(class::CONSTRAINT, check.oid)) {
                items.push(format!("CONSTRAINT {} {}", ident(&check.name), check.definition));
            }
        }
        let kind = match (table.kind, table.persistence) {
            (TableKind::Foreign, _) => "FOREIGN TABLE",
            // 18 rejects unlogged partitioned tables, which never had an effect.
            (TableKind::Partitioned, Persistence::Unlogged) if self.target >= 180_000 => "TABLE",
            (_, Persistence::Unlogged) => "UNLOGGED TABLE",
            _ => "TABLE",
        };
        let mut sql = format!("CREATE {kind} {name}");
        if let Some(of) = &table.of_type {
            sql += &format!(" OF {of}");
        }
        if !items.is_empty() {
            sql += &format!(" (\n    {}\n)", items.join(",\n    "));
        } else if table.of_type.is_none() {
            sql += " (\n)";
        }
        if !table.parents.is_empty() && !table.is_partition() {
            let parents: Vec<String> = table.parents.iter().map(|parent| parent.name.to_string()).collect();
            sql += &format!("\nINHERITS ({})", parents.join(", "));
        }
        if let Some(key) = &table.partition_key {
            sql += &format!("\nPARTITION BY {key}");
        }
        if let Some(server) = &table.server {
            sql += &format!("\nSERVER {}", ident(server));
        }
        sql += &self.access_method(table);
        sql += &with(&table.options, &table.toast_options);
        sql += &self.tablespace(table.tablespace.as_deref());
        if !table.foreign_options.is_empty() {
            sql += &format!("\nOPTIONS ({})", foreign_options(&table.foreign_options));
        }
        self.push(sql);
    }

    /// Default, generation and NOT NULL clauses of a column in `CREATE TABLE`.
    fn column_clauses(&self, table: &Table, column: &Column) -> String {
        let mut sql = String::new();
        if let Some(default) =
            column.default.as_ref().filter(|d| !self.is_separate(Address::new(class::DEFAULT, d.oid)))
        {
            match column.generated {
                Some(_) if self.inherited_generated(default.oid) => {}
                Some(Generated::Stored) => {
                    sql += &format!(" GENERATED ALWAYS AS ({}) STORED", default.expression)
                }
                Some(Generated::Virtual) => sql += &format!(" GENERATED ALWAYS AS ({})", default.expression),
                None => sql += &format!(" DEFAULT {}", default.expression),
            }
        }
        match &column.not_null_constraint {
            Some(constraint)
                if self.target >= 180_000
                    && constraint.validated
                    && (says_not_null(table, column, self.tables()) || table.is_partition()) =>
            {
                // Write the name even if the server would choose the same: it may be taken by another table of the
                // schema, as with tables made by LIKE.
                sql += &format!(" CONSTRAINT {} NOT NULL", ident(&constraint.name));
                if constraint.no_inherit {
                    sql += " NO INHERIT";
                }
            }
            // Existing rows may contain NULL: it is added after the rows.
            Some(constraint) if self.target >= 180_000 && !constraint.validated => {}
            _ if column.not_null && !self.inherited_not_null(table, column) => sql += " NOT NULL",
            _ => {}
        }
        sql
    }

    /// Whether a parent has NOT NULL too; a partition repeats it, because it is created alone.
    fn inherited_not_null(&self, table: &Table, column: &Column) -> bool {
        !table.is_partition()
            && table.parents.iter().any(|parent| {
                self.table_by_oid(parent.oid).is_some_and(|parent| {
                    parent.columns.iter().any(|theirs| theirs.name == column.name && theirs.not_null)
                })
            })
    }

    /// Properties of a column that `CREATE TABLE` cannot set.
    fn column(&mut self, table: &Table, name: &str, column: &Column) {
        let foreign = if table.kind == TableKind::Foreign { "FOREIGN " } else { "" };
        let kind = match table.kind {
            TableKind::MaterializedView => "MATERIALIZED VIEW ".to_owned(),
            _ => format!("TABLE {}", self.only(table.meta.oid)),
        };
        let alter = format!("ALTER {foreign}{kind}{name} ALTER COLUMN {}", ident(&column.name));
        let old_not_null = column.not_null_constraint.is_none() || self.target < 180_000;
        if !table.prints(column) && column.not_null && old_not_null && !self.inherited_not_null(table, column)
        {
            self.push(format!("{alter} SET NOT NULL"));
        }
        if let Some(target) = column.statistics.filter(|target| *target >= 0) {
            self.push(format!("{alter} SET STATISTICS {target}"));
        }
        if column.storage != column.type_storage {
            self.push(format!("{alter} SET STORAGE {}", column.storage.keyword()));
        }
        let compression = column
            .compression
            .filter(|method| self.target >= 140_000 && !(self.options.no_lz4 && *method == Compression::Lz4));
        if let Some(compression) = compression {
            self.push(format!("{alter} SET COMPRESSION {}", compression.keyword()));
        }
        if !column.options.is_empty() {
            self.push(format!("{alter} SET ({})", settings("", &column.options)));
        }
        if table.kind == TableKind::Foreign && !column.foreign_options.is_empty() {
            self.push(format!(
                "ALTER FOREIGN TABLE ONLY {name} ALTER COLUMN {} OPTIONS ({})",
                ident(&column.name),
                foreign_options(&column.foreign_options)
            ));
        }
    }

    pub(super) fn view_body(&mut self, table: &'a Table) {
        self.cost(0, vec![TableLock { table: table.meta.oid, exclusive: true }]);
        self.push(format!("CREATE OR REPLACE VIEW {}{}", table.meta.qualified(), view_query(table)));
    }

    pub(super) fn attach(&mut self, table: &'a Table) {
        if let (Some(parent), Some(bound)) = (table.parents.first(), &table.partition_bound) {
            self.push(format!(
                "ALTER TABLE ONLY {} ATTACH PARTITION {} {bound}",
                parent.name,
                table.meta.qualified()
            ));
        }
    }

    pub(super) fn default(&mut self, table: &'a Table, column: &'a Column) {
        let Some(default) = &column.default else { return };
        let kind = match table.kind {
            TableKind::View => "VIEW ".to_owned(),
            TableKind::Foreign => "FOREIGN TABLE ONLY ".to_owned(),
            _ => format!("TABLE {}", self.only(table.meta.oid)),
        };
        let (name, column_name) = (table.meta.qualified(), ident(&column.name));
        self.cost(0, vec![TableLock { table: table.meta.oid, exclusive: true }]);
        // A generated column that a child only inherits has no local expression to set.
        if column.generated.is_none() {
            self.push(format!(
                "ALTER {kind}{name} ALTER COLUMN {column_name} SET DEFAULT {}",
                default.expression
            ));
        }
    }

    pub(super) fn no_default(&mut self, table: &'a Table, column: &'a Column) {
        self.push(format!(
            "ALTER TABLE ONLY {} ALTER COLUMN {} SET DEFAULT NULL",
            table.meta.qualified(),
            ident(&column.name)
        ));
    }

    pub(super) fn check(&mut self, table: &'a Table, check: &'a Check) {
        // Children inherit their parents' checks.
        if !check.local {
            return;
        }
        let name = table.meta.qualified();
        let kind = if table.kind == TableKind::Foreign { "FOREIGN TABLE" } else { "TABLE" };
        let tables = self.with_children(table.meta.oid);
        let locks = tables.iter().map(|&table| TableLock { table, exclusive: true }).collect();
        self.cost(tables.iter().map(|&table| self.pages(table)).sum(), locks);
        self.push(format!("ALTER {kind} {name} ADD CONSTRAINT {} {}", ident(&check.name), check.definition));
        self.check_comment(&name, check);
    }

    pub(super) fn not_null(&mut self, table: &'a Table, column: &'a Column) {
        let Some(constraint) = &column.not_null_constraint else { return };
        let name = table.meta.qualified();
        let kind = if table.kind == TableKind::Foreign { "FOREIGN TABLE" } else { "TABLE" };
        self.cost(0, vec![TableLock { table: table.meta.oid, exclusive: true }]);
        if self.target < 180_000 {
            // An older server supports neither names nor NOT VALID here.
            return;
        }
        // Inherited constraints are created with the parent's.
        if !says_not_null(table, column, self.tables()) {
            return;
        }
        if not_null_in_line(table, column, self.tables(), self.target) {
            self.not_null_comment(&name, constraint);
            return;
        }
        let no_inherit = if constraint.no_inherit { " NO INHERIT" } else { "" };
        let not_valid = if constraint.validated { "" } else { " NOT VALID" };
        self.push(format!(
            "ALTER {kind} {name} ADD CONSTRAINT {} NOT NULL {}{no_inherit}{not_valid}",
            ident(&constraint.name),
            ident(&column.name)
        ));
        self.not_null_comment(&name, constraint);
    }

    pub(super) fn row_security(&mut self, table: &'a Table) {
        let name = table.meta.qualified();
        self.cost(0, vec![TableLock { table: table.meta.oid, exclusive: true }]);
        if table.row_security {
            self.push(format!("ALTER TABLE {name} ENABLE ROW LEVEL SECURITY"));
        }
        if table.force_row_security {
            self.push(format!("ALTER TABLE {}{name} FORCE ROW LEVEL SECURITY", self.only(table.meta.oid)));
        }
    }

    pub(super) fn refresh(&mut self, table: &'a Table) {
        self.cost(self.pages(table.meta.oid), vec![TableLock { table: table.meta.oid, exclusive: true }]);
        let refresh = format!("REFRESH MATERIALIZED VIEW {}", table.meta.qualified());
        // The view may contain only what row security showed its owner when it was refreshed at the source, which is
        // not an error. The session's setting is restored afterwards.
        let secured = self.catalog.tables.iter().any(|table| table.row_security || table.force_row_security);
        self.push(match secured {
            true => format!("SET row_security = on;\n{refresh};\nSET row_security = off"),
            false => refresh,
        });
    }

    /// `ALTER TABLE … ADD GENERATED … AS IDENTITY`, which creates the sequence.
    pub(super) fn identity(&mut self, sequence: &'a crate::catalog::sequence::Sequence) {
        let Some(owner) = &sequence.owned_by else { return };
        let Some(table) = self.table_by_oid(owner.table_oid) else { return };
        let Some(column) = table.columns.iter().find(|column| column.name == owner.column) else { return };
        let word = match column.identity {
            Some(Identity::Always) => "ALWAYS",
            Some(Identity::ByDefault) => "BY DEFAULT",
            None => return,
        };
        let unlogged = match (sequence.persistence, table.persistence) {
            (Persistence::Permanent, Persistence::Unlogged) if self.target >= 150_000 => " LOGGED",
            (Persistence::Unlogged, Persistence::Permanent) if self.target >= 150_000 => " UNLOGGED",
            _ => "",
        };
        let kind = if table.kind == TableKind::Foreign { "FOREIGN TABLE" } else { "TABLE" };
        self.push(format!(
            "ALTER {kind} {} ALTER COLUMN {} ADD GENERATED {word} AS IDENTITY (SEQUENCE NAME {}{})",
            table.meta.qualified(),
            ident(&column.name),
            sequence.name(),
            clauses(sequence)
        ));
        if !unlogged.is_empty() {
            self.push(format!("ALTER SEQUENCE {} SET{unlogged}", sequence.name()));
        }
    }

    fn access_method(&self, table: &Table) -> String {
        // From 17 on a partitioned table can have one, which differs from having none.
        let partitioned = table.kind == TableKind::Partitioned;
        let may = !partitioned || self.target >= 170_000;
        match &table.access_method {
            Some(method)
                if may && !self.options.no_table_access_method && (partitioned || method != "heap") =>
            {
                format!("\nUSING {}", ident(method))
            }
            _ => String::new(),
        }
    }

    pub(super) fn tablespace(&self, tablespace: Option<&str>) -> String {
        match tablespace {
            Some(name) if !self.options.no_tablespaces => format!("\nTABLESPACE {}", ident(name)),
            _ => String::new(),
        }
    }
}

/// Options, query and check option of a view.
fn view_query(table: &Table) -> String {
    let check = table.options.iter().find_map(|option| option.strip_prefix("check_option="));
    let options: Vec<String> =
        table.options.iter().filter(|option| !option.starts_with("check_option=")).cloned().collect();
    let query = table.definition.as_deref().unwrap_or_default().trim_end().trim_end_matches(';');
    let check =
        check.map(|check| format!("\n  WITH {} CHECK OPTION", check.to_uppercase())).unwrap_or_default();
    format!("{} AS\n{query}{check}", with(&options, &[]))
}

/// ` WITH (…)`, or an empty string.
pub(super) fn with(options: &[String], toast: &[String]) -> String {
    let all: Vec<String> =
        [settings("", options), settings("toast.", toast)].into_iter().filter(|s| !s.is_empty()).collect();
    if all.is_empty() { String::new() } else { format!("\nWITH ({})", all.join(", ")) }
}

/// `name=value` pairs of `reloptions` as SQL. Values that are not simple words become literals.
pub(super) fn settings(prefix: &str, options: &[String]) -> String {
    let one = |option: &String| {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let value = if ident(value) == value { value.to_owned() } else { literal(value) };
        format!("{prefix}{}={value}", ident(name))
    };
    options.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// `name=value` pairs of foreign options as SQL, by name.
fn foreign_options(options: &[String]) -> String {
    let mut all: Vec<String> = options
        .iter()
        .map(|option| option.split_once('=').unwrap_or((option, "")))
        .map(|(name, value)| format!("{} {}", ident(name), literal(value)))
        .collect();
    all.sort();
    all.join(", ")
}
