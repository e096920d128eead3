//! Data sources: what a spec's `data` section names, and the batches that training draws from it.
//!
//! `PosedImages(…)` is a scene photographed from known places. Its options, all of them optional:
//!
//! | option | meaning |
//! |---|---|
//! | `folder` | the data set, unless `--data` gives one |
//! | `default` | the source to use when there is no data set: `GeneratedHead(…)` |
//! | `layout` | `"blender"`, `"linemod"`, `"transforms"`, `"colmap"`, `"llff"` or `"deepvoxels"`; found from the files unless given |
//! | `downscale` | shrink pictures by this factor |
//! | `background` | `"white"`, `"black"` or `"keep"` behind pictures with alpha |
//! | `test_skip`, `hold_out` | which pictures are held out: every n-th |
//! | `near`, `far` | depths between which rays run |
//! | `ndc`, `spherify`, `bounds_factor`, `recentre` | LLFF captures |
//! | `shape` | the object of a DeepVoxels folder |
//! | `rays` | `"all images"` (each pixel once, shuffled) or `"one image"` (a random picture each step) |
//! | `precrop_steps`, `precrop_fraction` | learn from the middle of pictures at first |
//!
//! A batch's inputs take the fields `origin`, `direction` and `view` (`[ray, 3]`; the view direction is
//! of unit length), `colour` (`[ray, 3]`), `opacity` (`[ray]`), `near` and `far` (scalars).
//!
//! `GeneratedHead(…)` is a head in the project's own code, rendered into a folder of the Blender
//! layout: options `resolution` (pixels), `train`, `val`, `test` (numbers of views), `seed`.

use crate::{
    buffer::Buffer,
    data::{DataError, Layout, LoadOptions, PosedImages, Precrop, RayBatches, RayMode, RayOptions, Rays, load},
    media::Background,
    options::{OptionError, Options},
    scene::{self, HeadOptions},
};
use indexmap::IndexMap;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};
use thiserror::Error;
use visage_compiler::{
    axis::Shape,
    graph::{DType, Type},
    system::{Call, System, TrainStep},
};

/// The fields of a batch of rays.
pub const FIELDS: [&str; 7] = ["origin", "direction", "view", "colour", "opacity", "near", "far"];

/// Why a data source cannot be used.
#[derive(Debug, Error, miette::Diagnostic)]
pub enum SourceError {
    /// An option is wrong.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Option(#[from] OptionError),
    /// The data set cannot be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Data(#[from] DataError),
    /// There is no data.
    #[error("there is no data for `{0}`")]
    #[diagnostic(help("give the folder of a data set with `--data DIR`"))]
    NoData(String),
    /// Nothing of this name exists.
    #[error("{0}")]
    Unknown(String),
}

/// The data sources of a system, opened.
#[derive(Clone, Debug)]
pub struct Sources {
    scenes: IndexMap<String, Scene>,
}

/// A scene, and how rays are drawn from it.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Its pictures with their cameras.
    pub images: Arc<PosedImages>,
    /// Where it was read from.
    pub folder: PathBuf,
    batches: RayBatches,
}

impl Sources {
    /// Opens every source of a system. `folders` holds the folders given on the command line, by source
    /// (or under an empty name, for the only source); `generated` is where generated data sets go.
    ///
    /// # Errors
    /// A source is of an unknown kind, an option is wrong, or a data set is missing or damaged.
    pub fn open(
        system: &System,
        folders: &BTreeMap<String, PathBuf>,
        generated: &Path,
        seed: u64,
    ) -> Result<Sources, SourceError> {
        for name in folders.keys().filter(|name| !name.is_empty()) {
            if !system.data.contains_key(name) {
                let known: Vec<&str> = system.data.keys().map(String::as_str).collect();
                let help = crate::names::suggestion(name, known);
                return Err(SourceError::Unknown(format!("the spec has no data source `{name}`: {help}")));
            }
        }
        let scenes = system.data.iter().map(|(name, call)| {
            let folder = folders.get(name).or_else(|| folders.get(""));
            Ok((name.clone(), Scene::open(name, call, folder.map(PathBuf::as_path), generated, seed)?))
        });
        Ok(Sources { scenes: scenes.collect::<Result<_, SourceError>>()? })
    }

    /// The scene called `name`, or the first one.
    ///
    /// # Errors
    /// There is none.
    pub fn scene(&self, name: Option<&str>) -> Result<&Scene, SourceError> {
        let scene = match name {
            Some(name) => self.scenes.get(name),
            None => self.scenes.values().next(),
        };
        scene.ok_or_else(|| {
            SourceError::Unknown(match name {
                Some(name) => format!("the spec has no data source `{name}`"),
                None => "the spec names no data".into(),
            })
        })
    }

    /// The scenes by name.
    pub fn scenes(&self) -> impl Iterator<Item = (&str, &Scene)> {
        self.scenes.iter().map(|(name, scene)| (name.as_str(), scene))
    }

    /// Checks that every input of a step's loss can be had, and plans how.
    ///
    /// # Errors
    /// A source or a field does not exist, or an input has other axes than its field.
    pub fn feed(&self, step: &TrainStep, inputs: &IndexMap<String, Type>) -> Result<Feed, SourceError> {
        let mut fields = Vec::new();
        for (input, ty) in inputs {
            let Some(place) = step.batch.get(input) else { continue };
            let (source, field) = place.split_once('.').unwrap_or((place, ""));
            let scene = self.scene(Some(source))?;
            let Some(field) = FIELDS.iter().copied().find(|known| *known == field) else {
                let help = crate::names::suggestion(field, FIELDS);
                return Err(SourceError::Unknown(format!("`{source}` has no field `{field}`: {help}")));
            };
            let sizes: Vec<usize> = ty.shape.iter().map(|(_, size)| size).collect();
            let fits = match (width(field), sizes.as_slice()) {
                (0, []) => true,
                (1, [_]) => true,
                (width, [_, size]) => width == *size,
                _ => false,
            };
            if ty.dtype != DType::F32 || !fits {
                let message = format!("the input `{input}` is {ty}, and `{place}` is {}", describe(field));
                return Err(SourceError::Unknown(message));
            }
            fields.push(Field { input: input.clone(), shape: ty.shape.clone(), field, scene: scene.clone() });
        }
        Ok(Feed { fields })
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

/// Where the inputs of one loss come from.
#[derive(Clone, Debug)]
pub struct Feed {
    fields: Vec<Field>,
}

#[derive(Clone, Debug)]
struct Field {
    input: String,
    shape: Shape,
    field: &'static str,
    scene: Scene,
}

impl Feed {
    /// The batch of a number, which alone (with the seed) decides what is in it.
    pub fn batch(&self, number: u64) -> IndexMap<String, Buffer> {
        let rays = self.rays();
        let mut drawn: Vec<(&Arc<PosedImages>, crate::data::RayBatch)> = Vec::new();
        let mut inputs = IndexMap::new();
        for Field { input, shape, field, scene } in &self.fields {
            let images = &scene.images;
            if width(field) > 0 && !drawn.iter().any(|(scene, _)| Arc::ptr_eq(scene, images)) {
                drawn.push((images, scene.batches.batch(number, rays)));
            }
            let batch = drawn.iter().find(|(scene, _)| Arc::ptr_eq(scene, images)).map(|(_, batch)| batch);
            let buffer = match (*field, batch) {
                ("colour", Some(batch)) => Buffer::from_f32(shape.clone(), &batch.targets),
                ("opacity", Some(batch)) => Buffer::from_f32(shape.clone(), &batch.alphas),
                (field, batch) => {
                    let rays = batch.map_or(&Rays::default(), |batch| &batch.rays).clone();
                    ray_field(field, &rays, images, shape)
                }
            };
            inputs.insert(input.clone(), buffer);
        }
        inputs
    }

    /// How many rays a batch has; 0 where it has none.
    pub fn rays(&self) -> usize {
        self.fields.iter().filter(|field| width(field.field) > 0).map(|field| leading(&field.shape)).max().unwrap_or(0)
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

impl Scene {
    fn open(name: &str, call: &Call, folder: Option<&Path>, generated: &Path, seed: u64) -> Result<Scene, SourceError> {
        if call.kind != "PosedImages" {
            let help = crate::names::suggestion(&call.kind, ["PosedImages"]);
            return Err(SourceError::Unknown(format!(
                "data source `{name}`: there is no kind `{}`: {help}",
                call.kind
            )));
        }
        let mut options = Options::new(call, &BTreeMap::new());
        let own_folder = options.path("folder")?;
        let default = options.call("default")?;
        let load_options = load_options(&mut options)?;
        let ray_options = ray_options(&mut options, seed)?;
        options.finish()?;
        let folder = match (folder, own_folder, default) {
            (Some(folder), ..) => folder.to_owned(),
            (None, Some(folder), _) => folder,
            (None, None, Some(default)) => generate(name, &default, generated)?,
            (None, None, None) => return Err(SourceError::NoData(name.to_owned())),
        };
        let images = Arc::new(load(&folder, &load_options)?);
        let batches = RayBatches::new(images.clone(), ray_options)?;
        Ok(Scene { images, folder, batches })
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

/// The folder of a generated data set, written unless it is there already.
fn generate(name: &str, call: &Call, parent: &Path) -> Result<PathBuf, SourceError> {
    if call.kind != "GeneratedHead" {
        let help = crate::names::suggestion(&call.kind, ["GeneratedHead"]);
        return Err(SourceError::Unknown(format!("data source `{name}`: there is no kind `{}`: {help}", call.kind)));
    }
    let mut options = Options::new(call, &BTreeMap::new());
    let standard = HeadOptions::default();
    let head = HeadOptions {
        resolution: options.count("resolution", 8)?.unwrap_or(standard.resolution),
        train: options.count("train", 1)?.unwrap_or(standard.train),
        val: options.count("val", 0)?.unwrap_or(standard.val),
        test: options.count("test", 0)?.unwrap_or(standard.test),
        seed: options.count("seed", 0)?.unwrap_or(standard.seed as usize) as u64,
    };
    options.finish()?;
    let folder =
        parent.join(format!("head-{}-{}-{}-{}-{}", head.resolution, head.train, head.val, head.test, head.seed));
    generate_head(&folder, &head)?;
    Ok(folder)
}

/// Writes the generated head into `folder`, unless it is there already. The folder appears whole or not at all.
///
/// # Errors
/// The folder cannot be written.
pub fn generate_head(folder: &Path, options: &HeadOptions) -> Result<(), DataError> {
    if folder.join("transforms_train.json").is_file() {
        return Ok(());
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(DataError::io(parent))?;
    let partial = tempfile::Builder::new().prefix(".head").tempdir_in(parent).map_err(DataError::io(parent))?;
    tracing::info!("generating {} views of a head in {}", options.train + options.val + options.test, folder.display());
    scene::generate_head(partial.path(), options)?;
    let partial = partial.keep();
    match std::fs::rename(&partial, folder) {
        Ok(()) => Ok(()),
        // Another process was faster.
        Err(_) if folder.join("transforms_train.json").is_file() => {
            std::fs::remove_dir_all(&partial).map_err(DataError::io(&partial))
        }
        Err(error) => Err(DataError::io(folder)(error)),
    }
}
