//! Weights from checkpoints, by official names.

use super::{
    arguments::WeightSource,
    failure::{Because, Code, Failure, Outcome, nearest},
};
use crate::{array::Array, buffer::Buffer, checkpoint::Checkpoint, training::checkpoints};
use indexmap::{IndexMap, IndexSet};
use std::path::{Path, PathBuf};
use visage_compiler::system::{Model, Parameter, System};

/// The arrays of all files of `--weights`.
#[derive(Debug, Default)]
pub struct Weights {
    files: Vec<File>,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    prefix: Option<String>,
    checkpoint: Checkpoint,
}

impl Weights {
    /// Reads every source: checkpoints, or the latest checkpoint of training runs.
    ///
    /// # Errors
    /// A file is missing or is no checkpoint.
    pub fn read(sources: &[WeightSource]) -> Outcome<Weights> {
        let files = sources.iter().map(|source| {
            let path = checkpoint_of(&source.path)?;
            let checkpoint = Checkpoint::read(&path).usage()?;
            tracing::debug!("{}: {} tensors", path.display(), checkpoint.tensors.len());
            Ok(File { path, prefix: source.prefix.clone(), checkpoint })
        });
        Ok(Weights { files: files.collect::<Outcome<_>>()? })
    }

    /// Whether none were given.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The array of each parameter of `wanted` that the files hold, by the parameter's official name.
    ///
    /// Names are compared as they are and after the model's renames; where none is found so, without a prefix that the file's
    /// names share (`w.`, `module.`). A prefix given with the file is the only one tried. A list of moving averages without
    /// names is taken in the order of a model's parameters, if it is as long and their sizes are the same.
    pub fn matched<'a>(&'a self, system: &System, wanted: &[&str]) -> IndexMap<String, &'a Array> {
        let mut found = IndexMap::new();
        for file in &self.files {
            let best = match &file.prefix {
                Some(prefix) => file.matched(system, wanted, prefix),
                None => {
                    let prefixes = std::iter::once("").chain(file.prefixes(system, wanted));
                    let mut candidates = prefixes.map(|prefix| file.matched(system, wanted, prefix));
                    let as_they_are = candidates.next().filter(|found| !found.is_empty());
                    // The first of equals.
                    let most = |best: IndexMap<_, _>, other: IndexMap<_, _>| {
                        if other.len() > best.len() { other } else { best }
                    };
                    let named = as_they_are.or_else(|| candidates.reduce(most)).filter(|found| !found.is_empty());
                    named.unwrap_or_else(|| file.listed(system, wanted))
                }
            };
            found.extend(best);
        }
        found
    }

    /// Parameters for a program: each of `wanted` from the files, with its type checked.
    ///
    /// # Errors
    /// A parameter is missing, with the nearest names that there are, or has other sizes.
    pub fn parameters(&self, system: &System, wanted: &[&str]) -> Outcome<IndexMap<String, Buffer>> {
        let found = self.matched(system, wanted);
        let missing: Vec<&str> = wanted.iter().copied().filter(|name| !found.contains_key(*name)).collect();
        if let Some(first) = missing.first() {
            return Err(self.missing(first, missing.len(), wanted.len()));
        }
        let typed = wanted.iter().map(|name| {
            let ty = &system.parameters[*name].ty;
            let buffer = Buffer::from_array(found[*name], ty);
            Ok(((*name).to_owned(), buffer.map_err(|error| Failure::usage(format!("parameter `{name}`: {error}")))?))
        });
        typed.collect()
    }

    fn missing(&self, first: &str, missing: usize, wanted: usize) -> Failure {
        let names = || self.files.iter().flat_map(|file| file.checkpoint.tensors.keys().map(String::as_str));
        let paths: Vec<String> = self.files.iter().map(|file| file.path.display().to_string()).collect();
        let message = match missing {
            1 => format!("the parameter `{first}` is not in {}", paths.join(" or ")),
            _ => format!("{missing} of {wanted} parameters are not in {}; the first is `{first}`", paths.join(" or ")),
        };
        let shown: Vec<&str> = names().take(4).collect();
        let help = match nearest(first, names()) {
            Some(near) => format!("the nearest name there is `{near}`; `--weights FILE:PREFIX` strips a prefix"),
            None => format!("names there are {}, …; `--weights FILE:PREFIX` strips a prefix", shown.join(", ")),
        };
        Failure::with_help(Code::Usage, message, help)
    }
}

impl File {
    /// What stands before the first wanted name that there is: prefixes of moving averages first.
    fn prefixes<'a>(&'a self, system: &System, wanted: &[&str]) -> Vec<&'a str> {
        let names = || self.checkpoint.tensors.keys();
        let before = |name: &'a str, wanted: &str| {
            let model = system.parameters.get(wanted).map(|parameter| &system.models[&parameter.model]);
            let renamed = || Some(rename(model?, name).strip_suffix(wanted)?.len());
            let length = name.strip_suffix(wanted).map(str::len).or_else(renamed)?;
            name.get(..length)
        };
        let found =
            wanted.iter().map(|wanted| names().filter_map(|name| before(name, wanted)).collect::<IndexSet<_>>());
        let mut prefixes: Vec<&str> = found.into_iter().find(|found| !found.is_empty()).into_iter().flatten().collect();
        prefixes.sort_by_key(|prefix| !prefix.contains("ema"));
        prefixes
    }

    /// The arrays of a list that torch_ema keeps, for the first model whose parameters they can be.
    fn listed<'a>(&'a self, system: &System, wanted: &[&str]) -> IndexMap<String, &'a Array> {
        let array = |i: usize| self.checkpoint.tensors.get(&format!("shadow_params.{i}"));
        let list: Vec<&Array> = (0..).map_while(array).collect();
        let of_model = |model: &String| {
            let own = system.parameters.iter().filter(|(_, own)| own.model == *model && !own.buffer);
            let own: Vec<(&String, &Parameter)> = own.collect();
            let sizes = |own: &Parameter| own.ty.shape.iter().map(|(_, size)| size).collect::<Vec<_>>();
            let fits = own.iter().zip(&list).all(|((_, own), array)| sizes(own) == array.shape());
            (own.len() == list.len() && fits).then_some(own)
        };
        let own = system.models.keys().find_map(of_model).unwrap_or_default();
        let named = own.into_iter().zip(list).map(|((name, _), array)| (name.clone(), array));
        named.filter(|(name, _)| wanted.contains(&name.as_str())).collect()
    }

    fn matched<'a>(&'a self, system: &System, wanted: &[&str], prefix: &str) -> IndexMap<String, &'a Array> {
        let stripped: IndexMap<&str, &Array> = self
            .checkpoint
            .tensors
            .iter()
            .filter_map(|(name, array)| Some((name.strip_prefix(prefix)?, array)))
            .collect();
        let mut renamed: IndexMap<&str, IndexMap<String, &Array>> = IndexMap::new();
        for (name, model) in system.models.iter().filter(|(_, model)| !model.rename.is_empty()) {
            renamed.insert(name, stripped.iter().map(|(name, array)| (rename(model, name), *array)).collect());
        }
        let find = |name: &str| {
            let by_rename = || {
                let Parameter { model, .. } = system.parameters.get(name)?;
                renamed.get(model.as_str())?.get(name).copied()
            };
            stripped.get(name).copied().or_else(by_rename)
        };
        wanted.iter().filter_map(|name| Some(((*name).to_owned(), find(name)?))).collect()
    }
}

fn rename(model: &Model, name: &str) -> String {
    model.rename.iter().fold(name.to_owned(), |name, (pattern, replacement)| name.replace(pattern, replacement))
}

/// The file meant by a path: itself, or the latest checkpoint of a training run.
fn checkpoint_of(path: &Path) -> Outcome<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    match checkpoints::latest(path).usage()? {
        Some(latest) => Ok(latest),
        None => {
            Err(Failure::usage(format!("{} is a folder, but holds no checkpoint of a training run", path.display())))
        }
    }
}
