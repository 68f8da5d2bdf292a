//! The language model's training: text first (the nano OPT), then words and codes with everything but an adapter
//! and a visual vocabulary frozen.

mod codes;
mod evaluation;
mod recipe;
mod report;
mod run;
mod text;
mod training;

pub use codes::{CodeRows, FrozenTokenizer, code_vectors, text_tokenizer};
pub use evaluation::{Answer, DrawnImage, JudgedLm, LmEvaluation};
pub use recipe::{LanguageRecipe, LmBatch, LmItem, LmTrainee, Task};
pub use run::{LmRun, LmRunOutcome};
pub use text::{OptPretraining, OptPretrainingConfig, OptRecipe};
pub use training::{
    BaseLm, LmOutcome, LmPhase, LmTraining, LmTrainingConfig, Mixture, VisualInput, encode,
};
