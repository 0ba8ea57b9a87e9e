//! Whether every value of one type fits into another.

/// How values of a source's column fit into a target's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// The same type.
    Same,
    /// A type that can hold every value, possibly with another text form.
    Wider,
    /// Not known to hold every value.
    No,
}

/// Compares two types as `format_type` writes them.
pub(super) fn fit(source: &str, target: &str) -> Fit {
    if source == target {
        return Fit::Same;
    }
    let (from, to) = (Type::parse(source), Type::parse(target));
    if from.array != to.array {
        return Fit::No;
    }
    let wider = match (from.name, to.name) {
        ("smallint", "integer" | "bigint") | ("integer", "bigint") => true,
        ("smallint", "real" | "double precision") | ("integer", "double precision") => true,
        ("real", "double precision") => true,
        ("smallint" | "integer" | "bigint", "numeric") => {
            let digits = match from.name {
                "smallint" => 5,
                "integer" => 10,
                _ => 19,
            };
            to.numbers().is_none_or(|(precision, scale)| precision - scale >= digits)
        }
        ("numeric", "numeric") => match (from.numbers(), to.numbers()) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some((p, s)), Some((q, t))) => t >= s && q - t >= p - s,
        },
        ("character varying" | "character", "text") => true,
        ("character varying", "character varying") | ("character", "character") => longer(&from, &to),
        ("bit", "bit varying") | ("bit varying", "bit varying") => longer(&from, &to),
        ("text", "character varying") => to.arguments.is_none(),
        ("character", "character varying") => longer(&from, &to),
        ("json", "text") | ("uuid", "text") | ("name", "text") => true,
        ("timestamp without time zone", "timestamp without time zone")
        | ("timestamp with time zone", "timestamp with time zone")
        | ("time without time zone", "time without time zone")
        | ("time with time zone", "time with time zone")
        | ("interval", "interval") => longer(&from, &to),
        _ => false,
    };
    if wider { Fit::Wider } else { Fit::No }
}

/// A target without a length accepts everything; one with a length accepts types that are not longer.
fn longer(from: &Type<'_>, to: &Type<'_>) -> bool {
    match (from.first(), to.first()) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(from), Some(to)) => from <= to,
    }
}

/// A parsed type name: `character varying(20)[]`, `timestamp(3) with time zone`.
struct Type<'a> {
    name: &'a str,
    arguments: Option<&'a str>,
    array: bool,
}

impl<'a> Type<'a> {
    fn parse(text: &'a str) -> Type<'a> {
        let (text, array) = match text.strip_suffix("[]") {
            Some(element) => (element, true),
            None => (text, false),
        };
        let Some((name, rest)) = text.split_once('(') else {
            return Type { name: text, arguments: None, array };
        };
        let Some((arguments, tail)) = rest.split_once(')') else {
            return Type { name: text, arguments: None, array };
        };
        let name = match (name, tail) {
            (name, "") => name,
            ("timestamp", " without time zone") => "timestamp without time zone",
            ("timestamp", " with time zone") => "timestamp with time zone",
            ("time", " without time zone") => "time without time zone",
            ("time", " with time zone") => "time with time zone",
            // An unknown type: equal only to itself.
            _ => text,
        };
        Type { name, arguments: Some(arguments), array }
    }

    fn numbers(&self) -> Option<(i64, i64)> {
        let mut numbers = self.arguments?.split(',').map(|n| n.trim().parse::<i64>());
        let precision = numbers.next()?.ok()?;
        Some((precision, numbers.next().and_then(Result::ok).unwrap_or(0)))
    }

    fn first(&self) -> Option<i64> {
        self.numbers().map(|(first, _)| first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_sure_to_fit_is_let_pass() {
        for (from, to, expected) in [
            ("integer", "integer", Fit::Same),
            ("integer", "bigint", Fit::Wider),
            ("bigint", "integer", Fit::No),
            ("character varying(20)", "character varying(50)", Fit::Wider),
            ("character varying(50)", "character varying(20)", Fit::No),
            ("character varying(50)", "text", Fit::Wider),
            ("text", "character varying(50)", Fit::No),
            ("text", "character varying", Fit::Wider),
            ("numeric(20,8)", "numeric(30,10)", Fit::Wider),
            ("numeric(20,8)", "numeric(20,10)", Fit::No),
            ("numeric(20,8)", "numeric", Fit::Wider),
            ("numeric", "numeric(20,8)", Fit::No),
            ("integer", "numeric(9,0)", Fit::No),
            ("integer", "numeric(10,0)", Fit::Wider),
            ("timestamp(3) with time zone", "timestamp with time zone", Fit::Wider),
            ("timestamp with time zone", "timestamp without time zone", Fit::No),
            ("integer[]", "bigint[]", Fit::Wider),
            ("integer", "bigint[]", Fit::No),
            ("double precision", "real", Fit::No),
            ("s.mood", "text", Fit::No),
        ] {
            assert_eq!(fit(from, to), expected, "{from} into {to}");
        }
    }
}
