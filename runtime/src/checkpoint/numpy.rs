//! `.npy` and `.npz`: NumPy's own files.
//!
//! A `.npy` file is `\x93NUMPY`, a version, the length of a header, the header (a Python dictionary in
//! text) and the elements. An array of Python objects has a pickle for elements: how Keras weights were
//! kept by `numpy.save(path, model.get_weights())`.

use super::archive::Archive;
use super::error::{CheckpointError, Result};
use super::flatten::flatten;
use super::limits::Limits;
use super::numpy_type::NumpyType;
use super::pickle::{MOST_AXES, Pickle};
use super::source::{Bytes, Source};
use super::strided::View;
use super::tensors::{NoStorages, arrays};
use super::{Checkpoint, SOLE};
use crate::array::{Array, element_count};
use std::io::{BufReader, Cursor, SeekFrom};

/// What a `.npy` file begins with.
pub(super) const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Headers longer than this describe no array that can be read.
const LONGEST_HEADER: u64 = 1 << 16;

/// Reads a `.npy` file.
pub(super) fn read_npy(source: &mut dyn Source, length: u64) -> Result<Checkpoint> {
    source.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::new(source);
    let mut limits = Limits::of(length);
    read_array_or_objects(&mut Bytes::new(&mut reader, 0, length), &mut limits)
}

/// Reads a `.npz` archive, whose members are `.npy` files.
pub(super) fn read_npz(mut archive: Archive, names: &[String]) -> Result<Checkpoint> {
    let mut checkpoint = Checkpoint::default();
    let mut limits = Limits::of(archive.length());
    for member in names {
        let name = member.strip_suffix(".npy").unwrap_or(member);
        let content = archive.read(member)?;
        let length = content.len() as u64;
        let mut reader = Cursor::new(content);
        let read = read_array_or_objects(&mut Bytes::new(&mut reader, 0, length), &mut limits);
        let read = read.map_err(|error| error.within(format!("member `{member}`")))?;
        // A member's sole array has the member's name; objects are numbered below it.
        let below = |inner: String| {
            if inner == SOLE { name.to_owned() } else { format!("{name}.{inner}") }
        };
        for (inner, array) in read.tensors {
            if checkpoint.tensors.insert(below(inner), array).is_some() {
                return Err(CheckpointError::unsupported(format!("two arrays are called as `{member}` is")));
            }
        }
        checkpoint.scalars.extend(read.scalars.into_iter().map(|(inner, scalar)| (below(inner), scalar)));
    }
    Ok(checkpoint)
}

fn read_array_or_objects(bytes: &mut Bytes, limits: &mut Limits) -> Result<Checkpoint> {
    let header = Header::read(bytes)?;
    let mut checkpoint = Checkpoint::default();
    if header.element.is_object() {
        let pickle = Pickle::read(bytes)?;
        let flat = flatten(&pickle, limits)?;
        checkpoint.tensors = arrays(&pickle, &flat, &mut NoStorages, limits)?;
        checkpoint.scalars = flat.scalars;
    } else {
        checkpoint.tensors.insert(SOLE.to_owned(), header.read_elements(bytes)?);
    }
    Ok(checkpoint)
}

/// What stands in front of the elements.
#[derive(Debug, PartialEq)]
struct Header {
    element: NumpyType,
    column_major: bool,
    shape: Vec<usize>,
}

impl Header {
    fn read(bytes: &mut Bytes) -> Result<Self> {
        let at = bytes.offset();
        if &bytes.array::<6>()? != MAGIC {
            return Err(CheckpointError::malformed("this is not a .npy file").at(at));
        }
        let [major, minor] = bytes.array()?;
        let length = match major {
            1 => u64::from(u16::from_le_bytes(bytes.array()?)),
            2 | 3 => u64::from(u32::from_le_bytes(bytes.array()?)),
            _ => {
                let message = format!("version {major}.{minor} of .npy is not known");
                return Err(CheckpointError::unsupported(message).at(at + 6));
            }
        };
        if length > LONGEST_HEADER {
            return Err(CheckpointError::refused(format!("a header of {length} bytes")).at(at + 8));
        }
        let start = bytes.offset();
        let text = bytes.take(length)?;
        Literal { text: &text, at: 0 }.header().map_err(|(found, offset)| {
            let message = format!("the header is not the dictionary it should be: {found}");
            CheckpointError::malformed(message).at(start + offset as u64)
        })
    }

    fn read_elements(self, bytes: &mut Bytes) -> Result<Array> {
        let at = bytes.offset();
        let stored = self.element.stored().map_err(|error| error.at(at))?;
        let needed = element_count(&self.shape).and_then(|count| count.checked_mul(stored.size()));
        let left = bytes.remaining();
        if needed.is_none_or(|needed| needed as u64 != left) {
            let message = format!("an array of shape {:?} is declared, but {left} bytes follow", self.shape);
            return Err(CheckpointError::malformed(message).at(at));
        }
        let mut content = bytes.take(left)?;
        if self.column_major {
            content = View::dense(self.shape.clone(), true).gather(&content, stored.size());
        }
        let array = stored.into_array(self.shape, content);
        array.map_err(|error| CheckpointError::malformed(error.to_string()).at(at))
    }
}

/// What was found, and where.
type Found = (String, usize);

/// A reader of the header's text: a dictionary of a string, a boolean and a tuple of integers.
struct Literal<'a> {
    text: &'a [u8],
    at: usize,
}

impl Literal<'_> {
    fn header(mut self) -> Result<Header, Found> {
        let (mut element, mut column_major, mut shape) = (None, None, None);
        self.expect(b'{')?;
        while !self.accept(b'}') {
            let start = self.at;
            let key = self.string()?;
            self.expect(b':')?;
            match key.as_str() {
                "descr" => element = Some(self.element()?),
                "fortran_order" => column_major = Some(self.boolean()?),
                "shape" => shape = Some(self.shape()?),
                _ => return Err((format!("the key `{key}`"), start)),
            }
            if !self.accept(b',') {
                self.expect(b'}')?;
                break;
            }
        }
        match (element, column_major, shape) {
            (Some(element), Some(column_major), Some(shape)) => Ok(Header { element, column_major, shape }),
            _ => Err(("a key is missing".to_owned(), self.at)),
        }
    }

    fn element(&mut self) -> Result<NumpyType, Found> {
        self.space();
        if self.text.get(self.at) == Some(&b'[') {
            return Err(("records of several fields, which cannot be read".to_owned(), self.at));
        }
        Ok(NumpyType::parse(&self.string()?))
    }

    fn boolean(&mut self) -> Result<bool, Found> {
        self.space();
        let rest = &self.text[self.at..];
        for (word, value) in [("True", true), ("False", false)] {
            if rest.starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.found())
    }

    fn shape(&mut self) -> Result<Vec<usize>, Found> {
        let mut shape = Vec::new();
        self.expect(b'(')?;
        while !self.accept(b')') {
            if shape.len() == MOST_AXES {
                return Err(("too many axes".to_owned(), self.at));
            }
            shape.push(self.integer()?);
            if !self.accept(b',') {
                self.expect(b')')?;
                break;
            }
        }
        Ok(shape)
    }

    fn integer(&mut self) -> Result<usize, Found> {
        self.space();
        let digits = self.text[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let text = std::str::from_utf8(&self.text[self.at..self.at + digits]).unwrap_or_default();
        let value = text.parse().map_err(|_| self.found())?;
        self.at += digits;
        // Python 2 wrote long integers with a suffix.
        self.accept(b'L');
        Ok(value)
    }

    fn string(&mut self) -> Result<String, Found> {
        self.space();
        let quote = match self.text.get(self.at) {
            Some(&quote @ (b'\'' | b'"')) => quote,
            _ => return Err(self.found()),
        };
        let start = self.at + 1;
        let length = self.text[start..].iter().position(|&byte| byte == quote).ok_or_else(|| self.found())?;
        let text = String::from_utf8_lossy(&self.text[start..start + length]).into_owned();
        self.at = start + length + 1;
        Ok(text)
    }

    fn accept(&mut self, byte: u8) -> bool {
        self.space();
        let accepted = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(accepted);
        accepted
    }

    fn expect(&mut self, byte: u8) -> Result<(), Found> {
        if self.accept(byte) { Ok(()) } else { Err(self.found()) }
    }

    fn space(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn found(&self) -> Found {
        let found = match self.text.get(self.at) {
            Some(&byte) => format!("`{}`", byte.escape_ascii()),
            None => "its end".to_owned(),
        };
        (found, self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> Result<Header, Found> {
        Literal { text: text.as_bytes(), at: 0 }.header()
    }

    #[test]
    fn headers() {
        let read = header("{'descr': '<f8', 'fortran_order': True, 'shape': (17, 3L), }   \n").unwrap();
        assert_eq!(read, Header { element: NumpyType::parse("<f8"), column_major: true, shape: vec![17, 3] });
        let scalar = header(r#"{"shape":(),"fortran_order":False,"descr":"|u1"}"#);
        assert!(scalar.unwrap().shape.is_empty());
        assert_eq!(header("{'shape': (4,), 'fortran_order': False, 'descr': '<i4'}").unwrap().shape, [4]);
    }

    #[test]
    fn broken_headers_say_where() {
        assert_eq!(header("{'descr' '<f8'}"), Err(("`\\'`".to_owned(), 9)));
        assert_eq!(header("{'descr': '<f8'"), Err(("its end".to_owned(), 15)));
        assert_eq!(header("{'shape': (1, x)}"), Err(("`x`".to_owned(), 14)));
        assert_eq!(header("{}"), Err(("a key is missing".to_owned(), 2)));
        assert_eq!(header("{'evil': 1}"), Err(("the key `evil`".to_owned(), 1)));
        assert!(header("{'descr': [('x', '<f4')]}").unwrap_err().0.contains("records"));
        assert!(header(&format!("{{'shape': ({})}}", "1,".repeat(65))).unwrap_err().0.contains("axes"));
        assert!(header("{'shape': (99999999999999999999999,)}").is_err());
    }
}
