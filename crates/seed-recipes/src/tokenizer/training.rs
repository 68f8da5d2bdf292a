//! The tokenizer's whole training: frozen image tokens, stage I, frozen embeddings, stage II.

use std::{ops::ControlFlow, path::Path, sync::Arc};

use burn::{
    module::Module,
    tensor::{DType, Device},
};
use seed_data::{Cache, LoaderConfig, PairSet};
use seed_tokenizer::{
    CODE_VERSION, CodeAutoencoder, LABEL_SMOOTHING, SeedTokenizer, TOKENIZER_FILE, TokenEncoder,
    token_encoder_keys, tokenizer_keys,
};
use seed_train::{
    Outcome, ProgressMode, Recipe, RunDir, StopFlag, TrainConfig, Trainer, check_stage,
};
use seed_weights::Checkpoint;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    config::{StageOneStart, TokenizerTrainingConfig},
    stage_one::{Captioning, StageOne, stage_one_batch, stage_one_loader},
    stage_two::{StageTwo, StageTwoRows, stage_two_batch, stage_two_loader},
};
use crate::{
    batches::batches_from,
    error::RecipeError,
    frozen::{
        FrozenCache, FrozenParts, FrozenRows, ImageEmbedding, Views, bytes_of, checkpoint_identity,
        module_identity,
    },
    outcome::TrainingOutcome,
    splits::Splits,
};

/// Stage I's result in a run's folder.
const TOKENS_FILE: &str = "tokens.safetensors";

/// A trained tokenizer's two trained parts, on a device without autodiff.
pub struct TrainedTokenizer {
    /// Stage I's result.
    pub tokens: TokenEncoder,
    /// Stage II's result.
    pub codes: CodeAutoencoder,
}

/// The training of a tokenizer.
pub struct TokenizerTraining<'a> {
    /// Its settings.
    pub config: &'a TokenizerTrainingConfig,
    /// The frozen parts.
    pub frozen: &'a FrozenParts,
    /// What it is trained on.
    pub splits: &'a Splits,
    /// Where frozen outputs are kept.
    pub cache: &'a Cache,
    /// Where to train, without autodiff.
    pub device: &'a Device,
    /// How progress is shown.
    pub progress: ProgressMode,
    /// Asks for a clean stop.
    pub stop: StopFlag,
}

/// What stage I starts from, read and identified.
struct Start {
    /// None for random weights.
    checkpoint: Option<Arc<Checkpoint>>,
    /// Hash of its tensors; `random` without one.
    identity: String,
}

impl TokenizerTraining<'_> {
    /// Runs both stages, or goes on where the run stopped. The run's folder then holds stage I's result
    /// (`tokens.safetensors`), the whole tokenizer (`tokenizer.safetensors`) and the text tokenizer
    /// (`tokenizer.json`).
    ///
    /// # Errors
    ///
    /// [`RecipeError`]; settings that cannot be obeyed, a run made with others and a cache too small are told before
    /// work begins.
    pub fn train(
        &self,
        run: &mut RunDir,
    ) -> Result<TrainingOutcome<TrainedTokenizer>, RecipeError> {
        let start = self.ready(run)?;
        let image_tokens = self.training_image_tokens()?;
        let tokens = match self.token_encoder(&start, &image_tokens, run)? {
            ControlFlow::Continue(trained) => trained,
            ControlFlow::Break(step) => {
                let stage = "stage-1";
                return Ok(TrainingOutcome::Interrupted { stage, step });
            }
        };

        let embeddings = self.embeddings(&tokens, &image_tokens)?;
        let (codes, outcome) = self.stage_two(&start, &embeddings, &image_tokens, run)?;
        if let Outcome::Interrupted { step } = outcome {
            return Ok(TrainingOutcome::Interrupted {
                stage: "stage-2",
                step,
            });
        }
        let codes = codes.to_device(self.device).valid();
        let whole = SeedTokenizer {
            image: self.frozen.image.model.clone(),
            tokens: tokens.clone(),
            codes: codes.clone(),
        };
        let path = run.path().join(TOKENIZER_FILE);
        let provenance = self.provenance(&self.config.model);
        seed_weights::save(&whole, &path, &tokenizer_keys(), DType::F32, provenance)?;
        let text_tokenizer = run.path().join("tokenizer.json");
        self.frozen.text.tokenizer.save(&text_tokenizer)?;
        let trained = TrainedTokenizer { tokens, codes };
        Ok(TrainingOutcome::Finished(Box::new(trained)))
    }

    /// Runs stage I alone, or goes on where it stopped, and writes `tokens.safetensors` into the run's folder;
    /// the step it was stopped at, if it was.
    ///
    /// # Errors
    ///
    /// Those of [`Self::train`].
    pub fn train_token_encoder(
        &self,
        run: &mut RunDir,
    ) -> Result<ControlFlow<u64, TokenEncoder>, RecipeError> {
        let start = self.ready(run)?;
        self.token_encoder(&start, &self.training_image_tokens()?, run)
    }

    /// The cache through which all frozen outputs go.
    pub fn frozen_cache(&self) -> FrozenCache<'_> {
        FrozenCache {
            cache: self.cache,
            device: self.device,
            show_progress: self.progress != ProgressMode::Quiet,
            stop: &self.stop,
        }
    }

    /// Image tokens of a set in the given views.
    ///
    /// # Errors
    ///
    /// [`RecipeError::Data`], [`RecipeError::Stopped`].
    pub fn image_tokens(
        &self,
        renderings: &[Arc<dyn PairSet>],
        views: &Views,
    ) -> Result<FrozenRows, RecipeError> {
        let cache = self.frozen_cache();
        cache.image_tokens(&self.frozen.image, renderings, views)
    }

    /// Embeddings of image tokens, by a trained encoder.
    ///
    /// # Errors
    ///
    /// [`RecipeError::Data`], [`RecipeError::Stopped`].
    pub fn embeddings(
        &self,
        tokens: &TokenEncoder,
        image_tokens: &FrozenRows,
    ) -> Result<FrozenRows, RecipeError> {
        let config = &self.config.model.tokens;
        let identity = module_identity(tokens, config, CODE_VERSION);
        self.frozen_cache()
            .embeddings(tokens, &identity, image_tokens, self.embedding_shape())
    }

    fn embedding_shape(&self) -> [usize; 2] {
        let config = &self.config.model.tokens;
        [config.tokens(), config.width()]
    }

    /// Checks everything that can be known before work begins.
    fn ready(&self, run: &RunDir) -> Result<Start, RecipeError> {
        self.config.validate_for(self.frozen)?;
        let start = self.start()?;
        let mut recipe = self.stage_one_identity(&start);
        check_stage(run, "stage-1", &self.config.stage_one, recipe)?;
        recipe = self.stage_two_identity(&start);
        check_stage(run, "stage-2", &self.config.stage_two, recipe)?;
        self.cache.check_fits(self.bytes_to_keep())?;
        Ok(start)
    }

    /// Bytes of all rows that training has in use at once.
    fn bytes_to_keep(&self) -> u64 {
        let (pairs, views) = (self.splits.train().len(), self.config.views);
        let image = &self.frozen.image.config;
        let image_tokens = bytes_of(pairs, views, [image.tokens(), image.width]);
        let embeddings = bytes_of(pairs, views, self.embedding_shape());
        let codes = &self.config.model.codes;
        let texts = codes.text_head.as_ref().map_or(0, |head| {
            let captions = (0..pairs).map(|pair| self.splits.train().candidates(pair).len());
            bytes_of(captions.sum(), 1, [head.reverse.queries, head.target_width])
        });
        let images = codes
            .image_head
            .as_ref()
            .map_or(0, |head| bytes_of(pairs, views, [1, head.target_width]));
        image_tokens + embeddings + texts + images
    }

    fn start(&self) -> Result<Start, RecipeError> {
        let checkpoint = match &self.config.start {
            StageOneStart::Random => None,
            StageOneStart::QFormer => self.frozen.q_former.clone(),
            StageOneStart::From(path) => Some(Arc::new(Checkpoint::open(stage_one_file(path))?)),
        };
        let identity = match &checkpoint {
            Some(checkpoint) => checkpoint_identity(checkpoint)?,
            None => "random".to_owned(),
        };
        Ok(Start {
            checkpoint,
            identity,
        })
    }

    /// All that decides stage I, but for its step loop.
    fn stage_one_identity(&self, start: &Start) -> Value {
        json!({
            "settings": self.config.of_stage_one(),
            "start": start.identity,
            "frozen": { "image": self.frozen.image.identity, "text": self.frozen.text.identity },
            "data": self.splits.identity(),
        })
    }

    /// All that decides stage II, but for its step loop and what stage I gives.
    fn stage_two_identity(&self, start: &Start) -> Value {
        let mut identity = self.stage_one_identity(start);
        identity["settings"] = self.config.of_stage_two();
        if let (Some(embedding), Some(_)) = self.image_target() {
            identity["frozen"]["image embedding"] = embedding.identity().into();
        }
        identity
    }

    fn training_image_tokens(&self) -> Result<FrozenRows, RecipeError> {
        let views = Views::Random {
            count: self.config.views,
            transform: self.config.transform.clone(),
            seed: self.config.stage_one.seed,
        };
        self.image_tokens(&self.splits.renderings, &views)
    }

    /// Stage I's result, written into the run's folder.
    fn token_encoder(
        &self,
        start: &Start,
        image_tokens: &FrozenRows,
        run: &mut RunDir,
    ) -> Result<ControlFlow<u64, TokenEncoder>, RecipeError> {
        let (tokens, outcome) = self.stage_one(start, image_tokens, run)?;
        if let Outcome::Interrupted { step } = outcome {
            return Ok(ControlFlow::Break(step));
        }
        let tokens = tokens.to_device(self.device).valid();
        let path = run.path().join(TOKENS_FILE);
        let provenance = self.provenance(&self.config.model.tokens);
        seed_weights::save(
            &tokens,
            &path,
            &token_encoder_keys(),
            DType::F32,
            provenance,
        )?;
        Ok(ControlFlow::Continue(tokens))
    }

    fn stage_one(
        &self,
        start: &Start,
        image_tokens: &FrozenRows,
        run: &mut RunDir,
    ) -> Result<(TokenEncoder, Outcome), RecipeError> {
        let device = self.device.clone().autodiff();
        let config = &self.config.stage_one;
        seed_device::seed(&device, config.seed);
        let tokenizer = &self.frozen.text.tokenizer;
        let mut identity = self.stage_one_identity(start);
        identity["inputs"] = image_tokens.identity.clone().into();
        let recipe = StageOne {
            image_tokens: image_tokens.shape,
            identity,
            positives: self.config.positives,
            similarity: self.config.similarity,
            captioning: (self.config.captioning > 0.0)
                .then(|| Captioning::new(self.config.captioning, tokenizer)),
            label_smoothing: LABEL_SMOOTHING,
            device: device.clone(),
        };
        let mut model = self.config.model.tokens.init(&device)?;
        if let Some(checkpoint) = &start.checkpoint {
            (model, _) = seed_weights::load(model, checkpoint, &token_encoder_keys())?;
        }
        let loader_config = LoaderConfig::new(config.batch_size, config.seed);
        let vary = self.config.vary_captions;
        let loader = stage_one_loader(self.splits.train(), image_tokens, vary, loader_config)?;
        let length = self.config.text_length;
        let batches = |step| {
            batches_from(loader.start_at(step), |items| {
                Ok(stage_one_batch(items, tokenizer, length)?)
            })
        };
        let trainer = self
            .trainer(&recipe, config)
            .steps_per_epoch(loader.steps_per_epoch());
        let trained = trainer.train(model, batches, run)?;
        Ok((trained.model, trained.outcome))
    }

    fn stage_two(
        &self,
        start: &Start,
        embeddings: &FrozenRows,
        image_tokens: &FrozenRows,
        run: &mut RunDir,
    ) -> Result<(CodeAutoencoder, Outcome), RecipeError> {
        let device = self.device.clone().autodiff();
        let config = &self.config.stage_two;
        seed_device::seed(&device, config.seed);
        let codes = &self.config.model.codes;
        let set = self.splits.train().as_ref();
        let texts = match &codes.text_head {
            Some(head) => {
                let length = head.reverse.queries;
                let cache = self.frozen_cache();
                Some(cache.text_states(&self.frozen.text, set, length)?)
            }
            None => None,
        };
        let images = match self.image_target() {
            (Some(embedding), Some(_)) => {
                let identity = embedding.identity();
                let cache = self.frozen_cache();
                Some(cache.image_embeddings(embedding, &identity, image_tokens)?)
            }
            _ => None,
        };
        let rows = StageTwoRows {
            embeddings: embeddings.clone(),
            texts,
            images,
        };
        let mut identity = self.stage_two_identity(start);
        identity["inputs"] = rows.identity();
        let weights = self.config.weights;
        let recipe = StageTwo::new(
            codes.clone(),
            rows.shapes(),
            identity,
            weights,
            device.clone(),
        );
        let model = codes.init(&device)?;
        let loader_config = LoaderConfig::new(config.batch_size, config.seed);
        let loader = stage_two_loader(&rows, loader_config)?;
        let batches =
            |step| batches_from(loader.start_at(step), |items| Ok(stage_two_batch(items)));
        let trainer = self
            .trainer(&recipe, config)
            .steps_per_epoch(loader.steps_per_epoch());
        let trained = trainer.train(model, batches, run)?;
        Ok((trained.model, trained.outcome))
    }

    /// The frozen image embedding, and the head that is to rebuild it.
    fn image_target(
        &self,
    ) -> (
        Option<&ImageEmbedding>,
        Option<&seed_tokenizer::ImageHeadConfig>,
    ) {
        let head = self.config.model.codes.image_head.as_ref();
        (self.frozen.image_embedding.as_ref(), head)
    }

    fn trainer<'r, R: Recipe>(&self, recipe: &'r R, config: &'r TrainConfig) -> Trainer<'r, R> {
        Trainer::new(recipe, config)
            .progress(self.progress)
            .stop(self.stop.clone())
    }

    /// A trained part's config, with what it was trained on top of.
    fn provenance(&self, config: &impl Serialize) -> String {
        let frozen = json!({
            "image": self.frozen.image.identity,
            "text": self.frozen.text.identity,
        });
        json!({ "model": config, "frozen_parts": frozen }).to_string()
    }
}

/// The file that stage I can start from: stage I's result of a run, or the file itself.
fn stage_one_file(path: &Path) -> std::path::PathBuf {
    let of_run = path.join(TOKENS_FILE);
    if of_run.is_file() {
        of_run
    } else {
        path.to_owned()
    }
}
