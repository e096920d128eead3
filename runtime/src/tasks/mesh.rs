//! `Mesh(…)`: the surface where a density takes a value, as a mesh with vertex colours.
//!
//! | option | meaning |
//! |---|---|
//! | `resolution` | grid points along the longest side; 128 unless given |
//! | `low`, `high` | corners of the box, as lists or one number; ±1.2 unless given |
//! | `level` | the density of the surface; 10 unless given |
//! | `density`, `colour` | the program's outputs; `"sigma"` and `"rgb"` unless given. Without colour the mesh has none |
//! | `file` | `"mesh.ply"` unless given; `.obj` works as well. Where `--out` is such a file, it is that one |
//!
//! Fields: `position` and `view` (three numbers a point). Colours are those seen along the surface's
//! normal, from outside.

use super::{
    Context, Results, TaskError,
    rays::{Chunked, Fields, Shared},
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
    options.finish()?;
    let sides = [0, 1, 2].map(|k| high[k] - low[k]);
    let longest = sides.iter().copied().fold(0.0, f64::max);
    if sides.iter().any(|side| side.is_nan() || *side <= 0.0) {
        return Err(options.error("`high` must be above `low` in x, y and z").into());
    }

    let mut program = Chunked::new(context, name, task, &shared, &[("position", 3), ("view", 3)])?;
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
    let count = size.iter().product();
    let positions: Vec<f32> = (0..count).flat_map(|index| grid.point(index)).collect();
    let downwards = [0.0, 0.0, -1.0].repeat(count);
    let bar = console::bar(count as u64, "{spinner} {bar:30} {percent:>3}%  {human_pos} points, {per_sec}, {eta} left");
    let fields: Fields<'_> = [("position", (3, positions.as_slice())), ("view", (3, downwards.as_slice()))].into();
    let found = program.run(count, &fields, &[&density], state, &|points| bar.inc(points as u64))?;
    bar.finish_and_clear();
    grid.values = found.into_iter().next().unwrap_or_default();

    let mut mesh = isosurface(&grid, level as f32);
    if mesh.triangles.is_empty() {
        let (least, most) =
            grid.values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), v| (a.min(*v), b.max(*v)));
        let problem =
            format!("there is no surface of density {level} in the box: densities run from {least} to {most}");
        return Err(TaskError::Unsuitable(problem));
    }
    if mesh.normals.is_empty() {
        mesh.compute_normals();
    }
    if has_colour {
        mesh.colours = colours(&mesh, &mut program, &colour, state)?;
    }
    let path = if is_file(context.out) { context.out.to_owned() } else { context.out.join(file) };
    mesh.save(&path)?;
    let figures =
        vec![("vertices".into(), mesh.positions.len() as f64), ("triangles".into(), mesh.triangles.len() as f64)];
    Ok(Results { figures, files: vec![path], ..Results::default() })
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
