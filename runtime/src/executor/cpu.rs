//! Running compiled programs on the cores of this machine.
//!
//! A program's steps run one after another; each step is a parallel loop over pieces, and what is
//! accumulated together depends on the sizes alone, so that results do not depend on the number of threads.
//! All intermediate values share one arena that is allocated once; a step allocates nothing, but for the columns of a sort.

mod combine;
mod crew;
mod memory;
mod pack;

use super::{Contraction, ExecuteError, ExecuteOptions, Maps, layout};
use crate::{
    buffer::{Buffer, State},
    code_cache::{self, CodeCache},
};
use crew::Crew;
use indexmap::{IndexMap, IndexSet};
use memory::Lines;
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};
use visage_compiler::{
    cpu::{self, CodeStore, CompileOptions, Compiled, Reuse},
    graph::{DType, Type},
    plan::{self, Fusion, Kernel, Layout, Place, PlanOptions, Stage, Step, Target, pattern, words},
    random::RandomKey,
    simplify::simplified,
    system::Program,
};
use visage_kernels::LANES;

/// A program compiled for this machine, with its memory and threads.
pub(super) struct Cpu {
    compiled: Compiled,
    crew: Crew,
    arena: Lines,
    /// Tile memory, one a thread.
    scratch: Vec<Lines>,
    constants: Vec<Option<Lines>>,
    /// Truth values given at run time, widened to four bytes.
    widened: Vec<Option<Lines>>,
    packs: Vec<Option<pack::Matrix>>,
    /// Outputs that are written over the state that they update.
    replaced: Vec<plan::BufferId>,
    /// What runs, in order.
    schedule: Vec<Turn>,
    /// Nanoseconds spent in each step so far.
    spent: Vec<AtomicU64>,
    runs: u64,
    /// Where each thread notes its pieces, while they are being recorded.
    record: Option<Vec<Mutex<Vec<Piece>>>>,
}

/// A step, or a part of one.
#[derive(Clone, Copy, Debug)]
struct Turn {
    step: usize,
    part: usize,
    parts: usize,
    /// Which table of addresses it uses.
    table: usize,
}

/// The turns of a plan: the steps of a segment follow one another for each part. Parts after the first have a table of
/// addresses each.
fn schedule(plan: &plan::Plan) -> Vec<Turn> {
    let mut turns = Vec::new();
    let mut tables = 1;
    let mut step = 0;
    while step < plan.steps.len() {
        match plan.segments.iter().find(|segment| segment.steps.start == step) {
            Some(segment) => {
                let parts = segment.parts;
                for part in 0..parts {
                    let table = if part == 0 { 0 } else { tables + part - 1 };
                    turns.extend(segment.steps.clone().map(|step| Turn { step, part, parts, table }));
                }
                tables += parts - 1;
                step = segment.steps.end;
            }
            None => {
                turns.push(Turn { step, part: 0, parts: 1, table: 0 });
                step += 1;
            }
        }
    }
    turns
}

/// The outputs of a plan that are written to the memory of the state.
fn replaced(plan: &plan::Plan) -> Vec<plan::BufferId> {
    let written: IndexSet<plan::BufferId> = plan.steps.iter().flat_map(|step| step.touched().1).collect();
    let in_state = |id: &plan::BufferId| matches!(plan.buffers[id.0 as usize].place, Place::State(_));
    plan.outputs.values().map(|output| output.buffer).filter(|id| in_state(id) && written.contains(id)).collect()
}

/// A piece of a step, as one thread worked on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Piece {
    /// The step, by its place in the program.
    pub step: usize,
    /// The thread.
    pub thread: usize,
    /// When it began, in seconds since the run did.
    pub start: f64,
    /// How many seconds it took.
    pub seconds: f64,
}

/// What a step of a program took and did.
#[derive(Clone, Debug)]
pub struct StepProfile {
    /// What it computes.
    pub name: String,
    /// Seconds a run, on average.
    pub seconds: f64,
    /// Floating-point operations of its contractions.
    pub flops: f64,
    /// Bytes of the stored values it reads and writes.
    pub bytes: f64,
}

/// The address table of one run, shared with the worker threads.
#[derive(Clone, Copy)]
struct Table<'a>(&'a [*mut u8]);

// SAFETY: pieces of a step write disjoint parts of the buffers; steps do not overlap in time.
unsafe impl Send for Table<'_> {}
// SAFETY: as above.
unsafe impl Sync for Table<'_> {}

impl Table<'_> {
    fn at(&self, id: plan::BufferId) -> *mut u8 {
        self.0[id.0 as usize]
    }

    fn pointer(&self) -> *const *mut u8 {
        self.0.as_ptr()
    }
}

impl Cpu {
    /// Plans and compiles a program, of which some outputs are `updates` of the state.
    pub fn new(
        program: &Program,
        updates: &IndexMap<String, String>,
        options: &ExecuteOptions,
    ) -> Result<Cpu, ExecuteError> {
        let device = |error: &dyn std::fmt::Display| ExecuteError::Device(error.to_string());
        let fusion = if options.fuse { Fusion::Full } else { Fusion::None };
        let ExecuteOptions { segment_bytes, segment_tiles, .. } = *options;
        let without = match options.contraction {
            Contraction::MicroKernel => options.without,
            // The plain sums, which the micro-kernels are tested against.
            Contraction::Cranelift => options.without.and(plan::Decision::Winograd),
        };
        let (target, precision) = (Target::host(), options.precision.on_cpu()?);
        let plan_options = PlanOptions { fusion, target, without, precision, segment_bytes, segment_tiles };
        let plan = plan::plan_updating(&simplified(program).graph, &program.outputs, updates, &plan_options)
            .map_err(|error| device(&error))?;
        let contraction = match options.contraction {
            Contraction::MicroKernel => cpu::Contraction::MicroKernel,
            Contraction::Cranelift => cpu::Contraction::Cranelift,
        };
        let maps = match options.maps {
            Maps::Wide => cpu::Maps::Wide,
            Maps::Cranelift => cpu::Maps::Cranelift,
        };
        let threads = options.threads.unwrap_or(0);
        let schedule = schedule(&plan);
        let crew = Crew::new(threads, schedule.len()).map_err(|error| device(&error))?;
        let compile_options = CompileOptions { contraction, maps, ..CompileOptions::default() };
        let cache = options.code_cache.as_ref();
        let cache = cache.and_then(|folder| CodeCache::open_if_possible(folder, code_cache::LIMIT));
        let store = cache.as_ref().map(|cache| cache as &dyn CodeStore);
        let compiled = cpu::compile(plan, &compile_options, store).map_err(|error| device(&error))?;
        if let Some(cache) = cache.filter(|_| compiled.reuse.reused < compiled.reuse.kernels) {
            cache.trim();
        }
        let plan = &compiled.plan;
        let scratch = plan.steps.iter().map(|step| match step {
            Step::Kernel(kernel) => kernel.scratch,
            _ => 0,
        });
        let scratch = scratch.max().unwrap_or(0) * 4;
        let constants = plan.buffers.iter().map(|buffer| match buffer.place {
            Place::Constant(bits) => Lines::filled(LANES * 8, bits).map(Some),
            _ => Ok(None),
        });
        let memory = |error: std::io::Error| ExecuteError::Device(format!("memory for the program: {error}"));
        let scratch = (0..crew.threads()).map(|_| Lines::zeroed(scratch));
        Ok(Cpu {
            arena: Lines::zeroed(plan.arena_bytes).map_err(memory)?,
            scratch: scratch.collect::<Result<_, _>>().map_err(memory)?,
            constants: constants.collect::<Result<_, _>>().map_err(memory)?,
            widened: plan.buffers.iter().map(|_| None).collect(),
            packs: plan.steps.iter().map(|step| pack::Matrix::of(plan, step)).collect(),
            spent: plan.steps.iter().map(|_| AtomicU64::new(0)).collect(),
            runs: 0,
            record: None,
            replaced: replaced(plan),
            schedule,
            crew,
            compiled,
        })
    }

    /// How many kernels there are, and how many were in the code cache.
    pub fn reuse(&self) -> Reuse {
        self.compiled.reuse
    }

    /// Bytes of intermediate values at the peak.
    pub fn intermediates(&self) -> usize {
        self.compiled.plan.arena_bytes
    }

    /// What each step took, averaged over the runs since the profile was forgotten.
    pub fn profile(&self) -> Vec<StepProfile> {
        let plan = &self.compiled.plan;
        let runs = self.runs.max(1) as f64;
        let seconds = |i: usize| self.spent[i].load(Ordering::Relaxed) as f64 * 1e-9 / runs;
        plan.steps
            .iter()
            .enumerate()
            .map(|(i, step)| {
                let touched = || step.buffers().iter().map(|id| plan.buffers[id.0 as usize].bytes() as f64).sum();
                let name = |id: &plan::BufferId| plan.buffers[id.0 as usize].name.clone();
                let (name, flops, bytes) = match step {
                    Step::Kernel(kernel) => (kernel.name.clone(), kernel.flops, kernel.bytes),
                    Step::Pack { source, .. } => (format!("pack {}", name(source)), 0.0, touched()),
                    Step::Combine { target, .. } => (format!("combine {}", name(target)), 0.0, touched()),
                };
                StepProfile { name, seconds: seconds(i), flops, bytes }
            })
            .collect()
    }

    /// Notes what every thread does from now on.
    pub fn start_recording(&mut self) {
        self.record = Some((0..self.crew.threads()).map(|_| Mutex::default()).collect());
    }

    /// What the threads have done since the recording was started, and an end of it.
    pub fn stop_recording(&mut self) -> Vec<Piece> {
        let records = self.record.take().into_iter().flatten();
        records.flat_map(|record| record.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
    }

    /// Starts the averages anew.
    pub fn forget_profile(&mut self) {
        self.runs = 0;
        self.spent.iter().for_each(|spent| spent.store(0, Ordering::Relaxed));
    }

    /// Runs the program; every output comes back in its documented order of axes, or goes into the state
    /// that it updates.
    pub fn run(
        &mut self,
        program: &Program,
        updates: &IndexMap<String, String>,
        state: &mut State,
        inputs: &IndexMap<String, Buffer>,
        key: RandomKey,
    ) -> Result<IndexMap<String, Buffer>, ExecuteError> {
        let mut direct = self.direct_outputs(program, updates);
        let places = direct.iter_mut().map(|(name, value)| (self.compiled.plan.outputs[name].buffer, value.pointer()));
        let mut tables = self.tables(state, inputs, &places.collect())?;
        for (id, address) in self.replaced(state) {
            tables.iter_mut().for_each(|table| table[id.0 as usize] = address);
        }
        let tables: Vec<Table<'_>> = tables.iter().map(|table| Table(table)).collect();
        let key = [key.seed_word(), key.step_word()];
        let Cpu { compiled, crew, scratch, packs, spent, record, schedule, .. } = self;
        let threads = crew.threads();
        let plan = &compiled.plan;
        let pieces = |turn: usize| {
            let Turn { step, parts, .. } = schedule[turn];
            match &plan.steps[step] {
                Step::Pack { .. } => packs[step].as_ref().map_or(0, |matrix| matrix.pieces(compiled)),
                Step::Kernel(kernel) => kernel_pieces(kernel, parts, threads),
                Step::Combine { arrangement, .. } => combine::pieces(arrangement),
            }
        };
        let work = |turn: usize, piece: usize, thread: usize| match &plan.steps[schedule[turn].step] {
            Step::Pack { source, target, .. } => {
                let table = tables[0];
                if let Some(matrix) = &packs[schedule[turn].step] {
                    matrix.pack(piece, compiled, table.at(*source), table.at(*target));
                }
            }
            Step::Kernel(kernel) => {
                let Turn { step, part, parts, table } = schedule[turn];
                let table = tables[table];
                let Some(function) = compiled.function(step) else { return };
                let (tiles, pieces) = (kernel.tile_count() / parts, kernel_pieces(kernel, parts, threads));
                let first = part * tiles;
                let (begin, end) = (first + piece * tiles / pieces, first + (piece + 1) * tiles / pieces);
                // The parts add to the same partial results.
                for stage in kernel.stages.iter().filter(|_| part == 0) {
                    start_partial(plan, stage, table, piece);
                }
                let scratch = scratch[thread].pointer().cast();
                // SAFETY: the table has every buffer of the plan with room for a panel past its end, the scratch is this thread's own and large
                // enough for every kernel, and tiles of different pieces write disjoint elements.
                unsafe { function(table.pointer(), scratch, begin, end, piece, key.as_ptr()) };
            }
            Step::Combine { source, target, combine, chunks, arrangement } => {
                let table = tables[0];
                let how = (*combine, plan.buffers[target.0 as usize].dtype);
                combine::combine(piece, table.at(*source), table.at(*target), how, *chunks, arrangement);
            }
        };
        let started = Instant::now();
        let noted = |turn: usize, piece: usize, thread: usize| {
            let Some(record) = &record else { return work(turn, piece, thread) };
            let start = started.elapsed().as_secs_f64();
            work(turn, piece, thread);
            let step = schedule[turn].step;
            let seconds = started.elapsed().as_secs_f64() - start;
            // Each thread has a list of its own, so nobody waits here.
            let mut list = record[thread].lock().unwrap_or_else(PoisonError::into_inner);
            list.push(Piece { step, thread, start, seconds });
        };
        let before = AtomicU64::new(0);
        crew.run(pieces, noted, |turn| {
            let now = started.elapsed().as_nanos() as u64;
            spent[schedule[turn].step].fetch_add(now - before.swap(now, Ordering::Relaxed), Ordering::Relaxed);
        });
        self.runs += 1;
        let plan = &self.compiled.plan;
        let mut outputs = IndexMap::new();
        for (name, plan::Output { buffer: id, shape }) in &plan.outputs {
            if let Some(mut value) = direct.swap_remove(name) {
                value.clear_room();
                outputs.insert(name.clone(), value);
                continue;
            }
            let buffer = &plan.buffers[id.0 as usize];
            if let (Place::State(name), Some(name_of_state)) = (&buffer.place, updates.get(name))
                && name == name_of_state
                && self.replaced.contains(id)
            {
                state[name].clear_room();
                continue;
            }
            let address = tables[0].at(*id);
            match updates.get(name).and_then(|name| state.get_mut(name)) {
                // SAFETY: the buffer holds the output until the next run.
                Some(state) => unsafe { layout::read(address, shape, state) },
                None => {
                    let documented = program.outputs.get(name).unwrap_or(shape);
                    let mut value = Buffer::zeros(Type::new(buffer.dtype, documented.clone()));
                    // SAFETY: as above.
                    unsafe { layout::read(address, shape, &mut value) };
                    outputs.insert(name.clone(), value);
                }
            }
        }
        Ok(outputs)
    }

    /// The addresses of state that is written where it is, under the numbers by which it is read and by which it is
    /// written.
    fn replaced(&self, state: &mut State) -> Vec<(plan::BufferId, *mut u8)> {
        let mut addresses: IndexMap<&str, *mut u8> = IndexMap::new();
        for id in &self.replaced {
            if let Place::State(name) = &self.compiled.plan.buffers[id.0 as usize].place
                && let Some(value) = state.get_mut(name)
            {
                addresses.insert(name, value.pointer());
            }
        }
        let of = |(id, buffer): (plan::BufferId, &plan::Buffer)| match &buffer.place {
            Place::State(name) => addresses.get(name.as_str()).map(|address| (id, *address)),
            _ => None,
        };
        (0..).map(plan::BufferId).zip(&self.compiled.plan.buffers).filter_map(of).collect()
    }

    /// New memory for the outputs that kernels can write as they are documented; others are copied afterwards: updates,
    /// truth values, what is stored in another order, and what an input or another output is.
    fn direct_outputs(&self, program: &Program, updates: &IndexMap<String, String>) -> IndexMap<String, Buffer> {
        let plan = &self.compiled.plan;
        let mut taken = Vec::new();
        let mut direct = IndexMap::new();
        for (name, plan::Output { buffer: id, shape }) in &plan.outputs {
            let buffer = &plan.buffers[id.0 as usize];
            let documented = program.outputs.get(name).unwrap_or(shape);
            let as_documented = shape.iter().eq(documented.iter()) && buffer.dtype != DType::Bool;
            if as_documented
                && matches!(buffer.place, Place::Arena(_))
                && !updates.contains_key(name)
                && !taken.contains(id)
            {
                taken.push(*id);
                direct.insert(name.clone(), Buffer::zeros(Type::new(buffer.dtype, documented.clone())));
            }
        }
        direct
    }

    /// The addresses of every buffer, those of `direct` outputs as given: one table, and one more for every part of a
    /// segment after its first.
    fn tables(
        &mut self,
        state: &State,
        inputs: &IndexMap<String, Buffer>,
        direct: &IndexMap<plan::BufferId, *mut u8>,
    ) -> Result<Vec<Vec<*mut u8>>, ExecuteError> {
        let mut first = self.addresses(state, inputs)?;
        direct.iter().for_each(|(id, address)| first[id.0 as usize] = *address);
        let plan = &self.compiled.plan;
        let mut tables = vec![first];
        for segment in &plan.segments {
            for part in 1..segment.parts {
                let of = |(address, buffer): (&*mut u8, &plan::Buffer)| match buffer.parts {
                    1 => *address,
                    // Kernels count rows from the first part, which the memory of this one is not for.
                    _ => address.wrapping_sub(part * buffer.bytes()),
                };
                let table = tables[0].iter().zip(&plan.buffers).map(of).collect();
                tables.push(table);
            }
        }
        Ok(tables)
    }

    /// The address of every buffer.
    fn addresses(&mut self, state: &State, inputs: &IndexMap<String, Buffer>) -> Result<Vec<*mut u8>, ExecuteError> {
        let plan = &self.compiled.plan;
        let mut table = Vec::with_capacity(plan.buffers.len());
        for (i, buffer) in plan.buffers.iter().enumerate() {
            let given = |kind: &'static str, name: &str, values: &IndexMap<String, Buffer>| {
                let value = layout::given(kind, name, buffer, values)?;
                Ok::<_, ExecuteError>(value.bytes().as_ptr().cast_mut())
            };
            let address = match &buffer.place {
                Place::Input(name) => given("input", name, inputs)?,
                Place::State(name) => given("parameter", name, state)?,
                // SAFETY: the planner keeps offsets inside the arena.
                Place::Arena(offset) => unsafe { self.arena.pointer().add(*offset) },
                Place::Constant(_) => match &self.constants[i] {
                    Some(lines) => lines.pointer(),
                    None => unreachable!("constants are made with the program"),
                },
            };
            let address = if buffer.dtype == DType::Bool && matches!(buffer.place, Place::Input(_) | Place::State(_)) {
                let elements = buffer.layout.elements();
                let lines = match &mut self.widened[i] {
                    Some(lines) => lines,
                    none => {
                        let lines = Lines::zeroed(elements * 4);
                        none.insert(lines.map_err(|error| ExecuteError::Device(error.to_string()))?)
                    }
                };
                // SAFETY: the value has been found to be of the buffer's type and shape.
                unsafe { layout::widen(address, plain_elements(&buffer.layout), lines.pointer()) };
                lines.pointer()
            } else {
                address
            };
            table.push(address);
        }
        Ok(table)
    }
}

impl std::fmt::Debug for Cpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cpu").field("steps", &self.compiled.plan.steps.len()).finish_non_exhaustive()
    }
}

fn plain_elements(layout: &Layout) -> usize {
    match layout {
        Layout::Plain(shape) => shape.elements(),
        other => other.elements(),
    }
}

/// Pieces of a kernel that threads take one at a time: its chunks where something accumulates, and otherwise enough
/// for every thread to have something to do until the end.
fn kernel_pieces(kernel: &Kernel, parts: usize, threads: usize) -> usize {
    if kernel.chunks > 1 || kernel.stages.iter().any(Stage::accumulates) {
        return kernel.chunks;
    }
    (kernel.tile_count() / parts).min(threads * 64)
}

/// Sets a chunk's partial result to the value that changes nothing.
fn start_partial(plan: &plan::Plan, stage: &Stage, table: Table<'_>, chunk: usize) {
    let (target, value) = match stage {
        Stage::AccumulateContract { target, .. } | Stage::AccumulateScatter { target, .. } => (*target, 0.0),
        Stage::AccumulateReduce { target, combine, dtype, .. } => (*target, combine.identity(*dtype)),
        _ => return,
    };
    let buffer = &plan.buffers[target.0 as usize];
    let Layout::Partials { elements, .. } = buffer.layout else { return };
    let pairs = elements.next_multiple_of(LANES) * words(buffer.dtype) / 2;
    // SAFETY: every chunk of the buffer has this many pairs of words, and this piece alone writes it.
    let partial = unsafe { std::slice::from_raw_parts_mut(table.at(target).cast::<u64>().add(chunk * pairs), pairs) };
    partial.fill(pattern(value, buffer.dtype));
}
