//! A node that is lost without a word is told by everybody who watches the bus, also by
//! those who do not watch that node closely: real processes, killed or stopped.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Node, Place, Running};

/// Time enough for a busy machine, and far too short for the lazy watch, which takes two
/// minutes: who tells it by then was told, or watches closely.
const DETECTED: Duration = Duration::from_secs(30);

/// How many look on. More than watch any node closely.
const LOOKERS: usize = 4;

/// Nodes, one of which will be lost, and commands that look on.
struct Bus {
    victim: Node,
    lookers: Vec<Running>,
    _nodes: Vec<Node>,
    _place: Place,
}

impl Bus {
    /// Starts it and waits until all that look on see all nodes.
    fn of(transport: &'static str) -> Self {
        let place = Place::new(transport);
        let nodes: Vec<Node> = ["a", "b", "c"].iter().map(|name| place.node(name, &[])).collect();
        let victim = place.node(VICTIM, &["--value", "of/victim=1"]);
        let lookers = (0..LOOKERS).map(|_| place.starts(&["watch", "--json"]));
        let mut lookers: Vec<Running> = lookers.collect();
        for looker in &mut lookers {
            let mut unseen = vec!["a", "b", "c", VICTIM];
            while !unseen.is_empty() {
                let up = looker.prints("node_up", |line| line["event"] == "node_up");
                unseen.retain(|name| up["node"] != *name);
            }
        }
        Self { victim, lookers, _nodes: nodes, _place: place }
    }

    /// Waits until all that look on tell this of the victim.
    fn all_tell(&mut self, event: &str) -> Vec<Value> {
        let fits = |line: &Value| line["node"] == VICTIM && line["event"] == event;
        let tell = |looker: &mut Running| looker.prints_within(DETECTED, event, fits);
        self.lookers.iter_mut().map(tell).collect()
    }
}

fn a_killed_node_is_told_by_all(transport: &'static str) {
    let mut bus = Bus::of(transport);
    bus.victim.running.signal(Signal::KILL);
    let downs = bus.all_tell("node_down");
    assert!(downs.iter().all(|down| down["incarnation"] == bus.victim.incarnation), "{downs:?}");
}

/// Nothing is reset or closed when a process stands still: only silence tells.
fn a_stopped_node_is_told_by_all_and_comes_back(transport: &'static str) {
    let mut bus = Bus::of(transport);
    bus.victim.running.signal(Signal::STOP);
    bus.all_tell("node_down");

    bus.victim.running.signal(Signal::CONT);
    let ups = bus.all_tell("node_up");
    assert!(ups.iter().all(|up| up["incarnation"] == bus.victim.incarnation), "{ups:?}");
    let declared = bus.all_tell("declared");
    assert!(declared.iter().all(|it| it["key"] == "of/victim"), "{declared:?}");

    bus.victim.running.signal(Signal::TERM);
    bus.all_tell("node_left");
    assert_eq!(bus.victim.running.end().code(), Some(0));
}

#[test]
fn a_killed_node_is_told_by_all_over_quic() {
    a_killed_node_is_told_by_all("quic");
}

#[test]
fn a_killed_node_is_told_by_all_over_zmq() {
    a_killed_node_is_told_by_all("zmq");
}

#[test]
fn a_stopped_node_is_told_by_all_and_comes_back_over_quic() {
    a_stopped_node_is_told_by_all_and_comes_back("quic");
}

#[test]
fn a_stopped_node_is_told_by_all_and_comes_back_over_zmq() {
    a_stopped_node_is_told_by_all_and_comes_back("zmq");
}

const VICTIM: &str = "victim";
