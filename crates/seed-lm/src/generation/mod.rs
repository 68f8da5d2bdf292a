//! From a prompt to what follows: greedy, sampled, or with beams, token by token.

mod beam;
mod config;
mod grammar;
mod sampling;

use burn::tensor::{Int, Tensor, TensorData};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

pub use beam::Hypothesis;
pub use config::{Decoding, GenerationConfig};
pub use grammar::{Allowed, VisualGrammar};

use crate::{CausalLm, KvCache, LmError};
use beam::Beams;

/// What generation goes on from.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "one a call, and moved into it")]
pub enum Prompt {
    /// Ids of each row; shorter rows are padded on the left.
    Ids(Vec<Vec<u32>>),
    /// Embeddings `[batch, length, width]`, which no id stands for.
    Embeddings(Tensor<3>),
}

/// What follows each prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// Hypotheses of each row, best first; one each, but with beams.
    pub rows: Vec<Vec<Hypothesis>>,
}

impl Generated {
    /// The best of each row.
    pub fn best(self) -> Vec<Vec<u32>> {
        self.rows
            .into_iter()
            .map(|mut row| row.swap_remove(0).ids)
            .collect()
    }
}

/// Generates what follows `prompt`.
///
/// # Errors
///
/// [`LmError::Setting`], [`LmError::EmptyPrompt`], [`LmError::IdOutOfRange`], [`LmError::TooLong`],
/// [`LmError::EmbeddingWidth`].
pub fn generate<M: CausalLm>(
    model: &M,
    prompt: Prompt,
    config: &GenerationConfig,
) -> Result<Generated, LmError> {
    generate_with(model, prompt, config, |_, _| true)
}

/// As [`generate`], telling `heard` of each token as soon as it is chosen, with its row; it ends when `heard` says
/// `false`. With beams it hears nothing until the end, since an early token may still change.
///
/// # Errors
///
/// Those of [`generate`].
pub fn generate_with<M: CausalLm>(
    model: &M,
    prompt: Prompt,
    config: &GenerationConfig,
    heard: impl FnMut(usize, u32) -> bool,
) -> Result<Generated, LmError> {
    config.validate(model.vocabulary())?;
    if matches!(&prompt, Prompt::Ids(rows) if rows.is_empty()) {
        return Ok(Generated { rows: Vec::new() });
    }
    let reading = Reading::start(model, prompt, config.max_new_tokens)?;
    match config.decoding {
        Decoding::Beam {
            beams,
            length_penalty,
            early_stopping,
        } => {
            let fresh = || Beams::new(beams, length_penalty, early_stopping);
            Ok(with_beams(model, reading, config, beams, fresh))
        }
        _ => Ok(one_by_one(model, reading, config, heard)),
    }
}

/// Prompts, read into a cache.
struct Reading {
    /// Ids of each prompt; empty where embeddings were given.
    ids: Vec<Vec<u32>>,
    cache: KvCache,
    /// Scores of the next token, `[batch, vocabulary]`.
    scores: Tensor<2>,
}

impl Reading {
    fn start<M: CausalLm>(model: &M, prompt: Prompt, new: usize) -> Result<Self, LmError> {
        let device = model.device();
        let (ids, embeddings, mask) = match prompt {
            Prompt::Embeddings(embeddings) => {
                let [batch, length, found] = embeddings.dims();
                if length == 0 {
                    return Err(LmError::EmptyPrompt { row: 0 });
                }
                let expected = model.config().embed_width;
                if found != expected {
                    return Err(LmError::EmbeddingWidth { found, expected });
                }
                (vec![Vec::new(); batch], embeddings, None)
            }
            Prompt::Ids(rows) => {
                let size = model.vocabulary();
                for (row, ids) in rows.iter().enumerate() {
                    if ids.is_empty() {
                        return Err(LmError::EmptyPrompt { row });
                    }
                    for id in ids {
                        LmError::check_id(*id, size)?;
                    }
                }
                let length = rows.iter().map(Vec::len).max().unwrap_or(0);
                let pad = model.config().pad;
                let mut padded = Vec::with_capacity(rows.len() * length);
                let mut mask = Vec::with_capacity(rows.len() * length);
                for ids in &rows {
                    let padding = length - ids.len();
                    padded.extend(std::iter::repeat_n(i64::from(pad), padding));
                    padded.extend(ids.iter().map(|id| i64::from(*id)));
                    mask.extend(std::iter::repeat_n(0i64, padding));
                    mask.extend(std::iter::repeat_n(1i64, ids.len()));
                }
                let shape = [rows.len(), length];
                let tensor = |values: Vec<i64>| {
                    Tensor::<2, Int>::from_data(TensorData::new(values, shape), &device)
                };
                let mask = mask.contains(&0).then(|| tensor(mask));
                (rows, model.embed(tensor(padded)), mask)
            }
        };
        let [batch, length, _] = embeddings.dims();
        let mut cache = model.cache(batch, length.saturating_add(new))?;
        let scores = model.step(embeddings, mask, &mut cache);
        Ok(Self { ids, cache, scores })
    }
}

/// Rows of scores on the host.
fn rows(scores: Tensor<2>) -> Vec<Vec<f32>> {
    let [_, vocabulary] = scores.dims();
    let values: Vec<f32> = scores.into_data().iter::<f32>().collect();
    values.chunks(vocabulary).map(<[f32]>::to_vec).collect()
}

/// Reads one more token of each row.
fn read<M: CausalLm>(model: &M, tokens: &[u32], cache: &mut KvCache) -> Tensor<2> {
    let ids: Vec<i64> = tokens.iter().map(|id| i64::from(*id)).collect();
    let data = TensorData::new(ids, [tokens.len(), 1]);
    let ids = Tensor::<2, Int>::from_data(data, &model.device());
    model.step(model.embed(ids), None, cache)
}

fn one_by_one<M: CausalLm>(
    model: &M,
    reading: Reading,
    config: &GenerationConfig,
    mut heard: impl FnMut(usize, u32) -> bool,
) -> Generated {
    let Reading {
        ids: mut sequences,
        mut cache,
        mut scores,
    } = reading;
    let batch = sequences.len();
    let seed = match config.decoding {
        Decoding::Sample { seed, .. } => seed,
        _ => 0,
    };
    // A row's draws do not depend on the rows beside it.
    let mut rngs: Vec<ChaCha8Rng> = (0..batch as u64)
        .map(|row| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(row);
            rng
        })
        .collect();
    let mut generated = vec![Vec::new(); batch];
    let mut sums = vec![0.0; batch];
    let mut ended = vec![false; batch];
    let pad = model.config().pad;
    for new in 0..config.max_new_tokens {
        let mut tokens = vec![pad; batch];
        let mut stopped = false;
        for (row, mut values) in rows(scores).into_iter().enumerate() {
            if ended[row] {
                continue;
            }
            config.process(&sequences[row], new, &mut values);
            let id = match config.decoding {
                Decoding::Sample {
                    temperature,
                    top_k,
                    top_p,
                    ..
                } => sampling::sample(&values, temperature, top_k, top_p, &mut rngs[row]),
                _ => sampling::argmax(&values),
            };
            sampling::log_softmax(&mut values);
            sums[row] += f64::from(values[id as usize]);
            tokens[row] = id;
            sequences[row].push(id);
            generated[row].push(id);
            ended[row] = Some(id) == config.end;
            stopped |= !heard(row, id);
        }
        if stopped || ended.iter().all(|ended| *ended) || new + 1 == config.max_new_tokens {
            break;
        }
        scores = read(model, &tokens, &mut cache);
    }
    let rows = generated
        .into_iter()
        .zip(sums)
        .map(|(ids, score)| vec![Hypothesis { ids, score }])
        .collect();
    Generated { rows }
}

fn with_beams<M: CausalLm>(
    model: &M,
    reading: Reading,
    config: &GenerationConfig,
    beams: usize,
    fresh: impl Fn() -> Beams,
) -> Generated {
    let Reading {
        ids: prompts,
        mut cache,
        scores,
    } = reading;
    let batch = prompts.len();
    let device = model.device();
    let spread: Vec<i64> = (0..batch as i64)
        .flat_map(|row| std::iter::repeat_n(row, beams))
        .collect();
    let select = |rows: Vec<i64>| Tensor::<1, Int>::from_data(rows.as_slice(), &device);
    cache.select(select(spread.clone()));
    let mut scores = scores.select(0, select(spread));
    let mut items: Vec<Beams> = (0..batch).map(|_| fresh()).collect();
    for new in 0..config.max_new_tokens {
        let last = new + 1 == config.max_new_tokens;
        let mut values = rows(scores);
        let mut parents = Vec::with_capacity(batch * beams);
        let mut tokens = Vec::with_capacity(batch * beams);
        for (row, item) in items.iter_mut().enumerate() {
            let own = &mut values[row * beams..(row + 1) * beams];
            for (hypothesis, scores) in item.running.iter().zip(own.iter_mut()) {
                sampling::log_softmax(scores);
                let sequence = [prompts[row].as_slice(), &hypothesis.ids].concat();
                config.process(&sequence, new, scores);
            }
            let continued = item.advance(own, config.end, last);
            parents.extend(continued.iter().map(|beam| (row * beams + beam) as i64));
            let pad = model.config().pad;
            tokens.extend(item.running.iter().map(|h| *h.ids.last().unwrap_or(&pad)));
        }
        if last || items.iter().all(Beams::is_closed) {
            break;
        }
        cache.select(select(parents));
        scores = read(model, &tokens, &mut cache);
    }
    let rows = items.into_iter().map(Beams::into_hypotheses).collect();
    Generated { rows }
}
