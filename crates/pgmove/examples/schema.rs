//! A database's schema as a script, for `scripts/bench/catalog`: what reading and rendering a catalog costs.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs,
    reason = "a program, and not part of the library"
)]

use std::error::Error;
use std::io::Write as _;
use std::time::Instant;

use pgmove::ddl::{RenderOptions, Section, render};
use pgmove::{ConnectOptions, Environment, Source, SourceOptions, sql};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let Some(url) = std::env::args().nth(1) else { return Err("usage: schema URL".into()) };
    let begun = Instant::now();
    let options = ConnectOptions::parse(&url, &Environment::from_process())?;
    let source = Source::open(&options, &SourceOptions::default()).await?;
    let catalog = source.catalog();
    eprintln!("locked and read after {:.2} s", begun.elapsed().as_secs_f64());
    let script = render(catalog, catalog.server_version_num, &RenderOptions::default())?;
    eprintln!(
        "rendered after {:.2} s: {} statements",
        begun.elapsed().as_secs_f64(),
        script.statements.len()
    );
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    write!(out, "{}", sql::header(catalog, catalog.server_version_num))?;
    for section in [Section::PreData, Section::PostData, Section::Privileges, Section::Finish] {
        for statement in sql::section(&script.statements, section) {
            write!(out, "{statement}")?;
        }
    }
    out.flush()?;
    source.finish().await?;
    Ok(())
}
