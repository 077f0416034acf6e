//! The graph of what can happen by itself, and where it ends.

/// Which states lead by themselves to which: state n to `to[from[n]..from[n + 1]]`.
#[derive(Default)]
pub(super) struct Graph {
    from: Vec<usize>,
    to: Vec<u32>,
}

/// States that all lead to each other, and what is beyond them.
pub(super) struct Component {
    /// Its states.
    pub(super) states: Vec<u32>,
    /// Nothing leads out of it.
    pub(super) is_last: bool,
    /// One state at least leads back to itself.
    pub(super) is_loop: bool,
}

impl Graph {
    /// Enters the next state with those that it leads to.
    pub(super) fn push(&mut self, to: &[u32]) {
        if self.from.is_empty() {
            self.from.push(0);
        }
        self.to.extend_from_slice(to);
        self.from.push(self.to.len());
    }

    /// How many states were entered.
    pub(super) fn len(&self) -> usize {
        self.from.len().saturating_sub(1)
    }

    fn next(&self, state: u32) -> &[u32] {
        let at = state as usize;
        if at >= self.len() { &[] } else { &self.to[self.from[at]..self.from[at + 1]] }
    }

    /// Calls `each` for every component (Tarjan's algorithm, without recursion).
    pub(super) fn components(&self, states: usize, mut each: impl FnMut(&Component)) {
        let mut walk = Walk::new(states);
        for root in 0..states as u32 {
            if walk.order[root as usize] == UNSEEN {
                walk.from(self, root, &mut each);
            }
        }
    }

    fn component(&self, states: Vec<u32>) -> Component {
        let inside = |to: u32| states.binary_search(&to).is_ok();
        let mut all = states.iter().flat_map(|state| self.next(*state));
        let is_last = all.clone().all(|to| inside(*to));
        let is_loop = all.any(|to| inside(*to));
        Component { states, is_last, is_loop }
    }
}

const UNSEEN: u32 = u32::MAX;
const DONE: u32 = u32::MAX;

struct Walk {
    order: Vec<u32>,
    low: Vec<u32>,
    stack: Vec<u32>,
    /// States on the way, and which of their successors is next.
    path: Vec<(u32, usize)>,
    last: u32,
}

impl Walk {
    fn new(states: usize) -> Self {
        let (order, low) = (vec![UNSEEN; states], vec![0; states]);
        Self { order, low, stack: Vec::new(), path: Vec::new(), last: 0 }
    }

    fn from(&mut self, graph: &Graph, root: u32, each: &mut impl FnMut(&Component)) {
        self.enter(root);
        while let Some((state, next)) = self.path.last_mut() {
            let at = *state;
            if let Some(to) = graph.next(at).get(*next).copied() {
                *next += 1;
                if self.order[to as usize] == UNSEEN {
                    self.enter(to);
                } else if self.low[to as usize] != DONE {
                    self.low[at as usize] = self.low[at as usize].min(self.order[to as usize]);
                }
                continue;
            }
            self.path.pop();
            if let Some((before, _)) = self.path.last() {
                let low = self.low[at as usize];
                self.low[*before as usize] = self.low[*before as usize].min(low);
            }
            if self.low[at as usize] == self.order[at as usize] {
                let component = self.leave(at);
                each(&graph.component(component));
            }
        }
    }

    fn enter(&mut self, state: u32) {
        self.order[state as usize] = self.last;
        self.low[state as usize] = self.last;
        self.last += 1;
        self.stack.push(state);
        self.path.push((state, 0));
    }

    fn leave(&mut self, first: u32) -> Vec<u32> {
        let start = self.stack.iter().rposition(|state| *state == first).unwrap_or(0);
        let mut states = self.stack.split_off(start);
        for state in &states {
            self.low[*state as usize] = DONE;
        }
        states.sort_unstable();
        states
    }
}
