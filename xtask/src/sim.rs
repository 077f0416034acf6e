//! `cargo xtask sim`: builds the simulator with optimization, and runs it.

use std::process::Command;

use anyhow::{Context, Result};

use crate::shell;

/// Builds and runs the simulator with these arguments. True when all laws held.
///
/// # Errors
/// It cannot be built or started.
pub(crate) fn run(arguments: &[String]) -> Result<bool> {
    let program =
        shell::build_program("dse-sim", ["build", "-p", "dse-sim", "--release", "--locked"])?;
    let status = Command::new(&program)
        .args(arguments)
        .status()
        .with_context(|| format!("cannot start {}", program.display()))?;
    Ok(status.success())
}
