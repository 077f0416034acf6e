//! What holds once the faults are over.

use std::time::Duration;

use dse_core::node::plane::{LaneError, LinkFault};
use dse_core::protocol::Kind;
use tokio::time::sleep;

use super::model::{KEYS, NODES, stamp, wants};
use super::{Bus, PUBLISHING, Participant, Subscription};
use crate::world::payload;

impl Bus {
    /// The faults are over: everybody takes all there is, and has the latest.
    pub(super) async fn settle(&mut self) {
        for link in 0..self.links.len() {
            self.connect(link);
            if let Some(link) = &self.links[link].link {
                link.there.open();
                link.back.open();
            }
        }
        self.control_catches_up(1);
        self.drain().await;
        self.everybody_has_the_latest(false);
        for node in 0..PUBLISHING {
            for key in 0..KEYS.len() {
                let Participant { publishers, published, node, present, .. } =
                    &mut self.nodes[node];
                let Some(publisher) = publishers.get(&key) else { continue };
                let next = payload(stamp(node.info.incarnation.0, key, published[key] + 1));
                publisher.try_publish(next).expect("nobody is behind");
                published[key] += 1;
                present[key] = true;
            }
        }
        self.drain().await;
        self.everybody_has_the_latest(true);
    }

    /// Links end only because they fell.
    pub(super) fn nobody_broke_the_protocol(&mut self) {
        for Participant { node, .. } in &mut self.nodes {
            while let Ok(LinkFault { error, .. }) = node.faults.try_recv() {
                assert!(matches!(error, LaneError::Transport(_)), "{error}");
            }
        }
    }

    async fn drain(&mut self) {
        let mut quiet = 0;
        while quiet < 150 {
            quiet += 1;
            for node in 0..NODES.len() {
                for subscription in 0..self.nodes[node].subscriptions.len() {
                    if self.take_from(node, subscription, u64::MAX) > 0 {
                        quiet = 0;
                    }
                }
            }
            sleep(Duration::from_millis(20)).await;
            self.nobody_broke_the_protocol();
        }
    }

    fn everybody_has_the_latest(&self, all: bool) {
        for (to, participant) in self.nodes.iter().enumerate() {
            for Subscription { keys, told, .. } in &participant.subscriptions {
                for (from, publishing) in self.nodes[..PUBLISHING].iter().enumerate() {
                    for key in publishing.publishers.keys().filter(|key| wants(keys, **key)) {
                        let told = told.get(&(from, *key));
                        let last_seq = told.and_then(|told| told.last_seq);
                        let published = publishing.published[*key];
                        // A state that was declared again has no value yet, and a stream
                        // may have had nothing since the subscription.
                        let is_state = KEYS[*key].1 == Kind::State;
                        let excused = match (is_state, last_seq) {
                            (true, _) => !publishing.present[*key],
                            (false, last_seq) => last_seq.is_none() && !all,
                        };
                        assert!(
                            last_seq == Some(published) || excused,
                            "{keys} of {} has {told:?} of {} of {}, not {published}",
                            NODES[to],
                            KEYS[*key].0,
                            NODES[from],
                        );
                    }
                }
            }
        }
    }
}
