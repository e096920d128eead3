//! What a stage touches: its accesses, its stored values.

use super::{Access, BufferId, Expression, Kernel, Source, Stage, Step, Term, Window, access::Names};

impl Expression {
    fn accesses(&self) -> impl Iterator<Item = &Access> {
        self.terms.iter().filter_map(|term| match term {
            Term::Load(access, _) | Term::Gather { source: access, .. } => Some(access),
            _ => None,
        })
    }

    /// Scalar operations and draws, without constants and reads.
    pub fn operations(&self) -> usize {
        self.terms
            .iter()
            .filter(|term| matches!(term, Term::Map(..) | Term::Gather { .. } | Term::Random { .. }))
            .count()
    }

    /// Gives the loops other names.
    pub(super) fn rename(&mut self, names: &Names) {
        for term in &mut self.terms {
            let strides = match term {
                Term::Load(access, _) | Term::Gather { source: access, .. } => &mut access.strides,
                Term::FeatureIndex(axis) => {
                    *axis = names.of(*axis);
                    continue;
                }
                Term::Random { strides, .. } => {
                    strides.iter_mut().for_each(|(axis, _)| *axis = names.of(*axis));
                    continue;
                }
                Term::Constant(..) | Term::RowIndex(_) | Term::Map(..) => continue,
            };
            strides.iter_mut().for_each(|(axis, _)| *axis = names.of(*axis));
        }
    }

    fn sources(&self) -> Vec<Source> {
        self.accesses().map(|access| access.source).collect()
    }
}

impl Window {
    /// The stored value.
    fn source(&self) -> Source {
        Source::Buffer(self.source)
    }
}

impl Stage {
    /// The lane-wise expression of the stage, if it has one.
    pub fn body(&self) -> Option<&Expression> {
        match self {
            Stage::Map { body, .. }
            | Stage::Reduce { body, .. }
            | Stage::ArgReduce { body, .. }
            | Stage::Scan { body, .. }
            | Stage::Scatter { body, .. }
            | Stage::AccumulateReduce { body, .. }
            | Stage::AccumulateScatter { body, .. } => Some(body),
            Stage::Load { .. }
            | Stage::Save { .. }
            | Stage::Stream { .. }
            | Stage::Fill { .. }
            | Stage::Sort { .. }
            | Stage::Contract { .. }
            | Stage::Winograd { .. }
            | Stage::AccumulateContract { .. } => None,
        }
    }

    /// Whether the stage adds up over rows.
    pub fn accumulates(&self) -> bool {
        matches!(
            self,
            Stage::AccumulateContract { .. } | Stage::AccumulateReduce { .. } | Stage::AccumulateScatter { .. }
        )
    }

    /// What the stage reads inside the kernel. What it adds to is not among it.
    pub fn reads(&self) -> Vec<Source> {
        match self {
            Stage::Load { source, .. } => vec![Source::Buffer(*source)],
            Stage::Save { source, .. } | Stage::Sort { source, .. } => vec![source.source],
            Stage::Stream { source, .. } => vec![*source],
            Stage::Contract { weights, x, window, .. } => {
                vec![Source::Buffer(*weights), window.as_ref().map_or(x.source, Window::source)]
            }
            Stage::Winograd { weights, window, .. } => vec![Source::Buffer(*weights), window.source()],
            Stage::AccumulateContract { g, x, window, .. } => {
                vec![g.access.source, window.as_ref().map_or(x.access.source, Window::source)]
            }
            _ => self.body().map_or_else(Vec::new, Expression::sources),
        }
    }

    /// What the stage writes, or adds to, inside the kernel.
    pub fn writes(&self) -> Vec<Source> {
        match self {
            Stage::Load { target, .. }
            | Stage::Fill { target, .. }
            | Stage::Sort { target, .. }
            | Stage::Scatter { target, .. } => vec![target.source],
            Stage::Save { target, .. } | Stage::Stream { target, .. } => vec![Source::Buffer(*target)],
            Stage::Map { stores, .. } => stores.iter().map(|store| store.target.source).collect(),
            Stage::Reduce { store, .. } | Stage::ArgReduce { store, .. } | Stage::Scan { store, .. } => {
                vec![store.target.source]
            }
            Stage::Contract { c, x, batch, pairs, window, .. } => {
                let apart = batch.and_then(|batch| batch.apart);
                let own = std::iter::once(c.source).chain(apart).chain(*pairs);
                own.chain(window.as_ref().map(|_| x.source)).collect()
            }
            Stage::Winograd { c, x, products, .. } => vec![c.source, *x, *products],
            Stage::AccumulateContract { strips, turned, target, x, window, .. } => {
                let own = [*strips, *turned, Source::Buffer(*target)];
                own.into_iter().chain(window.as_ref().map(|_| x.access.source)).collect()
            }
            Stage::AccumulateReduce { target, .. } | Stage::AccumulateScatter { target, .. } => {
                vec![Source::Buffer(*target)]
            }
        }
    }

    /// Everything that the stage reads or writes inside the kernel.
    pub fn sources(&self) -> Vec<Source> {
        [self.reads(), self.writes()].concat()
    }
}

impl Step {
    /// Every stored value that the step reads or writes.
    pub fn buffers(&self) -> Vec<BufferId> {
        match self {
            Step::Pack { source, target, .. } | Step::Combine { source, target, .. } => vec![*source, *target],
            Step::Kernel(kernel) => kernel.buffers(),
        }
    }

    /// The stored values that the step reads, and those that it writes.
    pub fn touched(&self) -> (Vec<BufferId>, Vec<BufferId>) {
        match self {
            Step::Pack { source, target, .. } | Step::Combine { source, target, .. } => (vec![*source], vec![*target]),
            Step::Kernel(kernel) => kernel.touched(),
        }
    }
}

impl Kernel {
    /// The stored values that the kernel reads, and those that it writes.
    pub fn touched(&self) -> (Vec<BufferId>, Vec<BufferId>) {
        let of = |sources: fn(&Stage) -> Vec<Source>| {
            self.stages.iter().flat_map(sources).filter_map(Source::buffer).collect()
        };
        (of(Stage::reads), of(Stage::writes))
    }

    /// Every stored value that a stage reads or writes.
    pub fn buffers(&self) -> Vec<BufferId> {
        let mut buffers: Vec<BufferId> =
            self.stages.iter().flat_map(Stage::sources).filter_map(Source::buffer).collect();
        buffers.sort_unstable();
        buffers.dedup();
        buffers
    }
}

impl Source {
    /// The stored value, if it is one.
    pub fn buffer(self) -> Option<BufferId> {
        match self {
            Source::Buffer(id) => Some(id),
            Source::Tile(_) => None,
        }
    }
}
