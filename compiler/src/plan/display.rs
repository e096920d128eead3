//! The printed form of a plan.

use super::{
    Access, Expression, Factor, Kernel, Layout, Place, Plan, Precision, Source, Stage, Step, Store, Term, Window,
};
use crate::axis::Axis;
use std::fmt;

fn list<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(" ")
}

fn sized<A: fmt::Display>(axes: &[(A, usize)]) -> String {
    list(axes.iter().map(|(axis, size)| format!("{axis}={size}")))
}

/// The loops around a contraction, and the window that its operand is read through.
fn around(loops: &[(Axis, usize)], window: Option<&Window>) -> String {
    let mut text = String::new();
    if !loops.is_empty() {
        text += &format!(" over [{}]", sized(loops));
    }
    if let Some(window) = window {
        let taps: Vec<_> = window.taps.iter().map(|tap| (tap.axis, tap.size)).collect();
        text += &format!(", window b{} of [{}] in {} blocks", window.source.0, sized(&taps), window.blocks());
    }
    text
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Layout::Panels { rows, features } => write!(f, "panels [{}][{}]", sized(rows), sized(features)),
            Layout::Plain(shape) => write!(f, "plain {shape}"),
            Layout::Strips { matrices: 1, n, k } => write!(f, "strips [{n}][{k}]"),
            Layout::Strips { matrices, n, k } => write!(f, "strips {matrices} × [{n}][{k}]"),
            Layout::Pairs { matrices: 1, n, blocks, block } => write!(f, "pairs [{n}][{}]", blocks * block),
            Layout::Pairs { matrices, n, blocks, block } => {
                write!(f, "pairs {matrices} × [{n}][{}]", blocks * block)
            }
            Layout::Fragments { matrices: 1, n, blocks, block } => write!(f, "fragments [{n}][{}]", blocks * block),
            Layout::Fragments { matrices, n, blocks, block } => {
                write!(f, "fragments {matrices} × [{n}][{}]", blocks * block)
            }
            Layout::Partials { elements, chunks } => write!(f, "partials {chunks} × {elements}"),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Buffer(id) => write!(f, "b{}", id.0),
            Source::Tile(id) => write!(f, "t{id}"),
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.source)?;
        let mut parts = Vec::new();
        if self.panel_stride != 0 {
            parts.push(format!("panel*{}", self.panel_stride));
        }
        parts.extend(self.strides.iter().filter(|(_, stride)| *stride != 0).map(|(axis, s)| format!("{axis}*{s}")));
        if self.offset != 0 {
            parts.push(self.offset.to_string());
        }
        if self.lanes {
            parts.push("lane".to_owned());
        }
        write!(f, "{}]", parts.join(" + "))
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Factor { access, row_stride, .. } = self;
        if access.lanes { write!(f, "{access}") } else { write!(f, "{access} by rows of {row_stride}") }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, term) in self.terms.iter().enumerate() {
            match term {
                Term::Constant(value, _) => writeln!(f, "      v{i} = {value:?}")?,
                Term::Load(access, _) => writeln!(f, "      v{i} = {access}")?,
                Term::FeatureIndex(axis) | Term::RowIndex(axis) => writeln!(f, "      v{i} = index {axis}")?,
                Term::Random { distribution, stream, .. } => {
                    writeln!(f, "      v{i} = {} #{stream}", format!("{distribution:?}").to_lowercase())?;
                }
                Term::Map(op, operands) => {
                    writeln!(f, "      v{i} = {} {}", op.name(), list(operands.iter().map(|o| format!("v{o}"))))?;
                }
                Term::Gather { source, index, size, .. } => {
                    writeln!(f, "      v{i} = {source} at v{index} of {size}")?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} v{}", self.target, if self.add { "+=" } else { "=" }, self.term)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stage::Load { source, loops, target, .. } => {
                writeln!(f, "    load {target} = b{} over [{}]", source.0, sized(loops))
            }
            Stage::Save { source, loops, target, .. } => {
                writeln!(f, "    save b{} = {source} over [{}]", target.0, sized(loops))
            }
            Stage::Stream { source, target, panel } => {
                writeln!(f, "    stream b{} = {source}, {panel} words a panel", target.0)
            }
            Stage::Fill { target, loops, value, .. } => {
                writeln!(f, "    fill {target} = {value:?} over [{}]", sized(loops))
            }
            Stage::Map { loops, body, stores } => {
                writeln!(
                    f,
                    "    map over [{}]\n{}      {}",
                    sized(loops),
                    body,
                    list(stores.iter().map(|s| format!("{s};")))
                )
            }
            Stage::Reduce { loops, over, combine, body, store, .. } => {
                let (loops, over) = (sized(loops), sized(over));
                writeln!(f, "    reduce {} of [{over}] over [{loops}]\n{body}      {store}", combine.name())
            }
            Stage::ArgReduce { loops, over, largest, body, store } => {
                let name = if *largest { "argmax" } else { "argmin" };
                writeln!(f, "    {name} of [{}={}] over [{}]\n{body}      {store}", over.0, over.1, sized(loops))
            }
            Stage::Scan { loops, along, combine, exclusive, reverse, body, store, .. } => {
                let kind = if *exclusive { " exclusive" } else { "" };
                let direction = if *reverse { " reverse" } else { "" };
                writeln!(
                    f,
                    "    scan {}{kind}{direction} along {}={} over [{}]\n{body}      {store}",
                    combine.name(),
                    along.0,
                    along.1,
                    sized(loops)
                )
            }
            Stage::Sort { loops, source, along, target, positions, .. } => {
                let name = if *positions { "argsort" } else { "sort" };
                writeln!(f, "    {name} {target} = {source} along {}={} over [{}]", along.0, along.1, sized(loops))
            }
            Stage::Scatter { loops, body, index, update, target, size, .. } => {
                writeln!(f, "    scatter {target} at v{index} of {size} += v{update} over [{}]\n{body}", sized(loops))
            }
            Stage::Contract { loops, batch, weights, n, k, x, c, pairs, window, .. } => {
                let each = batch.map_or_else(String::new, |batch| format!(" for each {} rows", batch.rows));
                let around = each + &around(loops, window.as_ref());
                let rounded = pairs.map_or_else(String::new, |pairs| format!(" in bf16 through {pairs}"));
                writeln!(f, "    contract {c} = b{} · {x}, n={n} k={k}{rounded}{around}", weights.0)
            }
            Stage::Winograd { weights, n, k, window, x, products, c, .. } => {
                let (weights, from) = (weights.0, window.source.0);
                writeln!(
                    f,
                    "    convolve {c} = b{weights} · squares of b{from} through {x} and {products}, n={n} k={k}"
                )
            }
            Stage::AccumulateContract { loops, g, x, precision, target, window, .. } => {
                let around = around(loops, window.as_ref());
                let rounded = if *precision == Precision::Bf16 { " in bf16" } else { "" };
                let (n, k) = (g.features, x.features);
                writeln!(f, "    accumulate b{} += {g} · {x} over rows, n={n} k={k}{rounded}{around}", target.0)
            }
            Stage::AccumulateReduce { loops, row_strides, over, combine, body, term, target, .. } => {
                let (loops, over) = (sized(loops), sized(over));
                let each = row_strides.iter().map(|(axis, _)| axis.to_string()).collect::<Vec<_>>().join(" ");
                let each = if each.is_empty() { each } else { format!(" for each {each}") };
                writeln!(
                    f,
                    "    accumulate b{} {} v{term} of [{over}] over [{loops}]{each}\n{body}",
                    target.0,
                    combine.name()
                )
            }
            Stage::AccumulateScatter { loops, body, index, update, size, target, .. } => {
                writeln!(
                    f,
                    "    scatter b{} at v{index} of {size} += v{update} over [{}]\n{body}",
                    target.0,
                    sized(loops)
                )
            }
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  kernel \"{}\" over rows [{}]: {} tiles of {} panels, {} chunks, {} KiB of tile memory, {:.3} GFLOP",
            self.name,
            sized(&self.rows),
            self.tile_count(),
            self.tile_panels,
            self.chunks,
            (self.scratch * 4).div_ceil(1024),
            self.flops * 1e-9
        )?;
        self.stages.iter().try_for_each(|stage| write!(f, "{stage}"))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "arena {} bytes", self.arena_bytes)?;
        for (i, buffer) in self.buffers.iter().enumerate() {
            let place = match &buffer.place {
                Place::Input(name) => format!("input \"{name}\""),
                Place::State(name) => format!("state \"{name}\""),
                Place::Constant(bits) => format!("constant {bits:#x}"),
                Place::Arena(offset) => format!("arena +{offset}"),
            };
            let part = if buffer.parts > 1 { format!(" a part of {}", buffer.parts) } else { String::new() };
            writeln!(f, "b{i} {} {}{part} {}  # {}", buffer.dtype, buffer.layout, place, buffer.name)?;
        }
        for (at, step) in self.steps.iter().enumerate() {
            if let Some(segment) = self.segments.iter().find(|segment| segment.steps.start == at) {
                writeln!(f, "  in {} parts, {} steps:", segment.parts, segment.steps.len())?;
            }
            match step {
                Step::Pack { source, target, m_offsets, n_offsets, k_offsets, winograd } => {
                    let (n, k) = (n_offsets.len(), k_offsets.len());
                    write!(f, "  pack b{} = b{}, n={n} k={k}", target.0, source.0)?;
                    match m_offsets.len() {
                        taps if *winograd => writeln!(f, ", {taps} taps for squares")?,
                        1 => writeln!(f)?,
                        matrices => writeln!(f, ", {matrices} matrices")?,
                    }
                }
                Step::Kernel(kernel) => write!(f, "{kernel}")?,
                Step::Combine { source, target, combine, chunks, .. } => {
                    writeln!(f, "  combine b{} = {} of {chunks} chunks of b{}", target.0, combine.name(), source.0)?;
                }
            }
        }
        for (name, output) in &self.outputs {
            writeln!(f, "output {name} = b{}", output.buffer.0)?;
        }
        Ok(())
    }
}
