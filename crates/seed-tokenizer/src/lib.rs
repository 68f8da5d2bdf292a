//! The SEED tokenizer: an image becomes a few codes, and comes back from them.
//!
//! ```text
//! image [B,3,H,W] → image tokens [B,1+N,Dv] → embeddings [B,Q,D] → codes [B,Q]
//! codes [B,Q] → generation embeddings [B,L,Dt]
//! ```
//!
//! In SEED the queries are causal, and the embeddings with them; a bidirectional Q-Former and the patch grid in raster order
//! stand in the same place for comparison.
//!
//! [`SeedConfig`] holds every size and option; its presets are the models of the papers and `nano`.

mod causal_q_former;
mod code_autoencoder;
mod contrastive_heads;
mod cost;
mod heads;
mod keys;
pub mod nano;
mod objectives;
mod presets;
mod published;
mod q_former;
mod quantizer;
mod raster;
mod token_encoder;
mod tokenizer;

pub use causal_q_former::{CausalQFormer, CausalQFormerConfig};
pub use code_autoencoder::{CodeAutoencoder, CodeAutoencoderConfig, TaskLayer};
pub use contrastive_heads::ContrastiveHeads;
pub use cost::{Cost, PartCost, StepCost};
pub use heads::{
    BlockStack, BlockStackConfig, ImageHead, ImageHeadConfig, ImageHeadForm, ReverseQFormer,
    ReverseQFormerConfig, TextHead, TextHeadConfig,
};
pub use keys::{causal_q_former_keys, code_autoencoder_keys, token_encoder_keys, tokenizer_keys};
pub use objectives::{
    Contrast, LABEL_SMOOTHING, StageTwoLosses, StageTwoTargets, StageTwoWeights, captioning_loss,
    concept_targets, contrast, contrast_of_best_query, cosine_distance, diagonal_targets,
};
pub use presets::SeedConfig;
pub use published::{PublishedTokenizer, TOKENIZER_FILE, TokenizerError, open_release};
pub use q_former::{
    BertAttention, BertMlp, LanguageHead, QFormer, QFormerConfig, QFormerEmbeddings, QFormerLayer,
    QueryAttention, TextSideConfig,
};
pub use quantizer::{
    AfterStep, CodeDistance, CodebookInit, CodebookUpdate, Quantized, QuantizerConfig, Revival,
    VectorQuantizer,
};
pub use raster::{RasterConfig, RasterEncoder};
pub use token_encoder::{TokenEncoder, TokenEncoderConfig};
pub use tokenizer::SeedTokenizer;

/// Version of what token encoder and code autoencoder compute. Raise it when the same weights give other outputs: what was
/// kept of the old ones is then computed anew.
pub const CODE_VERSION: u32 = 1;
