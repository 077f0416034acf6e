//! How commands end: done (0), failed (1), used wrongly (2).

use std::fmt;
use std::io;

use crate::advice;

/// The exit status of a command that did what it was asked to.
pub const DONE: u8 = 0;
/// The exit status of a command that could not.
pub const FAILED: u8 = 1;
/// The exit status of a command that was called wrongly.
pub const USAGE: u8 = 2;

/// The command was called wrongly.
#[derive(Debug)]
struct Usage(String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// The error of a command that was called wrongly.
pub fn usage(what: impl fmt::Display) -> anyhow::Error {
    anyhow::Error::new(Usage(what.to_string()))
}

/// An error with its causes in one line, and what to do about it. Some errors have the words
/// of their cause in their own: these are not said twice.
pub fn in_words(error: &anyhow::Error) -> String {
    let mut words = String::new();
    for cause in error.chain() {
        let said = cause.to_string();
        if words.is_empty() {
            words = said;
        } else if !words.ends_with(&said) {
            words = format!("{words}: {said}");
        }
        words.push_str(advice::on(cause));
    }
    words
}

/// The exit status that an error stands for.
pub fn status_of(error: &anyhow::Error) -> u8 {
    if error.chain().any(|cause| cause.is::<Usage>()) {
        USAGE
    } else if nobody_reads(error) {
        DONE
    } else {
        FAILED
    }
}

/// Did the reader of standard output go, as in `dse-node sub '**' | head -1`? That is no
/// failure.
pub fn nobody_reads(error: &anyhow::Error) -> bool {
    let broken = |cause: &io::Error| cause.kind() == io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(broken))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_said_once() {
        let cause = || io::Error::other("no such file");
        let named = anyhow::Error::new(cause()).context("cannot read x: no such file");
        assert_eq!(in_words(&named), "cannot read x: no such file");
        let unnamed = anyhow::Error::new(cause()).context("cannot read x");
        assert_eq!(in_words(&unnamed), "cannot read x: no such file");
    }

    #[test]
    fn statuses() {
        assert_eq!(status_of(&usage("no").context("while")), USAGE);
        assert_eq!(status_of(&anyhow::anyhow!("no")), FAILED);
        assert_eq!(status_of(&io::Error::from(io::ErrorKind::BrokenPipe).into()), DONE);
    }
}
