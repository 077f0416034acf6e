//! As much of ZMTP 3.0 (ZeroMQ RFC 23) as a door needs: to be a SUB socket, NULL
//! security, towards one visitor, and to read a few short messages from it.
//!
//! Why not the `zeromq` crate: whoever connects to a socket that the crate has bound
//! can make it reserve what one frame length claims, an exabyte if need be, which
//! aborts the process, and can keep a half-open connection for ever. A door faces
//! everybody, so it reads with limits and a deadline.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use zeromq::ZmqMessage;

/// A visitor that has greeted.
pub(crate) struct Visitor<S> {
    stream: S,
}

/// What is wrong with a visitor.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ZmtpError {
    /// It left without a word, as one does who only looks whether somebody listens.
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
        let mut visitor = Self { stream };
        visitor.send_frame(COMMAND, READY_SUB).await?;
        match visitor.frame().await? {
            (COMMAND, body) if body.starts_with(READY) => {}
            (COMMAND, _) => return Err(ZmtpError::NotReady("another command")),
            _ => return Err(ZmtpError::NotReady("a message")),
        }
        visitor.send_frame(0, &[&[1], topic.as_bytes()].concat()).await?;
        Ok(visitor)
    }

    /// The next message. Commands, such as a ping, are passed over.
    pub(crate) async fn message(&mut self) -> Result<ZmqMessage, ZmtpError> {
        let mut parts: Vec<Bytes> = Vec::new();
        loop {
            let (flags, body) = self.frame().await?;
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

    /// Sends a message of one part, cut to what a short frame holds.
    pub(crate) async fn send(&mut self, body: &[u8]) -> Result<(), ZmtpError> {
        self.send_frame(0, &body[..body.len().min(SHORT_BYTES)]).await
    }

    /// Has it closed its connection? What it says instead is passed over.
    pub(crate) async fn has_left(&mut self) -> bool {
        let mut said = [0; 64];
        let reading = self.stream.read(&mut said);
        matches!(timeout(Duration::ZERO, reading).await, Ok(Ok(0) | Err(_)))
    }

    async fn frame(&mut self) -> Result<(u8, Vec<u8>), ZmtpError> {
        let flags = self.stream.read_u8().await?;
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

    async fn send_frame(&mut self, flags: u8, body: &[u8]) -> Result<(), ZmtpError> {
        debug_assert!(body.len() <= SHORT_BYTES);
        let frame = [&[flags, body.len() as u8], body].concat();
        self.stream.write_all(&frame).await?;
        Ok(self.stream.flush().await?)
    }
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
