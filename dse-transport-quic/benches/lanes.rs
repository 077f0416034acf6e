//! What the lanes of a link carry beside a bare `quinn` stream, in one run over
//! loopback: `cargo bench -p dse-transport-quic`.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dse_core::data::{DataFrame, FrameWriter, Headers};
use dse_core::protocol::{Endpoint, NodeId};
use dse_core::transport::{Link, Listener, Transport};
use dse_transport_quic::ca::{Authority, VALIDITY};
use dse_transport_quic::{QuicConfig, QuicTransport};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::pki_types::PrivateKeyDer;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What is sent one way in each trial.
const TRIAL_BYTES: usize = 1 << 30;
const BATCH_BYTES: usize = 64 * 1024;
const ROUND_TRIPS: u32 = 10_000;
const MTU_BYTES: u16 = 6400;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    for payload in [64 * 1024, 1024, 64] {
        let lane = lane_throughput(payload).await?;
        let bare = bare_throughput().await?;
        println!(
            "{payload:>6} B payloads: {:>7.1} MB/s, {:>9.0} samples/s; bare stream {:>7.1} MB/s; \
             ratio {:.2}",
            lane / 1e6,
            lane / payload as f64,
            bare / 1e6,
            lane / bare
        );
    }
    let (lane, bare) = (lane_round_trip().await?, bare_round_trip().await?);
    println!(
        "64 B round trip: {:.1} us; bare stream {:.1} us; ratio {:.2}",
        lane.as_secs_f64() * 1e6,
        bare.as_secs_f64() * 1e6,
        lane.as_secs_f64() / bare.as_secs_f64()
    );
    Ok(())
}

/// Payload bytes per second over a data lane, in frames of 64 KiB.
async fn lane_throughput(payload: usize) -> Result<f64, Failure> {
    let (mut near, mut far, _listener) = link().await?;
    let sample = Bytes::from(vec![7; payload]);
    let frames = TRIAL_BYTES / BATCH_BYTES;
    let started = Instant::now();
    let sending = tokio::spawn(async move {
        for _ in 0..frames {
            let mut frame = Some(batch(&sample));
            poll_fn(|cx| near.data_sender.poll_send(cx, &mut frame)).await?;
        }
        Ok::<_, Failure>(near)
    });
    let mut received = 0;
    for _ in 0..frames {
        let frame = poll_fn(|cx| far.data_receiver.poll_recv(cx)).await?;
        received += frame.body.len();
    }
    let took = started.elapsed();
    sending.await??;
    Ok(received as f64 / took.as_secs_f64())
}

fn batch(sample: &Bytes) -> DataFrame {
    let mut writer = FrameWriter::new();
    for seq in 0..(BATCH_BYTES / sample.len()) as u64 {
        writer.sample((1, seq, 0), &Headers::new(), sample);
    }
    writer.take().unwrap_or_default()
}

/// The mean time of 64 B there and back on the control lane.
async fn lane_round_trip() -> Result<Duration, Failure> {
    let (mut near, mut far, _listener) = link().await?;
    let echo = tokio::spawn(async move {
        let mut frames = Vec::new();
        while poll_fn(|cx| far.control_receiver.poll_recv(cx, &mut frames)).await.is_ok() {
            let mut back: VecDeque<Bytes> = frames.drain(..).collect();
            poll_fn(|cx| far.control_sender.poll_send(cx, &mut back)).await?;
        }
        Ok::<_, Failure>(())
    });
    let message = Bytes::from_static(&[7; 64]);
    let mut frames = Vec::new();
    let started = Instant::now();
    for _ in 0..ROUND_TRIPS {
        let mut there = VecDeque::from([message.clone()]);
        poll_fn(|cx| near.control_sender.poll_send(cx, &mut there)).await?;
        poll_fn(|cx| near.control_receiver.poll_recv(cx, &mut frames)).await?;
        frames.clear();
    }
    let took = started.elapsed() / ROUND_TRIPS;
    drop(near);
    echo.await??;
    Ok(took)
}

async fn link() -> Result<(Link, Link, Box<dyn Listener>), Failure> {
    let folder = tempfile::tempdir()?;
    let ca = Authority::open_or_create(&folder.path().join("ca"))?;
    let node = |name: &str| -> Result<QuicTransport, Failure> {
        let identity = ca.issue(&NodeId::new(name)?, VALIDITY)?;
        Ok(QuicTransport::new(QuicConfig { mtu_bytes: MTU_BYTES, ..QuicConfig::new(identity) })?)
    };
    let mut listener = node("a")?.bind(&Endpoint::new("quic://127.0.0.1:0")?).await?;
    let at = listener.endpoints().pop().ok_or("the listener has no endpoint")?;
    let dialler = node("b")?;
    let (near, far) = tokio::join!(dialler.connect(&at), listener.accept());
    Ok((near?, far?, listener))
}

/// Bytes per second over a stream that is written and read as `quinn` does it best.
async fn bare_throughput() -> Result<f64, Failure> {
    let (near, far, _endpoints) = bare_connection().await?;
    let batch = Bytes::from(vec![7; BATCH_BYTES]);
    let started = Instant::now();
    let sending = tokio::spawn(async move {
        let mut stream = near.open_uni().await?;
        for _ in 0..TRIAL_BYTES / BATCH_BYTES {
            stream.write_chunk(batch.clone()).await?;
        }
        stream.finish()?;
        stream.stopped().await?;
        Ok::<_, Failure>(())
    });
    let mut stream = far.accept_uni().await?;
    let mut received = 0;
    let mut chunks = vec![Bytes::new(); 32];
    while let Some(count) = stream.read_chunks(&mut chunks).await? {
        received += chunks[..count].iter().map(Bytes::len).sum::<usize>();
    }
    let took = started.elapsed();
    sending.await??;
    Ok(received as f64 / took.as_secs_f64())
}

async fn bare_round_trip() -> Result<Duration, Failure> {
    let (near, far, _endpoints) = bare_connection().await?;
    let (mut send, mut recv) = near.open_bi().await?;
    let echo = tokio::spawn(async move {
        let (mut send, mut recv) = far.accept_bi().await?;
        let mut message = [0; 64];
        while recv.read_exact(&mut message).await.is_ok() {
            send.write_all(&message).await?;
        }
        Ok::<_, Failure>(())
    });
    let mut message = [7; 64];
    let started = Instant::now();
    for _ in 0..ROUND_TRIPS {
        send.write_all(&message).await?;
        recv.read_exact(&mut message).await?;
    }
    let took = started.elapsed() / ROUND_TRIPS;
    drop((send, recv, near));
    echo.await??;
    Ok(took)
}

type Bare = (quinn::Connection, quinn::Connection, [quinn::Endpoint; 2]);

async fn bare_connection() -> Result<Bare, Failure> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rcgen::KeyPair::generate()?;
    let params = rcgen::CertificateParams::new(vec!["bare".to_owned()])?;
    let certificate = params.self_signed(&key)?.der().clone();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate)?;
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();

    let mut mtu = quinn::MtuDiscoveryConfig::default();
    mtu.upper_bound(MTU_BYTES);
    let mut transport = quinn::TransportConfig::default();
    transport.mtu_discovery_config(Some(mtu));
    let transport = Arc::new(transport);
    let crypto = Arc::new(QuicServerConfig::try_from(server)?);
    let mut server = quinn::ServerConfig::with_crypto(crypto);
    server.transport_config(transport.clone());
    let mut client = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(client)?));
    client.transport_config(transport);

    let far_endpoint = bare_endpoint(Some(server))?;
    let near_endpoint = bare_endpoint(None)?;
    let connecting = near_endpoint.connect_with(client, far_endpoint.local_addr()?, "bare")?;
    let accepting =
        async { far_endpoint.accept().await.ok_or("closed")?.await.map_err(Failure::from) };
    let (near, far) = tokio::join!(connecting, accepting);
    Ok((near?, far?, [near_endpoint, far_endpoint]))
}

fn bare_endpoint(server: Option<quinn::ServerConfig>) -> Result<quinn::Endpoint, Failure> {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    let mut config = quinn::EndpointConfig::default();
    config.max_udp_payload_size(MTU_BYTES)?;
    Ok(quinn::Endpoint::new(config, server, socket, Arc::new(quinn::TokioRuntime))?)
}
