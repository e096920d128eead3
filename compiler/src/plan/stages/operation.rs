//! The stages of every operation that is not lane-wise.

use super::{build::Builder, expression::Body, product};
use crate::{
    axis::Axis,
    graph::{Combine, DType, NodeId, Op, ScalarOp},
    plan::{
        Access, Arrangement, BufferId, LANES, Layout, Place, Stage, Step, Store, Term,
        access::Strided,
        rows::{Contraction, contraction, path},
        words,
    },
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
        self.column(operand, rows, &loops).0
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
        let loops: Vec<(Axis, usize)> = order.iter().collect();
        let inner: Vec<Axis> = axes.iter().filter(|axis| !rows.contains(axis)).copied().collect();
        let over = self.sizes(operand, &inner);
        let arrangement = Arrangement::Same { elements: order.elements() };
        let target = self.partial(node, order.elements(), combine, arrangement);
        self.stages.push(Stage::AccumulateReduce {
            loops,
            over,
            combine,
            dtype: self.dtype(node),
            body: body.expression,
            term,
            strides: dense.axes.iter().map(|(.., stride)| *stride).collect(),
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
            Contraction::Rows { x, rows: own } if own == rows => {
                self.contract_rows(node, operands[x], operands[1 - x], over, rows);
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
        self.flops += 2.0 * graph.shape(node).elements() as f64 * depth as f64;
    }

    fn contract_rows(&mut self, node: NodeId, x: NodeId, weights: NodeId, over: &[Axis], rows: &[Axis]) {
        self.flush();
        // The order of k is that of x in memory, so that it can be walked with one stride.
        let seen = self.access(x, rows);
        let mut depth = self.sizes(x, over);
        depth.sort_by_key(|(axis, _)| std::cmp::Reverse(seen.stride(*axis)));
        let (x, x_stride) = self.column(x, rows, &depth);
        let outputs = self.features(node);
        let packed = self.pack(weights, &outputs, &depth);
        let mut saves = Vec::new();
        let c = self.settle(node, &mut saves);
        let (n, k) = (product(&outputs), product(&depth));
        self.stages.push(Stage::Contract { weights: packed, n, k, x, x_stride, c, c_stride: LANES });
        self.stages.append(&mut saves);
    }

    /// Weights in strips, packed by a step before this kernel.
    fn pack(&mut self, weights: NodeId, n: &[(Axis, usize)], k: &[(Axis, usize)]) -> BufferId {
        let path = path(self.planner.graph, weights);
        let (source, strided) = self.planner.plain(&path);
        let offsets = |axes: &[(Axis, usize)], start: isize| {
            let mut offsets = vec![start];
            for (axis, size) in axes {
                let stride = strided.get(*axis).map_or(0, |(_, stride)| stride);
                offsets = offsets
                    .into_iter()
                    .flat_map(|offset| (0..*size as isize).map(move |i| offset + i * stride))
                    .collect();
            }
            offsets.into_iter().map(|offset| offset as u32).collect::<Vec<u32>>()
        };
        let (n_offsets, k_offsets) = (offsets(n, strided.offset), offsets(k, 0));
        let key = (source, n_offsets.clone(), k_offsets.clone());
        if let Some(target) = self.planner.packed.get(&key) {
            return *target;
        }
        let name = format!("{} (packed)", self.planner.buffers[source.0 as usize].name);
        let layout = Layout::Strips { n: product(n), k: product(k) };
        let target = self.planner.add_buffer(name, DType::F32, layout, Place::Arena(0));
        self.planner.packed.insert(key, target);
        self.planner.steps.push(Step::Pack { source, target, n_offsets, k_offsets });
        target
    }

    fn contract_accumulate(&mut self, node: NodeId, rows: &[Axis]) {
        self.flush();
        let graph = self.planner.graph;
        let operands = graph.operands(node);
        let free: Vec<Vec<(Axis, usize)>> = operands.iter().map(|id| self.features_of(*id, rows)).collect();
        let order = self.stored_order(node);
        // Rows of the stored result are n where its order allows, else the other way round.
        let starts = |axes: &[(Axis, usize)]| axes.iter().zip(order.axes()).all(|((a, _), b)| *a == b);
        let first = usize::from(!starts(&free[0]) && starts(&free[1]));
        let by_order = |axes: &[(Axis, usize)]| -> Vec<(Axis, usize)> {
            order.iter().filter(|entry| axes.contains(entry)).collect()
        };
        let (outer, inner) = (by_order(&free[first]), by_order(&free[1 - first]));
        // The wider side becomes lanes.
        let transposed = product(&outer) > product(&inner) && product(&inner) < LANES;
        let (n_axes, k_axes, g, x) = if transposed {
            (inner, outer, operands[1 - first], operands[first])
        } else {
            (outer, inner, operands[first], operands[1 - first])
        };
        let (g, g_stride) = self.column(g, rows, &n_axes);
        let (x, x_stride) = self.column(x, rows, &k_axes);
        let (n, k) = (product(&n_axes), product(&k_axes));
        let strips = self.tile(n * LANES);
        let turned = self.tile(k.next_multiple_of(LANES) * LANES);
        let arrangement = Arrangement::Panels { n, k, transposed };
        let target = self.partial(node, n * k.next_multiple_of(LANES), Combine::Sum, arrangement);
        self.stages.push(Stage::AccumulateContract { g, g_stride, n, x, x_stride, k, strips, turned, target });
    }
}
