//! `metrics.csv`: one row a round, written as the run goes.

use crate::files::write_atomically;
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// The table of a run's measurements. The first column is the round; a cell without a value is empty.
#[derive(Debug)]
pub struct Measurements {
    file: File,
    columns: Vec<String>,
}

/// The rows of a table, as read back.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// The names after `round`.
    pub columns: Vec<String>,
    /// The round and its values, in the order of `columns`.
    pub rows: Vec<(u64, Vec<Option<f64>>)>,
}

impl Measurements {
    /// Opens the table at `path` with these columns after `round`, and removes what it holds of
    /// `first_round` and later: the work of a run that was cut off after its last checkpoint.
    ///
    /// # Errors
    /// The file cannot be written, or holds a table with other columns.
    pub fn open(path: &Path, columns: &[String], first_round: u64) -> io::Result<Measurements> {
        let earlier = if first_round > 0 && path.exists() { read(path)?.rows } else { Vec::new() };
        write_atomically(path, |writer| {
            // A comma begins another cell.
            writeln!(writer, "round,{}", columns.join("\n").replace(',', ";").replace('\n', ","))?;
            for (round, values) in earlier.iter().filter(|(round, _)| *round < first_round) {
                writer.write_all(line(*round, values).as_bytes())?;
            }
            io::Result::Ok(())
        })?;
        let file = OpenOptions::new().append(true).open(path)?;
        Ok(Measurements { file, columns: columns.to_vec() })
    }

    /// Adds the row of a round; names that are no column of the table are left out.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add<'a>(&mut self, round: u64, values: impl IntoIterator<Item = (&'a str, f64)>) -> io::Result<()> {
        let mut row = vec![None; self.columns.len()];
        for (name, value) in values {
            if let Some(column) = self.columns.iter().position(|column| column == name) {
                row[column] = Some(value);
            }
        }
        // One write a row, so that a process killed in between leaves whole rows.
        self.file.write_all(line(round, &row).as_bytes())
    }
}

fn line(round: u64, values: &[Option<f64>]) -> String {
    let cells: Vec<String> =
        values.iter().map(|value| value.map_or(String::new(), |value| value.to_string())).collect();
    format!("{round},{}\n", cells.join(","))
}

/// Reads a table. A last line without an end (the process was killed while it wrote) is left out.
///
/// # Errors
/// The file cannot be read, or is no such table.
pub fn read(path: &Path) -> io::Result<Rows> {
    let text = std::fs::read_to_string(path)?;
    let malformed = |number: usize, problem: &str| {
        let place = format!("{}:{}: {problem}", path.display(), number + 1);
        io::Error::new(io::ErrorKind::InvalidData, place)
    };
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut lines = whole.lines().enumerate();
    let header = lines.next().and_then(|(_, header)| header.strip_prefix("round"));
    let header = header.ok_or_else(|| malformed(0, "the first column is not `round`"))?;
    let columns: Vec<String> = header.split(',').skip(1).map(str::to_owned).collect();
    let mut rows = Vec::new();
    for (number, line) in lines {
        let mut cells = line.split(',');
        let round = cells.next().and_then(|cell| cell.parse().ok());
        let round = round.ok_or_else(|| malformed(number, "the row does not start with a round"))?;
        let values: Vec<Option<f64>> = cells.map(|cell| cell.parse().ok()).collect();
        if values.len() != columns.len() {
            return Err(malformed(number, "the row has another number of cells than the header"));
        }
        rows.push((round, values));
    }
    Ok(Rows { columns, rows })
}

impl Rows {
    /// The points of one column that have a value: `(round, value)`.
    pub fn series(&self, column: &str) -> Vec<(f64, f64)> {
        let Some(index) = self.columns.iter().position(|name| name == column) else { return Vec::new() };
        self.rows.iter().filter_map(|(round, values)| Some((*round as f64, values[index]?))).collect()
    }
}

/// Where the table of a run lies.
pub fn path_in(run: &Path) -> PathBuf {
    run.join("metrics.csv")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_table_goes_on_after_the_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.csv");
        let columns = ["loss".to_owned(), "psnr".to_owned()];
        let mut table = Measurements::open(&path, &columns, 0).unwrap();
        for round in 0..4 {
            table.add(round, [("loss", 0.5), ("unknown", 1.0)]).unwrap();
        }
        table.file.write_all(b"4,0.").unwrap();
        let mut table = Measurements::open(&path, &columns, 2).unwrap();
        table.add(2, [("psnr", 20.25)]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "round,loss,psnr\n0,0.5,\n1,0.5,\n2,,20.25\n");
        let rows = read(&path).unwrap();
        assert_eq!(rows.series("psnr"), [(2.0, 20.25)]);
        assert_eq!(rows.series("loss"), [(0.0, 0.5), (1.0, 0.5)]);
    }

    #[test]
    fn a_comma_in_a_name_begins_no_cell() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.csv");
        let columns = ["restored, w = 0 psnr".to_owned(), "loss".to_owned()];
        let mut table = Measurements::open(&path, &columns, 0).unwrap();
        table.add(0, [("restored, w = 0 psnr", 21.5), ("loss", 0.5)]).unwrap();
        let rows = read(&path).unwrap();
        assert_eq!(rows.columns, ["restored; w = 0 psnr", "loss"]);
        assert_eq!(rows.series("loss"), [(0.0, 0.5)]);
    }

    #[test]
    fn values_come_back_to_the_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.csv");
        let mut table = Measurements::open(&path, &["loss".to_owned()], 0).unwrap();
        let values = [0.1 + 0.2, f64::MIN_POSITIVE, 1e300, f64::from(0.1f32)];
        for (round, value) in values.iter().enumerate() {
            table.add(round as u64, [("loss", *value)]).unwrap();
        }
        let read: Vec<f64> = read(&path).unwrap().series("loss").into_iter().map(|(_, value)| value).collect();
        assert_eq!(read, values);
    }

    #[test]
    fn what_is_no_table_is_refused_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.csv");
        for (text, place) in [("a,b\n", ":1:"), ("round,a\n1,2\nx,3\n", ":3:"), ("round,a\n1,2,3\n", ":2:")] {
            std::fs::write(&path, text).unwrap();
            assert!(read(&path).unwrap_err().to_string().contains(place), "{text}");
        }
    }
}
