//! Orders in which data is gone through.

/// A random order of `0..total` that is computed, not stored: a Feistel network on the smallest even
/// number of bits that holds `total`, walked until it lands inside.
pub struct Shuffle {
    total: u64,
    half: u32,
    keys: [u64; 6],
}

impl Shuffle {
    /// The order of a seed.
    pub fn new(total: u64, seed: u64) -> Shuffle {
        let bits = 64 - total.saturating_sub(1).leading_zeros();
        let keys = [1, 2, 3, 4, 5, 6].map(|round: u64| mix(seed ^ mix(round)));
        Shuffle { total, half: bits.div_ceil(2).max(1), keys }
    }

    /// What stands at a place.
    pub fn at(&self, index: u64) -> u64 {
        let mask = (1u64 << self.half) - 1;
        let mut value = index;
        loop {
            let (mut left, mut right) = (value >> self.half, value & mask);
            for key in self.keys {
                (left, right) = (right, left ^ (mix(right ^ key) & mask));
            }
            value = left << self.half | right;
            if value < self.total {
                return value;
            }
        }
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
pub fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_is_a_permutation() {
        for total in [1, 2, 3, 7, 64, 1000, 4097] {
            let shuffle = Shuffle::new(total, 5);
            let mut seen: Vec<u64> = (0..total).map(|i| shuffle.at(i)).collect();
            if total > 100 {
                let fixed = (0..total).filter(|&i| seen[i as usize] == i).count();
                assert!(fixed < 10, "{fixed}");
            }
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..total));
        }
        assert_ne!(Shuffle::new(1000, 5).at(3), Shuffle::new(1000, 6).at(3));
    }
}
