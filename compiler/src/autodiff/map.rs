//! Gradients of scalar operations.

use super::{Builder, Site};
use crate::graph::{NodeId, Op, ScalarOp};
use std::f64::consts::FRAC_2_SQRT_PI;

/// The share of one operand: the cotangent times the slope, summed over the axes along which the operand
/// was repeated.
pub(super) fn rule(b: &mut Builder, site: &Site, op: ScalarOp) -> NodeId {
    let share = match site.operands {
        [x] => unary(b, site, op, *x),
        [x, y] => binary(b, site, op, *x, *y),
        _ => b.where_(site.operands[0], site.position == 1, site.cotangent),
    };
    b.sum_to(share, site.node, site.operand())
}

fn unary(b: &mut Builder, site: &Site, op: ScalarOp, x: NodeId) -> NodeId {
    use ScalarOp::*;
    let (cotangent, result) = (site.cotangent, site.node);
    let one_plus = |b: &mut Builder, x: NodeId| {
        let one = b.like(x, 1.0);
        b.map(Add, &[one, x])
    };
    let one_minus = |b: &mut Builder, x: NodeId| {
        let one = b.like(x, 1.0);
        b.map(Sub, &[one, x])
    };
    match op {
        Neg => b.neg(cotangent),
        Cast(_) => {
            let back = b.graph.ty(x).dtype;
            b.map(Cast(back), &[cotangent])
        }
        Log => b.map(Div, &[cotangent, x]),
        Log1p => {
            let shifted = one_plus(b, x);
            b.map(Div, &[cotangent, shifted])
        }
        Atan => {
            let square = b.mul(x, x);
            let denominator = one_plus(b, square);
            b.map(Div, &[cotangent, denominator])
        }
        _ => {
            let slope = match op {
                Abs => b.map(Sign, &[x]),
                Sqrt => {
                    let recip = b.guarded_recip(result);
                    b.scaled(recip, 0.5)
                }
                Rsqrt => {
                    let square = b.mul(result, result);
                    let cube = b.mul(square, result);
                    b.scaled(cube, -0.5)
                }
                Recip => {
                    let square = b.mul(result, result);
                    b.neg(square)
                }
                Exp => result,
                Expm1 => one_plus(b, result),
                Sin => b.map(Cos, &[x]),
                Cos => {
                    let sine = b.map(Sin, &[x]);
                    b.neg(sine)
                }
                Tan => {
                    let square = b.mul(result, result);
                    one_plus(b, square)
                }
                Asin | Acos => {
                    let square = b.mul(x, x);
                    let rest = one_minus(b, square);
                    let slope = b.map(Rsqrt, &[rest]);
                    if op == Asin { slope } else { b.neg(slope) }
                }
                Tanh => {
                    let square = b.mul(result, result);
                    one_minus(b, square)
                }
                Sigmoid => {
                    let rest = one_minus(b, result);
                    b.mul(result, rest)
                }
                Softplus => b.map(Sigmoid, &[x]),
                Erf => {
                    let square = b.mul(x, x);
                    let exponent = b.neg(square);
                    let bell = b.map(Exp, &[exponent]);
                    b.scaled(bell, FRAC_2_SQRT_PI)
                }
                _ => unreachable!("`{}` passes no gradient", op.name()),
            };
            b.mul(cotangent, slope)
        }
    }
}

fn binary(b: &mut Builder, site: &Site, op: ScalarOp, x: NodeId, y: NodeId) -> NodeId {
    use ScalarOp::*;
    let (cotangent, result, first) = (site.cotangent, site.node, site.position == 0);
    match op {
        Add => cotangent,
        Sub => {
            if first {
                cotangent
            } else {
                b.neg(cotangent)
            }
        }
        Mul => b.mul(cotangent, if first { y } else { x }),
        Div => {
            let share = b.map(Div, &[cotangent, y]);
            if first {
                return share;
            }
            let product = b.mul(share, result);
            b.neg(product)
        }
        Pow => power(b, site, x, y),
        Atan2 => {
            let (x_square, y_square) = (b.mul(x, x), b.mul(y, y));
            let square = b.map(Add, &[x_square, y_square]);
            let recip = b.guarded_recip(square);
            let scaled = b.mul(cotangent, recip);
            let share = b.mul(scaled, if first { y } else { x });
            if first { share } else { b.neg(share) }
        }
        Mod => {
            if first {
                return cotangent;
            }
            let quotient = b.map(Div, &[x, y]);
            let whole = b.map(Floor, &[quotient]);
            let product = b.mul(cotangent, whole);
            b.neg(product)
        }
        Max | Min => {
            let (own, other) = if first { (x, y) } else { (y, x) };
            let (low, high) = if op == Max { (other, own) } else { (own, other) };
            if first && site.active.contains(&y) {
                let lost = b.map(Less, &[high, low]);
                b.where_(lost, false, cotangent)
            } else {
                // The result tells as well who won, and is more likely to be kept than the operand.
                let (low, high) = if op == Max { (other, result) } else { (result, other) };
                let won = b.map(Less, &[low, high]);
                b.where_(won, true, cotangent)
            }
        }
        _ => unreachable!("`{}` passes no gradient", op.name()),
    }
}

/// x^p: p · x^(p−1) for the base, x^p · ln x for the exponent. Where p is 0 the base's slope is 0 even at x = 0.
fn power(b: &mut Builder, site: &Site, x: NodeId, p: NodeId) -> NodeId {
    use ScalarOp::*;
    let cotangent = site.cotangent;
    if site.position == 1 {
        let (zero, one) = (b.like(x, 0.0), b.like(x, 1.0));
        let positive = b.map(Less, &[zero, x]);
        let base = b.map(Select, &[positive, x, one]);
        let logarithm = b.map(Log, &[base]);
        let slope = b.mul(site.node, logarithm);
        return b.mul(cotangent, slope);
    }
    if let Op::Constant(exponent) = *b.graph.op(p) {
        let scaled = b.scaled(cotangent, exponent);
        let rest = match exponent {
            0.0 | 1.0 => return scaled,
            2.0 => x,
            _ => {
                let lower = b.like(p, exponent - 1.0);
                b.map(Pow, &[x, lower])
            }
        };
        return b.mul(scaled, rest);
    }
    let (zero, one) = (b.like(p, 0.0), b.like(p, 1.0));
    let flat = b.map(Equal, &[p, zero]);
    let less = b.map(Sub, &[p, one]);
    let lower = b.map(Select, &[flat, one, less]);
    let power = b.map(Pow, &[x, lower]);
    let slope = b.mul(p, power);
    b.mul(cotangent, slope)
}
