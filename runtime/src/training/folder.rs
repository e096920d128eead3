//! The folder of a training run: what is in it, where, and who may write to it.
//!
//! ```text
//! runs/nerf/
//!   run.json               how the run was started: settings, seed, data, rounds
//!   spec.ron               the spec as elaborated, libraries and settings put in
//!   system.txt             what is in it: models, parameters, losses, steps
//!   checkpoints/00012000.safetensors, …, latest
//!   metrics.csv            one row a round
//!   alarms.json            the alarms that were raised
//!   events.out.tfevents.*  the same for TensorBoard, with pictures
//!   curve.png              loss and PSNR over rounds
//!   samples/               pictures on the way
//!   results/               evaluation and renderings of the trained weights
//!   data/                  the generated data set, where no other was given
//!   log.txt
//! ```

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
};
use thiserror::Error;

/// Why a run folder cannot be used.
#[derive(Debug, Error, miette::Diagnostic)]
pub enum FolderError {
    /// There is a run already.
    #[error("{} already holds a training run", .0.display())]
    #[diagnostic(help("continue it with `--resume {}`, or choose another folder with `--out`", .0.display()))]
    Taken(PathBuf),
    /// There is no run.
    #[error("{} holds no training run: there is no run.json in it", .0.display())]
    #[diagnostic(help("`--resume` takes the folder that `visage train` wrote, such as runs/nerf"))]
    NoRun(PathBuf),
    /// Another process trains in it.
    #[error("another process is training in {}", .0.display())]
    Busy(PathBuf),
    /// The operating system's error.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder concerned.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl FolderError {
    /// Attaches `path` to an error of the operating system.
    pub fn io(path: &Path) -> impl FnOnce(io::Error) -> FolderError + '_ {
        move |source| FolderError::Io { path: path.to_owned(), source }
    }
}

/// A run folder that this process alone writes to, until the value is dropped.
#[derive(Debug)]
pub struct RunFolder {
    root: PathBuf,
    /// Held for its lock, which the operating system releases however the process ends.
    _lock: File,
}

impl RunFolder {
    /// A new run in `root`, which must not hold one.
    ///
    /// # Errors
    /// There is a run already, or the folder cannot be made.
    pub fn create(root: &Path) -> Result<RunFolder, FolderError> {
        let folder = RunFolder::locked(root)?;
        if folder.description().exists() {
            return Err(FolderError::Taken(root.to_owned()));
        }
        // Left by a run that was killed before it existed.
        let stale = folder.checkpoints();
        fs::remove_dir_all(&stale).and_then(|()| fs::create_dir(&stale)).map_err(FolderError::io(&stale))?;
        Ok(folder)
    }

    /// A new run in `root`, or in `root-2`, `root-3`, … if there is a run already.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn create_beside(root: &Path) -> Result<RunFolder, FolderError> {
        let mut candidate = root.to_owned();
        for number in 2.. {
            match RunFolder::create(&candidate) {
                Err(FolderError::Taken(_) | FolderError::Busy(_)) => {
                    let mut name = root.as_os_str().to_owned();
                    name.push(format!("-{number}"));
                    candidate = name.into();
                }
                result => return result,
            }
        }
        unreachable!("folders do not run out")
    }

    /// The run in `root`, to go on with it.
    ///
    /// # Errors
    /// There is none, or another process is training in it.
    pub fn resume(root: &Path) -> Result<RunFolder, FolderError> {
        if !root.join("run.json").is_file() {
            return Err(FolderError::NoRun(root.to_owned()));
        }
        RunFolder::locked(root)
    }

    fn locked(root: &Path) -> Result<RunFolder, FolderError> {
        for folder in [root.to_owned(), root.join("checkpoints"), root.join("samples")] {
            fs::create_dir_all(&folder).map_err(FolderError::io(&folder))?;
        }
        let path = root.join(".lock");
        let lock = OpenOptions::new().create(true).append(true).open(&path).map_err(FolderError::io(&path))?;
        match lock.try_lock() {
            Ok(()) => Ok(RunFolder { root: root.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(FolderError::Busy(root.to_owned())),
            Err(TryLockError::Error(error)) => Err(FolderError::io(&path)(error)),
        }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// How the run was started: `run.json`. A run exists once this file does.
    pub fn description(&self) -> PathBuf {
        self.root.join("run.json")
    }

    /// The spec as elaborated.
    pub fn spec(&self) -> PathBuf {
        self.root.join("spec.ron")
    }

    /// What is in the spec, for people.
    pub fn system(&self) -> PathBuf {
        self.root.join("system.txt")
    }

    /// Checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// The alarms that were raised.
    pub fn alarms(&self) -> PathBuf {
        self.root.join("alarms.json")
    }

    /// The table of measurements.
    pub fn measurements(&self) -> PathBuf {
        super::measurements::path_in(&self.root)
    }

    /// The picture of the loss over rounds.
    pub fn curve(&self) -> PathBuf {
        self.root.join("curve.png")
    }

    /// Pictures made on the way.
    pub fn samples(&self) -> PathBuf {
        self.root.join("samples")
    }

    /// Everything that was logged.
    pub fn log(&self) -> PathBuf {
        self.root.join("log.txt")
    }
}

#[cfg(test)]
mod tests {
    use super::{FolderError, RunFolder};

    #[test]
    fn a_run_is_neither_overwritten_nor_written_by_two() {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("runs/nerf");
        assert!(matches!(RunFolder::resume(&root), Err(FolderError::NoRun(_))));
        let run = RunFolder::create(&root).unwrap();
        std::fs::write(run.description(), "{}").unwrap();
        assert!(matches!(RunFolder::resume(&root), Err(FolderError::Busy(_))));
        drop(run);
        assert!(matches!(RunFolder::create(&root), Err(FolderError::Taken(_))));
        assert_eq!(RunFolder::create_beside(&root).unwrap().root(), parent.path().join("runs/nerf-2"));
        assert_eq!(RunFolder::resume(&root).unwrap().root(), root);
    }

    #[test]
    fn what_cannot_be_made_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = RunFolder::create(&file.join("run")).unwrap_err();
        assert!(error.to_string().contains("file"), "{error}");
    }
}
