//! `nodes`: who is on the bus.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use dse_core::node::{Node, NodeStatus};
use dse_core::protocol::{Endpoint, Incarnation, NodeId, Role};
use serde::Serialize;
use tokio::task::JoinSet;

use super::ANSWER_TIMEOUT;
use crate::context::Context;
use crate::session::{Part, Session};
use crate::settings::Settings;
use crate::{duration, table};

/// Its arguments.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct NodesArgs {
    /// How long to wait for the bus.
    #[arg(long, env = "DSE_NODES_TIMEOUT", hide_env_values = true, value_name = "SECONDS", value_parser = duration::parse, default_value = ANSWER_TIMEOUT)]
    timeout: Duration,
}

const EXAMPLES: &str = "\
It lists the nodes with their endpoints, incarnations, the transport by which this
command reached them, and the round-trip time. Guests (`ls`, `nodes`, `stats`) are not
listed. With --json it prints one object
{\"nodes\":[{\"node\",\"incarnation\",\"endpoints\",\"transport\",\"state\",\"rtt_ms\"}]}, where state is
\"up\" or \"down\" and transport and rtt_ms are null where there is no link.

Exit status 1: it is not certain that all nodes are listed.

Examples:
  The nodes of this machine:
    dse-node nodes

  The nodes of a bus elsewhere:
    dse-node nodes --join quic://seed.example:7447";

#[derive(Serialize)]
struct Listing<'a> {
    nodes: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    node: &'a NodeId,
    incarnation: Incarnation,
    endpoints: &'a [Endpoint],
    transport: Option<&'static str>,
    state: &'static str,
    rtt_ms: Option<f64>,
}

impl<'a> From<&'a NodeStatus> for Line<'a> {
    fn from(status: &'a NodeStatus) -> Self {
        let link = status.link.as_ref();
        let rtt = link.and_then(|link| link.rtt);
        Self {
            node: &status.node,
            incarnation: status.incarnation,
            endpoints: &status.endpoints,
            transport: link.map(|link| link.transport),
            state: if link.is_some() { "up" } else { "down" },
            rtt_ms: rtt.map(|rtt| (rtt.as_secs_f64() * 1e6).round() / 1e3),
        }
    }
}

/// Meets the nodes and lists them.
///
/// # Errors
/// Nobody was reached, or it is not certain that these are all.
pub async fn nodes(args: NodesArgs, settings: &Settings, context: &Context) -> Result<()> {
    let session = Session::start(settings, Part::Asks("nodes"), context).await?;
    let listed = tokio::select! {
        listed = list(&session, args.timeout, context) => listed,
        () = context.cancel.cancelled() => bail!("interrupted"),
    };
    session.leave().await;
    listed
}

async fn list(session: &Session, timeout: Duration, context: &Context) -> Result<()> {
    let report = session.meet(timeout).await?;
    let mut nodes = session.node.nodes().await?;
    nodes.retain(|status| status.role == Role::Member);
    measure(&session.node, &mut nodes, timeout).await;
    let lines: Vec<_> = nodes.iter().map(Line::from).collect();
    if context.console.json() {
        context.console.print_json(&Listing { nodes: lines }).await?;
    } else {
        let heads = ["NODE", "STATE", "TRANSPORT", "RTT", "INCARNATION", "ENDPOINTS"];
        let text = table::render(heads, lines.iter().map(row));
        context.console.print(text.as_bytes()).await?;
        if lines.is_empty() {
            context.console.note("nobody is on this bus").await;
        }
    }
    if !session.explain(&report, &context.console).await {
        bail!("the list may be incomplete");
    }
    Ok(())
}

/// Fills in the round-trip times that no probe has told yet: a question to each node and
/// its answer take one.
async fn measure(own: &Node, nodes: &mut [NodeStatus], timeout: Duration) {
    let mut questions = JoinSet::new();
    for (index, status) in nodes.iter().enumerate() {
        if status.link.as_ref().is_some_and(|link| link.rtt.is_none()) {
            let (own, node) = (own.clone(), status.node.clone());
            questions.spawn(async move {
                let asked = Instant::now();
                let answer = own.stats_of(&node, timeout).await;
                answer.is_ok().then(|| (index, asked.elapsed()))
            });
        }
    }
    for (index, rtt) in questions.join_all().await.into_iter().flatten() {
        if let Some(link) = nodes.get_mut(index).and_then(|status| status.link.as_mut()) {
            link.rtt = Some(rtt);
        }
    }
}

fn row(line: &Line<'_>) -> [String; 6] {
    let endpoints: Vec<_> = line.endpoints.iter().map(Endpoint::as_str).collect();
    [
        line.node.to_string(),
        line.state.to_owned(),
        line.transport.unwrap_or("-").to_owned(),
        line.rtt_ms.map_or("-".to_owned(), |ms| format!("{ms:.2} ms")),
        line.incarnation.to_string(),
        endpoints.join(" "),
    ]
}
