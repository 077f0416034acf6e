//! One half of a measurement, within its own process.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use crate::job::{Job, Measure, Role, Subject, Transport};
use crate::{bare_mem, bare_quic, bare_zmq, bus};

/// Plays the role, prints what came of it, and waits for the end of standard input.
///
/// # Errors
/// The other half is not there, or the transport failed.
pub(crate) fn run(job: &Job, role: Role) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    let job = job.clone();
    // A task, as in a service: the runtime polls the future of `block_on` on a thread of its
    // own, and each turn of a round trip would pay for the way there and back.
    runtime.block_on(async {
        let playing = tokio::spawn(async move { play(&job, role).await });
        println!("{}", playing.await.context("the half panicked")??);
        tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
        Ok(())
    })
}

async fn play(job: &Job, role: Role) -> Result<Value> {
    let ping = job.measure == Measure::RoundTrip;
    match (job.subject, job.transport, role) {
        (Subject::Bus, _, Role::Receiver) if ping => bus::echo(job, announce).await,
        (Subject::Bus, _, Role::Receiver) => bus::receive(job, announce).await,
        (Subject::Bus, _, Role::Sender { peer }) if ping => bus::ping(job, &peer).await,
        (Subject::Bus, _, Role::Sender { peer }) => bus::send(job, &peer).await,
        (Subject::Bus, _, Role::Both) => bus::both(job).await,
        (Subject::Bare, Transport::Quic, Role::Receiver) => bare_quic::receive(job, announce).await,
        (Subject::Bare, Transport::Quic, Role::Sender { peer }) => {
            bare_quic::send(job, &peer).await
        }
        (Subject::Bare, Transport::Zmq, Role::Receiver) => bare_zmq::receive(job, announce).await,
        (Subject::Bare, Transport::Zmq, Role::Sender { .. }) => bare_zmq::send(job).await,
        (Subject::Bare, Transport::Mem, Role::Both) => bare_mem::both(job).await,
        (_, transport, role) => bail!("{transport} has no {role:?}"),
    }
}

/// Tells the parent where the receiver listens.
fn announce(address: String) {
    println!("{}", json!({ "ready": address }));
}
