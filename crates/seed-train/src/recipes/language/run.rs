//! A language model's training as one asks for it on a command line: frozen parts, run folder, scores.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use burn::tensor::{DType, Device};
use seed_data::{Cache, Corpus, TextTokenizer, byte_bpe_of_files};
use seed_device::{DeviceSpec, Precision};
use seed_eval::language::LanguageReport;
use seed_lm::{OptConfig, save_lm};
use seed_tokenizer::{PublishedTokenizer, nano};
use seed_weights::Checkpoint;

use super::{
    super::{RecipeError, Splits},
    BaseLm, FrozenTokenizer, LmEvaluation, LmOutcome, LmTraining, LmTrainingConfig, VisualInput,
};
use crate::{Existing, ProgressMode, RunDir, RunInfo, StopFlag, load_config};

/// Pairs of each set that a smoke run looks at.
const SMOKE_PAIRS: usize = 60;
/// Pictures of a set that a run is judged by, at most.
const JUDGED: usize = 2000;

/// What was asked for. The library decides nothing here that a command line could not say.
#[derive(Debug, Clone)]
pub struct LmRun {
    /// Where to train.
    pub device: DeviceSpec,
    /// The image tokenizer: a run's folder or a published file, instead of the one that ships.
    pub tokenizer: Option<PathBuf>,
    /// The language model: a folder of transformers' files, instead of the nano OPT that ships.
    pub base: Option<PathBuf>,
    /// The user's own pictures instead of the embedded corpus.
    pub data: Option<PathBuf>,
    /// Settings in TOML instead of [`LmTrainingConfig::nano`].
    pub config: Option<PathBuf>,
    /// Seed of both phases, instead of the settings'.
    pub seed: Option<u64>,
    /// Read causal embeddings that were not quantised: the baseline. It learns no images.
    pub continuous: bool,
    /// The folder of a finished run with `continuous`, whose captions are shown beside.
    pub baseline: Option<PathBuf>,
    /// A minute's run: shows that everything works, learns little.
    pub smoke: bool,
    /// The folder of all runs.
    pub runs: PathBuf,
    /// Name of this run's folder.
    pub name: String,
    /// What to do with a run of this name.
    pub existing: Existing,
    /// How progress is shown.
    pub progress: ProgressMode,
}

/// How a run ended.
#[derive(Debug)]
pub enum LmRunOutcome {
    /// Both phases are done and judged.
    Finished {
        /// What the held-out sets say.
        report: Box<LanguageReport>,
        /// The run's folder, with the adapter, the vocabulary, `language.json` and `report.html`.
        folder: PathBuf,
    },
    /// A stop was asked for; the run can be resumed.
    Interrupted {
        /// The phase that was running.
        stage: &'static str,
        /// Steps of it that are done.
        step: u64,
    },
}

impl LmRun {
    /// The settings, with what this run changes in them.
    ///
    /// # Errors
    ///
    /// [`RecipeError`].
    pub fn settings(&self) -> Result<LmTrainingConfig, RecipeError> {
        let mut config: LmTrainingConfig = match &self.config {
            Some(file) => load_config(file)?,
            None => LmTrainingConfig::nano(),
        };
        if let Some(seed) = self.seed {
            config.image_to_text.train.seed = seed;
            config.joint.train.seed = seed;
        }
        if self.smoke {
            config = config.smoke();
        }
        if self.continuous {
            config.visual_input = VisualInput::Embeddings;
        }
        if config.visual_input == VisualInput::Embeddings {
            config.joint.mixture.caption += config.joint.mixture.image;
            config.joint.mixture.image = 0.0;
        }
        config.validate()?;
        Ok(config)
    }

    /// Trains both phases on `device`, which [`Self::device`] was opened as, and judges the result.
    ///
    /// # Errors
    ///
    /// [`RecipeError`].
    pub fn train(&self, device: &Device, stop: StopFlag) -> Result<LmRunOutcome, RecipeError> {
        let started = std::time::Instant::now();
        let config = self.settings()?;
        let seed = config.image_to_text.train.seed;
        let baseline = self
            .baseline
            .as_ref()
            .map(|run| LanguageReport::load(&run.join("language.json")))
            .transpose()?;
        let cache = Cache::open(Cache::default_dir()?, Cache::DEFAULT_BYTES)?;
        let corpus = Corpus::embedded()?;
        let images = self.images(device)?;
        let text_tokenizer = images.text_tokenizer()?;
        let base = self.base(config.base_weights, &device.clone().autodiff())?;
        let styles = crate::recipes::TokenizerTrainingConfig::nano().styles;
        let (splits, questions) = match &self.data {
            Some(folder) => (Splits::of_folder(folder, seed)?, BTreeMap::new()),
            None => (
                Splits::of_corpus(&corpus, config.render_size, &styles, &cache)?,
                corpus.questions(),
            ),
        };
        let splits = if self.smoke {
            splits.limited(SMOKE_PAIRS)
        } else {
            splits
        };
        let info = RunInfo {
            config: serde_json::to_value(&config).unwrap_or_default(),
            seed,
            device: self.device.to_string(),
        };
        let mut run = RunDir::open(&self.runs, &self.name, self.existing, &info)?;
        let training = LmTraining {
            config: &config,
            base: &base,
            images: &images,
            splits: &splits,
            questions: &questions,
            cache: &cache,
            device,
            progress: self.progress,
            stop,
        };
        let trainee = match training.train(&mut run)? {
            LmOutcome::Finished(trainee) => trainee,
            LmOutcome::Interrupted { stage, step } => {
                return Ok(LmRunOutcome::Interrupted { stage, step });
            }
        };
        save_lm(
            run.path(),
            &trainee.adapter,
            &trainee.vocabulary,
            &training.about(),
            DType::F32,
        )?;
        let trained = started.elapsed().as_secs_f64();
        let model = training.finished(&trainee)?;
        let judge = LmEvaluation {
            training: &training,
            model: &model,
            most: JUDGED,
        };
        let mut report = judge.report(&splits, text_tokenizer.as_ref(), &run)?;
        report.facts = vec![
            ("device".to_owned(), self.device.to_string()),
            ("seed".to_owned(), seed.to_string()),
            ("training".to_owned(), format!("{trained:.0} s")),
            (
                "all".to_owned(),
                format!("{:.0} s", started.elapsed().as_secs_f64()),
            ),
        ];
        if let Some(baseline) = &baseline {
            report = report.beside(baseline);
        }
        report.save(run.path())?;
        Ok(LmRunOutcome::Finished {
            report: Box::new(report),
            folder: run.path().to_owned(),
        })
    }

    fn images(&self, device: &Device) -> Result<FrozenTokenizer, RecipeError> {
        let published = match &self.tokenizer {
            Some(path) => PublishedTokenizer::open(path)?,
            None => nano::published()?,
        };
        FrozenTokenizer::load(published, device)
    }

    /// The language model to be frozen.
    fn base(&self, weights: Precision, device: &Device) -> Result<BaseLm, RecipeError> {
        match &self.base {
            None => BaseLm::nano(weights, device),
            Some(folder) => BaseLm::open(folder, weights, device),
        }
    }
}

impl BaseLm {
    /// A folder of transformers' files: `config.json`, the weights in any of their layouts, and `tokenizer.json` or
    /// `vocab.json` with `merges.txt`. The weights of linear layers are kept in `weights`.
    ///
    /// # Errors
    ///
    /// [`RecipeError`].
    pub fn open(
        folder: &std::path::Path,
        weights: Precision,
        device: &Device,
    ) -> Result<Self, RecipeError> {
        let file = folder.join("config.json");
        let text = std::fs::read_to_string(&file)
            .map_err(|error| RecipeError::LanguageData(format!("{}: {error}", file.display())))?;
        let checkpoint = Checkpoint::open(weights_in(folder))?;
        let (opt, _) = OptConfig::from_published(&text)?
            .init(device)?
            .load(&checkpoint, weights.dtype())?;
        let json = folder.join("tokenizer.json");
        let tokenizer = if json.is_file() {
            TextTokenizer::from_file(&json)?
        } else {
            byte_bpe_of_files(&folder.join("vocab.json"), &folder.join("merges.txt"))?
        };
        let (known, rows) = (tokenizer.vocab_size(), opt.config().vocab_size);
        if known > rows {
            return Err(RecipeError::LanguageData(format!(
                "{}: the tokenizer has {known} tokens and the model {rows}: they do not belong together",
                folder.display()
            )));
        }
        Ok(Self {
            identity: super::codes::identity_of(&checkpoint)?,
            opt,
            tokenizer: Arc::new(tokenizer),
            name: folder.display().to_string(),
        })
    }
}

/// The weights among a folder's files, in the order in which transformers looks for them; the folder itself if there
/// are none, so that the error names it.
fn weights_in(folder: &std::path::Path) -> PathBuf {
    const FILES: [&str; 4] = [
        "model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
    ];
    let candidates = FILES.map(|name| folder.join(name));
    let found = candidates.into_iter().find(|path| path.is_file());
    found.unwrap_or_else(|| folder.to_owned())
}
