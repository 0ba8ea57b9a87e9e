//! What a resumed run kept and loaded again.

use serde::Serialize;

/// What a resumed run kept and loaded again.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Resumed {
    /// Tables that were already complete.
    pub(crate) kept: usize,
    /// Tables that were emptied and loaded again.
    pub(crate) loaded_again: Vec<String>,
    /// What the kept tables were compared with.
    pub(crate) verified_against: &'static str,
}

impl Resumed {
    /// Renders the report as text.
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
