//! A small stroke font, drawn for this project: captions and axis labels without a font file.
//!
//! A glyph is a list of strokes on a grid of 5 columns (0–4) and 10 rows (0–9); row 2 is the base
//! line, 6 the height of small letters, 8 that of capitals, 0 the depth of descenders. A stroke is a
//! letter and pairs of digits `xy`: `l` a polyline, `s` an open curve and `o` a closed one, both
//! quadratic B-splines of the points.

/// Columns from one glyph to the next, in grid units.
pub const ADVANCE: f32 = 6.0;
/// Rows from the base line to the top of a capital, in grid units.
pub const CAPITAL: f32 = 6.0;
/// The row of the base line.
pub const BASE: f32 = 2.0;

/// The strokes of printable ASCII from `!` on, separated by spaces within a glyph.
const GLYPHS: [&str; 94] = [
    "l2824 l2222",
    "l1816 l3836",
    "l1218 l3238 l0444 l0646",
    "s4748080545420203 l2921",
    "o06161808 o32424434 l0248",
    "s4206183805023244",
    "l2826",
    "s38161230",
    "s18363210",
    "l2428 l0547 l0745",
    "l0444 l2622",
    "l2211",
    "l0444",
    "l2222",
    "l0248",
    "o02424808",
    "l072822",
    "s0608484502 l0242",
    "s0708484525 s2545420203",
    "l380444 l3832",
    "l480805 s051646420203",
    "s38080242460604",
    "l084812",
    "o05454808 o02424505",
    "s12424808044446",
    "l2222 l2525",
    "l2211 l2525",
    "l460442",
    "l0545 l0343",
    "l064402",
    "s070848452524 l2222",
    "o02424808 o14343616",
    "l022842 l1434",
    "l0208 s08484505 s05454202",
    "s474808024243",
    "l0208 s08484202",
    "l48080242 l0535",
    "l480802 l0535",
    "s474808024244 l4424",
    "l0208 l4248 l0545",
    "l2822",
    "s48420204",
    "l0802 l4804 l1542",
    "l080242",
    "l0208254842",
    "l02084248",
    "o02424808",
    "l0208 s08484404",
    "o02424808 l2442",
    "l0208 s08484404 l2442",
    "s4748080545420203",
    "l0848 l2822",
    "s08024248",
    "l082248",
    "l0812273248",
    "l0842 l4802",
    "l082548 l2522",
    "l08480242",
    "l38181030",
    "l0842",
    "l18383010",
    "l162836",
    "l0141",
    "l1826",
    "o02424606 l4642",
    "l0802 o02424606",
    "s454606024243",
    "l4842 o02424606",
    "l0444 s444606024243",
    "s38181612 l0636",
    "o02424606 s46400001",
    "l0802 s0406464442",
    "l2622 l2828",
    "s262000 l2828",
    "l0802 l4604 l0442",
    "s181232",
    "l0602 s0406262422 s2426464442",
    "l0602 s0406464442",
    "o02424606",
    "l0600 o02424606",
    "l4640 o02424606",
    "l0602 s040636",
    "s4546060444420203",
    "s181232 l0636",
    "s06024244 l4642",
    "l062246",
    "l0612263246",
    "l0642 l4602",
    "l0622 l4610",
    "l06460242",
    "s38282515 s15252030",
    "l2820",
    "s18282535 s35252010",
    "s04163345",
];

/// The strokes of a character as polylines of grid points `[x, y]`; a character without a glyph is
/// drawn as a box, a space as nothing.
pub fn strokes(character: char) -> Vec<Vec<[f32; 2]>> {
    if character == ' ' {
        return Vec::new();
    }
    let glyph =
        (character as usize).checked_sub('!' as usize).and_then(|i| GLYPHS.get(i)).copied().unwrap_or("l0242480802");
    glyph.split(' ').map(stroke).collect()
}

fn stroke(code: &str) -> Vec<[f32; 2]> {
    let digit = |b: u8| f32::from(b - b'0');
    let bytes = code.as_bytes();
    let points: Vec<[f32; 2]> = bytes[1..].chunks_exact(2).map(|p| [digit(p[0]), digit(p[1])]).collect();
    let closed = bytes[0] == b'o';
    match bytes[0] {
        b'l' => points,
        _ => (0..4).fold(points, |points, round| cut_corners(&points, closed, round == 3)),
    }
}

/// One round of Chaikin's corner cutting, whose limit is the quadratic B-spline.
fn cut_corners(points: &[[f32; 2]], closed: bool, last: bool) -> Vec<[f32; 2]> {
    let mix = |a: [f32; 2], b: [f32; 2], t: f32| [a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t];
    let n = points.len();
    let mut out = Vec::with_capacity(2 * n + 1);
    if !closed {
        out.push(points[0]);
    }
    let edges = if closed { n } else { n - 1 };
    for i in 0..edges {
        let (a, b) = (points[i], points[(i + 1) % n]);
        out.extend([mix(a, b, 0.25), mix(a, b, 0.75)]);
    }
    if !closed {
        out.push(points[n - 1]);
    } else if last {
        out.push(out[0]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_printable_character_has_a_glyph_on_the_grid() {
        for c in '!'..='~' {
            let strokes = strokes(c);
            assert!(!strokes.is_empty());
            for [x, y] in strokes.into_iter().flatten() {
                assert!((0.0..=4.0).contains(&x) && (0.0..=9.0).contains(&y), "{c}");
            }
        }
        assert!(strokes(' ').is_empty());
        assert_eq!(strokes('é').len(), 1);
    }

    #[test]
    fn a_round_letter_touches_the_middles_of_its_box() {
        let ring = &strokes('O')[0];
        assert_eq!(ring.first(), ring.last());
        let left = ring.iter().map(|p| p[0]).fold(9.0, f32::min);
        assert!(left < 0.02, "{left}");
    }
}
