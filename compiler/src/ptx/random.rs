//! Random draws: the same integer steps as [`crate::random`].

use super::{
    emitter::Emitter,
    lanes::PtxLanes,
    text::{Class, Register},
};
use crate::{
    graph::Distribution,
    random::{INCREMENT, MULTIPLIER, STEPS, Step, UNIFORM_BITS, UNIFORM_UNIT},
};
use visage_kernels::math::{self, Lanes};

/// A draw for the element at a position.
pub(super) fn draw(e: &mut Emitter<'_>, distribution: Distribution, stream: u32, position: Register) -> Register {
    let [seed, step] = e.key.unwrap_or_else(|| unreachable!("a kernel that draws is given a key"));
    let stream = e.t.value(Class::Bits32, "mov.b32", &[i64::from(stream).into()]);
    let words = mix(e, [position, stream, step, seed]);
    match distribution {
        Distribution::Uniform => unit(e, words[0], 0.0),
        Distribution::Normal => {
            let (first, second) = (unit(e, words[0], 1.0), unit(e, words[1], 0.0));
            let l = &mut PtxLanes::<f32>::new(&mut e.t);
            let log = math::log(l, first);
            let minus_two = l.constant(-2.0);
            let square = l.mul(minus_two, log);
            let radius = l.sqrt(square);
            let turn = l.constant(std::f64::consts::TAU as f32);
            let angle = l.mul(second, turn);
            let cosine = math::cos(l, angle);
            l.mul(radius, cosine)
        }
    }
}

/// (the word's top bits + `shift`) · unit.
fn unit(e: &mut Emitter<'_>, word: Register, shift: f32) -> Register {
    let by = i64::from(u32::BITS - UNIFORM_BITS);
    let top = e.t.value(Class::Bits32, "shr.u32", &[word.into(), by.into()]);
    let value = e.t.value(Class::Float32, "cvt.rn.f32.u32", &[top.into()]);
    let value = e.t.value(Class::Float32, "add.rn.f32", &[value.into(), shift.into()]);
    e.t.value(Class::Float32, "mul.rn.f32", &[value.into(), (UNIFORM_UNIT as f32).into()])
}

/// The mixing function, step by step.
fn mix(e: &mut Emitter<'_>, mut words: [Register; 4]) -> [Register; 4] {
    let (multiplier, increment) = (i64::from(MULTIPLIER), i64::from(INCREMENT));
    for step in STEPS {
        match step {
            Step::Advance => {
                words = words.map(|word| {
                    let operands = [word.into(), multiplier.into(), increment.into()];
                    e.t.value(Class::Bits32, "mad.lo.u32", &operands)
                });
            }
            Step::MultiplyAdd { into, left, right } => {
                let operands = [words[left].into(), words[right].into(), words[into].into()];
                words[into] = e.t.value(Class::Bits32, "mad.lo.u32", &operands);
            }
            Step::Shift => {
                words = words.map(|word| {
                    let shifted = e.t.value(Class::Bits32, "shr.u32", &[word.into(), 16_i64.into()]);
                    e.t.value(Class::Bits32, "xor.b32", &[word.into(), shifted.into()])
                });
            }
        }
    }
    words
}
