//! What stands in the way of links: logged with restraint, and remembered for the error
//! of a command that reached nobody.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dse_core::node::{Notice, Notices};
use dse_core::protocol::Endpoint;
use tracing::{debug, info, warn};

use crate::advice;

/// How long the same trouble is not told again.
const QUIET_FOR: Duration = Duration::from_secs(30);
/// Most places whose troubles are remembered.
const REMEMBERED: usize = 16;
/// Most refused peers that are told in [`REFUSALS_WITHIN`]: whoever can reach a port could
/// fill the log.
const REFUSALS_TOLD: u32 = 10;
const REFUSALS_WITHIN: Duration = Duration::from_secs(10);

/// What stands in the way of links.
#[derive(Debug)]
pub struct Troubles {
    dials: Told,
    refused: Told,
    refusals: u32,
    refusals_since: Instant,
}

/// The latest trouble at each place.
#[derive(Debug, Default)]
struct Told {
    places: BTreeMap<String, Trouble>,
}

#[derive(Debug)]
struct Trouble {
    why: String,
    told: Instant,
}

impl Told {
    /// Remembers the trouble; is it worth telling?
    fn is_news(&mut self, place: &str, why: &str) -> bool {
        if let Some(known) = self.places.get_mut(place) {
            let news = known.why != why || known.told.elapsed() >= QUIET_FOR;
            if news {
                *known = Trouble { why: why.to_owned(), told: Instant::now() };
            }
            return news;
        }
        if self.places.len() >= REMEMBERED
            && let Some(oldest) = self.oldest()
        {
            self.places.remove(&oldest);
        }
        self.places.insert(place.to_owned(), Trouble { why: why.to_owned(), told: Instant::now() });
        true
    }

    fn oldest(&self) -> Option<String> {
        let (place, _) = self.places.iter().min_by_key(|(_, trouble)| trouble.told)?;
        Some(place.clone())
    }
}

impl Default for Troubles {
    fn default() -> Self {
        let (dials, refused) = (Told::default(), Told::default());
        Self { dials, refused, refusals: 0, refusals_since: Instant::now() }
    }
}

impl Troubles {
    /// Is it worth telling that this peer was refused? Not where this node dials it in
    /// vain, which is told as that.
    fn tells_refusal(&mut self, remote: &str, why: &str) -> bool {
        if self.dials.places.contains_key(remote) || !self.refused.is_news(remote, why) {
            return false;
        }
        if self.refusals_since.elapsed() >= REFUSALS_WITHIN {
            (self.refusals, self.refusals_since) = (0, Instant::now());
        }
        self.refusals = self.refusals.saturating_add(1);
        self.refusals <= REFUSALS_TOLD
    }
}

/// The end of a sentence: nothing, or a colon and what is known.
impl fmt::Display for Troubles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = ": ";
        for (place, trouble) in &self.dials.places {
            write!(f, "{separator}{place}: {}", trouble.why)?;
            separator = "; ";
        }
        Ok(())
    }
}

/// Logs a node's notices for as long as it lives.
pub async fn follow(mut notices: Notices, troubles: Arc<Mutex<Troubles>>) {
    while let Some(notice) = notices.next().await {
        let mut troubles = troubles.lock().unwrap_or_else(PoisonError::into_inner);
        tell(notice, &mut troubles);
    }
}

fn tell(notice: Notice, troubles: &mut Troubles) {
    match notice {
        Notice::DialFailed { endpoint, seed, error } => {
            let why = without_place(&endpoint, &error.to_string()) + advice::on(&error);
            match (seed, troubles.dials.is_news(endpoint.as_str(), &why)) {
                (true, true) => warn!("cannot join through {endpoint}, still trying: {why}"),
                (false, true) => info!("cannot reach a node at {endpoint}: {why}"),
                (_, false) => debug!("cannot reach {endpoint}: {why}"),
            }
        }
        Notice::PeerRefused { remote, node, why } => {
            let who = node.map_or_else(String::new, |node| format!(" ({node})"));
            if troubles.tells_refusal(&remote, &why) {
                warn!("refused {remote}{who}: {why}");
            } else {
                debug!("refused {remote}{who}: {why}");
            }
        }
        Notice::InterestRefused { node, why } => {
            warn!("{node} does not send what is wanted of it: {why}");
        }
        Notice::ListenerEnded { endpoints, why } => {
            let shown: Vec<_> = endpoints.iter().map(Endpoint::as_str).collect();
            warn!("nobody can reach this node any more at {}: {why}", shown.join(" "));
        }
        Notice::Stopped(reason) => debug!("{reason}"),
        Notice::Lagged { missed } => debug!("{missed} notices were not logged"),
        other => debug!("{other:?}"),
    }
}

/// The reason alone: whoever reads it was told the place just before.
fn without_place(place: &Endpoint, why: &str) -> String {
    if let Some(why) = why.strip_prefix(&format!("{place} was refused: ")) {
        return format!("refused: {why}");
    }
    let why = why.strip_prefix(&format!("cannot connect to {place}: ")).unwrap_or(why);
    why.strip_prefix(&format!("{}: ", place.address())).unwrap_or(why).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_trouble_is_told_once_in_a_while() {
        let mut troubles = Troubles::default();
        assert!(troubles.dials.is_news("quic://a:1", "refused"));
        assert!(!troubles.dials.is_news("quic://a:1", "refused"));
        assert!(troubles.dials.is_news("quic://a:1", "timed out"));
        assert_eq!(troubles.to_string(), ": quic://a:1: timed out");
    }

    #[test]
    fn a_peer_that_keeps_trying_is_refused_in_one_line() {
        let mut troubles = Troubles::default();
        assert!(troubles.tells_refusal("quic://a:1", "another CA"));
        assert!(!troubles.tells_refusal("quic://a:1", "another CA"));
        assert!(troubles.tells_refusal("quic://a:2", "another CA"));
        assert!(troubles.dials.is_news("quic://a:3", "another CA"));
        assert!(!troubles.tells_refusal("quic://a:3", "another CA"), "it was told as a dial");
    }

    #[test]
    fn what_is_remembered_and_told_is_bounded() {
        let mut troubles = Troubles::default();
        for number in 0..100 {
            troubles.dials.is_news(&format!("quic://a:{number}"), "refused");
        }
        assert_eq!(troubles.dials.places.len(), REMEMBERED);
        let tells = |number| troubles.tells_refusal(&format!("quic://b:{number}"), "refused");
        let told = (0..100).map(tells).filter(|told| *told).count();
        assert_eq!(told, REFUSALS_TOLD as usize);
    }

    #[test]
    fn a_reason_names_its_place_no_second_time() {
        let place = Endpoint::new("quic://10.0.0.1:7447").expect("valid");
        for (why, short) in [
            (
                "cannot connect to quic://10.0.0.1:7447: 10.0.0.1:7447: nobody is there",
                "nobody is there",
            ),
            (
                "cannot connect to quic://10.0.0.1:7447: the name has no address",
                "the name has no address",
            ),
            ("quic://10.0.0.1:7447 was refused: another CA", "refused: another CA"),
            ("refused: this is bus one", "refused: this is bus one"),
        ] {
            assert_eq!(without_place(&place, why), short);
        }
    }
}
