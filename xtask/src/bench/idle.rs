//! `cargo xtask bench --idle`: what a bus costs on which nothing happens. Real nodes in
//! a network namespace of their own, so that the counters of its loopback device count
//! these nodes and nothing else.

use std::fmt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::nodes::{PATIENCE, await_mesh, await_ready, build, cpu_ms, values, write_json};
use super::wire::{self, Loopback};
use crate::args::{NodesOptions, Transport};
use crate::fleet::{Fleet, Scratch, Setting};
use crate::table::{Table, grouped};

/// Builds dse-node and measures it. True when every bound was kept and the size of the bus
/// made no difference, or where nothing can be measured.
///
/// # Errors
/// The build failed, or a measurement could not be made.
pub(crate) fn run(options: &NodesOptions) -> Result<bool> {
    if let Some(program) = &options.inside {
        return measure_all(program, options);
    }
    if let Some(why) = wire::refusal() {
        eprintln!("SKIPPED bench --idle: no network namespace can be had here: {why}");
        return Ok(true);
    }
    let program = build()?;
    let this = std::env::current_exe().context("cannot tell which program this is")?;
    let mut command = wire::apart(&[&this]);
    command.args(std::env::args_os().skip(1)).arg("--inside").arg(&program);
    let status = command.status().context("cannot start unshare")?;
    Ok(status.success())
}

/// One kind of bus, and what it may cost.
#[derive(Clone, Copy)]
struct Case {
    transport: Transport,
    /// None for the default.
    detect_ms: Option<u64>,
    /// Bytes a second and node.
    bound: u64,
}

const CASES: [Case; 4] = [
    Case { transport: Transport::Quic, detect_ms: None, bound: 600 },
    Case { transport: Transport::Zmq, detect_ms: None, bound: 400 },
    Case { transport: Transport::Quic, detect_ms: Some(10_000), bound: 120 },
    Case { transport: Transport::Zmq, detect_ms: Some(10_000), bound: 120 },
];

/// What was measured of a case.
#[derive(Clone, Copy)]
struct Figures {
    case: Case,
    nodes: usize,
    /// From the start of the first node until all were ready.
    ready: Duration,
    /// From the start of the first node until the bus was settled.
    settled: Duration,
    bytes: f64,
    packets: f64,
    cpu_ms: f64,
}

fn measure_all(program: &Path, options: &NodesOptions) -> Result<bool> {
    let loopback = Loopback::up()?;
    let sizes = if options.quick { &SIZES[..1] } else { SIZES.as_slice() };
    let cases = CASES.iter().filter(|case| options.transport.is_none_or(|it| it == case.transport));
    let mut figures = Vec::new();
    for case in cases {
        for nodes in sizes {
            let window = if options.quick { QUICK_WINDOW } else { once_round(*nodes) };
            let (transport, detect) = (case.transport, case.detect());
            println!("{nodes} nodes over {transport}, detect {detect}, for {window:?}");
            figures.push(measure(program, &loopback, *case, *nodes, window)?);
        }
    }
    println!("\n{}", table(&figures));
    let differences: Vec<Difference> = figures.chunks(sizes.len()).filter_map(difference).collect();
    differences.iter().for_each(|it| println!("{it}"));
    write_json(options, figures.iter().map(Figures::json).collect())?;
    Ok(figures.iter().all(Figures::held) && differences.iter().all(Difference::held))
}

/// What the largest bus costs a node beside the smallest.
struct Difference {
    smallest: Figures,
    largest: Figures,
}

fn difference(sizes: &[Figures]) -> Option<Difference> {
    match sizes {
        [smallest, .., largest] => Some(Difference { smallest: *smallest, largest: *largest }),
        _ => None,
    }
}

impl Difference {
    fn share(&self) -> f64 {
        self.largest.bytes / self.smallest.bytes - 1.0
    }

    fn held(&self) -> bool {
        self.share().abs() <= EQUAL_WITHIN
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { smallest: Figures { case, nodes: few, .. }, largest } = self;
        write!(
            f,
            "{}, detect {}: a node of {} costs {:+.1} % beside one of {few}, {}",
            case.transport,
            case.detect(),
            largest.nodes,
            self.share() * 100.0,
            if self.held() { "ok" } else { "MISSED" },
        )
    }
}

/// Starts the nodes, waits until all are linked and no control message goes any more,
/// and counts for the time of the window what still goes over the wire.
fn measure(
    program: &Path,
    loopback: &Loopback,
    case: Case,
    nodes: usize,
    window: Duration,
) -> Result<Figures> {
    let scratch = Scratch::new("idle")?;
    let mut fleet = Fleet::new(Setting {
        program: program.to_owned(),
        transport: case.transport,
        folder: scratch.path(),
        reannounce_ms: None,
    })?;
    let began = Instant::now();
    for number in 0..nodes {
        let name = format!("node-{number}");
        fleet.launch(&name, &case.config())?;
    }
    await_ready(&fleet, nodes)?;
    let ready = began.elapsed();
    await_mesh(&mut fleet, nodes)?;
    let settled = fleet.settle(STILL, PATIENCE)?.duration_since(began);

    let (control, cpu) = (fleet.counters()?, cpu_ms(&fleet)?);
    let (start, before) = (Instant::now(), loopback.sent()?);
    thread::sleep(window);
    let traffic = loopback.sent()?.since(before);
    let share = start.elapsed().as_secs_f64() * nodes as f64;
    let cpu = cpu_ms(&fleet)?.saturating_sub(cpu);
    ensure!(fleet.counters()? == control, "control messages were sent on an idle bus");
    Ok(Figures {
        case,
        nodes,
        ready,
        settled,
        bytes: traffic.bytes as f64 / share,
        packets: traffic.packets as f64 / share,
        cpu_ms: cpu as f64 / share,
    })
}

impl Case {
    /// A node's configuration: a little to tell, at a place that is on the wire.
    fn config(&self) -> String {
        let mut config = String::new();
        if let Some(ms) = self.detect_ms {
            config.push_str(&format!("detect-ms = {ms}\n"));
        }
        // Its default are sockets in a folder, which no network sees.
        if self.transport == Transport::Zmq {
            config.push_str("listen = [\"zmq://127.0.0.1:0\"]\n");
        }
        config.push_str(&values());
        config
    }

    fn detect(&self) -> String {
        self.detect_ms.map_or("default".to_owned(), |ms| format!("{} ms", grouped(ms)))
    }
}

impl Figures {
    fn held(&self) -> bool {
        self.bytes <= self.case.bound as f64
    }

    fn json(&self) -> Value {
        json!({
            "transport": self.case.transport.to_string(),
            "nodes": self.nodes,
            "detect_ms": self.case.detect_ms,
            "ready_ms": self.ready.as_secs_f64() * 1e3,
            "settled_ms": self.settled.as_secs_f64() * 1e3,
            "bytes_per_s_and_node": self.bytes,
            "bound_bytes_per_s_and_node": self.case.bound,
            "packets_per_s_and_node": self.packets,
            "cpu_ms_per_s_and_node": self.cpu_ms,
            "held": self.held(),
        })
    }
}

fn table(figures: &[Figures]) -> Table {
    let mut table = Table::new([
        "a second and node",
        "nodes",
        "detect",
        "bytes",
        "at most",
        "",
        "packets",
        "CPU ms",
        "ready s",
        "settled s",
    ]);
    for it in figures {
        table.row([
            it.case.transport.to_string(),
            it.nodes.to_string(),
            it.case.detect(),
            format!("{:.0}", it.bytes),
            it.case.bound.to_string(),
            if it.held() { "ok" } else { "MISSED" }.to_owned(),
            format!("{:.2}", it.packets),
            format!("{:.2}", it.cpu_ms),
            format!("{:.1}", it.ready.as_secs_f64()),
            format!("{:.1}", it.settled.as_secs_f64()),
        ]);
    }
    table
}

/// How many nodes: the cost of one should not depend on it.
const SIZES: [usize; 2] = [8, 32];

/// How much the cost of a node may differ between these.
const EQUAL_WITHIN: f64 = 0.1;

/// How long is counted: once round the lazy probes, of which all links have their first
/// in this time (PROTOCOL.md §10).
fn once_round(nodes: usize) -> Duration {
    Duration::from_secs(90.max(15 * (nodes as u64 - 1)))
}

/// Too short for lazy probes.
const QUICK_WINDOW: Duration = Duration::from_secs(20);

/// The bus is settled once no control message went for so long.
const STILL: Duration = Duration::from_secs(3);
