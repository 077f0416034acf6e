//! The calls of the application, carried out.

use super::call::{Call, TooManyRequests, Waiting};
use super::driver::Driver;
use super::limits::{FINISH_TIMEOUT, REQUESTS};
use super::plane::PlaneRequest;
use super::stats::{Stats, Wait};
use super::status::NodeStatus;
use super::watch::Watching;
use crate::protocol::{Command, Input, KeyExpr, PeerInfo, Role, StatsError, Ticket};

impl Driver {
    pub(super) fn call(&mut self, call: Call) {
        let ticket = self.next_ticket();
        match call {
            // Whoever gave up on one of these dropped the handle that it was for, and the
            // word of that may be here before the call itself.
            Call::Declare { reply, .. } | Call::Subscribe { reply, .. } if reply.is_closed() => {}
            Call::Declare { declaration, reply } => {
                let command = Command::Declare { ticket, declaration };
                self.command(ticket, Waiting::Done(reply), command);
            }
            Call::Redeclare { declaration, reply } => {
                let command = Command::Redeclare { ticket, declaration };
                self.command(ticket, Waiting::Done(reply), command);
            }
            Call::Subscribe { subscription, keys, options, reply } => {
                let command = Command::Subscribe { ticket, subscription, keys, options };
                self.command(ticket, Waiting::Done(reply), command);
            }
            Call::Request { reply, .. } if self.asks_enough() => {
                drop(reply.send(Err(TooManyRequests)));
            }
            Call::StatsOf { reply, .. } if self.asks_enough() => {
                drop(reply.send(Err(StatsError::TooManyRequests { limit: REQUESTS })));
            }
            Call::Request { keys, timeout, reply } => {
                let command = Command::Request { ticket, keys, timeout };
                self.command(ticket, Waiting::Answered(reply), command);
            }
            Call::StatsOf { node, timeout, reply } => {
                let command = Command::RequestStats { ticket, node, timeout };
                self.command(ticket, Waiting::Stats(reply), command);
            }
            // Whoever asked may have gone; then nobody needs the reply.
            Call::Lookup { keys, reply } => drop(reply.send(self.core.lookup(&keys))),
            Call::Watch { keys, reply } => drop(reply.send(self.watch(keys))),
            Call::Stats { reply } => drop(reply.send(self.stats())),
            Call::Nodes { reply } => drop(reply.send(self.nodes())),
            Call::Join { endpoint } => self.feed(Input::Command(Command::AddSeed { endpoint })),
            Call::Hint { endpoint } => self.feed(Input::Command(Command::AddHint { endpoint })),
            Call::DropHint { endpoint } => {
                self.feed(Input::Command(Command::DropHint { endpoint }));
            }
            Call::Reannounce => self.feed(Input::Command(Command::Reannounce)),
            Call::Leave => self.leave(),
        }
    }

    fn next_ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket(self.last_ticket)
    }

    /// Are as many requests out as may be? Commands of other kinds are over at once.
    fn asks_enough(&self) -> bool {
        self.replies.len() >= REQUESTS
    }

    fn command(&mut self, ticket: Ticket, waiting: Waiting, command: Command) {
        self.replies.insert(ticket, waiting);
        self.feed(Input::Command(command));
    }

    /// A handle of the application has ended.
    pub(super) fn plane_request(&mut self, request: PlaneRequest) {
        let command = match request {
            // Nobody waits for the outcome.
            PlaneRequest::Undeclare(key) => Command::Undeclare { ticket: self.next_ticket(), key },
            PlaneRequest::Unsubscribe(subscription) => Command::Unsubscribe { subscription },
        };
        self.feed(Input::Command(command));
    }

    /// Delivers what was published, then leaves.
    fn leave(&mut self) {
        if self.finishing.is_empty() {
            let plane = self.plane.clone();
            let deadline = tokio::time::Instant::now() + FINISH_TIMEOUT;
            self.finishing.spawn(async move { plane.finish(deadline).await });
        }
    }

    fn watch(&mut self, keys: KeyExpr) -> Watching {
        let me = &self.core.config().node;
        let matches = self.core.lookup(&keys).into_iter().filter(|it| it.node != *me).collect();
        let up = self.core.peers().into_iter().filter(|peer| peer.link.is_some());
        let members: Vec<PeerInfo> =
            up.map(|peer| peer.info).filter(|info| info.role == Role::Member).collect();
        self.watchers.watch(keys, members, matches)
    }

    fn nodes(&self) -> Vec<NodeStatus> {
        let peers = self.core.peers().into_iter().map(|peer| NodeStatus {
            link: peer.link.and_then(|link| self.links.status(link)),
            node: peer.info.node,
            incarnation: peer.info.incarnation,
            role: peer.info.role,
            endpoints: peer.info.endpoints,
        });
        peers.collect()
    }

    pub(super) fn stats(&self) -> Stats {
        let core = self.core.counters();
        let peers = self.core.peers();
        let up = |role| {
            peers.iter().filter(|it| it.link.is_some() && it.info.role == role).count() as u64
        };
        let plane = self.plane.counters();
        let skipped = self.links.skipped();
        Stats {
            samples_sent: plane.samples_sent,
            samples_received: plane.samples_received,
            data_bytes_sent: plane.data_bytes_sent,
            data_bytes_received: plane.data_bytes_received,
            gaps: plane.gaps,
            drops: plane.drops,
            stalls: plane.stalls,
            unwanted_samples: plane.unwanted_samples,
            unknown_records: plane.unknown_records,
            control_messages_sent: core.control_messages_sent,
            control_messages_received: core.control_messages_received,
            control_bytes_sent: core.control_bytes_sent,
            control_bytes_received: core.control_bytes_received,
            control_timers: self.core.poll_timeout().is_some().into(),
            unknown_messages: core.unknown_messages,
            unknown_frames: skipped.frames(),
            unknown_fields: core.skipped.total() + plane.unknown_fields + skipped.fields(),
            faults: core.faults,
            refused: self.refused + self.transports.strays(),
            links: self.links.len() as u64,
            peers: up(Role::Member),
            guests: up(Role::Guest),
            waits: Wait::all(self.plane.waits_for()),
        }
    }
}
