//! Trains the SEED tokenizer, both stages, and shows what it learned.
//!
//! ```text
//! cargo run --release --example train_tokenizer
//! ```

use std::{borrow::Cow, error::Error, path::PathBuf, process::ExitCode, sync::Arc};

use clap::Parser;
use seed::{
    data::{Cache, Corpus},
    device::{Device, DeviceSpec},
    encoders::nano,
    train::{
        Existing, Outcome, ProgressMode, RunDir, RunInfo, StopFlag, load_config,
        recipes::{
            ClipPretraining, ClipPretrainingConfig, FrozenParts, Splits, TokenizerOutcome,
            TokenizerTraining, TokenizerTrainingConfig, train_tokenizer_of,
        },
    },
};

/// Tensors of a step are freed and asked for again at the next: an allocator that keeps its pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trains the SEED tokenizer: a causal Q-Former reads frozen image features (stage I), its embeddings
/// become codes and come back from them (stage II).
#[derive(Parser)]
struct Arguments {
    /// flex | ndarray | libtorch[:cuda:N] | cuda:N | wgpu
    #[arg(long, default_value = "flex")]
    device: DeviceSpec,
    /// Train on your own pictures: a folder with captions.jsonl, or a .txt beside each picture.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Name of the run's folder below runs/.
    #[arg(long, default_value = "tokenizer")]
    name: String,
    /// Go on where the run of this name stopped.
    #[arg(long, conflicts_with = "overwrite")]
    resume: bool,
    /// Replace a run of this name.
    #[arg(long)]
    overwrite: bool,
    /// A minute's run: shows that everything works, learns little.
    #[arg(long)]
    smoke: bool,
    /// Settings in TOML instead of the nano defaults; --print-config shows those.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the settings and leave.
    #[arg(long)]
    print_config: bool,
    /// Seed of both stages.
    #[arg(long)]
    seed: Option<u64>,
    /// Train the frozen parts anew first (experiments/nano-clip) instead of using the shipped ones.
    #[arg(long)]
    pretrain: bool,
}

/// Pairs of each set that a smoke run looks at.
const SMOKE_PAIRS: usize = 300;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let config = settings(arguments)?;
    if arguments.print_config {
        print!("{}", toml::to_string_pretty(&config)?);
        return Ok(());
    }
    let device = arguments.device.open()?;
    let cache = Cache::open(Cache::default_dir()?, Cache::DEFAULT_BYTES)?;
    let stop = StopFlag::on_ctrl_c()?;
    let started = std::time::Instant::now();

    let corpus = Corpus::embedded()?;
    let splits = match &arguments.data {
        Some(folder) => Splits::of_folder(folder, config.stage_one.seed)?,
        None => Splits::of_corpus(&corpus, config.render_size, &config.styles, &cache)?,
    };
    let splits = if arguments.smoke {
        splits.limited(SMOKE_PAIRS)
    } else {
        splits
    };
    let frozen = if arguments.pretrain {
        pretrain(arguments, &corpus, &cache, &device, &stop)?
    } else {
        Some(FrozenParts::nano(&device)?)
    };
    let Some(frozen) = frozen else { return Ok(()) };

    let mut run = open_run(arguments, &arguments.name, &config, config.stage_one.seed)?;
    let training = TokenizerTraining {
        config: &config,
        frozen: &frozen,
        splits: &splits,
        cache: &cache,
        device: &device,
        progress: ProgressMode::Auto,
        stop,
    };
    let trained = match training.train(&mut run)? {
        TokenizerOutcome::Finished(trained) => trained,
        TokenizerOutcome::Interrupted { stage, step } => {
            println!("stopped in {stage} after step {step}; go on with --resume");
            return Ok(());
        }
    };
    let facts = [
        ("device", arguments.device.to_string()),
        ("seed", config.stage_one.seed.to_string()),
        ("training pairs", splits.train().len().to_string()),
        ("time", format!("{:.0} s", started.elapsed().as_secs_f64())),
    ];
    let report = training.report(&trained, &run, &facts)?;
    println!("{}", report.terminal_table());
    println!("report: {}", run.path().join("report.html").display());
    Ok(())
}

fn settings(arguments: &Arguments) -> Result<TokenizerTrainingConfig, Box<dyn Error>> {
    let mut config = match &arguments.config {
        Some(file) => load_config(file)?,
        None => TokenizerTrainingConfig::nano(),
    };
    if let Some(seed) = arguments.seed {
        config.stage_one.seed = seed;
        config.stage_two.seed = seed;
    }
    if arguments.smoke {
        config = config.smoke();
    }
    config.validate()?;
    Ok(config)
}

/// Trains the nano CLIP in a run of its own; nothing comes back if it was stopped.
fn pretrain(
    arguments: &Arguments,
    corpus: &Corpus,
    cache: &Cache,
    device: &Device,
    stop: &StopFlag,
) -> Result<Option<FrozenParts>, Box<dyn Error>> {
    let mut config = ClipPretrainingConfig::nano();
    if arguments.smoke {
        config = config.smoke();
    }
    let name = format!("{}-clip", arguments.name);
    let mut run = open_run(arguments, &name, &config, config.train.seed)?;
    let tokenizer = train_tokenizer_of(corpus, config.clip.text.vocab_size)?;
    let json = tokenizer.to_json()?;
    let tokenizer = Arc::new(tokenizer);
    let training = ClipPretraining {
        config: &config,
        corpus,
        tokenizer,
        cache,
        device,
    };
    let trained = training.train(&mut run, ProgressMode::Auto, stop.clone())?;
    if let Outcome::Interrupted { step } = trained.outcome {
        println!("stopped in pretraining after step {step}; go on with --pretrain --resume");
        return Ok(None);
    }
    let path = run.path().join("clip.safetensors");
    training.save(trained.model.clip, &path)?;
    let name = path.display().to_string();
    let nano = nano::clip_from(&name, Cow::Owned(std::fs::read(&path)?), device)?;
    Ok(Some(FrozenParts::of_nano_clip(nano, &json)?))
}

fn open_run(
    arguments: &Arguments,
    name: &str,
    config: &impl serde::Serialize,
    seed: u64,
) -> Result<RunDir, Box<dyn Error>> {
    let existing = match (arguments.resume, arguments.overwrite) {
        (true, _) => Existing::Resume,
        (_, true) => Existing::Overwrite,
        _ => Existing::Refuse,
    };
    let device = arguments.device.to_string();
    let info = RunInfo {
        config: serde_json::to_value(config)?,
        seed,
        device,
    };
    Ok(RunDir::open("runs".as_ref(), name, existing, &info)?)
}
