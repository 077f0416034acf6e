//! What a user of this program can do about an error of the libraries, which know nothing
//! of its flags.

use std::error::Error;

use dse_core::node::{NodeError, StartError, Stopped};
use dse_core::protocol::{DialError, RejectReason, StatsError};
use dse_core::transport::TransportError;

/// The end of the sentence that the error is; nothing where there is no more to say.
pub fn on(error: &(dyn Error + 'static)) -> &'static str {
    if let Some(error) = error.downcast_ref() {
        on_start(error)
    } else if let Some(error) = error.downcast_ref() {
        on_dial(error)
    } else if let Some(NodeError::Stopped(Stopped::Clash { .. })) = error.downcast_ref() {
        NAME
    } else if let Some(Stopped::Clash { .. }) = error.downcast_ref() {
        NAME
    } else if let Some(StatsError::UnknownNode(_)) = error.downcast_ref() {
        "; `dse-node nodes` lists those that are"
    } else {
        ""
    }
}

fn on_start(error: &StartError) -> &'static str {
    match error {
        StartError::Bind(TransportError::Untrusted { .. })
        | StartError::Undiallable { error: TransportError::Untrusted { .. }, .. } => {
            ": --zmq-trust-network says that it is"
        }
        _ => "",
    }
}

fn on_dial(error: &DialError) -> &'static str {
    match error {
        DialError::Rejected(reason) | DialError::Refused(reason) => match reason {
            RejectReason::WrongBus { .. } => ": --bus says the bus",
            RejectReason::Clash { .. } => NAME,
            _ => "",
        },
        DialError::Connect(_) | DialError::Fell(_) => "",
    }
}

const NAME: &str = ": --name says the id";

#[cfg(test)]
mod tests {
    use dse_core::protocol::NodeId;

    use super::*;

    #[test]
    fn the_flag_is_named_whatever_type_the_error_has() {
        let clash = || Stopped::Clash { winner: None };
        assert_eq!(on(&clash()), NAME);
        assert_eq!(on(&NodeError::from(clash())), NAME);
        let reason = RejectReason::Clash { winner: None };
        assert_eq!(on(&DialError::Rejected(reason)), NAME);
        let unknown = StatsError::UnknownNode(NodeId::new("a").expect("valid"));
        assert!(on(&unknown).contains("dse-node nodes"));
        assert_eq!(on(&Stopped::Left), "");
    }
}
