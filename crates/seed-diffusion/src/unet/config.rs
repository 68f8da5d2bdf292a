//! Sizes of a UNet, ours and as the published `config.json` has them.

use seed_nn::{ConfigError, limits};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{config_json::ConfigJson, error::DiffusionError};

/// Most levels: each halves the resolution, and more than these leave nothing of any picture.
const LEVELS: usize = 16;

/// What a level is called that attends to the context, and one that does not.
const DOWN: [&str; 2] = ["CrossAttnDownBlock2D", "DownBlock2D"];
const UP: [&str; 2] = ["CrossAttnUpBlock2D", "UpBlock2D"];

/// Sizes of a [`Unet`](crate::Unet).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnetConfig {
    /// Side of the latents that the model was trained at. It runs at others too.
    pub sample_size: usize,
    /// Channels of the latents that come in.
    pub input_channels: usize,
    /// Channels of what comes out.
    pub output_channels: usize,
    /// Levels from the finest resolution to the coarsest; each but the last halves it.
    pub levels: Vec<UnetLevel>,
    /// Residual blocks of a level on the way down; on the way up there is one more.
    pub layers: usize,
    /// Width of the context's tokens.
    pub context_width: usize,
    /// Groups of all group norms; divides the channels of each level.
    pub groups: usize,
    /// Epsilon of the residual blocks' norms and of the last; that of the transformers' is 1e-6.
    pub norm_eps: f64,
    /// Whether attention is computed in f32 where the activations are not.
    pub upcast_attention: bool,
    /// What else than the time steers the blocks.
    pub class_embedding: Option<ClassEmbedding>,
}

/// One resolution of a [`UnetConfig`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnetLevel {
    /// Number of channels.
    pub channels: usize,
    /// Number of attention heads, which diffusers calls `attention_head_dim`; divides `channels`. The block in the middle
    /// has those of the last level.
    pub heads: usize,
    /// Whether a transformer follows each residual block.
    pub attends: bool,
}

/// How a class label becomes a part of the time embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ClassEmbedding {
    /// The label is an embedding already, as wide as that of the time.
    Identity,
    /// Through a two-layer perceptron of its own: unCLIP's image embedding and noise level.
    Projection {
        /// Width of the label.
        width: usize,
    },
}

impl UnetConfig {
    /// Stable Diffusion 1.1 to 1.5, at 512 pixels: 860 M parameters.
    pub fn sd_1_4() -> Self {
        Self::sd(64, [8; 4], 768)
    }

    /// Stable Diffusion 2.0 and 2.1, at 768 pixels: 866 M parameters.
    pub fn sd_2_1() -> Self {
        Self {
            upcast_attention: true,
            ..Self::sd(96, [5, 10, 20, 20], 1024)
        }
    }

    /// Stable unCLIP 2.1, at 768 pixels: 870 M parameters.
    pub fn sd_2_1_unclip() -> Self {
        Self {
            class_embedding: Some(ClassEmbedding::Projection { width: 2048 }),
            ..Self::sd_2_1()
        }
    }

    /// A member of the family.
    fn sd(sample_size: usize, heads: [usize; 4], context_width: usize) -> Self {
        let channels = [320, 640, 1280, 1280];
        let levels = channels.into_iter().zip(heads).enumerate();
        Self {
            sample_size,
            input_channels: 4,
            output_channels: 4,
            levels: levels
                .map(|(level, (channels, heads))| UnetLevel {
                    channels,
                    heads,
                    attends: level < 3,
                })
                .collect(),
            layers: 2,
            context_width,
            groups: 32,
            norm_eps: 1e-5,
            upcast_attention: false,
            class_embedding: None,
        }
    }

    /// Reads the text of a published `unet/config.json`. Fields that are absent have diffusers' defaults.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`] if a field is of another type or says what is not computed here (another kind of block,
    /// of activation or of embedding, or a field that is not known and not switched off), by its name;
    /// [`DiffusionError::Sizes`] if sizes do not fit together.
    pub fn from_diffusers(text: &str) -> Result<Self, DiffusionError> {
        let mut published = ConfigJson::parse(text, "UNet2DConditionModel")?;
        published.expect(&[
            ("act_fn", json!("silu")),
            ("addition_embed_type", json!(null)),
            ("attention_type", json!("default")),
            ("conv_in_kernel", json!(3)),
            ("conv_out_kernel", json!(3)),
            ("downsample_padding", json!(1)),
            ("dropout", json!(0)),
            ("flip_sin_to_cos", json!(true)),
            ("freq_shift", json!(0)),
            ("mid_block_scale_factor", json!(1)),
            ("mid_block_type", json!("UNetMidBlock2DCrossAttn")),
            ("resnet_out_scale_factor", json!(1)),
            ("resnet_time_scale_shift", json!("default")),
            ("time_embedding_type", json!("positional")),
            ("transformer_layers_per_block", json!(1)),
        ])?;
        // How the projections are stored: either form is read.
        published.switch("use_linear_projection")?;
        // The heads of an embedding that is not there.
        published.ignore("addition_embed_type_num_heads");

        let channels = published.sizes("block_out_channels", &[320, 640, 1280, 1280])?;
        let attends = attending(&mut published, channels.len())?;
        let heads = published.size_of_each("attention_head_dim", 8, channels.len())?;
        let levels = channels.into_iter().zip(heads).zip(attends);
        let config = Self {
            sample_size: published.size("sample_size", 64)?,
            input_channels: published.size("in_channels", 4)?,
            output_channels: published.size("out_channels", 4)?,
            levels: levels
                .map(|((channels, heads), attends)| UnetLevel {
                    channels,
                    heads,
                    attends,
                })
                .collect(),
            layers: published.size("layers_per_block", 2)?,
            context_width: published.size("cross_attention_dim", 1280)?,
            groups: published.size("norm_num_groups", 32)?,
            norm_eps: published.number("norm_eps", 1e-5)?,
            upcast_attention: published.switch("upcast_attention")?,
            class_embedding: class_embedding(&mut published)?,
        };
        published.finish()?;
        config.validate()?;
        Ok(config)
    }

    /// Width of the time embedding.
    pub fn time_width(&self) -> usize {
        4 * self.time_features()
    }

    /// Number of sines and cosines that a time step becomes: the channels of the finest level.
    pub(super) fn time_features(&self) -> usize {
        self.levels.first().map_or(0, |level| level.channels)
    }

    /// Width of the class labels, where the model takes any.
    pub fn class_width(&self) -> Option<usize> {
        Some(match self.class_embedding? {
            ClassEmbedding::Identity => self.time_width(),
            ClassEmbedding::Projection { width } => width,
        })
    }

    /// Checks that the sizes fit together and are within their limits.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let part = "UNet";
        for (name, size, most) in [
            ("sample_size", self.sample_size, limits::PIXELS),
            ("input_channels", self.input_channels, limits::WIDTH),
            ("output_channels", self.output_channels, limits::WIDTH),
            ("levels", self.levels.len(), LEVELS),
            ("layers", self.layers, limits::DEPTH),
            ("context_width", self.context_width, limits::WIDTH),
            ("groups", self.groups, limits::WIDTH),
        ] {
            ConfigError::check_size(part, name, size, most)?;
        }
        for level in &self.levels {
            ConfigError::check_size(part, "channels", level.channels, limits::WIDTH)?;
            ConfigError::check_heads(part, level.channels, level.heads)?;
            let (grouped, rule) = (
                level.channels.is_multiple_of(self.groups),
                format!("a multiple of {} groups", self.groups),
            );
            ConfigError::check(grouped, part, "channels", level.channels, rule)?;
        }
        let finest = self.time_features();
        let rule = "even at the finest level: a sine and a cosine for each frequency";
        ConfigError::check(finest.is_multiple_of(2), part, "channels", finest, rule)?;
        let sound = self.norm_eps > 0.0 && self.norm_eps.is_finite();
        ConfigError::check(sound, part, "norm_eps", self.norm_eps, "above 0")?;
        match self.class_embedding {
            Some(ClassEmbedding::Projection { width }) => {
                ConfigError::check_size(part, "class_embedding.width", width, limits::WIDTH)
            }
            Some(ClassEmbedding::Identity) | None => Ok(()),
        }
    }
}

/// Which of the levels attend to the context, from the finest on. It is said twice, for the way down and for the way up.
fn attending(published: &mut ConfigJson, count: usize) -> Result<Vec<bool>, DiffusionError> {
    let [attends, convolves] = DOWN;
    let default = [attends, attends, attends, convolves];
    let down = attending_on(published, "down_block_types", default, DOWN, count)?;
    let [attends, convolves] = UP;
    let default = [convolves, attends, attends, attends];
    let mut up = attending_on(published, "up_block_types", default, UP, count)?;
    up.reverse();
    if up == down {
        return Ok(down);
    }
    let supported = "the kinds of `down_block_types` in reverse";
    Err(published.unsupported("up_block_types", "another order", supported))
}

/// Which blocks of one way are of the first of two kinds.
fn attending_on(
    published: &mut ConfigJson,
    field: &str,
    default: [&str; 4],
    [attends, convolves]: [&str; 2],
    count: usize,
) -> Result<Vec<bool>, DiffusionError> {
    let names = published.names(field, &default, count)?;
    let kinds = names.iter().map(|name| match name.as_str() {
        name if name == attends => Ok(true),
        name if name == convolves => Ok(false),
        name => {
            let supported = format!("`{attends}` and `{convolves}`");
            Err(published.unsupported(field, format!("`{name}`"), supported))
        }
    });
    kinds.collect()
}

fn class_embedding(published: &mut ConfigJson) -> Result<Option<ClassEmbedding>, DiffusionError> {
    let kind = published.name("class_embed_type")?;
    match kind.as_deref() {
        None => Ok(None),
        Some("identity") => Ok(Some(ClassEmbedding::Identity)),
        Some("projection") => {
            // Absent is 0, which no model has: the check of sizes names it.
            let width = published.size("projection_class_embeddings_input_dim", 0)?;
            Ok(Some(ClassEmbedding::Projection { width }))
        }
        Some(other) => {
            let supported = "`projection`, `identity` and null";
            Err(published.unsupported("class_embed_type", format!("`{other}`"), supported))
        }
    }
}
