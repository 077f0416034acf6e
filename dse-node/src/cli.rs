//! The command line.

use std::ffi::OsString;

use clap::builder::Resettable;
use clap::{Arg, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

#[cfg(feature = "quic")]
use crate::commands::ca::CaArgs;
use crate::commands::ls::LsArgs;
use crate::commands::nodes::NodesArgs;
use crate::commands::plan::PlanArgs;
use crate::commands::publish::PubArgs;
use crate::commands::run::RunArgs;
use crate::commands::stats::StatsArgs;
use crate::commands::subscribe::SubArgs;
use crate::commands::watch::WatchArgs;
use crate::options::Options;

/// A node of DSE, the Data Services Engine: a data bus without a broker.
///
/// Nodes expose streams and states under keys such as site/hall-2/temperature, find each
/// other and each other's data over a control bus that is silent while nothing changes,
/// and exchange the data directly. On one machine nothing needs to be configured.
#[derive(Clone, Debug, Parser)]
#[command(name = "dse-node", version, propagate_version = true, after_long_help = EXAMPLES)]
pub struct Cli {
    /// What all commands take.
    #[command(flatten)]
    pub options: Options,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Reads a command line, the program's name first, and the environment.
    ///
    /// # Errors
    /// What is wrong with it, or the help that it asks for.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut command = without_empty_variables(Self::command());
        let matches = command.try_get_matches_from_mut(words)?;
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    }
}

/// A variable that is set to nothing counts as not set: `DSE_JOIN= dse-node ls` is how a
/// shell takes one back.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |arg: &Arg| {
        let value = arg.get_env().and_then(std::env::var_os);
        value.is_some_and(|value| value.is_empty())
    };
    command
        .mut_args(|arg| if is_empty(&arg) { arg.env(Resettable::Reset) } else { arg })
        .mut_subcommands(without_empty_variables)
}

const EXAMPLES: &str = "\
Every option can be set in the environment: those of every command as DSE_ and their
name (DSE_BUS, DSE_JOIN), those of one command with its name between (DSE_SUB_COUNT).
Flags win over the environment, and the environment over the file of --config. A variable
that is empty counts as not set.

Exit status: 0 done, 1 failed, 2 called wrongly.

Examples:
  In one terminal:
    dse-node sub 'demo/**'
  In another:
    echo hi | dse-node pub demo/greeting

  A node that stays, and shows this machine to whoever looks:
    dse-node run --name web-1 --system 'host/{node}'

  What is there?
    dse-node nodes
    dse-node ls '**'

  On another machine, with a certificate from `dse-node ca issue`:
    dse-node sub 'host/**' --join quic://web-1.example:7447 \\
        --name web-2 --cert web-2.crt --key web-2.key --ca ca.crt";

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run a long-lived node: sources in, sinks out.
    Run(RunArgs),
    /// Publish lines, a text or a file, and wait until every subscriber has them.
    Pub(PubArgs),
    /// Print samples.
    Sub(SubArgs),
    /// Ask the bus who serves what.
    Ls(LsArgs),
    /// List the nodes.
    Nodes(NodesArgs),
    /// Print the directory's changes as they happen.
    Watch(WatchArgs),
    /// Ask a node for its counters.
    Stats(StatsArgs),
    /// Tell what a bus of a given size will cost.
    Plan(PlanArgs),
    /// Make and show certificates for QUIC.
    #[cfg(feature = "quic")]
    Ca(CaArgs),
    /// Run several commands as tasks of this process.
    #[cfg(feature = "mem")]
    #[command(hide = true)]
    Host,
}

impl Command {
    /// What it logs where nothing says so.
    pub fn default_log(&self) -> &'static str {
        match self {
            Self::Run(_) => "info",
            _ => "warn",
        }
    }
}
