//! Clusters for tests, copied from one that initdb made: a copy takes a tenth of initdb's processor time, and tests
//! start hundreds of servers. Each copy gets a system identifier of its own, because jobs recognize servers by it.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::Command;

use crc_fast::CrcAlgorithm;

use crate::{Error, process};

/// `XLP_LONG_HEADER`: the first page of a WAL segment has the system identifier (`access/xlog_internal.h`).
const LONG_HEADER: u16 = 0x0002;
/// Offset of `xlp_sysid` in `XLogLongPageHeaderData`.
const IDENTIFIER_IN_WAL: usize = 24;

/// Copies the cluster with this name to `data`. If there is none yet, `initdb` creates `data`, which is kept as the
/// template of the following ones.
pub(crate) fn copy(
    templates: &Path,
    name: &str,
    data: &Path,
    initdb: impl FnOnce() -> Result<(), Error>,
) -> Result<(), Error> {
    let template = templates.join(process::percent(name));
    if !template.is_dir() {
        initdb()?;
        // A template that cannot be kept is no failure of the server.
        let _ = keep(templates, &template, data);
        return Ok(());
    }
    copy_folder(&template, data)?;
    new_identifier(data).map_err(|source| Error::Folder { path: data.to_owned(), source })
}

/// Stores the cluster as a template. Another process may have done so meanwhile.
fn keep(templates: &Path, template: &Path, data: &Path) -> Result<(), Error> {
    let failed = |source| Error::Folder { path: templates.to_owned(), source };
    std::fs::create_dir_all(templates).map_err(failed)?;
    let new = tempfile::Builder::new().prefix(".new-").tempdir_in(templates).map_err(failed)?;
    copy_folder(data, &new.path().join("data"))?;
    std::fs::rename(new.path().join("data"), template).map_err(failed)
}

/// `cp -a`: owners and modes remain.
fn copy_folder(from: &Path, to: &Path) -> Result<(), Error> {
    let mut command = Command::new("cp");
    command.arg("-a").arg(from).arg(to);
    process::run(command).map(drop)
}

/// Gives a cluster that was shut down a random system identifier: in `pg_control`, which begins with it and ends with
/// its CRC-32C (`catalog/pg_control.h`), and in the WAL.
fn new_identifier(data: &Path) -> std::io::Result<()> {
    let mut identifier = [0; 8];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut identifier)?;
    // SQL shows it as a signed number.
    let identifier = (u64::from_ne_bytes(identifier) >> 1).to_ne_bytes();

    let path = data.join("global/pg_control");
    let mut control = std::fs::read(&path)?;
    let crc = |control: &[u8]| (crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, control) as u32).to_ne_bytes();
    // The length depends on the version: it is where the checksum of all before it stands.
    let length = (64..control.len().min(1024)).step_by(4).find(|&length| {
        control.get(length..length + 4).is_some_and(|stored| stored == crc(&control[..length]))
    });
    let length = length.ok_or_else(|| std::io::Error::other("pg_control has no checksum"))?;
    control[..8].copy_from_slice(&identifier);
    let checksum = crc(&control[..length]);
    control[length..length + 4].copy_from_slice(&checksum);
    std::fs::write(&path, control)?;

    for segment in std::fs::read_dir(data.join("pg_wal"))? {
        let segment = segment?;
        if segment.file_type()?.is_file() {
            let mut file = std::fs::File::options().read(true).write(true).open(segment.path())?;
            let mut header = [0; IDENTIFIER_IN_WAL];
            file.read_exact(&mut header)?;
            if u16::from_ne_bytes([header[2], header[3]]) & LONG_HEADER != 0 {
                file.seek(SeekFrom::Start(IDENTIFIER_IN_WAL as u64))?;
                file.write_all(&identifier)?;
            }
        }
    }
    Ok(())
}
