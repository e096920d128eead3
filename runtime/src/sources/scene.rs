//! Scenes of posed pictures, as a spec describes them, and the batches of rays drawn from them.

use super::{Place, SourceError, generated};
use crate::{
    buffer::Buffer,
    data::{Layout, LoadOptions, PosedImages, Precrop, RayBatches, RayMode, RayOptions, Rays, load},
    media::Background,
    options::{OptionError, Options},
};
use indexmap::IndexMap;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};
use visage_compiler::{
    axis::Shape,
    graph::{DType, Type},
    system::Call,
};

/// The fields of a batch of rays.
pub const FIELDS: [&str; 7] = ["origin", "direction", "view", "colour", "opacity", "near", "far"];

/// A scene, and how rays are drawn from it.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Its pictures with their cameras.
    pub images: Arc<PosedImages>,
    /// Where it was read from.
    pub folder: PathBuf,
    batches: RayBatches,
}

impl Scene {
    /// Opens the scene that a spec's source describes; `folder` replaces its own, and `generated` is where
    /// generated data sets go.
    ///
    /// # Errors
    /// An option is wrong, or the data set is missing or damaged.
    pub fn open(
        name: &str,
        call: &Call,
        folder: Option<&Path>,
        generated: &Path,
        seed: u64,
    ) -> Result<Scene, SourceError> {
        let mut options = Options::new(call, &BTreeMap::new());
        let place = Place::read(&mut options)?;
        let load_options = load_options(&mut options)?;
        let ray_options = ray_options(&mut options, seed)?;
        options.finish()?;
        let folder = place.folder(name, folder, |default| generated::head(name, default, generated))?;
        let images = Arc::new(load(&folder, &load_options)?);
        let batches = RayBatches::new(images.clone(), ray_options)?;
        Ok(Scene { images, folder, batches })
    }
}

/// The inputs of one loss that come from one scene.
#[derive(Clone, Debug)]
pub struct RayFeed {
    scene: Scene,
    fields: Vec<Field>,
}

#[derive(Clone, Debug)]
struct Field {
    input: String,
    shape: Shape,
    field: &'static str,
}

impl RayFeed {
    /// What feeds no input yet.
    pub fn new(scene: &Scene) -> RayFeed {
        RayFeed { scene: scene.clone(), fields: Vec::new() }
    }

    /// Feeds one more input, of this type, with a field of the source called `source`.
    ///
    /// # Errors
    /// There is no such field, or the input has other axes.
    pub fn add(&mut self, input: &str, ty: &Type, source: &str, field: &str) -> Result<(), SourceError> {
        let Some(field) = FIELDS.iter().copied().find(|known| *known == field) else {
            return Err(SourceError::field(source, field, FIELDS));
        };
        let sizes: Vec<usize> = ty.shape.iter().map(|(_, size)| size).collect();
        let fits = match (width(field), sizes.as_slice()) {
            (0, []) => true,
            (1, [_]) => true,
            (width, [_, size]) => width == *size,
            _ => false,
        };
        if ty.dtype != DType::F32 || !fits {
            let message = format!("the input `{input}` is {ty}, and `{source}.{field}` is {}", describe(field));
            return Err(SourceError::Unknown(message));
        }
        self.fields.push(Field { input: input.to_owned(), shape: ty.shape.clone(), field });
        Ok(())
    }

    /// How many rays a batch has; 0 where it has none.
    pub fn rays(&self) -> usize {
        self.fields.iter().filter(|field| width(field.field) > 0).map(|field| leading(&field.shape)).max().unwrap_or(0)
    }

    /// Puts the fields of the batch of a number among the inputs.
    pub fn batch(&self, number: u64, inputs: &mut IndexMap<String, Buffer>) {
        let rays = self.rays();
        let batch = (rays > 0).then(|| self.scene.batches.batch(number, rays));
        for Field { input, shape, field } in &self.fields {
            let buffer = match (*field, &batch) {
                ("colour", Some(batch)) => Buffer::from_f32(shape.clone(), &batch.targets),
                ("opacity", Some(batch)) => Buffer::from_f32(shape.clone(), &batch.alphas),
                (field, Some(batch)) => ray_field(field, &batch.rays, &self.scene.images, shape),
                (field, None) => ray_field(field, &Rays::default(), &self.scene.images, shape),
            };
            inputs.insert(input.clone(), buffer);
        }
    }
}

/// Numbers a ray has in a field; 0 for what all rays share.
fn width(field: &str) -> usize {
    match field {
        "near" | "far" => 0,
        "opacity" => 1,
        _ => 3,
    }
}

fn describe(field: &str) -> &'static str {
    match width(field) {
        0 => "a scalar",
        1 => "f32[ray]",
        _ => "f32[ray, 3]",
    }
}

fn leading(shape: &Shape) -> usize {
    shape.iter().next().map_or(1, |(_, size)| size)
}

/// One field of given rays as a buffer; fields that only training has are zeros.
pub fn ray_field(field: &str, rays: &Rays, images: &PosedImages, shape: &Shape) -> Buffer {
    let per_ray = |values: &[f32]| Buffer::from_f32(shape.clone(), values);
    match field {
        "origin" => per_ray(&rays.origins),
        "direction" => per_ray(&rays.directions),
        "view" => per_ray(&rays.views),
        "near" => Buffer::filled(Type::new(DType::F32, shape.clone()), f64::from(images.near)),
        "far" => Buffer::filled(Type::new(DType::F32, shape.clone()), f64::from(images.far)),
        _ => Buffer::zeros(Type::new(DType::F32, shape.clone())),
    }
}

fn load_options(options: &mut Options) -> Result<LoadOptions, OptionError> {
    let standard = LoadOptions::default();
    let layouts = [
        ("blender", Layout::Blender),
        ("linemod", Layout::Linemod),
        ("transforms", Layout::Transforms),
        ("colmap", Layout::Colmap),
        ("llff", Layout::Llff),
        ("deepvoxels", Layout::DeepVoxels),
    ];
    let backgrounds = [("white", Background::White), ("black", Background::Black), ("keep", Background::Keep)];
    Ok(LoadOptions {
        layout: options.choice("layout", &layouts)?,
        downscale: options.number("downscale")?.unwrap_or(standard.downscale),
        background: options.choice("background", &backgrounds)?,
        test_skip: options.count("test_skip", 1)?.unwrap_or(standard.test_skip),
        hold_out: options.count("hold_out", 0)?.unwrap_or(standard.hold_out),
        near: options.number("near")?.map(|near| near as f32),
        far: options.number("far")?.map(|far| far as f32),
        ndc: options.switch("ndc")?,
        spherify: options.switch("spherify")?.unwrap_or(standard.spherify),
        bounds_factor: options.number("bounds_factor")?.unwrap_or(standard.bounds_factor),
        recentre: options.switch("recentre")?.unwrap_or(standard.recentre),
        shape: options.text("shape")?,
    })
}

fn ray_options(options: &mut Options, seed: u64) -> Result<RayOptions, OptionError> {
    let modes = [("all images", RayMode::AllImages), ("one image", RayMode::OneImage)];
    let mode = options.choice("rays", &modes)?.unwrap_or_default();
    let steps = options.count("precrop_steps", 0)?.unwrap_or(0);
    let fraction = options.number("precrop_fraction")?.unwrap_or(0.5);
    let precrop = (steps > 0).then_some(Precrop { steps: steps as u64, fraction });
    Ok(RayOptions { mode, precrop, seed })
}
