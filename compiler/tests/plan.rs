//! Plans: snapshots of small ones, what NeRF's kernels are, and that every plan holds together.

use indexmap::IndexMap;
use std::path::Path;
use visage_compiler::{
    autodiff::gradients,
    generate::{Options, graph},
    graph::{DType, Graph, NodeId, Op},
    language::{Overrides, Spec},
    plan::{
        Buffer, Decision, Defect, Fusion, Layout, Place, Plan, PlanOptions, Precision, Stage, Step, plan,
        plan_updating, svg,
    },
    simplify::{simplified, simplify},
    system::Program,
    training::step_program,
};

/// The task `it` of a small system, as a graph that is ready to be planned.
fn program(sizes: &str, inputs: &str, outputs: &str, equations: &str) -> Program {
    let text = format!(
        "System(name: \"small\", about: \"A plan to look at.\", sizes: {{ {sizes} }}, tasks: {{ \"it\": Task(\n\
         about: \"It.\", inputs: {{ {inputs} }}, outputs: {{ {outputs} }}, equations: r#\"{equations}\"#) }})"
    );
    let spec = Spec::parse("small.ron", &text, &|_| panic!("it uses other files")).unwrap_or_else(|e| panic!("{e}"));
    let system = spec.system(&Overrides::none()).unwrap_or_else(|errors| panic!("{errors}"));
    simplified(&system.tasks["it"].program)
}

fn planned(graph: &Graph, fusion: Fusion) -> Plan {
    let plan =
        plan(graph, &PlanOptions { fusion, ..PlanOptions::default() }).unwrap_or_else(|e| panic!("{e}\n{graph}"));
    plan.verify().unwrap_or_else(|defect| panic!("{defect}\n{plan}\n{graph}"));
    plan
}

const LAYERS: [&str; 4] = [
    r#""row": 4096, "from": 24, "mid": 32"#,
    r#""x": Input(axes: "[row, from]", about: "Rows."), "w": Input(axes: "[mid, from]", about: "Weights."),
       "v": Input(axes: "[mid]", about: "Weights.")"#,
    r#""y": "[row]", "mean": "[]""#,
    r#"h = max(sum(w * x, from), 0)
       y = sum(v * h, mid)
       mean = mean(y, row)"#,
];

#[test]
fn a_chain_of_layers_and_a_sum_over_rows_are_one_kernel() {
    let [sizes, inputs, outputs, equations] = LAYERS;
    let program = program(sizes, inputs, outputs, equations);
    insta::assert_snapshot!("layers", planned(&program.graph, Fusion::Full).to_string());
    insta::assert_snapshot!("layers_unfused", planned(&program.graph, Fusion::None).to_string());
}

#[test]
fn a_plan_is_drawn_with_its_kernels_and_the_values_between_them() {
    let [sizes, inputs, outputs, equations] = LAYERS;
    let plan = planned(&program(sizes, inputs, outputs, equations).graph, Fusion::Full);
    let picture = svg(&plan);
    let kernels = plan.steps.iter().filter(|step| matches!(step, Step::Kernel(_))).count();
    assert_eq!(picture.matches("class=\"kernel\"").count(), kernels);
    for tag in ["svg", "text", "style", "title", "path"] {
        let closed = picture.matches(&format!("</{tag}>")).count();
        assert_eq!(picture.matches(&format!("<{tag}")).count(), closed, "<{tag}>");
    }
    insta::assert_snapshot!("layers_drawn", picture);
}

#[test]
fn maps_under_other_names_are_one_stage_with_what_an_image_gives_its_points() {
    let program = program(
        r#""image": 2, "point": 64, "from": 8, "to": 8"#,
        r#""x": Input(axes: "[image, point, from]", about: "Points."), "w": Input(axes: "[to, from]", about: "Weights."),
           "b": Input(axes: "[to]", about: "Biases."), "frequency": Input(axes: "[image, from]", about: "A factor an image."),
           "phase": Input(axes: "[image, from]", about: "A phase an image.")"#,
        r#""y": "[image, point, to]""#,
        r#"h = sin(frequency * (sum(w * x, from) + b)[to as from] + phase)
           y = sum(w * h, from)"#,
    );
    insta::assert_snapshot!("modulated", planned(&program.graph, Fusion::Full).to_string());
}

#[test]
fn normalisation_reads_its_picture_three_times_and_writes_it_once() {
    let program = program(
        r#""image": 2, "side": 32, "channel": 32, "group": 8, "part": 4"#,
        r#""a": Input(axes: "[image, y: side, x: side, channel]", about: "Pictures."),
           "weight": Input(axes: "[channel]", about: "Weights."), "bias": Input(axes: "[channel]", about: "Biases.")"#,
        r#""b": "[image, y: side, x: side, channel]""#,
        r#"parts = a[channel as (group, part)]
           centred = parts - mean(parts, y, x, part)
           unit = centred * rsqrt(mean(centred ^ 2, y, x, part) + 1e-6)
           b = sigmoid(unit[(group, part) as channel] * weight + bias)"#,
    );
    insta::assert_snapshot!("normalisation", planned(&program.graph, Fusion::Full).to_string());
}

#[test]
fn scans_sorts_and_gathers_of_wide_elements() {
    let program = program(
        r#""ray": 64, "sample": 6"#,
        r#""z": Input(axes: "[ray, sample]", about: "Distances.")"#,
        r#""w": "[ray, sample]""#,
        r#"wide = f64(z) * 512
           order = argsort(wide, sample)
           w = f32(cumsum(wide[sample = order], sample))"#,
    );
    insta::assert_snapshot!("wide", planned(&program.graph, Fusion::Full).to_string());
}

/// Names, rows and work of the kernels that contract.
fn contracting(plan: &Plan) -> Vec<String> {
    let kernels = plan.steps.iter().filter_map(|step| match step {
        Step::Kernel(kernel) if kernel.flops > 1e9 => Some(kernel),
        _ => None,
    });
    let rows = |rows: &[(visage_compiler::axis::Axis, usize)]| {
        rows.iter().map(|(axis, size)| format!("{axis}={size}")).collect::<Vec<_>>().join(" ")
    };
    kernels.map(|k| format!("{} over [{}]: {:.0} GFLOP", k.name, rows(&k.rows), k.flops * 1e-9)).collect()
}

#[test]
fn each_field_of_nerf_is_one_kernel_forward_and_one_backward() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../graphs/nerf/nerf.ron");
    let system = Spec::load(path).unwrap().system(&Overrides::none()).unwrap();
    let rays = planned(&simplified(&system.tasks["rays"].program).graph, Fusion::Full);
    assert_eq!(contracting(&rays).len(), 2, "{:?}", contracting(&rays));
    // Nothing of a field but its results is stored: the arena is no more than weights and values of rays.
    assert!(rays.arena_bytes < 12 << 20, "{} bytes", rays.arena_bytes);
    let step = &system.training.steps["fit"];
    let step = step_program(&system.losses[&step.loss], step, &system.parameters).unwrap();
    let fit = planned(&simplified(&step.program).graph, Fusion::Full);
    insta::assert_snapshot!("nerf", [contracting(&rays), contracting(&fit)].concat().join("\n"));
    // What the backward passes need of the forward ones is kept for a few rays at a time.
    assert!(fit.arena_bytes < 200 << 20, "{} bytes", fit.arena_bytes);
    let parts: Vec<usize> = fit.segments.iter().map(|segment| segment.parts).collect();
    assert!(parts.len() == 2 && parts.iter().all(|parts| *parts >= 8), "{parts:?}");
    let whole = PlanOptions { without: [Decision::Segments].into_iter().collect(), ..PlanOptions::default() };
    let whole = plan(&simplified(&step.program).graph, &whole).unwrap();
    assert!(whole.segments.is_empty() && whole.arena_bytes > 10 * fit.arena_bytes, "{} bytes", whole.arena_bytes);
}

/// A discriminator sees the whole picture before the backward pass of the fields begins: what that needs of them is computed
/// again, in the kernel that needs it, and nothing of it is stored.
#[test]
fn each_field_of_a_generator_is_one_kernel_forward_and_all_of_them_one_backward() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../graphs/pigan/pigan.ron");
    let overrides = Overrides { preset: Some("small".into()), ..Overrides::none() };
    let system = Spec::load(path).unwrap().system(&overrides).unwrap();
    let step = &system.training.steps["generator"];
    let step = step_program(&system.losses[&step.loss], step, &system.parameters).unwrap();
    let graph = simplified(&step.program).graph;
    let lean = planned(&graph, Fusion::Full);
    let of_samples = |plan: &Plan| {
        let kernels = plan.steps.iter().filter_map(|step| match step {
            Step::Kernel(kernel) if kernel.row_count() == 8 * 32 * 32 * 8 && kernel.flops > 1e9 => Some(kernel.flops),
            _ => None,
        });
        kernels.collect::<Vec<f64>>()
    };
    let kept = PlanOptions { without: [Decision::Rematerialise].into_iter().collect(), ..PlanOptions::default() };
    let kept = plan(&graph, &kept).unwrap();
    let (again, once): (f64, f64) = (of_samples(&lean).iter().sum(), of_samples(&kept).iter().sum());
    assert_eq!(of_samples(&lean).len(), 3, "{:?}", contracting(&lean));
    assert!(again > 1.3 * once, "{again} of {once}");
    assert!(lean.arena_bytes * 8 < kept.arena_bytes, "{} of {} bytes", lean.arena_bytes, kept.arena_bytes);
}

/// Losses of rays with samples: rendering in between goes along rays, and one value of the first stretch is read by
/// the step of the optimiser.
#[test]
fn rays_run_part_by_part() {
    let program = program(
        r#""ray": 256, "sample": 32, "from": 8, "mid": 16"#,
        r#""x": Input(axes: "[ray, sample, from]", about: "Points."), "w": Input(axes: "[mid, from]", about: "Weights."),
           "v": Input(axes: "[mid]", about: "Weights.")"#,
        r#""loss": "[]", "dw": "[mid, from]", "seen": "[ray]""#,
        r#"h = max(sum(w * x, from), 0)
           y = cumsum(sigmoid(sum(v * h, mid)), sample)
           seen = mean(y * y, sample)
           loss = mean(seen, ray)
           dw = grad(loss, w)"#,
    );
    let options = PlanOptions { segment_bytes: 0, segment_tiles: 1, ..PlanOptions::default() };
    let plan = plan(&program.graph, &options).unwrap();
    plan.verify().unwrap();
    assert_eq!(plan.segments.len(), 1, "{plan}");
    insta::assert_snapshot!("rays_in_parts", plan.to_string());
    assert_eq!(svg(&plan).matches("class=\"part\"").count(), 1);
    let spoiled = |spoil: &dyn Fn(&mut Plan)| {
        let mut plan = plan.clone();
        spoil(&mut plan);
        plan.verify().expect_err("the plan is spoiled")
    };
    let parts = spoiled(&|plan| plan.segments[0].parts *= 1024);
    assert!(matches!(parts, Defect::Parts { .. }), "{parts}");
    let twice = spoiled(&|plan| plan.segments.push(plan.segments[0].clone()));
    assert!(matches!(twice, Defect::Parts { .. }), "{twice}");
    let part = spoiled(&|plan| plan.segments.clear());
    assert!(matches!(part, Defect::Part { .. }), "{part}");
    // Cut between two kernels: the second one would find the last part alone.
    let cut = spoiled(&|plan| {
        let mut rest = plan.segments[0].clone();
        plan.segments[0].steps.end = rest.steps.start + 1;
        rest.steps.start += 1;
        plan.segments.push(rest);
    });
    assert!(matches!(cut, Defect::Part { .. }), "{cut}");
    // With room for the whole of each value, but a reader that goes beyond its own rows.
    let ahead = spoiled(&|plan| {
        let whole = |buffer: &mut Buffer| {
            buffer.parts = 1;
            buffer.place = Place::Arena(plan.arena_bytes);
            plan.arena_bytes += buffer.bytes();
        };
        plan.buffers.iter_mut().filter(|buffer| buffer.parts > 1).for_each(whole);
        assert_eq!(plan.verify(), Ok(()));
        for step in &mut plan.steps[plan.segments[0].steps.clone()][1..] {
            let Step::Kernel(kernel) = step else { continue };
            for stage in &mut kernel.stages {
                if let Stage::Load { offset, .. } = stage {
                    *offset += 1;
                }
            }
        }
    });
    assert!(matches!(ahead, Defect::Ahead { .. }), "{ahead}");
    // A value that the first part needs as well as the last is overwritten by what lives within a part.
    let lost = spoiled(&|plan| {
        let segment = plan.segments[0].steps.clone();
        let written = |step: &Step| match step {
            Step::Pack { target, .. } => Some(*target),
            _ => None,
        };
        let packed: Vec<_> = plan.steps[..segment.start].iter().filter_map(written).collect();
        let local = plan.buffers.iter().find(|buffer| buffer.parts > 1).map(|buffer| buffer.place.clone());
        let early = plan.steps[segment.start].buffers().into_iter().find(|id| packed.contains(id));
        if let (Some(Place::Arena(local)), Some(early)) = (local, early)
            && let Place::Arena(offset) = &mut plan.buffers[early.0 as usize].place
        {
            *offset = local;
        }
    });
    assert!(matches!(lost, Defect::Overlap { .. }), "{lost}");
}

/// Two convolutions: the second one reads panels of the first through a window, and both are one kernel each.
#[test]
fn a_convolution_reads_through_a_window() {
    let program = program(
        r#""y": 64, "x": 96, "c": 3, "n": 40, "m": 8"#,
        r#""image": Input(axes: "[c, y, x]", about: "An image."),
           "first": Input(axes: "[n, c, ty: 3, tx: 3]", about: "Weights."),
           "second": Input(axes: "[m, n, ty: 3, tx: 3]", about: "Weights.")"#,
        r#""result": "[m, y, x]""#,
        r#"a = window(window(pad(pad(image, y, 1, 1), x, 1, 1), y, v, ty: 3), x, u, tx: 3)
           hidden = max(sum(a * first, c, ty, tx), 0)[v as y, u as x]
           b = window(window(pad(pad(hidden, y, 1, 1), x, 1, 1), y, v, ty: 3), x, u, tx: 3)
           result = sum(b * second, n, ty, tx)[v as y, u as x]"#,
    );
    insta::assert_snapshot!("convolutions", planned(&program.graph, Fusion::Full).to_string());
}

/// Heads of attention: where queries come as they are, images and heads are rows; where they are computed from tokens, one
/// kernel computes them and their scores, and heads are loops inside of it.
#[test]
fn axes_of_a_batch_are_rows_or_loops() {
    let inputs = r#""keys": Input(axes: "[image, head, other, part]", about: "Keys."),
        "queries": Input(axes: "[image, head, token, part]", about: "Queries."),
        "x": Input(axes: "[image, token, from]", about: "Tokens."),
        "weight": Input(axes: "[head, part, from]", about: "Weights.")"#;
    let plan = planned(
        &program(
            r#""image": 2, "head": 3, "token": 64, "other": 40, "part": 16, "from": 24"#,
            inputs,
            r#""given": "[image, head, token, other]", "computed": "[image, token, head, other]""#,
            "given = sum(queries * keys, part)
             computed = sum(sum(weight * x, from) * keys, part)",
        )
        .graph,
        Fusion::Full,
    );
    insta::assert_snapshot!("batches", plan.to_string());
    let mut few = plan.clone();
    for buffer in &mut few.buffers {
        if let Layout::Strips { matrices, .. } = &mut buffer.layout {
            *matrices = 1;
        }
    }
    assert!(matches!(few.verify(), Err(Defect::Weights { .. })));
}

#[test]
fn plans_of_random_graphs_hold_together() {
    let cases = std::env::var("VISAGE_CASES").ok().and_then(|count| count.parse().ok()).unwrap_or(400);
    for seed in 0..cases {
        let dtype = if seed % 4 == 3 { DType::F64 } else { DType::F32 };
        let options = Options { operations: 4 + seed as usize % 24, dtype, elements: 3000, ..Options::default() };
        let (mut graph, _) = graph(seed, &options);
        if let (true, Some(loss)) = (seed % 2 == 0, graph.output("loss")) {
            let leaves: Vec<NodeId> = graph.ids().filter(|id| matches!(graph.op(*id), Op::Parameter(_))).collect();
            for (k, gradient) in gradients(&mut graph, loss, &leaves).unwrap().into_iter().enumerate() {
                graph.set_output(&format!("gradient.{k}"), gradient);
            }
        }
        let graph = simplify(&graph.pruned());
        planned(&graph, Fusion::Full);
        planned(&graph, Fusion::None);
    }
}

/// The same where an axis is long enough to be cut.
#[test]
fn plans_in_parts_hold_together() {
    let cases = std::env::var("VISAGE_CASES").ok().and_then(|count| count.parse().ok()).unwrap_or(400);
    let in_parts = PlanOptions { segment_bytes: 0, segment_tiles: 1, ..PlanOptions::default() };
    let mut segments = 0;
    for seed in 0..cases {
        let dtype = if seed % 4 == 3 { DType::F64 } else { DType::F32 };
        let operations = 4 + seed as usize % 24;
        let options = Options { operations, dtype, elements: 40_000, bound: 12.0, long: 64 };
        let (mut graph, _) = graph(seed, &options);
        if let (true, Some(loss)) = (seed % 2 == 0, graph.output("loss")) {
            let leaves: Vec<NodeId> = graph.ids().filter(|id| matches!(graph.op(*id), Op::Parameter(_))).collect();
            for (k, gradient) in gradients(&mut graph, loss, &leaves).unwrap().into_iter().enumerate() {
                graph.set_output(&format!("gradient.{k}"), gradient);
            }
        }
        let graph = simplify(&graph.pruned());
        let plan = plan(&graph, &in_parts).unwrap_or_else(|e| panic!("{e}\n{graph}"));
        plan.verify().unwrap_or_else(|defect| panic!("{defect}\n{plan}\n{graph}"));
        segments += plan.segments.len();
    }
    assert!(segments > 0, "no plan runs in parts");
}

/// The layers in bf16: weights are packed as pairs, and what they meet is rounded through tile memory.
fn in_bf16() -> Plan {
    let [sizes, inputs, outputs, equations] = LAYERS;
    let options = PlanOptions { precision: Precision::Bf16, ..PlanOptions::default() };
    plan(&program(sizes, inputs, outputs, equations).graph, &options).unwrap()
}

#[test]
fn contractions_in_bf16_are_shown() {
    let plan = in_bf16();
    assert_eq!(plan.verify(), Ok(()));
    insta::assert_snapshot!(plan);
    assert!(svg(&plan).contains(", in bf16"));
}

#[test]
fn contractions_in_bf16_are_verified() {
    let spoiled = |spoil: &dyn Fn(&mut Plan)| {
        let mut plan = in_bf16();
        spoil(&mut plan);
        plan.verify().expect_err("the plan is spoiled")
    };
    let kernels = |plan: &mut Plan, spoil: &dyn Fn(&mut visage_compiler::plan::Kernel)| {
        plan.steps.iter_mut().for_each(|step| {
            if let Step::Kernel(kernel) = step {
                spoil(kernel);
            }
        });
    };
    let strips = spoiled(&|plan| {
        for buffer in &mut plan.buffers {
            if let Layout::Pairs { matrices, n, blocks, block } = buffer.layout {
                buffer.layout = Layout::Strips { matrices, n, k: blocks * block };
            }
        }
    });
    assert!(matches!(strips, Defect::Weights { precision: Precision::Bf16, .. }), "{strips}");
    let exact = spoiled(&|plan| {
        kernels(plan, &|kernel| {
            for stage in &mut kernel.stages {
                if let Stage::Contract { pairs, .. } = stage {
                    *pairs = None;
                }
            }
        });
    });
    assert!(matches!(exact, Defect::Weights { precision: Precision::F32, .. }), "{exact}");
    let narrow = spoiled(&|plan| kernels(plan, &|kernel| kernel.tile_words.iter_mut().for_each(|words| *words /= 2)));
    assert!(matches!(narrow, Defect::Room { .. }), "{narrow}");
}

/// The plan of the layers, spoiled.
fn spoiled(spoil: impl FnOnce(&mut Plan)) -> Defect {
    let [sizes, inputs, outputs, equations] = LAYERS;
    let mut plan = planned(&program(sizes, inputs, outputs, equations).graph, Fusion::Full);
    spoil(&mut plan);
    plan.verify().expect_err("the plan is spoiled")
}

#[test]
fn defects_are_found() {
    let late = spoiled(|plan| plan.steps.reverse());
    assert!(matches!(late, Defect::Unwritten { .. }), "{late}");
    let shared = spoiled(|plan| {
        for buffer in &mut plan.buffers {
            if let Place::Arena(offset) = &mut buffer.place {
                *offset = 0;
            }
        }
    });
    assert!(matches!(shared, Defect::Overlap { .. }), "{shared}");
    let small = spoiled(|plan| plan.arena_bytes /= 2);
    assert!(matches!(small, Defect::Outside { .. }), "{small}");
    let kernels = |plan: &mut Plan, spoil: &dyn Fn(&mut visage_compiler::plan::Kernel)| {
        plan.steps.iter_mut().for_each(|step| {
            if let Step::Kernel(kernel) = step {
                spoil(kernel);
            }
        });
    };
    let empty = spoiled(|plan| kernels(plan, &|kernel| kernel.stages.retain(|s| !matches!(s, Stage::Load { .. }))));
    assert!(matches!(empty, Defect::EmptyTile { .. }), "{empty}");
    let outside = spoiled(|plan| kernels(plan, &|kernel| kernel.scratch = 1));
    assert!(matches!(outside, Defect::TileOutside { .. }), "{outside}");
    let chunks = spoiled(|plan| kernels(plan, &|kernel| kernel.chunks += 1));
    assert!(matches!(chunks, Defect::Chunks { .. }), "{chunks}");
    let output = spoiled(|plan| {
        let id = plan.outputs["y"].buffer;
        plan.buffers[id.0 as usize].layout = Layout::Strips { matrices: 1, n: 64, k: 64 };
    });
    assert!(matches!(output, Defect::Output { .. }), "{output}");
    let stacked = spoiled(|plan| kernels(plan, &|kernel| kernel.tiles.fill(0)));
    assert!(matches!(stacked, Defect::TileOverlap { .. }), "{stacked}");
}

/// Adam joins the gradient of the weights where these have few pixels, whose sums need no partial results, and everything
/// that it keeps is written where it was.
#[test]
fn an_optimiser_joins_the_gradient_and_writes_over_its_state() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../graphs/codeformer/codeformer.ron");
    let sizes = [("side", "32"), ("image", "1"), ("critic_layers", "2"), ("perceptual", "false"), ("adversity", "0")];
    let small = Overrides { preset: Some("small".to_owned()), ..Overrides::none() };
    let overrides = sizes.iter().fold(small, |overrides, (name, value)| overrides.set(name, value));
    let system = Spec::load(path).unwrap().system(&overrides).unwrap();
    let declared = &system.training.steps["autoencoder"];
    let step = step_program(&system.losses[&declared.loss], declared, &system.parameters).unwrap();
    let updates: IndexMap<String, String> =
        step.updates.iter().map(|(state, output)| (output.clone(), state.clone())).collect();
    let planned = |without: &[Decision]| {
        let options = PlanOptions { without: without.iter().copied().collect(), ..PlanOptions::default() };
        let plan = plan_updating(&simplified(&step.program).graph, &step.program.outputs, &updates, &options).unwrap();
        plan.verify().unwrap();
        plan
    };
    let plan = planned(&[]);
    // The gradients of pictures are convolutions along both axes, and what they read is padded nowhere.
    let graph = simplified(&step.program).graph;
    assert!(graph.ids().all(|id| !matches!(graph.op(id), Op::Fold { .. })), "{graph}");
    let pads =
        |step: &&Step| matches!(step, Step::Kernel(k) if k.name.starts_with("pad x") || k.name.starts_with("pad y"));
    assert_eq!(plan.steps.iter().filter(pads).count(), 0, "{plan}");
    let in_state = |plan: &Plan, output: &str| {
        matches!(plan.buffers[plan.outputs[output].buffer.0 as usize].place, Place::State(_))
    };
    let beside: Vec<&String> = updates.keys().filter(|output| !in_state(&plan, output)).collect();
    // But weights that are themselves rows of the kernel that updates them, and multiplied by it afterwards.
    assert!(beside.len() * 10 < updates.len(), "{beside:?}");
    let apart = planned(&[Decision::Replace]);
    assert!(updates.keys().all(|output| !in_state(&apart, output)));
    assert!(apart.arena_bytes > plan.arena_bytes * 2, "{} and {} bytes", apart.arena_bytes, plan.arena_bytes);
    let weight = "hq.generator.blocks.1.conv1.weight";
    let new = plan.outputs[&format!("new.{weight}")].buffer;
    let writes = |step: &&Step| step.touched().1.contains(&new);
    let Some(Step::Kernel(kernel)) = plan.steps.iter().find(writes) else {
        panic!("{weight} is not updated by a kernel")
    };
    assert!(kernel.stages.iter().any(|stage| matches!(stage, Stage::Contract { .. })), "{plan}");
    // Without unions of kernels it is one of its own.
    let apart = planned(&[Decision::Merge]);
    let new = apart.outputs[&format!("new.{weight}")].buffer;
    let writes = |step: &&Step| step.touched().1.contains(&new);
    let Some(Step::Kernel(kernel)) = apart.steps.iter().find(writes) else {
        panic!("{weight} is not updated by a kernel")
    };
    assert!(!kernel.stages.iter().any(|stage| matches!(stage, Stage::Contract { .. })), "{apart}");
    // The old value of such weights is read after the new one is there.
    let mut spoiled = plan.clone();
    let output = beside[0];
    spoiled.buffers[plan.outputs[output].buffer.0 as usize].place = Place::State(updates[output].clone());
    let defect = spoiled.verify().expect_err("the plan is spoiled");
    assert!(matches!(defect, Defect::Replaced { .. }), "{defect}");
}
