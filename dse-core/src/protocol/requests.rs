//! What this node asks others, and how far they have answered (PROTOCOL.md §7).

use alloc::collections::BTreeMap;
use alloc::string::ToString as _;
use alloc::vec::Vec;

use serde::Serialize;

use super::asked::Asked;
use super::declaration::Declaration;
use super::ids::Ticket;
use super::io::{Match, Missing, MissingReason, Report};
use super::key::KeyExpr;
use super::limits;
use super::message::{Answer, Request};
use super::names::{Incarnation, NodeId};
use super::wire;

/// What this node has asked and not yet told its application.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Requests {
    last: u64,
    by_id: BTreeMap<u64, Outstanding>,
    /// What each peer was asked on its open link.
    asked: BTreeMap<NodeId, Asked>,
}

#[derive(Clone, Debug, Serialize)]
struct Outstanding {
    ticket: Ticket,
    keys: KeyExpr,
    asks: BTreeMap<NodeId, Ask>,
    /// Membership hashes that differed from ours, whom we asked for the list behind
    /// each, and whether it came.
    pulls: BTreeMap<u64, (NodeId, Pull)>,
}

/// How it stands with one node that is to answer.
#[derive(Clone, Debug, Serialize)]
struct Ask {
    incarnation: Option<Incarnation>,
    state: AskState,
    parts: u32,
    declarations: Vec<Declaration>,
    /// What these take on the wire.
    bytes: usize,
    membership: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
enum AskState {
    Unreached,
    /// Linked, and has others to answer first.
    Held,
    Asked,
    Answered,
    Missing(MissingReason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum Pull {
    Asked,
    Came,
    Failed,
}

impl Ask {
    fn new(state: AskState) -> Self {
        let declarations = Vec::new();
        Self { incarnation: None, state, parts: 0, declarations, bytes: 0, membership: 0 }
    }

    fn is_pending(&self) -> bool {
        matches!(self.state, AskState::Unreached | AskState::Held | AskState::Asked)
    }
}

impl Requests {
    /// A number for a request of any kind.
    pub(super) fn next_id(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// A request begins. Those that are `coming` are waited for.
    pub(super) fn begin<'a>(
        &mut self,
        ticket: Ticket,
        keys: KeyExpr,
        coming: impl Iterator<Item = &'a NodeId>,
    ) -> u64 {
        let id = self.next_id();
        let asks = coming.map(|node| (node.clone(), Ask::new(AskState::Unreached))).collect();
        self.by_id.insert(id, Outstanding { ticket, keys, asks, pulls: BTreeMap::new() });
        id
    }

    /// The requests that are not over, in order.
    pub(super) fn ids(&self) -> Vec<u64> {
        self.by_id.keys().copied().collect()
    }

    pub(super) fn id_of(&self, ticket: Ticket) -> Option<u64> {
        self.by_id.iter().find(|(_, o)| o.ticket == ticket).map(|(id, _)| *id)
    }

    pub(super) fn keys(&self, id: u64) -> Option<&KeyExpr> {
        self.by_id.get(&id).map(|outstanding| &outstanding.keys)
    }

    /// A link with a peer opened: what was asked on the one before is not awaited any more.
    pub(super) fn link_opened(&mut self, node: &NodeId) {
        self.asked.insert(node.clone(), Asked::default());
    }

    pub(super) fn peers(&self) -> usize {
        self.asked.len()
    }

    pub(super) fn forget(&mut self, node: &NodeId) {
        self.asked.remove(node);
    }

    /// Asks a peer: gives what is to be sent, unless the peer has others to answer first
    /// (PROTOCOL.md §7.1).
    pub(super) fn ask(
        &mut self,
        id: u64,
        node: &NodeId,
        incarnation: Incarnation,
    ) -> Option<Request> {
        let outstanding = self.by_id.get_mut(&id)?;
        let asked = self.asked.get_mut(node)?;
        let ask =
            outstanding.asks.entry(node.clone()).or_insert_with(|| Ask::new(AskState::Unreached));
        let incarnation = Some(incarnation);
        if ask.state == AskState::Answered && ask.incarnation == incarnation {
            return None;
        }
        *ask = Ask { incarnation, ..Ask::new(AskState::Held) };
        if asked.ask(id) { self.send_now(id, node) } else { None }
    }

    fn send_now(&mut self, id: u64, node: &NodeId) -> Option<Request> {
        let outstanding = self.by_id.get_mut(&id)?;
        if let Some(ask) = outstanding.asks.get_mut(node) {
            ask.state = AskState::Asked;
        }
        Some(Request { request: id, keys: outstanding.keys.clone() })
    }

    /// Is the peer's answer to this one awaited, in time or not?
    pub(super) fn awaits(&self, id: u64, node: &NodeId) -> bool {
        self.asked.get(node).is_some_and(|asked| asked.awaits(id))
    }

    /// A peer has answered a request, in time or not: gives the next that is to be sent.
    pub(super) fn answered(&mut self, id: u64, node: &NodeId) -> Option<Request> {
        let next = self.asked.get_mut(node)?.answered(id)?;
        self.send_now(next, node)
    }

    /// Was a peer asked for its members, and has not told them all?
    pub(super) fn is_pulling(&self, id: u64, node: &NodeId) -> bool {
        self.by_id.get(&id).is_some_and(|outstanding| {
            outstanding.pulls.values().any(|(asked, pull)| asked == node && *pull == Pull::Asked)
        })
    }

    /// A member was listed that this node is about to dial.
    pub(super) fn expects(&mut self, node: &NodeId) {
        for outstanding in self.by_id.values_mut() {
            // Peers may list names without end. What a report misses then is told by the
            // names that it has.
            let full = outstanding.asks.len() >= limits::PEERS_PER_BUS * 2;
            if full && !outstanding.asks.contains_key(node) {
                continue;
            }
            let ask = outstanding.asks.entry(node.clone());
            let ask = ask.or_insert_with(|| Ask::new(AskState::Unreached));
            if matches!(ask.state, AskState::Missing(_)) {
                ask.state = AskState::Unreached;
            }
        }
    }

    /// A node that has not been reached cannot be for now.
    pub(super) fn unreachable(&mut self, node: &NodeId, why: &str) {
        for outstanding in self.by_id.values_mut() {
            if let Some(ask) = outstanding.asks.get_mut(node)
                && ask.state == AskState::Unreached
            {
                ask.state = AskState::Missing(MissingReason::Unreachable(why.into()));
            }
        }
    }

    /// An open link with a node fell.
    pub(super) fn lost(&mut self, node: &NodeId, error: &str) {
        for outstanding in self.by_id.values_mut() {
            if let Some(ask) = outstanding.asks.get_mut(node)
                && matches!(ask.state, AskState::Held | AskState::Asked)
            {
                ask.state = AskState::Missing(MissingReason::Fell(error.to_string()));
            }
            for (asked, pull) in outstanding.pulls.values_mut() {
                if asked == node && *pull == Pull::Asked {
                    *pull = Pull::Failed;
                }
            }
        }
    }

    /// A node left: it is not there to answer, and not missed.
    pub(super) fn left(&mut self, node: &NodeId) {
        for outstanding in self.by_id.values_mut() {
            if outstanding.asks.get(node).is_some_and(Ask::is_pending) {
                outstanding.asks.remove(node);
            }
        }
    }

    /// Takes a part of an answer.
    pub(super) fn take_answer(
        &mut self,
        node: &NodeId,
        answer: Answer,
    ) -> Result<(), &'static str> {
        // An answer that comes after the deadline is nobody's fault.
        let Some(outstanding) = self.by_id.get_mut(&answer.request) else { return Ok(()) };
        let asked = outstanding.asks.get_mut(node).filter(|ask| ask.state == AskState::Asked);
        let Some(ask) = asked else { return Err("an answer came that was not asked for") };
        if answer.part != ask.parts {
            return Err("the parts of an answer do not follow each other");
        }
        if answer.declarations.iter().any(|declaration| declaration.check().is_err()) {
            return Err("a declaration is larger than it may be");
        }
        let keys = &outstanding.keys;
        ask.parts += 1;
        ask.bytes += answer.declarations.iter().map(wire::encoded_len).sum::<usize>();
        ask.declarations.extend(answer.declarations.into_iter().filter(|d| keys.matches(&d.key)));
        if ask.declarations.len() > limits::DECLARATIONS_PER_NODE || ask.bytes > limits::INDEX_BYTES
        {
            return Err("an answer is larger than a node's index may be");
        }
        if answer.last {
            ask.membership = answer.membership;
            ask.state = AskState::Answered;
        }
        Ok(())
    }

    /// A list of members came that was asked for, up to its last part or not.
    pub(super) fn members_came(&mut self, id: u64, from: &NodeId, last: bool) {
        let Some(outstanding) = self.by_id.get_mut(&id) else { return };
        for (asked, pull) in outstanding.pulls.values_mut() {
            if asked == from && last {
                *pull = Pull::Came;
            }
        }
    }

    /// Is there somebody whose word is still awaited?
    pub(super) fn is_pending(&self, id: u64) -> bool {
        self.by_id.get(&id).is_some_and(|outstanding| {
            outstanding.pulls.values().any(|(_, pull)| *pull == Pull::Asked)
                || outstanding.asks.values().any(Ask::is_pending)
        })
    }

    /// Of each membership that differs from ours one node is to be asked for its members:
    /// gives those of them that are open (PROTOCOL.md §7.2).
    pub(super) fn pull(
        &mut self,
        id: u64,
        membership: u64,
        is_open: impl Fn(&NodeId) -> bool,
    ) -> Vec<NodeId> {
        let mut pulled = Vec::new();
        let Some(outstanding) = self.by_id.get_mut(&id) else { return pulled };
        for (node, ask) in &outstanding.asks {
            let differs = ask.state == AskState::Answered && ask.membership != membership;
            if !differs || outstanding.pulls.contains_key(&ask.membership) {
                continue;
            }
            let open = is_open(node);
            let pull = if open { Pull::Asked } else { Pull::Failed };
            outstanding.pulls.insert(ask.membership, (node.clone(), pull));
            if open {
                pulled.push(node.clone());
            }
        }
        pulled
    }

    /// Has the list behind each membership that differs from ours come?
    pub(super) fn all_agree(&self, id: u64) -> bool {
        self.by_id.get(&id).is_none_or(|outstanding| {
            outstanding.pulls.values().all(|(_, pull)| *pull == Pull::Came)
        })
    }

    /// A request is over, with these matches of our own. Gives its report; it is complete if
    /// all `agreed` on who the members are.
    pub(super) fn over(
        &mut self,
        id: u64,
        own: Vec<Match>,
        agreed: bool,
    ) -> Option<(Ticket, Report)> {
        let outstanding = self.by_id.remove(&id)?;
        let mut report =
            Report { matches: own, expected: outstanding.asks.len(), ..Report::default() };
        for (node, ask) in outstanding.asks {
            if let Some(asked) = self.asked.get_mut(&node) {
                asked.over(id);
            }
            let reason = match ask.state {
                AskState::Answered => {
                    report.answered += 1;
                    let incarnation = ask.incarnation.unwrap_or(Incarnation(0));
                    let matches = ask.declarations.into_iter().map(|declaration| Match {
                        node: node.clone(),
                        incarnation,
                        declaration,
                    });
                    report.matches.extend(matches);
                    continue;
                }
                AskState::Held | AskState::Asked => MissingReason::Silent,
                AskState::Unreached => {
                    MissingReason::Unreachable("no link came about in time".into())
                }
                AskState::Missing(reason) => reason,
            };
            report.missing.push(Missing { node, reason });
        }
        Match::sort(&mut report.matches);
        report.complete = agreed && report.missing.is_empty();
        Some((outstanding.ticket, report))
    }
}
