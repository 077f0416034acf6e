//! Indexes: announced once to each peer, whole or as a change, and owned by their node.

use std::time::Duration;

use dse_core::protocol::{
    Command, CommandError, Declaration, Delta, Event, IndexVersion, Kind, Message, Open,
    RejectReason, Snapshot,
};

use dse_sim::world::{Notice, World, declaration, id, key, stranger_hello};

#[test]
fn one_change_costs_one_small_message_to_each_peer() {
    let mut world = World::new(1);
    world.start_mesh(&["a", "b", "c", "d"]);
    for number in 0..200 {
        world.declare("a", &format!("a/{number}"));
    }
    world.run_until_quiet();
    world.reset_counts();
    world.declare("a", "a/new");
    world.run_until_quiet();
    world.assert_converged();
    assert_eq!(world.node("a").sent("Delta"), 3);
    assert_eq!(world.node("a").sent_in_all(), 3);
    assert!(world.node("a").sent_bytes() < 3 * 60, "it is of the size of the change");
    for name in ["b", "c", "d"] {
        assert_eq!(world.node(name).sent_in_all(), 0, "nobody relays");
    }
}

#[test]
fn a_burst_of_changes_goes_out_as_one_delta() {
    let mut world = World::new(2);
    world.start_mesh(&["a", "b", "c"]);
    world.reset_counts();
    for number in 0..50 {
        world.declare("a", &format!("a/{number}"));
    }
    world.undeclare("a", "a/7");
    world.run_until_quiet();
    assert_eq!(world.node("a").sent("Delta"), 2, "one to each peer");
    assert_eq!(world.node("b").knows().len(), 49);
}

#[test]
fn what_is_undone_in_the_same_turn_is_not_announced() {
    let mut world = World::new(3);
    world.start_serving(&["a", "b"]);
    world.reset_counts();
    world.declare("a", "a/brief");
    world.undeclare("a", "a/brief");
    world.redeclare("a", "a/a", "text/html");
    world.redeclare("a", "a/a", "text/plain");
    world.run_until_quiet();
    assert_eq!(world.node("a").sent_in_all(), 0);
}

#[test]
fn changes_are_told_as_what_they_are() {
    let mut world = World::new(4);
    world.start_serving(&["a", "b"]);
    world.node_mut("b").forget_events();
    world.redeclare("a", "a/a", "text/html");
    world.run_until_quiet();
    world.undeclare("a", "a/a");
    world.run_until_quiet();
    let html = Declaration::new(key("a/a"), Kind::State, "text/html");
    let (node, incarnation) = (id("a"), world.node("a").config().incarnation);
    let changed = Event::Changed { node: node.clone(), incarnation, declaration: html.clone() };
    let undeclared = Event::Undeclared { node, incarnation, declaration: html };
    let events: Vec<_> = world.node("b").events.iter().map(|(_, event)| event).collect();
    assert_eq!(events, [&changed, &undeclared]);
}

#[test]
fn a_node_declares_a_key_once_and_changes_only_what_it_declares() {
    let mut world = World::new(5);
    world.start("a");
    world.declare("a", "a/x");
    let again = world.try_declare("a", declaration("a/x"));
    assert_eq!(again, Err(CommandError::AlreadyDeclared(key("a/x"))));
    let declaration = declaration("a/y");
    let result = world.try_command("a", |ticket| Command::Redeclare { ticket, declaration });
    assert_eq!(result, Err(CommandError::NotDeclared(key("a/y"))));
    let key = key("a/y");
    let result = world.try_command("a", |ticket| Command::Undeclare { ticket, key: key.clone() });
    assert_eq!(result, Err(CommandError::NotDeclared(key)));
}

#[test]
fn two_nodes_may_declare_one_key() {
    let mut world = World::new(6);
    world.start_mesh(&["a", "b", "c"]);
    world.declare("a", "shared");
    world.declare("b", "shared");
    world.run_until_quiet();
    world.assert_converged();
    assert_eq!(world.node("c").knows(), ["a:shared", "b:shared"]);
}

/// A declaration of almost the size that it may have.
fn large(number: u32) -> Declaration {
    let mut large = declaration(&format!("a/{number}"));
    large.meta.push(("text".into(), "x".repeat(1900).into()));
    large
}

#[test]
fn a_big_index_goes_in_parts_and_is_applied_at_the_last() {
    let mut world = World::new(7);
    world.start_mesh(&["a", "b"]);
    for number in 0..100 {
        world.try_declare("a", large(number)).expect("within the bounds");
    }
    world.run_until("the first part", |world| world.node("a").sent("Delta") > 0);
    while world.node("b").knows().is_empty() {
        assert!(world.step());
    }
    assert!(world.node("a").sent("Delta") > 3, "it took several parts");
    assert_eq!(world.node("b").knows().len(), 100, "all at once");

    world.start("c");
    world.join("c", "a");
    while world.node("c").knows().is_empty() {
        assert!(world.step());
    }
    assert!(world.node("a").sent("Snapshot") > 3, "it took several parts");
    assert_eq!(world.node("c").knows().len(), 100, "all at once");
}

#[test]
fn parts_of_a_fallen_link_do_not_mix_with_those_of_the_next() {
    for parts in 1..4 {
        let mut world = World::new(15);
        world.start_mesh(&["a", "b"]);
        for number in 0..100 {
            world.try_declare("a", large(number)).expect("within the bounds");
        }
        world.hold("a", "b");
        world.run_for(Duration::from_millis(5));
        for _ in 0..parts {
            assert!(world.deliver_next("a", "b"));
        }
        world.lose_links("b", "a");
        world.release("a", "b");
        world.run_until_quiet();
        world.assert_converged();
        assert_eq!(world.node("b").counters().faults, 0);
    }
}

#[test]
fn a_reconnect_with_an_equal_version_sends_no_index() {
    let mut world = World::new(8);
    world.start_serving(&["a", "b"]);
    world.reset_counts();
    world.break_links("a", "b");
    world.run_until_quiet();
    world.assert_converged();
    for name in ["a", "b"] {
        assert_eq!(world.node(name).sent("Hello"), 1, "there was a new link");
        assert_eq!(world.node(name).sent("Snapshot") + world.node(name).sent("Delta"), 0);
    }
}

#[test]
fn a_reconnect_after_a_change_sends_a_snapshot() {
    let mut world = World::new(9);
    world.start_serving(&["a", "b"]);
    world.partition(&["a"], &["b"]);
    world.run_for(Duration::from_secs(3));
    world.declare("a", "a/new");
    world.run_for(Duration::from_secs(1));
    world.reset_counts();
    world.heal();
    world.run_until_quiet();
    world.assert_converged();
    assert_eq!((world.node("a").sent("Snapshot"), world.node("b").sent("Snapshot")), (1, 0));
}

#[test]
fn the_index_of_a_peer_that_is_down_is_invisible() {
    let mut world = World::new(10);
    world.start_serving(&["a", "b", "c"]);
    world.crash("c", Notice::AtOnce);
    world.run_for(Duration::from_millis(10));
    assert_eq!(world.node("a").knows(), ["a:a/a", "b:b/a"]);
    let report = world.ask("a", "c/**");
    assert!(report.matches.is_empty());
}

#[test]
fn members_that_others_list_are_not_in_the_directory() {
    let mut world = World::new(11);
    world.start_serving(&["a", "b"]);
    world.start("c");
    world.partition(&["c"], &["b"]);
    world.join("c", "a");
    world.run_until_quiet();
    assert_eq!(world.node("c").knows(), ["a:a/a"]);
}

#[test]
fn a_delta_that_does_not_fit_closes_the_link_and_says_why() {
    let mut world = World::new(12);
    world.start("a");
    world.start_stranger("z");
    let link = world.open_as_stranger("z", "a");
    let delta = Delta {
        from: IndexVersion(5),
        to: IndexVersion(6),
        part: 0,
        last: true,
        set: vec![declaration("z/x")],
        unset: Vec::new(),
    };
    world.say(link, Message::Delta(delta));
    world.run_until("the end of the link", |world| !world.stands(link));
    let rejected = |message: &Message| matches!(message, Message::Reject(reject) if matches!(reject.reason, RejectReason::Fault { .. }));
    assert!(world.heard("z", link).iter().any(rejected));
    assert_eq!(world.node("a").counters().faults, 1);
    assert!(world.node("a").knows().is_empty());
}

#[test]
fn what_was_in_doubt_is_not_kept() {
    let mut world = World::new(13);
    world.start("a");
    world.start_stranger("z");
    let link = world.open_as_stranger("z", "a");
    let snapshot = |version, part, last, text: &str| {
        let declarations = vec![declaration(text)];
        Message::Snapshot(Snapshot { version: IndexVersion(version), part, last, declarations })
    };
    world.say(link, snapshot(1, 0, true, "z/first"));
    world.say(link, snapshot(2, 0, false, "z/never"));
    world.run_for(Duration::from_millis(10));
    assert_eq!(world.node("a").knows(), ["z:z/first"], "a part alone changes nothing");
    // The parts do not follow each other.
    world.say(link, snapshot(2, 2, true, "z/never"));
    world.run_until("the end of the link", |world| !world.stands(link));
    let link = world.open_as_stranger("z", "a");
    assert!(world.node("a").knows().is_empty());
    world.say(link, snapshot(3, 0, true, "z/third"));
    world.run_for(Duration::from_millis(10));
    assert_eq!(world.node("a").knows(), ["z:z/third"]);
}

#[test]
fn the_old_systems_broadcast_sends_the_whole_index_to_everyone() {
    let mut world = World::new(14);
    world.start_serving(&["a", "b", "c"]);
    world.reset_counts();
    world.command("a", Command::Reannounce);
    world.run_until_quiet();
    assert_eq!(world.node("a").sent("Snapshot"), 2);
    world.assert_converged();
}

#[test]
fn a_peer_forgotten_in_mid_handshake_tells_its_index_anew() {
    let mut world = World::new(16);
    world.start("a");
    world.start_with("b", |config| config.forget_after = Duration::from_secs(2));
    world.join("b", "a");
    world.declare("a", "a/one");
    world.run_until("b knows", |world| !world.node("b").knows().is_empty());
    world.break_links("a", "b");
    world.run_for(Duration::from_millis(5));
    world.hold("a", "b");
    world.run_for(Duration::from_millis(200));
    // `b` says in its Open what it knows of `a`, and has forgotten it when the answer comes.
    while world.deliver_next("a", "b") {}
    assert_eq!(world.node("b").sent("Open"), 2);
    while world.deliver_next("b", "a") {}
    world.run_for(Duration::from_secs(3));
    assert_eq!(world.node("b").peers(), []);
    world.release("a", "b");
    world.run_for(Duration::from_millis(20));
    world.declare("a", "a/two");
    world.run_until_quiet();
    world.assert_converged();
}

#[test]
fn a_snapshot_that_is_older_than_what_is_known_is_a_fault() {
    let mut world = World::new(20);
    world.start("a");
    world.start_stranger("z");
    let link = world.open_as_stranger("z", "a");
    let snapshot = |version| Snapshot {
        version: IndexVersion(version),
        part: 0,
        last: true,
        declarations: vec![declaration(&format!("z/{version}"))],
    };
    world.say(link, Message::Snapshot(snapshot(5)));
    world.run_for(Duration::from_millis(10));
    assert_eq!(world.node("a").knows(), ["z:z/5"]);
    world.say(link, Message::Snapshot(snapshot(4)));
    world.run_for(Duration::from_millis(10));
    assert!(!world.stands(link));
    assert_eq!(world.node("a").counters().faults, 1);
}

#[test]
fn a_change_made_while_a_link_opens_is_told_once() {
    for steps in 0..12 {
        let mut world = World::new(21);
        world.start_serving(&["a", "b"]);
        world.start_stranger("z");
        let link = world.dial("z", "a");
        world.say(link, Message::Hello(stranger_hello("z", 1)));
        let echo = world.hello_from("z", link).link_nonce;
        let open = Open { echo, held: None, known: None, census: Vec::new() };
        world.say(link, Message::Open(open));
        for _ in 0..steps {
            world.step();
        }
        world.declare_quietly("a", "a/new");
        world.run_for(Duration::from_secs(1));
        let told = |message: &Message| match message {
            Message::Snapshot(snapshot) => snapshot.declarations.contains(&declaration("a/new")),
            Message::Delta(delta) => delta.set.contains(&declaration("a/new")),
            _ => false,
        };
        let times = world.heard("z", link).iter().filter(|message| told(message)).count();
        assert_eq!(times, 1, "after {steps} steps");
    }
}

#[test]
fn who_only_claims_an_id_cannot_spoil_what_is_known_of_its_node() {
    let mut world = World::new(22);
    world.start_serving(&["a", "b"]);
    world.partition(&["a"], &["b"]);
    world.break_links("a", "b");
    world.run_for(Duration::from_secs(1));
    world.reset_counts();
    world.start_stranger("z");
    let link = world.dial("z", "a");
    world.say(link, Message::Hello(stranger_hello("b", 1)));
    world.say_bytes(link, &[0xff; 40]);
    world.run_for(Duration::from_secs(1));
    assert!(!world.stands(link));
    assert_eq!(world.node("a").counters().faults, 1);
    world.heal();
    world.run_until_quiet();
    world.assert_converged();
    assert_eq!(world.node("b").sent("Snapshot"), 0, "a knows its index");
}

#[test]
fn what_is_undone_after_a_link_opened_is_undone_for_the_newcomer_too() {
    let mut world = World::new(5);
    world.start("a");
    world.declare("a", "a/x");
    world.run_until_quiet();
    world.start("b");
    world.join("b", "a");
    world.run_until("the offer", |world| world.node("b").sent("Open") == 1);
    assert!(world.deliver_next("b", "a"), "the Hello");
    world.redeclare("a", "a/x", "text/html");
    assert!(world.deliver_next("b", "a"), "the Open");
    assert_eq!(world.node("a").linked(), ["b"]);
    world.redeclare("a", "a/x", "text/plain");
    world.run_until_quiet();
    world.assert_converged();
}
