//! `plan`: what a bus of a given size will cost, before there is one.

use anyhow::Result;
use clap::Args;
use dse_core::protocol::wire::{self, encoded_len};
use dse_core::protocol::{
    BusId, Claim, Declaration, Delta, Endpoint, Features, Hello, Incarnation, IndexVersion, Key,
    Kind, Member, Message, NodeId, Open, Role, Snapshot, Span, limits,
};
use serde::Serialize;

use crate::context::Context;
use crate::outcome::usage;
use crate::table;

/// Its arguments.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct PlanArgs {
    /// How many nodes are on the bus.
    #[arg(long, env = "DSE_PLAN_NODES", hide_env_values = true, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=limits::PEERS_PER_BUS as u64))]
    nodes: u64,

    /// How many declarations each node has.
    #[arg(long, env = "DSE_PLAN_KEYS", hide_env_values = true, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=limits::DECLARATIONS_PER_NODE as u64))]
    keys: u64,

    /// How long a key is, in bytes.
    #[arg(long, env = "DSE_PLAN_KEY_BYTES", hide_env_values = true, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u64).range(8..=limits::KEY_BYTES as u64))]
    key_bytes: u64,

    /// How often each node changes what it declares: declares, undeclares, or changes the
    /// metadata. Samples are not meant.
    #[arg(long, env = "DSE_PLAN_CHANGES_PER_MINUTE", hide_env_values = true, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    changes_per_minute: u64,
}

const EXAMPLES: &str = "\
Messages and bytes are those of the control bus, sized by the codec that sends them. What
data the nodes exchange, and the headers and handshakes of transports come on top. What it
takes that nodes know of each other that they live, and memory, are estimates from processes
that were measured: the one with all headers and the default --detect-ms (twice that time
costs half as much), the other as docs/scale.md says, which also says from which size on one
bus is too large.

With --json it prints one object {\"nodes\",\"links_per_node\",\"links\",\"join_messages\",
\"join_bytes\",\"change_messages\",\"change_bytes\",\"node_messages_per_minute\",
\"node_bytes_per_minute\",\"idle_messages\",\"watch_bytes_per_second\",\"memory_bytes\":{\"quic\",\"zmq\"}}.

Examples:
  Will 500 nodes do?
    dse-node plan --nodes 500 --keys 20 --changes-per-minute 10

  For a program:
    dse-node plan --nodes 100 --json";

/// What it will cost.
#[derive(Debug, Serialize)]
struct Cost {
    nodes: u64,
    /// Each node has one with each other.
    links_per_node: u64,
    /// On the bus.
    links: u64,
    /// Sent by all while one more node joins.
    join_messages: u64,
    join_bytes: u64,
    /// Sent by a node that changes its index once.
    change_messages: u64,
    change_bytes: u64,
    /// Sent and received by each node because of changes.
    node_messages_per_minute: u64,
    node_bytes_per_minute: u64,
    /// While nothing changes, in any time (law L1).
    idle_messages: u64,
    /// Below the bus, sent by each node: that it lives, and acknowledgements of the same.
    watch_bytes_per_second: u64,
    /// Of each process.
    memory_bytes: Memory,
}

#[derive(Debug, Serialize)]
struct Memory {
    quic: u64,
    zmq: u64,
}

/// Prints what a bus will cost.
///
/// # Errors
/// The nodes' indexes would be too large.
pub async fn plan(args: PlanArgs, context: &Context) -> Result<()> {
    let index_bytes = args.keys * encoded_len(&declaration(args.key_bytes)?) as u64;
    if index_bytes > limits::INDEX_BYTES as u64 {
        let most = bytes_text(limits::INDEX_BYTES as u64);
        return Err(usage(format!(
            "the index of a node would take {}, and may take {most}: give fewer --keys",
            bytes_text(index_bytes)
        )));
    }
    let cost = Cost::of(&args, index_bytes)?;
    if context.console.json() {
        context.console.print_json(&cost).await?;
    } else {
        context.console.print(cost.text().as_bytes()).await?;
    }
    Ok(())
}

impl Cost {
    fn of(args: &PlanArgs, index_bytes: u64) -> Result<Self> {
        let others = args.nodes - 1;
        // A newcomer and each member say Hello, Open and Snapshot to each other; the seed
        // tells the newcomer who there is (PROTOCOL.md §4).
        let snapshots = index_bytes.div_ceil(limits::PART_BYTES as u64).max(1);
        let snapshot_bytes = index_bytes + snapshots * bytes_of(&snapshot());
        let meeting = bytes_of(&hello()?) + bytes_of(&open(args.nodes)) + snapshot_bytes;
        let list = args.nodes * encoded_len(&member()?) as u64;
        let lists = list.div_ceil(limits::PART_BYTES as u64);
        let change_bytes = others * bytes_of(&delta(args.key_bytes)?);
        Ok(Self {
            nodes: args.nodes,
            links_per_node: others,
            links: args.nodes * others / 2,
            join_messages: 2 * args.nodes * (2 + snapshots) + lists,
            join_bytes: 2 * args.nodes * meeting + list,
            change_messages: others,
            change_bytes,
            node_messages_per_minute: 2 * args.changes_per_minute * others,
            node_bytes_per_minute: 2 * args.changes_per_minute * change_bytes,
            idle_messages: 0,
            watch_bytes_per_second: WATCH_BYTES_PER_SECOND,
            memory_bytes: Memory {
                quic: memory(others, args.keys, QUIC_LINK_BYTES),
                zmq: memory(others, args.keys, ZMQ_LINK_BYTES),
            },
        })
    }

    fn text(&self) -> String {
        let row = |what: &str, value: String| [what.to_owned(), value];
        let sent =
            |messages: u64, bytes: u64| format!("{messages} messages, {}", bytes_text(bytes));
        let rows = [
            row("links of each node", self.links_per_node.to_string()),
            row("links on the bus", self.links.to_string()),
            row("one more node joins", sent(self.join_messages, self.join_bytes)),
            row("a node changes its index", sent(self.change_messages, self.change_bytes)),
            row(
                "changes, per node and minute",
                sent(self.node_messages_per_minute, self.node_bytes_per_minute),
            ),
            row("nothing happens", format!("{} messages", self.idle_messages)),
            row(
                "who lives, per node and second",
                format!("no message, {}", bytes_text(self.watch_bytes_per_second)),
            ),
            row("memory of each node, quic", bytes_text(self.memory_bytes.quic)),
            row("memory of each node, zmq", bytes_text(self.memory_bytes.zmq)),
        ];
        table::render(["WHAT", "COSTS"], rows.into_iter())
    }
}

fn memory(links: u64, keys: u64, link_bytes: u64) -> u64 {
    NODE_BYTES + links * (link_bytes + keys * DECLARATION_BYTES)
}

fn bytes_of(message: &Message) -> u64 {
    wire::encode(message).len() as u64
}

// Messages of the usual size: numbers that are drawn at random or taken from the clock
// are as long as such numbers are.

fn hello() -> Result<Message> {
    let Member { node, endpoints, .. } = member()?;
    let claim = Claim { returned: false, incarnation: CLOCK, nonce: u64::MAX };
    Ok(Message::Hello(Hello {
        min_version: wire::VERSION,
        max_version: wire::VERSION,
        features: Features::SUPPORTED,
        bus: BusId::new("default")?,
        node,
        claim,
        role: Role::Member,
        lasting: true,
        link_nonce: u64::MAX,
        endpoints,
    }))
}

fn open(nodes: u64) -> Message {
    // Spans of 1, 1, 2, 4 and so on (PROTOCOL.md §4.4).
    let spans = nodes.next_power_of_two().ilog2() as usize + 1;
    let census = vec![Span { from: CLOCK, sum: u64::MAX }; spans];
    Message::Open(Open { echo: u64::MAX, held: None, known: None, census })
}

fn snapshot() -> Message {
    let version = IndexVersion(1);
    Message::Snapshot(Snapshot { version, part: 0, last: true, declarations: Vec::new() })
}

fn delta(key_bytes: u64) -> Result<Message> {
    let mut changed = declaration(key_bytes)?;
    changed.meta.push(("unit".into(), "C".into()));
    let (from, to) = (IndexVersion(1), IndexVersion(2));
    let (set, unset) = (vec![changed], Vec::new());
    Ok(Message::Delta(Delta { from, to, part: 0, last: true, set, unset }))
}

fn member() -> Result<Member> {
    let endpoints = vec![Endpoint::new("quic://10.1.12.34:7447")?];
    Ok(Member { node: NodeId::new("node-0001")?, incarnation: CLOCK, endpoints })
}

fn declaration(key_bytes: u64) -> Result<Declaration> {
    let key = Key::new("k".repeat(key_bytes as usize))?;
    Ok(Declaration::new(key, Kind::State, "application/json"))
}

/// For people: `1.5 MB`.
fn bytes_text(bytes: u64) -> String {
    let units = [("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    let fits = units.into_iter().find(|(_, size)| bytes as f64 >= *size);
    fits.map_or_else(
        || format!("{bytes} bytes"),
        |(unit, size)| format!("{:.1} {unit}", bytes as f64 / size),
    )
}

/// As long as an incarnation that was read from the clock, in nanoseconds.
const CLOCK: Incarnation = Incarnation(1 << 60);

/// The same on a bus of any size, quic or zmq (docs/benchmarks.md).
const WATCH_BYTES_PER_SECOND: u64 = 350;

// Anonymous memory of real nodes after a start together, measured with 2 and with 24 nodes
// (docs/scale.md).
const NODE_BYTES: u64 = 1_000_000;
const QUIC_LINK_BYTES: u64 = 130_000;
const ZMQ_LINK_BYTES: u64 = 90_000;
const DECLARATION_BYTES: u64 = 500;
