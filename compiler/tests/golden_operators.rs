//! Operators as small graphs against stored values and vector–Jacobian products of PyTorch in double precision.
//!
//! The reference data is found through `VISAGE_SHARED`; without it the tests say so and pass.

use indexmap::IndexMap;
use safetensors::SafeTensors;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use visage_compiler::{
    autodiff::gradients,
    axis::{Axis, Shape},
    graph::{Combine, DType, Graph, NodeId, Op, ScalarOp, Type},
    random::RandomKey,
    reference::{Feeds, evaluate},
    simplify::simplify,
    system::{Initialiser, Input, Optimiser, Parameter, Program, Schedule, TrainStep},
    tensor::Tensor,
    training::{scalar_inputs, step_program},
};

/// Tensors by name, with their sizes.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<f64>)>;

/// The reference data; `None`, with a notice, where there is none.
fn golden() -> Option<Tensors> {
    let root = std::env::var_os("VISAGE_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let file = root.join("golden/ops.safetensors");
    let Ok(bytes) = std::fs::read(&file) else {
        eprintln!("skipped: {} is not there", file.display());
        return None;
    };
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let read = |(name, view): (String, safetensors::tensor::TensorView)| {
        let words = view.data().as_chunks::<4>().0.iter();
        let data = match view.dtype() {
            safetensors::Dtype::I32 => words.map(|word| f64::from(i32::from_le_bytes(*word))).collect(),
            _ => words.map(|word| f64::from(f32::from_le_bytes(*word))).collect(),
        };
        (name, (view.shape().to_vec(), data))
    };
    Some(file.tensors().into_iter().map(read).collect())
}

fn axis(name: &str) -> Axis {
    Axis::new(name)
}

fn axes(names: &str) -> Vec<Axis> {
    names.split_whitespace().map(Axis::new).collect()
}

/// An operator under test: a graph whose parameters are the stored inputs.
struct Operator<'t> {
    name: &'static str,
    tensors: &'t Tensors,
    graph: Graph,
    feeds: Feeds,
    inputs: Vec<(&'static str, NodeId)>,
}

impl Operator<'_> {
    /// The stored input, over the named axes.
    fn input(&mut self, suffix: &'static str, names: &str) -> NodeId {
        let (sizes, data) = &self.tensors[&format!("in.{}.{suffix}", self.name)];
        let shape: Shape = axes(names).into_iter().zip(sizes.iter().copied()).collect();
        let integer = matches!(suffix, "i" | "t");
        let dtype = if integer { DType::I32 } else { DType::F64 };
        self.feeds.parameters.insert(suffix.into(), Tensor::new(dtype, shape.clone(), data.clone()));
        let node = self.graph.parameter(suffix, Type::new(dtype, shape));
        if !integer {
            self.inputs.push((suffix, node));
        }
        node
    }

    fn number(&mut self, value: f64) -> NodeId {
        self.graph.constant(value, DType::F64)
    }

    fn map(&mut self, op: ScalarOp, operands: &[NodeId]) -> NodeId {
        self.graph.map(op, operands)
    }

    fn op(&mut self, op: Op, x: NodeId) -> NodeId {
        self.graph.add(op, &[x])
    }

    fn add(&mut self, x: NodeId, y: NodeId) -> NodeId {
        self.map(ScalarOp::Add, &[x, y])
    }

    fn sub(&mut self, x: NodeId, y: NodeId) -> NodeId {
        self.map(ScalarOp::Sub, &[x, y])
    }

    fn mul(&mut self, x: NodeId, y: NodeId) -> NodeId {
        self.map(ScalarOp::Mul, &[x, y])
    }

    fn div(&mut self, x: NodeId, y: NodeId) -> NodeId {
        self.map(ScalarOp::Div, &[x, y])
    }

    fn scaled(&mut self, x: NodeId, factor: f64) -> NodeId {
        let factor = self.number(factor);
        self.mul(x, factor)
    }

    fn reduce(&mut self, combine: Combine, x: NodeId, over: &str) -> NodeId {
        self.op(Op::Reduce { combine, axes: axes(over) }, x)
    }

    fn mean(&mut self, x: NodeId, over: &str) -> NodeId {
        let count: usize = axes(over).into_iter().map(|axis| self.graph.shape(x).size(axis).unwrap()).product();
        let sum = self.reduce(Combine::Sum, x, over);
        self.scaled(sum, 1.0 / count as f64)
    }

    fn contract(&mut self, x: NodeId, y: NodeId, over: &str) -> NodeId {
        self.graph.add(Op::Contract { over: axes(over) }, &[x, y])
    }

    fn slice(&mut self, x: NodeId, along: &str, start: usize, size: usize) -> NodeId {
        self.op(Op::Slice { axis: axis(along), start, size, step: 1 }, x)
    }

    fn window(&mut self, x: NodeId, along: &str, tap: &str, taps: usize, stride: usize) -> NodeId {
        let (axis, tap) = (axis(along), axis(tap));
        self.op(Op::Window { axis, position: axis, tap, taps, stride, dilation: 1 }, x)
    }

    fn pad(&mut self, x: NodeId, along: &str, [before, after]: [usize; 2], value: f64) -> NodeId {
        self.op(Op::Pad { axis: axis(along), before, after, value }, x)
    }

    /// A convolution over the axes `h`, `w` (and `d`) with taps `i`, `j` (and `k`).
    fn convolution(&mut self, weight_axes: &str, over: &str, padding: [usize; 2], stride: usize, bias: bool) -> NodeId {
        let deep = weight_axes.contains('k');
        let mut x = self.input("x", if deep { "b c h w d" } else { "b c h w" });
        let weight = self.input("w", weight_axes);
        for (along, tap) in [("h", "i"), ("w", "j"), ("d", "k")].into_iter().take(if deep { 3 } else { 2 }) {
            let taps = self.graph.shape(weight).size(axis(tap)).unwrap();
            x = self.pad(x, along, padding, 0.0);
            x = self.window(x, along, tap, taps, stride);
        }
        let y = self.contract(x, weight, over);
        if !bias {
            return y;
        }
        let bias = self.input("b", "o");
        self.add(y, bias)
    }

    /// (x − mean) / √(variance + ε) over some axes.
    fn normalised(&mut self, x: NodeId, over: &str, epsilon: f64) -> NodeId {
        let mean = self.mean(x, over);
        let centred = self.sub(x, mean);
        let square = self.mul(centred, centred);
        let variance = self.mean(square, over);
        let epsilon = self.number(epsilon);
        let variance = self.add(variance, epsilon);
        let scale = self.map(ScalarOp::Rsqrt, &[variance]);
        self.mul(centred, scale)
    }

    fn affine(&mut self, x: NodeId, names: &str) -> NodeId {
        let (weight, bias) = (self.input("w", names), self.input("b", names));
        let scaled = self.mul(x, weight);
        self.add(scaled, bias)
    }

    fn softmax(&mut self, x: NodeId, over: &str) -> NodeId {
        let largest = self.reduce(Combine::Max, x, over);
        let largest = self.map(ScalarOp::Stop, &[largest]);
        let shifted = self.sub(x, largest);
        let exponentials = self.map(ScalarOp::Exp, &[shifted]);
        let sum = self.reduce(Combine::Sum, exponentials, over);
        self.div(exponentials, sum)
    }

    /// Elements of the axis `k` of three, turned by `by` places.
    fn turned(&mut self, x: NodeId, by: usize) -> NodeId {
        let (front, back) = (self.slice(x, "k", 0, by), self.slice(x, "k", by, 3 - by));
        self.graph.add(Op::Concat { axis: axis("k") }, &[back, front])
    }

    /// Compares the value, whose axes are stored in the named order, and its products with the stored cotangent.
    fn check(mut self, y: NodeId, names: &str) {
        let out = &self.tensors[&format!("out.{}.out", self.name)];
        let shape: Shape = axes(names).into_iter().zip(out.0.iter().copied()).collect();
        self.graph.set_output("out", y);
        let mut outputs = vec![("out".to_owned(), shape.clone(), out.1.clone())];
        if let Some((_, cotangent)) = self.tensors.get(&format!("in.{}.cot", self.name)) {
            let cot = self.graph.input("cot", Type::new(DType::F64, shape.clone()));
            self.feeds.inputs.insert("cot".into(), Tensor::new(DType::F64, shape, cotangent.clone()));
            let loss = self.contract(y, cot, names);
            let wrt: Vec<NodeId> = self.inputs.iter().map(|(_, node)| *node).collect();
            let found = gradients(&mut self.graph, loss, &wrt).unwrap();
            for ((suffix, node), gradient) in self.inputs.iter().zip(found) {
                if let Some((_, data)) = self.tensors.get(&format!("out.{}.grad.{suffix}", self.name)) {
                    let name = format!("grad.{suffix}");
                    self.graph.set_output(&name, gradient);
                    outputs.push((name, self.graph.shape(*node).clone(), data.clone()));
                }
            }
        }
        self.graph.verify().unwrap();
        for graph in [&self.graph, &simplify(&self.graph)] {
            let values = evaluate(graph, &self.feeds, RandomKey::default()).unwrap();
            for (name, shape, expected) in &outputs {
                let found = values[name].reordered(shape).data;
                let error = distance(&found, expected);
                assert!(error <= 1e-6, "{}: {name} is off by {error:e}", self.name);
            }
        }
    }
}

/// ‖found − expected‖ / ‖expected‖.
fn distance(found: &[f64], expected: &[f64]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut found.iter().zip(expected).map(|(x, y)| x - y));
    difference / norm(&mut expected.iter().copied()).max(f64::MIN_POSITIVE)
}

/// Checks an operator; `build` gives its value and the order in which its axes are stored.
fn check(name: &'static str, build: impl FnOnce(&mut Operator) -> (NodeId, &'static str)) {
    let Some(tensors) = golden() else { return };
    let (graph, feeds) = (Graph::new(), Feeds::default());
    let mut operator = Operator { name, tensors: &tensors, graph, feeds, inputs: Vec::new() };
    let (y, names) = build(&mut operator);
    operator.check(y, names);
}

#[test]
fn scans_and_sorting() {
    for (name, combine) in [("cumsum", Combine::Sum), ("cumprod", Combine::Prod)] {
        check(name, |o| {
            let x = o.input("x", "a n");
            (o.op(Op::Scan { combine, axis: axis("n"), exclusive: false, reverse: false }, x), "a n")
        });
    }
    check("sort_ascending", |o| {
        let x = o.input("x", "a n");
        (o.op(Op::Sort { axis: axis("n") }, x), "a n")
    });
    check("gather_last", |o| {
        let (x, index) = (o.input("x", "a n"), o.input("i", "a m"));
        (o.graph.add(Op::Gather { axis: axis("n") }, &[x, index]), "a m")
    });
    for (name, right) in [("searchsorted_left", false), ("searchsorted_right", true)] {
        check(name, |o| {
            let (sorted, values) = (o.input("s", "a n"), o.input("v", "a m"));
            (o.graph.add(Op::SearchSorted { axis: axis("n"), right }, &[sorted, values]), "a m")
        });
    }
}

#[test]
fn convolutions() {
    check("conv2d_3x3_pad1", |o| (o.convolution("o c i j", "c i j", [1, 1], 1, true), "b o h w"));
    let right_bottom = "conv2d_3x3_stride2_pad_right_bottom";
    check(right_bottom, |o| (o.convolution("o c i j", "c i j", [0, 1], 2, true), "b o h w"));
    check("conv2d_7x7_pad3", |o| (o.convolution("o c i j", "c i j", [3, 3], 1, false), "b o h w"));
    check("conv2d_1x1_stride2", |o| (o.convolution("o c i j", "c i j", [0, 0], 2, false), "b o h w"));
    check("conv3d_3x3x3_pad1", |o| (o.convolution("o c i j k", "c i j k", [1, 1], 1, true), "b o h w d"));
    check("conv2d_depthwise_5x5_stride2", |o| {
        let y = o.convolution("c u i j", "i j", [2, 2], 2, false);
        (o.reduce(Combine::Sum, y, "u"), "b c h w")
    });
    check("conv_transpose2d_4x4_stride2_pad1", |o| {
        let (x, weight) = (o.input("x", "b c h w"), o.input("w", "c o i j"));
        let mut y = o.contract(x, weight, "c");
        for (along, tap) in [("h", "i"), ("w", "j")] {
            let (position, tap) = (axis(along), axis(tap));
            let size = (o.graph.shape(y).size(position).unwrap() - 1) * 2 + 4;
            y = o.op(Op::Fold { axis: position, size, position, tap, stride: 2, dilation: 1 }, y);
            y = o.slice(y, along, 1, size - 2);
        }
        (y, "b o h w")
    });
}

#[test]
fn pooling_and_repetition() {
    check("avg_pool2d_2", |o| {
        let x = o.input("x", "b c h w");
        let rows = o.window(x, "h", "i", 2, 2);
        let windows = o.window(rows, "w", "j", 2, 2);
        (o.mean(windows, "i j"), "b c h w")
    });
    check("max_pool2d_3_stride2_pad1", |o| {
        let mut x = o.input("x", "b c h w");
        for (along, tap) in [("h", "i"), ("w", "j")] {
            x = o.pad(x, along, [1, 1], f64::NEG_INFINITY);
            x = o.window(x, along, tap, 3, 2);
        }
        (o.reduce(Combine::Max, x, "i j"), "b c h w")
    });
    check("upsample_nearest_x2", |o| {
        let mut x = o.input("x", "b c h w");
        for along in ["h", "w"] {
            let (axis, copy) = (axis(along), axis("copy"));
            x = o.op(Op::Spread(Shape::new([(copy, 2)])), x);
            x = o.op(Op::Merge { axes: vec![axis, copy], into: axis }, x);
        }
        (x, "b c h w")
    });
}

#[test]
fn activations() {
    use ScalarOp::*;
    check("softplus", |o| {
        let x = o.input("input", "n");
        (o.map(Softplus, &[x]), "n")
    });
    check("silu", |o| {
        let x = o.input("input", "n");
        let gate = o.map(Sigmoid, &[x]);
        (o.mul(x, gate), "n")
    });
    check("gelu_erf", |o| {
        let x = o.input("input", "n");
        let scaled = o.scaled(x, std::f64::consts::FRAC_1_SQRT_2);
        let (bell, one) = (o.map(Erf, &[scaled]), o.number(1.0));
        let gate = o.add(one, bell);
        let product = o.mul(x, gate);
        (o.scaled(product, 0.5), "n")
    });
    check("leaky_relu_0.2", |o| {
        let x = o.input("x", "n");
        let (zero, leak) = (o.number(0.0), o.scaled(x, 0.2));
        let positive = o.map(Less, &[zero, x]);
        (o.map(Select, &[positive, x, leak]), "n")
    });
    check("sin_large_argument", |o| {
        let x = o.input("input", "n");
        (o.map(Sin, &[x]), "n")
    });
}

#[test]
fn softmax_and_attention() {
    check("softmax_temperature_0.1", |o| {
        let x = o.input("x", "a n");
        let scaled = o.scaled(x, 10.0);
        (o.softmax(scaled, "n"), "a n")
    });
    check("cross_entropy", |o| {
        let (x, target) = (o.input("x", "a n"), o.input("t", "a"));
        let probabilities = o.softmax(x, "n");
        let logarithms = o.map(ScalarOp::Log, &[probabilities]);
        let chosen = o.graph.add(Op::Gather { axis: axis("n") }, &[logarithms, target]);
        let mean = o.mean(chosen, "a");
        let loss = o.map(ScalarOp::Neg, &[mean]);
        (o.op(Op::Spread(Shape::new([(axis("one"), 1)])), loss), "one")
    });
    check("attention", |o| {
        let (q, k, v) = (o.input("q", "b h q e"), o.input("k", "b h k e"), o.input("v", "b h k e"));
        let scores = o.contract(q, k, "e");
        let scores = o.scaled(scores, 0.5);
        let weights = o.softmax(scores, "k");
        (o.contract(weights, v, "k"), "b h q e")
    });
}

#[test]
fn normalisation() {
    check("layer_norm_eps1e-5", |o| {
        let x = o.input("x", "a n");
        let y = o.normalised(x, "n", 1e-5);
        (o.affine(y, "n"), "a n")
    });
    check("instance_norm_eps1e-5", |o| {
        let x = o.input("x", "b c h w");
        (o.normalised(x, "h w", 1e-5), "b c h w")
    });
    check("batch_norm_train_eps1e-5", |o| {
        let x = o.input("x", "b c h w");
        let y = o.normalised(x, "b h w", 1e-5);
        (o.affine(y, "c"), "b c h w")
    });
    check("batch_norm_eval_eps1e-5", |o| {
        let (x, mean, variance) = (o.input("x", "b c h w"), o.input("m", "c"), o.input("v", "c"));
        let (centred, epsilon) = (o.sub(x, mean), o.number(1e-5));
        let variance = o.add(variance, epsilon);
        let scale = o.map(ScalarOp::Rsqrt, &[variance]);
        let y = o.mul(centred, scale);
        (o.affine(y, "c"), "b c h w")
    });
    check("group_norm_2_eps1e-6", |o| {
        let x = o.input("x", "b c h w");
        let grouped = o.op(Op::Split { axis: axis("c"), into: vec![(axis("g"), 2), (axis("e"), 2)] }, x);
        let y = o.normalised(grouped, "e h w", 1e-6);
        let y = o.op(Op::Merge { axes: axes("g e"), into: axis("c") }, y);
        (o.affine(y, "c"), "b c h w")
    });
}

#[test]
fn vectors_and_matrices() {
    check("cross_product", |o| {
        let (a, b) = (o.input("a", "n k"), o.input("b", "n k"));
        let (a_one, a_two, b_one, b_two) = (o.turned(a, 1), o.turned(a, 2), o.turned(b, 1), o.turned(b, 2));
        let (left, right) = (o.mul(a_one, b_two), o.mul(a_two, b_one));
        (o.sub(left, right), "n k")
    });
    check("norm_vector", |o| {
        let x = o.input("x", "n k");
        let square = o.mul(x, x);
        let square = o.reduce(Combine::Sum, square, "k");
        let norm = o.map(ScalarOp::Sqrt, &[square]);
        (o.div(x, norm), "n k")
    });
    check("inverse_2x2", |o| {
        let x = o.input("input", "n r c");
        let mut entry = |row, column| {
            let one = o.slice(x, "r", row, 1);
            let one = o.slice(one, "c", column, 1);
            o.reduce(Combine::Sum, one, "r c")
        };
        let (a, b, c, d) = (entry(0, 0), entry(0, 1), entry(1, 0), entry(1, 1));
        let (main, other) = (o.mul(a, d), o.mul(b, c));
        let determinant = o.sub(main, other);
        // The adjugate turns both axes around and changes the sign off the diagonal.
        let turned = o.op(Op::Slice { axis: axis("r"), start: 1, size: 2, step: -1 }, x);
        let turned = o.op(Op::Slice { axis: axis("c"), start: 1, size: 2, step: -1 }, turned);
        let turned = o.op(Op::Rename(vec![(axis("r"), axis("c")), (axis("c"), axis("r"))]), turned);
        let row = o.graph.add(Op::Iota { axis: axis("r"), size: 2 }, &[]);
        let column = o.graph.add(Op::Iota { axis: axis("c"), size: 2 }, &[]);
        let diagonal = o.map(ScalarOp::Equal, &[row, column]);
        let minus = o.map(ScalarOp::Neg, &[turned]);
        let adjugate = o.map(ScalarOp::Select, &[diagonal, turned, minus]);
        (o.div(adjugate, determinant), "n r c")
    });
}

/// The update program of a loss that is linear in the parameter, so that its gradient is an input.
#[test]
fn adam() {
    let Some(tensors) = golden() else { return };
    for (name, beta1, beta2) in [("adam_0.9_0.999", 0.9, 0.999), ("adam_0.9_0.99", 0.9, 0.99), ("adam_0_0.9", 0.0, 0.9)]
    {
        let shape = Shape::new([(axis("n"), 12)]);
        let ty = Type::new(DType::F64, shape.clone());
        let stored = |kind: &str, suffix: &str| {
            Tensor::new(DType::F64, shape.clone(), tensors[&format!("{kind}.{name}.{suffix}")].1.clone())
        };
        let mut graph = Graph::new();
        let (gradient, parameter) = (graph.input("gradient", ty.clone()), graph.parameter("p", ty.clone()));
        let loss = graph.add(Op::Contract { over: axes("n") }, &[gradient, parameter]);
        graph.set_output("loss", loss);
        let size_names = vec!["n".to_owned()];
        let about = String::new();
        let input = Input { ty: ty.clone(), size_names: size_names.clone(), about, optional: false, schedule: false };
        let program = Program {
            graph,
            inputs: IndexMap::from([("gradient".to_owned(), input)]),
            parameters: IndexMap::from([("p".to_owned(), parameter)]),
            outputs: IndexMap::from([("loss".to_owned(), Shape::SCALAR)]),
        };
        let (model, initialiser) = ("m".to_owned(), Initialiser::Constant(0.0));
        let parameter = Parameter { model, ty: ty.clone(), size_names, initialiser, buffer: false };
        let step = TrainStep {
            loss: "loss".into(),
            own: None,
            factors: IndexMap::new(),
            parameters: vec!["p".into()],
            optimiser: Optimiser::Adam { beta1, beta2, epsilon: 1e-8, weight_decay: 0.0 },
            rate: Schedule::Constant(1e-2),
            every: 1,
            from: 0,
            until: u64::MAX,
            accumulate: 1,
            clip: None,
            ema: None,
            batch: IndexMap::new(),
        };
        let update = step_program(&program, &step, &IndexMap::from([("p".to_owned(), parameter)])).unwrap();
        let mut feeds = Feeds::default();
        feeds.parameters.insert("p".into(), stored("in", "param"));
        for state in update.state.keys() {
            feeds.parameters.insert(state.clone(), Tensor::new(DType::F64, shape.clone(), vec![0.0; 12]));
        }
        for k in 0..3 {
            feeds.inputs.insert("gradient".into(), stored("in", &format!("grad{k}")));
            for (input, value) in scalar_inputs(&step, k, k) {
                feeds.inputs.insert(input, Tensor::scalar(DType::F64, value));
            }
            let values = evaluate(&update.program.graph, &feeds, RandomKey::default()).unwrap();
            for (name, output) in &update.updates {
                feeds.parameters.insert(name.clone(), values[output].clone());
            }
            let error = distance(&feeds.parameters["p"].data, &stored("out", &format!("param_after{k}")).data);
            assert!(error <= 1e-6, "{name}: update {k} is off by {error:e}");
        }
    }
}
