//! Which transports there are, and how the program makes them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Result;
use dse_core::protocol::{Endpoint, NodeId};
use dse_core::transport::Transport;
use serde::{Deserialize, Deserializer};

use crate::context::Context;
use crate::outcome::usage;
use crate::settings::{Settings, TlsFiles};

/// A transport by its scheme, in the order in which one is chosen where nothing says
/// which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// QUIC with mutual TLS.
    Quic,
    /// ZeroMQ.
    Zmq,
    /// Within one process.
    Mem,
}

const ALL: [Scheme; 3] = [Scheme::Quic, Scheme::Zmq, Scheme::Mem];

impl Scheme {
    /// The first transport that this program was built with.
    pub fn default_choice() -> Option<Self> {
        ALL.into_iter().find(|scheme| scheme.is_built_in())
    }

    /// The transport of an endpoint.
    ///
    /// # Errors
    /// The endpoint, and what schemes there are.
    pub fn of(endpoint: &Endpoint) -> Result<Self, String> {
        endpoint.scheme().parse().map_err(|error| format!("cannot use {endpoint}: {error}"))
    }

    /// Its name, as before `://`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Zmq => "zmq",
            Self::Mem => "mem",
        }
    }

    fn is_built_in(self) -> bool {
        match self {
            Self::Quic => cfg!(feature = "quic"),
            Self::Zmq => cfg!(feature = "zmq"),
            Self::Mem => cfg!(feature = "mem"),
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scheme {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let built_in: Vec<_> =
            ALL.into_iter().filter(|scheme| scheme.is_built_in()).map(Self::name).collect();
        match ALL.into_iter().find(|scheme| scheme.name() == text) {
            Some(scheme) if scheme.is_built_in() => Ok(scheme),
            Some(_) => Err(format!(
                "this dse-node was built without the transport {text}; build it with `--features {text}`, or use {}",
                built_in.join(" or ")
            )),
            None => Err(format!("there is no transport {text:?}; use {}", built_in.join(" or "))),
        }
    }
}

impl<'de> Deserialize<'de> for Scheme {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Makes the transport for a command's node.
///
/// # Errors
/// What it needs is missing or cannot be used.
#[allow(unused_variables, reason = "each transport takes what it needs of these")]
pub async fn open(
    scheme: Scheme,
    settings: &Settings,
    context: &Context,
) -> Result<Arc<dyn Transport>> {
    match scheme {
        #[cfg(feature = "quic")]
        Scheme::Quic => quic::open(settings).await,
        #[cfg(feature = "zmq")]
        Scheme::Zmq => {
            use dse_transport_zmq::{ZmqConfig, ZmqTransport};
            Ok(Arc::new(ZmqTransport::new(ZmqConfig {
                runtime_dir: settings.folders.runtime_of(&settings.bus)?,
                trust_network: settings.zmq_trust_network,
            })))
        }
        #[cfg(feature = "mem")]
        Scheme::Mem => Ok(Arc::new(dse_transport_mem::MemTransport::new(&context.mem_scope))),
        // Settings name no transport that is not built in.
        #[allow(unreachable_patterns, reason = "with all features every scheme is above")]
        other => Err(usage(format!("this dse-node was built without the transport {other}"))),
    }
}

#[cfg(feature = "quic")]
pub use quic::{authority_folder, name_in_certificate};

#[cfg(feature = "quic")]
mod quic {
    use std::path::PathBuf;

    use dse_transport_quic::ca::Authority;
    use dse_transport_quic::{CertificateInfo, Identity, QuicConfig, QuicTransport};
    use tokio::task::spawn_blocking;

    use super::{Arc, NodeId, Result, Settings, TlsFiles, Transport, usage};

    pub(super) async fn open(settings: &Settings) -> Result<Arc<dyn Transport>> {
        let tls = settings.tls.clone();
        let name = settings.name.clone();
        let folder = authority_folder(settings)?;
        let identity = spawn_blocking(move || match tls {
            Some(files) => given(&files, &name),
            None => Ok(Authority::open_or_create(&folder)?.identity(&name)?),
        });
        let config = QuicConfig::new(identity.await??);
        Ok(Arc::new(QuicTransport::new(config)?))
    }

    fn given(files: &TlsFiles, name: &NodeId) -> Result<Identity> {
        let identity = Identity::load(&files.cert, &files.key, &files.ca)?;
        if !CertificateInfo::load(&files.ca)?.authority {
            let shown = files.ca.display();
            return Err(usage(format!(
                "the certificate {shown} is no authority's: give with --ca the ca.crt that came with it"
            )));
        }
        let certified = identity.name();
        let rest = name.as_str().strip_prefix(certified.as_str());
        if !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.')) {
            let shown = files.cert.display();
            return Err(usage(format!(
                "the certificate {shown} is for {certified}, not for {name}: use --name {certified}, or issue one with `dse-node ca issue {name}`"
            )));
        }
        Ok(identity)
    }

    /// Where the authority of the bus is, if it is on this machine.
    ///
    /// # Errors
    /// The data folder cannot be used.
    pub fn authority_folder(settings: &Settings) -> Result<PathBuf> {
        Ok(settings.folders.data_of(&settings.bus)?.join("ca"))
    }

    /// The name that a given certificate is for.
    ///
    /// # Errors
    /// The certificate cannot be read.
    pub fn name_in_certificate(files: Option<&TlsFiles>) -> Result<Option<NodeId>> {
        match files {
            Some(files) => Ok(CertificateInfo::load(&files.cert)?.name),
            None => Ok(None),
        }
    }
}

/// Without QUIC there are no certificates.
///
/// # Errors
/// Certificates are given all the same, as wrong usage.
#[cfg(not(feature = "quic"))]
pub fn name_in_certificate(files: Option<&TlsFiles>) -> Result<Option<NodeId>> {
    match files {
        Some(_) => Err(usage("this dse-node was built without quic, which alone has certificates")),
        None => Ok(None),
    }
}
