//! The models of the papers and their nano counterpart: configs of the same code.

use seed_encoders::EvaVitConfig;
use seed_nn::ConfigError;
use serde::{Deserialize, Serialize};

use crate::{
    BlockStackConfig, CausalQFormerConfig, CodeAutoencoderConfig, CodeDistance, CodebookInit,
    CodebookUpdate, ImageHeadConfig, ImageHeadForm, QFormerConfig, QuantizerConfig, QueryAttention,
    ReverseQFormerConfig, Revival, TextHeadConfig, TextSideConfig, TokenEncoderConfig,
};

/// Sizes and options of the whole tokenizer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedConfig {
    /// The frozen image tower.
    pub image: EvaVitConfig,
    /// From image tokens to embeddings: trained in stage I.
    pub tokens: TokenEncoderConfig,
    /// From embeddings to codes and back: trained in stage II.
    pub codes: CodeAutoencoderConfig,
}

impl SeedConfig {
    /// SEED (arXiv 2307.08041): 77×768 generation embeddings for Stable Diffusion 1.4.
    pub fn seed_v1() -> Self {
        let mut config = Self::full_size();
        config.codes.text_head = Some(TextHeadConfig {
            reverse: reverse_q_former(77),
            target_width: 768,
        });
        config
    }

    /// The tokenizer of SEED-LLaMA (arXiv 2310.01218): one 1024-wide embedding for unCLIP.
    pub fn seed_v2() -> Self {
        let mut config = Self::full_size();
        config.codes.image_head = Some(ImageHeadConfig {
            target_width: 1024,
            form: ImageHeadForm::Mlp {
                widths: [256, 128, 32],
            },
        });
        config
    }

    /// SEED v2 with the image head of the training code of February 2024: a reverse Q-Former with one query
    /// in the place of the released MLP.
    pub fn seed_v2_one_query() -> Self {
        let mut config = Self::full_size();
        config.codes.image_head = Some(ImageHeadConfig {
            target_width: 1024,
            form: ImageHeadForm::Query {
                reverse: reverse_q_former(1),
            },
        });
        config
    }

    /// The same model in small, trained in minutes on two CPU cores: 64-pixel images, 32 codes of a
    /// codebook of 1024, 16×128 generation embeddings for the nano diffusion model.
    ///
    /// Unlike the reference its codebook starts from data and revives dead codes: with so few
    /// images a codebook that starts at ±1/1024 collapses. It compares by cosine, in 8 dimensions, which kept more of
    /// the embeddings here. Its two layers both read the image, and
    /// nothing is dropped out: in a training this short dropout only slows what is learned
    /// (R@mean 5.7 → 17.1 after 100 steps of stage I).
    pub fn nano() -> Self {
        let width = 128;
        Self {
            image: EvaVitConfig {
                image_size: 64,
                patch_size: 8,
                width,
                depth: 6,
                heads: 4,
                mlp_hidden: 512,
            },
            tokens: TokenEncoderConfig::QFormer(CausalQFormerConfig {
                q_former: QFormerConfig {
                    width,
                    heads: 4,
                    depth: 2,
                    mlp_hidden: 512,
                    context_width: width,
                    cross_attention_every: 1,
                    dropout: 0.0,
                    text: Some(TextSideConfig {
                        vocab_size: 2048,
                        max_length: 32,
                    }),
                },
                queries: 32,
                attention: QueryAttention::Causal,
                embed_dim: Some(128),
                language_head: false,
            }),
            codes: CodeAutoencoderConfig {
                width,
                positions: 32,
                position_offsets: true,
                quantizer: QuantizerConfig {
                    distance: CodeDistance::Cosine,
                    update: CodebookUpdate::Corrected,
                    init: CodebookInit::FirstBatch,
                    revival: Some(Revival {
                        every: 20,
                        threshold: 0.05,
                        decay: 0.95,
                    }),
                    ..QuantizerConfig::reference(1024, 8)
                },
                blocks: BlockStackConfig {
                    depth: 2,
                    heads: 4,
                    mlp_hidden: 512,
                },
                text_head: Some(TextHeadConfig {
                    reverse: ReverseQFormerConfig {
                        queries: 16,
                        depth: 2,
                        heads: 4,
                        mlp_hidden: 512,
                        cross_attention_every: 2,
                        dropout: 0.0,
                    },
                    target_width: 128,
                }),
                image_head: None,
            },
        }
    }

    /// A preset by the name used on the command line: `seed-v1`, `seed-v2` or `nano`.
    pub fn preset(name: &str) -> Option<Self> {
        match name {
            "seed-v1" => Some(Self::seed_v1()),
            "seed-v2" => Some(Self::seed_v2()),
            "nano" => Some(Self::nano()),
            _ => None,
        }
    }

    /// Checks each part, and that they fit together.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.image.validate()?;
        self.tokens.validate()?;
        self.codes.validate()?;
        let (tokens, codes) = (&self.tokens, &self.codes);
        let equal = |name, value: usize, expected: usize, given_by: &str| {
            let rule = format!("{expected}, to fit the part before it ({given_by})");
            ConfigError::check(value == expected, "tokenizer", name, value, rule)
        };
        let width = self.image.width;
        equal(
            "tokens.context_width",
            tokens.image_width(),
            width,
            "image.width",
        )?;
        equal("codes.width", codes.width, tokens.width(), "tokens' width")?;
        let given_by = "tokens' queries or grid";
        equal(
            "codes.positions",
            codes.positions,
            tokens.tokens(),
            given_by,
        )
    }

    fn full_size() -> Self {
        let width = 768;
        Self {
            image: EvaVitConfig::vit_g(),
            tokens: TokenEncoderConfig::QFormer(CausalQFormerConfig {
                q_former: QFormerConfig {
                    width,
                    heads: 12,
                    depth: 12,
                    mlp_hidden: 3072,
                    context_width: 1408,
                    cross_attention_every: 2,
                    dropout: 0.1,
                    // bert-base-uncased and [DEC].
                    text: Some(TextSideConfig {
                        vocab_size: 30_523,
                        max_length: 512,
                    }),
                },
                queries: 32,
                attention: QueryAttention::Causal,
                embed_dim: Some(256),
                language_head: false,
            }),
            codes: CodeAutoencoderConfig {
                width,
                positions: 32,
                position_offsets: false,
                quantizer: QuantizerConfig::reference(8192, 32),
                blocks: BlockStackConfig {
                    depth: 4,
                    heads: 12,
                    mlp_hidden: 3072,
                },
                text_head: None,
                image_head: None,
            },
        }
    }
}

/// The reverse Q-Former of the papers' size.
fn reverse_q_former(queries: usize) -> ReverseQFormerConfig {
    ReverseQFormerConfig {
        queries,
        depth: 4,
        heads: 12,
        mlp_hidden: 3072,
        cross_attention_every: 2,
        dropout: 0.1,
    }
}
