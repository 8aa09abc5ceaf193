//! What is measured, and what figures are made of it.

mod block;
mod report;
mod samples;
mod verdict;

pub(crate) use block::{Block, Measure};
pub(crate) use report::{Figures, counted, duration, print_json, print_table, quantity};
pub(crate) use samples::{Samples, median, spread};
pub(crate) use verdict::{ENOUGH_BLOCKS, Verdict};
