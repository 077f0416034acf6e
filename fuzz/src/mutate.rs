//! New inputs from known ones, where no fuzzer is at hand that sees what they reach.

/// Changes known inputs at random. The same inputs and seed give the same changes.
#[derive(Debug)]
pub struct Mutator {
    inputs: Vec<Vec<u8>>,
    state: u64,
}

impl Mutator {
    /// Starts from these inputs; with none, from nothing.
    pub fn new(mut inputs: Vec<Vec<u8>>, seed: u64) -> Self {
        inputs.push(Vec::new());
        Self { inputs, state: seed }
    }

    /// An input that is new, or as good as.
    pub fn input(&mut self) -> Vec<u8> {
        let mut input = self.known();
        for _ in 0..1 << self.below(5) {
            self.change(&mut input);
        }
        input.truncate(MOST_BYTES);
        input
    }

    fn known(&mut self) -> Vec<u8> {
        let at = self.below(self.inputs.len());
        self.inputs[at].clone()
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let (from, to) = self.range(input.len());
        match self.below(8) {
            0 | 1 if from < to => input[from] ^= 1 << self.below(8),
            2 if from < to => input[from] = self.byte(),
            3 => drop(input.drain(from..to)),
            4 => {
                let again = input[from..to].to_vec();
                input.splice(from..from, again);
            }
            5 => {
                let other = self.known();
                let (start, end) = self.range(other.len());
                input.splice(from..to, other[start..end].iter().copied());
            }
            6 => {
                let len = self.below(4);
                let new: Vec<u8> = (0..=len).map(|_| self.byte()).collect();
                input.splice(from..from, new);
            }
            _ => input.push(self.byte()),
        }
    }

    /// Mostly short, anywhere in so many bytes.
    fn range(&mut self, len: usize) -> (usize, usize) {
        let from = self.below(len + 1);
        let most = if self.below(4) == 0 { len - from } else { (len - from).min(8) };
        (from, from + self.below(most + 1))
    }

    /// Often one of those at which something changes.
    fn byte(&mut self) -> u8 {
        match self.below(4) {
            0 => [0, 1, 0x7f, 0x80, 0xff, b'*', b'/', b'"'][self.below(8)],
            _ => self.below(256) as u8,
        }
    }

    fn below(&mut self, end: usize) -> usize {
        // splitmix64
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }
}

/// As long as the fuzzer lets them get.
const MOST_BYTES: usize = 1024;
