//! A subscriber tells exactly the publishers that match, and a publisher knows whether
//! anybody wants its keys.

use std::time::Duration;

use dse_core::protocol::{
    Answer, Class, Command, Event, Interest, InterestOptions, Key, LinkId, Message, Pattern,
    SubscriptionId, Ticket,
};

use dse_sim::world::{Notice, World, declaration, expr, key};

const LINGER: Duration = Duration::from_secs(2);

fn firsts(world: &World, name: &str) -> usize {
    world.node(name).count(|event| matches!(event, Event::FirstInterest { .. }))
}

fn lasts(world: &World, name: &str) -> usize {
    world.node(name).count(|event| matches!(event, Event::LastInterest { .. }))
}

fn position(world: &World, name: &str, which: impl Fn(&Event) -> bool) -> Option<usize> {
    world.node(name).events.iter().position(|(_, event)| which(event))
}

#[test]
fn interest_goes_only_to_publishers_that_match() {
    let mut world = World::new(1);
    world.start_serving(&["a", "b", "c", "d"]);
    world.reset_counts();
    world.subscribe("a", "b/**");
    world.run_until_quiet();
    world.assert_routed();
    assert_eq!(world.routed("b", "a"), ["b/a"]);
    assert_eq!(world.node("a").sent("Interest"), 1);
    assert_eq!(world.node("a").sent_in_all(), 1);
}

#[test]
fn interest_covers_what_the_publisher_declares_later() {
    let mut world = World::new(2);
    world.start_serving(&["a", "b"]);
    world.subscribe("a", "b/**");
    world.run_until_quiet();
    world.reset_counts();
    world.declare("b", "b/later");
    assert_eq!(world.routed("b", "a"), ["b/a", "b/later"], "from its first sample on");
    world.run_until_quiet();
    world.assert_routed();
    assert_eq!(world.node("a").sent_in_all(), 0);
    world.undeclare("b", "b/a");
    world.run_until_quiet();
    assert_eq!(world.routed("b", "a"), ["b/later"]);
}

#[test]
fn interest_follows_the_first_declaration_that_matches() {
    let mut world = World::new(3);
    world.start_mesh(&["a", "b"]);
    world.subscribe("a", "b/**");
    world.run_until_quiet();
    assert_eq!(world.node("a").sent("Interest"), 0, "b has nothing to offer");
    world.declare("b", "b/x");
    world.run_until_quiet();
    world.assert_routed();
    assert_eq!(world.routed("b", "a"), ["b/x"]);
}

#[test]
fn patterns_that_others_include_are_not_told_and_count_all_the_same() {
    let mut world = World::new(4);
    world.start_serving(&["a", "b"]);
    let narrow = world.subscribe("a", "b/a");
    world.run_until_quiet();
    let wide = world.subscribe("a", "**");
    world.run_until_quiet();
    world.assert_routed();
    world.reset_counts();
    world.unsubscribe("a", narrow);
    world.run_until_quiet();
    assert_eq!(world.node("a").sent_in_all(), 0, "the wide one covers it");
    world.subscribe("a", "b/*");
    world.unsubscribe("a", wide);
    world.run_until_quiet();
    world.assert_routed();
    assert_eq!(world.routed("b", "a"), ["b/a"]);
}

#[test]
fn of_two_ways_to_say_the_same_one_is_told() {
    let mut world = World::new(16);
    world.start_serving(&["a", "b"]);
    world.subscribe("a", "b/**");
    world.subscribe("a", "b/**/**");
    world.run_until_quiet();
    world.assert_routed();
    assert_eq!(world.routed("b", "a"), ["b/a"]);
}

#[test]
fn interest_is_sent_again_on_a_new_link() {
    let mut world = World::new(5);
    world.start_serving(&["a", "b"]);
    world.subscribe("a", "b/**");
    world.run_until_quiet();
    world.break_links("a", "b");
    world.run_until_quiet();
    world.assert_converged();
    world.assert_routed();
    assert_eq!(world.routed("b", "a"), ["b/a"]);
    assert_eq!((firsts(&world, "b"), lasts(&world, "b")), (1, 0), "the break was short");
}

#[test]
fn a_replaced_link_is_no_last_interest() {
    for (loser, other) in [("a", "b"), ("b", "a")] {
        let mut world = World::new(6);
        world.start_serving(&["a", "b"]);
        world.subscribe("a", "b/**");
        world.run_until_quiet();
        world.lose_links(loser, other);
        world.run_until_quiet();
        world.assert_routed();
        assert_eq!((firsts(&world, "b"), lasts(&world, "b")), (1, 0));
    }
}

#[test]
fn the_last_interest_is_told_after_a_linger() {
    let mut world = World::new(7);
    world.start_serving(&["a", "b", "c"]);
    let of_a = world.subscribe("a", "b/a");
    let of_c = world.subscribe("c", "**");
    world.run_until_quiet();
    assert_eq!(firsts(&world, "b"), 1, "the second adds nothing");
    world.unsubscribe("a", of_a);
    world.run_until_quiet();
    assert_eq!(lasts(&world, "b"), 0, "c still wants it");
    let end = world.now();
    world.unsubscribe("c", of_c);
    world.run_until_quiet();
    let last = |event: &Event| matches!(event, Event::LastInterest { key } if *key == b_a());
    let after = world.node("b").first(last).expect("nobody wants it") - end;
    assert!(after >= LINGER && after < LINGER + Duration::from_millis(100), "after {after:?}");
}

fn b_a() -> Key {
    key("b/a")
}

#[test]
fn interest_that_returns_within_the_linger_is_as_if_it_had_stayed() {
    let mut world = World::new(8);
    world.start_serving(&["a", "b"]);
    let first = world.subscribe("a", "b/a");
    world.run_until_quiet();
    world.unsubscribe("a", first);
    world.run_for(LINGER / 2);
    world.subscribe("a", "b/a");
    world.run_until_quiet();
    assert_eq!((firsts(&world, "b"), lasts(&world, "b")), (1, 0));
}

#[test]
fn the_interest_of_a_dead_subscriber_ends() {
    let mut world = World::new(9);
    world.start_serving(&["a", "b"]);
    world.subscribe("a", "b/a");
    world.run_until_quiet();
    world.crash("a", Notice::AtOnce);
    world.run_for(2 * LINGER);
    assert_eq!((firsts(&world, "b"), lasts(&world, "b")), (1, 1));
    assert!(world.wanted("b").is_empty());
}

#[test]
fn ones_own_interest_counts() {
    let mut world = World::new(10);
    world.start("a");
    world.declare("a", "a/x");
    let own = world.subscribe("a", "a/*");
    assert_eq!(world.wanted("a"), ["a/x"]);
    world.unsubscribe("a", own);
    world.run_until_quiet();
    assert!(world.wanted("a").is_empty());
}

#[test]
fn interest_that_an_announcement_causes_precedes_the_answer_to_a_later_request() {
    let mut world = World::new(11);
    world.start_mesh(&["pub", "sub", "other"]);
    world.subscribe("sub", "news/**");
    world.run_until_quiet();
    // What `pub` does: declare, then one request as a barrier.
    world.declare("pub", "news/today");
    let ticket = world.request("pub", "news/today");
    world.run_until("the report", |world| world.node("pub").report(ticket).is_some());
    let routed = position(&world, "pub", |event| matches!(event, Event::RouteAdded { .. }));
    let answered = position(&world, "pub", |event| matches!(event, Event::Answered { .. }));
    assert!(routed.expect("sub wants it") < answered.expect("all answered"));
    assert!(world.node("pub").report(ticket).expect("it was waited for").complete);
}

#[test]
fn the_barrier_holds_for_a_publisher_that_has_just_started() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        world.start_mesh(&["a", "sub"]);
        world.subscribe("sub", "news/**");
        world.start("pub");
        world.declare("pub", "news/today");
        world.join("pub", "a");
        let ticket = world.request("pub", "news/today");
        world.run_until("the report", |world| world.node("pub").report(ticket).is_some());
        assert!(world.node("pub").report(ticket).expect("it was waited for").complete);
        assert_eq!(world.routed("pub", "sub"), ["news/today"]);
    }
}

#[test]
fn two_subscriptions_to_one_pattern_end_with_the_second() {
    let mut world = World::new(12);
    world.start_serving(&["a", "b"]);
    let one = world.subscribe("a", "b/**");
    let other = world.subscribe("a", "b/**");
    world.run_until_quiet();
    world.unsubscribe("a", one);
    world.run_until_quiet();
    assert_eq!(world.routed("b", "a"), ["b/a"]);
    world.unsubscribe("a", other);
    world.unsubscribe("a", SubscriptionId(99_999));
    world.run_until_quiet();
    assert!(world.routed("b", "a").is_empty());
    assert_eq!(lasts(&world, "b"), 1);
}

#[test]
fn too_much_interest_is_refused_and_what_was_before_stays() {
    let mut world = World::new(13);
    world.start("a");
    world.declare("a", "a/x");
    world.start_stranger("z");
    let link = world.open_as_stranger("z", "a");
    let interest = |version, part, last, patterns: Vec<_>| {
        Message::Interest(Interest { version, part, last, patterns })
    };
    world.say(link, interest(1, 0, true, vec![expr("a/*").into()]));
    for part in 0..5 {
        let patterns = (0..300).map(|number| expr(&format!("p{part}/{number}")).into()).collect();
        world.say(link, interest(2, part, part == 4, patterns));
    }
    world.run_for(Duration::from_millis(10));
    let refused = |message: &Message| matches!(message, Message::InterestRefused(refused) if refused.version == 2);
    assert!(world.heard("z", link).iter().any(refused));
    world.declare("a", "a/later");
    assert_eq!(world.wanted("a"), ["a/later", "a/x"]);
    assert!(world.stands(link));
}

#[test]
fn a_refused_interest_is_told_to_the_application() {
    let mut world = World::new(14);
    world.start("a");
    world.start_stranger("z");
    let link = world.open_as_stranger("z", "a");
    let refused = dse_core::protocol::InterestRefused { version: 1, why: "no".into() };
    world.say(link, Message::InterestRefused(refused));
    world.run_for(Duration::from_millis(10));
    let told = |event: &Event| matches!(event, Event::InterestRefused { why, .. } if why == "no");
    assert_eq!(world.node("a").count(told), 1);
}

#[test]
fn a_key_that_ends_ends_its_routes_without_a_word() {
    let mut world = World::new(15);
    world.start_serving(&["a", "b"]);
    world.subscribe("a", "b/**");
    world.run_until_quiet();
    world.undeclare("b", "b/a");
    world.run_until_quiet();
    assert_eq!(lasts(&world, "b"), 0);
    assert!(world.wanted("b").is_empty());
    let ticket: Ticket = world.ticket();
    world.command("b", Command::Declare { ticket, declaration: declaration("b/a") });
    world.run_until_quiet();
    assert_eq!(firsts(&world, "b"), 2, "it is wanted anew");
}

#[test]
fn interest_that_returns_within_the_linger_leaves_no_timer() {
    let mut world = World::new(30);
    world.start_serving(&["a", "b"]);
    let subscription = world.subscribe("a", "b/a");
    world.run_until_quiet();
    world.unsubscribe("a", subscription);
    world.run_for(LINGER / 2);
    assert!(world.node("b").bus().poll_timeout().is_some());
    world.subscribe("a", "b/a");
    world.run_for(LINGER / 4);
    assert_eq!(world.node("b").bus().poll_timeout(), None);
}

#[test]
fn the_linger_of_an_interest_begins_anew_with_each_end() {
    let mut world = World::new(7);
    world.start_serving(&["a", "b"]);
    let lasts =
        |world: &World| world.node("b").count(|event| matches!(event, Event::LastInterest { .. }));
    for pause in [LINGER / 2, LINGER / 4] {
        let subscription = world.subscribe("a", "b/**");
        world.run_for(LINGER / 4);
        world.unsubscribe("a", subscription);
        world.run_for(pause);
    }
    // More than two seconds after the first end, and less than two after the second.
    world.run_for(LINGER / 2);
    assert_eq!(lasts(&world), 0);
    world.run_for(LINGER / 2);
    assert_eq!(lasts(&world), 1);
}

/// The stranger `z` wants a key, and a thousand that nobody has and that are not easily
/// told from those that `a` has.
fn want_at_a_cost(world: &mut World, link: LinkId, version: u64, wanted: &str) {
    let patterns = (0..1000).map(|number| expr(&format!("**/{number}/nobody")));
    let patterns = patterns.chain([expr(wanted)]).map(Pattern::from).collect();
    world.say(link, Message::Interest(Interest { version, part: 0, last: true, patterns }));
    world.run_for(LINGER / 200);
}

#[test]
fn after_an_interest_that_cost_much_the_next_one_waits_and_only_the_last_is_looked_at() {
    let (mut world, link) = with_much_to_compare();
    want_at_a_cost(&mut world, link, 1, "a/1");
    assert_eq!(world.routed("a", "z"), ["a/1"], "the first is looked at when it comes");
    want_at_a_cost(&mut world, link, 2, "a/2");
    want_at_a_cost(&mut world, link, 3, "a/3");
    assert_eq!(world.routed("a", "z"), ["a/1"]);
    world.run_for(LINGER / 10);
    assert_eq!(world.routed("a", "z"), ["a/3"]);
    let added = world.node("a").count(|event| matches!(event, Event::RouteAdded { .. }));
    assert_eq!(added, 2, "nobody looked at the second");
}

#[test]
fn who_was_answered_has_the_interest_that_came_before_the_answer() {
    let (mut world, link) = with_much_to_compare();
    want_at_a_cost(&mut world, link, 1, "a/1");
    world.request("a", "**");
    want_at_a_cost(&mut world, link, 2, "a/2");
    let answer =
        |request| Answer { request, part: 0, last: true, membership: 0, declarations: vec![] };
    world.say(link, Message::Answer(answer(77)));
    world.run_for(LINGER / 200);
    assert_eq!(world.routed("a", "z"), ["a/1"], "that was not asked");
    world.say(link, Message::Answer(answer(1)));
    world.run_for(LINGER / 200);
    assert_eq!(world.routed("a", "z"), ["a/2"]);
}

/// `a` has a hundred keys, and a link with the stranger `z`.
fn with_much_to_compare() -> (World, LinkId) {
    let mut world = World::new(30);
    world.start("a");
    for number in 0..100 {
        world.declare("a", &format!("a/{number}"));
    }
    world.start_stranger("z");
    let link = world.open_as_stranger("z", "a");
    (world, link)
}

fn lossy() -> InterestOptions {
    let mut options = InterestOptions::default();
    options.never_wait = true;
    options
}

fn every(ms: u64) -> InterestOptions {
    let mut options = lossy();
    options.min_interval = Duration::from_millis(ms);
    options
}

fn of_class(class: Class) -> InterestOptions {
    let mut options = lossy();
    options.class = Some(class);
    options
}

/// What `a` asks of the route for `b/a`.
fn asked(world: &World) -> InterestOptions {
    match world.routes("b", "a")[..] {
        [(_, options)] => options,
        ref routes => panic!("{routes:?}"),
    }
}

fn changes(world: &World) -> usize {
    world.node("b").count(|event| matches!(event, Event::RouteChanged { .. }))
}

#[test]
fn a_route_carries_what_the_subscriber_asks_of_it() {
    for options in [lossy(), every(300), of_class(Class::Bulk), InterestOptions::default()] {
        let mut world = World::new(40);
        world.start_serving(&["a", "b"]);
        world.subscribe_with("a", "b/*", options);
        world.run_until_quiet();
        assert_eq!(asked(&world), options);
        world.declare("b", "b/later");
        world.run_until_quiet();
        assert_eq!(world.routes("b", "a").last().map(|(_, options)| *options), Some(options));
        world.assert_routed();
        assert_eq!(changes(&world), 0);
    }
}

#[test]
fn of_several_subscriptions_the_route_does_the_most_that_any_needs() {
    let wishes = [lossy(), every(300), every(20), of_class(Class::Bulk), of_class(Class::Realtime)];
    for (one, two) in wishes.iter().flat_map(|one| wishes.iter().map(move |two| (*one, *two))) {
        for (narrow, wide) in [("b/a", "b/a"), ("b/a", "b/*"), ("b/*", "b/a"), ("b/*", "b/**")] {
            let mut world = World::new(41);
            world.start_serving(&["a", "b"]);
            let first = world.subscribe_with("a", narrow, one);
            world.run_until_quiet();
            world.subscribe_with("a", wide, two);
            world.run_until_quiet();
            assert_eq!(asked(&world), one.merge(two), "{narrow} {one:?}, {wide} {two:?}");
            assert_eq!(changes(&world), usize::from(one.merge(two) != one));
            world.unsubscribe("a", first);
            world.run_until_quiet();
            assert_eq!(asked(&world), two);
            world.assert_routed();
            assert_eq!((firsts(&world, "b"), lasts(&world, "b")), (1, 0));
        }
    }
}

#[test]
fn a_pattern_that_another_includes_is_sent_exactly_when_it_asks_for_more() {
    let mut world = World::new(42);
    world.start_serving(&["a", "b"]);
    world.subscribe_with("a", "**", every(20));
    world.run_until_quiet();
    world.reset_counts();
    let more = world.subscribe_with("a", "b/*", every(300));
    world.run_until_quiet();
    assert_eq!(world.node("a").sent_in_all(), 0, "the wide one asks for more already");
    world.unsubscribe("a", more);
    world.subscribe("a", "b/a");
    world.run_until_quiet();
    assert_eq!(world.node("a").sent_in_all(), 1);
    assert_eq!(asked(&world), InterestOptions::default());
    world.assert_routed();
}

#[test]
fn what_is_asked_of_a_route_is_told_again_on_a_new_link() {
    let mut world = World::new(43);
    world.start_serving(&["a", "b"]);
    world.subscribe_with("a", "b/a", every(300));
    world.run_until_quiet();
    world.break_links("a", "b");
    world.run_until_quiet();
    assert_eq!(asked(&world), every(300));
    world.lose_links("a", "b");
    world.run_until_quiet();
    assert_eq!(asked(&world), every(300));
    world.assert_routed();
    assert_eq!(changes(&world), 0);
}

#[test]
fn who_asks_for_something_else_each_time_is_looked_at_at_times() {
    let mut world = World::new(44);
    world.start("a");
    for number in 0..2000 {
        world.declare("a", &format!("a/{number}"));
    }
    world.start_stranger("z");
    let link = world.open_as_stranger("z", "a");
    let changed =
        |world: &World| world.node("a").count(|event| matches!(event, Event::RouteChanged { .. }));
    for version in 1..=10 {
        let options = every(version);
        let patterns = vec![Pattern { keys: expr("a/*"), options }];
        world.say(link, Message::Interest(Interest { version, part: 0, last: true, patterns }));
        world.run_for(Duration::from_micros(100));
    }
    world.run_for(LINGER);
    assert_eq!(world.routes("a", "z")[0].1, every(10), "the last one counts");
    assert!(changed(&world) < 5 * 2000, "{} changes", changed(&world));
}
