//! The simulator itself: a seed decides everything, and seeds that once failed hold.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use dse_sim::play::Play;
use dse_sim::schedule::{Act, Setup, Who};
use dse_sim::trial::Trial;

/// Seeds that found a bug of the core, at the time, with what it was.
const FOUND: [(u64, &str); 2] = [
    (98, "two nodes of one id went on side by side on a full bus"),
    (12, "a guest took itself for a member and had one link too few or too many"),
];

#[test]
fn one_seed_gives_one_course_to_the_byte() {
    let courses = |_| (0..20).map(|seed| course(&Trial::new(seed, None, 1000))).collect();
    let [one, again]: [Vec<u64>; 2] = [(), ()].map(courses);
    assert_eq!(one, again, "the same seed, another course");
    let different: BTreeSet<&u64> = one.iter().collect();
    assert_eq!(different.len(), one.len(), "the seed decides nothing");
}

/// What a process draws for itself, such as the seeds of hash tables, decides nothing.
#[test]
fn one_seed_gives_one_course_in_every_process() {
    let here = course(&Trial::new(7, Some(8), 2000));
    let output = Command::new(env!("CARGO_BIN_EXE_dse-sim"))
        .args(["--seed", "7", "--nodes", "8", "--steps", "2000"])
        .output()
        .expect("a simulator that starts");
    let words = String::from_utf8_lossy(&output.stdout);
    assert!(words.contains(&format!("course {here:016x}")), "{here:016x} here, there: {words}");
}

#[test]
fn a_seed_is_replayed_by_the_numbers_of_its_acts() {
    let whole = Trial::new(3, None, 2000);
    let acts = whole.run(false).acts;
    let listed = Trial { only: Some((0..acts).collect()), ..whole.clone() };
    assert_eq!(course(&listed), course(&whole), "another course by list");
}

#[test]
fn keeping_a_transcript_changes_nothing() {
    let trial = Trial::new(5, None, 2000);
    assert_eq!(trial.run(true).course, trial.run(false).course);
}

fn course(trial: &Trial) -> u64 {
    let outcome = trial.run(false);
    assert_eq!(outcome.failure, None, "seed {}", trial.seed);
    outcome.course
}

#[test]
fn seeds_that_found_something_hold() {
    for (seed, found) in FOUND {
        let failure = Trial::new(seed, None, 3000).run(false).failure;
        assert_eq!(failure, None, "seed {seed}: {found}");
    }
}

/// The guest opens its link first, and learns from the answer that another took the place:
/// its link is down by a refusal and not by a fall, which the model took for a lie.
#[test]
fn a_guest_that_learns_late_that_there_is_no_room_tells_the_truth() {
    let only = Some(vec![3, 4, 11, 27, 33, 34, 36, 98]);
    let trial = Trial { only, without: vec![1], ..Trial::new(50_009_078, Some(12), 3000) };
    assert_eq!(trial.run(false).failure, None);
}

#[test]
fn a_partition_parts_a_node_from_its_twin_and_guests_from_each_other() {
    let mut play = Play::new(1, Setup::of(1, Some(2)).plain(), vec![0, 1], false);
    for who in [Who::Member(0), Who::Member(1), Who::Guest(0), Who::Guest(1)] {
        play.act(&Act::Start(who, Vec::new()));
    }
    play.act(&Act::Wait(Duration::from_secs(1)));
    play.act(&Act::Start(Who::Twin(0), Vec::new()));
    let left = [Who::Twin(0), Who::Guest(1)];
    play.act(&Act::Partition(left.iter().map(|who| 1 << who.bit()).sum()));
    play.act(&Act::Wait(Duration::from_secs(200)));
    let world = play.world();
    assert!(world.runs("a") && world.runs("a2"), "they met, and one ended");
    assert_eq!(world.node("guest0").linked(), ["a", "b"]);
    assert_eq!(world.node("guest1").linked(), [""; 0]);
}
