//! Pictures of the head: sphere tracing, a few lights, ambient occlusion.

use glam::{Vec3, Vec4};
use rayon::prelude::*;

use super::head::{Head, Material};
use crate::data::Intrinsics;
use crate::geometry::Pose;
use crate::media::Picture;

/// The head's box, in the head's coordinates.
const LOW: Vec3 = Vec3::new(-0.86, -0.98, -0.80);
const HIGH: Vec3 = Vec3::new(0.86, 0.76, 0.66);
/// Points of the coarse grid along each axis.
const POINTS: usize = 112;

/// The head with its distances sampled on a grid. The grid leads rays to the surface and gives the
/// soft shading; the surface itself comes from the exact distances.
pub struct Renderer {
    head: Head,
    lights: [Light; 3],
    grid: Vec<f32>,
    /// The length of a cell's diagonal: how wrong an interpolated distance can be.
    slack: f32,
}

/// World (z up, the face towards −y) to the head's coordinates (y up, face towards z).
fn to_head(v: [f32; 3]) -> Vec3 {
    Vec3::new(v[0], v[2], -v[1])
}

fn cell() -> Vec3 {
    (HIGH - LOW) / (POINTS - 1) as f32
}

/// A lamp far away.
#[derive(Clone, Copy, Debug)]
pub struct Light {
    /// Of unit length, in the head's coordinates.
    pub towards: Vec3,
    /// In linear light.
    pub colour: Vec3,
    /// Whether the head shades itself from it.
    pub shadow: bool,
}

/// A warm key from the upper left, a cool fill from the right, a rim from behind.
pub fn lights() -> [Light; 3] {
    let light = |x, y, z, colour, shadow| Light { towards: Vec3::new(x, y, z).normalize(), colour, shadow };
    [
        light(-0.55, 0.75, 0.9, Vec3::new(1.02, 0.97, 0.90), true),
        light(0.9, 0.15, 0.55, Vec3::new(0.26, 0.29, 0.34), false),
        light(0.35, 0.6, -0.9, Vec3::new(0.46, 0.47, 0.50), false),
    ]
}

impl Renderer {
    /// A head in some light.
    pub fn new(head: Head, lights: [Light; 3]) -> Renderer {
        let cell = cell();
        let grid = (0..POINTS * POINTS * POINTS)
            .into_par_iter()
            .map(|i| {
                let at = [i / (POINTS * POINTS), i / POINTS % POINTS, i % POINTS];
                head.parts(LOW + cell * Vec3::from(at.map(|v| v as f32))).distance()
            })
            .collect();
        Renderer { head, lights, grid, slack: cell.length() }
    }

    /// The distance between the grid's points, trilinear; outside the box, that of the nearest point of
    /// the box and the way to it.
    fn coarse(&self, p: Vec3) -> f32 {
        let inside = p.clamp(LOW, HIGH - cell() * 1.001);
        let outside = (p - inside).length();
        let q = (inside - LOW) / cell();
        let (i, f) = (q.floor(), q.fract());
        let at = (i.x as usize * POINTS + i.y as usize) * POINTS + i.z as usize;
        let pair = |start: usize| {
            let (a, b) = (self.grid[start], self.grid[start + 1]);
            a + (b - a) * f.z
        };
        let square = POINTS * POINTS;
        let (a, b) = (pair(at), pair(at + POINTS));
        let (c, d) = (pair(at + square), pair(at + square + POINTS));
        let (low, high) = (a + (b - a) * f.y, c + (d - c) * f.y);
        low + (high - low) * f.x + outside
    }

    /// The first point of the surface along a ray, within `accuracy` of it.
    fn hit(&self, origin: Vec3, direction: Vec3, accuracy: f32) -> Option<Vec3> {
        let (a, b) = ((LOW - origin) / direction, (HIGH - origin) / direction);
        let mut t = a.min(b).max_element().max(0.0);
        let end = a.max(b).min_element();
        for _ in 0..200 {
            if t >= end {
                return None;
            }
            let p = origin + direction * t;
            let coarse = self.coarse(p);
            if coarse > 1.2 * self.slack {
                t += coarse.min(0.4) - 0.6 * self.slack;
                continue;
            }
            let exact = self.head.parts(p).distance();
            if exact < accuracy {
                return Some(p);
            }
            t += (exact * 0.8).max(accuracy);
        }
        None
    }

    fn normal(&self, p: Vec3, width: f32) -> Vec3 {
        let corners = [
            Vec3::new(1.0, -1.0, -1.0),
            Vec3::new(-1.0, -1.0, 1.0),
            Vec3::new(-1.0, 1.0, -1.0),
            Vec3::new(1.0, 1.0, 1.0),
        ];
        corners.iter().map(|c| *c * self.head.parts(p + *c * width).distance()).sum::<Vec3>().normalize_or(Vec3::Y)
    }

    /// How open the surroundings are, from the coarse distances along the normal.
    fn openness(&self, p: Vec3, normal: Vec3) -> f32 {
        let mut closed = 0.0;
        let mut weight = 1.0;
        for step in [0.03, 0.07, 0.13, 0.22] {
            closed += weight * (step - self.coarse(p + normal * step)).max(0.0);
            weight *= 0.6;
        }
        (1.0 - 4.2 * closed).clamp(0.0, 1.0)
    }

    fn unshadowed(&self, p: Vec3, towards: Vec3) -> f32 {
        let mut light: f32 = 1.0;
        let mut t = 0.03;
        for _ in 0..24 {
            let d = self.coarse(p + towards * t);
            light = light.min(0.5 + 5.0 * d / t);
            if light <= 0.0 || t > 1.2 {
                break;
            }
            t += d.clamp(0.015, 0.12);
        }
        light.clamp(0.0, 1.0)
    }

    /// The colour in sRGB of a point seen along `direction`.
    fn shade(&self, p: Vec3, direction: Vec3, pixel: f32) -> Vec3 {
        let material = self.head.parts(p).material();
        let surface = self.head.surface(p, material);
        let normal = self.normal(p, (0.5 * pixel).max(1e-3));
        let open = self.openness(p, normal);
        let sky = 0.5 + 0.5 * normal.y;
        let ambient = Vec3::new(0.30, 0.26, 0.24).lerp(Vec3::new(0.46, 0.49, 0.54), sky) * open;
        let mut light = surface.colour * ambient;
        for lamp in &self.lights {
            let facing = normal.dot(lamp.towards);
            let seen = if lamp.shadow && facing > -0.3 {
                self.unshadowed(p + normal * 0.02, lamp.towards)
            } else {
                0.35 + 0.65 * open
            };
            // Light travels a little way below skin, red the farthest.
            let wrap = if material == Material::Skin { Vec3::new(0.30, 0.16, 0.12) } else { Vec3::splat(0.05) };
            let diffuse = ((Vec3::splat(facing) + wrap) / (Vec3::ONE + wrap)).max(Vec3::ZERO);
            light += surface.colour * lamp.colour * diffuse * seen;
            let half = (lamp.towards - direction).normalize_or(normal);
            let gleam = normal.dot(half).max(0.0).powf(surface.gloss);
            light += lamp.colour * (surface.shine * gleam * seen * facing.max(0.0).sqrt());
        }
        // A soft shoulder keeps highlights from clipping.
        let light = light * 0.92;
        let soft = light / (Vec3::ONE + 0.18 * light * light);
        soft.max(Vec3::ZERO).powf(1.0 / 2.2).min(Vec3::ONE)
    }

    /// A picture `[height][width]` of RGB and straight alpha. Pixel (i, j) is centred on the point
    /// (i, j) of the image plane, as NeRF's synthetic scenes are read. Four samples a pixel, sixteen on
    /// outlines; samples are averaged as sRGB values, since that is how they are composited later.
    pub fn picture(&self, camera: &Intrinsics, pose: &Pose) -> Picture {
        let mut picture = Picture::new(camera.width, camera.height, 4);
        let origin = to_head(pose.origin());
        picture.values.par_chunks_mut(camera.width * 4).enumerate().for_each(|(row, line)| {
            for (column, out) in line.chunks_exact_mut(4).enumerate() {
                let samples = |n: usize| -> Vec4 {
                    let offset = |i: usize| (i as f64 + 0.5) / n as f64 - 0.5;
                    (0..n * n)
                        .filter_map(|i| {
                            let (x, y) = (offset(i % n), offset(i / n));
                            let d = camera.direction(column as f64 + x, row as f64 + y);
                            self.sample(origin, to_head(pose.direction(d)), camera)
                        })
                        .map(|colour| colour.extend(1.0))
                        .sum()
                };
                let mut sum = samples(2);
                let mut count = 4.0;
                if sum.w > 0.0 && sum.w < 4.0 {
                    sum = samples(4);
                    count = 16.0;
                }
                if sum.w > 0.0 {
                    out[..3].copy_from_slice(&(sum.truncate() / sum.w).to_array());
                    out[3] = sum.w / count;
                }
            }
        });
        picture
    }

    fn sample(&self, origin: Vec3, direction: Vec3, camera: &Intrinsics) -> Option<Vec3> {
        let direction = direction.normalize();
        // The width of a pixel on the head.
        let pixel = origin.length() / camera.fx as f32;
        let p = self.hit(origin, direction, (0.1 * pixel).clamp(2e-4, 1.5e-3))?;
        Some(self.shade(p, direction, pixel))
    }
}
