//! Where the nano OPT comes from: next-token prediction on text.

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::seq::SliceRandom;
use seed_data::{DataError, ItemContext, Loader, LoaderConfig, TextTokenizer, item_rng};
use seed_lm::{Layout, Opt, OptConfig, log_likelihoods};
use seed_train::{
    BoxError, ConfigError, Losses, ProgressMode, Recipe, RunDir, StopFlag, TrainConfig, Trained,
    Trainer,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{batches::batches_from, error::RecipeError, settings::without};

/// Settings of the nano OPT's training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptPretrainingConfig {
    /// Sizes.
    pub opt: OptConfig,
    /// Tokens of a training row.
    pub length: usize,
    /// How often each caption of the training split occurs among the lines of text.
    pub caption_repeats: usize,
    /// Share of the rows that are never trained on.
    pub held_out: f64,
    /// Steps between two validations.
    pub evaluate_every: u64,
    /// The step loop.
    pub train: TrainConfig,
}

impl OptPretrainingConfig {
    /// Refuses settings with which no training is possible.
    ///
    /// # Errors
    ///
    /// [`RecipeError::Model`] and [`RecipeError::Config`], which name the key.
    pub fn validate(&self) -> Result<(), RecipeError> {
        self.opt.validate()?;
        self.train.validate()?;
        let longest = self.opt.max_length;
        ConfigError::require(
            (1..=longest).contains(&self.length),
            "length",
            self.length,
            &format!("1 to the model's {longest} positions"),
        )?;
        ConfigError::require(
            self.held_out > 0.0 && self.held_out < 1.0,
            "held_out",
            self.held_out,
            "above 0 and below 1",
        )?;
        Ok(())
    }

    /// Settings that decide what is computed, but for the step loop's; `evaluate_every` only looks.
    pub fn identity(&self) -> Value {
        without(self, &["train", "evaluate_every"])
    }
}

/// Next-token prediction over rows of running text.
pub struct OptRecipe {
    /// Everything beside the step loop that decides what is computed.
    identity: Value,
    device: Device,
}

/// Mean cross-entropy of each token after those before it, `[1]`.
fn loss_of(model: &Opt, rows: Vec<Vec<u32>>, device: &Device) -> Tensor<1> {
    let (count, length) = (rows.len(), rows[0].len());
    let ids: Vec<i64> = rows.into_iter().flatten().map(i64::from).collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [count, length]), device);
    let inputs = ids.clone().narrow(1, 0, length - 1);
    let targets = ids.narrow(1, 1, length - 1);
    let layout = Layout::full(length - 1, device);
    let hidden = model.forward(model.embed(inputs), &layout);
    let width = hidden.dims()[2];
    let all = count * (length - 1);
    let logits = model.logits(hidden.reshape([all, width]));
    log_likelihoods(logits, targets.reshape([all])).mean().neg()
}

impl Recipe for OptRecipe {
    type Model = Opt;
    type Batch = Vec<Vec<u32>>;

    fn name(&self) -> &'static str {
        "opt"
    }

    fn config(&self) -> Value {
        self.identity.clone()
    }

    fn loss(&self, model: &Opt, batch: Vec<Vec<u32>>) -> Losses {
        Losses::new(loss_of(model, batch, &self.device))
    }
}

/// The training of the nano OPT on some lines of text.
pub struct OptPretraining<'a> {
    /// Its settings.
    pub config: &'a OptPretrainingConfig,
    /// Lines of text, each trained on as often as it occurs.
    pub lines: Vec<String>,
    /// The text tokenizer.
    pub tokenizer: Arc<TextTokenizer>,
    /// Where to train, without autodiff.
    pub device: &'a Device,
}

impl OptPretraining<'_> {
    /// Trains, or goes on where the run stopped.
    pub fn train(
        &self,
        run: &mut RunDir,
        progress: ProgressMode,
        stop: StopFlag,
    ) -> Result<Trained<Opt>, RecipeError> {
        self.config.validate()?;
        let device = self.device.clone().autodiff();
        let config = &self.config.train;
        seed_device::seed(&device, config.seed);
        let mut rows = self.rows()?;
        let held_out = (rows.len() as f64 * self.config.held_out).ceil() as usize;
        let validation = rows.split_off(rows.len() - held_out.clamp(1, rows.len() - 1));
        let identity = rows.iter().fold(blake3::Hasher::new(), |mut hasher, row| {
            for id in row {
                hasher.update(&id.to_le_bytes());
            }
            hasher
        });
        let text = identity.finalize().to_hex().to_string();
        let recipe = OptRecipe {
            identity: json!({ "settings": self.config.identity(), "text": text }),
            device: device.clone(),
        };
        let model = self.config.opt.init(&device)?;
        let len = rows.len() as u32;
        let make = move |item: ItemContext| -> Result<Vec<u32>, DataError> {
            Ok(rows[item.index as usize].clone())
        };
        let loader = Loader::new(len, LoaderConfig::new(config.batch_size, config.seed), make)?;
        let batches = |step| batches_from(loader.start_at(step), Ok);
        let evaluate = |model: &Opt, _| -> Result<Vec<(String, f64)>, BoxError> {
            let losses = validation.chunks(config.batch_size).map(|rows| {
                let loss = loss_of(model, rows.to_vec(), self.device);
                let loss = loss.into_data().iter::<f64>().next().unwrap_or(f64::NAN);
                loss * rows.len() as f64
            });
            let loss = losses.sum::<f64>() / validation.len() as f64;
            Ok(vec![("validation_perplexity".to_owned(), loss.exp())])
        };
        Ok(Trainer::new(&recipe, config)
            .progress(progress)
            .stop(stop)
            .steps_per_epoch(loader.steps_per_epoch())
            .on_evaluate(self.config.evaluate_every, evaluate)
            .train(model, batches, run)?)
    }

    /// All lines in a random order, each behind a start token, cut into rows of equal length.
    fn rows(&self) -> Result<Vec<Vec<u32>>, RecipeError> {
        let mut lines: Vec<&String> = self.lines.iter().collect();
        lines.shuffle(&mut item_rng(self.config.train.seed, 0, 0));
        let mut stream = Vec::new();
        for line in lines {
            stream.extend(self.tokenizer.encode_all(line)?);
        }
        // A row's last token is a target alone.
        let length = self.config.length + 1;
        Ok(stream.chunks_exact(length).map(<[u32]>::to_vec).collect())
    }
}
