//! Named axes and the shapes they form.
//!
//! A tensor's shape is a *set* of named axes. The order in which a [`Shape`] lists them is only the
//! order in which people read and files store them; two shapes with the same axes are equal whatever
//! the order, and no operation depends on it. Memory order is chosen by the planner.

use std::{
    collections::HashSet,
    fmt,
    sync::{LazyLock, Mutex},
};

use thiserror::Error;

/// The name of an axis, such as `ray` or `channel`. Cheap to copy; equal exactly when the names are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Axis(&'static str);

impl Axis {
    /// The axis called `name`. Names are interned for the life of the process.
    pub fn new(name: &str) -> Axis {
        static NAMES: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Default::default);
        let mut names = NAMES.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(name) = names.get(name) {
            return Axis(name);
        }
        let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
        names.insert(name);
        Axis(name)
    }

    /// The axis's name.
    pub fn name(self) -> &'static str {
        self.0
    }

    /// An axis with a name derived from this one that is not in `taken`: `x`, then `x'`, `x''`, ….
    pub fn fresh(self, taken: impl Fn(Axis) -> bool) -> Axis {
        let mut axis = self;
        while taken(axis) {
            axis = Axis::new(&format!("{axis}'"));
        }
        axis
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl From<&str> for Axis {
    fn from(name: &str) -> Axis {
        Axis::new(name)
    }
}

/// Two shapes give one axis two sizes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("axis `{axis}` has size {left} on one side and {right} on the other")]
pub struct AxisConflict {
    /// The axis in question.
    pub axis: Axis,
    /// Its size in the first shape.
    pub left: usize,
    /// Its size in the second shape.
    pub right: usize,
}

/// A set of named axes with their sizes.
#[derive(Clone, Default)]
pub struct Shape(Vec<(Axis, usize)>);

impl Shape {
    /// The shape of a scalar.
    pub const SCALAR: Shape = Shape(Vec::new());

    /// A shape from distinct axes.
    ///
    /// # Panics
    /// If an axis occurs twice: callers check what users wrote before they build a shape.
    pub fn new(axes: impl IntoIterator<Item = (Axis, usize)>) -> Shape {
        let axes: Vec<_> = axes.into_iter().collect();
        for (i, (axis, _)) in axes.iter().enumerate() {
            assert!(axes[..i].iter().all(|(a, _)| a != axis), "axis `{axis}` occurs twice in a shape");
        }
        Shape(axes)
    }

    /// The axes with their sizes, in reading order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (Axis, usize)> + ExactSizeIterator + '_ {
        self.0.iter().copied()
    }

    /// The axes, in reading order.
    pub fn axes(&self) -> impl DoubleEndedIterator<Item = Axis> + ExactSizeIterator + '_ {
        self.0.iter().map(|(axis, _)| *axis)
    }

    /// How many axes there are.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// The number of elements: the product of the sizes, 1 for a scalar.
    pub fn elements(&self) -> usize {
        self.0.iter().map(|(_, size)| size).product()
    }

    /// The size of `axis`, if the shape has it.
    pub fn size(&self, axis: Axis) -> Option<usize> {
        self.0.iter().find(|(a, _)| *a == axis).map(|(_, size)| *size)
    }

    /// Whether the shape has `axis`.
    pub fn contains(&self, axis: Axis) -> bool {
        self.size(axis).is_some()
    }

    /// Whether every axis of `other` is an axis of this shape.
    pub fn includes(&self, other: &Shape) -> bool {
        other.axes().all(|axis| self.contains(axis))
    }

    /// This shape's axes followed by those that only `other` has.
    pub fn union(&self, other: &Shape) -> Result<Shape, AxisConflict> {
        let mut axes = self.0.clone();
        for (axis, right) in other.iter() {
            match self.size(axis) {
                None => axes.push((axis, right)),
                Some(left) if left == right => {}
                Some(left) => return Err(AxisConflict { axis, left, right }),
            }
        }
        Ok(Shape(axes))
    }

    /// This shape without the axes in `removed`.
    pub fn without(&self, removed: &[Axis]) -> Shape {
        Shape(self.iter().filter(|(axis, _)| !removed.contains(axis)).collect())
    }

    /// This shape followed by one more axis.
    ///
    /// # Panics
    /// If the shape already has `axis`.
    pub fn with(&self, axis: Axis, size: usize) -> Shape {
        Shape::new(self.iter().chain([(axis, size)]))
    }

    /// This shape with `axis` replaced in place by `by`, which may be any number of axes.
    ///
    /// # Panics
    /// If an axis would occur twice.
    pub fn replaced(&self, axis: Axis, by: &[(Axis, usize)]) -> Shape {
        Shape::new(self.iter().flat_map(|(a, size)| if a == axis { by.to_vec() } else { vec![(a, size)] }))
    }

    /// Row-major strides, in elements, of this shape's own order.
    pub fn strides(&self) -> Vec<usize> {
        let mut strides = vec![1; self.rank()];
        for i in (1..self.rank()).rev() {
            strides[i - 1] = strides[i] * self.0[i].1;
        }
        strides
    }

    /// The axes in alphabetical order: equal for equal shapes.
    pub fn canonical(&self) -> Shape {
        let mut axes = self.0.clone();
        axes.sort_unstable();
        Shape(axes)
    }
}

impl PartialEq for Shape {
    fn eq(&self, other: &Shape) -> bool {
        self.rank() == other.rank() && self.iter().all(|(axis, size)| other.size(axis) == Some(size))
    }
}

impl Eq for Shape {}

impl FromIterator<(Axis, usize)> for Shape {
    fn from_iter<T: IntoIterator<Item = (Axis, usize)>>(iter: T) -> Shape {
        Shape::new(iter)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, (axis, size)) in self.iter().enumerate() {
            let separator = if i == 0 { "" } else { ", " };
            write!(f, "{separator}{axis}={size}")?;
        }
        f.write_str("]")
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
