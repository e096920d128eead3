//! Text that is no PTX, or that an assembler would refuse, and what is said of it.

use crate::support::{module, module_for};
use proptest::prelude::*;
use visage_interpreter::Module;

/// What is wrong with an instruction in a module for sm_80.
fn refused(instruction: &str) -> String {
    refused_text(&module(".shared .align 16 .b8 words[256];", instruction))
}

fn refused_text(text: &str) -> String {
    Module::parse(text).err().expect("an error").to_string()
}

#[test]
fn modules_that_are_none() {
    insta::assert_snapshot!(refused_text(""), @"1:1: `the end`: a module begins with `.version`");
    insta::assert_snapshot!(refused_text(".version 7.0"), @"1:13: `the end`: expected `.target`");
    insta::assert_snapshot!(refused_text(".version 7.0\n.target sm_80\n.address_size 32"), @"3:15: `32`: addresses have 64 bits");
    insta::assert_snapshot!(refused_text(".version 7.0\n.target gfx90\n.address_size 64"), @"2:9: `gfx90`: not a target that this interpreter knows");
    insta::assert_snapshot!(refused_text(".version 7.0\n.target sm_90a\n.address_size 64"), @"2:9: `sm_90a`: needs `.version 8.0`");
    insta::assert_snapshot!(refused_text(".version 7.0\n.target sm_80\n.address_size 64\n.visible .entry kernel() {\n ret;"), @"5:6: `the end`: the entry is not closed by `}`");
    insta::assert_snapshot!(refused_text(".version 7.0\n.target sm_80\n.address_size 64\n.visible .entry kernel() { # }"), @"4:28: `# }`: no token begins like this");
    insta::assert_snapshot!(refused_text(".version 7.0\n.target sm_80\n.address_size 64\n.global .u32 table[2] = {1, 2, 3};"), @"4:33: `}`: more initial values than elements");
    insta::assert_snapshot!(refused_text(&module(".shared .align 16 .b8 words[50000];", "")), @"5:17: `kernel`: 50000 bytes of static shared memory, of at most 49152");
}

#[test]
fn instructions_that_are_unknown() {
    insta::assert_snapshot!(refused("frobnicate.u32 %r0, %r1;"), @"14:1: `frobnicate.u32 %r0, %r1`: this interpreter does not know the instruction");
    insta::assert_snapshot!(refused("add.u32.fast %r0, %r1, %r2;"), @"14:1: `add.u32.fast %r0, %r1, %r2`: `.fast` is not known here");
    insta::assert_snapshot!(refused("add.ftz.rn.f32 %f0, %f1, %f2;"), @"14:1: `add.ftz.rn.f32 %f0, %f1, %f2`: expected a type");
    insta::assert_snapshot!(refused("fma.f32 %f0, %f1, %f2, %f3;"), @"14:1: `fma.f32 %f0, %f1, %f2, %f3`: the rounding must be given");
    insta::assert_snapshot!(refused("cvt.s32.f32 %r0, %f0;"), @"14:1: `cvt.s32.f32 %r0, %f0`: the rounding must be given, as `.rni`");
    insta::assert_snapshot!(refused("cvt.f32.f64 %f0, %d0;"), @"14:1: `cvt.f32.f64 %f0, %d0`: the rounding must be given, as `.rn`");
    insta::assert_snapshot!(refused("shl.u32 %r0, %r1, 2;"), @"14:1: `shl.u32 %r0, %r1, 2`: `shl` does not work on `.u32` as far as this interpreter knows");
    insta::assert_snapshot!(refused("ld.global.v4.f64 {%d0, %d1, %d2, %d3}, [%rd0];"), @"14:1: `ld.global.v4.f64 {%d0, %d1, %d2, %d3}, [%rd0]`: an access has at most 16 bytes");
    insta::assert_snapshot!(refused("bra nowhere;"), @"14:5: `nowhere`: there is no such label");
    insta::assert_snapshot!(refused("here: here: ret;"), @"14:7: `here`: the label stands twice");
}

#[test]
fn operands_that_do_not_suit() {
    insta::assert_snapshot!(refused("add.f32 %f0, %d1, %f2;"), @"14:14: `%d1`: a register of type `.f64` where the instruction wants `.f32`");
    insta::assert_snapshot!(refused("add.s32 %f0, %r1, %r2;"), @"14:9: `%f0`: a register of type `.f32` where the instruction wants `.s32`");
    insta::assert_snapshot!(refused("add.u64 %rd3, %rd0, %r1;"), @"14:21: `%r1`: a register of type `.b32` where the instruction wants `.u64`");
    insta::assert_snapshot!(refused("add.f32 %f0, %f1, 1;"), @"14:19: `1`: an integer where a floating-point value is wanted");
    insta::assert_snapshot!(refused("add.u32 %r0, %r1, 0x100000000;"), @"14:19: `0x100000000`: does not fit 32 bits");
    insta::assert_snapshot!(refused("add.u32 %r0, %r1;"), @"14:1: `add.u32 %r0, %r1`: an operand is missing");
    insta::assert_snapshot!(refused("add.u32 %r0, %r1, %r2, %r3;"), @"14:24: `%r3`: one operand too many");
    insta::assert_snapshot!(refused("mov.u32 %r64, 1;"), @"14:9: `%r64`: not declared");
    insta::assert_snapshot!(refused("ld.global.u32 %r0, [%r1];"), @"14:21: `%r1`: a register of type `.b32` where the instruction wants `.u64`");
    insta::assert_snapshot!(refused("ld.global.f32 %r0, [words];"), @"14:21: `words`: lies in another state space");
    insta::assert_snapshot!(refused("@%r0 mov.u32 %r1, 1;"), @"14:2: `%r0`: not a predicate");
    insta::assert_snapshot!(refused("selp.u32 %r0, 1, 0, %r1;"), @"14:21: `%r1`: not a predicate");
}

#[test]
fn modules_that_declare_too_little() {
    let copy = "cp.async.ca.shared.global [words], [%rd0], 4;";
    let words = ".shared .align 16 .b8 words[256];";
    insta::assert_snapshot!(refused_text(&module_for("6.5", "sm_75", words, copy)), @"14:1: `cp.async.ca.shared.global [words], [%rd0], 4`: needs `.version 7.0`, the module declares 6.5");
    insta::assert_snapshot!(refused_text(&module_for("7.0", "sm_75", words, copy)), @"14:1: `cp.async.ca.shared.global [words], [%rd0], 4`: needs `.target sm_80`, the module declares sm_75");
    insta::assert_snapshot!(refused("red.global.add.v4.f32 [%rd0], {%f0, %f1, %f2, %f3};"), @"14:1: `red.global.add.v4.f32 [%rd0], {%f0, %f1, %f2, %f3}`: needs `.version 8.1`, the module declares 7.8");
}

const WHOLE: &str = "ld.global.v4.f32 {%f0, %f1, %f2, %f3}, [%rd0+16];
    mov.u32 %r0, %tid.x; setp.lt.and.u32 %p1|%p2, %r0, 5, !%p0; @!%p1 bra end;
    shfl.sync.bfly.b32 %r1|%p3, %r0, 1, 31, 0xffffffff; mov.b64 {%r2, %r3}, %rd1;
    cp.async.cg.shared.global.L2::128B [words+16], [%rd0], 16; cp.async.commit_group; cp.async.wait_group 0;
    mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f0, %f1, %f2, %f3}, {%r1, %r1, %r1, %r1}, {%r1, %r1}, {%f0, %f1, %f2, %f3};
    add.f32 %f0, %f0, 0f3F800000; add.f64 %d0, %d1, 0d3FF0000000000000; // a comment
    end: bar.sync 0, 64;";

#[test]
fn the_whole_text_is_taken() {
    crate::support::parse(&module(".shared .align 16 .b8 words[256];", WHOLE));
}

proptest! {
    /// Whatever is done to the characters of a module, it is taken or refused.
    #[test]
    fn spoiled_text_never_panics(
        changes in prop::collection::vec((0usize..2000, 0usize..4, any::<prop::sample::Index>()), 1..6)
    ) {
        let pieces = ["", "[", "]", "{", "}", ",", ";", ".", "%", "|", "!", "@", "-", "9", "4294967296", "<", ">", ":", "x", "\u{e9}", "\"", "/*"];
        let mut text: Vec<char> = module(".shared .align 16 .b8 words[256];", WHOLE).chars().collect();
        for (at, removed, piece) in changes {
            let at = at % text.len();
            let end = (at + removed).min(text.len());
            text.splice(at..end, piece.get(&pieces).chars());
        }
        let _ = Module::parse(&text.into_iter().collect::<String>());
    }

    /// Tokens in any order are taken or refused.
    #[test]
    fn shuffled_words_never_panic(words in prop::collection::vec(any::<prop::sample::Index>(), 0..40)) {
        let whole = module(".shared .align 16 .b8 words[256];", WHOLE);
        let known: Vec<&str> = whole.split_whitespace().collect();
        let body: Vec<&str> = words.iter().map(|word| *word.get(&known)).collect();
        let _ = Module::parse(&module("", &body.join(" ")));
    }
}
