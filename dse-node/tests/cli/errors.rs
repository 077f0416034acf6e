//! What goes wrong is said: what, where, and what to do.

use crate::discovery::issue;
use crate::support::{Deserted, Ended, Place};

#[test]
fn wrong_usage_ends_with_2_and_names_what_is_wrong() {
    let place = Place::new("quic");
    let cases: &[(&[&str], &str)] = &[
        (&[], "Usage"),
        (&["publish"], "unrecognized subcommand 'publish'"),
        (&["sub"], "KEYEXPR"),
        (&["sub", "a//b"], "empty segment"),
        (&["sub", "a/b*"], "whole segments"),
        (&["sub", "a", "--count", "0"], "--count"),
        (&["sub", "a", "--count", "many"], "--count"),
        (&["sub", "a", "--timeout", "soon"], "write 5s, 500ms"),
        (&["pub", "a/*"], "a key has no *"),
        (&["pub", "a", "--kind", "table", "--value", "1"], "not in this release"),
        (&["pub", "a", "--kind", "list"], "stream"),
        (&["pub", "a", "--value", "1", "--file", "x"], "cannot be used with"),
        (&["pub", "a", "--meta", "unit"], "NAME=VALUE"),
        (&["pub", "a", "--meta", "=C"], "NAME=VALUE"),
        (&["pub", "a", "--meta", "unit=C", "--meta", "unit=F"], "unit= is given twice"),
        (&["pub", "a", "--overflow", "wait"], "drop-oldest"),
        (&["pub", "a", "--header", "unit"], "--header trace=7"),
        (&["pub", "a", "--header", "Unit=C"], "use 1 to 64 of a-z, 0-9 and -"),
        (&["pub", "a", "--header", "dse-x=1"], "reserved"),
        (&["pub", "a", "--header", "x=1", "--header", "x=2"], "x is given twice"),
        (&["pub", "a", "--class", "urgent"], "realtime"),
        (&["pub", "a", "--kind", "state", "--expires", "1s"], "--expires is for streams"),
        (&["pub", "a", "--stall", "10ms"], "between 100ms and 10m"),
        (&["pub", "a", "--min-rate", "64kB"], "as in 800, 64k or 1.5M"),
        (&["sub", "a", "--every", "often"], "write 5s, 500ms"),
        (&["sub", "a", "--class", "urgent"], "realtime"),
        (&["ls", "--bus", "a b"], "use only A-Z"),
        (&["ls", "--name", ""], "it is empty"),
        (&["ls", "--transport", "tcp"], "use quic or zmq or mem"),
        (&["ls", "--join", "localhost:1"], "write scheme://address"),
        (&["ls", "--join", "tcp://localhost:1"], "there is no transport \"tcp\""),
        (&["ls", "--join", "quic://127.0.0.1:0"], "cannot join there: "),
        (&["ls", "--join", "quic://0.0.0.0:7447"], "a wildcard address is only for listening"),
        (&["run", "--join", "quic://127.0.0.1"], "the port is missing"),
        (&["ls", "--log", "dse=loud"], "--log dse=loud"),
        (&["ls", "--log", "dse=info,wran"], "\"wran\" is no level"),
        (&["ls", "--cert", "a.pem"], "go together"),
        (&["ls", "--detect-ms", "49"], "detect_ms is 49; it must be between 50 and 60000"),
        (&["ls", "--detect-ms", "60001"], "detect_ms is 60001; it must be between 50"),
        (&["ls", "--detect-ms", "1s"], "--detect-ms"),
        (&["run", "--value", "a"], "KEY=VALUE"),
        (&["run", "--value", "a/{host}=1"], "only {node} has a meaning"),
        (&["run", "--system", "a=often"], "write 5s, 500ms"),
        (&["run", "--record", "a"], "KEYEXPR=PATH"),
        (&["run", "--advertise", "quic://a:1"], "--advertise needs --listen"),
        (&["run", "--lisen", "quic://a:1"], "--listen"),
        (&["stats"], "NODE"),
        (&["plan"], "--nodes"),
        (&["plan", "--nodes", "1"], "2..=4096"),
        (&["plan", "--nodes", "9", "--keys", "16384", "--key-bytes", "255"], "fewer --keys"),
        (&["ca", "issue", "a/b"], "use only A-Z"),
    ];
    for (args, fragment) in cases {
        let ended = place.ends(args);
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(fragment), "{args:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{args:?}");
    }
}

#[test]
fn wrong_environment_is_wrong_usage_too() {
    let place = Place::new("quic");
    let mut command = place.command(&["ls"]);
    command.env("DSE_JOIN", "nowhere");
    let Ended { code, stderr, .. } = Ended::of(command);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("--join") && stderr.contains("nowhere"), "{stderr}");
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let place = Place::new("quic");
    let mut command = place.command(&["pub", "a", "--value", "1", "--json"]);
    let empty = [
        "BUS",
        "NAME",
        "LISTEN",
        "ADVERTISE",
        "JOIN",
        "CONFIG",
        "LOG",
        "JSON",
        "CERT",
        "KEY",
        "CA",
        "DETECT_MS",
        "ZMQ_TRUST_NETWORK",
        "PUB_KIND",
        "PUB_FILE",
        "PUB_WAIT",
        "PUB_TIMEOUT",
    ];
    for name in empty {
        command.env(format!("DSE_{name}"), "");
    }
    let ended = Ended::of(command);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn every_command_has_help_with_examples() {
    let place = Place::new("quic");
    for command in ["run", "pub", "sub", "ls", "nodes", "watch", "stats", "plan", "ca"] {
        let help = place.ends(&[command, "--help"]);
        assert_eq!(help.code, Some(0));
        assert!(help.stdout.contains("Examples:"), "{command}: {}", help.stdout);
        assert!(help.stdout.contains(&format!("dse-node {command}")), "{command}");
    }
}

#[test]
fn a_port_in_use_is_named() {
    for transport in ["quic", "zmq"] {
        let place = Place::new(transport);
        let node = place.node("a", &["--listen", &format!("{transport}://127.0.0.1:0")]);
        let taken = node.endpoints[0].as_str();
        let second = place.ends(&["run", "--name", "b", "--listen", taken]);
        assert_eq!(second.code, Some(1), "{}", second.stderr);
        assert!(second.stderr.contains(taken), "{}", second.stderr);
        assert!(second.stderr.contains("in use"), "{}", second.stderr);
    }
}

#[test]
fn a_bad_url_is_named() {
    let place = Place::new("quic");
    for url in ["quic://127.0.0.1", "quic://127.0.0.1:99999", "zmq://nonsense"] {
        let ended = place.ends(&["run", "--name", "a", "--listen", url]);
        assert_eq!(ended.code, Some(2), "{url}: {}", ended.stderr);
        assert!(ended.stderr.contains(url), "{url}: {}", ended.stderr);
    }
}

#[test]
fn zmq_beyond_loopback_asks_for_trust() {
    let place = Place::new("zmq");
    let ended = place.ends(&["run", "--name", "a", "--listen", "zmq://0.0.0.0:0"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("is trusted: --zmq-trust-network says"), "{}", ended.stderr);
}

#[test]
fn an_unreachable_seed_fails_a_short_command_at_its_timeout() {
    let place = Place::new("quic");
    let deserted = Deserted::new();
    let seed = format!("zmq://{}", deserted.address);
    for args in [
        &["ls", "--timeout", "1"] as &[&str],
        &["nodes", "--timeout", "1"],
        &["stats", "a", "--timeout", "1"],
        &["pub", "a", "--value", "1", "--timeout", "1"],
        &["sub", "a", "--timeout", "1"],
        &["watch", "--timeout", "1"],
    ] {
        let mut args = args.to_vec();
        args.extend(["--transport", "zmq", "--join", &seed]);
        let ended = place.ends(&args);
        assert_eq!(ended.code, Some(1), "{args:?}: {}", ended.stderr);
        let last = ended.stderr.lines().last().unwrap_or_default();
        assert_eq!(last.matches(&deserted.address).count(), 1, "{args:?}: {}", ended.stderr);
    }
}

#[test]
fn a_seed_that_says_nothing_is_named() {
    let place = Place::new("quic");
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
    let seed = format!("quic://{}", silent.local_addr().expect("an address"));
    let ended = place.ends(&["ls", "--timeout", "300ms", "--join", &seed]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let told = format!("no answer yet from {seed}");
    assert!(ended.stderr.contains(&told), "{}", ended.stderr);
}

#[test]
fn run_keeps_trying_an_unreachable_seed_and_says_so() {
    let place = Place::new("zmq");
    let deserted = Deserted::new();
    let seed = format!("zmq://{}", deserted.address);
    let mut node = place.node("a", &["--join", &seed]);
    let said = node.running.says(&format!("cannot join through {seed}"));
    assert!(said.contains("still trying"), "{said}");
    assert_eq!(node.running.terminate().code(), Some(0));
}

#[test]
fn a_wrong_certificate_is_refused_on_both_sides() {
    let place = Place::new("quic");
    let elsewhere = Place::new("quic");
    let mut node = place.node("a", &[]);
    // `elsewhere` has an authority of its own.
    let ended = elsewhere.ends(&["ls", "--timeout", "2", "--join", &node.endpoints[0]]);
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert!(ended.stderr.contains("certificate"), "{}", ended.stderr);
    let said = node.running.says("refused");
    assert!(said.contains("certificate"), "{said}");
}

#[test]
fn another_bus_is_named() {
    let place = Place::new("quic");
    let elsewhere = Place::new("quic");
    let node = place.node("a", &["--bus", "one"]);
    let out = place.path("issued");
    let out = out.to_string_lossy();
    place.json(&["ca", "issue", "b", "--bus", "one", "--out", &out, "--json"]);
    let file = |ending: &str| format!("{out}/{ending}");
    let files = [file("b.crt"), file("b.key"), file("ca.crt")];
    let ended = elsewhere.ends(&[
        "ls",
        "--bus",
        "two",
        "--timeout",
        "2",
        "--join",
        &node.endpoints[0],
        "--cert",
        &files[0],
        "--key",
        &files[1],
        "--ca",
        &files[2],
    ]);
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert!(
        ended.stderr.contains("is not on bus two") || ended.stderr.contains("this is bus one"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains(": --bus says the bus"), "{}", ended.stderr);
}

#[test]
fn a_name_that_the_certificate_does_not_allow_is_refused_at_once() {
    let place = Place::new("quic");
    place.json(&["ca", "init", "--json"]);
    let files = issue(&place, "web-1");
    let mut args = vec!["run", "--name", "web-2"];
    args.extend(files.iter().map(String::as_str));
    let ended = place.ends(&args);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("is for web-1, not for web-2"), "{}", ended.stderr);
}

#[test]
fn a_node_s_certificate_is_no_authority() {
    let place = Place::new("quic");
    place.json(&["ca", "init", "--json"]);
    let mut args = vec!["ls".to_owned()];
    args.extend(issue(&place, "web-1"));
    let ca = args.iter().position(|arg| arg == "--ca").expect("a flag");
    let cert = args.iter().position(|arg| arg == "--cert").expect("a flag");
    args[ca + 1] = args[cert + 1].clone();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let ended = place.ends(&args);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("is no authority's"), "{}", ended.stderr);
}

#[test]
fn of_two_nodes_of_one_name_one_ends_with_the_reason() {
    for transport in ["quic", "zmq"] {
        let place = Place::new(transport);
        let first = place.node("a", &[]);
        let second = place.ends(&["run", "--name", "a"]);
        assert_eq!(second.code, Some(1), "{}", second.stderr);
        assert!(second.stderr.contains("another live node has the id"), "{}", second.stderr);
        assert!(second.stderr.contains(": --name says the id"), "{}", second.stderr);
        assert!(second.stderr.contains(&first.endpoints[0]), "{}", second.stderr);
        let listing = place.json(&["nodes", "--json"]);
        assert_eq!(listing["nodes"][0]["incarnation"], first.incarnation);
    }
}

#[test]
fn a_folder_that_others_can_enter_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new("quic");
    std::fs::create_dir(place.path("run")).expect("made");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(place.path("run"), open).expect("opened");
    let ended = place.ends(&["ls"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("chmod 700"), "{}", ended.stderr);
}
