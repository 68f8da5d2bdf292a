//! What a training stage has to say for itself.

use burn::module::{Module, ParamId};
use burn::tensor::{Bool, Tensor};
use serde_json::Value;

/// One training stage: a model, its batches, and the loss of a batch.
pub trait Recipe {
    /// The module that is trained; its frozen parts are parameters that require no gradient.
    type Model: Module;
    /// What the loader hands over for one (micro-)batch; tensors are made in [`loss`](Self::loss).
    type Batch: Send;

    /// The stage's short name (`itc`, `stage2`): the key of its metrics and its checkpoint folder.
    fn name(&self) -> &'static str;

    /// Everything beside [`TrainConfig`](crate::TrainConfig) that decides what is computed: settings and data. A
    /// checkpoint made with another value is refused, naming the keys that differ. What comes out of an earlier stage,
    /// such as the hash of its weights, stands under `inputs`: it is not known before that stage has run.
    fn config(&self) -> Value;

    /// Parameters of which rows are replaced in [`after_update`](Self::after_update), whose optimiser state must then
    /// be forgotten row by row.
    fn replaced_parameters(&self, model: &Self::Model) -> Vec<ParamId> {
        let _ = model;
        Vec::new()
    }

    /// The loss of `batch`, as a mean over its images.
    fn loss(&self, model: &Self::Model, batch: Self::Batch) -> Losses;

    /// Called after each optimiser step with the number of steps done so far: the place of
    /// moving-average codebooks and of dead-code revival. State kept across steps belongs into the
    /// model's parameters, where checkpoints find it.
    fn after_update(&self, model: Self::Model, step: u64) -> Updated<Self::Model> {
        let _ = step;
        Updated::new(model)
    }
}

/// A model after its optimiser step.
#[derive(Debug)]
pub struct Updated<M> {
    /// The model.
    pub model: M,
    /// Rows that hold something else now than what the optimiser moved there: their moments begin anew.
    pub replaced: Vec<ReplacedRows>,
}

/// Rows of a parameter of two dimensions that were replaced.
#[derive(Debug, Clone)]
pub struct ReplacedRows {
    /// The parameter, one of [`Recipe::replaced_parameters`].
    pub parameter: ParamId,
    /// True for each row that was replaced, `[rows, 1]`.
    pub rows: Tensor<2, Bool>,
}

impl<M> Updated<M> {
    /// A model of which nothing was replaced.
    pub fn new(model: M) -> Self {
        let replaced = Vec::new();
        Self { model, replaced }
    }
}

/// The loss to descend, and the scalars to log beside it.
#[derive(Debug, Clone)]
pub struct Losses {
    /// The differentiated loss, shape `[1]`.
    pub total: Tensor<1>,
    /// Named scalars: loss terms, accuracy, codebook usage. They stay on the device until the next log line.
    pub parts: Vec<Part>,
}

/// A scalar to log beside the loss.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its name in the metrics.
    pub name: &'static str,
    /// A mean over `items`, shape `[1]`.
    pub value: Tensor<1>,
    /// Over how many items of the micro-batch it is the mean: a step's value is the mean over those of all its
    /// micro-batches, and a micro-batch without any says nothing.
    pub items: f64,
}

impl Losses {
    /// A loss without parts.
    pub fn new(total: Tensor<1>) -> Self {
        Self {
            total,
            parts: Vec::new(),
        }
    }

    /// Adds a scalar to log; every micro-batch's counts the same.
    pub fn with(self, name: &'static str, value: Tensor<1>) -> Self {
        self.with_mean_of(1.0, name, value)
    }

    /// Adds a scalar to log that is a mean over so many items of the micro-batch.
    pub fn with_mean_of(mut self, items: f64, name: &'static str, value: Tensor<1>) -> Self {
        self.parts.push(Part { name, value, items });
        self
    }
}
