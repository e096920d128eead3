//! Random draws as vector code: the same integer steps as [`crate::random`].

use super::{
    emitter::{Emitter, flags},
    lanes::ClifLanes,
    scalar::splat,
};
use crate::{
    graph::{DType, Distribution},
    random::{INCREMENT, MULTIPLIER, STEPS, Step, UNIFORM_BITS, UNIFORM_UNIT},
};
use cranelift_codegen::ir::{
    InstBuilder, Value,
    types::{F32X4, I32, I32X4},
};
use visage_kernels::math;

/// A draw for each of four positions.
pub(super) fn draw(e: &mut Emitter<'_>, distribution: Distribution, stream: u32, position: Value) -> Value {
    let key = e.key;
    let seed = e.b.ins().load(I32, flags(), key, 0);
    let step = e.b.ins().load(I32, flags(), key, 4);
    let seed = e.b.ins().splat(I32X4, seed);
    let step = e.b.ins().splat(I32X4, step);
    let stream = splat(&mut e.b, f64::from(stream), DType::I32);
    let words = mix(e, [position, stream, step, seed]);
    match distribution {
        Distribution::Uniform => unit(e, words[0], 0.0),
        Distribution::Normal => {
            let (first, second) = (unit(e, words[0], 1.0), unit(e, words[1], 0.0));
            let lanes = &mut ClifLanes { b: &mut e.b };
            let log = math::log(lanes, first);
            let minus_two = splat(&mut e.b, -2.0, DType::F32);
            let square = e.b.ins().fmul(minus_two, log);
            let radius = e.b.ins().sqrt(square);
            let turn = splat(&mut e.b, std::f64::consts::TAU, DType::F32);
            let angle = e.b.ins().fmul(second, turn);
            let cosine = math::cos(&mut ClifLanes { b: &mut e.b }, angle);
            e.b.ins().fmul(radius, cosine)
        }
    }
}

/// (the word's top bits + `shift`) · unit.
fn unit(e: &mut Emitter<'_>, word: Value, shift: f64) -> Value {
    let top = e.b.ins().ushr_imm_u(word, i64::from(u32::BITS - UNIFORM_BITS));
    let value = e.b.ins().fcvt_from_sint(F32X4, top);
    let shift = splat(&mut e.b, shift, DType::F32);
    let value = e.b.ins().fadd(value, shift);
    let scale = splat(&mut e.b, UNIFORM_UNIT, DType::F32);
    e.b.ins().fmul(value, scale)
}

/// The mixing function, step by step.
fn mix(e: &mut Emitter<'_>, mut words: [Value; 4]) -> [Value; 4] {
    let multiplier = splat(&mut e.b, f64::from(MULTIPLIER), DType::I32);
    let increment = splat(&mut e.b, f64::from(INCREMENT), DType::I32);
    for step in STEPS {
        match step {
            Step::Advance => {
                words = words.map(|word| {
                    let product = e.b.ins().imul(word, multiplier);
                    e.b.ins().iadd(product, increment)
                });
            }
            Step::MultiplyAdd { into, left, right } => {
                let product = e.b.ins().imul(words[left], words[right]);
                words[into] = e.b.ins().iadd(words[into], product);
            }
            Step::Shift => {
                words = words.map(|word| {
                    let shifted = e.b.ins().ushr_imm_u(word, 16);
                    e.b.ins().bxor(word, shifted)
                });
            }
        }
    }
    words
}
