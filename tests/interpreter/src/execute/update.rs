//! What atomic operations and reductions over lanes compute.

use crate::{
    lanes::Scalar,
    numbers::{BF16, F16, Format, Rounding, sum_to_odd},
    op::Update,
};
use half::{bf16, f16};

impl Update {
    /// The new value, of `bytes` bytes, from the old one and the operands.
    pub(super) fn apply(self, bytes: u32, old: u64, a: u64, b: u64) -> u64 {
        let ones = u64::MAX >> (64 - 8 * bytes);
        let signed = |bits: u64| if bytes == 4 { i64::from(bits as i32) } else { bits as i64 };
        match self {
            Update::Add => old.wrapping_add(a) & ones,
            Update::AddF32 => (f32::of(old) + f32::of(a)).bits(),
            Update::AddF64 => (f64::of(old) + f64::of(a)).bits(),
            Update::AddF16x2 => {
                pairwise(old, a, |x, y| sum(f16::of(x).to_f64(), f16::of(y).to_f64(), F16, f16::from_f64))
            }
            Update::AddBf16x2 => {
                pairwise(old, a, |x, y| sum(bf16::of(x).to_f64(), bf16::of(y).to_f64(), BF16, bf16::from_f64))
            }
            Update::Min { signed: true } => {
                if signed(a) < signed(old) {
                    a
                } else {
                    old
                }
            }
            Update::Max { signed: true } => {
                if signed(a) > signed(old) {
                    a
                } else {
                    old
                }
            }
            Update::Min { signed: false } => old.min(a),
            Update::Max { signed: false } => old.max(a),
            Update::And => old & a,
            Update::Or => old | a,
            Update::Xor => old ^ a,
            Update::Exchange => a,
            Update::CompareExchange => {
                if old == a {
                    b
                } else {
                    old
                }
            }
            Update::Increment => {
                if old >= a {
                    0
                } else {
                    old + 1
                }
            }
            Update::Decrement => {
                if old == 0 || old > a {
                    a
                } else {
                    old - 1
                }
            }
        }
    }
}

fn pairwise(a: u64, b: u64, f: impl Fn(u64, u64) -> u64) -> u64 {
    f(a & 0xffff, b & 0xffff) | f(a >> 16 & 0xffff, b >> 16 & 0xffff) << 16
}

fn sum<T: Scalar>(a: f64, b: f64, format: Format, narrow: fn(f64) -> T) -> u64 {
    narrow(format.round(sum_to_odd(a, b), Rounding::Nearest)).bits()
}
