//! Arguments that several commands share.

use crate::code_cache;
use crate::executor::{Contraction, Device, ExecuteOptions, Maps, Precision};
use clap::{
    Args,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};
use std::{path::PathBuf, str::FromStr};
use visage_compiler::plan::Decision;

/// Which spec, and with which numbers.
#[derive(Clone, Debug, Args)]
pub struct SpecArguments {
    /// The spec: a .ron file, or the folder of one
    pub spec: PathBuf,

    #[command(flatten)]
    pub settings: Settings,
}

/// The numbers of a spec that the command line replaces.
#[derive(Clone, Debug, Default, Args)]
pub struct Settings {
    /// Replace a size, constant or switch of the spec; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub set: Vec<Assignment>,

    /// Start from one of the spec's presets, such as `quick`
    #[arg(long, value_name = "NAME")]
    pub preset: Option<String>,
}

/// Where and how programs run.
#[derive(Clone, Debug, Args)]
pub struct DeviceArguments {
    /// What runs the programs
    #[arg(long, value_enum, default_value_t, help_heading = "Execution")]
    pub device: Device,

    /// Threads to use; all cores unless given. Results do not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), help_heading = "Execution")]
    pub threads: Option<u16>,

    /// Run one operation a kernel
    #[arg(long, help_heading = "Execution")]
    pub no_fuse: bool,

    /// What multiplies matrices
    #[arg(long, value_enum, default_value_t, help_heading = "Execution")]
    pub contraction: Contraction,

    /// What computes elementwise operations. Results do not depend on it
    #[arg(long, value_enum, default_value_t, help_heading = "Execution")]
    pub maps: Maps,

    /// What contractions round their operands to. What is added up, and everything else, stays f32
    #[arg(long, value_enum, default_value_t, help_heading = "Execution")]
    pub precision: Precision,

    /// With `--device cuda`: scattered sums in one order, not as threads come
    #[arg(long, help_heading = "Execution")]
    pub deterministic: bool,

    /// Leave out a decision of the planner, to see what it is worth; may be repeated
    #[arg(long, value_name = "DECISION", value_delimiter = ',', value_parser = decisions(), help_heading = "Execution")]
    pub without: Vec<Decision>,

    /// Where machine code is kept for the next time, or `off`; unless given, in the user's folder of caches
    #[arg(long, value_name = "DIR", help_heading = "Execution")]
    pub code_cache: Option<PathBuf>,
}

/// The planner's decisions by name.
pub fn decisions() -> impl TypedValueParser<Value = Decision> {
    let names = Decision::ALL.map(|decision| PossibleValue::new(decision.name()).help(decision.about()));
    PossibleValuesParser::new(names)
        .try_map(|name| Decision::ALL.into_iter().find(|decision| decision.name() == name).ok_or("no such decision"))
}

impl DeviceArguments {
    /// As the executor takes them.
    pub fn options(&self) -> ExecuteOptions {
        ExecuteOptions {
            device: self.device,
            threads: self.threads.map(usize::from),
            fuse: !self.no_fuse,
            contraction: self.contraction,
            maps: self.maps,
            precision: self.precision,
            deterministic: self.deterministic,
            without: self.without.iter().copied().collect(),
            code_cache: match &self.code_cache {
                None => code_cache::user_folder(),
                Some(folder) => Some(folder.clone()).filter(|folder| folder.as_os_str() != "off"),
            },
            ..ExecuteOptions::default()
        }
    }
}

/// `NAME=VALUE` of `--set` and `--opt`.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// What is set.
    pub name: String,
    /// To what, as written.
    pub value: String,
}

impl FromStr for Assignment {
    type Err = String;

    fn from_str(text: &str) -> Result<Assignment, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() && !value.is_empty() => {
                Ok(Assignment { name: name.trim().into(), value: value.trim().into() })
            }
            _ => Err("expected NAME=VALUE, such as ray=4096".into()),
        }
    }
}

/// `FILE[:PREFIX]` of `--weights`: a checkpoint, or the folder of a training run.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightSource {
    /// The file or folder.
    pub path: PathBuf,
    /// What names in the file begin with, beyond the spec's names.
    pub prefix: Option<String>,
}

impl FromStr for WeightSource {
    type Err = String;

    fn from_str(text: &str) -> Result<WeightSource, String> {
        let (path, prefix) = split_path(text);
        Ok(WeightSource { path, prefix })
    }
}

/// `[NAME=]SOURCE` of `--in`.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    /// The input; none for a file that a driver is given.
    pub name: Option<String>,
    /// Its value.
    pub source: Source,
}

/// Where the value of an input comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Written out.
    Number(f64),
    /// A file or a folder, and the tensor in it where it holds several.
    File { path: PathBuf, tensor: Option<String> },
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Number(number) => write!(f, "{number}"),
            Source::File { path, tensor: None } => write!(f, "{}", path.display()),
            Source::File { path, tensor: Some(tensor) } => write!(f, "{}:{tensor}", path.display()),
        }
    }
}

impl FromStr for Given {
    type Err = String;

    fn from_str(text: &str) -> Result<Given, String> {
        let (name, source) = match text.split_once('=') {
            Some((name, source)) if !name.is_empty() && !source.is_empty() => (name, source),
            None if !text.is_empty() => {
                return Ok(Given { name: None, source: Source::File { path: text.into(), tensor: None } });
            }
            _ => return Err("expected NAME=FILE, NAME=FILE:TENSOR, NAME=NUMBER or FILE".into()),
        };
        let source = match source.parse() {
            Ok(number) => Source::Number(number),
            Err(_) => {
                let (path, tensor) = split_path(source);
                Source::File { path, tensor }
            }
        };
        Ok(Given { name: Some(name.into()), source })
    }
}

/// `FILE[:PART]`. A colon belongs to the file where such a file exists, or where it follows a drive's letter.
fn split_path(text: &str) -> (PathBuf, Option<String>) {
    let whole = PathBuf::from(text);
    match text.rsplit_once(':') {
        Some((path, part)) if path.len() > 1 && !part.is_empty() && !part.contains(['/', '\\']) && !whole.exists() => {
            (path.into(), Some(part.into()))
        }
        _ => (whole, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_files_tensors_or_numbers() {
        let file =
            |path: &str, tensor: Option<&str>| Source::File { path: path.into(), tensor: tensor.map(Into::into) };
        for (text, name, source) in [
            ("near=2", "near", Source::Number(2.0)),
            ("near=-1.5e-3", "near", Source::Number(-1.5e-3)),
            ("rays_o=golden.safetensors:in.rays_o", "rays_o", file("golden.safetensors", Some("in.rays_o"))),
            ("image=a=b.png", "image", file("a=b.png", None)),
            ("image=C:\\photo.png", "image", file("C:\\photo.png", None)),
            ("image=dir/x.npy", "image", file("dir/x.npy", None)),
        ] {
            assert_eq!(text.parse(), Ok(Given { name: Some(name.into()), source }), "{text}");
        }
        assert_eq!("a:b.png".parse(), Ok(Given { name: None, source: file("a:b.png", None) }));
        assert!("".parse::<Given>().is_err());
        assert!("=x".parse::<Given>().is_err());
    }

    #[test]
    fn assignments_have_both_sides() {
        let assignment = Assignment { name: "ray".into(), value: "4096".into() };
        assert_eq!("ray=4096".parse(), Ok(assignment));
        assert!("ray".parse::<Assignment>().is_err());
        assert!("ray=".parse::<Assignment>().is_err());
    }
}
