//! Keys and values of the tokens that were already read.

use burn::tensor::{Device, Int, Tensor, s};
use seed_nn::{AttentionBias, causal_bias_after, padding_bias};

use super::config::OptConfig;
use crate::error::LmError;

/// Keys and values of every layer, in tensors that are allocated once and filled in place.
#[derive(Debug, Clone)]
pub struct KvCache {
    pub(super) layers: Vec<LayerCache>,
    /// Tokens read so far, padding included.
    length: usize,
    capacity: usize,
    /// Which of them are padding, where there is any.
    padding: Option<Padding>,
}

/// What rows of different lengths need.
#[derive(Debug, Clone)]
struct Padding {
    /// 1 for a real token, `[batch, length]`.
    mask: Tensor<2, Int>,
    /// Real tokens of each row so far, `[batch, 1]`.
    counts: Tensor<2, Int>,
}

/// Keys and values of one layer, `[batch, heads, capacity, head]`, of which the first `length` are filled.
#[derive(Debug, Clone)]
pub struct LayerCache {
    keys: Tensor<4>,
    values: Tensor<4>,
    length: usize,
}

impl LayerCache {
    /// Appends new keys and values, and gives all of them.
    pub(super) fn extend(&mut self, key: Tensor<4>, value: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let new = key.dims()[2];
        let range = self.length..self.length + new;
        self.length += new;
        let append = |all: &mut Tensor<4>, fresh: Tensor<4>| {
            // The first keys say in which type the model computes.
            if all.dtype() != fresh.dtype() {
                *all = all.clone().cast(fresh.dtype());
            }
            // The only handle to it must be the one that is written, or the backend copies all.
            let empty = Tensor::empty([1, 1, 1, 1], &fresh.device());
            let whole = std::mem::replace(all, empty);
            *all = whole.slice_assign(s![.., .., range.clone(), ..], fresh);
            all.clone().narrow(2, 0, self.length)
        };
        let keys = append(&mut self.keys, key);
        (keys, append(&mut self.values, value))
    }
}

impl KvCache {
    /// An empty cache for `batch` rows of at most `capacity` tokens.
    ///
    /// # Errors
    ///
    /// [`LmError::TooLong`] if the model has fewer positions.
    pub fn new(
        config: &OptConfig,
        batch: usize,
        capacity: usize,
        device: &Device,
    ) -> Result<Self, LmError> {
        if capacity > config.max_length {
            return Err(LmError::TooLong {
                length: capacity,
                longest: config.max_length,
            });
        }
        let shape = [batch, config.heads, capacity, config.width / config.heads];
        let layer = || LayerCache {
            keys: Tensor::zeros(shape, device),
            values: Tensor::zeros(shape, device),
            length: 0,
        };
        Ok(Self {
            layers: (0..config.depth).map(|_| layer()).collect(),
            length: 0,
            capacity,
            padding: None,
        })
    }

    /// Tokens read so far, padding included.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Takes up to `capacity` tokens.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Keeps the rows of these indices, in their order; a row may be kept more than once.
    ///
    /// # Shapes
    ///
    /// - rows: `[new batch]`
    pub fn select(&mut self, rows: Tensor<1, Int>) {
        for layer in &mut self.layers {
            layer.keys = layer.keys.clone().select(0, rows.clone());
            layer.values = layer.values.clone().select(0, rows.clone());
        }
        if let Some(padding) = &mut self.padding {
            padding.mask = padding.mask.clone().select(0, rows.clone());
            padding.counts = padding.counts.clone().select(0, rows);
        }
    }

    /// Makes room for `new` more tokens: their positions `[batch or 1, new]`, and the bias of their
    /// attention to all tokens up to them.
    pub(super) fn advance(
        &mut self,
        batch: usize,
        new: usize,
        mask: Option<Tensor<2, Int>>,
        device: &Device,
    ) -> (Tensor<2, Int>, Option<AttentionBias>) {
        let past = self.length;
        self.length += new;
        let causal = (new > 1).then(|| causal_bias_after(past, new, device));
        if mask.is_none() && self.padding.is_none() {
            let positions = Tensor::arange(past as i64..self.length as i64, device);
            return (positions.unsqueeze(), causal);
        }
        let old = self.padding.take();
        let (old_mask, counts) = match old {
            Some(padding) => (Some(padding.mask), padding.counts),
            None => (
                (past > 0).then(|| Tensor::ones([batch, past], device)),
                Tensor::full([batch, 1], past as i64, device),
            ),
        };
        let fresh = mask.unwrap_or_else(|| Tensor::ones([batch, new], device));
        let positions = counts.clone() + fresh.clone().cumsum(1) - 1;
        // Padding before the first token has position −1, the first row of OPT's table after its offset.
        let counts = counts + fresh.clone().sum_dim(1);
        let mask = match old_mask {
            Some(old) => Tensor::cat(vec![old, fresh], 1),
            None => fresh,
        };
        let hidden = padding_bias(mask.clone());
        self.padding = Some(Padding { mask, counts });
        let bias = match causal {
            Some(causal) => hidden + causal,
            None => hidden,
        };
        (positions, Some(bias))
    }
}
