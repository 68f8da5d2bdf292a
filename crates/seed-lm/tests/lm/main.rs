//! The language model: what must hold whatever the weights are, PEFT's files, and bad input. The device is
//! `SEED_TEST_DEVICE`.

mod adapters;
mod bad_input;
mod generation;
mod layouts;
mod models;
mod peft;
mod vocabulary;
