//! Documentation of the configuration keys, from which the manual page and docs/configuration.md are generated. A
//! test compares it with the types, so that no key is missing.

/// A table of the configuration file.
pub(crate) struct Table {
    /// Header, such as `[job]`.
    pub(crate) name: &'static str,
    /// Purpose.
    pub(crate) meaning: &'static str,
    /// Keys, in the order of the type's fields.
    pub(crate) keys: &'static [Key],
}

/// A key of a table.
pub(crate) struct Key {
    /// Name.
    pub(crate) name: &'static str,
    /// Form of a value, with its unit.
    pub(crate) value: &'static str,
    /// Default; empty if there is none.
    pub(crate) default: &'static str,
    /// Environment variable that sets the same; empty if there is none.
    pub(crate) environment: &'static str,
    /// Effect.
    pub(crate) meaning: &'static str,
}

pub(super) const fn key(
    name: &'static str,
    value: &'static str,
    default: &'static str,
    environment: &'static str,
    meaning: &'static str,
) -> Key {
    Key { name, value, default, environment, meaning }
}

/// All tables.
pub(crate) const TABLES: &[Table] = &[
    Table {
        name: "[job]",
        meaning: "The backup job.",
        keys: &[
            key(
                "id",
                "string",
                "default",
                "",
                "Name of the series of snapshots that retention counts in. Keep it when a host or a folder is renamed.",
            ),
            key(
                "jobs",
                "number of connections",
                "0",
                "",
                "Connections to each source that copy at the same time; 0 is one more than this host has cores, from 3 to 8. Same as --jobs.",
            ),
            key(
                "rate-limit",
                "bytes per second, such as \"50MiB/s\"",
                "",
                "",
                "Maximum average rate at which rows of a PostgreSQL source are read, over all connections; unlimited when unset. Same as --rate-limit of backup and migrate.",
            ),
        ],
    },
    Table {
        name: "[repository]",
        meaning: "Where backups are stored.",
        keys: &[
            key(
                "url",
                "folder or URL",
                "",
                "DBHAUL_REPOSITORY",
                "A folder, or s3://bucket/prefix?endpoint=…&region=…, gs://… or az://…. Required in this table. ${VAR} is replaced from the environment. Same as --repository.",
            ),
            key(
                "key-file",
                "path",
                "",
                "DBHAUL_KEY_FILE",
                "Key file of an encrypted repository. With it this host can write, list, forget and prune, but not decrypt backups. Same as --key-file.",
            ),
            key(
                "identity-file",
                "path",
                "",
                "DBHAUL_IDENTITY_FILE",
                "Identity that decrypts an encrypted repository, for hosts that restore. Same as --identity.",
            ),
            key(
                "passphrase",
                "string",
                "",
                "DBHAUL_PASSPHRASE",
                "Passphrase that decrypts an encrypted repository, in place of an identity. Use ${VAR} to keep it out of the file. At most one of passphrase, passphrase-file and passphrase-command.",
            ),
            key("passphrase-file", "path", "", "", "File whose first line is the passphrase."),
            key(
                "passphrase-command",
                "list of strings",
                "",
                "",
                "Command whose first line of output is the passphrase. Runs without a shell.",
            ),
            key(
                "compression-level",
                "1 to 22",
                "2",
                "",
                "zstd compression level of new data. 1 is the fastest, 19 the smallest practical one.",
            ),
            key(
                "limit-upload",
                "bytes per second, such as \"10MiB/s\"",
                "",
                "",
                "Maximum average rate of a run's uploads; unlimited when unset. Same as --limit-upload.",
            ),
            key(
                "max-in-memory",
                "size in bytes, such as \"256MiB\"",
                "256MiB",
                "",
                "Largest catalog, or other part read as a whole, that is accepted. Limits how much memory a damaged or forged repository can use.",
            ),
        ],
    },
    Table {
        name: "[[source]]",
        meaning: "A database or server to back up. Repeat the table for each source.",
        keys: &[
            key(
                "name",
                "string",
                "",
                "",
                "Name of the source in snapshots and for --source. Required and unique.",
            ),
            key(
                "kind",
                "\"postgres\" or \"redis\"",
                "",
                "",
                "Kind of the server; \"redis\" also means Valkey. Required.",
            ),
            key(
                "url",
                "URL",
                "",
                "PG*, see below",
                "postgres://… or a conninfo string, redis:// or rediss://; through a tunnel k8s://, docker:// or ssh://. ${VAR} is replaced from the environment. Required unless data-dir is set.",
            ),
            key(
                "database",
                "name or \"*\"",
                "",
                "PGDATABASE",
                "PostgreSQL database, in place of the one in the URL. \"*\" means every database of the server, each as a source named NAME/DATABASE.",
            ),
            key(
                "password",
                "string",
                "",
                "PGPASSWORD, REDISCLI_AUTH",
                "Password. Use ${VAR} to keep it out of the file. At most one of password, password-file and password-command.",
            ),
            key("password-file", "path", "", "", "File whose first line is the password."),
            key(
                "password-command",
                "list of strings",
                "",
                "",
                "Command whose first line of output is the password. Runs without a shell.",
            ),
            key("baseline", "path", "", "", "Schema baseline to check at each backup and rehearsal."),
            key("environment", "string", "", "", "Environment whose part of the baseline applies."),
            key(
                "filter",
                "table",
                "",
                "",
                "Part of a PostgreSQL database to back up; see [source.filter]. The whole database when unset.",
            ),
            key(
                "globals",
                "true or false",
                "false",
                "",
                "Include roles, memberships, role settings and tablespaces of a PostgreSQL server.",
            ),
            key(
                "role-passwords",
                "true or false",
                "false",
                "",
                "Include the password hashes of roles too. Requires a superuser.",
            ),
            key(
                "capture",
                "\"auto\", \"psync\" or \"scan\"",
                "auto",
                "",
                "How to capture Redis keys. \"psync\" replicates: all keys as of one moment. \"scan\" reads key by key. \"auto\" uses psync where the server allows it.",
            ),
            key(
                "with-acl",
                "true or false",
                "false",
                "",
                "Include users of a Redis server, with their password hashes, and its settings.",
            ),
            key(
                "data-dir",
                "path",
                "",
                "",
                "Data folder of a Redis server on this host, or a file in it, to read instead of asking the server. The server may be stopped.",
            ),
            key(
                "tls-cacert",
                "path (PEM)",
                "the host's authorities",
                "",
                "Certificate authorities for a rediss:// URL. For PostgreSQL use sslrootcert in the URL.",
            ),
            key(
                "tls-cert",
                "path (PEM)",
                "",
                "",
                "Client certificate for a rediss:// URL. For PostgreSQL use sslcert in the URL.",
            ),
            key(
                "tls-key",
                "path (PEM)",
                "",
                "",
                "Key of the client certificate. For PostgreSQL use sslkey in the URL.",
            ),
        ],
    },
    Table {
        name: "[source.filter]",
        meaning: "Part of a PostgreSQL database. In patterns * matches any characters and ? matches one. A table is named with or without its schema, and includes its partitions, the tables that inherit from it and the chunks of a hypertable.",
        keys: &[
            key("schemas", "list of patterns", "[]", "", "Include only these schemas. Same as --schema."),
            key(
                "exclude-schemas",
                "list of patterns",
                "[]",
                "",
                "Exclude these schemas. Same as --exclude-schema.",
            ),
            key(
                "tables",
                "list of patterns",
                "[]",
                "",
                "Include only these tables and what belongs to them. Same as --table.",
            ),
            key(
                "exclude-tables",
                "list of patterns",
                "[]",
                "",
                "Exclude these tables. Same as --exclude-table.",
            ),
            key(
                "exclude-table-data",
                "list of patterns",
                "[]",
                "",
                "Exclude the rows of these tables. Same as --exclude-table-data.",
            ),
            key(
                "where",
                "table of pattern = condition",
                "{}",
                "",
                "Include only the rows of a table that meet an SQL condition. Same as --where.",
            ),
        ],
    },
    Table {
        name: "[retention]",
        meaning: "Which snapshots to keep. At least one of the counts, or keep-within, must be set. The newest snapshot, the newest that passed a check, the newest that passed a rehearsal and pinned snapshots are always kept. Without this table nothing is removed after a backup.",
        keys: &[
            key("last", "number of snapshots", "0", "", "Keep the newest snapshots, whatever their age."),
            key(
                "hourly",
                "number of hours",
                "0",
                "",
                "Keep the newest snapshot of each of the last hours that have one.",
            ),
            key(
                "daily",
                "number of days",
                "0",
                "",
                "Keep the newest snapshot of each of the last days that have one.",
            ),
            key(
                "weekly",
                "number of weeks",
                "0",
                "",
                "Keep the newest snapshot of each of the last weeks that have one. A week ends on Sunday.",
            ),
            key(
                "monthly",
                "number of months",
                "0",
                "",
                "Keep the newest snapshot of each of the last months that have one.",
            ),
            key(
                "yearly",
                "number of years",
                "0",
                "",
                "Keep the newest snapshot of each of the last years that have one.",
            ),
            key(
                "keep-within",
                "duration: a number and h, d or w, such as \"28d\"",
                "",
                "",
                "Keep every snapshot that is at most this much older than the newest one.",
            ),
            key(
                "keep-tags",
                "list of tags",
                "[\"keep\"]",
                "",
                "Keep snapshots that have one of these tags, whatever their age.",
            ),
            key(
                "zone",
                "IANA time zone, such as \"Asia/Seoul\"",
                "UTC",
                "",
                "Time zone whose calendar decides where a day or a week begins. Reports show times in it.",
            ),
        ],
    },
    super::nightly_keys::NIGHTLY,
    super::rehearse::ASSERT,
    super::rehearse::SANDBOX,
    super::nightly_keys::NOTIFY,
    super::nightly_keys::METRICS,
];

/// Environment variables that have no flag, with their meaning.
pub(crate) const VARIABLES: &[(&str, &str)] = &[
    (
        "DBHAUL_PASSPHRASE",
        "Passphrase that decrypts an encrypted repository. Takes precedence over the configuration.",
    ),
    ("DBHAUL_FROM_PASSWORD", "Password of the source server of `migrate`, or of the left side of `compare`."),
    ("DBHAUL_TO_PASSWORD", "Password of the target server of `migrate`, or of the right side of `compare`."),
    (
        "DBHAUL_SERVERS",
        "Folder in which `rehearse` looks for server programs, besides PATH and /usr/lib/postgresql.",
    ),
    ("XDG_CONFIG_HOME", "Folder of dbhaul/dbhaul.toml of the user; ~/.config when unset."),
    (
        "STATE_DIRECTORY, XDG_STATE_HOME",
        "Where `nightly` keeps its lock and the record of its last run, unless state-dir is set: the first is set by systemd, the second is ~/.local/state when unset.",
    ),
    (
        "PGHOST, PGHOSTADDR, PGPORT, PGUSER, PGDATABASE, PGPASSWORD, PGPASSFILE, PGSERVICE, PGSERVICEFILE, PGSYSCONFDIR",
        "What a PostgreSQL URL leaves out, as in libpq.",
    ),
    (
        "PGSSLMODE, PGSSLROOTCERT, PGSSLCERT, PGSSLKEY, PGSSLNEGOTIATION, PGCHANNELBINDING, PGGSSENCMODE",
        "TLS to PostgreSQL, as in libpq. GSSAPI encryption is not supported.",
    ),
    (
        "PGTARGETSESSIONATTRS, PGCONNECT_TIMEOUT, PGOPTIONS, PGAPPNAME",
        "Session settings of PostgreSQL, as in libpq.",
    ),
    (
        "REDISCLI_AUTH",
        "Password of a Redis or Valkey server, when neither the URL nor the configuration has one.",
    ),
    ("AWS_*, GOOGLE_*, AZURE_*", "Credentials and addresses of object storage; see stores.md."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor, value::Error};

    /// A deserializer that reads nothing and records which fields a type asks for.
    struct Fields<'a>(&'a mut Vec<&'static str>);

    impl<'de> Deserializer<'de> for Fields<'_> {
        type Error = Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
            Err(Error::custom("not a structure"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Error> {
            self.0.extend(fields);
            self.deserialize_any(visitor)
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    fn fields_of<T: DeserializeOwned>() -> Vec<&'static str> {
        let mut fields = Vec::new();
        let read: Result<T, Error> = T::deserialize(Fields(&mut fields));
        assert!(read.is_err() && !fields.is_empty());
        fields
    }

    #[test]
    fn every_key_of_the_types_is_documented_and_no_other() {
        use crate::config::{Config, FilterConfig, JobConfig, RepositoryConfig, SourceConfig};
        use crate::config::{MetricsConfig, NightlyConfig, NotifyConfig};
        let documented = |name: &str| -> Vec<&str> {
            let table = TABLES.iter().find(|table| table.name == name).unwrap();
            table.keys.iter().map(|key| key.name).collect()
        };
        assert_eq!(
            fields_of::<Config>(),
            ["job", "repository", "source", "retention", "nightly", "rehearse", "notify", "metrics"]
        );
        assert_eq!(fields_of::<NightlyConfig>(), documented("[nightly]"));
        use crate::config::rehearse::{AssertConfig, SandboxConfig};
        assert_eq!(fields_of::<AssertConfig>(), documented("[[rehearse.assert]]"));
        assert_eq!(fields_of::<SandboxConfig>(), documented("[[rehearse.sandbox]]"));
        assert_eq!(fields_of::<NotifyConfig>(), documented("[[notify]]"));
        assert_eq!(fields_of::<MetricsConfig>(), documented("[metrics]"));
        assert_eq!(fields_of::<JobConfig>(), documented("[job]"));
        assert_eq!(fields_of::<RepositoryConfig>(), documented("[repository]"));
        assert_eq!(fields_of::<SourceConfig>(), documented("[[source]]"));
        assert_eq!(fields_of::<FilterConfig>(), documented("[source.filter]"));
        assert_eq!(fields_of::<retention::Policy>(), documented("[retention]"));
    }

    #[test]
    fn documented_defaults_are_those_of_the_types() {
        let default = |table: &str, name: &str| {
            let keys = TABLES.iter().find(|other| other.name == table).unwrap().keys;
            keys.iter().find(|key| key.name == name).unwrap().default
        };
        let policy = serde_json::to_value(retention::Policy::default()).unwrap();
        for (name, value) in policy.as_object().unwrap() {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            assert_eq!(default("[retention]", name), text, "{name}");
        }
        let job = crate::config::JobConfig::default();
        assert_eq!(default("[job]", "id"), job.id);
        assert_eq!(default("[job]", "jobs"), job.jobs.to_string());
        let nightly = crate::config::NightlyConfig::default();
        assert_eq!(default("[nightly]", "at"), nightly.at.to_string());
        assert_eq!(default("[nightly]", "rehearse-at"), nightly.rehearse_at.to_string());
        assert_eq!(default("[nightly]", "stale-after"), nightly.stale_after.to_string());
        assert_eq!(default("[nightly]", "check-after").parse(), Ok(nightly.check_after));
        assert_eq!(default("[nightly]", "alert-shrink").parse(), Ok(nightly.alert_shrink));
        let capture = serde_json::to_value(redisdump::CaptureMethod::default()).unwrap();
        assert_eq!(capture, default("[[source]]", "capture"));
    }
}
