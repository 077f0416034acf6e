//! What goes over the sockets: messages of a lane, and the `Dial` that opens one.
//!
//! Each message is a ZeroMQ multipart message. Its first part is
//!
//! ```text
//! topic | kind u8 | nonce u64 | sequence u64        (numbers big-endian)
//! ```
//!
//! `nonce` is the random number that the sending side of the link chose, and
//! `sequence` counts the messages of the lane from 0. So a receiver knows whose
//! message it is, which a SUB socket does not tell, and sees a lost one, which an
//! XPUB socket does not report. The other parts are the kind's own.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use dse_core::data::DataFrame;
use dse_core::transport::{CONTROL_FRAME_BYTES, DATA_FRAME_BYTES};
use zeromq::ZmqMessage;

/// The only version of this format so far; [`Dial`] tells it.
pub(crate) const VERSION: u8 = 1;

/// Most control frames in one message.
pub(crate) const FRAMES_PER_MESSAGE: usize = 64;

/// Where a message of several control frames is cut, in bytes.
pub(crate) const MESSAGE_BYTES: usize = 256 * 1024;

/// What a socket reads at once at most, in bytes. It cuts the parts of messages from that.
pub(crate) const READ_BYTES: usize = 64 * 1024;

/// The pieces of a frame travel each in a part of its own if they have this many bytes
/// on average; else they are copied together, because a part costs more than the copy.
const PART_BYTES: usize = 4096;

/// One half of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Control,
    Data,
}

impl Lane {
    /// The well-known key that the lane's inboxes subscribe to. ZeroMQ matches
    /// prefixes, therefore the slash at the end.
    pub(crate) fn topic(self) -> &'static str {
        match self {
            Self::Control => "dse/control/",
            Self::Data => "dse/data/",
        }
    }
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One part: a [`Dial`]. The first message of a lane, and what a door is told.
    Dial = 1,
    /// Control frames, one in each part.
    Frames = 2,
    /// The sender closes the link; its last message.
    Bye = 3,
    /// A data frame: its head, and the pieces of its body.
    Data = 4,
}

/// A message of a lane.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    pub(crate) nonce: u64,
    pub(crate) sequence: u64,
    pub(crate) parts: Vec<Bytes>,
}

impl Message {
    /// As ZeroMQ carries it.
    pub(crate) fn encode(self, lane: Lane) -> ZmqMessage {
        let topic = lane.topic();
        let mut header = BytesMut::with_capacity(topic.len() + HEADER_BYTES);
        header.put_slice(topic.as_bytes());
        header.put_u8(self.kind as u8);
        header.put_u64(self.nonce);
        header.put_u64(self.sequence);
        let mut message = ZmqMessage::from(header.freeze());
        self.parts.into_iter().for_each(|part| message.push_back(part));
        message
    }

    /// None if it is no message of this lane.
    pub(crate) fn decode(lane: Lane, message: ZmqMessage) -> Option<Self> {
        let mut parts = message.into_vecdeque();
        let header = parts.pop_front()?;
        let (kind, nonce, sequence) = decode_header(lane, &header)?;
        Some(Self { kind, nonce, sequence, parts: parts.into_iter().map(owned).collect() })
    }
}

/// A part as memory of its own, if it may be a small part of what the socket read at once:
/// one that waits somewhere would hold on to all of that, and is counted by its length.
fn owned(part: Bytes) -> Bytes {
    if part.len() < READ_BYTES { Bytes::copy_from_slice(&part) } else { part }
}

fn decode_header(lane: Lane, header: &[u8]) -> Option<(Kind, u64, u64)> {
    let mut rest = header.strip_prefix(lane.topic().as_bytes())?;
    if rest.len() != HEADER_BYTES {
        return None;
    }
    let kind = match rest.get_u8() {
        1 => Kind::Dial,
        2 => Kind::Frames,
        3 => Kind::Bye,
        4 => Kind::Data,
        _ => return None,
    };
    Some((kind, rest.get_u64(), rest.get_u64()))
}

/// The kind and the header's other fields.
const HEADER_BYTES: usize = 1 + 8 + 8;

/// "Reach me there": what each side says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dial {
    /// The other side's nonce; 0 as long as it is not known.
    pub(crate) echo: u64,
    /// Where the sender's inboxes for this link are.
    pub(crate) inboxes: Inboxes,
}

/// The inboxes of one side for one link. Only what cannot be seen from the
/// connection is told: the host or folder is the one at which the two met. So nobody
/// can be made to dial a third party.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inboxes {
    /// TCP ports at the sender's address.
    Ports { control: u16, data: u16 },
    /// Sockets in the folder of the socket that was dialled, named by 16 hex digits.
    Names { control: u64, data: u64 },
}

/// Why a [`Dial`] cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DialError {
    /// Another version.
    #[error("it speaks version {0} of this transport and this node version {VERSION}")]
    Version(u8),
    /// Anything else.
    #[error("it sent something else where a Dial must come")]
    Malformed,
}

impl Dial {
    /// As the one part of its message.
    pub(crate) fn encode(self) -> Bytes {
        let mut out = BytesMut::with_capacity(DIAL_BYTES);
        let (form, control, data) = match self.inboxes {
            Inboxes::Ports { control, data } => (0, control.into(), data.into()),
            Inboxes::Names { control, data } => (1, control, data),
        };
        out.put_u8(VERSION);
        out.put_u64(self.echo);
        out.put_u8(form);
        out.put_u64(control);
        out.put_u64(data);
        out.freeze()
    }

    /// Reads it from its message.
    pub(crate) fn decode(message: &Message) -> Result<Self, DialError> {
        let [part] = message.parts.as_slice() else { return Err(DialError::Malformed) };
        let mut part: &[u8] = part;
        if message.kind != Kind::Dial || message.sequence != 0 || part.is_empty() {
            return Err(DialError::Malformed);
        }
        let version = part.get_u8();
        if version != VERSION {
            return Err(DialError::Version(version));
        }
        if part.len() != DIAL_BYTES - 1 {
            return Err(DialError::Malformed);
        }
        let echo = part.get_u64();
        let inboxes = match (part.get_u8(), part.get_u64(), part.get_u64()) {
            (0, control, data) => {
                let port = |value| u16::try_from(value).map_err(|_| DialError::Malformed);
                Inboxes::Ports { control: port(control)?, data: port(data)? }
            }
            (1, control, data) => Inboxes::Names { control, data },
            _ => return Err(DialError::Malformed),
        };
        Ok(Self { echo, inboxes })
    }
}

const DIAL_BYTES: usize = 1 + 8 + 1 + 8 + 8;

/// Cuts a data frame into the parts of its message.
pub(crate) fn split_frame(frame: DataFrame) -> Vec<Bytes> {
    let total = frame.body.len();
    let pieces = frame.body.into_pieces();
    if pieces.len() <= 1 || total >= PART_BYTES * pieces.len() {
        return std::iter::once(frame.head).chain(pieces).collect();
    }
    let mut whole = BytesMut::with_capacity(total);
    pieces.iter().for_each(|piece| whole.put_slice(piece));
    vec![frame.head, whole.freeze()]
}

/// Puts a data frame together again.
pub(crate) fn join_frame(parts: Vec<Bytes>) -> Result<DataFrame, String> {
    let mut pieces = parts.into_iter();
    let head = pieces.next().ok_or("a data frame without a head")?;
    let body = match pieces.len() {
        1 => pieces.next().unwrap_or_default().into(),
        _ => pieces.collect::<Vec<_>>().into(),
    };
    let frame = DataFrame { head, body };
    let len = frame.wire_len();
    if len > DATA_FRAME_BYTES {
        return Err(format!("a data frame of {len} bytes; the limit is {DATA_FRAME_BYTES}"));
    }
    Ok(frame)
}

/// Checks the control frames of a message that came in.
pub(crate) fn check_frames(frames: &[Bytes]) -> Result<(), String> {
    if frames.is_empty() || frames.len() > FRAMES_PER_MESSAGE {
        return Err(format!("{} control frames in one message", frames.len()));
    }
    match frames.iter().map(Bytes::len).find(|len| *len > CONTROL_FRAME_BYTES) {
        Some(len) => {
            Err(format!("a control frame of {len} bytes; the limit is {CONTROL_FRAME_BYTES}"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dial() -> Dial {
        Dial { echo: 0x0102, inboxes: Inboxes::Ports { control: 0x1111, data: 0x2222 } }
    }

    #[test]
    fn a_dial_has_these_bytes_for_ever() {
        let message =
            Message { kind: Kind::Dial, nonce: 0xab, sequence: 0, parts: vec![dial().encode()] };
        let encoded = message.encode(Lane::Control).into_vec();
        assert_eq!(
            encoded[0].as_ref(),
            b"dse/control/\x01\0\0\0\0\0\0\0\xab\0\0\0\0\0\0\0\0".as_slice()
        );
        assert_eq!(
            encoded[1].as_ref(),
            b"\x01\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x11\x11\0\0\0\0\0\0\x22\x22".as_slice()
        );
    }

    #[test]
    fn a_dial_survives_the_way() {
        for inboxes in [dial().inboxes, Inboxes::Names { control: 7, data: u64::MAX }] {
            let dial = Dial { echo: 9, inboxes };
            let message =
                Message { kind: Kind::Dial, nonce: 3, sequence: 0, parts: vec![dial.encode()] };
            let message = Message::decode(Lane::Data, message.encode(Lane::Data)).unwrap();
            assert_eq!(Dial::decode(&message), Ok(dial));
        }
    }

    #[test]
    fn every_cut_of_a_dial_is_refused() {
        let whole = dial().encode();
        for len in 0..whole.len() {
            let parts = vec![whole.slice(..len)];
            let message = Message { kind: Kind::Dial, nonce: 3, sequence: 0, parts };
            assert_eq!(Dial::decode(&message), Err(DialError::Malformed));
        }
    }

    #[test]
    fn a_dial_of_another_version_is_told_apart() {
        let mut bytes = BytesMut::from(dial().encode().as_ref());
        bytes[0] = 9;
        let message =
            Message { kind: Kind::Dial, nonce: 3, sequence: 0, parts: vec![bytes.freeze()] };
        assert_eq!(Dial::decode(&message), Err(DialError::Version(9)));
    }

    #[test]
    fn a_topic_is_no_prefix_of_another() {
        let message = Message { kind: Kind::Bye, nonce: 1, sequence: 1, parts: Vec::new() };
        assert!(Message::decode(Lane::Data, message.clone().encode(Lane::Control)).is_none());
        assert!(Message::decode(Lane::Control, message.encode(Lane::Data)).is_none());
    }

    #[test]
    fn large_pieces_travel_in_parts_and_small_ones_together() {
        let head = Bytes::from_static(b"head");
        for (payload, count, parts) in
            [(vec![1; 8192], 3, 4), (vec![2; 64], 100, 2), (vec![3; 64], 1, 2), (Vec::new(), 0, 1)]
        {
            let body = vec![Bytes::from(payload.clone()); count].into();
            let cut = split_frame(DataFrame { head: head.clone(), body });
            assert_eq!(cut.len(), parts);
            let joined = join_frame(cut).unwrap();
            assert_eq!(joined.head, head);
            assert_eq!(joined.body.len(), payload.len() * count);
        }
    }

    #[test]
    fn frames_beyond_the_limits_are_refused() {
        let large = Bytes::from(vec![0; DATA_FRAME_BYTES]);
        assert!(join_frame(vec![Bytes::from_static(b"head"), large]).is_err());
        assert!(join_frame(Vec::new()).is_err());
        assert!(check_frames(&[]).is_err());
        assert!(check_frames(&vec![Bytes::new(); FRAMES_PER_MESSAGE + 1]).is_err());
        assert!(check_frames(&[Bytes::from(vec![0; CONTROL_FRAME_BYTES + 1])]).is_err());
    }
}
