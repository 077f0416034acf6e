//! A control bus among hostile peers.

mod model;
mod trial;
mod words;

use crate::source::Source;
use trial::Trial;

/// Runs one node through a schedule that the bytes decide: links come and fall, peers say
/// what they like on them, dials fail, time passes, the application gives commands. After
/// each step the node's outputs and its state are held against what must hold; at the
/// end all links fall, and what the peers made it keep must go with time.
pub fn bus(data: &[u8]) {
    let mut source = Source::new(data);
    let mut trial = Trial::new(&mut source);
    for _ in 0..MOST_STEPS {
        if source.is_used_up() {
            break;
        }
        trial.step(&mut source);
    }
    trial.finish();
}

const MOST_STEPS: usize = 400;
