//! Flags of every command that writes into a target.

use clap::Args;

use crate::exit;
use crate::jobs::settings::TargetSettings;

/// How a target is filled.
#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    /// Connections that work at the same time
    #[arg(long, short, value_name = "N")]
    pub(super) jobs: Option<usize>,
    /// Let the connecting role own everything, instead of the roles that owned it at the source
    #[arg(long)]
    no_owner: bool,
    /// Leave grants and default privileges out
    #[arg(long)]
    no_acl: bool,
    /// Put one role in another's place; may be repeated
    #[arg(long, value_name = "OLD=NEW")]
    role_map: Vec<String>,
    /// Do not read the target back; the report then says that nothing was proven
    #[arg(long)]
    no_proof: bool,
}

impl TargetArgs {
    /// The flags as the jobs take them.
    pub(super) fn settings(&self, jobs: usize) -> anyhow::Result<TargetSettings> {
        let mut role_map = Vec::new();
        for pair in &self.role_map {
            match pair.split_once('=') {
                Some((old, new)) if !old.is_empty() && !new.is_empty() => {
                    role_map.push((old.to_owned(), new.to_owned()));
                }
                _ => return Err(exit::usage(format!("--role-map wants OLD=NEW, and got `{pair}`"))),
            }
        }
        Ok(TargetSettings {
            jobs,
            no_owner: self.no_owner,
            no_acl: self.no_acl,
            role_map,
            create_roles: false,
            proof: !self.no_proof,
        })
    }
}
