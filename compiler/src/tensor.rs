//! Dense host tensors: what the reference evaluator computes on and programs are fed with.

use crate::{
    axis::Shape,
    graph::{DType, Type},
};

/// A tensor in host memory: one `f64` an element (exact for every element type), row-major in the
/// order in which the shape lists its axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// The element type and the axes, in memory order.
    pub ty: Type,
    /// The elements.
    pub data: Vec<f64>,
}

impl Tensor {
    /// A tensor from its elements.
    ///
    /// # Panics
    /// If their number is not the shape's.
    pub fn new(dtype: DType, shape: Shape, data: Vec<f64>) -> Tensor {
        assert_eq!(shape.elements(), data.len(), "{shape} has another number of elements");
        Tensor { ty: Type::new(dtype, shape), data }
    }

    /// A scalar.
    pub fn scalar(dtype: DType, value: f64) -> Tensor {
        Tensor::new(dtype, Shape::SCALAR, vec![value])
    }

    /// The axes, in memory order.
    pub fn shape(&self) -> &Shape {
        &self.ty.shape
    }

    /// The same tensor with its axes in the order that `shape` lists them.
    ///
    /// # Panics
    /// If `shape` has other axes.
    pub fn reordered(&self, shape: &Shape) -> Tensor {
        assert_eq!(self.shape(), shape, "reordering keeps the axes");
        let own = self.shape().strides();
        let strides: Vec<usize> = shape
            .axes()
            .map(|axis| own[self.shape().axes().position(|a| a == axis).unwrap_or_else(|| unreachable!())])
            .collect();
        let sizes: Vec<usize> = shape.iter().map(|(_, size)| size).collect();
        let mut data = Vec::with_capacity(self.data.len());
        let mut index = vec![0; sizes.len()];
        for _ in 0..self.data.len() {
            data.push(self.data[index.iter().zip(&strides).map(|(i, stride)| i * stride).sum::<usize>()]);
            for k in (0..sizes.len()).rev() {
                index[k] += 1;
                if index[k] < sizes[k] {
                    break;
                }
                index[k] = 0;
            }
        }
        Tensor { ty: Type::new(self.ty.dtype, shape.clone()), data }
    }
}
