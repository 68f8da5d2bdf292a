//! BERT's language-modelling head: text states to the words that come next.

use burn::{
    module::{Initializer, Module, Param},
    tensor::{Device, Tensor},
};
use seed_nn::{Activation, LayerNorm, Linear};

use super::layer::{bert_linear, bert_norm};

/// Transform, then a product with the word embeddings, which the decoder is tied to. Checkpoints repeat the
/// tied table as `decoder.weight` and the bias as `decoder.bias`: neither is read nor written.
#[derive(Module, Debug)]
pub struct LanguageHead {
    /// `[width → width]`
    pub dense: Linear,
    /// Norm after the activation.
    pub norm: LayerNorm,
    /// `[vocab_size]`, of the words.
    pub bias: Param<Tensor<1>>,
}

impl LanguageHead {
    pub(crate) fn new(width: usize, vocab_size: usize, device: &Device) -> Self {
        Self {
            dense: bert_linear(width, width, width, device),
            norm: bert_norm(width, device),
            bias: Initializer::Zeros.init([vocab_size], device),
        }
    }

    /// Scores of all words.
    ///
    /// # Shapes
    ///
    /// - states: `[rows, width]`
    /// - words: `[vocab_size, width]`, the word embeddings
    /// - output: `[rows, vocab_size]`
    pub fn forward(&self, states: Tensor<2>, words: Tensor<2>) -> Tensor<2> {
        let hidden = Activation::Gelu.forward(self.dense.forward(states));
        let scores = self.norm.forward(hidden).matmul(words.transpose());
        scores + self.bias.val().unsqueeze()
    }
}
