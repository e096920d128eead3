//! Lifetimes of values, and offsets for values whose lifetimes are known.

use super::{Buffer, BufferId, Segment, Step};

/// The first and the last step during which each value must keep its memory.
///
/// In a segment that is so for every part: what is kept for one part lives from the step that writes it to the last that
/// reads it; anything else that steps of the segment touch, from its beginning if they write it, and to its end if
/// they read it.
pub(super) fn lives(
    buffers: &[Buffer],
    steps: &[Step],
    segments: &[Segment],
    outputs: impl Iterator<Item = BufferId>,
) -> Vec<Option<(usize, usize)>> {
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; buffers.len()];
    for (time, step) in steps.iter().enumerate() {
        let segment = segments.iter().find(|segment| segment.steps.contains(&time));
        for id in step.buffers() {
            let (first, last) = match segment {
                Some(segment) if buffers[id.0 as usize].parts == 1 => (segment.steps.start, segment.steps.end - 1),
                _ => (time, time),
            };
            let life = lives[id.0 as usize].get_or_insert((first, last));
            *life = (life.0.min(first), life.1.max(last));
        }
    }
    for id in outputs {
        lives[id.0 as usize].get_or_insert((steps.len(), 0)).1 = steps.len();
    }
    lives
}

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
