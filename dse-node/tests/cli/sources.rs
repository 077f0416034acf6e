//! What `run` publishes and records.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::support::{PATIENCE, Place, append};

#[test]
fn the_machine_is_looked_at_only_while_somebody_wants_it() {
    let place = Place::new("quic");
    let mut node = place.node("a", &["--system", "host/{node}=200ms"]);
    let subscriber =
        place.ends(&["sub", "host/a/memory", "--count", "2", "--timeout", "15", "--json"]);
    assert_eq!(subscriber.code, Some(0), "{}", subscriber.stderr);
    let last = subscriber.stdout.lines().last().expect("two lines");
    let sample: Value = serde_json::from_str(last).expect("JSON");
    assert!(sample["payload"]["total_bytes"].as_u64() > Some(0), "{sample}");

    // One part was wanted, so one part works, and rests when the subscriber is gone.
    let works = node.running.says("the source works");
    assert!(works.contains("host/a/memory"), "{works}");
    let rests = node.running.says("the source ");
    assert!(rests.contains("host/a/memory") && rests.contains("rests"), "{rests}");

    // Whoever comes then gets no old reading for the present one.
    let rested = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_nanos();
    let sample = place.json(&["sub", "host/a/memory", "--count", "1", "--timeout", "15", "--json"]);
    assert!(sample["time_ns"].as_u64().map(u128::from) > Some(rested), "{sample} before {rested}");
}

#[test]
fn a_growing_file_is_followed_through_rotation() {
    let place = Place::new("quic");
    let path = place.path("app.log");
    let config = place.write(
        "node.toml",
        &format!(
            "[[source]]\nkind = \"file\"\nkey = \"log/{{node}}\"\npath = {path:?}\nfrom = \"start\"\nevery = \"50ms\"\n"
        ),
    );
    append(&path, "one\ntwo\n");
    let _node = place.node("a", &["--config", &config.to_string_lossy()]);
    let mut subscriber = place.subscriber(&["log/**"]);
    let mut expect = |text: &str| {
        let sample = subscriber.prints("line", |_| true);
        assert_eq!(sample["payload"], text);
    };
    expect("one");
    expect("two");
    append(&path, "three\n");
    expect("three");
    std::fs::rename(&path, place.path("app.log.1")).expect("rotated");
    append(&path, "four\n");
    expect("four");
    std::fs::write(&path, "5\n").expect("cut and written");
    expect("5");
}

#[test]
fn samples_are_recorded_as_json_lines() {
    let place = Place::new("quic");
    let path = place.path("samples.jsonl");
    let record = format!("site/**={}", path.display());
    let recorder = place.node("recorder", &["--record", &record]);
    let _node = place.node("a", &["--value", "site/name=Zurich", "--value", "other=1"]);
    let deadline = Instant::now() + PATIENCE;
    let text = loop {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        if text.ends_with('\n') {
            break text;
        }
        assert!(Instant::now() < deadline, "nothing was recorded");
        std::thread::yield_now();
    };
    let sample: Value = serde_json::from_str(text.trim()).expect("one JSON line");
    assert_eq!((&sample["key"], &sample["payload"]), (&"site/name".into(), &"Zurich".into()));
    assert_eq!(recorder.running.terminate().code(), Some(0));
}

#[test]
fn a_printing_node_is_ready_before_it_prints() {
    let place = Place::new("quic");
    let args = ["run", "--json", "--name", "a", "--value", "site/name=Zurich", "--print", "**"];
    let mut node = place.starts(&args);
    assert!(node.line().contains("\"event\":\"ready\""));
    assert!(node.line().contains("\"site/name\""));
}

#[test]
fn a_printing_node_shows_what_it_gets() {
    let place = Place::new("quic");
    let mut board = place.node("board", &["--print", "site/**"]);
    let _node = place.node("a", &["--value", "site/name=Zurich"]);
    let sample = board.running.prints("sample", |line| line["key"] == "site/name");
    assert_eq!(sample["payload"], "Zurich");
}
