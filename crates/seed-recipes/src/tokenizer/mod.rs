//! The tokenizer's training: frozen image tokens, stage I, frozen embeddings, stage II; and what it is worth.

mod config;
mod evaluation;
mod report;
mod run;
mod stage_one;
mod stage_two;
mod training;

pub use config::{StageOneStart, TokenizerTrainingConfig};
pub(crate) use evaluation::caption_features;
pub use evaluation::{Judged, RetrievalEvaluation};
pub use run::TokenizerRun;
pub use stage_one::{
    Captioning, Positives, Similarity, StageOne, StageOneBatch, StageOneItem, stage_one_batch,
    stage_one_loader,
};
pub use stage_two::{
    StageTwo, StageTwoBatch, StageTwoItem, StageTwoRows, StageTwoShapes, stage_two_batch,
    stage_two_loader,
};
pub use training::{TokenizerTraining, TrainedTokenizer};
