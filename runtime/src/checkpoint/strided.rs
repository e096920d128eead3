//! Views: how a tensor of any strides lies in its storage.

use crate::array::element_count;

/// A tensor's place in a storage. Offset and strides count elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) offset: u64,
    pub(super) shape: Vec<usize>,
    pub(super) stride: Vec<u64>,
}

impl View {
    /// A row-major array at the start of its storage, or a column-major one.
    pub(super) fn dense(shape: Vec<usize>, column_major: bool) -> Self {
        let mut stride = vec![0; shape.len()];
        let mut step = 1u64;
        for axis in 0..shape.len() {
            let axis = if column_major { axis } else { shape.len() - 1 - axis };
            stride[axis] = step;
            step = step.saturating_mul(shape[axis] as u64);
        }
        Self { offset: 0, shape, stride }
    }

    /// The number of elements; `None` where it overflows.
    pub(super) fn count(&self) -> Option<usize> {
        element_count(&self.shape)
    }

    /// One past the last element of the storage that the view touches; `None` where it overflows.
    pub(super) fn extent(&self) -> Option<u64> {
        if self.shape.contains(&0) {
            return Some(0);
        }
        self.shape
            .iter()
            .zip(&self.stride)
            .try_fold(self.offset, |last, (&size, &stride)| last.checked_add((size as u64 - 1).checked_mul(stride)?))?
            .checked_add(1)
    }

    /// Whether the elements lie one after the other, in row-major order.
    pub(super) fn is_row_major(&self) -> bool {
        let dense = Self::dense(self.shape.clone(), false);
        let mut axes = self.shape.iter().zip(&self.stride).zip(&dense.stride);
        self.shape.contains(&0) || axes.all(|((&size, stride), expected)| size == 1 || stride == expected)
    }

    /// The elements of the view in row-major order.
    ///
    /// The caller has checked that the storage holds [`extent`](Self::extent) elements of `size` bytes.
    pub(super) fn gather(&self, storage: &[u8], size: usize) -> Vec<u8> {
        let count = self.count().unwrap_or(0);
        if count == 0 {
            return Vec::new();
        }
        let start = self.offset as usize * size;
        if self.is_row_major() {
            return storage[start..start + count * size].to_vec();
        }
        let mut bytes = Vec::with_capacity(count * size);
        // Not row-major, so there is at least one axis; the last one is the inner loop.
        let inner = self.shape.len() - 1;
        let mut index = vec![0usize; inner];
        loop {
            let outer: usize = index.iter().zip(&self.stride).map(|(&i, &stride)| i * stride as usize).sum();
            for i in 0..self.shape[inner] {
                let at = start + (outer + i * self.stride[inner] as usize) * size;
                bytes.extend_from_slice(&storage[at..at + size]);
            }
            let Some(axis) = (0..inner).rev().find(|&axis| index[axis] + 1 < self.shape[axis]) else {
                return bytes;
            };
            index[axis] += 1;
            index[axis + 1..].fill(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn extents_of_views() {
        let view =
            |offset, shape: &[usize], stride: &[u64]| View { offset, shape: shape.into(), stride: stride.into() };
        assert_eq!(view(0, &[], &[]).extent(), Some(1));
        assert_eq!(view(3, &[2, 3], &[1, 2]).extent(), Some(3 + 1 + 4 + 1));
        assert_eq!(view(9, &[0, 5], &[1, 1]).extent(), Some(0));
        assert_eq!(view(0, &[3], &[u64::MAX]).extent(), None);
        assert_eq!(view(u64::MAX, &[1], &[1]).extent(), None);
        assert_eq!(view(0, &[7], &[0]).extent(), Some(1));
        assert!(view(0, &[1, 3], &[77, 1]).is_row_major());
        assert!(!view(0, &[2, 3], &[1, 2]).is_row_major());
    }

    proptest! {
        #[test]
        fn gathering_is_indexing(
            axes in proptest::collection::vec((1usize..4, 0u64..5), 0..4),
            offset in 0u64..6,
            size in 1usize..5,
        ) {
            let (shape, stride): (Vec<_>, Vec<_>) = axes.into_iter().unzip();
            let view = View { offset, shape, stride };
            let storage: Vec<u8> = (0..view.extent().unwrap() as usize * size).map(|i| i as u8).collect();
            let mut expected = Vec::new();
            for flat in 0..view.count().unwrap() {
                let mut rest = flat;
                let mut at = view.offset as usize;
                for axis in (0..view.shape.len()).rev() {
                    at += rest % view.shape[axis] * view.stride[axis] as usize;
                    rest /= view.shape[axis];
                }
                expected.extend_from_slice(&storage[at * size..(at + 1) * size]);
            }
            prop_assert_eq!(view.gather(&storage, size), expected);
        }
    }
}
