//! The data machines between nodes, on links in virtual time (PROTOCOL.md §9).

mod links;
mod routes;
mod waiting;

use std::time::Duration;

use dse_core::data::limits::Window;
use dse_core::data::receive::Delivery;
use dse_core::data::send::{Policy, UnconfirmedCause};
use dse_core::protocol::InterestOptions;
use dse_sim::data::bus::{Bus, Pace, Path, PublisherSetup};

const WINDOW: Window = Window { samples: 1024, bytes: 256 * 1024 };

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

fn secs(time: u64) -> Duration {
    Duration::from_secs(time)
}

/// A publisher's node a, a subscriber's node b, and a link.
fn pair(path: Path) -> (Bus, usize, usize) {
    let mut bus = Bus::new(true);
    let (a, b) = (bus.start("a", WINDOW), bus.start("b", WINDOW));
    bus.connect(a, b, path);
    (bus, a, b)
}

fn options(change: impl FnOnce(&mut InterestOptions)) -> InterestOptions {
    let mut options = InterestOptions::default();
    change(&mut options);
    options
}

/// What a subscription was handed, in words: numbers, `from-to reason` of gaps, fates.
fn story(bus: &Bus, node: usize, subscription: u64) -> String {
    let word = |delivery: &Delivery| match delivery {
        Delivery::Sample(sample) => sample.seq.to_string(),
        Delivery::Gap { from_seq, to_seq: Some(to), reason, .. } => {
            format!("{from_seq}-{to} {reason}")
        }
        Delivery::Gap { from_seq, reason, .. } => format!("{from_seq}- {reason}"),
        Delivery::Ended { .. } => "ended".to_owned(),
        Delivery::Left { .. } => "left".to_owned(),
        Delivery::Lost { .. } => "lost".to_owned(),
        Delivery::Back { .. } => "back".to_owned(),
        Delivery::Restarted { .. } => "restarted".to_owned(),
        _ => "unsupported".to_owned(),
    };
    bus.taken(node, subscription).iter().map(word).collect::<Vec<_>>().join(", ")
}

/// As [`story`], with runs of numbers as `1..9`.
fn told(bus: &Bus, node: usize, subscription: u64) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in story(bus, node, subscription).split(", ") {
        let number: Option<u64> = word.parse().ok();
        if let (Some(number), Some(last)) = (number, words.last_mut()) {
            let (first, end) = last.split_once("..").unwrap_or((last.as_str(), last.as_str()));
            if end.parse() == Ok(number - 1) {
                *last = format!("{first}..{number}");
                continue;
            }
        }
        words.push(word.to_owned());
    }
    words.join(", ")
}

fn causes(bus: &Bus, node: usize, leaf: &str) -> Vec<(String, UnconfirmedCause)> {
    let report = bus.report(node, leaf).expect("a report");
    report.unconfirmed.iter().map(|it| (it.node.as_str().to_owned(), it.cause)).collect()
}

fn block() -> PublisherSetup {
    PublisherSetup::new("p", Policy::Block)
}

fn state() -> PublisherSetup {
    PublisherSetup::new("p", Policy::Latest)
}
