//! What links and publications hold of each other.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use super::clock::Clock;
use super::link::{Link, Outgoing};
use super::publication::Publication;
use crate::data::limits::INITIAL_WINDOW;
use crate::data::send::{Policy, SequenceConfig};
use crate::data::{Credit, DataFrame, Headers, Origin};
use crate::protocol::{Incarnation, Instant, InterestOptions, Key, Kind, LinkId, NodeId};
use crate::transport::{DataSender, TransportError};

struct Nowhere;

impl DataSender for Nowhere {
    fn poll_send(
        &mut self,
        _: &mut Context<'_>,
        frame: &mut Option<DataFrame>,
    ) -> Poll<Result<(), TransportError>> {
        *frame = None;
        Poll::Ready(Ok(()))
    }
}

fn publication(policy: Policy) -> Arc<Publication> {
    let (node, key) = (NodeId::new("a").expect("an id"), Key::new("x").expect("a key"));
    let kind = if policy == Policy::Latest { Kind::State } else { Kind::Stream };
    let origin = Arc::new(Origin::new(node, key, Incarnation(1), kind, ""));
    let mut config = SequenceConfig::new(1, origin);
    (config.policy, config.stall_timeout) = (policy, Duration::from_secs(1));
    Publication::new(config, Clock::new(), Arc::default())
}

fn link(number: u64) -> Arc<Link> {
    let node = NodeId::new("b").expect("an id");
    let peer = (node, Incarnation(1));
    let (id, sender) = (LinkId(number), Box::new(Nowhere));
    Link::new(id, number, peer, Arc::default(), Clock::new(), sender)
}

#[tokio::test(start_paused = true)]
async fn links_that_fell_leave_nothing_with_publishers_that_are_silent() {
    for policy in [Policy::Block, Policy::DropOldest, Policy::DropNewest, Policy::Latest] {
        let publication = publication(policy);
        for number in 1..=100 {
            let link = link(number);
            let fallen = Arc::downgrade(&link);
            let wants = || publication.attach(&link, InterestOptions::default());
            let publish = || {
                let payload = Bytes::from_static(b"x");
                publication.try_publish(Headers::new(), payload).expect("there is room");
            };
            // The peer wants the key, and may want it no more, before it falls or after.
            match number % 6 {
                0 => wants(),
                1 => {
                    wants();
                    publish();
                    publication.withdraw(link.id);
                    wants();
                }
                2 => {
                    wants();
                    let credit = Credit {
                        sequence: 1,
                        epoch: 0,
                        consumed_seq: 0,
                        samples: INITIAL_WINDOW.samples,
                        bytes: INITIAL_WINDOW.bytes,
                        missed: 0,
                        last: false,
                    };
                    Arc::clone(&publication)
                        .credit(Instant::ZERO, &link, credit)
                        .expect("of another epoch");
                }
                _ => {}
            }
            link.stop_writing();
            if number % 6 == 3 {
                wants();
                publication.withdraw(link.id);
            }
            link.forget(number % 2 == 0);
            if number % 6 == 4 {
                wants();
            }
            drop(link);
            assert!(fallen.upgrade().is_none(), "link {number} is held, {policy:?}");
        }
    }
}

#[tokio::test]
async fn a_publication_that_was_closed_is_not_held_by_links() {
    let (publication, link) = (publication(Policy::Block), link(1));
    publication.close();
    publication.attach(&link, InterestOptions::default());
    assert!(link.outgoing(1).is_none());
}
