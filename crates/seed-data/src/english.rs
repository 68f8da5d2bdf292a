//! English text that ships with the crate, for a language model to be pretrained on: definitions of concrete
//! things from WordNet 3.1 (Princeton University, its own permissive licence; `corpus/wordnet`).

use std::collections::BTreeSet;
use std::io::Read;

use liblzma::read::XzDecoder;

use crate::caption::blip_caption;
use crate::corpus::Corpus;
use crate::error::DataError;
use crate::pair::PairSet;
use crate::split::Split;

const GLOSSES: &[u8] = include_bytes!("../corpus/wordnet/glosses.txt.xz");

/// WordNet's definitions, one a line: `wine glass: a glass that has a stem and in which wine is served`.
///
/// # Errors
///
/// [`DataError::Corpus`] if the embedded file is damaged.
pub fn english_text() -> Result<Vec<String>, DataError> {
    let mut text = String::new();
    XzDecoder::new(GLOSSES)
        .read_to_string(&mut text)
        .map_err(|error| DataError::Corpus {
            file: "wordnet/glosses.txt.xz",
            reason: error.to_string(),
        })?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// What a language model may be pretrained on: WordNet's definitions, but for words that are held-out concepts,
/// and the captions of the training split, `repeats` times; the shortest of them also in the two phrases that
/// captioning and drawing are asked for in, which an OPT of full size has read often enough elsewhere.
///
/// # Errors
///
/// Those of [`english_text`].
pub fn training_text(corpus: &Corpus, repeats: usize) -> Result<Vec<String>, DataError> {
    let held_out: BTreeSet<String> = corpus
        .concepts()
        .iter()
        .filter(|concept| matches!(concept.split, Some(Split::Validation | Split::Test)))
        .map(|concept| blip_caption(&concept.label))
        .collect();
    let mut lines = english_text()?;
    lines.retain(|line| {
        let words = line.split(':').next().unwrap_or_default();
        !words.split(", ").any(|word| held_out.contains(word))
    });
    let train = corpus.train();
    let captions: BTreeSet<&String> = (0..train.len())
        .flat_map(|index| train.captions(index))
        .collect();
    let labels: BTreeSet<&String> = (0..train.len())
        .flat_map(|index| train.references(index))
        .collect();
    for _ in 0..repeats {
        lines.extend(captions.iter().map(|caption| (*caption).clone()));
        for label in &labels {
            lines.push(format!("A photo of {label}"));
            lines.push(format!("Generate an image {label}"));
        }
    }
    Ok(lines)
}
