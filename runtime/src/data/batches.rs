//! Batches of rays for training, each a function of the seed and the step alone.

use std::sync::Arc;

use super::camera::Rays;
use super::shuffle::{Shuffle, mix};
use super::{DataError, PosedImages, Split};

/// Which pixels a batch mixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RayMode {
    /// Pixels of one random picture, a new one each step, none twice.
    OneImage,
    /// Pixels of all pictures: each once in a random order, then again in another.
    #[default]
    AllImages,
}

/// At first only the middle of pictures is learnt from: it prevents a field from settling on an empty
/// scene before a white background.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Precrop {
    /// For so many steps.
    pub steps: u64,
    /// The part of width and height that is kept, in `(0, 1]`.
    pub fraction: f64,
}

/// How rays are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct RayOptions {
    /// Which pixels a batch mixes.
    pub mode: RayMode,
    /// Whether the first steps keep to the middle.
    pub precrop: Option<Precrop>,
    /// Of the random order.
    pub seed: u64,
}

/// Rays with the colours seen along them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RayBatch {
    /// Origins, directions, unit directions.
    pub rays: Rays,
    /// `[ray][3]`, the colours of the pixels.
    pub targets: Vec<f32>,
    /// `[ray]`, their opacities: 1 unless the pictures keep their alpha.
    pub alphas: Vec<f32>,
    /// `[ray]`, the frames they are of, as indices into `frames`.
    pub frames: Vec<u32>,
}

/// A source of batches. The batch of a step is always the same, whatever was drawn before: a run
/// that is resumed at step n sees what it would have seen.
#[derive(Clone, Debug)]
pub struct RayBatches {
    scene: Arc<PosedImages>,
    options: RayOptions,
    whole: Windows,
    middle: Option<Windows>,
}

/// A window of each training picture, as one long list of pixels.
#[derive(Clone, Debug)]
struct Windows {
    windows: Vec<Window>,
    /// The position after the last pixel of each window.
    ends: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    frame: usize,
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

impl Windows {
    /// The middle `fraction` of the pictures; 1 is all of them.
    fn new(scene: &PosedImages, fraction: f64) -> Windows {
        let half = |size: usize| (((size / 2) as f64 * fraction) as usize).max(1);
        let windows: Vec<Window> = scene
            .indices(Split::Train)
            .into_iter()
            .map(|frame| {
                let (width, height) = (scene.frames[frame].image.width, scene.frames[frame].image.height);
                if fraction >= 1.0 || width < 2 || height < 2 {
                    return Window { frame, left: 0, top: 0, width, height };
                }
                let (w, h) = (half(width), half(height));
                Window { frame, left: width / 2 - w, top: height / 2 - h, width: 2 * w, height: 2 * h }
            })
            .collect();
        let ends = windows
            .iter()
            .scan(0u64, |sum, w| {
                *sum += (w.width * w.height) as u64;
                Some(*sum)
            })
            .collect();
        Windows { windows, ends }
    }

    fn total(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Frame, column and row of a position in the list.
    fn pixel(&self, position: u64) -> (usize, usize, usize) {
        let i = self.ends.partition_point(|end| *end <= position);
        let window = &self.windows[i];
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        window.pixel((position - start) as usize)
    }
}

impl Window {
    fn pixel(&self, index: usize) -> (usize, usize, usize) {
        (self.frame, self.left + index % self.width, self.top + index / self.width)
    }
}

impl RayBatches {
    /// A source over the training pictures of a scene.
    ///
    /// # Errors
    /// A scene without training pictures, or a fraction outside `(0, 1]`.
    pub fn new(scene: Arc<PosedImages>, options: RayOptions) -> Result<RayBatches, DataError> {
        let whole = Windows::new(&scene, 1.0);
        if whole.total() == 0 {
            return Err(DataError::Options("the scene has no training pixels".into()));
        }
        if let Some(crop) = options.precrop
            && !(crop.fraction > 0.0 && crop.fraction <= 1.0)
        {
            return Err(DataError::Options(format!(
                "a crop to {} of the picture: the fraction lies in (0, 1]",
                crop.fraction
            )));
        }
        let middle = options.precrop.map(|crop| Windows::new(&scene, crop.fraction));
        Ok(RayBatches { scene, options, whole, middle })
    }

    /// The scene drawn from.
    pub fn scene(&self) -> &Arc<PosedImages> {
        &self.scene
    }

    /// How many training pixels there are.
    pub fn pixels(&self) -> u64 {
        self.whole.total()
    }

    /// The batch of a step: `rays` rays.
    pub fn batch(&self, step: u64, rays: usize) -> RayBatch {
        let crop = self.options.precrop.filter(|crop| step < crop.steps);
        let (windows, step) = match (crop, &self.middle) {
            (Some(_), Some(middle)) => (middle, step),
            _ => (&self.whole, step - self.options.precrop.map_or(0, |crop| crop.steps)),
        };
        let seed = mix(self.options.seed ^ if crop.is_some() { 0x5eed } else { 0 });
        let mut out = RayBatch::default();
        for (frame, column, row) in self.pixels_of(windows, seed, step, rays) {
            let shot = &self.scene.frames[frame];
            out.rays.push(&self.scene.ray(&shot.camera, &shot.pose, column, row));
            let [r, g, b, a] = shot.image.pixel(column, row);
            out.targets.extend([r, g, b]);
            out.alphas.push(a);
            out.frames.push(frame as u32);
        }
        out
    }

    fn pixels_of(&self, windows: &Windows, seed: u64, step: u64, rays: usize) -> Vec<(usize, usize, usize)> {
        let rays = rays as u64;
        match self.options.mode {
            RayMode::OneImage => {
                let draw = mix(seed ^ mix(step));
                let window = windows.windows[(draw % windows.windows.len() as u64) as usize];
                let total = (window.width * window.height) as u64;
                // A batch larger than the picture goes round again, in another order.
                let place = |i: u64| Shuffle::new(total, mix(draw ^ (i / total))).at(i % total);
                (0..rays).map(|i| window.pixel(place(i) as usize)).collect()
            }
            RayMode::AllImages => {
                let total = windows.total();
                let start = u128::from(step) * u128::from(rays);
                let place = |i: u128| {
                    let epoch = (i / u128::from(total)) as u64;
                    Shuffle::new(total, mix(seed ^ mix(epoch))).at((i % u128::from(total)) as u64)
                };
                (0..u128::from(rays)).map(|i| windows.pixel(place(start + i))).collect()
            }
        }
    }
}
