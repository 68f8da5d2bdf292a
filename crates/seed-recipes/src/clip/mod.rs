//! Where the frozen parts of the nano models come from: two towers in contrast.

mod pretraining;
mod recipe;

pub use pretraining::{
    ClipPretraining, ClipPretrainingConfig, train_tokenizer_of, training_concepts,
};
pub use recipe::{ClipBatch, ClipRecipe, ClipTrainee};
