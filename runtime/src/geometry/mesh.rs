//! Triangle meshes and their files.

use std::io::{BufWriter, Write};
use std::path::Path;

use glam::Vec3;

use crate::data::DataError;

/// Triangles over shared vertices.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mesh {
    /// Vertices `[x, y, z]`.
    pub positions: Vec<[f32; 3]>,
    /// Unit normals, one a vertex, or empty.
    pub normals: Vec<[f32; 3]>,
    /// sRGB bytes, one colour a vertex, or empty.
    pub colours: Vec<[u8; 3]>,
    /// Three vertices each, counter-clockwise seen from outside.
    pub triangles: Vec<[u32; 3]>,
}

impl Mesh {
    /// Sets the normals to the means of the adjoining triangles' normals, weighted by area.
    pub fn compute_normals(&mut self) {
        let mut sums = vec![Vec3::ZERO; self.positions.len()];
        let place = |i: u32| Vec3::from(self.positions[i as usize]);
        for t in &self.triangles {
            let normal = (place(t[1]) - place(t[0])).cross(place(t[2]) - place(t[0]));
            t.iter().for_each(|i| sums[*i as usize] += normal);
        }
        self.normals = sums.into_iter().map(|n| n.normalize_or(Vec3::Z).to_array()).collect();
    }

    /// The area of the surface.
    pub fn area(&self) -> f32 {
        let place = |i: u32| Vec3::from(self.positions[i as usize]);
        self.triangles.iter().map(|t| (place(t[1]) - place(t[0])).cross(place(t[2]) - place(t[0])).length() / 2.0).sum()
    }

    /// Writes `.ply` (binary, little endian) or `.obj`, by the ending of the name.
    ///
    /// # Errors
    /// Another ending, or a file that cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), DataError> {
        match path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase).as_deref() {
            Some("ply") => self.save_with(path, |out| self.write_ply(out)),
            Some("obj") => self.save_with(path, |out| self.write_obj(out)),
            _ => Err(DataError::format(path, "a mesh is written as .ply or .obj; give the name one of these endings")),
        }
    }

    fn save_with(
        &self,
        path: &Path,
        write: impl FnOnce(&mut BufWriter<std::fs::File>) -> std::io::Result<()>,
    ) -> Result<(), DataError> {
        let file = std::fs::File::create(path).map_err(DataError::io(path))?;
        let mut out = BufWriter::new(file);
        write(&mut out).and_then(|()| out.flush()).map_err(DataError::io(path))
    }

    /// Writes binary little-endian PLY.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_ply(&self, out: &mut impl Write) -> std::io::Result<()> {
        let (normals, colours) = (!self.normals.is_empty(), !self.colours.is_empty());
        let mut head = String::from("ply\nformat binary_little_endian 1.0\n");
        head += &format!("element vertex {}\n", self.positions.len());
        let mut floats = |names: &[&str]| {
            names.iter().for_each(|n| head += &format!("property float {n}\n"));
        };
        floats(&["x", "y", "z"]);
        if normals {
            floats(&["nx", "ny", "nz"]);
        }
        if colours {
            ["red", "green", "blue"].iter().for_each(|n| head += &format!("property uchar {n}\n"));
        }
        head += &format!("element face {}\n", self.triangles.len());
        head += "property list uchar int vertex_indices\nend_header\n";
        out.write_all(head.as_bytes())?;
        for (i, position) in self.positions.iter().enumerate() {
            let normal = self.normals.get(i).into_iter().flatten();
            for v in position.iter().chain(normal) {
                out.write_all(&v.to_le_bytes())?;
            }
            if let Some(colour) = self.colours.get(i) {
                out.write_all(colour)?;
            }
        }
        for t in &self.triangles {
            out.write_all(&[3])?;
            for i in t {
                out.write_all(&i.to_le_bytes())?;
            }
        }
        Ok(())
    }

    /// Writes Wavefront OBJ; colours follow the coordinates of a vertex, as most viewers read them.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_obj(&self, out: &mut impl Write) -> std::io::Result<()> {
        for (i, [x, y, z]) in self.positions.iter().enumerate() {
            write!(out, "v {x} {y} {z}")?;
            if let Some(colour) = self.colours.get(i) {
                let [r, g, b] = colour.map(|c| f32::from(c) / 255.0);
                write!(out, " {r:.4} {g:.4} {b:.4}")?;
            }
            writeln!(out)?;
        }
        for [x, y, z] in &self.normals {
            writeln!(out, "vn {x} {y} {z}")?;
        }
        for t in &self.triangles {
            let [a, b, c] = t.map(|i| i + 1);
            if self.normals.is_empty() {
                writeln!(out, "f {a} {b} {c}")?;
            } else {
                writeln!(out, "f {a}//{a} {b}//{b} {c}//{c}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn triangle() -> Mesh {
        let mut mesh = Mesh {
            positions: vec![[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 2.0, 0.0]],
            colours: vec![[255, 0, 0], [0, 255, 0], [0, 0, 255]],
            triangles: vec![[0, 1, 2]],
            ..Mesh::default()
        };
        mesh.compute_normals();
        mesh
    }

    #[test]
    fn normals_and_area() {
        assert_eq!(triangle().normals, [[0.0, 0.0, 1.0]; 3]);
        assert_eq!(triangle().area(), 1.0);
    }

    #[test]
    fn files_hold_what_they_say() {
        let mesh = triangle();
        let mut ply = Vec::new();
        mesh.write_ply(&mut ply).unwrap();
        let end = ply.windows(11).position(|w| w == b"end_header\n").unwrap() + 11;
        assert_eq!(ply.len() - end, 3 * (24 + 3) + 13);
        assert_eq!(f32::from_le_bytes(ply[end + 27..end + 31].try_into().unwrap()), 1.0);
        let mut obj = Vec::new();
        mesh.write_obj(&mut obj).unwrap();
        let obj = String::from_utf8(obj).unwrap();
        assert!(obj.starts_with("v 0 0 0 1.0000 0.0000 0.0000\n"));
        assert!(obj.ends_with("f 1//1 2//2 3//3\n"));
        let error = mesh.save(Path::new("mesh.stl")).unwrap_err().to_string();
        assert!(error.contains(".ply"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.PLY");
        mesh.save(&path).unwrap();
        assert_eq!(std::fs::read(path).unwrap(), ply);
    }
}
