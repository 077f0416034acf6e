//! How nodes find each other.

use crate::support::{Node, Place, Running};

/// Starts `count` nodes at once and waits until a guest sees them all.
fn cold_start(transport: &'static str, count: usize) {
    let place = Place::new(transport);
    let names: Vec<_> = (0..count).map(|number| format!("n{number}")).collect();
    let starting: Vec<_> = names
        .iter()
        .map(|name| place.starts(&["run", "--json", "--name", name, "--value", "of/{node}=1"]))
        .collect();
    let _nodes: Vec<_> = starting.into_iter().map(Node::of).collect();
    let listing = place.json(&["ls", "of/*", "--json", "--timeout", "15"]);
    assert_eq!(listing["expected"], count, "{listing}");
    assert_eq!(listing["declarations"].as_array().map(Vec::len), Some(count), "{listing}");
}

#[test]
fn nodes_that_start_together_find_each_other_over_quic() {
    cold_start("quic", 6);
}

#[test]
fn nodes_that_start_together_find_each_other_over_zmq() {
    cold_start("zmq", 6);
}

#[test]
fn nodes_of_different_buses_do_not_meet() {
    let place = Place::new("quic");
    let _a = place.node("a", &["--bus", "one"]);
    let listing = place.json(&["nodes", "--json", "--bus", "two"]);
    assert_eq!(listing["nodes"].as_array().map(Vec::len), Some(0), "{listing}");
}

#[test]
fn a_node_is_joined_by_address_and_by_host_name() {
    let place = Place::new("quic");
    let elsewhere = Place::new("quic");
    for (listen, host) in [
        ("quic://127.0.0.1:0", "localhost"),
        ("quic://[::1]:0", "[::1]"),
        ("quic://127.0.0.1:0", "127.0.0.1"),
    ] {
        let name = format!("seed-{}", host.len());
        let node = place.node(&name, &["--listen", listen]);
        let (_, port) = node.endpoints[0].rsplit_once(':').expect("a port");
        let files = issue(&place, "guest");
        let url = format!("quic://{host}:{port}");
        let mut args = vec!["nodes", "--json", "--join", &url, "--name", "guest"];
        args.extend(files.iter().map(String::as_str));
        let listing = elsewhere.json(&args);
        assert_eq!(listing["nodes"][0]["node"], name.as_str(), "{listing}");
        node.running.kill();
    }
}

/// The flags for a certificate that the authority of `place` issues for `name`.
pub(crate) fn issue(place: &Place, name: &str) -> Vec<String> {
    let out = place.path("issued");
    let out = out.to_string_lossy();
    let issued = place.json(&["ca", "issue", name, "--out", &out, "--json"]);
    let file = |field: &str| issued[field].as_str().expect("a path").to_owned();
    let flags = [("--cert", "cert"), ("--key", "key"), ("--ca", "ca")];
    flags.into_iter().flat_map(|(flag, field)| [flag.to_owned(), file(field)]).collect()
}

#[test]
fn nodes_over_zmq_meet_on_loopback_tcp() {
    let place = Place::new("zmq");
    let elsewhere = Place::new("zmq");
    let node = place.node("a", &["--listen", "zmq://127.0.0.1:0"]);
    let listing = elsewhere.json(&["nodes", "--json", "--join", &node.endpoints[0]]);
    assert_eq!(listing["nodes"][0]["node"], "a", "{listing}");
}

/// They share no runtime folder, as on different machines, and nobody says where to listen.
#[test]
fn nodes_that_join_over_zmq_by_address_are_reached_by_everybody() {
    let [seed, one, two, guest] = [(); 4].map(|()| Place::new("zmq"));
    let seed = seed.node("seed", &["--listen", "zmq://127.0.0.1:0"]);
    let url = seed.endpoints[0].as_str();
    let _one = one.node("one", &["--join", url, "--value", "of/one=1"]);
    let _two = two.node("two", &["--join", url, "--value", "of/two=1"]);
    let samples = guest.ends(&["sub", "of/*", "--join", url, "--count", "2", "--timeout", "15"]);
    assert_eq!(samples.code, Some(0), "{}", samples.stderr);
    let listing = guest.json(&["ls", "--join", url, "--json", "--timeout", "15"]);
    assert_eq!((&listing["expected"], &listing["answered"]), (&3.into(), &3.into()), "{listing}");
}

#[test]
fn a_node_may_use_several_transports() {
    let place = Place::new("quic");
    let node =
        place.node("a", &["--listen", "quic://127.0.0.1:0", "--listen", "zmq://127.0.0.1:0"]);
    assert_eq!(node.endpoints.len(), 2, "{:?}", node.endpoints);
    for transport in ["quic", "zmq"] {
        let listing = place.json(&["nodes", "--json", "--transport", transport]);
        assert_eq!(listing["nodes"][0]["transport"], transport, "{listing}");
    }
}

#[test]
fn nodes_that_share_no_transport_are_told_so() {
    let place = Place::new("quic");
    let _a = place.node("a", &["--transport", "zmq"]);
    let listing = place.ends(&["ls"]);
    assert_eq!(listing.code, Some(2));
    assert!(listing.stderr.contains("over zmq"), "{}", listing.stderr);
    assert!(listing.stderr.contains("--transport zmq"), "{}", listing.stderr);
}

#[test]
fn who_looks_on_the_wrong_bus_is_told_where_nodes_are() {
    let place = Place::new("quic");
    let _node = place.node("a", &["--bus", "plant"]);
    for command in ["ls", "nodes"] {
        let listing = place.ends(&[command]);
        assert_eq!(listing.code, Some(0), "{}", listing.stderr);
        let told = "nobody is on bus default, but there are nodes on plant: use --bus";
        assert!(listing.stderr.contains(told), "{}", listing.stderr);
    }
}

/// As from `cron` or `su`, which lack the variable that a session has. What is the default
/// then is this user's, so the bus has a name of its own.
#[test]
fn nodes_with_another_default_folder_are_found_or_told_of() {
    for transport in ["quic", "zmq"] {
        let place = Place::new(transport);
        let bus = format!("elsewhere-{transport}-{}", std::process::id());
        let command = |args: &[&str]| {
            let mut command = place.command(args);
            command.env("DSE_BUS", &bus).env_remove("DSE_RUNTIME_DIR");
            command.env_remove("XDG_RUNTIME_DIR");
            command
        };
        let node = Node::of(Running::of(command(&["run", "--json", "--name", "a"])));
        let mut ls = command(&["ls", "--json", "--timeout", "2"]);
        let ended = ls.env("XDG_RUNTIME_DIR", place.path("session")).output().expect("started");
        drop(node);
        let uid = rustix::process::geteuid().as_raw();
        for root in [format!("/run/user/{uid}/dse"), format!("/tmp/dse-{uid}")] {
            // It is in one of them.
            let _ = std::fs::remove_dir_all(format!("{root}/{bus}.bus"));
        }

        let stderr = String::from_utf8_lossy(&ended.stderr);
        let listing: serde_json::Value = serde_json::from_slice(&ended.stdout).expect("JSON");
        if transport == "quic" {
            assert_eq!(listing["answered"], 1, "{listing} {stderr}");
            assert_eq!(listing["complete"], true, "{listing} {stderr}");
        } else {
            // Its socket is known by a name within its folder.
            assert_eq!(listing["complete"], false, "{listing} {stderr}");
            assert!(stderr.contains("use --runtime-dir /"), "{stderr}");
            assert_eq!(ended.status.code(), Some(1), "{stderr}");
        }
    }
}

#[test]
fn the_authority_issues_and_shows_certificates() {
    let place = Place::new("quic");
    for command in [&["ca", "show", "--bus", "b"] as &[&str], &["ca", "issue", "x", "--bus", "b"]] {
        let missing = place.ends(command);
        assert_eq!(missing.code, Some(1));
        let told = "make one with `dse-node ca init --bus b`";
        assert!(missing.stderr.contains(told), "{}", missing.stderr);
    }

    let made = place.json(&["ca", "init", "--json"]);
    assert_eq!(made["authority"], true);
    let again = place.json(&["ca", "init", "--json"]);
    assert_eq!(made["sha256"], again["sha256"], "an authority is made once");
    let flags = issue(&place, "web-2");
    let shown = place.json(&["ca", "show", &flags[1], "--json"]);
    assert_eq!(shown["name"], "web-2");
    assert_eq!(shown["issuer"], made["subject"]);
}
