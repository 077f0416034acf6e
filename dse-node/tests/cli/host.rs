//! Several commands within one process, and a node that is told what to do.

use std::io::Write;
use std::process::{ChildStdin, Stdio};

use serde_json::Value;

use crate::support::{Place, Running};

/// A process whose standard input is held open.
struct Told {
    running: Running,
    stdin: ChildStdin,
}

impl Told {
    fn start(place: &Place, args: &[&str]) -> Self {
        let mut command = place.command(args);
        command.stdin(Stdio::piped());
        let mut running = Running::of(command);
        let stdin = running.stdin();
        Self { running, stdin }
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").expect("told");
    }

    /// The next JSON line that a job prints and that fits.
    fn job_prints(&mut self, tag: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let inner = |line: &Value| -> Option<Value> {
            serde_json::from_str(line["stdout"].as_str().filter(|_| line["tag"] == tag)?).ok()
        };
        let line = self.running.prints(tag, |line| inner(line).is_some_and(|it| fits(&it)));
        inner(&line).expect("it fitted")
    }

    fn exits(&mut self, tag: &str) -> Value {
        let line =
            self.running.prints("exit", |line| line["tag"] == tag && !line["exit"].is_null());
        line["exit"].clone()
    }
}

#[test]
fn jobs_of_a_host_meet_over_mem() {
    let place = Place::new("mem");
    let mut host = Told::start(&place, &["host"]);
    host.tell("a run --json --name a --value 'site/name=Hall 7'");
    host.job_prints("a", |line| line["event"] == "ready");
    host.tell("w watch --json");
    host.job_prints("w", |line| line["event"] == "declared" && line["key"] == "site/name");

    host.tell("s sub --json 'site/**' --count 1");
    let sample = host.job_prints("s", |line| line["key"] == "site/name");
    assert_eq!(sample["payload"], "Hall 7");
    assert_eq!(host.exits("s"), 0);

    host.tell("kill a");
    host.job_prints("w", |line| line["event"] == "node_down" && line["node"] == "a");
    host.tell("a run --json --name a");
    host.job_prints("w", |line| line["event"] == "node_up" && line["node"] == "a");
    host.tell("stop a");
    host.job_prints("w", |line| line["event"] == "node_left" && line["node"] == "a");

    host.tell("bad sub");
    assert_eq!(host.exits("bad"), 2);
    drop(host.stdin);
    assert_eq!(host.running.end().code(), Some(0));
}

#[test]
fn a_node_tells_and_obeys() {
    let place = Place::new("quic");
    let mut node = Told::start(&place, &["run", "--json", "--name", "a", "--control-stdin"]);
    node.running.prints("ready", |line| line["event"] == "ready");
    let _peer = place.node("b", &["--value", "x=1"]);
    node.running.prints("node_up", |line| line["event"] == "node_up" && line["node"] == "b");
    node.running.prints("declared", |line| line["event"] == "declared" && line["key"] == "x");

    node.tell("set y 2");
    let set = node.running.prints("set", |line| line["event"] == "set");
    assert!(set["key"] == "y" && set["time_ns"].is_u64(), "{set}");
    let sample = place.ends(&["sub", "y", "--count", "1", "--timeout", "10"]);
    assert_eq!(sample.stdout, "y 2\n", "{}", sample.stderr);

    node.tell("stats");
    let stats = node.running.prints("stats", |line| line["event"] == "stats");
    assert!(stats["control_messages_sent"].as_u64() > Some(0), "{stats}");
    node.tell("leave");
    node.running.prints("stats", |line| line["event"] == "stats");
    assert_eq!(node.running.end().code(), Some(0));
}
