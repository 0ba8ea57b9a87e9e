//! The commented configuration that `dbhaul init` writes.

/// A configuration with every key explained; `repository` is filled in, and the key file of an encrypted one.
pub(crate) fn template(repository: &str, key_file: Option<&str>) -> String {
    let repository = toml::Value::String(repository.to_owned());
    let key_file = match key_file {
        Some(file) => format!("key-file = {}", toml::Value::String(file.to_owned())),
        None => "# key-file = \"dbhaul.key\"".to_owned(),
    };
    format!(
        r#"# dbhaul configuration. Every key here can also be given by a flag; a key that is not known is an error.
# ${{NAME}} takes a value from the environment, so that no secret need stand in this file.

[job]
# Names the series of snapshots that retention counts in. Keep it when a host or a folder is renamed.
id = "nightly"
# Connections that copy at the same time; 0 chooses by the number of cores.
jobs = 0

[repository]
# A folder, or s3://bucket/prefix?endpoint=https://…&region=… (credentials from AWS_ACCESS_KEY_ID and so on).
url = {repository}
# How hard to compress, by zstd's levels: 1 is the fastest, 2 the default, 19 the smallest that is still bearable.
# compression-level = 2
# An encrypted repository (`dbhaul init --recipient age1…`): the key file lets this host write, list and prune. It opens
# no backup.
{key_file}
# Only where restores are done: the identity that opens backups (or DBHAUL_IDENTITY_FILE), or the passphrase.
# identity-file = "identity.txt"
# passphrase-file = "/run/secrets/passphrase"

[[source]]
name = "postgres"
kind = "postgres"
url = "postgres://postgres@127.0.0.1:5432/app"
# The password: libpq's places (PGPASSWORD, ~/.pgpass) are asked by themselves. Or one of:
# password = "${{DB_PASSWORD}}"
# password-file = "/run/secrets/db-password"
# password-command = ["cat", "/run/secrets/db-password"]
# Also roles, memberships and tablespaces of the server; with role-passwords = true the hashes of passwords too.
# globals = true
# Only a part of the database: schemas, tables, exclude-tables, exclude-table-data, where.
# filter = {{ exclude-table-data = ["log_*"], where = {{ "public.orders" = "made > now() - interval '1 year'" }} }}
# What the schema must have; see `dbhaul baseline check`.
# baseline = "baseline.toml"
# environment = "production"

[[source]]
name = "redis"
kind = "redis"
url = "redis://127.0.0.1:6379"
# REDISCLI_AUTH is asked by itself; password, password-file and password-command work as above.
# For a rediss:// url: the authority of its certificate, where the host does not know it, and the certificate it wants of us.
# tls-cacert = "redis-ca.pem"
# tls-cert = "client.pem"
# tls-key = "client.key"
# All keys of one moment by replication ("psync"), or key by key where a server forbids that ("scan"); "auto" tries.
# capture = "auto"
# Also its users, with the hashes of their passwords, and its settings: `restore --with-acl` makes the users again.
# with-acl = true
# Or what the server keeps in its data folder on this host, whether it runs or not; a running one is asked what counts.
# data-dir = "/var/lib/redis"

[retention]
# The newest snapshot of each of the last 7 days and 4 weeks (which end on Sunday) in this zone.
daily = 7
weekly = 4
zone = "UTC"
"#
    )
}
