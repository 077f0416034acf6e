//! What a small world consists of: who is in it, what they do, what may befall them.

use std::time::Duration;

use dse_core::protocol::{Command, Config, InterestOptions, Role, SubscriptionId, Ticket};

use super::clock::REDIAL;
use crate::world::{declaration, endpoint, expr, key};

/// A small world, and the bounds within which everything that can happen in it is tried.
#[derive(Clone, Debug)]
pub struct Plot {
    /// As it is asked for.
    pub name: &'static str,
    /// What is tried in it, in one sentence.
    pub about: &'static str,
    pub(super) places: Vec<Place>,
    /// How often what goes wrong may go wrong on one path.
    pub faults: Faults,
    pub(super) forget_after: Duration,
}

/// How often each thing may go wrong on one path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Faults {
    /// A link, or an attempt to connect, is lost. What was sent before may arrive or not,
    /// and each end notices in its own time.
    pub losses: u8,
    /// A node ends without a word and loses its memory.
    pub crashes: u8,
    /// A long time passes although something is under way.
    pub delays: u8,
    /// A message is lost and nobody is told: what no transport may do. Only for worlds
    /// that are to fail.
    pub drops: u8,
}

/// Where a node runs: one process after the other.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) name: &'static str,
    /// Two places may claim one id.
    pub(super) id: &'static str,
    pub(super) role: Role,
    /// The incarnations of its starts, in order.
    pub(super) lives: Vec<u64>,
    pub(super) enters: Enters,
    /// The places that it has as seeds.
    pub(super) joins: Vec<&'static str>,
    /// What it says as it starts.
    pub(super) first: Vec<Wish>,
    /// What it says later, in this order, each at any moment.
    pub(super) then: Vec<Wish>,
}

impl Place {
    /// What it says as it starts, its seeds included.
    pub(super) fn at_start(&self) -> impl Iterator<Item = Wish> {
        let seeds = self.joins.iter().map(|seed| Wish::Join(seed));
        self.first.iter().copied().chain(seeds)
    }
}

/// When a place starts for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Enters {
    /// Before: the search begins once all these are quiet.
    Settled,
    /// As the search begins.
    AtOnce,
    /// At any moment.
    AnyTime,
}

/// What an application says to its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Wish {
    Declare(&'static str),
    Redeclare(&'static str),
    Undeclare(&'static str),
    Subscribe(&'static str),
    Unsubscribe,
    Request(&'static str),
    Join(&'static str),
    Leave,
}

impl Wish {
    /// The command; `number` is this node's own for it.
    pub(super) fn command(self, number: u64) -> Command {
        let ticket = Ticket(number);
        match self {
            Self::Declare(name) => Command::Declare { ticket, declaration: declaration(name) },
            Self::Redeclare(name) => {
                let mut declaration = declaration(name);
                declaration.encoding = "text/changed".into();
                Command::Redeclare { ticket, declaration }
            }
            Self::Undeclare(name) => Command::Undeclare { ticket, key: key(name) },
            Self::Subscribe(keys) => {
                let (subscription, options) = (SubscriptionId(0), InterestOptions::default());
                Command::Subscribe { ticket, subscription, keys: expr(keys), options }
            }
            Self::Unsubscribe => Command::Unsubscribe { subscription: SubscriptionId(0) },
            Self::Request(keys) => {
                let timeout = Duration::from_secs(10);
                Command::Request { ticket, keys: expr(keys), timeout }
            }
            Self::Join(name) => Command::AddSeed { endpoint: endpoint(name) },
            Self::Leave => Command::Leave,
        }
    }
}

impl Plot {
    /// The places that claim an id.
    pub(super) fn holders<'a>(&'a self, id: &'a str) -> impl Iterator<Item = usize> + 'a {
        let places = self.places.iter().enumerate();
        places.filter(move |(_, place)| place.id == id).map(|(at, _)| at)
    }

    pub(super) fn config(&self, place: usize, life: usize) -> Config {
        let Place { name, id: node, role, lives, .. } = &self.places[place];
        let mut config = crate::world::member(node, lives[life]);
        config.role = *role;
        config.endpoints = vec![endpoint(name)];
        config.redial_min = REDIAL;
        config.redial_max = REDIAL;
        config.forget_after = self.forget_after;
        config
    }
}
