//! New values of the state written over the old ones.
//!
//! An optimiser reads and writes all that it keeps. If the new values had memory of their own, that would be twice the
//! memory of the state, and all of it would be copied after each step. A new value takes the place of the old one if every
//! step that reads the old one has run before the step that writes the new one, or is that step, and reads of the old
//! one no more than the elements that it is about to write, before it writes them.

use super::{
    Access, Buffer, BufferId, Kernel, LANES, Loop, Output, Place, Segment, Source, Stage, Step, Term,
    rows::{is_computed, path},
    words,
};
use crate::{
    axis::Axis,
    graph::{DType, Graph, NodeId, Op},
};
use indexmap::IndexMap;
use rustc_hash::{FxHashMap, FxHashSet};

/// The parameter that the value of each node is the new one of; `updates` names the state of each output.
pub(super) fn replaced(graph: &Graph, updates: &IndexMap<String, String>) -> FxHashMap<NodeId, NodeId> {
    let mut parameters: FxHashMap<&str, NodeId> = FxHashMap::default();
    for id in graph.ids() {
        if let Op::Parameter(name) = graph.op(id) {
            parameters.insert(name, id);
        }
    }
    let of = |(name, node): (&str, NodeId)| {
        let path = path(graph, node);
        let parameter = *parameters.get(updates.get(name)?.as_str())?;
        (path.views.is_empty() && is_computed(graph, path.base)).then_some((path.base, parameter))
    };
    graph.outputs().filter_map(of).collect()
}

/// Puts outputs that are new values of the state where the old ones are, if that is possible.
pub(super) fn replace(
    buffers: &mut [Buffer],
    (steps, segments): (&[Step], &[Segment]),
    outputs: &IndexMap<String, Output>,
    updates: &IndexMap<String, String>,
) {
    let mut olds: FxHashMap<String, BufferId> = FxHashMap::default();
    for (id, buffer) in (0..).map(BufferId).zip(buffers.iter()) {
        if let Place::State(name) = &buffer.place {
            olds.insert(name.clone(), id);
        }
    }
    // Whatever shows the old value after the last step needs it.
    let uses = |id: BufferId| outputs.values().filter(|output| output.buffer == id).count();
    let mut taken: FxHashSet<&str> = FxHashSet::default();
    for (name, output) in outputs {
        let new = output.buffer;
        let Some((state, old)) = updates.get(name).and_then(|state| Some((state, *olds.get(state)?))) else { continue };
        let of = |id: BufferId| &buffers[id.0 as usize];
        let alike = of(new).layout == of(old).layout && of(new).dtype == of(old).dtype && of(new).dtype != DType::Bool;
        if alike
            && matches!(of(new).place, Place::Arena(_))
            && uses(new) == 1
            && uses(old) == 0
            && may_replace((old, new), steps, segments, buffers)
            && taken.insert(state)
        {
            buffers[new.0 as usize].place = Place::State(state.clone());
        }
    }
}

/// Whether a new value may be written to the memory of the old one.
pub(super) fn may_replace(
    (old, new): (BufferId, BufferId),
    steps: &[Step],
    segments: &[Segment],
    buffers: &[Buffer],
) -> bool {
    let mut written = None;
    for (at, step) in steps.iter().enumerate() {
        let (reads, writes) = step.touched();
        if writes.contains(&new) && written.replace(at).is_some() {
            return false;
        }
        let again = || match step {
            Step::Kernel(kernel) if writes.contains(&new) => !in_step(kernel, old, new, buffers),
            Step::Kernel(_) => written.is_some(),
            Step::Pack { .. } | Step::Combine { .. } => true,
        };
        if written.is_some() && reads.contains(&old) && again() {
            return false;
        }
    }
    written.is_some_and(|at| segments.iter().all(|segment| !segment.steps.contains(&at)))
}

/// Where a stage finds the elements of a stored value: the distances from row to row, along each axis of the rows, and from
/// feature to feature.
#[derive(Debug, PartialEq)]
struct Walk {
    rows: Vec<isize>,
    features: Vec<(Axis, isize)>,
    offset: isize,
}

impl Walk {
    fn new(
        kernel: &Kernel,
        rows: &[(Axis, isize)],
        features: impl Iterator<Item = (Loop, isize)>,
        offset: isize,
    ) -> Walk {
        let long = kernel.rows.iter().zip(rows).filter(|((_, size), _)| *size > 1);
        let mut features: Vec<(Axis, isize)> = features
            .filter(|((_, size), stride)| *size > 1 && *stride != 0)
            .map(|((axis, _), stride)| (axis, stride))
            .collect();
        features.sort_unstable();
        Walk { rows: long.map(|(_, (_, stride))| *stride).collect(), features, offset }
    }

    /// Of an address whose rows lie side by side.
    fn of(kernel: &Kernel, access: &Access, loops: &[Loop], dtype: DType) -> Option<Walk> {
        let mut stride = words(dtype);
        let mut rows: Vec<(Axis, isize)> = Vec::new();
        for (axis, size) in kernel.rows.iter().rev() {
            rows.insert(0, (*axis, stride as isize));
            stride *= size;
        }
        let features = loops.iter().map(|entry| (*entry, access.stride(entry.0)));
        let side_by_side = access.lanes && access.panel_stride == LANES * words(dtype);
        side_by_side.then(|| Walk::new(kernel, &rows, features, access.offset))
    }
}

/// Whether a kernel reads of `old` only the elements that it then writes to `new`.
fn in_step(kernel: &Kernel, old: BufferId, new: BufferId, buffers: &[Buffer]) -> bool {
    let dtype = buffers[new.0 as usize].dtype;
    let (mut reads, mut writes): (Vec<Option<Walk>>, Vec<Option<Walk>>) = (Vec::new(), Vec::new());
    let walk = |rows: &[(Axis, isize)], loops: &[Loop], strides: &[isize], offset: isize| {
        Some(Walk::new(kernel, rows, loops.iter().copied().zip(strides.iter().copied()), offset))
    };
    for stage in &kernel.stages {
        let touches = |sources: Vec<Source>, id: BufferId| sources.contains(&Source::Buffer(id));
        if touches(stage.reads(), old) {
            if !writes.is_empty() {
                return false;
            }
            match stage {
                Stage::Load { offset, row_strides, loops, strides, .. } => {
                    reads.push(walk(row_strides, loops, strides, *offset));
                }
                Stage::Map { loops, body, .. } => {
                    let own = body.terms.iter().filter_map(|term| match term {
                        Term::Load(access, _) if access.source == Source::Buffer(old) => {
                            Some(Walk::of(kernel, access, loops, dtype))
                        }
                        Term::Gather { source, .. } if source.source == Source::Buffer(old) => Some(None),
                        _ => None,
                    });
                    reads.extend(own);
                }
                _ => return false,
            }
        }
        if touches(stage.writes(), new) {
            match stage {
                Stage::Save { row_strides, loops, strides, .. } => writes.push(walk(row_strides, loops, strides, 0)),
                Stage::Map { loops, stores, .. } => {
                    let own = stores.iter().filter(|store| store.target.source == Source::Buffer(new));
                    writes.extend(own.map(|store| {
                        let walk = Walk::of(kernel, &store.target, loops, dtype);
                        walk.filter(|_| !store.add)
                    }));
                }
                _ => return false,
            }
        }
    }
    match &writes[..] {
        [Some(write)] => reads.iter().all(|read| read.as_ref() == Some(write)),
        _ => false,
    }
}
