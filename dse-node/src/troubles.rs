//! What stands in the way of links: logged with restraint, and remembered for the error
//! of a command that reached nobody.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dse_core::node::{Notice, Notices};
use dse_core::protocol::Endpoint;
use tracing::{debug, info, warn};

/// How long the same trouble is not told again.
const QUIET_FOR: Duration = Duration::from_secs(30);
/// Most places whose troubles are remembered.
const REMEMBERED: usize = 16;
/// Most refused peers that are told in [`REFUSALS_WITHIN`]: whoever can reach a port could
/// fill the log.
const REFUSALS_TOLD: u32 = 10;
const REFUSALS_WITHIN: Duration = Duration::from_secs(10);

/// The latest trouble at each place.
#[derive(Debug)]
pub struct Troubles {
    places: BTreeMap<Endpoint, Trouble>,
    refusals: u32,
    refusals_since: Instant,
}

#[derive(Debug)]
struct Trouble {
    why: String,
    told: Instant,
}

impl Default for Troubles {
    fn default() -> Self {
        Self { places: BTreeMap::new(), refusals: 0, refusals_since: Instant::now() }
    }
}

impl Troubles {
    /// Remembers the trouble; is it worth telling?
    fn is_news(&mut self, place: Endpoint, why: &str) -> bool {
        if let Some(known) = self.places.get_mut(&place) {
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
        self.places.insert(place, Trouble { why: why.to_owned(), told: Instant::now() });
        true
    }

    fn knows(&self, place: &str) -> bool {
        self.places.keys().any(|known| known.as_str() == place)
    }

    fn oldest(&self) -> Option<Endpoint> {
        let (place, _) = self.places.iter().min_by_key(|(_, trouble)| trouble.told)?;
        Some(place.clone())
    }

    /// May one more refused peer be told?
    fn tells_refusal(&mut self) -> bool {
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
        for (place, trouble) in &self.places {
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
            let why = error.to_string();
            match (seed, troubles.is_news(endpoint.clone(), &why)) {
                (true, true) => warn!("cannot join through {endpoint}, still trying: {why}"),
                (false, true) => info!("cannot reach a node at {endpoint}: {why}"),
                (_, false) => debug!("cannot reach {endpoint}: {why}"),
            }
        }
        Notice::PeerRefused { remote, node, why } => {
            let who = node.map_or_else(String::new, |node| format!(" ({node})"));
            // Whom this node dials in vain is told as that.
            if !troubles.knows(&remote) && troubles.tells_refusal() {
                warn!("refused {remote}{who}: {why}");
            } else {
                debug!("refused {remote}{who}: {why}");
            }
        }
        Notice::InterestRefused { node, why } => {
            warn!("{node} does not send what is wanted of it: {why}");
        }
        Notice::ListenerEnded { endpoints, why } => {
            warn!("nobody can reach this node any more at {endpoints:?}: {why}");
        }
        Notice::Stopped(reason) => debug!("{reason}"),
        Notice::Lagged { missed } => debug!("{missed} notices were not logged"),
        other => debug!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(port: u32) -> Endpoint {
        Endpoint::new(format!("quic://a:{port}")).expect("valid")
    }

    #[test]
    fn the_same_trouble_is_told_once_in_a_while() {
        let mut troubles = Troubles::default();
        assert!(troubles.is_news(endpoint(1), "refused"));
        assert!(!troubles.is_news(endpoint(1), "refused"));
        assert!(troubles.is_news(endpoint(1), "timed out"));
        assert_eq!(troubles.to_string(), ": quic://a:1: timed out");
    }

    #[test]
    fn what_is_remembered_and_told_is_bounded() {
        let mut troubles = Troubles::default();
        for number in 0..100 {
            troubles.is_news(endpoint(number), "refused");
        }
        assert_eq!(troubles.places.len(), REMEMBERED);
        let told = (0..100).filter(|_| troubles.tells_refusal()).count();
        assert_eq!(told, REFUSALS_TOLD as usize);
    }
}
