//! Arrays (Redis 8.8): elements at indexes, with gaps between them. `rdbSaveObject` in `rdb.c`, and `t_array.c` for the
//! elements: numbers, short strings and long strings, all of which are strings to clients.

use super::cursor::Cursor;
use super::cursor::Stop;
use super::error::Problem;
use super::text::Text;
use super::value::Elements;

/// Reads the header: the number of elements, and the index at which `ARINSERT` continues.
pub(crate) fn head<E: Elements>(cursor: &mut Cursor<'_>, out: &mut E) -> Result<u64, Stop> {
    let count = cursor.count()?;
    let next = match cursor.count()? {
        0 => None,
        1 => Some(cursor.count()?),
        _ => return Err(Problem::Item("an array's insert index has an unknown encoding").into()),
    };
    out.elements(count);
    out.insert_index(next);
    Ok(count)
}

/// Reads one element.
pub(crate) fn element<E: Elements>(
    cursor: &mut Cursor<'_>,
    scratch: &mut Vec<u8>,
    out: &mut E,
) -> Result<(), Stop> {
    let index = cursor.count()?;
    match cursor.count()? {
        0 | 3 => out.slot(index, cursor.text()?.bytes(scratch)?),
        1 => out.slot(index, Text::Int(i64::from_le_bytes(cursor.array()?)).bytes(scratch)?),
        2 => out.slot(index, decimal(f64::from_le_bytes(cursor.array()?)).as_bytes()),
        _ => return Err(Problem::Item("an array's element has an unknown kind").into()),
    }
    Ok(())
}

/// A number as clients see it: only digits with one point are stored as numbers, without an exponent.
fn decimal(number: f64) -> String {
    let text = format!("{number}");
    if text.contains('.') || !number.is_finite() { text } else { text + ".0" }
}
