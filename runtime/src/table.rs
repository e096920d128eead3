//! Tables for terminals.

/// Columns that are aligned: text to the left, numbers to the right.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
    numeric: Vec<bool>,
}

impl Table {
    /// A table with these headings; those that start with `>` head numbers.
    pub fn new(headings: &[&str]) -> Table {
        let numeric = headings.iter().map(|heading| heading.starts_with('>')).collect();
        let names = headings.iter().map(|heading| heading.trim_start_matches('>').to_owned()).collect();
        Table { rows: vec![names], numeric }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Whether there is nothing but the headings.
    pub fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.numeric.len()).map(width).collect();
        for row in &self.rows {
            let mut line = String::from(" ");
            for ((cell, width), numeric) in row.iter().zip(&widths).zip(&self.numeric) {
                let padding = " ".repeat(width - cell.chars().count());
                line.push(' ');
                if *numeric {
                    line.push_str(&padding);
                    line.push_str(cell);
                } else {
                    line.push_str(cell);
                    line.push_str(&padding);
                }
                line.push(' ');
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A count with thin groups of thousands: `1 191 688`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Bytes as people say them: `4.8 MB`.
pub fn bytes(count: u64) -> String {
    scaled(count as f64, &["B", "kB", "MB", "GB", "TB"])
}

/// Floating-point operations as people say them: `311 GFLOP`.
pub fn flops(count: f64) -> String {
    scaled(count, &["FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"])
}

fn scaled(mut value: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 99.95 { 0 } else { 1 };
    format!("{value:.digits$} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["name", ">size"]);
        table.row(["coarse".into(), "7".into()]);
        table.row(["é".into(), "1 024".into()]);
        assert_eq!(table.to_string(), "  name     size\n  coarse      7\n  é       1 024\n");
    }

    #[test]
    fn quantities_are_said_as_people_say_them() {
        assert_eq!([grouped(0), grouped(595_844), grouped(1_191_688)], ["0", "595 844", "1 191 688"]);
        assert_eq!([bytes(12), bytes(4_766_752), bytes(999_999)], ["12 B", "4.8 MB", "1.0 MB"]);
        assert_eq!(flops(311e9), "311 GFLOP");
    }
}
