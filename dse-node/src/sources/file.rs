//! The source `file`: the lines of a growing file, as a stream.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use dse_core::node::{Headers, Node, Publisher};
use dse_core::protocol::{Key, Kind};
use serde::Deserialize;
use tokio::task::{JoinSet, spawn_blocking};

use super::tail::Tail;
use super::{every, in_class, while_wanted};
use crate::duration;
use crate::key_template::KeyTemplate;
use crate::traffic::{self, ClassName};

/// How often a file is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Which file to publish, and how.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// Under which key.
    pub key: KeyTemplate,
    /// The file; it need not be there yet.
    pub path: PathBuf,
    /// From where on, each time that somebody begins to be interested.
    #[serde(default)]
    pub from: From,
    /// How often to look for new lines.
    #[serde(default, deserialize_with = "duration::deserialize")]
    pub every: Option<Duration>,
    /// The media type of a line.
    pub encoding: Option<String>,
    /// Read on also while nobody is interested.
    #[serde(default)]
    pub always: bool,
    /// How urgent the lines are.
    pub class: Option<ClassName>,
    /// What travels with each line.
    #[serde(default, deserialize_with = "traffic::deserialize_headers")]
    pub headers: Headers,
    /// After this time a line is not sent any more.
    #[serde(default, deserialize_with = "duration::deserialize")]
    pub expires: Option<Duration>,
}

/// From where on a file is read.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// From its first line.
    Start,
    /// What is added from then on.
    #[default]
    End,
}

impl FromStr for FileConfig {
    type Err = String;

    /// Reads the flag's form: `KEY=PATH`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (key, path) =
            text.split_once('=').ok_or("write KEY=PATH, as in --file log/web=/var/log/web.log")?;
        let key = key.parse()?;
        let path = PathBuf::from(path);
        Ok(Self {
            key,
            path,
            from: From::End,
            every: None,
            encoding: None,
            always: false,
            class: None,
            headers: Headers::new(),
            expires: None,
        })
    }
}

pub(super) async fn start(config: FileConfig, node: &Node, tasks: &mut JoinSet<()>) -> Result<()> {
    let key = config.key.expand(node.id())?;
    let encoding = config.encoding.as_deref().unwrap_or("text/plain");
    let mut builder = node.publisher(key.as_str())?.kind(Kind::Stream).encoding(encoding);
    if let Some(after) = config.expires {
        builder = builder.expires(after);
    }
    let publisher = in_class(builder, config.class)
        .declare()
        .await
        .with_context(|| format!("the source of {key} cannot start"))?;
    tasks.spawn(async move {
        let work = || follow(&key, &config, &publisher);
        if config.always {
            work().await;
        } else {
            while_wanted(&publisher, work).await;
        }
    });
    Ok(())
}

/// Publishes lines until the node stops. Troubles with the file are told once each.
async fn follow(key: &Key, config: &FileConfig, publisher: &Publisher) {
    let mut look = every(config.every.unwrap_or(LOOK_EVERY));
    let mut tail = None;
    let mut trouble = None;
    loop {
        match read(tail.take(), config).await {
            Ok((reader, lines)) => {
                tail = Some(reader);
                trouble = None;
                if lines.is_empty() {
                    look.tick().await;
                }
                for line in lines {
                    if publisher.publish_with(config.headers.clone(), line).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) => {
                let error = format!("{error:#}");
                if trouble.as_ref() != Some(&error) {
                    tracing::warn!("{key}: {error}; trying again");
                    trouble = Some(error);
                }
                look.tick().await;
            }
        }
    }
}

/// Reads what there is, where a slow disk holds nobody up.
async fn read(tail: Option<Tail>, config: &FileConfig) -> Result<(Tail, Vec<Bytes>)> {
    let path = config.path.clone();
    let from = config.from;
    let shown = path.display().to_string();
    let work = spawn_blocking(move || {
        let mut tail = match (tail, from) {
            (Some(tail), _) => tail,
            (None, From::Start) => Tail::from_start(path),
            (None, From::End) => Tail::from_end(path)?,
        };
        let lines = tail.read_lines()?;
        Ok::<_, std::io::Error>((tail, lines))
    });
    work.await?.with_context(|| format!("cannot read {shown}"))
}
