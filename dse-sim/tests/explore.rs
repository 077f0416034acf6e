//! The exhaustive check finds what is wrong, and says the same each time.

use dse_sim::explore::{Faults, Model, Outcome};

fn world(name: &str, faults: Faults) -> Model {
    let mut model = Model::named(name).expect("a world of this name");
    *model.faults_mut() = faults;
    model
}

fn is_number(text: &str) -> bool {
    text.trim().parse::<u16>().is_ok()
}

fn figures(outcome: &Outcome) -> (usize, usize, usize, usize) {
    (outcome.states, outcome.steps, outcome.depth, outcome.rests)
}

#[test]
fn a_world_is_searched_whole_and_the_same_twice() {
    let model = world("clash", Faults::default());
    let (one, two) = (model.search(usize::MAX), model.search(usize::MAX));
    assert!(one.whole && one.broken.is_none(), "{:?}", one.broken);
    assert_eq!(figures(&one), figures(&two));
}

/// The control lane never loses a message in silence: that is what lets the bus be
/// quiet. A network that does so must be found out, in a change as in a handshake.
#[test]
fn a_network_that_drops_one_message_in_silence_is_found_out() {
    for name in ["both-dial", "change", "newcomer", "three-ask", "clash"] {
        let outcome = world(name, Faults { drops: 1, ..Faults::default() }).search(usize::MAX);
        let (broken, story) = outcome.broken.expect(name);
        let dropped = story.iter().filter(|line| line.contains("DROPPED")).count();
        assert_eq!(dropped, 1, "{name}: {broken}\n{}", story.join("\n"));
    }
}

/// The shortest story of a lost change: it is made, it is lost, and nothing more comes.
#[test]
fn the_story_of_a_broken_rule_is_short_and_in_words() {
    let outcome =
        world("three-change", Faults { drops: 1, ..Faults::default() }).search(usize::MAX);
    let (broken, story) = outcome.broken.expect("a lost message is found out");
    let begin = story.iter().position(|line| line.starts_with("-- here")).expect("a beginning");
    let numbered = |line: &&String| line.split('.').next().is_some_and(is_number);
    let steps = story[begin..].iter().filter(numbered).count();
    assert!(story.iter().any(|line| line.contains("DROPPED in silence: ")), "{story:#?}");
    assert!(broken.to_string().contains("all comes to its end here, but"), "{broken}");
    assert!(steps <= 12, "{steps}: {story:#?}");
}

#[test]
fn a_search_that_stops_early_says_that_it_is_not_whole() {
    let outcome = world("leave", Faults::default()).search(10);
    assert!(!outcome.whole && outcome.broken.is_none());
}

/// Of a sequence all orders are tried, with a link lost or not; the machines keep their word.
#[test]
fn a_sequence_keeps_the_laws_whatever_comes_first() {
    for name in ["seq-start", "seq-leave", "seq-close"] {
        let model = Model::named(name).expect("a model of this name");
        let outcome = model.search(usize::MAX);
        let (states, rests) = (outcome.states, outcome.rests);
        assert!(outcome.whole && states > 10_000 && rests > 50, "{name}: {outcome:?}");
        assert!(outcome.broken.is_none(), "{name}: {:?}", outcome.broken);
    }
}

/// A lane that loses a frame in silence breaks the laws of a sequence, and is found out.
#[test]
fn a_lane_that_drops_one_frame_of_a_sequence_is_found_out() {
    for name in ["seq-loss", "seq-oldest", "seq-state"] {
        let outcome = world(name, Faults { drops: 1, ..Faults::default() }).search(usize::MAX);
        let (broken, story) = outcome.broken.expect(name);
        let dropped = story.iter().filter(|line| line.contains("DROPPED")).count();
        assert_eq!(dropped, 1, "{name}: {broken}\n{}", story.join("\n"));
    }
}
