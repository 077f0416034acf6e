//! The bus CA on disk: makes it, and issues certificates.
//!
//! ```text
//! <folder>/           mode 0700
//!     ca.pem          the CA's certificate: what nodes elsewhere trust
//!     ca.key          its key: whoever has it can be any node of the bus
//!     nodes/<name>.pem    identities of this machine, certificate and key
//! ```
//!
//! On one machine the same user is fully trusted: whoever can read the folder can issue
//! any certificate.
//!
//! Everything here blocks on the file system.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use dse_core::protocol::NodeId;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;

use crate::certificate::{CertificateInfo, NAME_SCHEME};
use crate::files::{self, Readers};
use crate::identity::{Identity, IdentityError};

/// How long a node's certificate is valid unless something else is asked for.
pub const VALIDITY: Duration = Duration::from_secs(365 * DAY_SECONDS);

const DAY_SECONDS: u64 = 24 * 60 * 60;

/// How long a CA is valid.
const CA_VALIDITY: Duration = Duration::from_secs(3650 * DAY_SECONDS);

/// Certificates begin this long before they are made: clocks differ.
const BACKDATED: Duration = Duration::from_secs(DAY_SECONDS);

/// An identity kept on disk is renewed when less than this is left of it.
const RENEWED_BEFORE_END: Duration = Duration::from_secs(30 * DAY_SECONDS);

const CERTIFICATE_FILE: &str = "ca.pem";
const KEY_FILE: &str = "ca.key";
const NODES_FOLDER: &str = "nodes";

/// A bus CA.
pub struct Authority {
    folder: PathBuf,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Opens the CA in a folder.
    ///
    /// # Errors
    /// There is none, or its files cannot be used.
    pub fn open(folder: &Path) -> Result<Self, AuthorityError> {
        let certificate_path = folder.join(CERTIFICATE_FILE);
        if !certificate_path.exists() {
            return Err(AuthorityError::Missing { folder: folder.into() });
        }
        let certificates = files::read_certificates(&certificate_path)?;
        let Some(certificate) = certificates.into_iter().next() else {
            return Err(IdentityError::NoCertificate { path: certificate_path }.into());
        };
        let key = files::read_key(&folder.join(KEY_FILE))?;
        let key = KeyPair::try_from(&key)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(Self { folder: folder.into(), certificate, issuer })
    }

    /// Opens the CA in a folder, or makes one there. Of several processes that do this at
    /// the same time one makes it and all get the same.
    ///
    /// # Errors
    /// The folder cannot be made, or its files cannot be used.
    pub fn open_or_create(folder: &Path) -> Result<Self, AuthorityError> {
        match Self::open(folder) {
            Err(AuthorityError::Missing { .. }) => {
                create(folder)?;
                Self::open(folder)
            }
            result => result,
        }
    }

    /// Issues a certificate for a node, with a new key. It is not kept here.
    ///
    /// # Errors
    /// The certificate cannot be made.
    pub fn issue(&self, name: &NodeId, validity: Duration) -> Result<Identity, AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name.as_str());
        params.subject_alt_names =
            vec![SanType::URI(format!("{NAME_SCHEME}{name}").as_str().try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, validity);
        let certificate = params.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        Ok(Identity::new(vec![certificate.der().clone()], key, vec![self.certificate.clone()])?)
    }

    /// The identity of a node of this machine: the one that is kept in the folder, or a
    /// new one, where there is none or it ends soon. So a node keeps its key when it is
    /// restarted.
    ///
    /// # Errors
    /// The identity cannot be read, made or written.
    pub fn identity(&self, name: &NodeId) -> Result<Identity, AuthorityError> {
        let nodes = self.folder.join(NODES_FOLDER);
        let path = nodes.join(format!("{name}.pem"));
        if path.exists() {
            let (chain, key) = files::read_pair(&path)?;
            let authorities = files::read_certificates(&self.certificate_path())?;
            let identity = Identity::new(chain, key, authorities)?;
            let renewed_from = identity.certificate()?.not_after - RENEWED_BEFORE_END;
            if SystemTime::now() < renewed_from {
                return Ok(identity);
            }
        }
        files::create_private_folder(&nodes)
            .map_err(|source| IdentityError::Write { path: nodes, source })?;
        let identity = self.issue(name, VALIDITY)?;
        let mut text = files::pem_certificates(identity.chain());
        text.push_str(&files::pem_key(identity.key()));
        files::replace(&path, Readers::Owner, &text)?;
        Ok(identity)
    }

    /// The file with the CA's certificate: what nodes elsewhere need beside their own.
    pub fn certificate_path(&self) -> PathBuf {
        self.folder.join(CERTIFICATE_FILE)
    }

    /// What the CA's certificate says.
    ///
    /// # Errors
    /// It is malformed.
    pub fn certificate(&self) -> Result<CertificateInfo, AuthorityError> {
        Ok(CertificateInfo::from_der(&self.certificate)?)
    }
}

impl std::fmt::Debug for Authority {
    /// Never shows the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// Why a CA cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// There is none.
    #[error("there is no bus CA in {folder}", folder = folder.display())]
    Missing {
        /// The folder.
        folder: PathBuf,
    },
    /// A file of it, or one that it was to write.
    #[error(transparent)]
    File(#[from] IdentityError),
    /// A certificate cannot be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
}

/// Makes the CA. It is written whole into a folder beside, which then gets its name: so
/// nobody ever sees half a CA, and the lock lets one process at a time do it.
fn create(folder: &Path) -> Result<(), AuthorityError> {
    let failed = |source| IdentityError::Write { path: folder.into(), source };
    if let Some(parent) = folder.parent() {
        files::create_private_folder(parent).map_err(failed)?;
    }
    let lock = lock(&with_suffix(folder, ".lock")).map_err(failed)?;
    if folder.join(CERTIFICATE_FILE).exists() {
        return Ok(());
    }
    let unfinished = with_suffix(folder, ".new");
    let (certificate, key) = generate()?;
    fill(&unfinished, &certificate, &key)
        .and_then(|()| fs::rename(&unfinished, folder))
        .and_then(|()| files::sync_folder_of(folder))
        .map_err(failed)?;
    drop(lock);
    Ok(())
}

fn generate() -> Result<(String, String), AuthorityError> {
    let key = KeyPair::generate()?;
    // Each CA has a name of its own, so that a certificate of another one is told from a
    // forged one.
    let digest = ring::digest::digest(&ring::digest::SHA256, key.public_key_raw());
    let mark: String = digest.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("DSE bus CA {mark}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, CA_VALIDITY);
    let certificate = params.self_signed(&key)?;
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    Ok((files::pem_certificates(&[certificate.der().clone()]), files::pem_key(&key)))
}

/// Under the lock, so what stands there is left over from a process that died.
fn fill(folder: &Path, certificate: &str, key: &str) -> io::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    files::create_private_folder(folder)?;
    files::write_new(&folder.join(CERTIFICATE_FILE), Readers::All, certificate)?;
    let key_path = folder.join(KEY_FILE);
    files::write_new(&key_path, Readers::Owner, key)?;
    files::sync_folder_of(&key_path)
}

/// Held until the file is dropped. The file stays: removing it would let two processes
/// hold locks on two files of one name.
fn lock(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    file.lock()?;
    Ok(file)
}

fn set_validity(params: &mut CertificateParams, validity: Duration) {
    let now = SystemTime::now();
    params.not_before = OffsetDateTime::from(now - BACKDATED);
    params.not_after = OffsetDateTime::from(now + validity);
}

fn with_suffix(folder: &Path, suffix: &str) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    folder.with_file_name(name)
}
