//! Which axes a node's rows are made of.
//!
//! Rows are axes along which a node does the same thing to every element. A node has a choice; the
//! contractions do not, so they are asked first and their wish is handed back through the maps that
//! feed them ([`Demands`]). What is left over chooses for itself ([`preferred`]).

use super::{
    batch::{batch_axes, batched_rows},
    window::is_folded,
};
use crate::{
    axis::{Axis, Shape},
    graph::{Graph, NodeId, Op, ScalarOp},
};
use rustc_hash::FxHashMap;

/// Whether a node is a view that costs nothing: its readers address its operand instead.
pub(super) fn is_transparent(op: &Op) -> bool {
    matches!(op, Op::Rename(_) | Op::Split { .. } | Op::Slice { .. } | Op::Spread(_) | Op::Window { .. })
}

fn is_leaf(op: &Op) -> bool {
    matches!(op, Op::Constant(_) | Op::Input(_) | Op::Parameter(_) | Op::Iota { .. })
}

/// Whether a node is a conversion of a leaf that only maps read: they convert what they read, and the converted value
/// is nowhere. It would else hold its readers to its own few axes.
pub(super) fn is_inlined(graph: &Graph, node: NodeId) -> bool {
    matches!(graph.op(node), Op::Map(ScalarOp::Cast(_)))
        && is_leaf(graph.op(graph.operands(node)[0]))
        && graph.users(node).into_iter().all(|user| matches!(graph.op(user), Op::Map(_)))
        && graph.outputs().all(|(_, output)| output != node)
}

/// Whether a node is computed by a kernel as a value of its own.
pub(super) fn is_computed(graph: &Graph, node: NodeId) -> bool {
    let op = graph.op(node);
    !is_transparent(op) && !is_leaf(op) && !is_inlined(graph, node) && !is_folded(graph, node)
}

/// What a node reads through views: the node that holds the value, and the views from it outwards.
pub(super) struct Path {
    pub base: NodeId,
    pub views: Vec<NodeId>,
}

/// Follows transparent views down to the value they show.
pub(super) fn path(graph: &Graph, node: NodeId) -> Path {
    let mut views = Vec::new();
    let mut base = node;
    while is_transparent(graph.op(base)) || is_folded(graph, base) {
        views.push(base);
        base = graph.operands(base)[0];
    }
    views.reverse();
    Path { base, views }
}

impl Path {
    /// Whether the views change nothing but names.
    pub fn only_renames(&self, graph: &Graph) -> bool {
        self.views.iter().all(|view| matches!(graph.op(*view), Op::Rename(_)))
    }

    /// The name that an axis of the base has at the far end of a path of [only renames](Path::only_renames).
    pub fn renamed(&self, graph: &Graph, axis: Axis) -> Axis {
        self.views.iter().fold(axis, |axis, view| match graph.op(*view) {
            Op::Rename(pairs) => pairs.iter().find(|(from, _)| *from == axis).map_or(axis, |(_, to)| *to),
            _ => axis,
        })
    }
}

/// The names that the base's row axes have at the far end of the path, or nothing where a view cuts,
/// repeats or splits one of them.
pub(super) fn rows_through(graph: &Graph, path: &Path, rows: &[Axis]) -> Option<Vec<Axis>> {
    let mut rows = rows.to_vec();
    for view in &path.views {
        match graph.op(*view) {
            Op::Rename(pairs) => {
                for row in &mut rows {
                    *row = pairs.iter().find(|(from, _)| from == row).map_or(*row, |(_, to)| *to);
                }
            }
            Op::Split { axis, .. } | Op::Slice { axis, .. } | Op::Window { axis, .. } | Op::Pad { axis, .. }
                if rows.contains(axis) =>
            {
                return None;
            }
            Op::Merge { axes, .. } if axes.iter().any(|axis| rows.contains(axis)) => return None,
            _ => {}
        }
    }
    Some(rows)
}

/// The names that rows at the far end of a view have at its operand.
fn rows_before(graph: &Graph, view: NodeId, rows: &[Axis]) -> Option<Vec<Axis>> {
    match graph.op(view) {
        Op::Rename(pairs) => Some(
            rows.iter().map(|row| pairs.iter().find(|(_, to)| to == row).map_or(*row, |(from, _)| *from)).collect(),
        ),
        Op::Split { into, .. } if into.iter().any(|(axis, _)| rows.contains(axis)) => None,
        Op::Slice { axis, .. } if rows.contains(axis) => None,
        // The rows of a convolution would like what they read to be stored along the same rows.
        Op::Window { axis, position, tap, .. } if !rows.contains(tap) => {
            Some(rows.iter().map(|row| if row == position { *axis } else { *row }).collect())
        }
        Op::Window { .. } => None,
        Op::Merge { axes, into } => Some(rows.iter().map(|row| if row == into { axes[0] } else { *row }).collect()),
        Op::Spread(shape) if shape.axes().any(|axis| rows.contains(&axis)) => None,
        _ => Some(rows.to_vec()),
    }
}

/// The axes of the base of a path that rows at its far end move along, whatever part of them they see; none where a view
/// splits, repeats or slides one of them.
pub(super) fn axes_behind(graph: &Graph, path: &Path, rows: &[Axis]) -> Option<Vec<Axis>> {
    path.views.iter().rev().try_fold(rows.to_vec(), |rows, view| match graph.op(*view) {
        Op::Slice { .. } | Op::Pad { .. } => Some(rows),
        _ => rows_before(graph, *view, &rows),
    })
}

/// Whether the node does the same thing for every element along each of `rows`.
pub(super) fn is_rowwise(graph: &Graph, node: NodeId, rows: &[Axis]) -> bool {
    let shape = graph.shape(node);
    if !rows.iter().all(|row| shape.contains(*row)) {
        return false;
    }
    let free_of = |axis: &Axis| !rows.contains(axis);
    match graph.op(node) {
        Op::Map(_) | Op::Random { .. } | Op::Reduce { .. } => true,
        Op::ArgReduce { .. } | Op::SearchSorted { .. } => true,
        Op::Scan { axis, .. } | Op::Sort { axis } | Op::ArgSort { axis } => free_of(axis),
        Op::Contract { .. } => true,
        Op::Merge { into, .. } => free_of(into),
        Op::Pad { axis, .. } | Op::Concat { axis } | Op::Fold { axis, .. } => free_of(axis),
        Op::Gather { .. } => true,
        Op::ScatterAdd { axis, .. } => free_of(axis),
        _ => false,
    }
}

/// How a contraction is computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Contraction {
    /// Rows of operand `x` against packed weights: one matrix, or one for each element of a batch. These are the rows of
    /// each matrix.
    Rows { x: usize, rows: Vec<Axis> },
    /// A sum over rows that both operands have.
    Accumulate { rows: Vec<Axis> },
    /// Neither: both operands vary along the result's rows.
    General,
}

/// Orders axes as the inputs list them, then as random draws do, and then as the graph first names them, so that all parts
/// of a plan agree. An axis that is another name of one in the list comes right behind that one.
pub(super) struct AxisOrder(FxHashMap<Axis, (usize, usize)>);

impl AxisOrder {
    /// No order: axes stay as they come.
    pub fn none() -> AxisOrder {
        AxisOrder(FxHashMap::default())
    }

    pub fn of(graph: &Graph) -> AxisOrder {
        let nodes = graph.topological();
        let renames = |node: &NodeId| match graph.op(*node) {
            Op::Rename(pairs) => pairs.clone(),
            _ => Vec::new(),
        };
        let mut renamed: FxHashMap<Axis, Axis> = FxHashMap::default();
        for (from, to) in nodes.iter().flat_map(renames) {
            renamed.entry(to).or_insert(from);
        }
        let mut order: FxHashMap<Axis, (usize, usize)> = FxHashMap::default();
        let mut list = |axis: Axis, behind: Option<&Axis>| {
            let next = order.len();
            let first = behind.and_then(|other| order.get(other)).map_or(next, |(first, _)| *first);
            order.entry(axis).or_insert((first, next));
        };
        let inputs = nodes.iter().filter(|node| matches!(graph.op(**node), Op::Input(_)));
        let draws = nodes.iter().filter(|node| matches!(graph.op(**node), Op::Random { .. }));
        for axis in inputs.chain(draws).flat_map(|node| graph.shape(*node).axes()) {
            list(axis, renamed.get(&axis));
        }
        for node in &nodes {
            let pairs = renames(node);
            for axis in graph.shape(*node).axes() {
                list(axis, pairs.iter().find(|(_, to)| *to == axis).map(|(from, _)| from));
            }
        }
        AxisOrder(order)
    }

    pub fn sorted(&self, axes: impl IntoIterator<Item = Axis>) -> Vec<Axis> {
        let mut axes: Vec<_> = axes.into_iter().collect();
        axes.sort_by_key(|axis| self.0.get(axis).copied().unwrap_or((usize::MAX, 0)));
        axes
    }
}

/// Rows that are worth a product of matrices each, where there is one for each element of some axes: with fewer, the
/// same sums are computed for all these elements at a time.
const LEAST_ROWS: usize = 8;

/// Rows without axes of one element, unless all are such: those would tell apart rows that are the same.
fn proper(rows: Vec<Axis>, size: impl Fn(Axis) -> Option<usize>) -> Vec<Axis> {
    let proper: Vec<Axis> = rows.iter().copied().filter(|axis| size(*axis) != Some(1)).collect();
    if proper.is_empty() { rows } else { proper }
}

/// Chooses the way a contraction is computed, by its sizes.
pub(super) fn contraction(graph: &Graph, node: NodeId, order: &AxisOrder) -> Contraction {
    let operands = graph.operands(node);
    let size = |axis| operands.iter().find_map(|operand| graph.shape(*operand).size(axis));
    match chosen(graph, node, order) {
        Contraction::Rows { x, rows } => Contraction::Rows { x, rows: proper(rows, size) },
        Contraction::Accumulate { rows } => Contraction::Accumulate { rows: proper(rows, size) },
        Contraction::General => Contraction::General,
    }
}

fn chosen(graph: &Graph, node: NodeId, order: &AxisOrder) -> Contraction {
    let Op::Contract { over } = graph.op(node) else { return Contraction::General };
    let operands = graph.operands(node);
    if over.is_empty() || operands[0] == operands[1] || graph.ty(node).dtype != crate::graph::DType::F32 {
        return Contraction::General;
    }
    let shapes: Vec<&Shape> = operands.iter().map(|id| graph.shape(*id)).collect();
    let batch: Vec<Axis> = batch_axes(graph, node).into_iter().map(|(axis, _)| axis).collect();
    let free: Vec<Shape> = shapes.iter().map(|shape| shape.without(over).without(&batch)).collect();
    let depth: usize = over.iter().filter_map(|axis| shapes[0].size(*axis)).product();
    let sizes = [free[0].elements(), free[1].elements()];
    if !batch.is_empty() {
        let mut sizes = [sizes[0], sizes[1], depth];
        sizes.sort_unstable();
        if sizes[2] < LEAST_ROWS || sizes[1] < 4 || sizes[0] < 2 {
            return Contraction::General;
        }
    }
    let windows = |operand: NodeId| {
        let windows = windows(graph, operand).into_iter();
        windows.map(|(position, tap)| (over.contains(&position), over.contains(&tap)))
    };
    // A convolution sums over taps, and what it reads through them are its rows.
    if let Some(x) = (0..2).find(|x| windows(operands[*x]).any(|summed| summed == (false, true))) {
        return Contraction::Rows { x, rows: order.sorted(free[x].axes()) };
    }
    // The gradient of its weights is computed along its own elements, or sums over these rows.
    let slides = |x: &usize| windows(operands[*x]).any(|summed| summed == (true, false));
    let along = |x: usize| {
        let own: Vec<Axis> = free[x].axes().collect();
        let rows = rows_of_result(graph, operands[x], &own, over, depth)?;
        Some(Contraction::Rows { x, rows })
    };
    if let Some(contraction) = (0..2).filter(slides).find_map(along) {
        return contraction;
    }
    let slides = (0..2).find(slides);
    // Few pixels and many channels, as deep in a network: each element that is read serves many results, and partial
    // results would be larger than all that is read.
    let serves = |x: usize| sizes[1 - x] >= 4 * super::LANES && sizes[x] >= sizes[1 - x];
    let sums = slides.is_some_and(|x| depth > FEW_SUMMED || depth >= super::LANES && !serves(x));
    if depth > sizes[0].max(sizes[1]) || sums {
        return Contraction::Accumulate { rows: order.sorted(over.iter().copied()) };
    }
    let stored = |i: usize| matches!(graph.op(path(graph, operands[i]).base), Op::Parameter(_));
    let x = match sizes[0].cmp(&sizes[1]) {
        std::cmp::Ordering::Greater => 0,
        std::cmp::Ordering::Less => 1,
        std::cmp::Ordering::Equal => usize::from(stored(0)),
    };
    Contraction::Rows { x, rows: order.sorted(free[x].axes()) }
}

/// Results along the rows of a sum at least, so that they are worth computing tile by tile: every thread gets its share.
const LEAST_RESULTS: usize = 8 * super::LANES;

/// Partial results that a sum over rows keeps where they are large.
const PARTIALS: usize = 8;

/// Positions up to which the gradient of a convolution's weights is computed along these however its picture lies, if the
/// convolution has the results to be worth it.
const FEW_SUMMED: usize = 2 * super::LANES;

/// Elements that lie side by side at least in what is read along results.
const LEAST_TOGETHER: usize = 16;

/// The free axes of a windowed operand in the order in which it is stored, if a contraction over its positions is better
/// computed along these, with the summed axes as the depth, than as a sum over rows. That keeps no partial results, which
/// every tile of rows would read and write, but the whole other operand in strips: it should not be larger than they.
/// And it wants an operand whose free axes lie together, as the channels of a picture do that comes channels last, while
/// a sum over rows turns what it reads.
fn rows_of_result(graph: &Graph, operand: NodeId, free: &[Axis], over: &[Axis], depth: usize) -> Option<Vec<Axis>> {
    let shape = graph.shape(operand);
    let size = |axis: &Axis| shape.size(*axis).unwrap_or(1);
    let results: usize = free.iter().map(size).product();
    if results < LEAST_RESULTS || depth > PARTIALS * results {
        return None;
    }
    let mut strides = super::window::stored_strides(graph, operand, free, over)?;
    strides.sort_by_key(|(_, stride)| std::cmp::Reverse(*stride));
    let (last, stride) = strides.last()?;
    let together = *stride == 1 && size(last) >= LEAST_TOGETHER;
    together.then(|| strides.into_iter().map(|(axis, _)| axis).collect())
}

/// The windows among the views directly behind a node: the names that positions and taps have at the node.
fn windows(graph: &Graph, node: NodeId) -> Vec<(Axis, Axis)> {
    let view = |node: NodeId| is_transparent(graph.op(node)).then_some(node);
    let views: Vec<NodeId> = std::iter::successors(view(node), |node| view(graph.operands(*node)[0])).collect();
    let mut windows: Vec<(Axis, Axis)> = Vec::new();
    for view in views.into_iter().rev() {
        match graph.op(view) {
            Op::Window { position, tap, .. } => windows.push((*position, *tap)),
            Op::Rename(pairs) => {
                let renamed = |axis: Axis| pairs.iter().find(|(from, _)| *from == axis).map_or(axis, |(_, to)| *to);
                windows.iter_mut().for_each(|(position, tap)| (*position, *tap) = (renamed(*position), renamed(*tap)));
            }
            _ => {}
        }
    }
    windows
}

/// Whether a reduction is a sum over rows rather than over features.
pub(super) fn accumulates(graph: &Graph, node: NodeId) -> bool {
    let Op::Reduce { axes, .. } = graph.op(node) else { return false };
    let operand = graph.operands(node)[0];
    let over: usize = axes.iter().filter_map(|axis| graph.shape(operand).size(*axis)).product();
    over > 4 * graph.shape(node).elements()
}

/// Rows that a sum is worth taking along, less than which it is taken along all that it sums over.
const LEAST_SUMMED: usize = 256;

/// The rows along which a sum over rows is taken: what it sums over, but for axes behind the last that it keeps, which
/// are features, as the channels of a group are; and, where those rows fill whole panels, what it keeps before them,
/// as one sum an image.
fn summed_rows(graph: &Graph, node: NodeId, axes: &[Axis], order: &AxisOrder) -> Vec<Axis> {
    let shape = graph.shape(graph.operands(node)[0]);
    let all = order.sorted(shape.axes());
    let size = |axis: &Axis| shape.size(*axis).unwrap_or(1);
    let is_kept = |axis: &Axis| !axes.contains(axis) && size(axis) > 1;
    let behind = all.iter().rposition(is_kept).unwrap_or(0);
    let before: Vec<Axis> = all[..behind].iter().copied().filter(|axis| axes.contains(axis)).collect();
    let count: usize = before.iter().map(size).product();
    if count < LEAST_SUMMED {
        return order.sorted(axes.iter().copied());
    }
    let (kept, _) = all.split_at(all.iter().position(|axis| axes.contains(axis)).unwrap_or(0));
    let kept = if count.is_multiple_of(super::LANES) || !kept.iter().any(is_kept) { kept } else { &[] };
    [kept, &before].concat()
}

/// Whether a reduction over some axes combines rows: it sums over the last of them, which are all or, where there are few
/// results, fill whole panels for each index of the others.
pub(super) fn sums_rows(graph: &Graph, node: NodeId, axes: &[Axis], rows: &[(Axis, usize)]) -> bool {
    let Some(first) = rows.iter().position(|(axis, _)| axes.contains(axis)) else { return false };
    let (kept, summed) = rows.split_at(first);
    let count: usize = summed.iter().map(|(_, size)| size).product();
    summed.iter().all(|(axis, _)| axes.contains(axis))
        && (kept.iter().all(|(_, size)| *size == 1)
            || count.is_multiple_of(super::LANES) && count >= LEAST_SUMMED && accumulates(graph, node))
}

/// Whether the largest operands of a node, a few maps back, are those of a contraction.
fn follows_contraction(graph: &Graph, node: NodeId, depth: usize) -> bool {
    let elements = |id: &NodeId| graph.shape(*id).elements();
    let operands = graph.operands(node);
    let Some(largest) = operands.iter().copied().max_by_key(elements).filter(|_| depth > 0) else { return false };
    match graph.op(largest) {
        Op::Contract { .. } => true,
        Op::Map(_) | Op::Rename(_) => follows_contraction(graph, largest, depth - 1),
        _ => false,
    }
}

/// What the readers of each node would like its rows to be.
pub(super) struct Demands(FxHashMap<NodeId, Demand>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Demand {
    Rows(Vec<Axis>),
    Conflict,
}

impl Demands {
    /// Hands the wishes of contractions and of operations along one axis back to what feeds them.
    pub fn of(graph: &Graph, order: &AxisOrder) -> Demands {
        let mut demands = Demands(FxHashMap::default());
        for node in graph.topological().into_iter().rev() {
            let op = graph.op(node);
            for (position, operand) in graph.operands(node).into_iter().enumerate() {
                let wish = if is_transparent(op) || is_folded(graph, node) {
                    demands.rows(node).and_then(|rows| rows_before(graph, node, rows))
                } else {
                    demands.wish(graph, node, position, order)
                };
                let Some(wish) = wish else { continue };
                let shape = graph.shape(operand);
                if wish.iter().all(|row| shape.contains(*row)) {
                    demands.note(operand, proper(wish, |axis| shape.size(axis)));
                }
            }
        }
        demands
    }

    /// The rows that all readers of a node agree on.
    pub fn rows(&self, node: NodeId) -> Option<&[Axis]> {
        match self.0.get(&node) {
            Some(Demand::Rows(rows)) => Some(rows),
            _ => None,
        }
    }

    fn note(&mut self, node: NodeId, rows: Vec<Axis>) {
        let entry = self.0.entry(node).or_insert_with(|| Demand::Rows(rows.clone()));
        if *entry != Demand::Rows(rows) {
            *entry = Demand::Conflict;
        }
    }

    fn wish(&self, graph: &Graph, node: NodeId, position: usize, order: &AxisOrder) -> Option<Vec<Axis>> {
        let shape = graph.shape(graph.operands(node)[position]);
        match graph.op(node) {
            Op::Contract { .. } => match contraction(graph, node, order) {
                Contraction::Rows { x, rows } => (x == position).then(|| batched_rows(graph, node, x, rows, order)),
                Contraction::Accumulate { rows } => Some(rows),
                Contraction::General => None,
            },
            // A sum of everything that a contraction gives can be taken along the rows of that.
            Op::Reduce { .. } if accumulates(graph, node) && follows_contraction(graph, node, 8) => None,
            Op::Reduce { axes, .. } if accumulates(graph, node) => Some(summed_rows(graph, node, axes, order)),
            Op::Scan { axis, .. } | Op::Sort { axis } | Op::ArgSort { axis } => {
                Some(order.sorted(shape.without(&[*axis]).axes()))
            }
            _ => {
                let rows = self.rows(node)?;
                is_rowwise(graph, node, rows).then(|| rows.to_vec())
            }
        }
    }
}

/// The rows that a node takes when it starts a kernel of its own.
pub(super) fn preferred(graph: &Graph, node: NodeId, demands: &Demands, order: &AxisOrder) -> Vec<Axis> {
    let operands = graph.operands(node);
    let shapes = || std::iter::once(node).chain(operands.iter().copied()).map(|id| graph.shape(id));
    proper(wanted(graph, node, demands, order), |axis| shapes().find_map(|shape| shape.size(axis)))
}

fn wanted(graph: &Graph, node: NodeId, demands: &Demands, order: &AxisOrder) -> Vec<Axis> {
    let shape = graph.shape(node);
    if let Some(rows) = demands.rows(node)
        && is_rowwise(graph, node, rows)
        && !matches!(graph.op(node), Op::Contract { .. })
        && !accumulates(graph, node)
    {
        return rows.to_vec();
    }
    let without = |axes: &[Axis]| order.sorted(shape.without(axes).axes());
    match graph.op(node) {
        Op::Contract { .. } => match contraction(graph, node, order) {
            Contraction::Rows { x, rows } => batched_rows(graph, node, x, rows, order),
            Contraction::Accumulate { rows } => rows,
            Contraction::General => order.sorted(shape.axes()),
        },
        Op::Reduce { axes, .. } if accumulates(graph, node) => summed_rows(graph, node, axes, order),
        Op::Scan { axis, .. } | Op::Sort { axis } | Op::ArgSort { axis } => without(&[*axis]),
        Op::Merge { into, .. } => without(&[*into]),
        Op::Pad { axis, .. } | Op::Concat { axis } | Op::Fold { axis, .. } => without(&[*axis]),
        Op::ScatterAdd { axis, over, .. } => {
            let rest = without(&[*axis]);
            let rows: usize = rest.iter().filter_map(|axis| shape.size(*axis)).product();
            if rows >= super::LANES { rest } else { order.sorted(over.iter().copied()) }
        }
        _ => repeated_rows(graph, node, order)
            .or_else(|| storage_order(graph, node))
            .unwrap_or_else(|| order.sorted(shape.axes())),
    }
}

/// Features of a map at most that it has because some operands vary along them only.
const MOST_FEATURES: usize = 2048;

/// The rows of a map with operands that are repeated: the axes before the last ones, along which those operands vary. What
/// a channel gives all pixels is then read once a panel.
fn repeated_rows(graph: &Graph, node: NodeId, order: &AxisOrder) -> Option<Vec<Axis>> {
    let shape = graph.shape(node);
    let axes = order.sorted(shape.axes());
    let operands = graph.operands(node).into_iter().map(|operand| source_axes(graph, operand));
    let repeated: Vec<Vec<Axis>> = operands
        .filter(|own| !own.is_empty() && shape.iter().any(|(axis, size)| size > 1 && !own.contains(&axis)))
        .collect();
    let is_free = |axis: &Axis| repeated.iter().all(|own| !own.contains(axis));
    let first = axes.iter().position(is_free)?;
    let behind = first + axes[first..].iter().position(|axis| !is_free(axis))?;
    let count = |axes: &[Axis]| axes.iter().filter_map(|axis| shape.size(*axis)).product::<usize>();
    let (rows, features) = axes.split_at(behind);
    (count(rows) >= LEAST_SUMMED && count(features) <= MOST_FEATURES).then(|| rows.to_vec())
}

/// The axes along which an operand varies: those that no view behind it repeats.
fn source_axes(graph: &Graph, operand: NodeId) -> Vec<Axis> {
    match graph.op(operand) {
        Op::Spread(spread) => {
            let spread: Vec<Axis> = spread.axes().collect();
            let own = source_axes(graph, graph.operands(operand)[0]);
            own.into_iter().filter(|axis| !spread.contains(axis)).collect()
        }
        Op::Constant(_) => Vec::new(),
        _ => graph.shape(operand).iter().filter(|(_, size)| *size > 1).map(|(axis, _)| axis).collect(),
    }
}

/// The order in which the largest stored operand of a map lists the axes, if it has them all: rows in
/// this order are read and written straight through.
fn storage_order(graph: &Graph, node: NodeId) -> Option<Vec<Axis>> {
    let shape = graph.shape(node);
    graph.operands(node).into_iter().find_map(|operand| {
        let stored = matches!(graph.op(operand), Op::Parameter(_) | Op::Input(_));
        (stored && graph.shape(operand) == shape).then(|| graph.shape(operand).axes().collect())
    })
}

/// Whether a scatter sums over its rows.
pub(super) fn scatter_accumulates(graph: &Graph, node: NodeId, rows: &[Axis]) -> bool {
    matches!(graph.op(node), Op::ScatterAdd { over, .. } if rows.iter().all(|row| over.contains(row)) && !rows.is_empty())
}
