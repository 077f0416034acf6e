//! As much of ZMTP 3.0 (ZeroMQ RFC 23) as a door needs: to be a SUB socket, NULL
//! security, towards one visitor, and to read a few short messages from it. And as much
//! as the visitor needs: to be its XPUB socket.
//!
//! Why not the `zeromq` crate: whoever connects to a socket that the crate has bound
//! can make it reserve what one frame length claims, an exabyte if need be, which
//! aborts the process, and can keep a half-open connection for ever. A door faces
//! everybody, so it reads with limits and a deadline. A visitor must hear at once that the
//! door's process has ended, and the crate's XPUB socket tells neither that nobody listens
//! any more nor that its connection is closed.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeromq::ZmqMessage;

/// A visitor that has greeted, as the door sees it.
pub(crate) struct Visitor<S> {
    frames: Frames<S>,
}

/// A door that has greeted, as its visitor sees it.
pub(crate) struct Doorstep<S> {
    frames: Frames<S>,
}

/// What is wrong with the other end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ZmtpError {
    /// It left where it might have said more: as one does who only looks whether somebody
    /// listens, or who ends.
    #[error("it left without a word")]
    Silent,
    #[error("its first bytes are no ZeroMQ greeting")]
    NoGreeting,
    #[error("it speaks ZMTP {0}.{1}; 3.0 or later is needed")]
    Version(u8, u8),
    #[error("it asks for the security mechanism {0:?}; only NULL is spoken here")]
    Mechanism(String),
    #[error("it sent {0} where READY must come")]
    NotReady(&'static str),
    #[error("it sent a frame of {0} bytes; at most {FRAME_BYTES} may come here")]
    Long(u64),
    #[error("it sent a message of more than {PARTS} parts")]
    Parts,
    #[error("it answered, but does not take what is said at a door")]
    NoDoor,
    #[error("it broke off: {0}")]
    Io(#[from] io::Error),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Visitor<S> {
    /// Exchanges greetings and subscribes to the topic.
    pub(crate) async fn greet(mut stream: S, topic: &str) -> Result<Self, ZmtpError> {
        let mut theirs = [0; GREETING_BYTES];
        if stream.read(&mut theirs[..1]).await? == 0 {
            return Err(ZmtpError::Silent);
        }
        // Judged as early as can be: who speaks HTTP waits for an answer.
        if theirs[0] != 0xff {
            return Err(ZmtpError::NoGreeting);
        }
        stream.read_exact(&mut theirs[1..SIGNATURE_BYTES]).await?;
        if theirs[SIGNATURE_BYTES - 1] != 0x7f {
            return Err(ZmtpError::NoGreeting);
        }
        // libzmq sends the rest after it has seen the other's signature.
        stream.write_all(&greeting()).await?;
        stream.read_exact(&mut theirs[SIGNATURE_BYTES..]).await?;
        check_greeting(&theirs)?;
        let mut frames = Frames { stream };
        frames.send(COMMAND, READY_SUB).await?;
        frames.ready().await?;
        frames.send(0, &[&[SUBSCRIBE], topic.as_bytes()].concat()).await?;
        Ok(Self { frames })
    }

    /// The next message.
    pub(crate) async fn message(&mut self) -> Result<ZmqMessage, ZmtpError> {
        self.frames.message().await
    }

    /// Says why there will be no link, cut to what a short frame holds.
    pub(crate) async fn refuse(&mut self, why: &str) -> Result<(), ZmtpError> {
        let mut text = [&[REFUSAL], why.as_bytes()].concat();
        text.truncate(SHORT_BYTES);
        self.frames.send(0, &text).await
    }

    /// Waits until it has closed its connection. What it says instead is passed over.
    pub(crate) async fn left(&mut self) {
        let mut said = [0; 64];
        while !matches!(self.frames.stream.read(&mut said).await, Ok(0) | Err(_)) {}
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Doorstep<S> {
    /// Exchanges greetings and waits for the subscription to the topic.
    pub(crate) async fn enter(mut stream: S, topic: &str) -> Result<Self, ZmtpError> {
        stream.write_all(&greeting()).await?;
        let mut theirs = [0; GREETING_BYTES];
        stream.read_exact(&mut theirs[..SIGNATURE_BYTES]).await?;
        if theirs[0] != 0xff || theirs[SIGNATURE_BYTES - 1] != 0x7f {
            return Err(ZmtpError::NoGreeting);
        }
        stream.read_exact(&mut theirs[SIGNATURE_BYTES..]).await?;
        check_greeting(&theirs)?;
        let mut frames = Frames { stream };
        frames.send(COMMAND, READY_XPUB).await?;
        frames.ready().await?;
        let subscription = frames.message().await?.into_vec().concat();
        match subscription.split_first() {
            Some((&SUBSCRIBE, subscribed)) if subscribed == topic.as_bytes() => Ok(Self { frames }),
            _ => Err(ZmtpError::NoDoor),
        }
    }

    /// Says a message of short parts.
    pub(crate) async fn say(&mut self, message: ZmqMessage) -> Result<(), ZmtpError> {
        let parts = message.into_vec();
        let mut bytes = Vec::new();
        for (part, left) in parts.iter().zip((0..parts.len()).rev()) {
            put_frame(&mut bytes, if left > 0 { MORE } else { 0 }, part);
        }
        self.frames.write(&bytes).await
    }

    /// Waits for what the door says against this node; none once it has closed the
    /// connection without a word.
    pub(crate) async fn refusal(&mut self) -> Option<String> {
        loop {
            let said = self.frames.message().await.ok()?.into_vec().concat();
            if let Some((&REFUSAL, why)) = said.split_first() {
                let why = String::from_utf8_lossy(why);
                return Some(why.chars().filter(|c| !c.is_control()).collect());
            }
        }
    }
}

/// Frames to and from the other end, once both have greeted.
struct Frames<S> {
    stream: S,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    /// Waits for the end of the other's greeting.
    async fn ready(&mut self) -> Result<(), ZmtpError> {
        match self.next().await? {
            (COMMAND, body) if body.starts_with(READY) => Ok(()),
            (COMMAND, _) => Err(ZmtpError::NotReady("another command")),
            _ => Err(ZmtpError::NotReady("a message")),
        }
    }

    /// The next message. Commands, such as a ping, are passed over.
    async fn message(&mut self) -> Result<ZmqMessage, ZmtpError> {
        let mut parts: Vec<Bytes> = Vec::new();
        loop {
            let (flags, body) = self.next().await?;
            if flags & COMMAND != 0 {
                continue;
            }
            if parts.len() == PARTS {
                return Err(ZmtpError::Parts);
            }
            parts.push(body.into());
            if flags & MORE == 0
                && let Ok(message) = ZmqMessage::try_from(std::mem::take(&mut parts))
            {
                return Ok(message);
            }
        }
    }

    async fn next(&mut self) -> Result<(u8, Vec<u8>), ZmtpError> {
        let flags = match self.stream.read_u8().await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(ZmtpError::Silent);
            }
            flags => flags?,
        };
        let len = match flags & LONG {
            0 => self.stream.read_u8().await?.into(),
            _ => self.stream.read_u64().await?,
        };
        if len > FRAME_BYTES {
            return Err(ZmtpError::Long(len));
        }
        let mut body = vec![0; len as usize];
        self.stream.read_exact(&mut body).await?;
        Ok((flags & !LONG, body))
    }

    async fn send(&mut self, flags: u8, body: &[u8]) -> Result<(), ZmtpError> {
        let mut bytes = Vec::new();
        put_frame(&mut bytes, flags, body);
        self.write(&bytes).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), ZmtpError> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }
}

fn put_frame(into: &mut Vec<u8>, flags: u8, body: &[u8]) {
    debug_assert!(body.len() <= SHORT_BYTES);
    into.extend([flags, body.len() as u8]);
    into.extend(body);
}

fn greeting() -> [u8; GREETING_BYTES] {
    let mut greeting = [0; GREETING_BYTES];
    greeting[0] = 0xff;
    greeting[9] = 0x7f;
    greeting[10] = 3;
    greeting[12..16].copy_from_slice(b"NULL");
    greeting
}

fn check_greeting(theirs: &[u8; GREETING_BYTES]) -> Result<(), ZmtpError> {
    if theirs[10] < 3 {
        return Err(ZmtpError::Version(theirs[10], theirs[11]));
    }
    let mechanism = &theirs[12..32];
    if mechanism != &greeting()[12..32] {
        let text = String::from_utf8_lossy(mechanism);
        return Err(ZmtpError::Mechanism(text.trim_end_matches('\0').to_owned()));
    }
    Ok(())
}

const GREETING_BYTES: usize = 64;
const SIGNATURE_BYTES: usize = 10;
/// Longest body of a frame with a one-byte length.
const SHORT_BYTES: usize = 255;
/// Longest frame that a visitor may send.
const FRAME_BYTES: u64 = 1024;
/// Most parts of a visitor's message.
const PARTS: usize = 4;

const MORE: u8 = 0b001;
const LONG: u8 = 0b010;
const COMMAND: u8 = 0b100;

const READY: &[u8] = b"\x05READY";
const READY_SUB: &[u8] = b"\x05READY\x0bSocket-Type\0\0\0\x03SUB";
const READY_XPUB: &[u8] = b"\x05READY\x0bSocket-Type\0\0\0\x04XPUB";

/// The first byte of a subscription.
const SUBSCRIBE: u8 = 1;
/// The first byte of a refusal, which is neither a subscription nor the end of one.
const REFUSAL: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    async fn greeted_with(bytes: &[u8]) -> ZmtpError {
        let (mut theirs, ours) = duplex(4096);
        theirs.write_all(bytes).await.unwrap();
        theirs.shutdown().await.unwrap();
        let mut visitor = match Visitor::greet(ours, "topic/").await {
            Ok(visitor) => visitor,
            Err(error) => return error,
        };
        visitor.message().await.expect_err("no message was sent")
    }

    fn with_greeting(frames: &[u8]) -> Vec<u8> {
        [&greeting(), frames].concat()
    }

    #[tokio::test]
    async fn strangers_are_told_apart() {
        assert!(matches!(greeted_with(b"").await, ZmtpError::Silent));
        assert!(matches!(greeted_with(b"GET / HTTP/1.1\r\n").await, ZmtpError::NoGreeting));
        assert!(matches!(greeted_with(&[0xff; 64]).await, ZmtpError::NoGreeting));
        assert!(matches!(greeted_with(&greeting()[..20]).await, ZmtpError::Io(_)));
        let mut old = greeting();
        old[10] = 2;
        assert!(matches!(greeted_with(&old).await, ZmtpError::Version(2, 0)));
        let mut curve = greeting();
        curve[12..17].copy_from_slice(b"CURVE");
        assert!(
            matches!(greeted_with(&curve).await, ZmtpError::Mechanism(name) if name == "CURVE")
        );
        let message = with_greeting(&[0, 1, 7]);
        assert!(matches!(greeted_with(&message).await, ZmtpError::NotReady("a message")));
    }

    #[tokio::test]
    async fn a_frame_of_an_exabyte_reserves_nothing() {
        let mut bytes = with_greeting(&[COMMAND, READY.len() as u8]);
        bytes.extend(READY);
        bytes.push(LONG);
        bytes.extend((1_u64 << 60).to_be_bytes());
        let error = greeted_with(&bytes).await;
        assert!(matches!(error, ZmtpError::Long(len) if len == 1 << 60), "{error}");
    }

    #[tokio::test]
    async fn a_message_of_endless_parts_is_refused() {
        let mut bytes = with_greeting(&[COMMAND, READY.len() as u8]);
        bytes.extend(READY);
        bytes.extend([MORE, 0].repeat(PARTS + 1));
        assert!(matches!(greeted_with(&bytes).await, ZmtpError::Parts));
    }
}
