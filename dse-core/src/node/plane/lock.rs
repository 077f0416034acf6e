//! A mutex that counts, in debug builds, how often a thread takes one: a test holds what a lone
//! sample costs against it.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

#[cfg(debug_assertions)]
thread_local! {
    static TAKEN: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// How many locks of the data plane this thread has taken so far. Always 0 in release builds.
pub fn locks_taken() -> u64 {
    #[cfg(debug_assertions)]
    return TAKEN.get();
    #[cfg(not(debug_assertions))]
    0
}

/// Every change under these locks is complete in itself, so a panic elsewhere cannot have left
/// anything broken: poison is ignored.
#[derive(Debug, Default)]
pub(super) struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    pub(super) const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        count();
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None if another thread holds it.
    pub(super) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        count();
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

fn count() {
    #[cfg(debug_assertions)]
    TAKEN.set(TAKEN.get() + 1);
}
