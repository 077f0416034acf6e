//! `cargo xtask bench`: builds `dse-node/benches/bus` as a distributor would, and
//! runs it. `--idle` and `--start` measure real nodes instead.

pub(crate) mod idle;
mod nodes;
pub(crate) mod start;
mod wire;

use std::process::Command;

use anyhow::{Context, Result};

use crate::shell;

/// Builds and runs the bench program with these arguments. True when it held.
///
/// # Errors
/// It cannot be built or started.
pub(crate) fn run(arguments: &[String]) -> Result<bool> {
    let program = shell::build_program(
        "bus",
        ["bench", "-p", "dse-node", "--bench", "bus", "--no-run", "--locked"],
    )?;
    // Started here and not by cargo, so that a relative --json is where the user is.
    let status = Command::new(&program)
        .args(arguments)
        .status()
        .with_context(|| format!("cannot start {}", program.display()))?;
    Ok(status.success())
}
