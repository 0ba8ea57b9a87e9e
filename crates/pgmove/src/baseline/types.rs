//! Types by meaning: one spelling for each.

/// Spellings that mean another type's name (`gram.y`, `pg_type.dat`).
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

/// Built-in types by the names that `format_type` gives.
const BUILT_IN: &[&str] = &[
    "bigint",
    "bit",
    "bit varying",
    "boolean",
    "box",
    "bpchar",
    "bytea",
    "character",
    "character varying",
    "cidr",
    "circle",
    "date",
    "daterange",
    "datemultirange",
    "double precision",
    "inet",
    "int4range",
    "int4multirange",
    "int8range",
    "int8multirange",
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
    "numrange",
    "nummultirange",
    "oid",
    "path",
    "pg_lsn",
    "pg_snapshot",
    "point",
    "polygon",
    "real",
    "regclass",
    "smallint",
    "text",
    "time with time zone",
    "time without time zone",
    "timestamp with time zone",
    "timestamp without time zone",
    "tsquery",
    "tsrange",
    "tsmultirange",
    "tstzrange",
    "tstzmultirange",
    "tsvector",
    "txid_snapshot",
    "uuid",
    "xml",
    // Types of extensions that are common enough to be declared before they are installed.
    "citext",
    "cube",
    "geography",
    "geometry",
    "halfvec",
    "hstore",
    "ltree",
    "sparsevec",
    "vector",
];

/// A type taken apart: its name in one spelling, its modifiers, its array dimensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meaning {
    pub(super) base: String,
    modifiers: Vec<String>,
    array: bool,
}

impl Meaning {
    /// Reads a type as people or `format_type` write it.
    pub(super) fn of(text: &str) -> Meaning {
        let lower = text.trim().to_lowercase();
        let words = lower.split_whitespace().collect::<Vec<_>>().join(" ");
        let (name, array) = match words.strip_suffix("[]") {
            // PostgreSQL does not tell one dimension from two.
            Some(element) => (element.trim_end_matches("[]").trim().to_owned(), true),
            None => (words, false),
        };
        let (mut base, mut modifiers) = (name.clone(), Vec::new());
        if let Some((before, rest)) = name.split_once('(')
            && let Some((inside, after)) = rest.split_once(')')
        {
            // `timestamp(3) with time zone` carries its modifier in the middle.
            base = format!("{} {}", before.trim(), after.trim()).trim().to_owned();
            modifiers = inside.split(',').map(|modifier| modifier.trim().to_owned()).collect();
        }
        let base = base.trim_start_matches("pg_catalog.").to_owned();
        let base =
            ALIASES.iter().find(|(alias, _)| *alias == base).map_or(base, |(_, name)| (*name).to_owned());
        // Without a length `bpchar` is a type of its own: blank-padded, as long as it may be.
        let base = if base == "bpchar" && !modifiers.is_empty() { "character".to_owned() } else { base };
        // `numeric(20)` is `numeric(20,0)`, `character` is `character(1)`.
        match (base.as_str(), modifiers.len()) {
            ("numeric", 1) => modifiers.push("0".to_owned()),
            ("character" | "bit", 0) => modifiers.push("1".to_owned()),
            _ => {}
        }
        Meaning { base, modifiers, array }
    }

    /// The name without its schema, for types of extensions, whose schema is the server's business.
    pub(super) fn bare(&self) -> &str {
        self.base.rsplit('.').next().unwrap_or(&self.base).trim_matches('"')
    }

    /// True when both mean one type; a schema counts only where both name one.
    pub(super) fn same(&self, other: &Meaning) -> bool {
        let names = if self.base.contains('.') && other.base.contains('.') {
            self.base == other.base
        } else {
            self.bare() == other.bare()
        };
        names && self.modifiers == other.modifiers && self.array == other.array
    }

    /// True when PostgreSQL itself, or a common extension, has such a type.
    pub(super) fn is_known(&self) -> bool {
        BUILT_IN.contains(&self.bare())
    }
}

/// Every type name that is known, in all spellings.
pub(super) fn names<'a>() -> impl Iterator<Item = &'a str> {
    BUILT_IN.iter().copied().chain(ALIASES.iter().map(|(alias, _)| *alias))
}

/// The one of `known` that is nearest to a misspelt name, if one is near.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    known
        .map(|known| (distance(name, known), known))
        .min()
        .filter(|(distance, known)| *distance <= 1.max(known.len() / 3))
        .map(|(_, known)| known.to_owned())
}

/// How many letters must be added, removed or changed.
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
        ] {
            assert!(Meaning::of(a).same(&Meaning::of(b)), "{a} {b}");
        }
        for (a, b) in [
            ("varchar(20)", "varchar(21)"),
            ("text", "text[]"),
            ("integer", "bigint"),
            ("bpchar", "char"),
            ("a.t", "b.t"),
        ] {
            assert!(!Meaning::of(a).same(&Meaning::of(b)), "{a} {b}");
        }
    }

    #[test]
    fn a_misspelt_type_has_a_neighbour() {
        assert_eq!(nearest("interger", names()).as_deref(), Some("integer"));
        assert_eq!(nearest("timestmptz", names()).as_deref(), Some("timestamptz"));
        assert_eq!(nearest("wibblewobble", names()), None);
    }
}
