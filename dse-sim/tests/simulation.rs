//! The simulator itself: a seed decides everything, and seeds that once failed hold.

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
    let trial = Trial::new(7, Some(8), 2000);
    let (one, again) = (trial.run(true), trial.run(true));
    assert_eq!(one.failure, None);
    assert!(one.transcript == again.transcript, "the same seed, another course");
    let other = Trial::new(8, Some(8), 2000).run(true);
    assert!(one.transcript != other.transcript, "the seed decides nothing");
}

#[test]
fn a_seed_is_replayed_by_the_numbers_of_its_acts() {
    let whole = Trial::new(3, None, 2000);
    let outcome = whole.run(true);
    let listed = Trial { only: Some((0..outcome.acts).collect()), ..whole };
    assert!(listed.run(true).transcript == outcome.transcript, "another course by list");
}

#[test]
fn keeping_a_transcript_changes_nothing() {
    let trial = Trial::new(5, None, 2000);
    assert_eq!(trial.run(true).steps, trial.run(false).steps);
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
