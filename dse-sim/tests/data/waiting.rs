//! Backpressure, stalls and drops.

use super::*;

const BIG: usize = 200_000;

#[test]
fn a_slow_subscriber_sets_the_pace_and_loses_nothing() {
    let (mut bus, a, b) = pair(Path::default());
    let p = bus.declare(a, &block());
    let s = bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Every(ms(100)));
    bus.run_for(ms(10));
    bus.publish(a, p, vec![BIG; 60]);
    bus.run_for(secs(20));
    assert_eq!(told(&bus, b, s), "1..60");
    assert!(bus.count("blocked") > 0, "it was not blocked");
}

#[test]
fn who_takes_nothing_is_stalled_told_its_gap_and_served_again() {
    let (mut bus, a, b) = pair(Path::default());
    let p = bus.declare(a, &block());
    let s = bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Stopped);
    bus.run_for(ms(10));
    bus.publish(a, p, vec![BIG; 100]);
    bus.run_for(secs(30));
    bus.set_pace(b, s, Pace::Eager);
    bus.run_for(secs(5));
    let story = told(&bus, b, s);
    assert!(story.contains("- stalled, ") && story.contains(" stalled, "), "{story}");
    assert!(story.ends_with("100"), "{story}");
    bus.publish(a, p, [10]);
    bus.run_for(secs(1));
    bus.close(a, p, secs(10));
    bus.run_for(secs(1));
    assert_eq!(causes(&bus, a, "p"), [("b".to_owned(), UnconfirmedCause::Stalled)]);
}

#[test]
fn traffic_of_others_does_not_revive_a_stalled_subscriber() {
    let (mut bus, a, b) = pair(Path::default());
    let p = bus.declare(a, &block());
    let other = bus.declare(a, &PublisherSetup::new("q", Policy::Block));
    bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Stopped);
    bus.subscribe(b, "a/q", InterestOptions::default(), Pace::Eager);
    bus.run_for(ms(10));
    bus.publish(a, p, vec![BIG; 1000]);
    for _ in 0..60 {
        bus.publish(a, other, [100]);
        bus.run_for(secs(1));
    }
    assert_eq!(bus.count("stalls"), 1);
}

#[test]
fn an_idle_subscriber_does_not_stall_while_another_sets_the_pace() {
    let mut bus = Bus::new(true);
    let nodes = ["a", "b", "c"].map(|name| bus.start(name, WINDOW));
    let [a, b, c] = nodes;
    bus.connect(a, b, Path::default());
    bus.connect(a, c, Path { bandwidth: 48_000, ..Path::default() });
    let p = bus.declare(a, &block());
    let quick = bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Eager);
    let slow = bus.subscribe(c, "a/p", InterestOptions::default(), Pace::Eager);
    bus.run_for(ms(10));
    // Room for the large one comes when the slow one has taken three.
    bus.publish(a, p, [[BIG; 20].as_slice(), &[3 * BIG / 2, 10]].concat());
    bus.run_for(ms(100));
    bus.publish(a, p, [3 * BIG]);
    bus.run_for(secs(200));
    assert_eq!(told(&bus, b, quick), "1..23");
    assert_eq!(told(&bus, c, slow), "1..23");
    assert_eq!(bus.count("stalls"), 0);
}

#[test]
fn the_oldest_or_the_newest_are_dropped() {
    for policy in [Policy::DropOldest, Policy::DropNewest] {
        let (mut bus, a, b) = pair(Path::default());
        let p = bus.declare(a, &PublisherSetup::new("p", policy));
        let s = bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Stopped);
        bus.run_for(ms(10));
        for _ in 0..100 {
            bus.publish(a, p, [BIG]);
            bus.run_for(ms(5));
        }
        bus.set_pace(b, s, Pace::Eager);
        bus.run_for(secs(5));
        bus.publish(a, p, [10]);
        bus.run_for(secs(5));
        let story = told(&bus, b, s);
        assert!(story.contains(" policy"), "{policy:?}: {story}");
        let end = if policy == Policy::DropOldest { ", 96..101" } else { "100 policy, 101" };
        assert!(story.ends_with(end), "{policy:?}: {story}");
    }
}

#[test]
fn of_two_subscriptions_of_a_node_one_that_is_stuck_holds_up_nobody_for_long() {
    let (mut bus, a, b) = pair(Path::default());
    let p = bus.declare(a, &block());
    let stuck = bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Stopped);
    let eager = bus.subscribe(b, "a/*", InterestOptions::default(), Pace::Eager);
    bus.run_for(ms(10));
    bus.publish(a, p, vec![BIG; 200]);
    bus.run_for(secs(60));
    assert_eq!(told(&bus, b, eager), "1..200");
    assert_eq!(bus.count("stalls"), 0);
    bus.set_pace(b, stuck, Pace::Eager);
    bus.run_for(secs(1));
    bus.publish(a, p, [10]);
    bus.run_for(secs(1));
    let story = told(&bus, b, stuck);
    assert!(story.contains("-200 stalled, 201"), "{story}");
    bus.close(a, p, secs(5));
    bus.run_for(secs(1));
    assert_eq!(causes(&bus, a, "p"), [("b".to_owned(), UnconfirmedCause::Evicted)]);
}

#[test]
fn what_expires_unsent_waits_for_nobody_and_fills_no_queue() {
    let (mut bus, a, b) = pair(Path::default());
    let p = bus.declare(a, &PublisherSetup { lifetime: Some(Duration::ZERO), ..block() });
    let s = bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Stopped);
    bus.run_for(ms(10));
    for _ in 0..3000 {
        bus.publish(a, p, [10]);
        bus.run_for(ms(5));
    }
    assert!(bus.waiting(b, s) <= 1100, "{} items wait", bus.waiting(b, s));
    bus.set_pace(b, s, Pace::Eager);
    bus.run_for(secs(1));
    assert!(told(&bus, b, s).ends_with("-3000 expired"));
}

#[test]
fn a_subscription_that_is_stuck_loses_nothing_of_a_state() {
    let (mut bus, a, b) = pair(Path::default());
    let p = bus.declare(a, &state());
    let stuck = bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Stopped);
    bus.subscribe(b, "a/*", InterestOptions::default(), Pace::Eager);
    bus.run_for(ms(10));
    for _ in 0..10 {
        bus.publish(a, p, [10]);
        bus.run_for(secs(1));
    }
    assert!(bus.count("left out for another subscription") > 0);
    bus.set_pace(b, stuck, Pace::Eager);
    bus.run_for(secs(1));
    assert_eq!(told(&bus, b, stuck), "10");
}

#[test]
fn a_subscription_that_had_nothing_to_take_is_not_left_out_for_that() {
    let (mut bus, a, b) = pair(Path::default());
    let p = bus.declare(a, &block());
    let slow = bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Every(secs(1)));
    bus.subscribe(b, "a/*", InterestOptions::default(), Pace::Eager);
    bus.run_for(ms(10));
    bus.publish(a, p, [10]);
    bus.run_for(secs(60));
    bus.publish(a, p, [10]);
    bus.run_for(ms(100));
    bus.publish(a, p, [10; 3]);
    bus.run_for(secs(60));
    assert_eq!(told(&bus, b, slow), "1..5");
}

#[test]
fn a_node_is_not_confirmed_while_one_of_its_subscriptions_is_stuck() {
    let (mut bus, a, b) = pair(Path::default());
    let p = bus.declare(a, &block());
    bus.subscribe(b, "a/p", InterestOptions::default(), Pace::Stopped);
    bus.subscribe(b, "a/*", InterestOptions::default(), Pace::Eager);
    bus.run_for(ms(10));
    bus.publish(a, p, [10; 5]);
    bus.run_for(secs(20));
    bus.close(a, p, secs(1));
    bus.run_for(secs(2));
    assert_eq!(causes(&bus, a, "p"), [("b".to_owned(), UnconfirmedCause::Evicted)]);
}
