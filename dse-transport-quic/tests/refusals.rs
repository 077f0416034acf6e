//! Certificates that are not accepted: both ends are told which, why and what to do.

mod common;

use std::sync::Arc;

use common::{SOON, TestAuthority, Wanted, link, listen, node, socket_address, within};
use dse_core::transport::{Transport, TransportError};
use dse_transport_quic::{Identity, IdentityError, QuicTransport};
use quinn::crypto::rustls::QuicServerConfig;
use rcgen::ExtendedKeyUsagePurpose;

/// What the dialler and the listener are told.
async fn refusals(dialler: &QuicTransport, listener: &QuicTransport) -> [String; 2] {
    let (mut listener, at) = listen(listener, "quic://127.0.0.1:0").await;
    let both = async { tokio::join!(dialler.connect(&at), listener.accept()) };
    let (near, far) = within(SOON, "both are told", both).await;
    [near.err(), far.err()].map(|error| match error {
        Some(error @ TransportError::Refused { .. }) => error.to_string(),
        other => panic!("not refused: {other:?}"),
    })
}

fn assert_says(error: &str, words: &[&str]) {
    for word in words {
        assert!(error.contains(word), "it does not say {word:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_ca_is_refused() {
    let (a, b) = (TestAuthority::new().node("dse:a"), TestAuthority::new().node("dse:b"));
    let [dialler, listener] = refusals(&a, &b).await;
    assert_says(&dialler, &["its certificate is not accepted here", "another CA"]);
    assert_says(&listener, &["does not accept this node's certificate", "another CA"]);
}

/// The dialler trusts the listener, but not the other way round: in TLS 1.3 the dialler
/// is done before the listener has seen its certificate.
#[tokio::test(flavor = "multi_thread")]
async fn a_dialler_that_is_refused_learns_it_from_connect() {
    let ca = TestAuthority::new();
    let a = ca.node("dse:a");
    let (certificate, key) = TestAuthority::new().issue(Wanted::node("dse:b"));
    let trusting = ca.trusting(certificate, key);
    let [dialler, listener] = refusals(&node(trusting), &a).await;
    assert_says(&dialler, &["does not accept this node's certificate", "another CA"]);
    assert_says(&listener, &["its certificate is not accepted here", "another CA"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_certificates_are_refused() {
    let ca = TestAuthority::new();
    let good = ca.node("dse:good");
    let expired = node(ca.identity(Wanted { expired: true, ..Wanted::node("dse:old") }));
    let [dialler, listener] = refusals(&expired, &good).await;
    assert_says(&dialler, &["does not accept this node's certificate", "expired", "clocks"]);
    assert_says(&listener, &["its certificate is not accepted here", "expired"]);
    let [dialler, listener] = refusals(&good, &expired).await;
    assert_says(&dialler, &["its certificate is not accepted here", "expired"]);
    assert_says(&listener, &["does not accept this node's certificate", "expired"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_servers_alone_does_not_dial() {
    let ca = TestAuthority::new();
    let usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let server = node(ca.identity(Wanted { usages, ..Wanted::node("dse:server") }));
    let good = ca.node("dse:good");
    let [dialler, _] = refusals(&server, &good).await;
    assert_says(&dialler, &["does not accept this node's certificate", "key usage"]);
    let (mut listener, at) = listen(&server, "quic://127.0.0.1:0").await;
    link(&good, listener.as_mut(), &at).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dialler_without_certificate_or_name_is_refused() {
    let ca = TestAuthority::new();
    let a = ca.node("dse:a");
    let (mut listener, at) = listen(&a, "quic://127.0.0.1:0").await;
    let nameless = |uri| Some(ca.issue(Wanted { uri, ..Wanted::node("") }));
    for (certified, alpn, says) in [
        (None, "dse/1", "there is none"),
        (nameless(None), "dse/1", "names no node"),
        (nameless(Some("https://example.org")), "dse/1", "names no node"),
        (nameless(Some("dse:not a node")), "dse/1", "names no node"),
        (nameless(Some("dse:b")), "h3", "no DSE node"),
    ] {
        let stranger = ca.stranger(certified, alpn.as_bytes());
        let connecting = stranger.connect(socket_address(&at), "dse").expect("dial");
        let ending = async {
            match connecting.await {
                Ok(connection) => connection.closed().await,
                Err(error) => error,
            }
        };
        let both = async { tokio::join!(ending, listener.accept()) };
        let (_ended, refused) = within(SOON, "both are told", both).await;
        match refused {
            Err(error @ TransportError::Refused { .. }) => assert_says(&error.to_string(), &[says]),
            other => panic!("not refused: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_without_name_is_refused() {
    let ca = TestAuthority::new();
    let (certificate, key) = ca.issue(Wanted { uri: None, ..Wanted::node("") });
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a certificate");
    tls.alpn_protocols = vec![b"dse/1".to_vec()];
    let tls = QuicServerConfig::try_from(tls).expect("TLS for QUIC");
    let config = quinn::ServerConfig::with_crypto(Arc::new(tls));
    let server = quinn::Endpoint::server(config, ([127, 0, 0, 1], 0).into()).expect("a socket");
    let at = common::endpoint(&format!("quic://{}", server.local_addr().expect("an address")));
    let serving = async {
        let incoming = server.accept().await.expect("a dialler");
        incoming.await.expect("TLS is done").closed().await
    };
    let node = ca.node("dse:a");
    let both = async { tokio::join!(node.connect(&at), serving) };
    let (refused, told) = within(SOON, "both are told", both).await;
    assert_says(&refused.expect_err("no link").to_string(), &["names no node", at.as_str()]);
    assert_says(&told.to_string(), &["names no node"]);
}

#[test]
fn an_identity_is_checked_when_it_is_made() {
    let ca = TestAuthority::new();
    let (certificate, key) = ca.issue(Wanted { uri: None, ..Wanted::node("") });
    let made = Identity::new(vec![certificate], key, Vec::new());
    assert!(matches!(made, Err(IdentityError::NoName { .. })), "{made:?}");
    let (certificate, _) = ca.issue(Wanted::node("dse:a"));
    let (_, key) = ca.issue(Wanted::node("dse:a"));
    let made = Identity::new(vec![certificate], key, Vec::new());
    assert!(matches!(made, Err(IdentityError::Key { .. })), "{made:?}");
}
