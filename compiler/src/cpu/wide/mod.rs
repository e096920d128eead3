//! Lane-wise stages at 512 bits.
//!
//! Cranelift's vectors have 128 bits. A stage whose body is lane-wise needs nothing else of it than loops, so here such a
//! stage's whole nest becomes one function of AVX-512 machine code for a panel: two vectors of sixteen lanes. Cranelift
//! still walks tiles and panels, puts the addresses of the first iteration into a table and calls.
//!
//! - [`tape`]: the body as instructions, made by the same [`Lanes`](visage_kernels::math::Lanes) algorithms, with the same
//!   products contracted, so that every lane has the same bits as at 128.
//! - [`encode`]: registers, loops, machine code.
//!
//! What is not covered is a [`Refusal`], and stays at 128 bits.

mod encode;
mod tape;

use super::{
    emitter::{Emitter, GROUPS, WIDTH, flags},
    library::{self, Callee},
    stage::Partial,
};
use crate::{
    axis::Axis,
    elementary::{elementary, is_elementary},
    graph::{Combine, DType, Distribution, ScalarOp},
    plan::{
        Access, Expression, Kernel, LANES, Plan, Stage, Step, Store, Term,
        analysis::{addressed, analyse, collapse, sums_by_panel},
    },
    random::{Generator, draw_lanes},
};
use cranelift_codegen::ir::{InstBuilder, StackSlotData, StackSlotKind, Value as Address, types::I64};
use encode::{Carried, Code512, Count, Level, Nest};
use iced_x86::{Code, Decoder, DecoderOptions, Formatter, IntelFormatter};
use std::fmt;
use tape::{EQUAL, Instruction, LESS, LESS_EQUAL, NOT_EQUAL, Place, Tape, Value};
use visage_kernels::math::Lanes;

/// Why a stage stays at 128 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is no map, reduction, scan or sum over rows.
    Stage,
    /// It has elements of eight bytes.
    Double,
    /// Each lane reads an address of its own.
    Gather,
    /// The processor does not divide integers in vectors.
    IntegerDivision,
    /// A distance is beyond what an instruction can hold, or a loop has no iteration.
    Distance,
    /// The encoder's words.
    Encoder(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Stage => write!(f, "not a map, reduction, scan or sum over rows"),
            Refusal::Double => write!(f, "f64"),
            Refusal::Gather => write!(f, "a gather"),
            Refusal::IntegerDivision => write!(f, "a division of integers"),
            Refusal::Distance => write!(f, "a distance beyond 2 GiB"),
            Refusal::Encoder(problem) => write!(f, "{problem}"),
        }
    }
}

/// Whether this machine runs what is generated here.
pub(super) fn is_available() -> bool {
    #[cfg(all(target_arch = "x86_64", unix))]
    return is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq");
    #[cfg(not(all(target_arch = "x86_64", unix)))]
    return false;
}

/// What a pointer of the table starts as.
#[derive(Clone, Debug, PartialEq)]
enum Pointer {
    /// The address of an access at the first iteration, less its offset.
    Access(Access),
    /// The indices of a row axis for the lanes of the panel.
    Rows(Axis),
    /// Seed and step of the random numbers.
    Key,
    /// The numbers of the lanes.
    Lanes,
    /// How many rows there are from the first of the first panel on.
    Remaining,
    /// How many panels there are, itself.
    Panels,
    /// The partial results of a sum over rows.
    Partial,
}

/// The machine code of one stage.
pub(super) struct Wide {
    code: Code512,
    pointers: Vec<Pointer>,
}

impl Wide {
    /// The code and the constants behind it.
    pub fn bytes(&self) -> &[u8] {
        &self.code.bytes
    }

    /// The assembly, without the constants.
    pub fn listing(&self) -> String {
        let mut text = String::new();
        let code = &self.code.bytes[..self.code.constants];
        let mut formatter = IntelFormatter::new();
        for instruction in Decoder::new(64, code, DecoderOptions::NONE) {
            text += &format!("{:6x}  ", instruction.ip());
            formatter.format(&instruction, &mut text);
            text.push('\n');
        }
        for word in self.code.bytes[self.code.constants..].chunks_exact(4) {
            text += &format!("        .long {:#010x}\n", u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
        }
        text
    }
}

/// A stage that stays at 128 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The kernel's name.
    pub kernel: String,
    /// The stage's number in it, from 0.
    pub stage: usize,
    /// The reason.
    pub why: Refusal,
}

/// The stages of a plan's kernels that stay at 128 bits, but for those that no code could be wider for.
pub fn refusals(plan: &Plan) -> Vec<Refused> {
    let kernels = plan.steps.iter().filter_map(|step| match step {
        Step::Kernel(kernel) => Some(kernel),
        _ => None,
    });
    kernels
        .flat_map(|kernel| {
            let refused = |(number, stage): (usize, &Stage)| {
                let why = stage_code(kernel, stage).err()?;
                Some(Refused { kernel: kernel.name.clone(), stage: number, why })
            };
            kernel.stages.iter().enumerate().filter_map(refused)
        })
        .filter(|refused| refused.why != Refusal::Stage)
        .collect()
}

/// The code of every stage of a kernel that has some.
pub(super) fn stages(kernel: &Kernel) -> Vec<Option<Wide>> {
    kernel.stages.iter().map(|stage| stage_code(kernel, stage).ok()).collect()
}

fn stage_code(kernel: &Kernel, stage: &Stage) -> Result<Wide, Refusal> {
    match stage {
        Stage::Map { loops, body, stores } => {
            let (mut accesses, indexed) = addressed(body);
            accesses.extend(stores.iter().map(|store| &store.target));
            Lowering::new(body, collapse(loops, &accesses, &indexed)).map(stores)
        }
        Stage::Reduce { loops, over, combine, dtype, body, store } => {
            let all = [loops.as_slice(), over].concat();
            Lowering::new(body, all).carry(loops.len(), (*combine, *dtype), None, store)
        }
        Stage::Scan { loops, along, combine, exclusive, reverse, dtype, body, store } => {
            let all = [loops.as_slice(), &[*along]].concat();
            let mut lowering = Lowering::new(body, all);
            lowering.reversed = reverse.then_some(along.0);
            lowering.carry(loops.len(), (*combine, *dtype), Some(*exclusive), store)
        }
        Stage::AccumulateReduce { loops, row_strides, over, combine, dtype, body, term, strides, .. } => {
            let all = [loops.as_slice(), over].concat();
            let mut lowering = Lowering::new(body, all);
            let by_panel = sums_by_panel(row_strides, body);
            lowering.panels = (!by_panel && kernel.tile_panels > 1).then_some(loops.len());
            lowering.sum(kernel, (loops, strides), (*combine, *dtype), *term)
        }
        _ => Err(Refusal::Stage),
    }
}

struct Lowering<'a> {
    body: &'a Expression,
    loops: Vec<(Axis, usize)>,
    /// How many of the loops are around the one over the panels of a tile, where there is one.
    panels: Option<usize>,
    /// Strides of the partial results.
    partial: Vec<(Axis, isize)>,
    reversed: Option<Axis>,
    tape: Tape,
    pointers: Vec<Pointer>,
}

impl<'a> Lowering<'a> {
    fn new(body: &'a Expression, loops: Vec<(Axis, usize)>) -> Lowering<'a> {
        let (tape, pointers) = (Tape::default(), Vec::new());
        Lowering { body, loops, panels: None, partial: Vec::new(), reversed: None, tape, pointers }
    }

    fn pointer(&mut self, pointer: Pointer) -> usize {
        self.pointers.iter().position(|other| *other == pointer).unwrap_or_else(|| {
            self.pointers.push(pointer);
            self.pointers.len() - 1
        })
    }

    /// An element of an access for the `half`-th sixteen lanes. Accesses that differ in their offset share a pointer.
    fn place(&mut self, access: &Access, half: usize) -> Result<Place, Refusal> {
        let lanes = if access.lanes { half as isize * 64 } else { 0 };
        let first = self.reversed.map_or(0, |axis| {
            let size = self.loops.iter().find(|(other, _)| *other == axis).map_or(1, |(_, size)| *size);
            access.stride(axis) * (size as isize - 1)
        });
        let displacement = (access.offset + first).checked_mul(4).map(|bytes| bytes + lanes);
        let displacement = displacement.and_then(|bytes| i32::try_from(bytes).ok()).ok_or(Refusal::Distance)?;
        let pointer = self.pointer(Pointer::Access(Access { offset: 0, ..access.clone() }));
        Ok(Place::Pointer(pointer, displacement))
    }

    fn map(mut self, stores: &[Store]) -> Result<Wide, Refusal> {
        let kept: Vec<usize> = stores.iter().map(|store| store.term).collect();
        let analysis = analyse(self.body, &kept);
        let mut uniform = vec![None; self.body.terms.len()];
        for half in 0..2 {
            let values = self.terms(&kept, &mut uniform, half)?;
            for store in stores {
                let place = self.place(&store.target, half)?;
                let mut value = values[store.term];
                if store.add {
                    let before = self.tape.push(Instruction::Load(place));
                    value = combined(&mut self.tape, Combine::Sum, analysis.dtypes[store.term], before, value);
                }
                self.tape.push(Instruction::Store(place, value));
            }
        }
        self.finish(None)
    }

    /// A reduction, or with `exclusive` a scan, whose carried value starts at loop depth `depth`.
    fn carry(
        mut self,
        depth: usize,
        (how, dtype): (Combine, DType),
        exclusive: Option<bool>,
        store: &Store,
    ) -> Result<Wide, Refusal> {
        if dtype == DType::F64 {
            return Err(Refusal::Double);
        }
        let mut uniform = vec![None; self.body.terms.len()];
        let mut end = Tape::default();
        for half in 0..2 {
            let values = self.terms(&[store.term], &mut uniform, half)?;
            let before = self.tape.push(Instruction::Carried(half));
            let after = combined(&mut self.tape, how, dtype, before, values[store.term]);
            self.tape.carried.push(after);
            let place = self.place(&store.target, half)?;
            match exclusive {
                None => {
                    let total = end.push(Instruction::Carried(half));
                    end.push(Instruction::Store(place, total));
                }
                Some(exclusive) => {
                    self.tape.push(Instruction::Store(place, if exclusive { before } else { after }));
                }
            }
        }
        let start = bits(how.identity(dtype), dtype);
        self.finish(Some(Carried { depth, start, count: 2, end }))
    }

    /// A sum over rows: sixteen lanes take the halves of every panel, and meet at the end.
    fn sum(
        mut self,
        kernel: &Kernel,
        (loops, strides): (&[(Axis, usize)], &[isize]),
        (how, dtype): (Combine, DType),
        term: usize,
    ) -> Result<Wide, Refusal> {
        if dtype == DType::F64 {
            return Err(Refusal::Double);
        }
        let mut uniform = vec![None; self.body.terms.len()];
        let start = bits(how.identity(dtype), dtype);
        let mut sum = self.tape.push(Instruction::Carried(0));
        for half in 0..2 {
            let values = self.terms(&[term], &mut uniform, half)?;
            let mut value = values[term];
            if !kernel.row_count().is_multiple_of(LANES) {
                // Lanes that are no rows.
                let (lanes, remaining) = (self.pointer(Pointer::Lanes), self.pointer(Pointer::Remaining));
                let mut lane = self.tape.push(Instruction::Load(Place::Pointer(lanes, half as i32 * 64)));
                if let Some(level) = self.panels {
                    let first = self.tape.push(Instruction::Broadcast(Place::Index(level)));
                    lane = self.tape.add_i(lane, first);
                }
                let remaining = self.tape.push(Instruction::Broadcast(Place::Pointer(remaining, 0)));
                let is_row = self.tape.compare(false, LESS, lane, remaining);
                let identity = self.tape.push(Instruction::Constant(start));
                value = self.tape.select(is_row, value, identity);
            }
            sum = combined(&mut self.tape, how, dtype, sum, value);
        }
        self.tape.carried.push(sum);
        let mut end = Tape::default();
        let mut total = end.push(Instruction::Carried(0));
        const HALVES: u8 = 0b01_00_11_10;
        const NEIGHBOURS: u8 = 0b10_11_00_01;
        for order in [HALVES, NEIGHBOURS] {
            let other = end.push(Instruction::Groups(total, order));
            total = combined(&mut end, how, dtype, total, other);
        }
        for order in [HALVES, NEIGHBOURS] {
            let other = end.immediate(Code::EVEX_Vpermilps_zmm_k1z_zmmm512b32_imm8, total, order);
            total = combined(&mut end, how, dtype, total, other);
        }
        let partial = Place::Pointer(self.pointer(Pointer::Partial), 0);
        let before = end.push(Instruction::Broadcast(partial));
        let total = combined(&mut end, how, dtype, before, total);
        end.push(Instruction::StoreFirst(partial, total));
        if self.panels.is_some() {
            self.pointer(Pointer::Panels);
        }
        let depth = loops.len();
        self.partial = loops.iter().map(|(axis, _)| *axis).zip(strides.iter().copied()).collect();
        self.finish(Some(Carried { depth, start, count: 1, end }))
    }

    fn finish(self, carried: Option<Carried>) -> Result<Wide, Refusal> {
        let indexed = addressed(self.body).1;
        let bytes = |words: i64| i32::try_from(words * 4).map_err(|_| Refusal::Distance);
        let step = |pointer: &Pointer, axis: Axis| match pointer {
            Pointer::Access(access) => {
                bytes(access.stride(axis) as i64 * if self.reversed == Some(axis) { -1 } else { 1 })
            }
            Pointer::Partial => {
                bytes(self.partial.iter().find(|(own, _)| *own == axis).map_or(0, |(_, stride)| *stride as i64))
            }
            _ => Ok(0),
        };
        let mut levels = Vec::new();
        for (axis, count) in &self.loops {
            let steps = self.pointers.iter().map(|pointer| step(pointer, *axis)).collect::<Result<Vec<i32>, _>>()?;
            let farthest = steps.iter().map(|step| i64::from(step.abs())).max().unwrap_or(0) * *count as i64;
            let last = i32::try_from(*count).map_err(|_| Refusal::Distance)? - 1;
            // The loops test at their end: they run once at least.
            if i32::try_from(farthest).is_err() || *count == 0 {
                return Err(Refusal::Distance);
            }
            let index = if self.reversed == Some(*axis) { (last, -1) } else { (0, 1) };
            let index = indexed.contains(axis).then_some(index);
            levels.push(Level { count: Count::Fixed(*count), steps, index });
        }
        if let Some(at) = self.panels {
            let step = |pointer: &Pointer| match pointer {
                Pointer::Access(access) => bytes(access.panel_stride as i64),
                _ => Ok(0),
            };
            let steps = self.pointers.iter().map(step).collect::<Result<Vec<i32>, _>>()?;
            let word = self.pointers.iter().position(|pointer| *pointer == Pointer::Panels);
            let word = word.unwrap_or_else(|| unreachable!("a loop over panels asks how many there are"));
            levels.insert(at, Level { count: Count::Word(word), steps, index: Some((0, LANES as i32)) });
        }
        let nest = Nest { levels, tape: self.tape, carried, pointers: self.pointers.len() };
        let code = encode::encode(&nest).map_err(|error| Refusal::Encoder(error.to_string()))?;
        Ok(Wide { code, pointers: self.pointers })
    }

    fn index(&mut self, axis: Axis) -> Value {
        match self.loops.iter().position(|(other, _)| *other == axis) {
            Some(level) => {
                let level = level + usize::from(self.panels.is_some_and(|panels| panels <= level));
                self.tape.push(Instruction::Broadcast(Place::Index(level)))
            }
            None => self.tape.integer(0),
        }
    }

    fn rows(&mut self, axis: Axis, half: usize) -> Value {
        let pointer = self.pointer(Pointer::Rows(axis));
        self.tape.push(Instruction::Load(Place::Pointer(pointer, half as i32 * 64)))
    }

    /// All terms for sixteen lanes; those that are the same for all rows are `uniform`, once made.
    fn terms(&mut self, kept: &[usize], uniform: &mut [Option<Value>], half: usize) -> Result<Vec<Value>, Refusal> {
        let body = self.body;
        let analysis = analyse(body, kept);
        if analysis.dtypes.contains(&DType::F64) {
            return Err(Refusal::Double);
        }
        let mut values: Vec<Value> = Vec::with_capacity(body.terms.len());
        for (i, term) in body.terms.iter().enumerate() {
            if let Some(value) = uniform[i] {
                values.push(value);
                continue;
            }
            let value = match term {
                Term::Constant(number, dtype) => self.tape.push(Instruction::Constant(bits(*number, *dtype))),
                Term::Load(access, _) => {
                    let place = self.place(access, half)?;
                    self.tape.push(if access.lanes { Instruction::Load(place) } else { Instruction::Broadcast(place) })
                }
                Term::FeatureIndex(axis) => self.index(*axis),
                Term::RowIndex(axis) => self.rows(*axis, half),
                Term::Random { distribution, stream, strides } => {
                    let mut position = self.tape.integer(0);
                    for (axis, stride) in strides {
                        // A feature axis of this kernel is a loop, or has one element.
                        let index = match self.loops.iter().any(|(other, _)| other == axis) {
                            true => self.index(*axis),
                            false => self.rows(*axis, half),
                        };
                        let stride = self.tape.integer(*stride as i32);
                        let distance = self.tape.mul_i(index, stride);
                        position = self.tape.add_i(position, distance);
                    }
                    self.draw(*distribution, *stream, position)
                }
                Term::Map(op, operands) => {
                    let from = match op {
                        ScalarOp::Select => analysis.dtypes[operands[1]],
                        _ => analysis.dtypes[operands[0]],
                    };
                    match analysis.products.get(&i) {
                        Some((x, y, z)) if from.is_float() => {
                            let x = values[*x];
                            let x = if *op == ScalarOp::Sub { self.tape.neg(x) } else { x };
                            self.tape.fma(x, values[*y], values[*z])
                        }
                        _ => {
                            let operands: Vec<Value> = operands.iter().map(|at| values[*at]).collect();
                            scalar(&mut self.tape, *op, from, &operands)?
                        }
                    }
                }
                Term::Gather { .. } => return Err(Refusal::Gather),
            };
            if analysis.uniform[i] {
                uniform[i] = Some(value);
            }
            values.push(value);
        }
        Ok(values)
    }

    /// A draw for each of sixteen positions.
    fn draw(&mut self, distribution: Distribution, stream: u32, position: Value) -> Value {
        let pointer = self.pointer(Pointer::Key);
        let key = [4, 0].map(|offset| self.tape.push(Instruction::Broadcast(Place::Pointer(pointer, offset))));
        draw_lanes(&mut self.tape, distribution, key, stream, position)
    }
}

/// A number as it lies in memory.
fn bits(value: f64, dtype: DType) -> u32 {
    match dtype {
        DType::Bool => u32::MAX * u32::from(value != 0.0),
        _ if dtype.is_float() => (value as f32).to_bits(),
        _ => value as i64 as u32,
    }
}

/// Combines two vectors as a reduction does.
fn combined(tape: &mut Tape, how: Combine, dtype: DType, x: Value, y: Value) -> Value {
    match (how, dtype.is_float()) {
        (Combine::Sum, true) => tape.add(x, y),
        (Combine::Sum, false) => tape.add_i(x, y),
        (Combine::Prod, true) => tape.mul(x, y),
        (Combine::Prod, false) => tape.mul_i(x, y),
        (Combine::Max | Combine::Min, true) => tape.extreme(how == Combine::Max, x, y),
        (Combine::Max, false) => tape.commuting(Code::EVEX_Vpmaxsd_zmm_k1z_zmm_zmmm512b32, x, y),
        (Combine::Min, false) => tape.commuting(Code::EVEX_Vpminsd_zmm_k1z_zmm_zmmm512b32, x, y),
    }
}

/// A scalar operation; `from` is the type of the operands (of the second, for a select).
fn scalar(tape: &mut Tape, op: ScalarOp, from: DType, x: &[Value]) -> Result<Value, Refusal> {
    let float = from.is_float();
    Ok(match op {
        ScalarOp::Select => tape.select(x[0], x[1], x[2]),
        ScalarOp::Cast(to) => cast(tape, from, to, x[0])?,
        ScalarOp::Stop => x[0],
        ScalarOp::And => tape.and_i(x[0], x[1]),
        ScalarOp::Or => tape.or_i(x[0], x[1]),
        ScalarOp::Not => tape.not(x[0]),
        ScalarOp::Less => tape.compare(float, LESS, x[0], x[1]),
        ScalarOp::LessEqual => tape.compare(float, LESS_EQUAL, x[0], x[1]),
        ScalarOp::Equal => tape.compare(float, EQUAL, x[0], x[1]),
        ScalarOp::NotEqual => tape.compare(float, NOT_EQUAL, x[0], x[1]),
        op if is_elementary(op) => elementary(tape, op, x),
        op if float => floating(tape, op, x),
        op => integer(tape, op, x)?,
    })
}

fn floating(tape: &mut Tape, op: ScalarOp, x: &[Value]) -> Value {
    match op {
        ScalarOp::Neg => tape.neg(x[0]),
        ScalarOp::Abs => tape.abs(x[0]),
        ScalarOp::Sign => {
            let (zero, one, minus_one) = (tape.constant(0.0), tape.constant(1.0), tape.constant(-1.0));
            let negative = tape.lt(x[0], zero);
            let rest = tape.select(negative, minus_one, zero);
            let positive = tape.lt(zero, x[0]);
            tape.select(positive, one, rest)
        }
        ScalarOp::Sqrt => tape.sqrt(x[0]),
        ScalarOp::Recip => {
            let one = tape.constant(1.0);
            tape.div(one, x[0])
        }
        ScalarOp::Floor => tape.rounded(x[0], 1),
        ScalarOp::Ceil => tape.rounded(x[0], 2),
        ScalarOp::Round => tape.rounded(x[0], 0),
        ScalarOp::Add => tape.add(x[0], x[1]),
        ScalarOp::Sub => tape.sub(x[0], x[1]),
        ScalarOp::Mul => tape.mul(x[0], x[1]),
        ScalarOp::Div => tape.div(x[0], x[1]),
        ScalarOp::Min => tape.extreme(false, x[0], x[1]),
        ScalarOp::Max => tape.extreme(true, x[0], x[1]),
        ScalarOp::Mod => {
            let quotient = tape.div(x[0], x[1]);
            let whole = tape.rounded(quotient, 1);
            let product = tape.mul(x[1], whole);
            tape.sub(x[0], product)
        }
        other => unreachable!("`{}` is an elementary function", other.name()),
    }
}

fn integer(tape: &mut Tape, op: ScalarOp, x: &[Value]) -> Result<Value, Refusal> {
    let (larger, smaller) = (Code::EVEX_Vpmaxsd_zmm_k1z_zmm_zmmm512b32, Code::EVEX_Vpminsd_zmm_k1z_zmm_zmmm512b32);
    Ok(match op {
        ScalarOp::Neg => {
            let zero = tape.integer(0);
            tape.sub_i(zero, x[0])
        }
        ScalarOp::Abs => tape.unary(Code::EVEX_Vpabsd_zmm_k1z_zmmm512b32, x[0]),
        ScalarOp::Sign => {
            let (one, minus_one) = (tape.integer(1), tape.integer(-1));
            let low = tape.commuting(larger, x[0], minus_one);
            tape.commuting(smaller, low, one)
        }
        ScalarOp::Add => tape.add_i(x[0], x[1]),
        ScalarOp::Sub => tape.sub_i(x[0], x[1]),
        ScalarOp::Mul => tape.mul_i(x[0], x[1]),
        ScalarOp::Min => tape.commuting(smaller, x[0], x[1]),
        ScalarOp::Max => tape.commuting(larger, x[0], x[1]),
        ScalarOp::Div | ScalarOp::Mod => return Err(Refusal::IntegerDivision),
        other => unreachable!("`{}` is not defined on integers", other.name()),
    })
}

fn cast(tape: &mut Tape, from: DType, to: DType, x: Value) -> Result<Value, Refusal> {
    Ok(match (from, to) {
        _ if from == to => x,
        (DType::F64, _) | (_, DType::F64) => return Err(Refusal::Double),
        (DType::Bool, DType::I32) => {
            let one = tape.integer(1);
            tape.and_i(x, one)
        }
        (DType::Bool, _) => {
            let one = tape.constant(1.0);
            tape.and_i(x, one)
        }
        (DType::I32, DType::Bool) => {
            let zero = tape.integer(0);
            tape.compare(false, NOT_EQUAL, x, zero)
        }
        (DType::I32, _) => tape.to_float(x),
        (_, DType::Bool) => {
            let zero = tape.constant(0.0);
            tape.compare(true, NOT_EQUAL, x, zero)
        }
        (_, DType::I32) => tape.float_to_integer(x),
        _ => x,
    })
}

/// Emits a stage as a call for every panel, or for a sum over the panels of a tile as one; `number` is the stage's.
pub(super) fn call(e: &mut Emitter<'_>, stage: &Stage, wide: &Wide, number: usize) {
    let rows = wide.pointers.iter().filter(|pointer| matches!(pointer, Pointer::Rows(_) | Pointer::Lanes)).count();
    let slot = |e: &mut Emitter<'_>, bytes: usize| {
        e.b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, bytes.max(8) as u32, 4))
    };
    let (table, indices, remaining) = (slot(e, wide.pointers.len() * 8), slot(e, rows * LANES * 4), slot(e, 8));
    let mut fill = |e: &mut Emitter<'_>| {
        let mut filled = 0;
        for (i, pointer) in wide.pointers.iter().enumerate() {
            let address: Address = match pointer {
                Pointer::Access(access) => e.address(access),
                Pointer::Key => e.key,
                Pointer::Panels => e.panel_count,
                Pointer::Remaining => {
                    let first = e.first_row();
                    let count = e.word(e.kernel.row_count());
                    let count = e.b.ins().isub(count, first);
                    e.b.ins().stack_store(I64, count, remaining, 0);
                    e.b.ins().stack_addr(I64, remaining, 0)
                }
                Pointer::Partial => match stage {
                    Stage::AccumulateReduce { loops, row_strides, strides, target, .. } => {
                        Partial { target: *target, loops, strides, row_strides }.address(e)
                    }
                    _ => unreachable!("sums over rows alone have partial results"),
                },
                Pointer::Rows(_) | Pointer::Lanes => {
                    let zero = e.word(0);
                    let start = (filled * LANES * 4) as i32;
                    filled += 1;
                    let first = e.b.ins().stack_addr(I64, indices, start);
                    for group in 0..GROUPS {
                        let at = (group * WIDTH) as i32;
                        let value = match pointer {
                            Pointer::Rows(axis) if e.kernel.rows.iter().any(|(row, _)| row == axis) => {
                                e.row_index(*axis, zero, group)
                            }
                            Pointer::Rows(_) => e.integers([0; 4]),
                            _ => e.integers([at, at + 1, at + 2, at + 3]),
                        };
                        e.b.ins().store(flags(), value, first, group as i32 * 16);
                    }
                    first
                }
            };
            e.b.ins().stack_store(I64, address, table, (i * 8) as i32);
        }
        let table = e.b.ins().stack_addr(I64, table, 0);
        library::call(e, Callee::Stage(number), &[table]);
    };
    if wide.pointers.contains(&Pointer::Panels) {
        e.panel = e.word(0);
        fill(e);
    } else {
        e.panels(&mut fill);
    }
}
