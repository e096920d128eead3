//! The stages of one kernel.
//!
//! Members are scheduled so that maps over the same features follow one another; such a run becomes
//! one stage whose values stay in registers unless somebody else needs them.

use super::{Planner, expression::Body, features, offsets, product};
use crate::{
    axis::{Axis, Shape},
    graph::{DType, NodeId, Op},
    plan::{
        Access, Arrangement, BufferId, Combine, Decision, Factor, Kernel, LANES, Layout, Place, Precision, Products,
        Source, Stage, Step, Store,
        access::{Names, Strided},
        memory::{self, Interval},
        rows::{Path, path},
        words,
    },
};
use rustc_hash::FxHashMap;
use visage_kernels::winograd::RESULTS;

/// Bytes of partial results beyond which there are few of them: each tile reads and writes one.
const LARGE_PARTIAL: usize = 256 << 10;

/// Bytes of a value beyond which its elements are not written one by one where they are wanted, each into a line of the
/// cache that other tiles write, too.
const LARGE_SCATTER: usize = 256 << 10;

/// Where a value of this kernel lives: its features' strides relative to a source.
#[derive(Clone)]
pub(super) struct Home {
    source: Source,
    panel_stride: usize,
    /// Whether rows lie side by side; else there is one element for all rows of a panel.
    lanes: bool,
    strided: Strided,
}

/// A run of maps that will become one stage.
struct Group {
    /// The loops, as the first node names its features.
    loops: Vec<(Axis, usize)>,
    nodes: Vec<NodeId>,
    /// What the loops are called for the features of each node.
    names: FxHashMap<NodeId, Names>,
    body: Body,
}

/// A partial result to be combined after the kernel.
struct Partial {
    partials: BufferId,
    target: BufferId,
    combine: Combine,
    arrangement: Arrangement,
}

pub(super) struct Builder<'p, 'g> {
    pub planner: &'p mut Planner<'g>,
    /// The rows, by the kernel's own names.
    pub rows: Vec<(Axis, usize)>,
    pub stages: Vec<Stage>,
    pub flops: f64,
    /// Whether the contraction at hand is a convolution in squares.
    pub squares: bool,
    homes: FxHashMap<NodeId, Home>,
    /// Words a panel of each tile-resident value.
    tiles: Vec<usize>,
    loaded: FxHashMap<(NodeId, Vec<Axis>), Access>,
    readers: FxHashMap<NodeId, Vec<NodeId>>,
    group: Option<Group>,
    partials: Vec<Partial>,
    /// Values that are put into their order by a step of their own.
    scattered: Vec<Scattered>,
}

/// A value stored as panels, of which the elements lie apart in the order that is wanted.
struct Scattered {
    panels: BufferId,
    target: BufferId,
    arrangement: Arrangement,
}

/// Plans the kernel of a cluster and appends it to the program.
pub(super) fn kernel(planner: &mut Planner<'_>, cluster: usize) {
    let members = planner.clusters.clusters[cluster].members.clone();
    let rows = planner.clusters.clusters[cluster].rows.clone();
    let mut builder = Builder::new(planner, rows);
    for member in &members {
        for operand in builder.planner.graph.operands(*member) {
            let base = path(builder.planner.graph, operand).base;
            builder.readers.entry(base).or_default().push(*member);
        }
    }
    builder.schedule(members.clone());
    let name = members.iter().rev().find_map(|node| builder.planner.graph.node(*node).label.clone());
    let last = members.last().copied().unwrap_or_default();
    let name = name.map_or_else(|| builder.planner.graph.op(last).to_string(), |label| label.to_string());
    builder.finish(name);
}

/// Copies a view or an index into a buffer of its own.
pub(super) fn copy(planner: &mut Planner<'_>, node: NodeId) -> BufferId {
    let ty = planner.graph.ty(node).clone();
    let rows: Vec<(Axis, usize)> = ty.shape.iter().collect();
    let names: Vec<Axis> = ty.shape.axes().collect();
    let layout = Layout::Plain(ty.shape.clone());
    let name = planner.name(node);
    let target = planner.add_buffer(name.clone(), ty.dtype, layout, Place::Arena(0));
    let mut builder = Builder::new(planner, rows);
    let mut body = Body::default();
    let term = builder.operand(&mut body, node, &names);
    let panel_stride = LANES * words(ty.dtype);
    let access = Access { source: Source::Buffer(target), panel_stride, lanes: true, strides: Vec::new(), offset: 0 };
    let stores = vec![Store { term, target: access, add: false }];
    builder.stages.push(Stage::Map { loops: Vec::new(), body: body.expression, stores });
    builder.finish(format!("copy {name}"));
    target
}

impl<'p, 'g> Builder<'p, 'g> {
    fn new(planner: &'p mut Planner<'g>, rows: Vec<(Axis, usize)>) -> Builder<'p, 'g> {
        Builder {
            planner,
            rows,
            stages: Vec::new(),
            flops: 0.0,
            squares: false,
            homes: FxHashMap::default(),
            tiles: Vec::new(),
            loaded: FxHashMap::default(),
            readers: FxHashMap::default(),
            group: None,
            partials: Vec::new(),
            scattered: Vec::new(),
        }
    }

    pub fn row_count(&self) -> usize {
        product(&self.rows)
    }

    /// The home of a member that is already computed.
    pub fn home(&self, node: NodeId) -> Option<&Home> {
        self.homes.get(&node)
    }

    /// A member's features, by its own names.
    pub fn features(&self, node: NodeId) -> Vec<(Axis, usize)> {
        features(self.planner.graph.shape(node), &self.planner.clusters.rows_at[&node])
    }

    fn schedule(&mut self, mut waiting: Vec<NodeId>) {
        let all: Vec<NodeId> = waiting.clone();
        let mut done: Vec<NodeId> = Vec::new();
        while !waiting.is_empty() {
            let ready = |node: &NodeId| {
                self.planner.graph.operands(*node).into_iter().all(|operand| {
                    let base = path(self.planner.graph, operand).base;
                    !all.contains(&base) || done.contains(&base)
                })
            };
            let joins = waiting.iter().position(|node| ready(node) && self.joins_group(*node).is_some());
            // A sum over rows leaves nothing in the tile, and after it its operands may go.
            let sums = |node: &NodeId| ready(node) && self.planner.clusters.accumulating.contains(node);
            let next = || waiting.iter().position(sums).or_else(|| waiting.iter().position(ready));
            let at = joins.or_else(next).unwrap_or(0);
            let node = waiting.remove(at);
            self.emit(node);
            done.push(node);
        }
        self.flush();
    }

    fn is_lane_wise(&self, node: NodeId) -> bool {
        matches!(self.planner.graph.op(node), Op::Map(_) | Op::Random { .. } | Op::Gather { .. })
    }

    /// The loops' names for the features of a lane-wise member, if it can be computed in the open run of maps: it has
    /// features of the same sizes, and sees what it takes from the run under other names at most.
    fn joins_group(&self, node: NodeId) -> Option<Names> {
        let group = self.group.as_ref()?;
        let graph = self.planner.graph;
        let features = self.features(node);
        if !self.is_lane_wise(node) || features.len() != group.loops.len() {
            return None;
        }
        let mut names: Vec<(Axis, Axis)> = Vec::new();
        for (position, operand) in graph.operands(node).into_iter().enumerate() {
            let path = path(graph, operand);
            let Some(theirs) = group.names.get(&path.base) else { continue };
            let gathered = position == 0 && matches!(graph.op(node), Op::Gather { .. });
            if gathered || !path.only_renames(graph) {
                return None;
            }
            for (axis, _) in self.features(path.base) {
                let (own, called) = (path.renamed(graph, axis), theirs.of(axis));
                match names.iter().find(|(axis, _)| *axis == own) {
                    Some((_, other)) if *other != called => return None,
                    Some(_) => {}
                    None => names.push((own, called)),
                }
            }
        }
        for (axis, _) in &features {
            if !names.iter().any(|(own, _)| own == axis) {
                names.push((*axis, *axis));
            }
        }
        let fits = |loop_: &(Axis, usize)| {
            let mut own = names.iter().filter(|(_, called)| *called == loop_.0);
            own.next().is_some_and(|(own, _)| features.contains(&(*own, loop_.1))) && own.next().is_none()
        };
        (names.len() == features.len() && group.loops.iter().all(fits)).then(|| Names::new(names))
    }

    fn emit(&mut self, node: NodeId) {
        if !self.is_lane_wise(node) {
            return self.operation(node);
        }
        let names = self.joins_group(node).unwrap_or_else(|| {
            self.flush();
            let (loops, names) = (self.features(node), FxHashMap::default());
            self.group = Some(Group { loops, nodes: Vec::new(), names, body: Body::default() });
            Names::default()
        });
        if let Some(mut group) = self.group.take() {
            group.body.names = names.clone();
            let term = self.compute(&mut group.body, node);
            group.body.names = Names::default();
            group.body.know(node, term);
            group.nodes.push(node);
            group.names.insert(node, names);
            self.group = Some(group);
        }
    }

    /// Ends the open run of maps: one stage that stores what others read.
    pub fn flush(&mut self) {
        let Some(group) = self.group.take() else { return };
        let mut stores = Vec::new();
        let mut saves = Vec::new();
        for node in &group.nodes {
            let read = self.readers.get(node).is_some_and(|readers| readers.iter().any(|r| !group.nodes.contains(r)));
            if !read && self.planner.layout(*node).is_none() {
                continue;
            }
            if let Some(term) = group.body.term(*node) {
                let target = self.settle(*node, &mut saves).renamed(&group.names[node]);
                stores.push(Store { term, target, add: false });
            }
        }
        self.stages.push(Stage::Map { loops: group.loops, body: group.body.expression, stores });
        self.stages.append(&mut saves);
    }

    /// The open run of maps as the body of the one reduction or scan that reads it, if nobody else
    /// does; otherwise ends the run and gives an empty body. Its loops are called as the reader calls them.
    pub fn body_for(&mut self, reader: NodeId) -> Body {
        let graph = self.planner.graph;
        if let Some(group) = &self.group {
            let private = group.nodes.iter().all(|node| {
                self.planner.layout(*node).is_none()
                    && self
                        .readers
                        .get(node)
                        .is_none_or(|readers| readers.iter().all(|r| group.nodes.contains(r) || *r == reader))
            });
            let paths: Vec<Path> = graph.operands(reader).iter().map(|operand| path(graph, *operand)).collect();
            let mut read = paths.iter().filter_map(|path| Some((path, group.names.get(&path.base)?)));
            let through_views = read.clone().any(|(path, _)| !path.views.is_empty());
            let names = read.next().map(|(_, names)| names.clone());
            let agree = read.all(|(_, other)| Some(other) == names.as_ref());
            if let Some(names) = names
                && private
                && agree
                && !through_views
                && let Some(mut group) = self.group.take()
            {
                group.body.expression.rename(&names.inverse());
                return group.body;
            }
        }
        self.flush();
        Body::default()
    }

    /// Gives a member its home and the access by which it is written; a value that is stored in
    /// another order than this kernel's gets a stage that saves it.
    pub fn settle(&mut self, node: NodeId, saves: &mut Vec<Stage>) -> Access {
        let loops = self.features(node);
        let layout = self.planner.layout(node).cloned();
        let lanes = LANES * words(self.dtype(node));
        let panel = product(&loops) * lanes;
        let bytes = |layout: &Layout| layout.elements() / LANES * lanes * 4;
        let large = layout.as_ref().is_some_and(|l| bytes(l) > self.planner.options.target.cache_bytes)
            && !self.planner.options.without.has(Decision::Stream);
        // Rows in the order of memory: alone, or whole panels of them for each feature.
        let along = match &layout {
            Some(Layout::Plain(shape)) => {
                let dense = Strided::dense(shape.iter(), words(self.dtype(node)) as isize);
                let rows = &self.planner.clusters.rows_at[&node];
                let side_by_side =
                    dense.merged(rows).is_some_and(|(_, stride)| stride == words(self.dtype(node)) as isize);
                let whole = self.row_count().is_multiple_of(LANES) && rows.len() == self.rows.len();
                match loops.is_empty() {
                    true => shape.axes().eq(rows.iter().copied()),
                    false => side_by_side && whole && self.is_lane_wise(node),
                }
            }
            _ => false,
        };
        let alone = along && loops.is_empty();
        if let Some(Layout::Plain(order)) = &layout
            && self.scatters(node, order, &loops)
        {
            return self.settle_scattered(node, order, &loops);
        }
        let same = matches!(layout, Some(Layout::Panels { .. })) || alone;
        let (source, panel_stride) = match &layout {
            Some(_) if large && same => {
                let source = self.tile(panel);
                saves.push(Stage::Stream { source, target: self.planner.buffer(node), panel });
                (source, panel)
            }
            Some(Layout::Panels { .. }) => (Source::Buffer(self.planner.buffer(node)), panel),
            Some(_) if along => (Source::Buffer(self.planner.buffer(node)), lanes),
            _ => (self.tile(panel), panel),
        };
        let strided = match (&layout, source) {
            (Some(Layout::Plain(shape)), Source::Buffer(_)) if !loops.is_empty() => {
                let dense = Strided::dense(shape.iter(), words(self.dtype(node)) as isize);
                let axes = loops.iter().map(|(axis, size)| (*axis, *size, dense.get(*axis).map_or(0, |(_, s)| s)));
                Strided { offset: 0, axes: axes.collect() }
            }
            _ => Strided::dense(loops.iter().copied(), lanes as isize),
        };
        let home = Home { source, panel_stride, lanes: true, strided };
        let access = home.access(&home.strided);
        if let (Some(Layout::Plain(shape)), Source::Tile(_), false) = (&layout, source, large && same) {
            let dense = Strided::dense(shape.iter(), words(self.dtype(node)) as isize);
            let rows = self.planner.clusters.rows_at[&node].clone();
            let target = self.planner.buffer(node);
            saves.push(Stage::Save {
                source: access.clone(),
                strides: loops.iter().map(|(axis, _)| dense.get(*axis).map_or(0, |(_, stride)| stride)).collect(),
                loops,
                row_strides: self.row_strides(&dense, &rows),
                target,
            });
        }
        self.homes.insert(node, home);
        access
    }

    /// Whether saving a member in an order would write single elements all over a large value: neither its rows nor its
    /// features lie side by side there.
    fn scatters(&self, node: NodeId, order: &Shape, features: &[(Axis, usize)]) -> bool {
        let dense = Strided::dense(order.iter(), 1);
        let rows = self.planner.clusters.rows_at[&node]
            .iter()
            .filter_map(|axis| dense.get(*axis).map(|(size, _)| (*axis, size)));
        let apart = |axes: Vec<(Axis, usize)>| {
            let last = axes.into_iter().rfind(|(_, size)| *size > 1);
            last.and_then(|(axis, _)| dense.get(axis)).is_some_and(|(_, stride)| stride != 1)
        };
        let large = self.dtype(node) == DType::F32 && order.elements() * 4 > LARGE_SCATTER;
        large && apart(rows.collect()) && apart(features.to_vec())
    }

    /// Gives a member that [scatters](Self::scatters) a home in panels, from which a step after this kernel takes it.
    fn settle_scattered(&mut self, node: NodeId, order: &Shape, features: &[(Axis, usize)]) -> Access {
        let size = |axis: &Axis| order.size(*axis).unwrap_or(1);
        let rows: Vec<_> = self.planner.clusters.rows_at[&node].iter().map(|axis| (*axis, size(axis))).collect();
        let dense = Strided::dense(order.iter(), 1);
        let stride = |axis: Axis| dense.get(axis).map_or(0, |(_, stride)| stride);
        let [n_offsets, k_offsets] = [features, &rows].map(|axes| offsets(axes, stride).0);
        let arrangement = Arrangement::Panels { block: k_offsets.len(), m_offsets: vec![0], n_offsets, k_offsets };
        let name = format!("{} (panels)", self.planner.name(node));
        let layout = Layout::Panels { rows, features: features.to_vec() };
        let panels = self.planner.add_buffer(name, DType::F32, layout, Place::Arena(0));
        let target = self.planner.buffer(node);
        self.scattered.push(Scattered { panels, target, arrangement });
        let strided = Strided::dense(features.iter().copied(), LANES as isize);
        let panel_stride = product(features) * LANES;
        let home = Home { source: Source::Buffer(panels), panel_stride, lanes: true, strided };
        let access = home.access(&home.strided);
        self.homes.insert(node, home);
        access
    }

    /// Lets a member share the memory of another: a view that turned out to cost nothing.
    pub fn alias(&mut self, node: NodeId, access: &Access, strided: Strided) {
        let strided = Strided { offset: access.offset, ..strided };
        let Access { source, panel_stride, lanes, .. } = *access;
        self.homes.insert(node, Home { source, panel_stride, lanes, strided });
    }

    /// New tile memory of so many words a panel.
    pub fn tile(&mut self, panel: usize) -> Source {
        self.tiles.push(panel);
        Source::Tile(self.tiles.len() - 1)
    }

    /// Strides of the kernel's row axes in a stored value.
    fn row_strides(&self, strided: &Strided, rows: &[Axis]) -> Vec<(Axis, isize)> {
        let stride = |axis: &Axis| strided.get(*axis).map_or(0, |(_, stride)| stride);
        self.rows.iter().zip(rows).map(|((name, _), axis)| (*name, stride(axis))).collect()
    }

    /// The address of an operand, loaded into tile memory first if its rows do not lie side by side.
    pub fn access(&mut self, operand: NodeId, rows: &[Axis]) -> Access {
        self.access_for(operand, rows, 1)
    }

    /// [`access`](Self::access) of an operand that is read so many times: if that is often, what lies far apart is loaded
    /// into tile memory, too.
    fn access_for(&mut self, operand: NodeId, rows: &[Axis], times: usize) -> Access {
        let graph = self.planner.graph;
        let path = path(graph, operand);
        if let Some(home) = self.homes.get(&path.base) {
            let strided = path.views.iter().fold(home.strided.clone(), |s, view| s.viewed(graph.op(*view)));
            return home.access(&strided);
        }
        let buffer = self.planner.buffer(path.base);
        let unit = words(self.dtype(operand));
        let lanes = LANES * unit;
        if let Layout::Panels { features, .. } = &self.planner.buffers[buffer.0 as usize].layout {
            let panel_stride = product(features) * lanes;
            let dense = Strided::dense(features.iter().copied(), lanes as isize);
            let strided = path.views.iter().fold(dense, |s, view| s.viewed(graph.op(*view)));
            let source = Source::Buffer(buffer);
            return Home { source, panel_stride, lanes: true, strided: strided.clone() }.access(&strided);
        }
        let (buffer, strided) = self.planner.plain(&path);
        let row_strides = self.row_strides(&strided, rows);
        let feature_strides: Vec<(Axis, usize, isize)> =
            strided.axes.iter().filter(|(axis, ..)| !rows.contains(axis)).copied().collect();
        let strides = feature_strides.iter().map(|(axis, _, stride)| (*axis, *stride)).collect();
        let direct = |panel_stride, lanes| Access {
            source: Source::Buffer(buffer),
            panel_stride,
            lanes,
            strides,
            offset: strided.offset,
        };
        let varies = |(axis, stride): &(Axis, isize)| {
            *stride != 0 && self.rows.iter().any(|(row, size)| row == axis && *size > 1)
        };
        if !row_strides.iter().any(varies) {
            return direct(0, false);
        }
        let named = Strided {
            offset: 0,
            axes: self.rows.iter().zip(&row_strides).map(|((a, size), (_, stride))| (*a, *size, *stride)).collect(),
        };
        let names: Vec<Axis> = self.rows.iter().map(|(axis, _)| *axis).collect();
        let is_apart = |(_, size, stride): &(Axis, usize, isize)| *size > 1 && stride.unsigned_abs() > lanes;
        let stays = times < OFTEN || !feature_strides.iter().any(is_apart);
        if stays && named.merged(&names).is_some_and(|(_, stride)| stride == unit as isize) {
            return direct(lanes, true);
        }
        let key = (operand, rows.to_vec());
        if let Some(access) = self.loaded.get(&key) {
            return access.clone();
        }
        // Axes that the view repeats are not loaded twice.
        let loops: Vec<(Axis, usize, isize)> =
            feature_strides.into_iter().filter(|(_, size, stride)| *stride != 0 && *size > 0).collect();
        // What an image gives all of its pixels is one element for the rows of a panel.
        let varies = !is_same_in_panels(&self.rows, &row_strides);
        let step = if varies { lanes } else { unit };
        let dense = Strided::dense(loops.iter().map(|(axis, size, _)| (*axis, *size)), step as isize);
        let elements = loops.iter().map(|(_, size, _)| size).product::<usize>();
        let panel_stride = (elements * step).next_multiple_of(LANES);
        let home = Home { source: self.tile(panel_stride), panel_stride, lanes: varies, strided: dense.clone() };
        let target = home.access(&dense);
        let stage = Stage::Load {
            source: buffer,
            offset: strided.offset,
            row_strides,
            loops: loops.iter().map(|(axis, size, _)| (*axis, *size)).collect(),
            strides: loops.iter().map(|(.., stride)| *stride).collect(),
            target: target.clone(),
        };
        self.stages.push(stage);
        self.loaded.insert(key, target.clone());
        target
    }

    /// An operand as lanes whose `axes`, read as one in the given order, have one stride, for each index of some
    /// `loops`: copied into tile memory when it is not so already, or when it lies far apart and is read many `times`.
    /// Gives the access and that stride.
    pub fn column(
        &mut self,
        operand: NodeId,
        rows: &[Axis],
        loops: &[(Axis, usize)],
        axes: &[(Axis, usize)],
        times: usize,
    ) -> (Access, usize) {
        let access = self.access_for(operand, rows, times);
        if access.lanes
            && let Some(stride) = access.merged(axes)
        {
            return (access, stride);
        }
        let mut body = Body::default();
        let term = self.operand(&mut body, operand, rows);
        let lanes = LANES * words(self.dtype(operand));
        let loops = [loops, axes].concat();
        let target = self.apart(&loops, lanes);
        let stores = vec![Store { term, target: target.clone(), add: false }];
        self.stages.push(Stage::Map { loops, body: body.expression, stores });
        (target, lanes)
    }

    /// An operand of a sum over rows, its features `axes` read as one in the given order: as it lies where it is stored
    /// row-major, else as [lanes](Self::column).
    pub fn factor(
        &mut self,
        operand: NodeId,
        rows: &[Axis],
        loops: &[(Axis, usize)],
        axes: &[(Axis, usize)],
    ) -> Factor {
        if let Some(factor) = self.row_major(operand, rows, loops, axes) {
            return factor;
        }
        let (access, feature_stride) = self.column(operand, rows, loops, axes, 1);
        Factor { access, features: product(axes), feature_stride, row_stride: 1 }
    }

    fn row_major(
        &mut self,
        operand: NodeId,
        rows: &[Axis],
        loops: &[(Axis, usize)],
        axes: &[(Axis, usize)],
    ) -> Option<Factor> {
        // Pairs are of rows: operands in bf16 are turned in any case.
        let path = path(self.planner.graph, operand);
        if self.homes.contains_key(&path.base) || self.planner.options.precision == Precision::Bf16 {
            return None;
        }
        let buffer = self.planner.buffer(path.base);
        if !matches!(self.planner.buffers[buffer.0 as usize].layout, Layout::Plain(_)) {
            return None;
        }
        let (source, strided) = self.planner.plain(&path);
        let stride = |axis: Axis| strided.get(axis).map_or(0, |(_, stride)| stride);
        let merged = |axes: Vec<(Axis, usize, isize)>| {
            let names: Vec<Axis> = axes.iter().map(|(axis, ..)| *axis).collect();
            Strided { offset: 0, axes }.merged(&names).map(|(_, stride)| stride)
        };
        let sized = self.rows.iter().zip(rows).map(|((_, size), axis)| (*axis, *size, stride(*axis)));
        let row_stride = usize::try_from(merged(sized.collect())?).ok().filter(|stride| *stride > 1)?;
        let feature_stride = merged(axes.iter().map(|(axis, size)| (*axis, *size, stride(*axis))).collect())?;
        let access = Access {
            source: Source::Buffer(source),
            panel_stride: LANES * row_stride,
            lanes: false,
            strides: loops.iter().map(|(axis, _)| (*axis, stride(*axis))).collect(),
            offset: strided.offset,
        };
        (feature_stride == 1).then(|| Factor { access, features: product(axes), feature_stride: 1, row_stride })
    }

    /// New tile memory for features in the given order, `lanes` words each.
    pub fn apart(&mut self, features: &[(Axis, usize)], lanes: usize) -> Access {
        let dense = Strided::dense(features.iter().copied(), lanes as isize);
        let panel_stride = product(features) * lanes;
        let home = Home { source: self.tile(panel_stride), panel_stride, lanes: true, strided: dense.clone() };
        home.access(&dense)
    }

    /// The partial results of an accumulating member.
    pub fn partial(&mut self, node: NodeId, elements: usize, combine: Combine, arrangement: Arrangement) -> BufferId {
        let name = format!("{} (partial)", self.planner.name(node));
        let dtype = self.planner.graph.ty(node).dtype;
        let layout = Layout::Partials { elements, chunks: 1 };
        let partials = self.planner.add_buffer(name, dtype, layout, Place::Arena(0));
        let target = self.planner.buffer(node);
        self.partials.push(Partial { partials, target, combine, arrangement });
        partials
    }

    /// The order in which an accumulating member is stored.
    pub fn stored_order(&self, node: NodeId) -> Shape {
        match self.planner.layout(node) {
            Some(Layout::Plain(shape)) => shape.clone(),
            _ => self.planner.graph.shape(node).clone(),
        }
    }

    pub fn dtype(&self, node: NodeId) -> DType {
        self.planner.graph.ty(node).dtype
    }

    /// Bytes of the most weights that rows of the kernel are multiplied by in one contraction.
    fn largest_matrix(&self) -> usize {
        let of = |stage: &Stage| match stage {
            Stage::Winograd { weights, .. } => self.planner.buffers[weights.0 as usize].bytes(),
            Stage::Contract { weights, batch, .. } => {
                let matrices = batch.map_or(1, |batch| self.row_count() / batch.rows.max(1));
                self.planner.buffers[weights.0 as usize].bytes() / matrices.max(1)
            }
            _ => 0,
        };
        self.stages.iter().map(of).max().unwrap_or(0)
    }

    /// Bytes of one partial result of everything that accumulates.
    fn partial_bytes(&self) -> usize {
        self.partials.iter().map(|partial| self.planner.buffers[partial.partials.0 as usize].bytes()).sum()
    }

    fn finish(self, name: String) {
        let mut lifetimes: Vec<Option<Interval>> = vec![None; self.tiles.len()];
        for (time, stage) in self.stages.iter().enumerate() {
            for source in stage.sources() {
                if let Source::Tile(id) = source {
                    let new = Interval { size: self.tiles[id], first: time, last: time };
                    lifetimes[id].get_or_insert(new).last = time;
                }
            }
        }
        let intervals: Vec<Interval> =
            lifetimes.iter().map(|l| l.unwrap_or(Interval { size: 0, first: 0, last: 0 })).collect();
        let (offsets, per_panel) = memory::assign(&intervals);
        let panels = self.row_count().div_ceil(LANES).max(1);
        let any = |kind: fn(&Stage) -> bool| self.stages.iter().any(kind);
        let target = self.planner.options.target;
        let multiplies = any(|stage| matches!(stage, Stage::AccumulateContract { .. } | Stage::Contract { .. }));
        let (budget, most) = if let (true, Products::TensorCores { panels }) = (multiplies, target.products) {
            (target.tile_bytes, panels)
        } else if any(|stage| matches!(stage, Stage::AccumulateContract { .. })) {
            (target.tile_bytes, 8)
        } else if any(|stage| matches!(stage, Stage::Winograd { .. })) {
            (target.tile_bytes, 16)
        } else if any(|stage| matches!(stage, Stage::Contract { .. })) {
            // Weights that stay in cache serve one panel after another as well as several at a time, unless they are
            // multiplied faster than that cache gives them.
            let near = if self.planner.options.precision == Precision::F32 { 1 } else { 4 };
            (target.tile_bytes, if self.largest_matrix() <= target.tile_bytes { near } else { 16 })
        } else if any(|stage| matches!(stage, Stage::Stream { .. })) {
            (STREAM_BYTES, 256)
        } else {
            (target.near_bytes, 256)
        };
        // Enough tiles for every thread to get its share; but where large weights come from afar for every tile, as
        // few as a few threads need.
        let heavy = self.largest_matrix() > target.tile_bytes;
        let least =
            if heavy || self.partial_bytes() > LARGE_PARTIAL { target.least_tiles / 4 } else { target.least_tiles };
        let most = most.min(panels.div_ceil(least));
        let unit = match self.rows.last() {
            // Whole pairs of lines, and a panel of squares.
            Some((_, line)) if any(|stage| matches!(stage, Stage::Winograd { .. })) => {
                let pair = (1..).map(|panels| panels * LANES).find(|rows| rows.is_multiple_of(2 * line));
                let pair = pair.unwrap_or(LANES) / LANES;
                pair * RESULTS.div_ceil(pair)
            }
            _ => 1,
        };
        let tile_panels = (budget / (per_panel * 4).max(LANES * 4)).clamp(1, most);
        let tile_panels = (tile_panels / unit).max(1) * unit;
        let tiles = panels.div_ceil(tile_panels);
        let most_chunks =
            if self.partial_bytes() > LARGE_PARTIAL { target.least_tiles / 4 } else { target.least_tiles };
        let chunks = if self.partials.is_empty() { 1 } else { tiles.min(most_chunks) };
        for partial in &self.partials {
            if let Layout::Partials { chunks: count, .. } =
                &mut self.planner.buffers[partial.partials.0 as usize].layout
            {
                *count = chunks;
            }
        }
        let kernel = Kernel {
            name,
            rows: self.rows,
            tiles: offsets.iter().map(|offset| offset * tile_panels).collect(),
            tile_words: intervals.iter().map(|interval| interval.size * tile_panels).collect(),
            tile_panels,
            chunks,
            stages: self.stages,
            scratch: per_panel * tile_panels,
            flops: self.flops,
            bytes: 0.0,
        };
        let mut step = Step::Kernel(kernel);
        let bytes: usize = step.buffers().iter().map(|id| self.planner.buffers[id.0 as usize].bytes()).sum();
        if let Step::Kernel(kernel) = &mut step {
            kernel.bytes = bytes as f64;
        }
        self.planner.steps.push(step);
        for Scattered { panels: source, target, arrangement } in self.scattered {
            self.planner.steps.push(Step::Combine { source, target, combine: Combine::Sum, chunks: 1, arrangement });
        }
        for partial in self.partials {
            let Partial { partials: source, target, combine, arrangement } = partial;
            self.planner.steps.push(Step::Combine { source, target, combine, chunks, arrangement });
        }
    }
}

/// Times that an operand is read from which on a copy side by side pays for itself: at large strides each line of memory is
/// on a page of its own. A contraction counts its outputs, of which each few read the operand once.
const OFTEN: usize = 64;

/// Bytes of a tile whose results go past the caches: few, so that memory is read and written at the same time rather
/// than in turn.
const STREAM_BYTES: usize = 4 << 10;

/// Whether a stored value is the same for all rows of a panel: it varies only along axes of which each index has whole
/// panels, as what is given an image does for its pixels.
fn is_same_in_panels(rows: &[(Axis, usize)], row_strides: &[(Axis, isize)]) -> bool {
    let varies = row_strides.iter().rposition(|(_, stride)| *stride != 0);
    varies.is_some_and(|at| product(&rows[at + 1..]).is_multiple_of(LANES))
}

impl Home {
    fn access(&self, strided: &Strided) -> Access {
        Access {
            source: self.source,
            panel_stride: self.panel_stride,
            lanes: self.lanes,
            strides: strided.axes.iter().map(|(axis, _, stride)| (*axis, *stride)).collect(),
            offset: strided.offset,
        }
    }
}
