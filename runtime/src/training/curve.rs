//! `curve.png`: how the measurements of a run went.

use super::measurements;
use crate::{
    data::DataError,
    media::{Axis, LinePlot, Picture, Series, sheet},
};
use std::path::Path;

/// Draws the columns of a table: losses above on a logarithmic scale, signal-to-noise ratios below.
///
/// # Errors
/// The table cannot be read, or the picture cannot be written.
pub fn draw(table: &Path, picture: &Path) -> Result<(), DataError> {
    let rows = measurements::read(table).map_err(DataError::io(table))?;
    let plot = |ending: &str, y: Axis| {
        let series: Vec<Series> = rows
            .columns
            .iter()
            .filter(|column| column.rsplit('.').next() == Some(ending))
            .map(|column| (column, rows.series(column)))
            .filter(|(_, points)| points.len() > 1)
            .map(|(name, points)| Series {
                name: name.clone(),
                smoothing: if points.len() > 50 { 0.95 } else { 0.0 },
                points,
            })
            .collect();
        let x = Axis { label: "round".into(), log: false };
        (!series.is_empty()).then(|| LinePlot { title: y.label.clone(), x, y, series }.draw(900, 480))
    };
    let plots: Vec<Picture> = [
        plot("loss", Axis { label: "loss".into(), log: true }),
        plot("psnr", Axis { label: "PSNR (dB)".into(), log: false }),
    ]
    .into_iter()
    .flatten()
    .collect();
    if plots.is_empty() {
        return Ok(());
    }
    let captioned: Vec<(&Picture, &str)> = plots.iter().map(|plot| (plot, "")).collect();
    sheet(&captioned, 1).save(picture)
}
