//! `Evaluate(…)`: held-out views against the pictures of them.
//!
//! | option | meaning |
//! |---|---|
//! | `count` | how many views, spread evenly over the held-out ones; all unless given |
//! | `scale` | shrink views by this factor, for a quick look |
//! | `pictures` | whether to write side-by-side pictures; true unless given |
//! | `colour`, `depth`, `opacity` | as for `Render` |
//!
//! PSNR (dB) and SSIM are taken of each picture and averaged. Writes `evaluation.json` and
//! `NAME.png`: the photograph, the rendering and, where there is one, the depth.

use super::{
    Context, Results, TaskError,
    rays::Shared,
    render::{Renderer, held_out, progress},
};
use crate::{
    buffer::State,
    data::DataError,
    media::{Background, Picture, sheet},
    metrics::{psnr, ssim},
    options::Options,
    table::Table,
};
use serde_json::json;
use visage_compiler::system::Task;

/// Runs the driver.
///
/// # Errors
/// As [`drive`](super::drive).
pub fn evaluate(
    context: &Context<'_>,
    name: &str,
    task: &Task,
    options: &mut Options,
    state: &mut State,
) -> Result<Results, TaskError> {
    let shared = Shared::read(options)?;
    let count = options.count("count", 1)?;
    let scale = options.number("scale")?.unwrap_or(1.0);
    let with_pictures = options.switch("pictures")?.unwrap_or(true);
    if !(scale >= 1.0 && scale.is_finite()) {
        return Err(options.error("`scale` must be a factor from 1 up").into());
    }
    let scene = context.sources.scene(shared.data.as_deref())?;
    let mut renderer = Renderer::new(context, name, task, &shared, options)?;
    options.finish()?;

    let images = &scene.images;
    let chosen = spread(&held_out(images), count);
    let shrunk = |size: usize| ((size as f64 / scale).round() as usize).max(1);
    let cameras: Vec<_> = chosen
        .iter()
        .map(|index| &images.frames[*index].camera)
        .map(|camera| camera.resized(shrunk(camera.width), shrunk(camera.height)))
        .collect();
    let rays: usize = cameras.iter().map(|camera| camera.width * camera.height).sum();
    let bar = progress(rays as u64);
    let mut results = Results::default();
    let mut table = Table::new(&["view", ">PSNR (dB)", ">SSIM"]);
    let mut views = Vec::new();
    let mut sums = [0.0; 2];
    for (index, camera) in chosen.iter().zip(&cameras) {
        let frame = &images.frames[*index];
        let background = if images.background == Background::Keep { Background::White } else { images.background };
        let mut truth = frame.image.picture().over(background).rgb();
        if scale > 1.0 {
            truth = truth.resize(camera.width, camera.height);
        }
        let view = renderer.view(images, camera, &frame.pose, state, &|rays| bar.inc(rays as u64))?;
        // What is compared is what a file would hold: values between 0 and 1.
        let mut rendering = view.colour_picture();
        rendering.values.iter_mut().for_each(|value| *value = value.clamp(0.0, 1.0));
        let figures = [psnr(&rendering.values, &truth.values), ssim(&rendering, &truth)];
        let shown = frame.name.trim_start_matches("./");
        table.row([shown.to_owned(), format!("{:.2}", figures[0]), format!("{:.4}", figures[1])]);
        views.push(json!({ "view": shown, "psnr": figures[0], "ssim": figures[1] }));
        sums = [sums[0] + figures[0], sums[1] + figures[1]];
        if with_pictures {
            let caption = format!("{:.2} dB", figures[0]);
            let depth = view.depth_picture(images);
            let mut row: Vec<(&Picture, &str)> = vec![(&truth, "photograph"), (&rendering, &caption)];
            row.extend(depth.as_ref().map(|depth| (depth, "depth")));
            let columns = row.len();
            let picture = sheet(&row, columns);
            let path = context.out.join(shown.replace(['/', '\\'], "-")).with_extension("png");
            picture.save(&path)?;
            results.files.push(path);
            results.pictures.push((format!("{name}/{shown}"), picture));
        }
    }
    bar.finish_and_clear();
    let [psnr, ssim] = sums.map(|sum| sum / chosen.len().max(1) as f64);
    table.row(["mean".into(), format!("{psnr:.2}"), format!("{ssim:.4}")]);
    let path = context.out.join("evaluation.json");
    let summary = json!({ "psnr": psnr, "ssim": ssim, "views": views });
    std::fs::write(&path, format!("{summary:#}\n")).map_err(DataError::io(&path))?;
    results.files.push(path);
    results.figures = vec![("psnr".into(), psnr), ("ssim".into(), ssim)];
    results.table = Some(table.to_string());
    Ok(results)
}

/// `count` of the indices, evenly spread.
fn spread(indices: &[usize], count: Option<usize>) -> Vec<usize> {
    let count = count.unwrap_or(indices.len()).min(indices.len());
    (0..count).map(|i| indices[i * indices.len() / count]).collect()
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn views_are_spread_evenly() {
        assert_eq!(spread(&[3, 5, 7, 9], Some(2)), [3, 7]);
        assert_eq!(spread(&[3, 5, 7, 9], None), [3, 5, 7, 9]);
        assert_eq!(spread(&[3, 5], Some(9)), [3, 5]);
    }
}
