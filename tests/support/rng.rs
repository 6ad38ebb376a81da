//! A small seeded generator of random numbers (SplitMix64).
//!
//! Good enough to choose test data, the same on every machine, and a seed is
//! one number that fits into a failure message.

/// The environment variable that replays a seed.
const SEED: &str = "CORDIS_SEED";

/// A stream of random numbers that its seed determines.
#[derive(Clone)]
pub struct Rng(u64);

/// The seed of this run: `CORDIS_SEED`, or one from the clock. It is printed,
/// and the test harness shows that line when the test fails.
pub fn seed(test: &str) -> u64 {
    let seed = match std::env::var(SEED) {
        Ok(text) => text.parse().expect("CORDIS_SEED is a decimal number"),
        Err(_) => {
            std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .expect("the clock is after 1970")
                .as_nanos() as u64
                % 1_000_000_007
        }
    };
    println!("{test}: replay with {SEED}={seed}");
    seed
}

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which must not be zero.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// True in one of `n` cases.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of `choices`, which must not be empty.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// `length` random bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}
