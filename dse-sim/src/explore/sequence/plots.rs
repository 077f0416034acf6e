//! The models of one sequence that are searched.

use std::time::Duration;

use dse_core::data::limits::LEAST_WINDOW;
use dse_core::data::send::Policy;
use dse_core::protocol::InterestOptions;

use super::plot::SequencePlot;
use super::plot::Word::{Close, Leave, Publish, Want, Withdraw};
use crate::explore::plot::Faults;

const NONE: Faults = Faults { losses: 0, crashes: 0, delays: 0, drops: 0 };
const LOSS: Faults = Faults { losses: 1, ..NONE };
const DELAY: Faults = Faults { delays: 1, ..NONE };

/// All models, with the bounds that are searched by default.
pub(in crate::explore) fn plots() -> Vec<SequencePlot> {
    vec![
        start(),
        loss(),
        close(),
        stall(),
        withdraw(),
        again(),
        leave(),
        subscriber_leaves(),
        drop_oldest(),
        drop_newest(),
        credit(),
        expires(),
        state(),
        state_stall(),
        state_withdraw(),
    ]
}

fn start() -> SequencePlot {
    let about = "two samples, of which the subscriber may want none, and the link is lost";
    SequencePlot { faults: LOSS, is_settled: false, ..plot("seq-start", about, Policy::Block, 2) }
}

fn loss() -> SequencePlot {
    let about = "four samples, and the link is lost";
    SequencePlot { faults: LOSS, ..plot("seq-loss", about, Policy::Block, 4) }
}

fn close() -> SequencePlot {
    let about = "a publisher closes while the link is lost, and it may be for long";
    let faults = Faults { losses: 1, delays: 1, ..NONE };
    SequencePlot { faults, may_stop: true, ..plot("seq-close", about, Policy::Block, 1) }
}

fn stall() -> SequencePlot {
    let about = "a log of one sample is full, and nobody takes for the stall timeout";
    let log_samples = Some(1);
    SequencePlot { faults: DELAY, log_samples, ..plot("seq-stall", about, Policy::Block, 3) }
}

fn withdraw() -> SequencePlot {
    let about = "a subscriber withdraws and wants again while the link is lost";
    let mut plot = plot("seq-withdraw", about, Policy::Block, 1);
    plot.words[1] = vec![Want, Withdraw, Want];
    SequencePlot { faults: LOSS, ..plot }
}

fn again() -> SequencePlot {
    let about = "a subscriber withdraws and wants again on the same link";
    let mut plot = plot("seq-again", about, Policy::Block, 2);
    plot.words[1] = vec![Want, Withdraw, Want];
    plot
}

fn leave() -> SequencePlot {
    let mut plot =
        plot("seq-leave", "a publisher closes and leaves while the link is lost", Policy::Block, 2);
    plot.words[0].push(Leave);
    SequencePlot { faults: LOSS, may_stop: true, ..plot }
}

fn subscriber_leaves() -> SequencePlot {
    let mut plot = plot("seq-gone", "a subscriber leaves while the link is lost", Policy::Block, 3);
    plot.words[1].push(Leave);
    SequencePlot { faults: LOSS, ..plot }
}

fn drop_oldest() -> SequencePlot {
    let about = "a log of one sample overflows, the oldest go, and the link is lost";
    let log_samples = Some(1);
    SequencePlot { faults: LOSS, log_samples, ..plot("seq-oldest", about, Policy::DropOldest, 4) }
}

fn drop_newest() -> SequencePlot {
    let about = "a log of one sample overflows, the newest go, and the link is lost";
    let log_samples = Some(1);
    SequencePlot { faults: LOSS, log_samples, ..plot("seq-newest", about, Policy::DropNewest, 4) }
}

/// Samples of which a second one does not fit into the window.
const LARGE: usize = 40_000;

fn credit() -> SequencePlot {
    let mut plot = plot(
        "seq-credit",
        "samples wait for credit, the log overflows, and a subscriber stalls",
        Policy::DropOldest,
        3,
    );
    plot.samples = vec![LARGE; 3];
    SequencePlot { faults: DELAY, log_samples: Some(1), ..plot }
}

fn expires() -> SequencePlot {
    let about = "samples of a short lifetime, and some time passes";
    let lifetime = Some(Duration::from_secs(1));
    SequencePlot { faults: DELAY, lifetime, ..plot("seq-expires", about, Policy::Block, 2) }
}

fn state() -> SequencePlot {
    let about = "four values of a state, and the link is lost";
    SequencePlot { faults: LOSS, ..plot("seq-state", about, Policy::Latest, 4) }
}

fn state_stall() -> SequencePlot {
    let about = "a state closes while the link is lost, and it may be for long";
    let faults = Faults { losses: 1, delays: 1, ..NONE };
    SequencePlot { faults, may_stop: true, ..plot("state-close", about, Policy::Latest, 1) }
}

fn state_withdraw() -> SequencePlot {
    let mut plot = plot(
        "state-withdraw",
        "a subscriber of a state withdraws and wants again while the link is lost",
        Policy::Latest,
        2,
    );
    plot.words[1] = vec![Want, Withdraw, Want];
    SequencePlot { faults: LOSS, ..plot }
}

fn plot(name: &'static str, about: &'static str, policy: Policy, samples: usize) -> SequencePlot {
    let publishes = std::iter::repeat_n(Publish, samples);
    SequencePlot {
        name,
        about,
        faults: NONE,
        policy,
        log_samples: None,
        history: 0,
        lifetime: None,
        samples: vec![8; samples],
        options: InterestOptions::default(),
        window: LEAST_WINDOW,
        lane: 1,
        words: [publishes.chain([Close]).collect(), vec![Want]],
        is_settled: true,
        may_stop: false,
    }
}
