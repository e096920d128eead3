//! What detectors find, and where a detector of one small size is to look.

/// A face that a detector found, in pixels of the photograph.
#[derive(Clone, Debug, PartialEq)]
pub struct Face {
    /// How sure the detector is, in 0..1.
    pub score: f32,
    /// Left, top, right and bottom.
    pub corners: [f64; 4],
    /// Left eye, right eye, nose, and the left and right corner of the mouth, as seen; or four points, the last of which is
    /// the middle of the mouth.
    pub points: Vec<[f64; 2]>,
}

impl Face {
    /// The middle of the box.
    pub fn middle(&self) -> [f64; 2] {
        let [left, top, right, bottom] = self.corners;
        [(left + right) / 2.0, (top + bottom) / 2.0]
    }

    /// From eye to eye; 0 where the detector knows no eyes.
    pub fn eye_distance(&self) -> f64 {
        match self.points.as_slice() {
            [left, right, ..] => (left[0] - right[0]).hypot(left[1] - right[1]),
            _ => 0.0,
        }
    }

    /// The area that two boxes share, by the area that at least one of them covers.
    pub fn overlap(&self, other: &Face) -> f64 {
        let area = |[left, top, right, bottom]: [f64; 4]| (right - left).max(0.0) * (bottom - top).max(0.0);
        let (a, b) = (self.corners, other.corners);
        let shared = area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
        let covered = area(a) + area(b) - shared;
        if covered > 0.0 { shared / covered } else { 0.0 }
    }
}

/// The surest faces, surest first, without those that overlap a surer one by more than `overlap`.
pub fn keep(mut faces: Vec<Face>, overlap: f64) -> Vec<Face> {
    faces.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept: Vec<Face> = Vec::new();
    for face in faces {
        if kept.iter().all(|surer| surer.overlap(&face) <= overlap) {
            kept.push(face);
        }
    }
    kept
}

/// A square of a photograph, in its pixels. It may reach beyond the border.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tile {
    /// The left upper corner.
    pub corner: [f64; 2],
    /// The length of a side.
    pub side: f64,
}

impl Tile {
    /// Whether a box lies inside, but for where the tile ends with the photograph of this width and height. What reaches
    /// out of a tile is seen whole in another.
    pub fn holds(&self, corners: [f64; 4], size: [usize; 2]) -> bool {
        (0..2).all(|k| {
            let (start, end) = (self.corner[k], self.corner[k] + self.side);
            (start <= 0.0 || corners[k] >= start) && (end >= size[k] as f64 || corners[k + 2] <= end)
        })
    }
}

/// Squares in which to look for faces of all sizes: the whole photograph, then squares of its shorter side, of half of it,
/// and so on down to `smallest`. Neighbours share half of their side, so whatever is smaller than half a square lies wholly
/// inside one.
pub fn tiles(size: [usize; 2], smallest: f64) -> Vec<Tile> {
    let size = size.map(|side| side as f64);
    let (long, short) = (size[0].max(size[1]), size[0].min(size[1]));
    let mut all = vec![Tile { corner: size.map(|side| (side - long) / 2.0), side: long }];
    let mut side = if long > short { short } else { short / 2.0 };
    while side >= smallest.max(1.0) {
        let [across, down] = size.map(|length| starts(length, side));
        all.extend(down.iter().flat_map(|y| across.iter().map(move |x| Tile { corner: [*x, *y], side })));
        side /= 2.0;
    }
    all
}

/// Where squares begin along one direction: evenly, at most half a side apart, the last one at the end.
fn starts(length: f64, side: f64) -> Vec<f64> {
    let room = length - side;
    let steps = (2.0 * room / side).ceil().max(0.0);
    (0..=steps as usize).map(|i| if steps > 0.0 { room * i as f64 / steps } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn face(score: f32, corners: [f64; 4]) -> Face {
        Face { score, corners, points: vec![[1.0, 2.0], [4.0, 6.0]] }
    }

    #[test]
    fn overlaps_are_shares_of_area() {
        let one = face(0.9, [0.0, 0.0, 4.0, 4.0]);
        assert_eq!(one.overlap(&one), 1.0);
        assert_eq!(one.overlap(&face(0.8, [2.0, 0.0, 6.0, 4.0])), 8.0 / 24.0);
        assert_eq!(one.overlap(&face(0.8, [5.0, 5.0, 6.0, 6.0])), 0.0);
        assert_eq!(one.overlap(&face(0.8, [3.0, 3.0, 1.0, 1.0])), 0.0);
        assert_eq!((one.middle(), one.eye_distance()), ([2.0, 2.0], 5.0));
    }

    #[test]
    fn one_face_is_kept_for_each_person() {
        let found = vec![
            face(0.7, [0.0, 0.0, 10.0, 10.0]),
            face(0.9, [1.0, 0.0, 11.0, 10.0]),
            face(0.8, [30.0, 0.0, 40.0, 10.0]),
            // A chain: this overlaps one that is not kept.
            face(0.6, [-5.0, 0.0, 5.0, 10.0]),
        ];
        let kept: Vec<f32> = keep(found, 0.4).iter().map(|face| face.score).collect();
        assert_eq!(kept, [0.9, 0.8, 0.6]);
    }

    #[test]
    fn tiles_of_a_wide_photograph() {
        let found = tiles([200, 100], 50.0);
        assert_eq!(found[0], Tile { corner: [0.0, -50.0], side: 200.0 });
        assert_eq!(found[1..4].iter().map(|tile| tile.corner[0]).collect::<Vec<_>>(), [0.0, 50.0, 100.0]);
        assert_eq!(found.len(), 1 + 3 + 7 * 3);
        assert!(found[0].holds([0.0, -3.0, 200.0, 103.0], [200, 100]));
        assert!(!found[2].holds([49.0, 10.0, 90.0, 50.0], [200, 100]));
        assert!(found[2].holds([50.0, -9.0, 90.0, 50.0], [200, 100]));
    }

    proptest! {
        /// Whatever is larger than an eighth of the smallest tile and fits into the photograph is held by a tile in which
        /// it is not too small: it takes at least a quarter of the side.
        #[test]
        fn faces_of_all_sizes_are_seen(
            size in prop::array::uniform2(40usize..900), part in 0.0..1.0f64, place in prop::array::uniform2(0.0..1.0f64),
        ) {
            let short = size[0].min(size[1]) as f64;
            let smallest = short / 6.0;
            let face = smallest / 2.0 + part * (short - smallest / 2.0);
            let corner = [0, 1].map(|k| place[k] * (size[k] as f64 - face));
            let corners = [corner[0], corner[1], corner[0] + face, corner[1] + face];
            let found = tiles(size, smallest);
            let best = found.iter().filter(|tile| tile.holds(corners, size)).map(|tile| tile.side).fold(f64::MAX, f64::min);
            let long = size[0].max(size[1]) as f64;
            prop_assert!(best <= 4.0 * face || (best == long && face > short / 2.0), "{face} in {best}");
        }
    }
}
