//! Folders of pictures of every kind, and samples drawn from them.

use std::collections::BTreeSet;
use std::sync::Arc;

use indexmap::IndexMap;
use jpeg_encoder::{ColorType, Encoder};

use super::*;
use crate::data::degradation::Degradation;
use crate::media::{Background, turned_jpeg};

const OPTIONS: PictureOptions =
    PictureOptions { side: 2, crop: Crop::Centre, background: Background::White, hold_out: 0, poses: false };

/// A square of one colour.
fn plain(path: &Path, side: usize, colour: &[f32]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    Picture::from_fn(side, side, colour.len(), |_, _, c| colour[c]).save(path).unwrap();
}

/// Whether every pixel is this colour, to within a byte or the loss of a JPEG.
#[track_caller]
fn assert_colour(pictures: &Pictures, index: usize, colour: [f32; 3], tolerance: f32) {
    let picture = pictures.picture(index);
    assert_eq!((picture.width, picture.height, picture.channels), (2, 2, 3));
    let name = pictures.path(index).display();
    for pixel in picture.values.chunks_exact(3) {
        assert!(pixel.iter().zip(colour).all(|(a, b)| (a - b).abs() <= tolerance), "{name}: {pixel:?} for {colour:?}");
    }
}

/// Red and blue like a chessboard, by indices into a palette.
const PALETTE: &str = concat!(
    "89504e470d0a1a0a0000000d49484452000000020000000208030000004568fd1600000006504c5445ff00000066cce0",
    "d650b90000000c49444154789c636060044200000c00032b63cb500000000049454e44ae426082",
);

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

#[test]
fn pictures_of_every_kind_are_read_in_the_order_of_their_paths() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(at("b/deep")).unwrap();
    plain(&at("a.png"), 4, &[0.2, 0.4, 0.6]);
    plain(&at("b/alpha.png"), 3, &[1.0, 0.0, 0.0, 0.4]);
    let cmyk: Vec<u8> = [0u8, 255, 255, 0].repeat(64);
    Encoder::new(std::fs::File::create(at("b/cmyk.JPG")).unwrap(), 95).encode(&cmyk, 8, 8, ColorType::Cmyk).unwrap();
    image::ImageBuffer::<image::Rgb<u16>, _>::from_raw(2, 2, [13107u16, 26214, 65535].repeat(4))
        .unwrap()
        .save(at("b/deep/sixteen.png"))
        .unwrap();
    image::ImageBuffer::<image::Luma<u8>, _>::from_raw(8, 8, vec![51u8; 64]).unwrap().save(at("c.jpeg")).unwrap();
    image::ImageBuffer::<image::LumaA<u16>, _>::from_raw(1, 1, vec![0u16, 13107]).unwrap().save(at("d.png")).unwrap();
    std::fs::write(at("e.png"), from_hex(PALETTE)).unwrap();
    std::fs::write(at("notes.txt"), "no picture").unwrap();
    turned_jpeg(&at("turned.jpg"));

    let pictures = Pictures::load(folder.path(), &OPTIONS).unwrap();
    let names: Vec<String> = (0..pictures.count())
        .map(|i| pictures.path(i).strip_prefix(folder.path()).unwrap().to_string_lossy().replace('\\', "/"))
        .collect();
    let expected =
        ["a.png", "b/alpha.png", "b/cmyk.JPG", "b/deep/sixteen.png", "c.jpeg", "d.png", "e.png", "turned.jpg"];
    assert_eq!(names, expected);
    assert!(pictures.unreadable.is_empty() && pictures.held_out.is_empty());
    assert_colour(&pictures, 0, [0.2, 0.4, 0.6], 1e-6);
    assert_colour(&pictures, 1, [1.0, 0.6, 0.6], 1e-6);
    assert_colour(&pictures, 2, [1.0, 0.0, 0.0], 0.03);
    assert_colour(&pictures, 3, [0.2, 0.4, 1.0], 1e-6);
    assert_colour(&pictures, 4, [0.2; 3], 0.01);
    assert_colour(&pictures, 5, [0.8; 3], 1e-6);
    let palette = pictures.picture(6);
    assert_eq!((palette.pixel(0, 0), palette.pixel(1, 0)), (&[1.0, 0.0, 0.0][..], &[0.0, 0.4, 0.8][..]));
    // Stored as 8x4, growing brighter to the right; turned, it grows downwards, and its middle is cut out.
    let turned = pictures.picture(7);
    assert!(turned.pixel(0, 1)[0] > turned.pixel(0, 0)[0] + 0.2, "{turned:?}");
    assert!((turned.pixel(0, 0)[0] - turned.pixel(1, 0)[0]).abs() < 0.02, "{turned:?}");
    let black = Pictures::load(folder.path(), &PictureOptions { background: Background::Black, ..OPTIONS }).unwrap();
    assert_colour(&black, 1, [0.4, 0.0, 0.0], 1e-6);
}

#[test]
fn damaged_files_are_named_and_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    plain(&at("good.png"), 2, &[0.2, 0.4, 0.6]);
    let bytes = std::fs::read(at("good.png")).unwrap();
    std::fs::write(at("cut.png"), &bytes[..bytes.len() / 2]).unwrap();
    std::fs::write(at("empty.jpg"), "").unwrap();
    let pictures = Pictures::load(folder.path(), &OPTIONS).unwrap();
    assert_eq!(pictures.count(), 1);
    assert_colour(&pictures, 0, [0.2, 0.4, 0.6], 1e-6);
    let told: Vec<String> = pictures.unreadable.iter().map(ToString::to_string).collect();
    assert!(told.len() == 2 && told[0].contains("cut.png") && told[1].contains("empty.jpg"), "{told:?}");
    std::fs::remove_file(at("good.png")).unwrap();
    let error = Pictures::load(folder.path(), &OPTIONS).unwrap_err().to_string();
    assert!(error.contains("none of 2 pictures can be read") && error.contains("cut.png"), "{error}");
    let missing = Pictures::load(&at("nowhere"), &OPTIONS).unwrap_err().to_string();
    assert!(missing.contains("nowhere"), "{missing}");
    std::fs::create_dir(at("bare")).unwrap();
    let bare = Pictures::load(&at("bare"), &OPTIONS).unwrap_err().to_string();
    assert!(bare.contains("no .png, .jpg or .jpeg"), "{bare}");
}

#[test]
fn only_squares_are_taken_uncut() {
    let folder = tempfile::tempdir().unwrap();
    picture(&folder.path().join("wide.png"), 6, 4, 3);
    let whole = PictureOptions { crop: Crop::None, ..OPTIONS };
    let error = Pictures::load(folder.path(), &whole).unwrap_err().to_string();
    assert!(error.contains("wide.png") && error.contains("6 x 4 pixels"), "{error}");
    assert_eq!(Pictures::load(folder.path(), &OPTIONS).unwrap().count(), 1);
    std::fs::remove_file(folder.path().join("wide.png")).unwrap();
    picture(&folder.path().join("square.png"), 6, 6, 3);
    assert_eq!(Pictures::load(folder.path(), &whole).unwrap().count(), 1);
}

/// Pictures whose numbers are their red, brighter on the left.
fn numbered(count: usize, hold_out: usize) -> (tempfile::TempDir, Arc<Pictures>) {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..count {
        let file = folder.path().join(format!("{number:03}.png"));
        Picture::from_fn(2, 2, 3, |x, _, c| if c == 0 { number as f32 / 255.0 } else { 0.8 - 0.4 * x as f32 })
            .save(&file)
            .unwrap();
    }
    let pictures = Pictures::load(folder.path(), &PictureOptions { hold_out, ..OPTIONS }).unwrap();
    (folder, Arc::new(pictures))
}

fn batches(pictures: &Arc<Pictures>, seed: u64) -> PictureBatches {
    PictureBatches { pictures: pictures.clone(), flip: true, degradations: IndexMap::new(), seed }
}

/// The number that a picture of [`numbered`] shows.
fn shown(sample: &Sample) -> usize {
    (sample.picture.pixel(0, 0)[0] * 255.0).round() as usize
}

#[test]
fn held_out_pictures_are_never_drawn() {
    let (_folder, pictures) = numbered(11, 4);
    let held: Vec<_> = pictures.held_out.iter().map(|path| path.file_stem().unwrap().to_string_lossy()).collect();
    assert_eq!(held, ["000", "004", "008"]);
    let batches = batches(&pictures, 1);
    let drawn: BTreeSet<usize> = (0..64).map(|number| shown(&batches.sample(number))).collect();
    assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [1, 2, 3, 5, 6, 7, 9, 10]);
    let all = Pictures::load(_folder.path(), &PictureOptions { hold_out: 1, ..OPTIONS }).unwrap_err().to_string();
    assert!(all.contains("all of its 11 pictures are held out"), "{all}");
}

#[test]
fn every_picture_comes_once_before_any_comes_again() {
    let (_folder, pictures) = numbered(10, 0);
    let batches = batches(&pictures, 3);
    let epoch =
        |number: u64| -> Vec<usize> { (10 * number..10 * number + 10).map(|n| batches.sample(n).index).collect() };
    let (one, two) = (epoch(0), epoch(1));
    for order in [&one, &two] {
        assert_eq!(order.iter().copied().collect::<BTreeSet<_>>(), (0..10).collect());
    }
    assert_ne!(one, two);
    assert_ne!(one, (0..10).collect::<Vec<_>>());
    let sample = batches.sample(4);
    assert_eq!((sample.number, sample.index), (4, shown(&sample)));
}

#[test]
fn half_of_the_samples_are_mirrored_and_say_so() {
    let (_folder, pictures) = numbered(7, 0);
    let mut batches = batches(&pictures, 5);
    let mut flipped = 0;
    for number in 0..400 {
        let sample = batches.sample(number);
        assert_eq!(sample.flipped, sample.picture.pixel(0, 0)[1] < sample.picture.pixel(1, 0)[1]);
        flipped += usize::from(sample.flipped);
    }
    assert!((160..240).contains(&flipped), "{flipped}");
    batches.flip = false;
    assert!((0..50).all(|number| !batches.sample(number).flipped));
}

#[test]
fn samples_depend_on_seed_and_number_alone() {
    let (_folder, pictures) = numbered(9, 0);
    let noisy = Degradation { noise: Some([5.0, 20.0]), ..Degradation::default() };
    let make = |seed| PictureBatches {
        degradations: IndexMap::from([("low".to_owned(), noisy.clone())]),
        ..batches(&pictures, seed)
    };
    let (one, other) = (make(2), make(3));
    let later = one.sample(20);
    let _ = one.sample(3);
    assert_eq!(one.sample(20), later);
    let degraded = one.degraded(&later, "low").unwrap();
    assert_eq!(make(2).degraded(&later, "low").unwrap(), degraded);
    // What is drawn is of the sample, so the same picture is made worse in another way when it comes again.
    assert_ne!(one.degraded(&Sample { number: 21, ..later.clone() }, "low").unwrap(), degraded);
    assert!(one.degraded(&later, "high").is_none());
    assert!((0..9).any(|number| one.sample(number).index != other.sample(number).index));
}
