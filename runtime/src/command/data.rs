//! `visage data`: data sets and checkpoints as files.

mod batch;

use super::{
    failure::{Because, Code, Diagnosed, Failure, Outcome},
    print,
    table::{Table, bytes, grouped},
};
use crate::{
    array::Array,
    checkpoint::Checkpoint,
    data::{DataError, Distortion, Frame, LoadOptions, PosedImages, Split, load},
    media::Background,
    scene::{HeadOptions, HeadsOptions},
    sources::{generate_head, generate_heads},
};
use clap::{Args, Subcommand};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Make, inspect, convert and fetch data sets and checkpoints.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  visage data generate head scenes/head                 the scene that comes with visage
  visage data generate heads portraits                  faces that come with visage
  visage data batch portraits.ron faces                 what training sees of a folder of pictures
  visage data inspect scenes/fox                        layout, views, depths
  visage data inspect model.pth                         names and shapes
  visage data convert model.pth model.safetensors       official weights, safely
  visage data convert captures/garden scenes/garden     any layout as transforms_*.json
  visage data fetch ~/Downloads/lego.zip scenes/lego    from an archive or a folder, checked")]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a data set
    Generate(Generate),
    /// See a batch of pictures as training does, with each degradation
    Batch(batch::Arguments),
    /// Say what is in a data set or a checkpoint
    Inspect(Inspect),
    /// Convert a checkpoint to .safetensors, or a data set to transforms_*.json
    Convert(Convert),
    /// Copy a data set from a local folder or .zip archive, and check it
    Fetch(Fetch),
}

#[derive(Debug, Args)]
struct Generate {
    /// What to make
    #[arg(value_enum)]
    what: Generated,
    /// Where to
    folder: PathBuf,
    /// Width and height of pictures
    #[arg(long, default_value_t = HeadOptions::default().resolution)]
    resolution: usize,
    /// How many heads, of `heads`
    #[arg(long, default_value_t = HeadsOptions::default().count)]
    count: usize,
    /// Views to learn from, of `head`
    #[arg(long, default_value_t = HeadOptions::default().train)]
    train: usize,
    /// Views to look at while training, of `head`
    #[arg(long, default_value_t = HeadOptions::default().val)]
    val: usize,
    /// Views held out, of `head`
    #[arg(long, default_value_t = HeadOptions::default().test)]
    test: usize,
    /// Where cameras stand, and how heads differ
    #[arg(long, default_value_t = HeadOptions::default().seed)]
    seed: u64,
    /// Standard deviation of the camera's pitch, in radians, of `heads`; they are upright then
    #[arg(long, value_name = "X")]
    pitch: Option<f64>,
    /// Standard deviation of the camera's yaw, in radians, of `heads`; they are upright then
    #[arg(long, value_name = "X")]
    yaw: Option<f64>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Generated {
    /// A head, seen from all sides
    Head,
    /// Portraits of different heads
    Heads,
}

#[derive(Debug, Args)]
struct Inspect {
    /// A data set's folder, or a checkpoint
    path: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Convert {
    /// A checkpoint (.pth, .npz, …) or a data set's folder
    from: PathBuf,
    /// A .safetensors file, or a new folder
    to: PathBuf,
    /// Shrink pictures by this factor
    #[arg(long, default_value_t = 1.0)]
    downscale: f64,
}

#[derive(Debug, Args)]
struct Fetch {
    /// A folder or a .zip archive
    from: PathBuf,
    /// A new folder
    to: PathBuf,
}

/// Runs the command.
pub fn data(arguments: &Arguments) -> Outcome {
    match &arguments.action {
        Action::Generate(generate) => {
            let Generate { what, ref folder, resolution, count, train, val, test, seed, pitch, yaw } = *generate;
            match what {
                Generated::Head => {
                    generate_head(folder, &HeadOptions { resolution, train, val, test, seed }).diagnosed()?;
                    inspect_folder(folder, false)
                }
                Generated::Heads => {
                    let given = pitch.is_some() || yaw.is_some();
                    let deviations = given.then(|| [pitch, yaw].map(Option::unwrap_or_default));
                    generate_heads(folder, &HeadsOptions { resolution, count, seed, deviations }).diagnosed()?;
                    print(&format!("{count} portraits in {}\n", folder.display()));
                    Ok(())
                }
            }
        }
        Action::Batch(arguments) => batch::batch(arguments),
        Action::Inspect(inspect) if inspect.path.is_dir() => inspect_folder(&inspect.path, inspect.json),
        Action::Inspect(inspect) => inspect_checkpoint(&inspect.path, inspect.json),
        Action::Convert(convert) if convert.from.is_dir() => convert_folder(convert),
        Action::Convert(convert) => convert_checkpoint(&convert.from, &convert.to),
        Action::Fetch(arguments) => fetch(&arguments.from, &arguments.to),
    }
}

fn inspect_folder(folder: &Path, json: bool) -> Outcome {
    let scene = load(folder, &LoadOptions::default()).diagnosed()?;
    let count = |split| scene.indices(split).len();
    let splits = [("train", count(Split::Train)), ("validate", count(Split::Validate)), ("test", count(Split::Test))];
    let camera = &scene.frames[0].camera;
    if json {
        let value = json!({
            "layout": format!("{:?}", scene.layout),
            "views": splits.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
            "width": camera.width,
            "height": camera.height,
            "focal": [camera.fx, camera.fy],
            "near": scene.near,
            "far": scene.far,
            "ndc": scene.ndc,
        });
        print(&format!("{value:#}\n"));
        return Ok(());
    }
    let mut table = Table::new(&["", ""]);
    table.row(["layout".into(), format!("{:?}", scene.layout)]);
    for (name, count) in splits {
        table.row([format!("views to {name}"), count.to_string()]);
    }
    table.row(["pictures".into(), format!("{} x {} pixels", camera.width, camera.height)]);
    table.row(["focal length".into(), format!("{:.1}, {:.1} pixels", camera.fx, camera.fy)]);
    table.row(["lens".into(), lens(&camera.distortion).into()]);
    let kind = if scene.ndc { " in normalised device coordinates" } else { "" };
    table.row(["depths".into(), format!("{} to {}{kind}", scene.near, scene.far)]);
    print(&table.to_string());
    Ok(())
}

fn lens(distortion: &Distortion) -> &'static str {
    match distortion {
        Distortion::None => "pinhole",
        Distortion::Radial { .. } => "radial and tangential distortion",
        Distortion::Fisheye { .. } => "fisheye",
    }
}

fn inspect_checkpoint(path: &Path, json: bool) -> Outcome {
    let checkpoint = Checkpoint::read(path).usage()?;
    if json {
        let tensors: serde_json::Map<_, _> = checkpoint
            .tensors
            .iter()
            .map(|(name, array)| {
                (name.clone(), json!({ "type": array.element_type().to_string(), "shape": array.shape() }))
            })
            .collect();
        print(&format!("{:#}\n", json!({ "tensors": tensors, "metadata": checkpoint.metadata })));
        return Ok(());
    }
    let mut table = Table::new(&["tensor", "type", "shape", ">elements"]);
    let mut total = 0;
    for (name, array) in &checkpoint.tensors {
        total += array.bytes().len() as u64;
        let (element, shape) = (array.element_type().to_string(), format!("{:?}", array.shape()));
        table.row([name.clone(), element, shape, grouped(array.len() as u64)]);
    }
    print(&format!("{table}\n{} tensors, {}\n", checkpoint.tensors.len(), bytes(total)));
    Ok(())
}

fn convert_checkpoint(from: &Path, to: &Path) -> Outcome {
    if to.extension().is_none_or(|extension| extension != "safetensors") {
        return Err(Failure::usage(format!("{}: checkpoints are written as .safetensors", to.display())));
    }
    let checkpoint = Checkpoint::read(from).usage()?;
    checkpoint.write_safetensors(to).failed()?;
    let total: usize = checkpoint.tensors.values().map(Array::len).sum();
    print(&format!("{} tensors, {} elements in {}\n", checkpoint.tensors.len(), grouped(total as u64), to.display()));
    Ok(())
}

/// Fails where `to` holds anything: nothing is overwritten.
fn fresh(to: &Path) -> Outcome {
    let taken = fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_some());
    if taken {
        return Err(Failure::with_help(Code::Usage, format!("{} is not empty", to.display()), "choose a new folder"));
    }
    fs::create_dir_all(to).map_err(DataError::io(to)).diagnosed()
}

/// Writes any data set as `transforms_*.json` with intrinsics a frame.
fn convert_folder(Convert { from, to, downscale }: &Convert) -> Outcome {
    let scene = load(
        from,
        &LoadOptions { downscale: *downscale, background: Some(Background::Keep), ..LoadOptions::default() },
    );
    let scene = scene.diagnosed()?;
    fresh(to)?;
    for (split, name) in [(Split::Train, "train"), (Split::Validate, "val"), (Split::Test, "test")] {
        let pictures = to.join(name);
        fs::create_dir_all(&pictures).map_err(DataError::io(&pictures))?;
        let mut frames = Vec::new();
        for (number, index) in scene.indices(split).into_iter().enumerate() {
            let file = format!("{name}/{number:04}");
            scene.frames[index].image.picture().save(&to.join(&file).with_extension("png"))?;
            frames.push(frame_json(&scene, &scene.frames[index], &file)?);
        }
        let path = to.join(format!("transforms_{name}.json"));
        fs::write(&path, format!("{:#}\n", json!({ "frames": frames }))).map_err(DataError::io(&path))?;
    }
    inspect_folder(to, false)
}

fn frame_json(scene: &PosedImages, frame: &Frame, file: &str) -> Outcome<serde_json::Value> {
    let camera = &frame.camera;
    // Pixels of this layout lie at their middles.
    let shift = 0.5 - scene.pixel_centre.offset();
    let mut matrix: Vec<Vec<f64>> =
        frame.pose.0.iter().map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect();
    matrix.push(vec![0.0, 0.0, 0.0, 1.0]);
    let mut value = json!({
        "file_path": format!("{file}.png"),
        "transform_matrix": matrix,
        "w": camera.width, "h": camera.height,
        "fl_x": camera.fx, "fl_y": camera.fy,
        "cx": camera.cx + shift, "cy": camera.cy + shift,
    });
    let (model, k, p) = match camera.distortion {
        Distortion::None => return Ok(value),
        Distortion::Radial { k, p } => ("OPENCV", k.to_vec(), p),
        Distortion::Fisheye { k } => ("OPENCV_FISHEYE", k.to_vec(), [0.0; 2]),
    };
    if k.iter().skip(4).any(|k| *k != 0.0) {
        return Err(Failure::usage(format!(
            "{}: transforms.json has no words for so many terms of distortion",
            frame.name
        )));
    }
    value["camera_model"] = model.into();
    for (number, k) in k.iter().take(4).enumerate() {
        value[format!("k{}", number + 1)] = (*k).into();
    }
    (value["p1"], value["p2"]) = (p[0].into(), p[1].into());
    Ok(value)
}

fn fetch(from: &Path, to: &Path) -> Outcome {
    fresh(to)?;
    let copied = if from.is_dir() { copy_folder(from, to) } else { extract(from, to) };
    copied.diagnosed()?;
    // An archive often holds a single folder with everything in it.
    let inside: Vec<PathBuf> =
        fs::read_dir(to).map_err(DataError::io(to))?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let folder = match inside.as_slice() {
        [only] if only.is_dir() => only.as_path(),
        _ => to,
    };
    inspect_folder(folder, false)
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), DataError> {
    fs::create_dir_all(to).map_err(DataError::io(to))?;
    for entry in fs::read_dir(from).map_err(DataError::io(from))? {
        let path = entry.map_err(DataError::io(from))?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_folder(&path, &target)?;
        } else {
            fs::copy(&path, &target).map_err(DataError::io(&path))?;
        }
    }
    Ok(())
}

/// Unpacks an archive; members whose names lead out of the folder are refused.
fn extract(from: &Path, to: &Path) -> Result<(), DataError> {
    let file = fs::File::open(from).map_err(DataError::io(from))?;
    let broken = |error: zip::result::ZipError| DataError::format(from, error.to_string());
    let mut archive = zip::ZipArchive::new(file).map_err(broken)?;
    archive.extract(to).map_err(broken)
}
