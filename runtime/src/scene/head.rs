//! A human head as signed distances and colours, and what makes one head differ from another.
//!
//! Coordinates here: x to the right of a viewer who faces the head, y up, z towards that viewer; the
//! head is about 1.3 high. Lengths were drawn from the usual proportions of a face: eyes at half
//! height, one eye's width between them, the nose's foot half-way to the chin.

use glam::{Vec2, Vec3};

use super::shapes::{almond, difference, ellipsoid, ramp, rod, sphere, union};

/// What a surface is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Material {
    Skin,
    Eye,
    Hair,
    Cloth,
}

const EYE: Vec3 = Vec3::new(0.168, 0.02, 0.335);
const EYE_RADIUS: f32 = 0.098;

/// Distances to the parts of different material.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    pub skin: f32,
    pub eye: f32,
    pub hair: f32,
    pub cloth: f32,
}

impl Parts {
    /// The distance to the nearest part.
    pub fn distance(&self) -> f32 {
        self.skin.min(self.eye).min(self.hair).min(self.cloth)
    }

    /// The material of the nearest part.
    pub fn material(&self) -> Material {
        let nearest = self.distance();
        if nearest == self.eye {
            Material::Eye
        } else if nearest == self.hair {
            Material::Hair
        } else if nearest == self.cloth {
            Material::Cloth
        } else {
            Material::Skin
        }
    }
}

/// What makes a head differ from others. Lengths are in the head's coordinates, colours in linear light.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// Width, height and depth, as factors of the usual ones.
    pub stretch: Vec3,
    /// The width of the lower face, as a factor.
    pub jaw: f32,
    /// How much farther from the middle each eye lies.
    pub eye_shift: f32,
    /// Width and length of the nose, as factors.
    pub nose: Vec2,
    /// The width of the mouth, as a factor.
    pub mouth: f32,
    /// How full the lips are, as a factor.
    pub lips: f32,
    /// What it has for hair.
    pub hair: Hair,
    /// What light loses on skin, besides what it loses on fair skin.
    pub skin: Vec3,
    /// Dark and light strands.
    pub hair_colours: [Vec3; 2],
    /// The brows.
    pub brows: Vec3,
    /// Dark and light spokes of the iris.
    pub iris: [Vec3; 2],
    /// The two threads of the cloth.
    pub cloth: [Vec3; 2],
}

/// A hair-cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hair {
    /// Whether there is any.
    pub there: bool,
    /// Whether it is parted on the other side.
    pub mirrored: bool,
    /// Whether a lock is swept over the forehead.
    pub lock: bool,
    /// How far below the ears it reaches.
    pub length: f32,
}

impl Default for Head {
    fn default() -> Head {
        Head {
            stretch: Vec3::ONE,
            jaw: 1.0,
            eye_shift: 0.0,
            nose: Vec2::ONE,
            mouth: 1.0,
            lips: 1.0,
            hair: Hair { there: true, mirrored: false, lock: true, length: 0.0 },
            skin: Vec3::ONE,
            hair_colours: [linear(0.23, 0.145, 0.10), linear(0.43, 0.285, 0.19)],
            brows: linear(0.25, 0.16, 0.11),
            iris: [linear(0.24, 0.42, 0.50), linear(0.42, 0.60, 0.62)],
            cloth: [linear(0.13, 0.33, 0.42), linear(0.18, 0.41, 0.49)],
        }
    }
}

impl Head {
    /// All distances at a point.
    pub fn parts(&self, p: Vec3) -> Parts {
        let q = self.usual(p);
        // The head is symmetric but for the hair.
        let m = Vec3::new(q.x.abs(), q.y, q.z);
        let eye = self.at_eye(m);
        let bare = skull(m);
        // Stretched space understates no distance by more than this.
        let shrink = self.stretch.min_element().min(1.0) * self.jaw.min(1.0);
        Parts {
            skin: self.skin(m, eye, bare) * shrink,
            eye: sphere(eye, EYE, EYE_RADIUS) * shrink,
            hair: self.hair(q, m) * shrink,
            cloth: cloth(Vec3::new(p.x.abs(), p.y, p.z)),
        }
    }

    /// Where a point of this head lies in a head of the usual proportions.
    fn usual(&self, p: Vec3) -> Vec3 {
        let q = p / self.stretch;
        let lower = ramp(0.05, -0.40, q.y) * ramp(-0.75, -0.55, q.y);
        Vec3::new(q.x / (1.0 + (self.jaw - 1.0) * lower), q.y, q.z)
    }

    /// The same for what lies round the eyes.
    fn at_eye(&self, m: Vec3) -> Vec3 {
        Vec3::new(m.x - self.eye_shift, m.y, m.z)
    }

    /// The same for the nose, whose root stays where it is.
    fn at_nose(&self, m: Vec3) -> Vec3 {
        let root = 0.08;
        Vec3::new(m.x / self.nose.x, m.y + (m.y - root) * (1.0 / self.nose.y - 1.0), m.z)
    }

    /// The same for the mouth.
    fn at_mouth(&self, m: Vec3) -> Vec3 {
        Vec3::new(m.x / self.mouth, m.y, m.z)
    }
}

/// Skull, jaw and neck, without features.
fn skull(m: Vec3) -> f32 {
    let cranium = ellipsoid(m, Vec3::new(0.0, 0.17, -0.08), Vec3::new(0.41, 0.45, 0.51));
    let face = ellipsoid(m, Vec3::new(0.0, -0.13, 0.10), Vec3::new(0.335, 0.43, 0.345));
    let jaw = rod(m, Vec3::new(0.25, -0.30, 0.02), Vec3::new(0.05, -0.485, 0.285), 0.085, 0.095);
    let cheek = sphere(m, Vec3::new(0.205, -0.10, 0.27), 0.125);
    let neck = rod(m, Vec3::new(0.0, -0.35, -0.09), Vec3::new(0.0, -0.85, -0.13), 0.195, 0.215);
    let head = union(cranium, face, 0.18);
    let head = union(head, jaw, 0.14);
    let head = union(head, cheek, 0.12);
    union(head, neck, 0.09)
}

impl Head {
    /// `eye` is the point where it lies for what is round the eyes.
    fn skin(&self, m: Vec3, eye: Vec3, bare: f32) -> f32 {
        // Features reach no farther than this from the bare head.
        if bare > 0.3 {
            return bare - 0.2;
        }
        // All but the ears is in front.
        if m.z < 0.12 {
            return ear(m, bare);
        }
        let brow = rod(eye, Vec3::new(0.07, 0.125, 0.375), Vec3::new(0.23, 0.125, 0.315), 0.05, 0.04);
        let mut d = union(bare, brow, 0.10);
        let socket = ellipsoid(eye, EYE + Vec3::new(-0.005, 0.005, 0.115), Vec3::new(0.125, 0.075, 0.09));
        d = difference(d, socket, 0.07);
        d = union(d, lids(eye), 0.025);
        d = union(d, nose(self.at_nose(m)), 0.05);
        d = self.mouth_on(self.at_mouth(m), d);
        let chin = sphere(m, Vec3::new(0.0, -0.495, 0.315), 0.085);
        d = union(d, chin, 0.09);
        ear(m, d)
    }

    fn mouth_on(&self, m: Vec3, d: f32) -> f32 {
        let muzzle = ellipsoid(m, Vec3::new(0.0, -0.31, 0.325), Vec3::new(0.16, 0.13, 0.105));
        let mut d = union(d, muzzle, 0.08);
        let full = self.lips;
        let upper = rod(m, Vec3::new(0.022, -0.293, 0.428), Vec3::new(0.108, -0.304, 0.378), 0.025 * full, 0.011);
        let lower = rod(m, Vec3::new(0.0, -0.347, 0.424), Vec3::new(0.100, -0.312, 0.380), 0.030 * full, 0.012);
        d = union(d, upper, 0.022);
        d = union(d, lower, 0.022);
        let line = Vec2::new(parting(m), m.z - (0.458 - 2.9 * m.x * m.x)).length() - 0.009;
        let groove = line.max(m.x - 0.115);
        let philtrum = rod(m, Vec3::new(0.0, -0.215, 0.455), Vec3::new(0.0, -0.262, 0.462), 0.012, 0.014);
        difference(difference(d, groove, 0.02), philtrum, 0.03)
    }
}

/// A shell round the eyeball, open in the shape of an almond.
fn lids(m: Vec3) -> f32 {
    let q = m - EYE;
    let shell = sphere(m, EYE, EYE_RADIUS + 0.016);
    let opening = almond(Vec2::new(q.x, q.y + 0.12 * q.x - 0.004), 0.086, 0.043, 0.032);
    difference(shell, opening.max(0.02 - q.z), 0.012)
}

fn nose(m: Vec3) -> f32 {
    let bridge = rod(m, Vec3::new(0.0, 0.08, 0.385), Vec3::new(0.0, -0.125, 0.515), 0.034, 0.044);
    let tip = sphere(m, Vec3::new(0.0, -0.145, 0.52), 0.056);
    let wing = ellipsoid(m, Vec3::new(0.050, -0.165, 0.465), Vec3::new(0.033, 0.033, 0.046));
    let d = union(bridge, tip, 0.05);
    let d = union(d, wing, 0.035);
    let nostril = ellipsoid(m, Vec3::new(0.033, -0.203, 0.49), Vec3::new(0.018, 0.016, 0.026));
    difference(d, nostril, 0.018)
}

/// How far below the parting line a point of the lips lies: the line sinks towards the corners' ends.
fn parting(m: Vec3) -> f32 {
    m.y + 0.320 - 1.1 * m.x * m.x
}

fn ear(m: Vec3, d: f32) -> f32 {
    if m.x < 0.25 {
        return d;
    }
    // Tilted back and turned out a little.
    let q = m - Vec3::new(0.415, -0.03, -0.07);
    let q = Vec3::new(q.x + 0.35 * q.z, q.y - 0.1 * q.z, q.z + 0.22 * q.y);
    let shell = ellipsoid(q, Vec3::ZERO, Vec3::new(0.034, 0.135, 0.082));
    let bowl = ellipsoid(q, Vec3::new(0.034, 0.012, 0.012), Vec3::new(0.03, 0.085, 0.045));
    let lobe = sphere(q, Vec3::new(-0.004, -0.12, 0.022), 0.028);
    let canal = ellipsoid(q, Vec3::new(0.0, -0.03, 0.07), Vec3::new(0.02, 0.035, 0.025));
    let shell = union(difference(shell, bowl, 0.025), lobe, 0.03);
    union(d, union(shell, canal, 0.03), 0.03)
}

/// Strands run from the crown: a phase that grows round it.
fn strands(p: Vec3) -> f32 {
    let q = p - Vec3::new(0.06, 0.55, -0.18);
    let angle = q.x.atan2(q.z);
    let wave = angle + 0.10 * (q.y * 5.0 + 2.0 * angle).sin() + 0.05 * (q.y * 11.0 - 3.0 * angle).sin();
    (wave * 23.0).sin() * 0.4 + (wave * 41.0 + 1.0).sin() * 0.35 + (wave * 83.0 + q.y * 6.0).sin() * 0.25
}

impl Head {
    fn hair(&self, p: Vec3, m: Vec3) -> f32 {
        if !self.hair.there {
            return f32::MAX;
        }
        let p = if self.hair.mirrored { Vec3::new(-p.x, p.y, p.z) } else { p };
        let cap = ellipsoid(m, Vec3::new(0.0, 0.20, -0.105), Vec3::new(0.455, 0.485, 0.535));
        let nape = ellipsoid(m, Vec3::new(0.0, -0.10, -0.27), Vec3::new(0.375, 0.40, 0.34));
        let mut all = union(cap, nape, 0.12);
        let long = self.hair.length > 0.0;
        if long {
            let fall = ellipsoid(m, Vec3::new(0.0, -0.30, -0.20), Vec3::new(0.45, 0.62, 0.27));
            all = union(all, fall, 0.12);
        }
        if all > 0.15 {
            return all - 0.05;
        }
        // The hair-line: the face is free, the temples less so; the parting on one side lifts it.
        let face = ellipsoid(
            p,
            Vec3::new(0.03, -0.17, 0.48),
            Vec3::new(0.40 - 0.05 * ramp(0.0, 0.4, p.x), 0.53 + 0.03 * ramp(-0.1, 0.25, p.x), 0.49),
        );
        let end = p.y + 0.335 + self.hair.length - 0.10 * ramp(0.1, 0.4, m.x);
        let mut d = difference(all, face, 0.05);
        if !long {
            let ears = ellipsoid(m, Vec3::new(0.46, -0.10, -0.03), Vec3::new(0.16, 0.175, 0.125));
            d = difference(d, ears, 0.03);
        }
        d = difference(d, end, 0.06);
        if self.hair.lock {
            // Swept from the parting over the forehead.
            let sweep = rod(p, Vec3::new(0.17, 0.45, 0.33), Vec3::new(-0.30, 0.27, 0.29), 0.075, 0.055);
            d = union(d, sweep, 0.10);
        }
        if d > 0.03 {
            return d - 0.01;
        }
        d + 0.006 * strands(p)
    }
}

fn cloth(m: Vec3) -> f32 {
    // The collar's upper edge lies below.
    if m.y > -0.45 {
        return m.y + 0.62;
    }
    let shoulders = ellipsoid(m, Vec3::new(0.0, -1.02, -0.13), Vec3::new(0.68, 0.29, 0.27));
    let slope = rod(m, Vec3::new(0.0, -0.80, -0.14), Vec3::new(0.52, -0.92, -0.14), 0.15, 0.13);
    let d = union(shoulders, slope, 0.12);
    // A round collar, open for the neck, and a level base.
    let ring = Vec2::new(m.x, m.z + 0.125).length() - 0.225;
    let collar = Vec2::new(ring, m.y + 0.715 + 0.20 * (m.z + 0.125)).length() - 0.038;
    union(union(d, collar, 0.03), d, 0.01).max(-0.93 - m.y)
}

/// The colour of a surface in linear light, before shading, and how much it shines.
pub struct Surface {
    pub colour: Vec3,
    pub shine: f32,
    pub gloss: f32,
}

/// A colour in linear light from its sRGB values, about.
pub fn linear(r: f32, g: f32, b: f32) -> Vec3 {
    Vec3::new(r, g, b).powf(2.2)
}

impl Head {
    /// The surface at a point of it.
    pub fn surface(&self, p: Vec3, material: Material) -> Surface {
        let q = self.usual(p);
        match material {
            Material::Skin => self.skin_surface(q),
            Material::Eye => self.eye_surface(q),
            Material::Hair => {
                let side = if self.hair.mirrored { -q.x } else { q.x };
                let light = 0.5 + 0.5 * strands(Vec3::new(side, q.y, q.z));
                let [dark, fair] = self.hair_colours;
                let colour = dark.lerp(fair, light * 0.8);
                Surface { colour, shine: 0.10, gloss: 18.0 }
            }
            Material::Cloth => {
                let weave = 0.5 + 0.25 * ((p.x * 60.0).sin() + (p.y * 60.0).sin());
                let colour = self.cloth[0].lerp(self.cloth[1], weave);
                Surface { colour, shine: 0.0, gloss: 1.0 }
            }
        }
    }

    fn skin_surface(&self, p: Vec3) -> Surface {
        let m = Vec3::new(p.x.abs(), p.y, p.z);
        let (eye, lip) = (self.at_eye(m), self.at_mouth(m));
        let near = |centre: Vec3, reach: f32| ramp(reach, 0.0, (m - centre).length());
        // Slow variation, as of blood below the skin.
        let tone = (p.x * 9.0 + 1.3).sin() * (p.y * 8.0).sin() * (p.z * 7.0 + 0.4).sin();
        let mut colour = linear(0.87, 0.67, 0.56).lerp(linear(0.91, 0.72, 0.61), 0.5 + 0.5 * tone);
        let red = linear(0.86, 0.47, 0.41);
        colour = colour.lerp(red, 0.45 * near(Vec3::new(0.23, -0.12, 0.36), 0.20));
        colour = colour.lerp(red, 0.30 * near(Vec3::new(0.0, -0.15, 0.56), 0.12));
        colour = colour.lerp(red, 0.35 * near(Vec3::new(0.45, -0.03, -0.1), 0.15));
        colour = colour
            .lerp(linear(0.66, 0.43, 0.38), 0.28 * ramp(0.12, 0.0, (eye - (EYE + Vec3::new(0.0, 0.0, 0.09))).length()));

        let lips = self.lips(lip);
        let shine = 0.05 + 0.09 * lips;
        colour = colour.lerp(linear(0.73, 0.36, 0.34), lips);
        let seam = ramp(0.011, 0.003, parting(lip).abs()) * ramp(0.118, 0.098, lip.x) * ramp(0.33, 0.36, m.z);
        colour = colour.lerp(linear(0.36, 0.14, 0.14), 0.85 * seam);
        colour *= self.skin;

        // Lashes along the upper lid's edge, brows above.
        let q = eye - EYE;
        let opening = almond(Vec2::new(q.x, q.y + 0.12 * q.x - 0.004), 0.086, 0.043, 0.032);
        let upper = ramp(-0.016, 0.006, q.y + 0.12 * q.x);
        let lash = ramp(0.017, 0.006, opening.abs()) * ramp(0.03, 0.05, q.z) * (0.3 + 0.7 * upper);
        colour = colour.lerp(linear(0.16, 0.10, 0.08), 0.8 * lash * ramp(0.118, 0.112, q.length() - 0.004));
        colour = colour.lerp(self.brows, 0.92 * brow(eye));
        Surface { colour, shine, gloss: 14.0 }
    }

    /// How much of a point's colour is that of lips.
    fn lips(&self, m: Vec3) -> f32 {
        let below = parting(m);
        let bow = 0.036 + 0.010 * (m.x * 70.0).min(1.0) - 0.0016 / (0.05 + m.x * m.x * 40.0) * 0.25;
        let taper = (1.0 - (m.x / 0.116).powi(2)).max(0.0).sqrt();
        let height = self.lips * if below > 0.0 { bow * taper } else { 0.052 * taper };
        ramp(height + 0.006, height - 0.006, below.abs()) * ramp(0.30, 0.34, m.z) * ramp(0.0, 0.25, taper)
    }

    fn eye_surface(&self, p: Vec3) -> Surface {
        let m = Vec3::new(p.x.abs(), p.y, p.z);
        let q = (self.at_eye(m) - EYE) / EYE_RADIUS;
        // Looks straight ahead, a little towards the middle.
        let r = Vec2::new(q.x + 0.05, q.y - 0.01).length();
        let spokes = 0.5 + 0.5 * ((q.y.atan2(q.x + 0.05)) * 23.0).sin();
        let iris = self.iris[0].lerp(self.iris[1], spokes * ramp(0.15, 0.4, r));
        let mut colour = linear(0.95, 0.93, 0.91).lerp(linear(0.88, 0.68, 0.64), 0.5 * ramp(0.45, 0.95, q.x.abs()));
        let front = if q.z > 0.0 { 1.0 } else { 0.0 };
        colour = colour.lerp(linear(0.10, 0.17, 0.21), front * ramp(0.50, 0.46, r));
        colour = colour.lerp(iris, front * ramp(0.45, 0.41, r));
        colour = colour.lerp(Vec3::splat(0.006), front * ramp(0.215, 0.185, r));
        Surface { colour, shine: 0.55, gloss: 90.0 }
    }
}

fn brow(m: Vec3) -> f32 {
    if m.z < 0.15 {
        return 0.0;
    }
    let t = ((m.x - 0.075) / 0.205).clamp(0.0, 1.0);
    let middle = 0.143 + 0.075 * t - 0.085 * t * t * t;
    let thick = 0.024 * (1.0 - 0.65 * t) * ramp(0.055, 0.09, m.x) * ramp(0.29, 0.25, m.x);
    ramp(thick * 1.25, thick * 0.55, (m.y - middle).abs()) * ramp(0.0, 0.008, thick)
}
