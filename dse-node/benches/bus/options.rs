//! The arguments: of the user, and of the processes that this program starts.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::job::{Job, Role, Transport};

pub(crate) const USAGE: &str = "\
cargo xtask bench
    --transport T   only mem, zmq or quic
    --quick         three short turns each, for a first look
    --json FILE     writes the figures there as well";

/// What this process is to do.
pub(crate) enum Mode {
    Measure(Options),
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
    while let Some(flag) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value"));
        match flag.as_str() {
            "--transport" => options.transports = vec![value()?.parse()?],
            "--json" => options.json = Some(PathBuf::from(value()?)),
            "--quick" => {
                options.turns = 3;
                options.time = Duration::from_millis(300);
            }
            // Cargo's own word to every bench.
            "--bench" => {}
            other => return Err(format!("bench does not know {other}")),
        }
    }
    Ok(Mode::Measure(options))
}

/// The arguments of a process that plays this role, to be read by [`parse`].
pub(crate) fn child_arguments(job: &Job, role: &Role) -> Vec<String> {
    let (role, peer) = match role {
        Role::Receiver => ("receiver", ""),
        Role::Sender { peer } => ("sender", peer.as_str()),
        Role::Both => ("both", ""),
    };
    vec![
        CHILD.to_owned(),
        role.to_owned(),
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
        (other, _) => return Err(format!("{other}: use receiver, sender or both")),
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
