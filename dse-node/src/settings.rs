//! What a command is to do, once flags, environment and configuration file are one:
//! everything is checked, every default is filled in.

use std::path::PathBuf;

use anyhow::Result;
use dse_core::protocol::{BusId, Endpoint, NodeId};

use crate::folders::Folders;
use crate::options::Options;
use crate::outcome::usage;
use crate::transports::{self, Scheme};

/// Longest name for which every suffix of a command leaves a valid node id.
const NAME_BYTES: usize = 48;

/// A command's settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The bus to be on.
    pub bus: BusId,
    /// The name that ids and certificates are made of.
    pub name: NodeId,
    /// The transports to use, each once.
    pub schemes: Vec<Scheme>,
    /// Where to listen, as far as it is said.
    pub listen: Vec<Endpoint>,
    /// What to tell others instead of where the node listens.
    pub advertise: Vec<Endpoint>,
    /// Whom to join.
    pub join: Vec<Endpoint>,
    /// Certificate, key and authority, if they are given.
    pub tls: Option<TlsFiles>,
    /// How long a closely watched peer may be silent, if it is said.
    pub detect_ms: Option<u64>,
    /// May ZeroMQ use TCP beyond the loopback address?
    pub zmq_trust_network: bool,
    /// Where things are kept.
    pub folders: Folders,
}

/// What proves on QUIC who a node is: PEM files.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The node's certificate.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authority's certificate.
    pub ca: PathBuf,
}

impl Settings {
    /// Checks the options and fills in what they leave open.
    ///
    /// # Errors
    /// Options that do not go together, as wrong usage.
    pub fn new(options: Options) -> Result<Self> {
        let tls = match (options.cert, options.key, options.ca) {
            (Some(cert), Some(key), Some(ca)) => Some(TlsFiles { cert, key, ca }),
            (None, None, None) => None,
            _ => return Err(usage("--cert, --key and --ca go together: give all three or none")),
        };
        let name = match options.name {
            Some(name) => name,
            None => transports::name_in_certificate(tls.as_ref())?.map_or_else(name_of_host, Ok)?,
        };
        if options.listen.is_empty() && !options.advertise.is_empty() {
            return Err(usage("--advertise needs --listen: say where the node listens"));
        }
        let bus = match options.bus {
            Some(bus) => bus,
            None => BusId::new("default")?,
        };
        Ok(Self {
            bus,
            name,
            schemes: schemes(options.transport, &options.listen, &options.join)?,
            listen: options.listen,
            advertise: options.advertise,
            join: options.join,
            tls,
            detect_ms: options.detect_ms,
            zmq_trust_network: options.zmq_trust_network.unwrap_or_default(),
            folders: Folders::choose(options.runtime_dir, options.data_dir),
        })
    }

    /// A node id of this name for one run of a command, as in `web-1.sub-8f3a21c0`.
    ///
    /// # Errors
    /// The name leaves no room for it, as wrong usage.
    pub fn passing_id(&self, command: &str) -> Result<NodeId> {
        if self.name.as_str().len() > NAME_BYTES {
            return Err(usage(format!(
                "the name {} is too long for `{command}`, which adds a suffix: use at most {NAME_BYTES} characters",
                self.name
            )));
        }
        let mut random = [0; 4];
        getrandom::fill(&mut random)?;
        let random = u32::from_ne_bytes(random);
        Ok(NodeId::new(format!("{}.{command}-{random:08x}", self.name))?)
    }
}

/// All transports that the options name, else the default one.
fn schemes(chosen: Option<Scheme>, listen: &[Endpoint], join: &[Endpoint]) -> Result<Vec<Scheme>> {
    let mut schemes: Vec<Scheme> = chosen.into_iter().collect();
    for endpoint in listen.iter().chain(join) {
        schemes.push(Scheme::of(endpoint).map_err(usage)?);
    }
    if schemes.is_empty() {
        schemes.extend(Scheme::default_choice());
    }
    if schemes.is_empty() {
        return Err(usage("this dse-node was built without any transport"));
    }
    schemes.sort_unstable();
    schemes.dedup();
    Ok(schemes)
}

/// The host's name as a node id.
fn name_of_host() -> Result<NodeId> {
    let host = sysinfo::System::host_name().unwrap_or_default();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let name: String =
        host.chars().take(NAME_BYTES).map(|c| if allowed(c) { c } else { '-' }).collect();
    Ok(NodeId::new(&name).or_else(|_| NodeId::new("node"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> Endpoint {
        text.parse().expect("a valid endpoint")
    }

    #[test]
    fn transports_come_from_urls_and_flag() {
        let listen = [endpoint("zmq://127.0.0.1:0")];
        assert_eq!(schemes(None, &listen, &[]).expect("known"), [Scheme::Zmq]);
        assert_eq!(
            schemes(Some(Scheme::Quic), &listen, &[]).expect("known"),
            [Scheme::Quic, Scheme::Zmq]
        );
        let unknown = schemes(None, &[endpoint("tcp://a:1")], &[]).expect_err("no such transport");
        assert!(unknown.to_string().contains("there is no transport \"tcp\""), "{unknown}");
    }

    #[test]
    fn half_of_a_certificate_is_wrong_usage() {
        let options = Options { cert: Some("a.pem".into()), ..Options::default() };
        let error = Settings::new(options).expect_err("key and authority are missing");
        assert_eq!(crate::outcome::status_of(&error), 2);
    }
}
