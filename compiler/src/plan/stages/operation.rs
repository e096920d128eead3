//! The stages of every operation that is not lane-wise.

use super::{build::Builder, expression::Body, offsets, product};
use crate::{
    axis::Axis,
    graph::{Combine, DType, NodeId, Op, ScalarOp},
    plan::{
        Access, Arrangement, Batch, BufferId, Decision, Factor, LANES, Layout, Place, PlanOptions, Precision, Products,
        RowWindow, Stage, Step, Store, Tap, Term, Window,
        access::Strided,
        batch::{batch_axes, leading},
        rows::{Contraction, contraction, path},
        window::window,
        words,
    },
};
use visage_kernels::{
    pairs::pairs,
    window::MOST_AXES,
    winograd::{PLACES, RESULTS},
};

impl Builder<'_, '_> {
    /// Emits the stages of a member that is not lane-wise.
    pub fn operation(&mut self, node: NodeId) {
        let graph = self.planner.graph;
        let rows = self.planner.clusters.rows_at[&node].clone();
        let operands = graph.operands(node);
        let accumulates = self.planner.clusters.accumulating.contains(&node);
        match graph.op(node).clone() {
            Op::Reduce { combine, axes } if accumulates => self.accumulate_reduce(node, combine, &axes, &rows),
            Op::Reduce { combine, axes } => {
                let mut body = self.body_for(node);
                let term = self.operand(&mut body, operands[0], &rows);
                let over = self.sizes(operands[0], &axes);
                self.reduce(node, combine, over, body, term);
            }
            Op::SearchSorted { axis, right } => {
                let mut body = self.body_for(node);
                let sorted = self.operand(&mut body, operands[0], &rows);
                let value = self.operand(&mut body, operands[1], &rows);
                let op = if right { ScalarOp::LessEqual } else { ScalarOp::Less };
                let below = body.push(Term::Map(op, vec![sorted, value]));
                let count = body.push(Term::Map(ScalarOp::Cast(DType::I32), vec![below]));
                let over = self.sizes(operands[0], &[axis]);
                self.reduce(node, Combine::Sum, over, body, count);
            }
            Op::ArgReduce { largest, axis } => {
                let mut body = self.body_for(node);
                let term = self.operand(&mut body, operands[0], &rows);
                let over = self.sizes(operands[0], &[axis])[0];
                let loops = self.features(node);
                self.stored(node, |target| {
                    let store = Store { term, target, add: false };
                    Stage::ArgReduce { loops, over, largest, body: body.expression, store }
                });
            }
            Op::Scan { combine, axis, exclusive, reverse } => {
                let mut body = self.body_for(node);
                let term = self.operand(&mut body, operands[0], &rows);
                let along = self.sizes(operands[0], &[axis])[0];
                let loops = self.features(node).into_iter().filter(|(a, _)| *a != axis).collect();
                let dtype = self.dtype(node);
                self.stored(node, |target| {
                    let store = Store { term, target, add: false };
                    let body = body.expression;
                    Stage::Scan { loops, along, combine, exclusive, reverse, dtype, body, store }
                });
            }
            Op::Sort { axis } | Op::ArgSort { axis } => {
                self.flush();
                let positions = matches!(graph.op(node), Op::ArgSort { .. });
                let source = self.lanes(operands[0], &rows);
                let along = self.sizes(operands[0], &[axis])[0];
                let loops = self.features(node).into_iter().filter(|(a, _)| *a != axis).collect();
                let dtype = self.dtype(operands[0]);
                self.stored(node, |target| Stage::Sort { loops, source, along, target, positions, dtype });
            }
            Op::Contract { over } => self.contract(node, &over, &rows),
            Op::Merge { axes, into } => self.merge(node, &axes, into, &rows),
            Op::Pad { axis, before, value, .. } => {
                self.flush();
                let loops = self.features(node);
                let mut saves = Vec::new();
                let target = self.settle(node, &mut saves);
                let dtype = self.dtype(node);
                self.stages.push(Stage::Fill { target: target.clone(), loops: loops.clone(), value, dtype });
                let size = graph.shape(operands[0]).size(axis).unwrap_or(0);
                self.copy_part(operands[0], &rows, loops, (axis, size), before, &target);
                self.stages.append(&mut saves);
            }
            Op::Concat { axis } => {
                self.flush();
                let loops = self.features(node);
                let mut saves = Vec::new();
                let target = self.settle(node, &mut saves);
                let mut start = 0;
                for operand in operands {
                    let size = graph.shape(operand).size(axis).unwrap_or(0);
                    self.copy_part(operand, &rows, loops.clone(), (axis, size), start, &target);
                    start += size;
                }
                self.stages.append(&mut saves);
            }
            Op::Fold { axis, position, tap, stride, dilation, .. } => {
                self.flush();
                let mut saves = Vec::new();
                let target = self.settle(node, &mut saves);
                self.zero(node, &target);
                let mut body = Body::default();
                let term = self.operand(&mut body, operands[0], &rows);
                let unit = target.stride(axis);
                let mut strides: Vec<_> = target.strides.iter().filter(|(a, _)| *a != axis).copied().collect();
                strides.extend([(position, unit * stride as isize), (tap, unit * dilation as isize)]);
                let folded = Access { strides, ..target };
                let stores = vec![Store { term, target: folded, add: true }];
                let loops = self.features_of(operands[0], &rows);
                self.stages.push(Stage::Map { loops, body: body.expression, stores });
                self.stages.append(&mut saves);
            }
            Op::ScatterAdd { axis, size, .. } => self.scatter(node, axis, size, &rows, accumulates),
            other => unreachable!("`{other}` is not computed by a stage of its own"),
        }
    }

    /// Axes of an operand with their sizes.
    fn sizes(&self, operand: NodeId, axes: &[Axis]) -> Vec<(Axis, usize)> {
        let shape = self.planner.graph.shape(operand);
        axes.iter().map(|axis| (*axis, shape.size(*axis).unwrap_or(1))).collect()
    }

    /// The features of an operand, by the names its reader uses.
    fn features_of(&self, operand: NodeId, rows: &[Axis]) -> Vec<(Axis, usize)> {
        super::features(self.planner.graph.shape(operand), rows)
    }

    /// Gives a member its home and pushes the stage that fills it.
    fn stored(&mut self, node: NodeId, stage: impl FnOnce(Access) -> Stage) {
        let mut saves = Vec::new();
        let target = self.settle(node, &mut saves);
        self.stages.push(stage(target));
        self.stages.append(&mut saves);
    }

    fn reduce(&mut self, node: NodeId, combine: Combine, over: Vec<(Axis, usize)>, body: Body, term: usize) {
        let loops = self.features(node);
        let dtype = self.dtype(node);
        self.stored(node, |target| {
            let store = Store { term, target, add: false };
            Stage::Reduce { loops, over, combine, dtype, body: body.expression, store }
        });
    }

    /// Sets a member to zero, for what is added to it.
    fn zero(&mut self, node: NodeId, target: &Access) {
        let (loops, dtype) = (self.features(node), self.dtype(node));
        self.stages.push(Stage::Fill { target: target.clone(), loops, value: 0.0, dtype });
    }

    /// An operand whose rows lie side by side.
    fn lanes(&mut self, operand: NodeId, rows: &[Axis]) -> Access {
        let access = self.access(operand, rows);
        if access.lanes {
            return access;
        }
        let loops = self.features_of(operand, rows);
        self.column(operand, rows, &[], &loops, 1).0
    }

    /// Writes an operand into a part of the target along one axis.
    fn copy_part(
        &mut self,
        operand: NodeId,
        rows: &[Axis],
        mut loops: Vec<(Axis, usize)>,
        (axis, size): (Axis, usize),
        start: usize,
        target: &Access,
    ) {
        for entry in &mut loops {
            if entry.0 == axis {
                entry.1 = size;
            }
        }
        let mut body = Body::default();
        let term = self.operand(&mut body, operand, rows);
        let offset = target.offset + start as isize * target.stride(axis);
        let stores = vec![Store { term, target: Access { offset, ..target.clone() }, add: false }];
        self.stages.push(Stage::Map { loops, body: body.expression, stores });
    }

    fn merge(&mut self, node: NodeId, axes: &[Axis], into: Axis, rows: &[Axis]) {
        self.flush();
        let operand = self.planner.graph.operands(node)[0];
        let loops = self.features_of(operand, rows);
        if self.planner.layout(node).is_none() {
            let access = self.access(operand, rows);
            let strided = Strided {
                offset: access.offset,
                axes: loops.iter().map(|(axis, size)| (*axis, *size, access.stride(*axis))).collect(),
            };
            if access.lanes
                && let Some((size, stride)) = strided.merged(axes)
            {
                let mut kept: Vec<_> = strided.axes.into_iter().filter(|(a, ..)| !axes.contains(a)).collect();
                kept.push((into, size, stride));
                return self.alias(node, &access, Strided { offset: access.offset, axes: kept });
            }
        }
        let mut saves = Vec::new();
        let target = self.settle(node, &mut saves);
        let mut body = Body::default();
        let term = self.operand(&mut body, operand, rows);
        let merged = Strided::dense(self.sizes(operand, axes).into_iter(), target.stride(into));
        let mut strides: Vec<_> = target.strides.iter().filter(|(a, _)| *a != into).copied().collect();
        strides.extend(merged.axes.iter().map(|(axis, _, stride)| (*axis, *stride)));
        let stores = vec![Store { term, target: Access { strides, ..target }, add: false }];
        self.stages.push(Stage::Map { loops, body: body.expression, stores });
        self.stages.append(&mut saves);
    }

    fn accumulate_reduce(&mut self, node: NodeId, combine: Combine, axes: &[Axis], rows: &[Axis]) {
        let operand = self.planner.graph.operands(node)[0];
        let mut body = self.body_for(node);
        let term = self.operand(&mut body, operand, rows);
        let order = self.stored_order(node);
        let dense = Strided::dense(order.iter(), words(self.dtype(node)) as isize);
        let stride = |axis: Axis| dense.get(axis).map_or(0, |(_, stride)| stride);
        let loops: Vec<(Axis, usize)> = order.iter().filter(|(axis, _)| !rows.contains(axis)).collect();
        let kept = self.rows.iter().zip(rows).filter(|((_, size), axis)| *size > 1 && order.contains(**axis));
        let row_strides = kept.map(|((name, _), axis)| (*name, stride(*axis))).collect();
        let inner: Vec<Axis> = axes.iter().filter(|axis| !rows.contains(axis)).copied().collect();
        let over = self.sizes(operand, &inner);
        let arrangement = Arrangement::Same { elements: order.elements() };
        let strides = loops.iter().map(|(axis, _)| stride(*axis)).collect();
        let target = self.partial(node, order.elements(), combine, arrangement);
        let (dtype, body) = (self.dtype(node), body.expression);
        self.stages.push(Stage::AccumulateReduce {
            loops,
            row_strides,
            over,
            combine,
            dtype,
            body,
            term,
            strides,
            target,
        });
    }

    fn scatter(&mut self, node: NodeId, axis: Axis, size: usize, rows: &[Axis], accumulates: bool) {
        self.flush();
        let graph = self.planner.graph;
        let operands = graph.operands(node);
        let mut body = Body::default();
        let update = self.operand(&mut body, operands[0], rows);
        let index = self.operand(&mut body, operands[1], rows);
        let joint = operands.iter().flat_map(|id| self.features_of(*id, rows));
        let mut loops: Vec<(Axis, usize)> = Vec::new();
        for entry in joint {
            if !loops.contains(&entry) {
                loops.push(entry);
            }
        }
        if accumulates {
            let order = self.stored_order(node);
            let dense = Strided::dense(order.iter(), words(self.dtype(node)) as isize);
            let stride = |a: Axis| dense.get(a).map_or(0, |(_, stride)| stride);
            let arrangement = Arrangement::Same { elements: order.elements() };
            let target = self.partial(node, order.elements(), Combine::Sum, arrangement);
            self.stages.push(Stage::AccumulateScatter {
                strides: loops.iter().map(|(a, _)| if *a == axis { 0 } else { stride(*a) }).collect(),
                loops,
                body: body.expression,
                index,
                update,
                stride: stride(axis),
                size,
                target,
            });
            return;
        }
        let mut saves = Vec::new();
        let target = self.settle(node, &mut saves);
        self.zero(node, &target);
        let stride = target.stride(axis);
        let strides = target.strides.iter().filter(|(a, _)| *a != axis).copied().collect();
        let target = Access { strides, ..target };
        self.stages.push(Stage::Scatter { loops, body: body.expression, index, update, target, stride, size });
        self.stages.append(&mut saves);
    }

    fn contract(&mut self, node: NodeId, over: &[Axis], rows: &[Axis]) {
        let graph = self.planner.graph;
        let operands = graph.operands(node);
        match contraction(graph, node, &self.planner.axes) {
            Contraction::Rows { x, rows: own } if leading(graph, node, x, &own, rows).is_some() => {
                self.contract_rows(node, (x, 1 - x), over, rows);
            }
            Contraction::Accumulate { rows: own } if own == rows => self.contract_accumulate(node, rows),
            _ => {
                let mut body = self.body_for(node);
                let x = self.operand(&mut body, operands[0], rows);
                let y = self.operand(&mut body, operands[1], rows);
                let product = body.push(Term::Map(ScalarOp::Mul, vec![x, y]));
                let over = self.sizes(operands[0], over);
                self.reduce(node, Combine::Sum, over, body, product);
            }
        }
        let depth: usize = over.iter().filter_map(|axis| graph.shape(operands[0]).size(*axis)).product();
        let flops = 2.0 * graph.shape(node).elements() as f64 * depth as f64;
        // Four results of nine taps each have sixteen products.
        let share = if self.squares { PLACES as f64 / (9 * RESULTS) as f64 } else { 1.0 };
        self.squares = false;
        self.flops += flops * share;
    }

    fn contract_rows(&mut self, node: NodeId, (x, weights): (usize, usize), over: &[Axis], rows: &[Axis]) {
        self.flush();
        let graph = self.planner.graph;
        let operands = graph.operands(node);
        let (along, loops): (Vec<_>, Vec<_>) =
            batch_axes(graph, node).into_iter().partition(|(axis, _)| rows.contains(axis));
        let along: Vec<_> = self.sizes(node, rows).into_iter().filter(|entry| along.contains(entry)).collect();
        let outputs: Vec<_> = self.features(node).into_iter().filter(|entry| !loops.contains(entry)).collect();
        let lanes = match self.window(node, x, over, rows, &loops) {
            Some(lanes) => lanes,
            None => {
                // The order of k is that of x in memory, so that it can be walked with one stride.
                let seen = self.access(operands[x], rows);
                let mut depth = self.sizes(operands[x], over);
                depth.sort_by_key(|(axis, _)| std::cmp::Reverse(seen.stride(*axis)));
                let times = match self.planner.options.precision {
                    Precision::F32 => product(&outputs),
                    // Rounded once.
                    Precision::Bf16 => 1,
                };
                let (x, stride) = self.column(operands[x], rows, &loops, &depth, times);
                Lanes { x, stride, depth, window: None }
            }
        };
        let blocks = lanes.window.as_ref().map_or(1, Window::blocks);
        let matrices = [&along[..], &loops].concat();
        let squares = self.squares(&lanes, &matrices, product(&outputs));
        let packed = match &squares {
            None => self.pack(operands[weights], &matrices, &outputs, &lanes.depth, blocks),
            Some(_) => self.pack_squares(operands[weights], &outputs, &lanes),
        };
        let mut saves = Vec::new();
        let target = self.settle(node, &mut saves);
        let (n, k) = (product(&outputs), product(&lanes.depth));
        // Outputs that other loops stand between are written apart and then put there.
        let (c, c_stride, copy) = match target.merged(&outputs) {
            Some(stride) => (target, stride, None),
            None => {
                let features = [&loops[..], &outputs].concat();
                let apart = self.apart(&features, LANES);
                (apart.clone(), LANES, Some(Copy { loops: features, from: apart, target }))
            }
        };
        let weights = packed;
        if let Some(window) = squares {
            self.squares = true;
            let k = k / 9;
            // A panel of squares is four panels of rows.
            let (x, products) = (self.tile(RESULTS * k * LANES), self.tile((RESULTS * n + 1) * LANES));
            self.stages.push(Stage::Winograd { weights, n, k, window, x, products, c, c_stride });
            return self.finish_contraction(copy, saves);
        }
        let Lanes { x, stride: x_stride, window, .. } = lanes;
        let pairs = match self.planner.options.precision {
            Precision::F32 => None,
            Precision::Bf16 => Some(self.tile(pairs(k / blocks) * LANES)),
        };
        let batch = (!along.is_empty()).then(|| {
            let rows = self.row_count() / product(&along);
            let shared = !rows.is_multiple_of(LANES) && self.planner.options.target.products == Products::MicroKernels;
            Batch { rows, apart: shared.then(|| self.tile(n * LANES)) }
        });
        self.stages.push(Stage::Contract { loops, batch, weights, n, k, x, x_stride, c, c_stride, pairs, window });
        self.finish_contraction(copy, saves);
    }

    /// Puts outputs that were written apart where they belong, and saves them.
    fn finish_contraction(&mut self, copy: Option<Copy>, mut saves: Vec<Stage>) {
        if let Some(Copy { loops, from, target }) = copy {
            let mut body = Body::default();
            let term = body.push(Term::Load(from, DType::F32));
            let stores = vec![Store { term, target, add: false }];
            self.stages.push(Stage::Map { loops, body: body.expression, stores });
        }
        self.stages.append(&mut saves);
    }

    /// The window of a convolution that is worth computing in squares: three taps by three of neighbouring pixels, along the
    /// last two row axes, with features enough and pixels for the weights to be worth transforming.
    fn squares(&self, lanes: &Lanes, matrices: &[(Axis, usize)], outputs: usize) -> Option<Window> {
        let options = &self.planner.options;
        let window = lanes.window.as_ref()?;
        let [.., down, right] = &self.rows[..] else { return None };
        let [.., along_down, along_right] = &window.rows[..] else { return None };
        let [first, second] = &window.taps[..] else { return None };
        let features: usize = window.features.iter().map(|(_, size, _)| size).product();
        let last = self.rows.len() - 1;
        let near = |tap: &Tap, row: usize| tap.size == 3 && tap.step.abs() == 1 && tap.row == row;
        // One stride leads through all features.
        let even = window.features.windows(2).all(|pair| pair[0].2 == pair[1].2 * pair[1].1 as isize);
        // Pixels lie side by side, or their features.
        let interleaved = window.panel == 0 && window.features.last().is_some_and(|(.., stride)| *stride == 1);
        let worth = options.target.products == Products::MicroKernels
            && options.precision == Precision::F32
            && !options.without.has(Decision::Winograd)
            && matrices.is_empty()
            && near(first, last - 1)
            && near(second, last)
            && along_down.hop == 1
            && along_right.hop == 1
            && (along_right.unit == 1 || interleaved)
            && down.1.is_multiple_of(2)
            && right.1.is_multiple_of(2)
            && even
            && features >= LEAST_FEATURES
            && outputs >= LEAST_FEATURES
            && self.row_count() >= LEAST_PIXELS
            && self.rows.len() <= MOST_AXES;
        worth.then(|| {
            let mut window = window.clone();
            for tap in std::mem::take(&mut window.taps) {
                // Taps that go backwards are taken from the last.
                window.rows[tap.row].start += 2 * tap.step.min(0);
            }
            (window.outer, window.stretch) = (0, 1);
            window
        })
    }

    /// Weights of a convolution in [squares](Self::squares), in strips.
    fn pack_squares(&mut self, weights: NodeId, outputs: &[(Axis, usize)], lanes: &Lanes) -> BufferId {
        let path = path(self.planner.graph, weights);
        let (source, strided) = self.planner.plain(&path);
        let stride = |axis: Axis| strided.get(axis).map_or(0, |(_, stride)| stride);
        let (taps, features) = lanes.depth.split_at(2);
        let backwards = |at: usize| lanes.window.as_ref().is_some_and(|window| window.taps[at].step < 0);
        let toward = |at: usize, index: isize| {
            let index = if backwards(at) { 2 - index } else { index };
            index * stride(taps[at].0)
        };
        let mut m_offsets: Vec<isize> = (0..3)
            .flat_map(|down| (0..3).map(move |right| (down, right)))
            .map(|(i, j)| toward(0, i) + toward(1, j))
            .collect();
        let (n_offsets, n_low) = offsets(outputs, stride);
        let (k_offsets, k_low) = offsets(features, stride);
        m_offsets.iter_mut().for_each(|offset| *offset += strided.offset + n_low + k_low);
        let m_offsets: Vec<u32> = m_offsets.into_iter().map(|offset| offset as u32).collect();
        let key = (source, [&m_offsets, &n_offsets, &k_offsets].map(Clone::clone), 0);
        if let Some(target) = self.planner.packed.get(&key) {
            return *target;
        }
        let name = format!("{} (packed)", self.planner.buffers[source.0 as usize].name);
        let layout = Layout::Strips { matrices: PLACES, n: product(outputs), k: product(features) };
        let target = self.planner.add_buffer(name, DType::F32, layout, Place::Arena(0));
        self.planner.packed.insert(key, target);
        self.planner.steps.push(Step::Pack { source, target, m_offsets, n_offsets, k_offsets, winograd: true });
        target
    }

    /// The lanes of a contraction read through a window, if that is how they are read; `summed` are the axes that are
    /// not loops.
    fn window(
        &mut self,
        node: NodeId,
        position: usize,
        summed: &[Axis],
        rows: &[Axis],
        loops: &[(Axis, usize)],
    ) -> Option<Lanes> {
        let (base, reach, bases) = window(self.planner.graph, node, position, rows)?;
        let source = self.planner.buffer(base);
        // The value as it lies: as panels of rows, or row-major.
        let (panel, lie) = match &self.planner.buffers[source.0 as usize].layout {
            Layout::Panels { rows, features } => {
                let inside = Strided::dense(features.iter().copied(), LANES as isize);
                let rows = Strided::dense(rows.iter().copied(), 1);
                let axes = [rows.axes, inside.axes].concat();
                (product(features) * LANES, Strided { offset: 0, axes })
            }
            Layout::Plain(shape) => (0, Strided::dense(shape.iter(), 1)),
            other => unreachable!("a window into {other}"),
        };
        let unit = |base: usize| lie.get(reach.bases[base].axis).map_or(0, |(_, stride)| stride);
        let mut offset = 0;
        for (i, base) in reach.bases.iter().enumerate().filter(|(i, _)| !bases.contains(i)) {
            offset += base.start * unit(i);
        }
        let stride = |axis: Axis| reach.get(axis).map_or(0, |m| m.base.map_or(0, |base| m.step * unit(base)));
        let rows_of = |(row, base): (&Axis, &usize)| {
            let entry = reach.bases[*base];
            RowWindow {
                hop: reach.get(*row).map_or(0, |m| m.step),
                start: entry.start,
                low: entry.low,
                high: entry.high,
                divide: entry.divide,
                unit: unit(*base),
            }
        };
        let row_windows: Vec<RowWindow> = rows.iter().zip(&bases).map(rows_of).collect();
        let operand = self.planner.graph.operands(node)[position];
        let (mut taps, mut features) = (Vec::new(), Vec::new());
        for (axis, size) in self.sizes(operand, summed) {
            let entry = reach.get(axis);
            match entry.and_then(|m| bases.iter().position(|base| m.base == Some(*base))) {
                Some(row) => taps.push(Tap { axis, size, row, step: entry.map_or(0, |m| m.step) }),
                None => features.push((axis, size, stride(axis))),
            }
        }
        taps.sort_by_key(|tap| tap.row);
        features.sort_by_key(|(.., stride)| std::cmp::Reverse(*stride));
        let depth: Vec<(Axis, usize)> = (taps.iter().map(|tap| (tap.axis, tap.size)))
            .chain(features.iter().map(|(axis, size, _)| (*axis, *size)))
            .collect();
        let (outer, stretch) = block(&depth, taps.len());
        let strides = loops.iter().map(|(axis, _)| (*axis, stride(*axis))).collect();
        let window = Window { source, panel, offset, rows: row_windows, taps, outer, stretch, features, strides };
        let inside = [window.inside(), depth[window.taps.len()..].to_vec()].concat();
        let x = self.apart(&inside, LANES);
        Some(Lanes { x, stride: LANES, depth, window: Some(window) })
    }

    /// Weights in strips, packed by a step before this kernel: a matrix `[n][k]` for each index of the loops, the k in so
    /// many blocks.
    fn pack(
        &mut self,
        weights: NodeId,
        loops: &[(Axis, usize)],
        n: &[(Axis, usize)],
        k: &[(Axis, usize)],
        blocks: usize,
    ) -> BufferId {
        let path = path(self.planner.graph, weights);
        let (source, strided) = self.planner.plain(&path);
        let stride = |axis: Axis| strided.get(axis).map_or(0, |(_, stride)| stride);
        let (mut m_offsets, m_low) = offsets(loops, stride);
        let (n_offsets, n_low) = offsets(n, stride);
        let (k_offsets, k_low) = offsets(k, stride);
        // Axes that are read backwards start at their end.
        let start = (strided.offset + m_low + n_low + k_low) as u32;
        m_offsets.iter_mut().for_each(|offset| *offset += start);
        let (matrices, n, k) = (product(loops), product(n), product(k));
        // Strips of f32 alone are not filled up block by block.
        let PlanOptions { precision, target, .. } = self.planner.options;
        let block = k / blocks;
        let (dtype, layout, blocks) = match (target.products, precision) {
            (Products::TensorCores { .. }, _) => (DType::F32, Layout::Fragments { matrices, n, blocks, block }, blocks),
            (Products::MicroKernels, Precision::F32) => (DType::F32, Layout::Strips { matrices, n, k }, 1),
            (Products::MicroKernels, Precision::Bf16) => {
                (DType::BF16, Layout::Pairs { matrices, n, blocks, block }, blocks)
            }
        };
        let key = (source, [&m_offsets, &n_offsets, &k_offsets].map(Clone::clone), blocks);
        if let Some(target) = self.planner.packed.get(&key) {
            return *target;
        }
        let name = format!("{} (packed)", self.planner.buffers[source.0 as usize].name);
        let target = self.planner.add_buffer(name, dtype, layout, Place::Arena(0));
        self.planner.packed.insert(key, target);
        self.planner.steps.push(Step::Pack { source, target, m_offsets, n_offsets, k_offsets, winograd: false });
        target
    }

    fn contract_accumulate(&mut self, node: NodeId, rows: &[Axis]) {
        self.flush();
        let graph = self.planner.graph;
        let operands = graph.operands(node);
        let loops = batch_axes(graph, node);
        let order = self.stored_order(node);
        let by_order = |operand: NodeId| -> Vec<(Axis, usize)> {
            let own = graph.shape(operand);
            order.iter().filter(|entry| own.contains(entry.0) && !loops.contains(entry)).collect()
        };
        let free = [by_order(operands[0]), by_order(operands[1])];
        // What is read through a window is the lanes; else the operand whose axes are stored last, or the wider one
        // if that one is narrow.
        let leads = |axes: &[(Axis, usize)]| {
            axes.first().is_some_and(|first| order.iter().find(|e| !loops.contains(e)) == Some(*first))
        };
        let first = usize::from(!leads(&free[0]) && leads(&free[1]));
        let narrow = product(&free[first]) > product(&free[1 - first]) && product(&free[1 - first]) < LANES;
        let wanted = if narrow { first } else { 1 - first };
        let axes = |position: usize| free[position].iter().map(|(axis, _)| *axis).collect::<Vec<_>>();
        let windowed = [wanted, 1 - wanted]
            .into_iter()
            .find_map(|position| Some((position, self.window(node, position, &axes(position), rows, &loops)?)));
        let (position, depth, x, window) = match windowed {
            Some((position, Lanes { x: access, stride: feature_stride, depth, window })) => {
                let x = Factor { access, features: product(&depth), feature_stride, row_stride: 1 };
                (position, depth, x, window)
            }
            None => {
                let depth = free[wanted].clone();
                let x = self.factor(operands[wanted], rows, &loops, &depth);
                (wanted, depth, x, None)
            }
        };
        let n_axes = &free[1 - position];
        let g = self.factor(operands[1 - position], rows, &loops, n_axes);
        let (n, k) = (g.features, x.features);
        let block = window.as_ref().map_or(k, |window| k / window.blocks());
        let precision = self.planner.options.precision;
        // Words a panel of an operand turned into rows of strips; tensor cores take tiles as they lie.
        let steps = match (self.planner.options.target.products, precision) {
            (Products::TensorCores { .. }, _) => 0,
            (Products::MicroKernels, Precision::F32) => LANES,
            (Products::MicroKernels, Precision::Bf16) => pairs(LANES),
        };
        let strips = self.tile(n * steps);
        let turned = self.tile(block.next_multiple_of(LANES) * steps);
        let dense = Strided::dense(order.iter(), 1);
        let stride = |axis: Axis| dense.get(axis).map_or(0, |(_, stride)| stride);
        let [m_offsets, n_offsets, k_offsets] = [&loops[..], n_axes, &depth].map(|axes| offsets(axes, stride).0);
        let elements = m_offsets.len() * (k / block.max(1)) * n * block.next_multiple_of(LANES);
        let arrangement = Arrangement::Panels { block, m_offsets, n_offsets, k_offsets };
        let target = self.partial(node, elements, Combine::Sum, arrangement);
        self.stages.push(Stage::AccumulateContract { loops, g, x, strips, turned, precision, target, window });
    }
}

/// Depth of a contraction that is read through a window at a time: enough that starting and ending a sum costs little,
/// and few enough that a block of rows stays in cache.
const BLOCK: usize = 400;

/// Features in and out from which on squares are worth their transforms.
const LEAST_FEATURES: usize = 16;

/// Pixels from which on transformed weights are used often enough.
const LEAST_PIXELS: usize = 512;

/// How the taps, the first so many of the axes of a depth, are cut into blocks: how many of them are outside of one, and
/// how many of the next are in it.
fn block(depth: &[(Axis, usize)], taps: usize) -> (usize, usize) {
    let fits = |outer: usize| product(&depth[outer..]) <= BLOCK;
    let outer = (0..taps).find(|outer| fits(*outer)).unwrap_or(taps);
    let whole = depth.get(outer).map_or(1, |(_, size)| *size);
    let Some((_, size)) = outer.checked_sub(1).map(|last| depth[last]) else { return (outer, whole) };
    let inner = product(&depth[outer..]).max(1);
    let stretch = (1..=BLOCK / inner).rev().find(|stretch| size.is_multiple_of(*stretch)).unwrap_or(1);
    if stretch > 1 { (outer - 1, stretch) } else { (outer, whole) }
}

/// Outputs that are written apart before they are put where they belong.
struct Copy {
    loops: Vec<(Axis, usize)>,
    from: Access,
    target: Access,
}

/// The operand of a contraction whose rows are lanes: where it is, the stride along its other axes, read as one in this
/// order, and the window that it is read through.
struct Lanes {
    x: Access,
    stride: usize,
    depth: Vec<(Axis, usize)>,
    window: Option<Window>,
}
