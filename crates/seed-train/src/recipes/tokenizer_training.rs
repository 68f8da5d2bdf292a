//! The tokenizer's whole training: frozen image tokens, stage I, frozen causal embeddings, stage II.

use std::{ops::ControlFlow, sync::Arc};

use burn::{
    module::Module,
    tensor::{DType, Device},
};
use seed_data::{Cache, LoaderConfig, Style, TextTokenizer, TrainTransform};
use seed_encoders::{ClipText, ClipTextConfig, EvaVit};
use seed_tokenizer::{
    CodeAutoencoder, LABEL_SMOOTHING, SeedConfig, SeedTokenizer, StageTwoWeights, TOKENIZER_FILE,
    TokenEncoder, token_encoder_keys, tokenizer_keys,
};
use seed_weights::Checkpoint;
use serde::{Deserialize, Serialize};

use super::{
    Captioning, FrozenCache, FrozenRows, Positives, RecipeError, Similarity, Splits, StageOne,
    StageTwo, Views, batches::batches_from, stage_one_batch, stage_one_loader, stage_two_batch,
    stage_two_loader,
};
use crate::{ConfigError, Outcome, ProgressMode, RunDir, StopFlag, TrainConfig, Trainer};

/// Settings of a tokenizer's training, from nothing to codes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerTrainingConfig {
    /// Sizes and options of the model.
    pub model: SeedConfig,
    /// Side in pixels at which drawings are rendered before the crop.
    pub render_size: u32,
    /// Styles of the renderings that join the plain ones in training.
    pub styles: Vec<Style>,
    /// Views of each training picture whose image tokens are kept.
    pub views: usize,
    /// Random crop and augmentation of a view.
    pub transform: TrainTransform,
    /// Longest caption in stage I, in tokens.
    pub text_length: usize,
    /// Whether stage I reads the label and some of its keywords in random order instead of whole captions, so that
    /// its text side learns words. For captions of that form, the corpus'.
    #[serde(default)]
    pub vary_captions: bool,
    /// Which captions of a batch count as right in stage I.
    pub positives: Positives,
    /// How near a picture is to a caption in stage I.
    #[serde(default)]
    pub similarity: Similarity,
    /// Weight of BLIP-2's captioning loss beside the contrast of stage I; 0, SEED's, is without it. Else the model
    /// has a language head.
    #[serde(default)]
    pub captioning: f64,
    /// What stage I starts from.
    #[serde(default)]
    pub start: StageOneStart,
    /// The step loop of stage I.
    pub stage_one: TrainConfig,
    /// The step loop of stage II.
    pub stage_two: TrainConfig,
    /// Weights of stage II's terms.
    pub weights: StageTwoWeights,
}

impl TokenizerTrainingConfig {
    /// Refuses settings with which no training is possible.
    pub fn validate(&self) -> Result<(), RecipeError> {
        self.model.validate()?;
        self.stage_one.validate()?;
        self.stage_two.validate()?;
        let longest = self.model.tokens.max_text_length();
        let allowed = format!("at most the model's {longest} positions");
        ConfigError::require(
            (1..=longest).contains(&self.text_length),
            "text_length",
            self.text_length,
            &allowed,
        )?;
        ConfigError::require(self.views > 0, "views", self.views, "at least 1")?;
        let usable = self.captioning >= 0.0 && self.captioning.is_finite();
        let possible = self.captioning == 0.0 || self.model.tokens.captions();
        ConfigError::require(
            usable && possible,
            "captioning",
            self.captioning,
            "0, or positive for a Q-Former with `language_head = true`",
        )?;
        Ok(())
    }
}

/// What stage I starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageOneStart {
    /// Random weights.
    #[default]
    Random,
    /// The Q-Former that comes with the frozen parts, as SEED starts from BLIP-2's.
    QFormer,
}

/// The frozen parts that training starts from, without autodiff, and what identifies them.
pub struct FrozenParts {
    /// Image tower.
    pub image: EvaVit,
    /// Text tower whose states stage II rebuilds.
    pub text: ClipText,
    /// Its sizes.
    pub text_config: ClipTextConfig,
    /// Text tokenizer of both stages.
    pub tokenizer: Arc<TextTokenizer>,
    /// A Q-Former trained on this image tower's tokens, for [`StageOneStart::QFormer`].
    pub q_former: Option<Checkpoint>,
    /// Hash of the weights: caches are keyed by it.
    pub identity: String,
}

/// A trained tokenizer's two trained parts, on a device without autodiff, and their inputs.
pub struct TrainedTokenizer {
    /// Stage I's result.
    pub tokens: TokenEncoder,
    /// Hash of its weights.
    pub tokens_identity: String,
    /// Stage II's result.
    pub codes: CodeAutoencoder,
}

/// How a tokenizer's training ended.
pub enum TokenizerOutcome {
    /// Both stages are done.
    Finished(Box<TrainedTokenizer>),
    /// A stop was asked for; the run can be resumed.
    Interrupted {
        /// The stage that was running.
        stage: &'static str,
        /// Steps of it that are done.
        step: u64,
    },
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

impl TokenizerTraining<'_> {
    /// Runs both stages, or goes on where the run stopped. The run's folder then holds stage I's result
    /// (`tokens.safetensors`), the whole tokenizer (`tokenizer.safetensors`) and the text tokenizer
    /// (`tokenizer.json`).
    pub fn train(&self, run: &mut RunDir) -> Result<TokenizerOutcome, RecipeError> {
        self.config.validate()?;
        let image_tokens = self.training_image_tokens()?;
        let (tokens, tokens_identity) = match self.token_encoder(&image_tokens, run)? {
            ControlFlow::Continue(trained) => trained,
            ControlFlow::Break(step) => {
                let stage = "stage-1";
                return Ok(TokenizerOutcome::Interrupted { stage, step });
            }
        };

        let embeddings = self.embeddings(&tokens, &tokens_identity, &image_tokens)?;
        let (codes, outcome) = self.stage_two(&embeddings, run)?;
        if let Outcome::Interrupted { step } = outcome {
            return Ok(TokenizerOutcome::Interrupted {
                stage: "stage-2",
                step,
            });
        }
        let codes = codes.to_device(self.device).valid();
        let whole = SeedTokenizer {
            image: self.frozen.image.clone(),
            tokens: tokens.clone(),
            codes: codes.clone(),
        };
        let path = run.path().join(TOKENIZER_FILE);
        let provenance = self.provenance(&self.config.model);
        seed_weights::save(&whole, &path, &tokenizer_keys(), DType::F32, provenance)?;
        self.frozen
            .tokenizer
            .save(&run.path().join("tokenizer.json"))?;
        let trained = TrainedTokenizer {
            tokens,
            tokens_identity,
            codes,
        };
        Ok(TokenizerOutcome::Finished(Box::new(trained)))
    }

    /// Runs stage I alone, or goes on where it stopped, and writes `tokens.safetensors` into the run's folder;
    /// the step it was stopped at, if it was.
    pub fn train_token_encoder(
        &self,
        run: &mut RunDir,
    ) -> Result<ControlFlow<u64, TokenEncoder>, RecipeError> {
        self.config.validate()?;
        let trained = self.token_encoder(&self.training_image_tokens()?, run)?;
        Ok(trained.map_continue(|(tokens, _)| tokens))
    }

    /// Stage I's result and the hash of its weights.
    fn token_encoder(
        &self,
        image_tokens: &FrozenRows,
        run: &mut RunDir,
    ) -> Result<ControlFlow<u64, (TokenEncoder, String)>, RecipeError> {
        let (tokens, outcome) = self.stage_one(image_tokens, run)?;
        if let Outcome::Interrupted { step } = outcome {
            return Ok(ControlFlow::Break(step));
        }
        let tokens = tokens.to_device(self.device).valid();
        let path = run.path().join("tokens.safetensors");
        let provenance = self.provenance(&self.config.model.tokens);
        seed_weights::save(
            &tokens,
            &path,
            &token_encoder_keys(),
            DType::F32,
            provenance,
        )?;
        let identity = identity_of(&path)?;
        Ok(ControlFlow::Continue((tokens, identity)))
    }

    /// The cache through which all frozen outputs go.
    pub fn frozen_cache(&self) -> FrozenCache<'_> {
        let show_progress = self.progress != ProgressMode::Quiet;
        FrozenCache {
            cache: self.cache,
            device: self.device,
            show_progress,
        }
    }

    /// Image tokens of a set in the given views.
    pub fn image_tokens(
        &self,
        renderings: &[Arc<dyn seed_data::PairSet>],
        views: &Views,
    ) -> Result<FrozenRows, RecipeError> {
        let size = self.config.model.image.image_size;
        let FrozenParts {
            image, identity, ..
        } = self.frozen;
        Ok(self
            .frozen_cache()
            .image_tokens(image, identity, size, renderings, views)?)
    }

    /// Causal embeddings of image tokens.
    pub fn embeddings(
        &self,
        tokens: &TokenEncoder,
        identity: &str,
        image_tokens: &FrozenRows,
    ) -> Result<FrozenRows, RecipeError> {
        let config = &self.config.model.tokens;
        let shape = [config.tokens(), config.width()];
        Ok(self
            .frozen_cache()
            .embeddings(tokens, identity, image_tokens, shape)?)
    }

    fn training_image_tokens(&self) -> Result<FrozenRows, RecipeError> {
        let views = Views::Random {
            count: self.config.views,
            transform: self.config.transform.clone(),
            seed: self.config.stage_one.seed,
        };
        self.image_tokens(&self.splits.renderings, &views)
    }

    fn stage_one(
        &self,
        image_tokens: &FrozenRows,
        run: &mut RunDir,
    ) -> Result<(TokenEncoder, Outcome), RecipeError> {
        let device = self.device.clone().autodiff();
        let mut config = self.config.stage_one.clone();
        seed_device::seed(&device, config.seed);
        let recipe = StageOne {
            tokens: self.config.model.tokens.clone(),
            image_tokens: image_tokens.shape,
            inputs: image_tokens.identity.clone(),
            positives: self.config.positives,
            similarity: self.config.similarity,
            captioning: (self.config.captioning > 0.0)
                .then(|| Captioning::new(self.config.captioning, &self.frozen.tokenizer)),
            label_smoothing: LABEL_SMOOTHING,
            device: device.clone(),
        };
        let mut model = recipe.tokens.init(&device)?;
        if self.config.start == StageOneStart::QFormer {
            let Some(q_former) = &self.frozen.q_former else {
                return Err(RecipeError::NoQFormer);
            };
            (model, _) = seed_weights::load(model, q_former, &token_encoder_keys())?;
        }
        let loader_config = LoaderConfig::new(config.batch_size, config.seed);
        let vary = self.config.vary_captions;
        let loader = stage_one_loader(self.splits.train(), image_tokens, vary, loader_config)?;
        config.steps_per_epoch = Some(loader.steps_per_epoch());
        let (tokenizer, length) = (&self.frozen.tokenizer, self.config.text_length);
        let batches = |step| {
            batches_from(loader.start_at(step), |items| {
                Ok(stage_one_batch(items, tokenizer, length)?)
            })
        };
        let trained = self.trainer(&recipe, &config).train(model, batches, run)?;
        Ok((trained.model, trained.outcome))
    }

    fn stage_two(
        &self,
        embeddings: &FrozenRows,
        run: &mut RunDir,
    ) -> Result<(CodeAutoencoder, Outcome), RecipeError> {
        let device = self.device.clone().autodiff();
        let mut config = self.config.stage_two.clone();
        seed_device::seed(&device, config.seed);
        let codes = &self.config.model.codes;
        let text_states = match &codes.text_head {
            Some(head) => {
                let shape = [head.reverse.queries, head.target_width];
                let FrozenParts {
                    text,
                    identity,
                    tokenizer,
                    ..
                } = self.frozen;
                let set = self.splits.train().as_ref();
                Some(
                    self.frozen_cache()
                        .text_states(text, identity, tokenizer, set, shape)?,
                )
            }
            None => None,
        };
        let recipe = StageTwo::new(
            codes.clone(),
            text_states.as_ref().map(|rows| rows.shape),
            embeddings.identity.clone(),
            self.config.weights,
            device.clone(),
        );
        let model = codes.init(&device)?;
        let loader_config = LoaderConfig::new(config.batch_size, config.seed);
        let loader = stage_two_loader(embeddings, text_states.as_ref(), loader_config)?;
        config.steps_per_epoch = Some(loader.steps_per_epoch());
        let batches =
            |step| batches_from(loader.start_at(step), |items| Ok(stage_two_batch(items)));
        let trained = self.trainer(&recipe, &config).train(model, batches, run)?;
        Ok((trained.model, trained.outcome))
    }

    fn trainer<'r, R: crate::Recipe>(
        &self,
        recipe: &'r R,
        config: &'r TrainConfig,
    ) -> Trainer<'r, R> {
        Trainer::new(recipe, config)
            .progress(self.progress)
            .stop(self.stop.clone())
    }

    /// A trained part's config, with what it was trained on top of.
    fn provenance(&self, config: &impl Serialize) -> String {
        let config = serde_json::to_value(config).unwrap_or_default();
        serde_json::json!({ "model": config, "frozen_parts": self.frozen.identity }).to_string()
    }
}

/// The hash of a file's content.
fn identity_of(path: &std::path::Path) -> Result<String, RecipeError> {
    let bytes = std::fs::read(path).map_err(|source| seed_weights::WeightsError::Io {
        path: path.to_owned(),
        source,
    })?;
    Ok(blake3::hash(&bytes).to_hex().to_string())
}
