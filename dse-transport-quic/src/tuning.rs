//! What `quinn` is told: windows, packet sizes, timeouts, keys.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::congestion::CubicConfig;
use quinn::{EndpointConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};
use quinn_proto::HashedConnectionIdGenerator;
use ring::hmac;

use crate::identity::{Identity, IdentityError};
use crate::transport::QuicConfig;

/// What one lane may have on its way to a receiver that does not read. The data lane
/// alone can never fill [`SEND_WINDOW_BYTES`], so control always has room (law L9).
pub(crate) const LANE_WINDOW_BYTES: u32 = 768 * 1024;

/// What one connection holds of unacknowledged bytes. More would be out of reach for
/// conflation; less would slow down paths with a long way.
const SEND_WINDOW_BYTES: u32 = LANE_WINDOW_BYTES + 256 * 1024;

/// A link that nobody probes and nobody closed ends after this long: longer than the
/// runtime lets any link be silent, so that its verdict is the one that counts. With the
/// most links of a node that is 17 hours (PROTOCOL.md §10).
const IDLE_TIMEOUT_MS: u32 = 24 * 3600 * 1000;

/// What is assumed of a path's round trip before it was measured: decides when a lost
/// first packet is repeated (after three times this). Two nodes that start together
/// often dial each other a moment too early, so the RFC's 333 ms are long.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// How much may be on its way before the first answer: ten packets, as RFC 9002 §7.2 has
/// it, but ten of the longest. With quinn's 12,000 bytes two probes for the path's packet
/// size would fill the window, and what comes next would wait: even the frame that closes
/// the connection, and that for ever, as a closed connection takes no acknowledgements.
const INITIAL_WINDOW_BYTES: u64 = 10 * MTU_MAX_BYTES as u64;

/// Smallest size of UDP payloads that QUIC allows.
const MTU_MIN_BYTES: u16 = 1200;
/// With segmentation offload the system takes ten packets as one, of 65,507 bytes at
/// most.
const MTU_MAX_BYTES: u16 = 65_507 / 10;

/// How many streams the dialler opens: control and data.
const LANES: u32 = 2;

/// For connections that this node dials, or that it accepts.
pub(crate) fn transport(config: &QuicConfig, accepts_streams: bool) -> TransportConfig {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(mtu_bytes(config));
    let mut congestion = CubicConfig::default();
    congestion.initial_window(INITIAL_WINDOW_BYTES);
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(if accepts_streams { LANES } else { 0 }.into())
        .max_concurrent_uni_streams(0_u32.into())
        .datagram_receive_buffer_size(None)
        .stream_receive_window(LANE_WINDOW_BYTES.into())
        .receive_window((LANES * LANE_WINDOW_BYTES).into())
        .send_window(SEND_WINDOW_BYTES.into())
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        .keep_alive_interval(None)
        .initial_rtt(INITIAL_RTT)
        .congestion_controller_factory(Arc::new(congestion))
        .mtu_discovery_config(Some(mtu))
        .enable_segmentation_offload(config.segmentation_offload);
    transport
}

/// For the endpoint behind one socket.
///
/// Its keys come from the node's key and the port, so that a node that was restarted
/// on its old port tells its peers at once that their old connections are gone. The
/// port is in it because two sockets that share a reset key could be used to break each
/// other's connections (RFC 9000 §21.11).
pub(crate) fn endpoint(
    config: &QuicConfig,
    local: SocketAddr,
) -> Result<EndpointConfig, IdentityError> {
    let reset = derive(&config.identity, "stateless reset", local.port());
    let ids = derive(&config.identity, "connection ids", local.port());
    let ids = ids.as_ref().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let mut endpoint =
        EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, reset.as_ref())));
    endpoint
        .cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)))
        .max_udp_payload_size(mtu_bytes(config))
        .map_err(|error| IdentityError::Tls { why: error.to_string() })?;
    Ok(endpoint)
}

fn mtu_bytes(config: &QuicConfig) -> u16 {
    config.mtu_bytes.clamp(MTU_MIN_BYTES, MTU_MAX_BYTES)
}

fn derive(identity: &Identity, purpose: &str, port: u16) -> hmac::Tag {
    let key = hmac::Key::new(hmac::HMAC_SHA256, identity.key().secret_der());
    hmac::sign(&key, format!("dse {purpose} {port}").as_bytes())
}
