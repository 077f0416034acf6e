//! Who watches whom closely (PROTOCOL.md §10.1).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::io::{BeatTurn, Listen, PeerInfo, Watch};
use super::limits;
use super::message::Role;
use super::names::NodeId;
use super::random::{place, score};

/// The members that this node has open, itself included, each with those who watch it.
/// A pure function of the set of their ids, kept up to date as it changes: a member that
/// comes or goes costs one pass over the others.
#[derive(Clone, Debug, Default)]
pub(super) struct Watchers {
    seats: BTreeMap<NodeId, Seat>,
}

#[derive(Clone, Copy, Debug)]
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

/// What follows from a member that is gone.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// Whom it watched.
    pub(super) watched: Vec<NodeId>,
    /// Whose links are watched in another way because of it.
    pub(super) changed: Vec<NodeId>,
}

impl Seat {
    fn new(place: u64) -> Self {
        Self { place, watchers: [None; limits::WATCHERS] }
    }

    fn is_watched_by(&self, place: u64) -> bool {
        self.watchers.iter().flatten().any(|rank| rank.place == place)
    }

    /// When the member tells another that it lives, if the other watches it.
    fn turn_of(&self, place: u64) -> Option<BeatTurn> {
        let places = || (0..).zip(self.watchers.iter().flatten().map(|rank| rank.place));
        let (number, _) = places().find(|(_, at)| *at == place)?;
        let (last, _) = places().last()?;
        Some(BeatTurn { number, of: last + 1 })
    }

    /// Does the member tell this other one in another turn than in `now`?
    fn tells_otherwise(&self, now: &Self, place: u64) -> bool {
        self.watchers != now.watchers && self.turn_of(place) != now.turn_of(place)
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

    /// Looks for watchers among all these.
    fn look_among(&mut self, places: &[u64]) {
        *self = Self::new(self.place);
        for other in places {
            if *other != self.place {
                self.consider(*other);
            }
        }
    }
}

impl Watchers {
    /// A member comes. Gives those whose links `me` watches in another way because of it.
    pub(super) fn join(&mut self, node: &NodeId, me: &NodeId) -> Vec<NodeId> {
        self.seats.remove(node);
        let mut new = Seat::new(place(node));
        let before = self.seat_of(me);
        if let Some(seat) = self.seats.get_mut(me) {
            seat.consider(new.place);
        }
        let after = self.seat_of(me);
        let told_anew = |place| before.tells_otherwise(&after, place);
        let mut changed = Vec::new();
        for (id, seat) in &mut self.seats {
            new.consider(seat.place);
            if id == me {
                continue;
            }
            let listened = seat.is_watched_by(after.place);
            seat.consider(new.place);
            if listened != seat.is_watched_by(after.place) || told_anew(seat.place) {
                changed.push(id.clone());
            }
        }
        self.seats.insert(node.clone(), new);
        changed
    }

    /// A member goes.
    pub(super) fn leave(&mut self, node: &NodeId, me: &NodeId) -> Left {
        let Some(gone) = self.seats.remove(node) else { return Left::default() };
        let places: Vec<u64> = self.seats.values().map(|seat| seat.place).collect();
        let before = self.seat_of(me);
        if let Some(seat) = self.seats.get_mut(me).filter(|seat| seat.is_watched_by(gone.place)) {
            seat.look_among(&places);
        }
        let after = self.seat_of(me);
        let told_anew = |place| before.tells_otherwise(&after, place);
        let mut left = Left::default();
        for (id, seat) in self.seats.iter_mut().filter(|(id, _)| *id != me) {
            let listened = seat.is_watched_by(after.place);
            if seat.is_watched_by(gone.place) {
                seat.look_among(&places);
                left.watched.push(id.clone());
            }
            if listened != seat.is_watched_by(after.place) || told_anew(seat.place) {
                left.changed.push(id.clone());
            }
        }
        left
    }

    fn seat_of(&self, node: &NodeId) -> Seat {
        self.seats.get(node).copied().unwrap_or_else(|| Seat::new(place(node)))
    }

    /// Is `node` one of the watchers of `of`?
    pub(super) fn watches(&self, node: &NodeId, of: &NodeId) -> bool {
        self.seats.get(of).is_some_and(|seat| seat.is_watched_by(place(node)))
    }

    /// When `of` tells `node` that it lives.
    fn turn(&self, node: &NodeId, of: &NodeId) -> Option<BeatTurn> {
        self.seats.get(of)?.turn_of(place(node))
    }
    /// How `me` watches a peer. A guest watches nobody closely, and no member watches a
    /// guest for others.
    pub(super) fn watch_of(&self, peer: &PeerInfo, me: &NodeId) -> Watch {
        let node = &peer.node;
        let listen = if peer.role == Role::Guest {
            Listen::Alone
        } else if self.watches(me, node) {
            Listen::Close
        } else {
            Listen::Lazy
        };
        Watch { listen, beats: self.turn(node, me) }
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
        let is = |watchers: &Watchers, node: &NodeId| {
            (watchers.watches(&me, node), watchers.turn(node, &me))
        };
        let mut told = BTreeMap::new();
        // Any order of comings and goings does: a multiplier makes one.
        for step in 1..400_u64 {
            let node = id(1 + step * 7919 % 41);
            let changed = if members.remove(&node) {
                told.remove(&node);
                watchers.leave(&node, &me).changed
            } else {
                let changed = watchers.join(&node, &me);
                told.insert(node.clone(), is(&watchers, &node));
                members.insert(node);
                changed
            };
            for other in changed {
                let now = is(&watchers, &other);
                assert_ne!(told.insert(other, now), Some(now), "told of no change");
            }
            for member in &members {
                let by = watchers_of(&watchers, member);
                assert_eq!(by, by_definition(&members, member));
                let numbers = by.iter().map(|it| watchers.turn(it, member)).collect::<Vec<_>>();
                for number in 0..by.len() as u32 {
                    let turn = BeatTurn { number, of: by.len() as u32 };
                    assert!(numbers.contains(&Some(turn)), "each has a turn: {numbers:?}");
                }
                if *member != me {
                    assert_eq!(told.get(member), Some(&is(&watchers, member)), "told and is");
                }
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
