//! DeepVoxels: `train|validation|test/<shape>/{rgb/*.png, pose/*.txt, intrinsics.txt}`.

use std::path::{Path, PathBuf};

use super::DataError;
use super::camera::Intrinsics;
use super::posed::{Layout, Lens, LoadOptions, PixelCentre, PosedImages, Shot, Split, read_shots};
use crate::geometry::{Pose, Similarity};

fn numbers(path: &Path, text: &str) -> Result<Vec<f64>, DataError> {
    text.split_whitespace()
        .map(|w| w.parse().map_err(|_| DataError::format(path, format!("`{w}` is not a number"))))
        .collect()
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut out: Vec<PathBuf> = std::fs::read_dir(folder)
        .map_err(DataError::io(folder))?
        .map(|entry| entry.map(|e| e.path()).map_err(DataError::io(folder)))
        .collect::<Result<_, _>>()?;
    out.sort();
    Ok(out)
}

/// The shape's name: the one asked for or the only one there is.
fn shape(folder: &Path, options: &LoadOptions) -> Result<String, DataError> {
    let train = folder.join("train");
    let shapes: Vec<String> = sorted(&train)?
        .into_iter()
        .filter(|p| p.join("intrinsics.txt").is_file())
        .filter_map(|p| Some(p.file_name()?.to_string_lossy().into_owned()))
        .collect();
    match (&options.shape, shapes.as_slice()) {
        (Some(shape), _) if shapes.contains(shape) => Ok(shape.clone()),
        (None, [only]) => Ok(only.clone()),
        (_, []) => Err(DataError::format(&train, "no sub-folder with an intrinsics.txt")),
        _ => Err(DataError::Options(format!("{} holds the shapes {}: choose one", train.display(), shapes.join(", ")))),
    }
}

/// The camera of a shape, for pictures of the size that its file states.
fn camera(path: &Path) -> Result<Intrinsics, DataError> {
    let text = std::fs::read_to_string(path).map_err(DataError::io(path))?;
    let lines: Vec<&str> = text.lines().collect();
    let [first, .., last] = lines.as_slice() else {
        return Err(DataError::format(path, "five lines are needed: focal length first, size last"));
    };
    let (lens, size) = (numbers(path, first)?, numbers(path, last)?);
    match (lens.first(), size.as_slice()) {
        (Some(focal), [height, width, ..]) if *focal > 0.0 && *height >= 1.0 && *width >= 1.0 => {
            Ok(Intrinsics::from_focal(*width as usize, *height as usize, *focal))
        }
        _ => Err(DataError::format(path, "the first line is `f cx cy …`, the last `height width`")),
    }
}

/// Reads one shape.
pub fn load(folder: &Path, options: &LoadOptions) -> Result<PosedImages, DataError> {
    let shape = shape(folder, options)?;
    let camera = camera(&folder.join("train").join(&shape).join("intrinsics.txt"))?;
    let mut shots = Vec::new();
    for (name, split) in [("train", Split::Train), ("validation", Split::Validate), ("test", Split::Test)] {
        let part = folder.join(name).join(&shape);
        if split != Split::Train && !part.is_dir() {
            continue;
        }
        let (pictures, poses) = (sorted(&part.join("rgb"))?, sorted(&part.join("pose"))?);
        if pictures.len() != poses.len() {
            return Err(DataError::format(
                &part,
                format!("{} pictures in rgb, {} poses in pose", pictures.len(), poses.len()),
            ));
        }
        let skip = if split == Split::Train { 1 } else { options.test_skip.max(1) };
        for (file, path) in pictures.into_iter().zip(poses).step_by(skip) {
            let text = std::fs::read_to_string(&path).map_err(DataError::io(&path))?;
            let values = numbers(&path, &text)?;
            if values.len() != 16 {
                return Err(DataError::format(&path, format!("{} numbers; a pose has 16", values.len())));
            }
            // The file's cameras have y down and look along +z.
            let rows: Vec<Vec<f64>> = values.chunks_exact(4).map(|r| vec![r[0], -r[1], -r[2], r[3]]).collect();
            let pose = Pose::from_matrix(&rows).map_err(|e| DataError::format(&path, e))?;
            let file_name = file.file_name().unwrap_or_default().to_string_lossy();
            shots.push(Shot { name: format!("{name}/{file_name}"), file, split, pose, lens: Lens::Camera(camera) });
        }
    }
    let (frames, background, _) = read_shots(shots, options.downscale, options)?;
    let train = || frames.iter().filter(|f| f.split == Split::Train).map(|f| f.pose.centre().length());
    let radius = train().sum::<f64>() / train().count().max(1) as f64;
    Ok(PosedImages {
        near: (radius - 1.0).max(0.0) as f32,
        far: (radius + 1.0) as f32,
        frames,
        pixel_centre: PixelCentre::Corner,
        background,
        ndc: false,
        layout: Layout::DeepVoxels,
        world: Similarity::IDENTITY,
        depths: None,
        spherified: false,
    })
}
