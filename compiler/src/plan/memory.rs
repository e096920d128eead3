//! Offsets for values whose lifetimes are known.

/// A value that lives from step `first` to step `last`, both included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interval {
    pub size: usize,
    pub first: usize,
    pub last: usize,
}

/// Gives every interval an offset such that values that live at the same time do not overlap, large
/// values first, each at the lowest place where it fits. Returns the offsets and the extent.
pub(super) fn assign(intervals: &[Interval]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..intervals.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(intervals[*i].size));
    let mut offsets = vec![0; intervals.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut extent = 0;
    for i in order {
        let interval = intervals[i];
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|j| intervals[**j].first <= interval.last && interval.first <= intervals[**j].last)
            .map(|j| (offsets[*j], offsets[*j] + intervals[*j].size))
            .collect();
        taken.sort_unstable();
        let mut offset = 0;
        for (start, end) in taken {
            if offset + interval.size <= start {
                break;
            }
            offset = offset.max(end);
        }
        offsets[i] = offset;
        extent = extent.max(offset + interval.size);
        placed.push(i);
    }
    (offsets, extent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disjoint_lifetimes_share_and_overlapping_ones_do_not() {
        let interval = |size, first, last| Interval { size, first, last };
        let (offsets, extent) = assign(&[interval(8, 0, 1), interval(8, 2, 3), interval(4, 1, 2)]);
        assert_eq!(offsets, [0, 0, 8]);
        assert_eq!(extent, 12);
    }
}
