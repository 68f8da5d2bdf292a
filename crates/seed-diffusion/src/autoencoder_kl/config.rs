//! Sizes of an autoencoder, ours and as the published `config.json` has them.

use seed_nn::{ConfigError, limits};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{config_json::ConfigJson, error::DiffusionError, resnet_block::ResnetBlockConfig};

/// Most levels: each halves the resolution, and more than these leave nothing of any picture.
const LEVELS: usize = 16;
/// Epsilon of every norm.
pub(super) const NORM_EPS: f64 = 1e-6;

/// Sizes of an [`AutoencoderKl`](crate::AutoencoderKl).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoencoderKlConfig {
    /// Side of the pictures that the model was trained at. It runs at others too.
    pub sample_size: usize,
    /// Channels of the pictures.
    pub image_channels: usize,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Channels of the levels from the finest resolution to the coarsest; each but the last halves it.
    pub channels: Vec<usize>,
    /// Residual blocks of a level of the encoder; in the decoder there is one more.
    pub layers: usize,
    /// Groups of all group norms; divides the channels of each level.
    pub groups: usize,
    /// What latents are multiplied by before the UNet sees them.
    pub scaling_factor: f64,
}

impl AutoencoderKlConfig {
    /// The autoencoder of all Stable Diffusion 1.x and 2.x, with latents an eighth as high and wide: 84 M parameters.
    pub fn sd() -> Self {
        Self {
            sample_size: 512,
            image_channels: 3,
            latent_channels: 4,
            channels: vec![128, 256, 512, 512],
            layers: 2,
            groups: 32,
            scaling_factor: 0.182_15,
        }
    }

    /// Reads the text of a published `vae/config.json`. Fields that are absent have diffusers' defaults.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`] if a field is of another type or says what is not computed here (another kind of block
    /// or activation, a shift of the latents, or a field that is not known and not switched off), by its name;
    /// [`DiffusionError::Sizes`] if sizes do not fit together.
    pub fn from_diffusers(text: &str) -> Result<Self, DiffusionError> {
        let mut published = ConfigJson::parse(text, "AutoencoderKL")?;
        published.expect(&[
            ("act_fn", json!("silu")),
            ("mid_block_add_attention", json!(true)),
            ("use_post_quant_conv", json!(true)),
            ("use_quant_conv", json!(true)),
        ])?;
        // Of computing in half precision, which this model does not.
        published.ignore("force_upcast");

        let channels = published.sizes("block_out_channels", &[64])?;
        for (field, kind) in [
            ("down_block_types", "DownEncoderBlock2D"),
            ("up_block_types", "UpDecoderBlock2D"),
        ] {
            let names = published.names(field, &[kind], channels.len())?;
            if let Some(other) = names.iter().find(|name| *name != kind) {
                let (found, supported) = (format!("`{other}`"), format!("`{kind}`"));
                return Err(published.unsupported(field, found, supported));
            }
        }
        let image_channels = published.size("in_channels", 3)?;
        published.expect(&[("out_channels", json!(image_channels))])?;
        let config = Self {
            sample_size: published.size("sample_size", 32)?,
            image_channels,
            latent_channels: published.size("latent_channels", 4)?,
            channels,
            layers: published.size("layers_per_block", 1)?,
            groups: published.size("norm_num_groups", 32)?,
            scaling_factor: published.number("scaling_factor", 0.182_15)?,
        };
        published.finish()?;
        config.validate()?;
        Ok(config)
    }

    /// Pixels along one side of what becomes one place of the latents.
    pub fn factor(&self) -> usize {
        1 << self.channels.len().saturating_sub(1)
    }

    /// Checks that the sizes fit together and are within their limits.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let part = "autoencoder";
        for (name, size, most) in [
            ("sample_size", self.sample_size, limits::PIXELS),
            ("image_channels", self.image_channels, limits::WIDTH),
            ("latent_channels", self.latent_channels, limits::WIDTH),
            ("levels of channels", self.channels.len(), LEVELS),
            ("layers", self.layers, limits::DEPTH),
            ("groups", self.groups, limits::WIDTH),
        ] {
            ConfigError::check_size(part, name, size, most)?;
        }
        for &channels in &self.channels {
            ConfigError::check_size(part, "channels", channels, limits::WIDTH)?;
            let rule = format!("a multiple of {} groups", self.groups);
            let grouped = channels.is_multiple_of(self.groups);
            ConfigError::check(grouped, part, "channels", channels, rule)?;
        }
        let sound = self.scaling_factor > 0.0 && self.scaling_factor.is_finite();
        let (name, value) = ("scaling_factor", self.scaling_factor);
        ConfigError::check(sound, part, name, value, "above 0")
    }

    /// A residual block, which no time steers here.
    pub(super) fn resnet(&self, input: usize, output: usize) -> ResnetBlockConfig {
        ResnetBlockConfig {
            input,
            output,
            time_width: None,
            groups: self.groups,
            epsilon: NORM_EPS,
        }
    }
}
