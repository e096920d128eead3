//! The scalar types of PTX.

/// A fundamental type, or one that only instructions name (`bf16`, `tf32`, packed pairs).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Type {
    Pred,
    B8,
    B16,
    B32,
    B64,
    B128,
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    F16,
    F16x2,
    Bf16,
    Bf16x2,
    Tf32,
    F32,
    F64,
}

/// What the bits of a type mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Predicate,
    Bits,
    Unsigned,
    Signed,
    Float,
}

const NAMES: [(&str, Type); 21] = [
    ("pred", Type::Pred),
    ("b8", Type::B8),
    ("b16", Type::B16),
    ("b32", Type::B32),
    ("b64", Type::B64),
    ("b128", Type::B128),
    ("u8", Type::U8),
    ("u16", Type::U16),
    ("u32", Type::U32),
    ("u64", Type::U64),
    ("s8", Type::S8),
    ("s16", Type::S16),
    ("s32", Type::S32),
    ("s64", Type::S64),
    ("f16", Type::F16),
    ("f16x2", Type::F16x2),
    ("bf16", Type::Bf16),
    ("bf16x2", Type::Bf16x2),
    ("tf32", Type::Tf32),
    ("f32", Type::F32),
    ("f64", Type::F64),
];

impl Type {
    /// The type of that name, written without its dot.
    pub fn named(name: &str) -> Option<Type> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, ty)| *ty)
    }

    /// Its name, without a dot.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, ty)| *ty == self).map_or("?", |(name, _)| name)
    }

    /// Its size in bits; a predicate has one.
    pub fn bits(self) -> u32 {
        match self {
            Type::Pred => 1,
            Type::B8 | Type::U8 | Type::S8 => 8,
            Type::B16 | Type::U16 | Type::S16 | Type::F16 | Type::Bf16 => 16,
            Type::B32 | Type::U32 | Type::S32 | Type::F32 | Type::F16x2 | Type::Bf16x2 | Type::Tf32 => 32,
            Type::B64 | Type::U64 | Type::S64 | Type::F64 => 64,
            Type::B128 => 128,
        }
    }

    /// Its size in bytes.
    pub fn bytes(self) -> u32 {
        self.bits().div_ceil(8)
    }

    pub fn kind(self) -> Kind {
        match self {
            Type::Pred => Kind::Predicate,
            Type::B8 | Type::B16 | Type::B32 | Type::B64 | Type::B128 => Kind::Bits,
            Type::U8 | Type::U16 | Type::U32 | Type::U64 => Kind::Unsigned,
            Type::S8 | Type::S16 | Type::S32 | Type::S64 => Kind::Signed,
            Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2 | Type::Tf32 | Type::F32 | Type::F64 => Kind::Float,
        }
    }

    pub fn is_float(self) -> bool {
        self.kind() == Kind::Float
    }

    pub fn is_integer(self) -> bool {
        matches!(self.kind(), Kind::Unsigned | Kind::Signed)
    }

    pub fn is_signed(self) -> bool {
        self.kind() == Kind::Signed
    }

    /// Whether registers of this type can be declared.
    pub fn is_register(self) -> bool {
        !matches!(self, Type::B8 | Type::U8 | Type::S8 | Type::Bf16 | Type::Bf16x2 | Type::Tf32 | Type::B128)
    }

    /// Whether a register of type `register` may stand where an instruction wants this type: equal
    /// sizes, untyped bits on either side, or both integers.
    pub fn accepts(self, register: Type) -> bool {
        self.bits() == register.bits() && self.agrees(register)
    }

    /// Whether a register of type `register`, which may be wider, can be loaded, stored or converted as
    /// this type. Floating-point values keep their size.
    pub fn accepts_wider(self, register: Type) -> bool {
        let exact = self.is_float() || register.is_float();
        self.agrees(register) && if exact { self.bits() == register.bits() } else { self.bits() <= register.bits() }
    }

    fn agrees(self, register: Type) -> bool {
        // Formats without a register type of their own live in registers of plain bits.
        let unnamed = matches!(self, Type::Bf16 | Type::Bf16x2 | Type::Tf32);
        match (self.kind(), register.kind()) {
            (Kind::Predicate, other) | (other, Kind::Predicate) => other == Kind::Predicate,
            (Kind::Float, Kind::Float) => self == register,
            (Kind::Float, Kind::Bits) => true,
            (Kind::Float, kind) => unnamed && kind != Kind::Float,
            (Kind::Bits, _) | (_, Kind::Bits) => true,
            (_, Kind::Float) => false,
            _ => true,
        }
    }
}
