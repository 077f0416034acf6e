//! The program `dse-node`.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::Parser;
use dse_node::cli::Cli;
use dse_node::context::Context;
use dse_node::outcome;
use dse_node::program::Plan;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// What a shell reports of a program that SIGINT ended.
const INTERRUPTED: i32 = 130;

fn main() -> ExitCode {
    match run() {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("dse-node: {error:#}");
            ExitCode::from(outcome::status_of(&error))
        }
    }
}

fn run() -> anyhow::Result<u8> {
    let plan = Plan::new(Cli::parse())?;
    start_logging(&plan.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let status = runtime.block_on(async {
        let cancel = CancellationToken::new();
        tokio::spawn(obey_signals(signals()?, cancel.clone()));
        Ok(plan.carry_out(Context::process(cancel)).await)
    });
    // A thread that waits for standard input would hold up an orderly end for ever.
    runtime.shutdown_background();
    status
}

fn start_logging(directives: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(directives)
        .map_err(|error| outcome::usage(format!("--log {directives}: {error}")))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    Ok(())
}

type Signals = [tokio::signal::unix::Signal; 2];

fn signals() -> io::Result<Signals> {
    Ok([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?])
}

/// The first signal asks for an orderly end, the second does not wait for it.
async fn obey_signals([mut interrupt, mut terminate]: Signals, cancel: CancellationToken) {
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if cancel.is_cancelled() {
            std::process::exit(INTERRUPTED);
        }
        cancel.cancel();
    }
}
