//! Who a node is on the bus.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dse_core::protocol::NodeId;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::certificate::{self, CertificateInfo};
use crate::files;

/// Who a node is: its certificate, the key to it, and the CA that it trusts. Cloning
/// shares them.
#[derive(Clone)]
pub struct Identity {
    inner: Arc<Inner>,
}

struct Inner {
    name: NodeId,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    authorities: Vec<CertificateDer<'static>>,
}

impl Identity {
    /// Takes a certificate with what leads from it to the CA, its key, and the CA's
    /// own certificate (or several, while a bus changes its CA).
    ///
    /// Validity in time is not checked here: it can end while the node runs, and the
    /// peers check it at every link.
    ///
    /// # Errors
    /// The certificate names no node, or key and certificate do not belong together.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        authorities: Vec<CertificateDer<'static>>,
    ) -> Result<Self, IdentityError> {
        let leaf = chain.first().ok_or(IdentityError::EmptyChain)?;
        let info = CertificateInfo::from_der(leaf)?;
        let name = info.name.ok_or(IdentityError::NoName { subject: info.subject })?;
        let provider = rustls::crypto::ring::default_provider();
        CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider)
            .map_err(|error| IdentityError::Key { why: error.to_string() })?;
        Ok(Self { inner: Arc::new(Inner { name, chain, key, authorities }) })
    }

    /// Loads PEM files: the certificate (followed by what leads from it to the CA, if
    /// anything does), its key, and the certificate of the bus CA.
    ///
    /// # Errors
    /// A file cannot be read or does not hold what it should; others than the owner
    /// can read the key; or the parts do not belong together.
    pub fn load(certificate: &Path, key: &Path, authority: &Path) -> Result<Self, IdentityError> {
        let chain = files::read_certificates(certificate)?;
        let key = files::read_key(key)?;
        Self::new(chain, key, files::read_certificates(authority)?)
    }

    /// Saves PEM files, such as [`Identity::load`] reads. The key's file is readable by
    /// the owner alone. Files that exist are replaced.
    ///
    /// # Errors
    /// A file cannot be written.
    #[cfg(feature = "ca")]
    pub fn save(
        &self,
        certificate: &Path,
        key: &Path,
        authority: &Path,
    ) -> Result<(), IdentityError> {
        files::replace(key, files::Readers::Owner, &files::pem_key(self.key()))?;
        let chain = files::pem_certificates(self.chain());
        files::replace(certificate, files::Readers::All, &chain)?;
        let authorities = files::pem_certificates(self.authorities());
        files::replace(authority, files::Readers::All, &authorities)
    }

    /// The name in the certificate.
    pub fn name(&self) -> &NodeId {
        &self.inner.name
    }

    /// What the certificate says.
    ///
    /// # Errors
    /// None in practice: the certificate was read before.
    pub fn certificate(&self) -> Result<CertificateInfo, IdentityError> {
        let leaf = self.inner.chain.first().ok_or(IdentityError::EmptyChain)?;
        CertificateInfo::from_der(leaf)
    }

    pub(crate) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.inner.chain
    }

    pub(crate) fn key(&self) -> &PrivateKeyDer<'static> {
        &self.inner.key
    }

    pub(crate) fn authorities(&self) -> &[CertificateDer<'static>] {
        &self.inner.authorities
    }
}

impl std::fmt::Debug for Identity {
    /// Never shows the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("name", self.name()).finish_non_exhaustive()
    }
}

/// Why certificates and keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file or folder cannot be written.
    #[error("cannot write {path}: {source}", path = path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is no PEM.
    #[error("{path} is not PEM: {why}", path = path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A PEM file without a certificate.
    #[error(
        "{path} holds no certificate; it should have a section BEGIN CERTIFICATE",
        path = path.display()
    )]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A PEM file without a private key.
    #[error(
        "{path} holds no private key; it should have a section BEGIN PRIVATE KEY",
        path = path.display()
    )]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// Others than the owner can read a private key.
    #[error(
        "the private key {path} has mode {mode:03o}, so others than its owner can read it; \
         run chmod 600 on it, and issue a new one if others had access to this machine",
        path = path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// No certificate was given.
    #[error("there is no certificate")]
    EmptyChain,
    /// A PEM file with something else than a certificate where one should be.
    #[error("{path} holds a malformed certificate: {why}", path = path.display())]
    MalformedFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A certificate cannot be read.
    #[error("malformed certificate: {why}")]
    Malformed {
        /// What is wrong.
        why: String,
    },
    /// The certificate names no node.
    #[error(
        "the certificate of {subject} names no node: it has no alternative name (SAN) \
         dse:<name>; issue one with `dse-node ca issue <name>`"
    )]
    NoName {
        /// Its subject.
        subject: String,
    },
    /// The private key cannot be used, or is not the certificate's.
    #[error("the private key does not fit the certificate: {why}")]
    Key {
        /// What is wrong.
        why: String,
    },
    /// What was given cannot be used for TLS.
    #[error("certificates and key cannot be used for TLS: {why}")]
    Tls {
        /// What is wrong.
        why: String,
    },
}

/// The name that a peer's verified chain stands for.
pub(crate) fn peer_name(chain: &[CertificateDer<'_>]) -> Option<NodeId> {
    certificate::name_of(chain.first()?)
}
