//! The training stages of SEED, each a [`Recipe`](crate::Recipe), and the frozen nano parts.

mod batches;
mod captions;
mod clip;
mod curves;
mod error;
mod evaluation;
mod frozen;
mod language;
mod nano;
mod pretraining;
mod splits;
mod stage_one;
mod stage_two;
mod tensors;
mod tokenizer_report;
mod tokenizer_run;
mod tokenizer_training;

pub use clip::{ClipBatch, ClipRecipe, ClipTrainee};
pub use error::RecipeError;
pub use evaluation::{Judged, RetrievalEvaluation};
pub use frozen::{FrozenCache, FrozenRows, Views};
pub use language::{
    Answer, BaseLm, CodeRows, DrawnImage, FrozenTokenizer, JudgedLm, LanguageRecipe, LmBatch,
    LmEvaluation, LmItem, LmOutcome, LmPhase, LmRun, LmRunOutcome, LmTrainee, LmTraining,
    LmTrainingConfig, Mixture, OptPretraining, OptPretrainingConfig, OptRecipe, Task, VisualInput,
    code_vectors, encode, text_tokenizer,
};
pub use pretraining::{
    ClipPretraining, ClipPretrainingConfig, train_tokenizer_of, training_concepts,
};
pub use splits::{EvaluationSet, Splits};
pub use stage_one::{
    Captioning, Positives, Similarity, StageOne, StageOneBatch, StageOneItem, stage_one_batch,
    stage_one_loader,
};
pub use stage_two::{StageTwo, StageTwoBatch, StageTwoItem, stage_two_batch, stage_two_loader};
pub use tokenizer_run::{TokenizerRun, TokenizerRunOutcome};
pub use tokenizer_training::{
    FrozenParts, StageOneStart, TokenizerOutcome, TokenizerTraining, TokenizerTrainingConfig,
    TrainedTokenizer,
};
