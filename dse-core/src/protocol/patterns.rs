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
        let mut kept: Vec<Pattern> = Vec::new();
        for (keys, options) in self.wild.iter().filter(|(expr, _)| index.any_matches(expr)) {
            let pattern = Pattern { keys: keys.clone(), options: *options };
            // What is left out is so for the sake of one that stays, or of one that is left
            // out later for the sake of another: in the end one stays.
            if !kept.iter().any(|wide| covers(wide, &pattern)) {
                kept.retain(|narrow| !covers(&pattern, narrow));
                kept.push(pattern);
            }
        }
        let plain = self.plain.iter().filter(|(key, _)| index.contains(key));
        let plain = plain.filter(|(key, options)| {
            !kept.iter().any(|wide| wide.options.covers(**options) && wide.keys.matches(key))
        });
        let plain = plain.map(|(key, options)| Pattern { keys: key.into(), options: *options });
        let plain: Vec<Pattern> = plain.collect();
        kept.extend(plain);
        kept.sort();
        kept
    }
}

/// Does the narrow pattern change nothing beside the wide one?
fn covers(wide: &Pattern, narrow: &Pattern) -> bool {
    wide.options.covers(narrow.options) && wide.keys.includes(&narrow.keys)
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString as _;
    use core::time::Duration;

    use super::super::declaration::{Declaration, IndexVersion, Kind};
    use super::super::key::comparisons;
    use super::super::message::Snapshot;
    use super::super::options::Class;
    use super::super::random::Random;
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
        // The narrow one comes first in the order of texts.
        assert_eq!(told(&["site/7/*", "site/7/**"]), ["site/7/**"]);
        assert_eq!(told(&["site/**", "site/**/**"]).len(), 1);
        assert_eq!(told(&["site/nowhere/value", "nowhere/**"]), [""; 0]);
    }

    /// All that options differ in, as far as it matters to what they ask for together.
    fn options(number: usize) -> InterestOptions {
        let class = [None, Some(Class::Realtime), Some(Class::Normal), Some(Class::Bulk)];
        InterestOptions {
            never_wait: number % 2 == 1,
            min_interval: Duration::from_millis(number as u64 / 2 % 3),
            class: class[number / 6 % 4],
        }
    }

    #[test]
    fn what_is_sent_asks_of_each_key_what_all_that_is_wanted_asks() {
        let exprs = [
            "**",
            "site/**",
            "site/*/value",
            "site/7/*",
            "site/7/**",
            "site/7/value",
            "*/7/**",
            "a/b",
        ];
        let exprs = exprs.map(|text| KeyExpr::new(text).expect("an expression"));
        let peer = peer_index();
        let mut random = Random::new(1);
        let mut below = |end: usize| (random.next() % end as u64) as usize;
        for _ in 0..500 {
            let wanted: Patterns = (0..1 + below(6))
                .map(|_| Pattern {
                    keys: exprs[below(exprs.len())].clone(),
                    options: options(below(24)),
                })
                .collect();
            let sent = wanted.that_match(&peer);
            let taken: Patterns = sent.iter().cloned().collect();
            for key in [key(7), key(8), Key::new("site/7/later").expect("a key")] {
                assert_eq!(taken.options_of(&key), matching(&wanted, &key, &peer), "{wanted:?}");
            }
            let needless = sent
                .iter()
                .filter(|narrow| sent.iter().any(|wide| wide != *narrow && covers(wide, narrow)));
            assert_eq!(needless.count(), 0, "{sent:?}");
        }
    }

    /// What those of the patterns that match something of the peer ask of a key.
    fn matching(wanted: &Patterns, key: &Key, peer: &PeerIndex) -> Option<InterestOptions> {
        let plain = wanted.plain.iter().map(|(key, options)| (KeyExpr::from(key), *options));
        let wild = wanted.wild.iter().map(|(expr, options)| (expr.clone(), *options));
        let of_peer = |expr: &KeyExpr| peer.iter().any(|it| expr.matches(&it.key));
        let all = plain.chain(wild).filter(|(expr, _)| of_peer(expr) && expr.matches(key));
        all.map(|(_, options)| options).reduce(InterestOptions::merge)
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
