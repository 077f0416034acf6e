//! Begin, samples, End; what late joiners get; what is left out at a subscriber's wish.

use super::*;

#[test]
fn samples_arrive_in_order_and_close_waits_for_all() {
    let (mut bus, a, b) = pair(Path::default());
    let p = bus.declare(a, &block());
    let s = bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Eager);
    bus.run_for(ms(10));
    bus.publish(a, p, vec![100; 500]);
    bus.run_for(ms(100));
    bus.close(a, p, secs(10));
    bus.run_for(ms(100));
    assert_eq!(told(&bus, b, s), "1..500, ended");
    let report = bus.report(a, "p").expect("a report");
    assert_eq!((report.confirmed, report.is_confirmed()), (1, true), "{report:?}");
}

#[test]
fn who_joins_late_gets_the_history_that_was_asked_for() {
    let (mut bus, a, b) = pair(Path::default());
    let p = bus.declare(a, &PublisherSetup { history: 3, ..block() });
    bus.publish(a, p, vec![10; 8]);
    let s = bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Eager);
    bus.run_for(ms(100));
    assert_eq!(told(&bus, b, s), "6..8");
}

#[test]
fn of_a_state_who_joins_late_gets_the_present_value() {
    let (mut bus, a, b) = pair(Path::default());
    let p = bus.declare(a, &state());
    bus.publish(a, p, vec![10; 8]);
    let s = bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Eager);
    bus.run_for(ms(100));
    assert_eq!(told(&bus, b, s), "8");
    let second = bus.subscribe(b, "a/*", InterestOptions::default(), Pace::Eager);
    bus.run_for(ms(100));
    assert_eq!(told(&bus, b, second), "8");
}

#[test]
fn a_state_is_conflated_on_a_slow_link_and_its_latest_value_arrives() {
    let (mut bus, a, b) = pair(Path { bandwidth: 20_000, queue: 4096, ..Path::default() });
    let p = bus.declare(a, &state());
    let s = bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Eager);
    bus.run_for(ms(10));
    for _ in 0..100 {
        bus.publish(a, p, [2000]);
        bus.run_for(ms(10));
    }
    bus.run_for(secs(2));
    let told = story(&bus, b, s);
    assert!(told.ends_with("100") && told.len() < 200, "{told}");
    bus.close(a, p, secs(1));
    bus.run_for(secs(1));
    assert_eq!(causes(&bus, a, "p"), []);
}

#[test]
fn withdrawing_ends_a_route_and_is_no_loss() {
    let (mut bus, a, b) = pair(Path::default());
    let p = bus.declare(a, &block());
    let s = bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Stopped);
    bus.run_for(ms(10));
    bus.publish(a, p, vec![10; 8]);
    bus.run_for(ms(10));
    bus.unsubscribe(b, s);
    bus.run_for(ms(100));
    bus.close(a, p, secs(10));
    bus.run_for(ms(10));
    let report = bus.report(a, "p").expect("nobody is waited for");
    assert_eq!((report.withdrawn, report.is_confirmed()), (1, true), "{report:?}");
}

#[test]
fn who_withdraws_after_the_end_was_sent_is_not_named() {
    let (mut bus, a, b) = pair(Path::default());
    let p = bus.declare(a, &block());
    let s = bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Stopped);
    bus.run_for(ms(10));
    bus.publish(a, p, vec![10; 8]);
    bus.close(a, p, secs(10));
    bus.run_for(ms(100));
    bus.unsubscribe(b, s);
    bus.run_for(ms(100));
    let report = bus.report(a, "p").expect("nobody is waited for");
    assert_eq!((report.withdrawn, report.is_confirmed()), (1, true), "{report:?}");
}

#[test]
fn who_withdraws_before_all_was_sent_is_counted_as_withdrawn() {
    let (mut bus, a, b) = pair(Path { delay: ms(80), queue: 4096, ..Path::default() });
    let p = bus.declare(a, &block());
    let first = bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Stopped);
    bus.run_for(secs(1));
    bus.publish(a, p, [8862; 10]);
    bus.unsubscribe(b, first);
    bus.subscribe(b, "a/*", InterestOptions::default(), Pace::Eager);
    bus.close(a, p, secs(5));
    bus.run_for(secs(5));
    let report = bus.report(a, "p").expect("a report");
    assert_eq!((report.withdrawn, report.confirmed), (1, 0), "{report:?}");
}

#[test]
fn a_subscription_that_takes_another_ones_place_is_served_anew() {
    let (mut bus, a, b) = pair(Path::default());
    let p = bus.declare(a, &block());
    for round in 1..=5_u64 {
        let s = bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Eager);
        bus.run_for(ms(20));
        bus.publish(a, p, [10]);
        bus.run_for(ms(20));
        assert_eq!(told(&bus, b, s), round.to_string());
        bus.unsubscribe(b, s);
    }
}

#[test]
fn a_key_that_is_declared_again_is_heard() {
    let (mut bus, a, b) = pair(Path::default());
    let p = bus.declare(a, &block());
    let first = bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Eager);
    bus.run_for(ms(20));
    bus.unsubscribe(b, first);
    bus.run_for(ms(20));
    let s = bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Eager);
    bus.run_for(ms(20));
    bus.publish(a, p, [10, 10]);
    bus.close(a, p, secs(1));
    bus.run_for(ms(20));
    let again = bus.declare(a, &block());
    bus.run_for(ms(20));
    bus.publish(a, again, [10]);
    bus.run_for(ms(20));
    assert_eq!(told(&bus, b, s), "1..2, ended, 3");
}

#[test]
fn an_interval_leaves_out_what_comes_too_soon() {
    let (mut bus, a, b) = pair(Path::default());
    let stream = bus.declare(a, &block());
    let value = bus.declare(a, &PublisherSetup::new("v", Policy::Latest));
    let wish = options(|it| it.min_interval = ms(100));
    let s = bus.subscribe(b, "a/p", wish, Pace::Eager);
    let v = bus.subscribe(b, "a/v", wish, Pace::Eager);
    bus.run_for(ms(5));
    for _ in 0..50 {
        bus.publish(a, stream, [10]);
        bus.publish(a, value, [10]);
        bus.run_for(ms(10));
    }
    bus.run_for(secs(1));
    let (s, v) = (story(&bus, b, s), story(&bus, b, v));
    assert!((5..=6).contains(&s.split(", ").count()), "{s}");
    assert!((5..=7).contains(&v.split(", ").count()) && v.ends_with("50"), "{v}");
}

#[test]
fn what_an_interval_leaves_out_does_not_hold_up_the_publisher() {
    let (mut bus, a, b) = pair(Path::default());
    let p = bus.declare(a, &block());
    bus.subscribe(b, "a/p", options(|it| it.min_interval = ms(500)), Pace::Eager);
    bus.run_for(ms(10));
    bus.publish(a, p, vec![200_000; 200]);
    bus.run_for(secs(10));
    assert_eq!((bus.count("published"), bus.count("stalls")), (200, 0));
}

#[test]
fn a_state_with_an_interval_asks_for_one_turn() {
    let (mut bus, a, b) = pair(Path::default());
    let p = bus.declare(a, &state());
    let s = bus.subscribe(b, "a/p", options(|it| it.min_interval = ms(1000)), Pace::Eager);
    bus.run_for(ms(5));
    for _ in 0..2000 {
        bus.publish(a, p, [10]);
        bus.run_for(ms(10));
    }
    let before = bus.steps();
    for _ in 0..200 {
        bus.publish(a, p, [10]);
        bus.run_for(ms(10));
    }
    assert!(bus.steps() - before < 2000, "{} steps", bus.steps() - before);
    bus.run_for(secs(2));
    assert!(told(&bus, b, s).ends_with("2200"));
}

#[test]
fn what_is_older_than_its_lifetime_is_skipped() {
    let (mut bus, a, b) = pair(Path { bandwidth: 100_000, queue: 1000, ..Path::default() });
    let p = bus.declare(a, &PublisherSetup { lifetime: Some(ms(500)), ..block() });
    let s = bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Eager);
    bus.run_for(ms(10));
    bus.publish(a, p, vec![20_000; 40]);
    bus.run_for(secs(10));
    let told = told(&bus, b, s);
    assert!(told.starts_with("1..") && told.ends_with("-40 expired"), "{told}");
}

#[test]
fn a_state_that_shares_a_frame_with_a_stream_is_not_read_as_one() {
    let (mut bus, a, b) = pair(Path::default());
    let stream = bus.declare(a, &block());
    let value = bus.declare(a, &PublisherSetup::new("v", Policy::Latest));
    let s = bus.subscribe(b, "a/*", options(|it| it.min_interval = ms(100)), Pace::Eager);
    bus.run_for(ms(5));
    bus.publish(a, value, [10]);
    bus.run_for(ms(5));
    bus.freeze(a, b);
    // What fills the lane has both wait for one frame.
    bus.publish(a, stream, vec![200_000; 4]);
    bus.publish(a, value, [10]);
    bus.thaw();
    bus.run_for(secs(2));
    let values = bus.taken(b, s).iter().filter(|it| it.origin().key.as_str() == "a/v");
    assert_eq!(values.count(), 2, "{}", told(&bus, b, s));
}

#[test]
fn a_gap_that_an_interval_wished_is_not_told_open() {
    let (mut bus, a, b) = pair(Path::default());
    let p = bus.declare(a, &block());
    let wish = options(|it| (it.never_wait, it.min_interval) = (true, ms(1)));
    let s = bus.subscribe(b, "a/p", wish, Pace::Every(secs(1)));
    bus.run_for(ms(10));
    for _ in 0..100 {
        bus.publish(a, p, [100_000]);
        bus.run_for(ms(20));
    }
    bus.run_for(secs(30));
    assert!(!story(&bus, b, s).contains("wish"), "{}", told(&bus, b, s));
}

#[test]
fn a_subscription_that_is_never_waited_for_blocks_nobody() {
    let (mut bus, a, b) = pair(Path::default());
    let p = bus.declare(a, &block());
    let s = bus.subscribe(b, "a/p", options(|it| it.never_wait = true), Pace::Stopped);
    bus.run_for(ms(10));
    bus.publish(a, p, vec![100_000; 100]);
    bus.run_for(ms(500));
    bus.set_pace(b, s, Pace::Eager);
    bus.run_for(secs(1));
    let told = told(&bus, b, s);
    assert!(told.contains(" wish") && told.ends_with("100"), "{told}");
    assert_eq!(bus.count("blocked"), 0);
}
