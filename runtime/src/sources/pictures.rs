//! Folders of pictures, as a spec describes them, and the batches drawn from them.

use super::{Place, SourceError, generated};
use crate::{
    buffer::Buffer,
    data::{Blur, Crop, Degradation, Jitter, PictureBatches, PictureOptions, Pictures, Strokes},
    media::{Background, Picture},
    metrics::References,
    options::{OptionError, Options},
};
use indexmap::IndexMap;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};
use visage_compiler::{
    axis::Shape,
    graph::{DType, Type},
    system::Call,
};

/// The fields that every batch of pictures has, besides its degradations.
const OWN_FIELDS: [&str; 4] = ["picture", "index", "flipped", "pose"];

/// Widths of brush strokes unless given, in pixels.
const STROKE_WIDTH: [f64; 2] = [30.0, 70.0];

/// Width and height of the kernels of blur unless given, in pixels.
const TAPS: usize = 41;

/// A folder of pictures, and how samples are drawn from it.
#[derive(Clone, Debug)]
pub struct PictureSource {
    /// Where pictures were read from.
    pub folder: PathBuf,
    /// Samples by their numbers.
    pub batches: Arc<PictureBatches>,
    /// What is known of the pictures as a set, by the features that say so.
    pub references: References,
}

impl PictureSource {
    /// Opens the pictures that a spec's source describes; `folder` replaces its own, and `generated` is where
    /// generated pictures go. Files that cannot be read are named in warnings.
    ///
    /// # Errors
    /// An option is wrong, or there are no pictures.
    pub fn open(
        name: &str,
        call: &Call,
        folder: Option<&Path>,
        generated: &Path,
        seed: u64,
    ) -> Result<PictureSource, SourceError> {
        let mut options = Options::new(call, &BTreeMap::new());
        let place = Place::read(&mut options)?;
        let picture_options = picture_options(&mut options)?;
        let flip = options.switch("flip")?.unwrap_or(false);
        let mut degradations = IndexMap::new();
        for (name, call) in options.calls("degradations")?.unwrap_or_default() {
            if OWN_FIELDS.contains(&name.as_str()) {
                return Err(options
                    .error(format!("a degradation cannot be called `{name}`: there is such a field"))
                    .into());
            }
            degradations.insert(name, degradation(&call)?);
        }
        options.finish()?;
        let folder = place.folder(name, folder, |default| generated::heads(name, default, generated))?;
        let pictures = Pictures::load(&folder, &picture_options)?;
        for error in &pictures.unreadable {
            tracing::warn!("left out: {error}");
        }
        if !pictures.unreadable.is_empty() {
            let (unreadable, all) = (pictures.unreadable.len(), pictures.unreadable.len() + pictures.count());
            tracing::warn!("{name}: {unreadable} of {all} pictures cannot be read and are left out");
        }
        let batches = PictureBatches { pictures: Arc::new(pictures), flip, degradations, seed };
        Ok(PictureSource { folder, batches: Arc::new(batches), references: References::default() })
    }

    /// The names of the fields that are pictures: `picture`, then every degradation.
    pub fn picture_fields(&self) -> impl Iterator<Item = &str> {
        std::iter::once(OWN_FIELDS[0]).chain(self.batches.degradations.keys().map(String::as_str))
    }
}

fn picture_options(options: &mut Options) -> Result<PictureOptions, OptionError> {
    let crops = [("centre", Crop::Centre), ("none", Crop::None)];
    let backgrounds = [("white", Background::White), ("black", Background::Black)];
    let Some(side) = options.count("size", 1)? else {
        return Err(options.error("`size` says how many pixels wide and high pictures are to be: give it"));
    };
    Ok(PictureOptions {
        side,
        crop: options.choice("crop", &crops)?.unwrap_or_default(),
        background: options.choice("background", &backgrounds)?.unwrap_or(Background::White),
        hold_out: options.count("hold_out", 0)?.unwrap_or(0),
        poses: options.switch("poses")?.unwrap_or(false),
    })
}

fn degradation(call: &Call) -> Result<Degradation, OptionError> {
    let mut options = Options::new(call, &BTreeMap::new());
    if call.kind != "Degradation" {
        return Err(options.error("what is done to pictures is a `Degradation(…)`"));
    }
    const POSITIVE: f64 = f64::MIN_POSITIVE;
    let sigma = options.range("blur", [POSITIVE, f64::MAX])?;
    let taps = options.count("taps", 1)?.unwrap_or(TAPS);
    if taps.is_multiple_of(2) {
        return Err(options.error(format!("`taps` must be odd, not {taps}: a kernel has a middle")));
    }
    let shift: Option<[f64; 2]> = options.numbers("shift")?;
    if shift.is_some_and(|[probability, most]| !(0.0..=1.0).contains(&probability) || !(0.0..=255.0).contains(&most)) {
        return Err(options.error("`shift` must be a probability and a number of up to 255"));
    }
    let factors = [0.0, f64::MAX];
    let jitter = Jitter {
        probability: options.probability("jitter")?.unwrap_or(0.0),
        brightness: options.range("brightness", factors)?.unwrap_or([0.5, 1.5]),
        contrast: options.range("contrast", factors)?.unwrap_or([0.5, 1.5]),
        saturation: options.range("saturation", factors)?.unwrap_or([0.0, 1.5]),
        hue: options.range("hue", [-0.5, 0.5])?.unwrap_or([-0.1, 0.1]),
    };
    let strokes = Strokes {
        probability: options.probability("strokes")?.unwrap_or(0.0),
        width: options.range("stroke_width", [1.0, f64::MAX])?.unwrap_or(STROKE_WIDTH),
    };
    let degradation = Degradation {
        blur: sigma.map(|sigma| Blur { sigma, taps }),
        shrink: options.range("shrink", [1.0, f64::MAX])?,
        noise: options.range("noise", [0.0, 255.0])?,
        quality: options.range("quality", [1.0, 100.0])?,
        shift,
        grey: options.probability("grey")?.unwrap_or(0.0),
        jitter: (jitter.probability > 0.0).then_some(jitter),
        strokes: (strokes.probability > 0.0).then_some(strokes),
    };
    options.finish()?;
    Ok(degradation)
}

/// The inputs of one loss that come from one folder of pictures.
#[derive(Clone, Debug)]
pub struct PictureFeed {
    batches: Arc<PictureBatches>,
    count: usize,
    fields: Vec<Field>,
}

#[derive(Clone, Debug)]
struct Field {
    input: String,
    shape: Shape,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Picture(Layout),
    Degraded(String, Layout),
    Index,
    Flipped,
    /// Pitch and yaw: distances of neighbours along pictures and along angles.
    Pose([usize; 2]),
}

/// Where the values of pictures lie in an array: distances of neighbours along each axis.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Layout {
    image: usize,
    channel: usize,
    row: usize,
    column: usize,
}

impl PictureFeed {
    /// What feeds no input yet.
    pub fn new(source: &PictureSource) -> PictureFeed {
        PictureFeed { batches: source.batches.clone(), count: 0, fields: Vec::new() }
    }

    /// Feeds one more input, of this type, with a field of the source called `source`.
    ///
    /// # Errors
    /// There is no such field; the input has other axes, or another number of pictures than the ones before.
    pub fn add(&mut self, input: &str, ty: &Type, source: &str, field: &str) -> Result<(), SourceError> {
        let wrong = |about: &str| {
            let side = self.batches.pictures.side();
            let wanted = match field {
                "index" | "flipped" => "i32[image], whatever that axis is called".to_owned(),
                "pose" => "f32[image, angle=2] in any order, whatever the first is called".to_owned(),
                _ => format!("f32[image, channel=3, y={side}, x={side}] in any order, whatever the first is called"),
            };
            let message = format!("the input `{input}` is {ty}, and `{source}.{field}` is {wanted}: {about}");
            Err(SourceError::Unknown(message))
        };
        let degraded = self.batches.degradations.contains_key(field);
        let (kind, count) = match field {
            "index" | "flipped" => {
                let mut axes = ty.shape.iter();
                let (Some((_, count)), None, DType::I32) = (axes.next(), axes.next(), ty.dtype) else {
                    return wrong("it takes one axis of whole numbers");
                };
                (if field == "index" { Kind::Index } else { Kind::Flipped }, count)
            }
            "pose" if !self.batches.pictures.options().poses => {
                return wrong("there are poses where the source says `poses: true`");
            }
            "pose" => {
                let axes: Vec<_> = ty.shape.iter().zip(ty.shape.strides()).collect();
                let place = axes.iter().position(|((axis, size), _)| axis.name() == "angle" && *size == 2);
                match (axes.as_slice(), place, ty.dtype) {
                    ([first, second], Some(place), DType::F32) => {
                        let [(_, angle), ((_, count), image)] =
                            if place == 0 { [*first, *second] } else { [*second, *first] };
                        (Kind::Pose([image, angle]), count)
                    }
                    _ => return wrong("it takes pictures along one axis, pitch and yaw along `angle`"),
                }
            }
            _ if field == OWN_FIELDS[0] || degraded => {
                if ty.dtype != DType::F32 {
                    return wrong("values are f32");
                }
                let (layout, count) = match Layout::new(&ty.shape, self.batches.pictures.side()) {
                    Ok(found) => found,
                    Err(about) => return wrong(&about),
                };
                (if degraded { Kind::Degraded(field.to_owned(), layout) } else { Kind::Picture(layout) }, count)
            }
            _ => {
                let known = OWN_FIELDS.into_iter().chain(self.batches.degradations.keys().map(String::as_str));
                return Err(SourceError::field(source, field, known));
            }
        };
        if let Some(first) = self.fields.first().filter(|_| self.count != count) {
            return wrong(&format!(
                "a batch has as many pictures everywhere, and `{}` takes {}",
                first.input, self.count
            ));
        }
        self.count = count;
        self.fields.push(Field { input: input.to_owned(), shape: ty.shape.clone(), kind });
        Ok(())
    }

    /// How many pictures a batch has.
    pub fn pictures(&self) -> usize {
        self.count
    }

    /// Puts the fields of the batch of a number among the inputs.
    pub fn batch(&self, number: u64, inputs: &mut IndexMap<String, Buffer>) {
        let mut buffers: Vec<Buffer> = self.fields.iter().map(Field::empty).collect();
        for place in 0..self.count {
            let sample = self.batches.sample(number * self.count as u64 + place as u64);
            for (field, buffer) in self.fields.iter().zip(&mut buffers) {
                match &field.kind {
                    Kind::Picture(layout) => layout.write(&sample.picture, place, buffer.as_f32_mut()),
                    Kind::Degraded(name, layout) => {
                        if let Some(picture) = self.batches.degraded(&sample, name) {
                            layout.write(&picture, place, buffer.as_f32_mut());
                        }
                    }
                    Kind::Index => buffer.as_i32_mut()[place] = sample.index as i32,
                    Kind::Flipped => buffer.as_i32_mut()[place] = i32::from(sample.flipped),
                    Kind::Pose([image, angle]) => {
                        for (number, value) in sample.pose.iter().flat_map(|pose| [pose.pitch, pose.yaw]).enumerate() {
                            buffer.as_f32_mut()[place * image + number * angle] = value as f32;
                        }
                    }
                }
            }
        }
        inputs.extend(self.fields.iter().map(|field| field.input.clone()).zip(buffers));
    }
}

impl Field {
    fn empty(&self) -> Buffer {
        let dtype = match self.kind {
            Kind::Picture(_) | Kind::Degraded(..) | Kind::Pose(_) => DType::F32,
            Kind::Index | Kind::Flipped => DType::I32,
        };
        Buffer::zeros(Type::new(dtype, self.shape.clone()))
    }
}

impl Layout {
    /// Finds the axes of pictures by their names, and how many pictures there are along the axis left.
    fn new(shape: &Shape, side: usize) -> Result<(Layout, usize), String> {
        let mut layout = Layout { image: 0, channel: 0, row: 0, column: 0 };
        let mut count = None;
        for ((axis, size), stride) in shape.iter().zip(shape.strides()) {
            let (place, wanted) = match axis.name() {
                "channel" => (&mut layout.channel, 3),
                "y" => (&mut layout.row, side),
                "x" => (&mut layout.column, side),
                other => {
                    if let Some((earlier, _)) = count.replace((other, size)) {
                        return Err(format!("both `{earlier}` and `{other}` could be the pictures of the batch"));
                    }
                    (&mut layout.image, size)
                }
            };
            if size != wanted {
                return Err(format!("`{axis}` is {size} and must be {wanted}"));
            }
            *place = stride;
        }
        for name in ["channel", "y", "x"] {
            if !shape.axes().any(|axis| axis.name() == name) {
                return Err(format!("it has no axis `{name}`"));
            }
        }
        match count {
            Some((_, count)) => Ok((layout, count)),
            None => Err("it has no axis for the pictures of the batch".into()),
        }
    }

    fn write(&self, picture: &Picture, place: usize, values: &mut [f32]) {
        for (y, line) in picture.values.chunks_exact(picture.width * 3).enumerate() {
            let start = place * self.image + y * self.row;
            for (x, pixel) in line.chunks_exact(3).enumerate() {
                for (channel, value) in pixel.iter().enumerate() {
                    values[start + x * self.column + channel * self.channel] = *value;
                }
            }
        }
    }
}
