//! How nodes come, go and come back.

use std::collections::BTreeSet;
use std::os::unix::fs::FileTypeExt;

use dse_core::conformance::skip;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Ended, Node, Place, Running};

fn watch(place: &Place, node: &str) -> Running {
    let mut watch = place.starts(&["watch", "--json"]);
    watch.prints("node_up", is("node_up", node));
    watch
}

fn is(event: &str, node: &str) -> impl Fn(&Value) -> bool {
    move |line| line["event"] == event && line["node"] == node
}

/// How soon is measured by `cargo xtask demo`, and shown in virtual time.
fn a_killed_node_is_known_and_comes_back(transport: &'static str) {
    let place = Place::new(transport);
    let node = place.node("a", &["--value", "of/a=1"]);
    let first = node.incarnation;
    let mut watch = watch(&place, "a");
    node.running.kill();
    watch.prints("node_down", is("node_down", "a"));

    let node = place.node("a", &["--value", "of/a=2"]);
    assert!(node.incarnation > first, "{} after {first}", node.incarnation);
    let up = watch.prints("node_up", is("node_up", "a"));
    assert_eq!(up["incarnation"], node.incarnation);
    let listing = place.json(&["ls", "--json"]);
    assert_eq!(listing["declarations"].as_array().map(Vec::len), Some(1), "a ghost: {listing}");
    assert_eq!(listing["declarations"][0]["incarnation"], node.incarnation);
}

#[test]
fn a_killed_node_is_known_and_comes_back_over_quic() {
    a_killed_node_is_known_and_comes_back("quic");
}

#[test]
fn a_killed_node_is_known_and_comes_back_over_zmq() {
    a_killed_node_is_known_and_comes_back("zmq");
}

/// The sockets in the runtime folder of a bus.
fn sockets(place: &Place, bus: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(place.path(&format!("run/{bus}.bus"))).expect("there");
    let sockets = entries
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| entry.file_type().expect("a type").is_socket());
    sockets.map(|entry| entry.file_name().into_string().expect("UTF-8")).collect()
}

/// The socket at which a node listens.
fn door(node: &Node) -> String {
    node.endpoints[0].strip_prefix("zmq://ipc/").expect("a socket").to_owned()
}

#[test]
fn the_sockets_of_killed_nodes_go_with_the_next_node_and_no_others() {
    let place = Place::new("zmq");
    let elsewhere = place.node("elsewhere", &["--bus", "other"]);
    let stopped = place.node("stopped", &["--value", "of/stopped=1"]);
    let killed = place.node("a", &[]);
    let (dead, named) = (door(&killed), "00000000000000aa");
    killed.running.kill();
    let other = place.node("b", &["--listen", &format!("zmq://ipc/{named}")]);
    assert!(!sockets(&place, "default").contains(&dead), "a left it, and b has come since");
    other.running.kill();
    // One that cannot answer lives all the same.
    stopped.running.signal(Signal::STOP);
    let back = place.node("a", &[]);
    let left = sockets(&place, "default");
    assert!(!left.contains(&dead) && !left.contains(named), "{left:?}");
    assert!(left.contains(&door(&stopped)) && left.contains(&door(&back)), "{left:?}");
    assert!(sockets(&place, "other").contains(&door(&elsewhere)));
    stopped.running.signal(Signal::CONT);
    let listing = place.json(&["ls", "of/*", "--json"]);
    assert_eq!(listing["declarations"].as_array().map(Vec::len), Some(1), "{listing}");
}

#[test]
fn nodes_that_start_together_clean_up_and_leave_each_other_alone() {
    let place = Place::new("zmq");
    let killed: Vec<_> = (0..4).map(|number| place.node(&format!("k{number}"), &[])).collect();
    let dead: Vec<_> = killed.iter().map(door).collect();
    for node in killed {
        node.running.kill();
    }
    let starting: Vec<_> = (0..6)
        .map(|number| place.starts(&["run", "--json", "--name", &format!("n{number}")]))
        .collect();
    let nodes: Vec<_> = starting.into_iter().map(Node::of).collect();
    let listing = place.json(&["nodes", "--json", "--timeout", "15"]);
    assert_eq!(listing["nodes"].as_array().map(Vec::len), Some(nodes.len()), "{listing}");
    let left = sockets(&place, "default");
    assert!(!dead.iter().any(|door| left.contains(door)), "{dead:?} of {left:?}");
    assert!(nodes.iter().map(door).all(|door| left.contains(&door)), "{left:?}");
}

#[test]
fn signals_end_a_node_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let place = Place::new("quic");
        let mut node = place.node("a", &[]);
        let mut watch = watch(&place, "a");
        node.running.signal(signal);
        assert_eq!(node.running.end().code(), Some(0));
        watch.prints("node_left", is("node_left", "a"));
        let entries = std::fs::read_dir(place.path("run/default.bus")).expect("there");
        let names: Vec<_> = entries.map(|it| it.expect("an entry").file_name()).collect();
        let own = names.iter().filter(|name| name.to_string_lossy().starts_with("a@")).count();
        assert_eq!(own, 0, "an entry is left: {names:?}");
    }
}

#[test]
fn a_node_leaves_in_order_when_its_terminal_goes() {
    if hangups_are_ignored() {
        let test = "a_node_leaves_in_order_when_its_terminal_goes";
        return skip(test, "hangups are ignored here, as under nohup, so that nodes do, too");
    }
    let place = Place::new("quic");
    let mut peer = place.node("b", &[]);
    let mut node = place.node("a", &[]);
    node.running.says("node up");
    node.running.signal(Signal::HUP);
    assert_eq!(node.running.end().code(), Some(0));
    peer.running.says("node left");
}

/// Whoever starts this ignores the signal, and what it starts then does.
fn hangups_are_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & 1 == 1))
}

#[test]
fn a_node_that_is_to_outlive_its_terminal_does() {
    let place = Place::new("quic");
    let shell = "trap '' HUP; exec \"$0\" run --name a --json --log info";
    let mut command = std::process::Command::new("sh");
    place.set_up(&mut command);
    command.args(["-c", shell, env!("CARGO_BIN_EXE_dse-node")]);
    let node = Node::of(Running::of(command));
    node.running.signal(Signal::HUP);
    let nodes = place.json(&["nodes", "--json"]);
    assert_eq!(nodes["nodes"][0]["node"], "a", "{nodes}");
    assert_eq!(node.running.terminate().code(), Some(0));
}

#[test]
fn a_second_signal_ends_a_node_at_once() {
    let place = Place::new("quic");
    let _peer = place.node("b", &[]);
    let mut node = place.node("a", &[]);
    node.running.says("node up");
    node.running.signal(Signal::STOP);
    // Both are there when it goes on: leaving has not begun.
    node.running.signal(Signal::INT);
    node.running.signal(Signal::TERM);
    node.running.signal(Signal::CONT);
    let status = node.running.end();
    assert!(matches!(status.code(), Some(0 | 130)), "{status}");
}

#[test]
fn the_clock_may_go_back_and_incarnations_grow() {
    let place = Place::new("quic");
    let node = place.node("a", &[]);
    let first = node.incarnation;
    assert_eq!(node.running.terminate().code(), Some(0));
    // As if the first start had been an hour from now.
    let later = first + 3_600_000;
    std::fs::write(place.path("data/default.bus/a.incarnation"), later.to_string())
        .expect("written");
    let node = place.node("a", &[]);
    assert_eq!(node.incarnation, later + 1);
}

#[test]
fn a_reader_that_goes_is_no_failure() {
    let place = Place::new("quic");
    let _node = place.node("a", &["--system", "host=200ms"]);
    // That sub ends by itself, and with a failure, if nothing else ends it.
    let subscribe = "sub 'host/**' --count 100000 --timeout 15";
    for words in [subscribe, "run --name b --print 'host/**' --log warn"] {
        let shell = "\"$0\" WORDS | head -1; exit ${PIPESTATUS[0]}".replace("WORDS", words);
        let mut command = std::process::Command::new("bash");
        place.set_up(&mut command);
        command.args(["-c", &shell, env!("CARGO_BIN_EXE_dse-node")]);
        let ended = Ended::of(command);
        assert_eq!(ended.code, Some(0), "{words}: {}", ended.stderr);
        assert_eq!(ended.stderr, "", "{words}");
    }
}
