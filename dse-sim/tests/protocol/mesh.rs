//! Who finds whom: joins, seeds, redials, one link for each pair.

use std::time::Duration;

use dse_core::protocol::{
    Endpoint, Event, Incarnation, LinkId, Member, Members, Message, Open, Span,
};

use dse_sim::world::{Latency, Notice, World, endpoint, id, is, stranger_hello};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Latencies that differ enough to try many orders of arrival.
fn jitter() -> Latency {
    Latency::between(Duration::from_micros(100), Duration::from_millis(30))
}

fn dial_failures(world: &World, at: &str, to: &Endpoint) -> Vec<Duration> {
    let events = world.node(at).events.iter();
    let failed = events
        .filter(|(_, event)| matches!(event, Event::DialFailed { endpoint, .. } if endpoint == to));
    failed.map(|(at, _)| *at).collect()
}

#[test]
fn nodes_that_join_through_different_seeds_meet() {
    let mut world = World::new(1);
    let seeds = [("b", "a"), ("c", "b"), ("d", "a"), ("e", "c")];
    world.start("a");
    world.declare("a", "a/x");
    for (name, seed) in seeds {
        world.start(name);
        world.declare(name, &format!("{name}/x"));
        world.join(name, seed);
    }
    world.run_until_quiet();
    world.assert_converged();
    assert_eq!(world.node("e").linked(), ["a", "b", "c", "d"]);
}

#[test]
fn two_newcomers_at_one_seed_do_not_miss_each_other() {
    for seed in 0..100 {
        let mut world = World::with_latency(seed, jitter());
        for name in ["seed", "x", "y"] {
            world.start(name);
        }
        world.join("x", "seed");
        world.join("y", "seed");
        world.run_until_quiet();
        world.assert_converged();
    }
}

#[test]
fn cold_start_of_many_costs_each_node_messages_in_proportion_to_their_number() {
    const NODES: u64 = 32;
    let mut world = World::with_latency(2, jitter());
    let names: Vec<String> = (0..NODES).map(|number| format!("n{number:02}")).collect();
    for name in &names {
        world.start(name);
        world.declare(name, &format!("{name}/x"));
        world.join(name, "n00");
    }
    world.run_until_quiet();
    world.assert_converged();
    for name in &names {
        let sent = world.node(name).sent_in_all();
        assert!(sent <= 10 * NODES, "{name} sent {sent} messages");
    }
}

#[test]
fn a_join_costs_the_others_a_constant_number_of_messages() {
    let mut world = World::new(3);
    world.start_serving(&["a", "b", "c", "d", "e", "f", "g", "h"]);
    world.reset_counts();
    world.start("new");
    world.declare("new", "new/x");
    world.join("new", "d");
    world.run_until_quiet();
    world.assert_converged();
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        let sent = world.node(name).sent_in_all();
        assert!(sent <= 4, "{name} sent {sent} messages");
    }
    let sent = world.node("new").sent_in_all();
    assert!(sent <= 4 * 8, "the newcomer sent {sent} messages");
}

#[test]
fn when_both_dial_one_link_survives_and_nobody_goes_down() {
    for seed in 0..100 {
        let mut world = World::with_latency(seed, jitter());
        for (name, other) in [("a", "b"), ("b", "a")] {
            world.start(name);
            world.join(name, other);
        }
        world.run_until_quiet();
        world.assert_converged();
        for (name, other) in [("a", "b"), ("b", "a")] {
            let node = world.node(name);
            assert_eq!((node.ups(other), node.downs(other)), (1, 0));
            assert_eq!(node.count(|event| matches!(event, Event::LinkOpened { .. })), 1);
            assert_eq!(node.count(|event| matches!(event, Event::LinkClosed { .. })), 0);
        }
        assert!(world.now() < SECOND, "no link waited for a timeout");
    }
}

#[test]
fn a_link_that_only_one_side_lost_is_replaced_without_a_node_down_at_the_other() {
    for (loser, other) in [("a", "b"), ("b", "a")] {
        let mut world = World::new(4);
        world.start_serving(&["a", "b"]);
        world.lose_links(loser, other);
        world.run_until_quiet();
        world.assert_converged();
        assert_eq!(world.node(other).downs(loser), 0, "{other} never lost {loser}");
        assert_eq!(world.node(other).ups(loser), 1);
        assert_eq!(world.open_links(other).len(), 1);
    }
}

#[test]
fn a_handshake_that_only_one_side_lost_does_not_hold_up_the_next() {
    let mut world = World::new(19);
    world.start("a");
    world.start("b");
    world.join("b", "a");
    // The larger id has offered the link when the smaller one loses it.
    world.run_until("the offer", |world| world.node("b").sent("Open") == 1);
    world.lose_links("a", "b");
    world.join("a", "b");
    world.run_for(SECOND);
    world.assert_linked("a", "b");
}

#[test]
fn nodes_whose_seeds_list_everyone_and_themselves_meet() {
    for seed in 0..20 {
        let mut world = World::with_latency(seed, jitter());
        let names = ["a", "b", "c", "d"];
        for name in names {
            world.start(name);
            for seed in names {
                world.join(name, seed);
            }
        }
        world.run_until_quiet();
        world.assert_converged();
    }
}

#[test]
fn an_unreachable_seed_is_dialled_for_ever_with_growing_jittered_pauses() {
    let mut world = World::new(7);
    world.start("a");
    world.join("a", "nowhere");
    world.run_for(60 * MINUTE);
    let failed = dial_failures(&world, "a", &endpoint("nowhere"));
    let pauses: Vec<Duration> = failed.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses[0] <= Duration::from_millis(110), "the first pause is short: {pauses:?}");
    let late = &pauses[10..];
    assert!(late.iter().all(|pause| *pause >= 5 * SECOND), "later pauses are long");
    assert!(late.iter().all(|pause| *pause <= 11 * SECOND), "no pause is endless");
    assert!(late.windows(2).any(|pair| pair[0] != pair[1]), "pauses differ at random");
    let last = failed.last().expect("many failures");
    assert!(world.now() - *last < 11 * SECOND, "it was given up");

    world.start("nowhere");
    world.run_until_quiet();
    world.assert_linked("a", "nowhere");
}

#[test]
fn a_hint_is_tried_three_times() {
    let mut world = World::new(8);
    world.start("a");
    world.hint("a", "nowhere");
    world.run_until_quiet();
    assert_eq!(dial_failures(&world, "a", &endpoint("nowhere")).len(), 3);
}

#[test]
fn a_member_never_reached_is_dialled_for_a_time_and_then_when_it_is_listed_again() {
    let mut world = World::new(9);
    world.start_mesh(&["a", "b"]);
    world.start("c");
    world.partition(&["c"], &["b"]);
    world.join("c", "a");
    world.run_until_quiet();
    let failed = dial_failures(&world, "c", &endpoint("b"));
    let end = *failed.last().expect("it was dialled");
    assert!(end >= 590 * SECOND && end < 620 * SECOND, "dialled until {end:?}");
    assert_eq!(world.node("c").linked(), ["a"]);

    world.heal();
    world.run_for(MINUTE);
    assert_eq!(world.node("c").linked(), ["a"], "nothing told c to try again");
    world.start("d");
    world.join("d", "a");
    world.run_until_quiet();
    world.assert_converged();
}

#[test]
fn a_member_never_reached_is_found_when_the_network_heals() {
    let mut world = World::new(18);
    world.start_mesh(&["a", "b"]);
    world.start("c");
    world.partition(&["c"], &["b"]);
    world.join("c", "a");
    world.run_for(3 * MINUTE);
    world.heal();
    world.run_until_quiet();
    world.assert_converged();
}

#[test]
fn a_member_never_reached_is_dropped_with_the_last_link_that_listed_it() {
    let mut world = World::new(10);
    world.start_mesh(&["a", "b", "d"]);
    world.start("c");
    world.partition(&["c"], &["b"]);
    world.join("c", "a");
    world.run_for(SECOND);
    assert_eq!(missing(&mut world), ["b"], "it is known to be there");
    world.break_links("c", "a");
    world.run_until("c and a again", |world| world.node("c").linked() == ["a", "d"]);
    assert_eq!(missing(&mut world), ["b"]);
    world.leave("b");
    world.run_for(SECOND);
    world.break_links("c", "a");
    world.break_links("c", "d");
    world.run_until("both again", |world| world.node("c").linked() == ["a", "d"]);
    let failed = dial_failures(&world, "c", &endpoint("b")).len();
    world.run_for(MINUTE);
    assert_eq!(dial_failures(&world, "c", &endpoint("b")).len(), failed, "nobody lists it");
    assert!(missing(&mut world).is_empty());
}

/// Whom a request of c's misses.
fn missing(world: &mut World) -> Vec<String> {
    let report = world.ask("c", "**");
    report.missing.iter().map(|missing| missing.node.to_string()).collect()
}

#[test]
fn a_vanished_member_is_redialled_with_growing_pauses_and_forgotten_in_time() {
    let mut world = World::new(11);
    world.start_serving(&["a", "b", "c"]);
    world.crash("c", Notice::AtOnce);
    let crash = world.now();
    world.run_until_quiet();
    let forgot = |event: &Event| matches!(event, Event::PeerForgotten { node } if is(node, "c"));
    for name in ["a", "b"] {
        let after = world.node(name).first(forgot).expect("c is forgotten") - crash;
        assert!(after >= 600 * SECOND && after < 601 * SECOND, "forgotten after {after:?}");
        let failed = dial_failures(&world, name, &endpoint("c"));
        assert!((50..150).contains(&failed.len()), "{} redials in ten minutes", failed.len());
        assert!(world.node(name).peers().iter().all(|peer| peer.info.node != id("c")));
    }
}

#[test]
fn a_partition_heals_with_the_changes_of_both_sides() {
    let mut world = World::with_latency(12, jitter());
    world.start_serving(&["a", "b", "c", "d", "e"]);
    world.partition(&["a", "b"], &["c", "d", "e"]);
    world.run_for(5 * SECOND);
    world.declare("a", "a/new");
    world.undeclare("b", "b/a");
    world.redeclare("c", "c/a", "text/html");
    world.declare("e", "e/new");
    world.run_for(5 * SECOND);
    world.assert_converged_among(&["a", "b"]);
    world.assert_converged_among(&["c", "d", "e"]);
    world.heal();
    world.run_until_quiet();
    world.assert_converged();
}

#[test]
fn a_one_way_partition_heals() {
    let mut world = World::with_latency(13, jitter());
    world.start_serving(&["a", "b", "c"]);
    world.block("a", "b");
    world.run_for(30 * SECOND);
    world.declare("a", "a/new");
    world.declare("b", "b/new");
    world.run_for(SECOND);
    assert_eq!(world.node("a").linked(), ["c"]);
    assert_eq!(world.node("b").linked(), ["c"]);
    world.heal();
    world.run_until_quiet();
    world.assert_converged();
}

#[test]
fn a_short_break_of_the_network_that_no_link_noticed_loses_nothing() {
    let mut world = World::new(14);
    world.start_serving(&["a", "b"]);
    world.partition(&["a"], &["b"]);
    world.declare("a", "a/new");
    world.run_for(SECOND / 2);
    world.heal();
    world.run_until_quiet();
    world.assert_converged();
    assert_eq!(world.node("a").downs("b") + world.node("b").downs("a"), 0);
}

#[test]
fn a_partition_longer_than_the_memory_heals_over_the_seeds() {
    let mut world = World::new(15);
    world.start_serving(&["a", "b", "c", "d"]);
    world.partition(&["a", "b"], &["c", "d"]);
    world.run_for(15 * MINUTE);
    let forgot = |event: &Event| matches!(event, Event::PeerForgotten { node } if is(node, "c"));
    assert_eq!(world.node("b").count(forgot), 1, "b has forgotten c");
    world.heal();
    world.run_until_quiet();
    world.assert_converged();
}

/// What a stranger heard of whom the node at the other end has or dials.
fn heard_census(world: &mut World, stranger: &str, link: LinkId) -> Vec<Span> {
    world.run_for(Duration::from_millis(10));
    let opened = |message: Message| match message {
        Message::Open(open) => Some(open.census),
        _ => None,
    };
    world.heard(stranger, link).into_iter().find_map(opened).expect("an Open")
}

/// The stranger says that there is a member that nobody can reach.
fn list(world: &mut World, link: LinkId, node: &str, incarnation: Incarnation) {
    let member = Member { node: id(node), incarnation, endpoints: vec![endpoint(node)] };
    let members = Members { request: None, last: true, members: vec![member] };
    world.say(link, Message::Members(members));
    world.run_for(Duration::from_millis(10));
}

#[test]
fn an_open_counts_whom_its_sender_dials_by_start() {
    let mut world = World::new(30);
    world.start("a");
    for stranger in ["x", "y", "z"] {
        world.start_stranger(stranger);
    }
    let first = world.open_as_stranger("x", "a");
    list(&mut world, first, "c", Incarnation(7));
    let second = world.open_as_stranger("y", "a");
    let froms = |census: Vec<Span>| census.iter().map(|span| span.from.0).collect::<Vec<_>>();
    assert_eq!(froms(heard_census(&mut world, "y", second)), [7, 1], "c, and x, which is linked");
    list(&mut world, first, "c", Incarnation(8));
    let third = world.open_as_stranger("z", "a");
    assert_eq!(froms(heard_census(&mut world, "z", third)), [8, 1], "c, and x and y");
}

#[test]
fn nobody_is_told_of_whom_it_has() {
    let mut world = World::new(31);
    world.start_mesh(&["a", "b"]);
    for stranger in ["y", "z"] {
        world.start_stranger(stranger);
    }
    let first = world.open_as_stranger("y", "a");
    let census = heard_census(&mut world, "y", first);
    let link = world.dial("z", "a");
    world.say(link, Message::Hello(stranger_hello("z", 1)));
    let echo = world.hello_from("z", link).link_nonce;
    world.say(link, Message::Open(Open { echo, held: None, known: None, census }));
    world.run_for(Duration::from_secs(1));
    let listed = |message: Message| match message {
        Message::Members(members) => members.members,
        _ => Vec::new(),
    };
    let listed: Vec<_> = world.heard("z", link).into_iter().flat_map(listed).collect();
    assert_eq!(listed.iter().map(|member| member.node.as_str()).collect::<Vec<_>>(), ["y"]);
}

#[test]
fn a_member_that_is_listed_in_another_incarnation_is_probed() {
    for (later, down) in [(0, 0), (1, 1)] {
        let mut world = World::new(32);
        world.start_mesh(&["a", "b"]);
        world.start_stranger("z");
        let link = world.open_as_stranger("z", "a");
        let Incarnation(present) = world.node("b").config().incarnation;
        world.freeze("b");
        list(&mut world, link, "b", Incarnation(present + later));
        world.run_for(Duration::from_millis(800));
        assert_eq!(world.node("a").downs("b"), down);
    }
}

#[test]
fn who_was_not_listed_because_it_was_dialled_is_not_forgotten_with_who_listed_it() {
    let mut world = World::new(34);
    world.start_mesh(&["b", "c", "d"]);
    world.start("a");
    world.partition(&["a"], &["c"]);
    world.join("a", "b");
    world.run_for(Duration::from_secs(1));
    world.assert_linked("a", "d");
    world.leave("b");
    world.run_for(Duration::from_secs(1));
    world.heal();
    world.run_for(MINUTE);
    world.assert_linked("a", "c");
}

#[test]
fn a_newcomer_is_told_once_who_there_is() {
    let mut world = World::new(1);
    let names: Vec<String> = (0..12).map(|number| format!("node-{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    world.start_serving(&names);
    world.reset_counts();
    // Smaller than all, between them, and larger than all: it decides, or the others do.
    for (told, newcomer) in ["a", "node-05b", "z"].into_iter().enumerate() {
        world.start(newcomer);
        world.join(newcomer, "node-03");
        world.run_until_quiet();
        let members: u64 = world.nodes().iter().map(|node| node.sent("Members")).sum();
        assert_eq!(members, told as u64 + 1, "{newcomer} was told by its seed and no one else");
    }
    world.assert_converged();
}
