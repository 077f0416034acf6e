//! A node that asks much at once holds back what others have not yet answered the like of
//! (PROTOCOL.md §7.1), for an answerer must send all answers, however large.

use std::time::Duration;

use dse_core::protocol::{Answer, LinkId, Message, Missing, MissingReason, Report, Ticket, limits};

use dse_sim::world::{World, id};

const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(10);

/// The requests that the stranger `z` heard on a link: their numbers and what they ask for.
fn heard(world: &World, link: LinkId) -> Vec<(u64, String)> {
    let asked = |message: Message| match message {
        Message::Request(request) => Some((request.request, request.keys.to_string())),
        _ => None,
    };
    world.heard("z", link).into_iter().filter_map(asked).collect()
}

fn keys(world: &World, link: LinkId) -> Vec<String> {
    heard(world, link).into_iter().map(|(_, keys)| keys).collect()
}

/// The stranger answers the n-th request that it heard, with one part of several or the
/// last.
fn answer(world: &mut World, link: LinkId, which: usize, part: u32, last: bool) {
    let request = heard(world, link)[which].0;
    let answer = Answer { request, part, last, membership: 0, declarations: Vec::new() };
    world.say(link, Message::Answer(answer));
    world.run_for(MOMENT);
}

fn report(world: &World, ticket: Ticket) -> Option<&Report> {
    world.node("a").report(ticket)
}

fn missing_z(report: &Report) -> &MissingReason {
    match &report.missing[..] {
        [Missing { node, reason }] if *node == id("z") => reason,
        other => panic!("{other:?}"),
    }
}

/// `a`, which has a link with the stranger `z` and asks it all this.
fn asking<const N: usize>(asks: [(&str, Duration); N]) -> (World, LinkId, [Ticket; N]) {
    let mut world = World::new(1);
    world.start("a");
    world.start_stranger("z");
    let link = world.open_as_stranger("z", "a");
    let tickets = asks.map(|(keys, timeout)| world.request_within("a", keys, timeout));
    world.run_for(MOMENT);
    (world, link, tickets)
}

#[test]
fn ten_requests_at_once_are_all_answered_and_never_more_than_three_are_out() {
    let mut world = World::new(1);
    world.start_serving(&["a", "b", "c"]);
    world.reset_counts();
    let tickets: Vec<Ticket> = (0..10).map(|_| world.request("a", "**")).collect();
    while tickets.iter().any(|ticket| report(&world, *ticket).is_none()) {
        let answered = ["b", "c"].map(|name| world.node(name).sent("Answer"));
        let asked = world.node("a").sent("Request");
        assert!(asked <= answered.iter().sum::<u64>() + 6, "{asked} asked, {answered:?} answered");
        assert!(world.step());
    }
    for ticket in tickets {
        let report = report(&world, ticket).expect("it was waited for");
        assert_eq!((report.answered, report.matches.len(), report.complete), (2, 3, true));
    }
    assert_eq!(world.node("a").sent("Request"), 20);
}

#[test]
fn each_last_part_of_an_answer_lets_the_next_request_go_out_in_order() {
    let asks = ["1", "2", "3", "4", "5"].map(|keys| (keys, SECOND));
    let (mut world, link, tickets) = asking(asks);
    assert_eq!(keys(&world, link), ["1", "2", "3"]);
    answer(&mut world, link, 1, 0, false);
    assert_eq!(keys(&world, link).len(), 3, "more of the answer follows");
    answer(&mut world, link, 1, 1, true);
    assert_eq!(keys(&world, link), ["1", "2", "3", "4"]);
    for which in [0, 2, 3, 4] {
        answer(&mut world, link, which, 0, true);
    }
    assert_eq!(keys(&world, link), ["1", "2", "3", "4", "5"]);
    world.run_for(SECOND);
    assert!(tickets.iter().all(|ticket| report(&world, *ticket).is_some_and(|r| r.answered == 1)));
    assert_eq!(world.node("a").counters().faults, 0);
}

#[test]
fn a_request_whose_time_is_up_while_it_is_held_back_is_missing_and_not_sent() {
    let asks = [("1", SECOND), ("2", SECOND), ("3", SECOND), ("4", SECOND / 2), ("5", SECOND)];
    let (mut world, link, tickets) = asking(asks);
    world.run_for(SECOND / 2);
    let held = report(&world, tickets[3]).expect("its deadline holds");
    assert_eq!((held.expected, held.answered, held.complete), (1, 0, false));
    assert_eq!(*missing_z(held), MissingReason::Silent);
    answer(&mut world, link, 0, 0, true);
    assert_eq!(keys(&world, link), ["1", "2", "3", "5"]);
}

#[test]
fn a_request_whose_time_is_up_is_answered_all_the_same_and_counts_until_then() {
    let asks = ["1", "2", "3"].map(|keys| (keys, SECOND / 2));
    let (mut world, link, tickets) = asking(asks);
    world.run_for(SECOND / 2);
    assert!(tickets.iter().all(|ticket| report(&world, *ticket).is_some()));
    world.request("a", "4");
    world.run_for(MOMENT);
    assert_eq!(keys(&world, link).len(), limits::UNANSWERED_REQUESTS);
    answer(&mut world, link, 2, 0, true);
    assert_eq!(keys(&world, link), ["1", "2", "3", "4"]);
}

#[test]
fn what_was_held_back_on_a_link_that_falls_is_missing_at_once_and_the_next_link_is_free() {
    let mut world = World::new(2);
    world.start_mesh(&["a", "b"]);
    world.start_stranger("z");
    let link = world.open_as_stranger("z", "a");
    let tickets = ["1", "2", "3", "4"].map(|keys| world.request("a", keys));
    world.run_for(MOMENT);
    assert_eq!(keys(&world, link).len(), 3);
    world.break_links("a", "z");
    world.run_for(MOMENT);
    for ticket in tickets {
        let report = report(&world, ticket).expect("at once");
        assert!(matches!(missing_z(report), MissingReason::Fell(_)), "{report:?}");
    }
    let link = world.open_as_stranger("z", "a");
    world.request("a", "5");
    world.run_for(MOMENT);
    assert_eq!(keys(&world, link), ["5"]);
}
