//! What a trained language model knows of held-out pictures: captions, answers, their codes.

use std::{collections::BTreeMap, sync::Arc};

use seed_data::{PairSet, Question, TextTokenizer};
use seed_eval::{
    CaptionItem, CaptionScores, Share,
    language::{CaptionResult, CodePerplexity, QuestionResult},
    vqa_normalize, white_space,
};
use seed_lm::{
    CausalLm, Example, SeedLm, Sequence, SequenceBatch, Template, Templates,
    generation::{GenerationConfig, Prompt, generate},
};

use super::{
    base::encode,
    codes::FrozenTokenizer,
    config::VisualInput,
    pictures::{CodesAndVectors, Pictures},
    recipe::embeddings,
};
use crate::{
    error::RecipeError,
    frozen::{FrozenCache, Views},
    splits::{EvaluationSet, Splits},
};

/// Pictures or captions at once.
const BATCH: usize = 64;
/// Longest caption or answer, in tokens.
const LONGEST_TEXT: usize = 24;

/// The judging of a trained language model.
pub struct LmEvaluation<'a> {
    /// The model, without autodiff.
    pub model: &'a SeedLm,
    /// Its text tokenizer.
    pub text: &'a TextTokenizer,
    /// How its sequences are put together.
    pub templates: &'a Templates,
    /// What it reads in the place of an image; with codes it draws, too.
    pub visual_input: VisualInput,
    /// Whether it has learnt to draw.
    pub draws: bool,
    /// The image tokenizer whose codes it reads.
    pub images: &'a FrozenTokenizer,
    /// What it was trained on, and what it is judged by.
    pub splits: &'a Splits,
    /// Questions by concept, where the data have some.
    pub questions: &'a BTreeMap<usize, Vec<Question>>,
    /// Where codes are kept, and where models run, without autodiff.
    pub frozen: FrozenCache<'a>,
    /// How many pictures or prompts of a set are looked at, at most; spread evenly.
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
    /// How well the pictures' codes are foreseen, where the model draws.
    pub codes: Option<CodePerplexity>,
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

/// A set's pictures as the language model reads them.
struct Shown {
    indices: Vec<usize>,
    pictures: Vec<CodesAndVectors>,
}

/// What is asked of the model about a picture: the example without its codes, which are the picture's.
struct Query<'a> {
    picture: &'a CodesAndVectors,
    example: Example<'a>,
}

impl<'a> Query<'a> {
    fn new(picture: &'a CodesAndVectors, example: Example<'a>) -> Self {
        let codes = &picture.0;
        Self {
            picture,
            example: Example { codes, ..example },
        }
    }
}

impl LmEvaluation<'_> {
    /// Judges a held-out set.
    ///
    /// # Errors
    ///
    /// [`RecipeError`].
    pub fn judge(&self, held_out: &EvaluationSet) -> Result<JudgedLm, RecipeError> {
        let shown = self.shown(&held_out.set)?;
        let (captions, said) = self.captions(held_out, &shown)?;
        let (questions, answers) = self.questions(held_out, &shown)?;
        let codes = self
            .draws
            .then(|| self.code_perplexity(held_out, &shown))
            .transpose()?;
        Ok(JudgedLm {
            captions,
            said,
            questions,
            answers,
            codes,
        })
    }

    /// Captions by greedy decoding, against all references of a picture.
    fn captions(
        &self,
        held_out: &EvaluationSet,
        shown: &Shown,
    ) -> Result<(CaptionResult, Vec<(usize, String)>), RecipeError> {
        let set = held_out.set.as_ref();
        let template = &self.templates.image_to_text;
        let queries: Vec<Query<'_>> = shown
            .pictures
            .iter()
            .map(|picture| Query::new(picture, Example::default()))
            .collect();
        let found = self.texts("captions", template, &queries)?;
        let references = |at: usize| set.references(shown.indices[at]);
        let items: Vec<CaptionItem<'_>> = found
            .iter()
            .enumerate()
            .map(|(at, hypothesis)| CaptionItem {
                hypothesis,
                references: references(at),
            })
            .collect();
        let scores = CaptionScores::of(&items)?;
        let exact = |said: &dyn Fn(usize) -> String| {
            let pictures = 0..found.len();
            Share::count(pictures.map(|at| references(at).contains(&said(at))))
        };
        let frequent = self.most_frequent_caption();
        let (_, sums) = self.references(template, set, shown)?;
        let result = CaptionResult {
            set: held_out.name.clone(),
            pictures: found.len(),
            exact: exact(&|at| found[at].clone()),
            cider: scores.cider_d,
            bleu4: scores.bleu[3],
            rouge_l: scores.rouge_l,
            perplexity: sums.perplexity(|_| true),
            most_frequent_caption: exact(&|_| frequent.clone()),
            continuous: None,
        };
        let said = shown.indices.iter().copied().zip(found).collect();
        Ok((result, said))
    }

    /// Answers to every question about the pictures.
    fn questions(
        &self,
        held_out: &EvaluationSet,
        shown: &Shown,
    ) -> Result<(Option<QuestionResult>, Vec<Answer>), RecipeError> {
        let set = held_out.set.as_ref();
        let mut asked: Vec<(usize, &Question)> = Vec::new();
        for (at, index) in shown.indices.iter().enumerate() {
            let questions = self.questions.get(&set.concept(*index));
            asked.extend(
                questions
                    .into_iter()
                    .flatten()
                    .map(|question| (at, question)),
            );
        }
        if asked.is_empty() {
            return Ok((None, Vec::new()));
        }
        let template = &self.templates.question;
        // Of another picture: the one half of the set further on, which shows something else.
        let pictures = shown.pictures.len();
        let answer = |further: usize| {
            let queries: Vec<Query<'_>> = asked
                .iter()
                .map(|(at, question)| {
                    let example = Example {
                        question: &question.question,
                        ..Example::default()
                    };
                    Query::new(&shown.pictures[(at + further) % pictures], example)
                })
                .collect();
            self.texts("answers", template, &queries)
        };
        let right = |answers: &[String]| {
            // One answer a question, where the official rule wants three equal ones: matches after its
            // normalisation are counted.
            let pairs = answers.iter().zip(&asked);
            Share::count(pairs.map(|(answer, (_, question))| {
                vqa_normalize(answer) == vqa_normalize(&question.answer)
            }))
        };
        let found = answer(0)?;
        let other_picture = match pictures / 2 {
            0 => Share::default(),
            further => right(&answer(further)?),
        };
        let frequent = self.most_frequent_answers();
        let frequent: Vec<String> = asked
            .iter()
            .map(|(_, question)| {
                let answer = frequent.get(question.question.as_str());
                answer.map_or(String::new(), |answer| (*answer).to_owned())
            })
            .collect();
        let result = QuestionResult {
            set: held_out.name.clone(),
            questions: found.len(),
            accuracy: right(&found),
            other_picture,
            most_frequent_answer: right(&frequent),
        };
        let pairs = asked.into_iter().zip(found);
        let answers = pairs.map(|((at, question), answer)| Answer {
            picture: shown.indices[at],
            question: question.clone(),
            answer,
        });
        Ok((Some(result), answers.collect()))
    }

    /// How well the codes of the pictures are foreseen from their captions.
    fn code_perplexity(
        &self,
        held_out: &EvaluationSet,
        shown: &Shown,
    ) -> Result<CodePerplexity, RecipeError> {
        let template = &self.templates.text_to_image;
        let (pictures, sums) = self.references(template, held_out.set.as_ref(), shown)?;
        let codes = 1..=self.model.ids().per_image;
        Ok(CodePerplexity {
            set: held_out.name.clone(),
            pictures,
            codes: sums.perplexity(|depth| codes.contains(&depth)),
            marks: sums.perplexity(|depth| !codes.contains(&depth)),
            by_position: codes
                .clone()
                .map(|code| sums.perplexity(|depth| depth == code))
                .collect(),
        })
    }

    /// The caption that the most training pairs bear: what one says who has seen no picture.
    fn most_frequent_caption(&self) -> String {
        let set = self.splits.train();
        let captions = (0..set.len()).flat_map(|index| set.references(index));
        most_frequent(captions.map(String::as_str)).to_owned()
    }

    /// The most frequent answer to each question about the training pictures: what one answers who has seen none.
    fn most_frequent_answers(&self) -> BTreeMap<&str, &str> {
        let set = self.splits.train();
        let mut answers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for index in 0..set.len() {
            let questions = self.questions.get(&set.concept(index));
            for Question { question, answer } in questions.into_iter().flatten() {
                answers.entry(question).or_default().push(answer);
            }
        }
        let answers = answers.into_iter();
        answers
            .map(|(question, answers)| (question, most_frequent(answers.into_iter())))
            .collect()
    }

    /// Codes or vectors of a held-out set, each picture as it is.
    pub(super) fn pictures(
        &self,
        set: &Arc<dyn PairSet>,
    ) -> Result<Vec<CodesAndVectors>, RecipeError> {
        let renderings = std::slice::from_ref(set);
        let (input, views) = (self.visual_input, Views::Plain);
        let pictures = Pictures::of(input, self.images, &self.frozen, renderings, &views)?;
        (0..set.len())
            .map(|index| Ok(pictures.read(0, index)?))
            .collect()
    }

    fn shown(&self, set: &Arc<dyn PairSet>) -> Result<Shown, RecipeError> {
        let all = self.pictures(set)?;
        let kept = set.len().min(self.most);
        let indices: Vec<usize> = (0..kept).map(|at| at * set.len() / kept).collect();
        let pictures = indices.iter().map(|index| all[*index].clone()).collect();
        Ok(Shown { indices, pictures })
    }

    pub(super) fn condition(
        &self,
        template: &Template,
        example: &Example<'_>,
    ) -> Result<Vec<u32>, RecipeError> {
        let encode = encode(self.text);
        let opt = self.model.config();
        Ok(template.condition(example, &self.model.ids(), opt, &encode)?)
    }

    /// What the model says after each condition.
    fn texts(
        &self,
        what: &str,
        template: &Template,
        queries: &[Query<'_>],
    ) -> Result<Vec<String>, RecipeError> {
        let config = GenerationConfig {
            grammar: Some(self.model.ids().into()),
            ..GenerationConfig::greedy(LONGEST_TEXT, Some(self.model.config().end))
        };
        let conditions = queries
            .iter()
            .map(|query| self.condition(template, &query.example))
            .collect::<Result<Vec<_>, _>>()?;
        // Prompts of one length go together, so that what is not an id can stand in their place.
        let mut by_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (at, condition) in conditions.iter().enumerate() {
            by_length.entry(condition.len()).or_default().push(at);
        }
        let bar = self.frozen.bar(what, queries.len());
        let mut texts = vec![String::new(); queries.len()];
        let chunks = by_length.values().flat_map(|members| members.chunks(BATCH));
        for (number, chunk) in chunks.enumerate() {
            if number > 0 {
                self.frozen.stop.check()?;
            }
            let rows: Vec<Vec<u32>> = chunk.iter().map(|at| conditions[*at].clone()).collect();
            let vectors = vectors(chunk.iter().map(|at| &queries[*at]));
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
                let opt = self.model.config();
                let batch = SequenceBatch::padded(&sequences, opt.pad, opt.max_length)?;
                let device = self.model.device();
                Prompt::Embeddings(embeddings(self.model, &batch, &vectors, &device))
            };
            let found = generate(self.model, prompt, &config)?.best();
            for (at, ids) in chunk.iter().zip(found) {
                let text = self.text.decode(&ids)?;
                white_space::strip(&text).clone_into(&mut texts[*at]);
            }
            bar.inc(chunk.len() as u64);
        }
        bar.finish_and_clear();
        Ok(texts)
    }

    /// What the targets of a template cost, filled with each reference of each picture; and how many pictures.
    fn references(
        &self,
        template: &Template,
        set: &dyn PairSet,
        shown: &Shown,
    ) -> Result<(usize, Costs), RecipeError> {
        let pairs = shown.indices.iter().zip(&shown.pictures);
        let queries: Vec<Query<'_>> = pairs
            .flat_map(|(index, picture)| {
                let references = set.references(*index).iter();
                references.map(move |caption| {
                    let example = Example {
                        caption,
                        ..Example::default()
                    };
                    Query::new(picture, example)
                })
            })
            .collect();
        let device = self.model.device();
        let encode = encode(self.text);
        let opt = self.model.config();
        let mut costs = Costs::default();
        for (number, chunk) in queries.chunks(BATCH).enumerate() {
            if number > 0 {
                self.frozen.stop.check()?;
            }
            let sequences = chunk
                .iter()
                .map(|query| template.sequence(&query.example, &self.model.ids(), opt, &encode))
                .collect::<Result<Vec<_>, _>>()?;
            let batch = SequenceBatch::padded(&sequences, opt.pad, opt.max_length)?;
            let embeddings = embeddings(self.model, &batch, &vectors(chunk.iter()), &device);
            let [places, targets] = batch.targets(&device);
            let layout = batch.layout(&device);
            let found = self
                .model
                .log_likelihoods(embeddings, &layout, places, targets);
            for (value, depth) in found.into_data().iter::<f64>().zip(&batch.depths) {
                costs.add(*depth, -value);
            }
        }
        Ok((shown.indices.len(), costs))
    }
}

/// Nats that targets cost, by their places in their sequences.
#[derive(Default)]
struct Costs(BTreeMap<usize, (f64, usize)>);

impl Costs {
    fn add(&mut self, depth: usize, nats: f64) {
        let (sum, count) = self.0.entry(depth).or_default();
        *sum += nats;
        *count += 1;
    }

    /// Perplexity of the targets at some places; NaN of none.
    fn perplexity(&self, of: impl Fn(usize) -> bool) -> f64 {
        let (mut sum, mut count) = (0.0, 0);
        for (_, (nats, targets)) in self.0.iter().filter(|(depth, _)| of(**depth)) {
            sum += nats;
            count += targets;
        }
        (sum / count as f64).exp()
    }
}

/// The most frequent of some texts, the first in order of several; empty of none.
fn most_frequent<'a>(texts: impl Iterator<Item = &'a str>) -> &'a str {
    let mut counts = BTreeMap::<&str, usize>::new();
    for text in texts {
        *counts.entry(text).or_default() += 1;
    }
    let most = counts
        .into_iter()
        .max_by_key(|(text, count)| (*count, std::cmp::Reverse(*text)));
    most.map_or("", |(text, _)| text)
}

/// The vectors of some queries' pictures, row after row; empty where codes are read.
fn vectors<'a>(queries: impl Iterator<Item = &'a Query<'a>>) -> Vec<f32> {
    queries
        .flat_map(|query| query.picture.1.iter().copied())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perplexity_counts_only_what_is_asked_for() {
        let mut costs = Costs::default();
        for (depth, nats) in [(0, 9.0), (1, 1.0), (2, 3.0), (1, 1.0), (2, 3.0), (3, 7.0)] {
            costs.add(depth, nats);
        }
        let codes = costs.perplexity(|depth| (1..=2).contains(&depth));
        assert!((codes - 2f64.exp()).abs() < 1e-12, "{codes}");
        assert!(costs.perplexity(|depth| depth > 3).is_nan());
    }

    #[test]
    fn the_most_frequent_is_the_first_of_several() {
        assert_eq!(most_frequent(["b", "a", "b", "a", "c"].into_iter()), "a");
        assert_eq!(most_frequent(std::iter::empty()), "");
    }
}
