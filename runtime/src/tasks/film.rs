//! Frames as folders of pictures, as videos, and as an animation.

use super::{Results, TaskError};
use crate::{
    data::DataError,
    media::{Mp4Writer, Picture, write_gif},
};
use std::path::{Path, PathBuf};

/// Frames on their way to files.
pub(super) struct Film<'a> {
    out: &'a Path,
    rate: f64,
    pictures: bool,
    video: bool,
    writers: Vec<(&'static str, PathBuf, Mp4Writer)>,
    colours: Vec<Picture>,
    results: Results,
}

impl<'a> Film<'a> {
    /// Frames for the folder `out`, as `pictures` and as `video` of `rate` frames a second.
    pub fn new(out: &'a Path, rate: f64, pictures: bool, video: bool) -> Film<'a> {
        let (writers, colours, results) = (Vec::new(), Vec::new(), Results::default());
        Film { out, rate, pictures, video, writers, colours, results }
    }

    /// Adds the frame of a number, with the pictures of it by name: `colour`, `depth`, `opacity`.
    ///
    /// # Errors
    /// A file cannot be written, or the frame has another size.
    pub fn add(&mut self, number: usize, pictures: Vec<(&'static str, Picture)>) -> Result<(), TaskError> {
        for (name, picture) in pictures {
            if self.pictures {
                let folder = self.out.join(name);
                std::fs::create_dir_all(&folder).map_err(DataError::io(&folder))?;
                picture.save(&folder.join(format!("{number:04}.png")))?;
                if number == 0 {
                    self.results.files.push(folder);
                }
            }
            if self.video && name != "opacity" {
                let writer = match self.writers.iter_mut().position(|(known, ..)| *known == name) {
                    Some(index) => &mut self.writers[index].2,
                    None => {
                        let path = self.out.join(format!("{name}.mp4"));
                        let writer = Mp4Writer::new(&path, picture.width, picture.height, self.rate)?;
                        self.writers.push((name, path, writer));
                        &mut self.writers.last_mut().unwrap_or_else(|| unreachable!("it was just added")).2
                    }
                };
                writer.push(&picture)?;
            }
            if number == 0 {
                self.results.pictures.push((name.to_owned(), picture.clone()));
            }
            if self.video && name == "colour" {
                self.colours.push(picture);
            }
        }
        Ok(())
    }

    /// Writes what is left. The first frame is among the results.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn finish(mut self) -> Result<Results, TaskError> {
        for (_, path, writer) in self.writers {
            writer.finish()?;
            self.results.files.push(path);
        }
        if !self.colours.is_empty() {
            let path = self.out.join("colour.gif");
            write_gif(&path, &self.colours, self.rate)?;
            self.results.files.push(path);
        }
        Ok(self.results)
    }
}
