//! Leaving in order, told apart from dying.

use std::time::Duration;

use dse_core::protocol::{
    Command, CommandError, DialError, Event, Leave, LeaveReason, Message, RejectReason, StopReason,
};

use dse_sim::world::{Latency, Notice, World, declaration, is};

#[test]
fn a_leave_is_told_as_such_and_a_crash_as_such() {
    let mut world = World::new(1);
    world.start_serving(&["a", "b", "c", "d"]);
    world.leave("c");
    world.crash("d", Notice::AtOnce);
    world.run_for(Duration::from_secs(1));
    for name in ["a", "b"] {
        let node = world.node(name);
        assert_eq!((node.lefts("c"), node.downs("c")), (1, 0));
        assert_eq!((node.lefts("d"), node.downs("d")), (0, 1));
        let asked =
            |event: &Event| matches!(event, Event::NodeLeft { reason: LeaveReason::Asked, .. });
        assert_eq!(node.count(asked), 1);
        assert_eq!(node.knows(), ["a:a/a", "b:b/a"]);
    }
}

#[test]
fn a_leave_is_acknowledged_and_over_in_a_round_trip() {
    let mut world = World::new(2);
    world.start_serving(&["a", "b", "c"]);
    let start = world.now();
    world.leave("c");
    world.run_until("the end", |world| !world.node("c").is_running());
    assert_eq!(world.node("c").stopped, Some(StopReason::Left));
    assert!(world.now() - start <= Duration::from_millis(2));
    world.run_until_quiet();
    assert!(world.now() - start < Duration::from_secs(1), "nobody dials who left");
}

#[test]
fn a_leave_waits_two_seconds_for_the_silent() {
    let mut world = World::new(3);
    world.start_serving(&["a", "b", "c"]);
    world.pause("a");
    let start = world.now();
    world.leave("c");
    world.run_until("the end", |world| !world.node("c").is_running());
    assert_eq!(world.now() - start, Duration::from_secs(2));
    world.resume("a");
    world.run_until_quiet();
    assert_eq!((world.node("a").lefts("c"), world.node("a").downs("c")), (1, 0));
}

#[test]
fn a_link_that_falls_after_the_leave_is_a_leave() {
    let mut world = World::new(4);
    world.start_serving(&["a", "b", "c"]);
    world.pause("b");
    world.leave("c");
    world.run_for(Duration::from_millis(5));
    assert_eq!(world.node("a").lefts("c"), 1);
    // It dies while it waits for b.
    world.crash("c", Notice::AtOnce);
    world.resume("b");
    world.run_until_quiet();
    for name in ["a", "b"] {
        assert_eq!((world.node(name).lefts("c"), world.node(name).downs("c")), (1, 0));
    }
}

#[test]
fn a_redial_that_meets_a_leaving_node_corrects_the_node_down() {
    let mut world = World::new(5);
    world.start_serving(&["a", "b", "c"]);
    // c waits for b when a, which lost its link, dials again.
    world.pause("b");
    world.break_links("a", "c");
    world.leave("c");
    world.run_for(Duration::from_secs(1));
    let node = world.node("a");
    assert_eq!((node.downs("c"), node.lefts("c")), (1, 1));
    world.resume("b");
    let start = world.now();
    world.run_until_quiet();
    assert!(world.now() - start < Duration::from_secs(10), "it is not redialled for ever");
}

#[test]
fn a_redial_that_meets_a_leaving_node_is_the_end_of_waiting_for_its_answer() {
    let mut world = World::new(21);
    world.start_serving(&["a", "b", "c"]);
    // b does not hear that c leaves, and lists it to a, which lost its link.
    world.hold("b", "c");
    world.break_links("a", "c");
    world.leave("c");
    let ticket = world.request("a", "**");
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.node("a").lefts("c"), 1);
    let report = world.node("a").report(ticket).expect("nobody is waited for");
    assert_eq!((report.missing.len(), report.expected, report.answered), (0, 1, 1));
}

#[test]
fn a_leaver_that_nobody_could_tell_is_down() {
    let mut world = World::new(6);
    world.start_serving(&["a", "b", "c"]);
    world.partition(&["a"], &["b", "c"]);
    world.run_for(Duration::from_secs(3));
    world.leave("c");
    world.run_for(Duration::from_secs(3));
    world.heal();
    world.run_for(Duration::from_secs(30));
    assert_eq!((world.node("a").lefts("c"), world.node("a").downs("c")), (0, 1));
    assert_eq!(world.node("b").lefts("c"), 1);
    assert_eq!(world.node("a").linked(), ["b"]);
}

#[test]
fn two_that_leave_at_once_do_not_wait_for_each_other() {
    let mut world = World::new(7);
    world.start_serving(&["a", "b", "c"]);
    let start = world.now();
    world.leave("b");
    world.leave("c");
    world.run_for(Duration::from_millis(10));
    for name in ["b", "c"] {
        assert_eq!(world.node(name).stopped, Some(StopReason::Left));
    }
    world.run_until_quiet();
    assert!(world.now() - start < Duration::from_secs(10));
    assert_eq!((world.node("a").lefts("b"), world.node("a").lefts("c")), (1, 1));
}

#[test]
fn a_node_alone_leaves_at_once() {
    let mut world = World::new(8);
    world.start("a");
    world.leave("a");
    assert_eq!(world.node("a").stopped, Some(StopReason::Left));
}

#[test]
fn a_leaving_node_takes_no_commands_and_ends_its_requests() {
    let mut world = World::new(9);
    world.start_serving(&["a", "b", "c"]);
    world.pause("b");
    let ticket = world.request("c", "**");
    world.run_for(Duration::from_millis(10));
    world.leave("c");
    let report = world.node("c").report(ticket).expect("it ends with the leave");
    assert!(!report.complete);
    assert_eq!(world.try_declare("c", declaration("c/late")), Err(CommandError::Stopped));
    let ticket = world.request("c", "**");
    assert!(!world.node("c").report(ticket).expect("at once").complete);
    world.command("c", Command::Leave);
    world.resume("b");
    world.run_until_quiet();
}

#[test]
fn who_left_may_come_back() {
    let mut world = World::new(10);
    world.start_serving(&["a", "b", "c"]);
    world.leave("c");
    world.run_until("the end", |world| !world.node("c").is_running());
    world.start("c");
    world.join("c", "b");
    world.run_until_quiet();
    world.assert_converged();
    let up = |event: &Event| matches!(event, Event::NodeUp { peer } if is(&peer.node, "c"));
    assert_eq!(world.node("a").count(up), 2);
}

#[test]
fn changes_made_just_before_the_leave_are_still_told() {
    let mut world = World::new(11);
    world.start_serving(&["a", "b"]);
    world.declare("b", "b/last");
    world.leave("b");
    world.run_until_quiet();
    let last = |event: &Event| matches!(event, Event::Declared { declaration: d, .. } if *d == declaration("b/last"));
    assert_eq!(world.node("a").count(last), 1);
    assert_eq!(world.node("a").lefts("b"), 1);
}

#[test]
fn the_leave_of_a_restarted_node_is_none_of_its_former_self() {
    let mut world = World::new(12);
    world.start_mesh(&["a", "b", "c"]);
    world.crash("b", Notice::AtOnce);
    world.run_for(Duration::from_millis(50));
    // `a` does not meet the new start of `b` before that one leaves, which takes a while
    // because `c` does not answer.
    world.partition(&["a"], &["b"]);
    world.start("b");
    world.join("b", "c");
    world.run_until("b and c have a link", |world| world.node("c").ups("b") == 2);
    world.hold("b", "c");
    world.leave("b");
    world.heal();
    let told = |event: &Event| {
        let leaving = DialError::Rejected(RejectReason::Leaving);
        matches!(event, Event::DialFailed { error, .. } if *error == leaving)
    };
    world.run_until("a is told that b leaves", |world| world.node("a").count(told) > 0);
    assert_eq!((world.node("a").downs("b"), world.node("a").lefts("b")), (1, 0));
}

#[test]
fn two_that_leave_at_once_need_no_acknowledgement() {
    let way = Duration::from_millis(10);
    let mut world = World::with_latency(20, Latency::fixed(way));
    world.start_mesh(&["b", "c"]);
    world.leave("b");
    world.leave("c");
    world.run_for(way + way / 2);
    for name in ["b", "c"] {
        assert_eq!(world.node(name).stopped, Some(StopReason::Left));
    }
}

#[test]
fn who_left_and_does_not_close_its_link_is_not_waited_for() {
    let mut world = World::new(21);
    world.start("a");
    world.start_stranger("z");
    let link = world.open_as_stranger("z", "a");
    world.say(link, Message::Leave(Leave { reason: LeaveReason::Asked }));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.node("a").lefts("z"), 1);
    assert!(world.stands(link), "what it published is still read");
    world.run_until_quiet();
    assert!(!world.stands(link));
}
