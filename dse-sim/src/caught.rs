//! Laws that are broken are panics: they are caught, and printed by who asks for them.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Once;

/// A law that was broken, or a control bus that panicked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Where in the source it was found: two failures of one place count as the same.
    pub place: String,
    /// What is wrong, in words.
    pub what: String,
}

/// Runs this and says where and how it panicked, if it did.
pub(crate) fn caught(run: impl FnOnce()) -> Option<Failure> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !note(info) {
                before(info);
            }
        }));
    });
    CAUGHT.with_borrow_mut(|caught| *caught = Some(None));
    let ended = catch_unwind(AssertUnwindSafe(run));
    let noted = CAUGHT.with_borrow_mut(Option::take).flatten();
    match ended {
        Ok(()) => None,
        Err(_) => Some(noted.unwrap_or_else(|| Failure {
            place: "unknown".to_owned(),
            what: "a panic of which nothing is known".to_owned(),
        })),
    }
}

thread_local! {
    /// Some while a trial runs on this thread; in it, how it panicked.
    static CAUGHT: RefCell<Option<Option<Failure>>> = const { RefCell::new(None) };
}

/// Notes a panic of a trial. False if there is none on this thread.
fn note(info: &PanicHookInfo<'_>) -> bool {
    CAUGHT.with_borrow_mut(|caught| {
        let Some(caught) = caught else { return false };
        let payload = info.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        let place =
            info.location().map_or_else(String::new, |at| format!("{}:{}", at.file(), at.line()));
        let what = text.unwrap_or("a panic without a text").to_owned();
        *caught = Some(Failure { place, what });
        true
    })
}
