//! MATLAB's `.mat` files (version 5), as far as angles are kept in them: matrices of numbers by name.

use std::io::Read;

/// What a compressed element may grow to, in bytes. Labels of a face are a few kilobytes.
const LARGEST: u64 = 16 << 20;

/// Kinds of elements, by their numbers in the format's description.
const UINT32: u32 = 6;
const SINGLE: u32 = 7;
const DOUBLE: u32 = 9;
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;

/// The numbers of the matrix called `name`, column by column.
///
/// # Errors
/// It is no such file, is cut short, or holds no matrix of that name with real floating-point numbers; in words.
pub fn matrix(bytes: &[u8], name: &str) -> Result<Vec<f64>, String> {
    const HEADER: usize = 128;
    if bytes.len() < HEADER || bytes[124..126] != [0x00, 0x01] || &bytes[126..128] != b"IM" {
        return Err("not a little-endian MATLAB file of version 5".into());
    }
    let mut rest = &bytes[HEADER..];
    while !rest.is_empty() {
        let element = Element::take(&mut rest)?;
        let found = match element.kind {
            COMPRESSED => {
                let mut inflated = Vec::new();
                let mut reader = flate2::read::ZlibDecoder::new(element.content).take(LARGEST);
                reader.read_to_end(&mut inflated).map_err(|error| format!("a damaged element: {error}"))?;
                let mut inside = inflated.as_slice();
                named(&Element::take(&mut inside)?, name)?
            }
            _ => named(&element, name)?,
        };
        if let Some(values) = found {
            return Ok(values);
        }
    }
    Err(format!("there is no `{name}` in it"))
}

/// The numbers of an element if it is the matrix of a name.
fn named(element: &Element<'_>, name: &str) -> Result<Option<Vec<f64>>, String> {
    if element.kind != MATRIX {
        return Ok(None);
    }
    let mut parts = element.content;
    let flags = Element::take(&mut parts)?;
    let sizes = Element::take(&mut parts)?;
    let found = Element::take(&mut parts)?;
    if found.content != name.as_bytes() {
        return Ok(None);
    }
    const COMPLEX: u8 = 0x08;
    if flags.kind != UINT32 || flags.content.get(1).is_none_or(|flags| flags & COMPLEX != 0) {
        return Err(format!("`{name}` is no matrix of real numbers"));
    }
    let numbers = Element::take(&mut parts)?;
    let values: Vec<f64> = match numbers.kind {
        SINGLE => {
            numbers.content.as_chunks::<4>().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect()
        }
        DOUBLE => numbers.content.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect(),
        kind => return Err(format!("`{name}` holds elements of kind {kind}; floating-point numbers are read")),
    };
    let size = |bytes: &[u8; 4]| usize::try_from(i32::from_le_bytes(*bytes)).ok();
    let count =
        sizes.content.as_chunks::<4>().0.iter().try_fold(1usize, |count, bytes| count.checked_mul(size(bytes)?));
    if count != Some(values.len()) {
        return Err(format!("`{name}` has {} numbers, and another size", values.len()));
    }
    Ok(Some(values))
}

/// A part of a file: what it is, and its bytes.
struct Element<'b> {
    kind: u32,
    content: &'b [u8],
}

impl<'b> Element<'b> {
    /// Takes the first element of `rest` away.
    fn take(rest: &mut &'b [u8]) -> Result<Element<'b>, String> {
        let bytes = *rest;
        let word = |at: usize| {
            let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_le_bytes);
            word.ok_or_else(|| "the file is cut short".to_owned())
        };
        let (tag, next) = (word(0)?, word(4)?);
        // Up to four bytes stand in the tag itself, with their number in its upper half.
        let (kind, start, length): (u32, usize, usize) = match tag >> 16 {
            0 => (tag, 8, next as usize),
            length => (tag & 0xffff, 4, length as usize),
        };
        let end = if start == 4 && length > 4 { None } else { start.checked_add(length) };
        let content = end.and_then(|end| bytes.get(start..end)).ok_or("the file is cut short")?;
        // Elements begin at multiples of eight bytes, but for those after a compressed one.
        let whole = match (start, kind) {
            (4, _) => 8,
            (_, COMPRESSED) => start + length,
            _ => start + length.next_multiple_of(8),
        };
        *rest = bytes.get(whole..).unwrap_or(&[]);
        Ok(Element { kind, content })
    }
}

/// A file with matrices of one row, as SciPy writes it: in single precision, compressed or not.
#[cfg(test)]
pub fn bytes_of(matrices: &[(&str, &[f32])], compressed: bool) -> Vec<u8> {
    let padded = |kind: u32, content: &[u8]| {
        let mut bytes = [kind.to_le_bytes(), (content.len() as u32).to_le_bytes()].concat();
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    };
    let mut bytes = vec![b' '; 124];
    bytes.extend([0x00, 0x01, b'I', b'M']);
    for (name, values) in matrices {
        const SINGLE_CLASS: u32 = 7;
        let flags = padded(UINT32, &[SINGLE_CLASS.to_le_bytes(), [0; 4]].concat());
        let sizes = padded(5, &[1u32.to_le_bytes(), (values.len() as u32).to_le_bytes()].concat());
        let name = match name.len() {
            // In the tag itself.
            length @ 1..=4 => {
                let mut small = (1u32 | (length as u32) << 16).to_le_bytes().to_vec();
                small.extend_from_slice(name.as_bytes());
                small.resize(8, 0);
                small
            }
            _ => padded(1, name.as_bytes()),
        };
        let numbers = padded(SINGLE, &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>());
        let matrix = padded(MATRIX, &[flags, sizes, name, numbers].concat());
        if compressed {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
            std::io::Write::write_all(&mut encoder, &matrix).unwrap();
            let content = encoder.finish().unwrap();
            bytes.extend([COMPRESSED.to_le_bytes(), (content.len() as u32).to_le_bytes()].concat());
            bytes.extend(content);
        } else {
            bytes.extend(matrix);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_are_found_by_name() {
        for compressed in [false, true] {
            let bytes = bytes_of(&[("id", &[1.0]), ("angle", &[0.25, -0.5, 0.125]), ("trans", &[9.0; 3])], compressed);
            assert_eq!(matrix(&bytes, "angle").unwrap(), [0.25, -0.5, 0.125]);
            assert_eq!(matrix(&bytes, "id").unwrap(), [1.0]);
            assert_eq!(matrix(&bytes, "gamma").unwrap_err(), "there is no `gamma` in it");
        }
    }

    /// One that MATLAB documents: the header, then a 1 × 2 matrix of doubles.
    #[test]
    fn doubles_are_read() {
        let mut bytes = bytes_of(&[], false);
        let mut content = Vec::new();
        content.extend([6u32, 8, 6, 0, 5, 8, 1, 2].iter().flat_map(|word| word.to_le_bytes()));
        content.extend([1 | 1 << 16, u32::from(b'a'), 9, 16].iter().flat_map(|word: &u32| word.to_le_bytes()));
        content.extend([1.5f64, -2.5].iter().flat_map(|value| value.to_le_bytes()));
        bytes.extend([14u32.to_le_bytes(), (content.len() as u32).to_le_bytes()].concat());
        bytes.extend(content);
        assert_eq!(matrix(&bytes, "a").unwrap(), [1.5, -2.5]);
    }

    /// Whatever is cut off or changed, the answer is an error or numbers, never a panic.
    #[test]
    fn spoiled_files_are_refused() {
        for compressed in [false, true] {
            let bytes = bytes_of(&[("angle", &[0.25, -0.5, 0.125])], compressed);
            for length in 0..bytes.len() - 8 {
                assert!(matrix(&bytes[..length], "angle").is_err(), "{length}");
            }
            for place in 128..bytes.len() {
                for value in [0, 1, 0x7f, 0xff] {
                    let mut spoiled = bytes.clone();
                    spoiled[place] = value;
                    let _ = matrix(&spoiled, "angle");
                }
            }
        }
        let mut other = bytes_of(&[("angle", &[0.25])], false);
        other[126..128].copy_from_slice(b"MI");
        assert!(matrix(&other, "angle").unwrap_err().contains("little-endian"));
    }
}
