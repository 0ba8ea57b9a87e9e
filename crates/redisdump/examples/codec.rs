//! The codecs on a file, for `scripts/bench/redis`: what each does is named by the first argument.
#![allow(clippy::print_stdout, missing_docs, reason = "a program, and not part of the library")]

use std::error::Error;
use std::io::Write as _;
use std::path::Path;

use futures::TryStreamExt as _;
use redisdump::convert::commands::Target;
use redisdump::convert::export::{Export, ExportOptions, Format, file, preflight};
use redisdump::inspect::{InspectOptions, inspect_path};
use redisdump::verify::{VerifyOptions, verify_file};
use redisdump::{ConnectOptions, Environment, RestoreOptions, restore};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(what), Some(path), version) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err(
            "usage: codec verify|inspect|preflight|restore|resp|rdb|json FILE [VERSION], or apply FILE URL"
                .into(),
        );
    };
    let path = Path::new(&path);
    let format = match what.as_str() {
        "verify" => {
            let verified = verify_file(path, VerifyOptions::default(), &mut |_| ())?;
            println!("{} keys", verified.keys);
            return Ok(());
        }
        "inspect" => {
            let found = inspect_path(path, InspectOptions::default(), &mut |_| (), &mut |_| ())?;
            println!("{} keys, {} elements", found.sizes.keys, found.sizes.elements);
            return Ok(());
        }
        "apply" => {
            let url = version.ok_or("apply wants FILE URL")?;
            let options = ConnectOptions::parse(&url, &Environment::from_process())?;
            let report = restore(file(path), &options, &RestoreOptions::default(), &|_| ()).await?;
            println!("{report}");
            return Ok(());
        }
        "preflight" => {
            let found = preflight(
                file(path),
                ExportOptions::new(Format::Rdb, version.as_deref().unwrap_or("7.0").parse()?),
            );
            println!("{}", found.await?);
            return Ok(());
        }
        "restore" => Format::Restore,
        "resp" => Format::Resp,
        "rdb" => Format::Rdb,
        "json" => Format::Json,
        other => return Err(format!("what is {other}?").into()),
    };
    let target: Target = version.as_deref().unwrap_or("7.0").parse()?;
    let mut export = Export::new(file(path), ExportOptions::new(format, target));
    let mut out = std::io::stdout().lock();
    while let Some(piece) = export.try_next().await? {
        out.write_all(&piece)?;
    }
    Ok(())
}
