//! Where a command's node listens.

use std::net::IpAddr;

use anyhow::Result;
use dse_core::protocol::Endpoint;

use crate::settings::Settings;
use crate::transports::Scheme;

/// At what is said, and for each transport about which nothing is said at a place of its
/// own choice.
///
/// # Errors
/// None that a user could cause.
pub fn at(settings: &Settings) -> Result<Vec<Endpoint>> {
    let mut endpoints = settings.listen.clone();
    for scheme in &settings.schemes {
        let is_its = |endpoint: &&Endpoint| endpoint.scheme() == scheme.name();
        if !settings.listen.iter().any(|endpoint| is_its(&endpoint)) {
            let seeds: Vec<_> = settings.join.iter().filter(is_its).collect();
            let place = chosen(*scheme, &seeds, settings.zmq_trust_network);
            endpoints.push(Endpoint::new(place)?);
        }
    }
    Ok(endpoints)
}

/// A node that joins others elsewhere must be reachable for them: the seed tells its
/// endpoints to everybody, and a socket in the runtime folder means nothing to who has
/// another one.
fn chosen(scheme: Scheme, seeds: &[&Endpoint], zmq_trust_network: bool) -> &'static str {
    let joins_by_address = seeds.iter().any(|seed| host(seed).is_some());
    let joins_another_machine = seeds.iter().any(|seed| host(seed).is_some_and(is_elsewhere));
    match scheme {
        Scheme::Quic if joins_another_machine => "quic://0.0.0.0:0",
        Scheme::Quic => "quic://127.0.0.1:0",
        // Without trust it reaches nobody beyond loopback, whatever the host's name is.
        Scheme::Zmq if joins_another_machine && zmq_trust_network => "zmq://0.0.0.0:0",
        Scheme::Zmq if joins_by_address => "zmq://127.0.0.1:0",
        Scheme::Zmq => "zmq://ipc",
        Scheme::Mem => "mem://*",
    }
}

/// The host of an endpoint that has one: `zmq://ipc/..` and `mem://..` have none.
fn host(endpoint: &Endpoint) -> Option<&str> {
    let (host, _) = endpoint.address().rsplit_once(':')?;
    (endpoint.scheme() != Scheme::Mem.name() && !host.starts_with("ipc/")).then_some(host)
}

/// May it be another machine's? A host name is taken for another's.
fn is_elsewhere(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host != "localhost" && !address.is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_joins_others_elsewhere_can_be_reached_by_them() {
        let cases = [
            (Scheme::Quic, None, false, "quic://127.0.0.1:0"),
            (Scheme::Quic, Some("quic://[::1]:1"), false, "quic://127.0.0.1:0"),
            (Scheme::Quic, Some("quic://localhost:1"), false, "quic://127.0.0.1:0"),
            (Scheme::Quic, Some("quic://10.0.0.1:1"), false, "quic://0.0.0.0:0"),
            (Scheme::Quic, Some("quic://[fe80::1]:1"), false, "quic://0.0.0.0:0"),
            (Scheme::Quic, Some("quic://seed.example:1"), false, "quic://0.0.0.0:0"),
            (Scheme::Zmq, None, true, "zmq://ipc"),
            (Scheme::Zmq, Some("zmq://ipc/00000000000000ff"), true, "zmq://ipc"),
            (Scheme::Zmq, Some("zmq://ipc//tmp/a:1"), true, "zmq://ipc"),
            (Scheme::Zmq, Some("zmq://127.0.0.1:1"), true, "zmq://127.0.0.1:0"),
            (Scheme::Zmq, Some("zmq://seed.example:1"), false, "zmq://127.0.0.1:0"),
            (Scheme::Zmq, Some("zmq://seed.example:1"), true, "zmq://0.0.0.0:0"),
            (Scheme::Mem, Some("mem://a:1"), true, "mem://*"),
        ];
        for (scheme, seed, trust, expected) in cases {
            let seed: Option<Endpoint> = seed.map(|seed| seed.parse().expect("valid"));
            let seeds: Vec<_> = seed.iter().collect();
            assert_eq!(chosen(scheme, &seeds, trust), expected, "{scheme} {seed:?} {trust}");
        }
    }
}
