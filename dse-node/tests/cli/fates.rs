//! What subscribers and sinks are told beside samples.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Feeding, Place, Running, append, fed};

fn is<'a>(event: &'a str, key: &'a str) -> impl Fn(&Value) -> bool + 'a {
    move |line| line["event"] == event && line["key"] == key
}

#[test]
fn a_subscriber_is_told_when_a_source_is_lost_and_back_and_leaves() {
    for transport in ["quic", "zmq"] {
        let place = Place::new(transport);
        let mut subscriber = place.subscriber(&["site/**"]);
        let node = place.node("a", &["--value", "site/name=Zurich"]);
        subscriber.prints("sample", |line| line["payload"] == "Zurich");
        node.running.kill();
        let lost = subscriber.prints("lost", is("lost", "site/name"));
        assert_eq!(lost["node"], "a");

        let node = place.node("a", &["--value", "site/name=Bern"]);
        let anew = subscriber.prints("restarted", is("restarted", "site/name"));
        assert_eq!(anew["incarnation"], node.incarnation, "{anew}");
        subscriber.prints("sample", |line| line["payload"] == "Bern");
        assert_eq!(node.running.terminate().code(), Some(0));
        let gone = subscriber.prints("end", |line| line["event"].is_string());
        assert!(["ended", "left"].contains(&gone["event"].as_str().expect("a text")), "{gone}");
    }
}

#[test]
fn a_source_that_stood_still_is_lost_and_back() {
    let place = Place::new("quic");
    let mut subscriber = place.subscriber(&["site/**"]);
    let node = place.node("a", &["--value", "site/name=Zurich"]);
    subscriber.prints("sample", |line| line["payload"] == "Zurich");
    node.running.signal(Signal::STOP);
    subscriber.prints("lost", is("lost", "site/name"));
    node.running.signal(Signal::CONT);
    let back = subscriber.prints("back", is("back", "site/name"));
    assert_eq!(back["node"], "a");
}

#[test]
fn a_publisher_that_ends_is_told_as_ended_for_people_and_programs() {
    let place = Place::new("quic");
    let mut json = place.subscriber(&["demo/**"]);
    let mut text = place.starts(&["sub", "demo/**", "--log", "dse_node=info"]);
    text.says("subscribes to");
    assert_eq!(place.ends(&["pub", "demo/greeting", "--value", "hi"]).code, Some(0));
    json.prints("sample", |line| line["payload"] == "hi");
    let ended = json.prints("ended", is("ended", "demo/greeting"));
    assert!(ended["node"].as_str().is_some_and(|it| it.contains(".pub-")), "{ended}");
    assert_eq!(text.line(), "demo/greeting hi");
    let said = text.says("has ended");
    assert!(said.contains("demo/greeting of ") && said.contains(".pub-"), "{said}");
}

/// Feeds a subscriber, stops it, floods it, and has it go on; the publisher and the subscriber
/// once the first gap is there.
fn flooded(place: &Place, publish: &[&str], subscribe: &[&str]) -> (Feeding, Running, Value) {
    let mut subscriber = place.subscriber(&[&["demo/**"], subscribe].concat());
    let mut feeding = Feeding::start(place, &[&["--wait", "1"], publish].concat());
    feeding.feed("first");
    subscriber.prints("sample", |line| line["payload"] == "first");
    subscriber.signal(Signal::STOP);
    feeding.flood();
    subscriber.signal(Signal::CONT);
    let gap = subscriber.prints("gap", |line| line["event"] == "gap");
    (feeding, subscriber, gap)
}

#[test]
fn gaps_have_both_numbers_and_a_reason() {
    let place = Place::new("quic");
    for overflow in ["drop-oldest", "drop-newest"] {
        let (feeding, _subscriber, gap) = flooded(&place, &["--overflow", overflow], &[]);
        assert!(gap["from_seq"].as_u64() > Some(1), "{gap}");
        assert!(gap["to_seq"].as_u64() >= gap["from_seq"].as_u64(), "{gap}");
        assert_eq!(gap["reason"], "policy", "{gap}");
        let (ended, told) = feeding.ended();
        assert!(told["dropped"]["policy"].as_u64() > Some(0), "{told}");
        // What was dropped by policy nobody lacks.
        assert_eq!(ended.code, Some(0), "{told}");
    }
}

#[test]
fn a_lossy_subscriber_holds_nobody_up_and_is_told_its_gap() {
    let place = Place::new("quic");
    let (feeding, _subscriber, gap) = flooded(&place, &["--stall", "10m"], &["--lossy"]);
    assert_eq!(gap["reason"], "wish", "{gap}");
    let (ended, told) = feeding.ended();
    assert!(told["dropped"]["wish"].as_u64() > Some(0), "{told}");
    assert_eq!((ended.code, &told["undelivered"]), (Some(0), &serde_json::json!([])), "{told}");
}

#[test]
fn one_sample_in_a_time_is_what_every_says() {
    let place = Place::new("quic");
    let mut subscriber = place.subscriber(&["demo/**", "--every", "1h"]);
    let published = fed(place.command(&["pub", "demo/lines", "--wait", "1"]), "1\n2\n3\n");
    assert_eq!(published.code, Some(0), "{}", published.stderr);
    let first = subscriber.prints("sample", |_| true);
    assert_eq!(first["payload"], "1");
    // What it did not want is not lost.
    let end = subscriber.prints("end", |_| true);
    assert_eq!(end["event"], "ended", "{end}");
}

#[test]
fn headers_travel_and_are_shown_where_there_are_some() {
    let place = Place::new("quic");
    let mut subscriber = place.subscriber(&["demo/**"]);
    let with = ["pub", "demo/a", "--value", "1", "--class", "realtime", "--expires", "1m"];
    let published =
        place.ends(&[&with[..], &["--header", "trace=7", "--header", "unit=C"]].concat());
    assert_eq!(published.code, Some(0), "{}", published.stderr);
    let sample = subscriber.prints("sample", |line| line["key"] == "demo/a");
    assert_eq!(sample["headers"], serde_json::json!({"trace": "7", "unit": "C"}));
    assert_eq!(place.ends(&["pub", "demo/b", "--value", "1"]).code, Some(0));
    let sample = subscriber.prints("sample", |line| line["key"] == "demo/b");
    assert!(sample.get("headers").is_none(), "{sample}");
}

#[test]
fn sources_of_a_file_have_headers_class_and_lifetime() {
    let place = Place::new("quic");
    let path = place.path("app.log");
    append(&path, "one\n");
    let text = format!(
        "[[source]]\nkind = \"file\"\nkey = \"log\"\npath = {path:?}\nfrom = \"start\"\n\
         class = \"bulk\"\nexpires = \"1m\"\nheaders = {{ host = \"web-1\" }}\n\
         [[source]]\nkind = \"value\"\nkey = \"name\"\nvalue = \"x\"\nclass = \"realtime\"\n\
         headers = {{ source = \"survey\" }}\n"
    );
    let config = place.write("node.toml", &text);
    let _node = place.node("a", &["--config", &config.to_string_lossy()]);
    let mut subscriber = place.subscriber(&["**"]);
    let mut seen = [false; 2];
    while seen != [true; 2] {
        let sample = subscriber.prints("sample", |line| line["headers"].is_object());
        let (at, name, value) = match sample["key"].as_str() {
            Some("log") => (0, "host", "web-1"),
            _ => (1, "source", "survey"),
        };
        assert_eq!(sample["headers"][name], value, "{sample}");
        seen[at] = true;
    }
}

#[test]
fn sinks_tell_what_becomes_of_sources() {
    let place = Place::new("quic");
    let path = place.path("samples.jsonl");
    let record = format!("site/**={}", path.display());
    let mut board = place.node("board", &["--print", "site/**", "--record", &record]);
    let node = place.node("a", &["--value", "site/name=Zurich"]);
    board.running.prints("sample", |line| line["payload"] == "Zurich");
    node.running.kill();
    let lost = board.running.prints("lost", is("lost", "site/name"));
    assert_eq!(lost["node"], "a");
    board.running.says("site/name of a: the link to its node is lost");
    assert_eq!(board.running.terminate().code(), Some(0));
    let text = std::fs::read_to_string(&path).expect("readable");
    let last: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    assert!(is("lost", "site/name")(&last), "{text}");
}
