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
use seed_train::{
    ConfigError, Existing, ProgressMode, RunDir, RunInfo, StopFlag, TrainConfig, Trained, Trainer,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::recipe::{ClipBatch, ClipRecipe, ClipTrainee};
use crate::{
    batches::batches_from,
    candidates::Candidates,
    captions::vary_caption,
    error::RecipeError,
    features::FeatureRows,
    frozen::hex,
    settings::{overlay, preset, without},
    tensors::{stack, tokens},
};

/// Pictures or captions that go through a tower at once when it is judged.
const BATCH: usize = 128;

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
    /// The nano CLIP's training: `experiments/nano-clip`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Parse`]; a test reads it.
    pub fn nano() -> Result<Self, ConfigError> {
        let text = include_str!("../../../../experiments/nano-clip/config.toml");
        preset("experiments/nano-clip/config.toml", text)
    }

    /// A minute's training: shows that everything works, learns little (`presets/smoke-clip.toml`).
    ///
    /// # Errors
    ///
    /// [`ConfigError::Parse`]; a test reads the preset.
    pub fn smoke(&self) -> Result<Self, ConfigError> {
        let text = include_str!("../../presets/smoke-clip.toml");
        overlay(self, "presets/smoke-clip.toml", text)
    }

    /// Refuses settings with which no training is possible.
    ///
    /// # Errors
    ///
    /// [`RecipeError::Model`] and [`RecipeError::Config`], which name the key.
    pub fn validate(&self) -> Result<(), RecipeError> {
        self.clip.validate()?;
        self.train.validate()?;
        let image = &self.clip.image;
        let (side, patches) = (image.image_size, image.tokens() - 1);
        let longest = self.clip.text.max_length;
        let share = |value: f64| (0.0..=1.0).contains(&value);
        let checks = [
            (
                self.transform.size as usize == side,
                "transform.size",
                self.transform.size.to_string(),
                format!("{side}, the image tower's `clip.image.image_size`"),
            ),
            (
                (1..=4096).contains(&self.render_size),
                "render_size",
                self.render_size.to_string(),
                "1 to 4096 pixels".to_owned(),
            ),
            (
                share(f64::from(self.restyled_share)),
                "restyled_share",
                self.restyled_share.to_string(),
                "0 to 1".to_owned(),
            ),
            (
                (1..=longest).contains(&self.text_length),
                "text_length",
                self.text_length.to_string(),
                format!("1 to the text tower's {longest} positions"),
            ),
            (
                self.kept_patches
                    .is_none_or(|kept| (1..=patches).contains(&kept)),
                "kept_patches",
                format!("{:?}", self.kept_patches),
                format!("1 to {patches}: as many as `image_size` and `patch_size` give"),
            ),
            (
                share(self.label_smoothing),
                "label_smoothing",
                self.label_smoothing.to_string(),
                "0 to 1".to_owned(),
            ),
            (
                self.prototype_weight.is_finite() && self.prototype_weight >= 0.0,
                "prototype_weight",
                self.prototype_weight.to_string(),
                "finite and not negative".to_owned(),
            ),
        ];
        for (holds, key, value, expected) in checks {
            ConfigError::require(holds, key, value, &expected)?;
        }
        Ok(())
    }

    /// Settings that decide what is computed, but for the step loop's; `evaluate_every` only looks.
    pub fn identity(&self) -> Value {
        without(self, &["train", "evaluate_every"])
    }

    /// The recipe of the step loop, for that many training concepts of data that `data` identifies.
    pub fn recipe(&self, concepts: usize, data: Value, device: &Device) -> ClipRecipe {
        ClipRecipe {
            identity: json!({ "settings": self.identity(), "data": data }),
            clip: self.clip.clone(),
            kept_patches: self.kept_patches,
            device: device.clone(),
            label_smoothing: self.label_smoothing,
            concepts,
            prototype_weight: self.prototype_weight,
            activations: self.activations,
        }
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
    /// The folder of the run `name` below `runs`, with the text tokenizer in it; `device` is as it was asked for.
    pub fn open_run(
        &self,
        runs: &Path,
        name: &str,
        device: &str,
        existing: Existing,
    ) -> Result<RunDir, RecipeError> {
        let info = RunInfo {
            config: serde_json::to_value(self.config).unwrap_or_default(),
            seed: self.config.train.seed,
            device: device.to_owned(),
            outputs: &["clip.safetensors", "tokenizer.json"],
        };
        let run = RunDir::open(runs, name, existing, &info)?;
        self.tokenizer.save(&run.path().join("tokenizer.json"))?;
        Ok(run)
    }

    /// Trains, or goes on where the run stopped.
    pub fn train(
        &self,
        run: &mut RunDir,
        progress: ProgressMode,
        stop: StopFlag,
    ) -> Result<Trained<ClipTrainee>, RecipeError> {
        self.config.validate()?;
        self.config.activations.require_on(self.device)?;
        let device = self.device.clone().autodiff();
        let config = &self.config.train;
        seed_device::seed(&device, config.seed);
        let concepts = training_concepts(self.corpus).len();
        let recipe = self.config.recipe(concepts, self.data()?, &device);
        let model = recipe.init()?;
        let loader = self.loader()?;
        let batches = |step| batches_from(loader.start_at(step), |items| Ok(self.collate(items)?));
        let validation = self
            .corpus
            .validation_seen()
            .with_size(self.config.render_size);
        let validation = validation.render_all(self.cache)?;
        Ok(Trainer::new(&recipe, config)
            .progress(progress)
            .stop(stop)
            .steps_per_epoch(loader.steps_per_epoch())
            .on_evaluate(self.config.evaluate_every, |model, _| {
                let scores = self.retrieval(&model.clip, &validation)?;
                Ok(vec![
                    ("validation_r1".to_owned(), scores.image_to_text.r1),
                    ("validation_r_mean".to_owned(), scores.r_mean),
                ])
            })
            .train(model, batches, run)?)
    }

    /// What the pictures and the words are: the drawings at their size, and the tokenizer.
    fn data(&self) -> Result<Value, RecipeError> {
        let set = self.corpus.train().with_size(self.config.render_size);
        Ok(json!({
            "pictures": hex(&set.fingerprint()),
            "tokenizer": blake3::hash(self.tokenizer.to_json()?.as_bytes()).to_hex().to_string(),
        }))
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
        let candidates = Candidates::of(set);
        let (mut images, mut texts) = (FeatureRows::default(), FeatureRows::default());
        for start in (0..set.len()).step_by(BATCH) {
            let indices = start..(start + BATCH).min(set.len());
            let count = indices.len();
            let pictures = indices
                .map(|index| Ok(transform.tensor(&set.picture(index)?, &Normalize::clip())))
                .collect::<Result<Vec<_>, DataError>>()?;
            let batch = stack(pictures, [count, 3, size, size], self.device);
            images.push(model.image_features(batch));
        }
        for captions in candidates.texts(set).chunks(BATCH) {
            let batch = self
                .tokenizer
                .encode_batch(captions, self.config.text_length)?;
            let (ids, _) = tokens(batch, self.device);
            texts.push(model.text_features(ids));
        }
        let truth = GroundTruth::new(&candidates.shown, &candidates.named)?;
        Ok(truth.cosine(&images.features()?, &texts.features()?)?)
    }
}
