//! Sets of key expressions, such as an interest. Those without a `*` are looked up, so
//! that only the others cost a comparison each (law L6).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use serde::Serialize;

use super::index::{LocalIndex, PeerIndex};
use super::key::{Key, KeyExpr};
use super::message::Pattern;
use super::options::InterestOptions;

/// Each expression once, with what all that named it ask for together.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Patterns {
    /// Those that are a key.
    plain: BTreeMap<Key, InterestOptions>,
    /// Those with a `*`.
    wild: BTreeMap<KeyExpr, InterestOptions>,
}

impl FromIterator<Pattern> for Patterns {
    fn from_iter<T: IntoIterator<Item = Pattern>>(all: T) -> Self {
        let mut patterns = Self::default();
        for Pattern { keys, options } in all {
            match keys.as_key() {
                Some(key) => add(&mut patterns.plain, key, options),
                None => add(&mut patterns.wild, keys, options),
            }
        }
        patterns
    }
}

fn add<T: Ord>(to: &mut BTreeMap<T, InterestOptions>, keys: T, options: InterestOptions) {
    to.entry(keys).and_modify(|before| *before = before.merge(options)).or_insert(options);
}

impl Patterns {
    /// How many have a `*`.
    pub(super) fn wild_count(&self) -> usize {
        self.wild.len()
    }

    pub(super) fn matches(&self, key: &Key) -> bool {
        self.plain.contains_key(key) || self.wild.keys().any(|expr| expr.matches(key))
    }

    /// What those that match a key ask for together; none if none matches.
    pub(super) fn options_of(&self, key: &Key) -> Option<InterestOptions> {
        let wild = self.wild.iter().filter(|(expr, _)| expr.matches(key));
        let all = self.plain.get(key).into_iter().chain(wild.map(|(_, options)| options));
        all.copied().reduce(InterestOptions::merge)
    }

    /// The keys of an index that one of them matches, and what those that match it ask for
    /// together.
    pub(super) fn keys_of(&self, index: &LocalIndex) -> BTreeMap<Key, InterestOptions> {
        if self.wild.is_empty() {
            let plain = self.plain.iter().filter(|(key, _)| index.contains(key));
            return plain.map(|(key, options)| (key.clone(), *options)).collect();
        }
        let keys = index.iter().map(|declaration| &declaration.key);
        keys.filter_map(|key| Some((key.clone(), self.options_of(key)?))).collect()
    }

    /// Those that match a key of an index, in order, without those that change nothing: that
    /// another of them includes and covers. Only one with a `*` includes another.
    pub(super) fn that_match(&self, index: &PeerIndex) -> Vec<Pattern> {
        let mut wild: Vec<(&KeyExpr, InterestOptions)> = Vec::new();
        for (expr, options) in self.wild.iter().filter(|(expr, _)| index.any_matches(expr)) {
            // What is left out is so for the sake of one that stays, or of one that is left
            // out later for the sake of another: in the end one stays.
            if !wild.iter().any(|kept| covers(*kept, (expr, *options))) {
                wild.retain(|kept| !covers((expr, *options), *kept));
                wild.push((expr, *options));
            }
        }
        let plain = self.plain.iter().filter(|(key, _)| index.contains(key));
        let plain = plain.filter(|(key, options)| {
            !wild.iter().any(|(expr, all)| all.covers(**options) && expr.matches(key))
        });
        let mut kept: Vec<Pattern> = plain
            .map(|(key, options)| Pattern { keys: key.into(), options: *options })
            .chain(
                wild.iter()
                    .map(|(expr, options)| Pattern { keys: (*expr).clone(), options: *options }),
            )
            .collect();
        kept.sort();
        kept
    }
}

/// Does the other change nothing beside this one?
fn covers(one: (&KeyExpr, InterestOptions), other: (&KeyExpr, InterestOptions)) -> bool {
    one.1.covers(other.1) && one.0.includes(other.0)
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString as _;

    use super::super::declaration::{Declaration, IndexVersion, Kind};
    use super::super::key::comparisons;
    use super::super::message::Snapshot;
    use super::*;

    const MANY: usize = 1000;

    fn key(number: usize) -> Key {
        Key::new(format!("site/{number}/value")).expect("a key")
    }

    fn declarations() -> impl Iterator<Item = Declaration> {
        (0..MANY).map(|number| Declaration::new(key(number), Kind::Stream, "text/plain"))
    }

    fn peer_index() -> PeerIndex {
        let mut index = PeerIndex::default();
        let declarations = declarations().collect();
        let version = IndexVersion(1);
        let snapshot = Snapshot { version, part: 0, last: true, declarations };
        index.snapshot(snapshot).expect("within the limits");
        index
    }

    fn own_index() -> LocalIndex {
        let mut index = LocalIndex::default();
        declarations().for_each(|declaration| index.declare(declaration).expect("within limits"));
        index
    }

    fn patterns<'a>(more: impl IntoIterator<Item = &'a str>) -> Patterns {
        let plain = (0..MANY).map(|number| KeyExpr::from(&key(number)));
        let more = more.into_iter().map(|text| KeyExpr::new(text).expect("an expression"));
        plain.chain(more).map(Pattern::from).collect()
    }

    #[test]
    fn plain_keys_are_compared_with_nothing() {
        let (peer, own, patterns) = (peer_index(), own_index(), patterns([]));
        let before = comparisons();
        assert_eq!(patterns.that_match(&peer).len(), MANY);
        assert_eq!(patterns.keys_of(&own).len(), MANY);
        assert!(patterns.matches(&key(7)) && !patterns.matches(&key(MANY)));
        assert_eq!(comparisons() - before, 0);
    }

    #[test]
    fn plain_keys_are_compared_with_those_that_may_include_them() {
        let peer = peer_index();
        let before = comparisons();
        assert_eq!(patterns(["elsewhere/**", "other/*/value"]).that_match(&peer).len(), MANY);
        assert_eq!(comparisons() - before, 0, "what they begin with tells enough");
        assert_eq!(patterns(["site/7/*", "site/**/nothing"]).that_match(&peer).len(), MANY);
        let wide = patterns(["site/**"]).that_match(&peer);
        assert_eq!(
            wide.iter().map(|pattern| pattern.keys.as_str()).collect::<Vec<_>>(),
            ["site/**"]
        );
        assert!(comparisons() - before < 4 * MANY);
    }

    #[test]
    fn of_patterns_that_include_others_only_the_widest_are_told() {
        let peer = peer_index();
        let told = |more: &[&str]| {
            let more = more.iter().map(|text| KeyExpr::new(text).expect("an expression"));
            let kept = more.map(Pattern::from).collect::<Patterns>().that_match(&peer);
            kept.iter().map(|pattern| pattern.keys.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(told(&["site/7/*", "site/**", "site/*/value"]), ["site/**"]);
        assert_eq!(
            told(&["site/7/*", "site/7/value", "site/8/value"]),
            ["site/7/*", "site/8/value"]
        );
        assert_eq!(told(&["site/**", "site/**/**"]).len(), 1);
        assert_eq!(told(&["site/nowhere/value", "nowhere/**"]), [""; 0]);
    }

    #[test]
    fn many_patterns_with_a_beginning_of_their_own_are_compared_with_few_keys() {
        let (peer, own) = (peer_index(), own_index());
        let wild = (0..MANY).map(|number| KeyExpr::new(format!("site/{number}/**")));
        let wild: Patterns = wild.map(|expr| expr.expect("an expression").into()).collect();
        let before = comparisons();
        assert_eq!(wild.that_match(&peer).len(), MANY);
        assert_eq!(wild.keys_of(&own).len(), MANY);
        // site/1 begins site/10 as well.
        assert!(comparisons() - before < 20 * MANY, "{}", comparisons() - before);
    }
}
