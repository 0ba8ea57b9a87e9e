//! The environment that stores take their settings and credentials from.

use std::collections::HashMap;
use std::fmt;

/// What the variables begin with that stores take their settings from,
const CLOUDS: [&str; 3] = ["AWS_", "GOOGLE_", "AZURE_"];
/// and the one below whose folder a cloud's tools keep files.
pub(crate) const HOME: &str = "HOME";

/// The environment that stores take their credentials from; an argument, so that tests bring their own.
#[derive(Clone, Default)]
pub struct StoreEnv {
    variables: HashMap<String, String>,
}

impl StoreEnv {
    /// The variables that the clouds' own clients know: `AWS_*`, `GOOGLE_*` and `AZURE_*`, and `HOME`, below which AWS's
    /// keep files.
    pub fn from_process() -> StoreEnv {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name == HOME || CLOUDS.iter().any(|prefix| name.starts_with(prefix)))
            .collect();
        StoreEnv { variables }
    }

    /// These variables and no others: no file is read but what they name.
    pub fn of(pairs: &[(&str, &str)]) -> StoreEnv {
        StoreEnv { variables: pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect() }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Names only: the values are secrets.
impl fmt::Debug for StoreEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}
