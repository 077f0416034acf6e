//! Three watchers for each member, and how a death gets about (PROTOCOL.md §10).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dse_core::protocol::{
    BeatTurn, Event, Incarnation, LinkId, Listen, Message, NodeId, Suspect, Watch,
};

use dse_sim::world::{Notice, Options, Random, World, id};

const WATCHERS: usize = 3;
const DETECT: Duration = Duration::from_millis(1500);
/// A probe on demand, and the word that asked for it.
const ROUND: Duration = Duration::from_millis(400 + 5);

/// A quiet bus of so many members.
fn mesh(seed: u64, count: usize) -> (World, Vec<String>) {
    let options = Options { transcript: false, ..Options::default() };
    let mut world = World::with_options(seed, options);
    let names: Vec<String> = (0..count).map(|number| format!("n{number:02}")).collect();
    world.start_mesh(&names.iter().map(String::as_str).collect::<Vec<_>>());
    (world, names)
}

fn link(world: &World, from: &str, to: &str) -> Option<LinkId> {
    world.node(from).link_to(&id(to))
}

fn watch(world: &World, of: &str, peer: &str) -> Option<Watch> {
    link(world, of, peer).map(|link| world.watched(link))
}

fn watches(world: &World, watcher: &str, of: &str) -> bool {
    watch(world, watcher, of).is_some_and(|watch| watch.listen == Listen::Close)
}

/// When a member tells another that it lives.
fn turn(world: &World, of: &str, watcher: &str) -> Option<BeatTurn> {
    watch(world, of, watcher)?.beats
}

/// Who watches a member, by what each node does.
fn watchers_of(world: &World, of: &str) -> BTreeSet<String> {
    let members = world.names_of_members();
    members.into_iter().filter(|name| name != of && watches(world, name, of)).collect()
}

/// A member is watched by so many, tells each in a turn of its own, and nobody else.
#[track_caller]
fn assert_watched_by(world: &World, of: &str, count: u32) {
    let watchers = watchers_of(world, of);
    assert_eq!(watchers.len(), count as usize, "watchers of {of}");
    let mut numbers = BTreeSet::new();
    for name in world.names_of_members() {
        let turn = turn(world, of, &name);
        assert_eq!(turn.is_some(), watchers.contains(&name), "{of} tells {name}");
        if let Some(BeatTurn { number, of }) = turn {
            assert_eq!(of, count);
            numbers.insert(number);
        }
    }
    assert!(numbers.into_iter().eq(0..count), "each has a turn of its own at {of}");
}

/// Within which time one of these watchers finds a death. A watcher bears two thirds of the
/// detection time from when it is to be told next, and one of three is told in each third.
fn found_by(world: &World, dead: &str, watchers: &BTreeSet<String>) -> Option<Duration> {
    let turns = watchers.iter().filter_map(|watcher| turn(world, dead, watcher));
    let (mut numbers, of): (Vec<u32>, Vec<u32>) = turns.map(|it| (it.number, it.of)).unzip();
    numbers.sort_unstable();
    let next_round = numbers.first()? + of.first()?;
    let next = numbers.iter().skip(1).chain([&next_round]);
    let longest = numbers.iter().zip(next).map(|(number, next)| next - number).max()?;
    Some(DETECT / 3 * longest + DETECT * 2 / 3)
}

/// When each of these must be known to all to be dead, at the latest: a live watcher finds
/// it, then everybody probes; and whom a dead one watched is probed when that one is found.
/// None: by the lazy watch alone.
fn budgets(world: &World, dead: &BTreeSet<String>) -> BTreeMap<String, Option<Duration>> {
    let watchers: BTreeMap<_, _> =
        dead.iter().map(|name| (name.clone(), watchers_of(world, name))).collect();
    let mut budgets: BTreeMap<String, Option<Duration>> = BTreeMap::new();
    for (name, watchers) in &watchers {
        let live = watchers.difference(dead).cloned().collect();
        budgets.insert(name.clone(), found_by(world, name, &live).map(|found| found + ROUND));
    }
    for _ in dead {
        for (name, watchers) in &watchers {
            let known = watchers.intersection(dead).filter_map(|watcher| budgets[watcher]).min();
            let probed = known.map(|known| known + ROUND);
            let budget = budgets[name].into_iter().chain(probed).min();
            budgets.insert(name.clone(), budget);
        }
    }
    budgets
}

/// These die in one moment, and the others find it within the budget and nothing else.
/// Gives the longest that it took.
#[track_caller]
fn die_together(world: &mut World, dead: &BTreeSet<String>) -> Duration {
    let budgets = budgets(world, dead);
    let died_at = world.now();
    world.reset_counts();
    for name in dead {
        world.crash(name, Notice::Detected);
    }
    world.run_for(budgets.values().flatten().max().copied().unwrap_or_default());
    let mut longest = Duration::ZERO;
    for name in world.names_of_members() {
        let node = world.node(&name);
        for (gone, budget) in &budgets {
            let down =
                |event: &Event| matches!(event, Event::NodeDown { node, .. } if *node == id(gone));
            let Some(budget) = budget else { continue };
            let took = node.first(down).map(|at| at - died_at);
            let took = took.unwrap_or_else(|| panic!("{name} does not know that {gone} died"));
            assert!(took <= *budget, "{name} knows of {gone} after {took:?}, not {budget:?}");
            longest = longest.max(took);
        }
        assert_only_down(world, &name, dead);
        let most = (WATCHERS * dead.len()) as u64;
        let sent = node.sent("Suspect");
        assert!(sent <= most * world.names_of_members().len() as u64, "{name} sent {sent}");
    }
    longest
}

/// A node told of no deaths but these.
#[track_caller]
fn assert_only_down(world: &World, name: &str, dead: &BTreeSet<String>) {
    for (at, event) in &world.node(name).events {
        if let Event::NodeDown { node, error, .. } = event {
            assert!(dead.contains(node.as_str()), "{name} lost {node} at {at:?}: {error}");
        }
    }
}

fn all_but<'a>(names: &'a [String], left_out: &'a str) -> impl Iterator<Item = &'a String> {
    names.iter().filter(move |name| *name != left_out)
}

#[test]
fn three_watch_each_member_closely_whoever_comes_and_goes() {
    let (mut world, names) = mesh(1, 12);
    let check = |world: &World| {
        for name in world.names_of_members() {
            assert_watched_by(world, &name, WATCHERS as u32);
        }
    };
    check(&world);
    world.leave("n03");
    world.run_until_quiet();
    check(&world);
    for name in ["n05", "n07"] {
        world.crash(name, Notice::AtOnce);
    }
    world.run_for(DETECT);
    check(&world);
    world.start("n05");
    world.join("n05", "n00");
    world.break_links("n08", "n09");
    world.run_for(DETECT);
    check(&world);
    assert!(names.len() > world.names_of_members().len());
}

#[test]
fn of_few_all_watch_all() {
    for count in 2..5 {
        let (world, names) = mesh(2, count);
        for name in &names {
            assert_watched_by(&world, name, count as u32 - 1);
        }
    }
}

#[test]
fn a_death_is_known_to_all_when_three_watch() {
    for seed in 0..4 {
        let (mut world, names) = mesh(seed, 32);
        let dead = &names[seed as usize];
        let took = die_together(&mut world, &BTreeSet::from([dead.clone()]));
        assert!(took > DETECT * 2 / 3, "nobody was to know before: {took:?}");
        assert!(took <= DETECT + ROUND, "{took:?}");
        let sent: Vec<u64> =
            all_but(&names, dead).map(|name| world.node(name).sent_in_all()).collect();
        // Three tell all others; these say nothing.
        let tellers = sent.iter().filter(|sent| **sent > 0).count();
        assert!(tellers <= WATCHERS, "{tellers} told of it");
        assert!(sent.iter().all(|sent| *sent <= 30), "{sent:?}");
    }
}

#[test]
fn all_watchers_of_a_node_die_with_it() {
    for seed in 0..4 {
        let (mut world, names) = mesh(seed, 32);
        let mut dead = watchers_of(&world, &names[7]);
        assert_eq!(dead.len(), WATCHERS);
        dead.insert(names[7].clone());
        let took = die_together(&mut world, &dead);
        let least = DETECT * 2 / 3 + Duration::from_millis(400);
        assert!(took > least, "only the deaths of the watchers tell: {took:?}");
    }
}

#[test]
fn a_host_with_ten_of_32_nodes_is_lost() {
    let mut random = Random::new(3);
    for seed in 0..6 {
        let (mut world, names) = mesh(seed, 32);
        let mut dead = BTreeSet::new();
        while dead.len() < 10 {
            dead.insert(random.pick(&names).clone());
        }
        let budgets = budgets(&world, &dead);
        for (name, budget) in &budgets {
            let budget = budget.unwrap_or_else(|| panic!("{name} is left to the lazy watch"));
            assert!(budget <= DETECT * 5 / 3 + ROUND, "seed {seed}: {name} within {budget:?}");
        }
        die_together(&mut world, &dead);
        for name in world.names_of_members() {
            assert_eq!(watchers_of(&world, &name).len(), WATCHERS);
        }
    }
}

#[test]
fn most_of_a_bus_is_lost() {
    for seed in 0..10 {
        let (mut world, names) = mesh(seed, 16);
        let dead = names[3..].iter().cloned().collect();
        die_together(&mut world, &dead);
    }
}

#[test]
fn who_joins_while_a_host_is_lost_is_not_taken_for_dead_and_finds_the_dead() {
    for seed in 0..10 {
        let (mut world, names) = mesh(seed, 16);
        let dead: BTreeSet<String> = names[8..].iter().cloned().collect();
        let mut random = Random::new(seed);
        for (number, seed) in names.iter().enumerate().take(4) {
            let new = format!("new{number}");
            world.start(&new);
            world.join(&new, seed);
            world.run_for(Duration::from_millis(random.below(3)));
        }
        for name in &dead {
            world.crash(name, Notice::Detected);
        }
        // The views of the newcomers and of the others differ as long as some try to reach
        // the dead. Nobody depends on agreeing.
        world.run_for(DETECT + 8 * ROUND + Duration::from_secs(5));
        for name in world.names_of_members() {
            assert_only_down(&world, &name, &dead);
            assert_eq!(world.node(&name).linked().len(), 8 + 4 - 1, "seed {seed}: {name}");
        }
    }
}

#[test]
fn a_link_that_fails_one_way_stays_between_the_pair() {
    for seed in 0..10 {
        let (mut world, names) = mesh(seed, 16);
        let of = &names[seed as usize % 16];
        let watcher = watchers_of(&world, of).pop_first().expect("a watcher");
        world.reset_counts();
        world.block(of, &watcher);
        world.run_for(Duration::from_secs(5));
        assert_eq!(world.node(&watcher).downs(of), 1, "its own link is down");
        assert!(world.node(&watcher).sent("Suspect") > 0, "which it tells");
        for name in all_but(&names, of).filter(|name| **name != watcher) {
            assert_only_down(&world, name, &BTreeSet::new());
        }
        world.heal();
        world.run_until_quiet();
        world.assert_converged();
    }
}

#[test]
fn whom_the_pings_of_a_watcher_do_not_reach_is_heard_all_the_same() {
    let (mut world, names) = mesh(4, 16);
    let one_way = |of: &&String| {
        let of = of.as_str();
        let watcher = watchers_of(&world, of).into_iter().find(|it| !watches(&world, of, it));
        watcher.map(|watcher| (watcher, of.to_owned()))
    };
    let (watcher, of) = names.iter().find_map(|of| one_way(&of)).expect("who is not watched back");
    world.block(&watcher, &of);
    world.run_for(DETECT * 10);
    assert_only_down(&world, &watcher, &BTreeSet::new());
    assert_only_down(&world, &of, &BTreeSet::new());
    world.crash(&of, Notice::Detected);
    world.run_for(DETECT + ROUND);
    assert_eq!(world.node(&watcher).downs(&of), 1, "and missed when it is dead");
}

#[test]
fn who_stands_still_for_900_ms_is_not_taken_for_dead() {
    for seed in 0..10 {
        let (mut world, names) = mesh(seed, 8);
        let mut random = Random::new(seed);
        for name in &names {
            world.run_for(Duration::from_millis(random.below(1500)));
            world.freeze(name);
            world.run_for(Duration::from_millis(900));
            world.resume(name);
        }
        world.run_for(DETECT);
        for name in &names {
            assert_only_down(&world, name, &BTreeSet::new());
        }
    }
}

#[test]
fn a_watcher_that_stood_still_blames_nobody_of_those_who_answer() {
    for seed in 0..10 {
        let (mut world, names) = mesh(seed, 16);
        let dead = names[15].clone();
        let watchers = watchers_of(&world, &dead);
        let starved: Vec<_> = watchers.into_iter().take(2).collect();
        // Shorter than anybody's patience: late timers, not a death.
        for round in 0..10 {
            for name in &starved {
                world.freeze(name);
            }
            world.run_for(Duration::from_millis(300));
            for name in &starved {
                world.resume(name);
            }
            if round == 5 {
                world.crash(&dead, Notice::Detected);
            }
            world.run_for(Duration::from_millis(200));
        }
        world.run_for(DETECT + 2 * ROUND);
        for name in all_but(&names, &dead) {
            assert_only_down(&world, name, &BTreeSet::from([dead.clone()]));
            assert_eq!(world.node(name).downs(&dead), 1, "{name}");
        }
    }
}

#[test]
fn whom_no_watcher_reaches_is_found_by_the_lazy_watch() {
    let (mut world, names) = mesh(5, 12);
    let dead = names[4].clone();
    let watchers = watchers_of(&world, &dead);
    // Its watchers lose their links with it, and cannot say a word of it any more.
    for watcher in &watchers {
        world.block(watcher, &dead);
        world.block(&dead, watcher);
    }
    world.run_for(Duration::from_secs(5));
    let others: Vec<_> = all_but(&names, &dead).filter(|name| !watchers.contains(*name)).collect();
    for name in &others {
        assert_eq!(world.node(name).downs(&dead), 0);
        assert!(!watches(&world, name, &dead), "they believe that others watch");
    }
    world.crash(&dead, Notice::Detected);
    // Of eleven links one is probed each 15 s.
    world.run_for(Duration::from_secs(25));
    assert!(others.iter().all(|name| world.node(name).downs(&dead) == 0));
    world.run_for(Duration::from_secs(171));
    for name in others {
        assert_eq!(world.node(name).downs(&dead), 1, "{name}");
    }
}

#[test]
fn a_word_of_suspicion_is_not_stored_relayed_or_answered() {
    let (mut world, names) = mesh(6, 8);
    world.start_stranger("zz");
    let at = world.open_as_stranger("zz", "n00");
    world.run_for(Duration::from_secs(1));
    world.reset_counts();
    let incarnation = world.node("n03").config().incarnation;
    let suspect = |node: &str, incarnation| {
        let node: NodeId = id(node);
        dse_core::protocol::Message::Suspect(dse_core::protocol::Suspect { node, incarnation })
    };
    // One that lives, an earlier start of it, the receiver itself, nobody.
    world.say(at, suspect("n03", incarnation));
    world.say(at, suspect("n03", dse_core::protocol::Incarnation(0)));
    world.say(at, suspect("n00", incarnation));
    world.say(at, suspect("nobody", incarnation));
    world.run_for(DETECT + 2 * ROUND);
    for name in &names {
        assert_eq!(world.node(name).sent_in_all(), 0, "{name} spoke");
        assert_only_down(&world, name, &BTreeSet::new());
    }
    assert!(world.stands(at));
}

#[test]
fn a_guest_is_in_no_watch_set_and_hears_no_suspicion() {
    let (mut world, names) = mesh(7, 6);
    world.start_guest("guest", "n00");
    world.run_until_quiet();
    for name in &names {
        let listens = |listen| Some(Watch { listen, beats: None });
        assert_eq!(watch(&world, "guest", name), listens(Listen::Lazy));
        assert_eq!(watch(&world, name, "guest"), listens(Listen::Alone), "nobody else does");
        assert_eq!(watchers_of(&world, name).len(), WATCHERS);
    }
    let links = world.node("guest").linked().len();
    world.crash("n05", Notice::Detected);
    world.run_for(DETECT + 2 * ROUND);
    assert_eq!(world.node("n00").downs("n05"), 1);
    assert_eq!(world.node("guest").linked().len(), links, "a guest is told nothing");
    world.crash("guest", Notice::Detected);
    world.run_for(Duration::from_secs(121));
    assert!(world.node("n00").peers().iter().all(|peer| peer.info.node != id("guest")));
}

#[test]
fn a_suspicion_of_a_former_start_harms_nobody() {
    for (former, down) in [(true, 0), (false, 1)] {
        let mut world = World::new(40);
        world.start_mesh(&["a", "b"]);
        world.start_stranger("z");
        let link = world.open_as_stranger("z", "a");
        let Incarnation(present) = world.node("b").config().incarnation;
        let incarnation = Incarnation(if former { present - 1 } else { present });
        world.freeze("b");
        world.say(link, Message::Suspect(Suspect { node: id("b"), incarnation }));
        world.run_for(2 * ROUND);
        assert_eq!(world.node("a").downs("b"), down, "a probe, if it is meant");
    }
}

/// Whom a node with a large `detect_ms` tells too seldom asks, and gives up in its own time.
#[test]
fn where_detect_ms_differs_a_death_is_known_within_the_largest_of_those_concerned() {
    let all = [("a", 600), ("b", 1500), ("c", 4000), ("d", 10_000), ("e", 600), ("f", 600)];
    let names = all.map(|(name, _)| name);
    let detect: BTreeMap<&str, u64> = all.into_iter().collect();
    for (seed, dead) in names.into_iter().enumerate() {
        let mut world = World::new(seed as u64);
        for (name, ms) in &detect {
            world.set_detect(name, Duration::from_millis(*ms));
        }
        world.start_mesh(&names);
        let concerned = watchers_of(&world, dead).into_iter().chain([dead.to_owned()]);
        let longest = concerned.filter_map(|name| detect.get(name.as_str())).max();
        world.crash(dead, Notice::Detected);
        world.run_for(Duration::from_millis(*longest.expect("watchers")) + ROUND);
        for other in names.into_iter().filter(|name| *name != dead) {
            assert!(world.node(other).believes_down(dead), "{other} of {dead}");
        }
    }
}
