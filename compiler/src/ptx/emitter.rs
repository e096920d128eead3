//! The function of one kernel under construction: who computes what, loops, addresses.

use super::{
    Argument, BLOCK, Family, PARAMETER, PtxOptions,
    scalar::class,
    text::{Class, Operand, Register, Text},
};
use crate::{
    axis::Axis,
    graph::DType,
    plan::{Access, BufferId, Kernel, LANES, Layout, Loop, Plan, Source, words},
};
use rustc_hash::{FxHashMap, FxHashSet};

/// Warps of a block. A warp is a panel: its threads are the lanes.
pub(super) const WARPS: usize = 8;

/// Threads of a block.
pub(super) const THREADS: usize = WARPS * LANES;

/// Words from one feature of a tile-resident value to the next: a panel and eight words of nothing. Threads that read four
/// features of eight rows, as a fragment of a matrix wants them, thereby meet all 32 banks of shared memory.
pub(super) const PITCH: usize = LANES + 8;

/// Bytes at the start of shared memory through which warps put their parts of a sum together.
pub(super) const EXCHANGE_BYTES: usize = WARPS * 8;

/// Words of tile memory as the planner counts them, at their [pitch](PITCH).
pub(super) fn pitched(words: isize) -> isize {
    let lanes = LANES as isize;
    assert_eq!(words % lanes, 0, "features of a tile are whole panels apart");
    words / lanes * PITCH as isize
}

/// Bytes of tile memory of a kernel.
pub(super) fn tile_bytes(kernel: &Kernel) -> usize {
    pitched(kernel.scratch.next_multiple_of(LANES) as isize) as usize * 4
}

/// The memory that an address is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Space {
    /// Of the block.
    Shared,
    /// Of the device.
    Global,
    /// Of the device, and not written by this kernel.
    Constant,
}

impl Space {
    fn load(self) -> &'static str {
        match self {
            Space::Shared => "ld.shared",
            Space::Global => "ld.global",
            Space::Constant => "ld.global.nc",
        }
    }

    fn store(self) -> &'static str {
        match self {
            Space::Shared => "st.shared",
            Space::Global => "st.global",
            Space::Constant => unreachable!("what a kernel writes is not constant in it"),
        }
    }
}

/// Where an element is: an address and so many bytes beyond it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub space: Space,
    base: Register,
    offset: isize,
}

impl Place {
    /// The place so many bytes further.
    pub fn beyond(self, bytes: isize) -> Place {
        Place { offset: self.offset + bytes, ..self }
    }

    /// Whether two places differ by a constant.
    pub fn has_base_of(self, other: Place) -> bool {
        self.base == other.base
    }

    /// The same distance from another base.
    pub fn on(self, base: Register) -> Place {
        Place { base, ..self }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.offset {
            0 => write!(f, "[{}]", self.base),
            offset => write!(f, "[{}+{offset}]", self.base),
        }
    }
}

/// The rows of the current panel, as a thread sees them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// The number of the thread's row; past the last row, the last.
    pub number: Register,
    /// The lane of that row in its panel.
    lane: Register,
    /// Whether the thread has a row of its own; none where all have.
    pub exists: Option<Register>,
}

/// A sum of products of indices and distances in words, with its constant part apart.
struct Distance {
    index: Option<Register>,
    constant: isize,
}

pub(super) struct Emitter<'a> {
    pub t: Text,
    pub plan: &'a Plan,
    pub kernel: &'a Kernel,
    pub options: PtxOptions,
    /// What the function is called with, in order.
    pub arguments: Vec<Argument>,
    /// The parameters that hold addresses of stored values, by their numbers.
    buffers: FxHashMap<BufferId, usize>,
    written: FxHashSet<BufferId>,
    /// The first byte of tile memory, and whose memory it is.
    tiles: Place,
    /// The words of the step and the seed of random numbers.
    pub key: Option<[Register; 2]>,
    /// Number of the thread's warp.
    pub warp: Register,
    /// Number of the thread in its warp.
    pub lane: Register,
    /// Number of the block.
    pub block: Register,
    /// The tile's first panel, counted over all rows.
    pub first_panel: Register,
    /// Panels in this tile.
    pub panel_count: Operand,
    /// The current panel, counted from the tile's first.
    pub panel: Operand,
    /// The rows of the current panel.
    pub row: Option<Row>,
    /// The indices of the loops around the current place.
    pub indices: FxHashMap<Axis, Operand>,
}

impl<'a> Emitter<'a> {
    /// A function that has read its arguments, and knows the number of its thread.
    pub fn new(plan: &'a Plan, kernel: &'a Kernel, options: PtxOptions) -> Emitter<'a> {
        let mut t = Text::default();
        let thread = t.value(Class::Bits32, "mov.u32", &[Operand::Name("%tid.x")]);
        let block = t.value(Class::Bits32, "mov.u32", &[Operand::Name(BLOCK)]);
        let warp = t.value(Class::Bits32, "shr.u32", &[thread.into(), 5_i64.into()]);
        let lane = t.value(Class::Bits32, "and.b32", &[thread.into(), 31_i64.into()]);
        let shared = t.value(Class::Bits32, "mov.u32", &[Operand::Name("tile_memory")]);
        let mut e = Emitter {
            t,
            plan,
            kernel,
            options,
            arguments: Vec::new(),
            buffers: FxHashMap::default(),
            written: kernel.stages.iter().flat_map(|stage| stage.writes()).filter_map(Source::buffer).collect(),
            tiles: Place { space: Space::Shared, base: shared, offset: EXCHANGE_BYTES as isize },
            key: None,
            warp,
            lane,
            block,
            first_panel: block,
            panel_count: Operand::Integer(1),
            panel: Operand::Integer(0),
            row: None,
            indices: FxHashMap::default(),
        };
        for id in kernel.buffers() {
            e.buffers.insert(id, e.arguments.len());
            e.arguments.push(Argument::Buffer(id));
        }
        if kernel.stages.iter().any(super::draws) {
            e.key = Some([Argument::Step, Argument::Seed].map(|argument| {
                let word = e.t.register(Class::Bits32);
                e.t.line(format_args!("ld.param.u32 {word}, [{PARAMETER}{}]", e.arguments.len()));
                e.arguments.push(argument);
                word
            }));
        }
        if tile_bytes(kernel) > options.family.tile_bytes() {
            let start = e.address(e.arguments.len());
            e.arguments.push(Argument::Scratch);
            let bytes = tile_bytes(kernel);
            let base = e.t.value(Class::Bits64, "mad.wide.u32", &[block.into(), bytes.into(), start.into()]);
            e.tiles = Place { space: Space::Global, base, offset: 0 };
        }
        e
    }

    /// The address that the n-th parameter holds. Asked for where it is used: the machine has parameters at hand, and not so
    /// many registers.
    fn address(&mut self, number: usize) -> Register {
        let given = self.t.register(Class::Bits64);
        self.t.line(format_args!("ld.param.u64 {given}, [{PARAMETER}{number}]"));
        self.t.value(Class::Bits64, "cvta.to.global.u64", &[given.into()])
    }

    /// Lets all threads of the block catch up; what one has written the others then see.
    pub fn barrier(&mut self) {
        self.t.line("bar.sync 0");
    }

    /// A sum of products `a · b`, `c` added.
    fn multiply_add(&mut self, a: Operand, b: isize, c: Option<Register>) -> Register {
        let b = Operand::Integer(b as i64);
        match c {
            Some(c) => self.t.value(Class::Bits32, "mad.lo.s32", &[a, b, c.into()]),
            None if b == Operand::Integer(1) => match a {
                Operand::Register(register) => register,
                _ => self.t.value(Class::Bits32, "mov.b32", &[a]),
            },
            None => self.t.value(Class::Bits32, "mul.lo.s32", &[a, b]),
        }
    }

    /// `a + b`, of indices.
    pub fn plus(&mut self, a: Operand, b: Operand) -> Operand {
        match (a, b) {
            (Operand::Integer(a), Operand::Integer(b)) => Operand::Integer(a + b),
            (Operand::Integer(0), other) | (other, Operand::Integer(0)) => other,
            (Operand::Integer(_), _) => self.t.value(Class::Bits32, "add.s32", &[b, a]).into(),
            _ => self.t.value(Class::Bits32, "add.s32", &[a, b]).into(),
        }
    }

    /// `a · b`, of indices.
    pub fn times(&mut self, a: Operand, b: usize) -> Operand {
        match (a, b) {
            (Operand::Integer(a), b) => Operand::Integer(a * b as i64),
            (_, 0) => Operand::Integer(0),
            (a, 1) => a,
            (a, b) => self.t.value(Class::Bits32, "mul.lo.s32", &[a, b.into()]).into(),
        }
    }

    /// Quotient and remainder of an index that is not negative.
    pub fn divided(&mut self, a: Operand, by: usize) -> (Operand, Operand) {
        match a {
            _ if by == 1 => (a, Operand::Integer(0)),
            Operand::Integer(a) => (Operand::Integer(a / by as i64), Operand::Integer(a % by as i64)),
            _ => {
                let quotient = self.t.value(Class::Bits32, "div.u32", &[a, by.into()]);
                let rest = self.t.value(Class::Bits32, "rem.u32", &[a, by.into()]);
                (quotient.into(), rest.into())
            }
        }
    }

    /// The smaller of two indices.
    pub fn least(&mut self, a: Operand, b: Operand) -> Operand {
        match (a, b) {
            (Operand::Integer(a), Operand::Integer(b)) => Operand::Integer(a.min(b)),
            _ => self.t.value(Class::Bits32, "min.s32", &[a, b]).into(),
        }
    }

    /// Whether both conditions hold; one that is not there holds always.
    pub fn both(&mut self, one: Option<Register>, other: Option<Register>) -> Option<Register> {
        match (one, other) {
            (Some(one), Some(other)) => Some(self.t.value(Class::Predicate, "and.pred", &[one.into(), other.into()])),
            (one, other) => one.or(other),
        }
    }

    /// Emits `body` for `start`, `start + step`, … below `end`.
    pub fn stepping(&mut self, start: Operand, end: Operand, step: usize, body: &mut dyn FnMut(&mut Self, Operand)) {
        if let (Operand::Integer(start), Operand::Integer(end)) = (start, end)
            && start < end
            && start + step as i64 >= end
        {
            return body(self, Operand::Integer(start));
        }
        let index = self.t.variable(Class::Bits32, start);
        let (head, after) = (self.t.label(), self.t.label());
        self.t.place(head);
        let done = self.t.value(Class::Predicate, "setp.ge.s32", &[index.into(), end]);
        self.t.branch_if(done, true, after);
        body(self, index.into());
        self.t.set(index, "add.s32", &[index.into(), step.into()]);
        self.t.branch(head);
        self.t.place(after);
    }

    /// Emits `body` where a predicate holds.
    pub fn guarded(&mut self, predicate: Option<Register>, body: &mut dyn FnMut(&mut Self)) {
        let Some(predicate) = predicate else { return body(self) };
        let after = self.t.label();
        self.t.branch_if(predicate, false, after);
        body(self);
        self.t.place(after);
    }

    /// Emits `body` inside a nest of loops over feature axes, one index after another.
    pub fn nest(&mut self, loops: &[Loop], body: &mut dyn FnMut(&mut Self)) {
        match loops.split_first() {
            None => body(self),
            Some(((axis, size), rest)) => self.stepping(Operand::Integer(0), (*size).into(), 1, &mut |e, index| {
                let outer = e.indices.insert(*axis, index);
                e.nest(rest, body);
                match outer {
                    Some(outer) => e.indices.insert(*axis, outer),
                    None => e.indices.remove(axis),
                };
            }),
        }
    }

    /// The number of the current index of some loops, read as one.
    pub fn number(&mut self, loops: &[Loop]) -> Operand {
        loops.iter().fold(Operand::Integer(0), |number, (axis, size)| {
            let number = self.times(number, *size);
            self.plus(number, self.indices[axis])
        })
    }

    /// Emits `body` with the indices of loops that are read as one.
    pub fn indexed(&mut self, loops: &[Loop], number: Operand, body: &mut dyn FnMut(&mut Self)) {
        let outer = self.indices.clone();
        let mut rest = number;
        for (at, (axis, size)) in loops.iter().enumerate().rev() {
            let is_first = loops[..at].iter().all(|(_, size)| *size == 1);
            let index = match (*size, is_first) {
                (1, _) => Operand::Integer(0),
                (_, true) => rest,
                (size, false) => {
                    let (quotient, index) = self.divided(rest, size);
                    rest = quotient;
                    index
                }
            };
            self.indices.insert(*axis, index);
        }
        body(self);
        self.indices = outer;
    }

    /// Emits `body` for every panel of the tile and every index of some loops, shared among the warps.
    pub fn share(&mut self, loops: &[Loop], body: &mut dyn FnMut(&mut Self)) {
        let count: usize = loops.iter().map(|(_, size)| size).product();
        let items = self.times(self.panel_count, count);
        self.stepping(self.warp.into(), items, WARPS, &mut |e, item| {
            let (panel, number) = match e.panel_count {
                Operand::Integer(1) => (Operand::Integer(0), item),
                _ => e.divided(item, count),
            };
            e.in_panel(panel, &mut |e| e.indexed(loops, number, body));
        });
    }

    /// Emits `body` for every panel of the tile, one after another.
    pub fn panels(&mut self, body: &mut dyn FnMut(&mut Self)) {
        self.stepping(Operand::Integer(0), self.panel_count, 1, &mut |e, panel| e.in_panel(panel, body));
    }

    /// Emits `body` for a panel of the tile.
    pub fn in_panel(&mut self, panel: Operand, body: &mut dyn FnMut(&mut Self)) {
        self.panel = panel;
        self.row = Some(self.row_of(panel));
        body(self);
        self.row = None;
    }

    fn row_of(&mut self, panel: Operand) -> Row {
        let panel = self.plus(self.first_panel.into(), panel);
        let first = self.times(panel, LANES);
        let own = self.t.value(Class::Bits32, "add.s32", &[first, self.lane.into()]);
        if !self.has_tail() {
            return Row { number: own, lane: self.lane, exists: None };
        }
        let count = self.kernel.row_count();
        let exists = self.t.value(Class::Predicate, "setp.lt.s32", &[own.into(), count.into()]);
        let number = self.t.value(Class::Bits32, "min.s32", &[own.into(), (count - 1).into()]);
        let lane = self.t.value(Class::Bits32, "and.b32", &[number.into(), 31_i64.into()]);
        Row { number, lane, exists: Some(exists) }
    }

    /// The current panel's rows.
    pub fn row(&self) -> Row {
        self.row.unwrap_or_else(|| unreachable!("rows are those of a panel"))
    }

    /// Whether the last panel is not full.
    pub fn has_tail(&self) -> bool {
        !self.kernel.row_count().is_multiple_of(LANES)
    }

    /// The index of a row axis, of a row given by its number.
    pub fn row_index(&mut self, axis: Axis, row: Operand) -> Operand {
        let rows = &self.kernel.rows;
        let Some(at) = rows.iter().position(|(row, _)| *row == axis) else { return Operand::Integer(0) };
        let inner: usize = rows[at + 1..].iter().map(|(_, size)| size).product();
        let size = rows[at].1;
        if size == 1 {
            return Operand::Integer(0);
        }
        let (number, _) = self.divided(row, inner);
        if rows[..at].iter().all(|(_, size)| *size == 1) { number } else { self.divided(number, size).1 }
    }

    /// Σ index · stride of row axes, of a row given by its number, in words.
    pub fn row_distance(&mut self, row: Operand, strides: &[(Axis, isize)]) -> Vec<(Operand, isize)> {
        let strides: Vec<(Axis, isize)> = strides.iter().filter(|(_, stride)| *stride != 0).copied().collect();
        strides.into_iter().map(|(axis, stride)| (self.row_index(axis, row), stride)).collect()
    }

    /// Σ index · stride of loops, in words.
    pub fn loop_distance(&self, loops: &[Loop], strides: &[isize]) -> Vec<(Operand, isize)> {
        let indices = loops.iter().map(|(axis, _)| self.indices.get(axis).copied().unwrap_or(Operand::Integer(0)));
        indices.zip(strides.iter().copied()).collect()
    }

    fn sum(&mut self, parts: &[(Operand, isize)], constant: isize) -> Distance {
        let mut distance = Distance { index: None, constant };
        for (index, stride) in parts.iter().filter(|(_, stride)| *stride != 0) {
            match index {
                Operand::Integer(index) => distance.constant += *index as isize * stride,
                _ => distance.index = Some(self.multiply_add(*index, *stride, distance.index)),
            }
        }
        distance
    }

    /// The place so many words beyond another.
    pub fn further(&mut self, from: Place, parts: &[(Operand, isize)], constant: isize) -> Place {
        let Distance { index, constant } = self.sum(parts, constant);
        let Place { space, base, offset } = from;
        let base = match (index, space) {
            (None, _) => base,
            (Some(index), Space::Shared) => {
                self.t.value(Class::Bits32, "mad.lo.s32", &[index.into(), 4_i64.into(), base.into()])
            }
            (Some(index), _) => self.t.value(Class::Bits64, "mad.wide.s32", &[index.into(), 4_i64.into(), base.into()]),
        };
        Place { space, base, offset: offset + constant * 4 }
    }

    /// The base of a place in a register of its own.
    pub fn own_base(&mut self, place: Place) -> Register {
        self.t.variable(place.base.class, place.base.into())
    }

    /// The first element of a source.
    pub fn start(&mut self, source: Source) -> Place {
        match source {
            Source::Buffer(id) => {
                let space = if self.written.contains(&id) { Space::Global } else { Space::Constant };
                Place { space, base: self.address(self.buffers[&id]), offset: 0 }
            }
            Source::Tile(id) => self.tiles.beyond(pitched(self.kernel.tiles[id] as isize) * 4),
        }
    }

    /// A distance between elements of an access, as it is in memory.
    pub fn stride(&self, access: &Access, words: isize) -> isize {
        match access.source {
            Source::Tile(_) if access.lanes => pitched(words),
            _ => words,
        }
    }

    /// A distance between so many features of an access, as it is in memory. A lone feature has none.
    pub fn distance(&self, access: &Access, words: usize, features: usize) -> isize {
        if features > 1 { self.stride(access, words as isize) } else { 0 }
    }

    /// The parts of an access's address that do not depend on the row.
    pub fn uniform_place(&mut self, access: &Access) -> Place {
        let panel = match access.source {
            Source::Buffer(_) if access.panel_stride != 0 => self.plus(self.first_panel.into(), self.panel),
            _ => self.panel,
        };
        let mut parts = vec![(panel, self.stride(access, access.panel_stride as isize))];
        for (axis, stride) in &access.strides {
            if let Some(index) = self.indices.get(axis) {
                parts.push((*index, self.stride(access, *stride)));
            }
        }
        let start = self.start(access.source);
        let offset = self.stride(access, access.offset);
        self.further(start, &parts, offset)
    }

    /// Where the thread's element of an access is, at the current panel and indices. Threads past the last row read that
    /// of the last row, and have places of their own in tile memory.
    pub fn place(&mut self, access: &Access, dtype: DType) -> Place {
        let mut place = self.uniform_place(access);
        if access.lanes {
            let lane = match access.source {
                Source::Buffer(_) => self.row().lane,
                Source::Tile(_) => self.lane,
            };
            place = self.further(place, &[(lane.into(), words(dtype) as isize)], 0);
        }
        place
    }

    /// Whether a thread may write to an access: past the last row there is nothing of it in stored values.
    pub fn may_write(&self, access: &Access) -> Option<Register> {
        match access.source {
            Source::Buffer(_) => self.row().exists,
            Source::Tile(_) => None,
        }
    }

    /// Reads an element.
    pub fn load(&mut self, place: Place, dtype: DType) -> Register {
        let word = self.t.register(memory_class(dtype));
        self.t.line(format_args!("{}.{} {word}, {place}", place.space.load(), memory_type(dtype)));
        self.as_value(word, dtype)
    }

    /// Reads an element where a predicate holds; elsewhere it is zero.
    pub fn load_where(&mut self, predicate: Register, place: Place, dtype: DType) -> Register {
        let word = self.t.variable(memory_class(dtype), super::scalar::immediate(0.0, dtype));
        self.t.line(format_args!("@{predicate} {}.{} {word}, {place}", place.space.load(), memory_type(dtype)));
        self.as_value(word, dtype)
    }

    /// Reads registers that lie side by side.
    pub fn load_vector(&mut self, place: Place, class: Class, count: usize) -> Vec<Register> {
        let registers: Vec<Register> = (0..count).map(|_| self.t.register(class)).collect();
        let ty = if class == Class::Float32 { "f32" } else { "b32" };
        let vector = super::text::vector(&registers);
        self.t.line(format_args!("{}.v{count}.{ty} {vector}, {place}", place.space.load()));
        registers
    }

    /// A word of memory as the element that it is.
    fn as_value(&mut self, word: Register, dtype: DType) -> Register {
        match dtype {
            DType::Bool => self.t.value(Class::Predicate, "setp.ne.s32", &[word.into(), 0_i64.into()]),
            _ => word,
        }
    }

    /// Writes an element, where a predicate holds if there is one.
    pub fn store(&mut self, place: Place, dtype: DType, value: Register, predicate: Option<Register>) {
        let word = match dtype {
            DType::Bool => self.t.value(Class::Bits32, "selp.b32", &[(-1_i64).into(), 0_i64.into(), value.into()]),
            _ => value,
        };
        let guard = predicate.map_or_else(String::new, |predicate| format!("@{predicate} "));
        self.t.line(format_args!("{guard}{}.{} {place}, {word}", place.space.store(), memory_type(dtype)));
    }

    /// Writes registers side by side.
    pub fn store_vector(&mut self, place: Place, values: &[Register], predicate: Option<Register>) {
        let guard = predicate.map_or_else(String::new, |predicate| format!("@{predicate} "));
        let (count, vector) = (values.len(), super::text::vector(values));
        self.t.line(format_args!("{guard}{}.v{count}.f32 {place}, {vector}", place.space.store()));
    }

    /// Words of the partial results of a chunk, and where those of this block are.
    pub fn partial(&mut self, target: BufferId) -> (usize, Place) {
        let buffer = &self.plan.buffers[target.0 as usize];
        let Layout::Partials { elements, .. } = buffer.layout else {
            unreachable!("{} holds no partial results", buffer.name)
        };
        let words = elements.next_multiple_of(LANES) * words(buffer.dtype);
        let start = self.start(Source::Buffer(target));
        (words, self.further(start, &[(self.block.into(), words as isize)], 0))
    }

    /// Where the warps leave their parts of a sum: of the n-th warp, so many bytes beyond.
    pub fn exchange(&mut self) -> Place {
        let base = self.t.value(Class::Bits32, "mov.u32", &[Operand::Name("tile_memory")]);
        Place { space: Space::Shared, base, offset: 0 }
    }
}

/// The class of registers that an element is read into.
fn memory_class(dtype: DType) -> Class {
    if dtype == DType::Bool { Class::Bits32 } else { class(dtype) }
}

/// What an element is in memory.
fn memory_type(dtype: DType) -> &'static str {
    match dtype {
        DType::F64 => "f64",
        DType::I32 | DType::Bool => "b32",
        DType::F32 | DType::F16 | DType::BF16 => "f32",
    }
}

impl Family {
    /// Bytes of shared memory that the tile of a block may fill.
    pub fn tile_bytes(self) -> usize {
        // What a block can have at most, less 1 KiB that the system takes.
        let most = match self {
            Family::Sm80 => 163 << 10,
            Family::Sm90 => 227 << 10,
        };
        most - EXCHANGE_BYTES
    }
}
