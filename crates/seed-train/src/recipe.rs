//! What a training stage has to say for itself.

use burn::module::Module;
use burn::tensor::Tensor;
use serde_json::Value;

/// One training stage: a model, its batches, and the loss of a batch.
pub trait Recipe {
    /// The module that is trained; its frozen parts are parameters that require no gradient.
    type Model: Module;
    /// What the loader hands over for one (micro-)batch; tensors are made in [`loss`](Self::loss).
    type Batch: Send;

    /// The stage's short name (`itc`, `stage2`): the key of its metrics and its checkpoint folder.
    fn name(&self) -> &'static str;

    /// Everything beside [`TrainConfig`](crate::TrainConfig) that decides what is computed: model
    /// sizes, loss weights, data. A checkpoint made with another value is refused, naming the keys
    /// that differ.
    fn config(&self) -> Value;

    /// The loss of `batch`, as a mean over its images.
    fn loss(&self, model: &Self::Model, batch: Self::Batch) -> Losses;

    /// Called after each optimiser step with the number of steps done so far: the place of
    /// moving-average codebooks and of dead-code revival. State kept across steps belongs into the
    /// model's parameters, where checkpoints find it.
    fn after_update(&self, model: Self::Model, step: u64) -> Self::Model {
        let _ = step;
        model
    }
}

/// The loss to descend, and the scalars to log beside it.
#[derive(Debug, Clone)]
pub struct Losses {
    /// The differentiated loss, shape `[1]`.
    pub total: Tensor<1>,
    /// Named scalars of shape `[1]`: loss terms, accuracy, codebook usage. They stay on the device
    /// until the next log line.
    pub parts: Vec<(&'static str, Tensor<1>)>,
}

impl Losses {
    /// A loss without parts.
    pub fn new(total: Tensor<1>) -> Self {
        Self {
            total,
            parts: Vec::new(),
        }
    }

    /// Adds a scalar to log.
    pub fn with(mut self, name: &'static str, value: Tensor<1>) -> Self {
        self.parts.push((name, value));
        self
    }
}
