//! Matrix products of a warp, and the loads and stores of their fragments.
//!
//! In every fragment a lane stands for a group (`lane / 4`: a row of A and C, a column of B) and a place in
//! it (`lane % 4`: a word along the depth, or two columns of C). Registers after the first are eight rows, or
//! four words, further.

use super::{block::Commons, memory::Addresses, warp::Warp};
use crate::{
    fault::{Problem, Trouble},
    lanes::{Mask, WARP, lanes_of},
    numbers::half_to_single,
    op::{Address, Factor, Product, Slot, Space},
    statistics::bank_conflicts,
};

const ROWS: usize = 16;
const COLUMNS: usize = 8;
const MAX_DEPTH: usize = 16;
/// Rows of a matrix that is loaded or stored, of 16 bytes each.
const MATRIX_ROWS: usize = 8;
/// Elements of 16 bits in such a row.
const ROW_ELEMENTS: usize = 8;

/// A matrix as its rows.
type Matrix = [[u16; ROW_ELEMENTS]; MATRIX_ROWS];

impl Factor {
    /// Elements in a word of a fragment.
    fn per_word(self) -> usize {
        if self == Factor::Tf32 { 1 } else { 2 }
    }

    /// An element of a word.
    fn element(self, word: u64, position: usize) -> f64 {
        let part = (word >> (16 * position)) as u16;
        match self {
            // The multiplier does not see the lower bits of the significand.
            Factor::Tf32 => f32::from_bits(word as u32 & 0xffff_e000).into(),
            Factor::F16 => half_to_single(part).into(),
            Factor::Bf16 => f32::from_bits(u32::from(part) << 16).into(),
        }
    }
}

impl Warp {
    pub fn multiply(&mut self, product: &Product, lanes: Mask) -> Result<(), Trouble> {
        self.check_whole(lanes)?;
        let factor = product.factor;
        let depth = 4 * product.b.len() * factor.per_word();
        let mut a = [[0.0; MAX_DEPTH]; ROWS];
        let mut b = [[0.0; COLUMNS]; MAX_DEPTH];
        for (register, slot) in product.a.iter().enumerate() {
            let words = self.registers.read(*slot, lanes)?;
            for (lane, word) in words.iter().enumerate() {
                let row = lane / 4 + 8 * (register % 2);
                let first = (lane % 4 + 4 * (register / 2)) * factor.per_word();
                for position in 0..factor.per_word() {
                    a[row][first + position] = factor.element(*word, position);
                }
            }
        }
        for (register, slot) in product.b.iter().enumerate() {
            let words = self.registers.read(*slot, lanes)?;
            for (lane, word) in words.iter().enumerate() {
                let first = (lane % 4 + 4 * register) * factor.per_word();
                for position in 0..factor.per_word() {
                    b[first + position][lane / 4] = factor.element(*word, position);
                }
            }
        }
        let sums = multiplied(&a, &b, depth);
        self.accumulate(product, &sums, lanes)
    }

    /// Adds C, rounding once, as a tensor core that keeps more bits than `f32` would.
    fn accumulate(&mut self, product: &Product, sums: &[[f64; COLUMNS]; ROWS], lanes: Mask) -> Result<(), Trouble> {
        let mut results = [[0; WARP]; 4];
        for (register, slot) in product.c.iter().enumerate() {
            let words = self.registers.read(*slot, lanes)?;
            for (lane, word) in words.iter().enumerate() {
                let row = lane / 4 + 8 * (register / 2);
                let column = 2 * (lane % 4) + register % 2;
                let sum = f64::from(f32::from_bits(*word as u32)) + sums[row][column];
                results[register][lane] = crate::lanes::Scalar::bits(sum as f32);
            }
        }
        for (slot, result) in product.d.iter().zip(&results) {
            self.registers.write(*slot, lanes, result);
        }
        Ok(())
    }

    fn check_whole(&self, lanes: Mask) -> Result<(), Trouble> {
        if lanes == Mask::MAX { Ok(()) } else { Err(self.divergent(Mask::MAX, lanes)) }
    }

    pub fn load_matrix(
        &mut self,
        to: &[Slot],
        address: Address,
        transposed: bool,
        lanes: Mask,
        commons: &mut Commons,
    ) -> Result<(), Trouble> {
        let rows = self.matrix_rows(to.len(), address, lanes, commons)?;
        for (number, slot) in to.iter().enumerate() {
            let mut matrix: Matrix = Matrix::default();
            for (row, elements) in matrix.iter_mut().enumerate() {
                let lane = number * MATRIX_ROWS + row;
                let (shared, by) = self.shared(commons);
                let bytes = shared.get(by, rows.of[lane], 16).map_err(|problem| problem.at(lane))?;
                *elements = std::array::from_fn(|position| (bytes >> (16 * position)) as u16);
            }
            let matrix = if transposed { transpose(&matrix) } else { matrix };
            let fragment = std::array::from_fn(|lane| {
                let pair = &matrix[lane / 4][2 * (lane % 4)..];
                u64::from(pair[0]) | u64::from(pair[1]) << 16
            });
            self.registers.write(*slot, lanes, &fragment);
        }
        Ok(())
    }

    pub fn store_matrix(
        &mut self,
        from: &[Slot],
        address: Address,
        transposed: bool,
        lanes: Mask,
        commons: &mut Commons,
    ) -> Result<(), Trouble> {
        let rows = self.matrix_rows(from.len(), address, lanes, commons)?;
        for (number, slot) in from.iter().enumerate() {
            let words = self.registers.read(*slot, lanes)?;
            let mut matrix: Matrix = Matrix::default();
            for (lane, word) in words.iter().enumerate() {
                let pair = &mut matrix[lane / 4][2 * (lane % 4)..];
                (pair[0], pair[1]) = (*word as u16, (*word >> 16) as u16);
            }
            let matrix = if transposed { transpose(&matrix) } else { matrix };
            for (row, elements) in matrix.iter().enumerate() {
                let lane = number * MATRIX_ROWS + row;
                let bytes = elements.iter().rev().fold(0, |bytes: u128, element| bytes << 16 | u128::from(*element));
                let (shared, by) = self.shared(commons);
                shared.put(by, rows.of[lane], 16, bytes).map_err(|problem| problem.at(lane))?;
            }
        }
        Ok(())
    }

    /// The addresses of the rows of so many matrices, which as many lanes as rows give.
    fn matrix_rows(
        &self,
        matrices: usize,
        address: Address,
        lanes: Mask,
        commons: &mut Commons,
    ) -> Result<Addresses, Trouble> {
        self.check_whole(lanes)?;
        let count = matrices * MATRIX_ROWS;
        let rows = self.addresses(address, Mask::MAX >> (WARP - count))?;
        if rows.space != Space::Shared {
            return Err(Problem::Misuse("matrices are in shared memory".into()).into());
        }
        debug_assert_eq!(lanes_of(rows.lanes).count(), count);
        let cost = &mut commons.counters.costs[self.position()];
        cost.conflicts += bank_conflicts(&rows.of[..count], 16);
        Ok(rows)
    }
}

/// A · B in double precision, in which every product is exact.
fn multiplied(a: &[[f64; MAX_DEPTH]; ROWS], b: &[[f64; COLUMNS]; MAX_DEPTH], depth: usize) -> [[f64; COLUMNS]; ROWS] {
    let mut sums = [[0.0; COLUMNS]; ROWS];
    for (sums, a) in sums.iter_mut().zip(a) {
        for (a, b) in a.iter().zip(b).take(depth) {
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum += a * b;
            }
        }
    }
    sums
}

fn transpose(matrix: &Matrix) -> Matrix {
    std::array::from_fn(|row| std::array::from_fn(|column| matrix[column][row]))
}
