//! `run.json`: how a run was started, so that it can be resumed and its weights be used.

use super::folder::FolderError;
use crate::files::write_atomically;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
};
use visage_compiler::language::Overrides;

/// How a run was started. The spec itself lies beside it, with these settings in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// The version of visage that started it.
    pub visage: String,
    /// The system's name.
    pub system: String,
    /// The preset, if one was chosen.
    pub preset: Option<String>,
    /// What `--set` replaced.
    pub set: BTreeMap<String, String>,
    /// The seed of first weights, batches and random nodes.
    pub seed: u64,
    /// Rounds to train for.
    pub rounds: u64,
    /// Steps of a round that take part; all where there are none.
    pub steps: Vec<String>,
    /// Folders of data sets by source; an empty name stands for the only source.
    pub data: BTreeMap<String, PathBuf>,
}

impl Description {
    /// Reads the description of the run in `root`.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn read(root: &Path) -> Result<Description, FolderError> {
        let path = root.join("run.json");
        let text = fs::read_to_string(&path).map_err(FolderError::io(&path))?;
        serde_json::from_str(&text).map_err(|error| FolderError::io(&path)(error.into()))
    }

    /// Writes it: from then on the run exists.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), FolderError> {
        let text = serde_json::to_string_pretty(self).map_err(|error| FolderError::io(path)(error.into()))?;
        write_atomically(path, |writer| writeln!(writer, "{text}")).map_err(FolderError::io(path))
    }

    /// The numbers of the spec that the run replaced.
    pub fn overrides(&self) -> Overrides {
        Overrides { preset: self.preset.clone(), sets: self.set.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let description = Description {
            visage: "0.1.0".into(),
            system: "nerf".into(),
            preset: Some("quick".into()),
            set: [("ray".to_owned(), "64".to_owned())].into(),
            seed: 3,
            rounds: 100,
            steps: vec![],
            data: [(String::new(), "scenes/lego".into())].into(),
        };
        description.write(&folder.path().join("run.json")).unwrap();
        assert_eq!(Description::read(folder.path()).unwrap(), description);
        fs::write(folder.path().join("run.json"), "{").unwrap();
        assert!(Description::read(folder.path()).unwrap_err().to_string().contains("run.json"));
    }
}
