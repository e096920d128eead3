//! What every plan must be: values written before they are read, memory that nobody else uses meanwhile.

use super::{BufferId, Kernel, LANES, Layout, Place, Plan, Source, Stage, Step, memory::lives};
use rustc_hash::FxHashSet;
use std::ops::Range;
use thiserror::Error;

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
    #[error("step {step} cannot run in {parts} parts")]
    Parts { step: usize, parts: usize },
    #[error("b{buffer} is kept for a part, and step {step} touches more")]
    Part { buffer: u32, step: usize },
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
        for (name, id) in &self.outputs {
            if !matches!(self.buffers[id.0 as usize].layout, Layout::Plain(_)) {
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

    /// What is kept for a part of a segment is touched in that segment alone, and part by part; parts are whole tiles.
    fn verify_segments(&self) -> Result<(), Defect> {
        for (at, step) in self.steps.iter().enumerate() {
            let parts = self.segments.iter().find(|segment| segment.steps.contains(&at)).map_or(1, |s| s.parts);
            let kernel = match step {
                Step::Kernel(kernel) => Some(kernel),
                _ => None,
            };
            if parts > 1 && !kernel.is_some_and(|k| k.row_count().is_multiple_of(parts * k.tile_panels * LANES)) {
                return Err(Defect::Parts { step: at, parts });
            }
            let blocks = kernel.map(|kernel| kernel.blocks(&self.buffers)).unwrap_or_default();
            for id in step.buffers() {
                let own = self.buffers[id.0 as usize].parts;
                if own > 1 && (own != parts || blocks.get(&id) != Some(&true)) {
                    return Err(Defect::Part { buffer: id.0, step: at });
                }
            }
        }
        Ok(())
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
        self.outputs.values().try_for_each(|id| read(&written, self.steps.len(), *id))
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

    /// Values that are needed at the same time do not share memory, and none reaches beyond the arena.
    fn verify_memory(&self) -> Result<(), Defect> {
        let lives = lives(&self.buffers, &self.steps, &self.segments, self.outputs.values());
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
