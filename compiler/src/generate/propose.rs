//! Which operation to try next.

use super::Garden;
use crate::{
    axis::{Axis, Shape},
    graph::{Combine, DType, Op, ScalarOp},
};

impl Garden {
    /// An operation and the positions of its operands, not necessarily applicable.
    pub(super) fn propose(&mut self) -> Option<(Op, Vec<usize>)> {
        let x = self.value(|dtype| dtype.is_float())?;
        let integer = self.value(|dtype| dtype == DType::I32)?;
        match self.dice.below(40) {
            0..10 => Some(self.unary(x)),
            10..18 => self.binary(x),
            18 => self.truth(),
            19 => {
                let y = self.value(|dtype| dtype.is_float())?;
                let condition = self.value(|dtype| dtype == DType::Bool)?;
                Some((Op::Map(ScalarOp::Select), vec![condition, x, y]))
            }
            20..22 => self.integers(integer),
            22..25 => self.total(x),
            25..28 => self.contraction(x),
            28..35 => self.view(x),
            _ => self.indexed(x, integer),
        }
    }

    /// The position of a value whose type `fits`, the later the likelier.
    fn value(&mut self, fits: impl Fn(DType) -> bool) -> Option<usize> {
        let fitting: Vec<usize> = (0..self.values.len()).filter(|k| fits(self.values[*k].1.ty.dtype)).collect();
        let pick = |garden: &mut Garden| garden.dice.below(fitting.len());
        (!fitting.is_empty()).then(|| fitting[pick(self).max(pick(self))])
    }

    fn shape(&self, k: usize) -> Shape {
        self.values[k].1.ty.shape.clone()
    }

    /// An axis of a value.
    fn axis(&mut self, k: usize) -> Option<Axis> {
        let axes: Vec<Axis> = self.shape(k).axes().collect();
        (!axes.is_empty()).then(|| self.dice.choose(&axes))
    }

    /// An axis name, mostly one that the value does not have.
    fn name(&mut self, k: usize) -> Axis {
        let name = Axis::new(self.dice.choose(&["a", "b", "c", "d", "e", "f"]));
        let shape = self.shape(k);
        if shape.contains(name) && !self.dice.once_in(4) { name.fresh(|axis| shape.contains(axis)) } else { name }
    }

    fn unary(&mut self, x: usize) -> (Op, Vec<usize>) {
        use ScalarOp::*;
        let op = self.dice.choose(&[
            Stop, Neg, Abs, Sign, Sqrt, Rsqrt, Recip, Exp, Expm1, Log, Log1p, Sin, Cos, Tan, Asin, Acos, Atan, Tanh,
            Sigmoid, Softplus, Erf, Floor, Ceil, Round,
        ]);
        (Op::Map(op), vec![x])
    }

    fn binary(&mut self, x: usize) -> Option<(Op, Vec<usize>)> {
        use ScalarOp::*;
        let y = self.value(|dtype| dtype.is_float())?;
        let arithmetic = [Add, Sub, Mul, Div, Pow, Atan2, Mod, Min, Max];
        let comparisons = [Less, LessEqual, Equal, NotEqual];
        let op = if self.dice.once_in(4) { self.dice.choose(&comparisons) } else { self.dice.choose(&arithmetic) };
        Some((Op::Map(op), vec![x, y]))
    }

    fn truth(&mut self) -> Option<(Op, Vec<usize>)> {
        let x = self.value(|dtype| dtype == DType::Bool)?;
        let y = self.value(|dtype| dtype == DType::Bool)?;
        Some(match self.dice.below(4) {
            0 => (Op::Map(ScalarOp::Not), vec![x]),
            1 => (Op::Map(ScalarOp::And), vec![x, y]),
            2 => (Op::Map(ScalarOp::Or), vec![x, y]),
            _ => (Op::Map(ScalarOp::Cast(self.options.dtype)), vec![x]),
        })
    }

    fn integers(&mut self, x: usize) -> Option<(Op, Vec<usize>)> {
        use ScalarOp::*;
        let y = self.value(|dtype| dtype == DType::I32)?;
        let float = self.value(|dtype| dtype.is_float())?;
        Some(match self.dice.below(6) {
            0 => (Op::Map(self.dice.choose(&[Add, Sub, Mul, Div, Mod, Min, Max, Less, Equal])), vec![x, y]),
            1 => (Op::Map(Cast(self.options.dtype)), vec![x]),
            2 => (Op::Map(Cast(DType::I32)), vec![float]),
            3 => (Op::Map(Cast(DType::Bool)), vec![self.dice.choose(&[x, float])]),
            4 => (Op::Map(self.dice.choose(&[Neg, Abs, Sign])), vec![x]),
            _ => {
                let (axis, size) = (self.name(x), 1 + self.dice.below(4));
                (Op::Iota { axis, size }, vec![])
            }
        })
    }

    fn total(&mut self, x: usize) -> Option<(Op, Vec<usize>)> {
        let axis = self.axis(x)?;
        let combine = self.dice.choose(&[Combine::Sum, Combine::Prod, Combine::Max, Combine::Min]);
        if self.dice.once_in(2) {
            let (exclusive, reverse) = (self.dice.once_in(2), self.dice.once_in(2));
            return Some((Op::Scan { combine, axis, exclusive, reverse }, vec![x]));
        }
        let axes = self.shape(x).axes().filter(|own| *own == axis || self.dice.once_in(3)).collect();
        Some((Op::Reduce { combine, axes }, vec![x]))
    }

    fn contraction(&mut self, x: usize) -> Option<(Op, Vec<usize>)> {
        let y = self.value(|dtype| dtype.is_float())?;
        let other = self.shape(y);
        let over = self.shape(x).axes().filter(|axis| other.contains(*axis) && !self.dice.once_in(3)).collect();
        Some((Op::Contract { over }, vec![x, y]))
    }

    fn view(&mut self, x: usize) -> Option<(Op, Vec<usize>)> {
        let new = self.name(x);
        let kind = self.dice.below(10);
        if kind == 0 {
            let size = 1 + self.dice.below(3);
            return Some((Op::Spread(Shape::new([(new, size)])), vec![x]));
        }
        let axis = self.axis(x)?;
        let size = self.shape(x).size(axis)?;
        let other = self.axis(x)?;
        let (stride, dilation) = (1 + self.dice.below(2), 1 + self.dice.below(2));
        let op = match kind {
            1 if other != axis => Op::Rename(vec![(axis, other), (other, axis)]),
            1 => Op::Rename(vec![(axis, new)]),
            2 => {
                let outer = (1..=size).rev().find(|part| size % part == 0 && (*part < size || size == 1))?;
                Op::Split { axis, into: vec![(new, outer), (axis, size / outer)] }
            }
            3 => Op::Merge { axes: if other == axis { vec![axis] } else { vec![axis, other] }, into: new },
            4 => {
                let step: isize = self.dice.choose(&[1, 1, 2, -1, -2]);
                let start = self.dice.below(size);
                let room = if step > 0 { size - 1 - start } else { start };
                Op::Slice { axis, start, size: 1 + self.dice.below(room / step.unsigned_abs() + 1), step }
            }
            5 => {
                let value = self.dice.choose(&[0.0, 0.7]);
                Op::Pad { axis, before: self.dice.below(3), after: self.dice.below(3), value }
            }
            6 => {
                let more = self.value(|dtype| dtype.is_float())?;
                return Some((Op::Concat { axis }, vec![x, more, x]));
            }
            7 | 8 => {
                let position = self.dice.choose(&[axis, axis.fresh(|a| a == axis || a == new)]);
                Op::Window { axis, position, tap: new, taps: 1 + self.dice.below(3), stride, dilation }
            }
            _ => {
                if other == axis {
                    return None;
                }
                let taps = self.shape(x).size(other)?;
                let size = (size - 1) * stride + (taps - 1) * dilation + 1 + self.dice.below(2);
                Op::Fold { axis: self.dice.choose(&[axis, new]), size, position: axis, tap: other, stride, dilation }
            }
        };
        Some((op, vec![x]))
    }

    fn indexed(&mut self, x: usize, index: usize) -> Option<(Op, Vec<usize>)> {
        let axis = self.axis(x)?;
        Some(match self.dice.below(8) {
            0 | 1 => (Op::Gather { axis }, vec![x, index]),
            2 | 3 => {
                let joint = self.shape(x).union(&self.shape(index)).ok()?;
                let over = joint.axes().filter(|_| self.dice.once_in(2)).collect();
                (Op::ScatterAdd { axis: self.name(x), size: 1 + self.dice.below(4), over }, vec![x, index])
            }
            4 => (Op::Sort { axis }, vec![x]),
            5 => (Op::ArgSort { axis }, vec![x]),
            6 => (Op::ArgReduce { largest: self.dice.once_in(2), axis }, vec![x]),
            _ => {
                let sorted =
                    (0..self.values.len()).find(|k| matches!(self.graph.op(self.values[*k].0), Op::Sort { .. }))?;
                let axis = match self.graph.op(self.values[sorted].0) {
                    Op::Sort { axis } => *axis,
                    _ => return None,
                };
                (Op::SearchSorted { axis, right: self.dice.once_in(2) }, vec![sorted, x])
            }
        })
    }
}
