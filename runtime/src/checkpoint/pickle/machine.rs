//! The stack machine: the opcodes that PyTorch and NumPy emit, protocols 2 to 5.

use super::functions::resolve;
use super::{Id, Object, Value};
use crate::checkpoint::error::{CheckpointError, Result};
use crate::checkpoint::source::Bytes;
use std::collections::HashMap;

/// The newest protocol of Python's pickle module.
const NEWEST_PROTOCOL: u8 = 5;

/// Values that every pickle shares, at fixed places in the table.
const NONE: Id = 0;
const TRUE: Id = 1;
const FALSE: Id = 2;
const EMPTY_TUPLE: Id = 3;

/// One run of the stack machine.
pub(super) struct Machine<'a, 'b> {
    bytes: &'a mut Bytes<'b>,
    pub(super) values: Vec<Value>,
    stack: Vec<Id>,
    /// Heights of the stack at the marks that are open.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// Elements and bytes that calls may still copy from values already read.
    copies: u64,
    /// The offset of the opcode that is being run.
    at: u64,
}

impl<'a, 'b> Machine<'a, 'b> {
    pub(super) fn new(bytes: &'a mut Bytes<'b>) -> Self {
        // A genuine pickle copies what it has just read, once. A hostile one would name one long value
        // again and again.
        let copies = bytes.remaining().saturating_mul(2);
        Self {
            bytes,
            values: vec![Value::None, Value::Bool(true), Value::Bool(false), Value::Tuple(Box::new([]))],
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            copies,
            at: 0,
        }
    }

    /// Runs to the end of the pickle and gives the table of values and the place of the result.
    pub(super) fn run(mut self) -> Result<(Vec<Value>, Id)> {
        loop {
            self.at = self.bytes.offset();
            let opcode = self.bytes.byte()?;
            if opcode == b'.' {
                let root = self.pop()?;
                return Ok((self.values, root));
            }
            let at = self.at;
            self.step(opcode).map_err(|error| error.at(at))?;
        }
    }

    fn step(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            // PROTO, FRAME
            0x80 => {
                let protocol = self.bytes.byte()?;
                if protocol > NEWEST_PROTOCOL {
                    return Err(CheckpointError::unsupported(format!("pickle protocol {protocol} is not known")));
                }
            }
            0x95 => {
                let length = self.u64()?;
                if length > self.bytes.remaining() {
                    let left = self.bytes.remaining();
                    return Err(CheckpointError::malformed(format!("a frame of {length} bytes, but {left} are left")));
                }
            }

            // NONE, NEWTRUE, NEWFALSE
            b'N' => self.stack.push(NONE),
            0x88 => self.stack.push(TRUE),
            0x89 => self.stack.push(FALSE),

            // BININT, BININT1, BININT2, LONG1, LONG4, INT, LONG, BINFLOAT, FLOAT
            b'J' => {
                let value = i32::from_le_bytes(self.bytes.array()?);
                self.push(Value::Int(value.into()))?;
            }
            b'K' => {
                let value = self.bytes.byte()?;
                self.push(Value::Int(value.into()))?;
            }
            b'M' => {
                let value = u16::from_le_bytes(self.bytes.array()?);
                self.push(Value::Int(value.into()))?;
            }
            0x8a => {
                let length = self.bytes.byte()?;
                self.long(length.into())?;
            }
            0x8b => {
                let length = self.u32()?;
                self.long(length.into())?;
            }
            b'I' | b'L' => {
                let line = self.bytes.line()?;
                match line.as_str() {
                    "00" => self.stack.push(FALSE),
                    "01" => self.stack.push(TRUE),
                    digits => {
                        let value = digits.trim_end_matches('L').parse();
                        let value = value.map_err(|_| CheckpointError::malformed(format!("`{line}` is no integer")))?;
                        self.push(Value::Int(value))?;
                    }
                }
            }
            b'G' => {
                let value = f64::from_be_bytes(self.bytes.array()?);
                self.push(Value::Float(value))?;
            }
            b'F' => {
                let line = self.bytes.line()?;
                let value = line.parse().map_err(|_| CheckpointError::malformed(format!("`{line}` is no number")))?;
                self.push(Value::Float(value))?;
            }

            // BINUNICODE, SHORT_BINUNICODE, BINUNICODE8
            b'X' => {
                let length = self.u32()?;
                self.text(length.into())?;
            }
            0x8c => {
                let length = self.bytes.byte()?;
                self.text(length.into())?;
            }
            0x8d => {
                let length = self.u64()?;
                self.text(length)?;
            }
            // BINBYTES, SHORT_BINBYTES, BINBYTES8, BYTEARRAY8, and Python 2's BINSTRING, SHORT_BINSTRING
            b'B' | b'T' => {
                let length = self.u32()?;
                self.raw(length.into())?;
            }
            b'C' | b'U' => {
                let length = self.bytes.byte()?;
                self.raw(length.into())?;
            }
            0x8e | 0x96 => {
                let length = self.u64()?;
                self.raw(length)?;
            }

            // Containers: MARK, lists, sets, tuples, dictionaries
            b'(' => self.marks.push(self.stack.len()),
            b']' | 0x8f => self.push(Value::List(Vec::new()))?,
            b'l' | 0x91 => {
                let elements = self.pop_marked()?;
                self.push(Value::List(elements))?;
            }
            b'a' => {
                let element = self.pop()?;
                self.append(vec![element])?;
            }
            b'e' | 0x90 => {
                let elements = self.pop_marked()?;
                self.append(elements)?;
            }
            b')' => self.stack.push(EMPTY_TUPLE),
            b't' => {
                let elements = self.pop_marked()?;
                self.push(Value::Tuple(elements.into()))?;
            }
            0x85..=0x87 => {
                let count = usize::from(opcode - 0x84);
                let start = self.stack.len().checked_sub(count).filter(|&start| start >= self.floor());
                let elements = self.stack.split_off(start.ok_or_else(underflow)?);
                self.push(Value::Tuple(elements.into()))?;
            }
            b'}' => self.push(Value::Dict(Vec::new()))?,
            b'd' => {
                let entries = pairs(self.pop_marked()?)?;
                self.push(Value::Dict(entries))?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set_items(vec![(key, value)])?;
            }
            b'u' => {
                let entries = pairs(self.pop_marked()?)?;
                self.set_items(entries)?;
            }

            // The stack and the memo: POP, POP_MARK, DUP, GET, PUT, MEMOIZE
            b'0' => {
                // Python pops an open mark where the stack ends at it.
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                } else {
                    self.pop()?;
                }
            }
            b'1' => {
                self.pop_marked()?;
            }
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'g' | b'p' => {
                let line = self.bytes.line()?;
                let slot = line.parse().map_err(|_| CheckpointError::malformed(format!("`{line}` is no memo slot")))?;
                if opcode == b'g' { self.recall(slot)? } else { self.memorise(slot)? }
            }
            b'h' => {
                let slot = self.bytes.byte()?;
                self.recall(slot.into())?;
            }
            b'j' => {
                let slot = self.u32()?;
                self.recall(slot)?;
            }
            b'q' => {
                let slot = self.bytes.byte()?;
                self.memorise(slot.into())?;
            }
            b'r' => {
                let slot = self.u32()?;
                self.memorise(slot)?;
            }
            0x94 => {
                let slot = self.memo.len() as u32;
                self.memorise(slot)?;
            }

            // Names and calls: GLOBAL, STACK_GLOBAL, REDUCE, NEWOBJ, NEWOBJ_EX, BUILD, BINPERSID
            b'c' => {
                let module = self.bytes.line()?;
                let name = self.bytes.line()?;
                self.push(resolve(&module, &name))?;
            }
            0x93 => {
                let name = self.pop()?;
                let module = self.pop()?;
                let (Some(module), Some(name)) = (super::text(&self.values, module), super::text(&self.values, name))
                else {
                    return Err(CheckpointError::malformed("a global whose name is not text"));
                };
                let (cost, value) = ((module.len() + name.len()) as u64, resolve(module, name));
                self.spend(cost)?;
                self.push(value)?;
            }
            b'R' => {
                let arguments = self.pop()?;
                let function = self.pop()?;
                self.call(function, arguments)?;
            }
            0x81 => {
                let arguments = self.pop()?;
                let class = self.pop()?;
                self.instantiate(class, arguments)?;
            }
            0x92 => {
                let _named = self.pop()?;
                let arguments = self.pop()?;
                let class = self.pop()?;
                self.instantiate(class, arguments)?;
            }
            b'b' => {
                let state = self.pop()?;
                let target = self.top()?;
                self.build(target, state)?;
            }
            b'Q' => {
                let identity = self.pop()?;
                self.persistent(identity)?;
            }

            _ => {
                let shown =
                    if opcode.is_ascii_graphic() { format!(" (`{}`)", char::from(opcode)) } else { String::new() };
                return Err(CheckpointError::refused(format!(
                    "opcode {opcode:#04x}{shown} is not one that checkpoints use"
                )));
            }
        }
        Ok(())
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.bytes.array()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.bytes.array()?))
    }

    fn long(&mut self, length: u64) -> Result<()> {
        let bytes = self.bytes.take(length)?;
        if bytes.len() > 8 {
            return self.push(Value::Wide(bytes.into()));
        }
        let negative = bytes.last().is_some_and(|&last| last & 0x80 != 0);
        let mut exact = [if negative { 0xff } else { 0 }; 8];
        exact[..bytes.len()].copy_from_slice(&bytes);
        self.push(Value::Int(i64::from_le_bytes(exact)))
    }

    fn text(&mut self, length: u64) -> Result<()> {
        let bytes = self.bytes.take(length)?;
        let text = String::from_utf8(bytes).map_err(|_| CheckpointError::malformed("text that is not UTF-8"))?;
        self.push(Value::Text(text.into()))
    }

    fn raw(&mut self, length: u64) -> Result<()> {
        let bytes = self.bytes.take(length)?;
        self.push(Value::Bytes(bytes.into()))
    }

    fn append(&mut self, mut added: Vec<Id>) -> Result<()> {
        let target = self.top()?;
        match &mut self.values[target as usize] {
            Value::List(elements) => elements.append(&mut added),
            Value::Object(object) => object.elements.append(&mut added),
            other => {
                return Err(CheckpointError::malformed(format!("elements appended to {}", other.kind())));
            }
        }
        Ok(())
    }

    fn set_items(&mut self, mut added: Vec<(Id, Id)>) -> Result<()> {
        let target = self.top()?;
        match &mut self.values[target as usize] {
            Value::Dict(entries) => entries.append(&mut added),
            Value::Object(object) => object.items.append(&mut added),
            other => {
                return Err(CheckpointError::malformed(format!("items set in {}", other.kind())));
            }
        }
        Ok(())
    }

    fn memorise(&mut self, slot: u32) -> Result<()> {
        let top = self.top()?;
        self.memo.insert(slot, top);
        Ok(())
    }

    fn recall(&mut self, slot: u32) -> Result<()> {
        match self.memo.get(&slot) {
            Some(&id) => {
                self.stack.push(id);
                Ok(())
            }
            None => Err(CheckpointError::malformed(format!("memo slot {slot} is empty"))),
        }
    }

    /// The height of the stack below which the open mark guards it.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Id> {
        if self.stack.len() <= self.floor() {
            return Err(underflow().at(self.at));
        }
        self.stack.pop().ok_or_else(underflow)
    }

    fn top(&self) -> Result<Id> {
        if self.stack.len() <= self.floor() {
            return Err(underflow());
        }
        self.stack.last().copied().ok_or_else(underflow)
    }

    fn pop_marked(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(|| CheckpointError::malformed("no mark is open"))?;
        Ok(self.stack.split_off(mark))
    }

    /// Puts a new value on the stack.
    pub(super) fn push(&mut self, value: Value) -> Result<()> {
        let id = Id::try_from(self.values.len()).map_err(|_| CheckpointError::refused("more than 2^32 values"))?;
        self.values.push(value);
        self.stack.push(id);
        Ok(())
    }

    /// Puts a value on the stack again.
    pub(super) fn push_again(&mut self, id: Id) {
        self.stack.push(id);
    }

    /// An instance of a class that means nothing here.
    pub(super) fn push_object(&mut self) -> Result<()> {
        self.push(Value::Object(Box::<Object>::default()))
    }

    /// Accounts for copying from values already read.
    pub(super) fn spend(&mut self, copied: u64) -> Result<()> {
        match self.copies.checked_sub(copied) {
            Some(left) => {
                self.copies = left;
                Ok(())
            }
            None => Err(CheckpointError::refused("the pickle copies more than it holds")),
        }
    }
}

fn underflow() -> CheckpointError {
    CheckpointError::malformed("the stack holds too few values")
}

fn pairs(flat: Vec<Id>) -> Result<Vec<(Id, Id)>> {
    let (pairs, rest) = flat.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(CheckpointError::malformed("a key without a value"));
    }
    Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
}
