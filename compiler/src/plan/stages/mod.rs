//! From clusters to kernels: layouts of what is stored, and the stages of each kernel.

mod build;
mod expression;
mod operation;

use super::{
    Buffer, BufferId, Decision, Fusion, Layout, Output, Place, Plan, PlanOptions, Step,
    access::Strided,
    cluster::Clusters,
    memory::{self, Interval, lives},
    replace,
    rows::{AxisOrder, Contraction, Path, axes_behind, contraction, is_computed, path, rows_through},
    segment,
    window::window,
    words,
};
use crate::{
    axis::{Axis, Shape},
    graph::{DType, Graph, NodeId, Op, ScalarOp},
};
use indexmap::IndexMap;
use rustc_hash::{FxHashMap, FxHashSet};

/// Turns clusters into a program.
pub(super) fn build(
    graph: &Graph,
    clusters: &Clusters,
    orders: &IndexMap<String, Shape>,
    updates: &IndexMap<String, String>,
    options: &PlanOptions,
) -> Plan {
    let mut planner = Planner::new(graph, clusters, orders, *options);
    for cluster in &clusters.order {
        build::kernel(&mut planner, *cluster);
    }
    planner.finish(updates)
}

/// How a kernel reads a stored value.
pub(super) struct Planner<'g> {
    pub graph: &'g Graph,
    pub clusters: &'g Clusters,
    pub options: PlanOptions,
    pub axes: AxisOrder,
    pub buffers: Vec<Buffer>,
    pub steps: Vec<Step>,
    /// The buffer of each stored node.
    pub stored: FxHashMap<NodeId, BufferId>,
    /// Weights already packed: (source, offsets, blocks of k) to buffer.
    pub packed: FxHashMap<(BufferId, [Vec<u32>; 3], usize), BufferId>,
    /// Maps so cheap that a reader in another kernel computes them again.
    pub recomputed: FxHashSet<NodeId>,
    /// Layouts of the computed nodes that leave their kernel.
    layouts: FxHashMap<NodeId, Layout>,
    /// The order in which outputs want the axes of values that they are, as these call them.
    wanted: FxHashMap<NodeId, Shape>,
    constants: FxHashMap<(u64, DType), BufferId>,
}

impl<'g> Planner<'g> {
    fn new(
        graph: &'g Graph,
        clusters: &'g Clusters,
        orders: &IndexMap<String, Shape>,
        options: PlanOptions,
    ) -> Planner<'g> {
        let mut planner = Planner {
            graph,
            clusters,
            options,
            axes: AxisOrder::of(graph),
            buffers: Vec::new(),
            steps: Vec::new(),
            stored: FxHashMap::default(),
            packed: FxHashMap::default(),
            recomputed: FxHashSet::default(),
            layouts: FxHashMap::default(),
            wanted: wanted(graph, orders),
            constants: FxHashMap::default(),
        };
        if planner.options.fusion == Fusion::Full && !planner.options.without.has(Decision::Recompute) {
            planner.choose_recomputed();
        }
        planner.choose_layouts();
        planner
    }

    /// Decides what readers in other kernels compute again instead of reading it: a cheap map whose operands they can
    /// read instead, because those are stored anyway or small.
    fn choose_recomputed(&mut self) {
        let graph = self.graph;
        let mut stored: FxHashSet<NodeId> = graph.outputs().map(|(_, node)| path(graph, node).base).collect();
        // Readers in other kernels, with the rows as they name them where they compute lane by lane.
        type Readers = Vec<(NodeId, Option<Vec<Axis>>)>;
        let mut readers: FxHashMap<NodeId, Readers> = FxHashMap::default();
        for (cluster, entry) in self.clusters.clusters.iter().enumerate() {
            for reader in &entry.members {
                for operand in graph.operands(*reader) {
                    let path = path(graph, operand);
                    if self.clusters.of.get(&path.base).is_some_and(|of| *of != cluster) {
                        let lane_wise = path.only_renames(graph) && self.computes_lanes(*reader);
                        let rows = rows_through(graph, &path, &self.clusters.rows_at[&path.base]);
                        readers.entry(path.base).or_default().push((*reader, rows.filter(|_| lane_wise)));
                    }
                }
            }
        }
        let outputs = stored.clone();
        stored.extend(readers.keys());
        for node in graph.topological() {
            let Some(readers) = readers.get(&node) else { continue };
            let aligned = readers.iter().all(|(reader, rows)| rows.as_ref() == Some(&self.clusters.rows_at[reader]));
            if aligned && !outputs.contains(&node) && self.is_cheap(node, &stored) {
                self.recomputed.insert(node);
                stored.remove(&node);
            }
        }
    }

    /// Whether a node computes lane by lane what it reads: a map, or a reduction or scan that takes maps as its body.
    fn computes_lanes(&self, node: NodeId) -> bool {
        matches!(self.graph.op(node), Op::Map(_) | Op::Reduce { .. } | Op::Scan { .. })
    }

    /// Whether a map costs its readers next to nothing, if they read its operands instead. A predicate, or what moves
    /// values only, does if all of them are `stored` anyway; a sum or product if, besides, all but one of them are
    /// small. Neither holds another value in memory that would not be there.
    fn is_cheap(&self, node: NodeId, stored: &FxHashSet<NodeId>) -> bool {
        let graph = self.graph;
        let Op::Map(op) = graph.op(node) else { return false };
        let elements = graph.shape(node).elements();
        let mut large = 0;
        let available = graph.operands(node).into_iter().all(|operand| {
            let path = path(graph, operand);
            let is_small = graph.shape(path.base).elements() * 8 <= elements;
            large += usize::from(!is_small);
            let leaf = matches!(graph.op(path.base), Op::Input(_) | Op::Parameter(_));
            let rows = self.clusters.rows_at.get(&path.base);
            let seen = rows.and_then(|rows| rows_through(graph, &path, rows));
            let along = seen.as_ref() == self.clusters.rows_at.get(&node);
            // What is read along other rows, this node's too, is row-major.
            let plain = self.clusters.accumulating.contains(&path.base)
                || !along && self.clusters.of.get(&path.base) != self.clusters.of.get(&node);
            let kept = stored.contains(&path.base) && (plain || along && path.only_renames(graph));
            matches!(graph.op(path.base), Op::Constant(_)) || leaf || kept
        });
        let moves = op.is_predicate() || matches!(op, ScalarOp::Cast(_) | ScalarOp::Neg | ScalarOp::Select);
        available && (moves || is_arithmetic(*op) && large <= 1)
    }

    /// Decides, for every computed node that is read outside its kernel, how it is stored.
    fn choose_layouts(&mut self) {
        let graph = self.graph;
        for cluster in &self.clusters.clusters {
            for reader in &cluster.members {
                for (position, operand) in graph.operands(*reader).into_iter().enumerate() {
                    let path = path(graph, operand);
                    if !is_computed(graph, path.base) {
                        continue;
                    }
                    let inside = self.clusters.of[&path.base] == self.clusters.of[reader];
                    if inside && !self.clusters.accumulating.contains(&path.base) {
                        continue;
                    }
                    if self.recomputed.contains(&path.base) {
                        // The reader reads the operands, along the same rows.
                        continue;
                    }
                    let panels = self.reads_panels(*reader, position, &path);
                    let order = match panels {
                        true => None,
                        false => self.order_for(*reader, &path),
                    };
                    self.note_layout(path.base, panels, order);
                }
            }
        }
        for (_, output) in graph.outputs() {
            let base = path(graph, output).base;
            if is_computed(graph, base) {
                self.note_layout(base, false, None);
            }
        }
    }

    /// Whether a reader goes through the rows of a value as its kernel produced them.
    fn reads_panels(&self, reader: NodeId, position: usize, path: &Path) -> bool {
        if let Contraction::Rows { x, .. } = contraction(self.graph, reader, &self.axes)
            && matches!(self.graph.op(reader), Op::Contract { .. })
            && x != position
        {
            return false;
        }
        if let Some((base, reach, bases)) = window(self.graph, reader, position, &self.clusters.rows_at[&reader]) {
            // Panels of the same rows: what a row reads is around it.
            let along = bases.iter().map(|at| reach.bases[*at].axis);
            return self.clusters.rows_at.get(&base).is_some_and(|rows| along.eq(rows.iter().copied()));
        }
        if matches!(self.graph.op(reader), Op::Gather { .. }) && position == 0 {
            return false;
        }
        let rows = rows_through(self.graph, path, &self.clusters.rows_at[&path.base]);
        rows.as_deref() == Some(&self.clusters.rows_at[&reader][..])
    }

    /// The order of axes in which a reader would have a value row-major: along its own rows, if the kernel that computes the
    /// value writes its rows side by side then, too.
    fn order_for(&self, reader: NodeId, path: &Path) -> Option<Shape> {
        let shape = self.graph.shape(path.base);
        let behind = axes_behind(self.graph, path, &self.clusters.rows_at[&reader])?;
        let own = &self.clusters.rows_at[&path.base];
        let distinct = behind.iter().enumerate().all(|(i, axis)| shape.contains(*axis) && !behind[..i].contains(axis));
        let rest = shape.iter().filter(|(axis, _)| !behind.contains(axis));
        let rows = behind.iter().filter_map(|axis| Some((*axis, shape.size(*axis)?)));
        let order: Vec<(Axis, usize)> = rows.chain(rest).collect();
        let written = Strided::dense(order.iter().copied(), 1).merged(own);
        let together = written.is_some_and(|(count, stride)| stride == 1 && count >= super::LANES);
        (distinct && together && order[0].0 != own[0]).then(|| Shape::new(order))
    }

    /// Settles how a value is stored that somebody reads as panels, or row-major and then best in some `order`.
    fn note_layout(&mut self, node: NodeId, panels: bool, order: Option<Shape>) {
        let shape = self.graph.shape(node);
        let rows = &self.clusters.rows_at[&node];
        let accumulating = self.clusters.accumulating.contains(&node);
        let features = || shape.iter().filter(|(axis, _)| !rows.contains(axis));
        if accumulating {
            let wanted = self.wanted.get(&node).cloned();
            let order = wanted.or_else(|| self.order_of_readers(node)).unwrap_or_else(|| shape.clone());
            self.layouts.insert(node, Layout::Plain(order));
        } else if panels && features().next().is_some() {
            let sized = rows.iter().filter_map(|axis| Some((*axis, shape.size(*axis)?))).collect();
            let layout = Layout::Panels { rows: sized, features: features().collect() };
            self.layouts.entry(node).or_insert(layout);
        } else {
            let ordered = rows.iter().filter_map(|axis| Some((*axis, shape.size(*axis)?))).chain(features());
            let plain = Shape::new(ordered);
            let before = match self.layouts.get(&node) {
                Some(Layout::Plain(before)) if !before.iter().eq(plain.iter()) => Some(before.clone()),
                _ => None,
            };
            let order = self.wanted.get(&node).cloned().or(before).or(order).unwrap_or(plain);
            self.layouts.insert(node, Layout::Plain(order));
        }
    }

    /// The storage order of a parameter that a map reads together with `node`: the natural order of
    /// its gradient.
    fn order_of_readers(&self, node: NodeId) -> Option<Shape> {
        let graph = self.graph;
        graph.users(node).into_iter().flat_map(|user| graph.operands(user)).find_map(|other| {
            let stored = matches!(graph.op(other), Op::Parameter(_)) && graph.shape(other) == graph.shape(node);
            stored.then(|| graph.shape(other).clone())
        })
    }

    /// The layout a computed node is stored in, if it is stored at all.
    pub fn layout(&self, node: NodeId) -> Option<&Layout> {
        self.layouts.get(&node)
    }

    /// Adds a buffer; those in the arena get their offsets at the end.
    pub fn add_buffer(&mut self, name: String, dtype: DType, layout: Layout, place: Place) -> BufferId {
        self.buffers.push(Buffer { name, dtype, layout, place, parts: 1 });
        BufferId(self.buffers.len() as u32 - 1)
    }

    /// What a node is called in listings.
    pub fn name(&self, node: NodeId) -> String {
        match &self.graph.node(node).label {
            Some(label) => label.to_string(),
            None => format!("%{}", node.index()),
        }
    }

    /// The buffer that holds a leaf or an already computed node.
    pub fn buffer(&mut self, node: NodeId) -> BufferId {
        if let Some(id) = self.stored.get(&node) {
            return *id;
        }
        let ty = self.graph.ty(node).clone();
        let id = match self.graph.op(node).clone() {
            Op::Constant(value) => {
                let bits = pattern(value, ty.dtype);
                if let Some(id) = self.constants.get(&(bits, ty.dtype)) {
                    return *id;
                }
                let plain = Layout::Plain(Shape::SCALAR);
                let id = self.add_buffer(format!("{value:?}"), ty.dtype, plain, Place::Constant(bits));
                self.constants.insert((bits, ty.dtype), id);
                id
            }
            Op::Input(name) => self.add_buffer(name.clone(), ty.dtype, Layout::Plain(ty.shape), Place::Input(name)),
            Op::Parameter(name) => self.add_buffer(name.clone(), ty.dtype, Layout::Plain(ty.shape), Place::State(name)),
            _ => {
                let layout = self.layouts.get(&node).cloned().unwrap_or_else(|| Layout::Plain(ty.shape.clone()));
                self.add_buffer(self.name(node), ty.dtype, layout, Place::Arena(0))
            }
        };
        self.stored.insert(node, id);
        id
    }

    /// A stored plain value as the reader at the end of `path` addresses it, by its own axis names.
    pub fn plain(&mut self, path: &Path) -> (BufferId, Strided) {
        let buffer = self.buffer(path.base);
        let shape = match &self.buffers[buffer.0 as usize].layout {
            Layout::Plain(shape) => shape.clone(),
            other => unreachable!("{} is stored as {other:?}", self.buffers[buffer.0 as usize].name),
        };
        let mut strided = Strided::dense(shape.iter(), words(self.graph.ty(path.base).dtype) as isize);
        for view in &path.views {
            strided = strided.viewed(self.graph.op(*view));
        }
        (buffer, strided)
    }

    fn finish(mut self, updates: &IndexMap<String, String>) -> Plan {
        let mut outputs = IndexMap::new();
        let named: Vec<(String, NodeId)> = self.graph.outputs().map(|(name, node)| (name.to_owned(), node)).collect();
        for (name, node) in named {
            let output = self.output(node);
            outputs.insert(name, output);
        }
        let mut segments = Vec::new();
        if self.options.fusion == Fusion::Full && !self.options.without.has(Decision::Segments) {
            let kept = outputs.values().map(|output: &Output| output.buffer).collect();
            let steps = std::mem::take(&mut self.steps);
            (self.steps, segments) = segment::segments(steps, &mut self.buffers, &kept, &self.options);
        }
        if !self.options.without.has(Decision::Replace) {
            replace::replace(&mut self.buffers, (&self.steps, &segments), &outputs, updates);
        }
        let lives = lives(&self.buffers, &self.steps, &segments, outputs.values().map(|output| output.buffer));
        let lifetimes: Vec<Option<Interval>> = lives
            .into_iter()
            .zip(&self.buffers)
            .map(|(life, buffer)| {
                let (first, last) = life?;
                Some(Interval { size: buffer.bytes() + GUARD_BYTES, first, last })
            })
            .collect();
        let arena: Vec<usize> = (0..self.buffers.len())
            .filter(|i| matches!(self.buffers[*i].place, Place::Arena(_)) && lifetimes[*i].is_some())
            .collect();
        let intervals: Vec<Interval> = arena
            .iter()
            .filter_map(|i| lifetimes[*i])
            .map(|interval| Interval { size: interval.size.next_multiple_of(64), ..interval })
            .collect();
        let (offsets, arena_bytes) = memory::assign(&intervals);
        for (i, offset) in arena.into_iter().zip(offsets) {
            self.buffers[i].place = Place::Arena(offset);
        }
        Plan { buffers: self.buffers, steps: self.steps, segments, arena_bytes, outputs }
    }

    /// Where an output is, plain and dense: a view of a stored value that is more than other names gets a copy of its
    /// own.
    fn output(&mut self, node: NodeId) -> Output {
        let path = path(self.graph, node);
        let leaf = matches!(self.graph.op(path.base), Op::Iota { .. });
        let buffer = match path.only_renames(self.graph) && !leaf {
            true => self.buffer(path.base),
            false => build::copy(self, node),
        };
        let shape = match &self.buffers[buffer.0 as usize].layout {
            Layout::Plain(shape) => shape.clone(),
            other => unreachable!("an output is stored as {other}"),
        };
        let shape = match path.only_renames(self.graph) && !leaf {
            true => Shape::new(shape.iter().map(|(axis, size)| (path.renamed(self.graph, axis), size))),
            false => shape,
        };
        Output { buffer, shape }
    }
}

/// Whether an operation is a sum or a product, the dearest that is computed again rather than read.
fn is_arithmetic(op: ScalarOp) -> bool {
    matches!(op, ScalarOp::Add | ScalarOp::Sub | ScalarOp::Mul)
}

/// The order in which outputs want the axes of computed values that they are, as these call them.
fn wanted(graph: &Graph, orders: &IndexMap<String, Shape>) -> FxHashMap<NodeId, Shape> {
    let of = |(name, node): (&str, NodeId)| {
        let path = path(graph, node);
        let own = graph.shape(path.base);
        if !path.only_renames(graph) {
            return None;
        }
        let called = |wanted: Axis| own.iter().find(|(axis, _)| path.renamed(graph, *axis) == wanted);
        let order: Vec<(Axis, usize)> = orders.get(name)?.axes().filter_map(called).collect();
        (order.len() == own.rank()).then(|| (path.base, Shape::new(order)))
    };
    graph.outputs().filter_map(of).collect()
}

/// Bytes past the end of a buffer that a vector access of the last panel may touch.
pub(super) const GUARD_BYTES: usize = super::LANES * 8;

/// Eight bytes of memory that holds a scalar everywhere: an `f64`, or a four-byte element twice.
pub fn pattern(value: f64, dtype: DType) -> u64 {
    let word = match dtype {
        DType::F64 => return value.to_bits(),
        DType::I32 => value as i32 as u32,
        DType::Bool if value != 0.0 => u32::MAX,
        DType::Bool => 0,
        _ => (value as f32).to_bits(),
    };
    u64::from(word) << 32 | u64::from(word)
}

/// Feature axes with sizes: a shape without the rows.
pub(super) fn features(shape: &Shape, rows: &[Axis]) -> Vec<(Axis, usize)> {
    shape.iter().filter(|(axis, _)| !rows.contains(axis)).collect()
}

/// The product of sizes.
pub(super) fn product(loops: &[(Axis, usize)]) -> usize {
    loops.iter().map(|(_, size)| size).product()
}

/// The distances of the elements along some axes, read as one, from the lowest, and what the first is above the lowest,
/// negative.
pub(super) fn offsets(axes: &[(Axis, usize)], stride: impl Fn(Axis) -> isize) -> (Vec<u32>, isize) {
    let mut offsets = vec![0];
    for (axis, size) in axes {
        let stride = stride(*axis);
        offsets =
            offsets.into_iter().flat_map(|offset| (0..*size as isize).map(move |i| offset + i * stride)).collect();
    }
    let low = offsets.iter().copied().min().unwrap_or(0);
    (offsets.into_iter().map(|offset| (offset - low) as u32).collect(), low)
}
