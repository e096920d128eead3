//! Finding and reading the spec that a command is about.

use super::{
    arguments::{Settings, SpecArguments},
    failure::{Code, Diagnosed, Failure, Outcome},
};
use std::{
    fs,
    path::{Path, PathBuf},
};
use visage_compiler::{
    language::{Overrides, Spec},
    system::System,
};

/// A spec with the numbers that the command line replaces.
#[derive(Clone, Debug)]
pub struct Source {
    /// The spec, not elaborated yet.
    pub spec: Spec,
    /// What the command line replaces.
    pub overrides: Overrides,
}

impl Source {
    /// Reads the spec of a command.
    ///
    /// # Errors
    /// There is no such file, or it is wrong: every error with its place.
    pub fn open(arguments: &SpecArguments) -> Outcome<Source> {
        Source::read(&arguments.spec, overrides(&arguments.settings))
    }

    /// Reads the spec at `path`, which may be a folder.
    ///
    /// # Errors
    /// As [`open`](Source::open).
    pub fn read(path: &Path, overrides: Overrides) -> Outcome<Source> {
        Ok(Source { spec: Spec::load(locate(path)?).diagnosed()?, overrides })
    }

    /// The spec, elaborated.
    ///
    /// # Errors
    /// It is wrong: every error with its place.
    pub fn system(&self) -> Outcome<System> {
        self.spec.system(&self.overrides).diagnosed()
    }
}

/// What `--set` and `--preset` replace.
pub fn overrides(settings: &Settings) -> Overrides {
    let mut overrides = Overrides { preset: settings.preset.clone(), ..Overrides::none() };
    for assignment in &settings.set {
        overrides = overrides.set(&assignment.name, &assignment.value);
    }
    overrides
}

/// The file meant by a path: itself, or in a folder the file of the folder's name or the only one.
fn locate(path: &Path) -> Outcome<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let of_same_name = path.canonicalize().ok().and_then(|whole| {
        let name = whole.file_name()?.to_owned();
        Some(path.join(name).with_extension("ron"))
    });
    if let Some(file) = of_same_name.filter(|file| file.is_file()) {
        return Ok(file);
    }
    let mut specs: Vec<PathBuf> = fs::read_dir(path)
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|file| file.extension().is_some_and(|extension| extension == "ron"))
        .collect();
    specs.sort();
    match specs.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Failure::usage(format!("there is no spec (a .ron file) in {}", path.display()))),
        _ => {
            let names: Vec<String> = specs.iter().map(|file| file.display().to_string()).collect();
            let message = format!("there are several specs in {}", path.display());
            Err(Failure::with_help(Code::Usage, message, format!("choose one of {}", names.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::locate;
    use std::fs;

    #[test]
    fn a_folder_stands_for_its_spec() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("nerf");
        fs::create_dir(&folder).unwrap();
        assert!(locate(&folder).is_err());
        fs::write(folder.join("other.ron"), "").unwrap();
        assert_eq!(locate(&folder).unwrap(), folder.join("other.ron"));
        fs::write(folder.join("another.ron"), "").unwrap();
        assert!(locate(&folder).is_err());
        fs::write(folder.join("nerf.ron"), "").unwrap();
        assert_eq!(locate(&folder).unwrap(), folder.join("nerf.ron"));
        assert_eq!(locate(&folder.join("other.ron")).unwrap(), folder.join("other.ron"));
    }
}
