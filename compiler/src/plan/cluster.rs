//! Which nodes are computed by one kernel.
//!
//! Nodes are visited operands first. A node joins the kernel of one of its operands when that
//! kernel's rows suit it and no value would have to leave the kernel and come back; else it starts a
//! kernel of its own. Views are not computed at all. A map of stored values alone that one other map reads waits for
//! that one: what an optimiser makes of its state goes where the gradient is.

use super::{
    Decision, PlanOptions,
    access::Strided,
    batch::leading,
    rows::{
        AxisOrder, Contraction, Demands, contraction, is_computed, is_rowwise, path, preferred, rows_through,
        scatter_accumulates, sums_rows,
    },
    words,
};
use crate::{
    axis::Axis,
    graph::{Graph, NodeId, Op},
};
use rustc_hash::{FxHashMap, FxHashSet};

/// How much is put into one kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fusion {
    /// One operation a kernel; only conversions of inputs are part of what reads them.
    None,
    /// As much as fits together.
    Full,
}

/// Nodes computed together over the same rows.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    /// Row axes with sizes, as the first member names them.
    pub rows: Vec<(Axis, usize)>,
    /// The members, operands first.
    pub members: Vec<NodeId>,
}

/// All kernels of a graph and who is where.
pub(super) struct Clusters {
    pub clusters: Vec<Cluster>,
    /// The cluster of each computed node.
    pub of: FxHashMap<NodeId, usize>,
    /// Each member's own names of its cluster's rows.
    pub rows_at: FxHashMap<NodeId, Vec<Axis>>,
    /// Members that combine rows: their values are complete only when their kernel has ended.
    pub accumulating: FxHashSet<NodeId>,
    /// An order in which the clusters can run.
    pub order: Vec<usize>,
}

struct Builder<'g> {
    graph: &'g Graph,
    tile_bytes: usize,
    axes: AxisOrder,
    demands: Demands,
    clusters: Vec<Cluster>,
    /// The clusters that each cluster reads.
    reads: Vec<FxHashSet<usize>>,
    of: FxHashMap<NodeId, usize>,
    rows_at: FxHashMap<NodeId, Vec<Axis>>,
    accumulating: FxHashSet<NodeId>,
    ancestry: Ancestry,
    /// What must have run before a node, besides its operands.
    after: &'g FxHashMap<NodeId, Vec<NodeId>>,
    /// Maps of stored values that wait for the one that reads them.
    waiting: FxHashSet<NodeId>,
}

/// What each node is computed from, directly or not.
struct Ancestry(FxHashMap<NodeId, Vec<u64>>);

impl Ancestry {
    fn of(graph: &Graph) -> Ancestry {
        let mut sets: FxHashMap<NodeId, Vec<u64>> = FxHashMap::default();
        for node in graph.topological() {
            let mut set = vec![0; node.index() / 64 + 1];
            for operand in graph.operands(node) {
                let theirs = &sets[&operand];
                set.resize(set.len().max(theirs.len()).max(operand.index() / 64 + 1), 0);
                set.iter_mut().zip(theirs).for_each(|(own, theirs)| *own |= theirs);
                set[operand.index() / 64] |= 1 << (operand.index() % 64);
            }
            sets.insert(node, set);
        }
        Ancestry(sets)
    }

    fn has(&self, node: NodeId, ancestor: NodeId) -> bool {
        let word = self.0[&node].get(ancestor.index() / 64).copied().unwrap_or(0);
        word >> (ancestor.index() % 64) & 1 == 1
    }
}

/// Clusters a graph. A node runs when those that it comes `after` have run. Where `replaced` says which stored value the new
/// one of a node takes the place of, those who read the old one come first, as far as they do not need the new one.
pub(super) fn cluster(
    graph: &Graph,
    after: &FxHashMap<NodeId, Vec<NodeId>>,
    replaced: &FxHashMap<NodeId, NodeId>,
    options: &PlanOptions,
) -> Clusters {
    let axes = AxisOrder::of(graph);
    let demands = Demands::of(graph, &axes);
    let mut builder = Builder {
        graph,
        tile_bytes: options.target.tile_bytes,
        axes,
        demands,
        clusters: Vec::new(),
        reads: Vec::new(),
        of: FxHashMap::default(),
        rows_at: FxHashMap::default(),
        accumulating: FxHashSet::default(),
        ancestry: Ancestry::of(graph),
        after,
        waiting: FxHashSet::default(),
    };
    let merges = options.fusion == Fusion::Full && !options.without.has(Decision::Merge);
    let roots: Vec<_> = graph.outputs().map(|(_, node)| node).collect();
    for node in ordered(graph, after, &roots) {
        if is_computed(graph, node) {
            match merges && builder.waits(node) {
                true => _ = builder.waiting.insert(node),
                false => builder.place(node, options.fusion),
            }
        }
    }
    if merges {
        builder.merge();
    }
    let before = builder.come_last(replaced);
    builder.finish(&before)
}

/// What the roots depend on: operands, and whatever a node comes after, before the node.
fn ordered(graph: &Graph, after: &FxHashMap<NodeId, Vec<NodeId>>, roots: &[NodeId]) -> Vec<NodeId> {
    let reachable = graph.reachable(roots);
    if after.is_empty() {
        return reachable;
    }
    let mut ordered = Vec::with_capacity(reachable.len());
    let mut done: FxHashSet<NodeId> = FxHashSet::default();
    for root in reachable {
        let mut stack = vec![root];
        while let Some(node) = stack.last().copied() {
            let before = graph.operands(node).into_iter().chain(after.get(&node).into_iter().flatten().copied());
            let waiting: Vec<NodeId> = before.filter(|node| !done.contains(node)).collect();
            if waiting.is_empty() {
                stack.pop();
                if done.insert(node) {
                    ordered.push(node);
                }
            }
            stack.extend(waiting);
        }
    }
    ordered
}

impl Builder<'_> {
    /// Whether a node is a map of stored values and constants that one other map alone reads, element by element.
    fn waits(&self, node: NodeId) -> bool {
        let graph = self.graph;
        let stored = |operand: NodeId| {
            let parameter = matches!(graph.op(operand), Op::Parameter(_)) && graph.shape(operand) == graph.shape(node);
            parameter || self.waiting.contains(&operand)
        };
        let constant = |operand: NodeId| match graph.op(path(graph, operand).base) {
            Op::Constant(_) => true,
            Op::Parameter(_) | Op::Input(_) => graph.shape(path(graph, operand).base).rank() == 0,
            _ => false,
        };
        let operands = graph.operands(node);
        let users = graph.users(node);
        matches!(graph.op(node), Op::Map(_))
            && operands.iter().all(|operand| stored(*operand) || constant(*operand))
            && operands.iter().any(|operand| stored(*operand))
            && users.iter().all(|user| matches!(graph.op(*user), Op::Map(_)) && *user == users[0])
            && !users.is_empty()
            && graph.outputs().all(|(_, output)| output != node)
    }

    /// The maps that wait for a node, operands first.
    fn waiting_for(&self, node: NodeId) -> Vec<NodeId> {
        let mut waiting = Vec::new();
        for operand in self.graph.operands(node) {
            if self.waiting.contains(&operand) && !waiting.contains(&operand) {
                waiting.extend(self.waiting_for(operand));
                waiting.push(operand);
            }
        }
        waiting
    }

    /// Whether the rows of a panel lie side by side in every stored value that a map has the elements of.
    fn lies_along(&self, map: NodeId, rows: &[Axis]) -> bool {
        let graph = self.graph;
        graph.operands(map).into_iter().all(|operand| {
            let apart =
                || Strided::dense(graph.shape(operand).iter(), 1).merged(rows).is_none_or(|(_, unit)| unit != 1);
            !matches!(graph.op(operand), Op::Parameter(_)) || graph.shape(operand).rank() == 0 || !apart()
        })
    }

    fn place(&mut self, node: NodeId, fusion: Fusion) {
        let waiting = self.waiting_for(node);
        if fusion == Fusion::Full {
            for candidate in self.candidates(node) {
                if let Some((rows, accumulates)) = self.rows_in(node, candidate)
                    && (accumulates || self.fits(node, candidate, &rows))
                    && waiting.iter().all(|map| self.lies_along(*map, &rows))
                    && !self.returns(node, candidate)
                    && !self.separates(node, candidate)
                {
                    for map in waiting {
                        self.waiting.remove(&map);
                        self.join(map, candidate, rows.clone(), false);
                    }
                    return self.join(node, candidate, rows, accumulates);
                }
            }
        }
        // Nobody to wait for: they go first, and it joins them if that suits it.
        if !waiting.is_empty() {
            for map in waiting {
                self.waiting.remove(&map);
                self.place(map, fusion);
            }
            return self.place(node, fusion);
        }
        let rows = preferred(self.graph, node, &self.demands, &self.axes);
        let accumulates = !is_rowwise(self.graph, node, &rows);
        // Rows that are summed over are the operands'; others are the node's own.
        let operands = self.graph.operands(node);
        let size = |axis: Axis| {
            let of = |id: &NodeId| self.graph.shape(*id).size(axis);
            let own = of(&node).filter(|_| !accumulates);
            own.or_else(|| operands.iter().find_map(of)).unwrap_or(1)
        };
        let sized = rows.iter().map(|axis| (*axis, size(*axis))).collect();
        self.clusters.push(Cluster { rows: sized, members: Vec::new() });
        self.reads.push(FxHashSet::default());
        self.join(node, self.clusters.len() - 1, rows, accumulates);
    }

    /// Whether a value belongs to a kernel over these rows by its size: a panel of it fits into tile memory, and it is not
    /// made of something larger from elsewhere, with no more than a factor for all of its elements from here. What is
    /// summed an image does not make a picture a feature of the image.
    fn fits(&self, node: NodeId, cluster: usize, rows: &[Axis]) -> bool {
        let shape = self.graph.shape(node);
        let bytes = shape.without(rows).elements() * words(self.graph.ty(node).dtype) * 4 * super::LANES;
        let (mut here, mut elsewhere) = (0, 0);
        for operand in self.graph.operands(node) {
            let base = path(self.graph, operand).base;
            let largest = if self.of.get(&base) == Some(&cluster) { &mut here } else { &mut elsewhere };
            *largest = self.graph.shape(base).elements().max(*largest);
        }
        let is_factor = here * 16 <= shape.elements() && elsewhere * 4 >= shape.elements();
        bytes <= self.tile_bytes && !is_factor
    }

    /// The clusters of the operands, that of the largest operand first.
    fn candidates(&self, node: NodeId) -> Vec<usize> {
        let mut operands: Vec<_> = self.graph.operands(node);
        operands.sort_by_key(|id| std::cmp::Reverse(self.graph.shape(*id).elements()));
        let mut clusters = Vec::new();
        for operand in operands {
            if let Some(cluster) = self.of.get(&path(self.graph, operand).base)
                && !clusters.contains(cluster)
            {
                clusters.push(*cluster);
            }
        }
        clusters
    }

    /// The names under which `node` would know the rows of `cluster`, and whether it combines them;
    /// nothing when the rows do not suit it.
    fn rows_in(&self, node: NodeId, cluster: usize) -> Option<(Vec<Axis>, bool)> {
        let graph = self.graph;
        let mut names: Option<Vec<Axis>> = None;
        for operand in graph.operands(node) {
            let path = path(graph, operand);
            if self.of.get(&path.base) != Some(&cluster) {
                continue;
            }
            if self.accumulating.contains(&path.base) {
                return None;
            }
            let rows = rows_through(graph, &path, &self.rows_at[&path.base])?;
            if !rows.iter().all(|row| graph.shape(operand).contains(*row)) || names.as_ref().is_some_and(|n| *n != rows)
            {
                return None;
            }
            names = Some(rows);
        }
        let rows = names?;
        // What is gathered is looked up across rows, and an axis of the same name may have another size.
        let gathered = matches!(graph.op(node), Op::Gather { axis }
            if rows.contains(axis) && self.of.get(&path(graph, graph.operands(node)[0]).base) == Some(&cluster));
        let resized = rows
            .iter()
            .zip(&self.clusters[cluster].rows)
            .any(|(row, (_, size))| graph.shape(node).size(*row).is_some_and(|own| own != *size));
        if gathered || resized {
            return None;
        }
        // What readers agree on is worth a kernel of its own.
        if let Some(wish) = self.demands.rows(node)
            && wish != rows
            && is_rowwise(graph, node, wish)
            && wish.len() > rows.len()
        {
            return None;
        }
        let suits = match graph.op(node) {
            Op::Contract { .. } => match contraction(graph, node, &self.axes) {
                Contraction::Rows { x, rows: own } => {
                    return leading(graph, node, x, &own, &rows).is_some().then_some((rows, false));
                }
                Contraction::Accumulate { rows: own } => {
                    return (own == rows && self.other_operand_is_elsewhere_or_rowwise(node, &rows))
                        .then_some((rows, true));
                }
                Contraction::General => is_rowwise(graph, node, &rows),
            },
            Op::Reduce { axes, .. } => {
                let sizes = self.clusters[cluster].rows.iter().map(|(_, size)| *size);
                let sized: Vec<(Axis, usize)> = rows.iter().copied().zip(sizes).collect();
                if sums_rows(graph, node, axes, &sized) {
                    return Some((rows, true));
                }
                is_rowwise(graph, node, &rows)
            }
            _ if scatter_accumulates(graph, node, &rows) => return Some((rows, true)),
            _ => is_rowwise(graph, node, &rows),
        };
        suits.then_some((rows, false))
    }

    /// Both operands of a sum over rows have the rows.
    fn other_operand_is_elsewhere_or_rowwise(&self, node: NodeId, rows: &[Axis]) -> bool {
        self.graph.operands(node).iter().all(|id| rows.iter().all(|row| self.graph.shape(*id).contains(*row)))
    }

    /// Whether an operand from another cluster depends on `cluster`, so that a value would leave it
    /// and come back.
    fn returns(&self, node: NodeId, cluster: usize) -> bool {
        self.operand_clusters(node).into_iter().any(|other| other != cluster && self.depends(other, cluster))
    }

    /// Whether `cluster` would come to wait for another one, over other rows, that a value of `cluster` is still waiting
    /// for: somebody needs that value together with what the other one computes, and could then not join it.
    fn separates(&self, node: NodeId, cluster: usize) -> bool {
        let rows = &self.clusters[cluster].rows;
        let others: Vec<usize> = self
            .operand_clusters(node)
            .into_iter()
            .filter(|other| self.clusters[*other].rows != *rows && !self.depends(cluster, *other))
            .collect();
        let waits_for = |reader: NodeId| {
            let reads = |other: &usize| self.clusters[*other].members.iter().any(|m| self.ancestry.has(reader, *m));
            !self.of.contains_key(&reader)
                && reader != node
                && !self.ancestry.has(reader, node)
                && others.iter().any(reads)
        };
        !others.is_empty()
            && self.clusters[cluster].members.iter().any(|value| self.readers(*value).into_iter().any(waits_for))
    }

    /// The computed nodes that read a value, through views too.
    fn readers(&self, value: NodeId) -> Vec<NodeId> {
        let through = |user: NodeId| match is_computed(self.graph, user) {
            true => vec![user],
            false => self.readers(user),
        };
        self.graph.users(value).into_iter().flat_map(through).collect()
    }

    /// The clusters that a node waits for.
    fn operand_clusters(&self, node: NodeId) -> Vec<usize> {
        let bases = self.graph.operands(node).into_iter().map(|operand| path(self.graph, operand).base);
        let after = self.after.get(&node).into_iter().flatten().copied();
        bases.chain(after).filter_map(|base| self.of.get(&base).copied()).collect()
    }

    fn depends(&self, from: usize, on: usize) -> bool {
        let mut stack = vec![from];
        let mut seen = FxHashSet::default();
        while let Some(cluster) = stack.pop() {
            if cluster == on {
                return true;
            }
            if seen.insert(cluster) {
                stack.extend(&self.reads[cluster]);
            }
        }
        false
    }

    fn join(&mut self, node: NodeId, cluster: usize, rows: Vec<Axis>, accumulates: bool) {
        for other in self.operand_clusters(node) {
            if other != cluster {
                self.reads[cluster].insert(other);
            }
        }
        self.clusters[cluster].members.push(node);
        self.of.insert(node, cluster);
        self.rows_at.insert(node, rows);
        if accumulates {
            self.accumulating.insert(node);
        }
    }

    /// Puts kernels over the same rows together where one reads the other, or both read the same
    /// value, and no third kernel has to run in between. Those that have most in common come first: a union
    /// can stand in the way of another one.
    fn merge(&mut self) {
        loop {
            let mut now: Vec<usize> = (0..self.clusters.len()).collect();
            let mut changed = false;
            for (first, second) in self.neighbours() {
                let (first, second) = (now[first].min(now[second]), now[first].max(now[second]));
                if first != second && self.mergeable(first, second) {
                    self.unite(first, second);
                    now.iter_mut().filter(|cluster| **cluster == second).for_each(|cluster| *cluster = first);
                    changed = true;
                }
            }
            if !changed {
                return;
            }
        }
    }

    /// Kernels that read one another or the same computed values, by the number of elements of those.
    fn neighbours(&self) -> Vec<(usize, usize)> {
        // Who touches each value that more than one kernel touches: its own kernel and those that read it.
        let mut touched: FxHashMap<NodeId, Vec<usize>> = FxHashMap::default();
        for (cluster, entry) in self.clusters.iter().enumerate() {
            for member in &entry.members {
                for operand in self.graph.operands(*member) {
                    let base = path(self.graph, operand).base;
                    if let Some(own) = self.of.get(&base).filter(|own| **own != cluster) {
                        let by = touched.entry(base).or_insert_with(|| vec![*own]);
                        if !by.contains(&cluster) {
                            by.push(cluster);
                        }
                    }
                }
            }
        }
        let mut common: FxHashMap<(usize, usize), usize> = FxHashMap::default();
        for (value, by) in touched {
            let elements = self.graph.shape(value).elements();
            for (at, first) in by.iter().enumerate() {
                for second in &by[at + 1..] {
                    *common.entry((*first.min(second), *first.max(second))).or_default() += elements;
                }
            }
        }
        let mut pairs: Vec<((usize, usize), usize)> = common.into_iter().collect();
        pairs.sort_unstable_by_key(|(pair, elements)| (std::cmp::Reverse(*elements), *pair));
        pairs.into_iter().map(|(pair, _)| pair).collect()
    }

    fn mergeable(&self, first: usize, second: usize) -> bool {
        let (a, b) = (&self.clusters[first], &self.clusters[second]);
        if a.rows != b.rows || a.rows.is_empty() || a.members.is_empty() || b.members.is_empty() {
            return false;
        }
        let direct = [(first, second), (second, first)];
        let reads = direct.iter().any(|(reader, read)| self.reads[*reader].contains(read));
        if !(reads || self.share_a_value(first, second)) {
            return false;
        }
        direct.into_iter().all(|(reader, read)| {
            let around = self.reads[reader].iter().any(|other| *other != read && self.depends(*other, read));
            !around && self.reads_in_step(reader, read)
        })
    }

    /// Whether every value that `reader` takes from `read` is there, row by row, when it is needed.
    fn reads_in_step(&self, reader: usize, read: usize) -> bool {
        self.clusters[reader].members.iter().all(|member| {
            self.graph.operands(*member).into_iter().enumerate().all(|(position, operand)| {
                let path = path(self.graph, operand);
                if self.of.get(&path.base) != Some(&read) {
                    return true;
                }
                let weights = matches!(
                    contraction(self.graph, *member, &self.axes),
                    Contraction::Rows { x, .. } if x != position && matches!(self.graph.op(*member), Op::Contract { .. })
                );
                let rows = rows_through(self.graph, &path, &self.rows_at[&path.base]);
                let gathered = matches!(self.graph.op(*member), Op::Gather { .. }) && position == 0;
                !weights
                    && !gathered
                    && !self.accumulating.contains(&path.base)
                    && rows.as_deref() == Some(&self.rows_at[member][..])
            })
        })
    }

    /// Whether both read one value that is as long as their rows.
    fn share_a_value(&self, first: usize, second: usize) -> bool {
        let rows: usize = self.clusters[first].rows.iter().map(|(_, size)| size).product();
        let values = |cluster: usize| -> FxHashSet<NodeId> {
            let members = self.clusters[cluster].members.iter();
            let operands = members.flat_map(|member| self.graph.operands(*member));
            let bases = operands.map(|operand| path(self.graph, operand).base);
            bases.filter(|base| self.of.get(base).is_some_and(|of| *of != cluster)).collect()
        };
        let shared = values(first);
        values(second).iter().any(|value| shared.contains(value) && self.graph.shape(*value).elements() >= rows)
    }

    fn unite(&mut self, first: usize, second: usize) {
        let members = std::mem::take(&mut self.clusters[second].members);
        for member in &members {
            self.of.insert(*member, first);
        }
        self.clusters[first].members.extend(members);
        let reads = std::mem::take(&mut self.reads[second]);
        self.reads[first].extend(reads);
        for reads in &mut self.reads {
            if reads.remove(&second) {
                reads.insert(first);
            }
        }
        self.reads[first].remove(&first);
    }

    /// Has clusters that replace a stored value run after all that read the old one and do not need the new one. Gives the
    /// nodes for which all do.
    fn come_last(&mut self, replaced: &FxHashMap<NodeId, NodeId>) -> FxHashSet<NodeId> {
        let graph = self.graph;
        let mut readers: FxHashMap<NodeId, FxHashSet<usize>> = FxHashMap::default();
        for (cluster, entry) in self.clusters.iter().enumerate() {
            for operand in entry.members.iter().flat_map(|member| graph.operands(*member)) {
                let base = path(graph, operand).base;
                if matches!(graph.op(base), Op::Parameter(_)) {
                    readers.entry(base).or_default().insert(cluster);
                }
            }
        }
        let mut last = FxHashSet::default();
        let mut ordered: Vec<_> =
            replaced.iter().filter_map(|(new, old)| Some((*new, *old, *self.of.get(new)?))).collect();
        ordered.sort_unstable();
        for (new, old, own) in ordered {
            let before: Vec<usize> = readers.get(&old).into_iter().flatten().copied().filter(|by| *by != own).collect();
            if before.iter().all(|reader| !self.depends(*reader, own)) {
                self.reads[own].extend(before);
                last.insert(new);
            }
        }
        last
    }

    /// An order of the clusters in which stored values live shortly: at each point the cluster that
    /// frees most, compared with what it stores. What is `replaced` takes no memory.
    fn finish(self, replaced: &FxHashSet<NodeId>) -> Clusters {
        let graph = self.graph;
        let bytes = |node: &NodeId| (graph.shape(*node).elements() * words(graph.ty(*node).dtype) * 4) as i64;
        let mut readers: FxHashMap<NodeId, FxHashSet<usize>> = FxHashMap::default();
        for (cluster, entry) in self.clusters.iter().enumerate() {
            for member in &entry.members {
                for operand in graph.operands(*member) {
                    let base = path(graph, operand).base;
                    if self.of.get(&base).is_some_and(|of| *of != cluster) {
                        readers.entry(base).or_default().insert(cluster);
                    }
                }
            }
        }
        let outputs: FxHashSet<NodeId> = graph.outputs().map(|(_, node)| path(graph, node).base).collect();
        let mut order = Vec::new();
        let mut waiting: Vec<usize> =
            (0..self.clusters.len()).filter(|c| !self.clusters[*c].members.is_empty()).collect();
        let mut done: FxHashSet<usize> = FxHashSet::default();
        while !waiting.is_empty() {
            let gain = |cluster: usize| -> i64 {
                let stored: i64 = self.clusters[cluster]
                    .members
                    .iter()
                    .filter(|node| readers.contains_key(node) || outputs.contains(node) && !replaced.contains(node))
                    .map(bytes)
                    .sum();
                let freed: i64 = readers
                    .iter()
                    .filter(|(node, by)| {
                        by.contains(&cluster)
                            && !outputs.contains(node)
                            && by.iter().all(|other| *other == cluster || done.contains(other))
                    })
                    .map(|(node, _)| bytes(node))
                    .sum();
                freed - stored
            };
            let ready =
                waiting.iter().enumerate().filter(|(_, c)| self.reads[**c].iter().all(|read| done.contains(read)));
            let best = ready.max_by_key(|(at, cluster)| (gain(**cluster), std::cmp::Reverse(*at))).map(|(at, _)| at);
            let at = best.unwrap_or_else(|| unreachable!("the clusters read one another in a circle"));
            let cluster = waiting.remove(at);
            done.insert(cluster);
            order.push(cluster);
        }
        Clusters { clusters: self.clusters, of: self.of, rows_at: self.rows_at, accumulating: self.accumulating, order }
    }
}
