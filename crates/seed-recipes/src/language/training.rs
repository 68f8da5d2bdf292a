//! The language model's two phases (SEED §3): image to text first, then both directions together.

use std::{collections::BTreeMap, sync::Arc};

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use rand::RngExt;
use seed_data::{Cache, DataError, ItemContext, Loader, LoaderConfig, PairSet, Question};
use seed_lm::{
    CodeVectors, Example, LmAbout, LmError, Opt, SeedLm, SeedLmConfig, Sequence, SequenceBatch,
    VisualIds, VisualVocabulary, VisualVocabularyConfig,
};
use seed_train::{ConfigError, Outcome, ProgressMode, RunDir, StopFlag, Trainer, check_stage};
use serde_json::{Value, json};

use super::{
    base::{BaseLm, encode},
    codes::{FrozenTokenizer, code_vectors},
    config::{LmPhase, LmTrainingConfig, VisualInput},
    evaluation::LmEvaluation,
    pictures::{Pictures, TrainingPictures},
    recipe::{LanguageRecipe, LmBatch, LmItem, LmTrainee, Task},
};
use crate::{
    batches::batches_from,
    error::RecipeError,
    frozen::{FrozenCache, Views, bytes_of},
    outcome::TrainingOutcome,
    splits::Splits,
};

/// Pictures whose embeddings say how large embeddings are.
const CALIBRATION_PICTURES: usize = 256;

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
            base_identity: self.base.identity.clone(),
            model: self.model_config(),
            templates: self.config.templates.clone(),
        }
    }

    /// Runs both phases, or goes on where the run stopped.
    ///
    /// # Errors
    ///
    /// [`RecipeError`]; settings that cannot be obeyed, a run made with others (a longer first phase under a second one
    /// that has begun is one of them) and a cache too small are told before work begins.
    pub fn train(&self, run: &mut RunDir) -> Result<TrainingOutcome<LmTrainee>, RecipeError> {
        self.ready(run)?;
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
                return Ok(TrainingOutcome::Interrupted { stage: name, step });
            }
            trainee = trained;
        }
        Ok(TrainingOutcome::Finished(Box::new(trainee)))
    }

    /// Checks everything that can be known before work begins.
    fn ready(&self, run: &RunDir) -> Result<(), RecipeError> {
        self.config.validate()?;
        self.config.activations.require_on(self.device)?;
        let image = &self.images.published.config.image;
        ConfigError::require(
            self.config.transform.size as usize == image.image_size,
            "transform.size",
            self.config.transform.size,
            &format!(
                "{}, the side of the image tokenizer's pictures",
                image.image_size
            ),
        )?;
        for (name, phase) in self.config.phases() {
            check_stage(run, name, &phase.train, self.phase_identity(name))?;
        }
        let (pairs, views) = (self.splits.train().len(), self.config.views + 1);
        let tokens = &self.images.published.config.tokens;
        let image_tokens = bytes_of(pairs, views, [image.tokens(), image.width]);
        let embeddings = bytes_of(pairs, views, [tokens.tokens(), tokens.width()]);
        let codes = bytes_of(pairs, views, [tokens.tokens(), 1]);
        Ok(self.cache.check_fits(image_tokens + embeddings + codes)?)
    }

    /// All that decides a phase, but for its step loop and what pictures become.
    fn phase_identity(&self, name: &str) -> Value {
        let questions = format!("{:?}", self.questions);
        json!({
            "settings": self.config.of_phase(name),
            "base": self.base.identity,
            "tokenizer": self.images.identity(),
            "data": self.splits.identity(),
            "questions": blake3::hash(questions.as_bytes()).to_hex().to_string(),
        })
    }

    /// The vocabulary that training begins with: what it reads of `pictures` enters as large as words do.
    fn vocabulary(
        &self,
        pictures: &Pictures,
        device: &Device,
    ) -> Result<VisualVocabulary, RecipeError> {
        let model = self.model_config();
        let mut vocabulary = model.visual.init(model.opt.embed_width, device)?;
        let sample = pictures.sample(CALIBRATION_PICTURES, self.device)?;
        let vectors = if let Some(vectors) = sample {
            vectors
        } else {
            let vectors = code_vectors(&self.images.model, self.config.vectors);
            vocabulary = vocabulary.with_codebook(vectors.clone())?;
            vectors
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
        let input = self.config.visual_input;
        Pictures::of(input, self.images, &self.frozen_cache(), renderings, views)
    }

    /// The cache through which codes go.
    fn frozen_cache(&self) -> FrozenCache<'_> {
        FrozenCache {
            cache: self.cache,
            device: self.device,
            show_progress: self.progress != ProgressMode::Quiet,
            stop: &self.stop,
        }
    }

    /// The judging of a trained model on this training's held-out sets, by at most `most` pictures or prompts of each.
    pub fn evaluation<'a>(&'a self, model: &'a SeedLm, most: usize) -> LmEvaluation<'a> {
        LmEvaluation {
            model,
            text: &self.base.tokenizer,
            templates: &self.config.templates,
            visual_input: self.config.visual_input,
            draws: self.config.draws(),
            images: self.images,
            splits: self.splits,
            questions: self.questions,
            frozen: self.frozen_cache(),
            most,
        }
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
        let ids = self.model_config().ids();
        let mut identity = self.phase_identity(name);
        identity["inputs"] = pictures.identity();
        let recipe = LanguageRecipe {
            name,
            base: base.clone(),
            ids,
            identity,
            activations: self.config.activations,
            device: self.device.clone().autodiff(),
        };
        let loader = self.loader(phase, pictures, ids)?;
        let batches = |step| batches_from(loader.start_at(step), |items| Ok(self.collate(items)?));
        let trained = Trainer::new(&recipe, &phase.train)
            .progress(self.progress)
            .stop(self.stop.clone())
            .steps_per_epoch(loader.steps_per_epoch())
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
                caption: drawn_reference(set.references(index), &mut rng),
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

/// One of a picture's captions, at random as in the reference; of one nothing is drawn.
fn drawn_reference<'a>(references: &'a [String], rng: &mut impl RngExt) -> &'a str {
    match references {
        [] => "",
        [only] => only,
        several => &several[rng.random_range(0..several.len())],
    }
}
