//! Where to search for server programs.

use std::path::{Path, PathBuf};

/// Folders that may contain server programs.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// Folders that contain programs directly, such as those of `PATH`.
    pub folders: Vec<PathBuf>,
    /// Caches filled by `scripts/servers`: `<cache>/<kind>/<version>/bin/<program>`.
    pub caches: Vec<PathBuf>,
}

impl Places {
    /// `PATH`, the folders of Debian's packages, and the cache: `DBHAUL_SERVERS`, or `dbhaul/servers` in the user's
    /// cache folder, or for root in `/var/cache`, where other users can read it (PostgreSQL does not run as root).
    pub fn from_env() -> Places {
        let mut folders: Vec<PathBuf> =
            std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
        folders.extend(["/usr/local/bin", "/usr/bin"].map(PathBuf::from));
        folders.extend(
            subfolders(Path::new("/usr/lib/postgresql")).into_iter().map(|folder| folder.join("bin")),
        );
        let cache = match std::env::var_os("DBHAUL_SERVERS") {
            Some(cache) => Some(PathBuf::from(cache)),
            None if rustix::process::geteuid().is_root() => Some(PathBuf::from("/var/cache/dbhaul/servers")),
            None => std::env::var_os("XDG_CACHE_HOME")
                .map(PathBuf::from)
                .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
                .map(|cache| cache.join("dbhaul/servers")),
        };
        Places { folders, caches: cache.into_iter().collect() }
    }

    /// All programs with this name, in the folders and in the caches of this kind, by the path where they were found:
    /// some programs depend on their name (Debian's `redis-server` is a link to `redis-check-rdb`).
    pub(crate) fn programs(&self, kind: &str, name: &str) -> Vec<PathBuf> {
        let cached =
            self.caches.iter().flat_map(|cache| subfolders(&cache.join(kind))).map(|v| v.join("bin"));
        let mut seen = Vec::new();
        let mut found = Vec::new();
        for folder in self.folders.iter().cloned().chain(cached) {
            let path = folder.join(name);
            // A program may be found several times (links, duplicate folders).
            if let Ok(real) = path.canonicalize()
                && real.is_file()
                && !seen.contains(&real)
            {
                seen.push(real);
                found.push(path);
            }
        }
        found
    }

    /// The folders as text, for error messages.
    pub(crate) fn shown(&self) -> Vec<String> {
        vec![
            "PATH".to_owned(),
            "/usr/lib/postgresql".to_owned(),
            self.caches.first().map_or_else(|| "no cache".to_owned(), |cache| cache.display().to_string()),
        ]
    }
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    found.sort();
    found
}
