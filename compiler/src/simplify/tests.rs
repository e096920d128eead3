//! One small graph a rule: its listing before and after is a snapshot, its value must not change.

use super::simplify;
use crate::{
    axis::{Axis, Shape},
    graph::{Combine, DType, Graph, NodeId, Op, ScalarOp, Type},
    random::RandomKey,
    reference::{Feeds, evaluate},
    tensor::Tensor,
};
use std::fmt::Write;

fn axis(name: &str) -> Axis {
    Axis::new(name)
}

fn shape(axes: &[(&str, usize)]) -> Shape {
    axes.iter().map(|(name, size)| (axis(name), *size)).collect()
}

/// A graph under test with inputs that are fed distinct numbers.
#[derive(Default)]
struct Sketch {
    graph: Graph,
    feeds: Feeds,
}

impl Sketch {
    fn typed(&mut self, name: &str, dtype: DType, axes: &[(&str, usize)], value: impl Fn(usize) -> f64) -> NodeId {
        let shape = shape(axes);
        let data = (0..shape.elements()).map(value).collect();
        self.feeds.inputs.insert(name.into(), Tensor::new(dtype, shape.clone(), data));
        self.graph.input(name, Type::new(dtype, shape))
    }

    fn float(&mut self, name: &str, axes: &[(&str, usize)]) -> NodeId {
        let salt = name.len() as f64 + f64::from(name.as_bytes()[0]) * 0.37;
        self.typed(name, DType::F32, axes, |i| 0.25 + (0.618_034 * i as f64 + salt).fract())
    }

    /// The inputs `x` and `y`, both over a=2 and b=3.
    fn pair(&mut self) -> (NodeId, NodeId) {
        (self.float("x", &[("a", 2), ("b", 3)]), self.float("y", &[("a", 2), ("b", 3)]))
    }

    fn truth(&mut self, name: &str, axes: &[(&str, usize)]) -> NodeId {
        self.typed(name, DType::Bool, axes, |i| (i % 2) as f64)
    }

    fn number(&mut self, value: f64) -> NodeId {
        self.graph.constant(value, DType::F32)
    }

    fn map(&mut self, op: ScalarOp, operands: &[NodeId]) -> NodeId {
        self.graph.map(op, operands)
    }

    fn op(&mut self, op: Op, operands: &[NodeId]) -> NodeId {
        self.graph.add(op, operands)
    }

    fn spread(&mut self, x: NodeId, axes: &[(&str, usize)]) -> NodeId {
        self.op(Op::Spread(shape(axes)), &[x])
    }

    fn sum(&mut self, x: NodeId, axes: &[&str]) -> NodeId {
        self.reduce(Combine::Sum, x, axes)
    }

    fn reduce(&mut self, combine: Combine, x: NodeId, axes: &[&str]) -> NodeId {
        self.op(Op::Reduce { combine, axes: axes.iter().map(|name| axis(name)).collect() }, &[x])
    }

    fn contract(&mut self, x: NodeId, y: NodeId, over: &[&str]) -> NodeId {
        self.op(Op::Contract { over: over.iter().map(|name| axis(name)).collect() }, &[x, y])
    }

    fn slice(&mut self, x: NodeId, along: &str, start: usize, size: usize, step: isize) -> NodeId {
        self.op(Op::Slice { axis: axis(along), start, size, step }, &[x])
    }

    fn pad(&mut self, x: NodeId, along: &str, before: usize, after: usize) -> NodeId {
        self.op(Op::Pad { axis: axis(along), before, after, value: 0.0 }, &[x])
    }
}

/// What a rule does, and an expression to which it applies.
type Rule = (&'static str, fn(&mut Sketch) -> NodeId);

/// Checks every rule of a group and compares the listings with the group's snapshot.
fn check(group: &str, rules: &[Rule]) {
    let mut shown = String::new();
    for (name, build) in rules {
        let mut sketch = Sketch::default();
        let result = build(&mut sketch);
        sketch.graph.set_output("result", result);
        let before = sketch.graph.pruned();
        let after = simplify(&before);
        after.verify().unwrap();
        let value = |graph: &Graph| evaluate(graph, &sketch.feeds, RandomKey::default()).unwrap().swap_remove("result");
        let (expected, found) = (value(&before).unwrap(), value(&after).unwrap());
        let found = found.reordered(expected.shape());
        let close = |(x, y): (&f64, &f64)| (x - y).abs() <= 1e-9 * (1.0 + x.abs()) || x == y;
        assert!(expected.data.iter().zip(&found.data).all(close), "{name}:\n{before}\n{after}");
        assert_eq!(expected.ty.dtype, found.ty.dtype, "{name}");
        writeln!(shown, "── {name}\n{before}⇒\n{after}").unwrap();
    }
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(group, shown) });
}

#[test]
fn algebra() {
    use ScalarOp::*;
    check(
        "algebra",
        &[
            ("constants fold", |s| {
                let (two, three) = (s.number(2.0), s.number(3.0));
                let power = s.map(Pow, &[two, three]);
                s.map(Sin, &[power])
            }),
            ("equal operations are one, commutative ones in either order", |s| {
                let (x, y) = s.pair();
                let (one, other) = (s.map(Max, &[x, y]), s.map(Max, &[x, y]));
                let (left, right) = (s.map(Mul, &[one, y]), s.map(Mul, &[y, other]));
                s.map(Atan2, &[left, right])
            }),
            ("x + 0, x * 1, x / 1, x - 0", |s| {
                let (x, _) = s.pair();
                let (zero, one) = (s.number(0.0), s.number(1.0));
                let sum = s.map(Add, &[zero, x]);
                let product = s.map(Mul, &[sum, one]);
                let quotient = s.map(Div, &[product, one]);
                s.map(Sub, &[quotient, zero])
            }),
            ("x * 0", |s| {
                let (x, zero) = (s.pair().0, s.number(0.0));
                s.map(Mul, &[x, zero])
            }),
            ("negations", |s| {
                let (x, y) = s.pair();
                let (minus_x, minus_y) = (s.map(Neg, &[x]), s.map(Neg, &[y]));
                let product = s.map(Mul, &[minus_x, minus_y]);
                let difference = s.map(Add, &[product, minus_x]);
                let back = s.map(Neg, &[difference]);
                let sum = s.map(Sub, &[back, minus_y]);
                let quotient = s.map(Div, &[minus_x, sum]);
                s.map(Abs, &[quotient])
            }),
            ("factors gather", |s| {
                let (x, two, three) = (s.pair().0, s.number(2.0), s.number(3.0));
                let twice = s.map(Mul, &[x, two]);
                let minus = s.map(Neg, &[twice]);
                s.map(Mul, &[three, minus])
            }),
            ("terms gather", |s| {
                let (x, two, three) = (s.pair().0, s.number(2.0), s.number(3.0));
                let more = s.map(Add, &[x, two]);
                s.map(Add, &[three, more])
            }),
            ("what is taken from a constant", |s| {
                let (x, one, two) = (s.pair().0, s.number(1.0), s.number(2.0));
                let rest = s.map(Sub, &[one, x]);
                let back = s.map(Sub, &[one, rest]);
                let again = s.map(Sub, &[two, back]);
                s.map(Add, &[again, two])
            }),
            ("division by a constant, of one", |s| {
                let (x, one, four) = (s.pair().0, s.number(1.0), s.number(4.0));
                let quarter = s.map(Div, &[x, four]);
                s.map(Div, &[one, quarter])
            }),
            ("powers", |s| {
                let x = s.pair().0;
                let mut sum = x;
                for exponent in [0.0, 1.0, 2.0, 3.0, -1.0, 0.5, -0.5, 1.5] {
                    let exponent = s.number(exponent);
                    let power = s.map(Pow, &[x, exponent]);
                    sum = s.map(Atan2, &[sum, power]);
                }
                sum
            }),
            ("selection", |s| {
                let ((x, y), condition) = (s.pair(), s.truth("c", &[("b", 3)]));
                let opposite = s.map(Not, &[condition]);
                let chosen = s.map(Select, &[opposite, x, y]);
                let (one, two) = (s.number(1.0), s.number(2.0));
                let always = s.map(Less, &[one, two]);
                let same = s.map(Select, &[condition, chosen, chosen]);
                s.map(Select, &[always, same, x])
            }),
            ("logic", |s| {
                let (p, q) = (s.truth("p", &[("a", 2)]), s.truth("q", &[("a", 2)]));
                let yes = s.graph.constant(1.0, DType::Bool);
                let twice = s.map(Not, &[p]);
                let back = s.map(Not, &[twice]);
                let both = s.map(And, &[back, yes]);
                let same = s.map(Or, &[both, both]);
                let all = s.map(Or, &[q, yes]);
                s.map(And, &[same, all])
            }),
            ("functions of themselves", |s| {
                let (x, _) = s.pair();
                let once = s.map(Recip, &[x]);
                let twice = s.map(Recip, &[once]);
                let stopped = s.map(Stop, &[twice]);
                let again = s.map(Stop, &[stopped]);
                let kept = s.map(Cast(DType::F32), &[again]);
                let largest = s.map(Max, &[kept, kept]);
                let size = s.map(Abs, &[largest]);
                s.map(Abs, &[size])
            }),
        ],
    );
}

#[test]
fn spread() {
    use ScalarOp::*;
    check(
        "spread",
        &[
            ("of nothing, of a spread", |s| {
                let (x, _) = s.pair();
                let same = s.spread(x, &[]);
                let once = s.spread(same, &[("c", 2)]);
                s.spread(once, &[("d", 2)])
            }),
            ("in a map whose other operand has the axis", |s| {
                let (x, z) = (s.float("x", &[("a", 2)]), s.float("z", &[("b", 3)]));
                let repeated = s.spread(x, &[("b", 3), ("c", 2)]);
                s.map(Add, &[repeated, z])
            }),
            ("in a concatenation", |s| {
                let (x, z) = (s.float("x", &[("a", 2)]), s.float("z", &[("b", 3), ("a", 2)]));
                let repeated = s.spread(x, &[("b", 1)]);
                s.op(Op::Concat { axis: axis("b") }, &[repeated, z])
            }),
            ("in sums, products and maxima", |s| {
                let x = s.float("x", &[("a", 2)]);
                let repeated = s.spread(x, &[("b", 3), ("c", 2)]);
                let (sum, product) = (s.sum(repeated, &["a", "b"]), s.reduce(Combine::Prod, repeated, &["b"]));
                let largest = s.reduce(Combine::Max, repeated, &["b", "c"]);
                let joint = s.map(Atan2, &[sum, product]);
                s.map(Atan2, &[joint, largest])
            }),
            ("in a contraction", |s| {
                let (x, z) = (s.float("x", &[("a", 2), ("k", 2)]), s.float("z", &[("k", 2), ("b", 3), ("c", 2)]));
                let repeated = s.spread(x, &[("b", 3), ("c", 2), ("d", 2)]);
                s.contract(repeated, z, &["b", "k"])
            }),
            ("under views", |s| {
                let x = s.float("x", &[("a", 2)]);
                let repeated = s.spread(x, &[("b", 6), ("c", 2)]);
                let sliced = s.slice(repeated, "b", 4, 2, -2);
                let split = s.op(Op::Split { axis: axis("b"), into: vec![(axis("d"), 2), (axis("e"), 1)] }, &[sliced]);
                let merged = s.op(Op::Merge { axes: vec![axis("c"), axis("d")], into: axis("f") }, &[split]);
                let window = Op::Window {
                    axis: axis("f"),
                    position: axis("f"),
                    tap: axis("t"),
                    taps: 2,
                    stride: 2,
                    dilation: 1,
                };
                let windows = s.op(window, &[merged]);
                s.op(Op::Rename(vec![(axis("a"), axis("f")), (axis("f"), axis("a"))]), &[windows])
            }),
            ("under operations along another axis", |s| {
                let x = s.float("x", &[("a", 4)]);
                let repeated = s.spread(x, &[("b", 2)]);
                let scan = Op::Scan { combine: Combine::Sum, axis: axis("a"), exclusive: false, reverse: false };
                let running = s.op(scan, &[repeated]);
                let sorted = s.op(Op::Sort { axis: axis("a") }, &[running]);
                s.pad(sorted, "a", 1, 0)
            }),
            ("under gathers and scatters", |s| {
                let (x, index) = (s.float("x", &[("a", 3)]), s.typed("i", DType::I32, &[("b", 2)], |i| 1.0 - i as f64));
                let (values, indices) = (s.spread(x, &[("c", 2), ("b", 2)]), s.spread(index, &[("d", 2)]));
                let read = s.op(Op::Gather { axis: axis("a") }, &[values, indices]);
                let repeated = s.spread(read, &[("e", 3), ("f", 2)]);
                let over = vec![axis("b"), axis("e")];
                s.op(Op::ScatterAdd { axis: axis("g"), size: 2, over }, &[repeated, index])
            }),
        ],
    );
}

#[test]
fn views() {
    check(
        "views",
        &[
            ("rename of rename, of nothing", |s| {
                let (x, _) = s.pair();
                let swapped = s.op(Op::Rename(vec![(axis("a"), axis("b")), (axis("b"), axis("a"))]), &[x]);
                let moved = s.op(Op::Rename(vec![(axis("b"), axis("c"))]), &[swapped]);
                let back = s.op(Op::Rename(vec![(axis("c"), axis("a")), (axis("a"), axis("b"))]), &[moved]);
                s.op(Op::Rename(vec![(axis("a"), axis("a")), (axis("b"), axis("d"))]), &[back])
            }),
            ("rename of an index", |s| {
                let index = s.op(Op::Iota { axis: axis("a"), size: 3 }, &[]);
                s.op(Op::Rename(vec![(axis("a"), axis("z"))]), &[index])
            }),
            ("split of merge, merge of split", |s| {
                let (x, _) = s.pair();
                let merged = s.op(Op::Merge { axes: vec![axis("b"), axis("a")], into: axis("m") }, &[x]);
                let split = s.op(Op::Split { axis: axis("m"), into: vec![(axis("p"), 3), (axis("q"), 2)] }, &[merged]);
                let more = s.op(Op::Split { axis: axis("p"), into: vec![(axis("r"), 1), (axis("t"), 3)] }, &[split]);
                let back = s.op(Op::Merge { axes: vec![axis("r"), axis("t")], into: axis("u") }, &[more]);
                let one = s.op(Op::Merge { axes: vec![axis("u")], into: axis("v") }, &[back]);
                s.op(Op::Split { axis: axis("v"), into: vec![(axis("w"), 3)] }, &[one])
            }),
            ("slice of slice, of everything", |s| {
                let x = s.float("x", &[("a", 8)]);
                let every = s.slice(x, "a", 7, 4, -2);
                let some = s.slice(every, "a", 3, 3, -1);
                s.slice(some, "a", 0, 3, 1)
            }),
            ("slice of padding", |s| {
                let x = s.float("x", &[("a", 4)]);
                let padded = s.pad(x, "a", 2, 1);
                s.slice(padded, "a", 5, 2, -2)
            }),
            ("slices of padding that reach into it", |s| {
                let mut x = s.float("x", &[("a", 6)]);
                for _ in 0..2 {
                    let rest = s.slice(x, "a", 1, 5, 1);
                    x = s.pad(rest, "a", 0, 1);
                }
                x
            }),
            ("slice of a concatenation", |s| {
                let (x, y) = (s.float("x", &[("a", 2)]), s.float("y", &[("a", 3), ("b", 2)]));
                let joined = s.op(Op::Concat { axis: axis("a") }, &[y, x]);
                s.slice(joined, "a", 3, 2, 1)
            }),
            ("padding of padding, by nothing", |s| {
                let x = s.float("x", &[("a", 4)]);
                let padded = s.pad(x, "a", 2, 1);
                let more = s.pad(padded, "a", 0, 3);
                s.pad(more, "a", 0, 0)
            }),
            ("concatenation of concatenations and of neighbours", |s| {
                let (x, y) = (s.float("x", &[("a", 6)]), s.float("y", &[("a", 2), ("b", 2)]));
                let (front, back) = (s.slice(x, "a", 0, 4, 1), s.slice(x, "a", 4, 2, 1));
                let whole = s.op(Op::Concat { axis: axis("a") }, &[front, back]);
                let nested = s.op(Op::Concat { axis: axis("a") }, &[whole, y]);
                s.op(Op::Concat { axis: axis("a") }, &[nested, y])
            }),
            ("windows and folds of one tap", |s| {
                let x = s.float("x", &[("a", 5)]);
                let (a, p, t) = (axis("a"), axis("p"), axis("t"));
                let window = Op::Window { axis: a, position: p, tap: t, taps: 1, stride: 2, dilation: 1 };
                let windows = s.op(window, &[x]);
                s.op(Op::Fold { axis: a, size: 4, position: p, tap: t, stride: 1, dilation: 1 }, &[windows])
            }),
        ],
    );
}

#[test]
fn totals() {
    use ScalarOp::*;
    check(
        "totals",
        &[
            ("sum over nothing, of a sum", |s| {
                let (x, _) = s.pair();
                let same = s.sum(x, &[]);
                let first = s.sum(same, &["b"]);
                s.sum(first, &["a"])
            }),
            ("sum of a renamed value, of padding, of factors", |s| {
                let (x, three) = (s.pair().0, s.number(3.0));
                let padded = s.pad(x, "a", 1, 1);
                let scaled = s.map(Mul, &[padded, three]);
                let minus = s.map(Neg, &[scaled]);
                let renamed = s.op(Op::Rename(vec![(axis("a"), axis("c")), (axis("b"), axis("d"))]), &[minus]);
                s.sum(renamed, &["c"])
            }),
            ("sum of a product", |s| {
                let (x, z) =
                    (s.float("x", &[("a", 2), ("k", 3), ("c", 2)]), s.float("z", &[("k", 3), ("b", 2), ("d", 2)]));
                let product = s.map(Mul, &[x, z]);
                s.sum(product, &["k", "c", "d"])
            }),
            ("sum of a product without a common axis", |s| {
                let (x, z) = (s.float("x", &[("a", 2)]), s.float("z", &[("b", 3)]));
                let product = s.map(Mul, &[x, z]);
                s.sum(product, &["b"])
            }),
            ("sum of a product that is used elsewhere", |s| {
                let (x, y) = s.pair();
                let product = s.map(Mul, &[x, y]);
                let sum = s.sum(product, &["b"]);
                s.map(Div, &[product, sum])
            }),
            ("sum of a contraction", |s| {
                let (x, z) =
                    (s.float("x", &[("a", 2), ("k", 3), ("n", 2)]), s.float("z", &[("k", 3), ("b", 2), ("n", 2)]));
                let product = s.contract(x, z, &["k"]);
                s.sum(product, &["a", "n"])
            }),
            ("contraction over nothing, of factors", |s| {
                let ((x, y), half) = (s.pair(), s.number(0.5));
                let scaled = s.map(Mul, &[x, half]);
                let minus = s.map(Neg, &[y]);
                let outer = s.contract(scaled, minus, &[]);
                s.contract(outer, minus, &["a"])
            }),
            ("axes of one element", |s| {
                let (x, z) = (s.float("x", &[("a", 2), ("k", 1), ("n", 1)]), s.float("z", &[("k", 1), ("b", 3)]));
                let outer = s.contract(x, z, &["k"]);
                let renamed = s.op(Op::Rename(vec![(axis("n"), axis("m")), (axis("a"), axis("c"))]), &[outer]);
                s.reduce(Combine::Max, renamed, &["m", "b"])
            }),
            ("scan of one element", |s| {
                let x = s.float("x", &[("a", 1), ("b", 2)]);
                let scan = |exclusive| Op::Scan { combine: Combine::Prod, axis: axis("a"), exclusive, reverse: false };
                let (inclusive, exclusive) = (s.op(scan(false), &[x]), s.op(scan(true), &[x]));
                s.map(Add, &[inclusive, exclusive])
            }),
        ],
    );
}

#[test]
fn what_no_output_needs_is_gone_and_labels_stay() {
    let mut s = Sketch::default();
    let (x, y) = s.pair();
    let zero = s.number(0.0);
    let sum = s.map(ScalarOp::Add, &[x, zero]);
    s.graph.set_label(sum, "kept");
    s.map(ScalarOp::Mul, &[x, y]);
    s.graph.set_output("sum", sum);
    assert_eq!(simplify(&s.graph).to_string(), "%0 = input \"x\" : f32[a=2, b=3]  # kept\noutput sum = %0\n");
}
