//! The commented configuration that `dbhaul init` writes.

/// A configuration with every key explained, for the given repository and, if it is encrypted, its key file.
pub(crate) fn template(job: &str, repository: &str, key_file: Option<&str>) -> String {
    let job = toml::Value::String(job.to_owned());
    let repository = toml::Value::String(repository.to_owned());
    let key_file = match key_file {
        Some(file) => format!("key-file = {}", toml::Value::String(file.to_owned())),
        None => "# key-file = \"dbhaul.key\"".to_owned(),
    };
    format!(
        r#"# dbhaul configuration. An unknown key is an error. ${{NAME}} is replaced by a value from the environment, so that no
# secret has to be stored in this file.

[job]
# Name of the series of snapshots that retention counts in. Keep it when a host or a folder is renamed.
id = {job}
# Number of connections that copy at the same time; 0 is one more than this host has cores, from 3 to 8.
jobs = 0
# Average rate at which rows of PostgreSQL sources are read, over all connections; also `--rate-limit`.
# rate-limit = "50MiB/s"

[repository]
# A folder, or s3://bucket/prefix?endpoint=https://…&region=… (credentials from AWS_ACCESS_KEY_ID and so on).
url = {repository}
# zstd compression level: 1 is the fastest, 2 the default, 19 the smallest, slowest practical level.
# compression-level = 2
# Average rate of a run's uploads, over everything that it writes at the same time; also `--limit-upload`.
# limit-upload = "10MiB/s"
# Largest catalog that is read into memory: what a damaged or forged repository could otherwise fill it with.
# max-in-memory = "256MiB"
# An encrypted repository (`dbhaul init --recipient age1…`): with the key file this host can write, list and prune,
# but cannot decrypt backups.
{key_file}
# Only on hosts that restore: the identity that decrypts backups (or DBHAUL_IDENTITY_FILE), or the passphrase.
# identity-file = "identity.txt"
# passphrase-file = "/run/secrets/passphrase"

[[source]]
name = "postgres"
kind = "postgres"
url = "postgres://postgres@127.0.0.1:5432/app"
# Every database of the server, each as a source named postgres/DATABASE:
# database = "*"
# Password: PGPASSWORD and ~/.pgpass are read by default. Or one of:
# password = "${{DB_PASSWORD}}"
# password-file = "/run/secrets/db-password"
# password-command = ["cat", "/run/secrets/db-password"]
# Include roles, memberships and tablespaces of the server; with role-passwords = true also password hashes.
# globals = true
# Back up a part of the database: schemas, tables, exclude-tables, exclude-table-data, where.
# filter = {{ exclude-table-data = ["log_*"], where = {{ "public.orders" = "made > now() - interval '1 year'" }} }}
# Schema baseline to check; see `dbhaul baseline check --help`.
# baseline = "baseline.toml"
# environment = "production"

[[source]]
name = "redis"
kind = "redis"
url = "redis://127.0.0.1:6379"
# Password: REDISCLI_AUTH is read by default; password, password-file and password-command work as above.
# For a rediss:// url: the certificate authority, if the host does not trust it, and a client certificate.
# tls-cacert = "redis-ca.pem"
# tls-cert = "client.pem"
# tls-key = "client.key"
# How to capture keys: "psync" replicates, all keys as of one moment; "scan" reads key by key; "auto" uses psync where
# the server allows it.
# capture = "auto"
# Include users, with their password hashes, and settings; `restore --with-acl` creates the users again.
# with-acl = true
# Or read the server's data folder on this host, whether the server runs or not.
# data-dir = "/var/lib/redis"

[retention]
# Keep the newest snapshot of each of the last 7 days and 4 weeks (ending on Sunday) in this zone. Reports show times in
# it too.
daily = 7
weekly = 4
zone = "UTC"
# Also keep snapshots with one of these tags (`dbhaul backup --tag keep`).
# keep-tags = ["keep"]
"#
    )
}
