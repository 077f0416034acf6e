//! The exhaustive check finds what is wrong, and says the same each time.

use dse_sim::explore::{Faults, Outcome, Plot, search, worlds};

fn world(name: &str, faults: Faults) -> Plot {
    let found = worlds().into_iter().find(|plot| plot.name == name);
    let mut plot = found.expect("a world of this name");
    plot.faults = faults;
    plot
}

fn is_number(text: &str) -> bool {
    text.trim().parse::<u16>().is_ok()
}

fn figures(outcome: &Outcome) -> (usize, usize, usize, usize) {
    (outcome.states, outcome.steps, outcome.depth, outcome.rests)
}

#[test]
fn a_world_is_searched_whole_and_the_same_twice() {
    let plot = world("clash", Faults::default());
    let (one, two) = (search(&plot, usize::MAX), search(&plot, usize::MAX));
    assert!(one.whole && one.broken.is_none(), "{:?}", one.broken);
    assert_eq!(figures(&one), figures(&two));
}

/// The control lane never loses a message in silence: that is what lets the bus be
/// quiet. A network that does so must be found out, in a change as in a handshake.
#[test]
fn a_network_that_drops_one_message_in_silence_is_found_out() {
    for name in ["both-dial", "change", "newcomer", "three-ask", "clash"] {
        let outcome = search(&world(name, Faults { drops: 1, ..Faults::default() }), usize::MAX);
        let (broken, story) = outcome.broken.expect(name);
        let dropped = story.iter().filter(|line| line.contains("DROPPED")).count();
        assert_eq!(dropped, 1, "{name}: {broken}\n{}", story.join("\n"));
    }
}

/// The shortest story of a lost change: it is made, it is lost, and nothing more comes.
#[test]
fn the_story_of_a_broken_rule_is_short_and_in_words() {
    let outcome =
        search(&world("three-change", Faults { drops: 1, ..Faults::default() }), usize::MAX);
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
    let outcome = search(&world("leave", Faults::default()), 10);
    assert!(!outcome.whole && outcome.broken.is_none());
}
