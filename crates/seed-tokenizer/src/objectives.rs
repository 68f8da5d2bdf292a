//! The objectives of both stages.
//!
//! - stage I: image-text contrast, SEED §2.2.1, `blip2_qformer_casual.py`
//! - before it: image-grounded text generation, BLIP-2 §3.2, <https://arxiv.org/abs/2301.12597>
//! - stage II: quantisation, reconstruction and distillation, SEED §2.2.2,
//!   `blip2_qformer_codebook_all_image.py`

use burn::tensor::{Device, Int, Tensor, TensorData, activation::log_softmax};
use serde::{Deserialize, Serialize};

use crate::{CodeAutoencoder, Quantized};

/// The reference's label smoothing of contrast and captioning.
pub const LABEL_SMOOTHING: f64 = 0.1;

/// The contrastive loss of a batch and how often it ranks right.
#[derive(Debug, Clone)]
pub struct Contrast {
    /// Mean of both directions' cross-entropies, `[1]`.
    pub loss: Tensor<1>,
    /// Share of images whose best caption is a right one, `[1]`.
    pub accuracy: Tensor<1>,
}

/// Which captions of a batch are right for which images: the diagonal alone, as in the reference.
pub fn diagonal_targets(batch: usize, device: &Device) -> Tensor<2> {
    Tensor::eye(batch, device)
}

/// Which captions of a batch are right for which images when several pairs may show the same
/// concept: each row shares its mass among all of them, so that a twin is no false negative.
///
/// # Shapes
///
/// - output: `[batch, batch]`, rows sum to 1
pub fn concept_targets(concepts: &[usize], device: &Device) -> Tensor<2> {
    let count = concepts.len();
    let mut values = vec![0.0f32; count * count];
    for (row, concept) in concepts.iter().enumerate() {
        let twins: Vec<usize> = (0..count)
            .filter(|&other| concepts[other] == *concept)
            .collect();
        for &twin in &twins {
            values[row * count + twin] = 1.0 / twins.len() as f32;
        }
    }
    Tensor::from_data(TensorData::new(values, [count, count]), device)
}

/// Image-text contrast: cross-entropy over in-batch similarities, in both directions, averaged.
///
/// # Shapes
///
/// - image_features, text_features: `[batch, embed_dim]`, unit length
/// - temperature: `[1]`, divides the cosines
/// - targets: `[batch, batch]`, symmetric, rows sum to 1, on the features' device
pub fn contrast(
    image_features: Tensor<2>,
    text_features: Tensor<2>,
    temperature: Tensor<1>,
    targets: Tensor<2>,
    label_smoothing: f64,
) -> Contrast {
    let cosines = image_features.matmul(text_features.transpose());
    contrast_of(cosines, temperature, targets, label_smoothing)
}

/// As [`contrast`], a picture being as near to a caption as the best of its queries is: BLIP-2's form,
/// which its Q-Former was trained with before SEED made it causal.
///
/// # Shapes
///
/// - query_features: `[batch, queries, embed_dim]`, unit length
/// - text_features: `[batch, embed_dim]`, unit length
/// - the rest as in [`contrast`]
pub fn contrast_of_best_query(
    query_features: Tensor<3>,
    text_features: Tensor<2>,
    temperature: Tensor<1>,
    targets: Tensor<2>,
    label_smoothing: f64,
) -> Contrast {
    let cosines = query_features.matmul(text_features.transpose().unsqueeze());
    let best = cosines.max_dim(1).squeeze_dim::<2>(1);
    contrast_of(best, temperature, targets, label_smoothing)
}

/// Cross-entropy over cosines `[batch, batch]`, in both directions, averaged.
fn contrast_of(
    cosines: Tensor<2>,
    temperature: Tensor<1>,
    targets: Tensor<2>,
    label_smoothing: f64,
) -> Contrast {
    let batch = targets.dims()[0];
    let logits = cosines / temperature.unsqueeze::<2>();
    let best: Tensor<2, Int> = logits.clone().inner().argmax(1);
    let hits = targets
        .clone()
        .gather(1, best)
        .greater_elem(0.0)
        .float()
        .mean();
    let smooth = targets.mul_scalar(1.0 - label_smoothing) + label_smoothing / batch as f64;
    let cross_entropy = |logits: Tensor<2>| {
        let terms = smooth.clone() * log_softmax(logits, 1);
        terms.sum().div_scalar(-(batch as f64))
    };
    let loss = (cross_entropy(logits.clone()) + cross_entropy(logits.transpose())).mul_scalar(0.5);
    Contrast {
        loss,
        accuracy: hits,
    }
}

/// Image-grounded text generation: cross-entropy of the next word, averaged over words.
///
/// # Shapes
///
/// - scores: `[words, vocab_size]`
/// - words: `[words]`, what is right; padding is left out before
/// - output: `[1]`
pub fn captioning_loss(
    scores: Tensor<2>,
    words: Tensor<1, Int>,
    label_smoothing: f64,
) -> Tensor<1> {
    let log_shares = log_softmax(scores, 1);
    let right = log_shares.clone().gather(1, words.unsqueeze_dim(1)).mean();
    let all = log_shares.mean();
    right.mul_scalar(label_smoothing - 1.0) - all.mul_scalar(label_smoothing)
}

/// `1 − cos`, averaged over batch and tokens (SEED's `L_rec`), `[1]`.
///
/// # Shapes
///
/// - rebuilt, target: `[batch, tokens, width]`
pub fn cosine_distance(rebuilt: Tensor<3>, target: Tensor<3>) -> Tensor<1> {
    let dot = (rebuilt.clone() * target.clone()).sum_dim(2);
    let norm = |x: Tensor<3>| x.square().sum_dim(2).sqrt().clamp_min(1e-8);
    let cosine = dot / (norm(rebuilt) * norm(target));
    cosine.mean().neg() + 1.0
}

/// Weights of the terms of stage II.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageTwoWeights {
    /// Codebook and commitment.
    pub quantization: f64,
    /// Cosine reconstruction of the embeddings.
    pub reconstruction: f64,
    /// Squared error to the caption's text states.
    pub text: f64,
    /// Squared error to the image embedding.
    pub image: f64,
}

impl Default for StageTwoWeights {
    /// The reference's weights.
    fn default() -> Self {
        Self {
            quantization: 5.0,
            reconstruction: 2.0,
            text: 0.5,
            image: 0.5,
        }
    }
}

/// What stage II is to rebuild besides the embeddings.
#[derive(Debug, Clone, Default)]
pub struct StageTwoTargets {
    /// Text states of the caption `[batch, length, width]`, all positions, padding included.
    pub text: Option<Tensor<3>>,
    /// Image embedding `[batch, width]`, not normalised.
    pub image: Option<Tensor<2>>,
}

/// The unweighted terms of stage II, their weighted sum, and the codes behind them.
#[derive(Debug, Clone)]
pub struct StageTwoLosses {
    /// Weighted sum, `[1]`.
    pub total: Tensor<1>,
    /// Codebook and commitment, `[1]`.
    pub quantization: Tensor<1>,
    /// `1 − cos` to the embeddings, `[1]`.
    pub reconstruction: Tensor<1>,
    /// Squared error to the text states, with a text head and target, `[1]`.
    pub text: Option<Tensor<1>>,
    /// Squared error to the image embedding, with an image head and target, `[1]`.
    pub image: Option<Tensor<1>>,
    /// Projected vectors that entered the quantiser, `[batch, positions, dim]`.
    pub vectors: Tensor<3>,
    /// What the quantiser made of them.
    pub quantized: Quantized,
}

impl CodeAutoencoder {
    /// The losses of stage II.
    ///
    /// A head without a target, or a target without a head, is left out.
    ///
    /// # Shapes
    ///
    /// - embeddings: `[batch, positions, width]`, of the frozen token encoder
    pub fn losses(
        &self,
        embeddings: Tensor<3>,
        targets: StageTwoTargets,
        weights: &StageTwoWeights,
    ) -> StageTwoLosses {
        let vectors = self.code_vectors(embeddings.clone());
        let quantized = self.quantize.forward(vectors.clone());
        let u = self.decode_vectors(quantized.vectors.clone());
        let rebuilt = self.reconstruction.forward(u.clone());
        let reconstruction = cosine_distance(rebuilt, embeddings);
        let text = self
            .text_head
            .as_ref()
            .zip(targets.text)
            .map(|(head, target)| (head.forward(u.clone()) - target).square().mean());
        let image = self
            .image_head
            .as_ref()
            .zip(targets.image)
            .map(|(head, target)| (head.forward(u) - target).square().mean());
        let mut total = quantized.loss.clone().mul_scalar(weights.quantization)
            + reconstruction.clone().mul_scalar(weights.reconstruction);
        if let Some(text) = &text {
            total = total + text.clone().mul_scalar(weights.text);
        }
        if let Some(image) = &image {
            total = total + image.clone().mul_scalar(weights.image);
        }
        let quantization = quantized.loss.clone();
        StageTwoLosses {
            total,
            quantization,
            reconstruction,
            text,
            image,
            vectors,
            quantized,
        }
    }
}
