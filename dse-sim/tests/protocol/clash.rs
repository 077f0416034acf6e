//! One id, one node: restarts replace the dead, and of two live nodes all peers refuse
//! the same one.

use std::time::Duration;

use dse_core::protocol::{
    Claim, Event, Hello, Incarnation, Message, Open, Reject, RejectReason, Rival, Role, Stand,
    StopReason,
};

use dse_sim::world::{Latency, Notice, World, endpoint, id, stranger_hello};

const NOTICES: [Notice; 3] = [Notice::AtOnce, Notice::Detected, Notice::Never];

/// Three peers and the node `x`, which declares `x/old`.
fn with_x(seed: u64) -> World {
    let latency = Latency::between(Duration::from_micros(100), Duration::from_millis(20));
    let mut world = World::with_latency(seed, latency);
    world.start_mesh(&["a", "b", "c", "x"]);
    world.declare("x", "x/old");
    world.run_until_quiet();
    world
}

/// Starts another node with the id of `x`, listening at `mem://twin`.
fn start_twin(world: &mut World, incarnation: u64) {
    world.start_with("twin", |config| {
        config.node = id("x");
        config.incarnation = Incarnation(incarnation);
    });
    world.declare("twin", "x/twin");
}

#[track_caller]
fn assert_stopped_by(world: &World, loser: &str, winner: &str) {
    let clash = StopReason::Clash { winner: Some(endpoint(winner)) };
    assert_eq!(world.node(loser).stopped, Some(clash));
}

fn incarnation_of_x(world: &World, at: &str) -> Option<Incarnation> {
    let peers = world.node(at).peers();
    let x = peers.into_iter().find(|peer| peer.info.node == id("x"))?;
    x.link.map(|_| x.info.incarnation)
}

#[test]
fn a_restart_leaves_no_ghost_whether_or_not_the_end_was_noticed() {
    for notice in NOTICES {
        for seed in 0..20 {
            let mut world = with_x(seed);
            world.crash("x", notice);
            world.start("x");
            world.declare("x", "x/new");
            world.join("x", "b");
            world.run_for(Duration::from_secs(2));
            world.assert_converged();
            world.run_until_quiet();
            for name in ["a", "b", "c"] {
                assert_eq!(world.node(name).knows(), ["x:x/new"], "{notice:?}");
                assert_eq!(world.node(name).downs("x"), 1);
                assert_eq!(world.node(name).ups("x"), 2);
            }
        }
    }
}

#[test]
fn a_restart_with_the_clock_gone_backwards_replaces_the_dead_all_the_same() {
    for notice in NOTICES {
        for seed in 0..20 {
            let mut world = with_x(seed);
            world.crash("x", notice);
            world.start_with("x", |config| config.incarnation = Incarnation(0));
            world.declare("x", "x/new");
            world.join("x", "a");
            world.run_until_quiet();
            world.assert_converged();
            assert_eq!(world.node("c").knows(), ["x:x/new"], "{notice:?}");
            assert_eq!(incarnation_of_x(&world, "c"), Some(Incarnation(0)));
        }
    }
}

#[test]
fn a_restart_with_the_same_incarnation_is_another_start() {
    let mut world = with_x(1);
    let incarnation = world.node("x").config().incarnation;
    world.crash("x", Notice::Never);
    world.start_with("x", |config| config.incarnation = incarnation);
    world.join("x", "a");
    world.run_until_quiet();
    world.assert_converged();
    assert!(world.node("c").knows().is_empty(), "what the former start declared is gone");
}

#[test]
fn a_newer_twin_is_refused_by_all_and_told_who_has_the_id() {
    for seed in 0..20 {
        let mut world = with_x(seed);
        start_twin(&mut world, 1_000_000);
        for seed in ["a", "b", "c"] {
            world.join("twin", seed);
        }
        world.run_until_quiet();
        assert_stopped_by(&world, "twin", "x");
        world.assert_converged();
        for name in ["a", "b", "c"] {
            assert_eq!(world.node(name).downs("x"), 0, "x never went down for {name}");
            assert_eq!(world.node(name).knows(), ["x:x/old"]);
        }
    }
}

#[test]
fn an_older_twin_wins_everywhere_and_the_holder_stops() {
    for seed in 0..20 {
        let mut world = with_x(seed);
        start_twin(&mut world, 0);
        world.join("twin", "b");
        world.run_until_quiet();
        assert_stopped_by(&world, "x", "twin");
        for name in ["a", "b", "c"] {
            assert_eq!(incarnation_of_x(&world, name), Some(Incarnation(0)));
            assert_eq!(world.node(name).knows(), ["x:x/twin"]);
        }
    }
}

#[test]
fn twins_that_dial_each_other_settle_it_between_them() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        world.start("x");
        start_twin(&mut world, 1_000_000);
        world.join("twin", "x");
        world.run_until_quiet();
        assert_stopped_by(&world, "twin", "x");
        assert!(world.node("x").is_running());
    }
}

#[test]
fn twins_with_peers_of_their_own_leave_one_when_the_partition_heals() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        world.start_mesh(&["a", "b", "c", "d"]);
        world.partition(&["a", "b"], &["c", "d"]);
        world.start("x");
        start_twin(&mut world, 1_000_000);
        world.join("x", "a");
        world.join("twin", "d");
        world.run_for(Duration::from_secs(5));
        world.heal();
        world.run_until_quiet();
        assert_stopped_by(&world, "twin", "x");
        world.assert_converged();
    }
}

#[test]
fn who_lost_all_links_has_the_weaker_claim_however_old() {
    for seed in 0..20 {
        let mut world = with_x(seed);
        world.partition(&["x"], &["a", "b", "c"]);
        world.run_for(Duration::from_secs(5));
        start_twin(&mut world, 1_000_000);
        world.partition(&["x"], &["twin"]);
        world.join("twin", "a");
        world.run_for(Duration::from_secs(5));
        assert_eq!(incarnation_of_x(&world, "c"), Some(Incarnation(1_000_000)));
        world.heal();
        world.run_until_quiet();
        assert_stopped_by(&world, "x", "twin");
        assert_eq!(incarnation_of_x(&world, "c"), Some(Incarnation(1_000_000)));
    }
}

#[test]
fn who_was_left_by_all_in_order_keeps_its_claim() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        world.start("x");
        world.start("a");
        world.join("a", "x");
        world.run_until_quiet();
        world.leave("a");
        world.run_until_quiet();
        start_twin(&mut world, 1_000_000);
        world.join("twin", "x");
        world.run_until_quiet();
        assert_stopped_by(&world, "twin", "x");
    }
}

#[test]
fn a_peer_that_leaves_in_order_costs_a_newcomer_nothing() {
    for seed in 0..200 {
        let latency = Latency::between(Duration::from_micros(100), Duration::from_millis(20));
        let mut world = World::with_latency(seed, latency);
        world.start("x");
        world.start("a");
        world.join("a", "x");
        world.run_until_quiet();
        world.start("b");
        world.join("b", "x");
        world.run_for(Duration::from_millis(seed % 60));
        world.leave("a");
        world.run_until_quiet();
        world.assert_linked("b", "x");
        let failed = |event: &Event| matches!(event, Event::DialFailed { endpoint: at, .. } if *at == endpoint("x"));
        assert_eq!(world.node("b").count(failed), 0, "seed {seed}");
    }
}

#[test]
fn the_hello_of_a_dead_process_evicts_nobody() {
    let mut world = with_x(1);
    world.start_stranger("ghost");
    let link = world.dial("ghost", "a");
    let mut hello = stranger_hello("ghost", 1);
    hello.node = id("x");
    hello.claim.incarnation = Incarnation(0);
    world.say(link, Message::Hello(hello));
    // What it wrote arrives, and it answers nothing any more.
    world.pause("ghost");
    world.run_until_quiet();
    assert_eq!(world.node("a").downs("x"), 0);
    assert!(world.node("x").is_running());
    world.assert_linked("a", "x");
}

#[test]
fn the_loser_leaves_its_peers_in_order() {
    let mut world = with_x(1);
    start_twin(&mut world, 0);
    world.join("twin", "b");
    world.run_until_quiet();
    let gone = ["a", "b", "c"].map(|name| {
        let node = world.node(name);
        node.downs("x") + node.lefts("x")
    });
    assert_eq!(gone, [1, 1, 1], "each peer saw the loser go once");
    let refused = |event: &Event| matches!(event, Event::DialFailed { seed: false, .. });
    assert!(world.node("c").count(refused) < 5, "the loser is not dialled on and on");
}

#[test]
fn on_a_full_bus_a_second_node_of_one_id_is_a_clash_and_no_lack_of_room() {
    let mut world = World::new(9);
    for name in ["a", "b"] {
        world.start_with(name, |config| config.peers_max = 2);
    }
    world.join("b", "a");
    world.run_until_quiet();
    world.start_with("twin", |config| {
        config.node = id("a");
        config.peers_max = 2;
    });
    // It meets the holder of its id, who has no room for another member.
    world.join("twin", "a");
    world.run_until("the twin stops", |world| world.node("twin").stopped.is_some());
    let reason = world.node("twin").stopped.clone();
    assert_eq!(reason, Some(StopReason::Clash { winner: Some(endpoint("a")) }));
}

#[test]
fn a_dead_holder_gives_way_within_the_time_of_a_probe() {
    let mut world = World::new(30);
    world.start_mesh(&["a", "b", "x"]);
    world.crash("x", Notice::Detected);
    world.start("x");
    let incarnation = world.node("x").config().incarnation;
    world.join("x", "a");
    // Well before the watchers find that the former one is dead.
    world.run_for(Duration::from_millis(700));
    assert_eq!(incarnation_of_x(&world, "a"), Some(incarnation));
}

#[test]
fn a_holder_that_loses_is_told_by_whom_at_each_observer() {
    let mut world = World::new(32);
    world.start("a");
    world.start_stranger("z");
    let link = world.open_as_stranger("z", "a");
    world.start_with("older", |config| {
        config.node = id("z");
        config.incarnation = Incarnation(0);
    });
    world.join("older", "a");
    world.run_for(Duration::from_secs(1));
    assert!(!world.stands(link));
    let reason = RejectReason::Clash { winner: Some(endpoint("older")) };
    let told = |message: &Message| matches!(message, Message::Reject(Reject { reason: r, .. }) if *r == reason);
    assert!(world.heard("z", link).iter().any(told));
}

#[test]
fn who_loses_its_last_link_gives_up_links_in_mid_handshake() {
    let mut world = World::new(33);
    world.start_mesh(&["a", "b"]);
    world.start_stranger("z");
    world.join("a", "z");
    world.run_for(Duration::from_millis(10));
    let [link] = world.fresh_links("z")[..] else { panic!("one dial") };
    assert!(world.stands(link));
    world.crash("b", Notice::AtOnce);
    world.run_for(Duration::from_millis(10));
    assert!(!world.stands(link), "its Hello had a claim that is no more");
}

#[test]
fn a_start_that_was_a_guest_is_no_member() {
    let mut world = World::new(34);
    world.start("a");
    world.start_stranger("z");
    let [guest, member] = [(1, Role::Guest), (2, Role::Member)].map(|(number, role)| {
        let link = world.dial("z", "a");
        world.say(link, Message::Hello(Hello { role, ..stranger_hello("z", number) }));
        let echo = world.hello_from("z", link).link_nonce;
        let open = Open { echo, held: None, known: None, census: Vec::new() };
        world.say(link, Message::Open(open));
        world.run_for(Duration::from_secs(1));
        link
    });
    assert!(world.stands(guest));
    // The holder counts as the older one of two alike.
    world.say(guest, Message::Stand(Stand {}));
    world.run_for(Duration::from_secs(1));
    assert!(world.stands(guest) && !world.stands(member), "two starts have the id");
}

#[test]
fn a_refusal_that_comes_late_ends_nobody_in_vain() {
    let mut world = World::new(35);
    world.start_mesh(&["a", "x"]);
    start_twin(&mut world, 1_000_000);
    world.join("twin", "a");
    let refused = |event: &Event| matches!(event, Event::PeerRefused { .. });
    world.run_until("a refusal", |world| world.node("a").count(refused) > 0);
    // Who told the twin dies, and with it the last link of the one that won.
    world.hold("a", "twin");
    world.crash("a", Notice::AtOnce);
    world.run_until("x has no peer", |world| world.node("x").downs("a") > 0);
    world.join("twin", "x");
    world.run_for(Duration::from_secs(1));
    world.release("a", "twin");
    world.run_for(Duration::from_secs(1));
    assert_stopped_by(&world, "twin", "x");
    assert!(world.node("x").is_running(), "both have ended, each for the other");
}

#[test]
fn of_two_that_meet_while_their_peers_die_one_stays() {
    for seed in 0..400 {
        let latency = Latency::between(Duration::from_micros(100), Duration::from_millis(20));
        let mut world = World::with_latency(seed, latency);
        world.start_mesh(&["a", "b", "x"]);
        start_twin(&mut world, 1_000_000);
        for seed in ["a", "b", "x"] {
            world.join("twin", seed);
        }
        for observer in ["a", "b"] {
            world.run_for(Duration::from_millis(seed % 20));
            world.crash(observer, Notice::AtOnce);
        }
        world.run_for(Duration::from_secs(10));
        let left = ["x", "twin"].map(|name| world.node(name).is_running());
        assert_ne!(left[0], left[1], "seed {seed}");
    }
}

#[test]
fn a_younger_start_is_refused_on_the_word_of_the_older_alone() {
    let mut world = World::new(36);
    world.start("a");
    world.start_stranger("z");
    let link = world.open_as_stranger("z", "a");
    start_younger_z(&mut world);
    world.join("younger", "a");
    world.run_for(Duration::from_secs(1));
    assert!(world.heard("z", link).iter().any(is_rival));
    assert!(world.node("younger").is_running(), "nobody has said that it loses");
    world.say(link, Message::Stand(Stand {}));
    world.run_for(Duration::from_secs(1));
    assert_stopped_by(&world, "younger", "z");
    assert!(world.stands(link));
}

#[test]
fn a_contest_goes_on_over_the_link_that_takes_the_place_of_one() {
    let mut world = World::new(37);
    world.start("a");
    world.start_stranger("z");
    world.open_as_stranger("z", "a");
    start_younger_z(&mut world);
    world.join("younger", "a");
    world.run_for(Duration::from_secs(1));
    let link = world.open_as_stranger("z", "a");
    world.run_for(Duration::from_secs(1));
    assert!(world.heard("z", link).iter().any(is_rival));
}

#[test]
fn who_was_cut_off_yields_to_no_dead_process() {
    let mut world = World::new(38);
    world.start_mesh(&["a", "x"]);
    world.crash("a", Notice::AtOnce);
    world.run_until("x has no peer", |world| world.node("x").downs("a") > 0);
    world.start_stranger("ghost");
    let link = world.dial("ghost", "x");
    let mut hello = stranger_hello("ghost", 1);
    hello.node = id("x");
    hello.claim.incarnation = Incarnation(1_000_000);
    world.say(link, Message::Hello(hello));
    world.pause("ghost");
    world.run_for(Duration::from_secs(10));
    assert!(world.node("x").is_running());
}

#[test]
fn of_two_that_were_cut_off_the_older_stays() {
    let mut world = World::new(39);
    world.start_mesh(&["a", "x"]);
    start_twin(&mut world, 1_000_000);
    world.start("b");
    world.join("twin", "b");
    world.run_for(Duration::from_secs(1));
    for name in ["a", "b"] {
        world.crash(name, Notice::AtOnce);
    }
    world.run_for(Duration::from_secs(1));
    world.join("twin", "x");
    world.run_for(Duration::from_secs(1));
    assert_stopped_by(&world, "twin", "x");
    assert!(world.node("x").is_running());
}

#[test]
fn who_names_an_older_rival_breaks_the_protocol() {
    let mut world = World::new(40);
    world.start("x");
    world.start_stranger("z");
    let link = world.open_as_stranger("z", "x");
    let claim = Claim { returned: false, incarnation: Incarnation(0), nonce: 0 };
    world.say(link, Message::Rival(Rival { claim, endpoint: None }));
    world.run_for(Duration::from_secs(1));
    assert!(world.node("x").is_running() && !world.stands(link));
    let fault = |message: &Message| {
        matches!(message, Message::Reject(Reject { reason: RejectReason::Fault { .. }, .. }))
    };
    assert!(world.heard("z", link).iter().any(fault));
}

/// Starts a node with the id of the stranger `z`, and after it.
fn start_younger_z(world: &mut World) {
    world.start_with("younger", |config| {
        config.node = id("z");
        config.incarnation = Incarnation(1_000_000);
    });
}

fn is_rival(message: &Message) -> bool {
    matches!(message, Message::Rival(_))
}
