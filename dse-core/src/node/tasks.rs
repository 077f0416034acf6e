//! Tasks that are told apart by labels, also those that do not live to say who they are.

use tokio::task::{Id, JoinError, JoinSet};

/// A set of tasks, each with a label. Dropping it ends them.
pub(super) struct Tasks<L, T> {
    tasks: JoinSet<T>,
    labels: Vec<(Id, L)>,
}

impl<L, T: Send + 'static> Tasks<L, T> {
    pub(super) fn new() -> Self {
        Self { tasks: JoinSet::new(), labels: Vec::new() }
    }

    pub(super) fn spawn(&mut self, label: L, task: impl Future<Output = T> + Send + 'static) {
        let id = self.tasks.spawn(task).id();
        self.labels.push((id, label));
    }

    /// The next task that ends, as it says or because it panicked; none if there is no
    /// task. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<(L, Result<T, JoinError>)> {
        let (id, ended) = match self.tasks.join_next_with_id().await? {
            Ok((id, ended)) => (id, Ok(ended)),
            Err(error) => (error.id(), Err(error)),
        };
        let place = self.labels.iter().position(|(task, _)| *task == id)?;
        Some((self.labels.swap_remove(place).1, ended))
    }

    pub(super) fn abort_all(&mut self) {
        self.tasks.abort_all();
    }
}
