//! "Who serves this?": every live node answers once, and the asker learns who did not
//! (law L4).

use std::time::Duration;

use dse_core::protocol::{
    Answer, Command, LinkId, Message, Missing, MissingReason, Open, Report, Request, StatsError,
    Ticket, limits,
};

use dse_sim::world::{Notice, World, declaration, endpoint, expr, id, stranger_hello};

const SECOND: Duration = Duration::from_secs(1);

fn found(report: &Report) -> Vec<String> {
    let name = |found: &dse_core::protocol::Match| found.declaration.key.to_string();
    report.matches.iter().map(name).collect()
}

fn missing(report: &Report) -> Vec<&str> {
    report.missing.iter().map(|missing| missing.node.as_str()).collect()
}

/// The number of the request that the stranger `z` was asked.
fn request_heard(world: &World, link: LinkId) -> u64 {
    let asked = |message: Message| match message {
        Message::Request(request) => Some(request.request),
        _ => None,
    };
    world.heard("z", link).into_iter().find_map(asked).expect("it was asked")
}

/// Was the stranger `z` asked whom it has open?
fn is_asked_for_its_list(world: &World, link: LinkId) -> bool {
    let heard = world.heard("z", link);
    heard.iter().any(|message| matches!(message, Message::MembersRequest(_)))
}

/// Opens a link of the stranger `z` with `a`, which asks it and does not agree with it on
/// who is a member.
fn asked_for_its_list(world: &mut World) -> (Ticket, LinkId) {
    world.start_stranger("z");
    let link = world.open_as_stranger("z", "a");
    let ticket = world.request_within("a", "**", SECOND);
    world.run_for(Duration::from_millis(10));
    let request = request_heard(world, link);
    let answer = Answer { request, part: 0, last: true, membership: 1, declarations: Vec::new() };
    world.say(link, Message::Answer(answer));
    world.run_until("a request for its list", |world| is_asked_for_its_list(world, link));
    (ticket, link)
}

fn ask_stats(world: &mut World, name: &str, of: &str) -> Ticket {
    let ticket = world.ticket();
    let (node, timeout) = (id(of), SECOND);
    world.command(name, Command::RequestStats { ticket, node, timeout });
    ticket
}

#[test]
fn every_node_answers_once_also_without_a_match() {
    let mut world = World::new(1);
    world.start_serving(&["a", "b", "c", "d"]);
    world.reset_counts();
    let report = world.ask("a", "c/*");
    assert_eq!(found(&report), ["c/a"]);
    assert_eq!((report.expected, report.answered, report.complete), (3, 3, true));
    assert_eq!(world.node("a").sent_in_all(), 3);
    for name in ["b", "c", "d"] {
        assert_eq!(world.node(name).sent_in_all(), 1);
    }
}

#[test]
fn what_nobody_serves_is_complete_and_empty() {
    let mut world = World::new(2);
    world.start_serving(&["a", "b", "c"]);
    let report = world.ask("b", "nobody/serves/this");
    assert!(report.complete && report.matches.is_empty());
}

#[test]
fn own_declarations_are_found_too() {
    let mut world = World::new(3);
    world.start_serving(&["a", "b"]);
    assert_eq!(found(&world.ask("a", "**")), ["a/a", "b/a"]);
}

#[test]
fn a_node_provably_alone_is_sure_and_one_whose_seed_is_silent_is_not() {
    let mut world = World::new(4);
    world.start("alone");
    world.declare("alone", "alone/x");
    let report = world.ask("alone", "**");
    assert!(report.complete);
    assert_eq!(found(&report), ["alone/x"]);

    world.start("seeking");
    world.join("seeking", "nowhere");
    let report = world.ask("seeking", "**");
    assert!(!report.complete, "who knows whom the seed would have known");
}

#[test]
fn a_silent_node_is_missing_at_the_deadline() {
    let mut world = World::new(5);
    world.start_serving(&["a", "b", "c"]);
    world.pause("c");
    let asked = world.now();
    let ticket = world.request_within("a", "**", SECOND);
    world.run_until("the report", |world| world.node("a").report(ticket).is_some());
    assert_eq!(world.now() - asked, SECOND);
    let report = world.node("a").report(ticket).expect("it was waited for");
    assert_eq!(found(report), ["a/a", "b/a"]);
    assert_eq!((report.expected, report.answered, report.complete), (2, 1, false));
    assert_eq!(report.missing, [Missing { node: id("c"), reason: MissingReason::Silent }]);
    world.resume("c");
    world.run_until_quiet();
    world.assert_converged();
    assert_eq!(world.node("a").counters().faults, 0, "an answer too late is no fault");
}

#[test]
fn a_node_that_falls_is_missing_at_once() {
    let mut world = World::new(6);
    world.start_serving(&["a", "b", "c"]);
    world.pause("c");
    let ticket = world.request("a", "**");
    world.run_for(Duration::from_millis(10));
    assert!(world.node("a").report(ticket).is_none());
    world.crash("c", Notice::AtOnce);
    world.run_for(Duration::from_millis(10));
    let report = world.node("a").report(ticket).expect("at once");
    assert_eq!(missing(report), ["c"]);
    assert!(matches!(report.missing[0].reason, MissingReason::Fell(_)));
    assert!(!report.complete);
}

#[test]
fn a_node_that_leaves_meanwhile_is_not_missed() {
    let mut world = World::new(7);
    world.start_serving(&["a", "b", "c"]);
    world.hold("a", "c");
    let ticket = world.request("a", "**");
    world.run_for(Duration::from_millis(10));
    // Its Leave is on the way before it ever reads the request.
    world.leave("c");
    world.run_for(Duration::from_millis(10));
    while world.deliver_next("c", "a") {}
    world.release("a", "c");
    world.run_until("the report", |world| world.node("a").report(ticket).is_some());
    let report = world.node("a").report(ticket).expect("it was waited for");
    assert_eq!((report.expected, report.answered, report.complete), (1, 1, true));
    assert_eq!(world.node("a").lefts("c"), 1);
}

#[test]
fn a_newcomers_first_request_hears_everyone() {
    let mut world = World::new(8);
    world.start_serving(&["a", "b", "c"]);
    world.start("new");
    world.join("new", "b");
    let report = world.ask("new", "**");
    assert_eq!(found(&report), ["a/a", "b/a", "c/a"]);
    assert_eq!((report.expected, report.answered, report.complete), (3, 3, true));
}

#[test]
fn requests_during_a_join_hear_the_newcomer_once_anyone_knows_it() {
    for steps in 0..60 {
        let mut world = World::new(9);
        world.start_serving(&["a", "b", "c"]);
        world.start("new");
        world.declare("new", "new/a");
        world.join("new", "c");
        for _ in 0..steps {
            world.step();
        }
        let known = world.node("c").linked().contains(&"new".to_owned());
        let report = world.ask("a", "**");
        assert!(report.complete, "after {steps} steps: {report:?}");
        assert!(report.expected == 3 || !known, "after {steps} steps: {report:?}");
        world.run_until_quiet();
        world.assert_converged();
    }
}

#[test]
fn a_member_that_is_only_being_redialled_is_told_to_nobody() {
    let mut world = World::new(31);
    world.start_mesh(&["w", "x", "z"]);
    world.partition(&["x"], &["z"]);
    world.run_for(5 * SECOND);
    // w tells x again of z, which it still has.
    world.break_links("w", "x");
    world.run_for(SECOND);
    assert_eq!(world.node("x").linked(), ["w"]);
    world.start("y");
    world.partition(&["y"], &["w", "z"]);
    world.join("y", "x");
    world.run_for(SECOND);
    assert_eq!(missing(&world.ask("y", "**")), ["w"]);
}

#[test]
fn a_member_that_only_others_know_is_sought_and_missing() {
    let mut world = World::new(10);
    world.start_serving(&["a", "b"]);
    world.start("c");
    world.partition(&["a"], &["c"]);
    world.join("c", "b");
    world.run_until_quiet();
    let report = world.ask("a", "**");
    assert_eq!((report.expected, report.answered, report.complete), (2, 1, false));
    assert!(
        matches!(&report.missing[..], [Missing { node, reason: MissingReason::Unreachable(_) }] if *node == id("c"))
    );

    world.heal();
    let report = world.ask("a", "**");
    assert!(report.complete || missing(&report) == ["c"], "{report:?}");
    // To be told of it again was the occasion to find it.
    world.run_until_quiet();
    assert!(world.ask("a", "**").complete);
}

#[test]
fn a_second_answer_changes_nothing() {
    let mut world = World::new(11);
    world.start("a");
    world.start_stranger("y");
    world.start_stranger("z");
    let silent = world.open_as_stranger("y", "a");
    let link = world.open_as_stranger("z", "a");
    let ticket = world.request_within("a", "**", SECOND);
    world.run_for(Duration::from_millis(10));
    let request = request_heard(&world, link);
    let answer = Answer {
        request,
        part: 0,
        last: true,
        membership: 0,
        declarations: vec![declaration("z/x")],
    };
    world.say(link, Message::Answer(answer.clone()));
    world.say(link, Message::Answer(answer));
    world.run_for(2 * SECOND);
    let report = world.node("a").report(ticket).expect("the deadline is over");
    assert_eq!((report.expected, report.answered), (2, 1));
    assert_eq!(found(report), ["z/x"]);
    assert!(world.stands(silent));
}

#[test]
fn an_answer_may_only_tell_what_was_asked_for() {
    let mut world = World::new(12);
    world.start("a");
    world.start_stranger("z");
    let link = world.open_as_stranger("z", "a");
    let ticket = world.request_within("a", "z/*", SECOND);
    world.run_for(Duration::from_millis(10));
    let request = request_heard(&world, link);
    let declarations = vec![declaration("z/x"), declaration("other/x")];
    let answer = Answer { request, part: 0, last: true, membership: 0, declarations };
    world.say(link, Message::Answer(answer));
    world.run_for(2 * SECOND);
    assert_eq!(found(world.node("a").report(ticket).expect("the deadline is over")), ["z/x"]);
}

#[test]
fn a_large_answer_comes_in_parts() {
    let mut world = World::new(13);
    world.start_mesh(&["a", "b"]);
    for number in 0..100 {
        let mut large = declaration(&format!("b/{number}"));
        large.meta.push(("text".into(), "x".repeat(1900).into()));
        world.try_declare("b", large).expect("within the bounds");
    }
    world.run_until_quiet();
    let report = world.ask("a", "b/**");
    assert_eq!(report.matches.len(), 100);
    assert!(report.complete);
    assert!(world.node("b").sent("Answer") > 3);
}

#[test]
fn many_requests_run_side_by_side() {
    let mut world = World::new(14);
    world.start_serving(&["a", "b", "c"]);
    let tickets: Vec<_> = ["a/**", "b/**", "c/**", "**"]
        .into_iter()
        .flat_map(|keys| [world.request("a", keys), world.request("b", keys)])
        .collect();
    world.run_until_quiet();
    for (number, ticket) in tickets.into_iter().enumerate() {
        let name = if number % 2 == 0 { "a" } else { "b" };
        let report = world.node(name).report(ticket).expect("an answer");
        assert!(report.complete);
        assert_eq!(report.matches.len(), if number < 6 { 1 } else { 3 });
    }
}

#[test]
fn a_request_over_a_replaced_link_is_answered_once() {
    let mut world = World::new(15);
    world.start_serving(&["a", "b"]);
    world.hold("a", "b");
    let ticket = world.request("b", "**");
    world.lose_links("a", "b");
    world.release("a", "b");
    world.run_until("the report", |world| world.node("b").report(ticket).is_some());
    let report = world.node("b").report(ticket).expect("it was waited for");
    assert_eq!((report.expected, report.answered, report.complete), (1, 1, true));
}

#[test]
fn counters_are_told_to_who_asks() {
    let mut world = World::new(16);
    world.start_serving(&["a", "b"]);
    let ticket = ask_stats(&mut world, "a", "b");
    world.run_until_quiet();
    let stats = world.node("a").stats(ticket).expect("an answer").as_ref().expect("counters");
    assert_eq!(&*stats[0].0, "control_messages_sent");
    assert!(stats[0].1 > 0);
}

#[test]
fn counters_of_the_unknown_and_of_the_silent_do_not_come() {
    let mut world = World::new(17);
    world.start_serving(&["a", "b"]);
    let ticket = ask_stats(&mut world, "a", "stranger");
    assert_eq!(world.node("a").stats(ticket), Some(&Err(StatsError::UnknownNode(id("stranger")))));
    world.pause("b");
    let ticket = ask_stats(&mut world, "a", "b");
    world.run_for(SECOND);
    assert_eq!(world.node("a").stats(ticket), Some(&Err(StatsError::NoAnswer(id("b")))));
}

#[test]
fn an_answer_is_no_longer_than_an_index_may_be() {
    let mut world = World::new(30);
    world.start("a");
    world.start_stranger("z");
    let link = world.open_as_stranger("z", "a");
    world.request_within("a", "**", SECOND);
    world.run_for(Duration::from_millis(10));
    let request = request_heard(&world, link);
    let (mut part, mut bytes) = (0, 0);
    while world.stands(link) {
        let large = |number| {
            let mut declaration = declaration(&format!("z/{part}/{number}"));
            declaration.meta.push(("text".into(), "x".repeat(1900).into()));
            declaration
        };
        let declarations = (0..30).map(large).collect();
        let answer = Answer { request, part, last: false, membership: 0, declarations };
        world.say(link, Message::Answer(answer));
        world.run_for(Duration::from_millis(2));
        (part, bytes) = (part + 1, bytes + 30 * 1900);
        assert!(bytes < limits::INDEX_BYTES + 60_000, "nobody looks at how much it is");
    }
    assert!(bytes > limits::INDEX_BYTES - 60_000);
    assert_eq!(world.node("a").counters().faults, 1);
}

#[test]
fn a_request_that_is_answered_leaves_no_timer() {
    let mut world = World::new(31);
    world.start_serving(&["a", "b"]);
    let ticket = world.request("a", "**");
    assert!(world.node("a").bus().poll_timeout().is_some());
    world.run_until("the report", |world| world.node("a").report(ticket).is_some());
    assert_eq!(world.node("a").bus().poll_timeout(), None);
}

#[test]
fn a_request_waits_for_seeds_that_are_tried_for_the_first_time() {
    let mut world = World::new(32);
    world.start_serving(&["a", "x"]);
    world.start("s");
    world.declare("s", "s/a");
    world.run_until_quiet();
    world.join("x", "s");
    let report = world.ask("x", "**");
    assert_eq!(found(&report), ["a/a", "s/a", "x/a"]);
}

#[test]
fn a_node_that_gave_up_a_hint_does_not_take_itself_for_alone() {
    let mut world = World::new(33);
    world.start("a");
    world.hint("a", "nowhere");
    world.run_until_quiet();
    assert!(!world.ask("a", "**").complete, "somebody may be there all the same");
    world.command("a", Command::DropHint { endpoint: endpoint("nowhere") });
    assert!(world.ask("a", "**").complete, "nobody is there any more");
}

#[test]
fn a_list_that_did_not_come_leaves_the_report_incomplete() {
    let mut world = World::new(34);
    world.start_serving(&["a", "b"]);
    let (ticket, _) = asked_for_its_list(&mut world);
    world.break_links("a", "z");
    world.run_for(Duration::from_millis(10));
    let report = world.node("a").report(ticket).expect("nothing is waited for");
    assert_eq!((report.expected, report.answered, report.complete), (2, 2, false));
}

#[test]
fn a_list_that_was_asked_for_on_a_replaced_link_is_asked_for_again() {
    let mut world = World::new(35);
    world.start("a");
    let (_, before) = asked_for_its_list(&mut world);
    let link = world.dial("z", "a");
    world.say(link, Message::Hello(stranger_hello("z", 2)));
    let echo = world.hello_from("z", link).link_nonce;
    let open = Open { echo, held: None, known: None, census: Vec::new() };
    world.say(link, Message::Open(open));
    world.run_for(Duration::from_millis(10));
    assert!(world.stands(link) && !world.stands(before), "of two links one stays");
    assert!(is_asked_for_its_list(&world, link));
}

#[test]
fn guests_do_not_count_where_members_are_compared() {
    let mut world = World::new(36);
    world.start_serving(&["a", "b"]);
    world.start_stranger("z");
    let link = world.open_as_stranger("z", "a");
    let membership = |world: &mut World| {
        world.say(link, Message::Request(Request { request: 1, keys: expr("**") }));
        world.run_for(Duration::from_millis(10));
        let answered = |message: Message| match message {
            Message::Answer(answer) => Some(answer.membership),
            _ => None,
        };
        world.heard("z", link).into_iter().rev().find_map(answered).expect("an answer")
    };
    let before = membership(&mut world);
    world.start_guest("g", "a");
    world.run_for(Duration::from_millis(100));
    assert!(world.node("a").linked().contains(&"g".to_owned()));
    assert_eq!(membership(&mut world), before);
}

#[test]
fn a_member_that_is_listed_again_is_tried_at_once() {
    let mut world = World::new(37);
    world.start_serving(&["a", "b"]);
    world.start("c");
    world.partition(&["a"], &["c"]);
    world.join("c", "b");
    world.run_until_quiet();
    world.ask("a", "**");
    world.run_for(Duration::from_secs(60));
    world.heal();
    let asked = world.now();
    assert!(world.ask("a", "**").complete);
    assert!(world.now() - asked < Duration::from_millis(50), "whatever its pause");
}
