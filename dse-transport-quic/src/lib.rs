//! The quic transport of DSE, the Data Services Engine: `quinn`, with mutual TLS
//! always.
//!
//! A [`QuicTransport`] belongs to one node and holds its [`Identity`]: a certificate
//! that the bus CA issued, the key to it, and the CA's own certificate. Both ends of
//! a link verify that the other's certificate comes from that CA, without a host
//! name: node ids are no DNS names, and who answers at a seed is not known before it
//! is dialled. The certificate's name, a SAN URI `dse:<name>`, is the link's
//! authenticated identity.
//!
//! A link is one QUIC connection with two bidirectional streams, both opened by the
//! dialler: control, with the higher priority, and data. On each stream a frame is its
//! length as a little-endian u32 and its bytes. Each stream starts with one byte that
//! names its lane, and the acceptor answers with one byte on the control stream once
//! it has verified the dialler: without that answer a dialler would take a link for
//! good that the other end is about to refuse, because in TLS 1.3 the client is done
//! first.
//!
//! | module | holds |
//! |---|---|
//! | `transport`, `listener` | the two factories of links |
//! | `handshake` | what happens between a QUIC connection and a link |
//! | `lane`, `link` | framing, and the four halves of a link |
//! | `driver` | the tasks that drive `quinn`, and who does it in their place |
//! | `tls`, `tuning`, `socket`, `address` | what `rustls`, `quinn` and the system are told |
//! | [`Identity`], [`CertificateInfo`] | certificates |
//! | [`ca`] | the bus CA on disk (feature `ca`, on by default) |
#![forbid(unsafe_code)]

mod address;
#[cfg(feature = "ca")]
pub mod ca;
mod certificate;
mod driver;
mod files;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod handshake;
mod identity;
mod lane;
mod link;
mod listener;
mod nobody;
mod refusal;
mod socket;
mod tls;
mod transport;
mod tuning;

pub use certificate::CertificateInfo;
pub use identity::{Identity, IdentityError};
pub use transport::{QuicConfig, QuicTransport};
