//! One node: what it believes of each other one, and the news that it passes on.

use std::collections::BTreeMap;

use crate::world::Random;

/// What a node believes of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Belief {
    Alive,
    Suspect,
    Dead,
}

/// A piece of news: what is said of a node. Of two, the larger counts (paper, §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct News {
    pub(super) incarnation: u32,
    pub(super) belief: Belief,
    /// Of its index.
    pub(super) version: u32,
}

impl News {
    /// Does this say more than `before`? A suspicion does not undo a change of the index,
    /// and a change does not clear a suspect.
    fn exceeds(self, before: Option<Self>) -> bool {
        before.is_none_or(|before| {
            (self.incarnation, self.belief) > (before.incarnation, before.belief)
                || (self.incarnation == before.incarnation && self.version > before.version)
        })
    }

    fn joined_with(self, before: Option<Self>) -> Self {
        match before {
            Some(before) if before.incarnation == self.incarnation => Self {
                belief: self.belief.max(before.belief),
                version: self.version.max(before.version),
                ..self
            },
            _ => self,
        }
    }
}

/// News on its way, with its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) about: usize,
    pub(super) news: News,
    pub(super) bytes: u64,
}

/// One node of the gossip.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) up: bool,
    /// Counts its lives: what was meant for an earlier one is lost.
    pub(super) life: u32,
    pub(super) knows: Vec<Option<News>>,
    /// What of it was heard as gossip, and so passed on.
    passed: Vec<Option<News>>,
    /// Whom to probe, in which order, and who is next.
    ring: Vec<usize>,
    next: usize,
    /// What is to be passed on: least often passed on first, then oldest first.
    queue: BTreeMap<(u32, u64), Piece>,
    /// Its place in the queue, by whom it is about.
    queued: BTreeMap<usize, (u32, u64)>,
    order: u64,
    pub(super) gossiping: bool,
    /// How many probes were answered.
    pub(super) answers: u64,
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

impl Node {
    /// Begins a life that knows nothing.
    pub(super) fn start(&mut self, nodes: usize) {
        *self = Self {
            up: true,
            life: self.life + 1,
            knows: vec![None; nodes],
            passed: vec![None; nodes],
            messages: self.messages,
            bytes: self.bytes,
            ..Self::default()
        };
    }

    /// Takes news in. What it says now, if it said something new.
    pub(super) fn learn(&mut self, piece: Piece, random: &mut Random) -> Option<News> {
        let before = self.knows[piece.about];
        if !piece.news.exceeds(before) {
            return None;
        }
        let now = piece.news.joined_with(before);
        self.knows[piece.about] = Some(now);
        let was_there = before.is_some_and(|news| news.belief != Belief::Dead);
        if !was_there && now.belief != Belief::Dead {
            let at = random.below(self.ring.len() as u64 + 1) as usize;
            self.ring.insert(at, piece.about);
        }
        Some(now)
    }

    /// Is it still worth passing on, and was it not before?
    pub(super) fn is_rumour(&mut self, piece: Piece) -> bool {
        let passed = &mut self.passed[piece.about];
        let fresh = piece.news.exceeds(*passed);
        if fresh {
            *passed = Some(piece.news);
        }
        fresh && self.knows[piece.about].is_none_or(|known| !known.exceeds(Some(piece.news)))
    }

    /// Passes news on from now on, in place of older news of the same node.
    pub(super) fn pass_on(&mut self, piece: Piece) {
        if let Some(place) = self.queued.remove(&piece.about) {
            self.queue.remove(&place);
        }
        self.order += 1;
        let place = (0, self.order);
        self.queued.insert(piece.about, place);
        self.queue.insert(place, piece);
    }

    pub(super) fn has_news(&self) -> bool {
        !self.queue.is_empty()
    }

    /// As much news as fits, each piece at most `limit` times in all.
    pub(super) fn take_news(&mut self, mut room: u64, limit: u32) -> Vec<Piece> {
        let fits = self.queue.iter().take_while(|(_, piece)| {
            let fits = piece.bytes <= room;
            room = room.saturating_sub(piece.bytes);
            fits
        });
        let places: Vec<(u32, u64)> = fits.map(|(place, _)| *place).collect();
        let mut pieces = Vec::with_capacity(places.len());
        for place in places {
            let Some(piece) = self.queue.remove(&place) else { continue };
            pieces.push(piece);
            let (times, order) = (place.0 + 1, place.1);
            if times < limit {
                self.queue.insert((times, order), piece);
                self.queued.insert(piece.about, (times, order));
            } else {
                self.queued.remove(&piece.about);
            }
        }
        pieces
    }

    /// The next to be probed: each in turn, and all before one comes again.
    pub(super) fn next_probed(&mut self, random: &mut Random) -> Option<usize> {
        if self.next >= self.ring.len() {
            let knows = &self.knows;
            let there = |node: &usize| knows[*node].is_some_and(|n| n.belief != Belief::Dead);
            self.ring.retain(there);
            for at in (1..self.ring.len()).rev() {
                self.ring.swap(at, random.below(at as u64 + 1) as usize);
            }
            self.next = 0;
        }
        let rest = self.ring.iter().skip(self.next);
        let passed = rest.take_while(|node| !self.is_there(**node)).count();
        self.next += passed + 1;
        self.ring.get(self.next - 1).copied()
    }

    /// Some others that are there, each at most once.
    pub(super) fn some_others(&self, most: usize, random: &mut Random) -> Vec<usize> {
        let mut chosen = Vec::with_capacity(most);
        // As memberlist does it: a bounded number of draws, so that few nodes do not hang it.
        for _ in 0..most * DRAWS {
            if chosen.len() == most || self.ring.is_empty() {
                break;
            }
            let one = *random.pick(&self.ring);
            if self.is_there(one) && !chosen.contains(&one) {
                chosen.push(one);
            }
        }
        chosen
    }

    fn is_there(&self, node: usize) -> bool {
        self.knows[node].is_some_and(|news| news.belief != Belief::Dead)
    }

    pub(super) fn count(&mut self, bytes: u64) {
        self.messages += 1;
        self.bytes += bytes;
    }
}

/// Draws for each node that is to be chosen.
const DRAWS: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn news(incarnation: u32, belief: Belief, version: u32) -> News {
        News { incarnation, belief, version }
    }

    fn node_of(others: usize) -> (Node, Random) {
        let (mut node, mut random) = (Node::default(), Random::new(1));
        node.start(others);
        for about in 0..others {
            node.learn(Piece { about, news: news(1, Belief::Alive, 1), bytes: 100 }, &mut random);
        }
        (node, random)
    }

    #[test]
    fn a_newer_start_counts_more_than_a_verdict_on_the_older() {
        let (mut node, mut random) = node_of(1);
        let mut says = |news| node.learn(Piece { about: 0, news, bytes: 1 }, &mut random);
        assert_eq!(says(news(1, Belief::Alive, 1)), None);
        assert_eq!(says(news(1, Belief::Suspect, 0)), Some(news(1, Belief::Suspect, 1)));
        assert_eq!(says(news(1, Belief::Alive, 2)), Some(news(1, Belief::Suspect, 2)));
        assert_eq!(says(news(1, Belief::Dead, 0)), Some(news(1, Belief::Dead, 2)));
        assert_eq!(says(news(1, Belief::Suspect, 0)), None);
        assert_eq!(says(news(2, Belief::Alive, 1)), Some(news(2, Belief::Alive, 1)));
    }

    #[test]
    fn each_piece_goes_out_so_often_and_the_least_told_first() {
        let (mut node, _) = node_of(3);
        for about in 0..3 {
            let piece = Piece { about, news: news(1, Belief::Alive, 2), bytes: 600 };
            node.pass_on(piece);
        }
        let mut told = [0; 3];
        while node.has_news() {
            let taken = node.take_news(1400, 4);
            assert!((1..=2).contains(&taken.len()));
            taken.iter().for_each(|piece| told[piece.about] += 1);
            assert!(told.iter().max() <= told.iter().min().map(|least| least + 2).as_ref());
        }
        assert_eq!(told, [4; 3]);
    }

    #[test]
    fn all_are_probed_before_one_comes_again() {
        let (mut node, mut random) = node_of(7);
        for _ in 0..3 {
            let mut round: Vec<_> = (0..7).filter_map(|_| node.next_probed(&mut random)).collect();
            round.sort_unstable();
            assert_eq!(round, [0, 1, 2, 3, 4, 5, 6]);
        }
    }
}
