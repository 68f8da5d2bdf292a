//! What every competitor gets: one folder with sizes, weights and inputs.
//!
//! ```text
//! verify.json  measure.json      sizes, in two variants of one form (see [`Spec`])
//! frozen, tokens, codes, clip    weights as f32 safetensors, under the reference's key names
//! inputs.safetensors             batches of the embedded corpus, made by the real loaders
//! ```

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use burn::{
    module::Module,
    tensor::{DType, Tensor, TensorData},
};
use safetensors::{Dtype, tensor::TensorView};
use seed::{
    data::{Cache, Corpus, EvalTransform, LoaderConfig, Normalize, TokenBatch},
    device::{Device, seed},
    encoders::clip_keys,
    recipes::{
        Splits,
        clip::{ClipPretraining, ClipPretrainingConfig, training_concepts},
        frozen::{FrozenParts, FrozenRows, Views},
        tokenizer::{
            StageTwoRows, TokenizerTraining, TokenizerTrainingConfig, stage_one_batch,
            stage_one_loader, stage_two_batch, stage_two_loader,
        },
    },
    tokenizer::{
        CodebookInit, LABEL_SMOOTHING, TokenEncoder, TokenEncoderConfig, code_autoencoder_keys,
        token_encoder_keys,
    },
    train::{BoxError, ProgressMode, StopFlag, TrainConfig},
    weights::{Checkpoint, KeyMap, load, save},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::works::clip_trainee_keys;
use crate::steps::to_measure;

/// Pairs whose frozen outputs are computed: enough for a batch of each stage and a loader's shuffle.
const PAIRS: usize = 512;
/// Seed of all weights and batches.
const SEED: u64 = 42;
/// A rate at which steps move the weights visibly and rounding does not decide where to.
const RATE: f64 = 1e-4;

/// Sizes and lengths of a run, for the competitors of all languages.
///
/// There are two of them: `measure` is the nano configuration as it is trained, `verify` the same
/// without chance ([`Spec::without_chance`]), so that all competitors must give the same numbers.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// The tokenizer's training.
    pub(crate) tokenizer: TokenizerTrainingConfig,
    /// The nano CLIP's training.
    pub(crate) clip: ClipPretrainingConfig,
    /// Label smoothing of stage I.
    pub(crate) label_smoothing: f64,
    /// Training concepts, each with a prototype if the nano CLIP's training uses them.
    pub(crate) concepts: usize,
    /// Steps whose time does not count.
    pub(crate) warmup: u64,
    /// Steps whose time counts.
    pub(crate) steps: u64,
    /// Threads of each competitor.
    pub(crate) threads: usize,
}

impl Spec {
    /// The configuration that is trained, at a constant rate (a schedule costs nothing) and without
    /// logs and checkpoints inside the measured steps.
    pub(crate) fn measure(warmup: u64, steps: u64, threads: usize) -> Result<Self, BoxError> {
        let mut spec = Self {
            tokenizer: TokenizerTrainingConfig::nano()?,
            clip: ClipPretrainingConfig::nano()?,
            label_smoothing: LABEL_SMOOTHING,
            concepts: training_concepts(&Corpus::embedded()?).len(),
            warmup,
            steps,
            threads,
        };
        for train in spec.trainings() {
            *train = to_measure(train.clone(), warmup + steps, RATE);
        }
        Ok(spec)
    }

    /// A few steps without dropout, dropped patches, and codes drawn at random; every step is logged.
    pub(crate) fn without_chance(&self, steps: u64) -> Self {
        let mut spec = self.clone();
        (spec.warmup, spec.steps) = (0, steps);
        for train in spec.trainings() {
            train.steps = steps;
            train.log_every = 1;
        }
        spec.clip.kept_patches = None;
        let model = &mut spec.tokenizer.model;
        if let TokenEncoderConfig::QFormer(tokens) = &mut model.tokens {
            tokens.q_former.dropout = 0.0;
        }
        if let Some(head) = &mut model.codes.text_head {
            head.reverse.dropout = 0.0;
        }
        model.codes.quantizer.init = CodebookInit::Uniform;
        model.codes.quantizer.revival = None;
        spec
    }

    fn trainings(&mut self) -> [&mut TrainConfig; 3] {
        let TokenizerTrainingConfig {
            stage_one,
            stage_two,
            ..
        } = &mut self.tokenizer;
        [stage_one, stage_two, &mut self.clip.train]
    }

    /// Reads a specification; weights and inputs lie beside it.
    pub(crate) fn open(path: &Path) -> Result<Self, BoxError> {
        Ok(serde_json::from_str(&std::fs::read_to_string(path)?)?)
    }

    /// Writes it.
    pub(crate) fn write(&self, path: &Path) -> Result<(), BoxError> {
        Ok(std::fs::write(path, serde_json::to_string_pretty(self)?)?)
    }
}

/// The real data behind the batches, as the trainings hold it.
pub(crate) struct Data {
    pub(crate) corpus: Corpus,
    pub(crate) splits: Splits,
    pub(crate) frozen: FrozenParts,
    pub(crate) cache: Cache,
    pub(crate) image_tokens: FrozenRows,
    pub(crate) rows: StageTwoRows,
}

impl Data {
    /// Runs the frozen parts over a part of the corpus, or reads what they gave before.
    ///
    /// Rendered drawings are kept in the user's cache as always, frozen outputs in the folder.
    pub(crate) fn open(
        spec: &Spec,
        folder: &Path,
        tokens: &TokenEncoder,
        device: &Device,
    ) -> Result<Self, BoxError> {
        let config = &spec.tokenizer;
        let cache = Cache::open(Cache::default_dir()?, Cache::limit_from(None)?)?;
        let corpus = Corpus::embedded()?;
        let splits = Splits::of_corpus(&corpus, config.render_size, &config.styles, &cache)?;
        let splits = splits.limited(PAIRS);
        let frozen = FrozenParts::nano(device)?;
        let rows = Cache::open(folder.join("rows"), Cache::DEFAULT_BYTES)?;
        let training = TokenizerTraining {
            config,
            frozen: &frozen,
            splits: &splits,
            cache: &rows,
            device,
            progress: ProgressMode::Quiet,
            stop: StopFlag::new(),
        };
        let views = Views::Random {
            count: config.views,
            transform: config.transform.clone(),
            seed: SEED,
        };
        let image_tokens = training.image_tokens(&splits.renderings, &views)?;
        let embeddings = training.embeddings(tokens, &image_tokens)?;
        let head = config.model.codes.text_head.as_ref();
        let head = head.ok_or("the nano tokenizer has lost its text head")?;
        let texts = training.frozen_cache().text_states(
            &frozen.text,
            splits.train().as_ref(),
            head.reverse.queries,
        )?;
        let rows = StageTwoRows {
            embeddings,
            texts: Some(texts),
            images: None,
        };
        Ok(Self {
            corpus,
            splits,
            frozen,
            cache,
            image_tokens,
            rows,
        })
    }

    /// The nano CLIP's training on this data.
    pub(crate) fn clip<'a>(&'a self, spec: &'a Spec, device: &'a Device) -> ClipPretraining<'a> {
        ClipPretraining {
            config: &spec.clip,
            corpus: &self.corpus,
            tokenizer: Arc::clone(&self.frozen.text.tokenizer),
            cache: &self.cache,
            device,
        }
    }
}

/// Fills the folder: weights from a seed, frozen weights as shipped, one batch of each loader.
pub(crate) fn prepare(folder: &Path, spec: &Spec, device: &Device) -> Result<(), BoxError> {
    let model = &spec.tokenizer.model;
    seed(device, SEED);
    let tokens = model.tokens.init(device)?;
    store(&tokens, folder, "tokens", &token_encoder_keys())?;
    let shipped = seed::encoders::nano::clip(device)?.clip;
    store(&shipped, folder, "frozen", &clip_keys())?;

    let data = Data::open(spec, folder, &tokens, device)?;
    let mut inputs = Inputs::default();
    let (config, vary) = (&spec.tokenizer.stage_one, spec.tokenizer.vary_captions);
    let loader = LoaderConfig::new(config.batch_size, SEED);
    let items = first(
        stage_one_loader(data.splits.train(), &data.image_tokens, vary, loader)?.steps(0, 1)?,
    )?;
    let tokenizer = &data.frozen.text.tokenizer;
    let batch = stage_one_batch(items, tokenizer, spec.tokenizer.text_length)?;
    inputs.rows("image_tokens", batch.image_tokens, &data.image_tokens.shape);
    inputs.texts("", batch.captions);
    inputs.ints("concepts", batch.concepts);

    let config = &spec.tokenizer.stage_two;
    let loader = LoaderConfig::new(config.batch_size, SEED);
    let loader = stage_two_loader(&data.rows, loader)?;
    let batch = stage_two_batch(first(loader.steps(0, 1)?)?);
    let rows = batch.embeddings.clone();
    let shapes = data.rows.shapes();
    let text = shapes.text.ok_or("there is no text target")?;
    inputs.rows("embeddings", batch.embeddings, &data.rows.embeddings.shape);
    inputs.rows("text_states", batch.text_states, &text);
    let size = model.image.image_size;
    let transform = EvalTransform::new(size as u32);
    let pictures = (0..config.batch_size)
        .map(|index| {
            let picture = data.splits.train().picture(index)?;
            Ok(transform.tensor(&picture, &Normalize::clip()))
        })
        .collect::<Result<_, BoxError>>()?;
    inputs.rows("pictures", pictures, &[3, size, size]);

    // A codebook of the batch's own vectors, as training has it after its first step: codes that mean
    // something, so that comparing them does.
    let mut codes = model.codes.init(device)?;
    let [positions, width] = data.rows.embeddings.shape;
    let shape = [rows.len(), positions, width];
    let vectors = Tensor::from_data(TensorData::new(rows.concat(), shape), device);
    let vectors = codes.code_vectors(vectors);
    codes.quantize = codes.quantize.after_step(vectors, 0).quantizer;
    store(&codes, folder, "codes", &code_autoencoder_keys())?;

    let clip = spec
        .clip
        .recipe(spec.concepts, Value::Null, device)
        .init()?;
    store(&clip, folder, "clip", &clip_trainee_keys())?;
    let training = data.clip(spec, device);
    let batch = training.collate(first(training.loader()?.steps(0, 1)?)?)?;
    let size = spec.clip.clip.image.image_size;
    inputs.rows("clip_images", batch.images, &[3, size, size]);
    inputs.texts("clip_", batch.captions);
    inputs.ints("clip_concepts", batch.concepts);
    inputs.write(folder)
}

fn first<T>(
    mut batches: seed::data::Batches<T, seed::data::DataError>,
) -> Result<Vec<T>, BoxError> {
    Ok(batches.next().ok_or("the loader gave no batch")??.items)
}

fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join(name).with_extension("safetensors")
}

fn store<M: Module>(module: &M, folder: &Path, name: &str, keys: &KeyMap) -> Result<(), BoxError> {
    let path = file(folder, name);
    Ok(save(module, path, keys, DType::F32, String::new())?)
}

/// Fills a module from one of the folder's weight files.
pub(crate) fn fetch<M: Module>(
    module: M,
    folder: &Path,
    name: &str,
    keys: &KeyMap,
) -> Result<M, BoxError> {
    let checkpoint = Checkpoint::open(file(folder, name))?;
    Ok(load(module, &checkpoint, keys)?.0)
}

/// Named arrays on their way into `inputs.safetensors`.
#[derive(Default)]
struct Inputs(Vec<(String, TensorData)>);

impl Inputs {
    fn rows(&mut self, name: &str, rows: Vec<Vec<f32>>, shape: &[usize]) {
        let shape = [&[rows.len()], shape].concat();
        self.push(name, TensorData::new(rows.concat(), shape));
    }

    fn texts(&mut self, prefix: &str, batch: TokenBatch) {
        self.push(
            &format!("{prefix}ids"),
            TensorData::new(batch.ids, batch.shape),
        );
        self.push(
            &format!("{prefix}mask"),
            TensorData::new(batch.mask, batch.shape),
        );
    }

    fn ints(&mut self, name: &str, values: Vec<usize>) {
        let values: Vec<i64> = values.into_iter().map(|value| value as i64).collect();
        let count = values.len();
        self.push(name, TensorData::new(values, [count]));
    }

    fn push(&mut self, name: &str, data: TensorData) {
        self.0.push((name.to_owned(), data));
    }

    fn write(&self, folder: &Path) -> Result<(), BoxError> {
        let views = self.0.iter().map(|(name, data)| {
            let dtype = if data.dtype() == DType::I64 {
                Dtype::I64
            } else {
                Dtype::F32
            };
            let view = TensorView::new(dtype, data.shape().to_vec(), data.as_bytes())?;
            Ok((name, view))
        });
        let views = views.collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
        Ok(std::fs::write(
            file(folder, "inputs"),
            safetensors::serialize(views, None)?,
        )?)
    }
}

/// The inputs as recipes take them.
pub(crate) struct Batches(Checkpoint);

impl Batches {
    pub(crate) fn open(folder: &Path) -> Result<Self, BoxError> {
        Ok(Self(Checkpoint::open(file(folder, "inputs"))?))
    }

    /// One row a picture.
    pub(crate) fn rows(&self, name: &str) -> Result<Vec<Vec<f32>>, BoxError> {
        let data = self.0.float(name)?;
        let width: usize = data.shape().iter().skip(1).product();
        let values: Vec<f32> = data.iter::<f32>().collect();
        Ok(values.chunks(width).map(<[f32]>::to_vec).collect())
    }

    /// Ids and mask of the captions.
    pub(crate) fn texts(&self, prefix: &str) -> Result<TokenBatch, BoxError> {
        let ids = self.0.int(&format!("{prefix}ids"))?;
        let mask = self.0.int(&format!("{prefix}mask"))?;
        Ok(TokenBatch {
            shape: [ids.shape()[0], ids.shape()[1]],
            ids: ids.iter::<i64>().collect(),
            mask: mask.iter::<i64>().collect(),
        })
    }

    /// What each pair shows.
    pub(crate) fn concepts(&self, name: &str) -> Result<Vec<usize>, BoxError> {
        let data = self.0.int(name)?;
        Ok(data.iter::<i64>().map(|value| value as usize).collect())
    }
}
