//! The UNet as a whole.

use burn::{
    module::Module,
    nn::conv::Conv2d,
    tensor::{Device, Tensor, activation::silu},
};
use seed_nn::ConfigError;

use super::{
    blocks::{Conditions, DownBlock, MidBlock, UpBlock},
    config::{ClassEmbedding, UnetConfig},
    states::{UnetStates, Watch},
    time_embedding::{TimeEmbedding, time_features},
};
use crate::{
    convolution::{convolution, convolved},
    group_norm::{GroupNorm, GroupNormConfig},
};

/// Stable Diffusion's UNet: noisy latents, the time step and a context give the noise, or the velocity, that the scheduler
/// goes on with.
#[derive(Module, Debug)]
pub struct Unet {
    conv_in: Conv2d,
    time_embedding: TimeEmbedding,
    class_embedding: Option<TimeEmbedding>,
    down_blocks: Vec<DownBlock>,
    mid_block: MidBlock,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
    #[module(skip)]
    config: UnetConfig,
}

impl UnetConfig {
    /// Initialises the model on `device`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the sizes do not fit together.
    pub fn init(&self, device: &Device) -> Result<Unet, ConfigError> {
        self.validate()?;
        // At least one, as has been checked.
        let (finest, coarsest) = (&self.levels[0], &self.levels[self.levels.len() - 1]);
        let time = |input| TimeEmbedding::init(input, self.time_width(), device);
        let norm = GroupNormConfig {
            groups: self.groups,
            channels: finest.channels,
            epsilon: self.norm_eps,
        };
        Ok(Unet {
            conv_in: convolution(self.input_channels, finest.channels, device),
            time_embedding: time(self.time_features()),
            class_embedding: match self.class_embedding {
                Some(ClassEmbedding::Projection { width }) => Some(time(width)),
                Some(ClassEmbedding::Identity) | None => None,
            },
            down_blocks: DownBlock::init_all(self, device),
            mid_block: MidBlock::init(self, coarsest, device),
            up_blocks: UpBlock::init_all(self, device),
            conv_norm_out: norm.init(device),
            conv_out: convolution(finest.channels, self.output_channels, device),
            config: self.clone(),
        })
    }
}

impl Unet {
    /// What the model was made by.
    pub fn config(&self) -> &UnetConfig {
        &self.config
    }

    /// What the model finds in noisy latents. Sides that are not a multiple of what the levels halve are cut back on the way
    /// up, as in diffusers.
    ///
    /// # Shapes
    ///
    /// - latents: `[batch, input_channels, height, width]`
    /// - timesteps: `[batch]`, or `[1]` for all; whole or not
    /// - context: `[batch, tokens, context_width]`
    /// - class_labels: `[batch, class_width]`, given if and only if the config has a class embedding
    /// - output: `[batch, output_channels, height, width]`
    ///
    /// # Panics
    ///
    /// If shapes do not fit, or class labels are missing or given in vain ([`UnetConfig::class_width`]).
    pub fn forward(
        &self,
        latents: Tensor<4>,
        timesteps: Tensor<1>,
        context: Tensor<3>,
        class_labels: Option<Tensor<2>>,
    ) -> Tensor<4> {
        let embedded = self.time_embedding.forward(self.time_proj(timesteps));
        let conditions = self.conditions(embedded, context, class_labels);
        self.run(latents, &conditions, &mut Watch::nobody())
    }

    /// As [`Self::forward`], with the states on the way.
    ///
    /// # Panics
    ///
    /// As [`Self::forward`].
    pub fn forward_with_states(
        &self,
        latents: Tensor<4>,
        timesteps: Tensor<1>,
        context: Tensor<3>,
        class_labels: Option<Tensor<2>>,
    ) -> UnetStates {
        let time_proj = self.time_proj(timesteps);
        let time_embedding = self.time_embedding.forward(time_proj.clone());
        let conditions = self.conditions(time_embedding.clone(), context, class_labels);
        let mut maps = Vec::new();
        let sample = self.run(latents, &conditions, &mut Watch::keeping(&mut maps));
        UnetStates {
            time_proj,
            time_embedding,
            maps,
            sample,
        }
    }

    fn time_proj(&self, timesteps: Tensor<1>) -> Tensor<2> {
        time_features(timesteps, self.config.time_features())
    }

    /// Adds the class label to the embedded time, and takes the SiLU that each block begins with.
    fn conditions(
        &self,
        mut time: Tensor<2>,
        context: Tensor<3>,
        class_labels: Option<Tensor<2>>,
    ) -> Conditions {
        let wanted = self.config.class_width();
        let given = class_labels.as_ref().map(|labels| labels.dims()[1]);
        assert_eq!(given, wanted, "width of the class labels");
        if let Some(labels) = class_labels {
            time = time
                + match &self.class_embedding {
                    Some(embedding) => embedding.forward(labels),
                    None => labels,
                };
        }
        let time = silu(time);
        Conditions { time, context }
    }

    fn run(&self, latents: Tensor<4>, conditions: &Conditions, watch: &mut Watch<'_>) -> Tensor<4> {
        let mut x = convolved(&self.conv_in, latents);
        watch.see("conv_in", &x);
        let mut skips = vec![x.clone()];
        for (level, block) in self.down_blocks.iter().enumerate() {
            let name = format!("down_block_{level}");
            x = block.forward(x, conditions, &mut skips, watch.inside(&name));
            watch.see(&name, &x);
        }
        x = self.mid_block.forward(x, conditions);
        watch.see("mid_block", &x);
        for (level, block) in self.up_blocks.iter().enumerate() {
            let name = format!("up_block_{level}");
            x = block.forward(x, conditions, &mut skips, watch.inside(&name));
            watch.see(&name, &x);
        }
        if watch.looks() {
            watch.see("conv_norm_out", &self.conv_norm_out.forward(x.clone()));
        }
        convolved(&self.conv_out, self.conv_norm_out.forward_silu(x))
    }
}
