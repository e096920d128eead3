//! Where the points of an upright face lie.

/// Left eye, right eye, nose, left and right corner of the mouth, as seen, in a square of 512: the alignment of FFHQ
/// (Karras et al. 2019) in the form that face restorers are trained with.
const POINTS: [[f64; 2]; 5] = [
    [192.98138, 239.94708],
    [318.90277, 240.1936],
    [256.63416, 314.01935],
    [201.26117, 371.41043],
    [313.08905, 371.15118],
];

/// The points of an upright face in a square of `side`: five, or four with the middle of the mouth in place of its
/// corners; none for another `count`.
pub fn template(side: f64, count: usize) -> Option<Vec<[f64; 2]>> {
    let [left_eye, right_eye, nose, left, right] = POINTS.map(|point| point.map(|x| x * side / 512.0));
    match count {
        4 => Some(vec![left_eye, right_eye, nose, [0, 1].map(|k| (left[k] + right[k]) / 2.0)]),
        5 => Some(vec![left_eye, right_eye, nose, left, right]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::template;

    #[test]
    fn four_points_are_five_with_one_mouth() {
        let (four, five) = (template(256.0, 4).unwrap(), template(256.0, 5).unwrap());
        assert_eq!(four[..3], five[..3]);
        assert_eq!(four[3], [(201.26117 + 313.08905) / 4.0, (371.41043 + 371.15118) / 4.0]);
        assert_eq!(template(256.0, 6), None);
    }
}
