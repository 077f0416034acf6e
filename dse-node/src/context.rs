//! What surrounds a command: what it reads, where it prints, when it is to end, whom it
//! shares memory with.

use std::sync::Arc;

#[cfg(feature = "mem")]
use dse_transport_mem::MemScope;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::console::Console;
use crate::input::Input;

/// A command's surroundings.
#[derive(Clone, Debug)]
pub struct Context {
    /// What it reads.
    pub input: Arc<Mutex<Input>>,
    /// Where it prints.
    pub console: Console,
    /// Cancelled when the user wants it to end in order.
    pub cancel: CancellationToken,
    /// Cancelled when the user wants it to end at once: there is time for a last word.
    pub at_once: CancellationToken,
    /// The nodes that it can reach by `mem`.
    #[cfg(feature = "mem")]
    pub mem_scope: MemScope,
}

impl Context {
    /// The surroundings of a command that has the process for itself.
    pub fn process(cancel: CancellationToken, at_once: CancellationToken) -> Self {
        Self {
            input: Arc::new(Mutex::new(Input::process())),
            console: Console::process(),
            cancel,
            at_once,
            #[cfg(feature = "mem")]
            mem_scope: MemScope::new(),
        }
    }
}
