//! What a trained language model knows: captions, answers and images of held-out pictures.

use std::{collections::BTreeMap, sync::Arc};

use burn::tensor::{Int, Tensor, TensorData};
use seed_data::{PairSet, Question, TextTokenizer};
use seed_eval::{
    CaptionItem, CaptionScores, Features, Neighbour,
    language::{CaptionResult, ImageResult, QuestionResult},
    nearest, vqa_normalize,
};
use seed_lm::{
    CausalLm, Example, SeedLm, Sequence, SequenceBatch, Template,
    generation::{GenerationConfig, Prompt, generate},
};

use super::{
    super::{
        EvaluationSet, RecipeError,
        evaluation::{Rows, candidates_of, caption_features},
    },
    encode,
    recipe::embeddings,
    training::{CodesAndVectors, LmTraining, short_caption},
};

/// Pictures or captions at once.
const BATCH: usize = 64;
/// Pictures near to what was drawn.
const NEIGHBOURS: usize = 3;
/// Longest caption or answer, in tokens.
const LONGEST_TEXT: usize = 24;

/// The judging of a trained language model.
pub struct LmEvaluation<'a> {
    /// Its training: sizes, data, tokenizers.
    pub training: &'a LmTraining<'a>,
    /// The model, without autodiff.
    pub model: &'a SeedLm,
    /// How many pictures or captions of a set are looked at, at most; spread evenly.
    pub most: usize,
}

/// A held-out set, judged.
#[derive(Debug)]
pub struct JudgedLm {
    /// Scores of the captions.
    pub captions: CaptionResult,
    /// What the model says of each picture that was looked at.
    pub said: Vec<(usize, String)>,
    /// Scores of the answers, where there are questions.
    pub questions: Option<QuestionResult>,
    /// What the model answers.
    pub answers: Vec<Answer>,
    /// Scores of the images, where the model draws and the image tokenizer reads text.
    pub images: Option<ImageResult>,
    /// What the model draws.
    pub drawn: Vec<DrawnImage>,
}

/// An answer about a picture.
#[derive(Debug)]
pub struct Answer {
    /// The picture's index in its set.
    pub picture: usize,
    /// What was asked, and the right answer.
    pub question: Question,
    /// What the model answers.
    pub answer: String,
}

/// The image that the model generates for a caption.
#[derive(Debug)]
pub struct DrawnImage {
    /// A pair of the set that bears the caption.
    pub pair: usize,
    /// The codes; none if what was generated is not an image.
    pub codes: Option<Vec<i64>>,
    /// Pairs whose captions are nearest to the codes, best first.
    pub captions: Vec<Neighbour>,
}

/// A set's pictures as the language model reads them.
struct Shown {
    indices: Vec<usize>,
    pictures: Vec<CodesAndVectors>,
}

impl LmEvaluation<'_> {
    /// Judges a held-out set; images only where the image tokenizer's text side is given.
    ///
    /// # Errors
    ///
    /// [`RecipeError`].
    pub fn judge(
        &self,
        held_out: &EvaluationSet,
        text_tokenizer: Option<&TextTokenizer>,
    ) -> Result<JudgedLm, RecipeError> {
        let shown = self.shown(&held_out.set)?;
        let (captions, said) = self.captions(held_out, &shown)?;
        let (questions, answers) = self.questions(held_out, &shown)?;
        let draws = self.training.config.draws();
        let (images, drawn) = match text_tokenizer.filter(|_| draws) {
            Some(text_tokenizer) => {
                let (images, drawn) = self.images(held_out, &shown, text_tokenizer)?;
                (Some(images), drawn)
            }
            None => (None, Vec::new()),
        };
        Ok(JudgedLm {
            captions,
            said,
            questions,
            answers,
            images,
            drawn,
        })
    }

    /// Captions by greedy decoding.
    fn captions(
        &self,
        held_out: &EvaluationSet,
        shown: &Shown,
    ) -> Result<(CaptionResult, Vec<(usize, String)>), RecipeError> {
        let set = &held_out.set;
        let template = &self.training.config.templates.image_to_text;
        let examples = examples(shown, set);
        let found = self.texts(template, &examples, shown)?;
        let references: Vec<Vec<String>> = shown
            .indices
            .iter()
            .map(|index| vec![short_caption(set.as_ref(), *index).to_owned()])
            .collect();
        let items: Vec<CaptionItem<'_>> = found
            .iter()
            .zip(&references)
            .map(|(hypothesis, references)| CaptionItem {
                hypothesis,
                references,
            })
            .collect();
        let scores = CaptionScores::of(&items)?;
        let right = |texts: &[String]| {
            let pairs = texts.iter().zip(&references);
            let right = pairs.filter(|(text, references)| **text == references[0]);
            100.0 * right.count() as f64 / texts.len().max(1) as f64
        };
        let frequent = vec![self.most_frequent_caption(); found.len()];
        let result = CaptionResult {
            set: held_out.name.clone(),
            pictures: found.len(),
            exact: right(&found),
            cider: scores.cider_d,
            bleu4: scores.bleu[3],
            rouge_l: scores.rouge_l,
            perplexity: self.perplexity(template, &examples, shown)?.0,
            most_frequent: right(&frequent),
            continuous: None,
        };
        let said = shown.indices.iter().copied().zip(found).collect();
        Ok((result, said))
    }

    /// Answers to every question about the pictures.
    fn questions(
        &self,
        held_out: &EvaluationSet,
        all: &Shown,
    ) -> Result<(Option<QuestionResult>, Vec<Answer>), RecipeError> {
        let set = &held_out.set;
        let mut shown = Shown {
            indices: Vec::new(),
            pictures: Vec::new(),
        };
        let mut asked = Vec::new();
        for (index, picture) in all.indices.iter().zip(&all.pictures) {
            let questions = self.training.questions.get(&set.concept(*index));
            for question in questions.into_iter().flatten() {
                asked.push(question);
                shown.indices.push(*index);
                shown.pictures.push(picture.clone());
            }
        }
        if asked.is_empty() {
            return Ok((None, Vec::new()));
        }
        let examples: Vec<Example<'_>> = shown
            .pictures
            .iter()
            .zip(&asked)
            .map(|((codes, _), question)| Example {
                codes,
                question: &question.question,
                answer: &question.answer,
                ..Example::default()
            })
            .collect();
        let template = &self.training.config.templates.question;
        let found = self.texts(template, &examples, &shown)?;
        let answers: Vec<&String> = asked.iter().map(|question| &question.answer).collect();
        let score = |predictions: &[String]| {
            // One answer a question, where the official rule wants three equal ones: matches after its
            // normalisation are counted.
            let pairs = predictions.iter().zip(&answers);
            let matches = pairs
                .filter(|(prediction, answer)| vqa_normalize(prediction) == vqa_normalize(answer));
            100.0 * matches.count() as f64 / predictions.len() as f64
        };
        // What one answers who has seen no picture: the most frequent answer to that question.
        let mut counts: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
        for questions in self.training.questions.values() {
            for question in questions {
                *counts
                    .entry(&question.question)
                    .or_default()
                    .entry(&question.answer)
                    .or_default() += 1;
            }
        }
        let blind: Vec<String> = asked
            .iter()
            .map(|question| {
                let answers = counts[question.question.as_str()].iter();
                answers
                    .max_by_key(|(answer, count)| (**count, std::cmp::Reverse(**answer)))
                    .map_or(String::new(), |(answer, _)| (*answer).to_owned())
            })
            .collect();
        let result = QuestionResult {
            set: held_out.name.clone(),
            questions: found.len(),
            accuracy: score(&found),
            blind: score(&blind),
        };
        let pairs = shown.indices.into_iter().zip(asked).zip(found);
        let answers = pairs.map(|((picture, question), answer)| Answer {
            picture,
            question: question.clone(),
            answer,
        });
        Ok((Some(result), answers.collect()))
    }

    /// Images of the captions, without the grammar: how many are well formed, and whether their codes say what
    /// was asked for.
    fn images(
        &self,
        held_out: &EvaluationSet,
        shown: &Shown,
        text_tokenizer: &TextTokenizer,
    ) -> Result<(ImageResult, Vec<DrawnImage>), RecipeError> {
        let set = &held_out.set;
        let (candidates, _, _) = candidates_of(set.as_ref());
        let kept = candidates.len().min(self.most);
        let asked: Vec<usize> = (0..kept)
            .map(|at| candidates[at * candidates.len() / kept])
            .collect();
        let ids = self.model.ids();
        let template = &self.training.config.templates.text_to_image;
        let config = GenerationConfig::greedy(ids.per_image + 2, None);
        let mut images = Vec::new();
        for chunk in asked.chunks(BATCH) {
            let prompts = chunk
                .iter()
                .map(|index| {
                    let example = Example {
                        caption: short_caption(set.as_ref(), *index),
                        ..Example::default()
                    };
                    self.condition(template, &example)
                })
                .collect::<Result<_, RecipeError>>()?;
            let generated = generate(self.model, Prompt::Ids(prompts), &config)?;
            for row in generated.best() {
                images.push(ids.codes_in(&row));
            }
        }
        let texts = caption_features(
            &self.training.images.model.tokens,
            text_tokenizer,
            self.training
                .images
                .published
                .config
                .tokens
                .max_text_length(),
            self.training.device,
            (set.as_ref(), &asked),
        )?;
        let well_formed: Vec<Vec<i64>> = images.iter().flatten().cloned().collect();
        let mut found = if well_formed.is_empty() {
            Vec::new()
        } else {
            nearest(&self.image_features(&well_formed)?, &texts, 10)?
        }
        .into_iter();
        let drawn: Vec<DrawnImage> = asked
            .iter()
            .zip(images)
            .map(|(pair, codes)| {
                // A malformed image shows nothing, and is a miss.
                let captions = codes.as_ref().and_then(|_| found.next());
                let mut captions = captions.unwrap_or_default();
                // Candidates by their places in the set.
                for near in &mut captions {
                    near.row = asked[near.row];
                }
                DrawnImage {
                    pair: *pair,
                    codes,
                    captions,
                }
            })
            .collect();
        // Captions of one concept stand for one another, but each concept is asked for once.
        let recall = |k: usize| {
            let hits = drawn.iter().filter(|image| {
                let mut best = image.captions.iter().take(k);
                best.any(|near| near.row == image.pair)
            });
            100.0 * hits.count() as f64 / asked.len().max(1) as f64
        };
        let examples = examples(shown, set);
        let (perplexity, by_position) = self.perplexity(template, &examples, shown)?;
        let result = ImageResult {
            set: held_out.name.clone(),
            captions: asked.len(),
            well_formed: 100.0 * well_formed.len() as f64 / asked.len().max(1) as f64,
            r1: recall(1),
            r5: recall(5),
            r10: recall(10),
            chance_r1: 100.0 / asked.len().max(1) as f64,
            perplexity,
            perplexity_by_position: by_position,
        };
        Ok((result, drawn))
    }

    /// For each image of codes, the pictures of a set whose own codes are nearest, best first.
    pub(super) fn nearest_pictures(
        &self,
        images: &[Vec<i64>],
        set: &Arc<dyn PairSet>,
    ) -> Result<Vec<Vec<Neighbour>>, RecipeError> {
        if images.is_empty() {
            return Ok(Vec::new());
        }
        let pictures = self.training.held_out_pictures(set)?.into_iter();
        let own: Vec<Vec<i64>> = pictures.map(|(codes, _)| codes).collect();
        let features = self.image_features(images)?;
        Ok(nearest(&features, &self.image_features(&own)?, NEIGHBOURS)?)
    }

    /// Features of generated codes, by the tokenizer's reconstruction.
    fn image_features(&self, images: &[Vec<i64>]) -> Result<Features, RecipeError> {
        let tokenizer = &self.training.images.model;
        let per_image = self.model.ids().per_image;
        let mut rows = Rows::default();
        for chunk in images.chunks(BATCH) {
            let data = TensorData::new(chunk.concat(), [chunk.len(), per_image]);
            let codes = Tensor::<2, Int>::from_data(data, self.training.device);
            let rebuilt = tokenizer.codes.reconstruct(codes);
            rows.push(tokenizer.tokens.image_feature(rebuilt));
        }
        rows.features()
    }

    /// The caption that the most training pairs bear: what one says who has seen no picture.
    fn most_frequent_caption(&self) -> String {
        let set = self.training.splits.train();
        let mut counts = BTreeMap::<&str, usize>::new();
        for index in 0..set.len() {
            *counts
                .entry(short_caption(set.as_ref(), index))
                .or_default() += 1;
        }
        let most = counts
            .into_iter()
            .max_by_key(|(text, count)| (*count, std::cmp::Reverse(*text)));
        most.map_or(String::new(), |(text, _)| text.to_owned())
    }

    fn shown(&self, set: &Arc<dyn PairSet>) -> Result<Shown, RecipeError> {
        let all = self.training.held_out_pictures(set)?;
        let kept = set.len().min(self.most);
        let indices: Vec<usize> = (0..kept).map(|at| at * set.len() / kept).collect();
        let pictures = indices.iter().map(|index| all[*index].clone()).collect();
        Ok(Shown { indices, pictures })
    }

    fn condition(
        &self,
        template: &Template,
        example: &Example<'_>,
    ) -> Result<Vec<u32>, RecipeError> {
        let encode = encode(&self.training.base.tokenizer);
        let opt = self.training.base.opt.config();
        Ok(template.condition(example, &self.model.ids(), opt, &encode)?)
    }

    /// What the model says after each condition.
    fn texts(
        &self,
        template: &Template,
        examples: &[Example<'_>],
        shown: &Shown,
    ) -> Result<Vec<String>, RecipeError> {
        let config = GenerationConfig {
            grammar: Some(self.model.ids().into()),
            ..GenerationConfig::greedy(LONGEST_TEXT, Some(self.training.base.opt.config().end))
        };
        let conditions = examples
            .iter()
            .map(|example| self.condition(template, example))
            .collect::<Result<Vec<_>, _>>()?;
        // Prompts of one length go together, so that what is not an id can stand in their place.
        let mut by_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (at, condition) in conditions.iter().enumerate() {
            by_length.entry(condition.len()).or_default().push(at);
        }
        let mut texts = vec![String::new(); examples.len()];
        for members in by_length.into_values() {
            for chunk in members.chunks(BATCH) {
                let rows: Vec<Vec<u32>> = chunk.iter().map(|at| conditions[*at].clone()).collect();
                let vectors = vectors(shown, chunk);
                let prompt = if vectors.is_empty() {
                    Prompt::Ids(rows)
                } else {
                    let sequences: Vec<Sequence> = rows
                        .into_iter()
                        .map(|ids| Sequence {
                            target: ids.len(),
                            ids,
                        })
                        .collect();
                    let opt = self.training.base.opt.config();
                    let batch = SequenceBatch::padded(&sequences, opt.pad, opt.max_length)?;
                    let device = self.model.device();
                    Prompt::Embeddings(embeddings(self.model, &batch, &vectors, &device))
                };
                let found = generate(self.model, prompt, &config)?.best();
                for (at, ids) in chunk.iter().zip(found) {
                    let text = self.training.base.tokenizer.decode(&ids)?;
                    text.trim().clone_into(&mut texts[*at]);
                }
            }
        }
        Ok(texts)
    }

    /// Perplexity of the targets, and of each position in them.
    fn perplexity(
        &self,
        template: &Template,
        examples: &[Example<'_>],
        shown: &Shown,
    ) -> Result<(f64, Vec<f64>), RecipeError> {
        let device = self.model.device();
        let encode = encode(&self.training.base.tokenizer);
        let opt = self.training.base.opt.config();
        let (mut sums, mut counts) = (Vec::<f64>::new(), Vec::<usize>::new());
        let all: Vec<usize> = (0..examples.len()).collect();
        for chunk in all.chunks(BATCH) {
            let sequences = chunk
                .iter()
                .map(|at| template.sequence(&examples[*at], &self.model.ids(), opt, &encode))
                .collect::<Result<Vec<_>, _>>()?;
            let batch = SequenceBatch::padded(&sequences, opt.pad, opt.max_length)?;
            let embeddings = embeddings(self.model, &batch, &vectors(shown, chunk), &device);
            let [places, targets] = batch.targets(&device);
            let layout = batch.layout(&device);
            let found = self
                .model
                .log_likelihoods(embeddings, &layout, places, targets);
            for (value, depth) in found.into_data().iter::<f64>().zip(&batch.depths) {
                if sums.len() <= *depth {
                    sums.resize(depth + 1, 0.0);
                    counts.resize(depth + 1, 0);
                }
                sums[*depth] -= value;
                counts[*depth] += 1;
            }
        }
        let total = sums.iter().sum::<f64>() / counts.iter().sum::<usize>().max(1) as f64;
        let by_position = sums.iter().zip(&counts);
        let by_position = by_position.map(|(sum, count)| (sum / *count as f64).exp());
        Ok((total.exp(), by_position.collect()))
    }
}

/// Each picture with its caption.
fn examples<'a>(shown: &'a Shown, set: &'a Arc<dyn PairSet>) -> Vec<Example<'a>> {
    let pairs = shown.indices.iter().zip(&shown.pictures);
    pairs
        .map(|(index, (codes, _))| Example {
            codes,
            caption: short_caption(set.as_ref(), *index),
            ..Example::default()
        })
        .collect()
}

/// The vectors of some pictures, row after row; empty where codes are read.
fn vectors(shown: &Shown, members: &[usize]) -> Vec<f32> {
    let all = members.iter().flat_map(|at| &shown.pictures[*at].1);
    all.copied().collect()
}
