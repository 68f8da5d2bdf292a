//! The nano autoencoder: pictures to the latents that the nano UNet draws in, and back.

mod config;
mod objective;
mod opponent;
mod recipe;
mod report;
mod run;
mod training;

pub use config::AutoencoderTrainingConfig;
pub use objective::{Objective, ObjectiveWeights};
pub use opponent::OpponentAxes;
pub use recipe::AutoencoderRecipe;
pub use report::{AutoencoderReport, RebuiltSet};
pub use run::AutoencoderRun;
pub use training::{AutoencoderTraining, pixels, plain_pictures, rebuilt};
