//! Tables of memory offsets: how the reference evaluator walks tensors.

use crate::axis::{Axis, Shape};

/// The positions of a nest of loops in a tensor's memory: each loop's number of turns and the offset
/// that one turn adds.
pub(super) struct Table {
    base: isize,
    loops: Vec<(Axis, usize, isize)>,
}

impl Table {
    /// Loops over `axes`, the last fastest, in a row-major tensor of `shape`. A loop over an axis that the
    /// tensor does not have turns once until [`sized`](Table::sized) says otherwise.
    pub(super) fn of(shape: &Shape, axes: impl IntoIterator<Item = Axis>) -> Table {
        let strides = shape.strides();
        let find = |axis| shape.axes().position(|own| own == axis);
        let loops = axes
            .into_iter()
            .map(|axis| match find(axis) {
                Some(i) => (axis, shape.size(axis).unwrap_or(1), strides[i] as isize),
                None => (axis, 1, 0),
            })
            .collect();
        Table { base: 0, loops }
    }

    /// Takes the number of turns of every loop from `shape`, as far as it has the axis.
    pub(super) fn sized(mut self, shape: &Shape) -> Table {
        for (axis, turns, _) in &mut self.loops {
            *turns = shape.size(*axis).unwrap_or(*turns);
        }
        self
    }

    /// Makes the loop over `axis` turn `turns` times, by `step` elements, from the element `start`.
    pub(super) fn sliced(mut self, axis: Axis, start: usize, turns: usize, step: isize) -> Table {
        for (_, own_turns, stride) in self.loops.iter_mut().filter(|(own, ..)| *own == axis) {
            self.base += start as isize * *stride;
            (*own_turns, *stride) = (turns, *stride * step);
        }
        self
    }

    /// Gives the loop over `axis` the offset `stride` a turn.
    pub(super) fn with_stride(mut self, axis: Axis, turns: usize, stride: usize) -> Table {
        for (_, own_turns, own) in self.loops.iter_mut().filter(|(a, ..)| *a == axis) {
            (*own_turns, *own) = (turns, stride as isize);
        }
        self
    }

    /// The offset of every turn, in order.
    pub(super) fn offsets(self) -> Vec<usize> {
        let mut offsets = vec![self.base];
        for (_, turns, stride) in self.loops {
            offsets = offsets
                .into_iter()
                .flat_map(|offset| (0..turns as isize).map(move |turn| offset + turn * stride))
                .collect();
        }
        offsets.into_iter().map(|offset| offset as usize).collect()
    }
}

/// The distance in memory between neighbours along `axis`; 0 if the shape lacks it.
pub(super) fn stride(shape: &Shape, axis: Axis) -> usize {
    shape.axes().position(|own| own == axis).map_or(0, |i| shape.strides()[i])
}
