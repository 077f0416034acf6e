//! `ls`: asks the bus who serves what.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use dse_core::protocol::{Incarnation, KeyExpr, Match, NodeId, Report};
use serde::Serialize;

use super::{ANSWER_TIMEOUT, Meta, meta_text};
use crate::context::Context;
use crate::samples::printable;
use crate::session::{Part, Session};
use crate::settings::Settings;
use crate::{duration, table};

/// Its arguments.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct LsArgs {
    /// What to look for: `*` stands for one segment of a key, `**` for any number.
    #[arg(value_name = "KEYEXPR", default_value = "**")]
    keys: KeyExpr,

    /// How long to wait for answers.
    #[arg(long, env = "DSE_LS_TIMEOUT", hide_env_values = true, value_name = "SECONDS", value_parser = duration::parse, default_value = ANSWER_TIMEOUT)]
    timeout: Duration,
}

const EXAMPLES: &str = "\
Every node answers, also one that has nothing: so it is known whether the list is
complete. With --json it prints one object
{\"declarations\":[{\"node\",\"incarnation\",\"key\",\"kind\",\"encoding\",\"meta\"}],
\"expected\":n,\"answered\":m,\"missing\":[\"node\"],\"complete\":bool}; why a node is missing is
told on standard error.

Exit status 1: some node did not answer, so that what is not listed may still be there.

Examples:
  Everything on the bus:
    dse-node ls

  Who has a temperature?
    dse-node ls '**/temperature' --json";

#[derive(Serialize)]
struct Listing<'a> {
    declarations: Vec<Line<'a>>,
    expected: usize,
    answered: usize,
    missing: Vec<&'a NodeId>,
    complete: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    node: &'a NodeId,
    incarnation: Incarnation,
    key: &'a str,
    kind: String,
    encoding: &'a str,
    meta: Meta<'a>,
}

impl<'a> From<&'a Match> for Line<'a> {
    fn from(found: &'a Match) -> Self {
        Self {
            node: &found.node,
            incarnation: found.incarnation,
            key: found.declaration.key.as_str(),
            kind: found.declaration.kind.to_string(),
            encoding: &found.declaration.encoding,
            meta: Meta(&found.declaration),
        }
    }
}

/// Asks and lists.
///
/// # Errors
/// Somebody did not answer.
pub async fn ls(args: LsArgs, settings: &Settings, context: &Context) -> Result<()> {
    let session = Session::start(settings, Part::Asks("ls"), context).await?;
    let outcome = tokio::select! {
        report = session.ask(&args.keys, args.timeout) => report,
        () = context.cancel.cancelled() => bail!("interrupted"),
    };
    let listed = match outcome {
        Ok(report) => list(&session, &report, context).await,
        Err(error) => Err(error),
    };
    session.leave().await;
    listed
}

async fn list(session: &Session, report: &Report, context: &Context) -> Result<()> {
    let console = &context.console;
    if console.json() {
        let listing = Listing {
            declarations: report.matches.iter().map(Line::from).collect(),
            expected: report.expected,
            answered: report.answered,
            missing: report.missing.iter().map(|missing| &missing.node).collect(),
            complete: report.complete,
        };
        console.print_json(&listing).await?;
    } else {
        console.print(as_table(report).as_bytes()).await?;
        console.note(summary(report)).await;
    }
    if !session.explain(report, console).await {
        bail!("the list may be incomplete");
    }
    Ok(())
}

fn as_table(report: &Report) -> String {
    let row = |found: &Match| {
        [
            found.declaration.key.to_string(),
            found.declaration.kind.to_string(),
            found.node.to_string(),
            printable(&found.declaration.encoding).into_owned(),
            printable(&meta_text(&found.declaration)).into_owned(),
        ]
    };
    table::render(["KEY", "KIND", "NODE", "ENCODING", "META"], report.matches.iter().map(row))
}

fn summary(report: &Report) -> String {
    let missing: Vec<_> = report.missing.iter().map(|missing| missing.node.as_str()).collect();
    let missing = if missing.is_empty() {
        String::new()
    } else {
        format!(", missing: {}", missing.join(" "))
    };
    format!("{} of {} answered{missing}", report.answered, report.expected)
}
