//! Documents that cannot be read, and why.

use serde::Serialize;

use crate::Error;
use crate::remedy::Remedy;

/// A manifest that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Unreadable {
    /// The object.
    pub name: String,
    /// Why.
    pub error: String,
    /// The format that it is of, if it is sound and only of another one than is read here.
    #[serde(skip)]
    pub(crate) other_format: Option<u64>,
}

impl Unreadable {
    pub(crate) fn new(name: String, why: &Error) -> Unreadable {
        let other_format = match why {
            Error::Format { found, .. } => Some(*found),
            _ => None,
        };
        Unreadable { name, error: why.to_string(), other_format }
    }

    /// What can be done about it, where that is known.
    pub fn remedy(&self) -> Option<Remedy> {
        let damaged = self.other_format.is_none() && !self.name.starts_with("dbhaul.json");
        if damaged && self.error.contains(" is damaged: ") { Remedy::for_document(&self.name) } else { None }
    }

    /// The error for a caller that needs the document.
    pub(crate) fn into_error(self, consequence: &'static str) -> Error {
        match self.other_format {
            Some(found) => Error::Format { object: self.name, found, known: crate::FORMAT, consequence },
            None => Error::Damaged { message: format!("{}; {consequence}", self.cause()), object: self.name },
        }
    }

    /// Why, without the object's name, for errors that name it themselves.
    fn cause(&self) -> &str {
        self.error.strip_prefix(&*format!("{} is damaged: ", self.name)).unwrap_or(&self.error)
    }
}
