//! Unreadable documents.

use serde::Serialize;

use crate::Error;
use crate::remedy::Remedy;

/// A document that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Unreadable {
    /// The object.
    pub name: String,
    /// The reason.
    pub error: String,
    /// Its format, if it is intact but in a format not supported here.
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

    /// The remedy, if there is one.
    pub fn remedy(&self) -> Option<Remedy> {
        let damaged = self.other_format.is_none() && !self.name.starts_with("dbhaul.json");
        if damaged && self.error.contains(" is damaged: ") { Remedy::for_document(&self.name) } else { None }
    }

    /// The error for a caller that requires the document.
    pub(crate) fn into_error(self, consequence: &'static str) -> Error {
        match self.other_format {
            Some(found) => Error::Format { object: self.name, found, known: crate::FORMAT, consequence },
            None => Error::Damaged { message: format!("{}; {consequence}", self.cause()), object: self.name },
        }
    }

    /// The reason without the object's name, for errors that already name it.
    fn cause(&self) -> &str {
        self.error.strip_prefix(&*format!("{} is damaged: ", self.name)).unwrap_or(&self.error)
    }
}
