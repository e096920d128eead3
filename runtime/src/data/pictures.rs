//! Folders of pictures, held in memory at one size.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use walkdir::WalkDir;

use super::DataError;
use super::poses::{Labels, PoseLabel};
use crate::media::{Background, Picture, is_picture, nearest_byte};

/// How a picture becomes a square.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Crop {
    /// What lies outside the largest square in the middle is cut off.
    #[default]
    Centre,
    /// It has to be one.
    None,
}

/// How a folder of pictures is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureOptions {
    /// Width and height that pictures are resampled to.
    pub side: usize,
    /// How they become squares.
    pub crop: Crop,
    /// What is behind those with alpha.
    pub background: Background,
    /// Every so-many-th picture by name is held out, starting with the first; 0 for none.
    pub hold_out: usize,
    /// Whether each has a [label](PoseLabel) that says where its camera stood; those without one are left out.
    pub poses: bool,
}

/// Pictures without cameras, in the order of their paths.
#[derive(Debug)]
pub struct Pictures {
    options: PictureOptions,
    pictures: Vec<StoredSquare>,
    /// Paths of the pictures that are never learnt from.
    pub held_out: Vec<PathBuf>,
    /// What was wrong with files that could not be read; each error names its file.
    pub unreadable: Vec<DataError>,
}

/// A picture as bytes, `[side][side][3]`.
#[derive(Debug)]
struct StoredSquare {
    path: PathBuf,
    bytes: Vec<u8>,
    pose: Option<PoseLabel>,
}

impl StoredSquare {
    fn picture(&self, side: usize) -> Picture {
        let values = self.bytes.iter().map(|byte| f32::from(*byte) / 255.0).collect();
        Picture { width: side, height: side, channels: 3, values }
    }
}

impl Pictures {
    /// Reads every PNG and JPEG in a folder and in those below it, but for those held out. Files that are
    /// damaged are left out, and kept as errors.
    ///
    /// # Errors
    /// There is no such folder or no picture that can be read; a picture is not square, and is not to be cut.
    pub fn load(folder: &Path, options: &PictureOptions) -> Result<Pictures, DataError> {
        let held = |number: usize| options.hold_out > 0 && number.is_multiple_of(options.hold_out);
        let (mut train, mut held_out) = (Vec::new(), Vec::new());
        for (number, path) in find(folder)?.into_iter().enumerate() {
            if held(number) { &mut held_out } else { &mut train }.push(path);
        }
        let labels = if options.poses { Some(Labels::open(folder)?) } else { None };
        let labelled = |path: PathBuf| -> Result<StoredSquare, Unfit> {
            let pose = labels.as_ref().map(|labels| labels.of(folder, &path)).transpose().map_err(Unfit::Unreadable)?;
            Ok(StoredSquare { pose, ..read(path, options)? })
        };
        let read: Vec<Result<StoredSquare, Unfit>> = train.into_par_iter().map(labelled).collect();
        let (mut pictures, mut unreadable) = (Vec::new(), Vec::new());
        for result in read {
            match result {
                Ok(picture) => pictures.push(picture),
                Err(Unfit::Unreadable(error)) => unreadable.push(error),
                Err(Unfit::Oblong(error)) => return Err(error),
            }
        }
        if pictures.is_empty() {
            let why = match (unreadable.first(), held_out.len()) {
                (Some(error), _) => format!("none of {} pictures can be read: {error}", unreadable.len()),
                (None, 0) => "no .png, .jpg or .jpeg in it or in folders below".into(),
                (None, held) => format!("all of its {held} pictures are held out"),
            };
            return Err(DataError::format(folder, why));
        }
        Ok(Pictures { options: *options, pictures, held_out, unreadable })
    }

    /// How they were read.
    pub fn options(&self) -> &PictureOptions {
        &self.options
    }

    /// How many pictures there are to learn from; at least one.
    pub fn count(&self) -> usize {
        self.pictures.len()
    }

    /// Width and height of every picture.
    pub fn side(&self) -> usize {
        self.options.side
    }

    /// Where the picture numbered `index` was read from.
    ///
    /// # Panics
    /// If there are no more than `index`.
    pub fn path(&self, index: usize) -> &Path {
        &self.pictures[index].path
    }

    /// Where the camera of the picture numbered `index` stood, if pictures are read with their labels.
    ///
    /// # Panics
    /// If there are no more than `index`.
    pub fn pose(&self, index: usize) -> Option<PoseLabel> {
        self.pictures[index].pose
    }

    /// The picture numbered `index`, RGB.
    ///
    /// # Panics
    /// If there are no more than `index`.
    pub fn picture(&self, index: usize) -> Picture {
        self.pictures[index].picture(self.side())
    }

    /// The held-out picture numbered `index`, RGB.
    ///
    /// # Errors
    /// Its file cannot be read, or gives no square.
    ///
    /// # Panics
    /// If no more than `index` are held out.
    pub fn held_out_picture(&self, index: usize) -> Result<Picture, DataError> {
        match read(self.held_out[index].clone(), &self.options) {
            Ok(stored) => Ok(stored.picture(self.side())),
            Err(Unfit::Unreadable(error) | Unfit::Oblong(error)) => Err(error),
        }
    }
}

/// The paths of all pictures below a folder, in order.
fn find(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut found = Vec::new();
    for entry in WalkDir::new(folder).follow_links(true) {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(folder).to_owned();
            DataError::Io { path, source: error.into() }
        })?;
        if entry.file_type().is_file() && is_picture(entry.path()) {
            found.push(entry.into_path());
        }
    }
    found.sort();
    Ok(found)
}

/// Why a file gives no square.
enum Unfit {
    Unreadable(DataError),
    Oblong(DataError),
}

fn read(path: PathBuf, options: &PictureOptions) -> Result<StoredSquare, Unfit> {
    let picture = Picture::load(&path).map_err(Unfit::Unreadable)?.over(options.background).rgb();
    if options.crop == Crop::None && picture.width != picture.height {
        let message = format!(
            "{} x {} pixels, and `crop: \"none\"` takes squares only; `crop: \"centre\"` takes their middle",
            picture.width, picture.height
        );
        return Err(Unfit::Oblong(DataError::format(&path, message)));
    }
    let square = picture.fitted(options.side, options.side);
    Ok(StoredSquare { path, bytes: square.values.iter().map(|value| nearest_byte(*value)).collect(), pose: None })
}
