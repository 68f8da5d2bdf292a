//! What the paper does, a folder a stage: each is a [`Recipe`](seed_train::Recipe) with its settings, its data and what
//! it is judged by.
//!
//! ```text
//! frozen/       image tower, text tower; their outputs as rows on disk
//! clip/         where the nano models' frozen parts come from
//! tokenizer/    stage I (embeddings), stage II (codes), evaluation, report, run
//! language/     the nano OPT; a frozen OPT that learns to read and write codes
//! pixels/       codes to pictures: a frozen diffusion model that generation embeddings condition
//! autoencoder/  the nano diffusion model's latents
//! diffusion/    its UNet, which draws them from text states and image embeddings
//! ```

pub mod autoencoder;
mod batches;
mod candidates;
mod captions;
pub mod clip;
mod curves;
pub mod diffusion;
mod error;
mod features;
pub mod frozen;
pub mod language;
mod options;
mod outcome;
pub mod pixels;
mod settings;
mod splits;
mod tensors;
pub mod tokenizer;

pub use candidates::{Candidate, Candidates};
pub use error::RecipeError;
pub use options::{RunOptions, stop_on_ctrl_c};
pub use outcome::{RunOutcome, TrainingOutcome};
pub use splits::{EvaluationSet, Splits};
