//! What the tests share: a CA that issues anything, nodes, lanes as futures, and peers
//! that are no nodes.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dse_core::data::{DataFrame, FrameWriter, Headers};
use dse_core::protocol::Endpoint;
use dse_core::transport::{
    ControlReceiver, ControlSender, DataSender, Link, Listener, Transport, TransportError,
};
use dse_transport_quic::{Identity, QuicConfig, QuicTransport};
use quinn::crypto::rustls::QuicClientConfig;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;
use tokio::net::UdpSocket;
use tokio::sync::Notify;

/// For what takes no time but that of a loaded machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Waits, and fails the test with `what` at the deadline.
pub(crate) async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(done) => done,
        Err(_) => panic!("not within {limit:?}: {what}"),
    }
}

/// A CA that issues also what no bus CA would.
pub(crate) struct TestAuthority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// What is asked of it.
pub(crate) struct Wanted {
    pub(crate) uri: Option<&'static str>,
    pub(crate) expired: bool,
    pub(crate) usages: Vec<ExtendedKeyUsagePurpose>,
}

impl Wanted {
    pub(crate) fn node(name: &'static str) -> Self {
        let usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        Self { uri: Some(name), expired: false, usages }
    }
}

pub(crate) type Certified = (CertificateDer<'static>, PrivateKeyDer<'static>);

impl TestAuthority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.distinguished_name.push(DnType::CommonName, format!("test CA {:?}", key_mark(&key)));
        let certificate = params.self_signed(&key).expect("a certificate").der().clone();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn issue(&self, wanted: Wanted) -> Certified {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        if let Some(uri) = wanted.uri {
            params.subject_alt_names = vec![SanType::URI(uri.try_into().expect("a URI"))];
        }
        if wanted.expired {
            params.not_after = OffsetDateTime::now_utc() - time::Duration::hours(1);
        }
        params.extended_key_usages = wanted.usages;
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.der().clone(), PrivateKeyDer::Pkcs8(key.serialize_der().into()))
    }

    pub(crate) fn identity(&self, wanted: Wanted) -> Identity {
        let (certificate, key) = self.issue(wanted);
        self.trusting(certificate, key)
    }

    /// An identity, maybe of another CA, that trusts this one.
    pub(crate) fn trusting(
        &self,
        certificate: CertificateDer<'static>,
        key: PrivateKeyDer<'static>,
    ) -> Identity {
        let authorities = vec![self.certificate.clone()];
        Identity::new(vec![certificate], key, authorities).expect("an identity")
    }

    /// A node with a good certificate; the name is `dse:` and the node's.
    pub(crate) fn node(&self, name: &'static str) -> QuicTransport {
        node(self.identity(Wanted::node(name)))
    }

    /// A client that is no node, with whatever certificate. It believes any server.
    pub(crate) fn stranger(&self, certified: Option<Certified>, alpn: &[u8]) -> quinn::Endpoint {
        self.stranger_at([127, 0, 0, 1], certified, alpn)
    }

    /// The same, at this address.
    pub(crate) fn stranger_at(
        &self,
        ip: [u8; 4],
        certified: Option<Certified>,
        alpn: &[u8],
    ) -> quinn::Endpoint {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Gullible(provider)));
        let mut tls = match certified {
            Some((certificate, key)) => {
                builder.with_client_auth_cert(vec![certificate], key).expect("a certificate")
            }
            None => builder.with_no_client_auth(),
        };
        tls.alpn_protocols = vec![alpn.to_vec()];
        let tls = QuicClientConfig::try_from(tls).expect("TLS for QUIC");
        let any = SocketAddr::from((ip, 0));
        let mut endpoint = quinn::Endpoint::client(any).expect("a socket");
        endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(tls)));
        endpoint
    }
}

/// Believes every server.
#[derive(Debug)]
struct Gullible(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &rustls::pki_types::ServerName<'_>,
        _ocsp_response: &[u8],
        _now: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

pub(crate) fn node(identity: Identity) -> QuicTransport {
    QuicTransport::new(QuicConfig::new(identity)).expect("a transport")
}

pub(crate) fn endpoint(text: &str) -> Endpoint {
    Endpoint::new(text).expect("an endpoint")
}

pub(crate) async fn listen(node: &QuicTransport, at: &str) -> (Box<dyn Listener>, Endpoint) {
    let listener = within(SOON, "bind", node.bind(&endpoint(at))).await.expect("bind");
    let at = listener.endpoints().into_iter().next().expect("an endpoint");
    (listener, at)
}

/// Links `dialler` to the listener.
pub(crate) async fn link(
    dialler: &QuicTransport,
    listener: &mut dyn Listener,
    at: &Endpoint,
) -> (Link, Link) {
    let both = async { tokio::join!(dialler.connect(at), listener.accept()) };
    let (near, far) = within(SOON, "connect and accept", both).await;
    (near.expect("connect"), far.expect("accept"))
}

pub(crate) fn socket_address(endpoint: &Endpoint) -> SocketAddr {
    endpoint.address().parse().expect("a socket address")
}

pub(crate) async fn send_control(
    sender: &mut dyn ControlSender,
    frames: impl IntoIterator<Item = Bytes>,
) -> Result<(), TransportError> {
    let mut frames: VecDeque<Bytes> = frames.into_iter().collect();
    poll_fn(|cx| sender.poll_send(cx, &mut frames)).await
}

/// The frames of the next call that has some.
pub(crate) async fn recv_control(
    receiver: &mut dyn ControlReceiver,
) -> Result<Vec<Bytes>, TransportError> {
    let mut frames = Vec::new();
    poll_fn(|cx| receiver.poll_recv(cx, &mut frames)).await?;
    Ok(frames)
}

pub(crate) async fn send_data(
    sender: &mut dyn DataSender,
    frame: DataFrame,
) -> Result<(), TransportError> {
    let mut frame = Some(frame);
    poll_fn(|cx| sender.poll_send(cx, &mut frame)).await
}

/// A frame of one sample.
pub(crate) fn data_frame(payload: Bytes) -> DataFrame {
    let mut writer = FrameWriter::new();
    writer.sample((1, 1, 0), &Headers::new(), &payload);
    writer.take().expect("a sample")
}

/// A frame there and one back, on the control lane.
pub(crate) async fn exchange(near: &mut Link, far: &mut Link) {
    let hello = Bytes::from_static(b"hello");
    for turn in 0..2 {
        let (from, to) = if turn == 0 { (&mut *near, &mut *far) } else { (&mut *far, &mut *near) };
        let passing = async {
            send_control(from.control_sender.as_mut(), [hello.clone()]).await?;
            recv_control(to.control_receiver.as_mut()).await
        };
        let frames = within(SOON, "a control frame", passing).await.expect("the link is up");
        assert_eq!(frames, std::slice::from_ref(&hello));
    }
}

/// Passes datagrams between one dialler and a listener, unless it is cut.
pub(crate) struct Way {
    pub(crate) endpoint: Endpoint,
    pub(crate) cut: Arc<AtomicBool>,
    /// Told of each datagram, also of those that are swallowed.
    pub(crate) used: Arc<Notify>,
    task: tokio::task::JoinHandle<()>,
}

impl Way {
    pub(crate) async fn to(listener: SocketAddr) -> Self {
        let socket = || UdpSocket::bind("127.0.0.1:0");
        let near = socket().await.expect("a socket");
        let far = socket().await.expect("a socket");
        far.connect(listener).await.expect("loopback");
        let endpoint = endpoint(&format!("quic://{}", near.local_addr().expect("it is bound")));
        let (cut, used) = (Arc::<AtomicBool>::default(), Arc::<Notify>::default());
        let task = tokio::spawn(relay(near, far, cut.clone(), used.clone()));
        Self { endpoint, cut, used, task }
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(near: UdpSocket, far: UdpSocket, cut: Arc<AtomicBool>, used: Arc<Notify>) {
    let mut dialler = None;
    let (mut there, mut back) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        let (to, bytes) = tokio::select! {
            Ok((len, from)) = near.recv_from(&mut there) => {
                dialler = Some(from);
                (None, &there[..len])
            }
            Ok(len) = far.recv(&mut back) => (dialler, &back[..len]),
            else => return,
        };
        used.notify_one();
        if cut.load(Ordering::Relaxed) {
            continue;
        }
        // Loopback loses what it cannot take, as any way may.
        let _ = match to {
            Some(dialler) => near.send_to(bytes, dialler).await,
            None => far.send(bytes).await,
        };
    }
}

fn key_mark(key: &KeyPair) -> Vec<u8> {
    key.public_key_raw().iter().take(8).copied().collect()
}
