//! `pub`: publishes and waits until every subscriber has it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use dse_core::node::{
    DeliveryReport, Headers, Overflow, PAYLOAD_BYTES, Publisher, SkipReason, Unconfirmed,
    UnconfirmedCause,
};
use dse_core::protocol::{Key, KeyExpr, Kind, NodeId};
use serde::Serialize;

use super::waiting::WaitTeller;
use super::{ANSWER_TIMEOUT, after};
use crate::context::Context;
use crate::duration;
use crate::outcome::usage;
use crate::session::{Part, Session};
use crate::settings::Settings;
use crate::traffic::{self, ClassName};

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

    /// A header that travels with every sample; repeat for more.
    #[arg(long, env = "DSE_PUB_HEADER", hide_env_values = true, value_name = "NAME=VALUE", value_parser = header)]
    header: Vec<(String, String)>,

    /// How urgent the samples are: no class waits behind a lower one.
    #[arg(long, value_enum, default_value_t = ClassName::Normal, env = "DSE_PUB_CLASS", hide_env_values = true)]
    class: ClassName,

    /// Send no sample of a stream that is older; its subscribers are told the gap.
    #[arg(long, env = "DSE_PUB_EXPIRES", hide_env_values = true, value_name = "SECONDS", value_parser = duration::parse)]
    expires: Option<Duration>,

    /// What to do when a subscriber of a stream is slower than this command.
    #[arg(long, value_enum, default_value_t = OverflowArg::Block, env = "DSE_PUB_OVERFLOW", hide_env_values = true)]
    overflow: OverflowArg,

    /// Wait so long for a subscriber that takes nothing; then it is told its gap, and named.
    #[arg(long, env = "DSE_PUB_STALL", hide_env_values = true, value_name = "SECONDS", value_parser = stall, default_value = "5s")]
    stall: Duration,

    /// Wait no longer than that either for a subscriber that takes fewer bytes a second, as
    /// in 64k [default: no floor].
    #[arg(long, env = "DSE_PUB_MIN_RATE", hide_env_values = true, value_name = "BYTES_PER_SECOND", value_parser = traffic::parse_rate)]
    min_rate: Option<u64>,

    /// On SIGTERM or Ctrl-C, wait so long for subscribers to take what was published.
    #[arg(long, env = "DSE_PUB_DRAIN", hide_env_values = true, value_name = "SECONDS", value_parser = duration::parse, default_value = "10s")]
    drain: Duration,

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
confirmed them, says how many those were, and leaves. At the end of its input it waits for
as long as subscribers make progress: one that takes nothing for --stall is given up and
named, as is one that is gone. Whom it waits for more than a second it names on standard
error. A first SIGTERM or Ctrl-C ends the input, and the wait after --drain; a second one
ends it at once; both name who has not confirmed everything.

With --json it prints one object:
  \"key\", \"published\"    what, and how many samples
  \"subscribers\"         how many nodes have confirmed all of them; \"confirmed\" is the same
  \"undelivered\"         the nodes that have not: a list of their ids
  \"unconfirmed\"         the same as [{\"node\",\"cause\"}], the cause one of stalled, lost, left,
                        restarted, evicted, refused, pending
  \"unconfirmed_more\"    how many more there are than those 1024
  \"withdrawn\"           how many nodes wanted the samples no more before they had them
  \"dropped\"             samples left out, each counted for each node: {reason: count}
  \"missing\"             the nodes that could not be asked whether they want the samples
and on standard error {\"event\":\"waiting\",\"node\",\"key\",\"since_ms\",\"idle_ms\"} for each node
that it waits for.

No subscriber at all is no failure, unless --wait asks for some. Exit status 1: a node has
not confirmed everything, or --wait was not fulfilled in time.

Examples:
  One sample:
    echo hi | dse-node pub demo/greeting

  Numbers, once somebody listens:
    seq 1 1000 | dse-node pub demo/numbers --wait 1 --timeout 60

  JSON:
    dse-node pub demo/point --encoding application/json --value '{\"x\":1,\"y\":2}'

  With headers, before all other traffic:
    dse-node pub plant/stop --value now --class realtime --header operator=hall-7

  Lines as they come, dropping what a slow subscriber cannot take:
    journalctl -f | dse-node pub log/journal --overflow drop-oldest";

/// What a publisher takes for its stall timeout.
const STALL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(600);

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
    confirmed: usize,
    undelivered: Vec<&'a NodeId>,
    unconfirmed: Vec<UnconfirmedShape<'a>>,
    unconfirmed_more: u64,
    withdrawn: u64,
    dropped: BTreeMap<String, u64>,
    missing: Vec<&'a NodeId>,
}

#[derive(Serialize)]
struct UnconfirmedShape<'a> {
    node: &'a NodeId,
    cause: String,
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    pair(text).ok_or_else(|| "write NAME=VALUE, as in --meta unit=C".to_owned())
}

fn header(text: &str) -> Result<(String, String), String> {
    pair(text).ok_or_else(|| "write NAME=VALUE, as in --header trace=7".to_owned())
}

fn pair(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty())?;
    Some((name.to_owned(), value.to_owned()))
}

fn stall(text: &str) -> Result<Duration, String> {
    let stall = duration::parse(text)?;
    if STALL.contains(&stall) { Ok(stall) } else { Err("it must be between 100ms and 10m".into()) }
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
    let pairs = args.header.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let headers = traffic::headers(pairs).map_err(|why| usage(format!("--header: {why}")))?;
    if args.expires.is_some() && args.kind == KindArg::State {
        return Err(usage("--expires is for streams: of a state the latest value is always sent"));
    }
    let input = Content::new(&args)?;
    let kind = match args.kind {
        KindArg::Stream => Kind::Stream,
        KindArg::State => Kind::State,
        KindArg::Table => {
            return Err(usage("tables are not in this release: use --kind stream or --kind state"));
        }
    };
    let session = Session::start(settings, Part::Passes("pub"), context).await?;
    let published = publish_on(&session, &args, kind, (headers, input), context).await;
    tokio::select! {
        () = session.leave() => {}
        () = context.at_once.cancelled() => {}
    }
    published
}

async fn publish_on(
    session: &Session,
    args: &PubArgs,
    kind: Kind,
    (headers, input): (Headers, Content),
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
    let mut waits = WaitTeller::new(&publisher, &context.console);
    let published = input.publish_all(session, &publisher, &headers, &mut waits, context).await?;
    let closed = finish(&publisher, &mut waits, args.drain, context).await;
    drop(publisher);

    let unconfirmed = closed.unconfirmed.iter();
    let shape = Published {
        key: &args.topic,
        published,
        subscribers: closed.confirmed,
        confirmed: closed.confirmed,
        undelivered: unconfirmed.clone().map(|it| &it.node).collect(),
        unconfirmed: unconfirmed
            .map(|it| UnconfirmedShape { node: &it.node, cause: it.cause.to_string() })
            .collect(),
        unconfirmed_more: closed.unconfirmed_more,
        withdrawn: closed.withdrawn,
        dropped: closed.dropped.iter().map(|(why, count)| (why.to_string(), *count)).collect(),
        missing: report.missing.iter().map(|missing| &missing.node).collect(),
    };
    if context.console.json() {
        context.console.print_json(&shape).await?;
    } else {
        context.console.note(summary(published, at_first, &closed)).await;
    }
    if !closed.is_confirmed() {
        bail!("not everything is confirmed by {}", who_has_not(&closed, args.stall));
    }
    Ok(())
}

/// Waits for those who want the samples while they make progress, or until the user has
/// enough of that.
async fn finish(
    publisher: &Publisher,
    waits: &mut WaitTeller<'_>,
    drain: Duration,
    context: &Context,
) -> DeliveryReport {
    let drained = async {
        context.cancel.cancelled().await;
        tokio::time::sleep(drain).await;
    };
    tokio::select! {
        report = waits.during(publisher.finish()) => report,
        () = drained => publisher.report(),
        () = context.at_once.cancelled() => publisher.report(),
    }
}

fn who_has_not(closed: &DeliveryReport, stall: Duration) -> String {
    let words = |it: &Unconfirmed| {
        let why = match it.cause {
            UnconfirmedCause::Stalled => format!("it took nothing, or too little, for {stall:?}"),
            UnconfirmedCause::Lost => "its link fell and did not come back in time".to_owned(),
            UnconfirmedCause::Left => "it left the bus before".to_owned(),
            UnconfirmedCause::Restarted => "it was restarted".to_owned(),
            UnconfirmedCause::Evicted => "it had no room".to_owned(),
            UnconfirmedCause::Refused => "it does not understand the samples".to_owned(),
            UnconfirmedCause::Pending => "it has not said so yet".to_owned(),
            other => other.to_string(),
        };
        format!("{} ({why})", it.node)
    };
    let mut all: Vec<_> = closed.unconfirmed.iter().map(words).collect();
    if closed.unconfirmed_more > 0 {
        all.push(format!("{} more", closed.unconfirmed_more));
    }
    all.join(", ")
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
        .overflow(overflow)
        .class(args.class.into())
        .stall_timeout(args.stall)
        .min_rate(args.min_rate.unwrap_or_default());
    if let Some(after) = args.expires {
        builder = builder.expires(after);
    }
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

fn summary(published: u64, at_first: usize, closed: &DeliveryReport) -> String {
    let samples = if published == 1 { "sample" } else { "samples" };
    let nobody = closed.confirmed == 0 && closed.is_confirmed();
    let mut said = match closed.confirmed {
        0 if nobody && (at_first > 0 || closed.withdrawn > 0) => {
            format!("published {published} {samples}; the subscribers that were there are gone")
        }
        0 if nobody => format!("published {published} {samples}; no subscriber was there"),
        1 => format!("published {published} {samples} to 1 subscriber"),
        confirmed => format!("published {published} {samples} to {confirmed} subscribers"),
    };
    if !nobody && closed.withdrawn > 0 {
        said.push_str(&format!("; {} withdrew before they had everything", closed.withdrawn));
    }
    // That newer values of a state take the place of earlier ones is what a state is.
    let dropped = closed.dropped.iter().filter(|(why, _)| *why != SkipReason::Superseded);
    for (why, count) in dropped {
        said.push_str(&format!("; {count} not sent ({why})"));
    }
    said
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
        headers: &Headers,
        waits: &mut WaitTeller<'_>,
        context: &Context,
    ) -> Result<u64> {
        let mut published = 0;
        let work = async {
            match self {
                Self::Given(values) => {
                    for value in values {
                        waits.during(publisher.publish_with(headers.clone(), value)).await?;
                        published += 1;
                    }
                }
                Self::Lines => {
                    let mut input = context.input.lock().await;
                    while let Some(line) = input.next_line().await? {
                        waits.during(publisher.publish_with(headers.clone(), line)).await?;
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
        let none = DeliveryReport::default();
        assert!(summary(3, 0, &none).ends_with("no subscriber was there"));
        assert!(summary(3, 1, &none).ends_with("the subscribers that were there are gone"));
        let mut one = DeliveryReport::default();
        one.confirmed = 1;
        assert_eq!(summary(1, 1, &one), "published 1 sample to 1 subscriber");
        one.dropped.push((SkipReason::Policy, 2));
        assert!(summary(1, 1, &one).ends_with("; 2 not sent (policy)"));
    }
}
