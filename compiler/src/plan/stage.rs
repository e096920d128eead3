//! What a stage touches: its accesses, its stored values.

use super::{Access, BufferId, Expression, Source, Stage, Step, Term};

impl Expression {
    fn accesses(&self) -> impl Iterator<Item = &Access> {
        self.terms.iter().filter_map(|term| match term {
            Term::Load(access, _) | Term::Gather { source: access, .. } => Some(access),
            _ => None,
        })
    }
}

impl Stage {
    /// Everything that the stage reads or writes inside the kernel.
    pub fn sources(&self) -> Vec<Source> {
        let mut sources: Vec<Source> = Vec::new();
        match self {
            Stage::Load { source, target, .. } => sources.extend([Source::Buffer(*source), target.source]),
            Stage::Save { source, target, .. } => sources.extend([source.source, Source::Buffer(*target)]),
            Stage::Stream { source, target, .. } => sources.extend([*source, Source::Buffer(*target)]),
            Stage::Fill { target, .. } => sources.push(target.source),
            Stage::Map { body, stores, .. } => {
                sources.extend(body.accesses().map(|access| access.source));
                sources.extend(stores.iter().map(|store| store.target.source));
            }
            Stage::Reduce { body, store, .. }
            | Stage::ArgReduce { body, store, .. }
            | Stage::Scan { body, store, .. } => {
                sources.extend(body.accesses().map(|access| access.source));
                sources.push(store.target.source);
            }
            Stage::Sort { source, target, .. } => sources.extend([source.source, target.source]),
            Stage::Scatter { body, target, .. } => {
                sources.extend(body.accesses().map(|access| access.source));
                sources.push(target.source);
            }
            Stage::Contract { weights, x, c, .. } => sources.extend([Source::Buffer(*weights), x.source, c.source]),
            Stage::AccumulateContract { g, x, strips, turned, target, .. } => {
                sources.extend([g.source, x.source, *strips, *turned, Source::Buffer(*target)]);
            }
            Stage::AccumulateReduce { body, target, .. } | Stage::AccumulateScatter { body, target, .. } => {
                sources.extend(body.accesses().map(|access| access.source));
                sources.push(Source::Buffer(*target));
            }
        }
        sources
    }
}

impl Step {
    /// Every stored value that the step reads or writes.
    pub fn buffers(&self) -> Vec<BufferId> {
        match self {
            Step::Pack { source, target, .. } | Step::Combine { source, target, .. } => vec![*source, *target],
            Step::Kernel(kernel) => {
                let mut buffers: Vec<BufferId> = kernel
                    .stages
                    .iter()
                    .flat_map(Stage::sources)
                    .filter_map(|source| match source {
                        Source::Buffer(id) => Some(id),
                        Source::Tile(_) => None,
                    })
                    .collect();
                buffers.sort_unstable();
                buffers.dedup();
                buffers
            }
        }
    }
}
