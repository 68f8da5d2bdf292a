//! The language model: what must hold whatever the weights are, its files and PEFT's, and bad input. The device is
//! `SEED_TEST_DEVICE`.

mod adapters;
mod bad_input;
mod generation;
mod layouts;
#[path = "../../../seed-nn/tests/shared/leaves.rs"]
mod leaves;
mod models;
mod peft;
mod saved;
mod sizes;
mod vocabulary;
