//! `cargo xtask bench --start`: how long nodes that all start at once on this machine need
//! until each has a link with each other. Each pair shakes hands, so twice as many nodes are
//! four times the work.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

use super::nodes::{await_mesh, await_ready, build, cpu_ms, values, write_json};
use crate::args::{NodesOptions, Transport};
use crate::fleet::{Fleet, Scratch, Setting};
use crate::table::{Table, grouped};

/// How many nodes. The last is far beyond what a machine of two cores is meant for.
const SIZES: [usize; 3] = [8, 32, 100];

/// Builds dse-node and measures it. True once all have found each other.
///
/// # Errors
/// The build failed, or some nodes did not find each other.
pub(crate) fn run(options: &NodesOptions) -> Result<bool> {
    let program = build()?;
    let sizes = if options.quick { &SIZES[..2] } else { SIZES.as_slice() };
    let mut figures = Vec::new();
    for transport in [Transport::Quic, Transport::Zmq] {
        if options.transport.is_some_and(|only| only != transport) {
            continue;
        }
        for nodes in sizes {
            println!("{nodes} nodes over {transport}");
            figures.push(measure(&program, transport, *nodes)?);
        }
    }
    println!("\n{}", table(&figures));
    write_json(options, figures.iter().map(Figures::json).collect())?;
    Ok(true)
}

/// What was measured of one start.
struct Figures {
    transport: Transport,
    nodes: usize,
    /// From the start of the first node until all were ready.
    ready: Duration,
    /// From the start of the first node until each had a link with each other.
    linked: Duration,
    /// Of all nodes, as what follows.
    cpu_ms: u64,
    messages: u64,
    bytes: u64,
}

fn measure(program: &Path, transport: Transport, nodes: usize) -> Result<Figures> {
    let scratch = Scratch::new("start")?;
    let mut fleet = Fleet::new(Setting {
        program: program.to_owned(),
        transport,
        folder: scratch.path(),
        reannounce_ms: None,
    })?;
    let began = Instant::now();
    for number in 0..nodes {
        fleet.launch(&format!("node-{number}"), &values())?;
    }
    await_ready(&fleet, nodes)?;
    let ready = began.elapsed();
    await_mesh(&mut fleet, nodes)?;
    let linked = began.elapsed();
    let cpu_ms = cpu_ms(&fleet)?;
    let (mut messages, mut bytes) = (0, 0);
    for counters in fleet.counters()?.values() {
        messages += counters.messages_sent;
        bytes += counters.bytes_sent;
    }
    Ok(Figures { transport, nodes, ready, linked, cpu_ms, messages, bytes })
}

impl Figures {
    fn links(&self) -> u64 {
        let nodes = self.nodes as u64;
        nodes * (nodes - 1) / 2
    }

    fn json(&self) -> Value {
        json!({
            "transport": self.transport.to_string(),
            "nodes": self.nodes,
            "links": self.links(),
            "ready_ms": self.ready.as_secs_f64() * 1e3,
            "linked_ms": self.linked.as_secs_f64() * 1e3,
            "cpu_ms": self.cpu_ms,
            "control_messages_sent": self.messages,
            "control_bytes_sent": self.bytes,
        })
    }
}

fn table(figures: &[Figures]) -> Table {
    let mut table = Table::new([
        "all at once",
        "nodes",
        "links",
        "ready s",
        "linked s",
        "CPU s",
        "CPU ms a link",
        "messages a link",
        "bytes a link",
    ]);
    for it in figures {
        let a_link = |total: u64| total as f64 / it.links() as f64;
        table.row([
            it.transport.to_string(),
            it.nodes.to_string(),
            grouped(it.links()),
            format!("{:.2}", it.ready.as_secs_f64()),
            format!("{:.2}", it.linked.as_secs_f64()),
            format!("{:.1}", it.cpu_ms as f64 / 1e3),
            format!("{:.2}", a_link(it.cpu_ms)),
            format!("{:.1}", a_link(it.messages)),
            format!("{:.0}", a_link(it.bytes)),
        ]);
    }
    table
}
