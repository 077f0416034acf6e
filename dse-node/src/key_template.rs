//! Keys with `{node}` in them, as in `host/{node}/cpu`.

use std::fmt;
use std::str::FromStr;

use dse_core::protocol::{Key, NameError, NodeId};
use serde::{Deserialize, Deserializer};

/// A key in which `{node}` stands for the id of the node that declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyTemplate(String);

impl KeyTemplate {
    /// The key for this node.
    ///
    /// # Errors
    /// With the node's id in it the key is too long.
    pub fn expand(&self, node: &NodeId) -> Result<Key, NameError> {
        Key::new(self.0.replace("{node}", node.as_str()))
    }
}

impl FromStr for KeyTemplate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Key::new(text.replace("{node}", "n")).map_err(|error| error.to_string())?;
        if text.replace("{node}", "").contains(['{', '}']) {
            return Err(format!("{text:?} holds braces; only {{node}} has a meaning"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for KeyTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for KeyTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_is_put_in() {
        let template: KeyTemplate = "host/{node}/cpu".parse().expect("valid");
        let node = NodeId::new("web-1").expect("valid");
        assert_eq!(template.expand(&node).expect("short").as_str(), "host/web-1/cpu");
    }

    #[test]
    fn other_braces_and_bad_keys_are_refused() {
        for text in ["host/{name}", "a//b", "", "a/*", "{node", "/{node}"] {
            assert!(text.parse::<KeyTemplate>().is_err(), "{text}");
        }
    }
}
