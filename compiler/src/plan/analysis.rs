//! What a code generator asks about the lane-wise expressions of stages, whatever it generates.

use super::{Access, Expression, Kernel, LANES, Term};
use crate::{
    axis::Axis,
    graph::{DType, ScalarOp},
};
use rustc_hash::FxHashMap;

/// What is known of each term before any code is emitted.
pub(crate) struct Analysis {
    /// Element types.
    pub dtypes: Vec<DType>,
    /// Whether a term is the same for all rows.
    pub uniform: Vec<bool>,
    /// Sums that take a product nobody else needs: they round once, as `x · y + z` (or `z − x · y`).
    pub products: FxHashMap<usize, (usize, usize, usize)>,
    /// Vectors to keep in flight: fewer for long expressions.
    pub unroll: usize,
}

/// The sums of `body` that can be fused with a product; `kept` are the terms that are needed themselves.
fn products(body: &Expression, kept: &[usize]) -> FxHashMap<usize, (usize, usize, usize)> {
    let mut uses = vec![0; body.terms.len()];
    kept.iter().for_each(|term| uses[*term] += 1);
    for term in &body.terms {
        match term {
            Term::Map(_, operands) => operands.iter().for_each(|operand| uses[*operand] += 1),
            Term::Gather { index, .. } => uses[*index] += 1,
            _ => {}
        }
    }
    let product = |at: usize| match &body.terms[at] {
        Term::Map(ScalarOp::Mul, factors) if uses[at] == 1 => Some((factors[0], factors[1])),
        _ => None,
    };
    let fused = body.terms.iter().enumerate().filter_map(|(i, term)| match term {
        Term::Map(ScalarOp::Add, operands) => match (product(operands[0]), product(operands[1])) {
            (Some((x, y)), _) => Some((i, (x, y, operands[1]))),
            (None, Some((x, y))) => Some((i, (x, y, operands[0]))),
            (None, None) => None,
        },
        Term::Map(ScalarOp::Sub, operands) => product(operands[1]).map(|(x, y)| (i, (x, y, operands[0]))),
        _ => None,
    });
    fused.collect()
}

/// Instructions a term takes, roughly.
fn weight(op: ScalarOp) -> usize {
    use ScalarOp::*;
    match op {
        Exp | Expm1 | Log | Log1p | Sin | Cos | Tan | Asin | Acos | Atan | Tanh | Sigmoid | Softplus | Erf => 24,
        Pow | Atan2 => 60,
        Min | Max => 4,
        _ => 1,
    }
}

/// Looks through an expression of which the terms `kept` are needed.
pub(crate) fn analyse(body: &Expression, kept: &[usize]) -> Analysis {
    let mut dtypes: Vec<DType> = Vec::new();
    let mut uniform: Vec<bool> = Vec::new();
    let mut work = 0;
    for term in &body.terms {
        let (dtype, same) = match term {
            Term::Constant(_, dtype) => (*dtype, true),
            Term::Load(access, dtype) => (*dtype, !access.lanes),
            Term::FeatureIndex(_) => (DType::I32, true),
            Term::RowIndex(_) => (DType::I32, false),
            Term::Random { .. } => (DType::F32, false),
            Term::Gather { dtype, .. } => (*dtype, false),
            Term::Map(op, operands) => {
                let dtype = match op {
                    ScalarOp::Cast(to) => *to,
                    ScalarOp::Select => dtypes[operands[1]],
                    op if op.is_predicate() => DType::Bool,
                    _ => dtypes[operands[0]],
                };
                (dtype, operands.iter().all(|operand| uniform[*operand]))
            }
        };
        work += match term {
            Term::Map(op, _) if !same => weight(*op),
            Term::Random { .. } => 60,
            Term::Gather { .. } => 16,
            _ => usize::from(!same),
        };
        dtypes.push(dtype);
        uniform.push(same);
    }
    let unroll = match work {
        0..=12 => 8,
        13..=30 => 4,
        31..=80 => 2,
        _ => 1,
    };
    Analysis { dtypes, uniform, products: products(body, kept), unroll }
}

/// Whether a stage's loops may be read as one: every access walks them with one stride.
pub(crate) fn collapse(loops: &[(Axis, usize)], accesses: &[&Access], indexed: &[Axis]) -> Vec<(Axis, usize)> {
    let mut collapsed: Vec<(Axis, usize)> = Vec::new();
    for (axis, size) in loops.iter().rev() {
        if let Some((inner, inner_size)) = collapsed.last().copied() {
            let together = !indexed.contains(axis)
                && !indexed.contains(&inner)
                && accesses.iter().all(|a| a.stride(*axis) == a.stride(inner) * inner_size as isize);
            if together {
                *collapsed.last_mut().unwrap_or_else(|| unreachable!()) = (inner, inner_size * size);
                continue;
            }
        }
        collapsed.push((*axis, *size));
    }
    collapsed.reverse();
    collapsed
}

/// Everything an expression addresses, and the loops whose index it uses.
pub(crate) fn addressed(body: &Expression) -> (Vec<&Access>, Vec<Axis>) {
    let mut accesses = Vec::new();
    let mut indexed = Vec::new();
    for term in &body.terms {
        match term {
            Term::Load(access, _) | Term::Gather { source: access, .. } => accesses.push(access),
            Term::FeatureIndex(axis) => indexed.push(*axis),
            Term::Random { strides, .. } => indexed.extend(strides.iter().map(|(axis, _)| *axis)),
            _ => {}
        }
    }
    (accesses, indexed)
}

/// Whether a sum over rows is taken panel by panel rather than over all panels of a tile: there is one for each index of
/// some rows, or its terms ask which row it is.
pub(crate) fn sums_by_panel(row_strides: &[(Axis, isize)], body: &Expression) -> bool {
    let asks = |term: &Term| matches!(term, Term::RowIndex(_) | Term::Random { .. } | Term::Gather { .. });
    !row_strides.is_empty() || body.terms.iter().any(asks)
}

/// Rows of a stored value of which some features lie side by side, as copies of panels take them.
pub(crate) struct Matrix {
    /// Words from row to row.
    pub stride: usize,
    /// Features that lie side by side.
    pub features: usize,
    /// How many loops are around them.
    pub outer: usize,
}

/// The rows of a stored value as matrices, one for each index of some outer loops, if rows have one stride and
/// features of one word lie side by side.
pub(crate) fn matrix(
    kernel: &Kernel,
    row_strides: &[(Axis, isize)],
    (loops, strides): (&[(Axis, usize)], &[isize]),
    tile: &Access,
) -> Option<Matrix> {
    let mut features = 1;
    let mut outer = loops.len();
    for ((axis, size), stride) in loops.iter().zip(strides).rev() {
        let side_by_side = *stride == features && tile.stride(*axis) == features * LANES as isize;
        if *size > 1 && !side_by_side {
            break;
        }
        features *= *size as isize;
        outer -= 1;
    }
    let mut row: Option<isize> = None;
    let mut inner = 1;
    for ((_, size), (_, stride)) in kernel.rows.iter().zip(row_strides).rev().filter(|((_, size), _)| *size > 1) {
        let unit = *row.get_or_insert(*stride);
        if *stride != unit * inner {
            return None;
        }
        inner *= *size as isize;
    }
    let stride = usize::try_from(row?).ok()?;
    let features = features as usize;
    (stride >= features && features > 1).then_some(Matrix { stride, features, outer })
}
