//! What a UNet's layers give on the way, for a comparison with another implementation.

use burn::tensor::Tensor;

/// The states of one pass, by the names of diffusers' modules.
#[derive(Debug, Clone)]
pub struct UnetStates {
    /// Cosines and sines of the time steps, `[batch or 1, channels]`.
    pub time_proj: Tensor<2>,
    /// Embedding of the time steps, before a class label is added, `[batch or 1, 4 · channels]`.
    pub time_embedding: Tensor<2>,
    /// `conv_in`; `down_block_I`, `mid_block` and `up_block_I`, and their `_resnet_J` and `_attention_J`; `conv_norm_out`;
    /// each `[batch, channels, height, width]`, in the order in which they are computed.
    pub maps: Vec<(String, Tensor<4>)>,
    /// What the model gives, `[batch, output_channels, height, width]`.
    pub sample: Tensor<4>,
}

/// Who looks at the states of a pass, if anyone does: kept states are memory.
pub(super) struct Watch<'a> {
    prefix: String,
    seen: Option<&'a mut Vec<(String, Tensor<4>)>>,
}

impl<'a> Watch<'a> {
    /// Nobody looks.
    pub(super) fn nobody() -> Self {
        Self {
            prefix: String::new(),
            seen: None,
        }
    }

    /// Whatever is shown is kept.
    pub(super) fn keeping(seen: &'a mut Vec<(String, Tensor<4>)>) -> Self {
        Self {
            prefix: String::new(),
            seen: Some(seen),
        }
    }

    /// Looks on at what is inside a part of this name.
    pub(super) fn inside(&mut self, name: &str) -> Watch<'_> {
        Watch {
            prefix: format!("{}{name}_", self.prefix),
            seen: self.seen.as_deref_mut(),
        }
    }

    /// Whether anyone looks: for a state that is not computed otherwise.
    pub(super) fn looks(&self) -> bool {
        self.seen.is_some()
    }

    /// Shows a state.
    pub(super) fn see(&mut self, name: &str, state: &Tensor<4>) {
        if let Some(seen) = &mut self.seen {
            seen.push((format!("{}{name}", self.prefix), state.clone()));
        }
    }
}
