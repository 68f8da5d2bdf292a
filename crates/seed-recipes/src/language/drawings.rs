//! Images that a trained language model draws, told apart by what training knew of their prompts.
//!
//! - *recall*: captions that were trained on;
//! - *other words*: seen concepts in words that no training prompt had;
//! - *unseen concepts*;
//! - *nouns* that are no caption at all, for the form alone.
//!
//! All are drawn without the grammar. What was drawn is judged by the tokenizer that made the codes: the embedding that
//! is rebuilt from them, among captions.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::{Int, Tensor, TensorData};
use seed_data::{OtherWords, OtherWordsKind, PairSet, TextTokenizer};
use seed_eval::{
    Features, Neighbour, SetName, Share,
    language::{DrawingResult, NounResult, PromptKind},
    nearest,
};
use seed_lm::{
    Example,
    generation::{Decoding, GenerationConfig, Prompt, generate},
};

use super::evaluation::LmEvaluation;
use crate::{
    candidates::Candidates, error::RecipeError, features::FeatureRows, splits::Splits,
    tokenizer::caption_features,
};

/// Prompts at once.
const BATCH: usize = 64;
/// Captions near to a drawing that are looked for: R@10 needs as many.
const NEAREST: usize = 10;

/// A prompt that an image is asked for with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What training knew of it.
    pub kind: PromptKind,
    /// The words.
    pub prompt: String,
    /// What is asked for.
    pub concept: usize,
}

/// The image that the model drew for a prompt.
#[derive(Debug)]
pub struct DrawnImage {
    /// What was asked for.
    pub asked: Asked,
    /// The codes, as many as came.
    pub codes: Vec<i64>,
    /// Whether they are an image.
    pub well_formed: bool,
    /// Captions nearest to the codes of an image, with their cosine, and whether each names what was asked for.
    pub captions: Vec<(String, f32, bool)>,
}

/// Prompts of one kind, and the captions that what is drawn for them chooses among.
pub(super) struct PromptSet {
    kind: PromptKind,
    set: SetName,
    prompts: Vec<Asked>,
    texts: Vec<String>,
    /// What each text names.
    named: Vec<usize>,
}

/// Prompts and concepts, each pair once.
type Prompts = BTreeSet<(usize, String)>;

impl PromptSet {
    fn new(kind: PromptKind, set: SetName, prompts: Prompts, candidates: &dyn PairSet) -> Self {
        let among = Candidates::of(candidates);
        let texts = among.texts(candidates).into_iter().map(str::to_owned);
        let asked = prompts.into_iter().map(|(concept, prompt)| Asked {
            kind,
            prompt,
            concept,
        });
        Self {
            kind,
            set,
            prompts: asked.collect(),
            texts: texts.collect(),
            named: among.named,
        }
    }

    /// The same with at most `most` prompts, spread evenly.
    fn limited(mut self, most: usize) -> Self {
        let (all, kept) = (self.prompts.len(), self.prompts.len().min(most));
        let prompts = (0..kept).map(|at| self.prompts[at * all / kept].clone());
        self.prompts = prompts.collect();
        self
    }

    /// All prompts that a training on `splits` is judged by; sets without any are left out.
    pub(super) fn of(splits: &Splits, other_words: &[OtherWords], most: usize) -> Vec<Self> {
        let train = splits.train().as_ref();
        let trained = prompts_of(train);
        let known: BTreeSet<&str> = trained.iter().map(|(_, prompt)| prompt.as_str()).collect();
        let seen: BTreeSet<usize> = (0..train.len()).map(|pair| train.concept(pair)).collect();
        let mut sets = Vec::new();
        for (kind, source) in [
            (OtherWordsKind::Keywords, "keywords"),
            (OtherWordsKind::Synonym, "synonyms"),
        ] {
            let words = other_words
                .iter()
                .filter(|words| words.kind == kind && seen.contains(&words.concept))
                .map(|words| (words.concept, words.prompt.clone()))
                .filter(|(_, prompt)| !known.contains(prompt.as_str()));
            let name = SetName::new("corpus", source, "seen");
            sets.push(Self::new(
                PromptKind::OtherWords,
                name,
                words.collect(),
                train,
            ));
        }
        for held_out in &splits.evaluations {
            // Flags are drawn alike by all, and nobody can guess one.
            if held_out.name.concepts == "flags" {
                continue;
            }
            let set = held_out.set.as_ref();
            let mut prompts = prompts_of(set);
            prompts.retain(|(_, prompt)| !known.contains(prompt.as_str()));
            let (other_words, unseen): (Prompts, Prompts) = prompts
                .into_iter()
                .partition(|(concept, _)| seen.contains(concept));
            for (kind, prompts) in [
                (PromptKind::OtherWords, other_words),
                (PromptKind::UnseenConcepts, unseen),
            ] {
                sets.push(Self::new(kind, held_out.name.clone(), prompts, set));
            }
        }
        let name = SetName::new("training", "captions", "seen");
        sets.insert(
            0,
            Self::new(PromptKind::Recall, name, trained.clone(), train),
        );
        sets.retain(|set| !set.prompts.is_empty());
        sets.into_iter().map(|set| set.limited(most)).collect()
    }
}

/// What a set's pictures are called: what a training on it asks for images with.
fn prompts_of(set: &dyn PairSet) -> Prompts {
    let pairs = 0..set.len();
    pairs
        .flat_map(|pair| {
            let references = set.references(pair).iter();
            references.map(move |text| (set.concept(pair), text.clone()))
        })
        .collect()
}

impl LmEvaluation<'_> {
    /// Draws for one set of prompts and scores what came.
    pub(super) fn drawings(
        &self,
        set: &PromptSet,
        text_tokenizer: &TextTokenizer,
    ) -> Result<(DrawingResult, Vec<DrawnImage>), RecipeError> {
        let prompts: Vec<&str> = set
            .prompts
            .iter()
            .map(|asked| asked.prompt.as_str())
            .collect();
        let images = self.draw(
            &format!("drawings: {}", set.kind),
            &prompts,
            &Decoding::Greedy,
        )?;
        let candidates: Vec<&str> = set.texts.iter().map(String::as_str).collect();
        let tokens = &self.images.published.config.tokens;
        let texts = caption_features(
            &self.images.model.tokens,
            text_tokenizer,
            tokens.max_text_length(),
            self.frozen.device,
            &candidates,
        )?;
        let well_formed: Vec<Vec<i64>> = images
            .iter()
            .filter(|image| image.well_formed)
            .map(|image| image.codes.clone())
            .collect();
        let mut found = self.nearest_texts(&well_formed, &texts)?.into_iter();
        let mut drawn = Vec::with_capacity(images.len());
        for (asked, image) in set.prompts.iter().zip(images) {
            // What is malformed shows nothing, and is a miss.
            let near = if image.well_formed {
                found.next()
            } else {
                None
            };
            let captions = near.into_iter().flatten().map(|near| {
                let hit = set.named[near.row] == asked.concept;
                (set.texts[near.row].clone(), near.score, hit)
            });
            drawn.push(DrawnImage {
                asked: asked.clone(),
                codes: image.codes,
                well_formed: image.well_formed,
                captions: captions.collect(),
            });
        }
        let recall = |k: usize| {
            Share::count(drawn.iter().map(|image| {
                let mut best = image.captions.iter().take(k);
                best.any(|(_, _, hit)| *hit)
            }))
        };
        let chances = drawn.iter().map(|image| {
            let right = set
                .named
                .iter()
                .filter(|named| **named == image.asked.concept);
            right.count() as f64 / set.named.len().max(1) as f64
        });
        let result = DrawingResult {
            kind: set.kind,
            set: set.set.clone(),
            prompts: drawn.len(),
            candidates: set.texts.len(),
            well_formed: Share::count(drawn.iter().map(|image| image.well_formed)),
            r1: recall(1),
            r5: recall(5),
            r10: recall(10),
            chance_r1: 100.0 * chances.sum::<f64>() / drawn.len().max(1) as f64,
            malformed_lengths: malformed(drawn.iter().map(|i| (i.well_formed, i.codes.len()))),
        };
        Ok((result, drawn))
    }

    /// Draws for nouns, of which only the form is judged.
    pub(super) fn nouns(&self, nouns: &[String]) -> Result<Vec<NounResult>, RecipeError> {
        let nouns: Vec<&str> = nouns.iter().map(String::as_str).collect();
        // The reference's own settings for drawing (spec of SEED-LLaMA's scripts).
        let sampled = Decoding::Sample {
            temperature: 1.0,
            top_k: 0,
            top_p: 0.5,
            seed: 42,
        };
        let ways = [
            ("greedy", Decoding::Greedy),
            ("sampled, temperature 1, top-p 0.5", sampled),
        ];
        ways.into_iter()
            .map(|(name, decoding)| {
                let images = self.draw("drawings: nouns", &nouns, &decoding)?;
                let forms = images
                    .iter()
                    .map(|image| (image.well_formed, image.codes.len()));
                Ok(NounResult {
                    decoding: name.to_owned(),
                    well_formed: Share::count(images.iter().map(|image| image.well_formed)),
                    malformed_lengths: malformed(forms),
                })
            })
            .collect()
    }

    /// What the model draws for each prompt, without the grammar and up to twice as long as an image is.
    fn draw(
        &self,
        what: &str,
        prompts: &[&str],
        decoding: &Decoding,
    ) -> Result<Vec<Image>, RecipeError> {
        let ids = self.model.ids();
        let template = &self.templates.text_to_image;
        let bar = self.frozen.bar(what, prompts.len());
        let mut images = Vec::with_capacity(prompts.len());
        for (number, chunk) in prompts.chunks(BATCH).enumerate() {
            if number > 0 {
                self.frozen.stop.check()?;
            }
            let conditions = chunk
                .iter()
                .map(|prompt| {
                    let example = Example {
                        caption: prompt,
                        ..Example::default()
                    };
                    self.condition(template, &example)
                })
                .collect::<Result<_, RecipeError>>()?;
            let mut config = GenerationConfig {
                decoding: decoding.clone(),
                ..GenerationConfig::greedy(2 * ids.per_image + 2, Some(ids.close()))
            };
            // Rows of one batch draw from streams of their own, and so do batches.
            if let Decoding::Sample { seed, .. } = &mut config.decoding {
                *seed += number as u64;
            }
            for row in generate(self.model, Prompt::Ids(conditions), &config)?.best() {
                let codes = row.iter().filter_map(|id| ids.code(*id));
                images.push(Image {
                    well_formed: ids.codes_in(&row).is_some(),
                    codes: codes.map(|code| code as i64).collect(),
                });
            }
            bar.inc(chunk.len() as u64);
        }
        bar.finish_and_clear();
        Ok(images)
    }

    fn nearest_texts(
        &self,
        images: &[Vec<i64>],
        texts: &Features,
    ) -> Result<Vec<Vec<Neighbour>>, RecipeError> {
        if images.is_empty() {
            return Ok(Vec::new());
        }
        Ok(nearest(&self.image_features(images)?, texts, NEAREST)?)
    }

    /// Features of codes, by the tokenizer's reconstruction.
    pub(super) fn image_features(&self, images: &[Vec<i64>]) -> Result<Features, RecipeError> {
        let tokenizer = &self.images.model;
        let per_image = self.model.ids().per_image;
        let mut rows = FeatureRows::default();
        for chunk in images.chunks(BATCH) {
            let data = TensorData::new(chunk.concat(), [chunk.len(), per_image]);
            let codes = Tensor::<2, Int>::from_data(data, self.frozen.device);
            let rebuilt = tokenizer.codes.reconstruct(codes);
            rows.push(tokenizer.tokens.image_feature(rebuilt));
        }
        rows.features()
    }
}

/// What was drawn.
struct Image {
    codes: Vec<i64>,
    well_formed: bool,
}

/// How many codes what is no image has, and how often.
fn malformed(forms: impl Iterator<Item = (bool, usize)>) -> BTreeMap<usize, usize> {
    let mut lengths = BTreeMap::new();
    for (_, codes) in forms.filter(|(well_formed, _)| !well_formed) {
        *lengths.entry(codes).or_default() += 1;
    }
    lengths
}
