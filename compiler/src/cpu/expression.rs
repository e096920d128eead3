//! Lane-wise expressions: terms to vectors.

use super::{
    emitter::{Emitter, WIDTH, flags},
    lanes::ClifLanes,
    quad::{self, Quad},
    scalar::splat,
};
use crate::{
    axis::Axis,
    graph::{DType, ScalarOp},
    plan::{Access, Expression, Term, analysis::Analysis, words},
    random::draw_lanes,
};
use cranelift_codegen::ir::{
    InstBuilder, Value,
    condcodes::IntCC,
    types::{I32, I32X4, I64},
};

impl Emitter<'_> {
    /// The terms that are the same for all rows, to be emitted before the loop over lanes.
    pub fn uniform_terms(&mut self, body: &Expression, analysis: &Analysis) -> Vec<Option<Quad>> {
        let mut values = vec![None; body.terms.len()];
        for i in 0..body.terms.len() {
            if analysis.uniform[i] {
                values[i] = Some(self.term(body, analysis, i, &values, &[], None));
            }
        }
        values
    }

    /// All terms for the lanes `offset` bytes into the panel. `addresses` are the lane-0 addresses of
    /// the loads, from [`load_addresses`](Emitter::load_addresses).
    pub fn lane_terms(
        &mut self,
        body: &Expression,
        analysis: &Analysis,
        uniform: &[Option<Quad>],
        addresses: &[Option<Value>],
        offset: Value,
        group: usize,
    ) -> Vec<Quad> {
        let mut values = uniform.to_vec();
        for i in 0..body.terms.len() {
            if values[i].is_none() {
                values[i] = Some(self.term(body, analysis, i, &values, addresses, Some((offset, group))));
            }
        }
        values.into_iter().flatten().collect()
    }

    /// The lane-0 address of every lane-wise load at the current indices.
    pub fn load_addresses(&mut self, body: &Expression) -> Vec<Option<Value>> {
        body.terms
            .iter()
            .map(|term| match term {
                Term::Load(access, _) if access.lanes => Some(self.address(access)),
                _ => None,
            })
            .collect()
    }

    fn term(
        &mut self,
        body: &Expression,
        analysis: &Analysis,
        i: usize,
        values: &[Option<Quad>],
        addresses: &[Option<Value>],
        lanes: Option<(Value, usize)>,
    ) -> Quad {
        let value = |at: usize| values[at].unwrap_or_else(|| unreachable!("operands come first"));
        let place = || lanes.unwrap_or_else(|| unreachable!("a term that varies by row is emitted per lane"));
        match &body.terms[i] {
            Term::Constant(number, dtype) => quad::constant(&mut self.b, *number, *dtype),
            Term::Load(access, dtype) if access.lanes => {
                let (offset, group) = place();
                let address = addresses[i].unwrap_or_else(|| unreachable!("loads have addresses"));
                self.load_lanes(*dtype, address, offset, group)
            }
            Term::Load(access, dtype) => {
                let address = self.address(access);
                let element = self.b.ins().load(quad::scalar(*dtype), flags(), address, 0);
                quad::repeated(&mut self.b, element, *dtype)
            }
            Term::FeatureIndex(axis) => {
                let index = self.index(*axis);
                let index = self.b.ins().ireduce(I32, index);
                quad::repeated(&mut self.b, index, DType::I32)
            }
            Term::RowIndex(axis) => {
                let (offset, group) = place();
                Quad::Narrow(self.row_index(*axis, offset, group))
            }
            Term::Random { distribution, stream, strides } => {
                let (offset, group) = place();
                let mut position = splat(&mut self.b, 0.0, DType::I32);
                for (axis, stride) in strides {
                    let index = if self.kernel.rows.iter().any(|(row, _)| row == axis) {
                        self.row_index(*axis, offset, group)
                    } else {
                        let index = self.index(*axis);
                        let index = self.b.ins().ireduce(I32, index);
                        self.b.ins().splat(I32X4, index)
                    };
                    let stride = splat(&mut self.b, *stride as f64, DType::I32);
                    let distance = self.b.ins().imul(index, stride);
                    position = self.b.ins().iadd(position, distance);
                }
                let key = self.random_key();
                Quad::Narrow(draw_lanes(&mut ClifLanes { b: &mut self.b }, *distribution, key, *stream, position))
            }
            Term::Map(op, operands) => {
                let from = match op {
                    ScalarOp::Select => analysis.dtypes[operands[1]],
                    _ => analysis.dtypes[operands[0]],
                };
                if from.is_float()
                    && let Some((x, y, z)) = analysis.products.get(&i).copied()
                {
                    let (x, y, z) = (value(x), value(y), value(z));
                    let b = &mut self.b;
                    let x = if *op == ScalarOp::Sub { x.map(|x| b.ins().fneg(x)) } else { x };
                    return match (x, y, z) {
                        (Quad::Wide(x), Quad::Wide(y), Quad::Wide(z)) => {
                            Quad::Wide([0, 1].map(|half| b.ins().fma(x[half], y[half], z[half])))
                        }
                        _ => Quad::Narrow(b.ins().fma(x.narrow(), y.narrow(), z.narrow())),
                    };
                }
                let operands: Vec<Quad> = operands.iter().map(|at| value(*at)).collect();
                self.scalar(*op, from, &operands)
            }
            Term::Gather { source, row_strides, index, stride, size, dtype } => {
                let (offset, group) = place();
                let index = value(*index).narrow();
                self.gather(source, row_strides, index, (*stride, *size), *dtype, (offset, group))
            }
        }
    }

    /// The words of the step and the seed.
    fn random_key(&mut self) -> [Value; 2] {
        let key = self.key;
        [4, 0].map(|offset| {
            let word = self.b.ins().load(I32, flags(), key, offset);
            self.b.ins().splat(I32X4, word)
        })
    }

    /// The current index of a feature loop; 0 outside of it.
    fn index(&mut self, axis: Axis) -> Value {
        match self.indices.get(&axis) {
            Some(index) => *index,
            None => self.b.ins().iconst(I64, 0),
        }
    }

    /// The index of a row axis for each of four lanes.
    pub fn row_index(&mut self, axis: Axis, offset: Value, group: usize) -> Value {
        let offset = self.b.ins().iadd_imm_s(offset, (group * WIDTH * 4) as i64);
        let rows = self.rows_at(offset);
        let at = self.kernel.rows.iter().position(|(row, _)| *row == axis).unwrap_or(0);
        let inner: usize = self.kernel.rows[at + 1..].iter().map(|(_, size)| size).product();
        let size = self.kernel.rows[at].1;
        if inner == 1 && at == 0 {
            return rows;
        }
        let mut result = rows;
        for lane in 0..WIDTH as u8 {
            let row = self.b.ins().extractlane(rows, lane);
            let index = self.divided(row, inner, if at == 0 { None } else { Some(size) });
            result = self.b.ins().insertlane(result, index, lane);
        }
        result
    }

    /// `row / inner % size` of a 32-bit row number.
    fn divided(&mut self, row: Value, inner: usize, size: Option<usize>) -> Value {
        let mut index = row;
        if inner > 1 {
            index = self.b.ins().udiv_imm_u(index, inner as i64);
        }
        if let Some(size) = size {
            index = self.b.ins().urem_imm_u(index, size as i64);
        }
        index
    }

    /// Reads one element a lane at a position of its own.
    fn gather(
        &mut self,
        source: &Access,
        row_strides: &[(Axis, isize)],
        index: Value,
        (stride, size): (isize, usize),
        dtype: DType,
        (offset, group): (Value, usize),
    ) -> Quad {
        let base = self.address(source);
        let varying: Vec<(Value, isize)> = row_strides
            .iter()
            .filter(|(_, stride)| *stride != 0)
            .map(|(axis, stride)| (self.row_index(*axis, offset, group), *stride))
            .collect();
        // Rows beyond the last read as the last one would, within the array.
        let last: Vec<usize> = row_strides
            .iter()
            .filter(|(_, stride)| *stride != 0)
            .map(|(axis, _)| self.kernel.rows.iter().find(|(row, _)| row == axis).map_or(1, |(_, size)| *size) - 1)
            .collect();
        let limit = splat(&mut self.b, size as f64, DType::I32);
        let inside = self.b.ins().icmp(IntCC::UnsignedLessThan, index, limit);
        let safe = self.b.ins().band(index, inside);
        let zero = quad::constant(&mut self.b, 0.0, dtype);
        let mut result = zero;
        let lane_offset = self.b.ins().iadd_imm_s(offset, (group * WIDTH * 4) as i64);
        let lane_offset = self.b.ins().imul_imm_s(lane_offset, words(dtype) as i64);
        for lane in 0..WIDTH as u8 {
            let position = self.b.ins().extractlane(safe, lane);
            let position = self.b.ins().uextend(I64, position);
            let distance = self.b.ins().imul_imm_s(position, (stride * 4) as i64);
            let mut address = self.b.ins().iadd(base, distance);
            for ((rows, stride), last) in varying.iter().zip(&last) {
                let row = self.b.ins().extractlane(*rows, lane);
                let row = self.b.ins().uextend(I64, row);
                let last = self.b.ins().iconst(I64, *last as i64);
                let row = self.b.ins().umin(row, last);
                let distance = self.b.ins().imul_imm_s(row, (*stride * 4) as i64);
                address = self.b.ins().iadd(address, distance);
            }
            if source.lanes {
                address = self.b.ins().iadd(address, lane_offset);
                address = self.b.ins().iadd_imm_s(address, i64::from(lane) * words(dtype) as i64 * 4);
            }
            let element = self.b.ins().load(quad::scalar(dtype), flags(), address, 0);
            result = result.with_lane(&mut self.b, lane, element);
        }
        quad::selected(&mut self.b, inside, result, zero)
    }

    /// The indices of the row axes of one row, given as a 64-bit number.
    pub fn row_indices(&mut self, row: Value) -> Vec<Value> {
        let rows = self.kernel.rows.clone();
        let mut inner: usize = rows.iter().map(|(_, size)| size).product();
        let mut indices = Vec::with_capacity(rows.len());
        for (at, (_, size)) in rows.iter().enumerate() {
            inner /= (*size).max(1);
            let mut index = row;
            if inner > 1 {
                index = self.b.ins().udiv_imm_u(index, inner as i64);
            }
            if at > 0 {
                index = self.b.ins().urem_imm_u(index, (*size).max(1) as i64);
            }
            indices.push(index);
        }
        indices
    }
}
