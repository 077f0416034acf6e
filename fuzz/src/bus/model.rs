//! What the node's application knows from the events alone, and whose word it was.

use std::collections::{BTreeMap, BTreeSet};

use dse_core::protocol::{
    Command, Config, ControlBus, Declaration, Event, Incarnation, Input, InterestOptions, Key,
    KeyExpr, LinkId, Match, NodeId, Output, PeerInfo, Role, Ticket, limits,
};

type Index = BTreeMap<Key, Declaration>;

/// The state that the events add up to. Each event must fit what was before it, and what
/// changes a peer's index must come from that peer.
pub(super) struct Model {
    config: Config,
    own: Index,
    open: BTreeMap<LinkId, PeerInfo>,
    /// Links of members that left, which live on for the data under way.
    draining: BTreeSet<LinkId>,
    up: BTreeMap<NodeId, (Incarnation, Index)>,
    /// What members had told when they went down, until they are forgotten.
    down: BTreeMap<NodeId, Index>,
    /// Members of which an application keeps something, until they are forgotten.
    pub(super) kept: BTreeSet<NodeId>,
    routes: BTreeMap<(Key, LinkId), InterestOptions>,
    wanted: BTreeSet<Key>,
    subscriptions: usize,
    pending: BTreeMap<Ticket, Change>,
    /// Who spoke in this step, if it was a peer on its open link.
    speaker: Option<NodeId>,
    /// A message came in in this step.
    spoken: bool,
    /// The node has said Leave, and tells its application no more of others.
    pub(super) leaving: bool,
    pub(super) stopped: bool,
}

/// What a successful command does to the own index.
enum Change {
    Set(Declaration),
    Unset(Key),
    Want,
}

impl Model {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            config: config.clone(),
            own: Index::new(),
            open: BTreeMap::new(),
            draining: BTreeSet::new(),
            up: BTreeMap::new(),
            down: BTreeMap::new(),
            kept: BTreeSet::new(),
            routes: BTreeMap::new(),
            wanted: BTreeSet::new(),
            subscriptions: 0,
            pending: BTreeMap::new(),
            speaker: None,
            spoken: false,
            leaving: false,
            stopped: false,
        }
    }

    /// How many things the node has to tell of.
    pub(super) fn size(&self) -> usize {
        let theirs = self.up.values().map(|(_, index)| index.len()).sum::<usize>();
        let kept = self.down.values().map(Index::len).sum::<usize>();
        self.own_size() + theirs + kept
    }

    /// How many of them are its own.
    pub(super) fn own_size(&self) -> usize {
        self.own.len() + self.subscriptions
    }

    /// Takes note of an input.
    pub(super) fn expect(&mut self, input: &Input) {
        self.speaker = None;
        self.spoken = matches!(input, Input::Message { .. });
        match input {
            Input::Message { link, .. } => {
                self.speaker = self.open.get(link).map(|peer| peer.node.clone());
            }
            Input::Command(
                Command::Declare { ticket, declaration }
                | Command::Redeclare { ticket, declaration },
            ) => {
                self.pending.insert(*ticket, Change::Set(declaration.clone()));
            }
            Input::Command(Command::Undeclare { ticket, key }) => {
                self.pending.insert(*ticket, Change::Unset(key.clone()));
            }
            Input::Command(Command::Subscribe { ticket, .. }) => {
                self.pending.insert(*ticket, Change::Want);
            }
            _ => {}
        }
    }

    /// Takes note of what came of it.
    pub(super) fn step(&mut self, outputs: &[Output], link_fell: bool) {
        let events = || {
            outputs.iter().filter_map(|output| match output {
                Output::Event(event) => Some(event),
                _ => None,
            })
        };
        for event in events() {
            if let Event::Done { ticket, result } = event {
                let change = self.pending.remove(ticket).expect("it was asked for");
                if result.is_ok() {
                    self.changed(change);
                }
            }
        }
        // Peers that are back, whose index as it was kept is told again.
        let mut back = BTreeMap::new();
        for event in events() {
            if let Event::NodeUp { peer } = event {
                back.insert(peer.node.clone(), self.down.remove(&peer.node).unwrap_or_default());
            }
            self.is_their_own_word(event, &back, link_fell);
            let fits = self.apply(event);
            assert!(fits || self.leaving, "an event that does not fit: {event:?}");
        }
        for (node, kept) in back {
            let (_, index) = self.up.get(&node).expect("it is up");
            assert!(index.is_empty() || *index == kept, "{node} is back with {index:?}");
        }
    }

    fn changed(&mut self, change: Change) {
        match change {
            Change::Set(declaration) => {
                self.own.insert(declaration.key.clone(), declaration);
            }
            Change::Unset(key) => {
                self.own.remove(&key);
                self.routes.retain(|(routed, _), _| *routed != key);
                self.wanted.remove(&key);
            }
            Change::Want => self.subscriptions += 1,
        }
    }

    /// Law L3: what concerns a peer's index comes from that peer, or from its link.
    fn is_their_own_word(&self, event: &Event, back: &BTreeMap<NodeId, Index>, link_fell: bool) {
        let (node, whole) = match event {
            Event::Declared { node, .. }
            | Event::Changed { node, .. }
            | Event::Undeclared { node, .. } => (node, false),
            Event::NodeDown { node, .. }
            | Event::NodeLeft { node, .. }
            | Event::PeerForgotten { node } => (node, true),
            _ => return,
        };
        let own = self.speaker.as_ref() == Some(node);
        match whole {
            false => {
                let again = back.contains_key(node) && matches!(event, Event::Declared { .. });
                assert!(own || again, "{:?} changed an index: {event:?}", self.speaker);
            }
            // On a link that is not open yet a peer may prove to be another start of a node.
            true => {
                // Who is down makes room for who comes, where there is none.
                let kept = self.up.len() + self.down.len();
                let own_place = usize::from(self.config.role == Role::Member);
                let full = kept + own_place >= self.config.peers_max;
                let makes_room = full && matches!(event, Event::PeerForgotten { .. });
                let other = self.speaker.is_some() && !own && !link_fell && !self.leaving;
                let other = other && !(makes_room && self.down.contains_key(node));
                assert!(!other, "{:?} took a node down: {event:?}", self.speaker);
            }
        }
    }

    fn apply(&mut self, event: &Event) -> bool {
        match event {
            Event::NodeUp { peer } => {
                self.kept.insert(peer.node.clone());
                peer.role == Role::Member
                    && peer.node != self.config.node
                    && self.up.insert(peer.node.clone(), (peer.incarnation, Index::new())).is_none()
            }
            Event::NodeDown { node, incarnation, .. } => {
                let Some((at, index)) = self.up.remove(node) else { return false };
                self.down.insert(node.clone(), index);
                at == *incarnation
            }
            Event::NodeLeft { node, incarnation, .. } => {
                let theirs = self.open.iter().filter(|(_, peer)| peer.node == *node);
                self.draining.extend(theirs.map(|(link, _)| *link));
                let was_down = self.down.remove(node).is_some();
                self.up.remove(node).is_some_and(|(at, _)| at == *incarnation) != was_down
            }
            Event::PeerForgotten { node } => {
                self.down.remove(node);
                self.kept.remove(node);
                !self.up.contains_key(node)
            }
            Event::Declared { node, incarnation, declaration } => {
                self.index(node, *incarnation).is_some_and(|index| {
                    index.insert(declaration.key.clone(), declaration.clone()).is_none()
                })
            }
            Event::Changed { node, incarnation, declaration } => {
                self.index(node, *incarnation).is_some_and(|index| {
                    let before = index.insert(declaration.key.clone(), declaration.clone());
                    before.is_some_and(|before| before != *declaration)
                })
            }
            Event::Undeclared { node, incarnation, declaration } => self
                .index(node, *incarnation)
                .is_some_and(|index| index.remove(&declaration.key).as_ref() == Some(declaration)),
            Event::LinkOpened { link, peer } => self.open.insert(*link, peer.clone()).is_none(),
            Event::LinkClosed { link, node } => {
                self.routes.retain(|(_, to), _| to != link);
                self.draining.remove(link);
                self.open.remove(link).is_some_and(|peer| peer.node == *node)
            }
            Event::RouteAdded { key, link, options } => {
                self.own.contains_key(key)
                    && self.open.contains_key(link)
                    && self.routes.insert((key.clone(), *link), *options).is_none()
            }
            Event::RouteChanged { key, link, options } => {
                let before = self.routes.insert((key.clone(), *link), *options);
                before.is_some_and(|before| before != *options)
            }
            Event::RouteRemoved { key, link } => {
                self.routes.remove(&(key.clone(), *link)).is_some()
            }
            Event::FirstInterest { key } => {
                self.own.contains_key(key) && self.wanted.insert(key.clone())
            }
            Event::LastInterest { key } => self.wanted.remove(key),
            Event::Stopped { .. } => !core::mem::replace(&mut self.stopped, true),
            Event::DialFailed { .. }
            | Event::PeerRefused { .. }
            | Event::InterestRefused { .. }
            | Event::StatsRequested { .. }
            | Event::Done { .. }
            | Event::Answered { .. }
            | Event::StatsReceived { .. } => true,
        }
    }

    fn index(&mut self, node: &NodeId, of: Incarnation) -> Option<&mut Index> {
        let (at, index) = self.up.get_mut(node)?;
        (*at == of).then_some(index)
    }

    /// The node's state is what its events add up to, and within its limits.
    pub(super) fn check(&self, core: &ControlBus) {
        let peers = core.peers();
        let of = |role| peers.iter().filter(move |peer| peer.info.role == role);
        let (members, guests) = (of(Role::Member).count(), of(Role::Guest).count());
        let own = usize::from(self.config.role == Role::Member);
        assert!(members + own <= self.config.peers_max, "{members} members on a full bus");
        assert!(guests <= self.config.guests_max, "{guests} guests");
        for (node, (_, index)) in &self.up {
            assert!(index.len() <= limits::DECLARATIONS_PER_NODE, "what {node} declares");
        }
        if self.leaving || self.stopped {
            return;
        }
        let mut linked = BTreeMap::new();
        let in_use = self.open.iter().filter(|(link, _)| !self.draining.contains(link));
        for (link, peer) in in_use.filter(|(_, peer)| peer.role == Role::Member) {
            let twice = linked.insert(&peer.node, (*link, peer.incarnation)).is_some();
            assert!(!twice, "two open links to {}", peer.node);
        }
        for peer in of(Role::Member) {
            let told = linked.get(&peer.info.node).map(|(link, _)| *link);
            assert_eq!(peer.link, told, "the link to {}", peer.info.node);
        }
        let up = self.up.iter().map(|(node, (at, _))| (node, *at));
        assert!(up.eq(linked.into_iter().map(|(node, (_, at))| (node, at))), "who is up");
        self.check_directory(core);
    }

    fn check_directory(&self, core: &ControlBus) {
        let found = |node: &NodeId, incarnation, declaration: &Declaration| Match {
            node: node.clone(),
            incarnation,
            declaration: declaration.clone(),
        };
        let own = self.own.values().map(|d| found(&self.config.node, self.config.incarnation, d));
        let mut told: Vec<Match> = own.collect();
        for (node, (incarnation, index)) in &self.up {
            told.extend(index.values().map(|d| found(node, *incarnation, d)));
        }
        told.sort_by(|a, b| (&a.node, &a.declaration.key).cmp(&(&b.node, &b.declaration.key)));
        let all = KeyExpr::new("**").expect("all keys");
        let holds = core.lookup(&all);
        assert!(holds == told, "the events say {told:#?}\nlookup says {holds:#?}");
    }
}
