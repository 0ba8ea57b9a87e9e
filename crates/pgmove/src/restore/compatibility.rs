//! Whether every value of one type fits into another.

/// How values of a source's column fit into a target's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compatibility {
    /// The same type.
    Same,
    /// A type that can hold every value, possibly with another text form.
    Wider,
    /// Not known to hold every value.
    None,
}

/// Compares two types as `format_type` writes them.
pub(super) fn compatibility(source: &str, target: &str) -> Compatibility {
    if source == target {
        return Compatibility::Same;
    }
    let (from, to) = (Type::parse(source), Type::parse(target));
    if from.array != to.array {
        return Compatibility::None;
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
    if wider { Compatibility::Wider } else { Compatibility::None }
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
    fn only_types_that_certainly_fit_are_accepted() {
        for (from, to, expected) in [
            ("integer", "integer", Compatibility::Same),
            ("integer", "bigint", Compatibility::Wider),
            ("bigint", "integer", Compatibility::None),
            ("character varying(20)", "character varying(50)", Compatibility::Wider),
            ("character varying(50)", "character varying(20)", Compatibility::None),
            ("character varying(50)", "text", Compatibility::Wider),
            ("text", "character varying(50)", Compatibility::None),
            ("text", "character varying", Compatibility::Wider),
            ("numeric(20,8)", "numeric(30,10)", Compatibility::Wider),
            ("numeric(20,8)", "numeric(20,10)", Compatibility::None),
            ("numeric(20,8)", "numeric", Compatibility::Wider),
            ("numeric", "numeric(20,8)", Compatibility::None),
            ("integer", "numeric(9,0)", Compatibility::None),
            ("integer", "numeric(10,0)", Compatibility::Wider),
            ("timestamp(3) with time zone", "timestamp with time zone", Compatibility::Wider),
            ("timestamp with time zone", "timestamp without time zone", Compatibility::None),
            ("integer[]", "bigint[]", Compatibility::Wider),
            ("integer", "bigint[]", Compatibility::None),
            ("double precision", "real", Compatibility::None),
            ("s.mood", "text", Compatibility::None),
        ] {
            assert_eq!(compatibility(from, to), expected, "{from} into {to}");
        }
    }
}
