use super::*;
use crate::{
    axis::Axis,
    graph::{Combine, ScalarOp},
    random::RandomKey,
    reference::{Feeds, evaluate},
    system::{Clip, Initialiser, Schedule},
    tensor::Tensor,
};

fn shape() -> Shape {
    Shape::new([(Axis::new("a"), 2)])
}

fn vector(values: [f64; 2]) -> Tensor {
    Tensor::new(DType::F32, shape(), values.to_vec())
}

/// The loss Σ g·p, whose gradient with respect to `p` is the input `g`, and which does not depend on `q`.
fn linear() -> (Program, IndexMap<String, Parameter>) {
    let mut graph = Graph::new();
    let ty = Type::new(DType::F32, shape());
    let (g, p, q) = (graph.input("g", ty.clone()), graph.parameter("p", ty.clone()), graph.parameter("q", ty.clone()));
    let product = graph.map(ScalarOp::Mul, &[g, p]);
    let stopped = graph.map(ScalarOp::Stop, &[q]);
    let sum = graph.map(ScalarOp::Add, &[product, stopped]);
    let loss = graph.add(Op::Reduce { combine: Combine::Sum, axes: vec![Axis::new("a")] }, &[sum]);
    graph.set_output("loss", loss);
    graph.set_output("product", product);
    let about = String::new();
    let input = Input { ty: ty.clone(), size_names: vec!["a".into()], about, optional: false, schedule: false };
    let parameter = |name: &str| {
        let (model, size_names) = ("m".into(), vec!["a".into()]);
        let initialiser = Initialiser::Constant(0.0);
        (name.to_owned(), Parameter { model, ty: ty.clone(), size_names, initialiser, buffer: false })
    };
    let program = Program {
        graph,
        inputs: IndexMap::from([("g".to_owned(), input)]),
        parameters: IndexMap::from([("p".to_owned(), p), ("q".to_owned(), q)]),
        outputs: IndexMap::from([("loss".to_owned(), Shape::SCALAR), ("product".to_owned(), shape())]),
    };
    (program, IndexMap::from([parameter("p"), parameter("q")]))
}

fn step(optimiser: Optimiser) -> TrainStep {
    TrainStep {
        loss: "loss".into(),
        own: None,
        factors: IndexMap::new(),
        parameters: vec!["p".into(), "q".into()],
        optimiser,
        rate: Schedule::Constant(0.1),
        every: 1,
        from: 0,
        until: u64::MAX,
        accumulate: 1,
        clip: None,
        ema: None,
        batch: IndexMap::new(),
    }
}

/// Runs a program and stores what it updates; gives all outputs.
fn run(step: &StepProgram, stored: &mut Feeds, inputs: &[(String, Tensor)]) -> IndexMap<String, Tensor> {
    step.program.graph.verify().unwrap();
    for (name, state) in &step.state {
        let initial = match &state.initial {
            InitialState::Zero => Tensor::new(DType::F32, state.ty.shape.clone(), vec![0.0; 2]),
            InitialState::CopyOf(name) => stored.parameters[name].clone(),
        };
        stored.parameters.entry(name.clone()).or_insert(initial);
    }
    stored.inputs = inputs.iter().cloned().collect();
    let outputs = evaluate(&step.program.graph, stored, RandomKey::default()).unwrap();
    assert!(outputs.keys().all(|name| step.program.outputs.contains_key(name)));
    for (name, output) in &step.updates {
        stored.parameters.insert(name.clone(), outputs[output].clone());
    }
    outputs
}

/// Values of `p` after updates by the given gradients, starting at (1, -2).
fn train(train_step: &TrainStep, gradients: &[[f64; 2]]) -> (Vec<Vec<f64>>, Feeds) {
    let (program, parameters) = linear();
    let step = step_program(&program, train_step, &parameters).unwrap();
    assert_eq!(step.unreached, ["q"]);
    let mut stored = Feeds::default();
    stored.parameters.insert("p".into(), vector([1.0, -2.0]));
    stored.parameters.insert("q".into(), vector([0.0, 0.0]));
    let mut path = Vec::new();
    for (update, gradient) in gradients.iter().enumerate() {
        let mut inputs = vec![("g".to_owned(), vector(*gradient))];
        let scalars = scalar_inputs(train_step, update as u64, update as u64);
        inputs.extend(scalars.into_iter().map(|(name, value)| (name, Tensor::scalar(DType::F32, value))));
        run(&step, &mut stored, &inputs);
        path.push(stored.parameters["p"].data.clone());
    }
    (path, stored)
}

#[track_caller]
fn check(train_step: &TrainStep, gradients: &[[f64; 2]], expected: &[[f64; 2]]) {
    let (path, _) = train(train_step, gradients);
    let close = |(x, y): (&f64, &f64)| (x - y).abs() < 1e-8;
    assert!(path.iter().flatten().zip(expected.iter().flatten()).all(close), "{path:?}");
}

#[test]
fn stochastic_gradient_descent() {
    let sgd = |momentum, nesterov, weight_decay| step(Optimiser::Sgd { momentum, nesterov, weight_decay });
    let gradients = [[1.0, -1.0], [2.0, 0.0]];
    check(&sgd(0.0, false, 0.0), &gradients, &[[0.9, -1.9], [0.7, -1.9]]);
    check(&sgd(0.5, false, 0.0), &gradients, &[[0.9, -1.9], [0.65, -1.85]]);
    check(&sgd(0.5, true, 0.0), &gradients, &[[0.85, -1.85], [0.525, -1.825]]);
    check(&sgd(0.0, false, 0.5), &gradients[..1], &[[0.85, -1.8]]);
}

#[test]
fn adam_and_its_decoupled_decay() {
    let (beta1, beta2, epsilon) = (0.9, 0.99, 1e-8);
    let adam = step(Optimiser::Adam { beta1, beta2, epsilon, weight_decay: 0.0 });
    // The first step is the rate times the sign; for the second, m = 0.9·0.1 + 0.1·3 and v = 0.99·0.01 + 0.01·9.
    let second = 0.1 * (0.39 / 0.19) / ((0.0999_f64 / 0.0199).sqrt() + 1e-8);
    check(&adam, &[[1.0, -1.0], [3.0, -3.0]], &[[0.9, -1.9], [0.9 - second, -1.9 + second]]);
    let decoupled = step(Optimiser::AdamW { beta1, beta2, epsilon, weight_decay: 0.5 });
    check(&decoupled, &[[1.0, -1.0]], &[[0.95 - 0.1, -1.9 + 0.1]]);
    let (_, stored) = train(&adam, &[[1.0, -1.0]]);
    assert!((stored.parameters["adam.square.p"].data[0] - 0.01).abs() < 1e-12);
}

#[test]
fn clipping_bounds_the_gradient() {
    let plain = Optimiser::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 };
    let clipped = |bound| TrainStep { clip: Some(bound), ..step(plain) };
    check(&clipped(Clip::Value(0.5)), &[[3.0, -0.2]], &[[0.95, -1.98]]);
    let factor = 1.0 / (5.0 + 1e-6);
    check(&clipped(Clip::Norm(1.0)), &[[3.0, 4.0]], &[[1.0 - 0.3 * factor, -2.0 - 0.4 * factor]]);
    check(&clipped(Clip::Norm(10.0)), &[[3.0, 4.0]], &[[0.7, -2.4]]);
}

#[test]
fn a_moving_average_follows_the_parameters() {
    let plain = Optimiser::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 };
    let (_, stored) = train(&TrainStep { ema: Some(Schedule::Constant(0.9)), ..step(plain) }, &[[1.0, 0.0]]);
    assert!((stored.parameters["ema.p"].data[0] - (0.9 * 1.0 + 0.1 * 0.9)).abs() < 1e-12);
}

#[test]
fn accumulated_gradients_are_averaged_and_cleared() {
    let plain = Optimiser::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 };
    let train_step = TrainStep { accumulate: 2, ..step(plain) };
    let (program, parameters) = linear();
    let programs = accumulation_programs(&program, &train_step, &parameters).unwrap();
    let mut stored = Feeds::default();
    stored.parameters.insert("p".into(), vector([1.0, -2.0]));
    stored.parameters.insert("q".into(), vector([0.0, 0.0]));
    for gradient in [[1.0, 0.0], [3.0, 4.0]] {
        let outputs = run(&programs.gradient, &mut stored, &[("g".to_owned(), vector(gradient))]);
        assert!(outputs.contains_key("loss") && !outputs.contains_key("product"));
    }
    assert_eq!(stored.parameters["accumulator.p"].data, [4.0, 4.0]);
    let scalars = scalar_inputs(&train_step, 0, 0).into_iter();
    let scalars: Vec<_> = scalars.map(|(name, value)| (name, Tensor::scalar(DType::F32, value))).collect();
    run(&programs.apply, &mut stored, &scalars);
    assert_eq!(stored.parameters["p"].data, [0.8, -2.2]);
    assert_eq!(stored.parameters["accumulator.p"].data, [0.0, 0.0]);
}

#[test]
fn gradients_are_outputs_in_storage_order() {
    let (program, parameters) = linear();
    let gradient = gradient_program(&program, &parameters).unwrap();
    assert_eq!(gradient.gradients["p"], "grad.p");
    let mut feeds = Feeds::default();
    feeds.inputs.insert("g".into(), vector([5.0, 6.0]));
    feeds.parameters.insert("p".into(), vector([1.0, -2.0]));
    feeds.parameters.insert("q".into(), vector([0.0, 0.0]));
    let outputs = evaluate(&gradient.program.graph, &feeds, RandomKey::default()).unwrap();
    assert_eq!(outputs["grad.p"].data, [5.0, 6.0]);
    assert_eq!(outputs["grad.q"].data, [0.0, 0.0]);
    assert_eq!(gradient.program.outputs["grad.p"], shape());
}

#[test]
fn what_cannot_be_trained_is_refused() {
    let (program, parameters) = linear();
    let plain = Optimiser::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 };
    let unknown = TrainStep { parameters: vec!["r".into()], ..step(plain) };
    let error = step_program(&program, &unknown, &parameters).unwrap_err();
    assert_eq!(error.to_string(), "there is no parameter `r`");
    let mut without = program.clone();
    without.graph = Graph::new();
    let error = step_program(&without, &step(plain), &parameters).unwrap_err();
    assert_eq!(error.to_string(), "the program has no output `loss`");
    let mut taken = program;
    let input = taken.inputs["g"].clone();
    taken.inputs.insert(RATE.into(), input);
    let error = step_program(&taken, &step(plain), &parameters).unwrap_err();
    assert_eq!(error.to_string(), "the loss already has an input `step.rate`, which training gives");
}
