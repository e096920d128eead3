//! Registers and machine code for a nest of loops around a [`Tape`].
//!
//! The code is `extern "C" fn(pointers: *mut u64)`: the table's words are the addresses at the first iteration. One pass
//! over the straight-line body gives registers; where all are taken, the value whose next use is farthest goes to the
//! stack frame, or, being a constant, nowhere: constants are embedded broadcasts from behind the code.

use super::tape::{Comparison, Instruction, Place, Tape, Value};
use iced_x86::{
    Code, IcedError, Instruction as Machine, MemoryOperand, Register,
    code_asm::{CodeAssembler, qword_ptr, r11, rax, rbp, rbx, rdi, rsp},
};
use rustc_hash::FxHashMap;

/// How often a loop runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    /// So many times.
    Fixed(usize),
    /// As often as the n-th word of the table says, once at least.
    Word(usize),
}

/// One loop: its iterations and the bytes by which each pointer moves.
pub(super) struct Level {
    pub count: Count,
    pub steps: Vec<i32>,
    /// First index and its step, where the body uses the index.
    pub index: Option<(i32, i32)>,
}

/// A nest of loops.
pub(super) struct Nest {
    pub levels: Vec<Level>,
    pub tape: Tape,
    /// What is carried from iteration to iteration.
    pub carried: Option<Carried>,
    /// Pointers in the table.
    pub pointers: usize,
}

/// Values that are carried from iteration to iteration of the inner loops.
pub(super) struct Carried {
    /// The loop depth at which they start.
    pub depth: usize,
    /// What they start with.
    pub start: u32,
    /// How many.
    pub count: usize,
    /// What is done with them when the inner loops are done.
    pub end: Tape,
}

/// Machine code, and where the constants behind it begin.
pub(super) struct Code512 {
    pub bytes: Vec<u8>,
    pub constants: usize,
}

/// Registers that hold pointers; further ones stay in the table.
const POINTERS: [Register; 10] = [
    Register::RCX,
    Register::RDX,
    Register::RSI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];
const SAVED: [Register; 5] = [Register::RBX, Register::R12, Register::R13, Register::R14, Register::R15];
const VECTORS: usize = 32;
/// Stands for the size of the stack frame until the body is encoded; the prologue has it first.
const UNKNOWN: i32 = 0x7fff_ffff;
/// Bytes of one vector.
const BYTES: i64 = 64;

fn zmm(number: usize) -> Register {
    Register::ZMM0 + number as u32
}

struct Encoder<'a> {
    a: CodeAssembler,
    nest: &'a Nest,
    /// What is being encoded: the body, or what follows the inner loops.
    tape: &'a Tape,
    pool: Vec<u32>,
    places: FxHashMap<u32, usize>,
    spills: usize,
    registers: Vec<Option<Value>>,
    held: Vec<Option<usize>>,
    spilled: Vec<Option<usize>>,
    /// Where each value is used, last use first: uses behind the current place are popped.
    uses: Vec<Vec<usize>>,
    pinned: usize,
}

/// Encodes a nest.
pub(super) fn encode(nest: &Nest) -> Result<Code512, IcedError> {
    let pinned = nest.carried.as_ref().map_or(0, |carried| carried.count);
    let mut encoder = Encoder {
        a: CodeAssembler::new(64)?,
        nest,
        tape: &nest.tape,
        pool: Vec::new(),
        places: FxHashMap::default(),
        spills: 0,
        registers: Vec::new(),
        held: Vec::new(),
        spilled: Vec::new(),
        uses: Vec::new(),
        pinned,
    };
    encoder.begin(&nest.tape);
    encoder.function()
}

impl<'a> Encoder<'a> {
    /// Makes a tape the current one: nothing of it is in a register.
    fn begin(&mut self, tape: &'a Tape) {
        let count = tape.instructions.len();
        let mut uses = vec![Vec::new(); count];
        tape.carried.iter().for_each(|value| uses[value.0].push(count));
        for (i, instruction) in tape.instructions.iter().enumerate().rev() {
            if instruction.writes() || !uses[i].is_empty() {
                instruction.operands().iter().for_each(|operand| uses[operand.0].push(i));
            }
        }
        self.tape = tape;
        self.registers = vec![None; VECTORS - self.pinned];
        self.held = vec![None; count];
        self.spilled = vec![None; count];
        self.uses = uses;
    }

    fn function(mut self) -> Result<Code512, IcedError> {
        for register in SAVED {
            self.add(Machine::with1(Code::Push_r64, register)?)?;
        }
        self.a.push(rbp)?;
        self.a.mov(rbp, rsp)?;
        self.a.sub(rsp, UNKNOWN)?;
        self.a.and(rsp, -64)?;
        let mut pool = self.a.create_label();
        self.a.lea(rbx, qword_ptr(pool))?;
        for (pointer, register) in POINTERS.into_iter().enumerate().take(self.nest.pointers) {
            let word = MemoryOperand::with_base_displ(Register::RDI, 8 * pointer as i64);
            self.add(Machine::with2(Code::Mov_r64_rm64, register, word)?)?;
        }
        self.level(0)?;
        self.a.mov(rsp, rbp)?;
        self.a.pop(rbp)?;
        for register in SAVED.into_iter().rev() {
            self.add(Machine::with1(Code::Pop_r64, register)?)?;
        }
        self.a.vzeroupper()?;
        self.a.ret()?;
        let constants: Vec<u8> = self.pool.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.a.set_label(&mut pool)?;
        for bytes in constants.chunks(16) {
            self.a.db(bytes)?;
        }
        self.a.db(&[0; 4])?;
        let mut bytes = self.a.assemble(0)?;
        // The body has told how much of the stack it needs.
        let size = self.first_spill() + BYTES * self.spills as i64;
        let unknown = UNKNOWN.to_le_bytes();
        if let Some(at) = bytes.windows(4).position(|bytes| bytes == unknown) {
            bytes[at..at + 4].copy_from_slice(&(size as i32).to_le_bytes());
        }
        let constants = bytes.len() - constants.len() - 4;
        Ok(Code512 { bytes, constants })
    }

    fn add(&mut self, instruction: Machine) -> Result<(), IcedError> {
        self.a.add_instruction(instruction)
    }

    /// The first spilled vector's distance from the stack pointer: counters and indices lie below.
    fn first_spill(&self) -> i64 {
        (self.nest.levels.len() as i64 * 16 + BYTES - 1) / BYTES * BYTES
    }

    fn level(&mut self, depth: usize) -> Result<(), IcedError> {
        let nest = self.nest;
        let here = nest.carried.as_ref().filter(|carried| carried.depth == depth);
        if let Some(carried) = here {
            for i in 0..carried.count {
                let memory = self.constant(carried.start);
                self.add(Machine::with2(Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32, zmm(VECTORS - 1 - i), memory)?)?;
            }
        }
        if let Some(level) = nest.levels.get(depth) {
            let innermost = depth + 1 == nest.levels.len();
            let (counter, index) = (rsp + 16 * depth, rsp + 16 * depth + 8);
            if let Some((first, _)) = level.index {
                self.a.mov(qword_ptr(index), first)?;
            }
            match (level.count, innermost) {
                (Count::Fixed(count), true) => self.a.mov(r11, count as u64)?,
                (Count::Fixed(count), false) => self.a.mov(qword_ptr(counter), count as i32)?,
                (Count::Word(word), true) => self.a.mov(r11, qword_ptr(rdi + 8 * word))?,
                (Count::Word(word), false) => {
                    self.a.mov(rax, qword_ptr(rdi + 8 * word))?;
                    self.a.mov(qword_ptr(counter), rax)?;
                }
            }
            let mut head = self.a.create_label();
            self.a.set_label(&mut head)?;
            self.level(depth + 1)?;
            self.advance(level, 1)?;
            if let Some((_, step)) = level.index {
                self.a.add(qword_ptr(index), step)?;
            }
            if innermost {
                self.a.dec(r11)?;
            } else {
                self.a.dec(qword_ptr(counter))?;
            }
            self.a.jne(head)?;
            match level.count {
                _ if depth == 0 => {}
                Count::Fixed(count) => self.advance(level, -(count as i32))?,
                Count::Word(word) => self.rewind(level, word)?,
            }
        } else {
            self.body()?;
        }
        if let Some(carried) = here {
            self.begin(&carried.end);
            self.body()?;
        }
        Ok(())
    }

    /// Takes the pointers back to where a loop, which ran as often as a word of the table says, began.
    fn rewind(&mut self, level: &Level, word: usize) -> Result<(), IcedError> {
        for (pointer, step) in level.steps.iter().enumerate().filter(|(_, step)| **step != 0) {
            let count = MemoryOperand::with_base_displ(Register::RDI, 8 * word as i64);
            self.add(Machine::with3(Code::Imul_r64_rm64_imm32, Register::RAX, count, *step)?)?;
            match POINTERS.get(pointer) {
                Some(register) => self.add(Machine::with2(Code::Sub_r64_rm64, *register, Register::RAX)?)?,
                None => self.a.sub(qword_ptr(rdi + 8 * pointer), rax)?,
            }
        }
        Ok(())
    }

    fn advance(&mut self, level: &Level, times: i32) -> Result<(), IcedError> {
        for (pointer, step) in level.steps.iter().enumerate() {
            let distance = step * times;
            if distance == 0 {
                continue;
            }
            match POINTERS.get(pointer) {
                Some(register) => self.add(Machine::with2(Code::Add_rm64_imm32, *register, distance)?)?,
                None => self.a.add(qword_ptr(rdi + 8 * pointer), distance)?,
            }
        }
        Ok(())
    }

    /// A memory operand; the scratch register holds a pointer that has no register of its own.
    fn memory(&mut self, place: Place, broadcast: bool) -> Result<MemoryOperand, IcedError> {
        let (base, displacement) = match place {
            Place::Index(level) => (Register::RSP, 16 * level as i64 + 8),
            Place::Pointer(pointer, displacement) => match POINTERS.get(pointer) {
                Some(register) => (*register, i64::from(displacement)),
                None => {
                    self.a.mov(rax, qword_ptr(rdi + 8 * pointer))?;
                    (Register::RAX, i64::from(displacement))
                }
            },
        };
        Ok(MemoryOperand::new(base, Register::None, 1, displacement, 1, broadcast, Register::None))
    }

    fn constant(&mut self, bits: u32) -> MemoryOperand {
        let pool = &mut self.pool;
        let at = *self.places.entry(bits).or_insert_with(|| {
            pool.push(bits);
            pool.len() - 1
        });
        MemoryOperand::with_base_displ(Register::RBX, 4 * at as i64)
    }

    /// The memory of a constant that is in no register, as an embedded broadcast.
    fn embedded(&mut self, value: Value) -> Option<MemoryOperand> {
        match self.tape.instructions[value.0] {
            Instruction::Constant(bits) if self.held[value.0].is_none() => {
                let mut memory = self.constant(bits);
                memory.is_broadcast = true;
                Some(memory)
            }
            _ => None,
        }
    }

    fn spill_memory(&self, slot: usize) -> MemoryOperand {
        MemoryOperand::with_base_displ(Register::RSP, self.first_spill() + BYTES * slot as i64)
    }

    /// A free register, at the cost of the value that is needed last.
    fn take(&mut self, locked: &[Value]) -> Result<usize, IcedError> {
        if let Some(free) = self.registers.iter().position(Option::is_none) {
            return Ok(free);
        }
        let candidates = self.registers.iter().enumerate().filter_map(|(register, value)| {
            value.filter(|value| !locked.contains(value)).map(|value| (register, value))
        });
        let farthest = candidates.max_by_key(|(_, value)| self.uses[value.0].last().copied().unwrap_or(usize::MAX));
        let (register, value) = farthest.unwrap_or_else(|| unreachable!("no instruction has 31 operands"));
        if !matches!(self.tape.instructions[value.0], Instruction::Constant(_)) && self.spilled[value.0].is_none() {
            let slot = self.spills;
            self.spills += 1;
            self.spilled[value.0] = Some(slot);
            let memory = self.spill_memory(slot);
            self.add(Machine::with2(Code::EVEX_Vmovups_zmmm512_k1z_zmm, memory, zmm(register))?)?;
        }
        self.held[value.0] = None;
        self.registers[register] = None;
        Ok(register)
    }

    fn put(&mut self, value: Value, register: usize) {
        self.registers[register] = Some(value);
        self.held[value.0] = Some(register);
    }

    /// The register that holds a value, brought back if need be.
    fn fetch(&mut self, value: Value, locked: &[Value]) -> Result<Register, IcedError> {
        if let Some(register) = self.held[value.0] {
            return Ok(zmm(register));
        }
        let register = self.take(locked)?;
        match (self.tape.instructions[value.0], self.spilled[value.0]) {
            (Instruction::Constant(bits), _) => {
                let memory = self.constant(bits);
                self.add(Machine::with2(Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32, zmm(register), memory)?)?;
            }
            (_, Some(slot)) => {
                let memory = self.spill_memory(slot);
                self.add(Machine::with2(Code::EVEX_Vmovups_zmm_k1z_zmmm512, zmm(register), memory)?)?;
            }
            _ => unreachable!("a value before its instruction"),
        }
        self.put(value, register);
        Ok(zmm(register))
    }

    /// Whether nothing after the current instruction uses the value; its uses up to there are popped.
    fn is_dead(&self, value: Value) -> bool {
        self.uses[value.0].is_empty()
    }

    fn release(&mut self, operands: &[Value]) {
        for operand in operands {
            if self.is_dead(*operand)
                && let Some(register) = self.held[operand.0]
                && register < self.registers.len()
                && self.registers[register] == Some(*operand)
            {
                self.registers[register] = None;
            }
        }
    }

    fn body(&mut self) -> Result<(), IcedError> {
        let tape = self.tape;
        for (i, instruction) in tape.instructions.iter().enumerate() {
            let result = Value(i);
            if self.is_dead(result) && !instruction.writes() {
                continue;
            }
            let operands = instruction.operands();
            for operand in &operands {
                while self.uses[operand.0].last() == Some(&i) {
                    self.uses[operand.0].pop();
                }
            }
            self.instruction(result, *instruction, &operands)?;
        }
        for (i, value) in tape.carried.iter().enumerate() {
            let register = self.fetch(*value, &tape.carried)?;
            self.add(Machine::with2(Code::EVEX_Vmovaps_zmm_k1z_zmmm512, zmm(VECTORS - 1 - i), register)?)?;
        }
        Ok(())
    }

    /// A register for the result, after the operands that end here have left theirs.
    fn result(&mut self, result: Value, operands: &[Value]) -> Result<Register, IcedError> {
        self.release(operands);
        let register = self.take(operands)?;
        self.put(result, register);
        Ok(zmm(register))
    }

    fn instruction(&mut self, result: Value, what: Instruction, operands: &[Value]) -> Result<(), IcedError> {
        match what {
            Instruction::Constant(_) => Ok(()),
            Instruction::Carried(i) => {
                self.held[result.0] = Some(VECTORS - 1 - i);
                Ok(())
            }
            Instruction::Broadcast(place) => {
                let memory = self.memory(place, false)?;
                let to = self.result(result, &[])?;
                self.add(Machine::with2(Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32, to, memory)?)
            }
            Instruction::Load(place) => {
                let memory = self.memory(place, false)?;
                let to = self.result(result, &[])?;
                self.add(Machine::with2(Code::EVEX_Vmovups_zmm_k1z_zmmm512, to, memory)?)
            }
            Instruction::Store(place, value) => {
                let from = self.fetch(value, operands)?;
                let memory = self.memory(place, false)?;
                self.release(operands);
                self.add(Machine::with2(Code::EVEX_Vmovups_zmmm512_k1z_zmm, memory, from)?)
            }
            Instruction::StoreFirst(place, value) => {
                let from = self.fetch(value, operands)?;
                let memory = self.memory(place, false)?;
                self.release(operands);
                let first = Register::XMM0 + (from as u32 - Register::ZMM0 as u32);
                self.add(Machine::with2(Code::EVEX_Vmovss_m32_k1_xmm, memory, first)?)
            }
            Instruction::Groups(a, order) => {
                let a = self.fetch(a, operands)?;
                let to = self.result(result, operands)?;
                let code = Code::EVEX_Vshuff32x4_zmm_k1z_zmm_zmmm512b32_imm8;
                self.add(Machine::with4(code, to, a, a, i32::from(order))?)
            }
            Instruction::Unary(code, a, by) => {
                let a = self.fetch(a, operands)?;
                let to = self.result(result, operands)?;
                self.add(match by {
                    Some(by) => Machine::with3(code, to, a, i32::from(by))?,
                    None => Machine::with2(code, to, a)?,
                })
            }
            Instruction::Binary(code, a, b, commutes) => {
                let swapped = commutes && self.embedded(a).is_some() && self.embedded(b).is_none();
                let (a, b) = if swapped { (b, a) } else { (a, b) };
                let left = self.fetch(a, operands)?;
                match self.embedded(b) {
                    Some(memory) => {
                        let to = self.result(result, operands)?;
                        self.add(Machine::with3(code, to, left, memory)?)
                    }
                    None => {
                        let right = self.fetch(b, operands)?;
                        let to = self.result(result, operands)?;
                        self.add(Machine::with3(code, to, left, right)?)
                    }
                }
            }
            Instruction::Fma(a, b, c, negated) => self.fma(result, (a, b, c), negated, operands),
            Instruction::Compare(comparison) => {
                self.comparison(comparison, operands)?;
                let to = self.result(result, operands)?;
                self.add(Machine::with2(Code::EVEX_Vpmovm2d_zmm_kr, to, Register::K1)?)
            }
            Instruction::Choose(comparison, yes, no) => {
                let opposite = self.embedded(no).is_some() && self.embedded(yes).is_none();
                let (comparison, yes, no) = match opposite {
                    true => (Comparison { predicate: comparison.predicate ^ 4, ..comparison }, no, yes),
                    false => (comparison, yes, no),
                };
                self.comparison(comparison, operands)?;
                self.blend(result, yes, no, operands)
            }
            Instruction::Select(mask, yes, no) => {
                let mask = self.fetch(mask, operands)?;
                self.add(Machine::with2(Code::EVEX_Vpmovd2m_kr_zmm, Register::K1, mask)?)?;
                self.blend(result, yes, no, operands)
            }
        }
    }

    /// Sets the mask register.
    fn comparison(&mut self, comparison: Comparison, operands: &[Value]) -> Result<(), IcedError> {
        let code = match comparison.float {
            true => Code::EVEX_Vcmpps_kr_k1_zmm_zmmm512b32_imm8_sae,
            false => Code::EVEX_Vpcmpd_kr_k1_zmm_zmmm512b32_imm8,
        };
        let predicate = i32::from(comparison.predicate);
        let left = self.fetch(comparison.left, operands)?;
        match self.embedded(comparison.right) {
            Some(memory) => self.add(Machine::with4(code, Register::K1, left, memory, predicate)?),
            None => {
                let right = self.fetch(comparison.right, operands)?;
                self.add(Machine::with4(code, Register::K1, left, right, predicate)?)
            }
        }
    }

    /// `yes` where the mask register is set.
    fn blend(&mut self, result: Value, yes: Value, no: Value, operands: &[Value]) -> Result<(), IcedError> {
        let code = Code::EVEX_Vpblendmd_zmm_k1z_zmm_zmmm512b32;
        let no = self.fetch(no, operands)?;
        let mut machine = match self.embedded(yes) {
            Some(memory) => {
                let to = self.result(result, operands)?;
                Machine::with3(code, to, no, memory)?
            }
            None => {
                let yes = self.fetch(yes, operands)?;
                let to = self.result(result, operands)?;
                Machine::with3(code, to, no, yes)?
            }
        };
        machine.set_op_mask(Register::K1);
        self.add(machine)
    }

    /// The processor's sums of products overwrite one operand: one that ends here, else a copy.
    fn fma(
        &mut self,
        result: Value,
        (a, b, c): (Value, Value, Value),
        negated: bool,
        operands: &[Value],
    ) -> Result<(), IcedError> {
        // Which operand is overwritten: a factor, with the other one first or last, or the summand.
        let [first, last, summand] = match negated {
            false => [
                Code::EVEX_Vfmadd213ps_zmm_k1z_zmm_zmmm512b32_er,
                Code::EVEX_Vfmadd132ps_zmm_k1z_zmm_zmmm512b32_er,
                Code::EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er,
            ],
            true => [
                Code::EVEX_Vfnmadd213ps_zmm_k1z_zmm_zmmm512b32_er,
                Code::EVEX_Vfnmadd132ps_zmm_k1z_zmm_zmmm512b32_er,
                Code::EVEX_Vfnmadd231ps_zmm_k1z_zmm_zmmm512b32_er,
            ],
        };
        let (a, b) = if self.embedded(a).is_some() { (b, a) } else { (a, b) };
        let ends = |e: &Self, value: Value| {
            e.is_dead(value) && e.held[value.0].is_some_and(|register| register < e.registers.len())
        };
        let x = self.fetch(a, operands)?;
        if let Some(memory) = self.embedded(c) {
            let y = self.fetch(b, operands)?;
            let (kept, over, from) = if ends(self, b) && !ends(self, a) { (x, b, y) } else { (y, a, x) };
            let to = self.overwritten(result, over, from, operands)?;
            return self.add(Machine::with3(first, to, kept, memory)?);
        }
        let z = self.fetch(c, operands)?;
        if let Some(memory) = self.embedded(b) {
            if ends(self, c) && a != c {
                let to = self.overwritten(result, c, z, operands)?;
                return self.add(Machine::with3(summand, to, x, memory)?);
            }
            let to = self.overwritten(result, a, x, operands)?;
            return self.add(Machine::with3(last, to, z, memory)?);
        }
        let y = self.fetch(b, operands)?;
        if ends(self, c) || !ends(self, a) {
            let to = self.overwritten(result, c, z, operands)?;
            return self.add(Machine::with3(summand, to, x, y)?);
        }
        let to = self.overwritten(result, a, x, operands)?;
        self.add(Machine::with3(first, to, y, z)?)
    }

    /// The register of an operand that ends here, taken over by the result, or a copy of one that lives on. The other
    /// operands' registers may be the same one, or stay untouched until the instruction has read them.
    fn overwritten(
        &mut self,
        result: Value,
        operand: Value,
        from: Register,
        operands: &[Value],
    ) -> Result<Register, IcedError> {
        if self.is_dead(operand)
            && let Some(register) = self.held[operand.0]
            && register < self.registers.len()
        {
            self.release(operands);
            self.put(result, register);
            return Ok(from);
        }
        let register = self.take(operands)?;
        self.release(operands);
        self.put(result, register);
        self.add(Machine::with2(Code::EVEX_Vmovaps_zmm_k1z_zmmm512, zmm(register), from)?)?;
        Ok(zmm(register))
    }
}
