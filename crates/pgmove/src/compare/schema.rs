//! The definitions of two databases against each other, object by object.

use std::collections::BTreeMap;

use super::{SchemaDifference, SchemaProof};
use crate::Error;
use crate::catalog::Catalog;
use crate::catalog::timescale::Timescale;
use crate::ddl::{self, RenderOptions, Section};
use crate::error::without_secrets;
use crate::extension::HANDLERS;

/// Both catalogs rendered for the older of the two servers: what the statements of an object say is what it is.
///
/// Servers of different major versions write one and the same query differently: from 16 on without the table's name
/// before a column where there is only one table, without `AS` before the alias of a table that is updated, and with
/// the `NO INDENT` that older servers do not know. What differs in no more than that is told apart from real
/// differences, and given as the second list.
pub(super) fn differences(
    left: &Catalog,
    right: &Catalog,
) -> Result<(Vec<SchemaDifference>, Vec<String>), Error> {
    let options = RenderOptions::default().comparing(left.server_version_num, right.server_version_num);
    let found = prove(left, &options, right, &options, &Scope::default())?;
    Ok((found.differences, found.not_compared))
}

/// What of two schemas is held against each other.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    /// Only what the left has; the right may hold other things.
    pub(crate) ours: bool,
    /// Only statements of these sections; all when nothing is said.
    pub(crate) sections: Vec<Section>,
}

/// Kinds of which a database holds something whatever is restored into it, and that are added to and never replaced.
const ADDED_TO: [&str; 4] = ["default privileges ", "built-in ", "schema ", "extension "];

/// The same with what is left out of either side, or called by another name on the left.
pub(crate) fn prove(
    left: &Catalog,
    left_options: &RenderOptions,
    right: &Catalog,
    right_options: &RenderOptions,
    scope: &Scope,
) -> Result<SchemaProof, Error> {
    let [old, new] = {
        let mut majors = [left, right].map(|catalog| catalog.server_version_num / 10_000);
        majors.sort_unstable();
        majors
    };
    let version = left.server_version_num.min(right.server_version_num);
    // A catalog that was stored by the first versions does not tell them.
    let ranges = [left, right].into_iter().filter_map(|c| c.timescale.as_ref()).all(Timescale::knows_ranges);
    let mut objects: BTreeMap<String, [Vec<String>; 2]> = BTreeMap::new();
    for (side, (catalog, options)) in [(left, left_options), (right, right_options)].into_iter().enumerate() {
        let mut catalog = super::columns::as_made(catalog.clone());
        if let Some(timescale) = catalog.timescale.as_mut().filter(|_| !ranges) {
            timescale.aggregates.iter_mut().for_each(|aggregate| aggregate.invalid = None);
        }
        let statements = ddl::render(&catalog, version, options)?.statements.into_iter();
        let wanted = |section| scope.sections.is_empty() || scope.sections.contains(&section);
        for statement in statements.filter(|statement| wanted(statement.section)) {
            let object = super::deparse::settled(&statement.object.to_string());
            let entry = objects.entry(object).or_default();
            if let Some(statements) = entry.get_mut(side) {
                statements.push(super::deparse::settled(&statement.sql));
            }
        }
        for (object, fact) in HANDLERS.iter().flat_map(|handler| handler.facts(&catalog, options)) {
            let entry = objects.entry(object).or_default();
            if let Some(facts) = entry.get_mut(side) {
                facts.push(fact);
            }
        }
    }
    let (mut real, mut spelling) = (Vec::new(), Vec::new());
    if scope.ours {
        objects.retain(|_, [left, _]| !left.is_empty());
    }
    let number = objects.len();
    for (object, [left, right]) in objects {
        let (only_left, mut only_right) = (without(&left, &right), without(&right, &left));
        if scope.ours && ADDED_TO.iter().any(|kind| object.starts_with(kind)) {
            only_right.clear();
        }
        if only_left.is_empty() && only_right.is_empty() {
            continue;
        }
        if same_heir(&only_left, &only_right) {
            spelling.push(format!(
                "{object}: its columns stand in another order, those that it inherits first; every dump and restore does that"
            ));
        } else if old != new && same_but_for_spelling(&only_left, &only_right) {
            spelling.push(format!(
                "{object}: PostgreSQL {old} and {new} write it differently; it is the same but for parentheses, the tables \
                 named before columns, and words that change nothing"
            ));
        } else {
            // They are compared as they are, and shown without passwords.
            let shown = |statements: Vec<String>| statements.into_iter().map(without_secrets).collect();
            real.push(SchemaDifference { object, left: shown(only_left), right: shown(only_right) });
        }
    }
    Ok(SchemaProof { objects: number, differences: real, not_compared: spelling, same_version: old == new })
}

fn without(all: &[String], others: &[String]) -> Vec<String> {
    all.iter().filter(|sql| !others.contains(sql)).cloned().collect()
}

/// One heir's definition with its columns in two orders. A table that was made to inherit, or whose parent got a column
/// later, has its own columns first; made anew, it has the inherited ones first. Rows are brought by column names.
fn same_heir(left: &[String], right: &[String]) -> bool {
    let lines = |sql: &str| -> Option<Vec<String>> {
        let mut lines: Vec<String> = sql.lines().map(|line| line.trim_end_matches(',').to_owned()).collect();
        lines.sort();
        (sql.starts_with("CREATE ") && sql.contains("\nINHERITS (")).then_some(lines)
    };
    match (left, right) {
        ([left], [right]) => lines(left).is_some_and(|left| lines(right) == Some(left)),
        _ => false,
    }
}

fn same_but_for_spelling(left: &[String], right: &[String]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).all(|(left, right)| same_words(&words(left), &words(right)))
}

/// The same words, where one side may name a table before a column and the other not.
fn same_words(left: &[String], right: &[String]) -> bool {
    fn at(words: &[String], at: usize) -> Option<&str> {
        words.get(at).map(String::as_str)
    }
    let (mut l, mut r) = (0, 0);
    while l < left.len() || r < right.len() {
        let (qualified_left, qualified_right) = (at(left, l + 1) == Some("."), at(right, r + 1) == Some("."));
        if qualified_left && !qualified_right && at(left, l + 2) == at(right, r) {
            l += 2;
        } else if qualified_right && !qualified_left && at(right, r + 2) == at(left, l) {
            r += 2;
        }
        if at(left, l) != at(right, r) {
            return false;
        }
        l += 1;
        r += 1;
    }
    true
}

/// The words of a statement without white space, parentheses, and what may be said or left unsaid.
fn words(sql: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for word in all_words(sql) {
        match word.as_str() {
            "AS" => {}
            "INDENT" if out.last().is_some_and(|last| last == "NO") => {
                out.pop();
            }
            _ => out.push(word),
        }
    }
    out
}

fn all_words(sql: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut rest = sql.chars().peekable();
    while let Some(c) = rest.next() {
        let mut word = String::from(c);
        if c == '\'' || c == '"' {
            while let Some(next) = rest.next() {
                word.push(next);
                // A doubled quote stands for itself.
                if next == c && rest.next_if_eq(&c).is_none() {
                    break;
                }
            }
        } else if is_name(c) {
            let number = c.is_ascii_digit();
            while let Some(next) = rest.next_if(|next| is_name(*next) || (number && *next == '.')) {
                word.push(next);
            }
        } else if c.is_whitespace() || c == '(' || c == ')' {
            continue;
        }
        words.push(word);
    }
    words
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_heirs_columns_may_change_places() {
        let heir = |columns: &str| vec![format!("CREATE TABLE s.t (\n{columns}\n)\nINHERITS (s.p)")];
        assert!(same_heir(&heir("    a int,\n    b text"), &heir("    b text,\n    a int")));
        assert!(!same_heir(&heir("    a int,\n    b text"), &heir("    b text,\n    a bigint")));
        let plain = |columns: &str| vec![format!("CREATE TABLE s.t (\n{columns}\n)")];
        assert!(!same_heir(&plain("    a int,\n    b text"), &plain("    b text,\n    a int")));
    }

    #[test]
    fn only_the_spelling_of_a_query_is_let_pass() {
        let same = |left: &str, right: &str| same_but_for_spelling(&[left.to_owned()], &[right.to_owned()]);
        assert!(same("SELECT g.a,\n  g.b FROM s.g WHERE (g.a > 50)", "SELECT a, b FROM s.g WHERE a > 50"));
        assert!(same("UPDATE s.g AS t SET a = 1", "UPDATE s.g t SET a = 1"));
        assert!(same("XMLSERIALIZE(CONTENT x AS text)", "XMLSERIALIZE(CONTENT x AS text NO INDENT)"));
        assert!(!same("XMLSERIALIZE(CONTENT x AS text)", "XMLSERIALIZE(CONTENT x AS text INDENT)"));
        assert!(!same("SELECT a AS b FROM g", "SELECT a AS c FROM g"));
        assert!(!same("SELECT g.a FROM s.g", "SELECT g.b FROM s.g"));
        assert!(same("SELECT a.a FROM s.a", "SELECT a FROM s.a"));
        assert!(!same("SELECT a FROM s.g", "SELECT a FROM t.g"));
        assert!(!same("SELECT t.a FROM t, u", "SELECT u.a FROM t, u"));
        assert!(!same("SELECT 'a.b' FROM g", "SELECT 'b' FROM g"));
        assert!(!same("SELECT 1.5", "SELECT 2.5"));
        assert!(!same("SELECT a FROM g", "SELECT a FROM g LIMIT 1"));
        assert!(!same("SELECT a FROM g WHERE a > 50", "SELECT a FROM g WHERE a > 51"));
        assert!(!same("SELECT 'it''s (x)'", "SELECT 'it''s x'"));
    }
}
