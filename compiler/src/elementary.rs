//! The elementary functions among the scalar operations, for every code generator.

use crate::graph::ScalarOp;
use visage_kernels::math;

/// The operations that are functions which hardware does not have. Every target computes them by the algorithms of
/// [`visage_kernels::math`], except that on the CPU those of `f64` are the reference evaluator's.
pub(crate) const ELEMENTARY: [ScalarOp; 17] = {
    use ScalarOp::*;
    [Rsqrt, Exp, Expm1, Log, Log1p, Sin, Cos, Tan, Asin, Acos, Atan, Tanh, Sigmoid, Softplus, Erf, Pow, Atan2]
};

/// Whether an operation is one of them.
pub(crate) fn is_elementary(op: ScalarOp) -> bool {
    ELEMENTARY.contains(&op)
}

/// The elementary functions on any machine, in either precision.
pub(crate) fn elementary<N: math::Precision, L: math::Lanes<N>>(lanes: &mut L, op: ScalarOp, x: &[L::F]) -> L::F {
    match op {
        ScalarOp::Rsqrt => math::rsqrt(lanes, x[0]),
        ScalarOp::Exp => math::exp(lanes, x[0]),
        ScalarOp::Expm1 => math::expm1(lanes, x[0]),
        ScalarOp::Log => math::log(lanes, x[0]),
        ScalarOp::Log1p => math::log1p(lanes, x[0]),
        ScalarOp::Sin => math::sin(lanes, x[0]),
        ScalarOp::Cos => math::cos(lanes, x[0]),
        ScalarOp::Tan => math::tan(lanes, x[0]),
        ScalarOp::Asin => math::asin(lanes, x[0]),
        ScalarOp::Acos => math::acos(lanes, x[0]),
        ScalarOp::Atan => math::atan(lanes, x[0]),
        ScalarOp::Tanh => math::tanh(lanes, x[0]),
        ScalarOp::Sigmoid => math::sigmoid(lanes, x[0]),
        ScalarOp::Softplus => math::softplus(lanes, x[0]),
        ScalarOp::Erf => math::erf(lanes, x[0]),
        ScalarOp::Pow => math::pow(lanes, x[0], x[1]),
        ScalarOp::Atan2 => math::atan2(lanes, x[0], x[1]),
        other => unreachable!("`{}` is not an elementary function", other.name()),
    }
}
