//! All that can happen to one sequence between two nodes: every state once, nearest first, so
//! that a broken law is told by one of the shortest paths that lead to it.
//!
//! What is due may happen in any order: a frame that is chosen late was slow. A state is known by
//! a hash of all that the machines, the lanes and the model hold. States are not kept but played
//! anew, from the choices that lead to them.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use dse_core::data::limits::LARGEST_WINDOW;
use dse_core::data::send::Policy;
use dse_core::protocol::InterestOptions;

use super::bus::{Bus, Pace, Path, PublisherSetup};

/// What may happen to a sequence, and how often.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Its name.
    pub name: &'static str,
    /// What is published.
    pub policy: Policy,
    /// How many samples are published.
    pub samples: u8,
    /// How often the link falls.
    pub losses: u8,
    /// How often the subscriber wants it no more; each time it may want it again.
    pub withdrawals: u8,
    /// How it ends.
    pub end: End,
}

/// How a sequence ends, at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its publisher is closed.
    Close,
    /// The publisher's node leaves.
    PublisherLeaves,
    /// The subscriber's node leaves.
    SubscriberLeaves,
}

/// What came of a search.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How many different states were met.
    pub states: usize,
    /// How many steps were taken between them.
    pub steps: usize,
    /// The length of the longest of the shortest paths.
    pub depth: usize,
    /// In how many of them nothing more is due.
    pub rests: usize,
    /// Was every state met that there is?
    pub whole: bool,
    /// A law that does not hold, and the story of how it is broken.
    pub broken: Option<(String, Vec<String>)>,
}

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    /// One of the things that are due.
    Due(u8),
    Publish,
    Take,
    Cut,
    Join,
    Withdraw,
    Want,
    End,
}

/// A state, on its way.
struct World<'a> {
    scene: &'a Scene,
    bus: Bus,
    publisher: u64,
    subscription: Option<u64>,
    published: u8,
    losses: u8,
    withdrawals: u8,
    ended: bool,
}

const A: usize = 0;
const B: usize = 1;

/// Nothing takes time but what waits.
const PATH: Path = Path { delay: Duration::ZERO, bandwidth: u64::MAX, queue: 256 * 1024 };

/// How long a publisher that closes waits, and a node that leaves.
const PATIENCE: Duration = Duration::from_secs(60);

/// The scenes that are searched: each policy with each end.
pub fn scenes() -> Vec<Scene> {
    let scene =
        |name, policy, end| Scene { name, policy, samples: 4, losses: 1, withdrawals: 1, end };
    vec![
        scene("block", Policy::Block, End::Close),
        scene("block-leave", Policy::Block, End::PublisherLeaves),
        scene("block-left", Policy::Block, End::SubscriberLeaves),
        scene("state", Policy::Latest, End::Close),
        scene("state-leave", Policy::Latest, End::PublisherLeaves),
        scene("oldest", Policy::DropOldest, End::Close),
        scene("newest", Policy::DropNewest, End::PublisherLeaves),
    ]
}

/// Tries all that can happen in a scene, but stops at so many states.
pub fn search(scene: &Scene, most_states: usize) -> Outcome {
    let mut met = HashMap::new();
    // How each state was met first: from which one, and by what.
    let mut traces: Vec<(u32, Choice, u32)> = Vec::new();
    let mut next = VecDeque::new();
    let mut outcome =
        Outcome { states: 0, steps: 0, depth: 0, rests: 0, whole: true, broken: None };
    let begin = World::begin(scene, false);
    met.insert(begin.print(), ());
    traces.push((0, Choice::Take, 0));
    next.push_back(0_u32);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    while let Some(number) = next.pop_front() {
        let path = path(&traces, number);
        let choices = World::played(scene, &path, false).choices();
        for choice in &choices {
            outcome.steps += 1;
            let after = catch_unwind(AssertUnwindSafe(|| {
                let mut world = World::played(scene, &path, false);
                world.apply(*choice);
                let (print, rests) = (world.print(), world.is_at_rest());
                if rests {
                    world.assert_rest();
                }
                (print, rests)
            }));
            let (print, rests) = match after {
                Ok(after) => after,
                Err(panic) => {
                    let path: Vec<Choice> = path.iter().copied().chain([*choice]).collect();
                    outcome.broken = Some((words(panic.as_ref()), story(scene, &path)));
                    next.clear();
                    break;
                }
            };
            if met.insert(print, ()).is_none() {
                let depth = traces[number as usize].2 + 1;
                outcome.depth = outcome.depth.max(depth as usize);
                outcome.rests += usize::from(rests);
                if traces.len() >= most_states {
                    outcome.whole = false;
                    continue;
                }
                next.push_back(traces.len() as u32);
                traces.push((number, *choice, depth));
            }
        }
    }
    std::panic::set_hook(hook);
    outcome.states = traces.len();
    outcome
}

fn path(traces: &[(u32, Choice, u32)], mut number: u32) -> Vec<Choice> {
    let mut path = Vec::new();
    while number > 0 {
        let (before, choice, _) = traces[number as usize];
        path.push(choice);
        number = before;
    }
    path.reverse();
    path
}

/// What happens on a path, in words.
fn story(scene: &Scene, path: &[Choice]) -> Vec<String> {
    let mut told = Vec::new();
    let mut world = World::begin(scene, true);
    for choice in path {
        told.push(format!("{choice:?}"));
        let before = world.bus.transcript().len();
        // The last one breaks the law.
        let _ = catch_unwind(AssertUnwindSafe(|| world.apply(*choice)));
        told.extend(world.bus.transcript()[before..].iter().map(|line| format!("    {line}")));
    }
    told
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".into())
}

impl<'a> World<'a> {
    /// Two nodes that are joined; one publishes what the other wants.
    fn begin(scene: &'a Scene, transcript: bool) -> Self {
        let mut bus = Bus::new(transcript);
        assert_eq!((bus.start("a", LARGEST_WINDOW), bus.start("b", LARGEST_WINDOW)), (A, B));
        let publisher = bus.declare(A, &PublisherSetup::new("x", scene.policy));
        let subscription = bus.subscribe(B, "a/x", InterestOptions::default(), Pace::Stopped);
        bus.connect(A, B, PATH);
        Self {
            scene,
            bus,
            publisher,
            subscription: Some(subscription),
            published: 0,
            losses: 0,
            withdrawals: 0,
            ended: false,
        }
    }

    fn played(scene: &'a Scene, path: &[Choice], transcript: bool) -> Self {
        let mut world = Self::begin(scene, transcript);
        path.iter().for_each(|choice| world.apply(*choice));
        world
    }

    fn both_run(&self) -> bool {
        self.bus.runs(A) && self.bus.runs(B)
    }

    fn choices(&self) -> Vec<Choice> {
        let Scene { samples, losses, withdrawals, .. } = *self.scene;
        let mut choices: Vec<Choice> = (0..self.bus.due()).map(|n| Choice::Due(n as u8)).collect();
        let mut may = |choice, when: bool| choices.extend(when.then_some(choice));
        let runs = self.bus.runs(A) && !self.ended;
        may(Choice::Publish, runs && self.published < samples);
        let takes =
            self.bus.runs(B) && self.subscription.is_some_and(|id| self.bus.has_items(B, id));
        may(Choice::Take, takes);
        may(Choice::Cut, self.losses < losses && self.bus.joined(A, B));
        may(Choice::Join, self.losses > 0 && self.both_run() && self.bus.are_apart(A, B));
        let runs = self.bus.runs(B) && !self.bus.is_leaving(B);
        may(
            Choice::Withdraw,
            runs && self.withdrawals < withdrawals && self.subscription.is_some(),
        );
        may(Choice::Want, runs && self.subscription.is_none());
        may(Choice::End, !self.ended && self.both_run());
        choices
    }

    fn apply(&mut self, choice: Choice) {
        match choice {
            Choice::Due(nth) => self.bus.step_to(nth.into()),
            Choice::Publish => {
                self.published += 1;
                self.bus.publish(A, self.publisher, [self.published.into()]);
            }
            Choice::Take => {
                if let Some(id) = self.subscription {
                    self.bus.take_one(B, id);
                }
            }
            Choice::Cut => {
                self.losses += 1;
                self.bus.cut(A, B, [Duration::ZERO; 2]);
            }
            Choice::Join => self.bus.connect(A, B, PATH),
            Choice::Withdraw => {
                self.withdrawals += 1;
                if let Some(id) = self.subscription.take() {
                    self.bus.unsubscribe(B, id);
                }
            }
            Choice::Want => {
                let options = InterestOptions::default();
                self.subscription = Some(self.bus.subscribe(B, "a/x", options, Pace::Stopped));
            }
            Choice::End => {
                self.ended = true;
                match self.scene.end {
                    End::Close => self.bus.close(A, self.publisher, PATIENCE),
                    End::PublisherLeaves => self.bus.leave(A, PATIENCE),
                    End::SubscriberLeaves => self.bus.leave(B, PATIENCE),
                }
            }
        }
    }

    fn print(&self) -> (u64, [u8; 5]) {
        let is_wanted = u8::from(self.subscription.is_some());
        let left = [self.published, self.losses, self.withdrawals, self.ended.into(), is_wanted];
        (self.bus.print(), left)
    }

    /// Is nothing due, and nothing there to take?
    fn is_at_rest(&self) -> bool {
        let has_items = |id| self.bus.runs(B) && self.bus.has_items(B, id);
        self.bus.due() == 0 && !self.subscription.is_some_and(has_items)
    }

    /// Nothing is left undone at rest; and what comes then arrives.
    fn assert_rest(&mut self) {
        self.bus.assert_settled();
        if !self.both_run() || self.ended {
            return;
        }
        self.bus.connect(A, B, PATH);
        if let Some(id) = self.subscription {
            self.bus.set_pace(B, id, Pace::Eager);
        }
        self.bus.run_until_idle(PATIENCE);
        self.bus.publish_once_more();
        self.bus.run_until_idle(PATIENCE);
        self.bus.assert_settled();
        self.bus.assert_up_to_date();
        self.bus.assert_reports_at_rest();
    }
}
