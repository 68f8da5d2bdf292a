//! What a tokenizer costs, from its config alone: parameters, operations, memory.
//!
//! Operations are those of matrix products and attention, two for a multiplication with its addition; norms
//! and activations add a few percent. A backward pass counts twice its forward. What is beyond 64 bits counts as the most
//! that they hold: a config may name such sizes.

use burn::tensor::Device;
use seed_encoders::EvaVitConfig;
use seed_nn::ConfigError;
use seed_weights::parameter_count;

use crate::{
    BlockStackConfig, CodeAutoencoderConfig, ImageHeadConfig, ImageHeadForm, QFormerConfig,
    ReverseQFormerConfig, SeedConfig, TokenEncoderConfig,
};

/// Bytes of an f32.
const F32: u64 = 4;
/// A parameter under AdamW: itself, its gradient and two moments.
const TRAINED: u64 = 4;

/// A part of the tokenizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartCost {
    /// What it is called in the paper.
    pub name: &'static str,
    /// Number of parameters.
    pub parameters: u64,
    /// Operations of a forward pass for one picture (for one caption, on the text side).
    pub flops: u64,
    /// Floats that a backward pass needs again, for one picture or caption.
    pub kept_floats: u64,
}

/// The parts of a tokenizer and what follows from them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    /// The frozen image tower.
    pub image_tower: PartCost,
    /// From image tokens to embeddings.
    pub token_encoder: PartCost,
    /// The same transformer reading a caption, in stage I; it has no parameters beyond the encoder's.
    pub text_side: PartCost,
    /// From embeddings to codes.
    pub quantizer: PartCost,
    /// From codes to reconstruction and generation embeddings.
    pub decoders: PartCost,
}

/// What one training step of a stage needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepCost {
    /// Operations, forward and backward.
    pub flops: u64,
    /// Operations of the frozen part, which the cache saves.
    pub frozen_flops: u64,
    /// Bytes of weights, gradients, optimiser state and kept activations, about.
    pub bytes: u64,
}

impl SeedConfig {
    /// The cost of this tokenizer, with captions of `text_length` tokens. Nothing is allocated.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the parts do not fit together.
    pub fn cost(&self, text_length: usize, device: &Device) -> Result<Cost, ConfigError> {
        let model = self.init(device)?;
        let image_tokens = self.image.tokens();
        let (encoder, text) = match &self.tokens {
            TokenEncoderConfig::QFormer(config) => (
                queries(&config.q_former, config.queries, image_tokens),
                text_pass(&config.q_former, text_length),
            ),
            TokenEncoderConfig::Raster(config) => {
                let tokens = config.grid[0] * config.grid[1];
                let width = config.text.width;
                let project = product(tokens, config.text.context_width, width);
                let blocks = blocks(&config.blocks, width, tokens);
                (
                    blocks.and(project, tokens * width),
                    text_pass(&config.text, text_length),
                )
            }
        };
        let codes = &self.codes;
        let to_code = parameter_count(&model.codes.encode_task_layer);
        let codebook = codes.quantizer.codes * codes.quantizer.dim;
        let all_codes = parameter_count(&model.codes);
        let part = |name, parameters: usize, Work { flops, kept }: Work| PartCost {
            name,
            parameters: parameters as u64,
            flops,
            kept_floats: kept,
        };
        Ok(Cost {
            image_tower: part(
                "image tower",
                parameter_count(&model.image),
                tower(&self.image),
            ),
            token_encoder: part("token encoder", parameter_count(&model.tokens), encoder),
            text_side: part("text side of stage I", 0, text),
            quantizer: part("quantiser", to_code + codebook, to_codes(codes)),
            decoders: part(
                "decoders",
                all_codes - to_code - codebook,
                from_codes(codes),
            ),
        })
    }
}

impl Cost {
    /// Every part, in the order of the data.
    pub fn parts(&self) -> [&PartCost; 5] {
        [
            &self.image_tower,
            &self.token_encoder,
            &self.text_side,
            &self.quantizer,
            &self.decoders,
        ]
    }

    /// Parameters of the whole tokenizer.
    pub fn parameters(&self) -> u64 {
        self.parts().iter().map(|part| part.parameters).sum()
    }

    /// Operations from a picture to its codes.
    pub fn encode_flops(&self) -> u64 {
        sum([
            self.image_tower.flops,
            self.token_encoder.flops,
            self.quantizer.flops,
        ])
    }

    /// A step of stage I: the token encoder reads `batch` pictures and captions.
    pub fn stage_one(&self, batch: u64) -> StepCost {
        let trained = self.token_encoder.parameters;
        let (encoder, text) = (&self.token_encoder, &self.text_side);
        StepCost {
            flops: multiply([3, batch, sum([encoder.flops, text.flops])]),
            frozen_flops: multiply([batch, self.image_tower.flops]),
            bytes: step_bytes(trained, batch, [encoder, text]),
        }
    }

    /// A step of stage II: quantiser and decoders, from the token encoder's embeddings.
    pub fn stage_two(&self, batch: u64) -> StepCost {
        let (quantizer, decoders) = (&self.quantizer, &self.decoders);
        let trained = quantizer.parameters + decoders.parameters;
        let frozen = [self.image_tower.flops, self.token_encoder.flops];
        StepCost {
            flops: multiply([3, batch, sum([quantizer.flops, decoders.flops])]),
            frozen_flops: multiply([batch, sum(frozen)]),
            bytes: step_bytes(trained, batch, [quantizer, decoders]),
        }
    }
}

/// Weights, gradients and optimiser state of `trained` parameters, and what a batch keeps for the backward pass.
fn step_bytes(trained: u64, batch: u64, parts: [&PartCost; 2]) -> u64 {
    let kept = sum(parts.map(|part| part.kept_floats));
    let floats = [multiply([TRAINED, trained]), multiply([batch, kept])];
    multiply([F32, sum(floats)])
}

fn multiply<const N: usize>(factors: [u64; N]) -> u64 {
    factors.into_iter().fold(1, u64::saturating_mul)
}

fn sum<const N: usize>(terms: [u64; N]) -> u64 {
    terms.into_iter().fold(0, u64::saturating_add)
}

/// Operations, and floats kept for a backward pass.
#[derive(Debug, Clone, Copy, Default)]
struct Work {
    flops: u64,
    kept: u64,
}

impl Work {
    fn and(self, flops: u64, kept: usize) -> Self {
        self.plus(Self {
            flops,
            kept: kept as u64,
        })
    }

    fn plus(self, other: Self) -> Self {
        Self {
            flops: sum([self.flops, other.flops]),
            kept: sum([self.kept, other.kept]),
        }
    }

    fn times(self, count: usize) -> Self {
        Self {
            flops: multiply([self.flops, count as u64]),
            kept: multiply([self.kept, count as u64]),
        }
    }
}

/// `[rows, input] · [input, output]`.
fn product(rows: usize, input: usize, output: usize) -> u64 {
    multiply([2, rows, input, output].map(|size| size as u64))
}

/// Scores and mixing of `queries` over `keys`.
fn attention(queries: usize, keys: usize, width: usize, heads: usize) -> Work {
    Work {
        flops: multiply([4, queries, keys, width].map(|size| size as u64)),
        kept: multiply([2, heads, queries, keys].map(|size| size as u64)),
    }
    .and(0, queries * width)
}

/// Self-attention and MLP of one transformer layer.
fn layer(tokens: usize, width: usize, heads: usize, hidden: usize) -> Work {
    attention(tokens, tokens, width, heads).and(
        product(tokens, width, 4 * width + 2 * hidden),
        tokens * (7 * width + 2 * hidden),
    )
}

fn tower(config: &EvaVitConfig) -> Work {
    let tokens = config.tokens();
    let patch = 3 * config.patch_size * config.patch_size;
    layer(tokens, config.width, config.heads, config.mlp_hidden)
        .times(config.depth)
        .and(
            product(tokens - 1, patch, config.width),
            tokens * config.width,
        )
}

fn blocks(config: &BlockStackConfig, width: usize, tokens: usize) -> Work {
    layer(tokens, width, config.heads, config.mlp_hidden).times(config.depth)
}

/// Queries that read a context in some of the layers.
fn queries(config: &QFormerConfig, queries: usize, context: usize) -> Work {
    let QFormerConfig { width, heads, .. } = *config;
    let own = layer(queries, width, heads, config.mlp_hidden).times(config.depth);
    let crossing = match config.cross_attention_every {
        0 => 0,
        every => config.depth.div_ceil(every),
    };
    let cross = attention(queries, context, width, heads).and(
        product(queries, width, 2 * width),
        4 * queries * width + 2 * context * width,
    );
    let cross = cross.and(product(context, config.context_width, 2 * width), 0);
    own.plus(cross.times(crossing))
}

fn text_pass(config: &QFormerConfig, length: usize) -> Work {
    layer(length, config.width, config.heads, config.mlp_hidden).times(config.depth)
}

fn to_codes(config: &CodeAutoencoderConfig) -> Work {
    let CodeAutoencoderConfig {
        width, positions, ..
    } = *config;
    let (codes, dim) = (config.quantizer.codes, config.quantizer.dim);
    Work::default().and(
        product(positions, width, width)
            + product(positions, width, dim)
            + product(positions, dim, codes),
        positions * (2 * width + 3 * dim),
    )
}

fn from_codes(config: &CodeAutoencoderConfig) -> Work {
    let CodeAutoencoderConfig {
        width, positions, ..
    } = *config;
    let dim = config.quantizer.dim;
    let stack = || blocks(&config.blocks, width, positions);
    let decode = product(positions, dim, dim) + product(positions, dim, width);
    let mut all = stack().and(decode, positions * (dim + width));
    let reverse = |reverse: &ReverseQFormerConfig| {
        queries(&reverse.q_former(width), reverse.queries, positions)
    };
    if let Some(head) = &config.text_head {
        let length = head.reverse.queries;
        let project = product(length, width, head.target_width);
        all = all
            .plus(stack())
            .plus(reverse(&head.reverse))
            .and(project, length * head.target_width);
    }
    if let Some(ImageHeadConfig { target_width, form }) = &config.image_head {
        all = all.plus(stack());
        let flat = match form {
            ImageHeadForm::Mlp {
                widths: [first, second, third],
            } => {
                let down = product(positions, width, *first)
                    + product(positions, *first, *second)
                    + product(positions, *second, *third);
                all = all.and(down, positions * (first + second + third));
                positions * third
            }
            ImageHeadForm::Query { reverse: config } => {
                all = all.plus(reverse(config));
                width
            }
        };
        all = all.and(product(1, flat, *target_width), *target_width);
    }
    all
}
