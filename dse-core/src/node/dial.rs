//! Dialling, as many at a time as there are places.

use tokio::task::JoinError;

use super::connect::{Dialled, connect};
use super::driver::Driver;
use super::limits::DIALS_IN_LINE;
use super::window::Place;
use crate::protocol::{DialId, Endpoint, Input};

impl Driver {
    /// Begins the dials for which there are places, in the order in which the bus asked for
    /// them, without those that it gave up meanwhile (PROTOCOL.md §11).
    pub(super) fn dial_in_line(&mut self) {
        if self.dials_in_line.len() > DIALS_IN_LINE {
            self.dials_in_line.retain(|(dial, _)| self.core.is_dialling(*dial));
        }
        while let Some((dial, endpoint)) = self.dials_in_line.pop_front() {
            if !self.core.is_dialling(dial) {
                continue;
            }
            let Some(place) = self.window.begin() else {
                return self.dials_in_line.push_front((dial, endpoint));
            };
            self.dial(dial, endpoint, place);
        }
    }

    /// Connects in a task of its own; the outcome comes back as an input.
    fn dial(&mut self, dial: DialId, endpoint: Endpoint, place: Place) {
        let transport = match self.transports.of(&endpoint) {
            Ok(transport) => transport.clone(),
            Err(error) => {
                let error = error.to_string();
                return self.follow_ups.push_back(Input::ConnectFailed { dial, error });
            }
        };
        self.dials.spawn(dial, connect(transport, endpoint, place));
    }

    pub(super) fn dialled(&mut self, dial: DialId, dialled: Result<Dialled, JoinError>) {
        let error = match dialled {
            Ok(Dialled { transport, outcome: Ok(link), place }) => {
                return self.link_up(link, transport, Some((dial, place)));
            }
            // Another takes its place as soon as the bus is told.
            Ok(Dialled { outcome: Err(error), place, .. }) => {
                drop(place);
                error.to_string()
            }
            // A fault of the transport's own, which ends this dial and nothing else.
            Err(panicked) => format!("the transport did not survive the dial: {panicked}"),
        };
        self.feed(Input::ConnectFailed { dial, error });
    }
}
