//! What to add to the configuration so that findings are not told.

use catchment_core::Result;
use catchment_runtime::detect::{MuteRule, NamePattern};
use serde::Serialize;

use super::one;
use super::origin::Origin;
use crate::args::MuteArgs;

/// Where a mute stands in the configuration.
#[derive(Serialize)]
struct Section {
    findings: Mutes,
}

#[derive(Serialize)]
struct Mutes {
    mutes: [MuteRule; 1],
}

/// Printed and not written: a program that rewrites the file loses its comments.
pub(super) fn mute(args: &MuteArgs) -> Result<()> {
    let rule = MuteRule {
        finding_id: args.id.as_ref().map(|id| whole_id(args, id)).transpose()?,
        kind: args.kind,
        namespace: args.namespace.clone().map(NamePattern),
        reason: args.reason.clone(),
        until: args.until,
    };
    let section = Section { findings: Mutes { mutes: [rule] } };
    let yaml = serde_saphyr::to_string(&section)
        .map_err(|e| catchment_core::Error::internal("cannot write YAML").caused_by(e))?;
    crate::emit(&yaml)?;
    eprintln!("add this to the configuration, to the `mutes` that are there, and restart");
    Ok(())
}

/// A whole id stands for itself; of a beginning the findings are asked.
fn whole_id(args: &MuteArgs, id: &str) -> Result<String> {
    if id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(id.to_ascii_lowercase());
    }
    let all = Origin::of(&args.origin)?.newest()?;
    one(&all, id).map(|row| row.finding.id.to_string())
}
