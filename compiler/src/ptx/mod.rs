//! Lowering to PTX: a plan's steps as functions of a graphics processor, as text.
//!
//! A panel is a warp, a row is a thread: maps, reductions over features and scans are straight code, and what
//! one thread reads its neighbours read beside it. A block of eight warps goes through the stages of a kernel
//! with a tile in shared memory; its warps share panels and features, and meet at a barrier where a stage touches what
//! another has written. Contractions are products of fragments by tensor cores (`contraction`), with operands as they
//! lie in the tile; weights come from memory in the order of fragments, straight into registers.
//!
//! ```text
//!   tile in shared memory: value[panel][feature][40]      registers of a warp
//!   32 rows and 8 words of nothing                        16 outputs x 8 rows a fragment
//!   ─────────────────────────────────────                 ───────────────────────────────
//!   map      a warp, a feature of a panel                 x[k][row]   from shared memory
//!   contract a warp, some outputs of all rows   ───────▶  w[n][k]     from memory, packed
//!   map      …                                            c[n][row]   back to shared memory
//! ```
//!
//! Where a tile does not fit into shared memory, it lies in the device's memory, which its second-level cache holds.
//! Sums over rows are as on the CPU: a block adds the tiles of its chunk up in order, another function adds the chunks.
//!
//! The elementary functions are the polynomials of [`visage_kernels::math`] in either precision, emitted instruction by instruction. Nothing
//! here knows a driver: a [`Program`] is text and a list of launches.
//!
//! Invariant: the same plan and options give the same text, byte by byte.

mod contraction;
mod emitter;
mod expression;
mod lanes;
mod scalar;
mod stage;
mod steps;
mod text;
mod together;
mod window;

use crate::plan::{BufferId, Kernel, LANES, Plan, PlanOptions, Products, Source, Stage, Step, Target, Term, words};
use emitter::{EXCHANGE_BYTES, Emitter, PITCH, THREADS, tile_bytes};
use rustc_hash::FxHashMap;
use std::{fmt, fmt::Write, ops::Range, str::FromStr};
use text::{Operand, SCOPE};
use thiserror::Error;

/// The processors that the text is for. Text for one family runs on later ones, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Family {
    /// Ampere and later: fragments in registers, asynchronous copies.
    #[default]
    Sm80,
    /// Hopper: more shared memory.
    Sm90,
}

impl Family {
    /// All of them.
    pub const ALL: [Family; 2] = [Family::Sm80, Family::Sm90];

    /// What `.target` and `ptxas` call it.
    pub fn name(self) -> &'static str {
        match self {
            Family::Sm80 => "sm_80",
            Family::Sm90 => "sm_90",
        }
    }

    /// How programs for it are planned: tiles that fill shared memory, pieces for every processor, and no parts, since
    /// memory is plenty.
    pub fn plan_options(self) -> PlanOptions {
        let target = Target {
            tile_bytes: self.tile_bytes() / PITCH * LANES,
            near_bytes: 24 << 10,
            // The second-level cache serves all reads; nothing is written past it.
            cache_bytes: usize::MAX,
            least_tiles: 4 * PROCESSORS,
            products: Products::TensorCores { panels: 4 },
        };
        PlanOptions { target, segment_bytes: usize::MAX, ..PlanOptions::default() }
    }

    /// The version of PTX that its text declares: the oldest that has what is used, for the sake of old drivers.
    fn version(self) -> &'static str {
        match self {
            Family::Sm80 => "7.0",
            Family::Sm90 => "7.8",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Family {
    type Err = String;

    fn from_str(name: &str) -> Result<Family, String> {
        let found = Family::ALL.into_iter().find(|family| family.name() == name);
        found.ok_or_else(|| format!("there is no code for `{name}`, only for sm_80 and sm_90"))
    }
}

/// What the fragments of a contraction are rounded to. Sums are in `f32` in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Each operand as a sum of two numbers of 11 bits, and three products: 22 bits of 24.
    #[default]
    F32,
    /// 11 bits, to the nearest.
    Tf32,
    /// 8 bits, to the nearest.
    Bf16,
}

/// Choices of the lowering.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PtxOptions {
    /// The processors.
    pub family: Family,
    /// What contractions multiply.
    pub precision: Precision,
    /// Whether scattered sums are added in one order always, and not as threads come.
    pub deterministic: bool,
}

/// Why a plan cannot be lowered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PtxError {
    /// A value with more elements than addresses count.
    #[error("`{name}` takes {bytes} bytes, where a value on a graphics processor has at most 8 GiB")]
    TooLarge {
        /// The value.
        name: String,
        /// Its size.
        bytes: usize,
    },
}

/// What a function is called with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Argument {
    /// The address of a stored value, 64 bits.
    Buffer(BufferId),
    /// The address of [`Program::scratch_bytes`] bytes that are this launch's own, 64 bits.
    Scratch,
    /// The word of the seed, 32 bits.
    Seed,
    /// The word of the training step, 32 bits.
    Step,
}

/// A call of a function of a [`Program`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The steps of the plan that it is: one, or several that have nothing to do with each other.
    pub steps: Range<usize>,
    /// The name of the function, that of the first launch which it is called by.
    pub entry: String,
    /// Blocks.
    pub blocks: usize,
    /// Threads of a block.
    pub threads: usize,
    /// Bytes of dynamic shared memory of a block.
    pub shared_bytes: usize,
    /// The arguments.
    pub arguments: Vec<Argument>,
    text: Range<usize>,
}

/// A plan as PTX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The processors that it is for.
    pub family: Family,
    /// What runs, one after another.
    pub launches: Vec<Launch>,
    /// Bytes of device memory for tiles that do not fit into shared memory.
    pub scratch_bytes: usize,
    functions: String,
}

impl Program {
    /// A module with every function.
    pub fn module(&self) -> String {
        self.header() + &self.functions
    }

    /// A module with the function of one launch.
    pub fn module_of(&self, launch: &Launch) -> String {
        self.header() + &self.functions[launch.text.clone()]
    }

    fn header(&self) -> String {
        format!(
            ".version {}\n.target {}\n.address_size 64\n\n.extern .shared .align 16 .b8 tile_memory[];\n",
            self.family.version(),
            self.family
        )
    }
}

/// Lowers every step of a plan.
///
/// # Errors
/// The plan has a value that is too large.
pub fn compile(plan: &Plan, options: &PtxOptions) -> Result<Program, PtxError> {
    for buffer in &plan.buffers {
        if buffer.bytes() > 8 << 30 {
            return Err(PtxError::TooLarge { name: buffer.name.clone(), bytes: buffer.bytes() });
        }
    }
    let mut functions = Vec::with_capacity(plan.steps.len());
    for step in &plan.steps {
        functions.push(match step {
            Step::Kernel(kernel) => kernel_function(plan, kernel, *options),
            Step::Pack { source, target, m_offsets, n_offsets, k_offsets, winograd: _ } => {
                steps::pack(plan, *source, *target, [m_offsets, n_offsets, k_offsets], options.precision)
            }
            Step::Combine { source, target, combine, chunks, arrangement } => {
                steps::combine(plan, *source, *target, *combine, *chunks, arrangement)
            }
        });
    }
    let mut program =
        Program { family: options.family, launches: Vec::new(), scratch_bytes: 0, functions: String::new() };
    let mut known = FxHashMap::default();
    for steps in together::groups(plan, &functions) {
        program.add(steps.clone(), &functions[steps], &mut known);
    }
    Ok(program)
}

/// What a step becomes: a part of a function, for blocks of its own.
struct Function {
    /// What it is for, as a part of its name.
    name: String,
    /// Constants of the module that it reads; they are called after [`ENTRY`].
    tables: String,
    /// Its code, which asks for parameters by [`PARAMETER`] and for its block by [`BLOCK`].
    body: String,
    arguments: Vec<Argument>,
    blocks: usize,
    shared_bytes: usize,
    scratch_bytes: usize,
    /// Whether it takes so little of a processor that it may be launched with others.
    is_light: bool,
}

impl Function {
    /// Code and constants, with the name they are called after, the scope of what they declare, and parameters counted from
    /// the `first`.
    fn placed(&self, name: &str, scope: &str, first: usize) -> (String, String) {
        let mut parts = self.body.split(PARAMETER);
        let mut body = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            let number: usize = part[..end].parse().unwrap_or_else(|_| unreachable!("parameters have numbers"));
            let _ = write!(body, "p{}{}", first + number, &part[end..]);
        }
        (body.replace(SCOPE, scope).replace(ENTRY, name), self.tables.replace(ENTRY, name))
    }
}

/// What was written of functions: the name of each and its place, by its text without a name.
type Known = FxHashMap<String, (String, Range<usize>)>;

impl Program {
    /// Adds a launch of some steps, each in blocks of its own. Steps that do the same with other values share a function.
    fn add(&mut self, steps: Range<usize>, functions: &[Function], known: &mut Known) {
        let entry = match functions {
            [one] => format!("step_{}_{}", steps.start, identifier(&one.name)),
            _ => format!("steps_{}_to_{}", steps.start, steps.end - 1),
        };
        let arguments: Vec<Argument> = functions.iter().flat_map(|function| function.arguments.clone()).collect();
        let parameter = |(number, argument): (usize, &Argument)| match argument {
            Argument::Buffer(_) | Argument::Scratch => format!("\n\t.param .u64 p{number}"),
            Argument::Seed | Argument::Step => format!("\n\t.param .u32 p{number}"),
        };
        let parameters: Vec<String> = arguments.iter().enumerate().map(parameter).collect();
        let (mut code, mut constants, mut first) = (String::new(), String::new(), 0);
        for (number, function) in functions.iter().enumerate() {
            let scope = if functions.len() > 1 { format!("s{number}_") } else { String::new() };
            let (body, tables) = function.placed(&format!("{ENTRY}_{number}"), &scope, first);
            first += function.arguments.len();
            constants += &tables;
            let blocks = function.blocks;
            let _ = match number + 1 == functions.len() {
                true => write!(code, "{body}"),
                false => write!(
                    code,
                    "\tsetp.ge.u32 %other, {BLOCK}, {blocks};\n\t@%other bra $N{number};\n\
                     {body}$N{number}:\n\tsub.u32 {BLOCK}, {BLOCK}, {blocks};\n"
                ),
            };
        }
        let other = if functions.len() > 1 { "\t.reg .pred %other;\n" } else { "" };
        // A block a processor is enough: registers are not spilled for the sake of another.
        let text = format!(
            "{constants}.visible .entry {ENTRY}({}\n)\n.reqntid {THREADS}, 1, 1\n.minnctapersm 1\n{{\n\
             \t.reg .b32 {BLOCK};\n{other}\tmov.u32 {BLOCK}, %ctaid.x;\n{code}}}\n",
            parameters.join(","),
        );
        let (entry, text) = known
            .entry(text)
            .or_insert_with_key(|text| {
                let start = self.functions.len();
                let names: Vec<String> = functions.iter().map(|function| function.name.replace('\n', " ")).collect();
                let _ = write!(self.functions, "\n// {}\n{}", names.join("; "), text.replace(ENTRY, &entry));
                (entry, start..self.functions.len())
            })
            .clone();
        let most = |bytes: fn(&Function) -> usize| functions.iter().map(bytes).max().unwrap_or(0);
        self.scratch_bytes = self.scratch_bytes.max(most(|function| function.scratch_bytes));
        self.launches.push(Launch {
            steps,
            entry,
            blocks: functions.iter().map(|function| function.blocks).sum(),
            threads: THREADS,
            shared_bytes: most(|function| function.shared_bytes),
            arguments,
            text,
        });
    }
}

/// Stands for a function's own name in what it declares, until that is known.
const ENTRY: &str = "@entry@";

/// Stands before the number of a parameter, until it is known with which others it is.
const PARAMETER: &str = "@p";

/// The register that has the number of the block among those of a step.
const BLOCK: &str = "%block";

/// A name as PTX takes it.
fn identifier(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    name.chars().take(40).map(plain).collect()
}

/// Streaming multiprocessors of an H100. Others have about as many.
const PROCESSORS: usize = 132;

/// Blocks of a kernel in which nothing accumulates, at most: enough for every processor to have several.
const MOST_BLOCKS: usize = 16 * PROCESSORS;

/// Blocks of a kernel whose tiles are in the device's memory, at most.
const SPILLED_BLOCKS: usize = PROCESSORS;

fn kernel_function(plan: &Plan, kernel: &Kernel, options: PtxOptions) -> Function {
    let mut e = Emitter::new(plan, kernel, options);
    let spilled = tile_bytes(kernel) > options.family.tile_bytes();
    let accumulates = kernel.stages.iter().any(Stage::accumulates);
    let tiles = kernel.tile_count();
    let blocks = match accumulates {
        true => kernel.chunks,
        false => tiles.min(if spilled { SPILLED_BLOCKS } else { MOST_BLOCKS }),
    };
    let (begin, end, step) = if accumulates {
        stage::start_partials(&mut e);
        let begin = e.times(e.block.into(), tiles);
        let end = e.plus(begin, tiles.into());
        (e.divided(begin, blocks).0, e.divided(end, blocks).0, 1)
    } else {
        (Operand::from(e.block), tiles.into(), blocks)
    };
    e.stepping(begin, end, step, &mut |e, tile| tile_body(e, tile));
    e.t.line("ret");
    Function {
        name: kernel.name.clone(),
        tables: String::new(),
        body: e.t.finish(),
        arguments: e.arguments,
        blocks,
        shared_bytes: EXCHANGE_BYTES + if spilled { 0 } else { tile_bytes(kernel) },
        scratch_bytes: if spilled { tile_bytes(kernel) * blocks } else { 0 },
        is_light: tile_bytes(kernel) <= LIGHT_BYTES && !kernel.stages.iter().any(multiplies),
    }
}

/// The stages on one tile.
fn tile_body(e: &mut Emitter<'_>, tile: Operand) {
    let kernel = e.kernel;
    let first = e.times(tile, kernel.tile_panels);
    let first = e.t.variable(text::Class::Bits32, first);
    e.first_panel = first;
    e.panel_count = match kernel.panels() % kernel.tile_panels {
        0 => kernel.tile_panels.into(),
        _ => {
            let rest = e.t.value(text::Class::Bits32, "sub.s32", &[kernel.panels().into(), first.into()]);
            e.least(rest.into(), kernel.tile_panels.into())
        }
    };
    let mut touched = Touched::default();
    for (number, stage) in kernel.stages.iter().enumerate() {
        if touched.meets(kernel, stage) {
            e.barrier();
            touched = Touched::default();
        }
        touched.note(kernel, stage);
        e.t.remark(&format!("stage {number}"));
        stage::emit(e, stage);
    }
    // The next tile begins where this one was.
    e.barrier();
}

/// What stages have touched since the last barrier.
#[derive(Default)]
struct Touched {
    read: Vec<Area>,
    written: Vec<Area>,
}

/// Words of tile memory, or a stored value.
#[derive(Clone, Debug, PartialEq)]
enum Area {
    Tile(Range<usize>),
    Buffer(BufferId),
}

impl Area {
    fn of(kernel: &Kernel, source: Source) -> Area {
        match source {
            Source::Buffer(id) => Area::Buffer(id),
            Source::Tile(id) => Area::Tile(kernel.tiles[id]..kernel.tiles[id] + kernel.tile_words[id]),
        }
    }

    fn meets(&self, other: &Area) -> bool {
        match (self, other) {
            (Area::Tile(one), Area::Tile(other)) => one.start < other.end && other.start < one.end,
            (one, other) => one == other,
        }
    }
}

impl Touched {
    /// Whether a stage reads what was written, or writes what was touched.
    fn meets(&self, kernel: &Kernel, stage: &Stage) -> bool {
        let any = |areas: &[Area], source: Source| areas.iter().any(|area| area.meets(&Area::of(kernel, source)));
        stage.reads().into_iter().any(|source| any(&self.written, source))
            || stage.writes().into_iter().any(|source| any(&self.written, source) || any(&self.read, source))
    }

    fn note(&mut self, kernel: &Kernel, stage: &Stage) {
        self.read.extend(stage.reads().into_iter().map(|source| Area::of(kernel, source)));
        self.written.extend(stage.writes().into_iter().map(|source| Area::of(kernel, source)));
    }
}

/// Bytes of tile memory that leave room for many blocks on a processor.
const LIGHT_BYTES: usize = 8 << 10;

/// Whether a stage multiplies matrices.
fn multiplies(stage: &Stage) -> bool {
    matches!(stage, Stage::Contract { .. } | Stage::AccumulateContract { .. })
}

/// Whether a stage draws random numbers.
fn draws(stage: &Stage) -> bool {
    stage.body().is_some_and(|body| body.terms.iter().any(|term| matches!(term, Term::Random { .. })))
}

/// Words of a stored value, padding included.
fn buffer_words(plan: &Plan, id: BufferId) -> usize {
    let buffer = &plan.buffers[id.0 as usize];
    buffer.layout.elements() * words(buffer.dtype)
}
