//! `pub` and `sub`.

use serde_json::json;

use crate::support::{PATIENCE, Place, fed};

/// Two terminals, no flags (but for the transport).
fn two_terminals(transport: &'static str) {
    let place = Place::new(transport);
    let mut subscriber = place.subscriber(&["demo/**", "--count", "1"]);
    let published = fed(place.command(&["pub", "demo/greeting"]), "hi\n");
    assert_eq!(published.code, Some(0), "{}", published.stderr);
    assert!(
        published.stderr.contains("published 1 sample to 1 subscriber"),
        "{}",
        published.stderr
    );

    let sample = subscriber.prints("sample", |_| true);
    assert_eq!(sample["key"], "demo/greeting");
    assert_eq!(sample["kind"], "stream");
    assert_eq!(sample["encoding"], "text/plain");
    assert_eq!(sample["payload"], "hi");
    for number in ["seq", "time_ns"] {
        assert!(sample[number].is_u64(), "{sample}");
    }
    assert!(sample["node"].as_str().is_some_and(|node| node.contains(".pub-")), "{sample}");
    assert_eq!(subscriber.end().code(), Some(0));
}

#[test]
fn two_terminals_over_quic() {
    two_terminals("quic");
}

#[test]
fn two_terminals_over_zmq() {
    two_terminals("zmq");
}

/// Each of them dials some that end just then.
fn commands_that_come_and_go_together(transport: &'static str, count: usize) {
    let place = Place::new(transport);
    let mut subscriber = place.subscriber(&["x/**", "--count", &count.to_string()]);
    let publish = |number| {
        let key = format!("x/{number}");
        place.starts(&["pub", &key, "--value", "hi", "--timeout", "15"])
    };
    let publishers: Vec<_> = (0..count).map(publish).collect();
    for mut publisher in publishers {
        publisher.says("published 1 sample to 1 subscriber");
        assert_eq!(publisher.end().code(), Some(0));
    }
    assert_eq!(subscriber.end().code(), Some(0));
}

#[test]
fn commands_that_come_and_go_together_end_well_over_quic() {
    commands_that_come_and_go_together("quic", 6);
}

#[test]
fn commands_that_come_and_go_together_end_well_over_zmq() {
    commands_that_come_and_go_together("zmq", 12);
}

#[test]
fn samples_for_people_are_key_and_payload() {
    let place = Place::new("quic");
    let mut subscriber = place.starts(&["sub", "demo/**", "--count", "1", "--log", "info"]);
    subscriber.says("subscribes to");
    let published = place.ends(&["pub", "demo/greeting", "--value", "a\u{1b}[2Jb"]);
    assert_eq!(published.code, Some(0), "{}", published.stderr);
    assert_eq!(subscriber.line(), "demo/greeting a\\u{1b}[2Jb");
}

#[test]
fn every_line_arrives_in_order_and_every_subscriber_is_counted() {
    let place = Place::new("quic");
    let mut subscribers: Vec<_> =
        (0..2).map(|_| place.subscriber(&["demo/*", "--count", "500"])).collect();
    let lines: String = (0..500).map(|number| format!("{number}\n")).collect();
    let published = fed(place.command(&["pub", "demo/numbers", "--json", "--wait", "2"]), &lines);
    assert_eq!(published.code, Some(0), "{}", published.stderr);
    let told: serde_json::Value = serde_json::from_str(&published.stdout).expect("JSON");
    let expected = json!({
        "key": "demo/numbers", "published": 500, "subscribers": 2, "confirmed": 2,
        "undelivered": [], "unconfirmed": [], "unconfirmed_more": 0, "withdrawn": 0, "dropped": {},
        "missing": []
    });
    assert_eq!(told, expected);
    for subscriber in &mut subscribers {
        for number in 0..500 {
            let sample = subscriber.prints("sample", |_| true);
            assert_eq!(sample["payload"], number.to_string());
        }
    }
}

#[test]
fn payloads_of_all_encodings_come_through() {
    let place = Place::new("quic");
    let mut subscriber = place.subscriber(&["demo/**", "--count", "2"]);
    let json =
        ["pub", "demo/json", "--encoding", "application/json", "--value", "{\"x\": [1, null]}"];
    assert_eq!(place.ends(&json).code, Some(0));
    let sample = subscriber.prints("sample", |_| true);
    assert_eq!(sample["payload"], json!({"x": [1, null]}));

    let file = place.path("bytes");
    std::fs::write(&file, [0, 255, 7]).expect("written");
    let path = file.to_string_lossy();
    assert_eq!(place.ends(&["pub", "demo/bytes", "--file", &path]).code, Some(0));
    let sample = subscriber.prints("sample", |line| line["key"] == "demo/bytes");
    assert_eq!(sample["payload_base64"], "AP8H");
    assert!(sample.get("payload").is_none(), "{sample}");
}

#[test]
fn a_file_that_is_too_long_is_named() {
    let place = Place::new("quic");
    let path = place.write("long", "");
    let file = std::fs::File::options().write(true).open(&path).expect("opened");
    file.set_len((64 << 20) + 1).expect("made long");
    let path = path.to_string_lossy();
    let published = place.ends(&["pub", "demo/bytes", "--file", &path]);
    assert_eq!(published.code, Some(1));
    let told = format!("{path} is longer than the 67108864 bytes");
    assert!(published.stderr.contains(&told), "{}", published.stderr);
}

#[test]
fn nobody_listening_is_no_failure() {
    let place = Place::new("quic");
    let published = fed(place.command(&["pub", "demo/greeting"]), "hi\n");
    assert_eq!(published.code, Some(0), "{}", published.stderr);
    assert!(published.stderr.contains("no subscriber was there"), "{}", published.stderr);
}

#[test]
fn waiting_for_a_subscriber_that_does_not_come_fails() {
    let place = Place::new("quic");
    let args = ["pub", "demo/greeting", "--value", "hi", "--wait", "1", "--timeout", "300ms"];
    let published = place.ends(&args);
    assert_eq!(published.code, Some(1));
    assert!(
        published.stderr.contains("0 of 1 subscribers of demo/greeting"),
        "{}",
        published.stderr
    );
}

#[test]
fn an_interrupted_publisher_waits_for_no_bus() {
    let place = Place::new("quic");
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
    silent.set_read_timeout(Some(PATIENCE)).expect("set");
    let seed = format!("quic://{}", silent.local_addr().expect("an address"));
    let args = ["pub", "a", "--value", "1", "--timeout", "600", "--join", &seed];
    let mut publisher = place.starts(&args);
    silent.recv(&mut [0; 2048]).expect("it dials");
    publisher.signal(rustix::process::Signal::INT);
    publisher.says("interrupted before anything was published");
    assert_eq!(publisher.end().code(), Some(1));
}

#[test]
fn a_late_subscriber_sees_the_present_state() {
    for transport in ["quic", "zmq"] {
        let place = Place::new(transport);
        let _node =
            place.node("a", &["--value", "site/name=Zurich", "--value", "site/{node}/id=7"]);
        let subscriber = place.ends(&["sub", "site/**", "--count", "2", "--timeout", "10"]);
        assert_eq!(subscriber.code, Some(0), "{}", subscriber.stderr);
        let mut lines: Vec<_> = subscriber.stdout.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["site/a/id 7", "site/name Zurich"]);
    }
}

#[test]
fn samples_that_do_not_come_in_time_fail() {
    let place = Place::new("quic");
    let subscriber = place.ends(&["sub", "demo/**", "--count", "3", "--timeout", "200ms"]);
    assert_eq!(subscriber.code, Some(1));
    assert!(subscriber.stderr.contains("0 of 3 samples came in time"), "{}", subscriber.stderr);
    let subscriber = place.ends(&["sub", "demo/**", "--timeout", "200ms"]);
    assert_eq!(subscriber.code, Some(0), "{}", subscriber.stderr);
}
