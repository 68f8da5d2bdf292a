//! Prompts for an image that no training asked with: seen concepts in other words, and nouns that are no concept.
//!
//! A language model that draws is trained to draw a concept when asked for it by a training prompt
//! ([`Concept::training_prompts`]), so what it draws for one is recall. These prompts measure what lies beyond.
//! They are kept out of training by rule:
//! - they are made here alone, and a phrasing that is a caption or a label of any concept is left out;
//! - no word of them is a form of a word of the label ([`akin`]): "frown" asks for no "frowning face";
//! - a phrasing that fits another concept as well, by its label, keywords and synonyms, asks for neither.
//!
//! What training may have read is the words themselves. The text that the language model is pretrained on
//! ([`training_text`](crate::training_text)) holds the label beside its keywords, and WordNet's definitions; it
//! asks for an image by labels alone. The *judge* of what was drawn is another model: the text sides of the nano
//! CLIP and of the Q-Former are trained on captions some of whose keywords are left out, at times the label too,
//! so keywords are words that the judge knows.

use std::collections::{BTreeMap, BTreeSet};

use crate::caption::blip_caption;
use crate::corpus::{Concept, Corpus};
use crate::english::english_text;
use crate::error::DataError;
use crate::pair::PairSet;

/// Synonyms of labels, one label a line as `label: synonym, synonym`, the surest first; from WordNet 3.1
/// (`examples/build_synonyms.rs`).
const SYNONYMS: &str = include_str!("../corpus/wordnet/synonyms.txt");
const SYNONYMS_FILE: &str = "wordnet/synonyms.txt";
const GLOSSES_FILE: &str = "wordnet/glosses.txt.xz";

/// How many nouns [`wordnet_nouns`] draws.
const NOUNS: usize = 5000;
/// Names the draw: another string would draw other nouns.
const DRAW: &str = "seed wordnet nouns 1: ";
/// What WordNet says of words that nobody should be shown.
pub const REMARKS: [&str; 6] = [
    "offensive",
    "disparaging",
    "derogatory",
    "obscene",
    "vulgar",
    "slur",
];

/// A seen concept, asked for in words that are no training prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherWords {
    /// Index into [`Corpus::concepts`].
    pub concept: usize,
    /// The words, cleaned as captions are ([`blip_caption`]).
    pub prompt: String,
    /// Where the words come from.
    pub kind: OtherWordsKind,
}

/// Where other words for a concept come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OtherWordsKind {
    /// Two or more of the concept's CLDR keywords, joined by commas.
    Keywords,
    /// A word of WordNet 3.1 for the same thing.
    Synonym,
}

impl Concept {
    /// The texts that training asks for an image of the concept with: the last of its captions, which is the label
    /// alone. A training that asks for images takes its prompts from here.
    pub fn training_prompts(&self) -> &[String] {
        self.captions
            .last()
            .map_or(&[], |label| std::slice::from_ref(label))
    }
}

/// True if training asks for an image of the concept with this text, cleaned or not.
pub fn is_training_prompt(concept: &Concept, text: &str) -> bool {
    concept.training_prompts().contains(&blip_caption(text))
}

impl Corpus {
    /// Other words for the seen concepts (those of [`Corpus::train`]): by concept, at most one prompt of each kind,
    /// keywords first. A concept whose every phrasing breaks a rule of this module has none.
    ///
    /// # Errors
    ///
    /// [`DataError::Corpus`] if the embedded file of synonyms is damaged.
    pub fn other_words(&self) -> Result<Vec<OtherWords>, DataError> {
        let phrasings = Phrasings::of(self)?;
        let train = self.train();
        let seen: BTreeSet<usize> = (0..train.len()).map(|index| train.concept(index)).collect();
        let prompts = seen.into_iter().flat_map(|concept| {
            let of = |kind| {
                move |prompt| OtherWords {
                    concept,
                    prompt,
                    kind,
                }
            };
            let keywords = phrasings
                .keywords(concept)
                .map(of(OtherWordsKind::Keywords));
            let synonym = phrasings.synonym(concept).map(of(OtherWordsKind::Synonym));
            keywords.into_iter().chain(synonym)
        });
        Ok(prompts.collect())
    }
}

/// What the concepts are called, and by which words each could be asked for.
struct Phrasings<'a> {
    concepts: &'a [Concept],
    /// Synonyms by cleaned label.
    synonyms: BTreeMap<&'static str, Vec<&'static str>>,
    /// Labels, captions and training prompts of all concepts, held-out ones and flags included.
    taken: BTreeSet<String>,
    /// The concepts that a label, keyword or synonym is about.
    about: BTreeMap<String, BTreeSet<usize>>,
}

impl<'a> Phrasings<'a> {
    fn of(corpus: &'a Corpus) -> Result<Self, DataError> {
        let concepts = corpus.concepts();
        let synonyms = synonyms()?;
        let mut taken = BTreeSet::new();
        let mut about: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        for (index, concept) in concepts.iter().enumerate() {
            let label = blip_caption(&concept.label);
            let synonyms = synonyms.get(label.as_str()).into_iter().flatten();
            let names = synonyms
                .map(|&word| word.to_owned())
                .chain(cleaned_tags(concept))
                .chain([label.clone()]);
            for name in names {
                about.entry(name).or_default().insert(index);
            }
            taken.insert(label);
            taken.extend(concept.captions.iter().cloned());
            taken.extend(concept.training_prompts().iter().cloned());
        }
        Ok(Self {
            concepts,
            synonyms,
            taken,
            about,
        })
    }

    /// The keywords that are neither akin to the label nor what another concept is called.
    fn keywords(&self, concept: usize) -> Option<String> {
        let label = words(&self.concepts[concept].label);
        let mut kept: Vec<String> = Vec::new();
        for tag in cleaned_tags(&self.concepts[concept]) {
            if !shares_word(&tag, &label) && !self.taken.contains(&tag) && !kept.contains(&tag) {
                kept.push(tag);
            }
        }
        let prompt = blip_caption(&kept.join(", "));
        (kept.len() >= 2 && self.asks_for(concept, &kept, &prompt)).then_some(prompt)
    }

    /// The surest synonym that is neither akin to the label nor what another concept is called.
    fn synonym(&self, concept: usize) -> Option<String> {
        let label = &self.concepts[concept].label;
        let synonyms = self.synonyms.get(blip_caption(label).as_str())?;
        let label = words(label);
        let mut synonyms = synonyms.iter().map(|&word| word.to_owned());
        synonyms.find(|word| {
            !shares_word(word, &label) && self.asks_for(concept, std::slice::from_ref(word), word)
        })
    }

    /// True if the prompt, made of these names, is taken by no concept and about this one only.
    fn asks_for(&self, concept: usize, names: &[String], prompt: &str) -> bool {
        let about_all = |other: &usize| {
            names
                .iter()
                .all(|name| self.about.get(name).is_some_and(|set| set.contains(other)))
        };
        let first = names.first().and_then(|name| self.about.get(name));
        let mut concepts = first.into_iter().flatten().filter(|other| about_all(other));
        !self.taken.contains(prompt)
            && concepts.next() == Some(&concept)
            && concepts.next().is_none()
    }
}

fn synonyms() -> Result<BTreeMap<&'static str, Vec<&'static str>>, DataError> {
    let entry = |line: &'static str| match line.split_once(": ") {
        Some((label, words)) => Ok((label, words.split(", ").collect())),
        None => Err(DataError::Corpus {
            file: SYNONYMS_FILE,
            reason: format!("\"{line}\" is not `label: synonym, synonym`"),
        }),
    };
    SYNONYMS.lines().map(entry).collect()
}

/// Keywords as they stand in a prompt; those of signs alone ("!!") are nothing then.
fn cleaned_tags(concept: &Concept) -> impl Iterator<Item = String> + '_ {
    let tags = concept.tags.iter().map(|tag| blip_caption(tag));
    tags.filter(|tag| !tag.is_empty())
}

/// The words of a text in lower case, without apostrophes and a plural's s.
fn words(text: &str) -> Vec<String> {
    let text = text.to_lowercase().replace(['’', '\''], "");
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| match word.strip_suffix('s') {
            Some(stem) if stem.len() > 2 && !stem.ends_with('s') => stem.to_owned(),
            _ => word.to_owned(),
        })
        .collect()
}

/// True if a word of the text is akin to one of these.
fn shares_word(text: &str, others: &[String]) -> bool {
    words(text)
        .iter()
        .any(|word| others.iter().any(|other| akin(word, other)))
}

/// True for what may be two forms of a word, or a word and its compound: "waving" and "wave", "fuelpump" and
/// "pump". That takes some that are none ("carp" and "carpet"), which costs a keyword.
fn akin(one: &str, other: &str) -> bool {
    let letters = |word: &str| word.chars().count();
    let stem = |word: &str| letters(word.strip_suffix('e').unwrap_or(word));
    let pairs = one.chars().zip(other.chars());
    let shared = pairs.take_while(|(one, other)| one == other).count();
    let begins = shared >= stem(one).min(stem(other)).clamp(3, 4);
    let ends = |long: &str, short: &str| letters(short) >= 4 && long.ends_with(short);
    one == other || begins || ends(one, other) || ends(other, one)
}

/// 5,000 single words for concrete things from WordNet 3.1 that are no caption, label or keyword of the corpus, in
/// the order of a hash, so that the first of them are as good a sample as all: for measuring how often what a
/// language model draws is an image at all. There are no pictures to compare with.
///
/// Words that WordNet calls offensive are left out.
///
/// # Errors
///
/// [`DataError::Corpus`] if the embedded file is damaged.
pub fn wordnet_nouns(corpus: &Corpus) -> Result<Vec<String>, DataError> {
    let stem = |text: &str| words(text).join(" ");
    let mut taken = BTreeSet::new();
    for concept in corpus.concepts() {
        taken.insert(stem(&concept.label));
        taken.extend(concept.captions.iter().map(|caption| stem(caption)));
        taken.extend(concept.tags.iter().map(|tag| stem(tag)));
    }
    let mut nouns = BTreeSet::new();
    for line in english_text()? {
        let (heads, definition) = line.split_once(": ").unwrap_or((&line, ""));
        // The first of several words for a thing is the usual one.
        let noun = heads.split(", ").next().unwrap_or_default();
        let single = noun.chars().all(|c| c.is_ascii_lowercase()) && noun.len() > 2;
        let remark = REMARKS.iter().any(|remark| {
            let mut words = definition.split(|c: char| !c.is_alphabetic());
            words.any(|word| word == *remark)
        });
        if single && !remark && !taken.contains(&stem(noun)) {
            nouns.insert(noun.to_owned());
        }
    }
    if nouns.len() < NOUNS {
        return Err(DataError::Corpus {
            file: GLOSSES_FILE,
            reason: format!("it has {} nouns where {NOUNS} are drawn", nouns.len()),
        });
    }
    let mut nouns: Vec<String> = nouns.into_iter().collect();
    nouns.sort_by_cached_key(|noun| *blake3::hash(format!("{DRAW}{noun}").as_bytes()).as_bytes());
    nouns.truncate(NOUNS);
    Ok(nouns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_a_word_are_akin() {
        for (one, other) in [
            ("frown", "frowning"),
            ("waving", "wave"),
            ("fuelpump", "pump"),
            ("collide", "collision"),
            ("bear", "beard"),
            ("1", "1"),
        ] {
            assert!(akin(one, other) && akin(other, one), "{one} {other}");
        }
        for (one, other) in [("cat", "cab"), ("ox", "oxen"), ("arm", "farm"), ("1", "10")] {
            assert!(!akin(one, other) && !akin(other, one), "{one} {other}");
        }
    }

    #[test]
    fn words_lose_case_apostrophes_and_plural() {
        assert_eq!(
            words("Woman’s T-shirts, glass"),
            ["woman", "t", "shirt", "glass"]
        );
    }
}
