//! What became of the tables of an interrupted run.

use serde::Serialize;

/// What became of the tables of an interrupted run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Resumed {
    /// Tables that held what they were to hold, and were left.
    pub(crate) kept: usize,
    /// Tables that were emptied and loaded again.
    pub(crate) loaded_again: Vec<String>,
    /// What the kept tables were held against.
    pub(crate) verified_against: &'static str,
}

impl Resumed {
    /// For people.
    pub(crate) fn render(&self) -> String {
        let again = match self.loaded_again.as_slice() {
            [] => "none was loaded again".to_owned(),
            some => format!("emptied and loaded again: {}", some.join(", ")),
        };
        format!(
            "resumed: {} {} kept, each equal to {} by digest; {again}\n",
            self.kept,
            if self.kept == 1 { "table was" } else { "tables were" },
            self.verified_against
        )
    }
}
