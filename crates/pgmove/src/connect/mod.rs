//! Connecting as libpq does: connection parameters, TLS, sessions with pinned settings.

mod databases;
mod dial;
mod dialer;
mod identity;
mod options;
mod parameters;
mod passfile;
mod preflight;
mod scratch;
mod session;
mod text;
mod tls;
pub(crate) mod value_settings;

pub use databases::databases;
pub use dialer::{ByteStream, Dialer, Dialing, Route};
pub use identity::ServerIdentity;
pub use options::{ConnectOptions, Environment, SslMode};
pub use preflight::{Preflight, preflight};
pub use scratch::{databases_named, drop_scratch_database, lacking_extensions, query_text};
pub use session::{Session, connect};
pub(crate) use session::{VIEWS, pinned, pinned_text, restricted};
