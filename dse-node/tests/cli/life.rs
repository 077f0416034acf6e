//! How nodes come, go and come back.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Place, Running};

fn watch(place: &Place, node: &str) -> Running {
    let mut watch = place.starts(&["watch", "--json"]);
    watch.prints("node_up", is("node_up", node));
    watch
}

fn is(event: &str, node: &str) -> impl Fn(&Value) -> bool {
    move |line| line["event"] == event && line["node"] == node
}

fn killed_node_is_known_within(transport: &'static str, limit: Duration) {
    let place = Place::new(transport);
    let node = place.node("a", &["--value", "of/a=1"]);
    let first = node.incarnation;
    let mut watch = watch(&place, "a");
    let killed = Instant::now();
    node.running.kill();
    watch.prints("node_down", is("node_down", "a"));
    let took = killed.elapsed();
    assert!(took < limit, "it took {took:?}");

    let node = place.node("a", &["--value", "of/a=2"]);
    assert!(node.incarnation > first, "{} after {first}", node.incarnation);
    let up = watch.prints("node_up", is("node_up", "a"));
    assert_eq!(up["incarnation"], node.incarnation);
    let listing = place.json(&["ls", "--json"]);
    assert_eq!(listing["declarations"].as_array().map(Vec::len), Some(1), "a ghost: {listing}");
    assert_eq!(listing["declarations"][0]["incarnation"], node.incarnation);
}

#[test]
fn a_killed_node_is_known_within_2_s_over_quic() {
    killed_node_is_known_within("quic", Duration::from_secs(2));
}

#[test]
fn a_killed_node_is_known_within_1_s_over_zmq() {
    killed_node_is_known_within("zmq", Duration::from_secs(1));
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
    let shell = format!(
        "{} sub 'host/**' | head -1; exit ${{PIPESTATUS[0]}}",
        env!("CARGO_BIN_EXE_dse-node")
    );
    let mut command = std::process::Command::new("bash");
    place.set_up(&mut command);
    let ended = command.args(["-c", &shell]).output().expect("started");
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
}
