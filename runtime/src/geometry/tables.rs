//! The triangles of marching cubes, derived rather than listed.
//!
//! Corner `c` of a cell has coordinates `(c & 1, c >> 1 & 1, c >> 2)`. Where the surface crosses a
//! face, each inside corner is cut off by itself if inside and outside corners alternate. This
//! rule looks at the face alone, so the cells on both sides agree and the surface has no holes.

use std::sync::LazyLock;

/// The two corners of each of the twelve edges, the one with the smaller coordinate first.
#[rustfmt::skip]
pub const EDGES: [[usize; 2]; 12] = [
    [0, 1],
    [2, 3],
    [4, 5],
    [6, 7],
    [0, 2],
    [1, 3],
    [4, 6],
    [5, 7],
    [0, 4],
    [1, 5],
    [2, 6],
    [3, 7],
];

/// The corners of each face, counter-clockwise seen from outside the cell.
const FACES: [[usize; 4]; 6] = [[0, 4, 6, 2], [1, 3, 7, 5], [0, 1, 5, 4], [2, 6, 7, 3], [0, 2, 3, 1], [4, 5, 7, 6]];

/// For each of 256 sets of inside corners (bit `c` for corner `c`), triangles as triples of edges,
/// counter-clockwise seen from outside the surface.
pub static TRIANGLES: LazyLock<Vec<Vec<[usize; 3]>>> = LazyLock::new(|| (0..256).map(triangles_of).collect());

fn edge_between(a: usize, b: usize) -> usize {
    EDGES.iter().position(|e| *e == [a.min(b), a.max(b)]).expect("neighbouring corners of a face share an edge")
}

fn triangles_of(inside: usize) -> Vec<[usize; 3]> {
    let is_in = |c: usize| inside >> c & 1 == 1;
    // On every face the surface runs from the edge where the border enters the inside to the edge
    // where it leaves it again.
    let mut next: [Option<usize>; 12] = [None; 12];
    for face in FACES {
        for i in 0..4 {
            let (a, b) = (face[i], face[(i + 1) % 4]);
            if is_in(a) && !is_in(b) {
                let mut j = i;
                while is_in(face[(j + 3) % 4]) {
                    j = (j + 3) % 4;
                }
                let entered = edge_between(face[(j + 3) % 4], face[j]);
                next[entered] = Some(edge_between(a, b));
            }
        }
    }
    let mut out = Vec::new();
    for start in 0..12 {
        let mut ring = Vec::new();
        let mut edge = start;
        while let Some(following) = next[edge].take() {
            ring.push(edge);
            edge = following;
        }
        if !ring.is_empty() {
            let mut triangles = Vec::new();
            let possible = cut(&ring, &mut triangles);
            assert!(possible, "a ring of marching cubes has a triangulation inside its cell");
            out.extend(triangles);
        }
    }
    out
}

/// Triangulates a ring of edges so that no diagonal lies in a face of the cell, where the next cell
/// could have one too. Returns whether that was possible.
fn cut(ring: &[usize], out: &mut Vec<[usize; 3]>) -> bool {
    if ring.len() == 3 {
        out.push([ring[0], ring[1], ring[2]]);
        return true;
    }
    for i in 0..ring.len() {
        let n = ring.len();
        let (a, b, c) = (ring[(i + n - 1) % n], ring[i], ring[(i + 1) % n]);
        if share_face(a, c) {
            continue;
        }
        let rest: Vec<usize> = (0..n).filter(|k| *k != i).map(|k| ring[k]).collect();
        let length = out.len();
        out.push([a, b, c]);
        if cut(&rest, out) {
            return true;
        }
        out.truncate(length);
    }
    false
}

fn share_face(a: usize, b: usize) -> bool {
    FACES.iter().any(|face| [a, b].iter().all(|e| EDGES[*e].iter().all(|c| face.contains(c))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simple_cases_have_the_known_number_of_triangles() {
        let count = |inside: usize| TRIANGLES[inside].len();
        assert_eq!((count(0), count(255)), (0, 0));
        assert_eq!(count(1), 1);
        assert_eq!(count(0b11), 2);
        assert_eq!(count(0b1111), 2);
        assert_eq!(count(0b0110_1001), 4);
        assert!(TRIANGLES.iter().all(|t| t.len() <= 6));
    }

    #[test]
    fn each_crossed_edge_is_used_and_no_other() {
        for (inside, triangles) in TRIANGLES.iter().enumerate() {
            for (e, [a, b]) in EDGES.iter().enumerate() {
                let crossed = (inside >> a & 1) != (inside >> b & 1);
                assert_eq!(triangles.iter().flatten().any(|t| *t == e), crossed);
            }
        }
    }
}
