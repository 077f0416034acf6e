//! What the nodes said, all of them, in the order in which it was heard.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

/// One JSON line of one node.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// The launch that said it.
    pub(crate) tag: String,
    /// When it was heard, in nanoseconds since 1970.
    pub(crate) heard_ns: u64,
    pub(crate) value: Value,
}

impl Line {
    pub(crate) fn new(tag: &str, value: Value) -> Self {
        Self { tag: tag.to_owned(), heard_ns: now_ns(), value }
    }

    /// The name of the event that it tells; samples have none.
    pub(crate) fn event(&self) -> Option<&str> {
        self.text("event")
    }

    /// A text field.
    pub(crate) fn text(&self, field: &str) -> Option<&str> {
        self.value[field].as_str()
    }

    /// A number field.
    pub(crate) fn number(&self, field: &str) -> Option<u64> {
        self.value[field].as_u64()
    }

    /// When the event happened by the node's own clock, which is this machine's.
    pub(crate) fn happened_ns(&self) -> u64 {
        self.number("time_ns").unwrap_or(self.heard_ns)
    }

    /// The key, if this is a sample.
    pub(crate) fn sample_key(&self) -> Option<&str> {
        if self.event().is_some() { None } else { self.text("key") }
    }
}

/// All lines so far; readers wait for those that they need.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    lines: Mutex<Vec<Line>>,
    news: Condvar,
}

impl Journal {
    pub(crate) fn append(&self, line: Line) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        self.news.notify_all();
    }

    /// How many lines there are: a place from which to follow.
    pub(crate) fn len(&self) -> usize {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Shows every line from `start` on to `see`, those to come too, until it returns
    /// something or `patience` is over.
    pub(crate) fn follow<T>(
        &self,
        start: usize,
        patience: Duration,
        mut see: impl FnMut(&Line) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + patience;
        let mut next = start;
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            while let Some(line) = lines.get(next) {
                next += 1;
                if let Some(found) = see(line) {
                    return Some(found);
                }
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            let waited = self.news.wait_timeout(lines, left);
            lines = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Shows every line from `start` on that is there already.
    pub(crate) fn review(&self, start: usize, see: impl FnMut(&Line)) {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().skip(start).for_each(see);
    }
}

/// Nanoseconds since 1970.
pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use serde_json::json;

    use super::*;

    #[test]
    fn follow_sees_past_and_future_lines_once() {
        let journal = Arc::new(Journal::default());
        journal.append(Line::new("a", json!({"event": "ready"})));
        let writer = journal.clone();
        let writing = thread::spawn(move || {
            for seq in 1..=3 {
                writer.append(Line::new("a", json!({"key": "k", "seq": seq})));
            }
        });
        let mut seen = 0;
        let last = journal.follow(0, Duration::from_secs(10), |line| {
            seen += 1;
            line.number("seq").filter(|seq| *seq == 3)
        });
        assert_eq!((last, seen), (Some(3), 4));
        assert!(writing.join().is_ok());
    }

    #[test]
    fn follow_ends_when_patience_is_over() {
        let journal = Journal::default();
        let never = journal.follow(0, Duration::from_millis(1), |_| Some(()));
        assert_eq!(never, None);
    }

    #[test]
    fn a_sample_is_no_event() {
        let sample = Line::new("a", json!({"key": "k", "time_ns": 5}));
        assert_eq!(sample.sample_key(), Some("k"));
        let event = Line::new("a", json!({"event": "declared", "key": "k", "time_ns": 5}));
        assert_eq!((event.sample_key(), event.happened_ns()), (None, 5));
    }
}
