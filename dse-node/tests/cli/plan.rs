//! What `plan` tells, held against the bus itself.

use dse_sim::scale::bus;
use dse_sim::scale::outcome::Step;

use crate::support::Place;

#[test]
fn plan_tells_what_a_simulated_bus_costs() {
    let (nodes, keys) = (32, 5);
    let place = Place::new("quic");
    let plan = place.json(&["plan", "--nodes", "32", "--keys", "5", "--json"]);
    let measured = bus::measure(nodes, keys, 4, 1);
    let of = |step| measured.outcomes.iter().find(|(of, _)| *of == step).expect("a step").1.clone();
    let near = |field: &str, is: u64| {
        let told = plan[field].as_u64().expect("a number");
        assert!(told.abs_diff(is) * 4 <= is, "{field}: {told} is told of {is}");
    };
    let join = of(Step::Join);
    near("join_messages", join.messages);
    near("join_bytes", join.bytes);
    // The simulated change comes while there is one more node.
    let change = of(Step::Change);
    near("change_messages", change.messages);
    near("change_bytes", change.bytes);
    assert_eq!(plan["idle_messages"], of(Step::IdleHour).messages);
}

#[test]
fn plan_needs_no_folder() {
    let mut command = Place::new("quic").command(&["plan", "--nodes", "2"]);
    for name in ["HOME", "XDG_DATA_HOME", "DSE_DATA_DIR", "DSE_RUNTIME_DIR"] {
        command.env_remove(name);
    }
    let ended = command.output().expect("started");
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
}

#[test]
fn plan_multiplies_by_links_and_changes() {
    let place = Place::new("quic");
    let args = ["plan", "--nodes", "500", "--keys", "20", "--changes-per-minute", "10", "--json"];
    let plan = place.json(&args);
    assert_eq!(plan["links_per_node"], 499);
    assert_eq!(plan["links"], 124_750);
    assert_eq!(plan["node_messages_per_minute"], 2 * 10 * 499);
    let small = place.json(&["plan", "--nodes", "8", "--json"]);
    assert_eq!(plan["watch_bytes_per_second"], small["watch_bytes_per_second"]);
    let memory = |transport: &str| plan["memory_bytes"][transport].as_u64().expect("a number");
    assert!(memory("quic") > memory("zmq"), "{plan}");

    let text = place.ends(&args[..args.len() - 1]);
    assert_eq!(text.code, Some(0), "{}", text.stderr);
    assert!(text.stdout.contains("links on the bus"), "{}", text.stdout);
}
