//! The tasks that drive `quinn`'s sockets and connections, and who else may drive one.
//!
//! A connection's task sends what was written to its streams. For a lone sample that is
//! one task more in a row of tasks that wake each other (socket, connection, reader,
//! application, connection), and tokio runs only the first three of those whom a task
//! wakes in its place: for the next it wakes another thread. So who writes a little to a
//! connection whose task rests drives that connection himself.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::UdpSocket;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Instant;

use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};
use tokio::runtime::Handle;

/// tokio, with a [`Driver`] in each task that `quinn` asks for.
#[derive(Debug)]
pub(crate) struct DriverRuntime;

impl Runtime for DriverRuntime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, work: Work) {
        let task = Task(Driver::new(work));
        tokio::spawn(poll_fn(move |cx| task.poll(cx)));
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}

/// Writes to a connection. If its task rests, it is driven before this returns, in place of
/// the task.
pub(crate) fn write_and_drive<T>(write: impl FnOnce() -> T) -> T {
    let watch = Watch::begin();
    let written = write();
    if let Some(driver) = watch.end() {
        driver.drive_for_task();
    }
    written
}

/// What `quinn` does for a socket or a connection.
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Drives a socket or a connection.
struct Driver {
    /// None once it is done. Only the task waits for this lock.
    work: Mutex<Option<Work>>,
    task: OnceLock<Waker>,
    /// The task was woken and has not begun to drive since.
    called: AtomicBool,
    /// Whoever drives may be no task of any runtime.
    runtime: Handle,
}

impl Driver {
    fn new(work: Work) -> Arc<Self> {
        Arc::new(Self {
            work: Mutex::new(Some(work)),
            task: OnceLock::new(),
            called: AtomicBool::new(true),
            runtime: Handle::current(),
        })
    }

    /// Ready once the work is done.
    fn drive(self: &Arc<Self>, work: &mut Option<Work>) -> Poll<()> {
        if let Some(running) = work {
            let waker = Waker::from(Arc::clone(self));
            ready!(running.as_mut().poll(&mut Context::from_waker(&waker)));
            *work = None;
        }
        Poll::Ready(())
    }

    fn drive_for_task(self: &Arc<Self>) {
        let _entered = self.runtime.enter();
        let rests = match self.work.try_lock() {
            // The task ends with the work.
            Ok(mut work) => self.drive(&mut work).is_pending(),
            // Somebody is at it, and may be past what there is to do now.
            Err(_) => false,
        };
        if !rests {
            self.call();
        }
    }

    fn call(&self) {
        self.called.store(true, SeqCst);
        if let Some(task) = self.task.get() {
            task.wake_by_ref();
        }
    }

    fn work(&self) -> MutexGuard<'_, Option<Work>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Driver {
    /// `quinn` wakes a driver under locks that driving takes: this is not the moment for it.
    fn wake(self: Arc<Self>) {
        // A task that is on its way finds what there is to do without help.
        if self.called.load(SeqCst) || !Watch::puts_aside(&self) {
            self.call();
        }
    }
}

/// The task of a driver.
struct Task(Arc<Driver>);

impl Task {
    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let Self(driver) = self;
        driver.task.get_or_init(|| cx.waker().clone());
        driver.called.store(false, SeqCst);
        driver.drive(&mut driver.work())
    }
}

impl Drop for Task {
    /// The work has the driver to wake and would keep itself alive.
    fn drop(&mut self) {
        let work = self.0.work().take();
        drop(work);
    }
}

/// While it lives, the first driver that this thread wakes is put aside.
struct Watch;

/// What a thread does with a driver that it wakes.
#[derive(Default)]
enum Watched {
    /// Calls its task.
    #[default]
    Nothing,
    /// Puts it aside.
    Next,
    /// Calls its task: another was put aside before.
    Woken(Arc<Driver>),
}

thread_local! {
    static WATCHED: Cell<Watched> = const { Cell::new(Watched::Nothing) };
}

impl Watch {
    fn begin() -> Self {
        WATCHED.set(Watched::Next);
        Self
    }

    /// The driver that was put aside.
    fn end(self) -> Option<Arc<Driver>> {
        match WATCHED.take() {
            Watched::Woken(driver) => Some(driver),
            Watched::Nothing | Watched::Next => None,
        }
    }

    fn puts_aside(driver: &Arc<Driver>) -> bool {
        let watched = WATCHED.try_with(|watched| {
            let before = watched.take();
            let puts_aside = matches!(before, Watched::Next);
            watched.set(if puts_aside { Watched::Woken(Arc::clone(driver)) } else { before });
            puts_aside
        });
        // A thread that ends watches nothing.
        watched.unwrap_or(false)
    }
}

impl Drop for Watch {
    /// A write that panicked has woken all the same.
    fn drop(&mut self) {
        if let Watched::Woken(driver) = WATCHED.take() {
            driver.call();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Waker;

    use tokio::task::yield_now;

    use super::*;

    /// Work that counts how often it is driven, and says how to wake its driver.
    #[derive(Default)]
    struct Trial {
        driven: AtomicUsize,
        waker: OnceLock<Waker>,
        /// Another thread writes while it is driven next.
        interrupted: AtomicBool,
        done: AtomicBool,
    }

    impl Trial {
        /// Begins, and lets its task come to rest.
        async fn start() -> Arc<Self> {
            let trial = Arc::new(Self::default());
            let work = Arc::clone(&trial);
            DriverRuntime.spawn(Box::pin(poll_fn(move |cx| work.poll(cx))));
            yield_now().await;
            assert_eq!(trial.driven(), 1);
            trial
        }

        fn poll(self: &Arc<Self>, cx: &Context<'_>) -> Poll<()> {
            assert!(Handle::try_current().is_ok(), "quinn needs timers");
            self.driven.fetch_add(1, SeqCst);
            self.waker.get_or_init(|| cx.waker().clone());
            if self.interrupted.swap(false, SeqCst) {
                self.write_elsewhere();
            }
            if self.done.load(SeqCst) { Poll::Ready(()) } else { Poll::Pending }
        }

        fn driven(&self) -> usize {
            self.driven.load(SeqCst)
        }

        fn wake(&self) {
            self.waker.get().expect("it was driven").wake_by_ref();
        }

        /// Another thread, which knows no runtime, writes.
        fn write_elsewhere(self: &Arc<Self>) {
            let writer = Arc::clone(self);
            let written = std::thread::spawn(move || write_and_drive(|| writer.wake())).join();
            written.expect("no panic");
        }
    }

    #[tokio::test]
    async fn who_writes_drives_a_connection_that_rests_once() {
        let trial = Trial::start().await;
        write_and_drive(|| {
            trial.wake();
            assert_eq!(trial.driven(), 1, "quinn's locks are held");
        });
        assert_eq!(trial.driven(), 2);
        yield_now().await;
        assert_eq!(trial.driven(), 2, "its task had nothing to do");
    }

    #[tokio::test]
    async fn who_is_no_task_drives_too() {
        let trial = Trial::start().await;
        trial.write_elsewhere();
        assert_eq!(trial.driven(), 2);
    }

    #[tokio::test]
    async fn a_task_that_was_called_drives_itself() {
        let trial = Trial::start().await;
        trial.wake();
        write_and_drive(|| trial.wake());
        assert_eq!(trial.driven(), 1);
        yield_now().await;
        assert_eq!(trial.driven(), 2);
    }

    #[tokio::test]
    async fn a_wake_up_while_somebody_drives_is_not_lost() {
        let trial = Trial::start().await;
        trial.interrupted.store(true, SeqCst);
        trial.wake();
        yield_now().await;
        yield_now().await;
        assert_eq!(trial.driven(), 3);
    }

    #[tokio::test]
    async fn a_write_that_panics_leaves_no_driver_asleep() {
        let trial = Trial::start().await;
        let writer = Arc::clone(&trial);
        let writing = tokio::spawn(async move {
            write_and_drive(|| {
                writer.wake();
                panic!("as a broken write would");
            })
        });
        assert!(writing.await.is_err());
        yield_now().await;
        assert_eq!(trial.driven(), 2);
        trial.wake();
        yield_now().await;
        assert_eq!(trial.driven(), 3, "this thread puts nothing aside any more");
    }

    #[tokio::test]
    async fn work_ends_with_who_drives_it_last_and_is_dropped() {
        let trial = Trial::start().await;
        trial.done.store(true, SeqCst);
        write_and_drive(|| trial.wake());
        assert_eq!(trial.driven(), 2);
        yield_now().await;
        assert_eq!(trial.driven(), 2);
        assert_eq!(Arc::strong_count(&trial), 1);
    }

    #[test]
    fn a_runtime_that_ends_drops_the_work() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let trial = runtime.block_on(Trial::start());
        drop(runtime);
        assert_eq!(Arc::strong_count(&trial), 1);
    }
}
