//! The environment that provides settings and credentials of stores.

use std::collections::HashMap;
use std::fmt;

/// Prefixes of the variables with settings of stores,
const CLOUDS: [&str; 3] = ["AWS_", "GOOGLE_", "AZURE_"];
/// and the variable for the folder in which cloud tools keep their files.
pub(crate) const HOME: &str = "HOME";

/// The environment that provides credentials. It is passed as an argument, so that tests can supply their own.
#[derive(Clone, Default)]
pub struct StoreEnv {
    variables: HashMap<String, String>,
}

impl StoreEnv {
    /// The variables of the clouds' own clients: `AWS_*`, `GOOGLE_*` and `AZURE_*`, and `HOME`, which contains AWS's
    /// files.
    pub fn from_process() -> StoreEnv {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name == HOME || CLOUDS.iter().any(|prefix| name.starts_with(prefix)))
            .collect();
        StoreEnv { variables }
    }

    /// Exactly these variables: no files are read except those that they name.
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
