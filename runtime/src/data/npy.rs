//! NumPy's `.npy` files, as far as poses are kept in them: matrices of floating-point numbers.

use std::path::Path;

use super::DataError;

/// A matrix `[row][column]`, row-major.
pub struct Matrix {
    pub rows: usize,
    pub columns: usize,
    pub values: Vec<f64>,
}

/// Numbers along any axes, the last fastest.
#[derive(Debug)]
pub struct Numbers {
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

/// Reads a two-dimensional array of `<f8` or `<f4`.
pub fn read_matrix(path: &Path) -> Result<Matrix, DataError> {
    let bytes = std::fs::read(path).map_err(DataError::io(path))?;
    matrix(&bytes).map_err(|message| DataError::format(path, message))
}

fn matrix(bytes: &[u8]) -> Result<Matrix, String> {
    let Numbers { shape, values } = parse(bytes)?;
    match shape[..] {
        [rows, columns] => Ok(Matrix { rows, columns, values }),
        _ => Err(format!("an array of shape {shape:?}; two axes are needed")),
    }
}

/// Reads an array of `<f8` or `<f4`. Format: NumPy enhancement proposal 1.
pub fn parse(bytes: &[u8]) -> Result<Numbers, String> {
    let cut_short = || "the file is cut short".to_string();
    if bytes.get(..6) != Some(b"\x93NUMPY") {
        return Err("not a .npy file: it does not start with \\x93NUMPY".into());
    }
    let (start, length) = match bytes.get(6) {
        Some(1) => {
            let l = bytes.get(8..10).ok_or_else(cut_short)?;
            (10, usize::from(l[0]) | usize::from(l[1]) << 8)
        }
        Some(2 | 3) => {
            let l = bytes.get(8..12).ok_or_else(cut_short)?;
            (12, u32::from_le_bytes([l[0], l[1], l[2], l[3]]) as usize)
        }
        _ => return Err("an unknown version of the .npy format".into()),
    };
    let head = bytes.get(start..start + length).ok_or_else(cut_short)?;
    let head = String::from_utf8_lossy(head);
    let field = |name: &str| head.split_once(&format!("'{name}':")).map(|(_, rest)| rest.trim_start());
    let wide = match field("descr") {
        Some(d) if d.starts_with("'<f8'") => true,
        Some(d) if d.starts_with("'<f4'") => false,
        d => {
            return Err(format!("elements are {}; <f8 or <f4 are read", d.unwrap_or("not described")));
        }
    };
    if !field("fortran_order").is_some_and(|f| f.starts_with("False")) {
        return Err("columns are stored first (fortran_order); rows first are read".into());
    }
    let shape: Vec<usize> = field("shape")
        .and_then(|s| s.strip_prefix('('))
        .and_then(|s| s.split_once(')'))
        .map(|(s, _)| s.split(',').filter_map(|n| n.trim().parse().ok()).collect())
        .unwrap_or_default();
    let data = &bytes[start + length..];
    let size = if wide { 8 } else { 4 };
    let count = shape.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
    if count.and_then(|count| count.checked_mul(size)) != Some(data.len()) {
        return Err(format!("numbers of shape {shape:?}, {size} bytes each, do not make {} bytes", data.len()));
    }
    let values = if wide {
        data.as_chunks::<8>().0.iter().map(|c| f64::from_le_bytes(*c)).collect()
    } else {
        data.as_chunks::<4>().0.iter().map(|c| f64::from(f32::from_le_bytes(*c))).collect()
    };
    Ok(Numbers { shape, values })
}

/// A file as NumPy writes it.
#[cfg(test)]
pub fn bytes_of(rows: usize, columns: usize, values: &[f64]) -> Vec<u8> {
    let mut head = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    while !(head.len() + 11).is_multiple_of(64) {
        head.push(' ');
    }
    head.push('\n');
    let mut out = b"\x93NUMPY\x01\0".to_vec();
    out.extend((head.len() as u16).to_le_bytes());
    out.extend(head.bytes());
    values.iter().for_each(|v| out.extend(v.to_le_bytes()));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_are_read() {
        let m = matrix(&bytes_of(2, 3, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.5])).unwrap();
        assert_eq!((m.rows, m.columns, m.values[5]), (2, 3, 6.5));
    }

    #[test]
    fn damaged_files_are_errors() {
        let good = bytes_of(2, 3, &[0.0; 6]);
        for end in 0..good.len() {
            assert!(matrix(&good[..end]).is_err());
        }
        let replaced = |from: &str, to: &str| {
            let text: Vec<u8> = good.clone();
            let at = text.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
            let mut text = text;
            text.splice(at..at + from.len(), to.bytes());
            matrix(&text).err().unwrap()
        };
        assert!(replaced("<f8", "<i8").contains("<f4"));
        assert!(replaced("False", "True ").contains("fortran"));
        assert!(replaced("(2, 3)", "(6,)  ").contains("two axes"));
        assert!(replaced("(2, 3)", "(9, 3)").contains("bytes"));
    }
}
