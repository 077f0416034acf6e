//! Where nodes are dialled: endpoints of others, of nobody, and of the dialler itself.

use std::time::Duration;

use dse_core::protocol::{Incarnation, LinkId, Member, Members, Message, Missing, MissingReason};

use dse_sim::world::{Notice, World, endpoint, id};

const SECOND: Duration = Duration::from_secs(1);

/// A stranger says that a member is at these endpoints.
fn list(world: &mut World, link: LinkId, node: &str, at: &[&str]) {
    let endpoints = at.iter().map(|at| endpoint(at)).collect();
    let member = Member { node: id(node), incarnation: Incarnation(1), endpoints };
    world.say(link, Message::Members(Members { request: None, last: true, members: vec![member] }));
    world.run_for(Duration::from_millis(10));
}

#[test]
fn a_seed_that_is_oneself_is_given_up() {
    let mut world = World::new(6);
    world.start("a");
    world.join("a", "a");
    // By a name that it does not know for its own.
    world.listen_also("a", endpoint("alias"));
    world.join("a", "alias");
    world.run_until_quiet();
    assert!(world.now() < SECOND, "it was dialled again");
    assert!(world.node("a").peers().is_empty());
    assert!(world.ask("a", "**").complete, "alone, and sure of it");
}

#[test]
fn behind_one_address_the_right_node_is_found_by_another() {
    let mut world = World::new(16);
    for name in ["a", "b"] {
        world.start_with(name, |config| {
            config.endpoints = vec![endpoint("shared"), endpoint(name)];
        });
    }
    world.join("b", "a");
    for name in ["c", "d"] {
        world.start(name);
        world.join(name, "b");
    }
    world.run_until_quiet();
    world.assert_converged();
}

#[test]
fn endpoints_of_foreign_schemes_are_not_dialled() {
    let mut world = World::new(17);
    world.start_mesh(&["a"]);
    world.start_with("b", |config| config.schemes = vec!["quic".into()]);
    world.join("b", "a");
    world.run_until_quiet();
    assert!(world.node("b").linked().is_empty());
    world.join("a", "b");
    world.run_until_quiet();
    world.assert_linked("a", "b");
}

#[test]
fn all_endpoints_of_a_member_are_tried() {
    let mut world = World::new(33);
    world.start("b");
    world.start_with("c", |config| config.endpoints.insert(0, endpoint("silent")));
    world.join("c", "b");
    world.run_until_quiet();
    // Another has taken that endpoint over and says nothing there.
    world.start_stranger("silent");
    world.start("a");
    world.join("a", "b");
    world.run_for(Duration::from_secs(10));
    world.assert_linked("a", "c");
}

/// Two hosts each have a bridge of their own with the same address.
#[test]
fn who_meets_itself_at_one_endpoint_of_a_member_tries_the_next() {
    let mut world = World::new(40);
    world.start("b");
    world.start("a");
    world.listen_also("a", endpoint("bridge"));
    world.start_stranger("z");
    let link = world.open_as_stranger("z", "a");
    list(&mut world, link, "b", &["bridge", "b"]);
    world.run_for(SECOND / 10);
    world.assert_linked("a", "b");
}

#[test]
fn a_member_that_is_at_no_endpoint_but_ones_own_is_missing_for_that_reason() {
    let mut world = World::new(41);
    world.start("a");
    world.listen_also("a", endpoint("bridge"));
    world.start_stranger("z");
    let link = world.open_as_stranger("z", "a");
    let ticket = world.request_within("a", "**", SECOND);
    list(&mut world, link, "b", &["bridge"]);
    world.run_for(SECOND);
    let report = world.node("a").report(ticket).expect("the deadline is over");
    match &report.missing[..] {
        [Missing { node, reason: MissingReason::Unreachable(why) }, _silent]
            if *node == id("b") =>
        {
            assert!(why.contains("itself"), "{why}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_meets_itself_where_a_member_was_goes_on_to_seek_it() {
    let mut world = World::new(42);
    world.start_with("b", |config| config.endpoints.insert(0, endpoint("bridge")));
    world.start("a");
    world.listen_also("a", endpoint("bridge"));
    world.join("b", "a");
    world.run_for(SECOND);
    world.assert_linked("a", "b");
    // It comes back and knows nobody.
    world.crash("b", Notice::AtOnce);
    world.run_for(SECOND);
    world.start("b");
    world.run_for(15 * SECOND);
    world.assert_linked("a", "b");
}
