//! Affine addresses: where the element of a value is, given the indices of its axes.

use super::BufferId;
use crate::{axis::Axis, graph::Op};

/// What an [`Access`] is relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A stored value.
    Buffer(BufferId),
    /// The n-th tile-resident value of the kernel.
    Tile(usize),
}

/// The address of a value inside a kernel: `offset + panel · panel_stride + Σ index · stride (+ lane)`.
/// All distances count words of four bytes, of which an `f64` takes two; `lane` is the row's number in its panel times
/// the words of an element.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// What it is relative to.
    pub source: Source,
    /// Distance between panels; 0 for a value that is the same for all rows.
    pub panel_stride: usize,
    /// Whether consecutive rows lie side by side; otherwise one element serves all rows.
    pub lanes: bool,
    /// Distance per index of each feature axis. Loops over other axes do not move it.
    pub strides: Vec<(Axis, isize)>,
    /// Distance of the first element.
    pub offset: isize,
}

impl Access {
    /// The stride along `axis`.
    pub fn stride(&self, axis: Axis) -> isize {
        self.strides.iter().find(|(a, _)| *a == axis).map_or(0, |(_, stride)| *stride)
    }

    /// The same place with other names for the loops that move it.
    pub(super) fn renamed(mut self, names: &Names) -> Access {
        self.strides.iter_mut().for_each(|(axis, _)| *axis = names.of(*axis));
        self
    }

    /// The one stride along several axes read as one in this order, if they have one and it goes forwards.
    pub(super) fn merged(&self, axes: &[(Axis, usize)]) -> Option<usize> {
        let strided =
            Strided { offset: 0, axes: axes.iter().map(|(axis, size)| (*axis, *size, self.stride(*axis))).collect() };
        let names: Vec<Axis> = axes.iter().map(|(axis, _)| *axis).collect();
        let (_, stride) = strided.merged(&names)?;
        usize::try_from(stride).ok().filter(|stride| *stride > 0)
    }
}

/// Other names for some axes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names(Vec<(Axis, Axis)>);

impl Names {
    /// What an axis is called.
    pub fn of(&self, axis: Axis) -> Axis {
        self.0.iter().find(|(from, _)| *from == axis).map_or(axis, |(_, to)| *to)
    }

    /// Names given as (axis, what it is called).
    pub fn new(pairs: impl IntoIterator<Item = (Axis, Axis)>) -> Names {
        Names(pairs.into_iter().filter(|(from, to)| from != to).collect())
    }

    /// The way back.
    pub fn inverse(&self) -> Names {
        Names(self.0.iter().map(|(from, to)| (*to, *from)).collect())
    }
}

/// Axes with sizes and strides: a value in memory, before it is split into rows and features.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Strided {
    pub offset: isize,
    pub axes: Vec<(Axis, usize, isize)>,
}

impl Strided {
    /// A dense array in the given order, the last axis fastest, scaled by `unit`.
    pub fn dense(axes: impl DoubleEndedIterator<Item = (Axis, usize)>, unit: isize) -> Strided {
        let mut stride = unit;
        let mut strided: Vec<_> = axes
            .rev()
            .map(|(axis, size)| {
                let entry = (axis, size, stride);
                stride *= size as isize;
                entry
            })
            .collect();
        strided.reverse();
        Strided { offset: 0, axes: strided }
    }

    pub fn get(&self, axis: Axis) -> Option<(usize, isize)> {
        self.axes.iter().find(|(a, ..)| *a == axis).map(|(_, size, stride)| (*size, *stride))
    }

    /// The same memory seen through a transparent view. Axes that a view names but the value does not
    /// have here (they are rows, kept apart) are passed over.
    pub fn viewed(&self, op: &Op) -> Strided {
        let mut axes = Vec::with_capacity(self.axes.len() + 1);
        let mut offset = self.offset;
        for &(axis, size, stride) in &self.axes {
            match op {
                Op::Rename(pairs) => {
                    let name = pairs.iter().find(|(from, _)| *from == axis).map_or(axis, |(_, to)| *to);
                    axes.push((name, size, stride));
                }
                Op::Split { axis: split, into } if *split == axis => {
                    let parts = Strided::dense(into.iter().copied(), stride);
                    axes.extend(parts.axes);
                }
                Op::Slice { axis: sliced, start, size, step } if *sliced == axis => {
                    offset += *start as isize * stride;
                    axes.push((axis, *size, stride * step));
                }
                Op::Window { axis: viewed, position, tap, taps, stride: hop, dilation } if *viewed == axis => {
                    let positions = (size - ((taps - 1) * dilation + 1)) / hop + 1;
                    axes.push((*position, positions, stride * *hop as isize));
                    axes.push((*tap, *taps, stride * *dilation as isize));
                }
                _ => axes.push((axis, size, stride)),
            }
        }
        Strided { offset, axes }
    }

    /// One stride for several axes read as one in this order, the last fastest; none where memory
    /// has gaps.
    pub fn merged(&self, axes: &[Axis]) -> Option<(usize, isize)> {
        let mut merged: Option<(usize, isize)> = None;
        for axis in axes.iter().rev() {
            let (size, stride) = self.get(*axis).unwrap_or((1, 0));
            merged = match merged {
                None => Some((size, stride)),
                Some(inner) if size == 1 => Some(inner),
                Some((1, _)) => Some((size, stride)),
                Some((inner, unit)) if stride == unit * inner as isize => Some((size * inner, unit)),
                Some(_) => return None,
            };
        }
        Some(merged.unwrap_or((1, 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_move_strides_and_offsets() {
        let (a, b, c, d) = (Axis::new("a"), Axis::new("b"), Axis::new("c"), Axis::new("d"));
        let dense = Strided::dense([(a, 4), (b, 6)].into_iter(), 1);
        assert_eq!(dense.axes, [(a, 4, 6), (b, 6, 1)]);
        let split = dense.viewed(&Op::Split { axis: b, into: vec![(c, 2), (d, 3)] });
        assert_eq!(split.axes, [(a, 4, 6), (c, 2, 3), (d, 3, 1)]);
        assert_eq!(split.merged(&[a, c, d]), Some((24, 1)));
        assert_eq!(split.merged(&[c, a]), None);
        let reversed = dense.viewed(&Op::Slice { axis: b, start: 5, size: 3, step: -2 });
        assert_eq!((reversed.offset, reversed.get(b)), (5, Some((3, -2))));
        let window = dense.viewed(&Op::Window { axis: b, position: c, tap: d, taps: 3, stride: 2, dilation: 1 });
        assert_eq!(window.axes, [(a, 4, 6), (c, 2, 2), (d, 3, 1)]);
    }
}
