//! A node that listens on a wildcard address is reached from another machine: two
//! network namespaces, joined by a pair of virtual Ethernet devices.

use std::process::{Command, Stdio};

use dse_core::conformance::skip;

use crate::discovery::issue;
use crate::support::{Ended, Node, Place, Running};

/// Two namespaces that see each other at 10.213.N.1 and 10.213.N.2. Removed when
/// dropped.
struct Namespaces {
    names: [String; 2],
    addresses: [String; 2],
}

impl Namespaces {
    /// None where that is not allowed.
    fn new(number: u32) -> Option<Self> {
        let id = std::process::id();
        let names = [format!("dse-a{number}-{id}"), format!("dse-b{number}-{id}")];
        let addresses = [format!("10.213.{number}.1"), format!("10.213.{number}.2")];
        let devices = [format!("da{number}-{id}"), format!("db{number}-{id}")];
        let this = Self { names, addresses };
        for name in &this.names {
            ip(&["netns", "add", name])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
        }
        let [a, b] = &devices;
        ip(&["link", "add", a, "type", "veth", "peer", "name", b])?;
        for ((name, device), address) in this.names.iter().zip(&devices).zip(&this.addresses) {
            ip(&["link", "set", device, "netns", name])?;
            ip(&["-n", name, "addr", "add", &format!("{address}/24"), "dev", device])?;
            ip(&["-n", name, "link", "set", device, "up"])?;
        }
        Some(this)
    }

    /// A command within one of the two.
    fn command(&self, side: usize, place: &Place, args: &[&str]) -> Command {
        let mut command = Command::new("ip");
        place.set_up(&mut command);
        command.args(["netns", "exec", &self.names[side], env!("CARGO_BIN_EXE_dse-node")]);
        command.args(args);
        command
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.names {
            // The devices go with their namespace.
            let _ = ip(&["netns", "del", name]);
        }
    }
}

fn ip(args: &[&str]) -> Option<()> {
    let status = Command::new("ip").args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.ok()?.success().then_some(())
}

fn wildcard(test: &str, transport: &'static str, number: u32, more: &[&str]) {
    let Some(namespaces) = Namespaces::new(number) else {
        return skip(test, "network namespaces need root and the command `ip`");
    };
    let (here, there) = (Place::new(transport), Place::new(transport));
    let listen = format!("{transport}://0.0.0.0:0");
    let mut args = vec!["run", "--json", "--name", "a", "--listen", &listen, "--value", "x=1"];
    args.extend(more);
    let node = Node::of(Running::of(namespaces.command(0, &here, &args)));
    let endpoint = node
        .endpoints
        .iter()
        .find(|endpoint| endpoint.contains(&namespaces.addresses[0]))
        .unwrap_or_else(|| panic!("the interface's address is not told: {:?}", node.endpoints));

    let files = if transport == "quic" { issue(&here, "b") } else { Vec::new() };
    let certified = files.iter().map(String::as_str).chain(more.iter().copied());
    // The other side listens where the first can reach it, with no word about it.
    let mut args = vec!["run", "--json", "--name", "b", "--value", "y=1", "--join", endpoint];
    args.extend(certified.clone());
    let other = Node::of(Running::of(namespaces.command(1, &there, &args)));
    let told = other.endpoints.iter().any(|it| it.contains(&namespaces.addresses[1]));
    assert!(told, "the joining node does not tell its address: {:?}", other.endpoints);

    // A guest that joins through the first is sent on to the second.
    let mut args = vec!["ls", "--json", "--name", "b", "--join", endpoint];
    args.extend(certified);
    let Ended { code, stdout, stderr } = Ended::of(namespaces.command(1, &there, &args));
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    let listing: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!((&listing["expected"], &listing["answered"]), (&2.into(), &2.into()), "{listing}");
}

#[test]
fn a_wildcard_is_reached_from_another_namespace_over_quic() {
    wildcard("a_wildcard_is_reached_from_another_namespace_over_quic", "quic", 1, &[]);
}

#[test]
fn a_wildcard_is_reached_from_another_namespace_over_zmq() {
    let trust = &["--zmq-trust-network"];
    wildcard("a_wildcard_is_reached_from_another_namespace_over_zmq", "zmq", 2, trust);
}

#[test]
fn what_is_advertised_is_told_instead() {
    let place = Place::new("quic");
    let url = "quic://dse.example:7447";
    let node = place.node("a", &["--listen", "quic://127.0.0.1:0", "--advertise", url]);
    assert_eq!(node.endpoints, [url]);
}
