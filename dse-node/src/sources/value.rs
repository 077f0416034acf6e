//! The source `value`: a constant.

use std::str::FromStr;

use anyhow::{Context, Result};
use bytes::Bytes;
use dse_core::node::{Headers, Node};
use dse_core::protocol::Kind;
use serde::{Deserialize, Deserializer};
use tokio::task::JoinSet;

use super::in_class;
use crate::key_template::KeyTemplate;
use crate::traffic::{self, ClassName};

/// What to publish once, as a state.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ValueConfig {
    /// Under which key.
    pub key: KeyTemplate,
    /// The value.
    pub value: Constant,
    /// The media type of the value, if it is not what it looks like.
    pub encoding: Option<String>,
    /// How urgent it is.
    pub class: Option<ClassName>,
    /// What travels with it.
    #[serde(default, deserialize_with = "traffic::deserialize_headers")]
    pub headers: Headers,
    /// Not of a state.
    #[serde(default, deserialize_with = "traffic::refuse_lifetime")]
    pub expires: (),
}

/// A text, or a number or truth value, which is JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constant {
    text: String,
    encoding: &'static str,
}

impl FromStr for ValueConfig {
    type Err = String;

    /// Reads the flag's form: `KEY=VALUE`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) =
            text.split_once('=').ok_or("write KEY=VALUE, as in --value site/name=Zurich")?;
        let value = Constant { text: value.to_owned(), encoding: "text/plain" };
        let (key, headers) = (key.parse()?, Headers::new());
        Ok(Self { key, value, encoding: None, class: None, headers, expires: () })
    }
}

impl<'de> Deserialize<'de> for Constant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a text, a number, true or false")]
        enum Written {
            Text(String),
            Truth(bool),
            Whole(i64),
            Fraction(f64),
        }
        let json = |text| Self { text, encoding: "application/json" };
        Ok(match Written::deserialize(deserializer)? {
            Written::Text(text) => Self { text, encoding: "text/plain" },
            Written::Truth(truth) => json(truth.to_string()),
            Written::Whole(number) => json(number.to_string()),
            Written::Fraction(number) if number.is_finite() => json(number.to_string()),
            Written::Fraction(number) => {
                let why = format!("{number} is no number that JSON knows; write it as a text");
                return Err(serde::de::Error::custom(why));
            }
        })
    }
}

pub(super) async fn start(config: ValueConfig, node: &Node, tasks: &mut JoinSet<()>) -> Result<()> {
    let key = config.key.expand(node.id())?;
    let encoding = config.encoding.as_deref().unwrap_or(config.value.encoding);
    let builder = node.publisher(key.as_str())?.kind(Kind::State).encoding(encoding);
    let publisher = in_class(builder, config.class)
        .declare()
        .await
        .with_context(|| format!("the source of {key} cannot start"))?;
    publisher.publish_with(config.headers, Bytes::from(config.value.text)).await?;
    // The value lives as long as its publisher.
    let stopped = node.clone();
    tasks.spawn(async move {
        stopped.stopped().await;
        drop(publisher);
    });
    Ok(())
}
