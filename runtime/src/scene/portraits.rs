//! Portraits of heads that all differ.

use std::{f64::consts::FRAC_PI_2, path::Path};

use glam::{DVec3, Vec2, Vec3};
use rayon::prelude::*;

use super::head::{Hair, Head, linear};
use super::render::{Light, Renderer, lights};
use crate::data::{DataError, Draws, Intrinsics, PoseLabel};
use crate::geometry::Pose;
use crate::media::Picture;

/// The horizontal field of view of a portrait, in radians: the head fills most of it.
const FIELD: f64 = 0.37;
/// From the camera to the middle of the head.
const DISTANCE: f64 = 4.0;

/// How many portraits are made, and how large.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadsOptions {
    /// Width and height in pixels.
    pub resolution: usize,
    /// How many heads, each in one portrait.
    pub count: usize,
    /// Of everything that differs.
    pub seed: u64,
    /// Standard deviations of the camera's pitch and yaw, in radians, about upright heads. Unless given, cameras stand up to 20° aside
    /// and 8° above or below, and heads are a little aslant.
    pub deviations: Option<[f64; 2]>,
}

impl Default for HeadsOptions {
    fn default() -> HeadsOptions {
        HeadsOptions { resolution: 128, count: 64, seed: 0, deviations: None }
    }
}

/// The file of the portrait of a number.
pub fn portrait_name(number: usize) -> String {
    format!("{number:05}.png")
}

/// Writes a PNG for each head into `folder`, which is made if there is none. The same options give the same files,
/// and a head is the same however many there are.
///
/// # Errors
/// No heads, a resolution that is not between 8 and 4096, a deviation that is not between 0 and 1, or files that cannot be
/// written.
pub fn generate_heads(folder: &Path, options: &HeadsOptions) -> Result<(), DataError> {
    if options.count == 0 || !(8..=4096).contains(&options.resolution) {
        return Err(DataError::Options(format!(
            "{} portraits of {} pixels: at least one is needed, of 8 to 4096 pixels",
            options.count, options.resolution
        )));
    }
    if let Some(wrong) = options.deviations.iter().flatten().find(|deviation| !(0.0..=1.0).contains(*deviation)) {
        return Err(DataError::Options(format!("cameras that deviate by {wrong}: radians between 0 and 1 are needed")));
    }
    std::fs::create_dir_all(folder).map_err(DataError::io(folder))?;
    (0..options.count)
        .into_par_iter()
        .try_for_each(|number| portrait(options, number as u64).save(&folder.join(portrait_name(number))))
}

/// Where the cameras of the portraits stand, as [`POSE_TABLE`](crate::data::POSE_TABLE) has it.
pub fn pose_table(options: &HeadsOptions) -> String {
    let rows = (0..options.count).map(|number| {
        let label = stand(options, number as u64).label();
        format!("{},{},{}\n", portrait_name(number), label.pitch, label.yaw)
    });
    std::iter::once("file,pitch,yaw\n".to_owned()).chain(rows).collect()
}

/// The portrait of one head, RGB, from in front and a little aside: everything is drawn from the seed and the
/// number.
pub fn portrait(options: &HeadsOptions, number: u64) -> Picture {
    let resolution = options.resolution;
    let draws = |what: &str| Draws::new(options.seed, number, what);
    let camera = Intrinsics::from_angle(resolution, resolution, FIELD);
    let head = Renderer::new(head(&mut draws("head")), light(&mut draws("light")));
    let mut picture = head.picture(&camera, &stand(options, number).pose());
    lay_over(&mut picture, &mut draws("background"));
    Picture::from_fn(resolution, resolution, 3, |x, y, c| picture.pixel(x, y)[c])
}

fn vector(draws: &mut Draws, low: [f64; 3], high: [f64; 3]) -> Vec3 {
    Vec3::from([0, 1, 2].map(|k| draws.between([low[k], high[k]]) as f32))
}

/// One of several colours, a little lighter or darker.
fn colour(draws: &mut Draws, choices: &[[f32; 3]], spread: f64) -> Vec3 {
    let [r, g, b] = choices[draws.whole(0..choices.len())];
    linear(r, g, b) * draws.between([1.0 - spread, 1.0 + spread]) as f32
}

fn head(draws: &mut Draws) -> Head {
    let number = |draws: &mut Draws, low: f64, high: f64| draws.between([low, high]) as f32;
    const HAIR: [[f32; 3]; 6] = [
        [0.10, 0.08, 0.08],
        [0.20, 0.13, 0.09],
        [0.36, 0.24, 0.15],
        [0.62, 0.48, 0.28],
        [0.52, 0.22, 0.11],
        [0.60, 0.59, 0.58],
    ];
    const IRIS: [[f32; 3]; 4] = [[0.24, 0.42, 0.50], [0.25, 0.14, 0.08], [0.30, 0.38, 0.22], [0.42, 0.46, 0.50]];
    // What is left of red, green and blue, from fair to dark skin.
    let (fair, dark) = (Vec3::new(1.04, 1.04, 1.04), Vec3::new(0.17, 0.12, 0.10));
    let pigment = number(draws, 0.0, 1.0);
    let hair = colour(draws, &HAIR, 0.25);
    let iris = colour(draws, &IRIS, 0.2);
    let cloth = vector(draws, [0.02; 3], [0.6; 3]);
    Head {
        stretch: vector(draws, [0.90, 0.95, 0.95], [1.08, 1.05, 1.05]),
        jaw: number(draws, 0.86, 1.10),
        eye_shift: number(draws, -0.016, 0.016),
        nose: Vec2::new(number(draws, 0.8, 1.4), number(draws, 0.85, 1.10)),
        mouth: number(draws, 0.85, 1.2),
        lips: number(draws, 0.7, 1.3),
        hair: Hair {
            there: draws.chance(0.9),
            mirrored: draws.chance(0.5),
            lock: draws.chance(0.6),
            length: if draws.chance(0.4) { number(draws, 0.1, 0.4) } else { 0.0 },
        },
        skin: fair.lerp(dark, pigment),
        hair_colours: [hair, hair * 2.4],
        brows: hair * 1.1,
        iris: [iris, iris * 1.9],
        cloth: [cloth, cloth * 1.4],
    }
}

/// The usual lamps, with the key on either side, higher or lower, in warmer or cooler light.
fn light(draws: &mut Draws) -> [Light; 3] {
    let [key, fill, rim] = lights();
    let side = if draws.chance(0.5) { 1.0 } else { -1.0 };
    let towards = vector(draws, [0.1, 0.2, 0.6], [1.0, 0.9, 1.0]) * Vec3::new(side, 1.0, 1.0);
    let strength = |draws: &mut Draws, colour: Vec3| colour * vector(draws, [0.75; 3], [1.1; 3]);
    [
        Light { towards: towards.normalize(), colour: strength(draws, key.colour), ..key },
        Light { towards: fill.towards * Vec3::new(-side, 1.0, 1.0), colour: strength(draws, fill.colour), ..fill },
        Light { towards: rim.towards * Vec3::new(-side, 1.0, 1.0), colour: strength(draws, rim.colour), ..rim },
    ]
}

/// Where a camera stands, in radians from straight in front.
struct Stand {
    aside: f64,
    above: f64,
    /// How far the head is from upright.
    aslant: f64,
}

/// In front of the face.
fn stand(options: &HeadsOptions, number: u64) -> Stand {
    let mut draws = Draws::new(options.seed, number, "pose");
    match options.deviations {
        None => {
            let mut within = |degrees: f64| draws.between([-degrees, degrees]).to_radians();
            Stand { aside: within(20.0), above: within(8.0), aslant: within(6.0) }
        }
        Some([pitch, yaw]) => {
            // Short of where up and down are not to be told from in front and behind.
            let mut normal = |deviation: f64| (deviation * draws.normal()).clamp(-1.4, 1.4);
            Stand { aside: normal(yaw), above: normal(pitch), aslant: 0.0 }
        }
    }
}

impl Stand {
    fn pose(&self) -> Pose {
        let Stand { aside, above, aslant } = self;
        let eye = DVec3::new(aside.sin() * above.cos(), -aside.cos() * above.cos(), above.sin()) * DISTANCE;
        Pose::look_at(eye, DVec3::ZERO, DVec3::new(aslant.sin(), 0.0, aslant.cos()))
    }

    fn label(&self) -> PoseLabel {
        PoseLabel { pitch: FRAC_PI_2 - self.above, yaw: FRAC_PI_2 - self.aside }
    }
}

/// Lays a picture with alpha over two colours that run into each other, brighter in one place.
fn lay_over(picture: &mut Picture, draws: &mut Draws) {
    let (grey, tint) = (draws.between([0.1, 0.9]) as f32, vector(draws, [-0.2; 3], [0.2; 3]));
    let (first, second) = (tint + grey, vector(draws, [-0.25; 3], [0.25; 3]));
    let (sin, cos) = draws.between([0.0, std::f64::consts::TAU]).sin_cos();
    let (along, spot) = (Vec2::new(cos as f32, sin as f32), vector(draws, [-1.0, -1.0, -0.2], [1.0, 1.0, 0.3]));
    let size = Vec2::new(picture.width as f32, picture.height as f32);
    for y in 0..picture.height {
        for x in 0..picture.width {
            let at = Vec2::new(x as f32 + 0.5, y as f32 + 0.5) / size * 2.0 - 1.0;
            let glow = spot.z * (-2.0 * (at - spot.truncate()).length_squared()).exp();
            let behind = (first + second * (0.5 + 0.5 * at.dot(along)) + glow).clamp(Vec3::ZERO, Vec3::ONE);
            let pixel = picture.pixel_mut(x, y);
            let alpha = pixel[3];
            for (value, behind) in pixel[..3].iter_mut().zip(behind.to_array()) {
                *value = *value * alpha + behind * (1.0 - alpha);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portraits_are_the_same_again_and_differ_from_one_another() {
        let folder = tempfile::tempdir().unwrap();
        let options = HeadsOptions { resolution: 24, count: 6, seed: 3, deviations: None };
        generate_heads(folder.path(), &options).unwrap();
        let read = |number| Picture::load(&folder.path().join(portrait_name(number))).unwrap();
        let bytes = |picture: &Picture| picture.bytes();
        let mut middles = Vec::new();
        for number in 0..6 {
            let picture = read(number);
            assert_eq!((picture.width, picture.height, picture.channels), (24, 24, 3));
            assert_eq!(bytes(&picture), bytes(&portrait(&options, number as u64)));
            middles.push((picture.pixel(12, 13).to_vec(), picture.pixel(1, 1).to_vec()));
        }
        for (number, one) in middles.iter().enumerate() {
            for other in &middles[..number] {
                assert!(one.0 != other.0 && one.1 != other.1, "{one:?} {other:?}");
            }
        }
        assert_ne!(bytes(&portrait(&HeadsOptions { seed: 4, ..options }, 0)), bytes(&read(0)));
    }

    /// A camera is where its label says: on the line from the head's middle at those angles, in the head's coordinates.
    #[test]
    fn labels_say_where_cameras_stand() {
        let standard = HeadsOptions { count: 300, ..HeadsOptions::default() };
        let spread = HeadsOptions { deviations: Some([0.15, 0.3]), ..standard };
        for options in [standard, spread] {
            for number in 0..options.count as u64 {
                let stand = stand(&options, number);
                let (eye, label) = (stand.pose().centre() / DISTANCE, stand.label());
                let expected =
                    [label.pitch.sin() * label.yaw.cos(), label.pitch.cos(), label.pitch.sin() * label.yaw.sin()];
                // The world has z up and the face towards −y.
                let found = [eye.x, eye.z, -eye.y];
                assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?} {expected:?}");
            }
        }
        let deviation = |of: fn(&Stand) -> f64| {
            let values: Vec<f64> = (0..300).map(|number| of(&stand(&spread, number))).collect();
            (values.iter().map(|value| value * value).sum::<f64>() / 300.0).sqrt()
        };
        assert!((deviation(|stand| stand.above) - 0.15).abs() < 0.03);
        assert!((deviation(|stand| stand.aside) - 0.3).abs() < 0.06);
        assert_eq!(deviation(|stand| stand.aslant), 0.0);
        let table = pose_table(&HeadsOptions { count: 2, ..spread });
        let label = stand(&spread, 1).label();
        assert_eq!(table.lines().nth(2), Some(format!("00001.png,{},{}", label.pitch, label.yaw).as_str()));
    }

    #[test]
    fn senseless_options_are_refused() {
        let folder = Path::new("never-written");
        let standard = HeadsOptions::default();
        for options in [
            HeadsOptions { count: 0, ..standard },
            HeadsOptions { resolution: 5000, ..standard },
            HeadsOptions { deviations: Some([0.1, f64::NAN]), ..standard },
            HeadsOptions { deviations: Some([-0.1, 0.1]), ..standard },
        ] {
            assert!(generate_heads(folder, &options).is_err());
        }
    }
}
