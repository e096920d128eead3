//! What every plan must be: values written before they are read, memory that nobody else uses meanwhile.

use super::{
    BufferId, Kernel, LANES, Layout, Place, Plan, Precision, Segment, Source, Stage, Step, Window, memory::lives,
    replace::may_replace,
};
use rustc_hash::{FxHashMap, FxHashSet};
use std::ops::Range;
use thiserror::Error;
use visage_kernels::{pairs::pairs, winograd::PLACES};

/// A plan that must not run: a defect of the planner.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Defect {
    #[error("step {step} reads b{buffer} before anything has written it")]
    Unwritten { step: usize, buffer: u32 },
    #[error("stage {stage} of \"{kernel}\" reads t{tile} before anything has written it")]
    EmptyTile { kernel: String, stage: usize, tile: usize },
    #[error("b{buffer} reaches beyond the arena")]
    Outside { buffer: u32 },
    #[error("t{tile} of \"{kernel}\" reaches beyond tile memory")]
    TileOutside { kernel: String, tile: usize },
    #[error("t{first} and t{second} of \"{kernel}\" are both needed at stage {stage} and share memory")]
    TileOverlap { kernel: String, first: usize, second: usize, stage: usize },
    #[error("b{first} and b{second} are both needed at step {step} and share memory")]
    Overlap { first: u32, second: u32, step: usize },
    #[error("\"{kernel}\" accumulates in {chunks} chunks into b{buffer}, which is {found}")]
    Chunks { kernel: String, chunks: usize, buffer: u32, found: String },
    #[error("stage {stage} of \"{kernel}\" multiplies in {precision} by b{buffer}, which is {found}")]
    Weights { kernel: String, stage: usize, precision: Precision, buffer: u32, found: String },
    #[error("t{tile} of \"{kernel}\" has no room for what stage {stage} puts there")]
    Room { kernel: String, stage: usize, tile: usize },
    #[error("a tile of \"{kernel}\" does not have whole pairs of lines for stage {stage}")]
    Lines { kernel: String, stage: usize },
    #[error("step {step} cannot run in {parts} parts")]
    Parts { step: usize, parts: usize },
    #[error("b{buffer} is kept for a part, and step {step} touches more")]
    Part { buffer: u32, step: usize },
    #[error("step {step} runs in parts and reads of b{buffer} what later parts write")]
    Ahead { buffer: u32, step: usize },
    #[error("b{buffer} is written over the state `{state}`, which is read again")]
    Replaced { buffer: u32, state: String },
    #[error("the output `{name}` is not stored as plain elements")]
    Output { name: String },
}

impl Plan {
    /// Checks the plan against itself.
    ///
    /// # Errors
    /// The first defect found.
    pub fn verify(&self) -> Result<(), Defect> {
        self.verify_order()?;
        self.verify_memory()?;
        self.verify_segments()?;
        self.verify_turns()?;
        self.verify_state()?;
        for (name, output) in &self.outputs {
            if !matches!(self.buffers[output.buffer.0 as usize].layout, Layout::Plain(_)) {
                return Err(Defect::Output { name: name.clone() });
            }
        }
        Ok(())
    }

    fn in_arena(&self, id: BufferId) -> Option<usize> {
        match self.buffers[id.0 as usize].place {
            Place::Arena(offset) => Some(offset),
            _ => None,
        }
    }

    /// Segments are stretches of their own, in whole tiles. What is kept for a part is touched in one segment alone, and
    /// part by part; what a segment writes and reads is read no further than it is written.
    fn verify_segments(&self) -> Result<(), Defect> {
        let mut end = 0;
        for Segment { steps, parts } in &self.segments {
            if *parts < 2 || steps.start < end || steps.end > self.steps.len() {
                return Err(Defect::Parts { step: steps.start, parts: *parts });
            }
            end = steps.end;
        }
        let mut homes: FxHashMap<BufferId, Option<usize>> = FxHashMap::default();
        // What a segment has written so far, and whether each part has written its own.
        let mut made: FxHashMap<(Option<usize>, BufferId), bool> = FxHashMap::default();
        for (at, step) in self.steps.iter().enumerate() {
            let home = self.segments.iter().position(|segment| segment.steps.contains(&at));
            let parts = home.map_or(1, |home| self.segments[home].parts);
            let kernel = match step {
                Step::Kernel(kernel) => Some(kernel),
                _ => None,
            };
            if parts > 1 && !kernel.is_some_and(|k| k.row_count().is_multiple_of(parts * k.tile_panels * LANES)) {
                return Err(Defect::Parts { step: at, parts });
            }
            let blocks = kernel.map(|kernel| kernel.blocks(&self.buffers, parts)).unwrap_or_default();
            let in_step = |id: &BufferId| blocks.get(id) == Some(&true);
            for id in step.buffers() {
                let buffer = &self.buffers[id.0 as usize];
                if buffer.parts > 1 {
                    let divides = buffer.layout.elements().is_multiple_of(buffer.parts * LANES);
                    let alone = *homes.entry(id).or_insert(home) == home;
                    if buffer.parts != parts || !divides || !alone || !in_step(&id) {
                        return Err(Defect::Part { buffer: id.0, step: at });
                    }
                }
            }
            if let (Some(_), Some(kernel)) = (home, kernel) {
                let (reads, writes) = kernel.touched();
                if let Some(id) =
                    reads.iter().find(|id| made.get(&(home, **id)).is_some_and(|own| !own || !in_step(id)))
                {
                    return Err(Defect::Ahead { buffer: id.0, step: at });
                }
                for id in writes {
                    *made.entry((home, id)).or_insert(true) &= in_step(&id);
                }
            }
        }
        Ok(())
    }

    /// State that is written has been read by all who need what it was.
    fn verify_state(&self) -> Result<(), Defect> {
        let written: FxHashSet<BufferId> = self.steps.iter().flat_map(|step| step.touched().1).collect();
        let state = |id: &BufferId| match &self.buffers[id.0 as usize].place {
            Place::State(name) => Some(name),
            _ => None,
        };
        let shown: FxHashSet<BufferId> = self.outputs.values().map(|output| output.buffer).collect();
        for (id, name) in written.iter().filter_map(|id| Some((*id, state(id)?))) {
            let again = |other: BufferId| {
                other != id
                    && state(&other) == Some(name)
                    && (shown.contains(&other) || !may_replace((other, id), &self.steps, &self.segments, &self.buffers))
            };
            if (0..self.buffers.len() as u32).map(BufferId).any(again) {
                return Err(Defect::Replaced { buffer: id.0, state: name.clone() });
            }
        }
        Ok(())
    }

    /// Goes through the steps as they run, two parts of each segment after another: whatever a step reads, or adds to, is
    /// still there.
    fn verify_turns(&self) -> Result<(), Defect> {
        let arena: Vec<(BufferId, Range<usize>)> = (0..)
            .map(BufferId)
            .zip(&self.buffers)
            .filter_map(|(id, buffer)| Some((id, self.in_arena(id)?, buffer.bytes())))
            .map(|(id, offset, bytes)| (id, offset..offset + bytes))
            .collect();
        // By whom the memory of each value has been written since the value was.
        let mut lost: FxHashMap<BufferId, BufferId> = FxHashMap::default();
        let mut turn = |at: usize, again: bool| {
            let (reads, writes) = self.steps[at].touched();
            let overlaps =
                |first: BufferId, second: BufferId| Defect::Overlap { first: first.0, second: second.0, step: at };
            for id in &writes {
                // Later parts add to what the first one has begun, and leave alone what it has written.
                let kept = again && self.buffers[id.0 as usize].parts == 1;
                match lost.get(id).filter(|_| kept) {
                    Some(by) => return Err(overlaps(*id, *by)),
                    None => lost.remove(id),
                };
            }
            let memory = |id: &BufferId| arena.iter().find(|(other, _)| other == id).map(|(_, memory)| memory.clone());
            for (id, memory) in writes.iter().filter_map(|id| Some((*id, memory(id)?))) {
                let meets = |other: &Range<usize>| memory.start < other.end && other.start < memory.end;
                for (other, _) in arena.iter().filter(|(other, own)| *other != id && meets(own)) {
                    if writes.contains(other) {
                        return Err(overlaps(id, *other));
                    }
                    lost.insert(*other, id);
                }
            }
            match reads.iter().find_map(|id| Some((*id, *lost.get(id)?))) {
                Some((id, by)) => Err(overlaps(id, by)),
                None => Ok(()),
            }
        };
        let mut step = 0;
        while step < self.steps.len() {
            let segment = self.segments.iter().find(|segment| segment.steps.start == step && !segment.steps.is_empty());
            let stretch = segment.map_or(step..step + 1, |segment| segment.steps.clone());
            for part in 0..if segment.is_some() { 2 } else { 1 } {
                stretch.clone().try_for_each(|at| turn(at, part > 0))?;
            }
            step = stretch.end;
        }
        let end = self.steps.len();
        match self.outputs.values().find_map(|output| Some((output.buffer.0, lost.get(&output.buffer)?.0))) {
            Some((first, second)) => Err(Defect::Overlap { first, second, step: end }),
            None => Ok(()),
        }
    }

    /// Steps and stages read what has been written.
    fn verify_order(&self) -> Result<(), Defect> {
        let mut written: FxHashSet<BufferId> = FxHashSet::default();
        let read = |written: &FxHashSet<BufferId>, step: usize, id: BufferId| match self.in_arena(id) {
            Some(_) if !written.contains(&id) => Err(Defect::Unwritten { step, buffer: id.0 }),
            _ => Ok(()),
        };
        for (at, step) in self.steps.iter().enumerate() {
            match step {
                Step::Pack { source, target, .. } | Step::Combine { source, target, .. } => {
                    read(&written, at, *source)?;
                    written.insert(*target);
                }
                Step::Kernel(kernel) => {
                    self.verify_kernel(kernel)?;
                    for stage in &kernel.stages {
                        stage
                            .reads()
                            .into_iter()
                            .filter_map(Source::buffer)
                            .try_for_each(|id| read(&written, at, id))?;
                        written.extend(stage.writes().into_iter().filter_map(Source::buffer));
                    }
                }
            }
        }
        self.outputs.values().try_for_each(|output| read(&written, self.steps.len(), output.buffer))
    }

    fn verify_kernel(&self, kernel: &Kernel) -> Result<(), Defect> {
        let name = || kernel.name.clone();
        let mut filled: FxHashSet<usize> = FxHashSet::default();
        for (at, stage) in kernel.stages.iter().enumerate() {
            for source in stage.reads() {
                if let Source::Tile(tile) = source
                    && !filled.contains(&tile)
                {
                    return Err(Defect::EmptyTile { kernel: name(), stage: at, tile });
                }
            }
            for target in stage.writes() {
                match target {
                    Source::Tile(tile) if kernel.tiles[tile] + kernel.tile_words[tile] > kernel.scratch => {
                        return Err(Defect::TileOutside { kernel: name(), tile });
                    }
                    Source::Tile(tile) => {
                        filled.insert(tile);
                    }
                    Source::Buffer(_) => {}
                }
            }
            self.verify_precision(kernel, at, stage)?;
            if let Stage::AccumulateContract { target, .. }
            | Stage::AccumulateReduce { target, .. }
            | Stage::AccumulateScatter { target, .. } = stage
            {
                let layout = &self.buffers[target.0 as usize].layout;
                if !matches!(layout, Layout::Partials { chunks, .. } if *chunks == kernel.chunks) {
                    let (chunks, found) = (kernel.chunks, layout.to_string());
                    return Err(Defect::Chunks { kernel: name(), chunks, buffer: target.0, found });
                }
            }
        }
        let mut lives: Vec<Option<(usize, usize)>> = vec![None; kernel.tiles.len()];
        for (at, stage) in kernel.stages.iter().enumerate() {
            for source in stage.sources() {
                if let Source::Tile(tile) = source {
                    lives[tile].get_or_insert((at, at)).1 = at;
                }
            }
        }
        let memory = |tile: usize| kernel.tiles[tile]..kernel.tiles[tile] + kernel.tile_words[tile];
        let placed: Vec<_> =
            lives.into_iter().enumerate().filter_map(|(tile, life)| Some((tile, memory(tile), life?))).collect();
        match overlap(&placed) {
            Some((first, second, stage)) => Err(Defect::TileOverlap { kernel: name(), first, second, stage }),
            None => Ok(()),
        }
    }

    /// Weights are packed as their contraction multiplies them, and pairs have room in tile memory.
    fn verify_precision(&self, kernel: &Kernel, at: usize, stage: &Stage) -> Result<(), Defect> {
        let words = |source: Source| match source {
            Source::Tile(tile) => kernel.tile_words[tile],
            Source::Buffer(_) => 0,
        };
        let room = |source: Source, needed: usize| match source {
            Source::Tile(_) if words(source) >= needed * kernel.tile_panels => Ok(()),
            Source::Tile(tile) => Err(Defect::Room { kernel: kernel.name.clone(), stage: at, tile }),
            Source::Buffer(id) => Err(Defect::Outside { buffer: id.0 }),
        };
        match stage {
            Stage::Contract { loops, batch, weights, n, k, pairs: tile, window, .. } => {
                let looped: usize = loops.iter().map(|(_, size)| size).product();
                let count = looped * batch.map_or(1, |batch| kernel.row_count() / batch.rows.max(1));
                let blocks = window.as_ref().map_or(1, Window::blocks);
                let layout = &self.buffers[weights.0 as usize].layout;
                let fits = match layout {
                    Layout::Strips { matrices, n: own, k: depth } => {
                        tile.is_none() && (own, depth) == (n, k) && *matrices == count
                    }
                    Layout::Pairs { matrices, n: own, blocks: parts, block } => {
                        let whole = *parts == blocks && blocks * block == *k;
                        tile.is_some() && own == n && whole && *matrices == count
                    }
                    Layout::Fragments { matrices, n: own, blocks: parts, block } => {
                        let whole = *parts == blocks && blocks * block == *k;
                        tile.is_none() && own == n && whole && *matrices == count
                    }
                    _ => false,
                };
                if !fits {
                    let precision = if tile.is_some() { Precision::Bf16 } else { Precision::F32 };
                    let (kernel, found) = (kernel.name.clone(), layout.to_string());
                    return Err(Defect::Weights { kernel, stage: at, precision, buffer: weights.0, found });
                }
                if let Some(apart) = batch.and_then(|batch| batch.apart) {
                    room(apart, n * LANES)?;
                }
                tile.map_or(Ok(()), |tile| room(tile, pairs(k / blocks) * LANES))
            }
            Stage::Winograd { weights, n, k, window, x, products, .. } => {
                let layout = &self.buffers[weights.0 as usize].layout;
                if *layout != (Layout::Strips { matrices: PLACES, n: *n, k: *k }) {
                    let (kernel, found) = (kernel.name.clone(), layout.to_string());
                    let precision = Precision::F32;
                    return Err(Defect::Weights { kernel, stage: at, precision, buffer: weights.0, found });
                }
                let lines = &kernel.rows[kernel.rows.len().saturating_sub(2)..];
                let even = lines.len() == 2 && lines.iter().all(|(_, size)| size.is_multiple_of(2));
                if !even || !(kernel.tile_panels * LANES).is_multiple_of(2 * lines[1].1) || !window.taps.is_empty() {
                    return Err(Defect::Lines { kernel: kernel.name.clone(), stage: at });
                }
                // A panel of squares at least, which is four panels of rows.
                let room = |source: Source, rows: usize| match source {
                    Source::Tile(tile) if kernel.tile_words[tile] < rows * LANES => {
                        Err(Defect::Room { kernel: kernel.name.clone(), stage: at, tile })
                    }
                    Source::Tile(_) => Ok(()),
                    Source::Buffer(id) => Err(Defect::Outside { buffer: id.0 }),
                };
                room(*x, PLACES * k)?;
                // The last vector that is read may begin in any lane.
                room(*products, PLACES * n + 1)
            }
            Stage::AccumulateContract { g, x, strips, turned, precision: Precision::Bf16, window, .. } => {
                let block = x.features / window.as_ref().map_or(1, Window::blocks);
                room(*strips, g.features * pairs(LANES))?;
                room(*turned, block.next_multiple_of(LANES) * pairs(LANES))
            }
            _ => Ok(()),
        }
    }

    /// Values that are needed at the same time do not share memory, and none reaches beyond the arena.
    fn verify_memory(&self) -> Result<(), Defect> {
        let lives =
            lives(&self.buffers, &self.steps, &self.segments, self.outputs.values().map(|output| output.buffer));
        let mut placed = Vec::new();
        for (id, life) in (0..).map(BufferId).zip(lives) {
            let (Some(offset), Some(life)) = (self.in_arena(id), life) else { continue };
            let end = offset + self.buffers[id.0 as usize].bytes();
            if end > self.arena_bytes {
                return Err(Defect::Outside { buffer: id.0 });
            }
            placed.push((id.0, offset..end, life));
        }
        match overlap(&placed) {
            Some((first, second, step)) => Err(Defect::Overlap { first, second, step }),
            None => Ok(()),
        }
    }
}

/// Two values that share memory while both live, and when.
fn overlap<N: Copy>(placed: &[(N, Range<usize>, (usize, usize))]) -> Option<(N, N, usize)> {
    placed.iter().enumerate().find_map(|(at, (first, memory, life))| {
        placed[at + 1..].iter().find_map(|(second, other, other_life)| {
            let time = life.0.max(other_life.0);
            let meet = memory.start < other.end && other.start < memory.end && time <= life.1.min(other_life.1);
            meet.then_some((*first, *second, time))
        })
    })
}
