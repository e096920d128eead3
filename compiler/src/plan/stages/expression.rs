//! Lane-wise expressions: operands, indices and maps of a kernel, as terms.

use super::build::Builder;
use crate::{
    axis::Axis,
    graph::{DType, NodeId, Op, ScalarOp},
    plan::{
        Access, Expression, Source, Term,
        access::{Names, Strided},
        rows::{is_inlined, path},
    },
};
use rustc_hash::FxHashMap;

/// An expression under construction: which nodes it already has.
#[derive(Default)]
pub(super) struct Body {
    pub expression: Expression,
    /// What the loops are called for the features of the member that is being added.
    pub names: Names,
    terms: FxHashMap<NodeId, usize>,
}

impl Body {
    pub fn push(&mut self, term: Term) -> usize {
        if let Some(at) = self.expression.terms.iter().position(|other| *other == term) {
            return at;
        }
        self.expression.terms.push(term);
        self.expression.terms.len() - 1
    }

    /// The term of a node computed within this expression.
    pub fn term(&self, node: NodeId) -> Option<usize> {
        self.terms.get(&node).copied()
    }

    /// Notes that a node is computed within this expression.
    pub fn know(&mut self, node: NodeId, term: usize) {
        self.terms.insert(node, term);
    }

    fn map(&mut self, op: ScalarOp, operands: Vec<usize>) -> usize {
        self.push(Term::Map(op, operands))
    }
}

impl Builder<'_, '_> {
    /// The term that reads `operand`, seen from a member with rows `rows`.
    pub fn operand(&mut self, body: &mut Body, operand: NodeId, rows: &[Axis]) -> usize {
        let graph = self.planner.graph;
        let path = path(graph, operand);
        if path.only_renames(graph)
            && let Some(term) = body.term(path.base)
        {
            return term;
        }
        let dtype = graph.ty(operand).dtype;
        match graph.op(path.base) {
            Op::Constant(value) => body.push(Term::Constant(*value, dtype)),
            Op::Iota { axis, size } => {
                let mut strided = Strided { offset: 0, axes: vec![(*axis, *size, 1)] };
                for view in &path.views {
                    strided = strided.viewed(graph.op(*view));
                }
                self.index(body, &strided, rows)
            }
            Op::Map(op) if is_inlined(graph, path.base) => {
                let leaf = self.operand(body, graph.operands(path.base)[0], rows);
                // Not remembered by its node: what a leaf is read as depends on the reader's rows.
                body.map(*op, vec![leaf])
            }
            Op::Map(_) if self.home(path.base).is_none() && self.planner.recomputed.contains(&path.base) => {
                let axes = graph.shape(path.base).axes();
                let names = Names::new(axes.map(|axis| (axis, body.names.of(path.renamed(graph, axis)))));
                let outer = std::mem::replace(&mut body.names, names);
                let term = self.compute(body, path.base);
                body.names = outer;
                term
            }
            _ => {
                let access = self.access(operand, rows).renamed(&body.names);
                body.push(Term::Load(access, dtype))
            }
        }
    }

    /// Σ index(axis) · stride + offset, as `i32`.
    fn index(&mut self, body: &mut Body, strided: &Strided, rows: &[Axis]) -> usize {
        let mut sum = None;
        for (axis, _, stride) in &strided.axes {
            if *stride == 0 {
                continue;
            }
            let index = if rows.contains(axis) {
                Term::RowIndex(self.row_name(*axis, rows))
            } else {
                Term::FeatureIndex(body.names.of(*axis))
            };
            let mut term = body.push(index);
            if *stride != 1 {
                let stride = body.push(Term::Constant(*stride as f64, DType::I32));
                term = body.map(ScalarOp::Mul, vec![term, stride]);
            }
            sum = Some(match sum {
                None => term,
                Some(sum) => body.map(ScalarOp::Add, vec![sum, term]),
            });
        }
        let offset = body.push(Term::Constant(strided.offset as f64, DType::I32));
        match sum {
            None => offset,
            Some(sum) if strided.offset == 0 => sum,
            Some(sum) => body.map(ScalarOp::Add, vec![sum, offset]),
        }
    }

    /// The kernel's own name of a member's row axis.
    pub fn row_name(&self, axis: Axis, rows: &[Axis]) -> Axis {
        let position = rows.iter().position(|row| *row == axis);
        position.map_or(axis, |position| self.rows[position].0)
    }

    /// The term of a member that is computed lane by lane: a map, a random draw or a gather.
    pub fn compute(&mut self, body: &mut Body, node: NodeId) -> usize {
        let graph = self.planner.graph;
        let rows = self.planner.clusters.rows_at[&node].clone();
        let operands = graph.operands(node);
        match graph.op(node) {
            Op::Map(op) => {
                let terms: Vec<usize> = operands.iter().map(|id| self.operand(body, *id, &rows)).collect();
                let from = graph.ty(operands[0]).dtype;
                match op {
                    ScalarOp::Stop => terms[0],
                    ScalarOp::Cast(to) if *to == from => terms[0],
                    op => body.map(*op, terms),
                }
            }
            Op::Random { distribution, stream, shape } => {
                let strides = Strided::dense(shape.canonical().iter(), 1).axes;
                let named = strides
                    .into_iter()
                    .map(|(axis, _, stride)| match rows.contains(&axis) {
                        true => (self.row_name(axis, &rows), stride as usize),
                        false => (body.names.of(axis), stride as usize),
                    })
                    .collect();
                body.push(Term::Random { distribution: *distribution, stream: *stream, strides: named })
            }
            Op::Gather { axis } => {
                let index = self.operand(body, operands[1], &rows);
                self.gather(body, operands[0], *axis, index, &rows)
            }
            other => unreachable!("`{other}` is not lane-wise"),
        }
    }

    /// A per-lane read of `source` at `index` along `axis`.
    fn gather(&mut self, body: &mut Body, source: NodeId, axis: Axis, index: usize, rows: &[Axis]) -> usize {
        let graph = self.planner.graph;
        let path = path(graph, source);
        let dtype = graph.ty(source).dtype;
        let inside = self.home(path.base).is_some();
        let (access, row_strides, size, stride) = if inside {
            let access = self.access(source, rows);
            let size = graph.shape(source).size(axis).unwrap_or(0);
            let stride = access.stride(axis);
            (access, Vec::new(), size, stride)
        } else {
            let (buffer, strided) = match graph.op(path.base) {
                Op::Iota { .. } => unreachable!("simplified: a gather from an iota is its index"),
                _ => self.planner.plain(&path),
            };
            // A repeated axis has no stride, but it has an end.
            let size = graph.shape(source).size(axis).unwrap_or(0);
            let stride = strided.get(axis).map_or(0, |(_, stride)| stride);
            let split = |row: bool| {
                let kept = strided.axes.iter().filter(move |(a, ..)| rows.contains(a) == row && *a != axis);
                kept.map(|(a, _, stride)| (*a, *stride)).collect::<Vec<_>>()
            };
            let row_strides = split(true).into_iter().map(|(a, stride)| (self.row_name(a, rows), stride)).collect();
            let access = Access {
                source: Source::Buffer(buffer),
                panel_stride: 0,
                lanes: false,
                strides: split(false),
                offset: strided.offset,
            };
            (access, row_strides, size, stride)
        };
        let mut access = access;
        access.strides.retain(|(a, _)| *a != axis);
        let access = access.renamed(&body.names);
        body.push(Term::Gather { source: access, row_strides, index, stride, size, dtype })
    }
}
