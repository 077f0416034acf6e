//! Certificates and keys in files.

use std::fs;
use std::path::Path;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::certificate;
use crate::identity::IdentityError;

/// The certificates of a PEM file, at least one, and all well formed.
pub(crate) fn read_certificates(
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    certificates_in(path, &read(path)?)
}

/// The private key of a PEM file that only its owner can read.
pub(crate) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, IdentityError> {
    key_in(path, &read(path)?)
}

/// Both from one file, which another process may replace at any time.
#[cfg(feature = "ca")]
pub(crate) fn read_pair(
    path: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), IdentityError> {
    let text = read(path)?;
    Ok((certificates_in(path, &text)?, key_in(path, &text)?))
}

fn certificates_in(
    path: &Path,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(|error| IdentityError::Pem { path: path.into(), why: error.to_string() })?;
    if certificates.is_empty() {
        return Err(IdentityError::NoCertificate { path: path.into() });
    }
    for certificate in &certificates {
        certificate::parse(certificate)
            .map_err(|why| IdentityError::MalformedFile { path: path.into(), why })?;
    }
    Ok(certificates)
}

fn key_in(path: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, IdentityError> {
    check_private(path)?;
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        PemError::NoItemsFound => IdentityError::NoKey { path: path.into() },
        error => IdentityError::Pem { path: path.into(), why: error.to_string() },
    })
}

fn read(path: &Path) -> Result<Vec<u8>, IdentityError> {
    fs::read(path).map_err(|source| IdentityError::Read { path: path.into(), source })
}

#[cfg(unix)]
fn check_private(path: &Path) -> Result<(), IdentityError> {
    use std::os::unix::fs::PermissionsExt;
    let metadata =
        fs::metadata(path).map_err(|source| IdentityError::Read { path: path.into(), source })?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(IdentityError::Exposed { path: path.into(), mode });
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_private(_path: &Path) -> Result<(), IdentityError> {
    Ok(())
}

#[cfg(feature = "ca")]
pub(crate) use write::*;

#[cfg(feature = "ca")]
mod write {
    use std::fs::{self, DirBuilder, File, OpenOptions};
    use std::io::{self, Write};
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    use crate::identity::IdentityError;

    /// Who may read a file.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Readers {
        /// Its owner alone.
        Owner,
        /// Everybody whom the folder lets in.
        All,
    }

    pub(crate) fn pem_certificates(certificates: &[CertificateDer<'_>]) -> String {
        let sections: Vec<_> = certificates
            .iter()
            .map(|certificate| pem::Pem::new("CERTIFICATE", certificate.as_ref()))
            .collect();
        pem::encode_many(&sections)
    }

    pub(crate) fn pem_key(key: &PrivateKeyDer<'_>) -> String {
        let label = match key {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        pem::encode(&pem::Pem::new(label, key.secret_der()))
    }

    /// Puts a whole file in place of whatever is at the path, so that nobody ever reads
    /// half of it.
    pub(crate) fn replace(path: &Path, readers: Readers, text: &str) -> Result<(), IdentityError> {
        let beside = beside(path);
        write_new(&beside, readers, text)
            .and_then(|()| fs::rename(&beside, path))
            .and_then(|()| sync_folder_of(path))
            .map_err(|source| {
                let _ = fs::remove_file(&beside);
                IdentityError::Write { path: path.into(), source }
            })
    }

    /// Writes a file that does not exist, down to the disk.
    pub(crate) fn write_new(path: &Path, readers: Readers, text: &str) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        set_mode(&mut options, readers);
        let mut file = options.open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }

    /// Makes a folder that only its owner can enter, and those above it.
    pub(crate) fn create_private_folder(path: &Path) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path)
    }

    /// Makes a rename in the folder of this path survive a power failure.
    pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
            _ => File::open(".")?.sync_all(),
        }
    }

    fn set_mode(options: &mut OpenOptions, readers: Readers) {
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(
            options,
            match readers {
                Readers::Owner => 0o600,
                Readers::All => 0o644,
            },
        );
        #[cfg(not(unix))]
        let _ = (options, readers);
    }

    /// A name in the same folder that no other writer uses.
    fn beside(path: &Path) -> PathBuf {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}-{number}.new", std::process::id()));
        path.with_file_name(name)
    }
}
