//! The EVA-CLIP image tower.
//!
//! - paper: <https://arxiv.org/abs/2211.07636> (EVA), used frozen by BLIP-2 and SEED
//! - published weights: `eva_vit_g.pth` (LAVIS), 40 blocks of which SEED runs the first 39
//! - original code: `models/eva_vit.py` of the SEED repository
//!
//! Tokens are the class token first and then the patches, row by row. There is no norm after the last
//! block: the Q-Former's `ln_vision` follows.

use burn::{
    module::{Initializer, Module, Param},
    nn::{
        PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
    },
    tensor::{
        DType, Device, Tensor,
        module::interpolate,
        ops::{InterpolateMode, InterpolateOptions},
    },
};
use seed_nn::{ConfigError, QkvBias, VitBlock, VitBlockConfig, limits};
use serde::{Deserialize, Serialize};

/// Sizes of an [`EvaVit`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaVitConfig {
    /// Side of the square image in pixels.
    pub image_size: usize,
    /// Side of a patch in pixels; divides `image_size`.
    pub patch_size: usize,
    /// Width of the tokens.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Number of attention heads; divides `width`.
    pub heads: usize,
    /// Hidden width of the MLPs.
    pub mlp_hidden: usize,
}

impl EvaVitConfig {
    /// EVA-CLIP ViT-g/14 at 224 pixels, without its last block: 986 M parameters.
    pub fn vit_g() -> Self {
        Self {
            image_size: 224,
            patch_size: 14,
            width: 1408,
            depth: 39,
            heads: 16,
            mlp_hidden: 6144,
        }
    }

    /// Patches along one side of the image.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Number of output tokens, the class token included.
    pub fn tokens(&self) -> usize {
        1 + self.grid() * self.grid()
    }

    /// Checks that the sizes fit together and are within their limits.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let part = "image tower";
        ConfigError::check_heads(part, self.width, self.heads)?;
        if self.patch_size == 0 || !self.image_size.is_multiple_of(self.patch_size) {
            return Err(ConfigError::Patches {
                part,
                image: self.image_size,
                patch: self.patch_size,
            });
        }
        ConfigError::check_size(part, "image_size", self.image_size, limits::PIXELS)?;
        ConfigError::check_size(part, "depth", self.depth, limits::DEPTH)?;
        ConfigError::check_size(part, "mlp_hidden", self.mlp_hidden, limits::WIDTH)
    }

    /// Initialises the tower on `device`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the sizes do not fit together.
    pub fn init(&self, device: &Device) -> Result<EvaVit, ConfigError> {
        self.validate()?;
        let normal = Initializer::Normal {
            mean: 0.0,
            std: 0.02,
        };
        let block = VitBlockConfig {
            width: self.width,
            heads: self.heads,
            mlp_hidden: self.mlp_hidden,
            qkv_bias: QkvBias::QueryValue,
            norm_eps: 1e-6,
        };
        let patch = [self.patch_size, self.patch_size];
        Ok(EvaVit {
            cls_token: normal.init([1, 1, self.width], device),
            pos_embed: normal.init([1, self.tokens(), self.width], device),
            patch_embed: PatchEmbed {
                proj: Conv2dConfig::new([3, self.width], patch)
                    .with_stride(patch)
                    .with_padding(PaddingConfig2d::Valid)
                    .init(device),
            },
            blocks: (0..self.depth).map(|_| block.init(device)).collect(),
        })
    }
}

/// The patch projection.
#[derive(Module, Debug)]
pub struct PatchEmbed {
    /// Convolution whose kernel and stride are one patch.
    pub proj: Conv2d,
}

/// The EVA-CLIP image tower; field names are the checkpoint's.
#[derive(Module, Debug)]
pub struct EvaVit {
    /// Class token `[1, 1, width]`.
    pub cls_token: Param<Tensor<3>>,
    /// Absolute positions `[1, 1 + patches, width]`, the class token's first.
    pub pos_embed: Param<Tensor<3>>,
    /// Patch projection.
    pub patch_embed: PatchEmbed,
    /// Transformer blocks.
    pub blocks: Vec<VitBlock>,
}

impl EvaVit {
    /// # Shapes
    ///
    /// - images: `[batch, 3, image_size, image_size]`, normalised with CLIP's mean and deviation
    /// - output: `[batch, 1 + patches, width]`
    pub fn forward(&self, images: Tensor<4>) -> Tensor<3> {
        self.forward_in(images, DType::F32)
    }

    /// As [`Self::forward`], with the activations of the blocks and the output in the type `activations`.
    pub fn forward_in(&self, images: Tensor<4>, activations: DType) -> Tensor<3> {
        self.blocks
            .iter()
            .fold(self.embed(images).cast(activations), |x, block| {
                block.forward(x)
            })
    }

    /// Patches projected, class token prepended, positions added: what enters the first block.
    pub fn embed(&self, images: Tensor<4>) -> Tensor<3> {
        let patches = self.embed_patches(images);
        let [batch, _, width] = patches.dims();
        let cls = self.cls_token.val().expand([batch, 1, width]);
        Tensor::cat(vec![cls, patches], 1) + self.pos_embed.val()
    }

    /// Patches projected, row by row: `[batch, patches, width]`.
    pub fn embed_patches(&self, images: Tensor<4>) -> Tensor<3> {
        self.patch_embed
            .proj
            .forward(images)
            .flatten::<3>(2, 3)
            .swap_dims(1, 2)
    }
}

/// Resizes a table of positions to another grid, bicubic, the class token's position kept
/// (`interpolate_pos_embed` of the reference: `align_corners` off, no antialiasing).
///
/// # Shapes
///
/// - positions: `[1, 1 + old², width]`
/// - output: `[1, 1 + grid², width]`
pub fn interpolate_positions(positions: Tensor<3>, grid: usize) -> Tensor<3> {
    let [_, tokens, width] = positions.dims();
    let old = (tokens - 1).isqrt();
    if old == grid {
        return positions;
    }
    let cls = positions.clone().narrow(1, 0, 1);
    let table = positions
        .narrow(1, 1, tokens - 1)
        .swap_dims(1, 2)
        .reshape([1, width, old, old]);
    let options = InterpolateOptions::new(InterpolateMode::Bicubic)
        .with_align_corners(false)
        .with_output_size([grid, grid]);
    let table = interpolate(table, options)
        .reshape([1, width, grid * grid])
        .swap_dims(1, 2);
    Tensor::cat(vec![cls, table], 1)
}
