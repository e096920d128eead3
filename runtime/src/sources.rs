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
//! `Pictures(…)` is a folder of PNG and JPEG files, with those in folders below: of any size, grey, with a
//! palette, with alpha, of 8 or 16 bits. Files that cannot be read are named and left out. Its options, all but
//! `size` optional:
//!
//! | option | meaning |
//! |---|---|
//! | `size` | width and height of every picture, in pixels |
//! | `folder` | the pictures, unless `--data` gives a folder |
//! | `default` | the source to use when there is no folder: `GeneratedHeads(…)` |
//! | `crop` | `"centre"` (the largest square in the middle) or `"none"` (pictures have to be squares) |
//! | `background` | `"white"` or `"black"` behind pictures with alpha |
//! | `hold_out` | every n-th picture by path, the first among them, is not learnt from; 0 for none |
//! | `flip` | whether pictures are mirrored, left for right, half the time |
//! | `poses` | whether every picture has a [label](crate::data::PoseLabel) that says where its camera stood: in a table `poses.csv` or in a file of its own; those without are named and left out |
//! | `degradations` | worse versions of each picture by name, such as `{ "low": Degradation(…) }` |
//!
//! A batch's inputs take the fields `picture` and the name of each degradation (values from 0 to 1; axes
//! `channel` of 3, `y`, `x` and one more of any name, in any order), `index` (the number of the picture among
//! those learnt from, by path) and `flipped` (0 or 1), both `i32` and of one axis; and with `poses`, `pose`: pitch and yaw in
//! radians along an axis `angle` of 2, both π/2 from in front, mirrored with the picture. Every picture comes once before any
//! comes again.
//!
//! `Degradation(…)` makes a picture worse in the order of its options; what is not given is not done:
//!
//! | option | meaning |
//! |---|---|
//! | `blur` | standard deviations of a Gaussian, in pixels, as `[low, high]`: half the time the same in all directions, otherwise two of them, turned |
//! | `taps` | width of the blur's kernel, in pixels, odd; 41 unless given. The border is mirrored |
//! | `shrink` | factors by which width and height are divided, from 1 up; bilinear, nothing averaged |
//! | `noise` | standard deviations of Gaussian noise, of 255 |
//! | `quality` | qualities of JPEG, 1 to 100, with chrominance at half the size; then the picture gets its old size, bilinear |
//! | `shift` | how often every channel is shifted by a number of its own, and by at most how much of 255: `[0.3, 20]` |
//! | `grey` | how often colours become grey |
//! | `jitter` | how often brightness, contrast, saturation and hue change, in random order |
//! | `brightness`, `contrast`, `saturation` | factors, as `[low, high]`; `[0.5, 1.5]`, `[0.5, 1.5]` and `[0, 1.5]` unless given |
//! | `hue` | turns of the hue; `[-0.1, 0.1]` unless given |
//! | `strokes` | how often white brush strokes are laid over, or `true` |
//! | `stroke_width` | their widths in pixels; `[30, 70]` unless given |
//!
//! Ranges are uniform, and lengths are pixels of the size that pictures have here. What comes out are whole
//! numbers of 1/255.
//!
//! `GeneratedHead(…)` is a head in the project's own code, rendered into a folder of the Blender
//! layout: options `resolution` (pixels), `train`, `val`, `test` (numbers of views), `seed`.
//!
//! `GeneratedHeads(…)` is portraits of as many different heads, from in front: options `resolution` (pixels),
//! `count`, `seed`, and `pitch` and `yaw`, the standard deviations of where cameras stand, in radians: heads are upright then.
//! Poses are in its `poses.csv`.

mod generated;
mod pictures;
mod scene;

#[cfg(test)]
mod tests;

pub use generated::{generate_head, generate_heads};
pub use pictures::PictureSource;
pub use scene::{Scene, ray_field};

use crate::{
    buffer::Buffer,
    data::DataError,
    options::{OptionError, Options},
};
use indexmap::IndexMap;
use pictures::PictureFeed;
use scene::RayFeed;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use thiserror::Error;
use visage_compiler::{
    graph::Type,
    system::{Call, System, TrainStep},
};

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

impl SourceError {
    /// A source has no field of a name.
    fn field<'a>(source: &str, field: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> SourceError {
        let help = crate::names::suggestion(field, known);
        SourceError::Unknown(format!("`{source}` has no field `{field}`: {help}"))
    }
}

/// The kind of the source called `name` does not exist.
fn unknown_kind(name: &str, kind: &str, known: &[&str]) -> SourceError {
    let help = crate::names::suggestion(kind, known.iter().copied());
    SourceError::Unknown(format!("data source `{name}`: there is no kind `{kind}`: {help}"))
}

/// Where a spec says that a source's files are.
struct Place {
    folder: Option<PathBuf>,
    default: Option<Call>,
}

impl Place {
    fn read(options: &mut Options) -> Result<Place, OptionError> {
        Ok(Place { folder: options.path("folder")?, default: options.call("default")? })
    }

    /// The folder given, or else the spec's own, or else the one that is generated.
    fn folder(
        self,
        name: &str,
        given: Option<&Path>,
        generate: impl FnOnce(&Call) -> Result<PathBuf, SourceError>,
    ) -> Result<PathBuf, SourceError> {
        match (given, self.folder, self.default) {
            (Some(folder), ..) => Ok(folder.to_owned()),
            (None, Some(folder), _) => Ok(folder),
            (None, None, Some(default)) => generate(&default),
            (None, None, None) => Err(SourceError::NoData(name.to_owned())),
        }
    }
}

/// The data sources of a system, opened.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    sources: IndexMap<String, Source>,
}

/// A data source, opened.
#[derive(Clone, Debug)]
pub enum Source {
    /// Pictures with cameras.
    Scene(Scene),
    /// Pictures without.
    Pictures(PictureSource),
}

impl Source {
    /// Opens the source that a spec calls `name`. `folder` replaces the spec's own, and `generated` is where
    /// generated data sets go.
    ///
    /// # Errors
    /// It is of an unknown kind, an option is wrong, or the data set is missing or damaged.
    pub fn open(
        name: &str,
        call: &Call,
        folder: Option<&Path>,
        generated: &Path,
        seed: u64,
    ) -> Result<Source, SourceError> {
        match call.kind.as_str() {
            "PosedImages" => Ok(Source::Scene(Scene::open(name, call, folder, generated, seed)?)),
            "Pictures" => Ok(Source::Pictures(PictureSource::open(name, call, folder, generated, seed)?)),
            kind => Err(unknown_kind(name, kind, &["PosedImages", "Pictures"])),
        }
    }

    /// The scene that it is, if it has cameras.
    fn scene(&self) -> Option<&Scene> {
        match self {
            Source::Scene(scene) => Some(scene),
            Source::Pictures(_) => None,
        }
    }

    /// The pictures that it is, if they have none.
    fn pictures(&self) -> Option<&PictureSource> {
        match self {
            Source::Scene(_) => None,
            Source::Pictures(source) => Some(source),
        }
    }

    /// What was read, in a few words.
    pub fn describe(&self) -> String {
        match self {
            Source::Scene(scene) => format!("{} pictures from {}", scene.images.frames.len(), scene.folder.display()),
            Source::Pictures(source) => {
                let pictures = &source.batches.pictures;
                let held_out = match pictures.held_out.len() {
                    0 => String::new(),
                    held_out => format!(", {held_out} held out"),
                };
                let (count, side, folder) = (pictures.count(), pictures.side(), source.folder.display());
                format!("{count} pictures of {side} x {side} pixels from {folder}{held_out}")
            }
        }
    }
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
        let sources = system.data.iter().map(|(name, call)| {
            let folder = folders.get(name).or_else(|| folders.get(""));
            Ok((name.clone(), Source::open(name, call, folder.map(PathBuf::as_path), generated, seed)?))
        });
        Ok(Sources { sources: sources.collect::<Result<_, SourceError>>()? })
    }

    /// The source called `name`.
    ///
    /// # Errors
    /// There is none.
    pub fn source(&self, name: &str) -> Result<&Source, SourceError> {
        let found = self.sources.get(name);
        found.ok_or_else(|| SourceError::Unknown(format!("the spec has no data source `{name}`")))
    }

    /// The scene called `name`, or the first one.
    ///
    /// # Errors
    /// There is none, or what is called so has no cameras.
    pub fn scene(&self, name: Option<&str>) -> Result<&Scene, SourceError> {
        let (found, missing) = match name {
            Some(name) => (self.source(name)?.scene(), format!("`{name}` has no cameras: it is no PosedImages(…)")),
            None => (self.sources.values().find_map(Source::scene), "the spec names no data with cameras".into()),
        };
        found.ok_or(SourceError::Unknown(missing))
    }

    /// The pictures without cameras called `name`, or the first ones.
    ///
    /// # Errors
    /// There are none, or what is called so is something else.
    pub fn pictures(&self, name: Option<&str>) -> Result<&PictureSource, SourceError> {
        let (found, missing) = match name {
            Some(name) => (self.source(name)?.pictures(), format!("`{name}` is no Pictures(…)")),
            None => (self.sources.values().find_map(Source::pictures), "the spec names no Pictures(…)".into()),
        };
        found.ok_or(SourceError::Unknown(missing))
    }

    /// The sources by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Source)> {
        self.sources.iter().map(|(name, source)| (name.as_str(), source))
    }

    /// Checks that every input of a step's loss can be had, and plans how.
    ///
    /// # Errors
    /// A source or a field does not exist, or an input has other axes than its field.
    pub fn feed(&self, step: &TrainStep, inputs: &IndexMap<String, Type>) -> Result<Feed, SourceError> {
        let mut parts: IndexMap<&str, Part> = IndexMap::new();
        for (input, ty) in inputs {
            let Some(place) = step.batch.get(input) else { continue };
            let (name, field) = place.split_once('.').unwrap_or((place, ""));
            let source = self.source(name)?;
            let part = parts.entry(name).or_insert_with(|| match source {
                Source::Scene(scene) => Part::Rays(RayFeed::new(scene)),
                Source::Pictures(source) => Part::Pictures(PictureFeed::new(source)),
            });
            match part {
                Part::Rays(feed) => feed.add(input, ty, name, field)?,
                Part::Pictures(feed) => feed.add(input, ty, name, field)?,
            }
        }
        Ok(Feed { parts: parts.into_values().collect() })
    }
}

/// Where the inputs of one loss come from.
#[derive(Clone, Debug)]
pub struct Feed {
    parts: Vec<Part>,
}

/// What one source feeds.
#[derive(Clone, Debug)]
enum Part {
    Rays(RayFeed),
    Pictures(PictureFeed),
}

/// How much is learnt from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Rays.
    pub rays: u64,
    /// Pictures without cameras.
    pub pictures: u64,
}

impl Amount {
    /// Counts more, so many times.
    pub fn add(&mut self, other: Amount, times: u64) {
        self.rays += other.rays * times;
        self.pictures += other.pictures * times;
    }
}

impl Feed {
    /// The batch of a number, which alone (with the seed) decides what is in it.
    pub fn batch(&self, number: u64) -> IndexMap<String, Buffer> {
        let mut inputs = IndexMap::new();
        for part in &self.parts {
            match part {
                Part::Rays(feed) => feed.batch(number, &mut inputs),
                Part::Pictures(feed) => feed.batch(number, &mut inputs),
            }
        }
        inputs
    }

    /// How much a batch holds.
    pub fn amount(&self) -> Amount {
        let mut amount = Amount::default();
        for part in &self.parts {
            match part {
                Part::Rays(feed) => amount.rays = amount.rays.max(feed.rays() as u64),
                Part::Pictures(feed) => amount.pictures = amount.pictures.max(feed.pictures() as u64),
            }
        }
        amount
    }
}
