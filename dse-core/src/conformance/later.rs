//! A peer of a later version, on a real link: what it says is made here by hand, from numbers
//! that no table of the code has, and it keeps count of what it adds.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::Harness;
use super::trial::{SOON, accept, listen_with, recv_data, send_control, send_data, within};
use crate::data::{Credit, DataFrame, End, Record, Refuse, tag};
use crate::node::Node;
use crate::protocol::numbers::{message, scope};
use crate::protocol::wire::{self, Decoded, VERSION};
use crate::protocol::{Endpoint, Features, Interest, Message};
use crate::transport::{ControlReceiver, ControlSender, DataReceiver, DataSender, Link, Transport};

pub(super) const BUS: &str = "conformance";

// Numbers that stand in no table.
/// Types of control frames.
pub(super) const FRAMES: [u8; 3] = [4, 9, 255];
/// A kind of messages.
pub(super) const MESSAGE: u8 = 213;
/// A bit of flags.
const FLAG: u8 = 0b100;
/// Bits of features.
const FEATURES: u64 = 1 << 2 | 1 << 13 | 1 << 63;
/// A kind of declarations, a class, a reason.
pub(super) const NUMBER: u8 = 77;
/// A role.
pub(super) const ROLE: u8 = 9;
/// A scope of endpoints.
const SCOPE: u8 = 99;
/// Records.
pub(super) const WITHOUT_PAYLOAD: u8 = 60;
pub(super) const WITH_PAYLOAD: u8 = 61;
/// Two tags, of bodies, items and records alike: one with three bytes, one with none.
const TAGS: [u8; 8] = [101, 3, 7, 7, 7, 0xac, 0x02, 0];

/// A number as it is on the wire.
pub(super) fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// Bytes with their length in front.
pub(super) fn counted(bytes: &[u8]) -> Vec<u8> {
    [&varint(bytes.len() as u64), bytes].concat()
}

pub(super) fn text(text: &str) -> Vec<u8> {
    counted(text.as_bytes())
}

pub(super) fn list(items: &[Vec<u8>]) -> Vec<u8> {
    [varint(items.len() as u64), items.concat()].concat()
}

/// What was added that this version does not know, or what it counted of that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Additions {
    pub(super) frames: u64,
    pub(super) messages: u64,
    pub(super) records: u64,
    pub(super) fields: u64,
}

impl Additions {
    /// To be put behind the fields of anything.
    pub(super) fn tags(&mut self) -> Vec<u8> {
        self.fields += 2;
        TAGS.to_vec()
    }

    /// A number without a meaning.
    pub(super) fn number(&mut self) -> u8 {
        self.fields += 1;
        NUMBER
    }

    /// An item of a list.
    pub(super) fn item(&mut self, fields: &[&[u8]]) -> Vec<u8> {
        counted(&[fields.concat(), self.tags()].concat())
    }

    /// A declaration with one pair of metadata.
    pub(super) fn declaration(&mut self, key: &str, kind: u8) -> Vec<u8> {
        let meta = list(&[self.item(&[&text("unit"), &text("C")])]);
        self.item(&[&text(key), &[kind], &text("text/plain"), &meta])
    }

    fn message(&mut self, kind: u8, body: &[&[u8]]) -> Vec<u8> {
        self.fields += 1;
        [&[VERSION, kind, FLAG], &*body.concat(), &self.tags()].concat()
    }

    fn hello(&mut self, node: &str, role: u8) -> Vec<u8> {
        self.fields += u64::from(FEATURES.count_ones());
        let features = varint(Features::SUPPORTED.bits() | FEATURES);
        // Of a host, and nowhere where a node of this version could dial.
        let near = self.item(&[&[scope::THIS_HOST, 0xac, 0x02, 0], &text("pigeon://loft")]);
        self.fields += 1;
        let beyond = counted(&[&[SCOPE][..], &TAGS].concat());
        let claim = [0, 1, 7];
        let names = [text(BUS), text(node)].concat();
        let rest = [&claim[..], &[role, 1], &varint(LINK_NONCE)].concat();
        let versions = [VERSION, VERSION + 1];
        self.message(message::HELLO, &[&versions, &features, &names, &rest, &list(&[near, beyond])])
    }
}

const LINK_NONCE: u64 = 5;

/// The peer.
pub(super) struct Later {
    pub(super) added: Additions,
    /// Frames for the control lane.
    control: mpsc::UnboundedSender<Bytes>,
    /// The messages that came on it, and the pongs.
    heard: mpsc::UnboundedReceiver<Bytes>,
    pongs: mpsc::UnboundedReceiver<u8>,
    data_sender: Box<dyn DataSender>,
    data_receiver: Box<dyn DataReceiver>,
    /// The next frame goes with its payloads in one.
    whole: bool,
    asked: u64,
    /// The nonce of the node's Hello.
    pub(super) nonce: u64,
    pub(super) taken: Taken,
    _transport: Arc<dyn Transport>,
}

/// What came on the data lane.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Bytes of frames that count for Received.
    pub(super) bytes: u64,
    /// Sequences with their epochs and keys.
    pub(super) begun: Vec<(u64, u64, String)>,
    /// Sequences, numbers, the header `n`, payloads.
    pub(super) samples: Vec<(u64, u64, Vec<u8>, Bytes)>,
    pub(super) ends: Vec<End>,
    pub(super) credits: Vec<Credit>,
    pub(super) refusals: Vec<Refuse>,
}

/// A node of this version, and the ids and transport of a peer.
pub(super) struct Today {
    pub(super) node: Node,
    at: Endpoint,
    /// What ids of the peer begin with.
    peer: String,
    transport: Arc<dyn Transport>,
}

impl Today {
    pub(super) async fn start<H: Harness>(harness: &H) -> Self {
        let (here, there) = (harness.transport(), harness.transport());
        let names = names(harness, &here, &there).await;
        let [today, peer] = names.map(|name| name.map_or(String::new(), |name| format!("{name}.")));
        let builder = Node::builder(BUS, format!("{today}today")).expect("valid names");
        // A link is to end for no other reason than what is shown.
        let builder = builder.transport(here).listen(harness.any_endpoint()).detect_ms(60_000);
        let node = builder.start().await.expect("it starts");
        let at = node.endpoints().first().cloned().expect("it listens");
        Self { node, at, peer, transport: there }
    }

    /// Opens a link of a peer with this name and role.
    pub(super) async fn link(&self, name: &str, role: u8) -> Later {
        let connecting = self.transport.connect(&self.at);
        let link = within(SOON, "connect", connecting).await.expect("connect");
        let id = format!("{}{name}", self.peer);
        let mut later = Later::new(link, Arc::clone(&self.transport));
        later.strange_frames().await;
        let hello = later.added.hello(&id, role);
        later.say_bytes(&hello);
        let Message::Hello(hello) = later.hear(|it| matches!(it, Message::Hello(_))).await else {
            unreachable!("a Hello was heard")
        };
        later.nonce = hello.link_nonce;
        // The larger id says Open first.
        if hello.node.as_str() > id.as_str() {
            later.hear(|it| matches!(it, Message::Open(_))).await;
        }
        let census = list(&[later.added.item(&[&[1], &[0]])]);
        later.say(message::OPEN, &[&varint(hello.link_nonce), &[0, 0], &census]);
        later
    }
}

/// The authenticated names of two transports' nodes, if there are any.
async fn names<H: Harness>(
    harness: &H,
    here: &Arc<dyn Transport>,
    there: &Arc<dyn Transport>,
) -> [Option<Box<str>>; 2] {
    let (mut listener, endpoint) = listen_with(here, harness).await;
    let both = async { tokio::join!(there.connect(&endpoint), accept(listener.as_mut())) };
    let (near, far) = within(SOON, "connect and accept", both).await;
    [near.expect("connect").identity, far.identity]
}

impl Later {
    fn new(link: Link, transport: Arc<dyn Transport>) -> Self {
        let (control, out) = mpsc::unbounded_channel();
        let (heard_in, heard) = mpsc::unbounded_channel();
        let (pongs_in, pongs) = mpsc::unbounded_channel();
        let Link { control_sender, control_receiver, data_sender, data_receiver, .. } = link;
        tokio::spawn(attend(control_sender, control_receiver, out, (heard_in, pongs_in)));
        Self {
            added: Additions::default(),
            control,
            heard,
            pongs,
            data_sender,
            data_receiver,
            whole: false,
            asked: 0,
            nonce: 0,
            taken: Taken::default(),
            _transport: transport,
        }
    }

    /// Frames and messages that may come before any other.
    async fn strange_frames(&mut self) {
        for kind in FRAMES {
            self.frame(&[kind]);
            self.frame(&[kind, 1, 2, 3]);
            self.added.frames += 2;
        }
        // A beat and a ping with more behind them.
        self.frame(&[3, 0xea, 0x60, 9, 9]);
        self.frame(&[1, 66, 9]);
        self.added.fields += 2;
        let pong = within(SOON, "an answer to a longer ping", self.pongs.recv()).await;
        assert_eq!(pong, Some(66));
        for must_understand in [0, 1] {
            self.frame(&[0, VERSION, MESSAGE, must_understand, 1, 2, 3]);
            self.added.messages += 1;
        }
    }

    pub(super) fn frame(&self, frame: &[u8]) {
        // One that goes nowhere is missed by who waits for what follows.
        let _ = self.control.send(Bytes::copy_from_slice(frame));
    }

    fn say_bytes(&self, message: &[u8]) {
        self.frame(&[&[0], message].concat());
    }

    /// Says a message with flags and tags of a later version.
    pub(super) fn say(&mut self, kind: u8, body: &[&[u8]]) {
        let message = self.added.message(kind, body);
        self.say_bytes(&message);
    }

    /// The next message that is looked for.
    pub(super) async fn hear(&mut self, looked_for: impl Fn(&Message) -> bool) -> Message {
        let hearing = async {
            while let Some(frame) = self.heard.recv().await {
                match wire::decode(&frame) {
                    Ok(Decoded::Known(Message::Reject(reject))) => panic!("{reject:?}"),
                    Ok(Decoded::Known(message)) if looked_for(&message) => return message,
                    Ok(_) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            panic!("the link fell");
        };
        within(SOON, "a message", hearing).await
    }

    pub(super) async fn hear_interest(&mut self, keys: &str) -> Interest {
        let is = |it: &Interest| it.patterns.iter().any(|it| it.keys.as_str() == keys);
        let heard = self.hear(|it| matches!(it, Message::Interest(it) if is(it))).await;
        let Message::Interest(interest) = heard else { unreachable!("an interest was heard") };
        interest
    }

    /// Asks the node for its counters, and so waits until it has taken in all that was said.
    pub(super) async fn stats(&mut self) -> BTreeMap<Box<str>, u64> {
        self.asked += 1;
        let asked = self.asked;
        self.say(message::STATS_REQUEST, &[&varint(asked)]);
        let is = |it: &Message| matches!(it, Message::Stats(stats) if stats.request == asked);
        let Message::Stats(stats) = self.hear(is).await else { unreachable!("it was heard") };
        stats.counters.into_iter().collect()
    }

    /// All that was added is counted, to the last, and the link stands.
    #[track_caller]
    pub(super) fn check(&self, before: Additions, stats: &BTreeMap<Box<str>, u64>) {
        let of = |name: &str| *stats.get(name).unwrap_or_else(|| panic!("no counter {name}"));
        let counted = Additions {
            frames: of("unknown_frames"),
            messages: of("unknown_messages"),
            records: of("unknown_records"),
            fields: of("unknown_fields"),
        };
        let Additions { frames, messages, records, fields } = self.added;
        let added = Additions {
            frames: before.frames + frames,
            messages: before.messages + messages,
            records: before.records + records,
            fields: before.fields + fields,
        };
        assert_eq!(counted, added);
        assert_eq!((of("faults"), of("refused"), of("links")), (0, 0, 1));
    }

    /// Sends a data frame.
    pub(super) async fn send(&mut self, write: impl FnOnce(&mut Frame<'_>)) {
        let mut frame = Frame { added: &mut self.added, head: Vec::new(), parts: Vec::new() };
        write(&mut frame);
        let Frame { head, parts, .. } = frame;
        let body = match self.whole {
            true => Bytes::from(parts.concat()).into(),
            false => parts.into(),
        };
        self.whole = !self.whole;
        let frame = DataFrame { head: head.into(), body };
        let sending = send_data(self.data_sender.as_mut(), frame);
        within(SOON, "a data frame", sending).await.expect("the link stands");
    }

    /// Takes data frames until this is so.
    pub(super) async fn take_until(&mut self, what: &str, done: impl Fn(&Taken) -> bool) {
        let taking = async {
            while !done(&self.taken) {
                let frame = recv_data(self.data_receiver.as_mut()).await;
                self.taken.take(&frame.unwrap_or_else(|error| panic!("{error}")));
            }
        };
        within(SOON, what, taking).await;
    }
}

impl Taken {
    fn take(&mut self, frame: &DataFrame) {
        let mut counts = false;
        for record in frame.records() {
            let record = record.expect("it can be read");
            counts |= !matches!(
                record,
                Record::Credit(_) | Record::Received(_) | Record::Resume(_) | Record::Refuse(_)
            );
            match record {
                Record::Begin(it) => self.begun.push((it.sequence, it.epoch, it.key.into())),
                Record::Samples(samples) => {
                    for it in samples.iter().map(|it| it.expect("it can be read")) {
                        let headers = frame.headers(it.headers);
                        let header = headers.get("n").unwrap_or_default().to_vec();
                        let payload = frame.payload(it.payload);
                        self.samples.push((it.sequence, it.seq, header, payload));
                    }
                }
                Record::End(end) => self.ends.push(end),
                Record::Credit(credit) => self.credits.push(credit),
                Record::Refuse(refuse) => self.refusals.push(refuse),
                Record::Received(_) => {}
                other => panic!("nothing else is due: {other:?}"),
            }
        }
        self.bytes += if counts { frame.wire_len() as u64 } else { 0 };
    }
}

/// Answers pings, and carries the rest of the control lane.
async fn attend(
    mut sender: Box<dyn ControlSender>,
    mut receiver: Box<dyn ControlReceiver>,
    mut out: mpsc::UnboundedReceiver<Bytes>,
    (heard, pongs): (mpsc::UnboundedSender<Bytes>, mpsc::UnboundedSender<u8>),
) {
    loop {
        let mut frames = Vec::new();
        let mut replies = Vec::new();
        tokio::select! {
            frame = out.recv() => match frame {
                Some(frame) => replies.push(frame),
                None => return,
            },
            received = poll_fn(|cx| receiver.poll_recv(cx, &mut frames)) => {
                if received.is_err() {
                    return;
                }
            }
        }
        for frame in frames {
            match *frame {
                [1, id] => replies.push(Bytes::copy_from_slice(&[2, id])),
                // Nobody waits for what goes nowhere.
                [2, id] => drop(pongs.send(id)),
                [0, ..] => drop(heard.send(frame.slice(1..))),
                _ => {}
            }
        }
        if !replies.is_empty() && send_control(sender.as_mut(), replies).await.is_err() {
            return;
        }
    }
}

/// A data frame.
pub(super) struct Frame<'a> {
    pub(super) added: &'a mut Additions,
    head: Vec<u8>,
    parts: Vec<Bytes>,
}

impl Frame<'_> {
    /// A record that this version knows, with fields that it does not know behind its own.
    pub(super) fn known(&mut self, tag: u8, fields: &[&[u8]]) {
        let body = [fields.concat(), self.added.tags()].concat();
        self.put(tag, &body);
    }

    /// A record that it does not know.
    pub(super) fn unknown(&mut self, tag: u8, body: &[u8]) {
        self.added.records += 1;
        self.put(tag, body);
    }

    /// One that owns payload.
    pub(super) fn unknown_with_payload(&mut self, tag: u8, payload: &'static [u8]) {
        self.unknown(tag, &[&varint(payload.len() as u64), &[9, 9][..]].concat());
        self.parts.push(Bytes::from_static(payload));
    }

    /// One that owns payload and is about a sequence.
    pub(super) fn unknown_with_payload_of(
        &mut self,
        tag: u8,
        sequence: u64,
        payload: &'static [u8],
    ) {
        self.unknown(tag, &[varint(payload.len() as u64), varint(sequence)].concat());
        self.parts.push(Bytes::from_static(payload));
    }

    /// Kind and class are numbers, known or not.
    pub(super) fn begin(&mut self, sequence: u64, key: &str, kind: u8, class: u8) {
        let ids = [varint(sequence), varint(1), text(key)].concat();
        let encoding = text("text/plain");
        // Incarnation 1, number 1, time 0; nothing is resumed.
        let rest = [1, 1, 0, class, 0];
        self.known(tag::BEGIN | tag::MUST_UNDERSTAND, &[&ids, &[kind], &encoding, &rest]);
    }

    /// A sample with the header `n` between two fields that are not known.
    pub(super) fn sample(&mut self, sequence: u64, seq: u64, payload: impl Into<Bytes>) {
        let payload = payload.into();
        let numbers = [payload.len() as u64, sequence, seq, 0, 0].map(varint).concat();
        self.own(tag::SAMPLES, &numbers, Some(seq), payload);
    }

    /// A part of a value; the first has a header.
    pub(super) fn fragment(
        &mut self,
        (sequence, seq): (u64, u64),
        at: usize,
        len: usize,
        of: &Bytes,
    ) {
        let part = of.slice(at..at + len);
        let numbers = [len as u64, sequence, seq, 0, at as u64, of.len() as u64];
        let header = (at == 0).then_some(seq);
        self.own(tag::FRAGMENT, &numbers.map(varint).concat(), header, part);
    }

    fn own(&mut self, tag: u8, numbers: &[u8], header: Option<u64>, payload: Bytes) {
        let header = header.map_or(Vec::new(), |seq| {
            let pair = [text("n"), counted(seq.to_string().as_bytes())].concat();
            [vec![1], counted(&pair)].concat()
        });
        let before = self.added.tags();
        self.known(tag, &[numbers, &before, &header]);
        self.parts.push(payload);
    }

    fn put(&mut self, tag: u8, body: &[u8]) {
        self.head.push(tag);
        self.head.extend(counted(body));
    }
}
