//! Whom two nodes know, compared in few bytes (PROTOCOL.md §4.4).
//!
//! Nodes that have been on the bus for long are known to all; who differs in whom it knows
//! mostly differs in the newest. So a census is a list of sums over spans of incarnations
//! that grow with age: it takes O(log N) bytes, and where two nodes differ in the newest k
//! members, about 2k of them are told again, not all.

use alloc::vec::Vec;

use super::limits;
use super::message::Span;
use super::names::{Incarnation, NodeId};

/// A member as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start<'a> {
    pub(super) node: &'a NodeId,
    pub(super) incarnation: Incarnation,
    /// Its fingerprint.
    pub(super) print: u64,
}

/// The newest first, as both functions below want them.
pub(super) fn sorted(mut starts: Vec<Start<'_>>) -> Vec<Start<'_>> {
    starts.sort_by_key(|start| core::cmp::Reverse(start.incarnation));
    starts
}

/// Counts members in spans of 1, 1, 2, 4, 8 and so on. Those of one incarnation stay
/// together.
pub(super) fn of(starts: &[Start<'_>]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let (mut end, mut last) = (1, None);
    for (place, start) in starts.iter().enumerate() {
        let begins = place >= end && last != Some(start.incarnation);
        match spans.last_mut().filter(|_| !begins) {
            Some(span) => {
                span.from = start.incarnation;
                span.sum = span.sum.wrapping_add(start.print);
            }
            None => {
                end = place + place.max(1);
                spans.push(Span { from: start.incarnation, sum: start.print });
            }
        }
        last = Some(start.incarnation);
    }
    spans
}

/// Does each span lie below the one before, and are there no more than it takes?
pub(super) fn is_sound(census: &[Span]) -> bool {
    census.len() <= limits::CENSUS_SPANS
        && census.windows(2).all(|pair| pair[0].from > pair[1].from)
}

/// Of the members that this node has open or is dialling, those in spans in which it
/// differs from what another node told. Below the last span the other knows nobody.
pub(super) fn unequal<'a>(told: &[Span], starts: &[Start<'a>]) -> Vec<Start<'a>> {
    let mut rest = starts;
    let mut unequal = Vec::new();
    for span in told {
        let end = rest.partition_point(|start| start.incarnation >= span.from);
        let (within, below) = rest.split_at(end);
        let prints = within.iter().map(|start| start.print);
        if prints.fold(0, u64::wrapping_add) != span.sum {
            unequal.extend_from_slice(within);
        }
        rest = below;
    }
    unequal.extend_from_slice(rest);
    unequal
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;
    use crate::protocol::random::fingerprint;

    fn ids(count: u64) -> Vec<NodeId> {
        let id = |name| NodeId::new(format!("node-{name}")).expect("a node id");
        (0..count).map(id).collect()
    }

    fn start(node: &NodeId, incarnation: usize) -> Start<'_> {
        let incarnation = Incarnation(incarnation as u64);
        Start { node, incarnation, print: fingerprint(node, incarnation) }
    }

    /// These nodes, each in an incarnation of its own.
    fn starts(ids: &[NodeId]) -> Vec<Start<'_>> {
        sorted(ids.iter().enumerate().map(|(at, id)| start(id, at)).collect())
    }

    #[test]
    fn a_thousand_members_take_eleven_spans() {
        let ids = ids(1000);
        let census = of(&starts(&ids));
        assert_eq!(census.len(), 11);
        assert!(is_sound(&census));
    }

    #[test]
    fn whoever_knows_the_same_is_told_nothing() {
        let ids = ids(100);
        for count in [0, 1, 2, 3, 100] {
            let all = starts(&ids[..count]);
            assert_eq!(unequal(&of(&all), &all), []);
        }
    }

    #[test]
    fn whoever_knows_nobody_is_told_all() {
        let ids = ids(5);
        assert_eq!(unequal(&of(&[]), &starts(&ids)), starts(&ids));
    }

    #[test]
    fn nobody_who_is_unknown_to_the_other_is_left_out() {
        // All pairs of sets of seven members, two of each incarnation.
        let ids = ids(7);
        let set = |bits: u32| {
            let members = ids.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1);
            sorted(members.map(|(at, id)| start(id, at / 2)).collect())
        };
        for (a, b) in (0..128).flat_map(|a| (0..128).map(move |b| (a, b))) {
            let (mine, theirs) = (set(a), set(b));
            let told = unequal(&of(&theirs), &mine);
            let mut unknown = mine.iter().filter(|start| !theirs.contains(start));
            assert!(unknown.all(|start| told.contains(start)), "{mine:?} {theirs:?}");
        }
    }

    #[test]
    fn a_difference_in_the_newest_has_few_told_again() {
        let ids = ids(1000);
        let (mine, theirs) = (starts(&ids), starts(&ids[..997]));
        let told = unequal(&of(&theirs), &mine);
        assert_eq!(told, mine[..4]);
    }

    #[test]
    fn a_census_of_too_many_spans_or_in_disorder_is_unsound() {
        let span = |from| Span { from: Incarnation(from), sum: 1 };
        let spans = |count: u64| (0..count).rev().map(span).collect::<Vec<_>>();
        assert!(is_sound(&spans(64)) && !is_sound(&spans(65)));
        assert!(!is_sound(&[span(1), span(1)]));
    }
}
