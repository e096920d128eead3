//! A surface where a sampled field takes a given value: marching cubes.
//!
//! Lorensen and Cline, SIGGRAPH 1987; case table in `tables.rs`.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use rayon::prelude::*;

use super::Mesh;
use super::tables::{EDGES, TRIANGLES};

/// A field sampled at the points of a box, corners included.
#[derive(Clone, Debug)]
pub struct ScalarGrid {
    /// `[x][y][z]`, z fastest.
    pub values: Vec<f32>,
    /// Points along x, y and z; at least 2 each.
    pub size: [usize; 3],
    /// The corner with the smallest coordinates.
    pub low: [f32; 3],
    /// The corner with the largest coordinates.
    pub high: [f32; 3],
}

impl ScalarGrid {
    /// Samples a function, in parallel.
    ///
    /// # Panics
    /// If a size is below 2.
    pub fn sample(
        size: [usize; 3],
        low: [f32; 3],
        high: [f32; 3],
        value: impl Fn([f32; 3]) -> f32 + Sync,
    ) -> ScalarGrid {
        assert!(size.iter().all(|s| *s >= 2), "a grid has at least two points along each axis");
        let mut grid = ScalarGrid { values: Vec::new(), size, low, high };
        grid.values = (0..size.iter().product()).into_par_iter().map(|i| value(grid.point(i))).collect();
        grid
    }

    /// The place of the value at `index`.
    pub fn point(&self, index: usize) -> [f32; 3] {
        let [_, ny, nz] = self.size;
        self.position([index / (ny * nz), index / nz % ny, index % nz].map(|i| i as f32))
    }

    fn position(&self, at: [f32; 3]) -> [f32; 3] {
        [0, 1, 2].map(|k| {
            let t = at[k] / (self.size[k] - 1) as f32;
            self.low[k] + (self.high[k] - self.low[k]) * t
        })
    }

    /// The value at grid coordinates that may lie one step outside, where there is nothing.
    fn value(&self, at: [isize; 3]) -> f32 {
        let inside = (0..3).all(|k| at[k] >= 0 && (at[k] as usize) < self.size[k]);
        if !inside {
            return f32::NEG_INFINITY;
        }
        let [x, y, z] = at.map(|i| i as usize);
        let value = self.values[(x * self.size[1] + y) * self.size[2] + z];
        if value.is_nan() { f32::NEG_INFINITY } else { value }
    }
}

/// The surface that separates values above `level` (inside) from the rest. It is closed and every
/// edge belongs to exactly two triangles: where the inside reaches the border of the grid the
/// surface runs along the border. Triangles are counter-clockwise seen from outside. Without colours.
///
/// # Panics
/// If `values` does not fill the grid.
pub fn isosurface(grid: &ScalarGrid, level: f32) -> Mesh {
    assert_eq!(grid.values.len(), grid.size.iter().product::<usize>(), "the values fill the grid");
    let [nx, ny, nz] = grid.size.map(|s| s as isize);
    // Triangles as names of their corners, by layers of cells in parallel, then numbered in order.
    let layers: Vec<Vec<[u64; 3]>> = (-1..nx).into_par_iter().map(|x| layer(grid, level, x, [ny, nz])).collect();
    let mut numbers: HashMap<u64, u32, BuildHasherDefault<EdgeHasher>> = HashMap::default();
    let mut mesh = Mesh::default();
    for triangle in layers.iter().flatten() {
        let corners = triangle.map(|name| {
            *numbers.entry(name).or_insert_with(|| {
                mesh.positions.push(crossing(grid, level, name));
                mesh.positions.len() as u32 - 1
            })
        });
        mesh.triangles.push(corners);
    }
    mesh.compute_normals();
    mesh
}

/// An edge of the grid: its first point (each coordinate one up, to count from −1) and its axis.
fn name(at: [isize; 3], axis: usize) -> u64 {
    let [x, y, z] = at.map(|i| (i + 1) as u64);
    ((x << 20 | y) << 20 | z) << 2 | axis as u64
}

fn layer(grid: &ScalarGrid, level: f32, x: isize, [ny, nz]: [isize; 2]) -> Vec<[u64; 3]> {
    let mut out = Vec::new();
    for y in -1..ny {
        for z in -1..nz {
            let corner = |c: usize| [x + (c & 1) as isize, y + (c >> 1 & 1) as isize, z + (c >> 2) as isize];
            let inside = (0..8).filter(|&c| grid.value(corner(c)) > level).fold(0, |set, c| set | 1 << c);
            for triangle in &TRIANGLES[inside] {
                out.push(triangle.map(|e| name(corner(EDGES[e][0]), e / 4)));
            }
        }
    }
    out
}

/// Where the level is crossed on an edge, linear between its ends.
fn crossing(grid: &ScalarGrid, level: f32, name: u64) -> [f32; 3] {
    let axis = (name & 3) as usize;
    let part = |shift: u32| (name >> shift & 0xf_ffff) as isize - 1;
    let start = [part(42), part(22), part(2)];
    let mut end = start;
    end[axis] += 1;
    let (a, b) = (grid.value(start), grid.value(end));
    let t = match (a.is_finite(), b.is_finite()) {
        (true, true) => ((level - a) / (b - a)).clamp(0.0, 1.0),
        (true, false) => 0.0,
        _ => 1.0,
    };
    let mut at = start.map(|i| i as f32);
    at[axis] += t;
    grid.position(at)
}

/// Names of edges are distinct numbers: a multiplication spreads them well enough.
#[derive(Default)]
struct EdgeHasher(u64);

impl std::hash::Hasher for EdgeHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.write_u64(u64::from(*b)));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every directed edge occurs once, and so does its opposite.
    fn check_closed(mesh: &Mesh) {
        let mut edges: HashMap<(u32, u32), u32> = HashMap::new();
        for t in &mesh.triangles {
            for i in 0..3 {
                *edges.entry((t[i], t[(i + 1) % 3])).or_default() += 1;
            }
        }
        for ((a, b), count) in &edges {
            assert_eq!((*count, edges.get(&(*b, *a))), (1, Some(&1)));
        }
    }

    fn volume(mesh: &Mesh) -> f32 {
        let p = |i: u32| glam::Vec3::from(mesh.positions[i as usize]);
        mesh.triangles.iter().map(|t| p(t[0]).dot(p(t[1]).cross(p(t[2]))) / 6.0).sum()
    }

    #[test]
    fn a_sphere_is_closed_and_has_its_volume() {
        let grid = ScalarGrid::sample([40, 44, 48], [-1.2; 3], [1.2; 3], |p| 1.0 - glam::Vec3::from(p).length());
        let mesh = isosurface(&grid, 0.0);
        check_closed(&mesh);
        let exact = 4.0 / 3.0 * std::f32::consts::PI;
        assert!((volume(&mesh) / exact - 1.0).abs() < 0.01, "{}", volume(&mesh));
        // Euler's number of a sphere.
        let (v, f) = (mesh.positions.len() as i64, mesh.triangles.len() as i64);
        assert_eq!(v - f / 2, 2);
        for (p, n) in mesh.positions.iter().zip(&mesh.normals) {
            assert!(glam::Vec3::from(*p).normalize().dot(glam::Vec3::from(*n)) > 0.98);
        }
    }

    #[test]
    fn noise_is_closed_too() {
        let mut state = 1u64;
        let values: Vec<f32> = (0..12 * 11 * 13)
            .map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 40) as f32 / (1u64 << 24) as f32
            })
            .collect();
        let mut grid = ScalarGrid { values, size: [12, 11, 13], low: [0.0; 3], high: [1.0; 3] };
        for level in [0.2, 0.5, 0.8] {
            check_closed(&isosurface(&grid, level));
        }
        grid.values[500] = f32::NAN;
        grid.values[600] = f32::INFINITY;
        check_closed(&isosurface(&grid, 0.5));
    }

    #[test]
    fn a_full_box_is_closed_along_its_border() {
        let grid = ScalarGrid::sample([3, 4, 5], [0.0, -1.0, 2.0], [1.0, 1.0, 5.0], |_| 1.0);
        let mesh = isosurface(&grid, 0.0);
        check_closed(&mesh);
        assert!((volume(&mesh) - 6.0).abs() < 1e-4, "{}", volume(&mesh));
        assert!(isosurface(&grid, 2.0).triangles.is_empty());
    }
}
