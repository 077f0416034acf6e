//! What flags, environment and configuration file have in common: one struct, so
//! that a name is the same in all three.

use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;
use dse_core::protocol::{BusId, Endpoint, NodeId};
use serde::Deserialize;

use crate::transports::Scheme;

/// The options that every command takes, and that a configuration file may set.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[command(next_help_heading = "Options of every command")]
pub struct Options {
    /// The bus to be on: nodes of different buses never meet [default: default].
    #[arg(long, global = true, env = "DSE_BUS", hide_env_values = true, value_name = "ID")]
    pub bus: Option<BusId>,

    /// This node's name, unique on its bus [default: the host's name].
    ///
    /// `run` takes it as its node id; every other command adds a suffix of its own, as
    /// in `web-1.sub-8f3a21`. Over QUIC the certificate must be for this name.
    #[arg(long, global = true, env = "DSE_NAME", hide_env_values = true, value_name = "ID")]
    pub name: Option<NodeId>,

    /// The transport to use where no URL says it [default: quic].
    #[arg(long, global = true, env = "DSE_TRANSPORT", hide_env_values = true, value_name = "NAME")]
    pub transport: Option<Scheme>,

    /// Listen at this URL, as quic://HOST:PORT, zmq://HOST:PORT or zmq://ipc; repeat for
    /// more [default: a free port of the loopback address, or of every address if --join
    /// names another machine; zmq: see --help].
    ///
    /// Port 0 is any free port. On a wildcard address (`0.0.0.0`, `[::]`) the node tells
    /// others the addresses of its interfaces, or what --advertise says.
    ///
    /// zmq://ipc, the default of zmq, is a socket with a fresh name in the runtime folder.
    /// Others are told it as zmq://ipc/NAME (16 hex digits); that, and zmq://ipc//PATH, can be
    /// listened at, too. Where --join names a zmq://HOST:PORT the default is a free port of the
    /// loopback address, or with --zmq-trust-network, if HOST may be another machine, of every
    /// address.
    #[arg(
        long,
        global = true,
        env = "DSE_LISTEN",
        hide_env_values = true,
        value_name = "URL",
        value_delimiter = ','
    )]
    pub listen: Vec<Endpoint>,

    /// Tell others to reach this node at this URL, not at what it listens on; repeat
    /// for more.
    #[arg(
        long,
        global = true,
        env = "DSE_ADVERTISE",
        hide_env_values = true,
        value_name = "URL",
        value_delimiter = ','
    )]
    pub advertise: Vec<Endpoint>,

    /// Join the bus through the node at this URL; repeat for more. It is tried for as
    /// long as this command runs. Without it, nodes of this user on this machine find
    /// each other by themselves.
    #[arg(
        long,
        global = true,
        env = "DSE_JOIN",
        hide_env_values = true,
        value_name = "URL",
        value_delimiter = ','
    )]
    pub join: Vec<Endpoint>,

    /// Read options from this TOML file. Its keys are the names of the flags; flags and
    /// environment win over it.
    #[arg(long, global = true, env = "DSE_CONFIG", hide_env_values = true, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,

    /// What to log on stderr: error, warn, info, debug, trace, or directives such as
    /// `dse_core=debug,info` [default: info for `run`, else warn].
    #[arg(long, global = true, env = "DSE_LOG", hide_env_values = true, value_name = "LEVEL")]
    pub log: Option<String>,

    /// Print JSON on stdout, one object a line; `--json=false` takes back what a variable or
    /// the file says.
    #[arg(long, global = true, env = "DSE_JSON", hide_env_values = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true, value_parser = BoolishValueParser::new())]
    pub json: Option<bool>,

    /// QUIC: this node's certificate (PEM), with --key and --ca; from
    /// `dse-node ca issue` [default: made from the local authority].
    #[arg(long, global = true, env = "DSE_CERT", hide_env_values = true, value_name = "FILE")]
    pub cert: Option<PathBuf>,

    /// QUIC: the certificate's private key (PEM).
    #[arg(long, global = true, env = "DSE_KEY", hide_env_values = true, value_name = "FILE")]
    pub key: Option<PathBuf>,

    /// QUIC: the certificate of the bus's authority (PEM).
    #[arg(long, global = true, env = "DSE_CA", hide_env_values = true, value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// Milliseconds within which the three nodes that watch a node know that it died without
    /// a word, 50 to 60000 [default: 1500].
    ///
    /// On a bus of more than four all others know 400 ms later. Each node tells another one in
    /// each third of it that it lives, so a longer time costs less traffic. A node that stands
    /// still for two thirds of it is taken for dead: a short time takes a busy machine for a
    /// dead one. Nodes of one bus may differ.
    #[arg(long, global = true, env = "DSE_DETECT_MS", hide_env_values = true, value_name = "MS")]
    pub detect_ms: Option<u64>,

    /// ZeroMQ: allow TCP beyond the loopback address. ZeroMQ links are neither
    /// authenticated nor encrypted, and whoever can reach the port can end this
    /// process: say this only on a network where you trust everybody.
    #[arg(long, global = true, env = "DSE_ZMQ_TRUST_NETWORK", hide_env_values = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true, value_parser = BoolishValueParser::new())]
    pub zmq_trust_network: Option<bool>,

    /// Where local nodes leave their endpoints for each other [default:
    /// $XDG_RUNTIME_DIR/dse, else /run/user/UID/dse, else /tmp/dse-UID].
    ///
    /// Where nothing says it, nodes are looked for in all three.
    #[arg(
        long,
        global = true,
        env = "DSE_RUNTIME_DIR",
        hide_env_values = true,
        value_name = "DIR"
    )]
    pub runtime_dir: Option<PathBuf>,

    /// Where certificates and counters that outlive a restart are kept [default:
    /// $XDG_DATA_HOME/dse or ~/.local/share/dse].
    #[arg(long, global = true, env = "DSE_DATA_DIR", hide_env_values = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

impl Options {
    /// These options, and for each that is not given what `file` says.
    #[must_use]
    pub fn or(self, file: Self) -> Self {
        let first = |ours: Vec<Endpoint>, theirs| if ours.is_empty() { theirs } else { ours };
        Self {
            bus: self.bus.or(file.bus),
            name: self.name.or(file.name),
            transport: self.transport.or(file.transport),
            listen: first(self.listen, file.listen),
            advertise: first(self.advertise, file.advertise),
            join: first(self.join, file.join),
            config: self.config,
            log: self.log.or(file.log),
            json: self.json.or(file.json),
            cert: self.cert.or(file.cert),
            key: self.key.or(file.key),
            ca: self.ca.or(file.ca),
            detect_ms: self.detect_ms.or(file.detect_ms),
            zmq_trust_network: self.zmq_trust_network.or(file.zmq_trust_network),
            runtime_dir: self.runtime_dir.or(file.runtime_dir),
            data_dir: self.data_dir.or(file.data_dir),
        }
    }
}
