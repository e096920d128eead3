//! Steps that are launched together: a launch costs some microseconds, in which a processor does the work of a small one.
//!
//! Packing the weights of a kernel, combining its partial results and updating parameters are many small steps in a row that
//! have nothing to do with each other. They become one function, of which each block finds out whose it is.

use super::Function;
use crate::plan::{BufferId, Place, Plan};
use std::ops::Range;

/// Parameters of a function at most: they have room for 4 KiB.
const MOST_ARGUMENTS: usize = 480;

/// The steps in order, those that follow one another and may run at the same time together.
pub(super) fn groups(plan: &Plan, functions: &[Function]) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    for step in 0..plan.steps.len() {
        if let Some(group) = groups.last_mut()
            && joins(plan, functions, group, step)
        {
            group.end = step + 1;
            continue;
        }
        groups.push(step..step + 1);
    }
    groups
}

fn joins(plan: &Plan, functions: &[Function], group: &Range<usize>, step: usize) -> bool {
    let all = group.start..step + 1;
    let arguments: usize = functions[all.clone()].iter().map(|function| function.arguments.len()).sum();
    functions[all].iter().all(|function| function.is_light)
        && arguments <= MOST_ARGUMENTS
        && group.clone().all(|other| !meet(plan, other, step))
}

/// Whether one of two steps touches memory that the other writes.
fn meet(plan: &Plan, one: usize, other: usize) -> bool {
    let (one, other) = (plan.steps[one].touched(), plan.steps[other].touched());
    let any = |written: &[BufferId], touched: &[BufferId]| {
        written.iter().any(|x| touched.iter().any(|y| shares_memory(plan, *x, *y)))
    };
    any(&one.1, &other.0) || any(&one.1, &other.1) || any(&other.1, &one.0)
}

/// Whether two stored values have bytes in common: values of the arena take turns.
fn shares_memory(plan: &Plan, one: BufferId, other: BufferId) -> bool {
    let place = |id: BufferId| &plan.buffers[id.0 as usize];
    match (&place(one).place, &place(other).place) {
        (Place::Arena(x), Place::Arena(y)) => *x < y + place(other).bytes() && *y < x + place(one).bytes(),
        _ => one == other,
    }
}
