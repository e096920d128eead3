//! Activations that are computed again.
//!
//! A backward pass reads what the forward pass has computed. Where it cannot begin before the forward pass has gone through
//! all rows, since something else must see all of these first (a discriminator the whole picture), every activation of every
//! row would be in memory at once. They are computed again instead, for the rows at hand: the graph gets a second copy of
//! the nodes that compute them, which the backward pass reads and which runs after whatever the backward pass waits for, so
//! that both are a stretch that runs part by part (see `segment`).
//!
//! That is Griewank's and Chen's recomputation (arXiv:1604.06174) with the input of a chain as its only checkpoint.

use super::{
    PlanOptions,
    cluster::Clusters,
    rows::{Path, path, rows_through},
    words,
};
use crate::graph::{Graph, NodeId};
use rustc_hash::{FxHashMap, FxHashSet};

/// A graph in which values are computed again.
pub(super) struct Again {
    pub graph: Graph,
    /// What must have run before the copies.
    pub after: FxHashMap<NodeId, Vec<NodeId>>,
}

/// The graph with copies of what its kernels would keep for a reader that waits for more than the value itself. None where
/// they would not keep much.
pub(super) fn rematerialised(graph: &Graph, clusters: &Clusters, options: &PlanOptions) -> Option<Again> {
    let mut kept = Kept::of(graph, clusters, options.segment_bytes / 64);
    kept.drop_dear(graph, clusters);
    let bytes: usize = kept.values.iter().map(|node| bytes(graph, *node)).sum();
    if bytes < threshold(options) {
        return None;
    }
    let makers = kept.values.iter().map(|node| clusters.of[node]).collect();
    let mut copies = Copies {
        graph,
        clusters,
        makers,
        kept: &kept.values,
        shared: clusters
            .order
            .iter()
            .flat_map(|own| from_elsewhere(graph, clusters, *own))
            .map(|read| read.path.base)
            .collect(),
        copies: FxHashMap::default(),
        again: Again { graph: graph.clone(), after: FxHashMap::default() },
    };
    for Reader { node, position, after, .. } in kept.readers {
        let operand = copies.copy(graph.operands(node)[position], &after);
        copies.again.graph.set_operand(node, position, operand);
    }
    Some(copies.again)
}

/// How many times what a kernel reads it has to keep for that to be worth computing again.
const LEAST_GAIN: usize = 8;

/// Bytes of an arena beyond which values are computed again.
pub(super) fn threshold(options: &PlanOptions) -> usize {
    options.segment_bytes.saturating_mul(4)
}

fn bytes(graph: &Graph, node: NodeId) -> usize {
    graph.shape(node).elements() * words(graph.ty(node).dtype) * 4
}

/// An operand that another kernel computes.
struct Read {
    reader: NodeId,
    position: usize,
    path: Path,
}

/// What a cluster reads of others.
fn from_elsewhere(graph: &Graph, clusters: &Clusters, own: usize) -> Vec<Read> {
    let mut reads = Vec::new();
    for reader in &clusters.clusters[own].members {
        for (position, operand) in graph.operands(*reader).into_iter().enumerate() {
            let path = path(graph, operand);
            if clusters.of.get(&path.base).is_some_and(|of| *of != own) {
                reads.push(Read { reader: *reader, position, path });
            }
        }
    }
    reads
}

/// A use of a kept value.
struct Reader {
    node: NodeId,
    position: usize,
    value: NodeId,
    /// What its kernel waits for besides.
    after: Vec<NodeId>,
}

/// Large values that a kernel stores for one that cannot run as soon as they are there.
struct Kept {
    values: FxHashSet<NodeId>,
    /// Who reads them, in the order in which the kernels run.
    readers: Vec<Reader>,
}

impl Kept {
    fn of(graph: &Graph, clusters: &Clusters, least: usize) -> Kept {
        let outputs: FxHashSet<NodeId> = graph.outputs().map(|(_, node)| path(graph, node).base).collect();
        let mut kept = Kept { values: FxHashSet::default(), readers: Vec::new() };
        // The clusters that each cluster needs, directly or not.
        let mut needs: FxHashMap<usize, FxHashSet<usize>> = FxHashMap::default();
        for own in &clusters.order {
            let read = from_elsewhere(graph, clusters, *own);
            // What would be there later than a value of the cluster `maker`.
            let later = |maker: usize| -> Vec<NodeId> {
                let waits = |value: &NodeId| needs[&clusters.of[value]].contains(&maker);
                let mut later: Vec<NodeId> = read.iter().map(|read| read.path.base).filter(waits).collect();
                later.sort_unstable();
                later.dedup();
                later
            };
            let large = |value: NodeId| {
                !clusters.accumulating.contains(&value) && !outputs.contains(&value) && bytes(graph, value) >= least
            };
            for Read { reader, position, path } in &read {
                let after = if large(path.base) { later(clusters.of[&path.base]) } else { Vec::new() };
                if !after.is_empty() {
                    kept.values.insert(path.base);
                    kept.readers.push(Reader { node: *reader, position: *position, value: path.base, after });
                }
            }
            let mut all: FxHashSet<usize> = read.iter().map(|read| clusters.of[&read.path.base]).collect();
            for direct in all.clone() {
                all.extend(&needs[&direct]);
            }
            needs.insert(*own, all);
        }
        kept
    }

    /// Leaves out what kernels keep that read almost as much: to have that there again, one would have to keep it, or to
    /// compute it again, too, and so on, as in a network of convolutions.
    fn drop_dear(&mut self, graph: &Graph, clusters: &Clusters) {
        let mut makers: FxHashSet<usize> = FxHashSet::default();
        for own in &clusters.order {
            let members = &clusters.clusters[*own].members;
            let makes: usize =
                members.iter().filter(|node| self.values.contains(node)).map(|node| bytes(graph, *node)).sum();
            // Row by row with what is computed again, a value takes no memory of its own.
            let along = |read: &Read| {
                let base = read.path.base;
                let rows = rows_through(graph, &read.path, &clusters.rows_at[&base]);
                makers.contains(&clusters.of[&base]) && rows.as_ref() == Some(&clusters.rows_at[&read.reader])
            };
            let read = from_elsewhere(graph, clusters, *own).into_iter().filter(|read| !along(read));
            let read: FxHashSet<NodeId> = read.map(|read| read.path.base).collect();
            let reads: usize = read.iter().map(|node| bytes(graph, *node)).sum();
            if reads * LEAST_GAIN <= makes {
                makers.insert(*own);
            }
        }
        self.values.retain(|value| makers.contains(&clusters.of[value]));
        self.readers.retain(|reader| self.values.contains(&reader.value));
    }
}

struct Copies<'a> {
    graph: &'a Graph,
    clusters: &'a Clusters,
    /// The clusters that compute what is kept.
    makers: FxHashSet<usize>,
    kept: &'a FxHashSet<NodeId>,
    /// What is stored in any case, if it is not computed again.
    shared: FxHashSet<NodeId>,
    copies: FxHashMap<NodeId, NodeId>,
    again: Again,
}

impl Copies<'_> {
    /// The copy of a node that is computed again, or that shows one that is; else the node itself.
    fn copy(&mut self, node: NodeId, after: &[NodeId]) -> NodeId {
        if let Some(copy) = self.copies.get(&node) {
            return *copy;
        }
        let computed = self.clusters.of.contains_key(&node);
        if computed && !self.computes_again(node) {
            return node;
        }
        let operands = self.graph.operands(node);
        let copied: Vec<NodeId> = operands.iter().map(|operand| self.copy(*operand, after)).collect();
        let copy = match computed || copied != operands {
            true => self.again.graph.add_like(node, &copied),
            false => node,
        };
        if computed {
            self.again.after.insert(copy, after.to_vec());
        }
        self.copies.insert(node, copy);
        copy
    }

    /// Whether a value is computed again where what is kept is made of it: not a sum over rows, and nothing small that
    /// is stored in any case.
    fn computes_again(&self, node: NodeId) -> bool {
        self.makers.contains(&self.clusters.of[&node])
            && !self.clusters.accumulating.contains(&node)
            && (self.kept.contains(&node) || !self.shared.contains(&node))
    }
}
