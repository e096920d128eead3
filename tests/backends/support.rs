//! Graphs with their values, and what it means that a backend computes them.

use crate::interpreter;
use indexmap::IndexMap;
use visage_compiler::{
    autodiff::gradients,
    axis::{Axis, Shape},
    cpu::Reuse,
    generate::Dice,
    graph::{Combine, DType, Graph, NodeId, Op, ScalarOp, Type},
    plan::Decision,
    ptx::Family,
    random::RandomKey,
    reference::{Feeds, Rounding, evaluate, evaluate_rounded},
    simplify::simplify,
    system::{Input, Program},
    tensor::Tensor,
};
use visage_runtime::{
    buffer::{Buffer, State},
    executor::{Contraction, Device, Executable, ExecuteOptions, Maps, Precision},
};

/// A shape from names and sizes.
pub fn shape(axes: &[(&str, usize)]) -> Shape {
    axes.iter().map(|(name, size)| (Axis::new(name), *size)).collect()
}

/// Axes from their names.
pub fn axes(names: &[&str]) -> Vec<Axis> {
    names.iter().map(|name| Axis::new(name)).collect()
}

/// A graph that is written by hand, with values for its leaves.
pub struct Sketch {
    pub graph: Graph,
    pub feeds: Feeds,
    dice: Dice,
    floats: Vec<NodeId>,
}

impl Sketch {
    pub fn new() -> Sketch {
        Sketch { graph: Graph::new(), feeds: Feeds::default(), dice: Dice::new(7), floats: Vec::new() }
    }

    /// Two layers over rows, seven features to five through `hidden` rectifiers, and the mean of what they give.
    pub fn perceptron(rows: &[(&str, usize)], hidden: usize) -> Sketch {
        let mut sketch = Sketch::new();
        let names: Vec<&str> = rows.iter().map(|(name, _)| *name).collect();
        let x = sketch.float("x", &[rows, &[("in", 7)]].concat());
        let first = sketch.weight("first", &[("hidden", hidden), ("in", 7)]);
        let bias = sketch.weight("bias", &[("hidden", hidden)]);
        let second = sketch.weight("second", &[("hidden", hidden), ("out", 5)]);
        let zero = sketch.graph.constant(0.0, DType::F32);
        let inner = sketch.add(Op::Contract { over: axes(&["in"]) }, &[x, first]);
        let inner = sketch.map(ScalarOp::Add, &[inner, bias]);
        let inner = sketch.map(ScalarOp::Max, &[inner, zero]);
        let out = sketch.add(Op::Contract { over: axes(&["hidden"]) }, &[inner, second]);
        let out = sketch.map(ScalarOp::Sigmoid, &[out]);
        let sum = sketch.add(Op::Reduce { combine: Combine::Sum, axes: axes(&names) }, &[out]);
        let scale = sketch.graph.constant(1.0 / shape(rows).elements() as f64, DType::F32);
        let mean = sketch.map(ScalarOp::Mul, &[sum, scale]);
        sketch.graph.set_output("out", out);
        sketch.graph.set_output("mean", mean);
        sketch
    }

    /// An input with these elements.
    pub fn given(&mut self, name: &str, dtype: DType, shape: Shape, data: Vec<f64>) -> NodeId {
        let data = data.into_iter().map(|x| dtype.round(x)).collect();
        self.feeds.inputs.insert(name.to_owned(), Tensor::new(dtype, shape.clone(), data));
        self.graph.input(name, Type::new(dtype, shape))
    }

    fn drawn(&mut self, shape: &Shape, low: f64, high: f64) -> Vec<f64> {
        (0..shape.elements()).map(|_| self.dice.between(low, high)).collect()
    }

    /// An input of numbers in [−1, 1).
    pub fn float(&mut self, name: &str, sizes: &[(&str, usize)]) -> NodeId {
        let shape = shape(sizes);
        let data = self.drawn(&shape, -1.0, 1.0);
        let node = self.given(name, DType::F32, shape, data);
        self.floats.push(node);
        node
    }

    /// A parameter of numbers in [−1, 1).
    pub fn weight(&mut self, name: &str, sizes: &[(&str, usize)]) -> NodeId {
        let shape = shape(sizes);
        let data = self.drawn(&shape, -1.0, 1.0).into_iter().map(|x| DType::F32.round(x)).collect();
        self.feeds.parameters.insert(name.to_owned(), Tensor::new(DType::F32, shape.clone(), data));
        let node = self.graph.parameter(name, Type::new(DType::F32, shape));
        self.floats.push(node);
        node
    }

    /// An input of whole numbers in [low, high).
    pub fn integer(&mut self, name: &str, sizes: &[(&str, usize)], low: i32, high: i32) -> NodeId {
        let shape = shape(sizes);
        let data = self.drawn(&shape, f64::from(low), f64::from(high)).into_iter().map(f64::floor).collect();
        self.given(name, DType::I32, shape, data)
    }

    /// An input of truth values.
    pub fn truth(&mut self, name: &str, sizes: &[(&str, usize)]) -> NodeId {
        let shape = shape(sizes);
        let data = self.drawn(&shape, 0.0, 2.0).into_iter().map(f64::floor).collect();
        self.given(name, DType::Bool, shape, data)
    }

    pub fn add(&mut self, op: Op, operands: &[NodeId]) -> NodeId {
        self.graph.add(op, operands)
    }

    pub fn map(&mut self, op: ScalarOp, operands: &[NodeId]) -> NodeId {
        self.graph.map(op, operands)
    }

    /// An operation that is an output under its own listing.
    pub fn show(&mut self, op: Op, operands: &[NodeId]) -> NodeId {
        let count = self.graph.outputs().count();
        let name = format!("{count}: {op}");
        let node = self.graph.add(op, operands);
        self.graph.set_output(&name, node);
        node
    }

    /// Adds the gradients of a smooth function of all outputs with respect to all floating-point leaves.
    pub fn differentiate(&mut self) {
        let outputs: Vec<NodeId> = self.graph.outputs().map(|(_, node)| node).collect();
        let mut loss = self.graph.constant(0.0, DType::F32);
        for output in outputs.into_iter().filter(|node| self.graph.ty(*node).dtype == DType::F32).collect::<Vec<_>>() {
            let bent = self.graph.map(ScalarOp::Sin, &[output]);
            let all = self.graph.shape(output).axes().collect();
            let term = self.graph.add(Op::Reduce { combine: Combine::Sum, axes: all }, &[bent]);
            loss = self.graph.map(ScalarOp::Add, &[loss, term]);
        }
        for (k, gradient) in gradients(&mut self.graph, loss, &self.floats).unwrap().into_iter().enumerate() {
            self.graph.set_output(&format!("gradient {k}"), gradient);
        }
    }

    /// Checks every way to compute a result and its gradients.
    pub fn conclude(mut self, result: NodeId) {
        self.graph.set_output("result", result);
        self.differentiate();
        self.check();
    }

    /// [`conclude`](Self::conclude) with a result made so much smaller that its gradients' sines stay smooth.
    pub fn conclude_scaled(mut self, result: NodeId, scale: f64) {
        let scale = self.graph.constant(scale, DType::F32);
        let result = self.map(ScalarOp::Mul, &[result, scale]);
        self.conclude(result);
    }

    /// Checks every way to run the graph.
    pub fn check(&self) {
        check(&self.graph, &self.feeds, &[ways(), ways_as_ptx()].concat());
    }

    /// See [`check_widths`].
    pub fn check_widths(&self) {
        check_widths(&self.graph, &self.feeds);
    }

    /// The outputs as the evaluator has them, and as the processor does, fused.
    pub fn run(&self) -> Vec<(String, Tensor, Tensor)> {
        self.run_as(&ExecuteOptions { threads: Some(1), ..ExecuteOptions::default() })
    }

    /// The outputs as the evaluator has them, and as one way to run the graph does.
    pub fn run_as(&self, way: &ExecuteOptions) -> Vec<(String, Tensor, Tensor)> {
        let expected = evaluate_rounded(&self.graph, &self.feeds, key(), Rounding::AsTyped).unwrap();
        let found = run(&self.graph, &self.feeds, way);
        let pair = |(name, expected): (String, Tensor)| {
            let found = found[&name].to_tensor().reordered(expected.shape());
            (name, expected, found)
        };
        expected.into_iter().map(pair).collect()
    }
}

fn key() -> RandomKey {
    RandomKey::default()
}

/// Every way to run a program, on one thread.
pub fn ways() -> Vec<ExecuteOptions> {
    let way = |fuse, contraction| ExecuteOptions {
        device: Device::Cpu,
        threads: Some(1),
        fuse,
        contraction,
        ..ExecuteOptions::default()
    };
    vec![
        ExecuteOptions { maps: Maps::Cranelift, ..way(true, Contraction::MicroKernel) },
        way(true, Contraction::MicroKernel),
        way(false, Contraction::MicroKernel),
        way(true, Contraction::Cranelift),
        way(false, Contraction::Cranelift),
        // In parts wherever that is possible.
        ExecuteOptions { segment_bytes: 0, segment_tiles: 1, ..way(true, Contraction::MicroKernel) },
        ExecuteOptions { without: Decision::ALL.into_iter().collect(), ..way(true, Contraction::MicroKernel) },
    ]
}

/// Ways to run a program as PTX.
pub fn ways_as_ptx() -> Vec<ExecuteOptions> {
    let way = |fuse| ExecuteOptions { device: Device::Cuda, fuse, deterministic: true, ..ExecuteOptions::default() };
    vec![way(true), way(false)]
}

/// Ways to run a program in bf16.
pub fn ways_in_bf16() -> Vec<ExecuteOptions> {
    let all = [ways(), ways_as_ptx()].concat();
    all.into_iter().map(|way| ExecuteOptions { precision: Precision::Bf16, ..way }).collect()
}

/// A graph as a program, with its state and inputs.
pub fn program(graph: &Graph, feeds: &Feeds) -> (Program, State, IndexMap<String, Buffer>) {
    let mut inputs = IndexMap::new();
    let mut parameters = IndexMap::new();
    let mut values = IndexMap::new();
    let mut state = State::new();
    for id in graph.ids() {
        let ty = graph.ty(id);
        match graph.op(id) {
            Op::Input(name) => {
                let given = Input {
                    ty: ty.clone(),
                    size_names: ty.shape.axes().map(|axis| axis.to_string()).collect(),
                    about: String::new(),
                    optional: false,
                    schedule: false,
                };
                inputs.insert(name.clone(), given);
                values.insert(name.clone(), Buffer::from_tensor(&feeds.inputs[name], &ty.shape));
            }
            Op::Parameter(name) => {
                parameters.insert(name.clone(), id);
                state.insert(name.clone(), Buffer::from_tensor(&feeds.parameters[name], &ty.shape));
            }
            _ => {}
        }
    }
    let outputs = graph.outputs().map(|(name, id)| (name.to_owned(), graph.shape(id).clone())).collect();
    (Program { graph: graph.clone(), inputs, parameters, outputs }, state, values)
}

/// The outputs of a graph on a device.
pub fn run(graph: &Graph, feeds: &Feeds, options: &ExecuteOptions) -> IndexMap<String, Buffer> {
    run_reusing(graph, feeds, options).0
}

/// The outputs of a graph, and what of its code was in the code cache.
pub fn run_reusing(graph: &Graph, feeds: &Feeds, options: &ExecuteOptions) -> (IndexMap<String, Buffer>, Reuse) {
    let (program, mut state, values) = program(graph, feeds);
    let executable = match options.device {
        // Wherever there is no such device, and there too: on the interpreter, which forgives nothing.
        Device::Cuda => Executable::on(&interpreter::device(Family::Sm80), &program, &IndexMap::new(), options),
        _ => Executable::new(&program, &IndexMap::new(), options),
    };
    let mut executable = executable.unwrap_or_else(|error| panic!("{error}\n{graph}"));
    let found = executable.run(&mut state, &values, key()).unwrap_or_else(|error| panic!("{error}\n{graph}"));
    (found, executable.reuse())
}

/// Checks that two results have the same bits; one NaN is like another.
#[track_caller]
pub fn check_bits(first: (&str, &IndexMap<String, Buffer>), second: (&str, &IndexMap<String, Buffer>)) {
    let mut wrong = Vec::new();
    for (name, x) in first.1 {
        let (x, y) = (x.to_tensor(), second.1[name].to_tensor());
        for (k, (x, y)) in x.data.iter().zip(&y.data).enumerate() {
            if x.to_bits() != y.to_bits() && !(x.is_nan() && y.is_nan()) {
                wrong.push(format!("{name}, element {k}: {x} {}, {y} {}", first.0, second.0));
            }
        }
    }
    assert!(wrong.is_empty(), "{} elements:\n{}", wrong.len(), wrong[..wrong.len().min(20)].join("\n"));
}

/// Checks that every element has the same bits at 512 as at 128 bits, fused and not.
pub fn check_widths(graph: &Graph, feeds: &Feeds) {
    for fuse in [true, false] {
        let [wide, narrow] = [Maps::Wide, Maps::Cranelift].map(|maps| {
            let options = ExecuteOptions { threads: Some(1), fuse, maps, ..ExecuteOptions::default() };
            run(graph, feeds, &options)
        });
        check_bits(("at 512 bits", &wide), ("at 128", &narrow));
    }
}

/// The simplified graph with the operands of every contraction of `f32` rounded to bf16: what a program in bf16 means.
pub fn rounded_operands(graph: &Graph) -> Graph {
    let graph = simplify(graph);
    let mut rounded = Graph::new();
    let mut nodes = IndexMap::new();
    for id in graph.topological() {
        let node = graph.node(id);
        let mut operands: Vec<NodeId> = graph.operands(id).iter().map(|operand| nodes[operand]).collect();
        if matches!(node.op, Op::Contract { .. }) && node.ty.dtype == DType::F32 {
            for operand in &mut operands {
                let narrow = rounded.map(ScalarOp::Cast(DType::BF16), &[*operand]);
                *operand = rounded.map(ScalarOp::Cast(DType::F32), &[narrow]);
            }
        }
        let new = match operands[..] {
            [] => rounded.leaf(node.op.clone(), node.ty.clone()),
            _ => rounded.add(node.op.clone(), &operands),
        };
        nodes.insert(id, new);
    }
    for (name, id) in graph.outputs() {
        rounded.set_output(name, nodes[&id]);
    }
    rounded
}

/// Whether an output depends on a contraction.
fn depends_on_products(graph: &Graph, name: &str) -> bool {
    let output = graph.output(name).into_iter().collect::<Vec<_>>();
    graph.reachable(&output).into_iter().any(|id| matches!(graph.op(id), Op::Contract { .. }))
}

fn norm(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// Checks that a graph gives the values of the reference evaluator each way, and to the bit the same with
/// two threads as with one.
///
/// What a backend may be off by is a multiple of what rounding each operation perfectly costs; in a graph of `f64`
/// alone, a few units of its last places. In bf16 the operands of contractions are rounded, too; what is then a whole number
/// or a truth value may be another one.
pub fn check(graph: &Graph, feeds: &Feeds, ways: &[ExecuteOptions]) {
    let single = graph.ids().any(|id| graph.ty(id).dtype == DType::F32);
    let unit = if single { 1e-5 } else { 1e-12 };
    let exact = evaluate(graph, feeds, key()).unwrap();
    let typed = evaluate_rounded(graph, feeds, key(), Rounding::AsTyped).unwrap();
    let rounded = ways.iter().any(|way| way.precision == Precision::Bf16).then(|| rounded_operands(graph));
    let of_rounded = rounded.as_ref().map(|graph| evaluate_rounded(graph, feeds, key(), Rounding::AsTyped).unwrap());
    for way in ways {
        let in_bf16 = rounded.as_ref().filter(|_| way.precision == Precision::Bf16);
        let one = run(graph, feeds, way);
        let two = run(graph, feeds, &ExecuteOptions { threads: Some(2), ..way.clone() });
        for (name, typed) in &typed {
            let ty = &typed.ty;
            assert!(one[name] == two[name], "`{name}` depends on the number of threads, {way:?}\n{graph}");
            let found = one[name].to_tensor().reordered(&ty.shape).data;
            let of_rounded = of_rounded.as_ref().filter(|_| in_bf16.is_some());
            let typed = &of_rounded.map_or_else(|| typed.clone(), |values| values[name].reordered(&ty.shape));
            if !ty.dtype.is_float() {
                if in_bf16.is_some_and(|graph| depends_on_products(graph, name)) {
                    continue;
                }
                let differing = found.iter().zip(&typed.data).position(|(found, typed)| found != typed);
                if let Some(k) = differing {
                    panic!("`{name}`, element {k}: {} for {}, {way:?}\n{graph}", found[k], typed.data[k]);
                }
                continue;
            }
            let exact = &exact[name].data;
            let finite = |k: &usize| exact[*k].is_finite() && typed.data[*k].is_finite();
            let all: Vec<usize> = (0..found.len()).filter(finite).collect();
            let error = norm(all.iter().map(|k| found[*k] - exact[*k]));
            let rounding = norm(all.iter().map(|k| typed.data[*k] - exact[*k]));
            let scale = norm(all.iter().map(|k| exact[*k])) + 0.1 * (all.len() as f64).sqrt();
            assert!(
                error <= 20.0 * rounding + unit * scale,
                "`{name}` is off by {error:e} of {scale:e}, where rounding costs {rounding:e}, {way:?}\n{graph}"
            );
            for k in (0..found.len()).filter(|k| !finite(k)) {
                let same = found[k] == typed.data[k] || found[k].is_nan() && typed.data[k].is_nan();
                assert!(same, "`{name}`, element {k}: {} for {}, {way:?}\n{graph}", found[k], typed.data[k]);
            }
        }
    }
}
