//! A peer without a node: the test speaks for it, and need not keep the protocol.

use std::collections::VecDeque;
use std::future::poll_fn;

use bytes::{BufMut, Bytes, BytesMut};
use dse_core::protocol::wire::{self, Decoded};
use dse_core::protocol::{BusId, Claim, Features, Hello, Incarnation, Message, Open, Role};
use dse_core::transport::{
    ControlReceiver, ControlSender, DataReceiver, DataSender, Transport, TransportError,
};
use dse_transport_mem::MemScope;

use crate::support::{endpoint, id, in_time, transport};

/// One end of a link.
pub(crate) struct Raw {
    sender: Box<dyn ControlSender>,
    receiver: Box<dyn ControlReceiver>,
    data: Option<(Box<dyn DataSender>, Box<dyn DataReceiver>)>,
    /// Messages that came and were not heard yet.
    inbox: VecDeque<Message>,
}

impl Raw {
    /// A member of this name, of whose starts this is the n-th, dials a node. Returns once
    /// the link is open.
    pub(crate) async fn open(scope: &MemScope, name: &str, start: u64, to: &str) -> Self {
        let link = transport(scope).connect(&endpoint(to)).await.unwrap();
        let mut raw = Self {
            sender: link.control_sender,
            receiver: link.control_receiver,
            data: Some((link.data_sender, link.data_receiver)),
            inbox: VecDeque::new(),
        };
        raw.say(&Message::Hello(Hello {
            min_version: wire::VERSION,
            max_version: wire::VERSION,
            features: Features::SUPPORTED,
            bus: BusId::new("test").unwrap(),
            node: id(name),
            claim: Claim { returned: false, incarnation: Incarnation(start), nonce: start },
            role: Role::Member,
            lasting: true,
            link_nonce: 1,
            endpoints: Vec::new(),
        }))
        .await;
        let echo = loop {
            if let Message::Hello(hello) = raw.hear().await {
                break hello.link_nonce;
            }
        };
        raw.say(&Message::Open(Open { echo, held: None, known: None, census: Vec::new() })).await;
        while !matches!(raw.hear().await, Message::Open(_)) {}
        raw
    }

    pub(crate) async fn say(&mut self, message: &Message) {
        let encoded = wire::encode(message);
        let mut frame = BytesMut::with_capacity(1 + encoded.len());
        frame.put_u8(MESSAGE);
        frame.put(encoded);
        self.send(frame.freeze()).await.unwrap();
    }

    /// The next message.
    pub(crate) async fn hear(&mut self) -> Message {
        self.next().await.unwrap()
    }

    /// Answers pings and says nothing, until the other end falls.
    pub(crate) async fn live(&mut self) {
        while self.next().await.is_ok() {}
    }

    /// Answers the pings that come before the next message.
    async fn next(&mut self) -> Result<Message, TransportError> {
        loop {
            if let Some(message) = self.inbox.pop_front() {
                return Ok(message);
            }
            let mut frames = Vec::new();
            let received = poll_fn(|cx| self.receiver.poll_recv(cx, &mut frames));
            in_time("a frame", received).await?;
            for frame in frames {
                match frame[0] {
                    MESSAGE => match wire::decode(&frame[1..]).unwrap() {
                        Decoded::Known(message) => self.inbox.push_back(message),
                        Decoded::Unknown { kind, .. } => panic!("a message of kind {kind}"),
                    },
                    PING => self.send(Bytes::copy_from_slice(&[PONG, frame[1]])).await?,
                    _ => {}
                }
            }
        }
    }

    pub(crate) fn drop_data_lane(&mut self) {
        self.data = None;
    }

    async fn send(&mut self, frame: Bytes) -> Result<(), TransportError> {
        let mut frames = VecDeque::from([frame]);
        in_time("room", poll_fn(|cx| self.sender.poll_send(cx, &mut frames))).await
    }
}

const MESSAGE: u8 = 0;
const PING: u8 = 1;
const PONG: u8 = 2;
