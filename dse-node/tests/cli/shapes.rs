//! The shapes that `--json` prints: a contract.

use serde_json::{Value, json};

use crate::support::Place;

fn fields(value: &Value) -> Vec<&str> {
    let mut names: Vec<_> = value.as_object().expect("an object").keys().map(|k| &**k).collect();
    names.sort_unstable();
    names
}

#[test]
fn ls_tells_what_there_is_and_who_answered() {
    let place = Place::new("quic");
    let a = place.node("a", &["--value", "site/name=Zurich"]);
    let _b = place.node("b", &[]);
    let listing = place.json(&["ls", "site/**", "--json"]);
    let declaration = json!({
        "node": "a", "incarnation": a.incarnation, "key": "site/name", "kind": "state",
        "encoding": "text/plain", "meta": {}
    });
    let expected = json!({
        "declarations": [declaration], "expected": 2, "answered": 2, "missing": [], "complete": true
    });
    assert_eq!(listing, expected);

    let text = place.ends(&["ls"]);
    assert!(text.stdout.contains("site/name  state  a"), "{}", text.stdout);
    assert!(text.stderr.contains("2 of 2 answered"), "{}", text.stderr);
}

#[test]
fn ls_alone_is_complete_and_empty() {
    let place = Place::new("quic");
    let listing = place.json(&["ls", "--json"]);
    let expected = json!({
        "declarations": [], "expected": 0, "answered": 0, "missing": [], "complete": true
    });
    assert_eq!(listing, expected);
}

#[test]
fn nodes_tells_who_is_there() {
    for transport in ["quic", "zmq"] {
        let place = Place::new(transport);
        let a = place.node("a", &[]);
        let listing = place.json(&["nodes", "--json"]);
        assert_eq!(fields(&listing), ["nodes"]);
        let node = &listing["nodes"][0];
        assert_eq!(
            fields(node),
            ["endpoints", "incarnation", "node", "rtt_ms", "state", "transport"]
        );
        assert_eq!(node["node"], "a");
        assert_eq!(node["incarnation"], a.incarnation);
        assert_eq!(node["endpoints"], json!(a.endpoints));
        assert_eq!(node["transport"], transport);
        assert_eq!(node["state"], "up");
        assert!(node["rtt_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{node}");
        assert_eq!(listing["nodes"].as_array().map(Vec::len), Some(1), "no guest is listed");
    }
}

#[test]
fn stats_tells_a_nodes_counters() {
    let place = Place::new("quic");
    let _a = place.node("a", &[]);
    let stats = place.json(&["stats", "a", "--json"]);
    assert_eq!(stats["node"], "a");
    let names = [
        "control_messages_sent",
        "control_messages_received",
        "control_bytes_sent",
        "samples_sent",
        "samples_received",
        "gaps",
        "drops",
        "links",
    ];
    for name in names {
        assert!(stats[name].is_u64(), "{name} of {stats}");
    }
    assert_eq!(stats["waits"], json!([]));

    let nobody = place.ends(&["stats", "nobody", "--timeout", "2"]);
    assert_eq!(nobody.code, Some(1));
    assert!(nobody.stderr.contains("no node nobody"), "{}", nobody.stderr);
}

#[test]
fn watch_tells_what_happens() {
    let place = Place::new("quic");
    let a = place.node("a", &["--value", "site/name=Zurich"]);
    let mut watch = place.starts(&["watch", "site/**", "--json"]);
    let up = watch.prints("node_up", |line| line["event"] == "node_up");
    assert_eq!((&up["node"], &up["incarnation"]), (&json!("a"), &json!(a.incarnation)));
    let declared = watch.prints("declared", |line| line["event"] == "declared");
    assert_eq!(declared["key"], "site/name");
    assert_eq!(
        fields(&declared),
        ["encoding", "event", "incarnation", "key", "kind", "meta", "node", "time_ns"]
    );

    let published = place.ends(&["pub", "site/visits", "--value", "1", "--meta", "unit=1"]);
    assert_eq!(published.code, Some(0), "{}", published.stderr);
    let declared = watch.prints("declared", |line| line["event"] == "declared");
    assert_eq!(declared["meta"], json!({"unit": "1"}));
    watch
        .prints("undeclared", |line| line["event"] == "undeclared" && line["key"] == "site/visits");
    let left = watch.prints("node_left", |line| line["event"] == "node_left");
    assert_eq!(left["reason"], "asked");
    assert_eq!(watch.terminate().code(), Some(0));
}
