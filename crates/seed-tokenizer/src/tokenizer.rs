//! The whole tokenizer: images to codes, codes to generation embeddings.

use burn::{
    module::Module,
    tensor::{DType, Device, Int, Tensor},
};
use seed_encoders::EvaVit;
use seed_nn::ConfigError;

use crate::{CodeAutoencoder, SeedConfig, TokenEncoder};

/// Image tower, token encoder and code autoencoder, joined for inference.
#[derive(Module, Debug)]
pub struct SeedTokenizer {
    /// The frozen image tower.
    pub image: EvaVit,
    /// Image tokens to embeddings.
    pub tokens: TokenEncoder,
    /// Embeddings to codes and back.
    pub codes: CodeAutoencoder,
}

impl SeedConfig {
    /// Initialises the whole tokenizer on `device`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the parts do not fit together.
    pub fn init(&self, device: &Device) -> Result<SeedTokenizer, ConfigError> {
        self.validate()?;
        Ok(SeedTokenizer {
            image: self.image.init(device)?,
            tokens: self.tokens.init(device)?,
            codes: self.codes.init(device)?,
        })
    }
}

impl SeedTokenizer {
    /// Embeddings of images; with causal queries, SEED's causal embeddings.
    ///
    /// # Shapes
    ///
    /// - images: `[batch, 3, size, size]`, normalised with CLIP's mean and deviation
    /// - output: `[batch, tokens, width]`
    pub fn embed(&self, images: Tensor<4>) -> Tensor<3> {
        self.embed_in(images, DType::F32)
    }

    /// As [`Self::embed`], with the activations of image tower and token encoder in the type `activations`, which a GPU
    /// multiplies much faster if it is a half. What comes out is f32.
    pub fn embed_in(&self, images: Tensor<4>, activations: DType) -> Tensor<3> {
        let image_tokens = self.image.forward_in(images, activations);
        self.tokens.forward(image_tokens).cast(DType::F32)
    }

    /// Codes of images, in the order of the queries, or in raster order.
    ///
    /// # Shapes
    ///
    /// - images: `[batch, 3, size, size]`
    /// - output: `[batch, tokens]`, each below the codebook's size
    pub fn encode(&self, images: Tensor<4>) -> Tensor<2, Int> {
        self.encode_in(images, DType::F32)
    }

    /// As [`Self::encode`], with activations as in [`Self::embed_in`]; codes whose two nearest rows are close together
    /// may differ.
    pub fn encode_in(&self, images: Tensor<4>, activations: DType) -> Tensor<2, Int> {
        self.codes.encode(self.embed_in(images, activations))
    }

    /// Generation embeddings of codes in text space (SEED v1), if the model has a text head; of the first codes alone, if
    /// only those are given.
    ///
    /// # Shapes
    ///
    /// - codes: `[batch, at most tokens]`
    /// - output: `[batch, length, width]`, `[batch, 77, 768]` at full size
    pub fn generation_embeddings(&self, codes: Tensor<2, Int>) -> Option<Tensor<3>> {
        let head = self.codes.text_head.as_ref()?;
        Some(head.forward(self.codes.decode(codes)))
    }

    /// Generation embedding of codes in image space (SEED v2), if the model has an image head; of the first codes alone, if
    /// only those are given.
    ///
    /// # Shapes
    ///
    /// - codes: `[batch, at most tokens]`
    /// - output: `[batch, width]`, `[batch, 1024]` at full size
    pub fn image_embedding(&self, codes: Tensor<2, Int>) -> Option<Tensor<2>> {
        let head = self.codes.image_head.as_ref()?;
        Some(head.forward(self.codes.decode(codes)))
    }
}
