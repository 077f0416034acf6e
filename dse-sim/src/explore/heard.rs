//! L3: what a node believes of another is what that one truly had, in the order in which
//! it had it.

use std::collections::BTreeMap;
use std::rc::Rc;

use dse_core::protocol::{Incarnation, NodeId};

use super::node::{Index, Moment};
use super::plot::Plot;
use super::state::State;

/// The latest moment of a place's history (the second) that another (the first) has heard
/// of. A process that ends takes with it what it heard.
pub(super) type Heard = BTreeMap<(usize, usize), Moment>;

impl State {
    /// A node comes to believe an index of another.
    ///
    /// # Errors
    /// That one never had it, or only before what was heard of it earlier.
    pub(super) fn hears(
        &mut self,
        plot: &Plot,
        place: usize,
        of: &NodeId,
        incarnation: Incarnation,
        index: &Index,
    ) -> Result<(), String> {
        let same = |life: Incarnation, had: &Index| life == incarnation && had == index;
        let mut was = false;
        for owner in plot.holders(of.as_str()) {
            let heard = self.heard.get(&(place, owner)).copied();
            let from = heard.unwrap_or_default();
            let mut later = self.nodes[owner].indexes(from);
            if let Some((at, ..)) = later.find(|(_, life, had)| same(*life, had)) {
                if heard != Some(at) {
                    Rc::make_mut(&mut self.heard).insert((place, owner), at);
                }
                return Ok(());
            }
            was |= self.nodes[owner].indexes((0, 0)).any(|(_, life, had)| same(life, had));
        }
        let fault = if was { "is no more" } else { "never was" };
        Err(format!("it believes of {of} what {fault}: {index:?}"))
    }
}
