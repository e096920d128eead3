//! The function of one kernel under construction: loops, addresses, lanes.

use crate::{
    axis::Axis,
    plan::{Access, BufferId, Kernel, LANES, Plan, Source, Stage},
};
use cranelift_codegen::{
    ir::{
        ExtFuncData, ExternalName, FuncRef, InstBuilder, MemFlagsData, Signature, UserExternalName, Value,
        condcodes::IntCC,
        types::{I32, I32X4, I64},
    },
    isa::TargetFrontendConfig,
};
use cranelift_frontend::FunctionBuilder;
use rustc_hash::FxHashMap;

use super::{CompileOptions, Contraction, library::Callee};
use visage_kernels::{MicroKernels, PairKernels, micro_kernels};

/// Lanes in a vector register as Cranelift knows it.
pub(super) const WIDTH: usize = 4;
/// Vectors in a panel.
pub(super) const GROUPS: usize = LANES / WIDTH;

pub(super) struct Emitter<'a> {
    pub b: FunctionBuilder<'a>,
    pub plan: &'a Plan,
    pub kernel: &'a Kernel,
    pub micro: &'static MicroKernels,
    pub pairs: &'static PairKernels,
    pub contraction: Contraction,
    buffers: FxHashMap<BufferId, Value>,
    scratch: Value,
    /// Which chunk of the rows this call works on.
    pub chunk: Value,
    /// Seed and step of the random numbers.
    pub key: Value,
    /// The tile's first panel, counted over all rows.
    pub first_panel: Value,
    /// Panels in this tile.
    pub panel_count: Value,
    /// The current panel, counted from the tile's first.
    pub panel: Value,
    /// The indices of the loops around the current place.
    pub indices: FxHashMap<Axis, Value>,
    /// What the next tile will move to and from memory, until a contraction has asked for it.
    pub ahead: Vec<super::stage::Traffic>,
    /// The functions called so far.
    callees: Vec<(Callee, FuncRef)>,
}

/// The space of the names of what kernels call.
pub(super) const CALLEES: u32 = 1;

/// Flags of every access: generated addresses are valid, alignment is not promised.
pub(super) fn flags() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

impl<'a> Emitter<'a> {
    /// Emits the whole function: a loop over tiles, each going through the stages. What it calls comes back, in the order
    /// of the names' numbers.
    pub fn emit(
        mut b: FunctionBuilder<'a>,
        plan: &'a Plan,
        kernel: &'a Kernel,
        wide: &[Option<super::wide::Wide>],
        options: &CompileOptions,
        frontend: TargetFrontendConfig,
    ) -> Vec<Callee> {
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        let parameters = b.block_params(entry).to_vec();
        let [table, scratch, begin, end, chunk, key] = parameters[..] else {
            unreachable!("the signature of a kernel has six parameters")
        };
        let mut buffers = FxHashMap::default();
        for id in kernel.buffers() {
            let pointer = b.ins().load(I64, flags().with_readonly(), table, (id.0 * 8) as i32);
            buffers.insert(id, pointer);
        }
        let zero = b.ins().iconst(I64, 0);
        let mut emitter = Emitter {
            b,
            plan,
            kernel,
            micro: micro_kernels(options.isa),
            pairs: options.pairs(),
            contraction: options.contraction,
            buffers,
            scratch,
            chunk,
            key,
            first_panel: zero,
            panel_count: zero,
            panel: zero,
            indices: FxHashMap::default(),
            ahead: super::stage::traffic(kernel),
            callees: Vec::new(),
        };
        emitter.between(begin, end, &mut |e, tile| {
            e.first_panel = e.b.ins().imul_imm_s(tile, kernel.tile_panels as i64);
            let all = e.b.ins().iconst(I64, kernel.panels() as i64);
            let rest = e.b.ins().isub(all, e.first_panel);
            let full = e.b.ins().iconst(I64, kernel.tile_panels as i64);
            e.panel_count = e.b.ins().smin(rest, full);
            for (number, (stage, wide)) in kernel.stages.iter().zip(wide).enumerate() {
                match wide {
                    Some(code) => super::wide::call(e, stage, code, number),
                    None => e.stage(stage),
                }
            }
        });
        if kernel.stages.iter().any(|stage| matches!(stage, Stage::Stream { .. })) {
            super::library::call(&mut emitter, Callee::Settle, &[]);
        }
        emitter.b.ins().return_(&[]);
        emitter.b.seal_all_blocks();
        emitter.b.finalize(frontend);
        emitter.callees.into_iter().map(|(callee, _)| callee).collect()
    }

    /// A function that the kernel calls; `signature` is asked for once. Its number among all of them is its name.
    pub fn callee(&mut self, callee: Callee, signature: impl FnOnce() -> Signature) -> FuncRef {
        if let Some((_, known)) = self.callees.iter().find(|(other, _)| *other == callee) {
            return *known;
        }
        let name = UserExternalName { namespace: CALLEES, index: self.callees.len() as u32 };
        let name = ExternalName::user(self.b.func.declare_imported_user_function(name));
        let signature = self.b.import_signature(signature());
        let data = ExtFuncData { name, signature, colocated: false, patchable: false };
        let function = self.b.import_function(data);
        self.callees.push((callee, function));
        function
    }

    /// Emits `body` for every index from `start` up to but not including `end`.
    pub fn between(&mut self, start: Value, end: Value, body: &mut dyn FnMut(&mut Self, Value)) {
        let (head, inside, after) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let index = self.b.append_block_param(head, I64);
        self.b.ins().jump(head, &[start.into()]);
        self.b.switch_to_block(head);
        let more = self.b.ins().icmp(IntCC::SignedLessThan, index, end);
        self.b.ins().brif(more, inside, &[], after, &[]);
        self.b.switch_to_block(inside);
        body(self, index);
        let next = self.b.ins().iadd_imm_s(index, 1);
        self.b.ins().jump(head, &[next.into()]);
        self.b.switch_to_block(after);
    }

    /// Emits `body` for every index in `0..count`; a loop of one iteration is no loop.
    pub fn repeat(&mut self, count: usize, body: &mut dyn FnMut(&mut Self, Value)) {
        let start = self.b.ins().iconst(I64, 0);
        if count == 1 {
            return body(self, start);
        }
        let end = self.b.ins().iconst(I64, count as i64);
        self.between(start, end, body);
    }

    /// Emits `body` for every panel of the tile.
    pub fn panels(&mut self, body: &mut dyn FnMut(&mut Self)) {
        let zero = self.b.ins().iconst(I64, 0);
        if self.kernel.tile_panels == 1 {
            self.panel = zero;
            return body(self);
        }
        let count = self.panel_count;
        self.between(zero, count, &mut |e, panel| {
            e.panel = panel;
            body(e);
        });
    }

    /// Emits `body` inside a nest of loops over feature axes.
    pub fn nest(&mut self, loops: &[(Axis, usize)], body: &mut dyn FnMut(&mut Self)) {
        match loops.split_first() {
            None => body(self),
            Some(((axis, size), rest)) => self.repeat(*size, &mut |e, index| {
                let outer = e.indices.insert(*axis, index);
                e.nest(rest, body);
                match outer {
                    Some(outer) => e.indices.insert(*axis, outer),
                    None => e.indices.remove(axis),
                };
            }),
        }
    }

    /// Emits `body` for vectors of lanes, `unroll` at a time, with the byte distance of the first from
    /// the panel's start; the following ones are 16 bytes apart.
    pub fn lanes(&mut self, unroll: usize, body: &mut dyn FnMut(&mut Self, Value)) {
        self.repeat(GROUPS / unroll, &mut |e, group| {
            let offset = e.b.ins().imul_imm_s(group, (unroll * WIDTH * 4) as i64);
            body(e, offset);
        });
    }

    /// The first address of a source.
    pub fn base(&mut self, source: Source) -> Value {
        match source {
            Source::Buffer(id) => self.buffers[&id],
            Source::Tile(id) => {
                let offset = self.kernel.tiles[id] * 4;
                self.b.ins().iadd_imm_s(self.scratch, offset as i64)
            }
        }
    }

    /// The address of an access at the current panel and loop indices, lane 0.
    pub fn address(&mut self, access: &Access) -> Value {
        let mut address = self.base(access.source);
        if access.panel_stride != 0 {
            let panel = match access.source {
                Source::Buffer(_) => self.b.ins().iadd(self.first_panel, self.panel),
                Source::Tile(_) => self.panel,
            };
            let distance = self.b.ins().imul_imm_s(panel, (access.panel_stride * 4) as i64);
            address = self.b.ins().iadd(address, distance);
        }
        for (axis, stride) in &access.strides {
            if let Some(index) = self.indices.get(axis).copied()
                && *stride != 0
            {
                let distance = self.b.ins().imul_imm_s(index, (*stride * 4) as i64);
                address = self.b.ins().iadd(address, distance);
            }
        }
        if access.offset != 0 {
            address = self.b.ins().iadd_imm_s(address, (access.offset * 4) as i64);
        }
        address
    }

    /// The address of partial results: `target[chunk][Σ index · stride]`.
    pub fn partial_address(&mut self, target: BufferId, loops: &[(Axis, usize)], strides: &[isize]) -> Value {
        let buffer = &self.plan.buffers[target.0 as usize];
        let crate::plan::Layout::Partials { elements, .. } = buffer.layout else {
            unreachable!("{} holds no partial results", buffer.name)
        };
        let distance = elements.next_multiple_of(LANES) * crate::plan::words(buffer.dtype) * 4;
        let offset = self.b.ins().imul_imm_s(self.chunk, distance as i64);
        let mut address = self.b.ins().iadd(self.buffers[&target], offset);
        for ((axis, _), stride) in loops.iter().zip(strides) {
            if let Some(index) = self.indices.get(axis).copied() {
                let distance = self.b.ins().imul_imm_s(index, (*stride * 4) as i64);
                address = self.b.ins().iadd(address, distance);
            }
        }
        address
    }

    /// The number of the row at the start of the current panel.
    pub fn first_row(&mut self) -> Value {
        let panel = self.b.ins().iadd(self.first_panel, self.panel);
        self.b.ins().imul_imm_s(panel, LANES as i64)
    }

    /// The rows of the lanes `offset` bytes into the panel, as i32x4.
    pub fn rows_at(&mut self, offset: Value) -> Value {
        let first = self.first_row();
        let lane = self.b.ins().ushr_imm_u(offset, 2);
        let row = self.b.ins().iadd(first, lane);
        let row = self.b.ins().ireduce(I32, row);
        let rows = self.b.ins().splat(I32X4, row);
        let steps = self.integers([0, 1, 2, 3]);
        self.b.ins().iadd(rows, steps)
    }

    /// A 64-bit word known at compile time.
    pub fn word(&mut self, value: usize) -> Value {
        self.b.ins().iconst(I64, value as i64)
    }

    /// A vector of integers known at compile time.
    pub fn integers(&mut self, lanes: [i32; 4]) -> Value {
        let bytes: Vec<u8> = lanes.iter().flat_map(|lane| lane.to_le_bytes()).collect();
        let constant = self.b.func.dfg.constants.insert(bytes.into());
        self.b.ins().vconst(I32X4, constant)
    }

    /// Whether the last panel is not full.
    pub fn has_tail(&self) -> bool {
        !self.kernel.row_count().is_multiple_of(LANES)
    }

    /// How many lanes of the current panel are rows.
    pub fn valid_lanes(&mut self) -> Value {
        let first = self.first_row();
        let all = self.b.ins().iconst(I64, self.kernel.row_count() as i64);
        let rest = self.b.ins().isub(all, first);
        let full = self.b.ins().iconst(I64, LANES as i64);
        self.b.ins().smin(rest, full)
    }

    fn stage(&mut self, stage: &Stage) {
        super::stage::emit(self, stage);
    }
}
