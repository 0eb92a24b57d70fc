//! Chance as a function of numbers: the same seed gives the same cluster on every machine and release.

/// A `SplitMix64` sequence. Written here because its output is part of what a seed means.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// A sequence of its own for every list of numbers.
    pub(crate) fn of(parts: &[u64]) -> Self {
        let mut dice = Self(0x9e37_79b9_7f4a_7c15);
        for part in parts {
            dice.0 = dice.next() ^ part;
        }
        dice
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 up to but not including `n`, which is not 0.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// A place in a list of `len` items, which is not empty.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// A fraction from 0 up to but not including 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn the_same_numbers_give_the_same_sequence() {
        let roll = |parts: &[u64]| {
            let mut dice = Dice::of(parts);
            [dice.next(), dice.next(), dice.below(10)]
        };
        assert_eq!(roll(&[1, 2]), roll(&[1, 2]));
        assert_ne!(roll(&[1, 2]), roll(&[2, 1]));
    }

    #[test]
    fn fractions_stay_below_one() {
        let mut dice = Dice::of(&[7]);
        assert!((0..1000).map(|_| dice.unit()).all(|u| (0.0..1.0).contains(&u)));
    }
}
