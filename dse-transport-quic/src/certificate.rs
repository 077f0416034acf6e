//! What a certificate says.

use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use dse_core::protocol::NodeId;
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

use crate::files;
use crate::identity::IdentityError;

/// The scheme of the URI among a certificate's alternative names that names the node.
pub(crate) const NAME_SCHEME: &str = "dse:";

/// What a certificate says, for people and for checks before it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// The subject's distinguished name.
    pub subject: String,
    /// The issuer's distinguished name.
    pub issuer: String,
    /// The node that it names by its SAN URI `dse:<name>`; a CA's names none.
    pub name: Option<NodeId>,
    /// May it issue others?
    pub authority: bool,
    /// From when it is valid.
    pub not_before: SystemTime,
    /// Until when it is valid.
    pub not_after: SystemTime,
    /// The SHA-256 of the certificate, as pairs of hexadecimal digits.
    pub sha256: String,
}

impl CertificateInfo {
    /// Reads a certificate in DER form.
    ///
    /// # Errors
    /// [`IdentityError::Malformed`].
    pub fn from_der(der: &[u8]) -> Result<Self, IdentityError> {
        let parsed = parse(der).map_err(|why| IdentityError::Malformed { why })?;
        Ok(Self {
            subject: parsed.subject().to_string(),
            issuer: parsed.issuer().to_string(),
            name: node_name(&parsed),
            authority: parsed.is_ca(),
            not_before: system_time(parsed.validity().not_before),
            not_after: system_time(parsed.validity().not_after),
            sha256: fingerprint(der),
        })
    }

    /// Reads the first certificate of a PEM file.
    ///
    /// # Errors
    /// The file cannot be read or holds no certificate.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let certificates = files::read_certificates(path)?;
        certificates.first().map_or_else(
            || Err(IdentityError::NoCertificate { path: path.into() }),
            |first| Self::from_der(first),
        )
    }
}

impl fmt::Display for CertificateInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "subject:     {}", self.subject)?;
        if let Some(name) = &self.name {
            writeln!(f, "name:        {name}")?;
        }
        writeln!(f, "issuer:      {}", self.issuer)?;
        writeln!(f, "authority:   {}", if self.authority { "yes" } else { "no" })?;
        writeln!(f, "valid from:  {}", date(self.not_before))?;
        writeln!(f, "valid until: {}", date(self.not_after))?;
        write!(f, "SHA-256:     {}", self.sha256)
    }
}

/// A certificate in DER form, or what is wrong with it.
pub(crate) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    X509Certificate::from_der(der).map(|(_, parsed)| parsed).map_err(|error| error.to_string())
}

/// The name of the node that a certificate belongs to.
pub(crate) fn name_of(certificate: &CertificateDer<'_>) -> Option<NodeId> {
    node_name(&parse(certificate).ok()?)
}

fn node_name(certificate: &X509Certificate<'_>) -> Option<NodeId> {
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => NodeId::new(uri.strip_prefix(NAME_SCHEME)?).ok(),
        _ => None,
    })
}

fn fingerprint(der: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, der);
    let pairs: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    pairs.join(":")
}

/// Times before 1970 become 1970: no certificate of a bus is that old.
fn system_time(time: ASN1Time) -> SystemTime {
    let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn date(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| ASN1Time::from_timestamp(seconds).ok())
        .map_or_else(|| "unknown".to_owned(), |time| time.to_string())
}
