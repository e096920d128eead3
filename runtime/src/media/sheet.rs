//! Contact sheets: many pictures in one, each with a caption.

use super::canvas::{self, Align};
use super::{Background, Picture};

const GAP: usize = 6;

/// How wide a picture of a sheet should be, in pixels.
const READABLE: usize = 128;

const INK: [f32; 3] = [0.15, 0.16, 0.18];

/// A grid of `columns` columns, filled row by row, on white, a caption under each picture (none where
/// all captions are empty). Cells have the size of the largest picture; captions too long for their
/// cell are cut.
///
/// # Panics
/// If there are no pictures or no columns.
pub fn sheet(pictures: &[(&Picture, &str)], columns: usize) -> Picture {
    assert!(!pictures.is_empty() && columns > 0, "a sheet has pictures and columns");
    let columns = columns.min(pictures.len());
    let rows = pictures.len().div_ceil(columns);
    let width = pictures.iter().map(|(p, _)| p.width).max().unwrap_or(1);
    let height = pictures.iter().map(|(p, _)| p.height).max().unwrap_or(1);
    let size = (width as f32 / 22.0).clamp(6.0, 14.0);
    let captioned = pictures.iter().any(|(_, caption)| !caption.is_empty());
    let band = if captioned { (size * 2.0) as usize } else { 0 };
    let (cell_width, cell_height) = (width + GAP, height + band + GAP);
    let mut out = Picture::new(columns * cell_width + GAP, rows * cell_height + GAP, 3);
    out.values.fill(1.0);
    for (i, (picture, caption)) in pictures.iter().enumerate() {
        let left = GAP + i % columns * cell_width + (width - picture.width) / 2;
        let top = GAP + i / columns * cell_height + (height - picture.height) / 2;
        paste(&mut out, picture, left, top);
        let mut caption = caption.to_string();
        while canvas::text_width(&caption, size) > width as f32 {
            caption.pop();
        }
        let middle = (GAP + i % columns * cell_width) as f32 + width as f32 / 2.0;
        let base = (GAP + i / columns * cell_height + height) as f32 + size * 1.5;
        canvas::text(&mut out, &caption, [middle, base], size, Align::Middle, INK);
    }
    out
}

/// A small picture with pixels that can be seen, and room for a caption; a large one as it is.
pub fn readable(picture: &Picture) -> Picture {
    let factor = READABLE.div_ceil(picture.width.max(1));
    let at = |x: usize, y: usize, channel: usize| picture.pixel(x / factor, y / factor)[channel];
    Picture::from_fn(picture.width * factor, picture.height * factor, picture.channels, at)
}

fn paste(out: &mut Picture, picture: &Picture, left: usize, top: usize) {
    let rgb = picture.over(Background::White).rgb();
    for (y, line) in rgb.values.chunks_exact(rgb.width * 3).enumerate() {
        let start = ((top + y) * out.width + left) * 3;
        out.values[start..start + line.len()].copy_from_slice(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_lie_in_rows_with_captions_below() {
        let red = Picture::from_fn(40, 30, 3, |_, _, c| if c == 0 { 1.0 } else { 0.0 });
        let grey = Picture::from_fn(20, 30, 1, |_, _, _| 0.5);
        let out = sheet(&[(&red, "a caption that is too long for it"), (&grey, "b"), (&red, "")], 2);
        assert_eq!((out.width, out.height), (2 * 46 + 6, 2 * (30 + 12 + 6) + 6));
        assert_eq!(out.pixel(6, 6), [1.0, 0.0, 0.0]);
        assert_eq!(out.pixel(6 + 46 + 10, 6), [0.5; 3]);
        let dark = |x: std::ops::Range<usize>| {
            x.flat_map(|x| (37..47).map(move |y| (x, y))).filter(|&(x, y)| out.pixel(x, y)[1] < 0.6).count()
        };
        assert!(dark(6..46) > 20 && dark(52..92) > 3);
        assert_eq!(sheet(&[(&grey, "")], 5).height, 42);
    }
}
