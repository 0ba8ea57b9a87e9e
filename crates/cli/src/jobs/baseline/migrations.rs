//! Migrations: planned from a folder and a schema, and applied to a live database.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use pgmove::Filter;
use pgmove::baseline::{ApplyError, Baseline, Observed, Plan, PlanOptions, Script};

use super::{Subject, check_observed, live_catalog, read, unusable};
use crate::endpoint::{Connection, Endpoint};
use crate::exit;
use crate::report::baseline::migrations::{ApplyReport, PlanReport};
use crate::ui::Progress;

/// Which migrations to consider, and how.
pub(crate) struct MigrationOptions {
    /// Folder with the migration files.
    pub(crate) folder: PathBuf,
    /// Baseline file.
    pub(crate) baseline: Option<PathBuf>,
    /// Environment whose part of the baseline applies.
    pub(crate) environment: Option<String>,
    /// Migrations to run regardless of the schema.
    pub(crate) run: Vec<String>,
    /// Migrations to skip.
    pub(crate) skip: Vec<String>,
}

/// Plans which migrations to run.
pub(crate) async fn plan(subject: &Subject, wanted: &MigrationOptions) -> anyhow::Result<PlanReport> {
    let (scripts, baseline) = wanted.read()?;
    let (of, catalog) = subject.catalog(&Filter::default()).await?;
    let path = match subject {
        Subject::Live(endpoint) => search_path(endpoint).await?,
        Subject::Stored { .. } => vec!["public".to_owned()],
    };
    let plan = wanted.plan(&scripts, baseline.as_ref(), &catalog, &path)?;
    Ok(PlanReport { of, folder: wanted.folder.display().to_string(), plan })
}

/// Runs the plan, then checks the baseline.
pub(crate) async fn apply(
    endpoint: &Endpoint,
    wanted: &MigrationOptions,
    progress: &Progress,
) -> anyhow::Result<ApplyReport> {
    let Connection::Postgres(options) = &endpoint.connection else {
        return Err(exit::usage("migrations are for a PostgreSQL database"));
    };
    let (scripts, baseline) = wanted.read()?;
    let (of, catalog) = live_catalog(endpoint, &Filter::default()).await?;
    let path = search_path(endpoint).await?;
    let plan = wanted.plan(&scripts, baseline.as_ref(), &catalog, &path)?;
    let on_file = |file: &str| progress.stage(&format!("applying {file}"), None);
    let applied = pgmove::baseline::apply(options, &scripts, &plan, &on_file).await;
    let applied = applied.map_err(|error| match error {
        ApplyError::Blocked(_) => {
            exit::refused(format!("{of}: {error}\nhint: fix the files, or skip them with --skip NAME"))
        }
        other => anyhow::Error::new(other).context(of.clone()),
    })?;
    let (_, after) = live_catalog(endpoint, &Filter::default()).await?;
    let verdict = match (&baseline, &wanted.baseline) {
        (Some(baseline), Some(file)) => {
            let observed = Observed::from_catalog(&after);
            Some(check_observed(baseline, file, &observed, wanted.environment.as_deref())?)
        }
        _ => None,
    };
    Ok(ApplyReport { of, folder: wanted.folder.display().to_string(), plan, applied, verdict })
}

impl MigrationOptions {
    /// Reads the files and the baseline, so that errors in them show before a server is contacted.
    fn read(&self) -> anyhow::Result<(Vec<Script>, Option<Baseline>)> {
        let baseline = self.baseline.as_deref().map(read).transpose()?;
        Ok((scripts(&self.folder)?, baseline))
    }

    fn plan(
        &self,
        scripts: &[Script],
        baseline: Option<&Baseline>,
        catalog: &pgmove::Catalog,
        path: &[String],
    ) -> anyhow::Result<Plan> {
        let environment = self.environment.as_deref();
        let options = PlanOptions { baseline, environment, run: &self.run, skip: &self.skip };
        let file = self.baseline.as_deref().unwrap_or(&self.folder);
        pgmove::baseline::plan(scripts, catalog, path, &options).map_err(|e| unusable(file, &e))
    }
}

/// The folder's `.sql` files. Down migrations (`x.down.sql`) are left out.
fn scripts(folder: &Path) -> anyhow::Result<Vec<Script>> {
    let failed = |e: std::io::Error| {
        exit::usage(format!("cannot read the folder of migrations {}: {e}", folder.display()))
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.ends_with(".sql") && !name.ends_with(".down.sql") && path.is_file() {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(exit::usage(format!("{} holds no migration: no file ends in .sql", folder.display())));
    }
    files.sort();
    let mut scripts: Vec<Script> = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path)
            .map_err(|e| exit::usage(format!("cannot read the migration {}: {e}", path.display())))?;
        let script = Script::read(&path.to_string_lossy(), &text);
        if let Some(other) = scripts.iter().find(|other| other.name == script.name) {
            return Err(exit::usage(format!(
                "{} and {} are both the migration `{}`",
                other.file, script.file, script.name
            )));
        }
        scripts.push(script);
    }
    Ok(scripts)
}

/// The `search_path` of the connecting role, which the migrations will use.
async fn search_path(endpoint: &Endpoint) -> anyhow::Result<Vec<String>> {
    let Connection::Postgres(options) = &endpoint.connection else { return Ok(Vec::new()) };
    let session = pgmove::connect(options).await?;
    let client = session.client();
    let ask = async {
        client.batch_execute("RESET search_path").await?;
        client.query_one("SELECT current_schemas(false)::text[]", &[]).await?.try_get(0)
    };
    let path: Result<Vec<String>, _> = ask.await;
    path.with_context(|| format!("cannot read the search_path of {}", session.server()))
}
