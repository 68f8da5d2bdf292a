//! Stage II's step from pixels, beside which the step from the cache is measured.

use burn::{
    module::ParamId,
    tensor::{Tensor, TensorData},
};
use seed::{
    device::Device,
    encoders::EvaVit,
    recipes::tokenizer::{StageTwo, StageTwoBatch},
    tokenizer::{CodeAutoencoder, TokenEncoder},
    train::{Losses, Recipe, Updated},
};
use serde_json::Value;

/// Stage II without a cache: what a step costs if the frozen parts run in it.
pub(crate) struct FromPixels {
    pub(crate) stage_two: StageTwo,
    pub(crate) image: EvaVit,
    pub(crate) tokens: TokenEncoder,
    pub(crate) image_size: usize,
    /// Where the frozen parts run, without autodiff.
    pub(crate) device: Device,
}

impl Recipe for FromPixels {
    type Model = CodeAutoencoder;
    /// Pictures and text states.
    type Batch = (Vec<Vec<f32>>, Vec<Vec<f32>>);

    fn name(&self) -> &'static str {
        "stage-2-uncached"
    }

    fn config(&self) -> Value {
        self.stage_two.config()
    }

    fn loss(&self, model: &CodeAutoencoder, (pictures, text_states): Self::Batch) -> Losses {
        let pictures = stack(&pictures, self.image_size, &self.device);
        let embeddings = self.tokens.forward(self.image.forward(pictures));
        let [_, positions, width] = embeddings.dims();
        let values: Vec<f32> = embeddings.into_data().iter::<f32>().collect();
        let embeddings = values.chunks(positions * width).map(<[f32]>::to_vec);
        let batch = StageTwoBatch {
            embeddings: embeddings.collect(),
            text_states,
            image_embeddings: Vec::new(),
        };
        self.stage_two.loss(model, batch)
    }

    fn replaced_parameters(&self, model: &CodeAutoencoder) -> Vec<ParamId> {
        self.stage_two.replaced_parameters(model)
    }

    fn after_update(&self, model: CodeAutoencoder, step: u64) -> Updated<CodeAutoencoder> {
        self.stage_two.after_update(model, step)
    }
}

/// Pictures as a tensor `[count, 3, size, size]`.
pub(crate) fn stack(pictures: &[Vec<f32>], size: usize, device: &Device) -> Tensor<4> {
    let shape = [pictures.len(), 3, size, size];
    Tensor::from_data(TensorData::new(pictures.concat(), shape), device)
}
