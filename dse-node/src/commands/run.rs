//! `run`: a long-lived node.

use std::io;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use dse_core::node::Node;
use dse_core::protocol::{Endpoint, Incarnation, KeyExpr, NodeId};
use serde::Serialize;
use tokio::task::JoinSet;

use super::control;
use crate::config::Config;
use crate::context::Context;
use crate::session::{Part, Session};
use crate::settings::Settings;
use crate::sinks::{JsonlConfig, Sink, SinkConfig, StdoutConfig};
use crate::sources::{FileConfig, SourceConfig, SystemConfig, ValueConfig};

/// Its flags. What the configuration file lists comes in addition.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct RunArgs {
    /// Publish a constant as a state; repeat for more. {node} in the key stands for this
    /// node's id.
    #[arg(long, env = "DSE_RUN_VALUE", hide_env_values = true, value_name = "KEY=VALUE")]
    value: Vec<ValueConfig>,

    /// Publish this machine's CPU, memory, load, disks and network as states below KEY,
    /// every 2s or as said, while somebody is interested; repeat for more.
    #[arg(long, env = "DSE_RUN_SYSTEM", hide_env_values = true, value_name = "KEY[=EVERY]")]
    system: Vec<SystemConfig>,

    /// Publish the lines that are added to a file as a stream, while somebody is
    /// interested; repeat for more. The file may be rotated.
    #[arg(long, env = "DSE_RUN_FILE", hide_env_values = true, value_name = "KEY=PATH")]
    file: Vec<FileConfig>,

    /// Print the samples of these keys; repeat for more.
    #[arg(long, env = "DSE_RUN_PRINT", hide_env_values = true, value_name = "KEYEXPR")]
    print: Vec<KeyExpr>,

    /// Append the samples of these keys to a file of JSON lines; repeat for more.
    #[arg(long, env = "DSE_RUN_RECORD", hide_env_values = true, value_name = "KEYEXPR=PATH")]
    record: Vec<JsonlConfig>,

    /// Print the directory's changes, and do what lines on standard input say: `stats`,
    /// `set KEY VALUE`, `leave`.
    #[arg(long, hide = true)]
    control_stdin: bool,

    /// Send the whole index to everybody so often, as the system before DSE did: only to
    /// measure what that costs.
    #[arg(long, hide = true, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    reannounce_ms: Option<u64>,
}

const EXAMPLES: &str = "\
Once it is on the bus it prints one line: its id, its incarnation and its endpoints.
With --json: {\"event\":\"ready\",\"node\",\"incarnation\",\"endpoints\"}. Then it prints only what
--print or a stdout sink asks for. It ends in order on SIGINT, SIGTERM or SIGHUP, or once
nobody reads any more what it prints.

A file source begins at the end of its file, or with from = \"start\" at its first line,
each time that somebody begins to be interested. While a file of --record cannot be
written to, lines are lost and that is logged; one that is rotated away is begun anew.
Sinks tell gaps and what becomes of each source as `dse-node sub --help` says: in JSON
between the samples, for people on standard error.

Two nodes of one name cannot be on one bus: give each node on a machine its --name.

Examples:
  A node that shows this machine to whoever looks:
    dse-node run --name web-1 --system 'host/{node}'

  A node with constants, reachable from other machines:
    dse-node run --name web-1 --listen quic://0.0.0.0:7447 --value site/name=Zurich

  A node that joins it from another machine, with a certificate of the same authority:
    dse-node run --name web-2 --join quic://web-1.example:7447 \\
        --cert web-2.crt --key web-2.key --ca ca.crt

  A node that records everything:
    dse-node run --name recorder --record '**=samples.jsonl'

  All of it in a file:
    dse-node run --config web-1.toml

      name = \"web-1\"
      listen = [\"quic://0.0.0.0:7447\"]

      [[source]]
      kind = \"value\"            # a constant: key, value, encoding
      key = \"site/name\"
      value = \"Zurich\"
      headers = { source = \"survey\" }

      [[source]]
      kind = \"system\"           # this machine: key, every, always
      key = \"host/{node}\"
      every = \"2s\"

      [[source]]
      kind = \"file\"             # lines: key, path, from (\"start\" or \"end\"), every,
      key = \"log/{node}\"        # encoding, always, expires
      path = \"/var/log/web.log\"
      class = \"bulk\"            # any source: class (\"realtime\", \"normal\", \"bulk\"),
      expires = \"1m\"            # headers (a table of texts)

      [[sink]]
      kind = \"jsonl\"            # a file of JSON lines: keys, path
      keys = \"host/**\"
      path = \"samples.jsonl\"

      [[sink]]
      kind = \"stdout\"           # lines on standard output: keys
      keys = \"log/**\"";

#[derive(Serialize)]
struct Ready<'a> {
    event: &'static str,
    node: &'a NodeId,
    incarnation: Incarnation,
    endpoints: &'a [Endpoint],
}

/// Runs the node until it is told to end.
///
/// # Errors
/// It cannot start, or lost its id to another node.
pub async fn run(
    args: RunArgs,
    config: Config,
    settings: &Settings,
    context: &Context,
) -> Result<()> {
    let session = Session::start(settings, Part::Stays, context).await?;
    let outcome = work(&session.node, args, config, context).await;
    session.leave().await;
    outcome
}

/// Publishes and records until the node is told to end.
async fn work(node: &Node, args: RunArgs, config: Config, context: &Context) -> Result<()> {
    let mut tasks = JoinSet::new();
    for source in sources(&args, config.sources) {
        source.start(node, &mut tasks).await?;
    }
    let mut opened = Vec::new();
    for sink in sinks(&args, config.sinks) {
        opened.push(sink.open(node, &context.console).await?);
    }
    if let Some(pause_ms) = args.reannounce_ms {
        tasks.spawn(reannounce(node.clone(), Duration::from_millis(pause_ms)));
    }
    say_ready(node, context).await?;
    let mut sinks: JoinSet<_> = opened.into_iter().map(Sink::work).collect();

    let controlled = async {
        match args.control_stdin {
            true => control::obey(node, context).await,
            false => std::future::pending().await,
        }
    };
    tokio::select! {
        () = context.cancel.cancelled() => {}
        reason = node.stopped() => return Err(reason.into()),
        controlled = controlled => controlled?,
        unread = until_unread(&mut sinks) => return Err(unread.into()),
    }
    tasks.shutdown().await;
    sinks.shutdown().await;
    Ok(())
}

/// Waits until nobody reads any more what a sink prints.
async fn until_unread(sinks: &mut JoinSet<io::Result<()>>) -> io::Error {
    while let Some(ended) = sinks.join_next().await {
        if let Ok(Err(error)) = ended {
            return error;
        }
    }
    std::future::pending().await
}

fn sources(args: &RunArgs, listed: Vec<SourceConfig>) -> impl Iterator<Item = SourceConfig> {
    let values = args.value.clone().into_iter().map(SourceConfig::Value);
    let systems = args.system.clone().into_iter().map(SourceConfig::System);
    let files = args.file.clone().into_iter().map(SourceConfig::File);
    values.chain(systems).chain(files).chain(listed)
}

fn sinks(args: &RunArgs, listed: Vec<SinkConfig>) -> impl Iterator<Item = SinkConfig> {
    let printed =
        args.print.clone().into_iter().map(|keys| SinkConfig::Stdout(StdoutConfig { keys }));
    let recorded = args.record.clone().into_iter().map(SinkConfig::Jsonl);
    printed.chain(recorded).chain(listed)
}

async fn say_ready(node: &Node, context: &Context) -> Result<()> {
    let endpoints = node.endpoints();
    let ready =
        Ready { event: "ready", node: node.id(), incarnation: node.incarnation(), endpoints };
    if context.console.json() {
        context.console.print_json(&ready).await?;
    } else {
        let shown: Vec<_> = endpoints.iter().map(Endpoint::as_str).collect();
        let line = format!(
            "{} is ready (incarnation {}): {}\n",
            ready.node,
            ready.incarnation,
            shown.join(" ")
        );
        context.console.print(line.as_bytes()).await?;
    }
    Ok(())
}

async fn reannounce(node: Node, pause: Duration) {
    let mut tick = tokio::time::interval(pause);
    loop {
        tick.tick().await;
        if node.reannounce().await.is_err() {
            return;
        }
    }
}
