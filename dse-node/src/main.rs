//! The program `dse-node`.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use dse_node::cli::Cli;
use dse_node::context::Context;
use dse_node::outcome;
use dse_node::program::Plan;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// What a shell reports of a program that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// How long a command that is to end at once has to say what it leaves undone.
const LAST_WORD: Duration = Duration::from_millis(200);

/// How long tasks have at the end to drop what they hold.
const LETTING_GO: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    match run() {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("dse-node: {}", outcome::in_words(&error));
            ExitCode::from(outcome::status_of(&error))
        }
    }
}

fn run() -> anyhow::Result<u8> {
    let plan = Plan::new(Cli::read(std::env::args_os()).unwrap_or_else(|error| error.exit()))?;
    start_logging(&plan.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let status = runtime.block_on(async {
        let (cancel, at_once) = (CancellationToken::new(), CancellationToken::new());
        tokio::spawn(obey_signals(signals()?, cancel.clone(), at_once.clone()));
        Ok(plan.carry_out(Context::process(cancel, at_once)).await)
    });
    // Tasks let go of their sockets' files. A thread that waits for standard input would
    // hold up an orderly end for ever.
    runtime.shutdown_timeout(LETTING_GO);
    status
}

fn start_logging(directives: &str) -> anyhow::Result<()> {
    let wrong = |why| outcome::usage(format!("--log {directives}: {why}"));
    if let Some(word) = no_directive(directives) {
        return Err(wrong(format!(
            "{word:?} is no level; write error, warn, info, debug or trace, or TARGET=LEVEL"
        )));
    }
    let filter = EnvFilter::try_new(directives).map_err(|error| wrong(error.to_string()))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    Ok(())
}

/// A word that the filter would take for a target: a level with a slip in it would turn all
/// logging off, in silence.
fn no_directive(directives: &str) -> Option<&str> {
    let is_level = |word: &str| word.parse::<LevelFilter>().is_ok();
    let mut words = directives.split(',').map(str::trim).filter(|word| !word.is_empty());
    words.find(|word| !word.contains(['=', '[', ']']) && !is_level(word))
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// None where it is ignored: then the terminal may go, and this program stays.
    hangup: Option<Signal>,
}

fn signals() -> io::Result<Signals> {
    let hangup = if is_hangup_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
    let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
    Ok(Signals { interrupt: signal(interrupt)?, terminate: signal(terminate)?, hangup })
}

/// Was the program started by `nohup` or its like? Where the system does not tell, it was
/// not.
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask >> (SignalKind::hangup().as_raw_value() - 1) & 1 == 1)
}

/// The first signal asks for an orderly end, the second leaves time for a last word.
async fn obey_signals(mut signals: Signals, cancel: CancellationToken, at_once: CancellationToken) {
    loop {
        let hangup = async {
            match &mut signals.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = signals.interrupt.recv() => {}
            _ = signals.terminate.recv() => {}
            _ = hangup => {}
        }
        if cancel.is_cancelled() {
            at_once.cancel();
            tokio::time::sleep(LAST_WORD).await;
            std::process::exit(INTERRUPTED);
        }
        cancel.cancel();
    }
}
