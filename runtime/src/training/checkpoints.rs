//! Checkpoints of a run: everything that training changes, and where it stood.
//!
//! A checkpoint is a `.safetensors` file with the state by name (parameters under their official names,
//! optimiser state and moving averages beside them) and the position as metadata. Random numbers and
//! batches are functions of the seed and the round, so nothing else is needed to go on bit for bit.
//! `latest` holds the name of the newest one.

use crate::{
    buffer::{Buffer, State},
    checkpoint::{Checkpoint, CheckpointError},
    files::write_atomically,
};
use indexmap::IndexMap;
use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};
use thiserror::Error;
use visage_compiler::graph::Type;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Rounds done.
    pub round: u64,
    /// The seed of the run.
    pub seed: u64,
}

/// Why a checkpoint of a run cannot be written or used.
#[derive(Debug, Error, miette::Diagnostic)]
pub enum RunCheckpointError {
    /// It cannot be read or written.
    #[error(transparent)]
    File(#[from] CheckpointError),
    /// It was not written by training, or by training of something else.
    #[error("{}: {problem}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The pointer to it cannot be written, or an old one not removed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file concerned.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> RunCheckpointError + '_ {
    move |source| RunCheckpointError::Io { path: path.to_owned(), source }
}

/// Writes a checkpoint into `folder`, points `latest` at it, and removes all but the newest `keep`. At
/// any instant `latest` names a whole checkpoint.
///
/// # Errors
/// A file cannot be written (the disk is full, …): the earlier checkpoints and `latest` are untouched.
pub fn write(folder: &Path, state: &State, position: Position, keep: usize) -> Result<PathBuf, RunCheckpointError> {
    let name = format!("{:08}.safetensors", position.round);
    let path = folder.join(&name);
    let checkpoint = Checkpoint {
        tensors: state.iter().map(|(name, buffer)| (name.clone(), buffer.to_array())).collect(),
        scalars: IndexMap::new(),
        metadata: [
            ("format".to_owned(), "visage training".to_owned()),
            ("round".to_owned(), position.round.to_string()),
            ("seed".to_owned(), position.seed.to_string()),
        ]
        .into(),
    };
    checkpoint.write_safetensors(&path)?;
    let pointer = folder.join("latest");
    write_atomically(&pointer, |writer| writeln!(writer, "{name}")).map_err(io_error(&pointer))?;
    let mut files = numbered(folder).map_err(io_error(folder))?;
    files.retain(|(round, _)| *round != position.round);
    let surplus = (files.len() + 1).saturating_sub(keep.max(1));
    for (_, file) in files.into_iter().take(surplus) {
        fs::remove_file(&file).map_err(io_error(&file))?;
    }
    Ok(path)
}

/// The checkpoints in a folder, oldest first.
fn numbered(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut files: Vec<(u64, PathBuf)> = fs::read_dir(folder)?
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let round = path.file_name()?.to_str()?.strip_suffix(".safetensors")?.parse().ok()?;
            Some((round, path))
        })
        .collect();
    files.sort();
    Ok(files)
}

/// The latest checkpoint of the run in `root`, if it has one.
///
/// # Errors
/// The folder cannot be read.
pub fn latest(root: &Path) -> io::Result<Option<PathBuf>> {
    let folder = root.join("checkpoints");
    if !folder.is_dir() {
        return Ok(None);
    }
    let pointed = fs::read_to_string(folder.join("latest")).ok().map(|name| folder.join(name.trim()));
    match pointed.filter(|path| path.is_file()) {
        Some(path) => Ok(Some(path)),
        None => Ok(numbered(&folder)?.pop().map(|(_, path)| path)),
    }
}

/// Reads a checkpoint whose values have these types; it may lack those that are `optional`.
///
/// # Errors
/// It cannot be read, or does not hold this state.
pub fn read(
    path: &Path,
    types: &IndexMap<String, Type>,
    optional: &IndexMap<String, Type>,
) -> Result<(State, Position), RunCheckpointError> {
    let checkpoint = Checkpoint::read(path)?;
    let foreign = |problem: String| RunCheckpointError::Foreign { path: path.to_owned(), problem };
    let number = |key: &str| {
        let text = checkpoint.metadata.get(key).and_then(|text| text.parse().ok());
        text.ok_or_else(|| foreign(format!("it has no `{key}`: training did not write it")))
    };
    let position = Position { round: number("round")?, seed: number("seed")? };
    let mut state = State::new();
    let there =
        optional.iter().filter(|(name, _)| !types.contains_key(*name) && checkpoint.tensors.contains_key(*name));
    for (name, ty) in types.iter().chain(there) {
        let array = checkpoint.tensors.get(name).ok_or_else(|| foreign(format!("it has no `{name}`")))?;
        let buffer = Buffer::from_array(array, ty).map_err(|error| foreign(format!("`{name}`: {error}")))?;
        state.insert(name.clone(), buffer);
    }
    Ok((state, position))
}

#[cfg(test)]
mod tests {
    use super::*;
    use visage_compiler::{
        axis::{Axis, Shape},
        graph::DType,
    };

    fn state(value: f32) -> State {
        let shape = Shape::new([(Axis::new("x"), 3)]);
        [("w".to_owned(), Buffer::from_f32(shape, &[value, f32::MIN_POSITIVE / 2.0, -0.0]))].into_iter().collect()
    }

    fn types() -> IndexMap<String, Type> {
        state(0.0).iter().map(|(name, buffer)| (name.clone(), buffer.ty().clone())).collect()
    }

    #[test]
    fn a_state_comes_back_to_the_bit_and_old_ones_go() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(latest(root.path()).unwrap(), None);
        let folder = root.path().join("checkpoints");
        fs::create_dir(&folder).unwrap();
        for round in [0, 5, 10, 15] {
            write(&folder, &state(round as f32), Position { round, seed: 7 }, 2).unwrap();
        }
        let rounds: Vec<u64> = numbered(&folder).unwrap().into_iter().map(|(round, _)| round).collect();
        assert_eq!(rounds, [10, 15]);
        let newest = latest(root.path()).unwrap().unwrap();
        assert_eq!(read(&newest, &types(), &IndexMap::new()).unwrap(), (state(15.0), Position { round: 15, seed: 7 }));
    }

    #[test]
    fn a_lost_pointer_is_no_lost_run() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("checkpoints");
        fs::create_dir(&folder).unwrap();
        let path = write(&folder, &state(1.0), Position { round: 3, seed: 0 }, 2).unwrap();
        fs::write(folder.join("latest"), "gone.safetensors").unwrap();
        assert_eq!(latest(root.path()).unwrap(), Some(path));
    }

    #[test]
    fn other_states_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), &state(1.0), Position { round: 3, seed: 0 }, 2).unwrap();
        let mut wanted = types();
        wanted.insert("b".into(), Type::new(DType::F32, Shape::SCALAR));
        assert!(read(&path, &wanted, &IndexMap::new()).unwrap_err().to_string().ends_with("it has no `b`"));
        let wanted = [("w".to_owned(), Type::new(DType::F32, Shape::SCALAR))].into_iter().collect();
        let message = read(&path, &wanted, &IndexMap::new()).unwrap_err().to_string();
        assert!(message.contains("`w`: it is [3]"), "{message}");
    }
}
