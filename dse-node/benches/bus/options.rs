//! The arguments: of the user, and of the processes that this program starts.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::job::{Job, Role, Transport};

pub(crate) const USAGE: &str = "\
cargo xtask bench
    --transport T   only mem, zmq or quic
    --quick         three short turns each, for a first look
    --stall         instead: what a stopped subscriber does to the publisher and another
                    (zmq, quic)
    --json FILE     writes the figures there as well";

/// What this process is to do.
pub(crate) enum Mode {
    Measure(Options),
    /// What a stopped subscriber costs.
    Stall(Options),
    /// One half of a measurement.
    Child {
        job: Job,
        role: Role,
    },
}

/// What is measured.
pub(crate) struct Options {
    pub(crate) transports: Vec<Transport>,
    pub(crate) turns: usize,
    pub(crate) time: Duration,
    pub(crate) json: Option<PathBuf>,
}

/// Reads the arguments.
///
/// # Errors
/// Says which is wrong and what would be right.
pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Mode, String> {
    let mut arguments = arguments.peekable();
    if arguments.next_if(|first| first == CHILD).is_some() {
        return parse_child(arguments);
    }
    let mut options = Options {
        transports: vec![Transport::Mem, Transport::Zmq, Transport::Quic],
        turns: 7,
        time: Duration::from_secs(1),
        json: None,
    };
    let mut stall = false;
    while let Some(flag) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value"));
        match flag.as_str() {
            "--transport" => options.transports = vec![value()?.parse()?],
            "--json" => options.json = Some(PathBuf::from(value()?)),
            "--quick" => {
                options.turns = 3;
                options.time = Duration::from_millis(300);
            }
            "--stall" => stall = true,
            // Cargo's own word to every bench.
            "--bench" => {}
            other => return Err(format!("bench does not know {other}")),
        }
    }
    if !stall {
        return Ok(Mode::Measure(options));
    }
    // Nothing of mem can be stopped alone.
    options.transports.retain(|transport| *transport != Transport::Mem);
    match options.transports.is_empty() {
        true => Err("--stall needs processes: use zmq or quic".to_owned()),
        false => Ok(Mode::Stall(options)),
    }
}

/// The arguments of a process that plays this role, to be read by [`parse`].
pub(crate) fn child_arguments(job: &Job, role: &Role) -> Vec<String> {
    let (role, peer) = match role {
        Role::Receiver => ("receiver".to_owned(), ""),
        Role::Sender { peer } => ("sender".to_owned(), peer.as_str()),
        Role::Both => ("both".to_owned(), ""),
        Role::Publisher => ("publisher".to_owned(), ""),
        Role::Subscriber { name, peer } => (format!("{SUBSCRIBER}{name}"), peer.as_str()),
    };
    vec![
        CHILD.to_owned(),
        role,
        peer.to_owned(),
        job.subject.to_string(),
        job.transport.to_string(),
        job.ends.to_string(),
        job.measure.to_string(),
        job.time.as_millis().to_string(),
        job.folder.to_string_lossy().into_owned(),
    ]
}

fn parse_child(mut arguments: impl Iterator<Item = String>) -> Result<Mode, String> {
    let mut next = || arguments.next().ok_or_else(|| format!("{CHILD} needs more arguments"));
    let role = match (next()?.as_str(), next()?) {
        ("receiver", _) => Role::Receiver,
        ("sender", peer) => Role::Sender { peer },
        ("both", _) => Role::Both,
        ("publisher", _) => Role::Publisher,
        (other, peer) => match other.strip_prefix(SUBSCRIBER) {
            Some(name) => Role::Subscriber { name: name.to_owned(), peer },
            None => {
                return Err(format!(
                    "{other}: use receiver, sender, both, publisher or {SUBSCRIBER}NAME"
                ));
            }
        },
    };
    let job = Job {
        subject: next()?.parse()?,
        transport: next()?.parse()?,
        ends: next()?.parse()?,
        measure: next()?.parse()?,
        time: Duration::from_millis(
            u64::from_str(&next()?).map_err(|error| format!("milliseconds: {error}"))?,
        ),
        folder: PathBuf::from(next()?),
    };
    Ok(Mode::Child { job, role })
}

const CHILD: &str = "--child";

/// What the role of a subscriber of `--stall` begins with; its name follows.
const SUBSCRIBER: &str = "subscriber-";
