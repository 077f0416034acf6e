//! Rules of which no scenario of the other files depends on the outcome: one test for each,
//! written after `cargo xtask mutants` had shown that the rule could be broken unnoticed.

use std::time::Duration;

use dse_core::protocol::{
    Answer, Event, Incarnation, IndexVersion, Leave, LeaveReason, LinkId, Member, Members, Message,
    Open, Reject, RejectReason, Role, Snapshot, Span, Suspect,
};

use dse_sim::world::{Notice, World, declaration, endpoint, id, stranger_hello};

const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(10);

/// The number of the request that a stranger was asked.
fn request_heard(world: &World, link: LinkId) -> u64 {
    let asked = world.heard("z", link).into_iter().find_map(|message| match message {
        Message::Request(request) => Some(request.request),
        _ => None,
    });
    asked.expect("it was asked")
}

fn rejections(world: &World, stranger: &str, link: LinkId) -> Vec<RejectReason> {
    let heard = world.heard(stranger, link).into_iter().filter_map(|message| match message {
        Message::Reject(reject) => Some(reject.reason),
        _ => None,
    });
    heard.collect()
}

/// A stranger that has a link with `a` opens another, and knows of these members.
fn open_again(world: &mut World, number: u64, census: Vec<Span>) -> LinkId {
    let link = world.dial("z", "a");
    world.say(link, Message::Hello(stranger_hello("z", number)));
    let echo = world.hello_from("z", link).link_nonce;
    world.say(link, Message::Open(Open { echo, held: None, known: None, census }));
    world.run_for(MOMENT);
    link
}

#[test]
fn the_loser_of_a_clash_is_told_who_has_its_id() {
    let mut world = World::new(1);
    world.start("a");
    world.start_stranger("x");
    let link = world.open_as_stranger("x", "a");
    world.start_with("twin", |config| {
        config.node = id("x");
        config.incarnation = Incarnation(0);
    });
    world.join("twin", "a");
    world.run_for(SECOND);
    let told = RejectReason::Clash { winner: Some(endpoint("twin")) };
    assert_eq!(rejections(&world, "x", link), [told]);
}

#[test]
fn a_claim_that_changes_in_mid_handshake_is_not_the_one_that_counts() {
    let mut world = World::new(2);
    world.start_mesh(&["a", "b"]);
    world.start_stranger("z");
    let link = world.dial("z", "b");
    assert!(!world.hello_from("z", link).claim.returned);
    world.break_links("a", "b");
    world.run_for(MOMENT);
    assert!(!world.stands(link), "what was said of the claim is no longer true");
}

#[test]
fn a_start_that_was_a_guest_is_not_taken_for_a_member() {
    let mut world = World::new(3);
    world.start("a");
    world.start_stranger("z");
    let first = world.dial("z", "a");
    let mut hello = stranger_hello("z", 1);
    hello.role = Role::Guest;
    world.say(first, Message::Hello(hello));
    let echo = world.hello_from("z", first).link_nonce;
    let open = Open { echo, held: None, known: None, census: Vec::new() };
    world.say(first, Message::Open(open));
    world.run_for(MOMENT);
    let second = open_again(&mut world, 2, Vec::new());
    world.run_for(SECOND);
    let clash = RejectReason::Clash { winner: Some(endpoint("z")) };
    assert_eq!(rejections(&world, "z", second), [clash]);
    assert!(world.stands(first));
}

#[test]
fn a_snapshot_older_than_what_it_replaces_closes_the_link() {
    let mut world = World::new(4);
    world.start("a");
    world.start_stranger("z");
    let link = world.open_as_stranger("z", "a");
    for version in [5, 3] {
        let (version, declarations) = (IndexVersion(version), vec![declaration("z/x")]);
        let snapshot = Snapshot { version, part: 0, last: true, declarations };
        world.say(link, Message::Snapshot(snapshot));
    }
    world.run_for(MOMENT);
    assert!(!world.stands(link));
    assert_eq!(world.node("a").counters().faults, 1);
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
    world.redeclare("a", "a/x", "text/html");
    assert!(world.deliver_next("b", "a"), "a opens the link");
    world.redeclare("a", "a/x", "text/plain");
    world.run_until_quiet();
    world.assert_converged();
}

#[test]
fn a_fault_of_who_only_claims_an_id_leaves_the_index_of_its_holder() {
    let mut world = World::new(6);
    world.start_serving(&["a", "b"]);
    world.start_stranger("ghost");
    let link = world.dial("ghost", "a");
    for number in 1..3 {
        let mut hello = stranger_hello("ghost", number);
        hello.node = id("b");
        world.say(link, Message::Hello(hello));
    }
    world.run_for(MOMENT);
    assert_eq!(world.node("a").counters().faults, 1, "a second Hello");
    assert_eq!(world.node("a").knows(), ["a:a/a", "b:b/a"]);
}

#[test]
fn the_linger_of_an_interest_begins_anew_with_each_end() {
    let mut world = World::new(7);
    world.start_serving(&["a", "b"]);
    let lasts =
        |world: &World| world.node("b").count(|event| matches!(event, Event::LastInterest { .. }));
    for pause in [SECOND, SECOND / 2] {
        let subscription = world.subscribe("a", "b/**");
        world.run_for(SECOND / 2);
        world.unsubscribe("a", subscription);
        world.run_for(pause);
    }
    // More than two seconds after the first end, and less than two after the second.
    world.run_for(SECOND);
    assert_eq!(lasts(&world), 0);
    world.run_for(SECOND);
    assert_eq!(lasts(&world), 1);
}

#[test]
fn a_leaver_that_does_not_close_its_link_is_not_waited_for() {
    let mut world = World::new(8);
    world.start("a");
    world.start_stranger("z");
    let link = world.open_as_stranger("z", "a");
    world.say(link, Message::Leave(Leave { reason: LeaveReason::Asked }));
    world.run_for(4 * SECOND);
    assert!(world.stands(link), "what it sent before may still be read");
    world.run_for(2 * SECOND);
    assert!(!world.stands(link));
}

#[test]
fn a_reject_that_does_not_echo_the_nonce_stops_nobody() {
    let mut world = World::new(9);
    world.start("a");
    world.start_stranger("z");
    let link = world.open_as_stranger("z", "a");
    world.say(
        link,
        Message::Reject(Reject { echo: 1, reason: RejectReason::Clash { winner: None } }),
    );
    world.run_for(MOMENT);
    assert!(world.node("a").is_running());
    assert_eq!(world.node("a").stopped, None);
    assert_eq!(world.node("a").counters().faults, 1);
}

#[test]
fn a_link_that_was_replaced_is_closed() {
    let mut world = World::new(10);
    world.start("a");
    world.start_stranger("z");
    let first = world.open_as_stranger("z", "a");
    let second = open_again(&mut world, 2, Vec::new());
    assert!(world.stands(second) && !world.stands(first));
}

#[test]
fn who_knows_the_members_is_not_told_of_them_again() {
    let mut world = World::new(11);
    world.start_mesh(&["a", "b", "c"]);
    world.reset_counts();
    world.break_links("b", "c");
    world.run_until_quiet();
    world.assert_converged();
    assert_eq!(world.node("b").sent("Members") + world.node("c").sent("Members"), 0);
}

#[test]
fn a_newcomer_is_told_once_of_those_it_dials() {
    let mut world = World::new(12);
    world.start_mesh(&["a", "b", "c", "d"]);
    world.reset_counts();
    world.start("new");
    world.join("new", "a");
    world.run_until_quiet();
    world.assert_converged();
    let told = ["a", "b", "c", "d"].map(|name| world.node(name).sent("Members"));
    assert_eq!(told, [1, 0, 0, 0]);
}

#[test]
fn a_member_that_others_have_in_another_start_is_probed() {
    let mut world = World::new(13);
    world.start_mesh(&["a", "b"]);
    world.start_stranger("z");
    let link = world.open_as_stranger("z", "a");
    world.crash("b", Notice::Never);
    let restarted =
        Member { node: id("b"), incarnation: Incarnation(99), endpoints: vec![endpoint("b")] };
    let members = Members { request: None, last: true, members: vec![restarted] };
    world.say(link, Message::Members(members));
    world.run_for(SECOND / 2);
    assert_eq!(world.node("a").downs("b"), 1);
}

#[test]
fn who_knows_only_the_former_start_of_a_node_is_told_of_the_new_one() {
    let mut world = World::new(14);
    world.start_mesh(&["a", "b"]);
    world.start_stranger("z");
    let link = world.open_as_stranger("z", "a");
    world.run_for(MOMENT);
    let known = world.heard("z", link).into_iter().find_map(|message| match message {
        Message::Open(open) => Some(open.census),
        _ => None,
    });
    let known = known.expect("an Open");
    assert_eq!(known.len(), 1, "that of b");
    world.crash("b", Notice::AtOnce);
    world.run_for(MOMENT);
    world.start("b");
    world.join("b", "a");
    world.run_for(SECOND / 10);
    let link = open_again(&mut world, 2, known);
    let of_b = |message: &Message| matches!(message, Message::Members(list) if list.members.iter().any(|member| member.node == id("b")));
    assert!(world.heard("z", link).iter().any(of_b));
}

#[test]
fn a_guest_that_could_be_dialled_is_not() {
    let mut world = World::new(15);
    world.start("a");
    world.start_with("guest", |config| config.role = Role::Guest);
    world.join("guest", "a");
    world.run_until_quiet();
    world.crash("guest", Notice::AtOnce);
    world.run_for(SECOND);
    assert_eq!(world.node("a").count(|event| matches!(event, Event::DialFailed { .. })), 0);
}

#[test]
fn a_member_stays_sought_while_somebody_was_told_that_it_is_sought() {
    let mut world = World::new(16);
    world.start_mesh(&["a", "b", "d"]);
    world.start("c");
    world.partition(&["c"], &["b"]);
    world.join("c", "a");
    world.run_for(5 * SECOND);
    assert_eq!(world.node("c").linked(), ["a", "d"]);
    // It alone had said that b is there; d was told that c knew.
    world.leave("a");
    world.run_for(SECOND);
    world.heal();
    world.run_for(30 * SECOND);
    world.assert_linked("b", "c");
}

#[test]
fn a_member_that_is_listed_again_is_dialled_at_once() {
    let mut world = World::new(17);
    world.start_serving(&["a", "b"]);
    world.start("c");
    world.partition(&["c"], &["b"]);
    world.join("c", "a");
    world.run_for(180 * SECOND);
    world.heal();
    let asked = world.now();
    let report = world.ask("c", "**");
    assert!(report.complete, "{report:?}");
    assert!(world.now() - asked < SECOND / 10, "it waited out a pause");
}

#[test]
fn a_guest_that_some_members_cannot_reach_makes_no_difference_to_a_request() {
    let mut world = World::new(18);
    world.start_serving(&["a", "b", "c"]);
    world.start_guest("guest", "b");
    world.partition(&["guest"], &["c"]);
    world.run_for(5 * SECOND);
    world.reset_counts();
    assert!(world.ask("a", "**").complete);
    assert_eq!(world.node("a").sent("MembersRequest"), 0);
}

#[test]
fn a_report_is_not_complete_without_the_list_of_who_knows_others() {
    let mut world = World::new(19);
    world.start_mesh(&["a", "b"]);
    world.start_stranger("z");
    let link = world.open_as_stranger("z", "a");
    let ticket = world.request("a", "**");
    world.run_for(MOMENT);
    let request = request_heard(&world, link);
    let declarations = Vec::new();
    let answer = Answer { request, part: 0, last: true, membership: 12345, declarations };
    world.say(link, Message::Answer(answer));
    world.run_for(MOMENT);
    world.crash("z", Notice::AtOnce);
    world.run_for(MOMENT);
    let report = world.node("a").report(ticket).expect("nothing is left to wait for");
    assert_eq!((report.answered, report.missing.len(), report.complete), (2, 0, false));
}

#[test]
fn a_node_whose_hint_led_nowhere_is_not_sure_to_be_alone() {
    let mut world = World::new(20);
    world.start("a");
    world.hint("a", "nowhere");
    world.run_until_quiet();
    assert!(!world.ask("a", "**").complete, "who knows whom it would have known");
}

#[test]
fn a_request_waits_for_a_seed_that_is_tried_for_the_first_time() {
    let mut world = World::new(21);
    for name in ["a", "c", "new"] {
        world.start(name);
        world.declare(name, &format!("{name}/a"));
    }
    world.join("new", "a");
    world.run_until_quiet();
    world.slow("c", "new", SECOND / 5);
    world.join("new", "c");
    let report = world.ask("new", "**");
    assert_eq!((report.expected, report.matches.len()), (2, 3));
}

#[test]
fn a_request_leaves_no_timer_behind() {
    let mut world = World::new(22);
    world.start_serving(&["a", "b"]);
    assert!(world.ask("a", "**").complete);
    assert_eq!(world.node("a").bus().poll_timeout(), None);
}

#[test]
fn a_list_that_was_asked_for_on_a_replaced_link_is_asked_for_again() {
    let mut world = World::new(23);
    world.start("a");
    world.start_stranger("z");
    let link = world.open_as_stranger("z", "a");
    let ticket = world.request("a", "**");
    world.run_for(MOMENT);
    let request = request_heard(&world, link);
    let declarations = Vec::new();
    let answer = Answer { request, part: 0, last: true, membership: 12345, declarations };
    world.say(link, Message::Answer(answer));
    world.run_for(MOMENT);
    let pulled = |world: &World, link| {
        let heard = world.heard("z", link);
        heard.iter().any(|message| matches!(message, Message::MembersRequest(_)))
    };
    assert!(pulled(&world, link));
    let link = open_again(&mut world, 2, Vec::new());
    assert!(pulled(&world, link), "on the link that stands");
    let members = Members { request: Some(request), last: true, members: Vec::new() };
    world.say(link, Message::Members(members));
    world.run_for(MOMENT);
    assert!(world.node("a").report(ticket).expect("all is told").complete);
}

#[test]
fn an_answer_larger_than_an_index_may_be_closes_the_link() {
    let mut world = World::new(24);
    world.start("a");
    world.start_stranger("z");
    let link = world.open_as_stranger("z", "a");
    world.request("a", "**");
    world.run_for(MOMENT);
    let request = request_heard(&world, link);
    let mut part = 0;
    while world.stands(link) {
        assert!(part < 100, "it was all taken");
        let declarations =
            (0..500).map(|number| declaration(&format!("z/{part}/{number}"))).collect();
        let answer = Answer { request, part, last: false, membership: 0, declarations };
        world.say(link, Message::Answer(answer));
        world.run_for(Duration::from_millis(2));
        part += 1;
    }
    assert_eq!(world.node("a").counters().faults, 1);
}

#[test]
fn a_suspicion_of_a_former_start_causes_no_probe() {
    let mut world = World::new(25);
    world.start_mesh(&["a", "b"]);
    world.start_stranger("z");
    let link = world.open_as_stranger("z", "a");
    let incarnation = world.node("b").config().incarnation;
    // It answers no probe, so that one shows.
    world.pause("b");
    world.say(link, Message::Suspect(Suspect { node: id("b"), incarnation: Incarnation(0) }));
    world.run_for(SECOND);
    assert_eq!(world.node("a").downs("b"), 0);
    world.say(link, Message::Suspect(Suspect { node: id("b"), incarnation }));
    world.run_for(SECOND);
    assert_eq!(world.node("a").downs("b"), 1);
}
