//! Hints for errors of the library crates, with the commands and flags of the binary, which the libraries do not
//! know.

/// Hint for an error of the repository.
pub(crate) fn repository(remedy: repository::Remedy) -> Option<&'static str> {
    use repository::Remedy;
    Some(match remedy {
        Remedy::WaitForWriter => {
            "wait until it has ended; one that was killed no longer counts after 15 minutes"
        }
        Remedy::ChooseEmptyStore => {
            "without dbhaul.json an encrypted repository cannot be read; to start a new one, choose an empty place"
        }
        Remedy::FreeSpace => {
            "make room, or run `dbhaul prune --now` if nothing else writes to the repository"
        }
        Remedy::SupplyKey => {
            "pass `--identity FILE` or the passphrase to read data; `--key-file FILE` is sufficient for writing, listing and \
             a check without `--read-data`"
        }
        Remedy::SupplyFurtherIdentity => {
            "pass another identity, of a recipient at that time; `--identity` may be repeated"
        }
        Remedy::ListSnapshots => "`dbhaul snapshots` lists the snapshots that exist",
        Remedy::RestoreConfig => {
            "put back a copy of dbhaul.json, which changes only when a key is added or removed; nothing else can take its \
             place, and dbhaul.json.copy is missing or damaged too"
        }
        Remedy::RestoreManifest => {
            "put the object back from a copy of this folder, or remove it: then this snapshot is gone, unless `dbhaul copy` \
             fetches it from a second repository; no other snapshot is affected"
        }
        Remedy::RestoreTombstone => {
            "put the object back, or remove it (the forgotten snapshot can then no longer be undeleted); until then prune does not run"
        }
        Remedy::RemoveMark => {
            "remove this object once no prune has been running for an hour: what it named is marked again; backups and prune \
             wait until then"
        }
        Remedy::RemoveQuarantineList => {
            "remove this object, then run `dbhaul check --read-data --repair`, which finds what it named; backups wait until \
             then"
        }
        _ => return None,
    })
}

/// Hint for a conflict of a Redis job.
pub(crate) fn redis(remedy: &redisdump::Remedy) -> Option<String> {
    use redisdump::Remedy;
    Some(match remedy {
        Remedy::HandleExisting { server } => format!(
            "choose how to handle existing keys by `--on-existing replace` or `--on-existing skip`, or empty the server first \
             by `--flush {server}`"
        ),
        Remedy::Flush { server } => format!("`--flush {server}` empties the server first"),
        Remedy::ChangeDatabase { from } => format!("`--db {from}=N` restores these keys into database N"),
        Remedy::SkipUnsupported => {
            "`--on-unsupported skip` leaves out what the target does not support".to_owned()
        }
        _ => return None,
    })
}

/// Hint for a refusal of a PostgreSQL job.
pub(crate) fn postgres(remedy: pgmove::Remedy) -> Option<&'static str> {
    use pgmove::Remedy;
    Some(match remedy {
        Remedy::HandleExistingData => {
            "restore into an empty database (`--create` creates one), drop what will be restored by `--clean`, or load only \
             rows by `--into-existing`"
        }
        Remedy::HandleExistingObjects => {
            "`--clean` drops what will be restored, `--data-only` loads only rows; another database is safest"
        }
        Remedy::HandleExistingRows => {
            "`--on-existing truncate` empties these tables first, `--on-existing append` keeps their rows"
        }
        Remedy::TruncateRows => "`--on-existing truncate` replaces the rows of these continuous aggregates",
        Remedy::ProvideRoles => {
            "create these roles, restore them by `--globals`, map them by `--role-map OLD=NEW`, or leave them out by \
             `--no-owner --no-acl`"
        }
        Remedy::ProvideNamedRoles => {
            "policies and user mappings name these roles: create them, restore them by `--globals`, map them by \
             `--role-map OLD=NEW`, or leave these objects out by `--on-error continue`"
        }
        Remedy::ProvideDatabaseRoles => {
            "create these roles, map them with `--role-map OLD=NEW`, or omit them with `--no-owner --no-acl`"
        }
        Remedy::ProvideTablespaces => {
            "create these tablespaces, restore them by `--globals`, map them by `--tablespace-map OLD=NEW`, or use the \
             database's own by `--no-tablespaces`"
        }
        Remedy::DatabaseExists => "restore into it without `--create`, drop it first, or choose another name",
        Remedy::UsePrivilegedRole => {
            "connect as a superuser or as a role that may do this, or let the connecting role own everything by \
             `--no-owner --no-acl`"
        }
        Remedy::BypassRowSecurity => {
            "connect as a superuser, as the tables' owner (without FORCE), or as a role with BYPASSRLS"
        }
        Remedy::ReadPrimary => {
            "read the primary, or leave out the rows of these tables by `--exclude-table-data PATTERN`"
        }
        Remedy::SetSearchPath => "`--search-path SCHEMAS` sets the search path for the restore",
        Remedy::TryUntriedExtensions => "`--untried-extensions` tries untested versions of extensions",
        _ => return None,
    })
}
