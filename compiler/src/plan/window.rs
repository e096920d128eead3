//! Contractions that read the rows around their own: convolutions.
//!
//! The taps of a convolution are axes that move along a row axis. Such an operand is not computed; it is read from the
//! stored value through a [`Window`](super::Window), and paddings and enlargements on the way are part of the reading.

use super::{
    access::Strided,
    rows::{Contraction, contraction, is_transparent},
};
use crate::{
    axis::Axis,
    graph::{DType, Graph, NodeId, Op},
};

/// How the axes of a value depend on those of a view of it: the position along each is a sum of the view's positions.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    /// For each axis of the view the axis of the value that it moves along, and how far a step goes.
    pub moves: Vec<Move>,
    /// The axes of the value.
    pub bases: Vec<Base>,
}

/// An axis of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Move {
    /// The axis.
    pub axis: Axis,
    /// Its size.
    pub size: usize,
    /// The axis of the value that it moves along, by its number; none for a repetition.
    pub base: Option<usize>,
    /// How far.
    pub step: isize,
}

/// An axis of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Base {
    /// The axis.
    pub axis: Axis,
    /// The position where all axes of the view are at 0.
    pub start: isize,
    /// The positions that are not zero.
    pub low: isize,
    /// The position after them.
    pub high: isize,
    /// Positions that read the same element.
    pub divide: isize,
    /// Whether some positions are outside of `low .. high`.
    pub is_padded: bool,
}

/// Whether a view may be folded into the reading of a convolution.
fn is_foldable(op: &Op) -> bool {
    matches!(op, Op::Pad { value: 0.0, .. } | Op::Merge { .. })
}

/// The views from a stored value to `node`, the value's first, through everything that a window can read through.
fn chain(graph: &Graph, node: NodeId) -> (NodeId, Vec<NodeId>) {
    let (mut base, mut views) = (node, Vec::new());
    while is_transparent(graph.op(base)) || is_foldable(graph.op(base)) {
        views.push(base);
        base = graph.operands(base)[0];
    }
    views.reverse();
    (base, views)
}

/// The distances, in elements, between the indices of some axes of a view of an input or a parameter, if what the view
/// shows can be read through a window with these axes as rows, and `over` as what is summed.
pub(super) fn stored_strides(graph: &Graph, node: NodeId, rows: &[Axis], over: &[Axis]) -> Option<Vec<(Axis, isize)>> {
    let (base, views) = chain(graph, node);
    if !matches!(graph.op(base), Op::Input(_) | Op::Parameter(_)) || graph.ty(base).dtype != DType::F32 {
        return None;
    }
    let reach = reach(graph, base, &views)?;
    let bases = reach.rows(rows, over).filter(|_| reach.is_window(rows))?;
    let lie = Strided::dense(graph.shape(base).iter(), 1);
    let stride = |(row, base): (&Axis, usize)| {
        let (_, unit) = lie.get(reach.bases[base].axis)?;
        Some((*row, reach.get(*row)?.step * unit))
    };
    rows.iter().zip(bases).map(stride).collect()
}

/// Follows views outwards from `base`; none where one of them is not a sum of positions.
pub(super) fn reach(graph: &Graph, base: NodeId, views: &[NodeId]) -> Option<Reach> {
    let shape = graph.shape(base);
    let whole =
        |(axis, size): (Axis, usize)| Base { axis, start: 0, low: 0, high: size as isize, divide: 1, is_padded: false };
    let mut reach = Reach {
        moves: shape.iter().enumerate().map(|(i, (axis, size))| Move { axis, size, base: Some(i), step: 1 }).collect(),
        bases: shape.iter().map(whole).collect(),
    };
    for view in views {
        reach.follow(graph.op(*view))?;
    }
    Some(reach)
}

impl Reach {
    /// The axis of the view with this name.
    pub fn get(&self, axis: Axis) -> Option<&Move> {
        self.moves.iter().find(|m| m.axis == axis)
    }

    /// The axes of the view that move along an axis of the value.
    pub fn along(&self, base: usize) -> impl Iterator<Item = &Move> {
        self.moves.iter().filter(move |m| m.base == Some(base) && m.size > 1)
    }

    fn take(&mut self, axis: Axis) -> Option<Move> {
        let at = self.moves.iter().position(|m| m.axis == axis)?;
        Some(self.moves.remove(at))
    }

    fn follow(&mut self, op: &Op) -> Option<()> {
        match op {
            Op::Rename(pairs) => {
                for m in &mut self.moves {
                    m.axis = pairs.iter().find(|(from, _)| *from == m.axis).map_or(m.axis, |(_, to)| *to);
                }
            }
            Op::Spread(shape) => {
                self.moves.extend(shape.iter().map(|(axis, size)| Move { axis, size, base: None, step: 0 }));
            }
            Op::Split { axis, into } => {
                let split = self.take(*axis)?;
                let mut step = split.step;
                for (axis, size) in into.iter().rev() {
                    self.moves.push(Move { axis: *axis, size: *size, base: split.base, step });
                    step *= *size as isize;
                }
            }
            Op::Slice { axis, start, size, step } => {
                let sliced = self.take(*axis)?;
                if let Some(base) = sliced.base {
                    self.bases[base].start += *start as isize * sliced.step;
                }
                self.moves.push(Move { axis: *axis, size: *size, base: sliced.base, step: sliced.step * step });
            }
            Op::Window { axis, position, tap, taps, stride, dilation } => {
                let viewed = self.take(*axis)?;
                let positions = (viewed.size - ((taps - 1) * dilation + 1)) / stride + 1;
                let part = |axis: &Axis, size, step: &usize| Move {
                    axis: *axis,
                    size,
                    base: viewed.base,
                    step: viewed.step * *step as isize,
                };
                self.moves.push(part(position, positions, stride));
                self.moves.push(part(tap, *taps, dilation));
            }
            Op::Pad { axis, before, after, value: 0.0 } => {
                let padded = self.take(*axis)?;
                let base = padded.base?;
                // Positions outside of the padded value, and no others, are zero.
                if self.along(base).next().is_some() || padded.step != 1 {
                    return None;
                }
                let entry = &mut self.bases[base];
                entry.low = entry.low.max(entry.start);
                entry.high = entry.high.min(entry.start + padded.size as isize);
                entry.start -= *before as isize;
                entry.is_padded = true;
                self.moves.push(Move { size: padded.size + before + after, ..padded });
            }
            Op::Merge { axes, into } => {
                // An axis and a repetition of each of its elements.
                let (first, rest) = axes.split_first()?;
                let outer = self.take(*first)?;
                let repeated: Vec<Move> = rest.iter().map(|axis| self.take(*axis)).collect::<Option<_>>()?;
                let times: usize = repeated.iter().map(|m| m.size).product();
                let base = outer.base?;
                let alone = self.along(base).next().is_none() && repeated.iter().all(|m| m.base.is_none());
                let entry = &mut self.bases[base];
                if !alone || outer.step != 1 || entry.start != 0 || entry.is_padded || entry.divide != 1 {
                    return None;
                }
                entry.divide = times as isize;
                entry.high *= times as isize;
                self.moves.push(Move { axis: *into, size: outer.size * times, base: outer.base, step: 1 });
            }
            _ => return None,
        }
        Some(())
    }

    /// The axis of the value that each row moves along, if the value can be read along these rows through a window.
    pub fn rows(&self, rows: &[Axis], over: &[Axis]) -> Option<Vec<usize>> {
        let bases: Vec<usize> =
            rows.iter().map(|row| self.get(*row).filter(|m| m.step > 0).and_then(|m| m.base)).collect::<Option<_>>()?;
        let distinct = bases.iter().enumerate().all(|(i, base)| !bases[..i].contains(base));
        let steps = self.moves.iter().all(|m| match m.base {
            // Only summed axes move along the axes of the rows.
            Some(base) if bases.contains(&base) => rows.contains(&m.axis) || over.contains(&m.axis),
            _ => true,
        });
        let plain =
            self.bases.iter().enumerate().all(|(i, base)| bases.contains(&i) || !base.is_padded && base.divide == 1);
        (distinct && steps && plain && rows.len() <= visage_kernels::window::MOST_AXES).then_some(bases)
    }

    /// Whether rows read more than one element of an axis, or zeros: what only a window can do.
    pub fn is_window(&self, rows: &[Axis]) -> bool {
        rows.iter().any(|row| {
            self.get(*row).and_then(|m| m.base).is_some_and(|base| {
                self.along(base).any(|m| m.axis != *row) || self.bases[base].is_padded || self.bases[base].divide != 1
            })
        })
    }
}

/// The operand of a contraction whose rows are lanes and that may therefore be read through a window, with the rows.
fn lanes_of(graph: &Graph, node: NodeId, position: usize) -> Option<(Vec<Axis>, Vec<Axis>)> {
    let Op::Contract { over } = graph.op(node) else { return None };
    match contraction(graph, node, &super::rows::AxisOrder::none()) {
        Contraction::Rows { x, rows } if x == position => Some((rows, over.clone())),
        Contraction::Accumulate { rows } => {
            let batch = super::batch::batch_axes(graph, node);
            let is_free = |axis: &Axis| !rows.contains(axis) && batch.iter().all(|(other, _)| other != axis);
            let free = graph.shape(graph.operands(node)[position]).axes().filter(is_free).collect();
            Some((rows, free))
        }
        _ => None,
    }
}

/// The views through which an operand of a contraction would be read as a window, the outermost last, if it would, whatever
/// becomes of them: as many as can be followed.
fn windowed(graph: &Graph, node: NodeId, position: usize) -> Option<Vec<NodeId>> {
    let (rows, over) = lanes_of(graph, node, position)?;
    let (mut base, mut views) = chain(graph, graph.operands(node)[position]);
    loop {
        let leaf = matches!(graph.op(base), Op::Constant(_) | Op::Iota { .. });
        let reach = reach(graph, base, &views).filter(|_| !leaf && graph.ty(base).dtype == DType::F32);
        if reach.is_some_and(|reach| reach.rows(&rows, &over).is_some() && reach.is_window(&rows)) {
            return Some(views);
        }
        // What cannot be read through is computed, and what is behind it is read as a value.
        let at = views.iter().position(|view| is_foldable(graph.op(*view)))?;
        base = views[at];
        views.drain(..=at);
    }
}

/// Whether an operand of a contraction would be read through a window, whatever becomes of the views on the way.
pub(super) fn reads_window(graph: &Graph, node: NodeId, position: usize) -> bool {
    windowed(graph, node, position).is_some()
}

/// Whether a padding or an enlargement is nothing but a part of how convolutions read what is behind it.
pub(super) fn is_folded(graph: &Graph, node: NodeId) -> bool {
    is_foldable(graph.op(node)) && all_fold(graph, node, node)
}

/// Whether all who read `node` read `folded` through a window.
fn all_fold(graph: &Graph, node: NodeId, folded: NodeId) -> bool {
    let users = graph.users(node);
    !users.is_empty()
        && graph.outputs().all(|(_, output)| output != node)
        && users.into_iter().all(|user| {
            let op = graph.op(user);
            match op {
                Op::Contract { .. } => {
                    let operands = graph.operands(user);
                    let windowed: Vec<Option<Vec<NodeId>>> =
                        (0..2).map(|position| windowed(graph, user, position)).collect();
                    // One operand of a contraction is read through a window.
                    windowed.iter().flatten().count() == 1
                        && operands.iter().zip(&windowed).all(|(operand, views)| {
                            *operand != node || views.as_ref().is_some_and(|views| views.contains(&folded))
                        })
                }
                _ => (is_transparent(op) || is_foldable(op)) && all_fold(graph, user, folded),
            }
        })
}

/// How an operand of a contraction is read through a window, if it is: the stored value, and its reach.
pub(super) fn window(
    graph: &Graph,
    node: NodeId,
    position: usize,
    rows: &[Axis],
) -> Option<(NodeId, Reach, Vec<usize>)> {
    let (own, over) = lanes_of(graph, node, position)?;
    let path = super::rows::path(graph, graph.operands(node)[position]);
    let leaf = matches!(graph.op(path.base), Op::Constant(_) | Op::Iota { .. });
    let same = own.len() == rows.len() && own.iter().all(|row| rows.contains(row));
    if leaf || !same || graph.ty(path.base).dtype != DType::F32 {
        return None;
    }
    let reach = reach(graph, path.base, &path.views)?;
    let bases = reach.rows(rows, &over)?;
    reach.is_window(rows).then_some((path.base, reach, bases))
}
