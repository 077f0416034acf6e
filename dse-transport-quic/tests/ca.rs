//! The bus CA on disk.
#![cfg(all(feature = "ca", unix))]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use common::{exchange, link, listen, node};
use dse_core::protocol::NodeId;
use dse_transport_quic::ca::{self, Authority, AuthorityError};
use dse_transport_quic::{CertificateInfo, Identity, IdentityError};

fn name(text: &str) -> NodeId {
    NodeId::new(text).expect("a node id")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it exists").permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_one_ca_link() {
    let folder = tempfile::tempdir().expect("a folder");
    let ca = Authority::open_or_create(&folder.path().join("ca")).expect("a CA");
    let a = node(ca.issue(&name("a"), ca::VALIDITY).expect("a certificate"));
    let b = node(ca.identity(&name("b")).expect("a certificate"));
    let (mut listener, at) = listen(&a, "quic://127.0.0.1:0").await;
    let (mut near, mut far) = link(&b, listener.as_mut(), &at).await;
    assert_eq!(far.identity.as_deref(), Some("b"));
    exchange(&mut near, &mut far).await;
}

#[test]
fn of_many_that_start_at_once_one_makes_the_ca() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("data").join("ca");
    assert!(matches!(Authority::open(&path), Err(AuthorityError::Missing { .. })));
    let fingerprints: Vec<String> = std::thread::scope(|scope| {
        let starting: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| Authority::open_or_create(&path).expect("a CA")))
            .collect();
        let ended = starting.into_iter().map(|thread| thread.join().expect("no panic"));
        ended.map(|ca| ca.certificate().expect("readable").sha256).collect()
    });
    assert!(fingerprints.iter().all(|sha256| *sha256 == fingerprints[0]), "{fingerprints:?}");
    let ca = Authority::open(&path).expect("it stands");
    assert_eq!(ca.certificate().expect("readable").sha256, fingerprints[0]);
}

#[test]
fn many_that_need_one_certificate_at_once_get_one_each_with_its_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let ca = Authority::open_or_create(&folder.path().join("ca")).expect("a CA");
    for round in 0..50 {
        let name = name(&format!("node-{round}"));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| ca.identity(&name).expect("a certificate and its key"));
            }
        });
    }
}

#[test]
fn what_is_left_of_a_maker_that_died_is_no_hindrance() {
    let folder = tempfile::tempdir().expect("a folder");
    let unfinished = folder.path().join("ca.new");
    fs::create_dir(&unfinished).expect("a folder");
    fs::write(unfinished.join("ca.pem"), "half").expect("a file");
    Authority::open_or_create(&folder.path().join("ca")).expect("a CA");
    assert!(!unfinished.exists());
}

#[test]
fn secrets_are_readable_by_their_owner_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ca");
    let ca = Authority::open_or_create(&path).expect("a CA");
    ca.identity(&name("a")).expect("an identity");
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join("ca.key")), 0o600);
    assert_eq!(mode(&path.join("nodes")), 0o700);
    assert_eq!(mode(&path.join("nodes/a.pem")), 0o600);

    fs::set_permissions(path.join("ca.key"), fs::Permissions::from_mode(0o640)).expect("chmod");
    let error = Authority::open(&path).expect_err("the key is exposed").to_string();
    assert!(error.contains("ca.key") && error.contains("640"), "{error}");
}

#[test]
fn an_identity_on_disk_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let ca = Authority::open_or_create(&folder.path().join("ca")).expect("a CA");
    let fingerprint =
        || ca.identity(&name("a")).expect("an identity").certificate().expect("readable").sha256;
    assert_eq!(fingerprint(), fingerprint());
}

#[test]
fn certificates_say_what_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let ca = Authority::open_or_create(&folder.path().join("ca")).expect("a CA");
    let info = CertificateInfo::load(&ca.certificate_path()).expect("readable");
    assert!(info.authority && info.name.is_none(), "{info:?}");
    assert_eq!(info.subject, info.issuer);

    let day = Duration::from_secs(24 * 60 * 60);
    let identity = ca.issue(&name("web-1"), 10 * day).expect("a certificate");
    let node = identity.certificate().expect("readable");
    assert_eq!((node.name, node.authority), (Some(name("web-1")), false));
    assert_eq!(node.issuer, info.subject);
    let now = SystemTime::now();
    assert!(node.not_before < now && now + 9 * day < node.not_after, "{:?}", node.not_after);
    assert_eq!(node.sha256.len(), 32 * 3 - 1);
    let shown = info.to_string();
    assert!(shown.contains("DSE bus CA") && shown.contains(&info.sha256), "{shown}");
}

#[test]
fn saved_identities_load_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |file: &str| folder.path().join(file);
    let ca = Authority::open_or_create(&at("ca")).expect("a CA");
    let identity = ca.issue(&name("web-1"), ca::VALIDITY).expect("a certificate");
    let [certificate, key, authority] = ["web-1.pem", "web-1.key", "bus.pem"].map(at);
    identity.save(&certificate, &key, &authority).expect("saved");
    assert_eq!(mode(&key), 0o600);
    let loaded = Identity::load(&certificate, &key, &authority).expect("loaded");
    assert_eq!(loaded.name(), &name("web-1"));

    let error = Identity::load(&at("none.pem"), &key, &authority).expect_err("no such file");
    assert!(error.to_string().contains("none.pem"), "{error}");
    let error = Identity::load(&certificate, &certificate, &authority);
    assert!(matches!(error, Err(IdentityError::Exposed { .. })), "{error:?}");
    let error = Identity::load(&key, &key, &authority);
    assert!(matches!(error, Err(IdentityError::NoCertificate { .. })), "{error:?}");
    fs::write(&certificate, "-----BEGIN CERTIFICATE-----\nnot base64!\n").expect("a file");
    let error = Identity::load(&certificate, &key, &authority);
    assert!(matches!(error, Err(IdentityError::Pem { .. })), "{error:?}");
    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(&certificate, no_certificate).expect("a file");
    let error = Identity::load(&certificate, &key, &authority).expect_err("no certificate");
    assert!(error.to_string().contains("web-1.pem holds a malformed certificate"), "{error}");
}
