//! Keys and key expressions.
//!
//! A key is a path such as `site/hall-2/temperature`: 1 to 32 segments parted by
//! `/`, none empty, at most 255 bytes in all, with no `*`, no control characters
//! and no white space. A key expression may have `*` as a whole segment (exactly
//! one segment, whatever it is) and `**` (any number of segments, also none).

use alloc::string::ToString;
use alloc::sync::Arc;
use core::borrow::Borrow;
use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::limits;
use super::names::{NameError, text_newtype};

/// The name of one value on the bus, such as `site/hall-2/temperature`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);
text_newtype!(Key, "key", check_key);

/// A pattern over keys: `*` stands for one segment, `**` for any number.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyExpr(Arc<str>);
text_newtype!(KeyExpr, "key expression", check_key_expr);

impl KeyExpr {
    /// Does the pattern cover this key?
    pub fn matches(&self, key: &Key) -> bool {
        self.may_include(key.as_str()) && relate(self.as_str(), key.as_str(), Relation::Includes)
    }

    /// Does the pattern cover every key that `other` covers?
    ///
    /// Sound but not complete where `*` and `**` meet in ways such as `**/*`
    /// against `*/**`: a `false` may be a `true` that was not found. No caller may
    /// rely on a `false`.
    pub fn includes(&self, other: &KeyExpr) -> bool {
        let other = other.as_str();
        self.may_include(other) && relate(self.as_str(), other, Relation::Includes)
    }

    /// The key that it is, if it has no `*`.
    pub(super) fn as_key(&self) -> Option<Key> {
        (!self.0.contains('*')).then(|| Key(self.0.clone()))
    }

    /// What every key that it covers begins with: its segments before the first `*`.
    pub(super) fn beginning(&self) -> &str {
        let text = self.as_str();
        text.find('*').map_or(text, |at| &text[..at.saturating_sub(1)])
    }

    /// A look at the beginning, which mostly tells.
    fn may_include(&self, other: &str) -> bool {
        other.starts_with(self.beginning())
    }

    /// Is there a key that both patterns cover?
    pub fn intersects(&self, other: &KeyExpr) -> bool {
        relate(self.as_str(), other.as_str(), Relation::Intersects)
    }
}

/// A key is looked up by its text, too.
impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl From<&Key> for KeyExpr {
    fn from(key: &Key) -> Self {
        Self(key.0.clone())
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Relation {
    Includes,
    Intersects,
}

/// Walks both patterns by dynamic programming: `row[j]` says whether what is left
/// of `a` relates to `b[j..]`. At most 33 x 33 cells, no recursion, so no pattern
/// takes long (law L6).
fn relate(a: &str, b: &str, relation: Relation) -> bool {
    #[cfg(test)]
    COMPARISONS.set(COMPARISONS.get() + 1);
    let mut segments = [""; limits::KEY_SEGMENTS];
    let count = segments.iter_mut().zip(b.split('/')).map(|(place, it)| *place = it).count();
    let b = &segments[..count];
    let mut below = [false; limits::KEY_SEGMENTS + 1];
    below[b.len()] = true;
    if relation == Relation::Intersects {
        for j in (0..b.len()).rev() {
            below[j] = below[j + 1] && b[j] == "**";
        }
    }
    for left in a.rsplit('/') {
        let mut row = [false; limits::KEY_SEGMENTS + 1];
        for j in (0..=b.len()).rev() {
            let right = b.get(j).copied();
            row[j] = match (left, right) {
                ("**", None) => below[j],
                ("**", Some(_)) => below[j] || row[j + 1],
                (_, None) => false,
                (_, Some("**")) if relation == Relation::Intersects => row[j + 1] || below[j],
                (_, Some("**")) => false,
                ("*", Some(_)) => below[j + 1],
                (_, Some("*")) => relation == Relation::Intersects && below[j + 1],
                (left, Some(right)) => left == right && below[j + 1],
            };
        }
        below = row;
    }
    below[0]
}

fn check_key(text: &str) -> Result<(), &'static str> {
    if text.contains('*') {
        return Err("a key has no *; only key expressions do");
    }
    check_path(text)
}

fn check_key_expr(text: &str) -> Result<(), &'static str> {
    if text.split('/').any(|segment| segment.contains('*') && segment != "*" && segment != "**") {
        return Err("* and ** must be whole segments, as in a/*/c or a/**");
    }
    check_path(text)
}

fn check_path(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("it is empty; write segments parted by /, as in site/hall/temperature");
    }
    if text.len() > limits::KEY_BYTES {
        return Err("it is longer than 255 bytes");
    }
    if text.split('/').count() > limits::KEY_SEGMENTS {
        return Err("it has more than 32 segments");
    }
    if text.split('/').any(str::is_empty) {
        return Err("it has an empty segment: no / at either end and no // inside");
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("it holds white space or control characters");
    }
    Ok(())
}

#[cfg(test)]
extern crate std;
#[cfg(test)]
std::thread_local! {
    static COMPARISONS: core::cell::Cell<usize> = const { core::cell::Cell::new(0) };
}

/// How many times this thread has compared two patterns segment by segment.
#[cfg(test)]
pub(super) fn comparisons() -> usize {
    COMPARISONS.get()
}
