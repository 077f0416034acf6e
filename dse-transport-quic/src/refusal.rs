//! What `quinn`'s errors mean for a link.

use dse_core::transport::TransportError;
use quinn::{ConnectionError, TransportErrorCode, VarInt};

/// Closes a connection whose other end is not accepted; the reason says why. Links that
/// are dropped close theirs with 0, as `quinn` does by itself.
pub(crate) const REFUSED: VarInt = VarInt::from_u32(1);

/// How an established link ended.
pub(crate) fn link_error(error: &ConnectionError) -> TransportError {
    match error {
        ConnectionError::ApplicationClosed(close) if close.reason.is_empty() => {
            TransportError::Closed("the peer dropped it".to_owned())
        }
        ConnectionError::ApplicationClosed(close) => TransportError::Closed(said(&close.reason)),
        ConnectionError::LocallyClosed => TransportError::Closed("closed here".to_owned()),
        ConnectionError::Reset => TransportError::Lost(
            "the peer no longer knows it: it dropped it or was restarted".to_owned(),
        ),
        ConnectionError::TimedOut => {
            TransportError::Lost("nothing was heard of the peer for too long".to_owned())
        }
        other => TransportError::Lost(other.to_string()),
    }
}

/// If one side did not accept the other: which, why and what to do.
pub(crate) fn refusal(error: &ConnectionError) -> Option<String> {
    match error {
        // This side found fault.
        ConnectionError::TransportError(error) => {
            let advice = advice(alert(error.code)?);
            Some(format!("its certificate is not accepted here: {advice} ({})", error.reason))
        }
        // The other side found fault and said so.
        ConnectionError::ConnectionClosed(close) => {
            let advice = advice(alert(close.error_code)?);
            Some(format!("it does not accept this node's certificate: {advice}"))
        }
        ConnectionError::ApplicationClosed(close) if close.error_code == REFUSED => {
            Some(said(&close.reason))
        }
        ConnectionError::VersionMismatch => {
            Some("it speaks no version of QUIC that this node speaks".to_owned())
        }
        _ => None,
    }
}

/// A peer's words, without what could steer a terminal.
fn said(reason: &[u8]) -> String {
    String::from_utf8_lossy(reason).chars().filter(|c| !c.is_control()).collect()
}

/// The TLS alert in a QUIC error code (RFC 9001 §4.8).
fn alert(code: TransportErrorCode) -> Option<u8> {
    let code = u64::from(code);
    if code >> 8 == 1 { Some(code as u8) } else { None }
}

fn advice(alert: u8) -> &'static str {
    const DECRYPT_ERROR: u8 = 51;
    const UNKNOWN_CA: u8 = 48;
    const CERTIFICATE_EXPIRED: u8 = 45;
    const UNSUPPORTED_CERTIFICATE: u8 = 43;
    const CERTIFICATE_REQUIRED: u8 = 116;
    const NO_APPLICATION_PROTOCOL: u8 = 120;
    match alert {
        UNKNOWN_CA | DECRYPT_ERROR => {
            "it comes from another CA; both nodes need certificates that the same bus CA issued, \
             see `dse-node ca issue` and `dse-node ca show`"
        }
        CERTIFICATE_EXPIRED => {
            "it has expired or is not valid yet; check the clocks of both machines, then issue a \
             new one with `dse-node ca issue`"
        }
        CERTIFICATE_REQUIRED => {
            "there is none, and a bus takes nobody without one; issue one with `dse-node ca issue`"
        }
        UNSUPPORTED_CERTIFICATE => {
            "its key usage does not allow for it; issue another with `dse-node ca issue`"
        }
        NO_APPLICATION_PROTOCOL => "what is there is no DSE node, or one of another version",
        _ => "it is not valid; issue another with `dse-node ca issue`",
    }
}
