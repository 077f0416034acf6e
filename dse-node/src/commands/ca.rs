//! `ca`: the bus's certificate authority.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow};
use clap::{Args, Subcommand};
use dse_core::protocol::NodeId;
use dse_transport_quic::CertificateInfo;
use dse_transport_quic::ca::{Authority, AuthorityError};
use serde::Serialize;

use crate::context::Context;
use crate::samples::printable;
use crate::settings::Settings;
use crate::transports::authority_folder;

const DAY_SECONDS: u64 = 24 * 60 * 60;

/// Its arguments.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct CaArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// Make the bus's authority, if it is not there yet.
    Init,
    /// Issue a certificate for a node of this name on another machine.
    Issue(IssueArgs),
    /// Show what a certificate says.
    Show(ShowArgs),
}

#[derive(Args, Clone, Debug)]
struct IssueArgs {
    /// The node's name. The certificate also serves the short-lived nodes of commands
    /// under that name.
    #[arg(value_name = "NAME")]
    node: NodeId,

    /// Where to put NAME.crt, NAME.key and ca.crt.
    #[arg(
        long,
        env = "DSE_CA_OUT",
        hide_env_values = true,
        value_name = "DIR",
        default_value = "."
    )]
    out: PathBuf,

    /// How long the certificate is valid.
    #[arg(long, env = "DSE_CA_DAYS", hide_env_values = true, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=3650))]
    days: u64,
}

#[derive(Args, Clone, Debug)]
struct ShowArgs {
    /// A certificate (PEM) [default: the authority's own].
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

const EXAMPLES: &str = "\
On QUIC every node proves by a certificate who it is. On one machine nothing needs to be
done: an authority for the bus is made at first use, in the user's data folder, and each
node of this user gets its certificate from it. Whoever can read that folder can be any
node of the bus.

For a node on another machine, issue a certificate here and take the three files there
by a safe way.

Examples:
  On the machine with the authority:
    dse-node ca init --bus plant
    dse-node ca issue web-2 --bus plant --out ./web-2

  On the other machine:
    dse-node run --bus plant --join quic://web-1.example:7447 \\
        --cert web-2.crt --key web-2.key --ca ca.crt

  What does it say, and until when is it valid?
    dse-node ca show web-2.crt";

#[derive(Serialize)]
struct Shown {
    subject: String,
    issuer: String,
    name: Option<NodeId>,
    authority: bool,
    not_before_s: u64,
    not_after_s: u64,
    sha256: String,
    file: PathBuf,
}

#[derive(Serialize)]
struct Issued<'a> {
    name: &'a NodeId,
    cert: PathBuf,
    key: PathBuf,
    ca: PathBuf,
}

/// Makes, issues or shows.
///
/// # Errors
/// There is no authority, or a file cannot be read or written.
pub async fn ca(args: CaArgs, settings: &Settings, context: &Context) -> Result<()> {
    let folder = authority_folder(settings)?;
    match args.action {
        Action::Init => {
            let authority = Authority::open_or_create(&folder)?;
            show(authority.certificate()?, authority.certificate_path(), context).await
        }
        Action::Issue(args) => issue(&args, &open(&folder, settings)?, context).await,
        Action::Show(ShowArgs { file: Some(file) }) => {
            show(CertificateInfo::load(&file)?, file, context).await
        }
        Action::Show(ShowArgs { file: None }) => {
            let authority = open(&folder, settings)?;
            show(authority.certificate()?, authority.certificate_path(), context).await
        }
    }
}

fn open(folder: &Path, settings: &Settings) -> Result<Authority> {
    Authority::open(folder).map_err(|error| match &error {
        AuthorityError::Missing { .. } => {
            let bus = &settings.bus;
            anyhow!("{error}; make one with `dse-node ca init --bus {bus}`")
        }
        _ => error.into(),
    })
}

async fn issue(args: &IssueArgs, authority: &Authority, context: &Context) -> Result<()> {
    let name = &args.node;
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make the folder {}", args.out.display()))?;
    let file = |ending: &str| args.out.join(format!("{name}.{ending}"));
    let issued = Issued { name, cert: file("crt"), key: file("key"), ca: args.out.join("ca.crt") };
    let identity = authority.issue(name, Duration::from_secs(args.days * DAY_SECONDS))?;
    identity.save(&issued.cert, &issued.key, &issued.ca)?;
    if context.console.json() {
        context.console.print_json(&issued).await?;
    } else {
        let text = format!(
            "certificate  {}\nprivate key  {}\nauthority    {}\n",
            issued.cert.display(),
            issued.key.display(),
            issued.ca.display()
        );
        context.console.print(text.as_bytes()).await?;
    }
    Ok(())
}

async fn show(info: CertificateInfo, file: PathBuf, context: &Context) -> Result<()> {
    let shown = Shown {
        subject: info.subject,
        issuer: info.issuer,
        name: info.name,
        authority: info.authority,
        not_before_s: unix_s(info.not_before),
        not_after_s: unix_s(info.not_after),
        sha256: info.sha256,
        file,
    };
    if context.console.json() {
        context.console.print_json(&shown).await?;
    } else {
        context.console.print(shown.text().as_bytes()).await?;
    }
    Ok(())
}

impl Shown {
    fn text(&self) -> String {
        let what = match (&self.name, self.authority) {
            (Some(name), _) => format!("node {name}"),
            (None, true) => "authority of a bus".to_owned(),
            (None, false) => "no certificate of DSE".to_owned(),
        };
        let now = unix_s(SystemTime::now());
        let validity = if now < self.not_before_s {
            "not valid yet".to_owned()
        } else if now > self.not_after_s {
            "expired".to_owned()
        } else {
            format!("valid for {} more days", (self.not_after_s - now) / DAY_SECONDS)
        };
        format!(
            "certificate  {what}\nsubject      {}\nissuer       {}\nvalidity     {validity}\nsha256       {}\nfile         {}\n",
            printable(&self.subject),
            printable(&self.issuer),
            self.sha256,
            self.file.display()
        )
    }
}

fn unix_s(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
