//! Where the nano CLIP comes from: the training split of the corpus, drawn in more than one style.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use burn::{
    module::Module,
    tensor::{DType, Device},
};
use rand::RngExt;
use seed_data::{
    Cache, Corpus, DataError, EvalTransform, ItemContext, Loader, LoaderConfig, Normalize, PairSet,
    Style, TextTokenizer, TrainTransform, train_wordpiece,
};
use seed_device::Precision;
use seed_encoders::{Clip, ClipConfig, clip_keys};
use seed_eval::{GroundTruth, RetrievalScores};
use serde::{Deserialize, Serialize};

use super::{
    ClipBatch, ClipRecipe, ClipTrainee, RecipeError,
    batches::batches_from,
    captions::vary_caption,
    evaluation::{BATCH, Rows, first_of_each},
    tensors::{stack, tokens},
};
use crate::{ProgressMode, RunDir, StopFlag, TrainConfig, Trained, Trainer};

/// Settings of the nano CLIP's training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipPretrainingConfig {
    /// Sizes of the towers.
    pub clip: ClipConfig,
    /// Side in pixels at which drawings are rendered before the crop.
    pub render_size: u32,
    /// Styles of the renderings that join the plain ones.
    pub styles: Vec<Style>,
    /// Probability of a rendering in one of these styles.
    pub restyled_share: f32,
    /// Random crop and augmentation.
    pub transform: TrainTransform,
    /// Longest caption in tokens.
    pub text_length: usize,
    /// Patches of each picture that enter the image tower; all if none is given.
    pub kept_patches: Option<usize>,
    /// Label smoothing of the contrast.
    pub label_smoothing: f64,
    /// Weight of the cross-entropy over all training concepts' prototypes; 0 for none.
    #[serde(default)]
    pub prototype_weight: f64,
    /// Type of the activations between the towers' blocks: bf16 is faster where the processor multiplies
    /// it (AMX, a GPU).
    #[serde(default)]
    pub activations: Precision,
    /// Steps between two validations.
    pub evaluate_every: u64,
    /// The step loop.
    pub train: TrainConfig,
}

impl ClipPretrainingConfig {
    /// The recipe of the step loop, for that many training concepts.
    pub fn recipe(&self, concepts: usize, device: &Device) -> ClipRecipe {
        ClipRecipe {
            clip: self.clip.clone(),
            kept_patches: self.kept_patches,
            device: device.clone(),
            label_smoothing: self.label_smoothing,
            concepts,
            prototype_weight: self.prototype_weight,
            activations: self.activations,
        }
    }

    /// A minute's training: shows that everything works, learns little.
    pub fn smoke(mut self) -> Self {
        self.train.steps = 4;
        self.train.batch_size = 32;
        self.evaluate_every = 4;
        self
    }
}

/// Trains the text tokenizer of the nano models, on the captions of the training split alone.
pub fn train_tokenizer_of(corpus: &Corpus, vocab_size: usize) -> Result<TextTokenizer, DataError> {
    let train = corpus.train();
    let captions = (0..train.len()).flat_map(|index| train.captions(index).to_vec());
    train_wordpiece(captions, vocab_size)
}

/// The concepts of the training split, numbered from 0.
pub fn training_concepts(corpus: &Corpus) -> BTreeMap<usize, usize> {
    let set = corpus.train();
    let concepts: BTreeSet<usize> = (0..set.len()).map(|index| set.concept(index)).collect();
    concepts.into_iter().zip(0..).collect()
}

/// The training of the nano CLIP.
pub struct ClipPretraining<'a> {
    /// Its settings.
    pub config: &'a ClipPretrainingConfig,
    /// The corpus; only its training split is trained on.
    pub corpus: &'a Corpus,
    /// The text tokenizer.
    pub tokenizer: Arc<TextTokenizer>,
    /// Where rendered drawings are kept.
    pub cache: &'a Cache,
    /// Where to train, without autodiff.
    pub device: &'a Device,
}

/// One pair as the loader makes it: picture, caption, concept.
type ClipItem = (Vec<f32>, String, usize);

impl ClipPretraining<'_> {
    /// Trains, or goes on where the run stopped.
    pub fn train(
        &self,
        run: &mut RunDir,
        progress: ProgressMode,
        stop: StopFlag,
    ) -> Result<Trained<ClipTrainee>, RecipeError> {
        let device = self.device.clone().autodiff();
        seed_device::seed(&device, self.config.train.seed);
        let concepts = training_concepts(self.corpus).len();
        let recipe = self.config.recipe(concepts, &device);
        let model = recipe.init()?;
        let loader = self.loader()?;
        let mut config = self.config.train.clone();
        config.steps_per_epoch = Some(loader.steps_per_epoch());
        let batches = |step| batches_from(loader.start_at(step), |items| Ok(self.collate(items)?));
        let validation = self
            .corpus
            .validation_seen()
            .with_size(self.config.render_size);
        let validation = validation.render_all(self.cache)?;
        Ok(Trainer::new(&recipe, &config)
            .progress(progress)
            .stop(stop)
            .on_evaluate(self.config.evaluate_every, |model, _| {
                let scores = self.retrieval(&model.clip, &validation)?;
                Ok(vec![
                    ("validation_r1".to_owned(), scores.image_to_text.r1),
                    ("validation_r_mean".to_owned(), scores.r_mean),
                ])
            })
            .train(model, batches, run)?)
    }

    /// Writes the trained towers as f16, with their config in the file's metadata.
    pub fn save(&self, model: Clip, path: &Path) -> Result<(), RecipeError> {
        let config = serde_json::to_string(&self.config.clip).unwrap_or_default();
        let model = model.valid();
        Ok(seed_weights::save(
            &model,
            path,
            &clip_keys(),
            DType::F16,
            config,
        )?)
    }

    /// A loader that draws a style, a crop and a wording of each training pair.
    pub fn loader(&self) -> Result<Loader<ClipItem, DataError>, RecipeError> {
        let concepts = training_concepts(self.corpus);
        let set = self.corpus.train().with_size(self.config.render_size);
        let styles = std::iter::once(Style::Plain).chain(self.config.styles.iter().copied());
        let renderings = styles
            .map(|style| set.clone().with_style(style).render_all(self.cache))
            .collect::<Result<Vec<_>, _>>()?;
        let transform = self.config.transform.clone();
        let share = self.config.restyled_share;
        let make = move |item: ItemContext| -> Result<ClipItem, DataError> {
            let (index, mut rng) = (item.index as usize, item.rng);
            let restyled = renderings.len() > 1 && rng.random_range(0.0..1.0) < share;
            let style = if restyled {
                rng.random_range(1..renderings.len())
            } else {
                0
            };
            let set = &renderings[style];
            let caption = vary_caption(&set.captions(index)[0], &mut rng);
            let picture = set.picture(index)?;
            let image = transform.tensor(&picture, &Normalize::clip(), &mut rng);
            Ok((image, caption, concepts[&set.concept(index)]))
        };
        let train = &self.config.train;
        let config = LoaderConfig::new(train.batch_size, train.seed);
        Ok(Loader::new(set.len() as u32, config, make)?)
    }

    /// Joins the loader's items into a batch.
    pub fn collate(&self, items: Vec<ClipItem>) -> Result<ClipBatch, RecipeError> {
        let captions: Vec<&str> = items
            .iter()
            .map(|(_, caption, _)| caption.as_str())
            .collect();
        let captions = self
            .tokenizer
            .encode_batch(&captions, self.config.text_length)?;
        let concepts = items.iter().map(|(_, _, concept)| *concept).collect();
        let images = items.into_iter().map(|(image, _, _)| image).collect();
        Ok(ClipBatch {
            images,
            captions,
            concepts,
        })
    }

    /// Retrieval between a set's pictures and the captions of its concepts.
    ///
    /// `model` is on a device without autodiff.
    pub fn retrieval(
        &self,
        model: &Clip,
        set: &dyn PairSet,
    ) -> Result<RetrievalScores, RecipeError> {
        let size = self.config.clip.image.image_size;
        let transform = EvalTransform::new(size as u32);
        let concepts: Vec<usize> = (0..set.len()).map(|index| set.concept(index)).collect();
        let candidates = first_of_each(&concepts);
        let text_concepts: Vec<usize> = candidates.iter().map(|&index| concepts[index]).collect();
        let (mut images, mut texts) = (Rows::default(), Rows::default());
        for start in (0..set.len()).step_by(BATCH) {
            let indices = start..(start + BATCH).min(set.len());
            let count = indices.len();
            let pictures = indices
                .map(|index| Ok(transform.tensor(&set.picture(index)?, &Normalize::clip())))
                .collect::<Result<Vec<_>, DataError>>()?;
            let batch = stack(pictures, [count, 3, size, size], self.device);
            images.push(model.image_features(batch));
        }
        for chunk in candidates.chunks(BATCH) {
            let captions: Vec<&str> = chunk
                .iter()
                .map(|&index| set.captions(index)[0].as_str())
                .collect();
            let batch = self
                .tokenizer
                .encode_batch(&captions, self.config.text_length)?;
            let (ids, _) = tokens(batch, self.device);
            texts.push(model.text_features(ids));
        }
        let truth = GroundTruth::new(&concepts, &text_concepts)?;
        Ok(truth.cosine(&images.features()?, &texts.features()?)?)
    }
}
