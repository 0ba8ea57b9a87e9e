//! Canonical names of types.

/// Aliases of type names (`gram.y`, `pg_type.dat`).
const ALIASES: &[(&str, &str)] = &[
    ("int", "integer"),
    ("int2", "smallint"),
    ("int4", "integer"),
    ("int8", "bigint"),
    ("serial", "integer"),
    ("serial4", "integer"),
    ("bigserial", "bigint"),
    ("serial8", "bigint"),
    ("smallserial", "smallint"),
    ("serial2", "smallint"),
    ("decimal", "numeric"),
    ("float", "double precision"),
    ("float4", "real"),
    ("float8", "double precision"),
    ("bool", "boolean"),
    ("varchar", "character varying"),
    ("char varying", "character varying"),
    ("char", "character"),
    ("varbit", "bit varying"),
    ("timestamp", "timestamp without time zone"),
    ("timestamptz", "timestamp with time zone"),
    ("time", "time without time zone"),
    ("timetz", "time with time zone"),
];

/// Built-in types, as named by `format_type`.
const BUILT_IN: &[&str] = &[
    "aclitem",
    "bigint",
    "bit",
    "bit varying",
    "boolean",
    "box",
    "bpchar",
    "bytea",
    "\"char\"",
    "character",
    "character varying",
    "cid",
    "cidr",
    "circle",
    "date",
    "datemultirange",
    "daterange",
    "double precision",
    "gtsvector",
    "inet",
    "int2vector",
    "int4multirange",
    "int4range",
    "int8multirange",
    "int8range",
    "integer",
    "interval",
    "json",
    "jsonb",
    "jsonpath",
    "line",
    "lseg",
    "macaddr",
    "macaddr8",
    "money",
    "name",
    "numeric",
    "nummultirange",
    "numrange",
    "oid",
    "oidvector",
    "path",
    "pg_brin_bloom_summary",
    "pg_dependencies",
    "pg_lsn",
    "pg_mcv_list",
    "pg_ndistinct",
    "pg_node_tree",
    "pg_snapshot",
    "point",
    "polygon",
    "real",
    "refcursor",
    "regclass",
    "regcollation",
    "regconfig",
    "regdatabase",
    "regdictionary",
    "regnamespace",
    "regoper",
    "regoperator",
    "regproc",
    "regprocedure",
    "regrole",
    "regtype",
    "smallint",
    "text",
    "tid",
    "time with time zone",
    "time without time zone",
    "timestamp with time zone",
    "timestamp without time zone",
    "tsmultirange",
    "tsquery",
    "tsrange",
    "tstzmultirange",
    "tstzrange",
    "tsvector",
    "txid_snapshot",
    "uuid",
    "xid",
    "xid8",
    "xml",
];

/// Types of extensions, with the extension: they may be declared, or used by a migration, before the extension exists.
const OF_EXTENSIONS: &[(&str, &str)] = &[
    ("citext", "citext"),
    ("cube", "cube"),
    ("geography", "postgis"),
    ("geometry", "postgis"),
    ("halfvec", "vector"),
    ("hstore", "hstore"),
    ("ltree", "ltree"),
    ("sparsevec", "vector"),
    ("vector", "vector"),
];

/// A parsed type: its canonical name, its modifiers, whether it is an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CanonicalType {
    schema: Option<String>,
    name: String,
    modifiers: Vec<String>,
    array: bool,
}

impl CanonicalType {
    /// Parses a type as written by people or `format_type`.
    pub(super) fn of(text: &str) -> CanonicalType {
        let Written { names, inside, mut array } = Written::read(text);
        let mut names = names;
        let mut name = names.pop().unwrap_or_default();
        let schema = names.pop().filter(|schema| schema != "pg_catalog");
        let mut modifiers: Vec<String> = match &inside {
            Some(inside) => inside.split(',').map(|modifier| modifier.trim().to_owned()).collect(),
            None => Vec::new(),
        };
        if let Some(element) = name.strip_suffix(" array") {
            (name, array) = (element.to_owned(), true);
        }
        if let Some(fields) = name.strip_prefix("interval ") {
            modifiers.insert(0, fields.to_owned());
            name = "interval".to_owned();
        }
        if let Some((_, meant)) = ALIASES.iter().find(|(alias, _)| *alias == name) {
            name = (*meant).to_owned();
        }
        // `bpchar` without a length is a type of its own: blank-padded, of any length.
        if name == "bpchar" && !modifiers.is_empty() {
            name = "character".to_owned();
        }
        // `numeric(20)` is `numeric(20,0)`, `character` is `character(1)`.
        match (name.as_str(), modifiers.len()) {
            ("numeric", 1) => modifiers.push("0".to_owned()),
            ("character" | "bit", 0) => modifiers.push("1".to_owned()),
            _ => {}
        }
        CanonicalType { schema, name, modifiers, array }
    }

    /// The name without its schema, for types of extensions, whose schema may vary. Quoted if needed.
    pub(super) fn bare(&self) -> &str {
        &self.name
    }

    /// True if both are the same type; schemas are compared only if both have one.
    pub(super) fn same(&self, other: &CanonicalType) -> bool {
        let schemas = match (&self.schema, &other.schema) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        schemas && self.name == other.name && self.modifiers == other.modifiers && self.array == other.array
    }

    /// True if PostgreSQL or a common extension defines such a type.
    pub(super) fn is_known(&self) -> bool {
        BUILT_IN.contains(&self.bare()) || self.extension().is_some()
    }

    /// The well-known extension that defines this type.
    pub(super) fn extension(&self) -> Option<&'static str> {
        OF_EXTENSIONS.iter().find(|(name, _)| *name == self.name).map(|(_, extension)| *extension)
    }
}

/// A type as written, parsed with regard to quotes.
struct Written {
    /// Schema and name, or the name alone. Unquoted parts are in lower case, with single spaces.
    names: Vec<String>,
    /// The text in parentheses, wherever it is: `timestamp(3) with time zone` has it in the middle.
    inside: Option<String>,
    /// PostgreSQL does not distinguish numbers of dimensions.
    array: bool,
}

impl Written {
    fn read(text: &str) -> Written {
        let (mut names, mut inside, mut array) = (vec![String::new()], None::<String>, false);
        let mut chars = text.trim().chars().peekable();
        let (mut depth, mut in_brackets) = (0_usize, false);
        while let Some(c) = chars.next() {
            let Some(name) = names.last_mut() else { break };
            match c {
                '"' if depth == 0 => {
                    let mut quoted = String::new();
                    while let Some(c) = chars.next() {
                        if c != '"' {
                            quoted.push(c);
                        } else if chars.peek() == Some(&'"') {
                            chars.next();
                            quoted.push('"');
                        } else {
                            break;
                        }
                    }
                    name.push_str(&in_quotes(&quoted));
                }
                '(' => {
                    depth += 1;
                    inside.get_or_insert_default();
                }
                ')' => depth = depth.saturating_sub(1),
                c if depth > 0 => inside.get_or_insert_default().extend(c.to_lowercase()),
                '[' => (array, in_brackets) = (true, true),
                ']' => in_brackets = false,
                _ if in_brackets => {}
                '.' => names.push(String::new()),
                c if c.is_whitespace() => {
                    if !name.is_empty() && !name.ends_with(' ') {
                        name.push(' ');
                    }
                }
                c => name.extend(c.to_lowercase()),
            }
        }
        for name in &mut names {
            name.truncate(name.trim_end().len());
        }
        Written { names, inside, array }
    }
}

/// A quoted name, without the quotes if they are unnecessary.
pub(super) fn in_quotes(name: &str) -> String {
    let plain = name.chars().next().is_some_and(|c| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !ALIASES.iter().any(|(alias, _)| *alias == name);
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// All known type names, including aliases.
pub(super) fn names<'a>() -> impl Iterator<Item = &'a str> {
    let others = ALIASES.iter().chain(OF_EXTENSIONS).map(|(name, _)| *name);
    BUILT_IN.iter().copied().chain(others)
}

/// The entry of `known` that is most similar to a misspelled name, if any is similar.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    known
        .map(|known| (distance(name, known), known))
        .min()
        .filter(|(distance, known)| *distance <= 1.max(known.len() / 3))
        .map(|(_, known)| known.to_owned())
}

/// Edit distance: insertions, deletions and substitutions.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut left = i + 1;
        let mut next = vec![left];
        for ((y, above), diagonal) in b.iter().zip(row.iter().skip(1)).zip(&row) {
            left = (left + 1).min(above + 1).min(diagonal + usize::from(x != *y));
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_type_are_the_same() {
        for (a, b) in [
            ("varchar(20)", "character varying(20)"),
            ("INT4", "integer"),
            ("timestamptz", "timestamp with time zone"),
            ("timestamp(3) with time zone", "timestamp with time zone(3)"),
            ("numeric(20, 8)", "numeric(20,8)"),
            ("decimal(20)", "numeric(20,0)"),
            ("vector(1536)", "public.vector(1536)"),
            ("text[]", "text[][]"),
            ("bool", "boolean"),
            ("char", "character(1)"),
            ("bpchar(3)", "char(3)"),
            ("integer array", "int4[]"),
            ("interval day to second (3)", "INTERVAL DAY TO SECOND(3)"),
            (r#"public."Mood, (a.b)"[]"#, r#""Mood, (a.b)"[3]"#),
            (r#""mood""#, "Mood"),
        ] {
            assert!(CanonicalType::of(a).same(&CanonicalType::of(b)), "{a} {b}");
        }
        for (a, b) in [
            ("varchar(20)", "varchar(21)"),
            ("text", "text[]"),
            ("integer", "bigint"),
            ("bpchar", "char"),
            ("a.t", "b.t"),
            (r#""char""#, "char"),
            (r#""Mood""#, "mood"),
            ("interval(3)", "interval"),
        ] {
            assert!(!CanonicalType::of(a).same(&CanonicalType::of(b)), "{a} {b}");
        }
    }

    #[test]
    fn a_misspelt_type_has_a_neighbour() {
        assert_eq!(nearest("interger", names()).as_deref(), Some("integer"));
        assert_eq!(nearest("timestmptz", names()).as_deref(), Some("timestamptz"));
        assert_eq!(nearest("wibblewobble", names()), None);
    }
}
