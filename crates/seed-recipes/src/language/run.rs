//! A language model's training as one asks for it on a command line: frozen parts, run folder, scores.

use std::{collections::BTreeMap, path::PathBuf};

use burn::tensor::{DType, Device};
use clap::Args;
use seed_data::Corpus;
use seed_device::Precision;
use seed_eval::language::LanguageReport;
use seed_lm::save_lm;
use seed_tokenizer::{PublishedTokenizer, nano};
use seed_train::{ProgressMode, StopFlag, load_config};

use super::{
    base::BaseLm, codes::FrozenTokenizer, config::LmTrainingConfig, report::UntrainedPrompts,
    training::LmTraining,
};
use crate::{
    curves::curves,
    error::RecipeError,
    options::RunOptions,
    outcome::{RunOutcome, TrainingOutcome, unless_stopped},
    splits::Splits,
};

/// Pairs of each set, and nouns, that a smoke run looks at.
const SMOKE_PAIRS: usize = 60;
/// Pictures or prompts of a set that a run is judged by, at most.
const JUDGED: usize = 2000;
/// What a finished run leaves in its folder.
const OUTPUTS: &[&str] = &[
    seed_lm::ADAPTER_FOLDER,
    seed_lm::VOCABULARY_FILE,
    "language.json",
    "report.html",
];

/// The training of a language model, as a command line asks for it.
#[derive(Debug, Clone, Args)]
pub struct LmRun {
    /// What every training is asked.
    #[command(flatten)]
    pub options: RunOptions,
    /// Name of this run's folder below --runs.
    #[arg(long, default_value = "lm")]
    pub name: String,
    /// An image tokenizer: a run's folder or a published file; without it the nano tokenizer that ships.
    #[arg(long, value_name = "CHECKPOINT")]
    pub tokenizer: Option<PathBuf>,
    /// An OPT as a folder of transformers' files; without it the nano OPT that ships.
    #[arg(long, value_name = "DIR")]
    pub base: Option<PathBuf>,
    /// The baseline without codes: embeddings that were not quantised are read, and no images learnt: their share of the
    /// mixture goes to captions.
    #[arg(long)]
    pub continuous: bool,
    /// The folder of a finished run with --continuous: its captions are shown beside.
    #[arg(long, value_name = "RUN", conflicts_with = "continuous")]
    pub baseline: Option<PathBuf>,
}

impl LmRun {
    /// The settings, with what this run changes in them.
    ///
    /// # Errors
    ///
    /// [`RecipeError`], which names the key.
    pub fn settings(&self) -> Result<LmTrainingConfig, RecipeError> {
        let mut config = match &self.options.config {
            Some(file) => load_config(file)?,
            None => LmTrainingConfig::nano()?,
        };
        if let Some(seed) = self.options.seed {
            config.image_to_text.train.seed = seed;
            config.joint.train.seed = seed;
        }
        if let Some(seed) = self.options.split_seed {
            config.split_seed = seed;
        }
        if self.options.smoke {
            config = config.smoke()?;
        }
        if self.continuous {
            config = config.continuous();
        }
        config.validate()?;
        Ok(config)
    }

    /// Trains both phases on `device`, which the options' was opened as, and judges the result.
    ///
    /// # Errors
    ///
    /// [`RecipeError`].
    pub fn train(
        &self,
        device: &Device,
        progress: ProgressMode,
        stop: StopFlag,
    ) -> Result<RunOutcome<LanguageReport>, RecipeError> {
        let started = std::time::Instant::now();
        let config = self.settings()?;
        if progress != ProgressMode::Quiet {
            let shipped = LmTrainingConfig::nano()?;
            self.options
                .tell_without_effect(&config.of_pictures(), &shipped.of_pictures());
        }
        let seed = config.image_to_text.train.seed;
        let baseline = self
            .baseline
            .as_ref()
            .map(|run| LanguageReport::load(&run.join("language.json")))
            .transpose()?;
        let cache = self.options.cache()?;
        let corpus = Corpus::embedded()?;
        let images = self.images(device)?;
        // What is missing for the scores at the end is told at the beginning.
        images.text_tokenizer()?;
        let base = self.base(config.base_weights, &device.clone().autodiff())?;
        let (splits, questions, prompts) = match &self.options.data {
            Some(folder) => (
                Splits::of_folder(folder, config.split_seed)?,
                BTreeMap::new(),
                UntrainedPrompts::default(),
            ),
            None => (
                Splits::of_corpus(&corpus, config.render_size, &config.styles, &cache)?,
                corpus.questions(),
                UntrainedPrompts::of_corpus(&corpus)?,
            ),
        };
        let (splits, prompts) = self.limited(splits, prompts);
        let asks = config
            .phases()
            .any(|(_, phase)| phase.mixture.question > 0.0);
        if questions.is_empty() && asks && progress != ProgressMode::Quiet {
            eprintln!(
                "these data have no questions: their share of the mixture is learnt as captions"
            );
        }
        let mut run = self.options.open_run(&self.name, &config, seed, OUTPUTS)?;
        let training = LmTraining {
            config: &config,
            base: &base,
            images: &images,
            splits: &splits,
            questions: &questions,
            cache: &cache,
            device,
            progress,
            stop,
        };
        let work = "the pictures' codes were computed";
        let trainee = match unless_stopped(training.train(&mut run), work)? {
            Ok(TrainingOutcome::Finished(trainee)) => trainee,
            Ok(TrainingOutcome::Interrupted { stage, step }) => {
                return Ok(RunOutcome::at(stage, step));
            }
            Err(stopped) => return Ok(stopped),
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
        let judged = training.evaluation(&model, JUDGED).report(&prompts);
        let mut report = match unless_stopped(judged, "the trained model was judged")? {
            Ok(report) => report.judge(&config.targets),
            Err(stopped) => return Ok(stopped),
        };
        report.config = toml::to_string_pretty(&config).ok();
        report.stages = curves(&run)?;
        report.facts = vec![
            ("device".to_owned(), self.options.device.to_string()),
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
        let (tables, command) = (report.terminal_table(), "seed caption IMAGE --lm");
        Ok(RunOutcome::finished(
            report,
            run.path(),
            "report.html",
            &tables,
            command,
        ))
    }

    /// Everything, or what a smoke run looks at.
    fn limited(&self, splits: Splits, mut prompts: UntrainedPrompts) -> (Splits, UntrainedPrompts) {
        if !self.options.smoke {
            return (splits, prompts);
        }
        prompts.nouns.truncate(SMOKE_PAIRS);
        prompts.other_words.truncate(SMOKE_PAIRS);
        (splits.limited(SMOKE_PAIRS), prompts)
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
