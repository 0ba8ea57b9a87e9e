//! Reports of planned and applied migrations.

use pgmove::baseline::{Action, Applied, CheckOutcome, MigrationRemedy, Mode, Plan, PlannedFile, Status};
use serde::Serialize;

/// A plan, and its subject.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct PlanReport {
    /// The server or snapshot.
    pub(crate) of: String,
    /// The folder of migrations.
    pub(crate) folder: String,
    /// The plan.
    pub(crate) plan: Plan,
}

impl PlanReport {
    /// Renders the report as text.
    pub(crate) fn render(&self) -> String {
        format!("{}\nmigrations of {}\n{}", self.of, self.folder, render(&self.plan))
    }
}

/// The result of applying a plan.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ApplyReport {
    /// The server that was changed.
    pub(crate) of: String,
    /// The folder of migrations.
    pub(crate) folder: String,
    /// The plan.
    pub(crate) plan: Plan,
    /// The files that ran, in order.
    pub(crate) applied: Vec<Applied>,
    /// Result of the baseline check, if there is a baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) verdict: Option<CheckOutcome>,
}

impl ApplyReport {
    /// Whether the baseline is met, or there is none.
    pub(crate) fn passed(&self) -> bool {
        self.verdict.as_ref().is_none_or(|verdict| verdict.passed)
    }

    /// Renders the report as text.
    pub(crate) fn render(&self) -> String {
        let mut out = format!("{}\nmigrations of {}\n", self.of, self.folder);
        for file in &self.applied {
            out.push_str(&format!(
                "applied {} ({} statements, {} ms{})\n",
                file.name,
                file.statements,
                file.millis,
                mode(file.mode)
            ));
        }
        for file in self.plan.files.iter().filter(|file| matches!(file.action, Action::Skip | Action::Ask)) {
            let reasons: Vec<String> = file.reasons.iter().cloned().chain(remedy(file)).collect();
            out.push_str(&format!("not run {}: {}\n", file.name, reasons.join("; ")));
        }
        if self.applied.is_empty() {
            out.push_str("nothing to apply\n");
        }
        if let Some(verdict) = &self.verdict {
            out.push_str(&format!("{verdict}\n"));
        }
        out
    }
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Transaction => "",
        Mode::Own => ", by its own BEGIN and COMMIT",
        Mode::Statements => ", each statement separately",
    }
}

/// The hint for a file, with the flags that apply it.
fn remedy(file: &PlannedFile) -> Option<String> {
    let name = &file.name;
    Some(match file.remedy? {
        MigrationRemedy::RunIfNeedsExist => format!("if it is created by other means, pass `--run {name}`"),
        MigrationRemedy::FixOrRun => format!("fix it by hand, or pass `--run {name}`"),
        MigrationRemedy::RunOrSkip => format!("pass `--run {name}` or `--skip {name}`"),
        _ => return None,
    })
}

fn render(plan: &Plan) -> String {
    let width = plan.files.iter().map(|file| file.name.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for file in &plan.files {
        let status = match file.status {
            Status::Applied => "applied",
            Status::Missing => "missing",
            Status::Partly => "partly applied",
            Status::Unknown => "cannot tell",
        };
        let action = match file.action {
            Action::Nothing => String::new(),
            Action::Run => match plan.order.iter().position(|name| *name == file.name) {
                Some(at) => format!("run as number {}{}", at + 1, mode(file.mode)),
                None => "run".to_owned(),
            },
            Action::Covered => "nothing left to do".to_owned(),
            Action::Skip => "leave out".to_owned(),
            Action::Blocked => "BLOCKED".to_owned(),
            Action::Ask => "not run".to_owned(),
        };
        out.push_str(format!("{:width$}  {status:14}  {action}", file.name).trim_end());
        out.push('\n');
        for line in details(file) {
            out.push_str(&format!("    {line}\n"));
        }
    }
    for name in &plan.without_file {
        out.push_str(&format!("{name}: the baseline declares it, but no file provides it\n"));
    }
    let blocked = plan.blocked().count();
    let asked = plan.files.iter().filter(|file| file.action == Action::Ask).count();
    let mut last = match (plan.order.len(), blocked) {
        (0, 0) => "nothing to apply".to_owned(),
        (run, 0) => format!("{run} to apply"),
        (run, blocked) => format!("{run} to apply, {blocked} BLOCKED: nothing runs until they are resolved"),
    };
    if asked > 0 {
        last.push_str(&format!("; for {asked} the schema does not show whether it ran"));
    }
    out.push_str(&last);
    out
}

fn details(file: &PlannedFile) -> Vec<String> {
    if file.action == Action::Nothing {
        return Vec::new();
    }
    let mut lines: Vec<String> = file.reasons.iter().cloned().chain(remedy(file)).collect();
    lines.extend(
        file.obstacles
            .iter()
            .map(|obstacle| format!("{}, line {}: {}", file.file, obstacle.line, obstacle.what)),
    );
    if file.action == Action::Covered {
        return lines;
    }
    if !file.there.is_empty() {
        lines.push(format!("there: {}", file.there.join(", ")));
    }
    if !file.lacking.is_empty() {
        lines.push(format!("lacks: {}", file.lacking.join(", ")));
    }
    if !file.drops.is_empty() {
        lines.push(format!("DROPS existing objects: {}", file.drops.join(", ")));
    }
    if !file.unseen_lines.is_empty() {
        let numbers: Vec<String> = file.unseen_lines.iter().map(usize::to_string).collect();
        lines.push(format!("the schema does not show what these lines do: {}", numbers.join(", ")));
    }
    lines
}
