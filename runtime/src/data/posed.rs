//! A scene: pictures, their cameras, and how rays are to be taken from them.

use std::f64::consts::TAU;
use std::path::{Path, PathBuf};

use glam::DVec3;
use rayon::prelude::*;

use super::camera::{Distortion, Intrinsics, Ray, Rays, normalised_device_ray};
use super::{DataError, colmap, deepvoxels, llff, transforms};
use crate::geometry::{
    Pose, Similarity, circle_path, focus_point, interpolated_path, load_path, orbit_path, spiral_path,
};
use crate::media::{Background, Picture};

/// What a picture is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Learnt from.
    Train,
    /// Looked at while training.
    Validate,
    /// Held out for the final figures.
    Test,
}

/// The layouts of folders that [`load`] reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `transforms_{train,val,test}.json` with a field of view: NeRF's synthetic scenes.
    Blender,
    /// The same with an intrinsic matrix a frame.
    Linemod,
    /// `transforms.json` with focal lengths: instant-ngp, nerfstudio.
    Transforms,
    /// A sparse reconstruction of COLMAP with its pictures.
    Colmap,
    /// `poses_bounds.npy`: forward-facing captures of LLFF and NeRF.
    Llff,
    /// `train/<shape>/{rgb,pose,intrinsics.txt}`.
    DeepVoxels,
}

/// Where the pixel of column i lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelCentre {
    /// At i: NeRF's own scenes.
    Corner,
    /// At i + ½: instant-ngp, nerfstudio, COLMAP.
    Middle,
}

impl PixelCentre {
    /// 0 or ½.
    pub fn offset(self) -> f64 {
        match self {
            PixelCentre::Corner => 0.0,
            PixelCentre::Middle => 0.5,
        }
    }
}

/// How a folder is read. The default suits every layout.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Found from the folder's files where none is given.
    pub layout: Option<Layout>,
    /// Pictures are shrunk by this factor (area means); 2 halves width and height. At least 1.
    pub downscale: f64,
    /// White by default for pictures with alpha.
    pub background: Option<Background>,
    /// Of validation and test pictures with their own list, every so-many-th is kept.
    pub test_skip: usize,
    /// Without lists, every so-many-th picture by name is held out, starting with the first; 0 for none.
    pub hold_out: usize,
    /// Depth at which rays start. Given together with `far`, poses of `transforms.json` are left in the
    /// file's own coordinates.
    pub near: Option<f32>,
    /// Depth at which rays end.
    pub far: Option<f32>,
    /// LLFF: normalised device coordinates; by default unless spherified.
    pub ndc: Option<bool>,
    /// LLFF: the capture goes round its subject.
    pub spherify: bool,
    /// LLFF: the nearest point is put at one over this.
    pub bounds_factor: f64,
    /// LLFF: put the mean camera at the origin.
    pub recentre: bool,
    /// DeepVoxels: the sub-folder, needed where there are several.
    pub shape: Option<String>,
}

impl Default for LoadOptions {
    fn default() -> LoadOptions {
        LoadOptions {
            layout: None,
            downscale: 1.0,
            background: None,
            test_skip: 1,
            hold_out: 8,
            near: None,
            far: None,
            ndc: None,
            spherify: false,
            bounds_factor: 0.75,
            recentre: true,
            shape: None,
        }
    }
}

/// A picture kept in 16 bits a channel: exact for pictures of 8 and 16 bits, half the size of `f32`.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredPicture {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// 3, or 4 with straight alpha.
    pub channels: usize,
    values: Vec<u16>,
}

impl StoredPicture {
    fn new(picture: &Picture) -> StoredPicture {
        let values = picture.values.iter().map(|v| (v.clamp(0.0, 1.0) * 65535.0).round() as u16).collect();
        let (width, height, channels) = (picture.width, picture.height, picture.channels);
        StoredPicture { width, height, channels, values }
    }

    /// The channels of the pixel at column `x`, row `y`, in `[0, 1]`; without alpha the fourth is 1.
    ///
    /// # Panics
    /// If `x` or `y` lies outside.
    pub fn pixel(&self, x: usize, y: usize) -> [f32; 4] {
        let start = (y * self.width + x) * self.channels;
        let value = |k: usize| f32::from(self.values[start + k]) / 65535.0;
        [value(0), value(1), value(2), if self.channels == 4 { value(3) } else { 1.0 }]
    }

    /// The picture as numbers in `[0, 1]`.
    pub fn picture(&self) -> Picture {
        let values = self.values.iter().map(|v| f32::from(*v) / 65535.0).collect();
        Picture { width: self.width, height: self.height, channels: self.channels, values }
    }
}

/// One picture with its camera.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The picture's name in the data set.
    pub name: String,
    /// What it is for.
    pub split: Split,
    /// The camera, of the size of `image`.
    pub camera: Intrinsics,
    /// Where the camera stands.
    pub pose: Pose,
    /// The picture, laid over the scene's background.
    pub image: StoredPicture,
}

/// A camera path to render.
#[derive(Clone, Debug, PartialEq)]
pub enum PathKind {
    /// What suits the capture: the layout's own path where it has one, a full turn where the cameras go
    /// round their subject, `Spiral` otherwise.
    Auto,
    /// A full turn about the point that the cameras look at, at their mean height and distance.
    Orbit,
    /// LLFF's spiral about the mean camera for forward-facing scenes; for others a sway to and fro within
    /// the arc of the cameras.
    Spiral,
    /// Through the training cameras in their order.
    Views,
    /// From a file, see [`load_path`]; its own poses, whatever the number asked for.
    File(PathBuf),
}

/// Pictures of one scene with known cameras.
#[derive(Clone, Debug)]
pub struct PosedImages {
    /// Pictures in the order of the data set.
    pub frames: Vec<Frame>,
    /// Depth at which rays start, along −z of the camera (0 in normalised device coordinates).
    pub near: f32,
    /// Depth at which rays end (1 in normalised device coordinates).
    pub far: f32,
    /// Where pixels lie.
    pub pixel_centre: PixelCentre,
    /// What is behind the scene in the pictures; `Keep` where the pictures have none or keep their alpha.
    pub background: Background,
    /// Rays are warped to normalised device coordinates.
    pub ndc: bool,
    /// Where the scene comes from.
    pub layout: Layout,
    /// From the coordinates of the files to those of the poses here.
    pub world: Similarity,
    /// Depths of the nearest and farthest points, where the data set knows them.
    pub depths: Option<(f64, f64)>,
    /// LLFF scene on the unit sphere.
    pub spherified: bool,
}

impl PosedImages {
    /// The frames of a split, as indices into `frames`.
    pub fn indices(&self, split: Split) -> Vec<usize> {
        (0..self.frames.len()).filter(|&i| self.frames[i].split == split).collect()
    }

    /// The ray of a pixel of a camera.
    pub fn ray(&self, camera: &Intrinsics, pose: &Pose, column: usize, row: usize) -> Ray {
        let half = self.pixel_centre.offset();
        let mut ray = Ray::new(pose, camera.direction(column as f64 + half, row as f64 + half));
        if self.ndc {
            let size = (camera.width, camera.height);
            (ray.origin, ray.direction) = normalised_device_ray(size, camera.fx, ray.origin, ray.direction);
        }
        ray
    }

    /// All rays of a camera, row by row.
    pub fn rays(&self, camera: &Intrinsics, pose: &Pose) -> Rays {
        let rays: Vec<Ray> = (0..camera.width * camera.height)
            .into_par_iter()
            .map(|i| self.ray(camera, pose, i % camera.width, i / camera.width))
            .collect();
        let mut out = Rays::default();
        rays.iter().for_each(|ray| out.push(ray));
        out
    }

    /// The camera for rendered views: the first one's, without distortion.
    pub fn render_camera(&self) -> Intrinsics {
        Intrinsics { distortion: Distortion::None, ..self.frames[0].camera }
    }

    /// A path of `count` poses.
    ///
    /// # Errors
    /// A path file that cannot be read.
    pub fn path(&self, kind: &PathKind, count: usize) -> Result<Vec<Pose>, DataError> {
        let train: Vec<Pose> = self.indices(Split::Train).into_iter().map(|i| self.frames[i].pose).collect();
        Ok(match kind {
            PathKind::File(path) => load_path(path)?,
            PathKind::Views => interpolated_path(&train, count),
            PathKind::Orbit => self.orbit(&train, count),
            PathKind::Spiral => self.spiral(&train, count),
            PathKind::Auto => match self.layout {
                Layout::Llff if self.spherified => circle_path(&train, count),
                Layout::Llff => self.spiral(&train, count),
                _ if arc(&train).2 < TAU / 4.0 => self.orbit(&train, count),
                _ => self.spiral(&train, count),
            },
        })
    }

    fn orbit(&self, train: &[Pose], count: usize) -> Vec<Pose> {
        if matches!(self.layout, Layout::Blender | Layout::Linemod) {
            let radius = train.iter().map(|p| p.centre().length()).sum::<f64>() / train.len() as f64;
            return orbit_path(count, -30.0, radius);
        }
        let focus = focus_point(train);
        let n = train.len() as f64;
        let radius = train.iter().map(|p| (p.centre() - focus).length()).sum::<f64>() / n;
        let height = train.iter().map(|p| p.centre().z - focus.z).sum::<f64>() / n;
        let elevation = (height / radius).clamp(-1.0, 1.0).asin().to_degrees();
        let shift = Similarity { shift: focus, ..Similarity::IDENTITY };
        orbit_path(count, -elevation, radius).iter().map(|p| shift.pose(p)).collect()
    }

    fn spiral(&self, train: &[Pose], count: usize) -> Vec<Pose> {
        match self.depths.filter(|_| self.layout == Layout::Llff) {
            Some((close, far)) => spiral_path(train, close * 0.9, far * 5.0, count, (count / 60).max(1)),
            None => sway_path(train, count),
        }
    }
}

/// Azimuths of cameras about what they look at: the arc that holds them all, from its beginning, and
/// the greatest gap between neighbours within a full turn.
fn arc(poses: &[Pose]) -> (f64, f64, f64) {
    let focus = focus_point(poses);
    let offsets = poses.iter().map(|p| p.centre() - focus);
    let mut angles: Vec<f64> = offsets.map(|d| d.y.atan2(d.x)).collect();
    angles.sort_by(f64::total_cmp);
    let Some(first) = angles.first().copied() else {
        return (0.0, 0.0, TAU);
    };
    angles.push(first + TAU);
    let gaps = angles.windows(2).map(|w| (w[1], w[1] - w[0]));
    let (start, gap) = gaps.fold((0.0, 0.0), |best, next| if next.1 > best.1 { next } else { best });
    (start, TAU - gap, gap)
}

/// One slow sway to and fro before the subject: over four fifths of the cameras' arc, up and down by
/// their spread in elevation, at their mean distance.
fn sway_path(poses: &[Pose], count: usize) -> Vec<Pose> {
    let focus = focus_point(poses);
    let up: DVec3 = poses.iter().map(|p| p.column(1)).sum();
    let n = poses.len().max(1) as f64;
    let offsets: Vec<DVec3> = poses.iter().map(|p| p.centre() - focus).collect();
    let radius = offsets.iter().map(|d| d.length()).sum::<f64>() / n;
    let elevations: Vec<f64> = offsets.iter().map(|d| d.z.atan2(d.truncate().length())).collect();
    let mean = elevations.iter().sum::<f64>() / n;
    let spread = (elevations.iter().map(|e| (e - mean).powi(2)).sum::<f64>() / n).sqrt();
    let (start, length, _) = arc(poses);
    (0..count)
        .map(|i| {
            let (sin, cos) = (TAU * i as f64 / count as f64).sin_cos();
            let azimuth = start + length * (0.5 + 0.4 * sin);
            let elevation = mean + spread * cos;
            let away = DVec3::new(elevation.cos() * azimuth.cos(), elevation.cos() * azimuth.sin(), elevation.sin());
            Pose::look_at(focus + radius * away, focus, up)
        })
        .collect()
}

/// Reads a folder.
///
/// # Errors
/// A folder of no known layout (with what was looked for), options that contradict each other, and
/// any file that is missing, damaged or says what cannot be, by name.
pub fn load(folder: &Path, options: &LoadOptions) -> Result<PosedImages, DataError> {
    if !(options.downscale >= 1.0 && options.downscale.is_finite()) {
        return Err(DataError::Options(format!(
            "a down-scale of {}: pictures are shrunk by a factor of at least 1",
            options.downscale
        )));
    }
    let layout = match options.layout {
        Some(layout) => layout,
        None => detect(folder)?,
    };
    let mut scene = match layout {
        Layout::Blender | Layout::Linemod | Layout::Transforms => transforms::load(folder, options)?,
        Layout::Colmap => colmap::load(folder, options)?,
        Layout::Llff => llff::load(folder, options)?,
        Layout::DeepVoxels => deepvoxels::load(folder, options)?,
    };
    if !scene.ndc {
        scene.near = options.near.unwrap_or(scene.near);
        scene.far = options.far.unwrap_or(scene.far);
    }
    if !(scene.near >= 0.0 && scene.far > scene.near) {
        return Err(DataError::Options(format!(
            "rays from near = {} to far = {}: near must not be negative and far must be farther",
            scene.near, scene.far
        )));
    }
    if scene.indices(Split::Train).is_empty() {
        return Err(DataError::format(folder, "the data set has no pictures to train on"));
    }
    Ok(scene)
}

fn detect(folder: &Path) -> Result<Layout, DataError> {
    std::fs::read_dir(folder).map_err(DataError::io(folder))?;
    if folder.join("poses_bounds.npy").is_file() {
        return Ok(Layout::Llff);
    }
    if ["transforms_train.json", "transforms.json"].iter().any(|f| folder.join(f).is_file()) {
        return Ok(Layout::Transforms);
    }
    if colmap::find_model(folder).is_some() {
        return Ok(Layout::Colmap);
    }
    if folder.join("train").is_dir() {
        return Ok(Layout::DeepVoxels);
    }
    let looked_for = "  poses_bounds.npy                        LLFF\n  \
                      transforms_train.json                   Blender, LINEMOD, nerfstudio\n  \
                      transforms.json                         instant-ngp, nerfstudio\n  \
                      [colmap/]sparse[/0]/cameras.{bin,txt}   COLMAP\n  \
                      train/<shape>/intrinsics.txt            DeepVoxels";
    Err(DataError::Layout { folder: folder.to_path_buf(), looked_for: looked_for.into() })
}

/// A picture that is still to be read.
pub(super) struct Shot {
    pub name: String,
    pub file: PathBuf,
    pub split: Split,
    pub pose: Pose,
    pub lens: Lens,
}

/// What a data set says of a camera.
pub(super) enum Lens {
    /// A camera, in pixels of a picture of its own size; the picture may have been resized since.
    Camera(Intrinsics),
    /// A horizontal field of view in radians; the size is the picture's.
    Angle(f64),
    /// Everything but the size, in pixels of the picture; by default the principal point is its middle.
    Unsized { focal: [f64; 2], principal: [Option<f64>; 2], distortion: Distortion },
}

/// Reads, shrinks and lays over the background, in parallel. Returns the background used.
pub(super) fn read_shots(
    shots: Vec<Shot>,
    downscale: f64,
    options: &LoadOptions,
) -> Result<(Vec<Frame>, Background, bool), DataError> {
    let background = options.background.unwrap_or(Background::White);
    let read: Result<Vec<(Frame, bool)>, DataError> = shots
        .into_par_iter()
        .map(|shot| {
            let size = match &shot.lens {
                Lens::Camera(camera) => Some((camera.width, camera.height)),
                _ => None,
            };
            let picture = Picture::load_for_camera(&shot.file, size)?;
            let camera = camera_of(&shot, &picture)?;
            let shrunk = |size: usize| ((size as f64 / downscale) as usize).max(1);
            let (width, height) = (shrunk(picture.width), shrunk(picture.height));
            let transparent = picture.channels == 4;
            let picture = picture.resize(width, height).over(background);
            let frame = Frame {
                name: shot.name,
                split: shot.split,
                camera: camera.resized(width, height),
                pose: shot.pose,
                image: StoredPicture::new(&picture),
            };
            Ok((frame, transparent))
        })
        .collect();
    let read = read?;
    let transparent = read.iter().any(|(_, t)| *t);
    let used = if transparent { background } else { Background::Keep };
    Ok((read.into_iter().map(|(frame, _)| frame).collect(), used, transparent))
}

fn camera_of(shot: &Shot, picture: &Picture) -> Result<Intrinsics, DataError> {
    let (width, height) = (picture.width, picture.height);
    match &shot.lens {
        Lens::Angle(angle) => Ok(Intrinsics::from_angle(width, height, *angle)),
        Lens::Unsized { focal, principal, distortion } => {
            let middle = Intrinsics::from_focal(width, height, focal[0]);
            Ok(Intrinsics {
                fy: focal[1],
                cx: principal[0].unwrap_or(middle.cx),
                cy: principal[1].unwrap_or(middle.cy),
                distortion: *distortion,
                ..middle
            })
        }
        Lens::Camera(camera) => {
            let (sx, sy) = (width as f64 / camera.width as f64, height as f64 / camera.height as f64);
            // A shrunken picture's size is rounded by up to a pixel.
            let rounding = 1.5 / camera.width.min(camera.height) as f64 + 1.5 / width.min(height) as f64;
            if (sx / sy).ln().abs() > rounding {
                return Err(DataError::format(
                    &shot.file,
                    format!(
                        "the picture has {width}x{height} pixels, its camera {}x{}: not the same shape",
                        camera.width, camera.height
                    ),
                ));
            }
            Ok(camera.resized(width, height))
        }
    }
}

/// Splits pictures without lists: of those sorted by name, indices 0, n, 2n … are held out.
pub(super) fn hold_out(shots: &mut [Shot], every: usize) {
    shots.sort_by(|a, b| a.name.cmp(&b.name));
    for (i, shot) in shots.iter_mut().enumerate() {
        let held = every > 0 && i % every == 0;
        shot.split = if held { Split::Test } else { Split::Train };
    }
}
