//! The language model of SEED: OPT, frozen, with LoRA and a visual vocabulary, so that words and codes
//! stand in one sequence.

mod error;
pub mod generation;
mod lora;
pub mod nano;
mod opt;
mod saved;
mod seed_lm;
mod sequence_batch;
mod template;
mod visual_vocabulary;

pub use error::LmError;
pub use lora::{ADAPTER_CONFIG_FILE, ADAPTER_FILE, Adapter, Adapters, LoraConfig};
pub use opt::{KvCache, LayerCache, Layout, Opt, OptAttention, OptConfig, OptLayer, opt_keys};
pub use saved::{ADAPTER_FOLDER, LmAbout, SavedLm, VOCABULARY_FILE, save_lm};
pub use seed_lm::{CausalLm, SeedLm, SeedLmConfig, log_likelihoods, visual_vocabulary_keys};
pub use sequence_batch::SequenceBatch;
pub use template::{Encode, Example, Sequence, Template, Templates};
pub use visual_vocabulary::{
    CodeVectors, VisualHead, VisualIds, VisualVocabulary, VisualVocabularyConfig,
};
