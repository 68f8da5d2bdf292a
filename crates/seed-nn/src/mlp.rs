//! The two-layer perceptron of a transformer block.

use burn::{
    module::Module,
    tensor::{Device, Tensor, activation},
};
use seed_device::fused;
use serde::{Deserialize, Serialize};

use crate::{Linear, LinearConfig};

/// The non-linearity between the two layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x·Φ(x)`, by the error function: EVA, BERT and the tokenizer's blocks.
    #[default]
    Gelu,
    /// `x·σ(1.702·x)`: OpenAI's CLIP.
    QuickGelu,
    /// `max(x, 0)`: OPT.
    Relu,
}

impl Activation {
    /// Applies the function element by element.
    pub fn forward<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Gelu => fused::gelu(x),
            Self::QuickGelu => x.clone() * activation::sigmoid(x.mul_scalar(1.702)),
            Self::Relu => activation::relu(x),
        }
    }
}

/// Sizes of an [`Mlp`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MlpConfig {
    /// Width of the input and the output.
    pub width: usize,
    /// Width between the two layers.
    pub hidden: usize,
    /// The non-linearity.
    pub activation: Activation,
}

/// Linear, activation, linear; both with biases.
#[derive(Module, Debug)]
pub struct Mlp {
    /// `[width → hidden]`
    pub fc1: Linear,
    /// `[hidden → width]`
    pub fc2: Linear,
    #[module(skip)]
    activation: Activation,
}

impl MlpConfig {
    /// Initialises the layers on `device` (PyTorch's default initialisation).
    pub fn init(&self, device: &Device) -> Mlp {
        Mlp {
            fc1: LinearConfig::new(self.width, self.hidden).init(device),
            fc2: LinearConfig::new(self.hidden, self.width).init(device),
            activation: self.activation,
        }
    }
}

impl Mlp {
    /// # Shapes
    ///
    /// - input, output: `[batch, tokens, width]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.fc2
            .forward(self.activation.forward(self.fc1.forward(x)))
    }
}
