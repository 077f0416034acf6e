//! The configuration file.

use crate::support::{Node, Place};

#[test]
fn a_file_says_what_flags_say_and_flags_win() {
    let place = Place::new("quic");
    let file = place.write(
        "node.toml",
        r#"
        name = "from-file"
        bus = "plant"
        listen = ["quic://127.0.0.1:0"]

        [[source]]
        kind = "value"
        key = "site/{node}"
        value = 7
        "#,
    );
    let path = file.to_string_lossy();
    let named = place.starts(&["run", "--json", "--config", &path]);
    let mut named = Node::of(named);
    let flagged = place.starts(&["run", "--json", "--config", &path, "--name", "from-flag"]);
    let _flagged = Node::of(flagged);

    // A short command with the same file does not take the node's port.
    let listing = place.json(&["ls", "--json", "--config", &path]);
    let keys: Vec<_> = listing["declarations"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|found| (found["key"].clone(), found["encoding"].clone()))
        .collect();
    assert_eq!(keys[0], ("site/from-file".into(), "application/json".into()), "{listing}");
    assert_eq!(keys[1].0, "site/from-flag", "{listing}");
    named.running.says("node up");
}

#[test]
fn what_is_wrong_in_a_file_is_named_with_its_line() {
    let place = Place::new("quic");
    let cases = [
        ("bus = \"a\"\nlisen = []\n", ":2: unknown key `lisen`"),
        ("bus = \"a\"\nlisen = []\n", "did you mean `listen`?"),
        ("bus = 7\n", ":1: "),
        ("transport = \"tcp\"\n", "there is no transport \"tcp\""),
        (
            "[[source]]\nkind = \"value\"\nkey = \"a\"\nevery = \"2s\"\nvalue = 1\n",
            ":4: unknown key `every`",
        ),
        ("[[source]]\nkind = \"system\"\nkey = \"a\"\nevery = \"often\"\n", ":4: "),
        ("[[sink]]\nkind = \"csv\"\n", "expected one of `stdout`, `jsonl`"),
        ("bus = \n", ":1: "),
    ];
    for (text, fragment) in cases {
        let file = place.write("wrong.toml", text);
        let ended = place.ends(&["run", "--config", &file.to_string_lossy()]);
        assert_eq!(ended.code, Some(2), "{text}: {}", ended.stderr);
        assert!(ended.stderr.contains("wrong.toml"), "{text}: {}", ended.stderr);
        assert!(ended.stderr.contains(fragment), "{text}: {}", ended.stderr);
    }
    let missing = place.ends(&["run", "--config", "/nowhere/dse.toml"]);
    assert_eq!(missing.code, Some(2));
    assert!(missing.stderr.contains("/nowhere/dse.toml"), "{}", missing.stderr);
}

#[test]
fn a_key_declared_twice_is_named() {
    let place = Place::new("quic");
    let ended = place.ends(&["run", "--name", "a", "--value", "x=1", "--value", "x=2"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("declares x already"), "{}", ended.stderr);
}
