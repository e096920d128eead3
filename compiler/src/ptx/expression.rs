//! Lane-wise expressions: terms to registers.

use super::{
    emitter::Emitter,
    lanes::PtxLanes,
    scalar::{class, constant, immediate, scalar},
    text::{Class, Operand, Register},
};
use crate::{
    axis::Axis,
    graph::{DType, ScalarOp},
    plan::{Access, Expression, Term, analysis::Analysis},
    random::draw_lanes,
};

impl Emitter<'_> {
    /// All terms of an expression for the thread's row, at the current indices.
    pub fn terms(&mut self, body: &Expression, analysis: &Analysis) -> Vec<Register> {
        let mut values = Vec::with_capacity(body.terms.len());
        for at in 0..body.terms.len() {
            let value = self.term(body, analysis, at, &values);
            values.push(value);
        }
        values
    }

    fn term(&mut self, body: &Expression, analysis: &Analysis, at: usize, values: &[Register]) -> Register {
        match &body.terms[at] {
            Term::Constant(number, dtype) => constant(&mut self.t, *number, *dtype),
            Term::Load(access, dtype) => {
                let place = self.place(access, *dtype);
                self.load(place, *dtype)
            }
            Term::FeatureIndex(axis) => {
                let index = self.indices.get(axis).copied().unwrap_or(Operand::Integer(0));
                self.in_register(index)
            }
            Term::RowIndex(axis) => {
                let row = self.row().number;
                let index = self.row_index(*axis, row.into());
                self.in_register(index)
            }
            Term::Random { distribution, stream, strides } => {
                let position = self.position(strides);
                let key = self.key.unwrap_or_else(|| unreachable!("a kernel that draws is given a key"));
                let lanes = &mut PtxLanes::new(&mut self.t);
                draw_lanes(lanes, *distribution, key, *stream, position)
            }
            Term::Map(op, operands) => {
                let from = match op {
                    ScalarOp::Select => analysis.dtypes[operands[1]],
                    _ => analysis.dtypes[operands[0]],
                };
                if from.is_float()
                    && let Some((x, y, z)) = analysis.products.get(&at).copied()
                {
                    return self.product_sum(*op, from, [values[x], values[y], values[z]]);
                }
                let operands: Vec<Register> = operands.iter().map(|at| values[*at]).collect();
                scalar(&mut self.t, *op, from, &operands)
            }
            Term::Gather { source, row_strides, index, stride, size, dtype } => {
                self.gather((source, row_strides), values[*index], (*stride, *size), *dtype)
            }
        }
    }

    fn in_register(&mut self, index: Operand) -> Register {
        match index {
            Operand::Register(register) => register,
            number => self.t.value(Class::Bits32, "mov.b32", &[number]),
        }
    }

    /// `x · y + z`, or `z − x · y`, rounded once.
    fn product_sum(&mut self, op: ScalarOp, dtype: DType, [x, y, z]: [Register; 3]) -> Register {
        let (class, suffix) = (class(dtype), if dtype == DType::F64 { "f64" } else { "f32" });
        let x = match op {
            ScalarOp::Sub => self.t.value(class, &format!("neg.{suffix}"), &[x.into()]),
            _ => x,
        };
        self.t.value(class, &format!("fma.rn.{suffix}"), &[x.into(), y.into(), z.into()])
    }

    /// The position of an element in its value, modulo 2³².
    fn position(&mut self, strides: &[(Axis, usize)]) -> Register {
        let mut position = self.t.variable(Class::Bits32, Operand::Integer(0));
        for (axis, stride) in strides {
            let index = if self.kernel.rows.iter().any(|(row, _)| row == axis) {
                let row = self.row().number;
                self.row_index(*axis, row.into())
            } else {
                self.indices.get(axis).copied().unwrap_or(Operand::Integer(0))
            };
            let stride = i64::from((*stride as u32).cast_signed());
            position = self.t.value(Class::Bits32, "mad.lo.s32", &[index, stride.into(), position.into()]);
        }
        position
    }

    /// Reads the element at the thread's own position; zero where that is outside.
    fn gather(
        &mut self,
        (source, row_strides): (&Access, &[(Axis, isize)]),
        index: Register,
        (stride, size): (isize, usize),
        dtype: DType,
    ) -> Register {
        let inside = self.t.value(Class::Predicate, "setp.lt.u32", &[index.into(), size.into()]);
        let safe = self.t.value(Class::Bits32, "selp.b32", &[index.into(), immediate(0.0, DType::I32), inside.into()]);
        let place = self.place(source, dtype);
        let row = self.row().number;
        let mut parts = self.row_distance(row.into(), row_strides);
        parts.push((safe.into(), self.stride(source, stride)));
        let place = self.further(place, &parts, 0);
        self.load_where(inside, place, dtype)
    }
}
