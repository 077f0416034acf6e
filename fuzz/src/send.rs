//! The sending machine of a publisher and the schedules of its links.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dse_core::data::limits::{IN_FLIGHT_BYTES, LOG_BYTES};
use dse_core::data::link::LinkSchedule;
use dse_core::data::send::{LinkProgress, Policy, Sequence, SequenceConfig};
use dse_core::data::{FrameWriter, Headers, Origin, Received};
use dse_core::protocol::{Class, Incarnation, Instant, InterestOptions, Key, Kind, LinkId, NodeId};

use crate::plane::peer::back;
use crate::plane::told::{Sent, Stamp};
use crate::plane::trial::interest_options;
use crate::source::Source;

/// Runs one sequence with up to three links through a schedule that the bytes decide: samples
/// are published, links come, write, stop and fall, peers want and do not want it and say of it
/// what they like, time passes. What a peer is sent is in order, once, and within its credit;
/// the log has its bound; once all links are gone and time has passed nothing is waited for.
pub fn send(data: &[u8]) {
    let mut source = Source::new(data);
    let mut trial = Trial::new(&mut source);
    for _ in 0..MOST_STEPS {
        if source.is_used_up() {
            break;
        }
        trial.step(&mut source);
        trial.holds();
    }
    trial.finish();
}

struct Trial {
    now: Instant,
    sequence: Sequence<LinkId>,
    published: u64,
    bytes: usize,
    links: BTreeMap<LinkId, Link>,
    last_link: u64,
}

struct Link {
    node: (NodeId, Incarnation),
    schedule: LinkSchedule<()>,
    sent: Sent,
}

const LONGEST: usize = 70_000;
const MOST_STEPS: usize = 400;
const STALL: Duration = Duration::from_millis(300);

impl Trial {
    fn new(source: &mut Source<'_>) -> Self {
        let kind = source.pick(&[Kind::Stream, Kind::State]);
        let node = NodeId::new("m").expect("a node id");
        let key = Key::new("a").expect("a key");
        let origin = Arc::new(Origin::new(node, key, Incarnation(1), kind, ""));
        let mut config = SequenceConfig::new(1, origin);
        if kind == Kind::Stream {
            config.policy = source.pick(&[
                Policy::Block,
                Policy::Block,
                Policy::DropOldest,
                Policy::DropNewest,
            ]);
            config.lifetime = source.pick(&[None, None, Some(Duration::from_millis(20))]);
        }
        config.class = source.pick(&Class::ALL);
        config.history = source.pick(&[0, 3, 1024]);
        config.stall_timeout = STALL;
        config.min_rate = source.pick(&[0, 0, 1000, u64::MAX]);
        config.last_seq = source.pick(&[0, 0, 1000]);
        crate::tell(|| format!("{config:?}"));
        Self {
            now: Instant::ZERO + Duration::from_secs(1),
            sequence: Sequence::new(config),
            published: 0,
            bytes: 0,
            links: BTreeMap::new(),
            last_link: 0,
        }
    }

    fn step(&mut self, source: &mut Source<'_>) {
        match source.below(20) {
            0..=4 => self.publish(source),
            5 => self.open(source),
            6 => {
                let Some(id) = self.link(source) else { return };
                let left = source.once_in(3);
                crate::tell(|| format!("{id:?} is gone, left: {left}"));
                self.links.remove(&id);
                match left {
                    true => self.sequence.peer_left(id),
                    false => self.sequence.link_lost(self.now, id),
                }
            }
            7 | 8 => {
                let Some(id) = self.link(source) else { return };
                let options = interest_options(source);
                crate::tell(|| format!("{id:?} wants it, {options:?}"));
                self.attach(id, options);
            }
            9 => {
                let Some(id) = self.link(source) else { return };
                crate::tell(|| format!("{id:?} does not want it"));
                self.sequence.withdraw(id, self.now);
            }
            10..=12 => {
                let Some(id) = self.link(source) else { return };
                self.write(id, source);
            }
            13..=15 => {
                let Some(id) = self.link(source) else { return };
                self.hear(id, source);
            }
            16 => {
                let millis = source.pick(&[1, 6, 25, 400, 3000]);
                crate::tell(|| format!("{millis} ms pass"));
                self.now = self.now + Duration::from_millis(millis);
                self.time_out();
            }
            17 => {
                let seq = self.sequence.last_seq();
                let progress = progress(&self.links);
                let _ = self.sequence.await_confirmed(seq, self.now, progress);
                let report = self.sequence.report(seq);
                crate::tell(|| format!("{report:?}"));
                assert!(report.unconfirmed.len() <= 1024);
            }
            18 => {
                let Some(id) = self.link(source) else { return };
                let options = interest_options(source);
                self.sequence.set_options(id, options);
            }
            _ if source.once_in(12) => {
                crate::tell(|| "it is closed".into());
                self.sequence.close(self.now);
            }
            _ => self.sequence.forget(),
        }
        self.take_ready();
    }

    fn publish(&mut self, source: &mut Source<'_>) {
        let len = source.pick(&[8, 0, 300, LONGEST]);
        let times = source.pick(&[1, 3, 70, if len < LONGEST { 1200 } else { 10 }]);
        crate::tell(|| format!("{times} times {len} bytes"));
        for _ in 0..times {
            if self.sequence.is_closed() {
                return;
            }
            if let Some(blocked) = self.sequence.blocked(len, self.now, progress(&self.links)) {
                crate::tell(|| format!("blocked until {:?}", blocked.until));
                match source.once_in(3) {
                    true => self.sequence.stop_waiting(self.now),
                    false => {
                        self.now = self.now.max(blocked.until);
                        self.time_out();
                    }
                }
                return;
            }
            self.published += 1;
            let key = Key::new("a").expect("a key");
            let payload = Stamp { key, number: self.published }.payload(len);
            self.bytes = self.bytes.max(payload.len());
            self.sequence.append(self.now, self.published, Headers::new(), payload);
            self.take_ready();
        }
    }

    fn open(&mut self, source: &mut Source<'_>) {
        if self.links.len() == 3 {
            return;
        }
        self.last_link += 1;
        let id = LinkId(self.last_link);
        let name = source.pick(&["p", "q"]);
        let node = NodeId::new(name).expect("a node id");
        let node = (node, Incarnation(1 + source.below(3) as u64 / 2));
        let fragment = source.pick(&[1024, 16 * 1024]);
        crate::tell(|| format!("{id:?} opens to {node:?}"));
        let schedule = LinkSchedule::new(fragment);
        self.links.insert(id, Link { node, schedule, sent: Sent::default() });
        if !source.once_in(3) {
            self.attach(id, interest_options(source));
        }
    }

    fn attach(&mut self, id: LinkId, options: InterestOptions) {
        let node = self.links[&id].node.clone();
        // What a node wants it says on its newest link.
        if self.links.iter().any(|(other, link)| *other > id && link.node.0 == node.0) {
            return;
        }
        self.sequence.attach(self.now, id, id, node.clone(), options);
        // An older link that this one takes the place of is closed then.
        let is_old = |(other, link): (&LinkId, &Link)| {
            (*other < id && link.node.0 == node.0).then_some(*other)
        };
        for old in self.links.iter().filter_map(is_old).collect::<Vec<_>>() {
            self.links.remove(&old);
            self.sequence.link_lost(self.now, old);
        }
    }

    fn write(&mut self, id: LinkId, source: &mut Source<'_>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        for _ in 0..source.pick(&[1, 2, 20]) {
            let mut frame = FrameWriter::new();
            link.schedule.begin_frame(self.now, &mut frame);
            while let Some(((), class, turn)) = link.schedule.next_turn(&frame) {
                let pulled = self.sequence.pull(self.now, id, &mut frame, turn);
                link.schedule.end_turn((), class, pulled);
            }
            let counts = frame.counts();
            let Some(frame) = frame.take() else { return };
            link.schedule.end_frame(self.now, frame.wire_len() as u64, counts);
            let in_flight = link.schedule.written() - link.schedule.progress().received;
            // One frame may pass the bound, with one sample that may be long.
            let most = IN_FLIGHT_BYTES + 512 * 1024;
            assert!(in_flight <= most, "{in_flight} bytes are in flight");
            link.sent.note(&frame);
        }
    }

    /// A peer says what it likes.
    fn hear(&mut self, id: LinkId, source: &mut Source<'_>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let mut frame = FrameWriter::new();
        match source.below(3) {
            0 => {
                let written = link.schedule.written();
                let bytes = if source.once_in(8) { source.number() } else { written };
                let bytes = bytes.saturating_sub(source.pick(&[0, 1, 70_000]));
                frame.received(Received { bytes, delay_us: source.number() });
            }
            _ => back(source, &mut link.sent, &mut frame),
        }
        let Some(frame) = frame.take() else { return };
        let mut faults = Vec::new();
        for record in frame.records() {
            let record = record.expect("a record that was written");
            crate::tell(|| format!("{id:?} says {record:?}"));
            use dse_core::data::Record::{Credit, Received, Refuse, Resume};
            let heard = match record {
                // The runtime gives each sequence its own.
                Credit(credit) if credit.sequence != 1 => Ok(()),
                Resume(resume) if resume.sequence != 1 => Ok(()),
                Refuse(refuse) if refuse.sequence != 1 => Ok(()),
                Credit(credit) => self.sequence.credit(self.now, id, credit),
                Resume(resume) => self.sequence.resume(self.now, id, resume),
                Received(received) => link.schedule.received(self.now, received),
                Refuse(refuse) => {
                    self.sequence.refuse(self.now, id, refuse);
                    Ok(())
                }
                _ => Ok(()),
            };
            faults.extend(heard.err());
        }
        for fault in faults {
            crate::tell(|| format!("    {id:?} fails: {fault}"));
            if self.links.remove(&id).is_some() {
                self.sequence.link_lost(self.now, id);
            }
        }
    }

    fn take_ready(&mut self) {
        let ready: Vec<(LinkId, Class)> = self.sequence.take_ready().collect();
        for (id, class) in ready {
            if let Some(link) = self.links.get_mut(&id) {
                link.schedule.ready((), class);
            }
        }
    }

    fn time_out(&mut self) {
        if self.sequence.poll_timeout().is_some_and(|at| at <= self.now) {
            self.sequence.handle_timeout(self.now, progress(&self.links));
        }
    }

    fn link(&self, source: &mut Source<'_>) -> Option<LinkId> {
        let ids: Vec<LinkId> = self.links.keys().copied().collect();
        if ids.is_empty() { None } else { Some(source.pick(&ids)) }
    }

    fn holds(&self) {
        let most = LOG_BYTES + self.bytes;
        let bytes = self.sequence.log_bytes();
        // History may be longer, and here it is not.
        assert!(bytes <= most.max(1024 * LONGEST), "{bytes} bytes in the log");
    }

    /// All links fall and time passes: nobody is waited for, and all that is known is told.
    fn finish(mut self) {
        let links: Vec<LinkId> = std::mem::take(&mut self.links).into_keys().collect();
        links.into_iter().for_each(|id| self.sequence.link_lost(self.now, id));
        for _ in 0..3 {
            self.now = self.now + STALL * 2;
            self.time_out();
        }
        assert_eq!(self.sequence.poll_timeout(), None, "somebody is waited for");
        assert!(self.sequence.waited().is_empty());
        let seq = self.sequence.last_seq();
        let awaited = self.sequence.await_confirmed(seq, self.now, |_| LinkProgress::default());
        assert_eq!(awaited, None);
        assert_eq!(self.sequence.subscribers(), 0);
    }
}

fn progress(links: &BTreeMap<LinkId, Link>) -> impl Fn(&LinkId) -> LinkProgress + '_ {
    |id| links.get(id).map(|link| link.schedule.progress()).unwrap_or_default()
}
