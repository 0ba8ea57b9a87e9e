//! Checks against descriptions built by hand; `tests/` has those against real servers.

use super::super::observed::ObservedColumn;
use super::*;

const TEXT: &str = r#"
environments = ["old", "new"]
[[migration]]
name = "first"
[[migration]]
name = "split"
optional-in = ["old"]
[[migration]]
name = "whole"

[extension.vector]
optional-in = "old"

[table.t.columns]
date = "date"
symbol = { type = "varchar(20)", nullable = true, type-in = { old = "text" } }
buy_count = { type = "int", nullable = false, provided-by = "split" }
note = { type = "text", provided-by = ["whole", "split"] }

[table.t.indexes]
t_symbol = { columns = ["symbol"], provided-by = "first" }

[table.t.constraints]
t_pkey = { kind = "primary-key", columns = ["date"] }
t_check = { kind = "check" }
"#;

fn observed() -> Observed {
    let column =
        |type_name: &str, nullable| ObservedColumn { type_name: type_name.into(), nullable, default: false };
    let index = ObservedIndex {
        columns: vec!["symbol".into()],
        unique: false,
        method: "btree".into(),
        partial: false,
        valid: true,
    };
    let constraint = |kind, columns: &[&str]| ObservedConstraint {
        kind,
        columns: columns.iter().map(|name| (*name).to_owned()).collect(),
        references: None,
    };
    let table = ObservedTable {
        columns: [
            ("date".to_owned(), column("date", false)),
            ("symbol".to_owned(), column("character varying(20)", true)),
            ("buy_count".to_owned(), column("integer", false)),
            ("note".to_owned(), column("text", true)),
        ]
        .into(),
        indexes: [("another_name".to_owned(), index)].into(),
        constraints: [
            ("t_pkey".to_owned(), constraint(ConstraintKind::PrimaryKey, &["date"])),
            ("t_check".to_owned(), constraint(ConstraintKind::Check, &[])),
        ]
        .into(),
    };
    let extensions = ["vector".to_owned()].into();
    Observed { tables: [("public.t".to_owned(), table)].into(), extensions, ..Observed::default() }
}

fn verdict(observed: &Observed, environment: Option<&str>) -> CheckOutcome {
    check(&Baseline::parse(TEXT).unwrap(), observed, environment).unwrap()
}

fn without(columns: &[&str]) -> Observed {
    let mut observed = observed();
    let table = observed.tables.get_mut("public.t").unwrap();
    table.columns.retain(|name, _| !columns.contains(&name.as_str()));
    observed
}

fn parse_error(from: &str, to: &str) -> String {
    assert!(TEXT.contains(from));
    Baseline::parse(&TEXT.replace(from, to)).unwrap_err().to_string()
}

#[test]
fn what_is_as_declared_passes() {
    let verdict = verdict(&observed(), Some("new"));
    assert_eq!((verdict.passed, verdict.findings.len(), verdict.checked), (true, 0, 9), "{verdict}");
    assert_eq!(
        verdict.to_string(),
        "baseline passed: 9 objects checked, 0 missing or different (environment new)"
    );
}

#[test]
fn what_is_missing_is_named_with_its_migration() {
    let verdict = verdict(&without(&["buy_count"]), Some("new"));
    assert!(!verdict.passed);
    let [finding] = verdict.findings.as_slice() else { panic!("{verdict}") };
    assert_eq!(finding.object, "column public.t.buy_count");
    assert_eq!(
        (finding.severity, finding.provided_by.as_slice()),
        (Severity::Missing, &["split".to_owned()][..])
    );
    let text = verdict.to_string();
    assert_eq!(
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>(),
        [
            "object expected found provided by",
            "MISSING column public.t.buy_count int nothing split",
            "baseline FAILED: 9 objects checked, 1 missing or different (environment new)",
        ]
    );
}

#[test]
fn what_only_optional_migrations_provide_is_optional_there() {
    let mut observed = without(&["buy_count"]);
    observed.extensions.clear();
    observed.tables.get_mut("public.t").unwrap().columns.get_mut("symbol").unwrap().type_name = "text".into();
    let verdict = verdict(&observed, Some("old"));
    assert!(verdict.passed, "{verdict}");
    let objects: Vec<&str> = verdict.findings.iter().map(|finding| finding.object.as_str()).collect();
    assert_eq!(objects, ["column public.t.buy_count", "extension vector"]);
    // One of two providers is required: the object is then required, and only that provider is named.
    let verdict = self::verdict(&without(&["note"]), Some("old"));
    let note = verdict.findings.iter().find(|finding| finding.object.ends_with("note")).unwrap();
    assert_eq!((note.severity, note.provided_by.as_slice()), (Severity::Missing, &["whole".to_owned()][..]));
    // Without an environment everything is required, and both providers are named in the order in which they are
    // applied.
    let verdict = self::verdict(&without(&["note"]), None);
    assert_eq!(verdict.findings.first().unwrap().provided_by, ["split", "whole"]);
}

#[test]
fn differences_are_reported_with_both_sides() {
    let mut observed = observed();
    let table = observed.tables.get_mut("public.t").unwrap();
    let symbol = table.columns.get_mut("symbol").unwrap();
    (symbol.type_name, symbol.nullable) = ("character varying(10)".into(), false);
    table.constraints.get_mut("t_pkey").unwrap().columns.push("symbol".into());
    table.indexes.values_mut().for_each(|index| index.valid = false);
    let verdict = verdict(&observed, Some("new"));
    let told: Vec<_> =
        verdict.findings.iter().map(|f| (f.severity, f.expected.as_str(), f.found.as_str())).collect();
    assert_eq!(
        told,
        [
            (Severity::Missing, "btree (symbol)", "nothing"),
            (Severity::Different, "varchar(20)", "character varying(10)"),
            (Severity::Different, "nullable", "not null"),
            (Severity::Different, "primary key (date)", "primary key (date, symbol)"),
        ]
    );
}

#[test]
fn a_missing_table_is_one_finding() {
    let verdict = verdict(&Observed::default(), Some("new"));
    let objects: Vec<&str> = verdict.findings.iter().map(|finding| finding.object.as_str()).collect();
    assert_eq!(objects, ["extension vector", "table public.t"]);
}

#[test]
fn errors_of_the_baseline_name_the_line() {
    let line = |words: &str| TEXT.lines().position(|line| line.contains(words)).unwrap() + 1;

    let text = TEXT.replace("\"int\"", "\"interger\"");
    let error = check(&Baseline::parse(&text).unwrap(), &observed(), None).unwrap_err().to_string();
    assert!(error.starts_with(&format!("line {}: column public.t.buy_count", line("buy_count"))), "{error}");
    assert!(error.contains("`interger`") && error.contains("did you mean `integer`"), "{error}");
    let text = TEXT.replace("\"date\"\n", "\"dat\"\n");
    let error = check(&Baseline::parse(&text).unwrap(), &observed(), None).unwrap_err().to_string();
    assert!(error.starts_with(&format!("line {}: ", line("date = "))), "{error}");

    let error = parse_error("provided-by = \"split\"", "provided-by = \"splot\"");
    assert!(error.starts_with(&format!("line {}: ", line("buy_count"))), "{error}");
    assert!(error.contains("did you mean `split`"), "{error}");
    let error = parse_error("nullable = false", "nulable = false");
    assert!(error.contains("nulable") && error.contains(&format!("line {}", line("buy_count"))), "{error}");
    let error = parse_error("[table.t.indexes]", "[table.t.indices]");
    assert!(error.contains("indices") && error.contains("indexes"), "{error}");
    let error = parse_error("optional-in = \"old\"", "optional-in = \"odl\"");
    assert!(error.contains("`odl`") && error.contains("old, new"), "{error}");
    let error = parse_error("old = \"text\"", "odl = \"text\"");
    assert!(error.starts_with(&format!("line {}: ", line("symbol = "))), "{error}");

    let error = check(&Baseline::parse(TEXT).unwrap(), &observed(), Some("oci")).unwrap_err().to_string();
    assert!(error.contains("`oci`") && error.contains("old, new"), "{error}");
}
