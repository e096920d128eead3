//! The elementary functions against more precise ones. Run with `--nocapture` to see the largest error of each.

/// A function over one lane, compiled with the machine's fused multiply-add where it has one.
macro_rules! fast {
    ($machine:ident, $number:ty, $name:ident($($argument:ident),+)) => {{
        use visage_kernels::math::{self, $machine};
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "fma")]
            fn fused($($argument: $number),+) -> $number {
                math::$name(&mut $machine, $($argument),+)
            }
            assert!(is_x86_feature_detected!("fma"), "these tests need fused multiply-add to be fast");
            // SAFETY: the machine has it.
            |$($argument: $number),+| unsafe { fused($($argument),+) }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            |$($argument: $number),+| math::$name(&mut $machine, $($argument),+)
        }
    }};
}

mod double;
mod pair;
mod series;
mod single;

/// Well mixed bits of a counter: SplitMix64.
fn random(i: u64) -> u64 {
    let z = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Whether to take the time to check every argument there is, or as many as that.
fn exhaustive() -> bool {
    std::env::var_os("VISAGE_EXHAUSTIVE").is_some()
}
