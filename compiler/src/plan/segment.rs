//! Stretches of a program that run part by part.
//!
//! Between its inputs and its sums over rows, a training step does the same for every ray, or every image. Its kernels
//! need not each go through all of them before the next kernel starts: a stretch of kernels whose rows have the same
//! leading axes runs for a part of these, all kernels, then for the next part. A value that one kernel of the stretch
//! writes and others of it read is stored for one part only, and the memory between a forward and a backward pass
//! shrinks to that of a part.
//!
//! Kernels know nothing of it. They address rows from the start of the whole value, and the address that they are given for
//! part `w` lies `w` parts before the memory of the value.
//!
//! A value may be kept for a part alone if every stage that touches it in the stretch does so block by block along the
//! leading axes; [`Kernel::blocks`] is the list of accesses for which that is known.

use super::{
    Access, Buffer, BufferId, Expression, Factor, Kernel, LANES, Layout, Place, PlanOptions, Source, Stage, Step,
    Store, Term, words,
};
use rustc_hash::{FxHashMap, FxHashSet};
use std::ops::Range;

/// Steps that run one after another for each part of their leading row axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The steps.
    pub steps: Range<usize>,
    /// How many parts.
    pub parts: usize,
}

/// Bytes that the values of a part may take, all together, before it is cut smaller.
const PART_BYTES: usize = 128 << 20;

/// Orders the steps so that those that can run part by part follow one another, and cuts them into parts where their
/// values take more than `options` say. Marks the values that are kept for one part.
pub(super) fn segments(
    steps: Vec<Step>,
    buffers: &mut [Buffer],
    outputs: &FxHashSet<BufferId>,
    options: &PlanOptions,
) -> (Vec<Step>, Vec<Segment>) {
    let Some(leading) = leading_size(&steps, buffers) else { return (steps, Vec::new()) };
    let mut readers: FxHashMap<BufferId, usize> = FxHashMap::default();
    for step in &steps {
        distinct(step.touched().0).into_iter().for_each(|id| *readers.entry(id).or_default() += 1);
    }
    let whole = Whole { outputs, readers, leading, threshold: options.segment_bytes, tiles: options.segment_tiles };
    let mut ordered = Vec::with_capacity(steps.len());
    let mut segments = Vec::new();
    let mut stretch = Stretch::default();
    for step in steps {
        if let Err(step) = stretch.take(step, buffers, leading) {
            stretch.end(&mut ordered, &mut segments, buffers, &whole);
            if let Err(step) = stretch.take(*step, buffers, leading) {
                ordered.push(*step);
            }
        }
    }
    stretch.end(&mut ordered, &mut segments, buffers, &whole);
    (ordered, segments)
}

/// What is known of the program as a whole.
struct Whole<'a> {
    outputs: &'a FxHashSet<BufferId>,
    /// How many steps read each value.
    readers: FxHashMap<BufferId, usize>,
    leading: usize,
    threshold: usize,
    tiles: usize,
}

/// Each value once.
fn distinct(ids: Vec<BufferId>) -> FxHashSet<BufferId> {
    ids.into_iter().collect()
}

/// How many indices the leading row axes have that most memory can be saved along: all of what the kernels that have them
/// touch, but for one index.
fn leading_size(steps: &[Step], buffers: &[Buffer]) -> Option<usize> {
    let mut bytes: FxHashMap<usize, usize> = FxHashMap::default();
    for step in steps {
        if let Step::Kernel(kernel) = step {
            let own = step.buffers().into_iter().map(|id| &buffers[id.0 as usize]);
            let own: usize = own.filter(|b| matches!(b.place, Place::Arena(_))).map(Buffer::bytes).sum();
            let mut size = 1;
            for (_, next) in kernel.rows.iter().filter(|(_, size)| *size > 1) {
                size *= next;
                *bytes.entry(size).or_default() += own;
            }
        }
    }
    bytes.into_iter().max_by_key(|(size, bytes)| (bytes - bytes / size, *size)).map(|(size, _)| size)
}

/// A stretch under construction.
#[derive(Default)]
struct Stretch {
    /// Steps that need nothing of the stretch.
    before: Vec<Step>,
    kernels: Vec<Kernel>,
    /// Steps that need the whole of what the stretch makes.
    after: Vec<Step>,
    /// What kernels of the stretch have written.
    made: FxHashSet<BufferId>,
    /// What kernels of the stretch touch other than block by block.
    scattered: FxHashSet<BufferId>,
    /// What later steps have written.
    late: FxHashSet<BufferId>,
}

impl Stretch {
    /// Takes a step into the stretch, or before or after it. Gives it back if the stretch must end first.
    fn take(&mut self, step: Step, buffers: &[Buffer], leading: usize) -> Result<(), Box<Step>> {
        let (reads, writes) = step.touched();
        let waits = reads.iter().any(|id| self.late.contains(id));
        match step {
            Step::Kernel(kernel) if kernel.leading(leading).is_some() => {
                // What the stretch has made must be there, row by row, when it is read: written in the same blocks.
                let blocks = kernel.blocks(buffers, leading);
                let in_step = |id: &BufferId| blocks.get(id) == Some(&true) && !self.scattered.contains(id);
                if waits || reads.iter().any(|id| self.made.contains(id) && !in_step(id)) {
                    return Err(Box::new(Step::Kernel(kernel)));
                }
                self.made.extend(writes);
                self.scattered.extend(blocks.into_iter().filter(|(_, in_step)| !in_step).map(|(id, _)| id));
                self.kernels.push(kernel);
            }
            step if waits || reads.iter().any(|id| self.made.contains(id)) => {
                self.late.extend(writes);
                self.after.push(step);
            }
            step => self.before.push(step),
        }
        Ok(())
    }

    /// Appends the stretch to the program, in parts if that is worth it.
    fn end(&mut self, ordered: &mut Vec<Step>, segments: &mut Vec<Segment>, buffers: &mut [Buffer], whole: &Whole<'_>) {
        let Whole { outputs, readers, leading, threshold, tiles } = whole;
        let (leading, threshold) = (*leading, *threshold);
        let Stretch { before, kernels, after, made, scattered, .. } = std::mem::take(self);
        // What is read by other steps too, or not block by block, is kept whole.
        let mut own: FxHashMap<BufferId, usize> = FxHashMap::default();
        let mut kernels: Vec<Step> = kernels.into_iter().map(Step::Kernel).collect();
        for step in &kernels {
            distinct(step.touched().0).into_iter().for_each(|id| *own.entry(id).or_default() += 1);
        }
        let is_local =
            |id: &BufferId| own.get(id) == readers.get(id) && !scattered.contains(id) && !outputs.contains(id);
        let mut local: Vec<BufferId> = made.into_iter().filter(is_local).collect();
        local.sort_unstable();
        let bytes: usize = local.iter().map(|id| buffers[id.0 as usize].bytes()).sum();
        ordered.extend(before);
        let start = ordered.len();
        let wanted = bytes.div_ceil(PART_BYTES.min(threshold.max(1)));
        if bytes > threshold
            && let Some(parts) = parts(&kernels, leading, wanted, *tiles)
        {
            for step in &mut kernels {
                if let Step::Kernel(kernel) = step {
                    kernel.fit(parts);
                }
            }
            local.iter().for_each(|id| buffers[id.0 as usize].parts = parts);
            segments.push(Segment { steps: start..start + kernels.len(), parts });
        }
        ordered.extend(kernels);
        ordered.extend(after);
    }
}

/// The number of parts, near `wanted`, that all kernels can be cut into; `least` tiles are left in each part of a kernel
/// that does much of the work.
fn parts(steps: &[Step], leading: usize, wanted: usize, least: usize) -> Option<usize> {
    let kernel = |step: &Step| match step {
        Step::Kernel(kernel) => Some(kernel.clone()),
        _ => None,
    };
    let kernels: Vec<Kernel> = steps.iter().filter_map(kernel).collect();
    let work: f64 = kernels.iter().map(|kernel| kernel.flops).sum();
    let fits = |parts: usize| {
        leading.is_multiple_of(parts)
            && kernels.iter().all(|kernel| {
                let whole = kernel.row_count().is_multiple_of(parts * LANES);
                let tiles = (kernel.panels() / parts).div_ceil(kernel.tile_panels);
                whole && (kernel.flops * 16.0 <= work || tiles >= least)
            })
    };
    let possible: Vec<usize> = (2..=leading.min(256)).filter(|parts| fits(*parts)).collect();
    possible.iter().copied().find(|parts| *parts >= wanted).or_else(|| possible.last().copied())
}

impl Kernel {
    /// The outermost row axes, no more than have to be, whose indices divide into so many parts: how many axes, and how many
    /// indices they have.
    fn leading(&self, parts: usize) -> Option<(usize, usize)> {
        // Pairs of lines do not end where parts do.
        if self.stages.iter().any(|stage| matches!(stage, Stage::Winograd { .. })) {
            return None;
        }
        let sizes = self.rows.iter().scan(1, |product, (_, size)| {
            *product *= size;
            Some(*product)
        });
        (1..).zip(sizes).find(|(_, size)| size.is_multiple_of(parts))
    }

    /// Makes the tiles divide the rows of a part.
    fn fit(&mut self, parts: usize) {
        let panels = self.panels() / parts;
        let tile = (1..=self.tile_panels).rev().find(|tile| panels.is_multiple_of(*tile)).unwrap_or(1);
        let scaled = |words: &mut usize| *words = *words / self.tile_panels * tile;
        self.tiles.iter_mut().chain(&mut self.tile_words).for_each(scaled);
        self.scratch = self.scratch / self.tile_panels * tile;
        self.tile_panels = tile;
    }

    /// For every stored value that the kernel touches, whether each of so many parts of the rows touches its own
    /// part of the value alone.
    pub(super) fn blocks(&self, buffers: &[Buffer], parts: usize) -> FxHashMap<BufferId, bool> {
        let mut blocks = FxHashMap::default();
        let leading = self.leading(parts).unwrap_or((0, 1));
        let mut note = |id: BufferId, in_step: bool| {
            let entry = blocks.entry(id).or_insert(true);
            *entry &= in_step;
        };
        for stage in &self.stages {
            let plain = |id: BufferId, row_strides: &[isize], loops: &[(usize, isize)], offset: isize| {
                self.plain_block(&buffers[id.0 as usize], leading, row_strides, loops, offset)
            };
            match stage {
                Stage::Load { source, offset, row_strides, loops, strides, target } => {
                    let rows: Vec<isize> = row_strides.iter().map(|(_, stride)| *stride).collect();
                    let loops: Vec<(usize, isize)> =
                        loops.iter().zip(strides).map(|((_, size), stride)| (*size, *stride)).collect();
                    note(*source, plain(*source, &rows, &loops, *offset));
                    self.note_access(target, buffers, &mut note);
                }
                Stage::Save { source, loops, strides, row_strides, target } => {
                    let rows: Vec<isize> = row_strides.iter().map(|(_, stride)| *stride).collect();
                    let loops: Vec<(usize, isize)> =
                        loops.iter().zip(strides).map(|((_, size), stride)| (*size, *stride)).collect();
                    note(*target, plain(*target, &rows, &loops, 0));
                    self.note_access(source, buffers, &mut note);
                }
                Stage::Stream { source, target, panel } => {
                    note(*target, self.is_panel(&buffers[target.0 as usize], *panel));
                    if let Source::Buffer(id) = source {
                        note(*id, false);
                    }
                }
                Stage::Fill { target, .. } => self.note_access(target, buffers, &mut note),
                Stage::Map { body, stores, .. } => {
                    self.note_body(body, buffers, &mut note);
                    stores.iter().for_each(|Store { target, .. }| self.note_access(target, buffers, &mut note));
                }
                Stage::Reduce { body, store, .. }
                | Stage::ArgReduce { body, store, .. }
                | Stage::Scan { body, store, .. } => {
                    self.note_body(body, buffers, &mut note);
                    self.note_access(&store.target, buffers, &mut note);
                }
                Stage::Sort { source, target, .. } => {
                    self.note_access(source, buffers, &mut note);
                    self.note_access(target, buffers, &mut note);
                }
                Stage::Scatter { body, target, .. } => {
                    self.note_body(body, buffers, &mut note);
                    self.note_access(target, buffers, &mut note);
                }
                Stage::Contract { weights, x, c, window, .. } => {
                    note(*weights, false);
                    self.note_access(c, buffers, &mut note);
                    match window {
                        // A window reads the rows around.
                        Some(window) => note(window.source, false),
                        None => self.note_access(x, buffers, &mut note),
                    }
                }
                Stage::Winograd { weights, c, window, .. } => {
                    note(*weights, false);
                    note(window.source, false);
                    self.note_access(c, buffers, &mut note);
                }
                Stage::AccumulateContract { g, x, target, window, .. } => {
                    note(*target, false);
                    self.note_factor(g, buffers, leading, &mut note);
                    match window {
                        Some(window) => note(window.source, false),
                        None => self.note_factor(x, buffers, leading, &mut note),
                    }
                }
                Stage::AccumulateReduce { body, target, .. } | Stage::AccumulateScatter { body, target, .. } => {
                    note(*target, false);
                    self.note_body(body, buffers, &mut note);
                }
            }
        }
        blocks
    }

    fn note_body(&self, body: &Expression, buffers: &[Buffer], note: &mut impl FnMut(BufferId, bool)) {
        for term in &body.terms {
            match term {
                Term::Load(access, _) => self.note_access(access, buffers, note),
                // Elements are looked up anywhere.
                Term::Gather { source: Access { source: Source::Buffer(id), .. }, .. } => note(*id, false),
                _ => {}
            }
        }
    }

    fn note_factor(
        &self,
        factor: &Factor,
        buffers: &[Buffer],
        leading: (usize, usize),
        note: &mut impl FnMut(BufferId, bool),
    ) {
        let Factor { access, features, row_stride, .. } = factor;
        match access.source {
            Source::Buffer(id) if !access.lanes => {
                let mut stride = *row_stride as isize;
                let mut row_strides: Vec<isize> = Vec::new();
                for (_, size) in self.rows.iter().rev() {
                    row_strides.insert(0, stride);
                    stride *= *size as isize;
                }
                // Loops around the product may go anywhere.
                let alone = access.strides.iter().all(|(_, stride)| *stride == 0);
                let loops = [(*features, 1)];
                let buffer = &buffers[id.0 as usize];
                note(id, alone && self.plain_block(buffer, leading, &row_strides, &loops, access.offset));
            }
            _ => self.note_access(access, buffers, note),
        }
    }

    fn note_access(&self, access: &Access, buffers: &[Buffer], note: &mut impl FnMut(BufferId, bool)) {
        if let Source::Buffer(id) = access.source {
            let buffer = &buffers[id.0 as usize];
            let panel = access.panel_stride;
            // Inside of a panel an access goes where it likes.
            let inside = match &buffer.layout {
                Layout::Panels { .. } => true,
                _ => access.offset == 0 && access.strides.iter().all(|(_, stride)| *stride == 0),
            };
            note(id, access.lanes && inside && self.is_panel(buffer, panel));
        }
    }

    /// Whether a value lies in this kernel's panels, so many words each.
    fn is_panel(&self, buffer: &Buffer, panel: usize) -> bool {
        let unit = words(buffer.dtype);
        match &buffer.layout {
            Layout::Panels { rows, features } => {
                let features: usize = features.iter().map(|(_, size)| size).product();
                let rows: usize = rows.iter().map(|(_, size)| size).product();
                rows == self.row_count() && panel == features * LANES * unit
            }
            Layout::Plain(shape) => shape.elements() == self.row_count() && panel == LANES * unit,
            _ => false,
        }
    }

    /// Whether a row-major value is addressed such that the `leading` row axes, so many with so many indices, are its
    /// leading axes.
    fn plain_block(
        &self,
        buffer: &Buffer,
        leading: (usize, usize),
        row_strides: &[isize],
        loops: &[(usize, isize)],
        offset: isize,
    ) -> bool {
        let Layout::Plain(shape) = &buffer.layout else { return false };
        let (axes, indices) = leading;
        let block = (shape.elements() / indices * words(buffer.dtype)) as isize;
        let rows: Vec<(usize, isize)> =
            self.rows.iter().map(|(_, size)| *size).zip(row_strides.iter().copied()).collect();
        let (outer, inner) = rows.split_at(axes.min(rows.len()));
        let mut stride = block;
        let dense = outer.iter().rev().all(|(size, own)| {
            let fits = *size == 1 || *own == stride;
            stride *= *size as isize;
            fits
        });
        let others: Vec<(usize, isize)> = inner.iter().chain(loops).copied().collect();
        let last: isize = others.iter().map(|(size, stride)| (*size as isize - 1).max(0) * stride).sum();
        shape.elements().is_multiple_of(indices)
            && outer.len() == axes
            && dense
            && others.iter().all(|(_, stride)| *stride >= 0)
            && offset >= 0
            && offset + last < block
    }
}
