//! The files of a COLMAP sparse model, binary and text.
//!
//! Format: COLMAP's documentation, "Output format".

use std::collections::BTreeMap;
use std::path::Path;

use super::DataError;
use super::camera::{Distortion, Intrinsics};

/// A camera as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Camera {
    pub model: &'static Model,
    pub width: u64,
    pub height: u64,
    pub parameters: Vec<f64>,
}

/// A camera model: its number in binary files, its name in text files.
#[derive(Debug, PartialEq)]
pub struct Model {
    id: i32,
    pub name: &'static str,
    parameters: usize,
}

const fn model(id: i32, name: &'static str, parameters: usize) -> Model {
    Model { id, name, parameters }
}

pub static MODELS: [Model; 11] = [
    model(0, "SIMPLE_PINHOLE", 3),
    model(1, "PINHOLE", 4),
    model(2, "SIMPLE_RADIAL", 4),
    model(3, "RADIAL", 5),
    model(4, "OPENCV", 8),
    model(5, "OPENCV_FISHEYE", 8),
    model(6, "FULL_OPENCV", 12),
    model(7, "FOV", 5),
    model(8, "SIMPLE_RADIAL_FISHEYE", 4),
    model(9, "RADIAL_FISHEYE", 5),
    model(10, "THIN_PRISM_FISHEYE", 12),
];

impl Camera {
    /// The camera as rays are taken from it.
    ///
    /// # Errors
    /// A sentence about a model without a lens here, or numbers that are no camera.
    pub fn intrinsics(&self) -> Result<Intrinsics, String> {
        let p = &self.parameters;
        let single = matches!(
            self.model.name,
            "SIMPLE_PINHOLE" | "SIMPLE_RADIAL" | "RADIAL" | "SIMPLE_RADIAL_FISHEYE" | "RADIAL_FISHEYE"
        );
        let (fx, fy, rest) = if single { (p[0], p[0], &p[1..]) } else { (p[0], p[1], &p[2..]) };
        let (cx, cy, k) = (rest[0], rest[1], &rest[2..]);
        let radial = |k: [f64; 6], p: [f64; 2]| Distortion::Radial { k, p };
        let distortion = match self.model.name {
            "SIMPLE_PINHOLE" | "PINHOLE" => Distortion::None,
            "SIMPLE_RADIAL" => radial([k[0], 0.0, 0.0, 0.0, 0.0, 0.0], [0.0; 2]),
            "RADIAL" => radial([k[0], k[1], 0.0, 0.0, 0.0, 0.0], [0.0; 2]),
            "OPENCV" => radial([k[0], k[1], 0.0, 0.0, 0.0, 0.0], [k[2], k[3]]),
            "FULL_OPENCV" => radial([k[0], k[1], k[4], k[5], k[6], k[7]], [k[2], k[3]]),
            "OPENCV_FISHEYE" => Distortion::Fisheye { k: [k[0], k[1], k[2], k[3]] },
            "SIMPLE_RADIAL_FISHEYE" => Distortion::Fisheye { k: [k[0], 0.0, 0.0, 0.0] },
            "RADIAL_FISHEYE" => Distortion::Fisheye { k: [k[0], k[1], 0.0, 0.0] },
            name => {
                return Err(format!(
                    "lenses of model {name} are not supported; undistort the pictures with \
                     `colmap image_undistorter` and use its result"
                ));
            }
        };
        let positive = fx > 0.0 && fy > 0.0 && self.width > 0 && self.height > 0;
        if !positive || self.width > 1 << 20 || self.height > 1 << 20 {
            return Err(format!("a camera of {}x{} pixels with focal lengths {fx}, {fy}", self.width, self.height));
        }
        let (width, height) = (self.width as usize, self.height as usize);
        Ok(Intrinsics { width, height, fx, fy, cx, cy, distortion })
    }
}

/// A picture: world to camera (x right, y down, z forward), and the points seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    pub name: String,
    pub camera: u32,
    /// w, x, y, z.
    pub rotation: [f64; 4],
    pub translation: [f64; 3],
    pub points: Vec<u64>,
}

/// A sparse model, by identifiers, which need not be consecutive.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Sparse {
    pub cameras: BTreeMap<u32, Camera>,
    pub images: BTreeMap<u32, Image>,
    pub points: BTreeMap<u64, [f64; 3]>,
}

/// Reads `cameras`, `images` and, where there is one, `points3D`, as `.bin` or else as `.txt`.
pub fn read(folder: &Path) -> Result<Sparse, DataError> {
    let mut sparse = Sparse::default();
    let file = |name: &str, binary: Parse<[u8]>, text: Parse<str>, sparse: &mut Sparse| {
        let path = folder.join(format!("{name}.bin"));
        if path.is_file() {
            let bytes = std::fs::read(&path).map_err(DataError::io(&path))?;
            return binary(&bytes, sparse).map_err(|e| DataError::format(&path, e));
        }
        let path = folder.join(format!("{name}.txt"));
        let contents = std::fs::read_to_string(&path).map_err(DataError::io(&path))?;
        text(&contents, sparse).map_err(|e| DataError::format(&path, e))
    };
    file("cameras", binary_cameras, text_cameras, &mut sparse)?;
    file("images", binary_images, text_images, &mut sparse)?;
    if ["bin", "txt"].iter().any(|e| folder.join(format!("points3D.{e}")).is_file()) {
        file("points3D", binary_points, text_points, &mut sparse)?;
    }
    Ok(sparse)
}

type Parse<T> = fn(&T, &mut Sparse) -> Result<(), String>;

/// Little-endian numbers from the front of a buffer.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or("the file is cut short")?;
        self.0 = rest;
        Ok(*head)
    }

    fn skip(&mut self, count: usize) -> Result<(), String> {
        self.0 = self.0.get(count..).ok_or("the file is cut short")?;
        Ok(())
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.take().map(u64::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.take().map(u32::from_le_bytes)
    }

    fn f64(&mut self) -> Result<f64, String> {
        self.take().map(f64::from_le_bytes)
    }

    fn f64s<const N: usize>(&mut self) -> Result<[f64; N], String> {
        let mut out = [0.0; N];
        out.iter_mut().try_for_each(|v| self.f64().map(|x| *v = x))?;
        Ok(out)
    }

    /// A count of entries of at least `size` bytes, which must fit in what is left.
    fn count(&mut self, size: usize) -> Result<usize, String> {
        let count = self.u64()?;
        let fits = usize::try_from(count).ok().filter(|n| *n <= self.0.len() / size);
        fits.ok_or_else(|| format!("{count} entries are announced, more than the file can hold"))
    }

    fn end(&self) -> Result<(), String> {
        if self.0.is_empty() { Ok(()) } else { Err(format!("{} bytes are left over", self.0.len())) }
    }
}

fn binary_cameras(bytes: &[u8], sparse: &mut Sparse) -> Result<(), String> {
    let mut reader = Reader(bytes);
    for _ in 0..reader.count(24)? {
        let (id, number) = (reader.u32()?, reader.u32()?);
        let model = MODELS
            .iter()
            .find(|m| m.id as u32 == number)
            .ok_or_else(|| format!("camera {id} has the unknown model {number}"))?;
        let (width, height) = (reader.u64()?, reader.u64()?);
        let parameters = (0..model.parameters).map(|_| reader.f64()).collect::<Result<_, _>>()?;
        sparse.cameras.insert(id, Camera { model, width, height, parameters });
    }
    reader.end()
}

fn binary_images(bytes: &[u8], sparse: &mut Sparse) -> Result<(), String> {
    let mut reader = Reader(bytes);
    for _ in 0..reader.count(73)? {
        let id = reader.u32()?;
        let (rotation, translation) = (reader.f64s()?, reader.f64s()?);
        let camera = reader.u32()?;
        let end = reader.0.iter().position(|b| *b == 0).ok_or("a name without an end")?;
        let name =
            String::from_utf8(reader.0[..end].to_vec()).map_err(|_| format!("the name of image {id} is not UTF-8"))?;
        reader.skip(end + 1)?;
        let mut points = Vec::new();
        for _ in 0..reader.count(24)? {
            reader.skip(16)?;
            // −1 stands for a feature without a point.
            points.extend(Some(reader.u64()?).filter(|p| *p != u64::MAX));
        }
        sparse.images.insert(id, Image { name, camera, rotation, translation, points });
    }
    reader.end()
}

fn binary_points(bytes: &[u8], sparse: &mut Sparse) -> Result<(), String> {
    let mut reader = Reader(bytes);
    for _ in 0..reader.count(51)? {
        let id = reader.u64()?;
        sparse.points.insert(id, reader.f64s()?);
        reader.skip(3 + 8)?;
        let track = reader.count(8)?;
        reader.skip(track * 8)?;
    }
    reader.end()
}

/// Lines that are not comments, with their numbers.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines().map(str::trim)).filter(|(_, line)| !line.starts_with('#'))
}

fn number<T: std::str::FromStr>(line: usize, word: Option<&str>) -> Result<T, String> {
    let word = word.ok_or_else(|| format!("line {line} is cut short"))?;
    word.parse().map_err(|_| format!("line {line}: `{word}` is not the number expected there"))
}

fn numbers<'a, const N: usize>(line: usize, words: &mut impl Iterator<Item = &'a str>) -> Result<[f64; N], String> {
    let mut out = [0.0; N];
    out.iter_mut().try_for_each(|v| number(line, words.next()).map(|x| *v = x))?;
    Ok(out)
}

fn text_cameras(text: &str, sparse: &mut Sparse) -> Result<(), String> {
    for (line, contents) in lines(text).filter(|(_, l)| !l.is_empty()) {
        let mut words = contents.split_whitespace();
        let id = number(line, words.next())?;
        let name = words.next().ok_or_else(|| format!("line {line} is cut short"))?;
        let model = MODELS
            .iter()
            .find(|m| m.name == name)
            .ok_or_else(|| format!("line {line}: unknown camera model {name}"))?;
        let (width, height) = (number(line, words.next())?, number(line, words.next())?);
        let parameters: Vec<f64> = words.map(|w| number(line, Some(w))).collect::<Result<_, _>>()?;
        if parameters.len() != model.parameters {
            return Err(format!("line {line}: {name} has {} parameters, not {}", model.parameters, parameters.len()));
        }
        sparse.cameras.insert(id, Camera { model, width, height, parameters });
    }
    Ok(())
}

fn text_images(text: &str, sparse: &mut Sparse) -> Result<(), String> {
    // A picture without features has an empty second line, so empty lines count.
    let mut lines = lines(text);
    while let Some((line, contents)) = lines.next() {
        if contents.is_empty() {
            continue;
        }
        let mut words = contents.split_whitespace();
        let id = number(line, words.next())?;
        let (rotation, translation) = (numbers(line, &mut words)?, numbers(line, &mut words)?);
        let camera = number(line, words.next())?;
        let name = words.collect::<Vec<_>>().join(" ");
        let (line, features) = lines.next().unwrap_or((line + 1, ""));
        let features: Vec<&str> = features.split_whitespace().collect();
        let mut points = Vec::new();
        for feature in features.chunks(3) {
            let id: i64 = number(line, feature.get(2).copied())?;
            points.extend(u64::try_from(id).ok());
        }
        sparse.images.insert(id, Image { name, camera, rotation, translation, points });
    }
    Ok(())
}

fn text_points(text: &str, sparse: &mut Sparse) -> Result<(), String> {
    for (line, contents) in lines(text).filter(|(_, l)| !l.is_empty()) {
        let mut words = contents.split_whitespace();
        let id = number(line, words.next())?;
        sparse.points.insert(id, numbers(line, &mut words)?);
    }
    Ok(())
}
