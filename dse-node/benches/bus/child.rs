//! One half of a measurement, or both, within a process of its own.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use dse_transport_mem::MemScope;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::job::{Ends, Job, Measure, Role, Subject, Transport};
use crate::{bare_mem, bare_quic, bare_zmq, bus, stall};

/// Plays the role, prints what came of it, and waits for the end of standard input.
///
/// # Errors
/// The other half is not there, the transport failed, or it takes far too long.
pub(crate) fn run(job: &Job, role: Role) -> Result<()> {
    let runtime = runtime(job.ends)?;
    if let Role::Publisher | Role::Subscriber { .. } = role {
        // As a task, as in a service.
        return runtime.block_on(runtime.spawn(stall::play(job.clone(), role)))?;
    }
    let found = match (job.ends, role) {
        (Ends::OneThread, Role::Both) => both_on_one_thread(job, &runtime)?,
        (Ends::Threads, Role::Both) => both_on_two_threads(job, &runtime)?,
        (Ends::Processes, role) => {
            let job = job.clone();
            play(&runtime, job.time, async move { play_role(&job, role).await })?
        }
        (ends, role) => bail!("{ends} have no {role:?}"),
    };
    println!("{found}");
    runtime.block_on(tokio::io::stdin().read_to_end(&mut Vec::new()))?;
    Ok(())
}

/// A runtime for one end, or for both on one thread.
fn runtime(ends: Ends) -> Result<Runtime> {
    let mut builder = match ends {
        Ends::Processes => Builder::new_multi_thread(),
        Ends::Threads | Ends::OneThread => Builder::new_current_thread(),
    };
    builder.enable_all().build().context("cannot start a runtime")
}

/// Plays it as a task, as in a service: a runtime of several threads polls the future of
/// `block_on` on a thread of its own, and each turn of a round trip would pay for the way
/// there and back.
fn play(
    runtime: &Runtime,
    time: Duration,
    playing: impl Future<Output = Result<Value>> + Send + 'static,
) -> Result<Value> {
    runtime.block_on(async {
        let playing = tokio::spawn(playing);
        let played = tokio::time::timeout(time + PATIENCE, playing).await;
        let played = played.context("it takes far too long: does the other half live?")?;
        played.context("it panicked")?
    })
}

fn both_on_one_thread(job: &Job, runtime: &Runtime) -> Result<Value> {
    let (receiving, sending) = halves(job);
    let ping = job.measure == Measure::RoundTrip;
    play(runtime, job.time, async move {
        let receiving = tokio::spawn(receiving);
        let mut found = sending.await?;
        if !ping {
            merge(&mut found, receiving.await.context("the receiver panicked")??);
        }
        Ok(found)
    })
}

fn both_on_two_threads(job: &Job, runtime: &Runtime) -> Result<Value> {
    let (receiving, sending) = halves(job);
    let (ends, time) = (job.ends, job.time);
    let receiving = std::thread::spawn(move || play(&self::runtime(ends)?, time, receiving));
    let mut found = play(runtime, time, sending)?;
    // Who sends pings back does so as long as it is there.
    if job.measure != Measure::RoundTrip {
        let received = receiving.join().map_err(|_| anyhow!("the receiver panicked"))?;
        merge(&mut found, received?);
    }
    Ok(found)
}

type Half = Pin<Box<dyn Future<Output = Result<Value>> + Send>>;

/// The receiver and the sender of mem.
fn halves(job: &Job) -> (Half, Half) {
    let (receiver, sender) = (job.clone(), job.clone());
    if job.subject == Subject::Bare {
        let (near, far) = bare_mem::pair();
        return (
            Box::pin(async move { bare_mem::receive(&receiver, far).await }),
            Box::pin(async move { bare_mem::send(&sender, near).await }),
        );
    }
    let scope = MemScope::new();
    let receiver_scope = scope.clone();
    let (ready, peer) = oneshot::channel();
    let ready = |address| {
        // If nobody waits for it the sender has failed, and says why.
        let _ = ready.send(address);
    };
    (
        Box::pin(async move { bus::receive(&receiver, &receiver_scope, ready).await }),
        Box::pin(async move {
            let peer = peer.await.context("the receiver did not get ready")?;
            bus::send(&sender, &scope, &peer).await
        }),
    )
}

fn merge(into: &mut Value, found: Value) {
    for (name, value) in found.as_object().into_iter().flatten() {
        into[name] = value.clone();
    }
}

async fn play_role(job: &Job, role: Role) -> Result<Value> {
    let scope = MemScope::new();
    match (job.subject, job.transport, role) {
        (Subject::Bus, _, Role::Receiver) => bus::receive(job, &scope, announce).await,
        (Subject::Bus, _, Role::Sender { peer }) => bus::send(job, &scope, &peer).await,
        (Subject::Bare, Transport::Quic, Role::Receiver) => bare_quic::receive(job, announce).await,
        (Subject::Bare, Transport::Quic, Role::Sender { peer }) => {
            bare_quic::send(job, &peer).await
        }
        (Subject::Bare, Transport::Zmq, Role::Receiver) => bare_zmq::receive(job, announce).await,
        (Subject::Bare, Transport::Zmq, Role::Sender { .. }) => bare_zmq::send(job).await,
        (_, transport, role) => bail!("{transport} has no {role:?}"),
    }
}

/// Tells the parent where this half listens.
pub(crate) fn announce(address: String) {
    println!("{}", json!({ "ready": address }));
}

/// How much longer than its time a measurement may take: starting, connecting, leaving.
const PATIENCE: Duration = Duration::from_secs(20);
