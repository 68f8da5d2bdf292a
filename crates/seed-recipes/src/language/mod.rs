//! The language model's training: text first (the nano OPT), then words and codes with everything but an adapter
//! and a visual vocabulary frozen.

mod base;
mod codes;
mod config;
mod drawings;
mod evaluation;
mod opt_pretraining;
mod pictures;
mod recipe;
mod report;
mod run;
mod training;

pub use base::{BaseLm, encode};
pub use codes::{CodeRows, FrozenTokenizer, code_vectors, text_tokenizer};
pub use config::{LmPhase, LmTrainingConfig, Mixture, VisualInput};
pub use drawings::{Asked, DrawnImage};
pub use evaluation::{Answer, JudgedLm, LmEvaluation};
pub use opt_pretraining::{OptPretraining, OptPretrainingConfig, OptRecipe};
pub use recipe::{LanguageRecipe, LmBatch, LmItem, LmTrainee, Task};
pub use report::UntrainedPrompts;
pub use run::LmRun;
pub use training::LmTraining;
