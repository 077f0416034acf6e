//! The node under trial, and the world around it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use dse_core::protocol::wire::{self, Decoded};
use dse_core::protocol::{
    Command, Config, ControlBus, DialId, Event, Incarnation, Input, Instant, LinkId, Message,
    Output, Role, SubscriptionId, Ticket, Watch, limits,
};

use super::model::Model;
use super::words::{self, SCHEME, SELF, Thread};
use crate::source::Source;

/// One node, its links and dials, and what is known of it from outside.
pub(super) struct Trial {
    core: ControlBus,
    now: Instant,
    /// The latest time that the node was told.
    told: Instant,
    lines: BTreeMap<LinkId, Line>,
    dials: BTreeSet<DialId>,
    last_link: u64,
    last_ticket: u64,
    tickets: BTreeSet<Ticket>,
    /// Seeds are dialled for ever, so time alone ends nothing.
    seeds: usize,
    /// A request without an end was made.
    eternal: bool,
    model: Model,
    /// A message that the node sent at some time.
    kept: Option<Bytes>,
}

/// One link that is up.
#[derive(Default)]
struct Line {
    thread: Thread,
    /// Something was sent on it.
    spoken: bool,
    /// Bytes that came in parts of messages of which more is to come, by kind.
    in_parts: [usize; 5],
    /// How it is watched, once that was told.
    watch: Option<Watch>,
}

impl Trial {
    pub(super) fn new(source: &mut Source<'_>) -> Self {
        let mut config =
            Config::new(words::bus_id(words::BUS), words::node_id(SELF), Incarnation(1));
        config.role = if source.once_in(6) { Role::Guest } else { Role::Member };
        config.schemes = vec![SCHEME.into()];
        config.endpoints = vec![words::own_endpoint()];
        config.peers_max = source.pick(&[limits::PEERS_PER_BUS, 3, 1]);
        config.guests_max = source.pick(&[64, 1, 0]);
        config.forget_after = Duration::from_secs(source.pick(&[20, 2, 0]));
        config.redial_min = Duration::from_millis(source.pick(&[100, 1]));
        let now = Instant::from_nanos(0);
        let model = Model::new(&config);
        Self {
            core: ControlBus::new(config, 7, now),
            now,
            told: now,
            lines: BTreeMap::new(),
            dials: BTreeSet::new(),
            last_link: 0,
            last_ticket: 0,
            tickets: BTreeSet::new(),
            seeds: 0,
            eternal: false,
            model,
            kept: None,
        }
    }

    /// One thing happens.
    pub(super) fn step(&mut self, source: &mut Source<'_>) {
        match source.below(20) {
            0 => self.link_up(source),
            1 | 2 => {
                self.link_up(source);
                let link = LinkId(self.last_link);
                self.handshake(source, link);
            }
            3 => {
                let link = self.any_link(source);
                self.link_down(link);
            }
            4 => self.connect_failed(source),
            5..=10 => self.say_something(source),
            11 => self.say_something_broken(source),
            12 => {
                let link = self.any_link(source);
                self.say(link, source.bytes(64).into());
            }
            13 => {
                let link = self.any_link(source);
                if let Some(kept) = self.kept.clone() {
                    self.say(link, kept);
                }
            }
            14 => {
                let link = self.any_link(source);
                self.feed(Input::Probed { link });
            }
            15 | 16 => self.time_passes(source),
            17 => {
                let link = self.any_link(source);
                self.handshake(source, link);
            }
            _ => self.command(source),
        }
    }

    fn any_link(&self, source: &mut Source<'_>) -> LinkId {
        let links: Vec<LinkId> = self.lines.keys().copied().collect();
        if links.is_empty() || source.once_in(16) {
            // Of the past, or never heard of.
            return LinkId(source.below(self.last_link as usize + 2) as u64);
        }
        // The latest ones come first.
        links[links.len() - 1 - source.below(links.len())]
    }

    fn link_up(&mut self, source: &mut Source<'_>) {
        self.last_link += 1;
        let link = LinkId(self.last_link);
        let dials: Vec<DialId> = self.dials.iter().copied().collect();
        let dial = (!dials.is_empty() && source.once_in(2)).then(|| source.pick(&dials));
        if let Some(dial) = dial {
            self.dials.remove(&dial);
        }
        let identity = source.once_in(6).then(|| Box::from(source.pick(&["m", "a", "x"])));
        self.lines.insert(link, Line::default());
        self.feed(Input::LinkUp { link, dial, identity });
    }

    fn link_down(&mut self, link: LinkId) {
        self.lines.remove(&link);
        self.feed(Input::LinkDown { link, error: "it fell".into() });
    }

    fn connect_failed(&mut self, source: &mut Source<'_>) {
        let dials: Vec<DialId> = self.dials.iter().copied().collect();
        let dial = match dials.is_empty() {
            true => DialId(source.number()),
            false => source.pick(&dials),
        };
        self.dials.remove(&dial);
        self.feed(Input::ConnectFailed { dial, error: "nobody there".into() });
    }

    /// What a peer does that wants the link to open.
    fn handshake(&mut self, source: &mut Source<'_>, link: LinkId) {
        let Some(line) = self.lines.get(&link) else { return };
        let hello = line.thread.hello(source, link.0);
        let node = hello.node.clone();
        self.say_message(link, &Message::Hello(hello));
        let same = |line: &&Line| line.thread.said.as_ref().is_some_and(|(id, _)| *id == node);
        let others = self.lines.values().filter(same);
        let others: Vec<u64> = others.filter_map(|line| line.thread.their_nonce).collect();
        let Some(line) = self.lines.get(&link) else { return };
        let open = line.thread.open(source, &others);
        self.say_message(link, &Message::Open(open));
    }

    fn say_something(&mut self, source: &mut Source<'_>) {
        let link = self.any_link(source);
        let Some(line) = self.lines.get_mut(&link) else { return };
        let message = line.thread.message(source, link.0);
        self.say_message(link, &message);
    }

    fn say_something_broken(&mut self, source: &mut Source<'_>) {
        let link = self.any_link(source);
        let Some(line) = self.lines.get_mut(&link) else { return };
        let mut bytes = wire::encode(&line.thread.message(source, link.0)).to_vec();
        for _ in 0..=source.below(3) {
            let at = source.below(bytes.len());
            match source.below(4) {
                0 => bytes[at] ^= 1 << source.below(8),
                1 => bytes[at] = source.below(256) as u8,
                2 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, source.below(256) as u8),
            }
        }
        self.say(link, bytes.into());
    }

    fn say_message(&mut self, link: LinkId, message: &Message) {
        if let (Message::Hello(hello), Some(line)) = (message, self.lines.get_mut(&link)) {
            line.thread.said = Some((hello.node.clone(), hello.link_nonce));
        }
        self.say(link, wire::encode(message));
    }

    fn say(&mut self, link: LinkId, bytes: Bytes) {
        self.feed(Input::Message { link, bytes });
    }

    fn time_passes(&mut self, source: &mut Source<'_>) {
        let deadline = self.core.poll_timeout().map_or(self.now, |deadline| deadline.at);
        let millis = |millis| Duration::from_millis(millis);
        let now = match source.below(8) {
            0..=3 => deadline,
            4 => self.now + millis(source.below(1000) as u64),
            5 => self.now + millis(source.below(60_000) as u64),
            6 => Instant::from_nanos(deadline.as_nanos().saturating_sub(1)),
            // Even backwards, which counts as no time.
            _ => Instant::from_nanos(source.number()),
        };
        self.now = self.now.max(now);
        if !source.once_in(4) {
            self.timeout(now);
        }
    }

    fn timeout(&mut self, now: Instant) {
        self.feed_at(now, Input::Timeout);
        let next = self.core.poll_timeout();
        let moves_on = next.as_ref().is_none_or(|next| next.at > self.told);
        // At the end of time nothing lies ahead.
        let ended = self.told.as_nanos() == u64::MAX;
        assert!(moves_on || ended, "{next:?} is due again at once at {:?}", self.told);
    }

    fn ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.tickets.insert(ticket);
        ticket
    }

    fn command(&mut self, source: &mut Source<'_>) {
        let command = match source.below(16) {
            0..=2 => {
                Command::Declare { ticket: self.ticket(), declaration: words::declaration(source) }
            }
            3 => Command::Redeclare {
                ticket: self.ticket(),
                declaration: words::declaration(source),
            },
            4 => Command::Undeclare { ticket: self.ticket(), key: words::key(source) },
            5 | 6 => Command::Subscribe {
                ticket: self.ticket(),
                subscription: SubscriptionId(source.below(4) as u64),
                keys: words::pattern(source),
                options: words::options(source),
            },
            7 => Command::Unsubscribe { subscription: SubscriptionId(source.below(4) as u64) },
            8 | 9 => Command::Request {
                ticket: self.ticket(),
                keys: words::pattern(source),
                timeout: self.patience(source),
            },
            10 => Command::RequestStats {
                ticket: self.ticket(),
                node: words::node(source),
                timeout: self.patience(source),
            },
            11 => Command::SendStats {
                link: self.any_link(source),
                request: source.number(),
                counters: vec![("c".into(), 1); source.below(300)],
            },
            12 if self.seeds < 4 => {
                self.seeds += 1;
                Command::AddSeed { endpoint: words::endpoint(source) }
            }
            12 => Command::DropHint { endpoint: words::endpoint(source) },
            13 => Command::AddHint { endpoint: words::endpoint(source) },
            14 => Command::Reannounce,
            _ if source.once_in(4) => Command::Leave,
            _ => Command::Reannounce,
        };
        self.feed(Input::Command(command));
    }

    fn patience(&mut self, source: &mut Source<'_>) -> Duration {
        if source.once_in(32) {
            self.eternal = true;
            return Duration::MAX;
        }
        Duration::from_millis(source.below(30_000) as u64)
    }

    fn feed(&mut self, input: Input) {
        self.feed_at(self.now, input);
    }

    /// Gives the node an input, carries out what it wants, and checks both.
    fn feed_at(&mut self, now: Instant, input: Input) {
        let room = self.room(&input);
        let reported = matches!(&input, Input::LinkDown { .. });
        crate::tell(|| format!("{} ms: {}", now.since(Instant::ZERO).as_millis(), told(&input)));
        self.model.expect(&input);
        self.told = self.told.max(now);
        self.core.handle_input(now, input);
        let mut outputs = Vec::new();
        while let Some(output) = self.core.poll_output() {
            outputs.push(output);
            assert!(outputs.len() <= room, "more than {room} outputs: {:?}", &outputs[room - 5..]);
        }
        assert!(self.core.poll_output().is_none(), "drained is drained");
        for output in &outputs {
            crate::tell(|| format!("    {}", told_too(output)));
            self.carry_out(output);
        }
        self.model.step(&outputs, reported);
        self.model.check(&self.core);
    }

    /// How many outputs one input may cause: some for each thing that it names and for
    /// each that the node has.
    fn room(&mut self, input: &Input) -> usize {
        let named = match input {
            Input::Message { link, bytes } => self.named(*link, bytes) / 2,
            _ => 1,
        };
        let has = self.lines.len() + self.dials.len() + self.core.peers().len();
        64 + 8 * (named + has + self.tickets.len()) + 2 * self.model.size() * (1 + self.lines.len())
    }

    /// How many bytes a message has, with the parts of it that came before.
    fn named(&mut self, link: LinkId, bytes: &Bytes) -> usize {
        let Some(line) = self.lines.get_mut(&link) else { return bytes.len() };
        let Ok(Decoded::Known(message)) = wire::decode(bytes) else { return bytes.len() };
        let (kind, last) = match message {
            Message::Members(members) => (0, members.last),
            Message::Snapshot(snapshot) => (1, snapshot.last),
            Message::Delta(delta) => (2, delta.last),
            Message::Answer(answer) => (3, answer.last),
            Message::Interest(interest) => (4, interest.last),
            _ => return bytes.len(),
        };
        let so_far = line.in_parts[kind] + bytes.len();
        line.in_parts[kind] = if last { 0 } else { so_far };
        so_far
    }

    fn carry_out(&mut self, output: &Output) {
        match output {
            Output::Connect { dial, endpoint } => {
                assert_eq!(endpoint.scheme(), SCHEME, "there is no transport for it");
                assert!(self.dials.insert(*dial), "a number of a dial comes twice");
            }
            Output::Disconnect { link } => {
                assert!(self.lines.remove(link).is_some(), "no link {link:?} to close");
            }
            Output::Send { link, bytes } => self.sent(*link, bytes),
            Output::Watch { link, watch } => {
                let Some(line) = self.lines.get_mut(link) else {
                    panic!("no link for {output:?}");
                };
                assert_ne!(line.watch.replace(*watch), Some(*watch), "told twice");
                let turn = watch.beats.map_or(0..1, |turn| turn.number..turn.of);
                assert!(!turn.is_empty() && turn.end as usize <= limits::WATCHERS, "{watch:?}");
            }
            Output::Probe { link } => {
                assert!(self.lines.contains_key(link), "no link for {output:?}");
            }
            Output::Event(Event::Done { ticket, .. }) => self.replied(*ticket),
            Output::Event(Event::StatsReceived { ticket, .. }) => self.replied(*ticket),
            Output::Event(Event::Answered { ticket, report }) => {
                self.replied(*ticket);
                assert_eq!(report.expected, report.answered + report.missing.len());
                assert!(!report.complete || report.missing.is_empty());
            }
            Output::Event(_) => {}
        }
    }

    fn replied(&mut self, ticket: Ticket) {
        assert!(self.tickets.remove(&ticket), "{ticket:?} is answered twice");
    }

    fn sent(&mut self, link: LinkId, bytes: &Bytes) {
        assert!(bytes.len() <= limits::CONTROL_MESSAGE_BYTES, "{} bytes at once", bytes.len());
        let Ok(Decoded::Known(message)) = wire::decode(bytes) else {
            panic!("the node sends what nobody can read: {bytes:?}");
        };
        let Some(line) = self.lines.get_mut(&link) else {
            panic!("no link {link:?} to send {message:?} on");
        };
        assert_eq!(line.spoken, !matches!(message, Message::Hello(_)), "Hello is first, and once");
        line.spoken = true;
        match &message {
            Message::Hello(hello) => line.thread.their_nonce = Some(hello.link_nonce),
            Message::Request(asked) => line.thread.asked.push(asked.request),
            Message::MembersRequest(asked) => line.thread.asked.push(asked.request),
            Message::StatsRequest(asked) => line.thread.asked.push(asked.request),
            Message::Leave(_) => self.model.leaving = true,
            _ => {}
        }
        self.kept = Some(bytes.clone());
    }

    /// All links fall, nobody can be reached any more, and time passes: nothing of what the
    /// peers said may stay. Then the node leaves.
    pub(super) fn finish(mut self) {
        for link in self.lines.keys().copied().collect::<Vec<_>>() {
            // One that the node closed meanwhile is no more.
            if self.lines.contains_key(&link) {
                self.link_down(link);
            }
        }
        if self.now.as_nanos() < u64::MAX / 2 {
            self.long_silence();
        }
        self.feed(Input::Command(Command::Leave));
        if !self.model.stopped {
            let end = self.now + limits::LEAVE_TIMEOUT;
            self.now = end;
            self.timeout(end);
        }
        assert!(self.model.stopped, "it was asked to leave and is still there");
        assert!(self.tickets.is_empty(), "without a reply: {:?}", self.tickets);
        assert_eq!(self.core.poll_timeout(), None, "a node that left waits for nothing");
    }

    fn long_silence(&mut self) {
        // Longer than a node keeps what is gone, and than any request waits.
        let until = self.now + Duration::from_secs(120);
        for _ in 0..20_000 {
            while let Some(dial) = self.dials.pop_first() {
                self.feed(Input::ConnectFailed { dial, error: "nobody there".into() });
            }
            match self.core.poll_timeout().map(|next| next.at) {
                Some(at) if at <= until => {
                    self.now = self.now.max(at);
                    self.timeout(self.now);
                }
                Some(_) if self.seeds > 0 || self.eternal => break,
                Some(at) => panic!("nobody is there, and yet it waits for {at:?}"),
                None => break,
            }
        }
        if self.model.stopped {
            return;
        }
        assert!(self.core.peers().is_empty(), "kept for ever: {:?}", self.core.peers());
        let kept = &self.model.kept;
        assert!(kept.is_empty(), "the application is not told that it may forget {kept:?}");
        if !self.eternal {
            assert!(self.tickets.is_empty(), "without a reply: {:?}", self.tickets);
            let size = format!("{:?}", self.core).len();
            let most = 4096 + 1024 * self.seeds + 8192 * self.model.own_size();
            assert!(size <= most, "{size} bytes of state are left: {:#?}", self.core);
        }
    }
}

fn told(input: &Input) -> String {
    match input {
        Input::Message { link, bytes } => format!("{link:?} says {:?}", wire::decode(bytes)),
        other => format!("{other:?}"),
    }
}

fn told_too(output: &Output) -> String {
    match output {
        Output::Send { link, bytes } => format!("to {link:?}: {:?}", wire::decode(bytes)),
        other => format!("{other:?}"),
    }
}
