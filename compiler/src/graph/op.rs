//! The closed set of operations.

use super::{DType, ScalarOp, axis_list};
use crate::axis::{Axis, Shape};
use std::fmt;

/// A value's element type and axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Type {
    /// The element type.
    pub dtype: DType,
    /// The axes.
    pub shape: Shape,
}

impl Type {
    /// A value of `dtype` elements over `shape`.
    pub fn new(dtype: DType, shape: Shape) -> Type {
        Type { dtype, shape }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.dtype, self.shape)
    }
}

/// How a reduction or scan combines elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Combine {
    Sum,
    Prod,
    Max,
    Min,
}

impl Combine {
    /// The value of a type that leaves any other unchanged.
    pub fn identity(self, dtype: DType) -> f64 {
        let identity = match self {
            Combine::Sum => 0.0,
            Combine::Prod => 1.0,
            Combine::Max => f64::NEG_INFINITY,
            Combine::Min => f64::INFINITY,
        };
        if dtype.is_float() { identity } else { dtype.round(identity) }
    }

    /// The name used in listings and in the equation language.
    pub fn name(self) -> &'static str {
        match self {
            Combine::Sum => "sum",
            Combine::Prod => "prod",
            Combine::Max => "max",
            Combine::Min => "min",
        }
    }
}

/// A distribution that a [`Random`](Op::Random) node draws from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Distribution {
    /// Uniform on [0, 1).
    Uniform,
    /// Normal with mean 0 and variance 1.
    Normal,
}

/// One operation of the graph. Operands are the node's incoming edges, in order; axes are aligned by
/// name throughout. What each computes is defined by the [reference evaluator](crate::reference).
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// A scalar.
    Constant(f64),
    /// A named value given at run time.
    Input(String),
    /// A named, stored value that training changes.
    Parameter(String),
    /// The index 0, 1, 2, … along an axis, as `i32`.
    Iota { axis: Axis, size: usize },
    /// Draws of a counter-based generator, one an element: a function of the run's seed, the step,
    /// the stream and the element's position in alphabetical axis order, and of nothing else.
    Random { distribution: Distribution, stream: u32, shape: Shape },
    /// A scalar operation on every element; operands that lack an axis are repeated along it.
    Map(ScalarOp),
    /// One operand repeated along axes it does not have.
    Spread(Shape),
    /// Combination of all elements along the axes.
    Reduce { combine: Combine, axes: Vec<Axis> },
    /// The `i32` index of the largest (or smallest) element along an axis; the first of equals.
    ArgReduce { largest: bool, axis: Axis },
    /// Running combination along an axis.
    Scan { combine: Combine, axis: Axis, exclusive: bool, reverse: bool },
    /// Sum over `over` of the product of two operands, both of which have all axes in `over`.
    Contract { over: Vec<Axis> },
    /// Other names for axes, all at once.
    Rename(Vec<(Axis, Axis)>),
    /// One axis read as several, the last fastest.
    Split { axis: Axis, into: Vec<(Axis, usize)> },
    /// Several axes read as one, the last fastest.
    Merge { axes: Vec<Axis>, into: Axis },
    /// Elements `start`, `start + step`, … of an axis, `size` of them; a negative step reverses.
    Slice { axis: Axis, start: usize, size: usize, step: isize },
    /// An axis lengthened at both ends by a constant.
    Pad { axis: Axis, before: usize, after: usize, value: f64 },
    /// Operands one after another along an axis; those that lack any other axis are repeated along it.
    Concat { axis: Axis },
    /// The affine view `x[position * stride + tap * dilation]` of an axis.
    Window { axis: Axis, position: Axis, tap: Axis, taps: usize, stride: usize, dilation: usize },
    /// The adjoint of [`Window`](Op::Window): sums every tap into an axis of `size`.
    Fold { axis: Axis, size: usize, position: Axis, tap: Axis, stride: usize, dilation: usize },
    /// `gather(x, index)`: elements of `x` along `axis` at the `i32` positions; axes that both have
    /// are aligned. A position outside the axis reads zero.
    Gather { axis: Axis },
    /// `scatter_add(updates, index)`, the adjoint of [`Gather`](Op::Gather): adds every update into a
    /// new axis of `size` at its position, summing over the axes in `over`. A position outside the
    /// axis adds nothing.
    ScatterAdd { axis: Axis, size: usize, over: Vec<Axis> },
    /// The elements along an axis in ascending order.
    Sort { axis: Axis },
    /// The `i32` positions that put an axis in ascending order; equal elements keep their order.
    ArgSort { axis: Axis },
    /// `search_sorted(sorted, values)`: how many elements of the ascending axis are below each value
    /// (`right`: below or equal), as `i32`.
    SearchSorted { axis: Axis, right: bool },
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Constant(value) => write!(f, "constant {value:?}"),
            Op::Input(name) => write!(f, "input \"{name}\""),
            Op::Parameter(name) => write!(f, "parameter \"{name}\""),
            Op::Iota { axis, .. } => write!(f, "iota {axis}"),
            Op::Random { distribution: Distribution::Uniform, stream, .. } => write!(f, "uniform #{stream}"),
            Op::Random { distribution: Distribution::Normal, stream, .. } => write!(f, "normal #{stream}"),
            Op::Map(op) => f.write_str(op.name()),
            Op::Spread(shape) => write!(f, "spread {shape}"),
            Op::Reduce { combine, axes } => write!(f, "{} over {}", combine.name(), axis_list(axes)),
            Op::ArgReduce { largest, axis } => {
                write!(f, "{} {axis}", if *largest { "argmax" } else { "argmin" })
            }
            Op::Scan { combine, axis, exclusive, reverse } => {
                write!(f, "scan {} along {axis}", combine.name())?;
                f.write_str(if *exclusive { " exclusive" } else { "" })?;
                f.write_str(if *reverse { " reverse" } else { "" })
            }
            Op::Contract { over } => write!(f, "contract over {}", axis_list(over)),
            Op::Rename(pairs) => {
                f.write_str("rename")?;
                pairs.iter().try_for_each(|(from, to)| write!(f, " {from}→{to}"))
            }
            Op::Split { axis, into } => {
                write!(f, "split {axis} into {}", Shape::new(into.iter().copied()))
            }
            Op::Merge { axes, into } => write!(f, "merge {} into {into}", axis_list(axes)),
            Op::Slice { axis, start, size, step } => write!(f, "slice {axis} from {start} step {step} size {size}"),
            Op::Pad { axis, before, after, value } => write!(f, "pad {axis} by {before}, {after} with {value:?}"),
            Op::Concat { axis } => write!(f, "concat along {axis}"),
            Op::Window { axis, position, tap, taps, stride, dilation } => {
                write!(f, "window {axis} as {position}*{stride} + {tap}*{dilation}, {taps} taps")
            }
            Op::Fold { axis, size, position, tap, stride, dilation } => {
                write!(f, "fold {position}*{stride} + {tap}*{dilation} into {axis}={size}")
            }
            Op::Gather { axis } => write!(f, "gather along {axis}"),
            Op::ScatterAdd { axis, size, over } => {
                write!(f, "scatter_add into {axis}={size} over {}", axis_list(over))
            }
            Op::Sort { axis } => write!(f, "sort {axis}"),
            Op::ArgSort { axis } => write!(f, "argsort {axis}"),
            Op::SearchSorted { axis, right } => {
                write!(f, "search_sorted {axis} {}", if *right { "right" } else { "left" })
            }
        }
    }
}
