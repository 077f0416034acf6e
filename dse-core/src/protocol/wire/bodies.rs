//! The fields of each message and of each item, in their order on the wire (PROTOCOL.md §3).

use alloc::boxed::Box;

use super::codec::{Fields, Item, Malformed, Reader, Writer};
use crate::protocol::declaration::{Declaration, Kind};
use crate::protocol::features::Features;
use crate::protocol::key::Key;
use crate::protocol::message::{
    Answer, Delta, Hello, Interest, InterestRefused, Leave, LeaveAck, LeaveReason, Member, Members,
    MembersRequest, Open, Pattern, Reject, RejectReason, Request, Rival, Role, Snapshot, Span,
    Stand, Stats, StatsRequest, Suspect,
};
use crate::protocol::names::Endpoint;
use crate::protocol::numbers::{reject, scope, tag};
use crate::protocol::options::{Class, InterestOptions};

/// Plain values, then lists of items in brackets. Known tags: none.
macro_rules! fields {
    ($($type:ident { $($plain:ident),* $([$list:ident])* })*) => {$(
        impl Fields for $type {
            fn write(&self, to: &mut Writer) {
                let Self { $($plain,)* $($list,)* } = self;
                $(to.plain($plain);)*
                $(to.list($list);)*
                let _ = to;
            }

            fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
                $(let $plain = from.plain()?;)*
                $(let $list = from.list()?;)*
                let _ = from;
                Ok(Self { $($plain,)* $($list,)* })
            }
        }
    )*};
}

fields! {
    Open { echo, held, known [census] }
    Span { from, sum }
    Members { request, last [members] }
    Member { node, incarnation [endpoints] }
    MembersRequest { request }
    Snapshot { version, part, last [declarations] }
    Delta { from, to, part, last [set] [unset] }
    Request { request, keys }
    Answer { request, part, last, membership [declarations] }
    Interest { version, part, last [patterns] }
    InterestRefused { version, why }
    LeaveAck {}
    StatsRequest { request }
    Stats { request [counters] }
    Suspect { node, incarnation }
    Stand {}
}

/// Items of one plain value.
macro_rules! plain_items {
    ($($type:ty,)*) => {$(
        impl Fields for $type {
            fn write(&self, to: &mut Writer) {
                to.plain(self);
            }

            fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
                from.plain()
            }
        }
    )*};
}

plain_items! {
    Key,
    (Box<str>, u64),
    (Box<str>, Box<str>),
}

impl Fields for Hello {
    fn write(&self, to: &mut Writer) {
        to.plain(&(self.min_version, self.max_version, self.features));
        to.plain(&(&self.bus, &self.node, self.claim, self.role.number()));
        to.plain(&(self.lasting, self.link_nonce));
        to.list(&self.endpoints);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (min_version, max_version, features): (u8, u8, Features) = from.plain()?;
        let (bus, node, claim, role) = from.plain()?;
        let (lasting, link_nonce) = from.plain()?;
        let endpoints = from.list()?;
        from.skipped.features += u64::from(features.unknown_count());
        from.skipped.roles += u64::from(!Role::is_known(role));
        let role = Role::from_number(role);
        Ok(Self {
            min_version,
            max_version,
            features,
            bus,
            node,
            claim,
            role,
            lasting,
            link_nonce,
            endpoints,
        })
    }
}

impl Fields for Declaration {
    fn write(&self, to: &mut Writer) {
        to.plain(&(&self.key, self.kind, &self.encoding));
        to.list(&self.meta);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (key, kind, encoding) = from.plain()?;
        let meta = from.list()?;
        from.skipped.kinds += u64::from(matches!(kind, Kind::Other(_)));
        Ok(Self { key, kind, encoding, meta })
    }
}

impl Fields for Pattern {
    fn write(&self, to: &mut Writer) {
        to.plain(&self.keys);
        let InterestOptions { never_wait, min_interval, class } = self.options;
        if never_wait {
            to.tag(tag::PATTERN_NEVER_WAIT, &true);
        }
        if !min_interval.is_zero() {
            // Never shorter than what was asked for.
            let ms = min_interval.as_nanos().div_ceil(1_000_000);
            to.tag(tag::PATTERN_MIN_INTERVAL, &u64::try_from(ms).unwrap_or(u64::MAX));
        }
        if let Some(class) = class {
            to.tag(tag::PATTERN_CLASS, &class.number());
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let keys = from.plain()?;
        let mut options = InterestOptions::default();
        from.tags(|number, value| {
            match number {
                tag::PATTERN_NEVER_WAIT => options.never_wait = value.plain()?,
                tag::PATTERN_MIN_INTERVAL => {
                    options.min_interval = core::time::Duration::from_millis(value.plain()?);
                }
                tag::PATTERN_CLASS => {
                    let number = value.plain()?;
                    let class = Class::from_number(number);
                    value.skipped.classes += u64::from(class.number() != number);
                    options.class = Some(class);
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(Self { keys, options })
    }
}

/// From where the endpoint can be reached, the host that it is on as a keyed hash, whether
/// it was observed, and the endpoint. This version reaches all from anywhere.
impl Item for Endpoint {
    fn write_item(&self, to: &mut Writer) {
        to.plain(&(scope::ANYWHERE, 0_u64, false, self));
    }

    fn read_item(from: &mut Reader<'_>) -> Result<Option<Self>, Malformed> {
        let scope: u8 = from.plain()?;
        if scope > scope::LINK_LOCAL {
            from.skipped.scopes += 1;
            from.skip_rest();
            return Ok(None);
        }
        let (_host, observed, endpoint): (u64, bool, Self) = from.plain()?;
        // One that was observed is for invitations alone, and is never dialled unasked.
        Ok((!observed).then_some(endpoint))
    }
}

fn put_endpoint(to: &mut Writer, endpoint: Option<&Endpoint>) {
    to.plain(&endpoint.is_some());
    if let Some(endpoint) = endpoint {
        to.item(|to| endpoint.write_item(to));
    }
}

fn take_endpoint(from: &mut Reader<'_>) -> Result<Option<Endpoint>, Malformed> {
    let is_there = from.plain()?;
    if is_there { from.item(Endpoint::read_item) } else { Ok(None) }
}

impl Fields for Rival {
    fn write(&self, to: &mut Writer) {
        to.plain(&self.claim);
        put_endpoint(to, self.endpoint.as_ref());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { claim: from.plain()?, endpoint: take_endpoint(from)? })
    }
}

impl Fields for Reject {
    fn write(&self, to: &mut Writer) {
        to.plain(&self.echo);
        to.item(|to| self.reason.write(to));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { echo: from.plain()?, reason: from.item(RejectReason::read)? })
    }
}

/// The number, the reason in words for who does not know the number, and its fields.
impl Fields for RejectReason {
    fn write(&self, to: &mut Writer) {
        let words = match self {
            Self::Other { words, .. } => words,
            _ => "",
        };
        to.plain(&(self.number(), words));
        match self {
            Self::WrongBus { bus } => to.plain(bus),
            Self::NoCommonVersion { min, max } => to.plain(&(min, max)),
            Self::Clash { winner } => put_endpoint(to, winner.as_ref()),
            Self::BusFull { limit } | Self::GuestsFull { limit } => to.plain(limit),
            Self::WrongIdentity { certified } => to.plain(certified),
            Self::Fault { fault } => to.plain(fault),
            Self::Yourself | Self::Duplicate | Self::Leaving | Self::Other { .. } => {}
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (number, words): (u8, Box<str>) = from.plain()?;
        Ok(match number {
            reject::WRONG_BUS => Self::WrongBus { bus: from.plain()? },
            reject::NO_COMMON_VERSION => {
                Self::NoCommonVersion { min: from.plain()?, max: from.plain()? }
            }
            reject::CLASH => Self::Clash { winner: take_endpoint(from)? },
            reject::YOURSELF => Self::Yourself,
            reject::DUPLICATE => Self::Duplicate,
            reject::LEAVING => Self::Leaving,
            reject::BUS_FULL => Self::BusFull { limit: from.plain()? },
            reject::GUESTS_FULL => Self::GuestsFull { limit: from.plain()? },
            reject::WRONG_IDENTITY => Self::WrongIdentity { certified: from.plain()? },
            reject::FAULT => Self::Fault { fault: from.plain()? },
            number => {
                from.skipped.reasons += 1;
                from.skip_rest();
                Self::Other { number, words }
            }
        })
    }
}

impl Fields for Leave {
    fn write(&self, to: &mut Writer) {
        to.item(|to| to.plain(&self.reason.number()));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let reason = from.item(|from| {
            let reason = LeaveReason::from_number(from.plain()?);
            if matches!(reason, LeaveReason::Other(_)) {
                from.skipped.reasons += 1;
                from.skip_rest();
            }
            Ok(reason)
        })?;
        Ok(Self { reason })
    }
}
