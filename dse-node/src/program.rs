//! From a command line to an exit status.

use std::ffi::OsString;

use anyhow::Result;

use crate::cli::{Cli, Command};
use crate::commands;
use crate::config::Config;
use crate::context::Context;
use crate::outcome::{DONE, USAGE, in_words, nobody_reads, status_of, usage};
use crate::settings::Settings;
use crate::transports::Scheme;

/// What is to be done: a command line together with its configuration file, checked.
#[derive(Debug)]
pub struct Plan {
    command: Command,
    settings: Settings,
    config: Config,
    json: bool,
    /// What to log.
    pub log: String,
}

impl Plan {
    /// Reads the configuration file, if there is one, and checks everything.
    ///
    /// # Errors
    /// What is wrong, as wrong usage.
    pub fn new(cli: Cli) -> Result<Self> {
        let Cli { options, command } = cli;
        let mut config = match &options.config {
            Some(path) => Config::read(path).map_err(usage)?,
            None => Config::default(),
        };
        if !matches!(command, Command::Run(_)) {
            yield_endpoints(&mut config);
        }
        let options = options.or(std::mem::take(&mut config.options));
        let log = options.log.clone().unwrap_or_else(|| command.default_log().to_owned());
        let json = options.json.unwrap_or_default();
        Ok(Self { command, settings: Settings::new(options)?, config, json, log })
    }

    /// Does it. Returns the exit status; what went wrong is said on standard error.
    pub async fn carry_out(self, mut context: Context) -> u8 {
        context.console = context.console.with_json(self.json);
        let console = context.console.clone();
        match self.dispatch(&context).await {
            Ok(()) => DONE,
            Err(error) => {
                if !nobody_reads(&error) {
                    console.note(in_words(&error)).await;
                }
                status_of(&error)
            }
        }
    }

    async fn dispatch(self, context: &Context) -> Result<()> {
        let settings = &self.settings;
        match self.command {
            Command::Run(args) => commands::run::run(args, self.config, settings, context).await,
            Command::Pub(args) => commands::publish::publish(args, settings, context).await,
            Command::Sub(args) => commands::subscribe::subscribe(args, settings, context).await,
            Command::Ls(args) => commands::ls::ls(args, settings, context).await,
            Command::Nodes(args) => commands::nodes::nodes(args, settings, context).await,
            Command::Watch(args) => commands::watch::watch(args, settings, context).await,
            Command::Stats(args) => commands::stats::stats(args, settings, context).await,
            Command::Plan(args) => commands::plan::plan(args, context).await,
            #[cfg(feature = "quic")]
            Command::Ca(args) => commands::ca::ca(args, settings, context).await,
            #[cfg(feature = "mem")]
            Command::Host => commands::host::host(context).await,
        }
    }
}

/// Where a configuration file says to listen is for `run` alone: a command that is given
/// the file of a node that runs must not take that node's port. Its transport is taken.
fn yield_endpoints(config: &mut Config) {
    let options = &mut config.options;
    if options.transport.is_none() {
        options.transport = options.listen.first().and_then(|endpoint| Scheme::of(endpoint).ok());
    }
    options.listen.clear();
    options.advertise.clear();
}

/// Runs a job of a host: the words of a command line, the program's name first.
pub async fn execute_job(words: &[String], context: Context) -> u8 {
    let cli = match Cli::read(words.iter().map(OsString::from)) {
        Ok(cli) => cli,
        Err(error) => {
            let text = error.to_string();
            let printed = if error.use_stderr() {
                context.console.note(text.trim_end()).await;
                Ok(())
            } else {
                context.console.print(text.as_bytes()).await
            };
            return if printed.is_ok() && !error.use_stderr() { DONE } else { USAGE };
        }
    };
    match Plan::new(cli) {
        Ok(plan) => plan.carry_out(context).await,
        Err(error) => {
            context.console.note(in_words(&error)).await;
            status_of(&error)
        }
    }
}
