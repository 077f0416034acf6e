//! Whose turn it was on a link, held against law L9.

use dse_core::data::limits::LOWER_CLASS_SHARE;
use dse_core::protocol::Class;

/// Whose turn it was, held against law L9.
#[derive(Clone, Default, Hash)]
pub(crate) struct Turns {
    pub(super) waiting: [usize; 3],
    passed_over: [u32; 3],
}

impl Turns {
    /// Does nobody wait but who has the turn?
    pub(super) fn is_alone(&self) -> bool {
        self.waiting.iter().all(|waiting| *waiting == 0)
    }

    /// A sequence of this class has its turn. Tells whether a higher class waits.
    pub(super) fn taken(&mut self, class: Class) -> bool {
        let place = usize::from(class.number());
        self.waiting[place] -= 1;
        let higher = self.waiting[..place].iter().any(|waiting| *waiting > 0);
        if higher {
            assert!(
                self.passed_over[place] + 1 >= LOWER_CLASS_SHARE,
                "L9: {class:?} has a turn after {} of higher classes that wait",
                self.passed_over[place]
            );
        }
        self.passed_over[place] = 0;
        for other in 0..3 {
            if other != place && self.waiting[other] > 0 {
                self.passed_over[other] += 1;
                assert!(
                    other <= place || self.passed_over[other] <= LOWER_CLASS_SHARE + 1,
                    "L9: a class {other} was passed over {} times",
                    self.passed_over[other]
                );
            }
        }
        higher
    }
}
