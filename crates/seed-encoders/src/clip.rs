//! The contrastive pair of an EVA image tower and a CLIP text tower.
//!
//! At full size SEED takes the two towers from different releases; at nano size both come from one
//! training of this module (`experiments/nano-clip`), after which they are frozen.

use burn::{
    module::{Initializer, Module, Param},
    tensor::{DType, Device, Int, Tensor},
};
use seed_nn::{
    ConfigError, LayerNorm, LayerNormConfig, Linear, LinearConfig, l2_normalize, limits,
};
use seed_weights::KeyMap;
use serde::{Deserialize, Serialize};

use crate::{ClipText, ClipTextConfig, EvaVit, EvaVitConfig};

/// Sizes of a [`Clip`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipConfig {
    /// The image tower.
    pub image: EvaVitConfig,
    /// The text tower.
    pub text: ClipTextConfig,
    /// Width of the space shared by both.
    pub embed_dim: usize,
}

/// Keys of [`Clip`] in a checkpoint: the text tower's are those of the transformers library, the image
/// tower's those of the reference.
pub fn clip_keys() -> KeyMap {
    KeyMap::new(&[
        ("image", "visual_encoder"),
        ("text.layers", "text_model.encoder.layers"),
        ("text", "text_model"),
    ])
}

/// Both towers and the projections into the shared space.
#[derive(Module, Debug)]
pub struct Clip {
    /// Image tower.
    pub image: EvaVit,
    /// Norm of the pooled image tokens.
    pub image_norm: LayerNorm,
    /// `[image width → embed_dim]`, without bias.
    pub image_projection: Linear,
    /// Text tower.
    pub text: ClipText,
    /// `[text width → embed_dim]`, without bias.
    pub text_projection: Linear,
    /// Logarithm of the factor on the cosines, `[1]`.
    pub logit_scale: Param<Tensor<1>>,
}

impl ClipConfig {
    /// Checks both towers and the space they share.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.image.validate()?;
        self.text.validate()?;
        ConfigError::check_size("CLIP", "embed_dim", self.embed_dim, limits::WIDTH)
    }

    /// Initialises both towers on `device`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the sizes do not fit together.
    pub fn init(&self, device: &Device) -> Result<Clip, ConfigError> {
        self.validate()?;
        let projection = |width| {
            LinearConfig::new(width, self.embed_dim)
                .with_bias(false)
                .init(device)
        };
        Ok(Clip {
            image: self.image.init(device)?,
            image_norm: LayerNormConfig::new(self.image.width).init(device),
            image_projection: projection(self.image.width),
            text: self.text.init(device)?,
            text_projection: projection(self.text.width),
            // CLIP starts at a temperature of 0.07.
            logit_scale: Initializer::Constant {
                value: (1.0f64 / 0.07).ln(),
            }
            .init([1], device),
        })
    }
}

impl Clip {
    /// Unit-length image features, from the mean of all output tokens so that each patch token is
    /// trained to say what it shows.
    ///
    /// # Shapes
    ///
    /// - images: `[batch, 3, size, size]`
    /// - output: `[batch, embed_dim]`
    pub fn image_features(&self, images: Tensor<4>) -> Tensor<2> {
        self.image_features_of(images, None, DType::F32)
    }

    /// Image features as training computes them: from some of the tokens alone, in blocks whose activations
    /// have the type `activations`. The mean, the projection and the features stay f32.
    ///
    /// # Shapes
    ///
    /// - images: `[batch, 3, size, size]`
    /// - kept: positions among `1 + patches` tokens
    /// - output: `[batch, embed_dim]`
    pub fn image_features_of(
        &self,
        images: Tensor<4>,
        kept: Option<Tensor<1, Int>>,
        activations: DType,
    ) -> Tensor<2> {
        let tokens = self.image.embed(images);
        let tokens = match kept {
            Some(kept) => tokens.select(1, kept),
            None => tokens,
        };
        let tokens = self
            .image
            .blocks
            .iter()
            .fold(tokens.cast(activations), |x, block| block.forward(x));
        let mean = self
            .image_norm
            .forward(tokens.cast(DType::F32))
            .mean_dim(1)
            .squeeze_dim::<2>(1);
        l2_normalize(self.image_projection.forward(mean))
    }

    /// Unit-length text features.
    ///
    /// # Shapes
    ///
    /// - ids: `[batch, length]`
    /// - output: `[batch, embed_dim]`
    pub fn text_features(&self, ids: Tensor<2, Int>) -> Tensor<2> {
        self.text_features_of(ids, DType::F32)
    }

    /// Text features as training computes them: in blocks whose activations have the type `activations`.
    ///
    /// # Shapes
    ///
    /// - ids: `[batch, length]`
    /// - output: `[batch, embed_dim]`
    pub fn text_features_of(&self, ids: Tensor<2, Int>, activations: DType) -> Tensor<2> {
        let embedded = self.text.embed(ids.clone()).cast(activations);
        let pooled = self.text.forward_embedded(embedded, ids, None).pooled;
        l2_normalize(self.text_projection.forward(pooled))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;
    use seed_device::{Precision, test_device, test_precisions};
    use seed_nn::Activation;

    use super::*;
    use crate::EndOfText;

    fn cosine<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
        let length = |x: &Tensor<D>| x.clone().square().sum().sqrt().into_scalar::<f32>();
        let lengths = length(&a) * length(&b);
        (a * b).sum().into_scalar::<f32>() / lengths
    }

    /// In bf16 both towers give nearly the features and nearly the gradients of f32; parameters, gradients and
    /// features are f32.
    #[test]
    fn bf16_activations_train_f32_parameters() {
        let device = test_device().autodiff();
        if test_precisions(&device, &[Precision::Bf16]).is_empty() {
            return;
        }
        device.seed(5);
        let config = ClipConfig {
            image: EvaVitConfig {
                image_size: 32,
                patch_size: 8,
                width: 64,
                depth: 2,
                heads: 4,
                mlp_hidden: 128,
            },
            text: ClipTextConfig {
                vocab_size: 40,
                max_length: 8,
                width: 64,
                depth: 2,
                heads: 4,
                mlp_hidden: 128,
                activation: Activation::Gelu,
                end_of_text: EndOfText::LargestId,
            },
            embed_dim: 32,
        };
        let clip = config.init(&device).unwrap();
        let normal = Distribution::Normal(0.0, 1.0);
        let images = Tensor::<4>::random([3, 3, 32, 32], normal, &device);
        let ids = [
            [2, 9, 14, 7, 39, 0, 0, 0],
            [2, 5, 39, 0, 0, 0, 0, 0],
            [2, 3, 4, 5, 6, 7, 8, 39],
        ];
        let ids = Tensor::<2, Int>::from_data(ids, &device);
        let weights = Tensor::<2>::random([3, 32], normal, &device);
        let run = |dtype| {
            let images = clip.image_features_of(images.clone(), None, dtype);
            let texts = clip.text_features_of(ids.clone(), dtype);
            let loss = (images.clone() * texts.clone() * weights.clone()).sum();
            let gradients = loss.backward();
            let image = clip.image.blocks[0].mlp.fc1.weight.val().grad(&gradients);
            let text = clip.text.layers[0]
                .self_attn
                .q_proj
                .weight
                .val()
                .grad(&gradients);
            [images.inner(), texts.inner(), image.unwrap(), text.unwrap()]
        };
        let (whole, half) = (run(DType::F32), run(DType::BF16));
        let least = [0.999, 0.999, 0.99, 0.99];
        for ((whole, half), least) in whole.into_iter().zip(half).zip(least) {
            assert_eq!(half.dtype(), DType::F32);
            let found = cosine(whole.clone(), half.clone());
            assert!(found > least, "{found}");
            assert!((whole - half).abs().max().into_scalar::<f32>() > 0.0);
        }
    }
}
