//! What a module must declare to use an instruction.

/// The instruction set and the processor that a module declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub version: (u32, u32),
    /// 80 of `sm_80`.
    pub processor: u32,
    /// Whether it is one processor only, `sm_90a`, and not its successors.
    pub specific: bool,
}

/// What an instruction asks for: the mnemonic, modifiers that must all be there, and the least version
/// and processor.
struct Requirement {
    mnemonic: &'static str,
    modifiers: &'static [&'static str],
    version: (u32, u32),
    processor: u32,
    specific: bool,
}

const fn row(
    mnemonic: &'static str,
    modifiers: &'static [&'static str],
    version: (u32, u32),
    processor: u32,
) -> Requirement {
    Requirement { mnemonic, modifiers, version, processor, specific: false }
}

const fn specific(mnemonic: &'static str, version: (u32, u32), processor: u32) -> Requirement {
    Requirement { mnemonic, modifiers: &[], version, processor, specific: true }
}

const REQUIREMENTS: &[Requirement] = &[
    row("shfl", &[], (6, 0), 50),
    row("vote", &[], (6, 0), 50),
    row("barrier", &[], (6, 0), 50),
    row("fence", &[], (6, 0), 70),
    row("activemask", &[], (6, 2), 50),
    row("match", &[], (6, 0), 70),
    row("redux", &[], (7, 0), 80),
    row("ldmatrix", &[], (6, 5), 75),
    row("stmatrix", &[], (7, 8), 90),
    row("mma", &["tf32"], (7, 0), 80),
    row("mma", &["bf16"], (7, 0), 80),
    row("mma", &["m16n8k16"], (7, 0), 80),
    row("mma", &[], (6, 4), 70),
    row("tanh", &[], (7, 0), 75),
    row("tanh", &["bf16"], (7, 8), 90),
    row("tanh", &["bf16x2"], (7, 8), 90),
    row("ex2", &["f16"], (7, 0), 75),
    row("ex2", &["bf16"], (7, 8), 90),
    row("ex2", &["bf16x2"], (7, 8), 90),
    row("add", &["bf16"], (7, 8), 90),
    row("add", &["bf16x2"], (7, 8), 90),
    row("sub", &["bf16"], (7, 8), 90),
    row("sub", &["bf16x2"], (7, 8), 90),
    row("mul", &["bf16"], (7, 8), 90),
    row("mul", &["bf16x2"], (7, 8), 90),
    row("fma", &["bf16"], (7, 0), 80),
    row("fma", &["bf16x2"], (7, 0), 80),
    row("min", &["f16"], (7, 0), 80),
    row("min", &["bf16"], (7, 0), 80),
    row("min", &["NaN"], (7, 0), 80),
    row("max", &["f16"], (7, 0), 80),
    row("max", &["bf16"], (7, 0), 80),
    row("max", &["NaN"], (7, 0), 80),
    row("neg", &["bf16"], (7, 0), 80),
    row("abs", &["bf16"], (7, 0), 80),
    row("cvt", &["tf32"], (7, 0), 80),
    row("cvt", &["tf32", "rn"], (7, 8), 90),
    row("cvt", &["tf32", "rz"], (7, 8), 90),
    row("cvt", &["bf16x2"], (7, 0), 80),
    row("cvt", &["f16x2"], (7, 0), 80),
    row("cvt", &["bf16"], (7, 0), 80),
    row("cvt", &["f32", "bf16"], (7, 1), 80),
    row("cvt", &["relu"], (7, 0), 80),
    row("cp", &["async"], (7, 0), 80),
    row("cp", &["async", "L2::64B"], (7, 4), 80),
    row("cp", &["async", "L2::128B"], (7, 4), 80),
    row("cp", &["async", "L2::256B"], (7, 4), 80),
    row("cp", &["async", "bulk"], (8, 0), 90),
    row("ld", &["L2::64B"], (7, 4), 75),
    row("ld", &["L2::128B"], (7, 4), 75),
    row("ld", &["L2::256B"], (7, 4), 80),
    row("ld", &["L1::no_allocate"], (7, 4), 70),
    row("ld", &["L1::evict_first"], (7, 4), 70),
    row("ld", &["L1::evict_last"], (7, 4), 70),
    row("st", &["L1::no_allocate"], (7, 4), 70),
    row("st", &["L1::evict_first"], (7, 4), 70),
    row("st", &["L1::evict_last"], (7, 4), 70),
    row("createpolicy", &[], (7, 4), 80),
    row("griddepcontrol", &[], (7, 8), 90),
    row("mapa", &[], (7, 8), 90),
    row("red", &["bf16x2"], (7, 8), 90),
    row("red", &["v2"], (8, 1), 90),
    row("red", &["v4"], (8, 1), 90),
    row("atom", &["v2"], (8, 1), 90),
    row("atom", &["v4"], (8, 1), 90),
    row("mbarrier", &[], (7, 0), 80),
    row("mbarrier", &["try_wait"], (7, 8), 90),
    row("mbarrier", &["expect_tx"], (8, 0), 90),
    row("fence", &["proxy"], (8, 0), 90),
    row("fence", &["mbarrier_init"], (8, 0), 90),
    row("elect", &[], (8, 0), 90),
    specific("wgmma", (8, 0), 90),
    specific("setmaxnreg", (8, 0), 90),
];

impl Target {
    /// The target of that name.
    pub fn new(version: (u32, u32), name: &str) -> Option<Target> {
        let number = name.strip_prefix("sm_")?;
        let (digits, specific) = match number.strip_suffix('a') {
            Some(digits) => (digits, true),
            None => (number, false),
        };
        let processor = digits.parse().ok()?;
        (50..=121).contains(&processor).then_some(Target { version, processor, specific })
    }

    /// The version that knows this processor.
    pub fn least_version(&self) -> (u32, u32) {
        match (self.processor, self.specific) {
            (90, true) => (8, 0),
            (121.., _) => (8, 8),
            (100.., _) => (8, 6),
            (89.., _) => (7, 8),
            (87.., _) => (7, 4),
            (86, _) => (7, 1),
            (80.., _) => (7, 0),
            (75, _) => (6, 3),
            _ => (6, 0),
        }
    }

    /// Whether a module that declares this target may use an instruction.
    pub fn check(&self, mnemonic: &str, modifiers: &[&str]) -> Result<(), String> {
        for row in REQUIREMENTS.iter().filter(|row| row.applies(mnemonic, modifiers)) {
            let (major, minor) = row.version;
            if self.version < row.version {
                let (have_major, have_minor) = self.version;
                return Err(format!("needs `.version {major}.{minor}`, the module declares {have_major}.{have_minor}"));
            }
            let suits = if row.specific {
                self.specific && self.processor == row.processor
            } else {
                self.processor >= row.processor
            };
            if !suits {
                let suffix = if row.specific { "a" } else { "" };
                return Err(format!("needs `.target sm_{}{suffix}`, the module declares {self}", row.processor));
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sm_{}{}", self.processor, if self.specific { "a" } else { "" })
    }
}

impl Requirement {
    fn applies(&self, mnemonic: &str, modifiers: &[&str]) -> bool {
        self.mnemonic == mnemonic && self.modifiers.iter().all(|modifier| modifiers.contains(modifier))
    }
}
