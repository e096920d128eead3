//! From tokens to the syntax of a module.

use super::{
    lexer::{Token, TokenKind, tokens},
    syntax::*,
};
use crate::{error::Error, types::Type};

type Result<T> = std::result::Result<T, Error>;

/// The largest array that a module may declare; larger ones are a mistake of the text.
const MAX_ARRAY: u64 = 1 << 30;

/// The syntax of the module in `text`.
pub(crate) fn parse(text: &str) -> Result<ModuleSyntax> {
    let tokens = tokens(text).map_err(|place| {
        let line = text.lines().nth(place.line as usize - 1).unwrap_or_default();
        let word: String = line.chars().skip(place.column as usize - 1).take(24).collect();
        Error::new(place, word, "no token begins like this")
    })?;
    Parser { tokens, at: 0 }.module()
}

struct Parser<'t> {
    tokens: Vec<Token<'t>>,
    at: usize,
}

impl<'t> Parser<'t> {
    fn peek(&self) -> Token<'t> {
        self.tokens[self.at]
    }

    fn ahead(&self, distance: usize) -> TokenKind<'t> {
        self.tokens.get(self.at + distance).map_or(TokenKind::End, |token| token.kind)
    }

    fn next(&mut self) -> Token<'t> {
        let token = self.peek();
        if token.kind != TokenKind::End {
            self.at += 1;
        }
        token
    }

    fn error<T>(&self, problem: impl Into<String>) -> Result<T> {
        let token = self.peek();
        let shown = if token.kind == TokenKind::End { "the end" } else { token.text };
        Err(Error::new(token.place, shown, problem))
    }

    fn is_sign(&self, sign: char) -> bool {
        self.peek().kind == TokenKind::Sign(sign)
    }

    fn take_sign(&mut self, sign: char) -> bool {
        let found = self.is_sign(sign);
        self.at += usize::from(found);
        found
    }

    fn sign(&mut self, sign: char) -> Result<()> {
        if self.take_sign(sign) { Ok(()) } else { self.error(format!("expected `{sign}`")) }
    }

    fn is_word(&self, word: &str) -> bool {
        self.peek().kind == TokenKind::Word(word)
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, what: &str) -> Result<Name> {
        let token = self.peek();
        let TokenKind::Word(text) = token.kind else { return self.error(format!("expected {what}")) };
        self.at += 1;
        Ok(Name { text: text.to_owned(), place: token.place })
    }

    fn name(&mut self, what: &str) -> Result<Name> {
        match self.peek().kind {
            TokenKind::Word(text) if !text.starts_with('.') => self.word(what),
            _ => self.error(format!("expected {what}")),
        }
    }

    fn integer(&mut self, what: &str) -> Result<u64> {
        let TokenKind::Integer(value) = self.peek().kind else { return self.error(format!("expected {what}")) };
        self.at += 1;
        Ok(value)
    }

    fn small(&mut self, what: &str) -> Result<u32> {
        match self.peek().kind {
            TokenKind::Integer(value) if u32::try_from(value).is_err() => self.error(format!("{what} is too large")),
            _ => self.integer(what).map(|value| value as u32),
        }
    }

    // The module and its declarations.

    fn module(&mut self) -> Result<ModuleSyntax> {
        let version = self.version()?;
        let target = self.target()?;
        if !self.take_word(".address_size") {
            return self.error("expected `.address_size 64`");
        }
        if self.peek().kind != TokenKind::Integer(64) {
            return self.error("addresses have 64 bits");
        }
        self.next();
        let mut module = ModuleSyntax { version, target, variables: Vec::new(), entries: Vec::new() };
        while self.peek().kind != TokenKind::End {
            self.top_level(&mut module)?;
        }
        Ok(module)
    }

    fn version(&mut self) -> Result<(u32, u32)> {
        if !self.take_word(".version") {
            return self.error("a module begins with `.version`");
        }
        let parsed = self.peek().text.split_once('.').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        let Some(version) = parsed else { return self.error("expected a version such as `7.0`") };
        self.next();
        Ok(version)
    }

    fn target(&mut self) -> Result<Name> {
        if !self.take_word(".target") {
            return self.error("expected `.target`");
        }
        self.name("a target such as `sm_80`")
    }

    fn top_level(&mut self, module: &mut ModuleSyntax) -> Result<()> {
        // Linkage matters to a linker only.
        let linked = self.take_word(".visible") || self.take_word(".weak");
        if self.take_word(".entry") {
            module.entries.push(self.entry()?);
            return Ok(());
        }
        let external = !linked && self.take_word(".extern");
        let Some(space) = self.declared_space(external)? else {
            return self.error("expected `.entry` or a variable");
        };
        module.variables.push(self.variable(space)?);
        Ok(())
    }

    fn declared_space(&mut self, external: bool) -> Result<Option<DeclaredSpace>> {
        let space = match self.peek().kind {
            TokenKind::Word(".global") => DeclaredSpace::Global,
            TokenKind::Word(".const") => DeclaredSpace::Const,
            TokenKind::Word(".shared") if external => DeclaredSpace::ExternShared,
            TokenKind::Word(".shared") => DeclaredSpace::Shared,
            _ => return Ok(None),
        };
        if external && space != DeclaredSpace::ExternShared {
            return self.error("only shared memory can be external");
        }
        self.next();
        Ok(Some(space))
    }

    fn alignment(&mut self) -> Result<Option<u64>> {
        if !self.take_word(".align") {
            return Ok(None);
        }
        match self.peek().kind {
            TokenKind::Integer(value) if value.is_power_of_two() && value <= 1024 => {
                self.next();
                Ok(Some(value))
            }
            _ => self.error("an alignment is a power of two up to 1024"),
        }
    }

    fn ty(&mut self) -> Result<Type> {
        let TokenKind::Word(text) = self.peek().kind else { return self.error("expected a type") };
        match text.strip_prefix('.').and_then(Type::named) {
            Some(ty) => {
                self.next();
                Ok(ty)
            }
            None => self.error("expected a type"),
        }
    }

    /// The product of the sizes in brackets behind a name; `None` for `[]`, 1 without brackets.
    fn extent(&mut self) -> Result<Option<u64>> {
        let mut extent = 1u64;
        while self.take_sign('[') {
            if self.take_sign(']') {
                return Ok(None);
            }
            let size = self.integer("a number of elements")?;
            extent = extent.saturating_mul(size);
            self.sign(']')?;
        }
        Ok(Some(extent))
    }

    fn variable(&mut self, space: DeclaredSpace) -> Result<Variable> {
        let align = self.alignment()?;
        let ty = self.ty()?;
        if ty == Type::Pred {
            return self.error("a predicate has no place in memory");
        }
        let name = self.name("the name of a variable")?;
        let bytes = u64::from(ty.bytes());
        let extent = self.extent()?;
        if extent.is_none() != (space == DeclaredSpace::ExternShared) {
            return self.error("external shared memory, and nothing else, has no size");
        }
        let size = extent.unwrap_or(0).saturating_mul(bytes);
        if size > MAX_ARRAY {
            return Err(Error::new(name.place, name.text, "an array of more than 1 GiB"));
        }
        let initial = if self.take_sign('=') { self.initialiser(ty, space, size)? } else { Vec::new() };
        self.sign(';')?;
        Ok(Variable { space, align: align.unwrap_or(bytes), size, name, initial })
    }

    fn initialiser(&mut self, ty: Type, space: DeclaredSpace, size: u64) -> Result<Vec<u8>> {
        if matches!(space, DeclaredSpace::Shared | DeclaredSpace::ExternShared) {
            return self.error("shared memory has no initial value");
        }
        let mut bytes = Vec::new();
        let listed = self.take_sign('{');
        loop {
            let value = self.initial_value(ty)?;
            bytes.extend_from_slice(&value.to_le_bytes()[..ty.bytes() as usize]);
            if bytes.len() as u64 > size {
                return self.error("more initial values than elements");
            }
            if !listed || !self.take_sign(',') {
                break;
            }
        }
        if listed {
            self.sign('}')?;
        }
        // Elements that are not listed are zero.
        bytes.resize(size as usize, 0);
        Ok(bytes)
    }

    fn initial_value(&mut self, ty: Type) -> Result<u64> {
        let negative = self.take_sign('-');
        let value = match (self.peek().kind, ty) {
            (TokenKind::Integer(value), _) if !ty.is_float() && ty.bits() <= 64 => {
                if negative {
                    value.wrapping_neg()
                } else {
                    value
                }
            }
            (TokenKind::Single(bits), Type::F32 | Type::B32) if !negative => u64::from(bits),
            (TokenKind::Double(bits), Type::F64 | Type::B64) if !negative => bits,
            (TokenKind::Double(bits), Type::F32) => {
                let value = f64::from_bits(bits) as f32;
                u64::from(if negative { -value } else { value }.to_bits())
            }
            _ => return self.error(format!("expected a value of type `{}`", ty.name())),
        };
        self.next();
        Ok(value)
    }

    // Entries.

    fn entry(&mut self) -> Result<EntrySyntax> {
        let name = self.name("the name of an entry")?;
        let mut parameters = Vec::new();
        if self.take_sign('(') && !self.take_sign(')') {
            loop {
                parameters.push(self.parameter()?);
                if !self.take_sign(',') {
                    break;
                }
            }
            self.sign(')')?;
        }
        let place = name.place;
        let mut entry = EntrySyntax {
            name,
            parameters,
            max_threads: None,
            required_threads: None,
            registers: Vec::new(),
            variables: Vec::new(),
            body: Vec::new(),
            end: place,
        };
        self.directives(&mut entry)?;
        self.sign('{')?;
        while !self.is_sign('}') {
            self.statement(&mut entry)?;
        }
        entry.end = self.peek().place;
        self.sign('}')?;
        Ok(entry)
    }

    fn parameter(&mut self) -> Result<ParameterSyntax> {
        if !self.take_word(".param") {
            return self.error("expected `.param`");
        }
        let leading = self.alignment()?;
        let ty = self.ty()?;
        if ty == Type::Pred {
            return self.error("a predicate cannot be a parameter");
        }
        // Pointers may say what they point to; it changes nothing.
        if self.take_word(".ptr") {
            for space in [".global", ".const", ".shared"] {
                self.take_word(space);
            }
            self.alignment()?;
        }
        let name = self.name("the name of a parameter")?;
        let array = self.is_sign('[');
        let bytes = u64::from(ty.bytes());
        match self.extent()? {
            Some(extent) if extent <= 4096 => {
                Ok(ParameterSyntax { ty, align: leading.unwrap_or(bytes), size: extent * bytes, array, name })
            }
            _ => Err(Error::new(name.place, name.text, "parameters have at most 4096 elements")),
        }
    }

    fn directives(&mut self, entry: &mut EntrySyntax) -> Result<()> {
        loop {
            if self.take_word(".maxntid") {
                entry.max_threads = Some(self.extents()?);
            } else if self.take_word(".reqntid") {
                entry.required_threads = Some(self.extents()?);
            } else if self.take_word(".minnctapersm") || self.take_word(".maxnreg") {
                // Both guide the allocation of registers only.
                self.small("a number")?;
            } else {
                return Ok(());
            }
        }
    }

    fn extents(&mut self) -> Result<[u32; 3]> {
        let mut extents = [1; 3];
        for (position, extent) in extents.iter_mut().enumerate() {
            if position > 0 && !self.take_sign(',') {
                break;
            }
            *extent = self.small("a number of threads")?;
        }
        Ok(extents)
    }

    fn statement(&mut self, entry: &mut EntrySyntax) -> Result<()> {
        match (self.peek().kind, self.ahead(1)) {
            (TokenKind::Word(".reg"), _) => self.registers(&mut entry.registers),
            (TokenKind::Word(".shared"), _) => {
                self.next();
                entry.variables.push(self.variable(DeclaredSpace::Shared)?);
                Ok(())
            }
            (TokenKind::Word(".pragma"), TokenKind::Quoted(_)) => {
                self.at += 2;
                self.sign(';')
            }
            (TokenKind::Word(text), TokenKind::Sign(':')) if !text.starts_with('.') => {
                let label = self.name("a label")?;
                self.next();
                entry.body.push(Statement::Label(label));
                Ok(())
            }
            (TokenKind::End, _) => self.error("the entry is not closed by `}`"),
            _ => {
                let instruction = self.instruction()?;
                entry.body.push(Statement::Instruction(instruction));
                Ok(())
            }
        }
    }

    fn registers(&mut self, registers: &mut Vec<RegisterSyntax>) -> Result<()> {
        self.next();
        let ty = self.ty()?;
        loop {
            let name = self.name("the name of a register")?;
            let count = if self.take_sign('<') {
                let count = self.small("a number of registers")?;
                self.sign('>')?;
                Some(count)
            } else {
                None
            };
            registers.push(RegisterSyntax { ty, name, count });
            if !self.take_sign(',') {
                return self.sign(';');
            }
        }
    }

    // Instructions and operands.

    fn instruction(&mut self) -> Result<InstructionSyntax> {
        let start = self.at;
        let guard = self.guard()?;
        let opcode = self.name("an instruction")?;
        let mut operands = Vec::new();
        if !self.is_sign(';') {
            loop {
                operands.push(self.operand(0)?);
                if !self.take_sign(',') {
                    break;
                }
            }
        }
        let text = written(&self.tokens[start..self.at]);
        self.sign(';')?;
        Ok(InstructionSyntax { guard, opcode, operands, text })
    }

    fn guard(&mut self) -> Result<Option<GuardSyntax>> {
        if !self.take_sign('@') {
            return Ok(None);
        }
        let negated = self.take_sign('!');
        let register = self.name("a predicate")?;
        Ok(Some(GuardSyntax { negated, register }))
    }

    fn operand(&mut self, depth: u32) -> Result<Operand> {
        let first = self.single_operand(depth)?;
        if !self.take_sign('|') {
            return Ok(first);
        }
        let second = self.single_operand(depth)?;
        let (place, text) = (first.place, format!("{}|{}", first.text, second.text));
        Ok(Operand { kind: OperandKind::Pair(Box::new(first), Box::new(second)), place, text })
    }

    fn single_operand(&mut self, depth: u32) -> Result<Operand> {
        if depth > 3 {
            return self.error("operands nest too deeply");
        }
        let start = self.at;
        let place = self.peek().place;
        let kind = match self.peek().kind {
            TokenKind::Sign('{') => self.vector(depth)?,
            TokenKind::Sign('[') => self.address(depth)?,
            TokenKind::Sign('!') => {
                self.next();
                OperandKind::Not(self.name("a predicate")?.text)
            }
            TokenKind::Word(_) => OperandKind::Name(self.name("an operand")?.text),
            _ => self.literal()?,
        };
        Ok(Operand { kind, place, text: written(&self.tokens[start..self.at]) })
    }

    fn literal(&mut self) -> Result<OperandKind> {
        let negative = self.take_sign('-');
        let kind = match self.peek().kind {
            TokenKind::Integer(magnitude) => OperandKind::Integer { magnitude, negative },
            TokenKind::Single(bits) if !negative => OperandKind::Single(bits),
            TokenKind::Double(bits) if !negative => OperandKind::Double(bits),
            TokenKind::Double(bits) => OperandKind::Double((-f64::from_bits(bits)).to_bits()),
            _ => return self.error("expected an operand"),
        };
        self.next();
        Ok(kind)
    }

    fn vector(&mut self, depth: u32) -> Result<OperandKind> {
        self.sign('{')?;
        let mut elements = Vec::new();
        loop {
            elements.push(self.single_operand(depth + 1)?);
            if !self.take_sign(',') {
                break;
            }
        }
        self.sign('}')?;
        Ok(OperandKind::Vector(elements))
    }

    fn address(&mut self, depth: u32) -> Result<OperandKind> {
        self.sign('[')?;
        let base = Box::new(self.single_operand(depth + 1)?);
        let offset = self.offset()?;
        let coordinates = if self.take_sign(',') { Some(Box::new(self.single_operand(depth + 1)?)) } else { None };
        self.sign(']')?;
        Ok(OperandKind::Address { base, offset, coordinates })
    }

    fn offset(&mut self) -> Result<i64> {
        let added = self.take_sign('+');
        let negative = self.take_sign('-');
        if !added && !negative {
            return Ok(0);
        }
        let TokenKind::Integer(magnitude) = self.peek().kind else { return self.error("expected an offset") };
        let Ok(magnitude) = i32::try_from(magnitude) else { return self.error("an offset has 32 bits") };
        self.next();
        let magnitude = i64::from(magnitude);
        Ok(if negative { -magnitude } else { magnitude })
    }
}

/// Tokens as one line of text, spaced as people write instructions.
fn written(tokens: &[Token]) -> String {
    let mut text = String::new();
    for (position, token) in tokens.iter().enumerate() {
        let previous = position.checked_sub(1).map(|before| tokens[before].kind);
        let spaced = match (previous, token.kind) {
            (None, _) | (_, TokenKind::Sign(',' | ']' | '}' | '|' | '+')) => false,
            (Some(TokenKind::Sign(',')), _) => true,
            (_, TokenKind::Sign('-')) => false,
            (Some(TokenKind::Sign(_)), _) => false,
            (Some(TokenKind::Word(_)), TokenKind::Sign('[' | '{')) => true,
            (Some(TokenKind::Word(_)), TokenKind::Word(_)) => true,
            (Some(TokenKind::Word(_)), TokenKind::Integer(_) | TokenKind::Single(_) | TokenKind::Double(_)) => true,
            _ => false,
        };
        if spaced {
            text.push(' ');
        }
        text.push_str(token.text);
    }
    text
}
