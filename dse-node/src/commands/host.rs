//! `host`: several commands as tasks of this process, which share the `mem` transport.
//!
//! It reads lines: `TAG ARGUMENTS...` starts a command, `tell TAG LINE` gives it a line of
//! input, `stop TAG` ends it in order as SIGTERM would, `kill TAG` drops it as a crash
//! would. What the commands say comes as
//! JSON, a line each: `{"tag","stdout"}`, `{"tag","stderr"}`, `{"tag","exit"}`.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, bail};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::console::{Console, JobOutput, Said};
use crate::context::Context;
use crate::input::Input;
use crate::program;

/// Lines that wait to be printed, or to be read by a job.
const LINES_QUEUED: usize = 1024;
/// What a shell reports of a process that was killed.
const KILLED: u8 = 137;

/// Runs jobs until standard input ends.
///
/// # Errors
/// Nobody reads standard output any more.
pub async fn host(context: &Context) -> Result<()> {
    let (output, mut lines) = mpsc::channel(LINES_QUEUED);
    let jobs = Jobs { jobs: BTreeMap::new(), output, context: context.clone() };
    let reading = jobs.read();
    let printing = async {
        while let Some(line) = lines.recv().await {
            context.console.print_json(&line).await?;
        }
        Ok(())
    };
    let (read, printed): (Result<()>, Result<()>) = tokio::join!(reading, printing);
    printed.and(read)
}

struct Jobs {
    jobs: BTreeMap<Arc<str>, Job>,
    output: mpsc::Sender<JobOutput>,
    context: Context,
}

struct Job {
    input: mpsc::Sender<String>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Jobs {
    /// Follows the orders, then ends all jobs in order.
    async fn read(mut self) -> Result<()> {
        let input = self.context.input.clone();
        let mut orders = input.lock().await;
        loop {
            let order = tokio::select! {
                order = orders.next_line() => order?,
                () = self.context.cancel.cancelled() => None,
            };
            let Some(order) = order else { break };
            let order = String::from_utf8_lossy(&order);
            if let Err(error) = self.carry_out(&order).await {
                self.context.console.note(format!("{order:?}: {error:#}")).await;
            }
        }
        for (_, job) in std::mem::take(&mut self.jobs) {
            job.cancel.cancel();
            // A job that panicked has said so.
            let _ = job.task.await;
        }
        Ok(())
    }

    async fn carry_out(&mut self, order: &str) -> Result<()> {
        if let Some((tag, line)) = order.strip_prefix("tell ").and_then(|it| it.split_once(' ')) {
            return Ok(self.find(tag)?.input.send(line.to_owned()).await?);
        }
        let Some(words) = shlex::split(order) else { bail!("a quote is not closed") };
        match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            [] => Ok(()),
            ["stop", tag] => {
                self.find(tag)?.cancel.cancel();
                Ok(())
            }
            ["kill", tag] => self.kill(tag).await,
            [tag, arguments @ ..] => self.start(tag, arguments),
        }
    }

    fn find(&self, tag: &str) -> Result<&Job> {
        match self.jobs.get(tag).filter(|job| !job.task.is_finished()) {
            Some(job) => Ok(job),
            None => bail!("no job {tag} runs"),
        }
    }

    async fn kill(&mut self, tag: &str) -> Result<()> {
        self.find(tag)?.task.abort();
        if let Some(job) = self.jobs.remove(tag) {
            // All that the job held is dropped once this is back.
            let _ = job.task.await;
        }
        let killed = JobOutput { tag: tag.into(), said: Said::Exit(KILLED) };
        Ok(self.output.send(killed).await?)
    }

    fn start(&mut self, tag: &str, arguments: &[&str]) -> Result<()> {
        if self.find(tag).is_ok() {
            bail!("a job {tag} runs already");
        }
        let tag: Arc<str> = tag.into();
        let cancel = CancellationToken::new();
        let (input, lines) = mpsc::channel(LINES_QUEUED);
        let context = Context {
            input: Arc::new(Mutex::new(Input::job(lines))),
            console: Console::job(tag.clone(), self.output.clone()),
            cancel: cancel.clone(),
            at_once: CancellationToken::new(),
            ..self.context.clone()
        };
        let program = ["dse-node"].iter().chain(arguments).map(|word| (*word).to_owned());
        let program: Vec<String> = program.collect();
        let output = self.output.clone();
        let job_tag = tag.clone();
        // A job that hosts jobs would make this future contain itself: hence the box.
        let running = Box::pin(async move {
            let status = program::execute_job(&program, context).await;
            // A host that is gone has nobody to tell.
            let _ = output.send(JobOutput { tag: job_tag, said: Said::Exit(status) }).await;
        });
        self.jobs.insert(tag, Job { input, cancel, task: tokio::spawn(running) });
        Ok(())
    }
}
