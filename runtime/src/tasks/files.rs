//! Files that a driver is given, one after another, and what becomes of each.

use super::{TaskError, go_on};
use crate::{
    data::DataError,
    media::{is_picture, pictures_in},
    table::Table,
};
use indicatif::ProgressBar;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Instant,
};

/// The files that are meant, in order: pictures by themselves, folders of them, patterns such as `photos/*.jpg`.
///
/// # Errors
/// A folder cannot be read, or there is no picture in it or of such a name.
pub(super) fn listed(given: &[String]) -> Result<Vec<PathBuf>, TaskError> {
    let mut files = Vec::new();
    for text in given {
        let path = PathBuf::from(text);
        if path.is_dir() {
            let found = pictures_in(&path)?;
            if found.is_empty() {
                return Err(DataError::format(&path, "there are no pictures in this folder").into());
            }
            files.extend(found);
        } else if path.exists() || !text.contains(['*', '?', '[']) {
            files.push(path);
        } else {
            let found = glob::glob(text).map_err(|error| DataError::format(&path, error.to_string()))?;
            let before = files.len();
            // What a pattern finds and may not be looked at is no picture to anybody.
            files.extend(found.filter_map(Result::ok).filter(|found| is_picture(found)));
            if files.len() == before {
                return Err(DataError::format(&path, "no picture has a name like this").into());
            }
        }
    }
    Ok(files)
}

/// Whether a file's name has one of these endings.
pub(super) fn has_ending(path: &Path, endings: &[&str]) -> bool {
    path.extension().is_some_and(|found| endings.iter().any(|ending| found.eq_ignore_ascii_case(ending)))
}

/// What became of a file that was read.
pub(super) struct Outcome {
    /// What its row says beside name and time.
    pub cells: Vec<String>,
    /// What happened, in words.
    pub told: String,
}

/// What became of all files.
pub(super) struct Ledger {
    /// A row a file: its name, the columns asked for, seconds, and what happened.
    pub table: Table,
    /// How many files went well.
    pub done: usize,
}

/// Does something with one file after another. Where `work` fails because of a file, the table says why and the others are
/// still done. The bar has as many steps for each file.
///
/// # Errors
/// `work` failed for another reason, or the run was asked to stop.
pub(super) fn one_by_one(
    files: &[PathBuf],
    bar: &ProgressBar,
    columns: &[&str],
    mut work: impl FnMut(&Path) -> Result<Outcome, TaskError>,
) -> Result<Ledger, TaskError> {
    let headings = [&["file"][..], columns, &[">seconds", "what happened"]].concat();
    let mut ledger = Ledger { table: Table::new(&headings), done: 0 };
    let steps = bar.length().unwrap_or(0) / files.len().max(1) as u64;
    for (path, after) in files.iter().zip(1..) {
        go_on()?;
        let start = Instant::now();
        let outcome = match work(path) {
            Ok(outcome) => {
                ledger.done += 1;
                outcome
            }
            Err(TaskError::Data(error)) => {
                let problem = error.to_string();
                tracing::warn!("{problem}");
                let told = problem.trim_start_matches(&format!("{}: ", path.display())).to_owned();
                Outcome { cells: vec![String::new(); columns.len()], told }
            }
            Err(error) => return Err(error),
        };
        let seconds = format!("{:.2}", start.elapsed().as_secs_f64());
        let Outcome { cells, told } = outcome;
        ledger.table.row([path.display().to_string()].into_iter().chain(cells).chain([seconds, told]));
        bar.set_position(after * steps);
    }
    Ok(ledger)
}

/// Names that differ, for what is made of files or seeds that may be called the same.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeSet<String>);

impl Names {
    /// The name of a file without its folder and ending, with a number where it was given before.
    pub fn of(&mut self, path: &Path) -> String {
        self.unlike(&path.file_stem().unwrap_or_default().to_string_lossy())
    }

    /// The name itself, or with a number where it was given before.
    pub fn unlike(&mut self, name: &str) -> String {
        let numbered = |i: u64| if i == 1 { name.to_owned() } else { format!("{name}-{i}") };
        let name = (1..).map(numbered).find(|name| !self.0.contains(name)).unwrap_or_default();
        self.0.insert(name.clone());
        name
    }
}
