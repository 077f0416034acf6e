//! What a stopped subscriber does to the publisher and to another subscriber.
//!
//! Three processes: a publisher, subscriber A, which takes all it can, and subscriber B.
//! Each round measures at what rate A gets samples while B does not subscribe, while B
//! takes them too, and while B is stopped and its stall timeout has passed. The three follow
//! each other closely, so that each round can be judged by itself.

mod child;
mod process;
mod report;
mod round;

use anyhow::{Context, Result};

use crate::job::{Ends, Job, Measure, Role, Subject, Transport};
use crate::options::Options;
use crate::pair::Half;
use crate::private_folder;

pub(crate) use child::play;
use report::Figures;
use round::Round;

/// Measures each transport. True when the publisher's memory kept its bound and B was told
/// of its gap and went on, in each round.
pub(crate) fn measure(options: &Options) -> Result<bool> {
    let mut figures = Vec::new();
    for transport in &options.transports {
        let rounds = measure_over(*transport, options);
        let rounds = rounds.with_context(|| format!("measuring a stall over {transport}"))?;
        figures.push(Figures { transport: *transport, rounds });
    }
    println!("\n{}", report::table(&figures));
    crate::write_json(options, &figures.iter().map(Figures::json).collect())?;
    Ok(figures.iter().all(Figures::held))
}

fn measure_over(transport: Transport, options: &Options) -> Result<Vec<Round>> {
    let folder = private_folder()?;
    let job = Job {
        subject: Subject::Bus,
        transport,
        ends: Ends::Processes,
        measure: Measure::Throughput { payload: PAYLOAD },
        time: options.time,
        folder: folder.path().to_owned(),
    };
    let mut publisher = Half::start(&job, &Role::Publisher)?;
    let ready = publisher.next().context("the publisher did not get ready")?;
    let peer = ready["ready"].as_str().context("the publisher has no address")?;
    let subscriber = |name: &str| {
        let role = Role::Subscriber { name: name.to_owned(), peer: peer.to_owned() };
        let mut subscriber = Half::start(&job, &role)?;
        subscriber.next().with_context(|| format!("subscriber {name} did not get ready"))?;
        Ok::<_, anyhow::Error>(subscriber)
    };
    let mut measured =
        round::Parties { publisher: publisher.id(), a: subscriber("a")?, b: subscriber("b")? };
    measured.begin()?;
    let mut rounds = Vec::new();
    for round in 1..=options.turns {
        eprintln!("round {round} of {}: {transport}, a stopped subscriber", options.turns);
        rounds.push(measured.round(options.time)?);
    }
    Ok(rounds)
}

/// The bytes of a sample.
const PAYLOAD: usize = 64 * 1024;
