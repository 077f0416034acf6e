//! A bus on which nothing happens does nothing (law L1), and time passes for nobody.

use std::time::Duration;

use dse_sim::world::World;

#[test]
fn an_idle_bus_has_no_timer_and_sends_no_message_for_an_hour() {
    let mut world = World::new(1);
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    world.start_serving(&names);
    world.subscribe("a", "**");
    world.subscribe("b", "c/*");
    world.ask("d", "**");
    world.run_until_quiet();
    world.reset_counts();
    let events: usize = names.iter().map(|name| world.node(name).events.len()).sum();
    world.run_for(Duration::from_secs(3600));
    for name in names {
        assert_eq!(world.node(name).bus().poll_timeout(), None);
        assert_eq!(world.node(name).sent_in_all(), 0);
    }
    assert_eq!(names.iter().map(|name| world.node(name).events.len()).sum::<usize>(), events);
    assert!(!world.step(), "nothing is left to happen");
}

#[test]
fn a_node_alone_waits_for_nothing() {
    let mut world = World::new(2);
    world.start("a");
    world.declare("a", "a/x");
    world.subscribe("a", "**");
    world.run_until_quiet();
    assert_eq!(world.now(), Duration::ZERO);
}

#[test]
fn after_each_kind_of_event_the_bus_comes_to_rest() {
    let mut world = World::new(3);
    world.start_serving(&["a", "b", "c"]);
    let steps: [fn(&mut World); 6] = [
        |world| world.declare("b", "b/new"),
        |world| world.undeclare("b", "b/new"),
        |world| {
            world.subscribe("c", "a/**");
        },
        |world| {
            world.request("a", "**");
        },
        |world| world.break_links("a", "b"),
        |world| world.leave("c"),
    ];
    for step in steps {
        step(&mut world);
        world.run_until_quiet();
        world.assert_converged();
    }
    assert!(world.now() < Duration::from_secs(30), "rest came only at {:?}", world.now());
}

#[test]
fn the_counters_tell_what_was_sent() {
    let mut world = World::new(4);
    world.start_serving(&["a", "b", "c"]);
    let sent: u64 = ["a", "b", "c"].map(|name| world.node(name).sent_in_all()).iter().sum();
    let counted = ["a", "b", "c"].map(|name| world.node(name).counters());
    assert_eq!(counted.iter().map(|c| c.control_messages_sent).sum::<u64>(), sent);
    assert_eq!(counted.iter().map(|c| c.control_messages_received).sum::<u64>(), sent);
    for name in ["a", "b", "c"] {
        let bytes = world.node(name).counters().control_bytes_sent;
        assert_eq!(bytes, world.node(name).sent_bytes());
    }
}
