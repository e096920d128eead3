//! `visage data batch`: a batch of pictures as training would see it, as one picture.

use super::super::{
    arguments::SpecArguments,
    failure::{Diagnosed, Failure, Outcome},
    print,
    source::Source as SpecSource,
    table::Table,
    train::DataFolder,
};
use crate::{
    data::{PictureBatches, Sample},
    media::{Picture, sheet},
    sources::Source,
};
use std::{path::PathBuf, time::Instant};

/// See a batch of pictures: each picture, with its pitch and yaw where it has them, and below it what each degradation makes of it.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    spec: SpecArguments,

    /// The data source, by its name in the spec
    source: String,

    /// Folder of pictures, instead of the spec's
    #[arg(long, value_name = "[SOURCE=]DIR")]
    data: Option<DataFolder>,

    /// The number of the batch
    #[arg(long, value_name = "N", default_value_t = 0)]
    number: u64,

    /// Pictures in a batch
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    count: u16,

    /// Where the sheet goes: a .png or .jpg file
    #[arg(long, value_name = "FILE", default_value = "batch.png")]
    out: PathBuf,

    /// Seed of the order and of everything drawn, as of `visage train`
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Runs the command.
pub fn batch(arguments: &Arguments) -> Outcome {
    let system = SpecSource::open(&arguments.spec)?.system()?;
    let name = arguments.source.as_str();
    let Some(call) = system.data.get(name) else {
        let help = crate::names::suggestion(name, system.data.keys().map(String::as_str));
        return Err(Failure::usage(format!("the spec has no data source `{name}`: {help}")));
    };
    if let Some(folder) = arguments.data.as_ref().filter(|folder| !folder.source.is_empty() && folder.source != name) {
        return Err(Failure::usage(format!("`--data` is for `{}`, and the batch is of `{name}`", folder.source)));
    }
    let folder = arguments.data.as_ref().map(|folder| folder.path.as_path());
    let opened = Source::open(name, call, folder, &PathBuf::from("runs/data"), arguments.seed).diagnosed()?;
    let described = opened.describe();
    let Source::Pictures(source) = opened else {
        return Err(Failure::usage(format!("`{name}` is {}(…), and batches of Pictures(…) can be seen", call.kind)));
    };
    let (batches, count) = (&source.batches, usize::from(arguments.count));
    let samples: Vec<Sample> =
        (0..count as u64).map(|place| batches.sample(arguments.number * count as u64 + place)).collect();
    let mut cells = Vec::new();
    let mut table = Table::new(&["field", ">ms a picture"]);
    for field in source.picture_fields() {
        let started = Instant::now();
        cells.extend(samples.iter().map(|sample| cell(batches, sample, field)));
        let seconds = started.elapsed().as_secs_f64();
        table.row([field.to_owned(), format!("{:.1}", seconds * 1e3 / count as f64)]);
    }
    let shown: Vec<(&Picture, &str)> = cells.iter().map(|(picture, caption)| (picture, caption.as_str())).collect();
    sheet(&shown, count).save(&arguments.out)?;
    print(&format!("{name}: {described}\n\n{table}\n{}\n", arguments.out.display()));
    Ok(())
}

/// One field of a sample, with what it is.
fn cell(batches: &PictureBatches, sample: &Sample, field: &str) -> (Picture, String) {
    if let Some(worse) = batches.degraded(sample, field) {
        return (worse, field.to_owned());
    }
    let stem = batches.pictures.path(sample.index).file_stem().unwrap_or_default().to_string_lossy();
    let flipped = if sample.flipped { " flipped" } else { "" };
    let pose = sample.pose.map_or_else(String::new, |pose| format!(" {:.2} {:.2}", pose.pitch, pose.yaw));
    // With poses there is room for a number, not for a name.
    let stem = if pose.is_empty() { format!(" {stem}") } else { String::new() };
    (sample.picture.clone(), format!("{}{stem}{pose}{flipped}", sample.index))
}
