//! A linear layer whose weight may be stored in another precision than it computes in.

use burn::{
    module::{Initializer, Module, Param},
    tensor::{Device, Tensor},
};
use seed_device::fused;

use crate::LoraBranch;

/// Sizes of a [`Linear`].
#[derive(Debug, Clone)]
pub struct LinearConfig {
    input: usize,
    output: usize,
    bias: bool,
    initializer: Initializer,
}

/// `x · weight + bias`.
///
/// The product is computed in the type of `x`: a frozen weight kept as f16, bf16 or in 8 bits is widened on use, which
/// halves or quarters the memory of a model whose activations stay f32.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[input, output]`, the transpose of what checkpoints store.
    pub weight: Param<Tensor<2>>,
    /// `[output]`
    pub bias: Option<Param<Tensor<1>>>,
    /// What an adapter adds.
    pub lora: Option<LoraBranch>,
}

impl LinearConfig {
    /// A layer with bias, initialised as PyTorch does: uniform in `±1/√input`.
    pub fn new(input: usize, output: usize) -> Self {
        let initializer = Initializer::KaimingUniform {
            gain: 1.0 / 3.0f64.sqrt(),
            fan_out_only: false,
        };
        Self {
            input,
            output,
            bias: true,
            initializer,
        }
    }

    /// With or without a bias.
    pub fn with_bias(self, bias: bool) -> Self {
        Self { bias, ..self }
    }

    /// Another initialisation of weight and bias.
    pub fn with_initializer(self, initializer: Initializer) -> Self {
        Self {
            initializer,
            ..self
        }
    }

    /// Initialises the layer on `device`.
    pub fn init(&self, device: &Device) -> Linear {
        let (input, output) = (Some(self.input), Some(self.output));
        Linear {
            weight: self
                .initializer
                .init_with([self.input, self.output], input, output, device),
            bias: self.bias.then(|| {
                self.initializer
                    .init_with([self.output], input, output, device)
            }),
            lora: None,
        }
    }
}

impl Linear {
    /// # Shapes
    ///
    /// - input: `[.., input]`
    /// - output: `[.., output]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        if let Some(bias) = &self.bias {
            return self.forward_biased(x, bias.val());
        }
        self.adapted(x.clone(), fused::product(x, self.weight.val()))
    }

    /// The product with another bias than the layer's own.
    ///
    /// # Shapes
    ///
    /// - input: `[.., input]`
    /// - bias: `[output]`
    /// - output: `[.., output]`
    pub fn forward_biased<const D: usize>(&self, x: Tensor<D>, bias: Tensor<1>) -> Tensor<D> {
        let bias = bias.cast(x.dtype());
        self.adapted(x.clone(), fused::linear(x, self.weight.val(), bias))
    }

    /// Keeps the weight, frozen from now on, in 8 bits: blocks of [`fused::EIGHT_BIT_BLOCK`] values along `output` with
    /// a scale each. A layer whose `output` is not a whole number of blocks stays as it is.
    ///
    /// # Panics
    ///
    /// On a device that keeps none ([`fused::keeps_eight_bit`]).
    pub fn keep_in_eight_bit(&mut self) {
        if self.is_eight_bit() || !self.dims()[1].is_multiple_of(fused::EIGHT_BIT_BLOCK) {
            return;
        }
        let weight = self.weight.clone().set_require_grad(false);
        self.weight = weight.map(fused::in_eight_bit);
    }

    /// Whether the weight is kept in 8 bits.
    pub fn is_eight_bit(&self) -> bool {
        fused::is_eight_bit(self.weight.val().dtype())
    }

    /// `[input, output]`.
    pub fn dims(&self) -> [usize; 2] {
        let shape = self.weight.lazy_shape();
        [shape[0], shape[1]]
    }

    /// Adds the branch, where there is one, to the layer's own output.
    fn adapted<const D: usize>(&self, x: Tensor<D>, output: Tensor<D>) -> Tensor<D> {
        match &self.lora {
            Some(branch) => output + branch.forward(x),
            None => output,
        }
    }
}
