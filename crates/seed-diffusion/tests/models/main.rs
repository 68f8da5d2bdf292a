//! The models: their numbers against those of diffusers, their names in published files, and what their configs say.

mod golden;
mod group_norm;
mod keys;
mod learning;
#[path = "../../../seed-nn/tests/shared/leaves.rs"]
mod leaves;
mod numbers;
mod sizes;
mod traps;
