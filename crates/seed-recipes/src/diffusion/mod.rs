//! The nano UNet: it draws latents from text states, from an image embedding, or from both.

mod config;
mod drawn;
mod recipe;
mod run;
mod training;
mod wordings;

pub use config::{ConditionShares, DiffusionTrainingConfig};
pub use recipe::{DiffusionItem, DiffusionRecipe, Given};
pub use run::DiffusionRun;
pub use training::{DiffusionTraining, LatentDiffusion};
