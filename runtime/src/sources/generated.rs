//! The data sets that come with the project, written to a folder when they are first needed.

use super::{SourceError, unknown_kind};
use crate::{
    data::{DataError, POSE_TABLE},
    files::write_atomically,
    options::Options,
    scene::{self, HeadOptions, HeadsOptions},
};
use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
};
use visage_compiler::system::Call;

/// The options of a data set of a kind, for the source called `name`.
fn options_of(name: &str, call: &Call, kind: &str) -> Result<Options, SourceError> {
    if call.kind != kind {
        return Err(unknown_kind(name, &call.kind, &[kind]));
    }
    Ok(Options::new(call, &BTreeMap::new()))
}

/// The folder of one head seen from all sides, for the source called `name`.
///
/// # Errors
/// The call is of another kind, an option is wrong, or the folder cannot be written.
pub fn head(name: &str, call: &Call, parent: &Path) -> Result<PathBuf, SourceError> {
    let mut options = options_of(name, call, "GeneratedHead")?;
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

/// The folder of portraits of many heads, for the source called `name`.
///
/// # Errors
/// As [`head`].
pub fn heads(name: &str, call: &Call, parent: &Path) -> Result<PathBuf, SourceError> {
    let mut options = options_of(name, call, "GeneratedHeads")?;
    let standard = HeadsOptions::default();
    let deviations = [options.number("pitch")?, options.number("yaw")?];
    let heads = HeadsOptions {
        resolution: options.count("resolution", 8)?.unwrap_or(standard.resolution),
        count: options.count("count", 1)?.unwrap_or(standard.count),
        seed: options.count("seed", 0)?.unwrap_or(standard.seed as usize) as u64,
        deviations: (deviations != [None; 2]).then(|| deviations.map(Option::unwrap_or_default)),
    };
    options.finish()?;
    let stand = heads.deviations.map_or_else(String::new, |[pitch, yaw]| format!("-{pitch}-{yaw}"));
    let folder = parent.join(format!("heads-{}-{}-{}{stand}", heads.resolution, heads.count, heads.seed));
    generate_heads(&folder, &heads)?;
    Ok(folder)
}

/// Writes the generated head into `folder`, unless it is there already. The folder appears whole or not at all.
///
/// # Errors
/// The folder cannot be written.
pub fn generate_head(folder: &Path, options: &HeadOptions) -> Result<(), DataError> {
    let what = format!("{} views of a head", options.train + options.val + options.test);
    once(folder, "transforms_train.json", &what, |folder| scene::generate_head(folder, options))
}

/// Writes portraits of generated heads into `folder`, unless they are there already. The folder appears whole or
/// not at all.
///
/// # Errors
/// The folder cannot be written.
pub fn generate_heads(folder: &Path, options: &HeadsOptions) -> Result<(), DataError> {
    let what = format!("portraits of {} heads", options.count);
    once(folder, &scene::portrait_name(0), &what, |folder| scene::generate_heads(folder, options))?;
    // Folders of earlier versions have no table.
    let table = folder.join(POSE_TABLE);
    if table.is_file() {
        return Ok(());
    }
    write_atomically(&table, |writer| writer.write_all(scene::pose_table(options).as_bytes()))
        .map_err(DataError::io(&table))
}

/// Lets `write` fill a folder that gets its name when it is full; `mark` is a file that a full one has.
fn once(
    folder: &Path,
    mark: &str,
    what: &str,
    write: impl FnOnce(&Path) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let there = || folder.join(mark).is_file();
    if there() {
        return Ok(());
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(DataError::io(parent))?;
    let partial = tempfile::Builder::new().prefix(".head").tempdir_in(parent).map_err(DataError::io(parent))?;
    tracing::info!("generating {what} in {}", folder.display());
    write(partial.path())?;
    let partial = partial.keep();
    match std::fs::rename(&partial, folder) {
        Ok(()) => Ok(()),
        // Another process was faster.
        Err(_) if there() => std::fs::remove_dir_all(&partial).map_err(DataError::io(&partial)),
        Err(error) => Err(DataError::io(folder)(error)),
    }
}
