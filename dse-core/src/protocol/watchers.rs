//! Who watches whom closely, and what follows from a death (PROTOCOL.md §10.1, §10.2).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::bus::{ControlBus, Phase};
use super::io::{LinkId, Output, Watch};
use super::limits;
use super::message::{Message, Role, Suspect};
use super::names::{Incarnation, NodeId};
use super::random::{place, score};

/// The members that this node has open, itself included, each with those who watch it.
/// A pure function of the set of their ids, kept up to date as it changes: a member that
/// comes or goes costs one pass over the others.
#[derive(Clone, Debug, Default)]
pub(super) struct Watchers {
    seats: BTreeMap<NodeId, Seat>,
}

#[derive(Clone, Debug)]
struct Seat {
    place: u64,
    /// The highest ranks among all others, the highest first.
    watchers: [Option<Rank>; limits::WATCHERS],
}

/// Another member, as one is to be watched by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    score: u64,
    place: u64,
}

impl Seat {
    fn new(place: u64) -> Self {
        Self { place, watchers: [None; limits::WATCHERS] }
    }

    fn is_watched_by(&self, place: u64) -> bool {
        self.watchers.iter().flatten().any(|rank| rank.place == place)
    }

    /// Takes another member for a watcher if it ranks high enough.
    fn consider(&mut self, place: u64) {
        let mut rank = Some(Rank { score: score(self.place, place), place });
        for held in &mut self.watchers {
            if rank > *held {
                core::mem::swap(held, &mut rank);
            }
        }
    }
}

impl Watchers {
    /// A member comes. Gives those that `me` does not watch any more because of it.
    pub(super) fn join(&mut self, node: &NodeId, me: &NodeId) -> Vec<NodeId> {
        let (mut new, mine) = (Seat::new(place(node)), place(me));
        let mut dropped = Vec::new();
        self.seats.remove(node);
        for (id, seat) in &mut self.seats {
            new.consider(seat.place);
            let before = seat.is_watched_by(mine);
            seat.consider(new.place);
            if before && !seat.is_watched_by(mine) {
                dropped.push(id.clone());
            }
        }
        self.seats.insert(node.clone(), new);
        dropped
    }

    /// A member goes. Gives those that it watched, each with whether `me` watches it now
    /// in its stead.
    pub(super) fn leave(&mut self, node: &NodeId, me: &NodeId) -> Vec<(NodeId, bool)> {
        let Some(gone) = self.seats.remove(node) else { return Vec::new() };
        let mine = place(me);
        let places: Vec<u64> = self.seats.values().map(|seat| seat.place).collect();
        let mut watched = Vec::new();
        for (id, seat) in &mut self.seats {
            if !seat.is_watched_by(gone.place) {
                continue;
            }
            let before = seat.is_watched_by(mine);
            *seat = Seat::new(seat.place);
            for other in &places {
                if *other != seat.place {
                    seat.consider(*other);
                }
            }
            watched.push((id.clone(), !before && seat.is_watched_by(mine)));
        }
        watched
    }

    /// Is `node` one of the watchers of `of`?
    fn watches(&self, node: &NodeId, of: &NodeId) -> bool {
        self.seats.get(of).is_some_and(|seat| seat.is_watched_by(place(node)))
    }
}

impl ControlBus {
    /// A member has an open link now and had none before.
    pub(super) fn watch_with(&mut self, node: &NodeId) {
        if self.config.role == Role::Guest {
            return;
        }
        for other in self.watchers.join(node, &self.config.node) {
            if let Some(link) = self.peers.link_of(&other) {
                self.outbox.push(Output::Watch { link, watch: Watch::Lazy });
            }
        }
    }

    /// How this node watches a peer. A guest watches nobody closely and is watched
    /// closely by nobody.
    pub(super) fn watch_of(&self, node: &NodeId) -> Watch {
        if self.watchers.watches(&self.config.node, node) { Watch::Close } else { Watch::Lazy }
    }

    /// A member has no open link any more: others watch whom it watched. Gives their
    /// links.
    pub(super) fn watch_without(&mut self, node: &NodeId) -> Vec<LinkId> {
        let watched = self.watchers.leave(node, &self.config.node);
        let mut links = Vec::new();
        for (other, taken_over) in watched {
            let Some(link) = self.peers.link_of(&other) else { continue };
            if taken_over {
                self.outbox.push(Output::Watch { link, watch: Watch::Close });
            }
            links.push(link);
        }
        links
    }

    /// A member is gone without a word. Its watchers tell the others, and everybody looks
    /// after those whom it watched, who may have died with it.
    pub(super) fn member_died(&mut self, node: &NodeId, incarnation: Incarnation) {
        let watched = self.watch_of(node) == Watch::Close;
        let left_alone = self.watch_without(node);
        if self.phase != Phase::Running {
            return;
        }
        if watched {
            let message = Message::Suspect(Suspect { node: node.clone(), incarnation });
            let members: Vec<LinkId> = self.peers.open_members().map(|(_, link)| link).collect();
            for link in members {
                self.outbox.send(link, &message);
            }
        }
        for link in left_alone {
            self.outbox.push(Output::Probe { link });
        }
    }

    /// A peer lost its link with a node that it watches. Only this node's own link says
    /// whether the node is down for this one.
    pub(super) fn suspected(&mut self, suspect: &Suspect) {
        let Some(peer) = self.peers.get(&suspect.node) else { return };
        let open = peer.open.filter(|_| peer.info.incarnation == suspect.incarnation);
        if let Some(open) = open {
            self.outbox.push(Output::Probe { link: open.link });
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::format;

    use super::*;

    fn id(number: u64) -> NodeId {
        NodeId::new(format!("node-{number}")).expect("a node id")
    }

    /// The definition: of all others the three that score highest.
    fn by_definition(members: &BTreeSet<NodeId>, of: &NodeId) -> BTreeSet<NodeId> {
        let mut others: Vec<&NodeId> = members.iter().filter(|other| *other != of).collect();
        others.sort_by_key(|other| core::cmp::Reverse(score(place(of), place(other))));
        others.into_iter().take(limits::WATCHERS).cloned().collect()
    }

    fn watchers_of(watchers: &Watchers, of: &NodeId) -> BTreeSet<NodeId> {
        watchers.seats.keys().filter(|other| watchers.watches(other, of)).cloned().collect()
    }

    #[test]
    fn members_that_come_and_go_leave_what_the_definition_says() {
        let (me, mut watchers, mut members) = (id(0), Watchers::default(), BTreeSet::new());
        watchers.join(&me, &me);
        members.insert(me.clone());
        let mut mine = BTreeSet::new();
        // Any order of comings and goings does: a multiplier makes one.
        for step in 1..400_u64 {
            let node = id(1 + step * 7919 % 41);
            if members.remove(&node) {
                mine.remove(&node);
                for (other, taken_over) in watchers.leave(&node, &me) {
                    assert!(!taken_over || mine.insert(other), "told twice to watch");
                }
            } else {
                for other in watchers.join(&node, &me) {
                    assert!(mine.remove(&other), "told to stop what it never did");
                }
                if watchers.watches(&me, &node) {
                    mine.insert(node.clone());
                }
                members.insert(node);
            }
            mine.remove(&me);
            for member in &members {
                assert_eq!(watchers_of(&watchers, member), by_definition(&members, member));
                let watched = *member != me && watchers.watches(&me, member);
                assert_eq!(mine.contains(member), watched, "what was told and what is");
            }
        }
    }

    #[test]
    fn who_watches_does_not_depend_on_the_order_of_joining() {
        let (mut one, mut other) = (Watchers::default(), Watchers::default());
        for number in 0..32 {
            one.join(&id(number), &id(0));
            other.join(&id(31 - number), &id(5));
        }
        for number in 0..32 {
            assert_eq!(watchers_of(&one, &id(number)), watchers_of(&other, &id(number)));
            assert_eq!(watchers_of(&one, &id(number)).len(), limits::WATCHERS);
        }
    }

    #[test]
    fn few_pairs_have_a_watcher_because_most_watch_each_other() {
        for count in [8, 32, 256] {
            let mut watchers = Watchers::default();
            (0..count).for_each(|number| drop(watchers.join(&id(number), &id(0))));
            let mut pairs = BTreeSet::new();
            for (a, b) in (0..count).flat_map(|a| (0..a).map(move |b| (id(a), id(b)))) {
                if watchers.watches(&a, &b) || watchers.watches(&b, &a) {
                    pairs.insert((a, b));
                }
            }
            let most = 2 * count as usize + count as usize / 4;
            assert!(pairs.len() <= most, "{} pairs of {count} members", pairs.len());
        }
    }
}
