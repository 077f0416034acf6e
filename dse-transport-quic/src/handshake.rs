//! From a QUIC connection to a link.

use dse_core::protocol::NodeId;
use dse_core::transport::{Link, TransportError};
use quinn::{
    Connection, ConnectionError, Incoming, ReadExactError, RecvStream, SendStream,
    TransportErrorCode,
};
use rustls::pki_types::CertificateDer;

use crate::identity::peer_name;
use crate::link;
use crate::refusal::{self, REFUSED};

/// First byte of the control stream, and the acceptor's answer on it.
const CONTROL: u8 = b'C';
/// First byte of the data stream.
const DATA: u8 = b'D';

/// How much more urgent control is than data; data has 0.
const CONTROL_PRIORITY: i32 = 1;

/// Why no link came about.
#[derive(Debug)]
pub(crate) enum HandshakeError {
    /// The connection failed.
    Connection(ConnectionError),
    /// The peer is not accepted; it was told so.
    Refused(&'static str),
    /// Nobody can be reached there, says the network.
    Unreachable(String),
}

impl From<ConnectionError> for HandshakeError {
    fn from(error: ConnectionError) -> Self {
        Self::Connection(error)
    }
}

/// Two streams and who is at the other end: all that a link needs.
pub(crate) struct Lanes {
    name: NodeId,
    control: (SendStream, RecvStream),
    data: (SendStream, RecvStream),
}

impl Lanes {
    /// The link, with the name of where it leads.
    pub(crate) fn into_link(self, remote: String) -> Link {
        let (control_sender, control_receiver) = link::control(self.control);
        let (data_sender, data_receiver) = link::data(self.data);
        Link {
            remote,
            identity: Some(self.name.as_str().into()),
            control_sender,
            control_receiver,
            data_sender,
            data_receiver,
        }
    }
}

/// The dialler's side: opens both lanes, and waits until the acceptor has answered.
///
/// The lanes' first bytes go out with the end of the TLS handshake, so a link stands
/// after two round trips.
pub(crate) async fn dial(connecting: quinn::Connecting) -> Result<Lanes, HandshakeError> {
    let connection = connecting.await?;
    let name = authenticate(&connection)?;
    let mut control = connection.open_bi().await?;
    set_control_priority(&control.0);
    let mut data = connection.open_bi().await?;
    write_tag(&connection, &mut control.0, CONTROL).await?;
    write_tag(&connection, &mut data.0, DATA).await?;
    read_tag(&connection, &mut control.1, CONTROL).await?;
    Ok(Lanes { name, control, data })
}

/// The acceptor's side: takes both lanes, and answers. None if what came begins no
/// handshake. Mostly it is of one that is over here, which the peer does not know yet:
/// after a retry, or where this side gave it up.
pub(crate) async fn accept(incoming: Incoming) -> Result<Option<Lanes>, HandshakeError> {
    let connection = match incoming.accept() {
        Ok(connecting) => connecting.await?,
        Err(error) if is_stray(&error) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let name = authenticate(&connection)?;
    let mut control = connection.accept_bi().await?;
    set_control_priority(&control.0);
    let mut data = connection.accept_bi().await?;
    read_tag(&connection, &mut control.1, CONTROL).await?;
    read_tag(&connection, &mut data.1, DATA).await?;
    write_tag(&connection, &mut control.0, CONTROL).await?;
    Ok(Some(Lanes { name, control, data }))
}

/// Is it a first packet that does not fit its connection ID? `quinn` says of it that the
/// authentication failed, but nobody has shown a certificate yet.
fn is_stray(error: &ConnectionError) -> bool {
    matches!(error, ConnectionError::TransportError(error)
        if error.code == TransportErrorCode::PROTOCOL_VIOLATION)
}

/// The chain is verified; this takes the name from it.
fn authenticate(connection: &Connection) -> Result<NodeId, HandshakeError> {
    connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
        .and_then(|chain| peer_name(&chain))
        .ok_or_else(|| {
            connection.close(
                REFUSED,
                b"this node's certificate names no node: it has no alternative name (SAN) \
                  dse:<name>; issue one with `dse-node ca issue`",
            );
            HandshakeError::Refused(
                "its certificate names no node: it has no alternative name (SAN) dse:<name>; \
                 issue one with `dse-node ca issue`",
            )
        })
}

async fn read_tag(
    connection: &Connection,
    stream: &mut RecvStream,
    expected: u8,
) -> Result<(), HandshakeError> {
    let mut tag = [0];
    match stream.read_exact(&mut tag).await {
        Ok(()) if tag[0] == expected => Ok(()),
        Err(ReadExactError::ReadError(quinn::ReadError::ConnectionLost(error))) => {
            Err(error.into())
        }
        Ok(()) | Err(_) => Err(refuse_lanes(connection)),
    }
}

async fn write_tag(
    connection: &Connection,
    stream: &mut SendStream,
    tag: u8,
) -> Result<(), HandshakeError> {
    match stream.write_all(&[tag]).await {
        Ok(()) => Ok(()),
        Err(quinn::WriteError::ConnectionLost(error)) => Err(error.into()),
        Err(_) => Err(refuse_lanes(connection)),
    }
}

fn refuse_lanes(connection: &Connection) -> HandshakeError {
    connection.close(REFUSED, b"the lanes were not opened as agreed");
    HandshakeError::Refused("it did not open its lanes as agreed; is it of another version?")
}

/// Fails only for a stream that is closed, which its first use will tell.
fn set_control_priority(stream: &SendStream) {
    let _ = stream.set_priority(CONTROL_PRIORITY);
}

impl HandshakeError {
    /// For the one who waits for a link with this peer.
    pub(crate) fn refusal(&self, peer: &str) -> Option<TransportError> {
        let why = match self {
            Self::Refused(why) => (*why).to_owned(),
            Self::Connection(error) => refusal::refusal(error)?,
            Self::Unreachable(_) => return None,
        };
        Some(TransportError::Refused { peer: peer.to_owned(), why })
    }
}
