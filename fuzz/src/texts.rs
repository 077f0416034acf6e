//! What people write: names, endpoints, flags, configuration files.

use std::path::Path;

use dse_core::protocol::{BusId, Endpoint, NodeId};
use dse_node::config::Config;
use dse_node::duration;
use dse_node::key_template::KeyTemplate;

/// Any text to each parser. What is taken is what is given back, and a refusal says
/// something.
pub fn texts(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(bytes);
    match choice % 5 {
        0 => ids(&text),
        1 => endpoint(&text),
        2 => duration_of(&text),
        3 => template(&text),
        _ => config(&text),
    }
}

fn ids(text: &str) {
    let (bus, node) = (BusId::new(text), NodeId::new(text));
    assert_eq!(bus.is_ok(), node.is_ok());
    match node {
        Ok(node) => assert!(node.as_str() == text && (1..=64).contains(&text.len())),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// The scheme decides who reads an endpoint, but nothing keeps one from another.
fn endpoint(text: &str) {
    for scheme in ["", "zmq://", "quic://"] {
        let Ok(endpoint) = Endpoint::new(format!("{scheme}{text}")) else { continue };
        let parts = format!("{}://{}", endpoint.scheme(), endpoint.address());
        assert_eq!(endpoint.as_str(), parts);
        dse_transport_zmq::fuzz::endpoint(&endpoint);
        dse_transport_quic::fuzz::endpoint(&endpoint);
    }
}

fn duration_of(text: &str) {
    match duration::parse(text) {
        Ok(duration) => {
            assert!(!duration.is_zero() && duration.as_secs() <= 365 * 24 * 3600);
        }
        Err(why) => assert!(!why.is_empty()),
    }
}

fn template(text: &str) {
    let Ok(template) = text.parse::<KeyTemplate>() else { return };
    assert_eq!(template.to_string(), text);
    let node = NodeId::new("n").expect("a node id");
    let key = template.expand(&node).expect("as long as it was when it was read");
    assert_eq!(key.as_str(), text.replace("{node}", "n"));
}

fn config(text: &str) {
    let file = Path::new("dse.toml");
    match Config::parse(file, text) {
        Ok(config) => assert!(!format!("{config:?}").is_empty()),
        Err(error) => {
            let says = error.to_string();
            assert!(says.starts_with("dse.toml:") && says.len() > 12, "{says}");
        }
    }
}
