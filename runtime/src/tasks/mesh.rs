//! `Mesh(…)`: the surface where a density takes a value, as a mesh with vertex colours.
//!
//! | option | meaning |
//! |---|---|
//! | `resolution` | grid points along the longest side; 128 unless given |
//! | `low`, `high` | corners of the box, as lists or one number; ±1.2 unless given |
//! | `level` | the density of the surface; 10 unless given |
//! | `density`, `colour` | the program's outputs; `"sigma"` and `"rgb"` unless given. Without colour the mesh has none |
//! | `file` | `"mesh.ply"` unless given; `.obj` works as well. Where `--out` is such a file, it is that one |
//! | `codes`, `latent`, `mean`, `psi` | for the field of a generator, how seeds become codes, as [`codes`] says |
//! | `seeds` | for the field of a generator, a list, or a text such as `"0-19,33"`; 0 unless given |
//!
//! The field of a generator has inputs with the names of codes, without an axis of images or with one of one image. There is
//! then a mesh a seed, `mesh-0003.ply`.
//!
//! Fields: `position` and `view` (three numbers a point). Colours are those seen along the surface's
//! normal, from outside.

use super::{
    Companions, Context, Results, TaskError,
    codes::{self, CodeSettings, Coder, Codes},
    files::Names,
    generate::label,
    rays::{Chunked, Fields, Shared},
    seeds::seeds,
};
use crate::{
    buffer::State,
    console,
    geometry::{Mesh, ScalarGrid, isosurface},
    media::to_byte,
    options::Options,
};
use std::path::Path;
use visage_compiler::system::Task;

/// Runs the driver.
///
/// # Errors
/// As [`drive`](super::drive); also where there is no surface of this level in the box.
pub fn mesh(
    context: &Context<'_>,
    name: &str,
    task: &Task,
    options: &mut Options,
    state: &mut State,
) -> Result<Results, TaskError> {
    let shared = Shared::read(options)?;
    let resolution = options.count("resolution", 2)?.unwrap_or(128);
    let low = options.numbers::<3>("low")?.unwrap_or([-1.2; 3]);
    let high = options.numbers::<3>("high")?.unwrap_or([1.2; 3]);
    let level = options.number("level")?.unwrap_or(10.0);
    let density = options.text("density")?.unwrap_or_else(|| "sigma".into());
    let colour_given = options.text("colour")?;
    let file = options.text("file")?.unwrap_or_else(|| "mesh.ply".into());
    let of_codes = CodeSettings::read(options)?;
    let seeds = seeds(options)?;
    options.finish()?;
    let sides = [0, 1, 2].map(|k| high[k] - low[k]);
    let longest = sides.iter().copied().fold(0.0, f64::max);
    if sides.iter().any(|side| side.is_nan() || *side <= 0.0) {
        return Err(options.error("`high` must be above `low` in x, y and z").into());
    }

    let is_file = is_file(context.out);
    let mut coder = match of_codes.is_needed() || seeds.is_some() {
        true => Some(Coder::new(context, name, &of_codes, state)?),
        false => None,
    };
    let seeds = seeds.unwrap_or_else(|| vec![0]);
    if is_file && seeds.len() > 1 {
        let problem =
            format!("{} meshes do not go into {}: give a folder with `--out`", seeds.len(), context.out.display());
        return Err(TaskError::Unsuitable(problem));
    }
    let codes = match &mut coder {
        Some(coder) => coder.codes(seeds[0], state)?,
        None => Codes::new(),
    };
    let fields = [("position", 3), ("view", 3)];
    let mut program = Chunked::new(context, name, task, &shared, &fields, &codes)?;
    let colour = colour_given.clone().unwrap_or_else(|| "rgb".into());
    let has_colour = program.width(&colour) == Some(3);
    if program.width(&density) != Some(1) || (colour_given.is_some() && !has_colour) {
        let wrong = if program.width(&density) == Some(1) { &colour } else { &density };
        let help = crate::names::suggestion(wrong, program.outputs().collect::<Vec<_>>());
        return Err(TaskError::Unsuitable(format!(
            "the task `{name}` has no output `{wrong}` of the right width: {help}"
        )));
    }

    let points = |side: f64| ((resolution as f64 * side / longest).round() as usize).max(2);
    let size = sides.map(points);
    let to_f32 = |corner: [f64; 3]| corner.map(|x| x as f32);
    let mut grid = ScalarGrid { values: Vec::new(), size, low: to_f32(low), high: to_f32(high) };
    let positions: Vec<f32> = (0..size.iter().product()).flat_map(|index| grid.point(index)).collect();
    let mut names = Names::default();
    let mut results = Results::default();
    let mut sums = [0.0; 2];
    for seed in &seeds {
        let whose = if coder.is_some() { format!("seed {seed}: ") } else { String::new() };
        if let Some(coder) = &mut coder {
            program.set_codes(&coder.codes(*seed, state)?);
        }
        grid.values = densities(&positions, &mut program, &density, state)?;
        let mut mesh = isosurface(&grid, level as f32);
        if mesh.triangles.is_empty() {
            let (least, most) =
                grid.values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), v| (a.min(*v), b.max(*v)));
            return Err(TaskError::Unsuitable(format!(
                "{whose}there is no surface of density {level} in the box: densities run from {least} to {most}"
            )));
        }
        if mesh.normals.is_empty() {
            mesh.compute_normals();
        }
        if has_colour {
            mesh.colours = colours(&mesh, &mut program, &colour, state)?;
        }
        let path = match (is_file, coder.is_some()) {
            (true, _) => context.out.to_owned(),
            (false, false) => context.out.join(&file),
            (false, true) => {
                let (stem, ending) = file.rsplit_once('.').unwrap_or((&file, "ply"));
                context.out.join(format!("{stem}-{}.{ending}", names.unlike(&label(*seed))))
            }
        };
        mesh.save(&path)?;
        results.files.push(path);
        sums = [sums[0] + mesh.positions.len() as f64, sums[1] + mesh.triangles.len() as f64];
    }
    results.figures = vec![("vertices".into(), sums[0]), ("triangles".into(), sums[1])];
    Ok(results)
}

/// The tasks of codes and of their means.
pub fn companions(options: Options) -> Companions {
    codes::companions(options)
}

/// The density at each point.
fn densities(positions: &[f32], program: &mut Chunked, output: &str, state: &mut State) -> Result<Vec<f32>, TaskError> {
    let count = positions.len() / 3;
    let downwards = [0.0, 0.0, -1.0].repeat(count);
    let bar = console::bar(count as u64, "{spinner} {bar:30} {percent:>3}%  {human_pos} points, {per_sec}, {eta} left");
    let fields: Fields<'_> = [("position", (3, positions)), ("view", (3, downwards.as_slice()))].into();
    let found = program.run(count, &fields, &[output], state, &|points| bar.inc(points as u64))?;
    bar.finish_and_clear();
    Ok(found.into_iter().next().unwrap_or_default())
}

/// Whether a path names a mesh rather than the folder for one.
pub fn is_file(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "ply" || ending == "obj") && !path.is_dir()
}

/// What is seen of each vertex from straight outside.
fn colours(mesh: &Mesh, program: &mut Chunked, output: &str, state: &mut State) -> Result<Vec<[u8; 3]>, TaskError> {
    let inwards: Vec<f32> = mesh.normals.iter().flatten().map(|x| -x).collect();
    let fields: Fields<'_> =
        [("position", (3, mesh.positions.as_flattened())), ("view", (3, inwards.as_slice()))].into();
    let found = program.run(mesh.positions.len(), &fields, &[output], state, &|_| {})?;
    let values = found.into_iter().next().unwrap_or_default();
    Ok(values.chunks_exact(3).map(|rgb| [rgb[0], rgb[1], rgb[2]].map(to_byte)).collect())
}
