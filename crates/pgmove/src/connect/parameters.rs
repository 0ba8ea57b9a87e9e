//! Names of libpq's connection parameters.

/// Parameters that take effect.
const SUPPORTED: &[&str] = &[
    "host",
    "hostaddr",
    "port",
    "user",
    "password",
    "dbname",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslnegotiation",
    "channel_binding",
    "connect_timeout",
    "options",
    "application_name",
    "service",
    "passfile",
    "target_session_attrs",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
];

/// Accepted parameters without effect: they do not apply to this client, or request what it always does.
const IGNORED: &[&str] = &[
    "client_encoding",
    "fallback_application_name",
    "gssencmode",
    "krbsrvname",
    "load_balance_hosts",
    "sslcompression",
    "sslsni",
    "ssl_min_protocol_version",
    "min_protocol_version",
    "max_protocol_version",
];

/// True if libpq has a parameter of this name.
pub(super) fn is_known(name: &str) -> bool {
    SUPPORTED.contains(&name) || IGNORED.contains(&name)
}
