//! The language model's two phases (SEED §3): image to text first, then both directions together.

use std::{collections::BTreeMap, sync::Arc};

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use rand::RngExt;
use seed_data::{
    Cache, DataError, ItemContext, Loader, LoaderConfig, PairSet, Question, TextTokenizer,
    TrainTransform,
};
use seed_device::Precision;
use seed_lm::{
    CodeVectors, Example, LmAbout, LmError, LoraConfig, Opt, SeedLm, SeedLmConfig, Sequence,
    SequenceBatch, Templates, VisualHead, VisualIds, VisualVocabulary, VisualVocabularyConfig,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    super::{FrozenRows, RecipeError, Splits, Views, batches::batches_from},
    codes::{CodeRows, FrozenTokenizer, code_vectors},
    recipe::{LanguageRecipe, LmBatch, LmItem, LmTrainee, Task},
};
use crate::{ConfigError, Outcome, ProgressMode, RunDir, StopFlag, TrainConfig, Trainer};

/// Pictures whose embeddings say how large embeddings are.
const CALIBRATION_PICTURES: usize = 256;

/// What the language model reads in the place of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VisualInput {
    /// Codes: SEED.
    #[default]
    Codes,
    /// Causal embeddings, not quantised: a baseline that reads as BLIP-2 does, and cannot write.
    Embeddings,
}

/// How often each task is drawn; the numbers need not add up to one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mixture {
    /// Image to text.
    pub caption: f64,
    /// Text to image.
    pub image: f64,
    /// Questions, where the data have some.
    pub question: f64,
}

impl Mixture {
    fn weights(&self) -> [(Task, f64); 3] {
        [
            (Task::Caption, self.caption),
            (Task::Image, self.image),
            (Task::Question, self.question),
        ]
    }

    fn validate(&self, key: &str) -> Result<(), ConfigError> {
        let weights = self.weights().map(|(_, weight)| weight);
        let sound = weights
            .iter()
            .all(|weight| weight.is_finite() && *weight >= 0.0);
        let some = weights.iter().sum::<f64>() > 0.0;
        ConfigError::require(
            sound && some,
            key,
            format!("{weights:?}"),
            "not negative, and one above 0",
        )
    }

    /// Draws a task; the caption where a question is drawn and there is none.
    fn draw(&self, asked: bool, rng: &mut impl RngExt) -> Task {
        let weights = self.weights();
        let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let mut left = rng.random_range(0.0..total);
        for (task, weight) in weights {
            left -= weight;
            if left < 0.0 && (asked || task != Task::Question) {
                return task;
            }
        }
        Task::Caption
    }
}

/// One phase; one of 0 steps is left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LmPhase {
    /// How often each task is drawn.
    pub mixture: Mixture,
    /// The step loop.
    pub train: TrainConfig,
}

/// Settings of a language model's training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LmTrainingConfig {
    /// The adapter.
    pub lora: LoraConfig,
    /// What stands for a code in the vocabulary.
    pub vectors: CodeVectors,
    /// How the scores of codes are made.
    pub head: VisualHead,
    /// What the language model reads in the place of an image.
    pub visual_input: VisualInput,
    /// How sequences are put together.
    pub templates: Templates,
    /// Several sequences a row.
    pub packing: bool,
    /// Type of the activations in the language model: bf16 is faster where the processor multiplies it (AMX, a GPU).
    #[serde(default)]
    pub activations: Precision,
    /// Type that the frozen language model's weights are kept in: f16 or bf16 halve its memory.
    #[serde(default)]
    pub base_weights: Precision,
    /// Side in pixels at which drawings are rendered before the crop.
    pub render_size: u32,
    /// Random views of each training picture whose codes are kept, besides the picture as it is.
    pub views: usize,
    /// Random crop and augmentation of a view.
    pub transform: TrainTransform,
    /// First phase: image to text.
    pub image_to_text: LmPhase,
    /// Second phase: both directions.
    pub joint: LmPhase,
}

impl LmTrainingConfig {
    /// Refuses settings with which no training is possible.
    ///
    /// # Errors
    ///
    /// [`RecipeError`].
    pub fn validate(&self) -> Result<(), RecipeError> {
        self.lora.validate()?;
        self.templates.validate()?;
        for (name, phase) in self.phases() {
            let key = format!("{}.mixture", name.replace('-', "_"));
            phase.mixture.validate(&key)?;
            phase.train.validate()?;
        }
        let steps = "image_to_text.train.steps and joint.train.steps";
        let trains = self.phases().next().is_some();
        ConfigError::require(trains, steps, 0, "above 0 in one of them")?;
        ConfigError::require(self.views > 0, "views", self.views, "at least 1")?;
        Ok(())
    }

    /// The phases that run, in their order, with the names of their folders: one of 0 steps is left out.
    pub fn phases(&self) -> impl Iterator<Item = (&'static str, &LmPhase)> {
        [
            ("image-to-text", &self.image_to_text),
            ("joint", &self.joint),
        ]
        .into_iter()
        .filter(|(_, phase)| phase.train.steps > 0)
    }

    /// Whether images are learnt: codes are read, and some phase draws.
    pub fn draws(&self) -> bool {
        self.visual_input == VisualInput::Codes
            && self.phases().any(|(_, phase)| phase.mixture.image > 0.0)
    }
}

/// A language model that is to be frozen, with its text tokenizer.
pub struct BaseLm {
    /// The model, on the device to train on, with autodiff.
    pub opt: Opt,
    /// Its text tokenizer.
    pub tokenizer: Arc<TextTokenizer>,
    /// How it is named in what is saved: `nano`, or where it came from.
    pub name: String,
    /// Hash of its weights.
    pub identity: String,
}

impl BaseLm {
    /// The nano OPT that ships with the library, its weights kept in `weights`.
    ///
    /// # Errors
    ///
    /// [`RecipeError`] if a shipped file is damaged.
    pub fn nano(weights: Precision, device: &Device) -> Result<Self, RecipeError> {
        Ok(Self {
            opt: seed_lm::nano::opt(device, weights.dtype())?,
            tokenizer: Arc::new(TextTokenizer::from_json(seed_lm::nano::tokenizer_json())?),
            name: seed_lm::nano::BASE.to_owned(),
            identity: seed_lm::nano::opt_identity(),
        })
    }
}

/// How a language model's training ended.
pub enum LmOutcome {
    /// Both phases are done.
    Finished(Box<LmTrainee>),
    /// A stop was asked for; the run can be resumed.
    Interrupted {
        /// The phase that was running.
        stage: &'static str,
        /// Steps of it that are done.
        step: u64,
    },
}

/// The training of a language model.
pub struct LmTraining<'a> {
    /// Its settings.
    pub config: &'a LmTrainingConfig,
    /// The frozen language model.
    pub base: &'a BaseLm,
    /// The frozen image tokenizer.
    pub images: &'a FrozenTokenizer,
    /// What it is trained on.
    pub splits: &'a Splits,
    /// Questions by concept, where the data have some.
    pub questions: &'a BTreeMap<usize, Vec<Question>>,
    /// Where codes are kept.
    pub cache: &'a Cache,
    /// Where to train, without autodiff.
    pub device: &'a Device,
    /// How progress is shown.
    pub progress: ProgressMode,
    /// Asks for a clean stop.
    pub stop: StopFlag,
}

/// The codes of a picture, and the vectors in their place where there are some.
pub(super) type CodesAndVectors = (Vec<i64>, Vec<f32>);

/// What stands for a picture, in each view.
#[derive(Clone)]
enum Pictures {
    Codes(CodeRows),
    Embeddings(FrozenRows),
}

impl Pictures {
    fn identity(&self) -> &str {
        match self {
            Self::Codes(rows) => &rows.identity,
            Self::Embeddings(rows) => &rows.identity,
        }
    }

    /// Codes and vectors of a picture; code 0 everywhere stands in the place of vectors.
    fn read(&self, view: usize, picture: usize) -> Result<CodesAndVectors, DataError> {
        match self {
            Self::Codes(rows) => Ok((rows.read(view, picture)?, Vec::new())),
            Self::Embeddings(rows) => Ok((vec![0; rows.shape[0]], rows.read(view, picture)?)),
        }
    }
}

/// What a training draws from.
#[derive(Clone)]
struct TrainingPictures {
    views: Pictures,
    plain: Pictures,
}

impl TrainingPictures {
    /// A picture for a task: a drawing is of the picture as it is; what is read is so in one view of all.
    fn draw(
        &self,
        task: Task,
        picture: usize,
        views: usize,
        rng: &mut impl RngExt,
    ) -> Result<CodesAndVectors, DataError> {
        let view = rng.random_range(0..=views);
        if task == Task::Image || view == views {
            self.plain.read(0, picture)
        } else {
            self.views.read(view, picture)
        }
    }
}

impl LmTraining<'_> {
    /// The model's sizes.
    pub fn model_config(&self) -> SeedLmConfig {
        let image = &self.images.published.config;
        let quantizer = &image.codes.quantizer;
        let (codes, code_width) = match self.config.visual_input {
            VisualInput::Codes => match self.config.vectors {
                CodeVectors::Codebook => (quantizer.codes, quantizer.dim),
                CodeVectors::Decoded => (quantizer.codes, image.codes.width),
            },
            VisualInput::Embeddings => (1, image.tokens.width()),
        };
        SeedLmConfig {
            opt: self.base.opt.config().clone(),
            visual: VisualVocabularyConfig {
                codes,
                vectors: self.config.vectors,
                code_width,
                per_image: image.tokens.tokens(),
                head: self.config.head,
            },
        }
    }

    /// What a saved model says it is.
    pub fn about(&self) -> LmAbout {
        LmAbout {
            base: self.base.name.clone(),
            model: self.model_config(),
            templates: self.config.templates.clone(),
        }
    }

    /// Runs both phases, or goes on where the run stopped.
    ///
    /// # Errors
    ///
    /// [`RecipeError`].
    pub fn train(&self, run: &mut RunDir) -> Result<LmOutcome, RecipeError> {
        self.config.validate()?;
        let device = self.device.clone().autodiff();
        seed_device::seed(&device, self.config.image_to_text.train.seed);
        // The base asks for no gradient, and so gets none.
        let mut base = self.base.opt.clone().no_grad();
        let adapter = self.config.lora.init(&base.linears_mut(), &device)?;
        let pictures = self.training_pictures()?;
        let vocabulary = self.vocabulary(&pictures.plain, &device)?;
        let mut trainee = LmTrainee {
            adapter,
            vocabulary,
        };
        for (name, phase) in self.config.phases() {
            let (trained, outcome) = self.phase(name, phase, trainee, &base, &pictures, run)?;
            if let Outcome::Interrupted { step } = outcome {
                return Ok(LmOutcome::Interrupted { stage: name, step });
            }
            trainee = trained;
        }
        Ok(LmOutcome::Finished(Box::new(trainee)))
    }

    /// The vocabulary that training begins with: what it reads of `pictures` enters as large as words do.
    fn vocabulary(
        &self,
        pictures: &Pictures,
        device: &Device,
    ) -> Result<VisualVocabulary, RecipeError> {
        let model = self.model_config();
        let mut vocabulary = model.visual.init(model.opt.embed_width, device)?;
        let vectors = match pictures {
            Pictures::Codes(_) => {
                let vectors = code_vectors(&self.images.model, self.config.vectors);
                vocabulary = vocabulary.with_codebook(vectors.clone())?;
                vectors
            }
            Pictures::Embeddings(rows) => {
                let sample = 0..rows.pictures.min(CALIBRATION_PICTURES);
                rows.tensor(0, sample, self.device)?.flatten(0, 1)
            }
        };
        let words = self.base.opt.embed_tokens.weight.val();
        let deviation = words.square().mean().sqrt().into_data();
        let deviation = deviation.iter::<f64>().next().unwrap_or(1.0);
        let vectors = Tensor::from_data(vectors.into_data(), device);
        let mut vocabulary = vocabulary.calibrated(vectors, deviation);
        vocabulary.codebook = vocabulary.codebook.set_require_grad(false);
        Ok(vocabulary)
    }

    /// A trained model on a device without autodiff, ready to use.
    ///
    /// # Errors
    ///
    /// [`RecipeError`] if the adapter was made for another base.
    pub fn finished(&self, trainee: &LmTrainee) -> Result<SeedLm, RecipeError> {
        let mut base = self.base.opt.clone().valid();
        let LmTrainee {
            adapter,
            vocabulary,
        } = trainee.clone().valid();
        adapter.attach(base.linears_mut())?;
        Ok(SeedLm::new(base, vocabulary, self.model_config().ids()))
    }

    /// Every training picture in random views, and as it is: what is drawn is never a crop.
    fn training_pictures(&self) -> Result<TrainingPictures, RecipeError> {
        let views = Views::Random {
            count: self.config.views,
            transform: self.config.transform.clone(),
            seed: self.config.image_to_text.train.seed,
        };
        Ok(TrainingPictures {
            views: self.pictures(&self.splits.renderings, &views)?,
            plain: self.pictures(&self.splits.renderings[..1], &Views::Plain)?,
        })
    }

    fn pictures(
        &self,
        renderings: &[Arc<dyn PairSet>],
        views: &Views,
    ) -> Result<Pictures, RecipeError> {
        let shown = self.progress != ProgressMode::Quiet;
        Ok(match self.config.visual_input {
            VisualInput::Codes => {
                Pictures::Codes(self.images.codes(self.cache, shown, renderings, views)?)
            }
            VisualInput::Embeddings => Pictures::Embeddings(
                self.images
                    .embeddings(self.cache, shown, renderings, views)?,
            ),
        })
    }

    fn phase(
        &self,
        name: &'static str,
        phase: &LmPhase,
        trainee: LmTrainee,
        base: &Opt,
        pictures: &TrainingPictures,
        run: &mut RunDir,
    ) -> Result<(LmTrainee, Outcome), RecipeError> {
        let model = self.model_config();
        let recipe = LanguageRecipe {
            name,
            base: base.clone(),
            ids: model.ids(),
            identity: json!({
                "base": self.base.identity,
                "model": model,
                "lora": self.config.lora,
                "templates": self.config.templates,
                "packing": self.config.packing,
                "mixture": phase.mixture,
                "inputs": pictures.views.identity(),
            }),
            activations: self.config.activations,
            device: self.device.clone().autodiff(),
        };
        let loader = self.loader(phase, pictures, model.ids())?;
        let mut config = phase.train.clone();
        config.steps_per_epoch = Some(loader.steps_per_epoch());
        let batches = |step| batches_from(loader.start_at(step), |items| Ok(self.collate(items)?));
        let trained = Trainer::new(&recipe, &config)
            .progress(self.progress)
            .stop(self.stop.clone())
            .train(trainee, batches, run)?;
        Ok((trained.model, trained.outcome))
    }

    /// A loader that draws a task, a view and the words of each pair.
    fn loader(
        &self,
        phase: &LmPhase,
        pictures: &TrainingPictures,
        ids: VisualIds,
    ) -> Result<Loader<LmItem, DataError>, RecipeError> {
        let set = Arc::clone(self.splits.train());
        let len = set.len() as u32;
        let (pictures, mixture) = (pictures.clone(), phase.mixture);
        let (questions, templates) = (self.questions.clone(), self.config.templates.clone());
        let (tokenizer, opt) = (
            Arc::clone(&self.base.tokenizer),
            self.base.opt.config().clone(),
        );
        let views = self.config.views;
        let make = move |item: ItemContext| -> Result<LmItem, DataError> {
            let (index, mut rng) = (item.index as usize, item.rng);
            let asked = questions.get(&set.concept(index));
            let task = mixture.draw(asked.is_some(), &mut rng);
            let (codes, vectors) = pictures.draw(task, index, views, &mut rng)?;
            let mut example = Example {
                codes: &codes,
                caption: short_caption(set.as_ref(), index),
                ..Example::default()
            };
            let template = match (task, asked) {
                (Task::Image, _) => &templates.text_to_image,
                (Task::Question, Some(asked)) => {
                    let question = &asked[rng.random_range(0..asked.len())];
                    example.question = &question.question;
                    example.answer = &question.answer;
                    &templates.question
                }
                _ => &templates.image_to_text,
            };
            let sequence = template
                .sequence(&example, &ids, &opt, &encode(&tokenizer))
                .map_err(|error| DataError::Tokenizer {
                    source: error.into(),
                })?;
            Ok(LmItem {
                sequence,
                task,
                vectors,
            })
        };
        let config = LoaderConfig::new(phase.train.batch_size, phase.train.seed);
        Ok(Loader::new(len, config, make)?)
    }

    /// Joins the loader's items into a batch.
    fn collate(&self, items: Vec<LmItem>) -> Result<LmBatch, LmError> {
        let opt = self.base.opt.config();
        let mut sequences = Vec::with_capacity(items.len());
        let (mut tasks, mut vectors) = (Vec::new(), Vec::new());
        for item in items {
            sequences.push(item.sequence);
            tasks.push(item.task);
            vectors.extend(item.vectors);
        }
        Ok(LmBatch {
            sequences: batch(&sequences, opt.pad, opt.max_length, self.config.packing)?,
            tasks,
            vectors,
        })
    }

    /// Codes or vectors of a held-out set, one view.
    pub(super) fn held_out_pictures(
        &self,
        set: &Arc<dyn PairSet>,
    ) -> Result<Vec<CodesAndVectors>, RecipeError> {
        let pictures = self.pictures(std::slice::from_ref(set), &Views::Plain)?;
        (0..set.len())
            .map(|index| Ok(pictures.read(0, index)?))
            .collect()
    }
}

fn batch(
    sequences: &[Sequence],
    pad: u32,
    longest: usize,
    packing: bool,
) -> Result<SequenceBatch, LmError> {
    if packing {
        SequenceBatch::packed(sequences, pad, longest)
    } else {
        SequenceBatch::padded(sequences, pad, longest)
    }
}

/// The shortest way a pair is called: the last of the corpus' captions is the label alone.
pub(super) fn short_caption(set: &dyn PairSet, index: usize) -> &str {
    let captions = set.captions(index);
    captions
        .iter()
        .min_by_key(|caption| caption.len())
        .map_or("", String::as_str)
}

/// A text tokenizer as templates want it.
pub fn encode(tokenizer: &TextTokenizer) -> impl Fn(&str) -> Result<Vec<u32>, LmError> + '_ {
    |text| {
        tokenizer
            .encode_plain(text)
            .map_err(|error| LmError::Text(error.to_string()))
    }
}
