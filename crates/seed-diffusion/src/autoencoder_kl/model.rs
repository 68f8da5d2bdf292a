//! The autoencoder as a whole.

use burn::{
    module::Module,
    nn::conv::Conv2d,
    tensor::{Device, Tensor},
};
use seed_nn::ConfigError;

use super::{config::AutoencoderKlConfig, decoder::Decoder, encoder::Encoder, moments::Moments};
use crate::convolution::{convolved, pointwise};

/// Stable Diffusion's autoencoder: pictures to latents and back.
///
/// Neither way scales: the UNet's latents are those of [`encode`](Self::encode) times
/// [`scaling_factor`](Self::scaling_factor), and are divided by it before [`decode`](Self::decode).
#[derive(Module, Debug)]
pub struct AutoencoderKl {
    encoder: Encoder,
    /// 1×1 convolution of what the encoder gives, `[2 · latent_channels → 2 · latent_channels]`.
    pub quant_conv: Conv2d,
    /// 1×1 convolution of what the decoder is given, `[latent_channels → latent_channels]`.
    pub post_quant_conv: Conv2d,
    decoder: Decoder,
    #[module(skip)]
    config: AutoencoderKlConfig,
}

impl AutoencoderKlConfig {
    /// Initialises the model on `device`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the sizes do not fit together.
    pub fn init(&self, device: &Device) -> Result<AutoencoderKl, ConfigError> {
        self.validate()?;
        // At least one, as has been checked.
        let ends = [self.channels[0], self.channels[self.channels.len() - 1]];
        let latent = self.latent_channels;
        Ok(AutoencoderKl {
            encoder: Encoder::init(self, ends, device),
            quant_conv: pointwise(2 * latent, 2 * latent, device),
            post_quant_conv: pointwise(latent, latent, device),
            decoder: Decoder::init(self, ends, device),
            config: self.clone(),
        })
    }
}

impl AutoencoderKl {
    /// What the model was made by.
    pub fn config(&self) -> &AutoencoderKlConfig {
        &self.config
    }

    /// What latents are multiplied by before the UNet sees them, and divided by before they are decoded.
    pub fn scaling_factor(&self) -> f64 {
        self.config.scaling_factor
    }

    /// The latents of pictures, not scaled.
    ///
    /// # Shapes
    ///
    /// - images: `[batch, image_channels, height, width]`, from −1 to 1
    /// - output: moments of `[batch, latent_channels, height / factor, width / factor]`
    pub fn encode(&self, images: Tensor<4>) -> Moments {
        Moments::of(convolved(&self.quant_conv, self.encoder.forward(images)))
    }

    /// The pictures of latents that are not scaled, or no longer.
    ///
    /// # Shapes
    ///
    /// - latents: `[batch, latent_channels, height, width]`
    /// - output: `[batch, image_channels, factor · height, factor · width]`, about −1 to 1; not clamped
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        self.decoder
            .forward(convolved(&self.post_quant_conv, latents))
    }
}
