//! The two projections of stage I into the space where pictures and captions meet.

use burn::{
    module::{Initializer, Module, Param},
    tensor::{Device, Tensor},
};
use seed_nn::{Linear, LinearConfig, l2_normalize};

/// Trained in stage I and used for retrieval; making codes needs none of it, and the released v2 file
/// does not have it.
#[derive(Module, Debug)]
pub struct ContrastiveHeads {
    /// `[width → embed_dim]`, of a picture's state.
    pub vision_proj: Linear,
    /// `[width → embed_dim]`, of the first text state.
    pub text_proj: Linear,
    /// Temperature `[1]`; it divides.
    pub temp: Param<Tensor<1>>,
}

impl ContrastiveHeads {
    pub(crate) fn new(width: usize, embed_dim: usize, device: &Device) -> Self {
        let head = || LinearConfig::new(width, embed_dim).init(device);
        Self {
            vision_proj: head(),
            text_proj: head(),
            temp: Initializer::Constant { value: 0.07 }.init([1], device),
        }
    }

    /// Unit-length feature of a picture.
    ///
    /// # Shapes
    ///
    /// - state: `[batch, width]`
    /// - output: `[batch, embed_dim]`
    pub fn image_feature(&self, state: Tensor<2>) -> Tensor<2> {
        l2_normalize(self.vision_proj.forward(state))
    }

    /// Unit-length feature of a caption: of the first (`[CLS]`) of its states.
    ///
    /// # Shapes
    ///
    /// - states: `[batch, length, width]`
    /// - output: `[batch, embed_dim]`
    pub fn text_feature(&self, states: Tensor<3>) -> Tensor<2> {
        let first = states.narrow(1, 0, 1).squeeze_dim::<2>(1);
        l2_normalize(self.text_proj.forward(first))
    }
}
