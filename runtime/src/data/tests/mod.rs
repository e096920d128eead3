//! Readers and batches against small data sets written here, and against real ones where there are any.

mod batches;
mod colmap;
mod layouts;
mod pictures;
mod real;

use std::path::Path;

use super::*;
use crate::geometry::Pose;
use crate::media::Picture;

/// Writes a picture whose pixel (x, y) has red `x / width` and green `y / height`.
fn picture(path: &Path, width: usize, height: usize, channels: usize) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    Picture::from_fn(width, height, channels, |x, y, c| match c {
        0 => x as f32 / width as f32,
        1 => y as f32 / height as f32,
        2 => 0.25,
        _ => 0.5,
    })
    .save(path)
    .unwrap();
}

/// A pose as JSON text.
fn json(pose: &Pose) -> String {
    let [a, b, c] = pose.0;
    format!("[{a:?}, {b:?}, {c:?}, [0, 0, 0, 1]]")
}

fn error_of(folder: &Path, options: &LoadOptions) -> String {
    load(folder, options).unwrap_err().to_string()
}

fn close(a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len());
    for (x, y) in a.iter().zip(b) {
        assert!((x - y).abs() <= tolerance, "{a:?}\n{b:?}");
    }
}
