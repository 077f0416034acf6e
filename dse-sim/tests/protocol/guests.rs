//! Guests ask and are no part of the bus.

use std::time::Duration;

use dse_core::protocol::{
    Command, CommandError, DialError, Event, Hello, InterestOptions, Message, Open, RejectReason,
    Role, SubscriptionId,
};

use dse_sim::world::{Latency, Notice, World, declaration, expr, is, stranger_hello};

fn with_guest() -> World {
    let mut world = World::new(1);
    world.start_serving(&["a", "b", "c"]);
    world.start_guest("guest", "b");
    world.run_until_quiet();
    world.assert_converged();
    world
}

#[test]
fn a_guest_asks_everyone() {
    let mut world = with_guest();
    let report = world.ask("guest", "**");
    assert_eq!(report.matches.len(), 3);
    assert_eq!((report.expected, report.answered, report.complete), (3, 3, true));
}

#[test]
fn a_guest_that_has_just_started_asks_everyone() {
    let mut world = World::new(2);
    world.start_serving(&["a", "b", "c"]);
    world.start_guest("guest", "b");
    let report = world.ask("guest", "**");
    assert_eq!((report.expected, report.matches.len(), report.complete), (3, 3, true));
}

#[test]
fn a_guest_is_no_member() {
    let mut world = with_guest();
    for name in ["a", "b", "c"] {
        assert_eq!(world.node(name).ups("guest"), 0);
        assert_eq!(world.ask(name, "**").expected, 2, "a guest is not asked");
    }
    // Who comes later is told of members alone.
    world.start("d");
    world.join("d", "a");
    world.run_until_quiet();
    assert_eq!(world.node("d").linked(), ["a", "b", "c"]);
    assert!(world.ask("d", "**").complete, "the memberships agree without the guest");
}

#[test]
fn a_guest_is_sent_no_announcements() {
    let mut world = with_guest();
    world.reset_counts();
    world.declare("a", "a/new");
    world.run_until_quiet();
    assert_eq!(world.node("a").sent("Delta"), 2);
    assert!(world.node("guest").knows().is_empty(), "a guest keeps no directory");
    assert_eq!(world.ask("guest", "a/new").matches.len(), 1);
}

#[test]
fn a_guest_declares_and_subscribes_nothing() {
    let mut world = with_guest();
    let result = world.try_declare("guest", declaration("guest/x"));
    assert_eq!(result, Err(CommandError::Guest));
    let (subscription, keys) = (SubscriptionId(1), expr("**"));
    let options = InterestOptions::default();
    let subscribe = |ticket| Command::Subscribe { ticket, subscription, keys, options };
    assert_eq!(world.try_command("guest", subscribe), Err(CommandError::Guest));
}

#[test]
fn nobody_misses_a_guest() {
    for crash in [true, false] {
        let mut world = with_guest();
        let start = world.now();
        match crash {
            true => world.crash("guest", Notice::AtOnce),
            false => world.leave("guest"),
        }
        world.run_until_quiet();
        assert!(world.now() - start < Duration::from_secs(1), "nobody waits for a guest");
        for name in ["a", "b", "c"] {
            assert_eq!(world.node(name).downs("guest") + world.node(name).lefts("guest"), 0);
            let peers = world.node(name).peers();
            assert!(peers.iter().all(|peer| peer.info.role == Role::Member), "{peers:?}");
            assert_eq!(world.open_links(name).len(), 2);
        }
    }
}

#[test]
fn a_guest_finds_who_joins_later_through_its_next_request() {
    let mut world = with_guest();
    world.start("d");
    world.declare("d", "d/a");
    world.join("d", "a");
    world.run_until_quiet();
    let report = world.ask("guest", "**");
    assert_eq!((report.expected, report.matches.len(), report.complete), (4, 4, true));
}

#[test]
fn a_node_serves_as_many_guests_as_it_will() {
    let mut world = World::new(3);
    world.start_with("a", |config| config.guests_max = 2);
    for guest in ["g1", "g2", "g3"] {
        world.start_guest(guest, "a");
        world.run_for(Duration::from_millis(50));
    }
    assert_eq!(world.node("a").linked(), ["g1", "g2"]);
    let full = |event: &Event| {
        matches!(
            event,
            Event::DialFailed {
                error: DialError::Rejected(RejectReason::GuestsFull { limit: 2 }),
                ..
            }
        )
    };
    assert!(world.node("g3").count(full) > 0);
    world.leave("g1");
    world.run_until_quiet();
    world.assert_linked("a", "g3");
}

#[test]
fn a_guest_sees_members_come_and_go_by_its_links_alone() {
    let mut world = with_guest();
    world.crash("c", Notice::AtOnce);
    world.run_for(Duration::from_millis(10));
    assert_eq!(world.node("guest").linked(), ["a", "b"]);
    let refused = |event: &Event| matches!(event, Event::PeerRefused { node: Some(node), .. } if is(node, "guest"));
    assert_eq!(world.node("a").count(refused), 0);
}

/// If the node's id is the larger, a guest opens its link first, and learns from the Reject
/// that another took the place.
#[test]
fn guests_that_come_together_are_no_more_than_may_come() {
    for (seed, name) in (0..20).flat_map(|seed| [(seed, "a"), (seed, "z")]) {
        // Hellos of all come before the first link opens.
        let latency = Latency::between(Duration::from_millis(1), Duration::from_millis(50));
        let mut world = World::with_latency(seed, latency);
        world.start_with(name, |config| config.guests_max = 1);
        for guest in ["g", "h", "i"] {
            world.start_guest(guest, name);
        }
        world.run_for(Duration::from_secs(1));
        assert_eq!(world.node(name).linked().len(), 1);
    }
}

#[test]
fn a_guest_of_a_full_bus_has_a_link_with_every_member() {
    let mut world = World::new(5);
    world.start_with("guest", |config| {
        config.role = Role::Guest;
        config.endpoints.clear();
        config.peers_max = 3;
    });
    for name in ["a", "b", "c"] {
        world.start_with(name, |config| config.peers_max = 3);
        world.join(name, "a");
        world.join("guest", name);
        world.run_until_quiet();
    }
    assert_eq!(world.node("guest").linked(), ["a", "b", "c"]);
}

#[test]
fn nobody_dials_a_guest_that_is_gone() {
    let mut world = World::new(30);
    world.start("a");
    world.start_stranger("z");
    let link = world.dial("z", "a");
    // It tells an endpoint, as a guest need not.
    world.say(link, Message::Hello(Hello { role: Role::Guest, ..stranger_hello("z", 1) }));
    let echo = world.hello_from("z", link).link_nonce;
    let open = Open { echo, held: None, known: None, census: Vec::new() };
    world.say(link, Message::Open(open));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.node("a").linked(), ["z"]);
    world.break_links("a", "z");
    world.run_for(Duration::from_secs(30));
    assert!(world.fresh_links("z").is_empty());
}
