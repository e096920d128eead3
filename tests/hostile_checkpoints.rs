//! Checkpoints from strangers: whatever the bytes, reading ends in a checkpoint or in an error that says
//! where and what, and takes no more memory than the file warrants.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use visage_runtime::checkpoint::{Checkpoint, CheckpointError, Problem};

/// The system's allocator, remembering the largest request.
struct Watched;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's obligations are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; the pointer came from `alloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// No file of these tests is larger than a megabyte, so none warrants more than this at once.
const WARRANTED: usize = 96 << 20;

fn refusal(bytes: &[u8]) -> CheckpointError {
    let result = Checkpoint::from_bytes(bytes);
    assert!(LARGEST.load(Ordering::Relaxed) <= WARRANTED, "an allocation beyond what the file warrants");
    result.expect_err("this file is hostile")
}

/// Reads hostile bytes and expects this message.
fn check(bytes: &[u8], message: &str) {
    let error = refusal(bytes).to_string();
    assert!(error.contains(message), "expected `{message}`, found `{error}`");
}

/// A pickle of protocol 2 of these opcodes.
fn pickle(opcodes: &[u8]) -> Vec<u8> {
    [b"\x80\x02", opcodes, b"."].concat()
}

/// BINUNICODE
fn text(content: &str) -> Vec<u8> {
    [b"X", (content.len() as u32).to_le_bytes().as_slice(), content.as_bytes()].concat()
}

/// LONG1
fn long(value: i64) -> Vec<u8> {
    [b"\x8a\x08", value.to_le_bytes().as_slice()].concat()
}

fn zip(members: &[(&str, &[u8])], method: zip::CompressionMethod) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    for (name, content) in members {
        writer.start_file(*name, options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// An archive of one storage of four singles and these opcodes.
fn torch(opcodes: &[u8]) -> Vec<u8> {
    let data = [0u8; 16];
    let members: [(&str, &[u8]); 2] = [("x/data.pkl", &pickle(opcodes)), ("x/data/0", &data)];
    zip(&members, zip::CompressionMethod::Stored)
}

/// The identity of that storage, and the call that makes a tensor of it.
fn tensor(count: i64, offset: i64, shape: &[i64], stride: &[i64]) -> Vec<u8> {
    let tuple = |sizes: &[i64]| [b"(".to_vec(), sizes.iter().flat_map(|&n| long(n)).collect(), b"t".to_vec()].concat();
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        text("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text("0"),
        text("cpu"),
        long(count),
        b"tQ".to_vec(),
        long(offset),
        tuple(shape),
        tuple(stride),
        b"\x89NtR".to_vec(),
    ]
    .concat()
}

fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [(header.len() as u64).to_le_bytes().as_slice(), header.as_bytes(), data].concat()
}

#[test]
fn files_of_other_kinds() {
    check(b"", "the file is empty");
    check(b"\x7fELF\x02\x01\x01\x00\x00\x00", "neither safetensors, PyTorch nor NumPy; it begins with 7f 45 4c 46");
    check(b"\x1f\x8b\x08\x00", "gzip");
    check(b"\x89HDF\r\n\x1a\n", "HDF5");
    let mut tar = vec![b'x'; 512];
    tar[257..262].copy_from_slice(b"ustar");
    check(&tar, "tar archive");
    check(&zip(&[("readme.txt", b"")], zip::CompressionMethod::Stored), "it holds `readme.txt`");
    check(b"PK\x03\x04", "");
}

#[test]
fn calls_are_refused_by_name() {
    let error = refusal(&pickle(&[b"cos\nsystem\n".as_slice(), &text("true"), b"\x85R"].concat()));
    assert!(matches!(error.problem(), Problem::Refused(_)));
    assert!(error.to_string().contains("a call of `os.system`"), "{error}");
    assert_eq!(error.offset(), Some(2 + 11 + 9 + 1), "the offset of REDUCE");
    check(&pickle(b"cbuiltins\neval\n)R"), "`builtins.eval`");
    // An encoding other than Latin-1 would run a codec.
    let encode = [b"c_codecs\nencode\n".as_slice(), &text("x"), &text("rot13"), b"\x86R"].concat();
    check(&pickle(&encode), "may only write Latin-1");
    check(&torch(b"cposix\nsystem\n)R"), "member `x/data.pkl`, byte 17: a call of `posix.system`");
    // An unknown class may be named and given attributes, for nothing of it runs.
    assert!(Checkpoint::from_bytes(&pickle(b"cevil\nClass\n)\x81}b")).is_ok());
}

#[test]
fn broken_pickles() {
    check(&pickle(b"\xff"), "byte 2: opcode 0xff is not one that checkpoints use");
    check(&pickle(b"i"), "opcode 0x69 (`i`)");
    check(&pickle(b"\x82\x01"), "opcode 0x82");
    check(&pickle(b""), "byte 2: the stack holds too few values");
    check(b"\x80\x02", "byte 2: 1 bytes are needed here, but 0 are left");
    check(b"\x80\x02X\xff\xff\xff\xff", "4294967295 bytes are needed here, but 0 are left");
    check(&pickle(b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff"), "18446744073709551615 bytes are needed");
    check(&pickle(b"\x95\xff\x00\x00\x00\x00\x00\x00\x00"), "a frame of 255 bytes, but 1 are left");
    check(&pickle(b"h\x07"), "memo slot 7 is empty");
    check(&pickle(b"t"), "no mark is open");
    check(&pickle(b"N(\x85"), "the stack holds too few values");
    check(&pickle(b"(Nd"), "a key without a value");
    check(&pickle(b"N)a"), "elements appended to");
    check(&pickle(b"NNb"), "attributes given to None");
    check(&pickle(b"X\x01\x00\x00\x00\xff"), "not UTF-8");
    check(b"\x80\x02\x80\x09N.", "pickle protocol 9");
    check(&pickle(&[b"c".as_slice(), &[b'a'; 9000]].concat()), "a line without an end");
    check(&pickle(&[&text("storage"), b"\x85Q".as_slice()].concat()), "a storage's identity");
}

#[test]
fn nesting_and_sharing() {
    check(&pickle(b"]q\x00h\x00a"), "nested more than 128 deep");
    check(&pickle(&[vec![b']'; 100_000], vec![b'a'; 99_999]].concat()), "nested more than 128 deep");
    check(&pickle(&[vec![b')'; 1], vec![0x85; 100_000]].concat()), "nested more than 128 deep");
    // Each list holds the previous one twice: a hundred bytes that stand for 2^30 entries.
    let mut doubling = b"K\x01q\x00".to_vec();
    for level in 0..30u8 {
        doubling.extend([b']', b'q', level + 1, b'h', level, b'a', b'h', level, b'a']);
    }
    check(&pickle(&doubling), "containers that share each other would take more than");
    // One long value that is copied again and again.
    let mut copying =
        [b"c_codecs\nencode\nq\x00".as_slice(), &text(&"x".repeat(1000)), &text("latin1"), b"\x86q\x01"].concat();
    for _ in 0..1000 {
        copying.extend(b"h\x00h\x01R");
    }
    check(&pickle(&copying), "copies more than it holds");
    let key = text(&"k".repeat(5000));
    check(&pickle(&[b"}".as_slice(), &key, b"K\x01s"].concat()), "a name of 5001 bytes");
}

#[test]
fn views_beyond_their_storage() {
    assert!(Checkpoint::from_bytes(&torch(&tensor(4, 0, &[2, 2], &[2, 1]))).is_ok());
    check(&torch(&tensor(4, 1, &[4], &[1])), "does not lie within its storage of 4 elements");
    check(&torch(&tensor(4, 0, &[2], &[4])), "does not lie within");
    check(&torch(&tensor(4, 0, &[i64::MAX, 2], &[0, i64::MAX])), "does not lie within");
    check(&torch(&tensor(4, 0, &[i64::MAX, i64::MAX], &[0, 0])), "does not lie within");
    check(&torch(&tensor(4, -1, &[1], &[1])), "-1 where a size, offset or stride was expected");
    check(&torch(&tensor(4, 0, &[1], &[-1])), "-1 where a size");
    check(&torch(&tensor(4, 0, &[1, 1], &[1])), "2 axes with 1 strides");
    check(&torch(&tensor(4, 0, &[1; 65], &[1; 65])), "an array of 65 axes");
    check(&torch(&tensor(5, 0, &[1], &[1])), "member `x/data/0` has 16 bytes, but the pickle says 20");
    check(&torch(&tensor(i64::MAX, 0, &[1], &[1])), "a part of");
    // Repeating elements is allowed as long as the file could have warranted the result.
    assert!(Checkpoint::from_bytes(&torch(&tensor(4, 0, &[1 << 20], &[0]))).is_ok());
    check(&torch(&tensor(4, 0, &[1 << 40], &[0])), "tensors that share or repeat storages would take more than");
}

#[test]
fn broken_archives() {
    let whole = torch(&tensor(4, 0, &[4], &[1]));
    for length in 0..whole.len() {
        assert!(Checkpoint::from_bytes(&whole[..length]).is_err(), "cut at {length}");
    }
    let missing = zip(&[("x/data.pkl", &pickle(&tensor(4, 0, &[4], &[1])))], zip::CompressionMethod::Stored);
    check(&missing, "tensor `array`, member `x/data/0`: the archive has no such member");
    let mut flipped = whole.clone();
    let at = flipped.windows(8).position(|window| window == b"x/data/0").unwrap() + 8;
    flipped[at] ^= 1;
    check(&flipped, "member `x/data/0`: ");
    let big: [(&str, &[u8]); 2] = [("x/data.pkl", &pickle(b"N")), ("x/byteorder", b"big")];
    check(&zip(&big, zip::CompressionMethod::Stored), "byte order `big`");
    // A hundred megabytes of zeros in a hundred kilobytes.
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    writer.start_file("zeros.npy", zip::write::SimpleFileOptions::default()).unwrap();
    for _ in 0..100 {
        writer.write_all(&vec![0; 1 << 20]).unwrap();
    }
    let bomb = writer.finish().unwrap().into_inner();
    assert!(bomb.len() < 1 << 20);
    check(&bomb, "compressed members would take more than");
}

/// What is little in one member must not become much in a thousand.
#[test]
fn archives_of_many_members() {
    // One stretch of the file under many names.
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let shape = "{'descr': '|u1', 'fortran_order': False, 'shape': (65536,)}".to_owned();
    let header = format!("{shape:<117}\n");
    writer.start_file("0.npy", options).unwrap();
    writer.write_all(&[b"\x93NUMPY\x01\x00\x76\x00".as_slice(), header.as_bytes(), &[0; 65536]].concat()).unwrap();
    for copy in 1..100 {
        writer.shallow_copy_file("0.npy", &format!("{copy}.npy")).unwrap();
    }
    check(&writer.finish().unwrap().into_inner(), "members of the archive, if they did not overlap, would take more");

    // A few hundred bytes of pickle with many long names, a hundred times.
    let key = "k".repeat(200);
    let mut nested = [b"\x80\x02K\x01q\x00".as_slice()].concat();
    for level in 0..14u8 {
        nested.extend([b']', b'q', level + 1, b'h', level, b'a', b'h', level, b'a']);
    }
    let objects = [nested.as_slice(), b"}", &text(&key), b"h\x0es."].concat();
    let header = "{'descr': '|O', 'fortran_order': False, 'shape': ()}";
    let npy =
        [b"\x93NUMPY\x01\x00", (header.len() as u16).to_le_bytes().as_slice(), header.as_bytes(), &objects].concat();
    assert!(Checkpoint::from_bytes(&npy).is_ok());
    let names: Vec<_> = (0..100).map(|index| format!("{index}.npy")).collect();
    let members: Vec<_> = names.iter().map(|name| (name.as_str(), npy.as_slice())).collect();
    check(&zip(&members, zip::CompressionMethod::Stored), "would take more than");
}

#[test]
fn broken_legacy_files() {
    let whole = fs::read(folder("tests/checkpoints").join("nerf_legacy.tar")).unwrap();
    for length in 0..whole.len() {
        assert!(Checkpoint::from_bytes(&whole[..length]).is_err(), "cut at {length}");
    }
    let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
    assert!(whole.starts_with(magic));
    check(&[magic.as_slice(), &pickle(b"K\x05")].concat(), "byte 15: the version of the legacy layout");
    let big = [
        magic.as_slice(),
        &pickle(b"M\xe9\x03"),
        &pickle(&[b"}".as_slice(), &text("little_endian"), b"\x89s"].concat()),
    ];
    check(&big.concat(), "byte order `big`");
    let head = [magic.as_slice(), &pickle(b"M\xe9\x03"), &pickle(b"}"), &pickle(&tensor(4, 0, &[4], &[1]))].concat();
    check(&[head.as_slice(), &pickle(b"]")].concat(), "storage `0` is not in the file");
    let keys = pickle(&[b"]".as_slice(), &text("0"), b"a"].concat());
    check(&[head.as_slice(), &keys, &5u64.to_le_bytes()].concat(), "storage `0` has 5 elements, but the object says 4");
    check(
        &[head.as_slice(), &keys, &4u64.to_le_bytes(), &[0; 15]].concat(),
        "16 bytes are needed here, but 15 are left",
    );
    assert!(Checkpoint::from_bytes(&[head.as_slice(), &keys, &4u64.to_le_bytes(), &[0; 16]].concat()).is_ok());
}

#[test]
fn broken_safetensors() {
    check(&[255; 9].map(|b| if b == 255 { b } else { 0 })[..], "neither safetensors");
    let huge = [u64::MAX.to_le_bytes().as_slice(), b"{}"].concat();
    check(&huge, "byte 0: a header of 18446744073709551615 bytes is declared in a file of 10 bytes");
    check(&safetensors("{\"x\"", b""), "byte 11: the header is not valid");
    let entry = |shape: &str, begin: u64, end: u64| {
        format!(r#"{{"dtype":"U8","shape":{shape},"data_offsets":[{begin},{end}]}}"#)
    };
    let one = |shape, begin, end| format!(r#"{{"x":{}}}"#, entry(shape, begin, end));
    assert!(Checkpoint::from_bytes(&safetensors(&one("[4]", 0, 4), b"abcd")).is_ok());
    check(&safetensors(&one("[4]", 0, 4), b"abc"), "but it has");
    check(&safetensors(&one("[4]", 0, 4), b"abcde"), "but it has");
    check(&safetensors(&one("[5]", 0, 4), b"abcd"), "the header is not valid");
    check(&safetensors(&one("[4]", 1, 5), b"abcde"), "invalid offset for tensor `x`");
    check(&safetensors(&one("[4294967296,4294967296]", 0, 4), b"abcd"), "overflow");
    check(&safetensors(&one("[4]", 4, 0), b"abcd"), "invalid offset");
    let both = format!(r#"{{"x":{},"y":{}}}"#, entry("[4]", 0, 4), entry("[4]", 2, 6));
    check(&safetensors(&both, b"abcdef"), "invalid offset for tensor `y`");
    let float8 = r#"{"x":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}"#;
    check(&safetensors(float8, b"a"), "tensor `x`, byte 66: elements of type F8_E4M3 cannot be read");
    check(&safetensors(&"{\"a\":".repeat(200), b""), "the header is not valid");
}

#[test]
fn broken_npy() {
    let npy = |header: &str, data: &[u8]| {
        [b"\x93NUMPY\x01\x00", (header.len() as u16).to_le_bytes().as_slice(), header.as_bytes(), data].concat()
    };
    let of = |descr: &str, shape: &str| format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}");
    assert!(Checkpoint::from_bytes(&npy(&of("<f4", "(1,)"), &[0; 4])).is_ok());
    check(&npy(&of(">f4", "(1,)"), &[0; 4]), "big-endian (`>f4`)");
    check(&npy(&of("<c8", "(1,)"), &[0; 8]), "NumPy type `c8`");
    check(&npy(&of("<f4", "(2,)"), &[0; 4]), "an array of shape [2] is declared, but 4 bytes follow");
    check(&npy(&of("<f4", "(9999999999, 9999999999)"), &[0; 4]), "is declared");
    check(&npy("{'descr' 1}", &[]), "byte 19: the header is not the dictionary it should be: `1`");
    check(b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "a header of 4294967295 bytes");
    check(b"\x93NUMPY\x09\x00", "version 9.0");
    check(b"\x93NUMPY\x01\x00\x05", "");
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// xorshift64*: enough to spoil files with, and the same in every run.
struct Mutator(u64);

impl Mutator {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound.max(1)
    }

    /// Spoils a file in one of the ways that readers trip over.
    fn spoil(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len());
        let length = (1 + self.below(8)).min(bytes.len().saturating_sub(at));
        match self.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            1 if at < bytes.len() => bytes[at] = self.below(256) as u8,
            2 => bytes.truncate(at),
            3 => {
                bytes.drain(at..at + length);
            }
            4 => {
                let copied = bytes[at..at + length].to_vec();
                let to = self.below(bytes.len());
                bytes.splice(to..to, copied);
            }
            5 => bytes[at..at + length].fill([0x00, 0x7f, 0x80, 0xff][self.below(4)]),
            _ => {
                // An opcode of the stack machine in the place of whatever was there.
                const OPCODES: &[u8] = b"(.012JKMNQRX]abcdehjlqrstu}\x81\x85\x86\x87\x88\x8a\x8c\x93\x94";
                if at < bytes.len() {
                    bytes[at] = OPCODES[self.below(OPCODES.len())];
                }
            }
        }
    }
}

/// What the fuzzers do for minutes, for a second in every test run.
#[test]
fn spoiled_files_are_read_or_refused() {
    const SPOILED_PER_FILE: usize = 8000;
    let mut files = Vec::new();
    for folder in ["tests/checkpoints", "tests/fuzz/corpus/pth", "tests/fuzz/corpus/safetensors"].map(folder) {
        for entry in fs::read_dir(&folder).unwrap() {
            files.push(entry.unwrap().path());
        }
    }
    files.sort();
    assert!(files.len() > 20, "the samples and seeds are there");
    let mut mutator = Mutator(0x5eed);
    for path in files {
        let sound = fs::read(&path).unwrap();
        let _ = Checkpoint::from_bytes(&sound);
        for _ in 0..SPOILED_PER_FILE {
            let mut bytes = sound.clone();
            for _ in 0..=mutator.below(3) {
                mutator.spoil(&mut bytes);
            }
            if let Err(error) = Checkpoint::from_bytes(&bytes) {
                assert!(!error.to_string().is_empty());
            }
        }
    }
}
