//! A command's node: started from settings, found by others, and left in order.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use dse_core::node::{Node, StartError};
use dse_core::protocol::{BusId, Endpoint, Key, KeyExpr, NodeId, Report};
use dse_core::transport::TransportError;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::console::Console;
use crate::context::Context;
use crate::incarnation;
use crate::listening;
use crate::local_nodes::{self, Entry, LocalNode};
use crate::outcome::{in_words, usage};
use crate::settings::Settings;
use crate::transports::{self, Scheme};
use crate::troubles::{self, Troubles};

/// What a command is on the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A node under the name itself, which comes back under it.
    Stays,
    /// A node for as long as this command runs.
    Passes(&'static str),
    /// A guest: it only asks.
    Asks(&'static str),
}

/// The pauses before a bus is asked again of which not all could be asked: nodes that came
/// or went are known to everybody by then. They begin anew where others were asked or are
/// missing than before: then nodes still come and go.
const ASK_AGAIN_AFTER: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(100), Duration::from_millis(200)];

/// A command's node.
#[derive(Debug)]
pub struct Session {
    /// The node.
    pub node: Node,
    bus: BusId,
    seeds: Vec<Endpoint>,
    troubles: Arc<Mutex<Troubles>>,
    folder: PathBuf,
    /// Other folders in which nodes of this bus may be.
    elsewhere: Vec<PathBuf>,
    schemes: Vec<Scheme>,
    /// The endpoints of this machine's other nodes, as they were looked up last.
    hints: Mutex<Vec<Endpoint>>,
    entry: Option<Entry>,
    _logging: JoinSet<()>,
}

impl Session {
    /// Starts the node and makes it and the others of this machine known to each other.
    ///
    /// # Errors
    /// It cannot listen, has no proof of its identity, or shares no transport with the
    /// nodes that are there.
    pub async fn start(settings: &Settings, part: Part, context: &Context) -> Result<Self> {
        let folder = settings.folders.runtime_of(&settings.bus)?;
        let id = match part {
            Part::Stays => settings.name.clone(),
            Part::Passes(command) | Part::Asks(command) => settings.passing_id(command)?,
        };
        let incarnation = incarnation::next(settings, part == Part::Stays);
        let mut builder =
            Node::builder(settings.bus.as_str(), id.as_str())?.incarnation(incarnation);
        if let Some(ms) = settings.detect_ms {
            builder = builder.detect_ms(ms);
        }
        for scheme in &settings.schemes {
            builder = builder.transport(transports::open(*scheme, settings, context).await?);
        }
        if let Part::Asks(_) = part {
            builder = builder.guest();
        } else {
            for endpoint in listening::at(settings)? {
                builder = builder.listen(endpoint);
            }
            for endpoint in &settings.advertise {
                builder = builder.advertise(endpoint.clone());
            }
        }
        for endpoint in &settings.join {
            builder = builder.join(endpoint.clone());
        }
        let node = builder.start().await.map_err(|error| match error {
            StartError::Undiallable { .. }
            | StartError::UnknownScheme { .. }
            | StartError::TooManyEndpoints { .. }
            | StartError::Bind(
                TransportError::InvalidEndpoint { .. } | TransportError::Untrusted { .. },
            )
            | StartError::Setting { .. } => usage(in_words(&error.into())),
            other => other.into(),
        })?;

        let troubles = Arc::new(Mutex::new(Troubles::default()));
        let mut logging = JoinSet::new();
        logging.spawn(troubles::follow(node.notices(), troubles.clone()));

        // First bound, then published, then the others read: RULES 17.
        let endpoints = node.endpoints().to_vec();
        let entry = match part {
            Part::Asks(_) => None,
            _ if endpoints.is_empty() => None,
            _ => {
                let pid = std::process::id();
                let local = LocalNode { node: id, incarnation, pid, endpoints };
                Some(local_nodes::publish(&folder, &local)?)
            }
        };
        let elsewhere = settings.folders.elsewhere_of(&settings.bus);
        let others = local_nodes::everywhere(&folder, &elsewhere, entry.as_ref())?;
        let hints = hints(&others, &settings.schemes);
        if hints.is_empty() && !others.is_empty() && settings.join.is_empty() {
            return Err(no_shared_transport(&others, settings));
        }
        for endpoint in &hints {
            node.hint(endpoint.clone()).await?;
        }
        Ok(Self {
            node,
            bus: settings.bus.clone(),
            seeds: settings.join.clone(),
            troubles,
            folder,
            elsewhere,
            schemes: settings.schemes.clone(),
            hints: Mutex::new(hints),
            entry,
            _logging: logging,
        })
    }

    /// Asks the bus. Where nodes came or went meanwhile, so that it is not certain that all
    /// were asked, it asks again, for as long as that goes on. Where seeds are given, somebody
    /// must have been reached in time.
    ///
    /// # Errors
    /// Nobody was reached, and why; or the node has stopped.
    pub async fn ask(&self, keys: &KeyExpr, timeout: Duration) -> Result<Report> {
        let until = Instant::now() + timeout;
        let mut report = self.ask_once(keys, timeout).await?;
        let mut pauses = ASK_AGAIN_AFTER.into_iter();
        while !report.complete
            && let Some(pause) = pauses.next()
            && Instant::now() + pause < until
        {
            self.look_again().await?;
            sleep(pause).await;
            let before = (report.expected, missing(&report));
            report = self.ask_once(keys, until - Instant::now()).await?;
            if (report.expected, missing(&report)) != before {
                pauses = ASK_AGAIN_AFTER.into_iter();
            }
        }
        if !report.complete && report.answered == 0 && !self.seeds.is_empty() {
            let why = self.why_unreached();
            bail!("no node of bus {} was reached within {timeout:?}{why}", self.bus);
        }
        Ok(report)
    }

    async fn ask_once(&self, keys: &KeyExpr, timeout: Duration) -> Result<Report> {
        let mut report = self.node.request(keys.as_str(), timeout).await?;
        report.complete &= self.out_of_reach().await?.is_empty();
        Ok(report)
    }

    /// Other folders with nodes of this bus that are not linked, as their endpoints mean
    /// nothing here.
    async fn out_of_reach(&self) -> Result<Vec<&Path>> {
        if self.elsewhere.is_empty() {
            return Ok(Vec::new());
        }
        let peers = self.node.nodes().await?;
        let is_up = |id: &NodeId| peers.iter().any(|it| it.node == *id && it.link.is_some());
        let has_strangers = |folder: &&Path| {
            let nodes = local_nodes::others(folder, None).unwrap_or_default();
            nodes.iter().any(|local| !is_up(&local.node))
        };
        Ok(self.elsewhere.iter().map(PathBuf::as_path).filter(has_strangers).collect())
    }

    /// Follows who came to this machine and who went since it was looked last.
    async fn look_again(&self) -> Result<()> {
        let own = self.entry.as_ref();
        let others = local_nodes::everywhere(&self.folder, &self.elsewhere, own)?;
        let now = hints(&others, &self.schemes);
        let before = {
            let mut hints = self.hints.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *hints, now.clone())
        };
        for gone in before.iter().filter(|endpoint| !now.contains(endpoint)) {
            self.node.drop_hint(gone.clone()).await?;
        }
        for new in now.iter().filter(|endpoint| !before.contains(endpoint)) {
            self.node.hint(new.clone()).await?;
        }
        Ok(())
    }

    /// Waits until every node that is there is linked. A question that nobody has an
    /// answer to makes sure of that.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn meet(&self, timeout: Duration) -> Result<Report> {
        self.ask(&KeyExpr::from(&Key::new("dse.nobody-has-this")?), timeout).await
    }

    /// Checks, where seeds are given, that some node was reached.
    ///
    /// # Errors
    /// None was, and why.
    pub async fn check_reached(&self) -> Result<()> {
        if !self.seeds.is_empty() && self.node.nodes().await?.is_empty() {
            bail!("no node of bus {} was reached{}", self.bus, self.why_unreached());
        }
        Ok(())
    }

    /// What stood in the way of links, as the end of a sentence.
    fn why(&self) -> String {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).to_string()
    }

    /// The same where nobody was reached: at least which endpoints have not answered yet.
    fn why_unreached(&self) -> String {
        let why = self.why();
        if why.is_empty() {
            let seeds: Vec<_> = self.seeds.iter().map(Endpoint::as_str).collect();
            return format!(": no answer yet from {}", seeds.join(" or "));
        }
        why
    }

    /// Says who did not answer, and why; true if all did. Where nobody was there to ask,
    /// says on which other buses somebody is.
    pub async fn explain(&self, report: &Report, console: &Console) -> bool {
        let elsewhere = match report.complete && report.expected == 0 && self.seeds.is_empty() {
            true => local_nodes::other_buses(&self.folder),
            false => Vec::new(),
        };
        if !elsewhere.is_empty() {
            let (bus, others) = (&self.bus, elsewhere.join(", "));
            console
                .note(format!("nobody is on bus {bus}, but there are nodes on {others}: use --bus"))
                .await;
        }
        for folder in self.out_of_reach().await.unwrap_or_default() {
            let shown = folder.parent().unwrap_or(folder).display();
            let bus = &self.bus;
            console
                .note(format!("nodes of bus {bus} are out of reach that use another runtime folder: use --runtime-dir {shown}"))
                .await;
        }
        for missing in &report.missing {
            console.note(format!("{} is missing: {}", missing.node, missing.reason)).await;
        }
        if !report.complete && report.missing.is_empty() {
            let why = self.why();
            console.note(format!("it is not certain that all nodes were asked{why}")).await;
        }
        report.complete
    }

    /// Leaves the bus in order, within the bounds of [`Node::leave`].
    pub async fn leave(self) {
        self.node.leave().await;
    }
}

/// Who did not answer.
fn missing(report: &Report) -> Vec<NodeId> {
    report.missing.iter().map(|missing| missing.node.clone()).collect()
}

/// One endpoint for each node that can be reached over one of the transports.
fn hints(others: &[LocalNode], schemes: &[Scheme]) -> Vec<Endpoint> {
    let usable = |local: &LocalNode, endpoint: &Endpoint| match Scheme::of(endpoint) {
        Ok(Scheme::Mem) => local.pid == std::process::id() && schemes.contains(&Scheme::Mem),
        Ok(scheme) => schemes.contains(&scheme),
        Err(_) => false,
    };
    let best = |local: &LocalNode| {
        local.endpoints.iter().find(|endpoint| usable(local, endpoint)).cloned()
    };
    others.iter().filter_map(best).collect()
}

fn no_shared_transport(others: &[LocalNode], settings: &Settings) -> anyhow::Error {
    let mut theirs: Vec<_> =
        others.iter().flat_map(|other| &other.endpoints).map(|it| it.scheme().to_owned()).collect();
    theirs.sort();
    theirs.dedup();
    let ours: Vec<_> = settings.schemes.iter().map(|scheme| scheme.name()).collect();
    let bus = &settings.bus;
    let (ours, shown) = (ours.join(" and "), theirs.join(" and "));
    if theirs == ["mem"] {
        return anyhow!(
            "nodes of bus {bus} run within another process (transport mem), where this one cannot reach them: use another --bus"
        );
    }
    let flag = theirs.iter().find(|scheme| *scheme != "mem").map_or("quic", String::as_str);
    usage(format!(
        "nodes of bus {bus} run on this machine over {shown}, but this command uses {ours}: add --transport {flag}, or choose another --bus"
    ))
}

#[cfg(test)]
mod tests {
    use dse_core::protocol::Incarnation;

    use super::*;

    fn local(pid: u32, endpoints: &[&str]) -> LocalNode {
        LocalNode {
            node: NodeId::new("a").expect("valid"),
            incarnation: Incarnation(1),
            pid,
            endpoints: endpoints.iter().map(|it| it.parse().expect("valid")).collect(),
        }
    }

    #[test]
    fn each_local_node_gives_one_endpoint_of_a_shared_transport() {
        let own = std::process::id();
        let others = [
            local(own, &["zmq://ipc/00000000000000ff", "quic://10.0.0.1:1", "quic://10.0.0.2:1"]),
            local(own, &["mem://a"]),
            local(own + 1, &["mem://b"]),
        ];
        let texts = |schemes: &[Scheme]| -> Vec<String> {
            hints(&others, schemes).iter().map(ToString::to_string).collect()
        };
        assert_eq!(texts(&[Scheme::Quic]), ["quic://10.0.0.1:1"]);
        assert_eq!(texts(&[Scheme::Mem]), ["mem://a"]);
    }
}
