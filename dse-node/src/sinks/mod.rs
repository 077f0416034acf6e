//! Where `run` puts what it subscribes to: standard output or a file of JSON lines. Gaps and
//! what becomes of each source stand between the samples, or for people on standard error.

mod jsonl;

use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result};
use dse_core::node::{Delivery, Node, Subscriber};
use dse_core::protocol::KeyExpr;
use serde::Deserialize;

use self::jsonl::LinesFile;
use crate::console::Console;
use crate::remarks::Remark;
use crate::samples;

/// Most bytes that are collected before they are written.
const BATCH_BYTES: usize = 64 * 1024;

/// A sink as flags or a configuration file tell it.
#[derive(Clone, Debug, PartialEq)]
pub enum SinkConfig {
    /// Lines on standard output.
    Stdout(StdoutConfig),
    /// JSON lines at the end of a file.
    Jsonl(JsonlConfig),
}

/// What to print.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct StdoutConfig {
    /// Which keys.
    pub keys: KeyExpr,
}

/// What to write, and where.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct JsonlConfig {
    /// Which keys.
    pub keys: KeyExpr,
    /// The file; made if it is missing or was rotated away, else appended to.
    pub path: PathBuf,
}

impl FromStr for JsonlConfig {
    type Err = String;

    /// Reads the flag's form: `KEYEXPR=PATH`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (keys, path) = text
            .split_once('=')
            .ok_or("write KEYEXPR=PATH, as in --record 'host/**=samples.jsonl'")?;
        let keys = KeyExpr::new(keys).map_err(|error| error.to_string())?;
        Ok(Self { keys, path: path.into() })
    }
}

impl SinkConfig {
    /// Opens what is written to, and subscribes.
    ///
    /// # Errors
    /// The file cannot be opened, or the node takes no more subscriptions.
    pub async fn open(self, node: &Node, console: &Console) -> Result<Sink> {
        let (keys, output) = match self {
            Self::Stdout(config) => (config.keys, Output::Console(console.clone())),
            Self::Jsonl(config) => {
                let shown = config.path.display().to_string();
                let file = LinesFile::open(config.path).await;
                let file = file.with_context(|| format!("cannot write to {shown}"))?;
                (config.keys, Output::File(file))
            }
        };
        let subscriber = node.subscribe(keys.as_str())?.open().await?;
        Ok(Sink { keys, subscriber, output })
    }
}

/// A sink that has subscribed.
pub struct Sink {
    keys: KeyExpr,
    subscriber: Subscriber,
    output: Output,
}

impl Sink {
    /// Writes what comes, until the node stops.
    ///
    /// # Errors
    /// Nobody reads standard output any more. What else goes wrong is told and ends the sink
    /// alone.
    pub async fn work(mut self) -> io::Result<()> {
        match write_all(&mut self.subscriber, &mut self.output).await {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                tracing::error!("the sink of {} has stopped: {error}", self.keys);
                Ok(())
            }
            written => written,
        }
    }
}

enum Output {
    Console(Console),
    File(LinesFile),
}

impl Output {
    async fn append(&self, delivery: &Delivery, batch: &mut Vec<u8>) {
        match (delivery, self) {
            (Delivery::Sample(sample), Self::Console(console)) if !console.json() => {
                samples::append_text(sample, batch);
            }
            (Delivery::Sample(sample), _) => samples::append_json(sample, batch),
            _ => {
                let Some(remark) = Remark::of(delivery) else { return };
                match self {
                    Self::Console(console) if !console.json() => {
                        console.note(remark.to_string()).await;
                    }
                    Self::Console(_) => remark.append_json(batch),
                    Self::File(_) => {
                        tracing::info!("{remark}");
                        remark.append_json(batch);
                    }
                }
            }
        }
    }

    async fn write(&mut self, batch: &[u8]) -> io::Result<()> {
        match self {
            Self::Console(console) => console.print(batch).await?,
            Self::File(file) => file.append(batch).await,
        }
        Ok(())
    }
}

/// Writes what comes, in batches: all that is there, in one go.
async fn write_all(subscriber: &mut Subscriber, output: &mut Output) -> io::Result<()> {
    let mut batch = Vec::new();
    while let Some(delivery) = subscriber.recv().await {
        output.append(&delivery, &mut batch).await;
        while batch.len() < BATCH_BYTES
            && let Some(delivery) = subscriber.try_recv()
        {
            output.append(&delivery, &mut batch).await;
        }
        output.write(&batch).await?;
        batch.clear();
    }
    Ok(())
}
