//! One `quinn` stream: batched writes of 64 KiB for throughput, one write a message for
//! round trips. Packets and buffers are as large as those of the bus's transport.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use quinn::rustls::{self, RootCertStore};
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, MtuDiscoveryConfig, ServerConfig,
    TokioRuntime, TransportConfig,
};
use serde_json::{Value, json};

use crate::figures::{Arrivals, RoundTrips};
use crate::job::{Job, Measure, PING_BYTES};

/// Takes one stream and counts its messages, or sends each back.
pub(crate) async fn receive(job: &Job, ready: impl FnOnce(String)) -> Result<Value> {
    let endpoint = endpoint(Some(server(&job.folder)?))?;
    ready(endpoint.local_addr()?.to_string());
    let connection = endpoint.accept().await.context("nobody comes")?.await?;
    let (mut send, mut receive) = connection.accept_bi().await?;
    match job.measure {
        Measure::RoundTrip => {
            let mut message = [0; PING_BYTES];
            // The sender closes the connection when it has measured: that is no error, and
            // the parent ends this process then.
            while receive.read_exact(&mut message).await.is_ok() {
                send.write_all(&message).await?;
            }
            std::future::pending().await
        }
        Measure::Throughput { payload } => {
            let mut arrivals = Arrivals::default();
            let (mut bytes, mut counted) = (0, 0);
            while let Some(chunk) = receive.read_chunk(usize::MAX, true).await? {
                bytes += chunk.bytes.len();
                let messages = bytes / (HEAD_BYTES + payload);
                arrivals.add((messages - counted) as u64);
                counted = messages;
            }
            Ok(arrivals.json(job))
        }
    }
}

/// Opens the stream and fills it, or measures the way there and back.
pub(crate) async fn send(job: &Job, peer: &str) -> Result<Value> {
    let mut endpoint = endpoint(None)?;
    endpoint.set_default_client_config(client(&job.folder)?);
    let connection = endpoint.connect(peer.parse()?, "localhost")?.await?;
    match job.measure {
        Measure::Throughput { payload } => stream(job, &connection, payload).await,
        Measure::RoundTrip => ping(job, &connection).await,
    }
}

async fn stream(job: &Job, connection: &Connection, payload: usize) -> Result<Value> {
    let (mut send, _receive) = connection.open_bi().await?;
    let payload = vec![7; payload];
    let length = u32::try_from(payload.len())?.to_le_bytes();
    let (began, mut sent) = (Instant::now(), 0_u64);
    let mut batch = Vec::with_capacity(2 * BATCH_BYTES);
    while began.elapsed() < job.time {
        batch.clear();
        while batch.len() < BATCH_BYTES {
            batch.extend_from_slice(&length);
            batch.extend_from_slice(&payload);
            sent += 1;
        }
        send.write_all(&batch).await?;
    }
    send.finish()?;
    if let Some(code) = send.stopped().await? {
        bail!("the receiver stopped the stream: {code}");
    }
    Ok(json!({ "sent": sent }))
}

async fn ping(job: &Job, connection: &Connection) -> Result<Value> {
    let (mut send, mut receive) = connection.open_bi().await?;
    let mut message = [7; PING_BYTES];
    let mut trips = RoundTrips::new(job.time);
    while trips.more() {
        let began = Instant::now();
        send.write_all(&message).await?;
        receive.read_exact(&mut message).await?;
        trips.add(began.elapsed());
    }
    Ok(trips.json())
}

fn endpoint(server: Option<ServerConfig>) -> Result<Endpoint> {
    let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let mut config = EndpointConfig::default();
    config.max_udp_payload_size(PACKET_BYTES)?;
    Ok(Endpoint::new(config, server, socket, Arc::new(TokioRuntime))?)
}

/// With a certificate of its own, left in the folder for the other process.
fn server(folder: &Path) -> Result<ServerConfig> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    std::fs::write(folder.join(CERTIFICATE), made.cert.der())?;
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport_config(transport());
    Ok(config)
}

fn client(folder: &Path) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(std::fs::read(folder.join(CERTIFICATE))?))?;
    let tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(transport());
    Ok(config)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn transport() -> Arc<TransportConfig> {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(PACKET_BYTES);
    let mut transport = TransportConfig::default();
    transport.mtu_discovery_config(Some(mtu));
    Arc::new(transport)
}

const CERTIFICATE: &str = "bare.der";
const PACKET_BYTES: u16 = 6400;
const BATCH_BYTES: usize = 64 * 1024;
/// Each message has its length before it.
const HEAD_BYTES: usize = 4;
