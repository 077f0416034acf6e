//! What is wrong with a frame.

/// Why a data frame cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// It ends inside a record or its payload.
    #[error("the data frame ends inside a record")]
    Truncated,
    /// A number does not fit.
    #[error("the data frame holds a number out of range")]
    Number,
    /// A text is not UTF-8, or an offset passes its total.
    #[error("the data frame holds an invalid {0}")]
    Invalid(&'static str),
    /// More payload than records.
    #[error("the data frame holds payload that belongs to no record")]
    Trailing,
}
