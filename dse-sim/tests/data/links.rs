//! Links that fall and return, nodes that leave, crash and restart.

use super::*;

/// The link falls at both ends at once and is back after this time.
fn blip(bus: &mut Bus, a: usize, b: usize, after: Duration) {
    bus.cut(a, b, [Duration::ZERO; 2]);
    bus.reconnect(a, b, after);
    bus.run_for(after + ms(10));
}

#[test]
fn a_block_stream_resumes_without_gap_or_duplicate() {
    let (mut bus, a, b) = pair(Path { bandwidth: 1_000_000, ..Path::default() });
    let p = bus.declare(a, &block());
    let s = bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Every(ms(1)));
    bus.run_for(ms(10));
    for _ in 0..5 {
        bus.publish(a, p, vec![3000; 100]);
        bus.run_for(ms(50));
        blip(&mut bus, a, b, ms(500));
    }
    bus.run_for(secs(10));
    let numbers: Vec<String> = story(&bus, b, s)
        .split(", ")
        .filter(|it| it.parse::<u64>().is_ok())
        .map(str::to_owned)
        .collect();
    assert_eq!(numbers.len(), 500, "{}", told(&bus, b, s));
    assert!(!story(&bus, b, s).contains('-'), "{}", told(&bus, b, s));
    bus.close(a, p, secs(10));
    bus.run_for(secs(2));
    assert_eq!(causes(&bus, a, "p"), []);
}

#[test]
fn what_came_before_a_link_fell_is_confirmed_on_the_next() {
    let (mut bus, a, b) = pair(Path::default());
    let p = bus.declare(a, &block());
    let s = bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Stopped);
    bus.run_for(ms(10));
    bus.publish(a, p, [10; 5]);
    bus.run_for(ms(10));
    bus.cut(a, b, [Duration::ZERO; 2]);
    bus.run_for(ms(10));
    bus.set_pace(b, s, Pace::Eager);
    bus.reconnect(a, b, ms(100));
    bus.run_for(secs(1));
    assert_eq!(told(&bus, b, s), "1..5, lost, back");
    let report = bus.report_now(a, p).expect("a report");
    assert_eq!((report.confirmed, report.is_confirmed()), (1, true), "{report:?}");
}

#[test]
fn a_link_that_does_not_return_in_time_costs_a_gap() {
    let (mut bus, a, b) = pair(Path::default());
    let p = bus.declare(a, &block());
    let s = bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Eager);
    bus.run_for(ms(10));
    bus.publish(a, p, [10; 5]);
    bus.run_for(ms(10));
    bus.cut(a, b, [Duration::ZERO; 2]);
    bus.publish(a, p, [10; 5]);
    bus.run_for(secs(10));
    bus.reconnect(a, b, ms(10));
    bus.run_for(ms(100));
    bus.publish(a, p, [10]);
    bus.run_for(ms(100));
    assert_eq!(told(&bus, b, s), "1..5, lost, back, 6-10 lost, 11");
    bus.close(a, p, secs(1));
    bus.run_for(secs(1));
    assert_eq!(causes(&bus, a, "p"), [("b".to_owned(), UnconfirmedCause::Lost)]);
}

#[test]
fn a_state_outlives_its_link_and_new_subscriptions_get_its_value() {
    let (mut bus, a, b) = pair(Path::default());
    let p = bus.declare(a, &state());
    let old = bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Eager);
    bus.run_for(ms(10));
    bus.publish(a, p, [10; 5]);
    bus.run_for(ms(10));
    bus.cut(a, b, [Duration::ZERO; 2]);
    bus.run_for(ms(10));
    let new = bus.subscribe(b, "a/*", InterestOptions::default(), Pace::Eager);
    bus.reconnect(a, b, ms(100));
    bus.run_for(secs(1));
    assert_eq!(told(&bus, b, old), "5, lost, back");
    assert_eq!(told(&bus, b, new), "5");
}

#[test]
fn a_state_value_that_waits_for_its_interval_survives_its_link() {
    let (mut bus, a, b) = pair(Path::default());
    let p = bus.declare(a, &state());
    let wish = options(|it| it.min_interval = ms(1000));
    bus.subscribe(b, "a/*", InterestOptions::default(), Pace::Eager);
    let s = bus.subscribe(b, "a/p", wish, Pace::Eager);
    bus.run_for(ms(10));
    bus.publish(a, p, [10]);
    bus.run_for(ms(10));
    bus.publish(a, p, [10]);
    bus.run_for(ms(10));
    bus.cut(a, b, [Duration::ZERO; 2]);
    bus.run_for(secs(5));
    assert!(story(&bus, b, s).contains('2'), "{}", told(&bus, b, s));
}

#[test]
fn a_subscription_that_is_new_when_a_sequence_resumes_is_told_no_gap() {
    let (mut bus, a, b) = pair(Path::default());
    let p = bus.declare(a, &block());
    let old = bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Stopped);
    bus.run_for(ms(10));
    bus.publish(a, p, [10; 5]);
    bus.run_for(ms(10));
    bus.cut(a, b, [Duration::ZERO; 2]);
    bus.run_for(ms(10));
    let new = bus.subscribe(b, "a/*", InterestOptions::default(), Pace::Eager);
    bus.reconnect(a, b, ms(100));
    bus.run_for(secs(1));
    bus.publish(a, p, [10]);
    bus.run_for(ms(100));
    assert_eq!(told(&bus, b, new), "6");
    bus.set_pace(b, old, Pace::Eager);
    bus.run_for(ms(100));
    assert_eq!(told(&bus, b, old), "1..5, lost, back, 6");
}

#[test]
fn a_withdrawal_while_the_peer_looks_where_it_goes_on_ends_the_route() {
    let (mut bus, a, b) = pair(Path { delay: ms(50), ..Path::default() });
    let p = bus.declare(a, &block());
    let s = bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Eager);
    bus.run_for(ms(200));
    bus.publish(a, p, [10; 5]);
    bus.run_for(ms(200));
    bus.cut(a, b, [Duration::ZERO; 2]);
    bus.unsubscribe(b, s);
    let s = bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Eager);
    bus.reconnect(a, b, ms(100));
    // Begin has come, Resume is under way.
    bus.run_for(ms(100 + 50 + 50 + 2));
    bus.unsubscribe(b, s);
    bus.run_for(secs(1));
    assert_eq!(bus.subscribers(a, p), 0);
    bus.publish(a, p, vec![200_000; 100]);
    bus.run_for(secs(1));
    assert_eq!(bus.count("blocked"), 0);
}

#[test]
fn a_publisher_that_leaves_is_told_apart_from_one_that_crashes() {
    let (mut bus, a, b) = pair(Path::default());
    let p = bus.declare(a, &block());
    let s = bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Eager);
    bus.run_for(ms(10));
    bus.publish(a, p, [10; 3]);
    bus.run_for(ms(10));
    bus.crash(a, ms(100));
    bus.run_for(secs(1));
    bus.start("a", WINDOW);
    bus.connect(a, b, Path::default());
    let p = bus.declare(a, &block());
    bus.run_for(ms(10));
    bus.publish(a, p, [10; 2]);
    bus.run_for(ms(10));
    bus.leave(a, secs(2));
    bus.run_for(secs(5));
    assert_eq!(told(&bus, b, s), "1..3, lost, restarted, 1..2, ended");
}

#[test]
fn a_subscriber_that_leaves_with_samples_untaken_is_named() {
    let (mut bus, a, b) = pair(Path::default());
    let p = bus.declare(a, &block());
    bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Stopped);
    bus.run_for(ms(10));
    bus.publish(a, p, [10; 3]);
    bus.run_for(ms(10));
    bus.leave(b, secs(2));
    bus.run_for(secs(5));
    bus.close(a, p, secs(1));
    bus.run_for(secs(2));
    assert_eq!(causes(&bus, a, "p"), [("b".to_owned(), UnconfirmedCause::Left)]);
}

#[test]
fn an_end_that_was_handed_out_is_not_told_again_on_the_next_link() {
    let (mut bus, a, b) = pair(Path { delay: ms(100), ..Path::default() });
    let p = bus.declare(a, &block());
    let s = bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Eager);
    bus.run_for(secs(1));
    bus.publish(a, p, [10; 3]);
    bus.run_for(secs(1));
    bus.close(a, p, secs(10));
    // End has come, the last credit is under way.
    bus.run_for(ms(150));
    blip(&mut bus, a, b, ms(200));
    bus.run_for(secs(2));
    assert_eq!(told(&bus, b, s), "1..3, ended");
    assert_eq!(causes(&bus, a, "p"), []);
}

#[test]
fn samples_in_fragments_survive_a_fall_in_their_midst() {
    let (mut bus, a, b) = pair(Path { bandwidth: 100_000, queue: 20_000, ..Path::default() });
    let p = bus.declare(a, &block());
    let other = bus.declare(a, &PublisherSetup::new("q", Policy::Block));
    let s = bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Eager);
    let q = bus.subscribe(b, "a/q", InterestOptions::default(), Pace::Eager);
    bus.run_for(ms(10));
    bus.publish(a, p, [400_000; 3]);
    bus.publish(a, other, [400_000; 3]);
    bus.run_for(ms(1200));
    blip(&mut bus, a, b, ms(300));
    bus.run_for(secs(60));
    assert!(told(&bus, b, s).ends_with('3') && told(&bus, b, q).ends_with('3'));
    assert!(!story(&bus, b, s).contains('-'), "{}", story(&bus, b, s));
    assert!(bus.count("fragments cut by a fall") > 0, "nothing was cut");
}

#[test]
fn a_subscription_that_comes_amid_a_sample_gets_the_next_whole() {
    let (mut bus, a, b) = pair(Path { bandwidth: 100_000, queue: 20_000, ..Path::default() });
    let p = bus.declare(a, &block());
    let first = bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Eager);
    let other = bus.declare(a, &PublisherSetup::new("q", Policy::Block));
    bus.subscribe(b, "a/q", InterestOptions::default(), Pace::Eager);
    bus.run_for(ms(10));
    bus.publish(a, p, [600_000; 3]);
    bus.publish(a, other, [600_000; 3]);
    bus.run_for(ms(3500));
    bus.unsubscribe(b, first);
    let second = bus.subscribe(b, "a/*", InterestOptions::default(), Pace::Eager);
    bus.run_for(secs(60));
    bus.publish(a, p, [10]);
    bus.run_for(secs(5));
    assert!(told(&bus, b, second).ends_with('4'), "{}", told(&bus, b, second));
}

#[test]
fn publishers_that_come_and_go_leave_nothing_behind_on_a_link() {
    let (mut bus, a, b) = pair(Path::default());
    bus.subscribe(b, "a/*", InterestOptions::default(), Pace::Eager);
    for _ in 0..300 {
        let p = bus.declare(a, &block());
        bus.publish(a, p, [10]);
        bus.run_for(ms(10));
        bus.close(a, p, secs(1));
        bus.run_for(ms(20));
    }
    assert!(bus.incoming(b) < 150, "{} sequences are known", bus.incoming(b));
}

#[test]
fn urgent_samples_go_before_a_large_one() {
    let (mut bus, a, b) = pair(Path { bandwidth: 1_000_000, queue: 20_000, ..Path::default() });
    let bulk = PublisherSetup { class: dse_core::protocol::Class::Bulk, ..block() };
    let p = bus.declare(a, &bulk);
    let urgent = PublisherSetup::new("u", Policy::Block);
    let u =
        bus.declare(a, &PublisherSetup { class: dse_core::protocol::Class::Realtime, ..urgent });
    bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Eager);
    let s = bus.subscribe(b, "a/u", InterestOptions::default(), Pace::Eager);
    bus.run_for(ms(10));
    bus.publish(a, p, [10_000_000]);
    bus.run_for(secs(1));
    bus.publish(a, u, [10]);
    bus.run_for(ms(700));
    assert_eq!(told(&bus, b, s), "1");
}

#[test]
fn history_that_was_taken_before_is_not_confirmed_before_it_is_sent() {
    let (mut bus, a, b) = pair(Path::default());
    let p = bus
        .declare(a, &PublisherSetup { history: 5, ..PublisherSetup::new("p", Policy::DropOldest) });
    let s = bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Eager);
    bus.run_for(ms(10));
    bus.publish(a, p, [60_000; 20]);
    bus.run_for(secs(1));
    blip(&mut bus, a, b, ms(100));
    bus.run_for(secs(1));
    assert_eq!(told(&bus, b, s), "1..20, lost, back");
}

#[test]
fn a_state_whose_subscription_is_replaced_keeps_its_value() {
    let (mut bus, a, b) = pair(Path { delay: ms(50), ..Path::default() });
    let p = bus.declare(a, &state());
    let first = bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Eager);
    bus.run_for(secs(1));
    bus.unsubscribe(b, first);
    bus.publish(a, p, [10]);
    bus.run_for(ms(52));
    let second = bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Eager);
    bus.run_for(secs(1));
    assert!(told(&bus, b, second).starts_with('1'), "{}", told(&bus, b, second));
}

#[test]
fn a_value_that_was_on_its_way_is_sent_anew_although_the_publisher_forgot_it() {
    let (mut bus, a, b) = pair(Path { delay: ms(50), ..Path::default() });
    let p = bus.declare(a, &state());
    let s = bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Eager);
    bus.run_for(secs(1));
    bus.publish(a, p, [10]);
    bus.forget(a, p);
    blip(&mut bus, a, b, ms(100));
    bus.run_for(secs(1));
    assert_eq!(told(&bus, b, s), "lost, back, 1");
}
