//! SEED image tokens for language models, on Burn.
//!
//! This crate re-exports the workspace, one module a crate, and owns the examples, the tests across
//! crates and the benchmarks. Start with `README.md`; `ARCHITECTURE.md` is the map.

pub use seed_data as data;
pub use seed_device as device;
pub use seed_diffusion as diffusion;
pub use seed_encoders as encoders;
pub use seed_eval as eval;
pub use seed_lm as lm;
pub use seed_nn as nn;
pub use seed_parity as parity;
pub use seed_recipes as recipes;
pub use seed_tokenizer as tokenizer;
pub use seed_train as train;
pub use seed_weights as weights;
