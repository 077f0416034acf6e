//! L4: every node answers once, and a report tells who did, with what, and who did not,
//! whatever fell while the request was out.

use std::collections::BTreeSet;
use std::rc::Rc;

use dse_core::protocol::{
    Incarnation, KeyExpr, Missing, MissingReason, NodeId, Report, Role, Ticket,
};

use super::canon::Sum;
use super::link::Link;
use super::node::{Index, Moment, Node};
use super::plot::Plot;
use super::state::State;

/// A request that is out, with what was true as it was asked.
pub(super) struct Ask {
    place: usize,
    ticket: Ticket,
    keys: KeyExpr,
    /// How far each place was: what was before is a ghost.
    since: Vec<Moment>,
    /// The places whose ids the asker was linked with.
    linked: Vec<usize>,
    /// The links that were in use at both ends.
    links: Vec<u64>,
}

impl State {
    /// A node asks.
    pub(super) fn asks(&mut self, plot: &Plot, place: usize, ticket: Ticket, keys: &KeyExpr) {
        let links = self.links.iter().filter(|link| self.is_in_use(plot, link));
        let asker = &self.nodes[place];
        let linked = |of: &usize| linked_as(asker, plot.places[*of].id).is_some();
        let ask = Ask {
            place,
            ticket,
            keys: keys.clone(),
            since: self.nodes.iter().map(|node| node.moment()).collect(),
            linked: (0..plot.places.len()).filter(linked).collect(),
            links: links.map(|link| link.number).collect(),
        };
        self.asks.push(Rc::new(ask));
        self.asks.sort_by_key(|ask| (ask.place, ask.ticket));
    }

    /// A node has its report.
    ///
    /// # Errors
    /// It is not true, or comes twice or unasked.
    pub(super) fn answered(
        &mut self,
        plot: &Plot,
        place: usize,
        ticket: Ticket,
        report: &Report,
    ) -> Result<(), String> {
        let found = self.asks.iter().position(|ask| (ask.place, ask.ticket) == (place, ticket));
        let Some(at) = found else {
            return Err(format!("a report comes twice or unasked: {report:?}"));
        };
        let ask = self.asks.remove(at);
        let check = self.check_report(plot, &ask, report);
        check.map_err(|what| format!("a report {what}: {report:?}"))
    }

    /// A node that ends by itself has all its reports.
    ///
    /// # Errors
    /// One is out.
    pub(super) fn all_is_answered(&self, place: usize) -> Result<(), String> {
        match self.asks.iter().find(|ask| ask.place == place) {
            Some(ask) => Err(format!("it ends and never answers {:?}", ask.ticket)),
            None => Ok(()),
        }
    }

    /// Who asks and has no report yet.
    pub(super) fn askers(&self) -> impl Iterator<Item = usize> {
        self.asks.iter().map(|ask| ask.place)
    }

    /// A process is no more, and with it what it asked and heard.
    pub(super) fn forget(&mut self, place: usize) {
        self.asks.retain(|ask| ask.place != place);
        if self.heard.keys().any(|(hearer, _)| *hearer == place) {
            Rc::make_mut(&mut self.heard).retain(|(hearer, _), _| *hearer != place);
        }
    }

    fn check_report(&self, plot: &Plot, ask: &Ask, report: &Report) -> Result<(), String> {
        let asker = &self.nodes[ask.place];
        if report.answered + report.missing.len() != report.expected {
            return Err("does not add up".into());
        }
        if report.complete && !report.missing.is_empty() {
            return Err("calls complete what misses somebody".into());
        }
        let alone = !plot.places.iter().any(|of| linked_as(asker, of.id).is_some());
        if report.complete && alone && !plot.places[ask.place].joins.is_empty() {
            return Err("calls complete what a node without a link cannot know".into());
        }
        if !report.matches.is_sorted_by_key(|found| (&found.node, &found.declaration.key)) {
            return Err("is in no order".into());
        }
        report.missing.iter().try_for_each(|missing| self.check_missing(plot, ask, missing))?;
        let missing = |id: &str| report.missing.iter().any(|missing| missing.node.as_str() == id);
        let mut owed = self.owed(plot, ask, report.complete);
        owed.retain(|id| !missing(id));
        if report.answered < owed.len() {
            return Err(format!("is silent about one of {owed:?}"));
        }
        let there = plot.places.iter().enumerate().filter(|(at, of)| {
            self.nodes[*at].indexes(ask.since[*at]).next().is_some() && !missing(of.id)
        });
        let there: BTreeSet<&str> = there.map(|(_, of)| of.id).collect();
        if report.answered >= there.len() {
            return Err(format!("counts more who answered than there are: {there:?}"));
        }
        owed.extend(report.matches.iter().map(|found| found.node.as_str()));
        owed.insert(plot.places[ask.place].id);
        owed.into_iter().try_for_each(|id| self.check_matches(plot, ask, report, id))
    }

    /// Who is missing has no link, and not for nothing. Who has one is missing only if the
    /// asker could not wait any longer.
    fn check_missing(&self, plot: &Plot, ask: &Ask, missing: &Missing) -> Result<(), String> {
        let asker = &self.nodes[ask.place];
        let id = missing.node.as_str();
        let late = asker.leaving || self.left.delays < plot.faults.delays;
        let linked = linked_as(asker, id).is_some();
        let silent = missing.reason == MissingReason::Silent;
        if linked != silent || linked && !late {
            return Err(format!("tells a wrong reason why {id} is missing, linked: {linked}"));
        }
        let holders: Vec<&Node> = plot.holders(id).map(|at| &*self.nodes[at]).collect();
        if holders.is_empty() || id == plot.places[ask.place].id {
            return Err(format!("misses {id}, which is no other node"));
        }
        if !late && self.left == plot.faults && holders.iter().all(|holder| holder.stays()) {
            return Err(format!("misses {id}, which is there, although nothing went wrong"));
        }
        Ok(())
    }

    /// The ids of those who have answered or are missing, unless they leave: whom the asker
    /// is linked with, whom it was linked with as it asked; and, if it is told that this is
    /// all, whom one of those had a link with all the time that has one with the asker.
    fn owed<'a>(&self, plot: &'a Plot, ask: &Ask, complete: bool) -> BTreeSet<&'a str> {
        let asker = &self.nodes[ask.place];
        let mut owed = BTreeSet::new();
        for (at, of) in plot.places.iter().enumerate() {
            if linked_as(asker, of.id).is_some() || ask.linked.contains(&at) {
                owed.insert(of.id);
            }
        }
        if complete {
            let pairs = self.pairs_since(plot, ask);
            let near = |of: &usize| pairs.contains(&ordered(ask.place, *of));
            for (one, two) in &pairs {
                let both = [(one, two), (two, one)];
                let far = both.into_iter().filter(|(via, _)| near(via)).map(|(_, far)| *far);
                let far = far.filter(|far| *far != ask.place).map(|far| &plot.places[far]);
                owed.extend(far.filter(|far| far.role == Role::Member).map(|far| far.id));
            }
        }
        let leaves = |id: &str| {
            let mut holders = plot.holders(id).map(|at| &self.nodes[at]);
            holders.any(|holder| holder.leaving || holder.stopped.is_some())
        };
        owed.retain(|id| !leaves(id));
        owed
    }

    /// What is told of a node is what it had at one moment since it was asked. The one that
    /// the asker is linked with is told of, and no start of it before.
    fn check_matches(
        &self,
        plot: &Plot,
        ask: &Ask,
        report: &Report,
        id: &str,
    ) -> Result<(), String> {
        let found = report.matches.iter().filter(|found| found.node.as_str() == id);
        let found = found.map(|found| (found.incarnation, &found.declaration));
        let linked = linked_as(&self.nodes[ask.place], id);
        let is_told = |life: Incarnation, index: &Index| {
            let mut had = index.values().filter(|had| ask.keys.matches(&had.key));
            let mut found = found.clone();
            let same = had.all(|had| found.next() == Some((life, had))) && found.next().is_none();
            linked.is_none_or(|linked| linked == life) && same
        };
        let told = plot.holders(id).any(|at| {
            self.nodes[at].indexes(ask.since[at]).any(|(_, life, index)| is_told(life, index))
        });
        if told { Ok(()) } else { Err(format!("is wrong about {id}")) }
    }

    /// The pairs of places with a link that was in use at both ends as it was asked, and is.
    fn pairs_since(&self, plot: &Plot, ask: &Ask) -> BTreeSet<(usize, usize)> {
        let links = self.links.iter().filter(|link| ask.links.contains(&link.number));
        let links = links.filter(|link| self.is_in_use(plot, link));
        links.map(|link| ordered(link.ends[0].place, link.ends[1].place)).collect()
    }

    fn is_in_use(&self, plot: &Plot, link: &Link) -> bool {
        (0..2).all(|side| {
            let (here, there) = (link.ends[side].place, link.ends[1 - side].place);
            let linked = self.nodes[here].mirror.linked();
            linked.iter().any(|(node, used)| {
                node.as_str() == plot.places[there].id && *used == link.id(side)
            })
        })
    }

    /// Writes down what the check of the report depends on.
    pub(super) fn write_ask(&self, plot: &Plot, ask: &Ask, sum: &mut Sum) {
        sum.number(ask.place as u64);
        sum.number(ask.ticket.0);
        sum.number(ask.linked.iter().fold(0, |set, at| set | 1 << at));
        let pairs = self.pairs_since(plot, ask);
        sum.number(pairs.len() as u64);
        for (one, two) in ask.since.iter().copied().chain(pairs) {
            sum.number(one as u64);
            sum.number(two as u64);
        }
    }
}

/// The start of a member of this id that a node is linked with.
fn linked_as(node: &Node, id: &str) -> Option<Incarnation> {
    let links = node.mirror.linked().iter();
    let found = links.filter(|(of, _): &(&NodeId, _)| of.as_str() == id);
    let peers = found.filter_map(|(_, link)| node.mirror.open().get(link));
    peers.filter(|peer| peer.role == Role::Member).map(|peer| peer.incarnation).next()
}

fn ordered(one: usize, two: usize) -> (usize, usize) {
    (one.min(two), one.max(two))
}
