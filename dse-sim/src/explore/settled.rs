//! What must hold wherever nothing more comes by itself (laws L1, L2 and L4).

use std::collections::{BTreeMap, BTreeSet};

use dse_core::protocol::{InterestOptions, Key, LinkId, Match, Role, StopReason};

use super::node::Node;
use super::plot::{Place, Plot};
use super::state::State;

type Rule = fn(&Plot, &State) -> Result<(), String>;

const RULES: [Rule; 5] = [
    each_id_has_its_winner,
    each_pair_has_one_link,
    all_know_the_union,
    all_is_routed_that_is_wanted,
    all_requests_are_answered,
];

/// Is the bus as it should be once all is said?
///
/// # Errors
/// What is wrong with it.
pub(super) fn settled(plot: &Plot, state: &State) -> Result<(), String> {
    if state.is_busy() {
        return Err("something is under way for ever".into());
    }
    RULES.into_iter().try_for_each(|rule| rule(plot, state))
}

/// The nodes that run, with their places.
fn running<'a>(plot: &'a Plot, state: &'a State) -> impl Iterator<Item = (&'a Place, &'a Node)> {
    let all = plot.places.iter().zip(&state.nodes);
    all.filter(|(_, node)| node.runs()).map(|(place, node)| (place, &**node))
}

fn members<'a>(plot: &'a Plot, state: &'a State) -> impl Iterator<Item = (&'a Place, &'a Node)> {
    running(plot, state).filter(|(place, _)| place.role == Role::Member)
}

/// Of two live nodes of one id one goes, and the other stays.
fn each_id_has_its_winner(plot: &Plot, state: &State) -> Result<(), String> {
    let mut holders: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (place, node) in running(plot, state) {
        if node.leaving {
            return Err(format!("{} never ends to leave", place.name));
        }
        holders.entry(place.id).or_default().push(place.name);
    }
    if let Some((id, names)) = holders.iter().find(|(_, names)| names.len() > 1) {
        return Err(format!("{names:?} all hold the id {id}"));
    }
    for (place, node) in plot.places.iter().zip(&state.nodes) {
        let lost = matches!(node.stopped, Some(StopReason::Clash { .. }));
        let mut same = plot.places.iter().zip(&state.nodes).filter(|(of, _)| of.id == place.id);
        // A winner that crashed or left afterwards is a winner.
        if lost && same.all(|(_, node)| matches!(node.stopped, Some(StopReason::Clash { .. }))) {
            return Err(format!("nobody has won the id {}", place.id));
        }
    }
    Ok(())
}

/// Two nodes hold the same link, each one end of it, and there is no other.
fn each_pair_has_one_link(plot: &Plot, state: &State) -> Result<(), String> {
    let nodes: Vec<_> = running(plot, state).collect();
    let mut pairs = 0;
    for (at, (one, node)) in nodes.iter().enumerate() {
        for (two, other) in &nodes[at + 1..] {
            if one.role == Role::Guest && two.role == Role::Guest {
                continue;
            }
            pairs += 1;
            let (here, there) = (link_to(node, two.id), link_to(other, one.id));
            let same = here.zip(there).is_some_and(|(here, there)| here.0 / 2 == there.0 / 2);
            if !same {
                return Err(format!(
                    "{} and {} hold the links {here:?} and {there:?} to each other",
                    one.name, two.name
                ));
            }
        }
    }
    if state.links.len() == pairs {
        return Ok(());
    }
    Err(format!("there are {} links for {pairs} pairs of nodes", state.links.len()))
}

fn link_to(node: &Node, id: &str) -> Option<LinkId> {
    let peers = node.core.as_ref()?.peers();
    peers.into_iter().find(|peer| peer.info.node.as_str() == id)?.link
}

/// Every directory is the union of what the live nodes declare.
fn all_know_the_union(plot: &Plot, state: &State) -> Result<(), String> {
    let mut union: Vec<Match> = Vec::new();
    for (_, node) in members(plot, state) {
        let Some(core) = &node.core else { continue };
        union.extend(node.own.values().map(|declaration| Match {
            node: core.config().node.clone(),
            incarnation: core.config().incarnation,
            declaration: declaration.clone(),
        }));
    }
    union.sort_by(|a, b| (&a.node, &a.declaration.key).cmp(&(&b.node, &b.declaration.key)));
    for (place, node) in members(plot, state) {
        let found = node.lookup();
        if found != union {
            return Err(format!("{} knows {found:?}, but there is {union:?}", place.name));
        }
    }
    Ok(())
}

/// Every member routes to every other what that one wants, and no more, and knows which
/// of its keys anybody wants.
fn all_is_routed_that_is_wanted(plot: &Plot, state: &State) -> Result<(), String> {
    for (from, node) in members(plot, state) {
        let mut routes: BTreeMap<(Key, LinkId), InterestOptions> = BTreeMap::new();
        let mut wanted: BTreeSet<Key> = BTreeSet::new();
        for (to, other) in members(plot, state) {
            let keys = node.own.keys();
            let wants = keys.filter(|key| other.subscriptions.values().any(|k| k.matches(key)));
            for key in wants {
                wanted.insert(key.clone());
                let link = link_to(node, to.id).filter(|_| to.name != from.name);
                let route = link.map(|link| ((key.clone(), link), InterestOptions::default()));
                routes.extend(route);
            }
        }
        if *node.mirror.routes() != routes {
            let found = node.mirror.routes();
            return Err(format!("{} routes {found:?} instead of {routes:?}", from.name));
        }
        if *node.mirror.wanted() != wanted {
            let found = node.mirror.wanted();
            return Err(format!("{} thinks {found:?} wanted, not {wanted:?}", from.name));
        }
    }
    Ok(())
}

/// A node without any link waits until its deadline for those whom it tries to reach.
fn all_requests_are_answered(plot: &Plot, state: &State) -> Result<(), String> {
    for at in state.askers() {
        let (place, node) = (&plot.places[at], &state.nodes[at]);
        let waits = node.mirror.linked().is_empty() && seeks(plot, state, place, node);
        if !waits {
            return Err(format!("a request of {} is never answered", place.name));
        }
    }
    Ok(())
}

/// May a node try for ever to reach somebody who is down?
pub(super) fn somebody_is_sought(plot: &Plot, state: &State) -> bool {
    running(plot, state).any(|(place, node)| seeks(plot, state, place, node))
}

/// A node seeks a seed of its own where nothing runs, and one of whose id nothing runs, if it
/// was a peer that fell or is listed by a link (PROTOCOL.md §4.5).
fn seeks(plot: &Plot, state: &State, place: &Place, node: &Node) -> bool {
    let is_down = |of: &Place| {
        let id = crate::world::id(of.id);
        let known = node.mirror.is_down(&id) || node.knows_by_name(&id);
        known && !plot.holders(of.id).any(|at| state.nodes[at].runs())
    };
    let all = plot.places.iter().zip(&state.nodes);
    let mut down = all.filter(|(_, other)| !other.runs());
    down.any(|(of, _)| place.joins.contains(&of.name) || is_down(of))
}
