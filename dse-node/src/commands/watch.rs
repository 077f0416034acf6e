//! `watch`: the directory's changes as they happen.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use dse_core::node::{Change, Watch};
use dse_core::protocol::{Incarnation, KeyExpr, LeaveReason, Match, NodeId};
use serde::Serialize;

use super::control::now_ns;
use super::{Meta, after, meta_text};
use crate::console::Console;
use crate::context::Context;
use crate::duration;
use crate::samples::printable;
use crate::session::{Part, Session};
use crate::settings::Settings;

/// Its arguments.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct WatchArgs {
    /// Whose coming and going to watch: `*` stands for one segment of a key, `**` for
    /// any number. Nodes are shown whatever they declare.
    #[arg(value_name = "KEYEXPR", default_value = "**")]
    keys: KeyExpr,

    /// End after so many events.
    #[arg(long, env = "DSE_WATCH_COUNT", hide_env_values = true, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// End after this time. Without --count that is no failure.
    #[arg(long, env = "DSE_WATCH_TIMEOUT", hide_env_values = true, value_name = "SECONDS", value_parser = duration::parse)]
    timeout: Option<Duration>,
}

const EXAMPLES: &str = "\
What is there comes first, as node_up and declared, then each change. A node that goes
takes with it all that it declared. With --json each line is an object with \"event\",
\"node\", \"time_ns\" (when this command heard of it, since 1970) and:
  node_up     \"incarnation\"
  node_down   \"incarnation\", \"error\": it is gone without a word
  node_left   \"incarnation\", \"reason\": it said goodbye
  declared, changed, undeclared
              \"incarnation\", \"key\", \"kind\", \"encoding\", \"meta\"

Examples:
  Everything:
    dse-node watch

  Until the next three changes of what hosts declare:
    dse-node watch 'host/**' --count 3 --json";

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<'a> {
    NodeUp { node: &'a NodeId, incarnation: Incarnation },
    NodeDown { node: &'a NodeId, incarnation: Incarnation, error: &'a str },
    NodeLeft { node: &'a NodeId, incarnation: Incarnation, reason: &'static str },
    Declared(Found<'a>),
    Changed(Found<'a>),
    Undeclared(Found<'a>),
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    event: Event<'a>,
    time_ns: u64,
}

#[derive(Serialize)]
struct Found<'a> {
    node: &'a NodeId,
    incarnation: Incarnation,
    key: &'a str,
    kind: String,
    encoding: &'a str,
    meta: Meta<'a>,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Remark {
    Lagged { missed: u64 },
}

/// Watches and prints.
///
/// # Errors
/// What was waited for did not come, or the node could not be on the bus.
pub async fn watch(args: WatchArgs, settings: &Settings, context: &Context) -> Result<()> {
    let session = Session::start(settings, Part::Passes("watch"), context).await?;
    let outcome = print_changes(&session, &args, context).await;
    session.leave().await;
    outcome
}

async fn print_changes(session: &Session, args: &WatchArgs, context: &Context) -> Result<()> {
    let mut changes = session.node.watch(args.keys.as_str()).await?;
    let mut left = args.count.unwrap_or(u64::MAX);
    tokio::select! {
        printed = print_all(&mut changes, &mut left, &context.console) => printed?,
        () = context.cancel.cancelled() => return Ok(()),
        reason = session.node.stopped() => return Err(reason.into()),
        () = after(args.timeout) => {}
    }
    match args.count {
        Some(count) if left > 0 => {
            session.check_reached().await?;
            bail!("{} of {count} events came in time", count - left);
        }
        Some(_) => Ok(()),
        None => session.check_reached().await,
    }
}

/// Prints changes until as many as wanted have come, or the node has stopped.
pub(super) async fn print_all(
    changes: &mut Watch,
    left: &mut u64,
    console: &Console,
) -> Result<()> {
    while *left > 0
        && let Some(change) = changes.next().await
    {
        if let Change::Lagged { missed } = change {
            let text = format!("too slow: {missed} changes are lost; what is there comes again");
            console.report(text, &Remark::Lagged { missed }).await;
        }
        let Some(event) = Event::of(&change) else { continue };
        *left -= 1;
        if console.json() {
            console.print_json(&Line { event, time_ns: now_ns() }).await?;
        } else {
            console.print(event.line().as_bytes()).await?;
        }
    }
    Ok(())
}

impl<'a> Event<'a> {
    fn of(change: &'a Change) -> Option<Self> {
        let found = |it: &'a Match| Found {
            node: &it.node,
            incarnation: it.incarnation,
            key: it.declaration.key.as_str(),
            kind: it.declaration.kind.to_string(),
            encoding: &it.declaration.encoding,
            meta: Meta(&it.declaration),
        };
        Some(match change {
            Change::NodeUp { node, incarnation } => {
                Self::NodeUp { node, incarnation: *incarnation }
            }
            Change::NodeDown { node, incarnation, error } => {
                Self::NodeDown { node, incarnation: *incarnation, error }
            }
            Change::NodeLeft { node, incarnation, reason } => {
                let reason = match reason {
                    LeaveReason::Asked => "asked",
                    LeaveReason::Clash => "clash",
                    LeaveReason::Other(_) => "other",
                };
                Self::NodeLeft { node, incarnation: *incarnation, reason }
            }
            Change::Declared(it) => Self::Declared(found(it)),
            Change::Changed(it) => Self::Changed(found(it)),
            Change::Undeclared(it) => Self::Undeclared(found(it)),
            Change::Synced | Change::Lagged { .. } => return None,
        })
    }

    fn line(&self) -> String {
        match self {
            Self::NodeUp { node, incarnation } => {
                format!("node up     {node} (incarnation {incarnation})\n")
            }
            Self::NodeDown { node, error, .. } => {
                format!("node down   {node}: {}\n", printable(error))
            }
            Self::NodeLeft { node, reason, .. } => format!("node left   {node} ({reason})\n"),
            Self::Declared(found) => found.line("declared  "),
            Self::Changed(found) => found.line("changed   "),
            Self::Undeclared(found) => found.line("undeclared"),
        }
    }
}

impl Found<'_> {
    fn line(&self, what: &str) -> String {
        let Self { node, key, kind, encoding, meta, .. } = self;
        let (encoding, meta) = (printable(encoding), meta_text(meta.0));
        let line = format!("{what}  {key} {kind} of {node} {encoding} {}", printable(&meta));
        format!("{}\n", line.trim_end())
    }
}
