//! Sets of key expressions, such as an interest. Those without a `*` are looked up, so
//! that only the others cost a comparison each (law L6).

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use serde::Serialize;

use super::index::{LocalIndex, PeerIndex};
use super::key::{Key, KeyExpr};

/// Each expression once.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Patterns {
    /// Those that are a key.
    plain: BTreeSet<Key>,
    /// Those with a `*`.
    wild: BTreeSet<KeyExpr>,
}

impl FromIterator<KeyExpr> for Patterns {
    fn from_iter<T: IntoIterator<Item = KeyExpr>>(exprs: T) -> Self {
        let mut patterns = Self::default();
        for expr in exprs {
            match expr.as_key() {
                Some(key) => patterns.plain.insert(key),
                None => patterns.wild.insert(expr),
            };
        }
        patterns
    }
}

impl Patterns {
    /// How many have a `*`.
    pub(super) fn wild_count(&self) -> usize {
        self.wild.len()
    }

    pub(super) fn matches(&self, key: &Key) -> bool {
        self.plain.contains(key) || self.wild.iter().any(|expr| expr.matches(key))
    }

    /// The keys of an index that one of them matches.
    pub(super) fn keys_of(&self, index: &LocalIndex) -> BTreeSet<Key> {
        let plain = self.plain.iter().filter(|key| index.contains(key));
        let looked_through = index.iter().filter(|_| !self.wild.is_empty());
        let wild = looked_through
            .map(|declaration| &declaration.key)
            .filter(|key| self.wild.iter().any(|expr| expr.matches(key)));
        plain.chain(wild).cloned().collect()
    }

    /// Those that match a key of an index, in order, without those that another of them
    /// includes. Only one with a `*` includes another.
    pub(super) fn that_match(&self, index: &PeerIndex) -> Vec<KeyExpr> {
        let wild: Vec<&KeyExpr> = self.wild.iter().filter(|expr| index.any_matches(expr)).collect();
        let covered = |at: usize| {
            wild.iter().enumerate().any(|(other, expr)| {
                other != at && expr.includes(wild[at]) && (other < at || !wild[at].includes(expr))
            })
        };
        let wild: Vec<&KeyExpr> =
            (0..wild.len()).filter(|at| !covered(*at)).map(|at| wild[at]).collect();
        let plain = self.plain.iter().filter(|key| index.contains(key));
        let plain = plain.filter(|key| !wild.iter().any(|expr| expr.matches(key)));
        let mut kept: Vec<KeyExpr> = plain.map(KeyExpr::from).collect();
        kept.extend(wild.into_iter().cloned());
        kept.sort();
        kept
    }
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
        plain
            .chain(more.into_iter().map(|text| KeyExpr::new(text).expect("an expression")))
            .collect()
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
        assert_eq!(wide.iter().map(KeyExpr::as_str).collect::<Vec<_>>(), ["site/**"]);
        assert!(comparisons() - before < 4 * MANY);
    }

    #[test]
    fn of_patterns_that_include_others_only_the_widest_are_told() {
        let peer = peer_index();
        let told = |more: &[&str]| {
            let more = more.iter().map(|text| KeyExpr::new(text).expect("an expression"));
            let kept = more.collect::<Patterns>().that_match(&peer);
            kept.iter().map(KeyExpr::to_string).collect::<Vec<_>>()
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
        let wild: Patterns = wild.map(|expr| expr.expect("an expression")).collect();
        let before = comparisons();
        assert_eq!(wild.that_match(&peer).len(), MANY);
        assert_eq!(wild.keys_of(&own).len(), MANY);
        // site/1 begins site/10 as well.
        assert!(comparisons() - before < 20 * MANY, "{}", comparisons() - before);
    }
}
