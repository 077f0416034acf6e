//! A data plane and a peer that sends what it likes on the data lane.

mod lane;
pub(crate) mod peer;
pub(crate) mod told;
pub(crate) mod trial;

use std::cell::Cell;
use std::sync::Once;

use crate::source::Source;
use trial::Trial;

/// Runs the data plane of one node through a schedule that the bytes decide: a peer's links
/// come and go, records come in on them (fitting, wrong or noise), publishers and
/// subscribers come, go, publish and take, routes are added and removed, time passes. What
/// subscribers are told and what the peer is sent must keep law L8; at the end nothing
/// is left running.
pub fn plane(data: &[u8]) {
    count_panics();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let before = PANICS.get();
    runtime.block_on(async {
        let mut source = Source::new(data);
        let mut trial = Trial::new();
        for _ in 0..MOST_STEPS {
            if source.is_used_up() {
                break;
            }
            trial.step(&mut source).await;
        }
        trial.finish().await;
    });
    let left = runtime.metrics().num_alive_tasks();
    assert_eq!(left, 0, "tasks that nobody needs go on");
    // A runtime keeps the panic of a task to itself.
    assert_eq!(PANICS.get(), before, "a task panicked");
}

thread_local! {
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            hook(info);
        }));
    });
}

const MOST_STEPS: usize = 300;
