//! Who has confirmed what was published, who has not, and whom a publisher waits for.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Feeding, Place, Running, report};

fn causes(told: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let list = told["unconfirmed"].as_array().expect("a list").iter();
    list.map(|it| (text(&it["node"]), text(&it["cause"]))).collect()
}

/// A subscriber that has the first line; and its node's id.
fn listener(place: &Place, publisher: &mut Option<Feeding>, name: &str) -> Running {
    let mut subscriber = place.subscriber(&["demo/**", "--name", name]);
    let feeding = publisher.get_or_insert_with(|| {
        Feeding::start(place, &["--wait", "1", "--timeout", "20", "--stall", "500ms"])
    });
    feeding.feed("first");
    subscriber.prints("sample", |line| line["payload"] == "first");
    subscriber
}

#[test]
fn a_killed_subscriber_is_named_with_its_cause() {
    let place = Place::new("quic");
    let mut feeding = None;
    let subscriber = listener(&place, &mut feeding, "victim");
    subscriber.signal(Signal::STOP);
    let mut feeding = feeding.expect("it was started");
    feeding.feed("second");
    subscriber.kill();
    let (ended, told) = feeding.ended();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let causes = causes(&told);
    assert_eq!(causes.len(), 1, "{told}");
    let (node, cause) = &causes[0];
    assert!(node.starts_with("victim.sub-"), "{told}");
    assert!(["lost", "stalled"].contains(&cause.as_str()), "{told}");
    assert_eq!(told["undelivered"], json!([node]));
    assert_eq!((&told["confirmed"], &told["unconfirmed_more"]), (&json!(0), &json!(0)));
    assert!(ended.stderr.contains(&format!("not everything is confirmed by {node} (it")));
}

#[test]
fn a_stopped_subscriber_is_named_and_told_its_gap() {
    let place = Place::new("quic");
    let mut other = place.subscriber(&["demo/**", "--name", "other"]);
    let mut feeding = None;
    let mut subscriber = listener(&place, &mut feeding, "stopped");
    subscriber.signal(Signal::STOP);
    let mut feeding = feeding.expect("it was started");
    feeding.feed("second");
    let (ended, told) = feeding.ended();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let causes = causes(&told);
    assert_eq!(causes.len(), 1, "{told}");
    assert!(causes[0].0.starts_with("stopped.sub-"), "{told}");
    other.prints("sample", |line| line["payload"] == "second");
    assert_eq!(told["confirmed"], 1, "{told}");

    // Once it goes on, what it lacks is not kept from it.
    subscriber.signal(Signal::CONT);
    subscriber.prints("word of the rest", |line| {
        let event = line["event"].as_str();
        line["payload"] == "second" || event.is_some_and(|it| ["gap", "lost"].contains(&it))
    });
}

#[test]
fn a_publisher_says_whom_it_waits_for() {
    let place = Place::new("quic");
    let mut subscriber = place.subscriber(&["demo/**", "--name", "stopped"]);
    let mut feeding = Feeding::start(&place, &["--wait", "1", "--stall", "60s"]);
    feeding.feed("first");
    subscriber.prints("sample", |line| line["payload"] == "first");
    subscriber.signal(Signal::STOP);
    feeding.feed("second");
    let Feeding { mut running, stdin } = feeding;
    drop(stdin);
    let said = running.says("\"waiting\"");
    let event: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((&event["event"], &event["key"]), (&json!("waiting"), &json!("demo/lines")));
    assert!(event["node"].as_str().is_some_and(|it| it.starts_with("stopped.sub-")), "{said}");
    assert!(event["since_ms"].as_u64() >= Some(1000), "{said}");
    subscriber.signal(Signal::CONT);
    let (ended, told) = report(running);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!((&told["confirmed"], &told["undelivered"]), (&json!(1), &json!([])));
}

/// Asked to end, it waits no longer than `--drain`; asked again, no longer.
#[test]
fn a_publisher_that_is_to_end_names_who_has_not_confirmed() {
    for drain in ["100ms", "600s"] {
        let place = Place::new("quic");
        let mut subscriber = place.subscriber(&["demo/**", "--name", "stopped"]);
        let args = ["--wait", "1", "--stall", "10m", "--drain", drain];
        let mut feeding = Feeding::start(&place, &args);
        feeding.feed("first");
        subscriber.prints("sample", |line| line["payload"] == "first");
        subscriber.signal(Signal::STOP);
        feeding.feed("second");
        drop(feeding.stdin);
        let mut running = feeding.running;
        // It has read both lines and waits for the end.
        running.says("\"waiting\"");
        running.signal(Signal::TERM);
        if drain == "600s" {
            running.signal(Signal::INT);
        }
        let (ended, told) = report(running);
        assert_eq!(ended.code, Some(1), "{drain}: {}", ended.stderr);
        assert_eq!(causes(&told)[0].1, "pending", "{drain}: {told}");
        assert_eq!(told["published"], 2, "{drain}: {told}");
        assert!(ended.stderr.contains("it has not said so yet"), "{drain}: {}", ended.stderr);
        subscriber.signal(Signal::CONT);
    }
}

#[test]
fn who_withdraws_is_counted_and_not_named() {
    let place = Place::new("quic");
    let mut leaving = place.subscriber(&["demo/**", "--count", "1"]);
    let mut feeding = Feeding::start(&place, &["--wait", "1"]);
    feeding.feed("first");
    assert_eq!(leaving.end().code(), Some(0));
    let (ended, told) = feeding.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(told["undelivered"], json!([]), "{told}");
}

#[test]
fn the_counters_of_a_node_name_whom_it_waits_for() {
    let place = Place::new("quic");
    let mut subscriber = place.subscriber(&["demo/**", "--name", "stopped"]);
    let mut feeding = Feeding::start(&place, &["--wait", "1", "--stall", "60s"]);
    feeding.feed("first");
    let sample = subscriber.prints("sample", |line| line["payload"] == "first");
    subscriber.signal(Signal::STOP);
    feeding.feed("second");
    drop(feeding.stdin);
    feeding.running.says("\"waiting\"");
    let publisher = sample["node"].as_str().expect("a text");
    let text = place.ends(&["stats", publisher, "--timeout", "2"]);
    assert!(text.stdout.contains("demo/lines waits for stopped.sub-"), "{}", text.stderr);
    let stats = place.json(&["stats", publisher, "--json", "--timeout", "2"]);
    assert_eq!(stats["waits"][0]["key"], "demo/lines", "{stats}");
    assert!(stats["waits"][0]["since_ms"].as_u64() >= Some(1000), "{stats}");
    subscriber.signal(Signal::CONT);
}
