//! The configuration file.

use crate::support::{Node, Place, Running};

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

/// A switch is on or off or not said, and who says off is heard, too.
#[test]
fn switches_obey_the_flag_then_the_environment_then_the_file() {
    let place = Place::new("quic");
    let cases = [
        (None, None, "true", true),
        (None, None, "false", false),
        (None, Some("0"), "true", false),
        (None, Some("1"), "false", true),
        (None, Some(""), "true", true),
        (Some("--json"), Some("0"), "false", true),
        (Some("--json=false"), Some("1"), "true", false),
    ];
    for (flag, variable, file, expected) in cases {
        let path = place.write("switch.toml", &format!("json = {file}\n"));
        let mut command = place.command(&["plan", "--nodes", "2", "--config"]);
        command.arg(path).args(flag);
        variable.map(|value| command.env("DSE_JSON", value));
        let ended = command.output().expect("started");
        let told = (flag, variable, file);
        assert_eq!(
            ended.status.code(),
            Some(0),
            "{told:?}: {}",
            String::from_utf8_lossy(&ended.stderr)
        );
        assert_eq!(ended.stdout.starts_with(b"{"), expected, "{told:?}");
    }
}

#[test]
fn trust_in_the_network_is_taken_back_by_the_environment() {
    let place = Place::new("zmq");
    let path = place.write("trust.toml", "zmq-trust-network = true\n");
    let path = path.to_string_lossy();
    for (word, fragment) in [("false", "the address is not loopback"), ("fasle", "'fasle'")] {
        let mut command = place.command(&["run", "--config", &path, "--listen", "zmq://0.0.0.0:0"]);
        command.env("DSE_ZMQ_TRUST_NETWORK", word);
        let mut run = Running::of(command);
        run.says(fragment);
        assert_eq!(run.end().code(), Some(2), "{word}");
    }
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
        (
            "[[source]]\nkind = \"value\"\nkey = \"a\"\nvalue = 1\nexpires = \"1s\"\n",
            ":5: `expires` is for streams",
        ),
        (
            "[[source]]\nkind = \"system\"\nkey = \"a\"\nclass = \"urgent\"\n",
            ":4: unknown word `urgent`, expected one of `realtime`",
        ),
        (
            "[[source]]\nkind = \"system\"\nkey = \"a\"\nheaders = { Unit = \"C\" }\n",
            ":4: the header name \"Unit\" is invalid",
        ),
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
