//! `pub`: publishes and waits until every subscriber has it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use dse_core::node::{Overflow, PAYLOAD_BYTES, Publisher, Receipts};
use dse_core::protocol::{Key, KeyExpr, Kind, NodeId};
use serde::Serialize;

use super::{ANSWER_TIMEOUT, after};
use crate::context::Context;
use crate::duration;
use crate::outcome::usage;
use crate::session::{Part, Session};
use crate::settings::Settings;

/// Its arguments.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct PubArgs {
    /// The key to publish under, such as `site/hall-2/temperature`.
    #[arg(value_name = "KEY")]
    topic: Key,

    /// What kind of data it is. A state ends with this command, as its node leaves.
    #[arg(long, value_enum, default_value_t = KindArg::Stream, env = "DSE_PUB_KIND", hide_env_values = true)]
    kind: KindArg,

    /// Publish this text instead of the lines of standard input; repeat for more.
    #[arg(
        long,
        env = "DSE_PUB_VALUE",
        hide_env_values = true,
        value_name = "TEXT",
        conflicts_with = "file"
    )]
    value: Vec<String>,

    /// Publish the content of this file as one sample.
    #[arg(long, env = "DSE_PUB_FILE", hide_env_values = true, value_name = "PATH")]
    file: Option<PathBuf>,

    /// The media type [default: text/plain; for --file application/octet-stream].
    #[arg(long, env = "DSE_PUB_ENCODING", hide_env_values = true, value_name = "TYPE")]
    encoding: Option<String>,

    /// A description that goes with the declaration; repeat for more.
    #[arg(long, env = "DSE_PUB_META", hide_env_values = true, value_name = "NAME=VALUE", value_parser = name_and_value)]
    meta: Vec<(String, String)>,

    /// What to do when a subscriber of a stream is slower than this command.
    #[arg(long, value_enum, default_value_t = OverflowArg::Block, env = "DSE_PUB_OVERFLOW", hide_env_values = true)]
    overflow: OverflowArg,

    /// Wait until so many subscribers are there before publishing anything.
    #[arg(
        long,
        env = "DSE_PUB_WAIT",
        hide_env_values = true,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true
    )]
    wait: usize,

    /// How long to wait for the bus, and then again for the subscribers of --wait.
    #[arg(long, env = "DSE_PUB_TIMEOUT", hide_env_values = true, value_name = "SECONDS", value_parser = duration::parse, default_value = ANSWER_TIMEOUT)]
    timeout: Duration,
}

const EXAMPLES: &str = "\
It joins the bus, publishes, waits until every subscriber that wanted the samples has
them, says how many those were, and leaves. With --json it prints
{\"key\",\"published\",\"subscribers\",\"undelivered\":[\"node\"],\"missing\":[\"node\"]}.

No subscriber at all is no failure, unless --wait asks for some. Exit status 1: a
subscriber has not got everything (\"undelivered\"), some node could not be asked whether
it wants the samples (\"missing\"), or --wait was not fulfilled in time.

Examples:
  One sample:
    echo hi | dse-node pub demo/greeting

  Numbers, once somebody listens:
    seq 1 1000 | dse-node pub demo/numbers --wait 1 --timeout 60

  JSON:
    dse-node pub demo/point --encoding application/json --value '{\"x\":1,\"y\":2}'

  Lines as they come, dropping what a slow subscriber cannot take:
    journalctl -f | dse-node pub log/journal --overflow drop-oldest";

const INTERRUPTED: &str = "interrupted before anything was published";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum KindArg {
    /// Samples from now on, in order.
    Stream,
    /// A present value that changes: the latest wins.
    State,
    /// Rows; not in this release.
    Table,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OverflowArg {
    /// Wait for it, within limits.
    Block,
    /// Drop its oldest samples.
    DropOldest,
    /// Drop its newest samples.
    DropNewest,
}

#[derive(Serialize)]
struct Published<'a> {
    key: &'a Key,
    published: u64,
    subscribers: usize,
    undelivered: &'a [NodeId],
    missing: Vec<&'a NodeId>,
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or("write NAME=VALUE, as in --meta unit=C")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Each name once: JSON has no word for more.
fn check_meta(meta: &[(String, String)]) -> Result<()> {
    let mut names = BTreeSet::new();
    match meta.iter().find(|(name, _)| !names.insert(name)) {
        Some((name, _)) => Err(usage(format!("--meta {name}= is given twice: give a name once"))),
        None => Ok(()),
    }
}

/// Publishes.
///
/// # Errors
/// Nobody could be reached, or not everybody has got everything.
pub async fn publish(args: PubArgs, settings: &Settings, context: &Context) -> Result<()> {
    check_meta(&args.meta)?;
    let input = Content::new(&args)?;
    let kind = match args.kind {
        KindArg::Stream => Kind::Stream,
        KindArg::State => Kind::State,
        KindArg::Table => {
            return Err(usage("tables are not in this release: use --kind stream or --kind state"));
        }
    };
    let session = Session::start(settings, Part::Passes("pub"), context).await?;
    let published = publish_on(&session, &args, kind, input, context).await;
    session.leave().await;
    published
}

async fn publish_on(
    session: &Session,
    args: &PubArgs,
    kind: Kind,
    input: Content,
    context: &Context,
) -> Result<()> {
    let publisher = declare(session, args, kind).await?;
    // A node sends its interest in what we declared before it answers: once all have
    // answered, all who want the samples are known.
    let topic = KeyExpr::from(&args.topic);
    let report = tokio::select! {
        report = session.ask(&topic, args.timeout) => report?,
        () = context.cancel.cancelled() => bail!(INTERRUPTED),
    };
    session.explain(&report, &context.console).await;
    wait_for_subscribers(&publisher, args, context).await?;
    let at_first = publisher.interest().subscribers();
    let published = input.publish_all(session, &publisher, context).await?;
    let closed = publisher.close().await;

    let shape = Published {
        key: &args.topic,
        published,
        subscribers: closed.delivered,
        undelivered: &closed.undelivered,
        missing: report.missing.iter().map(|missing| &missing.node).collect(),
    };
    if context.console.json() {
        context.console.print_json(&shape).await?;
    } else {
        context.console.note(summary(published, at_first, &closed)).await;
    }
    if !closed.undelivered.is_empty() {
        let nodes: Vec<_> = closed.undelivered.iter().map(NodeId::as_str).collect();
        bail!("it is not certain that everything reached {}", nodes.join(", "));
    }
    if !report.complete {
        bail!("some nodes could not be asked: they may have wanted the samples");
    }
    Ok(())
}

async fn declare(session: &Session, args: &PubArgs, kind: Kind) -> Result<Publisher> {
    let default = if args.file.is_some() { "application/octet-stream" } else { "text/plain" };
    let overflow = match args.overflow {
        OverflowArg::Block => Overflow::Block,
        OverflowArg::DropOldest => Overflow::DropOldest,
        OverflowArg::DropNewest => Overflow::DropNewest,
    };
    let mut builder = session
        .node
        .publisher(args.topic.as_str())?
        .kind(kind)
        .encoding(args.encoding.as_deref().unwrap_or(default))
        .overflow(overflow);
    for (name, value) in &args.meta {
        builder = builder.meta(name.as_str(), value.as_str());
    }
    Ok(builder.declare().await?)
}

async fn wait_for_subscribers(
    publisher: &Publisher,
    args: &PubArgs,
    context: &Context,
) -> Result<()> {
    let mut interest = publisher.interest();
    let enough = async {
        while interest.subscribers() < args.wait {
            if interest.changed().await.is_none() {
                return;
            }
        }
    };
    tokio::select! {
        () = enough => Ok(()),
        () = context.cancel.cancelled() => bail!(INTERRUPTED),
        () = after(Some(args.timeout)) => bail!(
            "{} of {} subscribers of {} are there after {:?}: nothing was published",
            publisher.interest().subscribers(), args.wait, args.topic, args.timeout
        ),
    }
}

fn summary(published: u64, at_first: usize, closed: &Receipts) -> String {
    let samples = if published == 1 { "sample" } else { "samples" };
    match closed.delivered {
        0 if closed.undelivered.is_empty() && at_first > 0 => {
            format!("published {published} {samples}; the subscribers that were there are gone")
        }
        0 if closed.undelivered.is_empty() => {
            format!("published {published} {samples}; no subscriber was there")
        }
        1 => format!("published {published} {samples} to 1 subscriber"),
        delivered => format!("published {published} {samples} to {delivered} subscribers"),
    }
}

/// The content of a file, no more of it than a sample may have.
fn read_file(path: &Path) -> Result<Bytes> {
    let shown = path.display();
    let mut content = Vec::new();
    let read = File::open(path)
        .and_then(|file| file.take(PAYLOAD_BYTES as u64 + 1).read_to_end(&mut content));
    read.with_context(|| format!("cannot read {shown}"))?;
    if content.len() > PAYLOAD_BYTES {
        bail!(
            "{shown} is longer than the {PAYLOAD_BYTES} bytes that a sample may have: publish it in parts"
        );
    }
    Ok(content.into())
}

/// What to publish.
enum Content {
    Given(Vec<Bytes>),
    Lines,
}

impl Content {
    fn new(args: &PubArgs) -> Result<Self> {
        if let Some(path) = &args.file {
            return Ok(Self::Given(vec![read_file(path)?]));
        }
        if !args.value.is_empty() {
            let values = args.value.iter().map(|value| Bytes::from(value.clone()));
            return Ok(Self::Given(values.collect()));
        }
        Ok(Self::Lines)
    }

    /// Publishes all of it, or until the user has enough. How many it were.
    async fn publish_all(
        self,
        session: &Session,
        publisher: &Publisher,
        context: &Context,
    ) -> Result<u64> {
        let mut published = 0;
        let work = async {
            match self {
                Self::Given(values) => {
                    for value in values {
                        publisher.publish(value).await?;
                        published += 1;
                    }
                }
                Self::Lines => {
                    let mut input = context.input.lock().await;
                    while let Some(line) = input.next_line().await? {
                        publisher.publish(line).await?;
                        published += 1;
                    }
                }
            }
            Ok(())
        };
        let outcome: Result<()> = tokio::select! {
            outcome = work => outcome,
            reason = session.node.stopped() => Err(reason.into()),
            () = context.cancel.cancelled() => Ok(()),
        };
        outcome.map(|()| published)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_there_and_nobody_left_are_told_apart() {
        let none = Receipts::default();
        assert!(summary(3, 0, &none).ends_with("no subscriber was there"));
        assert!(summary(3, 1, &none).ends_with("the subscribers that were there are gone"));
        let one = Receipts { delivered: 1, ..none };
        assert_eq!(summary(1, 1, &one), "published 1 sample to 1 subscriber");
    }
}
