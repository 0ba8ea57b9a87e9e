//! The key by which rows of a table are matched, in an order on which both sides agree.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::catalog::column::Column;
use crate::catalog::constraint::IndexConstraintKind;
use crate::catalog::database::{DatabaseInfo, LocaleProvider};
use crate::catalog::index::Index;
use crate::catalog::table::Table;
use crate::catalog::{Catalog, QualifiedName};
use crate::quote::{ident, literal};

/// Values of the key's expressions, as text.
pub(super) type KeyValue = Vec<String>;

/// The key of a table, for one side.
#[derive(Debug, Clone)]
pub(super) struct Key {
    /// Names of the columns.
    pub(super) columns: Vec<String>,
    /// Expressions whose values have the same order on both sides.
    expressions: Vec<String>,
    /// How values of each expression are ordered.
    orders: Vec<Order>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Numerically.
    Numbers,
    /// By the bytes of the text.
    Bytes,
}

/// The primary key, or a unique key of NOT NULL columns, that both sides have; for each side.
pub(super) fn of(left: (&Catalog, &Table), right: (&Catalog, &Table)) -> Option<(Key, Key)> {
    let theirs: Vec<BTreeSet<&str>> = keys(right.0, right.1).map(|key| key.into_iter().collect()).collect();
    let columns = keys(left.0, left.1).find(|key| theirs.contains(&key.iter().copied().collect()))?;
    let convert = left.0.database.encoding != right.0.database.encoding;
    let mut sides =
        [left, right].map(|_| Key { columns: Vec::new(), expressions: Vec::new(), orders: Vec::new() });
    for name in columns {
        let columns = (column(left.1, name)?, column(right.1, name)?);
        let same = columns.0.type_oid == columns.1.type_oid;
        for (key, (column, database)) in
            sides.iter_mut().zip([(columns.0, &left.0.database), (columns.1, &right.0.database)])
        {
            let (expression, order) = expression(column, same, convert, database);
            key.columns.push(name.to_owned());
            key.expressions.push(expression);
            key.orders.push(order);
        }
    }
    let [left, right] = sides;
    Some((left, right))
}

fn column<'a>(table: &'a Table, name: &str) -> Option<&'a Column> {
    table.columns.iter().find(|column| column.name == name)
}

/// The columns of each key of a table, the primary key first.
fn keys<'a>(catalog: &'a Catalog, table: &'a Table) -> impl Iterator<Item = Vec<&'a str>> {
    let name: QualifiedName = table.name();
    let mut indexes: Vec<&Index> =
        catalog.indexes.iter().filter(|index| index.table == name && unique(index)).collect();
    let kind = |index: &Index| index.constraint.as_ref().map(|constraint| constraint.kind);
    indexes.sort_by_key(|index| kind(index) != Some(IndexConstraintKind::PrimaryKey));
    indexes.into_iter().filter_map(move |index| {
        let number = usize::try_from(index.key_columns).ok()?;
        let columns: Option<Vec<&str>> = index.columns.get(..number)?.iter().map(Option::as_deref).collect();
        let columns = columns?;
        let usable = |name: &&str| {
            column(table, name).is_some_and(|column| column.not_null && column.generated.is_none())
        };
        columns.iter().all(usable).then_some(columns)
    })
}

fn unique(index: &Index) -> bool {
    let constraint = match &index.constraint {
        Some(constraint) => constraint.kind != IndexConstraintKind::Exclusion && !constraint.period,
        None => index.definition.starts_with("CREATE UNIQUE INDEX") && !index.definition.contains(" WHERE "),
    };
    index.valid && constraint
}

/// The sort expression of a column. Built-in types whose order never depends on version or locale are used directly,
/// so that an index can be used. Others are ordered by the bytes of their text as returned by the type's own output
/// function (a cast could be a function of the database's owner).
fn expression(column: &Column, same: bool, convert: bool, database: &DatabaseInfo) -> (String, Order) {
    let name = ident(&column.name).into_owned();
    let text = |text: String| match convert {
        true => (format!("pg_catalog.convert_to({text}, 'UTF8')"), Order::Bytes),
        false => (format!("({text} COLLATE \"C\")"), Order::Bytes),
    };
    match column.type_oid {
        // int8, int2, int4, oid, numeric
        20 | 21 | 23 | 26 | 1700 if same => (name, Order::Numbers),
        // bool, bytea, date, timestamp, timestamptz, uuid
        16 | 17 | 1082 | 1114 | 1184 | 2950 if same => (name, Order::Bytes),
        // text, varchar
        25 | 1043 => {
            let locale = match database.locale_provider {
                LocaleProvider::Libc => matches!(database.collate.as_str(), "C" | "POSIX"),
                _ => false,
            };
            match column.collation.is_none() && locale && !convert {
                true => (name, Order::Bytes),
                false => text(name),
            }
        }
        _ => text(format!("pg_catalog.concat({name})")),
    }
}

impl Key {
    /// The expressions as a select list.
    pub(super) fn list(&self) -> String {
        self.expressions.join(", ")
    }

    pub(super) fn len(&self) -> usize {
        self.expressions.len()
    }

    /// Condition: the key is at most this value.
    pub(super) fn up_to(&self, value: &KeyValue) -> String {
        self.compared("<=", value)
    }

    /// Condition: the key is greater than this value.
    pub(super) fn after(&self, value: &KeyValue) -> String {
        self.compared(">", value)
    }

    fn compared(&self, operator: &str, value: &KeyValue) -> String {
        let values: Vec<String> = value.iter().map(|value| literal(value)).collect();
        format!("({}) {operator} ({})", self.list(), values.join(", "))
    }

    /// Compares two values.
    pub(super) fn order(&self, one: &[Vec<u8>], other: &[Vec<u8>]) -> Ordering {
        let pairs = one.iter().zip(other).zip(&self.orders);
        pairs
            .map(|((one, other), order)| match order {
                Order::Bytes => one.cmp(other),
                Order::Numbers => number(one, other),
            })
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    }
}

/// Compares two decimal numbers of any length. NaN and Infinity come last.
fn number(one: &[u8], other: &[u8]) -> Ordering {
    let parts = |text: &[u8]| -> Option<(bool, Vec<u8>, Vec<u8>)> {
        let negative = text.first() == Some(&b'-');
        let digits = text.strip_prefix(b"-").unwrap_or(text);
        let mut halves = digits.splitn(2, |byte| *byte == b'.');
        let whole = halves.next()?.to_vec();
        let fraction = halves.next().unwrap_or_default().to_vec();
        whole.iter().chain(&fraction).all(u8::is_ascii_digit).then_some((negative, whole, fraction))
    };
    match (parts(one), parts(other)) {
        (Some(one), Some(other)) => {
            let size = one
                .1
                .len()
                .cmp(&other.1.len())
                .then_with(|| one.1.cmp(&other.1))
                .then_with(|| one.2.cmp(&other.2));
            match (one.0, other.0) {
                (false, false) => size,
                (true, true) => size.reverse(),
                (true, false) => Ordering::Less,
                (false, true) => Ordering::Greater,
            }
        }
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => one.cmp(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_ordered_as_numbers() {
        let mut all =
            ["10", "-1", "9", "-10", "0", "9.5", "NaN", "9.25"].map(|text| text.as_bytes().to_vec());
        all.sort_by(|a, b| number(a, b));
        let text: Vec<&str> = all.iter().map(|text| std::str::from_utf8(text).unwrap()).collect();
        assert_eq!(text, ["-10", "-1", "0", "9", "9.25", "9.5", "10", "NaN"]);
    }
}
