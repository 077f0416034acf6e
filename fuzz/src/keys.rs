//! Key expressions against a plain reference.

use std::collections::{BTreeSet, VecDeque};

use dse_core::protocol::{Key, KeyExpr, limits};

use crate::source::Source;

/// Two patterns and a key: `matches`, `includes` and `intersects` against what the words
/// mean, said as plainly as can be; and any text to the parsers.
pub fn keys(data: &[u8]) {
    let mut source = Source::new(data);
    if source.once_in(8) {
        return texts(&String::from_utf8_lossy(&data[1..]));
    }
    let (one, other) = (pattern(&mut source), pattern(&mut source));
    let key = source.list(5, |source| source.pick(&SEGMENTS));
    patterns(&one, &other);
    if let Ok(text) = Key::new(key.join("/")) {
        assert_eq!(expr(&one).matches(&text), matches(&one, &key), "{one:?} and {key:?}");
        assert!(expr(&one).includes(&KeyExpr::from(&text)) == matches(&one, &key));
    }
}

/// One segment stands in no pattern, as most do.
const SEGMENTS: [&str; 4] = ["a", "b", "", "other"];
const PATTERN_SEGMENTS: [&str; 4] = ["a", "*", "**", "b"];

fn pattern(source: &mut Source<'_>) -> Vec<&'static str> {
    let mut segments = vec![source.pick(&PATTERN_SEGMENTS)];
    segments.extend(source.list(6, |source| source.pick(&PATTERN_SEGMENTS)));
    segments
}

fn expr(segments: &[&str]) -> KeyExpr {
    KeyExpr::new(segments.join("/")).expect("a key expression")
}

/// What matching means.
fn matches(pattern: &[&str], key: &[&str]) -> bool {
    match (pattern, key) {
        ([], []) => true,
        (["**", rest @ ..], _) => (0..=key.len()).any(|taken| matches(rest, &key[taken..])),
        (["*", rest @ ..], [_, key @ ..]) => matches(rest, key),
        ([left, rest @ ..], [right, key @ ..]) => left == right && matches(rest, key),
        _ => false,
    }
}

/// Two patterns are two automata whose states are places in the pattern. Walking both at
/// once over all keys of the segments that can be told apart decides exactly whether one
/// covers the other, and whether they share a key.
fn patterns(one: &[&str], other: &[&str]) {
    let (mut includes, mut intersects) = (true, false);
    // A key has at least one segment; the walk starts before it.
    let mut seen = BTreeSet::new();
    // Shorter keys first, so that each pair of places is met while the most may follow.
    let mut open = VecDeque::from([(closed(one, [0].into()), closed(other, [0].into()), 0)]);
    while let Some((left, right, len)) = open.pop_front() {
        if len > 0 {
            let (fits, fits_too) = (left.contains(&one.len()), right.contains(&other.len()));
            includes &= fits || !fits_too;
            intersects |= fits && fits_too;
        }
        // Longer keys are none; patterns this short tell nothing apart beyond.
        if len == limits::KEY_SEGMENTS || !seen.insert((left.clone(), right.clone(), len > 0)) {
            continue;
        }
        for segment in ["a", "b", "other"] {
            open.push_back((after(one, &left, segment), after(other, &right, segment), len + 1));
        }
    }
    let (a, b) = (expr(one), expr(other));
    assert_eq!(a.intersects(&b), intersects, "{one:?} and {other:?}");
    assert_eq!(b.intersects(&a), intersects, "{other:?} and {one:?}");
    // A miss is allowed where `*` and `**` meet, a false claim never.
    assert!(includes || !a.includes(&b), "{one:?} does not include {other:?}");
    if includes && !a.includes(&b) {
        let meet = |p: &[&str]| p.windows(2).any(|pair| pair == ["*", "**"] || pair == ["**", "*"]);
        assert!(meet(one) || meet(other), "{one:?} includes {other:?}, which was not found");
    }
    assert!(a.includes(&a) && a.intersects(&a), "{one:?} and itself");
}

type Places = BTreeSet<usize>;

/// With the places that `**` leads to without a segment.
fn closed(pattern: &[&str], mut places: Places) -> Places {
    for (at, segment) in pattern.iter().enumerate() {
        if places.contains(&at) && *segment == "**" {
            places.insert(at + 1);
        }
    }
    places
}

fn after(pattern: &[&str], places: &Places, segment: &str) -> Places {
    let mut next = Places::new();
    for at in places.iter().copied().filter(|at| *at < pattern.len()) {
        match pattern[at] {
            "**" => drop(next.insert(at)),
            "*" => drop(next.insert(at + 1)),
            name if name == segment => drop(next.insert(at + 1)),
            _ => {}
        }
    }
    closed(pattern, next)
}

/// What the parsers take is what they give back.
fn texts(text: &str) {
    if let Ok(key) = Key::new(text) {
        assert_eq!(key.as_str(), text);
        assert!(text.len() <= limits::KEY_BYTES && !text.contains('*'));
        let pattern = KeyExpr::new(text).expect("a key is a key expression");
        assert!(pattern.matches(&key) && pattern.includes(&KeyExpr::from(&key)));
    }
    if let Ok(pattern) = KeyExpr::new(text) {
        assert!(pattern.as_str() == text && text.split('/').count() <= limits::KEY_SEGMENTS);
        let all = KeyExpr::new("**").expect("all keys");
        assert!(all.includes(&pattern) && all.intersects(&pattern) && pattern.includes(&pattern));
        if let Some((first, second)) = text.split_once('/') {
            let (Ok(first), Ok(second)) = (KeyExpr::new(first), KeyExpr::new(second)) else {
                panic!("the parts of a pattern are patterns: {text:?}");
            };
            assert_eq!(first.intersects(&second), second.intersects(&first));
        }
    }
}
