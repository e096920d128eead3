//! A plan as a picture: steps from top to bottom, what each kernel does, and the values between them.
//!
//! A box is a kernel with its stages; a thin line is packing or combining. To the right, a bracket for every stored
//! intermediate value leads from the step that writes it to those that read it; the thicker, the more bytes. To the left,
//! a bracket for every stretch that runs part by part.

use super::{Buffer, Kernel, Place, Plan, Precision, Segment, Stage, Step};
use std::fmt::Write;

/// Heights and widths, in pixels.
const LINE: usize = 15;
const PAD: usize = 8;
const GAP: usize = 10;
const BOX: usize = 560;
const MARGIN: usize = 20;
const LANE: usize = 9;

/// Colours by what is done; the middle ones stand out on a light and on a dark ground.
const STYLE: &str = "\
.ground{fill:#fff}text{font:12px ui-monospace,monospace;fill:#222}.name{font-weight:bold}.quiet{fill:#777}\
.kernel{fill:#f4f5f7;stroke:#99a}.value{fill:none;stroke:#99a;opacity:.75}.value:hover{stroke:#c33;opacity:1}\
.part{fill:none;stroke:#8a4fc7;stroke-width:2}\
.contract{fill:#2563c9}.map{fill:#9aa3b5}.total{fill:#2c9a5f}.move{fill:#d98a1f}.order{fill:#8a4fc7}.sum{fill:#c93b3b}\
@media(prefers-color-scheme:dark){.ground{fill:#16181d}text{fill:#ddd}.kernel{fill:#22262e;stroke:#667}.quiet{fill:#999}}";

/// One step as it is drawn.
struct Drawn {
    top: usize,
    height: usize,
    lines: Vec<Line>,
    kernel: bool,
}

struct Line {
    class: &'static str,
    text: String,
}

/// The picture of a plan, a whole SVG document.
pub fn svg(plan: &Plan) -> String {
    let mut top = MARGIN + 3 * LINE;
    let steps: Vec<Drawn> = plan
        .steps
        .iter()
        .map(|step| {
            let (lines, kernel) = (lines(plan, step), matches!(step, Step::Kernel(_)));
            let height = lines.len() * LINE + if kernel { 2 * PAD } else { 0 };
            let drawn = Drawn { top, height, lines, kernel };
            top += height + if kernel { GAP } else { 2 };
            drawn
        })
        .collect();
    let (values, lanes) = values(plan, &steps);
    let (width, height) = (2 * MARGIN + BOX + GAP + lanes * LANE + 90, top + MARGIN);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">\n\
         <style>{STYLE}</style>\n<rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n"
    );
    let flops: f64 =
        plan.steps.iter().map(|step| if let Step::Kernel(kernel) = step { kernel.flops } else { 0.0 }).sum();
    let summary = format!(
        "{} steps, {:.3} GFLOP of contractions, arena {}",
        plan.steps.len(),
        flops * 1e-9,
        bytes(plan.arena_bytes)
    );
    label(&mut text, "name", MARGIN, MARGIN + LINE, &summary);
    legend(&mut text);
    text.push_str(&values);
    for step in &steps {
        draw(&mut text, step);
    }
    for segment in &plan.segments {
        bracket(&mut text, segment, &steps[segment.steps.clone()]);
    }
    text.push_str("</svg>\n");
    text
}

/// What the colours of the marks say.
const LEGEND: [(&str, &str); 6] = [
    ("contract", "contraction"),
    ("map", "map"),
    ("total", "reduction or scan"),
    ("sum", "sum over rows"),
    ("move", "copy"),
    ("order", "sort or scatter"),
];

/// A line below the summary.
fn legend(text: &mut String) {
    let mut x = MARGIN;
    for (class, words) in LEGEND {
        mark(text, class, x, MARGIN + LINE + 6);
        label(text, "quiet", x + 14, MARGIN + 2 * LINE, words);
        x += 30 + 8 * words.len();
    }
}

/// A square before a line of text.
fn mark(text: &mut String, class: &str, x: usize, y: usize) {
    let _ = writeln!(text, "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"9\" height=\"9\" rx=\"2\"/>");
}

fn draw(text: &mut String, step: &Drawn) {
    let pad = if step.kernel { PAD } else { 0 };
    if step.kernel {
        let _ = writeln!(
            text,
            "<rect class=\"kernel\" x=\"{MARGIN}\" y=\"{}\" width=\"{BOX}\" height=\"{}\" rx=\"4\"/>",
            step.top, step.height
        );
    }
    for (at, line) in step.lines.iter().enumerate() {
        let y = step.top + pad + at * LINE;
        let x = MARGIN + PAD;
        match line.class {
            "name" | "quiet" => label(text, line.class, x, y + LINE - 4, &line.text),
            class => {
                mark(text, class, x, y + 3);
                label(text, "", x + 16, y + LINE - 4, &line.text);
            }
        }
    }
}

/// A bracket to the left of steps that run part by part.
fn bracket(text: &mut String, segment: &Segment, steps: &[Drawn]) {
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else { return };
    let (top, bottom, x) = (first.top, last.top + last.height, MARGIN - 4);
    let _ = writeln!(
        text,
        "<path class=\"part\" d=\"M{x} {top}H{0}V{bottom}H{x}\"><title>{1} steps, in {2} parts</title></path>\n\
         <text class=\"quiet\" transform=\"translate({3} {4}) rotate(-90)\" text-anchor=\"end\">{2} parts</text>",
        x - 4,
        segment.steps.len(),
        segment.parts,
        x - 6,
        top
    );
}

fn label(text: &mut String, class: &str, x: usize, y: usize, words: &str) {
    // What does not fit into a box is cut; the whole of it is in the printed plan.
    let most = BOX / 8;
    let cut: String = match words.chars().count() {
        count if count > most => words.chars().take(most - 1).chain(['…']).collect(),
        _ => words.to_owned(),
    };
    let _ = writeln!(text, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>", escaped(&cut));
}

fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn bytes(count: usize) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{:.1} KiB", count as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", count as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", count as f64 / 1_073_741_824.0),
    }
}

fn lines(plan: &Plan, step: &Step) -> Vec<Line> {
    let name = |id: &super::BufferId| plan.buffers[id.0 as usize].name.clone();
    match step {
        Step::Pack { source, n_offsets, k_offsets, .. } => {
            let text = format!("pack {}, {} × {}", name(source), n_offsets.len(), k_offsets.len());
            vec![Line { class: "move", text }]
        }
        Step::Combine { target, chunks, combine, .. } => {
            let text = format!("{} of {chunks} chunks into {}", combine.name(), name(target));
            vec![Line { class: "sum", text }]
        }
        Step::Kernel(kernel) => kernel_lines(plan, kernel),
    }
}

fn kernel_lines(plan: &Plan, kernel: &Kernel) -> Vec<Line> {
    let rows: Vec<String> = kernel.rows.iter().map(|(axis, size)| format!("{axis}={size}")).collect();
    let work = if kernel.flops > 0.0 { format!(", {:.3} GFLOP", kernel.flops * 1e-9) } else { String::new() };
    let chunks = if kernel.chunks > 1 { format!(", {} chunks", kernel.chunks) } else { String::new() };
    let mut lines = vec![
        Line { class: "name", text: format!("{} [{}]", kernel.name, rows.join(" ")) },
        Line {
            class: "quiet",
            text: format!(
                "{} of {}, {} of tile memory{chunks}{work}",
                counted(kernel.tile_count(), "tile"),
                counted(kernel.tile_panels, "panel"),
                bytes(kernel.scratch * 4)
            ),
        },
    ];
    lines.extend(kernel.stages.iter().map(|stage| stage_line(plan, stage)));
    lines
}

fn stage_line(plan: &Plan, stage: &Stage) -> Line {
    let name = |id: &super::BufferId| plan.buffers[id.0 as usize].name.clone();
    let over = |loops: &[super::Loop]| match loops {
        [] => String::new(),
        loops => format!(
            " over [{}]",
            loops.iter().map(|(axis, size)| format!("{axis}={size}")).collect::<Vec<_>>().join(" ")
        ),
    };
    let count = |body: &super::Expression| counted(body.operations(), "operation");
    let (class, text) = match stage {
        Stage::Load { source, loops, .. } => ("move", format!("load {}{}", name(source), over(loops))),
        Stage::Save { target, loops, .. } => ("move", format!("save {}{}", name(target), over(loops))),
        Stage::Stream { target, .. } => ("move", format!("stream {} past the caches", name(target))),
        Stage::Fill { loops, value, .. } => ("move", format!("fill with {value:?}{}", over(loops))),
        Stage::Map { loops, body, .. } if body.operations() == 0 => ("move", format!("copy{}", over(loops))),
        Stage::Map { loops, body, .. } => ("map", format!("map of {}{}", count(body), over(loops))),
        Stage::Reduce { loops, over: axes, combine, body, .. } => {
            let inner = over(axes).replace(" over ", "");
            ("total", format!("{} of {inner} after {}{}", combine.name(), count(body), over(loops)))
        }
        Stage::ArgReduce { loops, over: axis, largest, .. } => {
            let name = if *largest { "argmax" } else { "argmin" };
            ("total", format!("{name} of {}={}{}", axis.0, axis.1, over(loops)))
        }
        Stage::Scan { loops, along, combine, .. } => {
            ("total", format!("scan {} along {}={}{}", combine.name(), along.0, along.1, over(loops)))
        }
        Stage::Sort { loops, along, positions, .. } => {
            let name = if *positions { "argsort" } else { "sort" };
            ("order", format!("{name} along {}={}{}", along.0, along.1, over(loops)))
        }
        Stage::Scatter { loops, size, .. } => ("order", format!("scatter into {size}{}", over(loops))),
        Stage::Contract { weights, n, k, pairs, .. } => {
            let rounded = if pairs.is_some() { ", in bf16" } else { "" };
            ("contract", format!("contract {n} × {k} with {}{rounded}", name(weights)))
        }
        Stage::Winograd { weights, n, k, .. } => {
            ("contract", format!("convolve {n} × {k} with {}, 3 x 3", name(weights)))
        }
        Stage::AccumulateContract { g, x, target, precision, .. } => {
            let (n, k) = (g.features, x.features);
            let rounded = if *precision == Precision::Bf16 { ", in bf16" } else { "" };
            ("contract", format!("accumulate {n} × {k} over rows into {}{rounded}", name(target)))
        }
        Stage::AccumulateReduce { combine, target, .. } => {
            ("sum", format!("accumulate {} over rows into {}", combine.name(), name(target)))
        }
        Stage::AccumulateScatter { size, target, .. } => {
            ("sum", format!("scatter over rows into {size} of {}", name(target)))
        }
    };
    Line { class, text }
}

/// Where a value is written and read: steps, the first one first.
fn touched(plan: &Plan) -> Vec<Vec<usize>> {
    let mut touched = vec![Vec::new(); plan.buffers.len()];
    for (at, step) in plan.steps.iter().enumerate() {
        for id in step.buffers() {
            touched[id.0 as usize].push(at);
        }
    }
    touched
}

/// The brackets of the values that are handed from step to step, each in the nearest free lane; how many lanes there
/// are.
fn values(plan: &Plan, steps: &[Drawn]) -> (String, usize) {
    let mut text = String::new();
    let mut free: Vec<usize> = Vec::new();
    let mut handed: Vec<(&Buffer, Vec<usize>)> = plan.buffers.iter().zip(touched(plan)).collect();
    handed.retain(|(buffer, at)| matches!(buffer.place, Place::Arena(_)) && at.len() > 1);
    handed.sort_by_key(|(_, at)| at[0]);
    for (buffer, at) in handed {
        let (first, last) = (at[0], at[at.len() - 1]);
        let lane = free.iter().position(|until| *until < first).unwrap_or(free.len());
        free.resize(free.len().max(lane + 1), 0);
        free[lane] = last;
        let x = MARGIN + BOX + GAP + lane * LANE;
        // Brackets leave a step a little above its end and enter below its head, so that they can be told apart.
        let begin = steps[first].top + steps[first].height - 3 - lane % 4;
        let end = steps[last].top + 6 + lane % 4;
        let mut path = format!("M{} {begin}H{x}V{end}", MARGIN + BOX);
        for reader in &at[1..] {
            let _ = write!(path, "M{x} {0}H{1}", steps[*reader].top + 6 + lane % 4, MARGIN + BOX);
        }
        let thick = 0.5 + 0.35 * (buffer.bytes().max(1) as f64 / 1024.0).log2().clamp(0.0, 16.0);
        let title = format!("{}: {} {}, {}", buffer.name, buffer.dtype, buffer.layout, bytes(buffer.bytes()));
        let _ = writeln!(
            text,
            "<path class=\"value\" d=\"{path}\" stroke-width=\"{thick:.1}\"><title>{}</title></path>",
            escaped(&title)
        );
        if buffer.bytes() >= 1 << 20 {
            let _ = writeln!(
                text,
                "<text class=\"quiet\" x=\"{}\" y=\"{}\">{}</text>",
                x + 5,
                begin + 14 + lane % 5 * 13,
                bytes(buffer.bytes())
            );
        }
    }
    (text, free.len())
}
