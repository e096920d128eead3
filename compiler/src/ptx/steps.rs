//! The steps between kernels: weights into fragments, partial results into one.

use super::{
    Argument, BLOCK, ENTRY, Function, PARAMETER, Precision, buffer_words,
    contraction::{FRAGMENT_WORDS, OUTPUTS, packed},
    emitter::THREADS,
    scalar,
    text::{Class, Operand, Register, Text},
};
use crate::{
    graph::{Combine, DType},
    plan::{Arrangement, BufferId, LANES, Layout, Plan, words},
};
use std::fmt::Write;

/// Distances of a line of elements from its first.
enum Offsets {
    /// `start + i · stride`.
    Even { start: u32, stride: i64 },
    /// A table of the module, by its letter.
    Any(char),
}

/// A function of one thread an item.
struct Items {
    t: Text,
    /// The number of the thread's item.
    item: Register,
    tables: String,
    arguments: Vec<Argument>,
}

impl Items {
    /// A function for so many items; threads past them have gone.
    fn new(count: usize) -> Items {
        let mut t = Text::default();
        let thread = t.value(Class::Bits32, "mov.u32", &[Operand::Name("%tid.x")]);
        let block = t.value(Class::Bits32, "mov.u32", &[Operand::Name(BLOCK)]);
        let item = t.value(Class::Bits32, "mad.lo.s32", &[block.into(), THREADS.into(), thread.into()]);
        let past = t.value(Class::Predicate, "setp.ge.u32", &[item.into(), count.into()]);
        t.line(format_args!("@{past} ret"));
        Items { t, item, tables: String::new(), arguments: Vec::new() }
    }

    /// The address of a stored value.
    fn address(&mut self, id: BufferId) -> Register {
        let given = self.t.register(Class::Bits64);
        self.t.line(format_args!("ld.param.u64 {given}, [{PARAMETER}{}]", self.arguments.len()));
        self.arguments.push(Argument::Buffer(id));
        self.t.value(Class::Bits64, "cvta.to.global.u64", &[given.into()])
    }

    fn divided(&mut self, a: Register, by: usize) -> (Register, Register) {
        let quotient = self.t.value(Class::Bits32, "div.u32", &[a.into(), by.into()]);
        (quotient, self.t.value(Class::Bits32, "rem.u32", &[a.into(), by.into()]))
    }

    fn multiply_add(&mut self, a: Register, b: usize, c: Operand) -> Register {
        self.t.value(Class::Bits32, "mad.lo.s32", &[a.into(), b.into(), c])
    }

    /// Offsets, as arithmetic if they are that, else as a table.
    fn offsets(&mut self, letter: char, offsets: &[u32]) -> Offsets {
        let start = offsets.first().copied().unwrap_or(0);
        let stride = offsets.get(1).map_or(0, |second| i64::from(*second) - i64::from(start));
        let even = |(i, offset): (usize, &u32)| i64::from(*offset) == i64::from(start) + i as i64 * stride;
        if offsets.iter().enumerate().all(even) {
            return Offsets::Even { start, stride };
        }
        let numbers: Vec<String> = offsets.iter().map(u32::to_string).collect();
        let _ = writeln!(
            self.tables,
            ".global .align 4 .u32 {ENTRY}_{letter}[{}] = {{{}}};",
            offsets.len(),
            numbers.join(", ")
        );
        Offsets::Any(letter)
    }

    /// `sum` and the distance of the i-th element.
    fn plus(&mut self, sum: Operand, offsets: &Offsets, i: Register) -> Register {
        match offsets {
            Offsets::Even { start, stride } => {
                let start = self.t.value(Class::Bits32, "add.s32", &[sum, i64::from(start.cast_signed()).into()]);
                self.t.value(Class::Bits32, "mad.lo.s32", &[i.into(), (*stride).into(), start.into()])
            }
            Offsets::Any(letter) => {
                let table = self.t.register(Class::Bits64);
                self.t.line(format_args!("mov.u64 {table}, {ENTRY}_{letter}"));
                let at = self.t.value(Class::Bits64, "mad.wide.s32", &[i.into(), 4_i64.into(), table.into()]);
                let offset = self.t.register(Class::Bits32);
                self.t.line(format_args!("ld.global.nc.u32 {offset}, [{at}]"));
                self.t.value(Class::Bits32, "add.s32", &[sum, offset.into()])
            }
        }
    }

    fn element(&mut self, base: Register, index: Register, words: usize) -> Register {
        self.t.value(Class::Bits64, "mad.wide.s32", &[index.into(), (words * 4).into(), base.into()])
    }

    fn finish(mut self, name: String, count: usize) -> Function {
        self.t.line("ret");
        Function {
            name,
            tables: self.tables,
            body: self.t.finish(),
            arguments: self.arguments,
            blocks: count.div_ceil(THREADS),
            shared_bytes: 0,
            scratch_bytes: 0,
            is_light: true,
        }
    }
}

/// Weights into fragments: a thread packs the elements that a thread will hold.
pub(super) fn pack(
    plan: &Plan,
    source: BufferId,
    target: BufferId,
    offsets: [&[u32]; 3],
    precision: Precision,
) -> Function {
    let [m_offsets, n_offsets, k_offsets] = offsets;
    let layout = &plan.buffers[target.0 as usize].layout;
    let (rows, blocks, steps) = packed(layout, precision);
    let Layout::Fragments { block, .. } = layout else { unreachable!("weights are packed as fragments") };
    let count = m_offsets.len() * rows * blocks * steps * LANES;
    debug_assert!(count * 4 <= buffer_words(plan, target));
    let mut e = Items::new(count);
    let (from, to) = (e.address(source), e.address(target));
    let [m, n, k] = [('m', m_offsets), ('n', n_offsets), ('k', k_offsets)].map(|(letter, o)| e.offsets(letter, o));
    // [matrix][row of fragments][block][step][thread]
    let (fragment, thread) = e.divided(e.item, FRAGMENT_WORDS / 4);
    let (fragment, step) = e.divided(fragment, steps);
    let (fragment, block_number) = e.divided(fragment, blocks);
    let (matrix, row) = e.divided(fragment, rows);
    let (g, c) = e.divided(thread, 4);
    let start = e.plus(Operand::Integer(0), &m, matrix);
    let each = precision.depth() / 8;
    let own = e.multiply_add(c, each, Operand::Integer(0));
    let k_first = e.multiply_add(step, precision.depth(), own.into());
    let n_first = e.multiply_add(row, OUTPUTS, g.into());
    let element = |e: &mut Items, half: usize, offset: usize| {
        let output = e.t.value(Class::Bits32, "add.s32", &[n_first.into(), (half * OUTPUTS / 2).into()]);
        let within = e.t.value(Class::Bits32, "add.s32", &[k_first.into(), offset.into()]);
        let is_output = e.t.value(Class::Predicate, "setp.lt.s32", &[output.into(), n_offsets.len().into()]);
        let is_there = e.t.register(Class::Predicate);
        e.t.line(format_args!("setp.lt.and.s32 {is_there}, {within}, {block}, {is_output}"));
        let output = e.t.value(Class::Bits32, "min.s32", &[output.into(), (n_offsets.len() - 1).into()]);
        let within = e.t.value(Class::Bits32, "min.s32", &[within.into(), (block - 1).into()]);
        let k_index = e.multiply_add(block_number, *block, within.into());
        let at = e.plus(start.into(), &n, output);
        let at = e.plus(at.into(), &k, k_index);
        let address = e.element(from, at, 1);
        let value = e.t.variable(Class::Float32, Operand::Float(0.0));
        e.t.line(format_args!("@{is_there} ld.global.nc.f32 {value}, [{address}]"));
        value
    };
    // The halves of the outputs for each part of k.
    let words: Vec<Register> = [0, 4 * each]
        .into_iter()
        .flat_map(|part| [(0, part), (1, part)])
        .map(|(half, part)| match precision {
            Precision::F32 => element(&mut e, half, part),
            Precision::Tf32 => {
                let value = element(&mut e, half, part);
                let rounded = e.t.value(Class::Bits32, "cvt.rna.tf32.f32", &[value.into()]);
                e.t.value(Class::Float32, "mov.b32", &[rounded.into()])
            }
            Precision::Bf16 => {
                let [low, high] = [0, 1].map(|next| element(&mut e, half, part + next));
                let pair = e.t.value(Class::Bits32, "cvt.rn.bf16x2.f32", &[high.into(), low.into()]);
                e.t.value(Class::Float32, "mov.b32", &[pair.into()])
            }
        })
        .collect();
    let address = e.element(to, e.item, 4);
    e.t.line(format_args!("st.global.v4.f32 [{address}], {}", super::text::vector(&words)));
    e.finish(format!("pack {}", plan.buffers[source.0 as usize].name), count)
}

/// Partial results of chunks into one, in order.
pub(super) fn combine(
    plan: &Plan,
    source: BufferId,
    target: BufferId,
    how: Combine,
    chunks: usize,
    arrangement: &Arrangement,
) -> Function {
    let dtype = plan.buffers[target.0 as usize].dtype;
    let (count, unit) = (elements(arrangement), words(dtype));
    let mut e = Items::new(count);
    let (from, to) = (e.address(source), e.address(target));
    let (read, written) = match arrangement {
        Arrangement::Same { .. } => (e.item, e.item),
        Arrangement::Panels { block, m_offsets, n_offsets, k_offsets } => {
            let [m, n, k] =
                [('m', m_offsets), ('n', n_offsets), ('k', k_offsets)].map(|(letter, o)| e.offsets(letter, o));
            let (outputs, depth) = (n_offsets.len(), k_offsets.len());
            let (rest, k_index) = e.divided(e.item, depth);
            let (matrix, output) = e.divided(rest, outputs);
            let (block_number, within) = e.divided(k_index, *block);
            let (panel, lane) = e.divided(within, LANES);
            // [matrix][block][panel][n][32]
            let at = e.multiply_add(matrix, depth / block, block_number.into());
            let at = e.multiply_add(at, block.div_ceil(LANES), panel.into());
            let at = e.multiply_add(at, outputs, output.into());
            let read = e.multiply_add(at, LANES, lane.into());
            let to = e.plus(Operand::Integer(0), &m, matrix);
            let to = e.plus(to.into(), &n, output);
            (read, e.plus(to.into(), &k, k_index))
        }
    };
    // From one chunk to the next.
    let distance = plan.buffers[source.0 as usize].layout.elements() / chunks * unit * 4;
    let address = e.element(from, read, unit);
    let suffix = match dtype {
        DType::F64 => "f64",
        DType::F32 => "f32",
        _ => "b32",
    };
    let load = |e: &mut Items, address: Register| {
        let value = e.t.register(scalar::class(dtype));
        e.t.line(format_args!("ld.global.nc.{suffix} {value}, [{address}]"));
        value
    };
    let total = load(&mut e, address);
    if chunks > 1 {
        let chunk = e.t.variable(Class::Bits32, Operand::Integer(1));
        let head = e.t.label();
        e.t.place(head);
        e.t.set(address, "add.s64", &[address.into(), distance.into()]);
        let part = load(&mut e, address);
        let after = scalar::combine(&mut e.t, how, dtype, total, part);
        e.t.copy(total, after.into());
        e.t.set(chunk, "add.s32", &[chunk.into(), 1_i64.into()]);
        let more = e.t.value(Class::Predicate, "setp.lt.s32", &[chunk.into(), chunks.into()]);
        e.t.branch_if(more, true, head);
    }
    let address = e.element(to, written, unit);
    e.t.line(format_args!("st.global.{suffix} [{address}], {total}"));
    e.finish(format!("combine {}", plan.buffers[target.0 as usize].name), count)
}

/// The elements of a result.
fn elements(arrangement: &Arrangement) -> usize {
    match arrangement {
        Arrangement::Same { elements } => *elements,
        Arrangement::Panels { m_offsets, n_offsets, k_offsets, .. } => {
            m_offsets.len() * n_offsets.len() * k_offsets.len()
        }
    }
}
