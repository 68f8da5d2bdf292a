//! Next-token prediction over words and codes, with an adapter and a visual vocabulary that learn and a language
//! model that stays as it is.

use burn::{
    module::Module,
    tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData},
};
use seed_device::Precision;
use seed_lm::{Adapter, Opt, SeedLm, Sequence, SequenceBatch, VisualIds, VisualVocabulary};
use seed_train::{Losses, Part, Recipe};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a sequence teaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Image to text.
    Caption,
    /// Text to image.
    Image,
    /// An answer to a question about an image.
    Question,
}

impl Task {
    /// All tasks.
    pub const ALL: [Self; 3] = [Self::Caption, Self::Image, Self::Question];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Caption => "caption",
            Self::Image => "image",
            Self::Question => "question",
        }
    }
}

/// What learns: an adapter, and the rows that the vocabulary grows by.
///
/// The language model is no part of it: neither the optimiser nor a checkpoint holds anything for it.
#[derive(Module, Debug)]
pub struct LmTrainee {
    /// The adapter.
    pub adapter: Adapter,
    /// Codes, `IMG`, `/IMG`.
    pub vocabulary: VisualVocabulary,
}

/// One sequence as the loader makes it.
#[derive(Debug, Clone)]
pub struct LmItem {
    /// Condition and target.
    pub sequence: Sequence,
    /// What it teaches.
    pub task: Task,
    /// Vectors in the place of the codes, where a model reads what was not quantised: `[positions, width]`.
    pub vectors: Vec<f32>,
}

/// Sequences side by side.
#[derive(Debug)]
pub struct LmBatch {
    /// Ids, layout and targets.
    pub sequences: SequenceBatch,
    /// What each sequence teaches.
    pub tasks: Vec<Task>,
    /// Vectors that stand in the place of all codes, row after row; empty where codes are read.
    pub vectors: Vec<f32>,
}

/// The training of an adapter on a frozen language model.
pub struct LanguageRecipe {
    /// Short name of the phase.
    pub name: &'static str,
    /// The language model: no parameter of it requires a gradient.
    pub base: Opt,
    /// Where words and codes have their ids.
    pub ids: VisualIds,
    /// Type of the activations in the language model; what is trained and losses are f32.
    pub activations: Precision,
    /// Everything that decides what is computed.
    pub identity: Value,
    /// Where tensors are made: the training device.
    pub device: Device,
}

impl LanguageRecipe {
    /// The base with the trainee around it.
    ///
    /// # Panics
    ///
    /// If the adapter was made for another model.
    pub fn model(&self, trainee: &LmTrainee) -> SeedLm {
        let mut base = self.base.clone();
        if let Err(error) = trainee.adapter.clone().attach(base.linears_mut()) {
            panic!("{error}");
        }
        SeedLm::new(base, trainee.vocabulary.clone(), self.ids)
    }
}

/// Embeddings of a batch's sequences, with vectors in the place of codes where there are some.
pub(super) fn embeddings(
    model: &SeedLm,
    sequences: &SequenceBatch,
    vectors: &[f32],
    device: &Device,
) -> Tensor<3> {
    let embeddings = model.embed(sequences.ids(device));
    if vectors.is_empty() {
        return embeddings;
    }
    let ids = model.ids();
    let is_code = |id: &&i64| u32::try_from(**id).is_ok_and(|id| ids.code(id).is_some());
    let places: Vec<i64> = sequences
        .ids
        .iter()
        .enumerate()
        .filter(|(_, id)| is_code(id))
        .map(|(place, _)| place as i64)
        .collect();
    let [rows, length, width] = embeddings.dims();
    let count = places.len();
    let data = TensorData::new(vectors.to_vec(), [1, count, vectors.len() / count.max(1)]);
    let projected = model.vocabulary.project(Tensor::from_data(data, device));
    let places = Tensor::<1, Int>::from_data(places.as_slice(), device);
    let put = |values: Tensor<2>| {
        Tensor::<2>::zeros([rows * length, width], device).select_assign(
            0,
            places.clone(),
            values,
            IndexingUpdateOp::Add,
        )
    };
    let taken = put(Tensor::ones([count, width], device));
    let kept = embeddings.reshape([rows * length, width]) * (taken.neg() + 1.0);
    (kept + put(projected.squeeze_dim(0))).reshape([rows, length, width])
}

impl Recipe for LanguageRecipe {
    type Model = LmTrainee;
    type Batch = LmBatch;

    fn name(&self) -> &'static str {
        self.name
    }

    fn config(&self) -> Value {
        self.identity.clone()
    }

    /// Each task costs the mean over its targets, and weighs as its sequences do among those of the batch: an image has
    /// many more targets than a caption, and would drown it otherwise; and a task that is seldom drawn weighs as little.
    fn loss(&self, model: &LmTrainee, batch: LmBatch) -> Losses {
        let model = self.model(model);
        let device = &self.device;
        let embeddings = embeddings(&model, &batch.sequences, &batch.vectors, device);
        let [places, targets] = batch.sequences.targets(device);
        let layout = batch.sequences.layout(device);
        let embeddings = embeddings.cast(self.activations.dtype());
        let found = model.log_likelihoods(embeddings, &layout, places, targets);
        let mut total = Tensor::zeros([1], device);
        let mut parts = Vec::new();
        for task in Task::ALL {
            let owners = batch.sequences.owners.iter().enumerate();
            let own: Vec<i64> = owners
                .filter(|(_, owner)| batch.tasks[**owner] == task)
                .map(|(index, _)| index as i64)
                .collect();
            if own.is_empty() {
                continue;
            }
            let own = Tensor::<1, Int>::from_data(own.as_slice(), device);
            let loss = found.clone().select(0, own).mean().neg();
            let sequences = batch.tasks.iter().filter(|other| **other == task).count();
            let share = sequences as f64 / batch.tasks.len() as f64;
            total = total + loss.clone().mul_scalar(share);
            parts.push(Part {
                name: task.name(),
                value: loss,
                items: sequences as f64,
            });
        }
        Losses { total, parts }
    }
}
