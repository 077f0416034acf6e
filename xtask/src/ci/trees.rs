//! What the crates may depend on: the arrows of ARCHITECTURE.md, as checks.

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};

use super::{Outcome, TRANSPORTS};
use crate::shell;

/// The protocol's dependencies have neither tokio nor, by any feature, std.
///
/// # Errors
/// Names the dependency or the feature.
pub(super) fn protocol_is_pure() -> Result<Outcome> {
    let arguments = ["-p", "dse-core", "--no-default-features", "-e"];
    let crates = crates(arguments.into_iter().chain(["normal,no-proc-macro"]))?;
    for impure in ["tokio", "async-trait", "mio", "libc", "rand", "getrandom"] {
        ensure!(!crates.contains(impure), "the protocol depends on {impure}");
    }
    let features = tree(arguments.into_iter().chain(["normal,no-proc-macro,features"]))?;
    let std = features
        .lines()
        .find(|line| line.contains("feature \"std\"") || line.contains("feature \"use-std\""));
    if let Some(line) = std {
        bail!("the protocol depends on {}", line.trim());
    }
    Ok(Outcome::Held)
}

/// Who embeds the bus compiles little.
///
/// # Errors
/// There are too many.
pub(super) fn core_is_small() -> Result<Outcome> {
    let crates = crates(["-p", "dse-core", "-e", "normal"])?;
    println!("dse-core with its runtime: {} crates, itself included", crates.len());
    ensure!(
        crates.len() <= CORE_CRATES,
        "dse-core has {} crates, more than {CORE_CRATES}: {crates:?}",
        crates.len()
    );
    Ok(Outcome::Held)
}

/// Who embeds one transport compiles nothing that only the program needs, and no
/// other transport.
///
/// # Errors
/// Names the transport and what it draws in.
pub(super) fn transports_stand_alone() -> Result<Outcome> {
    let program = crates(["-p", "dse-node", "-e", "normal", "--all-features"])?;
    for name in PROGRAM_ONLY {
        ensure!(program.contains(name), "dse-node has no {name} any more: correct PROGRAM_ONLY");
    }
    for transport in TRANSPORTS {
        let name = format!("dse-transport-{transport}");
        let drawn_in = crates(["-p", &name, "-e", "normal"])?;
        println!("{name}: {} crates, itself included", drawn_in.len());
        let others = TRANSPORTS.map(|other| format!("dse-transport-{other}"));
        let foreign = others.iter().map(String::as_str).filter(|other| *other != name);
        for foreign in foreign.chain(PROGRAM_ONLY) {
            ensure!(!drawn_in.contains(foreign), "{name} draws in {foreign}");
        }
    }
    Ok(Outcome::Held)
}

/// The names of the crates in a tree.
fn crates<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<BTreeSet<String>> {
    let text = tree(arguments)?;
    let names = text.lines().filter_map(|line| line.split_whitespace().next());
    Ok(names.map(str::to_owned).collect())
}

fn tree<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<String> {
    let mut command = shell::cargo(["tree", "--locked", "--prefix", "none"]);
    shell::output_of(command.args(arguments))
}

const CORE_CRATES: usize = 40;

/// What dse-node needs and no embedder should pay for.
const PROGRAM_ONLY: [&str; 6] =
    ["anyhow", "clap", "serde_json", "sysinfo", "toml", "tracing-subscriber"];
