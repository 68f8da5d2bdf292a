//! Training a WordPiece vocabulary on captions.
//!
//! The trainer of the `tokenizers` crate numbers its pieces in the order of a randomly seeded hash
//! map, so two runs give two vocabularies. This one does the same merges on ordered maps: the same
//! captions always give the same file.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tokenizers::decoders::wordpiece::WordPiece as WordPieceDecoder;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{
    AddedToken, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString,
    PreTokenizer, Tokenizer,
};

use crate::error::DataError;
use crate::text::{TextTokenizer, tokenizer_error};

const LEADING: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
const TRAILING: &str = "[DEC]";
const PREFIX: &str = "##";

/// Trains an uncased BERT tokenizer on captions.
///
/// The vocabulary holds `[PAD] [UNK] [CLS] [SEP] [MASK]`, the characters, the merged pieces, and
/// `[DEC]` last: `vocab_size` ids, or fewer if the captions give no more. Pairs are merged by
/// their number of occurrences, ties by alphabet, and it depends on nothing but the captions.
pub fn train_wordpiece<S: AsRef<str>>(
    captions: impl IntoIterator<Item = S>,
    vocab_size: usize,
) -> Result<TextTokenizer, DataError> {
    let words = count_words(captions)?;
    let learned = learn_pieces(&words, vocab_size.saturating_sub(LEADING.len() + 1));
    let size = LEADING.len() + learned.len() + 1;
    if size > vocab_size {
        return Err(DataError::Tokenizer {
            source: format!(
                "a vocabulary of {vocab_size} does not hold the characters of the captions; \
                 use at least {size}"
            )
            .into(),
        });
    }
    let mut vocab = LEADING.map(str::to_owned).to_vec();
    vocab.extend(learned);
    let ids: serde_json::Map<_, _> = vocab.into_iter().zip((0_u32..).map(Into::into)).collect();
    let model = serde_json::json!({
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": PREFIX,
        "max_input_chars_per_word": 100,
        "vocab": ids,
    });
    let model = WordPiece::from_bytes(model.to_string()).map_err(tokenizer_error)?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer
        .with_normalizer(Some(BertNormalizer::default()))
        .with_pre_tokenizer(Some(BertPreTokenizer))
        .with_post_processor(Some(BertProcessing::new(
            ("[SEP]".to_owned(), 3),
            ("[CLS]".to_owned(), 2),
        )))
        .with_decoder(Some(WordPieceDecoder::new(PREFIX.to_owned(), false)));
    let special = LEADING.iter().chain([&TRAILING]);
    let special: Vec<AddedToken> = special.map(|name| AddedToken::from(*name, true)).collect();
    tokenizer.add_special_tokens(&special);
    TextTokenizer::new(tokenizer)
}

/// The words of the captions, split as the tokenizer will split them, and how often each occurs.
fn count_words<S: AsRef<str>>(
    captions: impl IntoIterator<Item = S>,
) -> Result<BTreeMap<String, u64>, DataError> {
    let normalizer = BertNormalizer::default();
    let mut words = BTreeMap::new();
    for caption in captions {
        let mut text = NormalizedString::from(caption.as_ref());
        normalizer.normalize(&mut text).map_err(tokenizer_error)?;
        let mut split = PreTokenizedString::from(text);
        BertPreTokenizer
            .pre_tokenize(&mut split)
            .map_err(tokenizer_error)?;
        for (word, ..) in split.get_splits(OffsetReferential::Normalized, OffsetType::Byte) {
            *words.entry(word.to_owned()).or_default() += 1;
        }
    }
    Ok(words)
}

/// The characters of the words, each as it stands at the start of a word and inside one, then the
/// pieces merged from them: `room` in all, or all characters if those are more.
fn learn_pieces(words: &BTreeMap<String, u64>, room: usize) -> Vec<String> {
    let characters: BTreeSet<char> = words.keys().flat_map(|word| word.chars()).collect();
    let mut names: Vec<String> = Vec::new();
    names.extend(characters.iter().map(char::to_string));
    names.extend(characters.iter().map(|c| format!("{PREFIX}{c}")));
    let mut ids: HashMap<String, usize> = names.iter().cloned().zip(0..).collect();

    let mut corpus = Corpus::default();
    for (word, &count) in words {
        let leading = word.chars().take(1).map(|c| ids[&c.to_string()]);
        let inside = word.chars().skip(1).map(|c| ids[&format!("{PREFIX}{c}")]);
        corpus.push(leading.chain(inside).collect(), count);
    }
    while names.len() < room {
        let Some(pair) = corpus.most_frequent(&names) else {
            break;
        };
        let tail = names[pair.1].strip_prefix(PREFIX).unwrap_or_default();
        let name = format!("{}{tail}", names[pair.0]);
        // Two ways of merging may lead to the same piece.
        let id = *ids.entry(name).or_insert_with_key(|name| {
            names.push(name.clone());
            names.len() - 1
        });
        corpus.merge(pair, id);
    }
    names
}

type Pair = (usize, usize);

/// The words as sequences of pieces, with the places of every neighbouring pair.
#[derive(Default)]
struct Corpus {
    words: Vec<(Vec<usize>, u64)>,
    counts: HashMap<Pair, u64>,
    places: HashMap<Pair, BTreeSet<usize>>,
}

impl Corpus {
    fn push(&mut self, pieces: Vec<usize>, count: u64) {
        self.words.push((pieces, count));
        self.enter(self.words.len() - 1);
    }

    /// Counts the pairs of one word.
    fn enter(&mut self, word: usize) {
        let (pieces, count) = &self.words[word];
        for pair in pieces.windows(2) {
            let pair = (pair[0], pair[1]);
            *self.counts.entry(pair).or_default() += count;
            self.places.entry(pair).or_default().insert(word);
        }
    }

    /// Takes the pairs of one word out of the counts.
    fn leave(&mut self, word: usize) {
        let (pieces, count) = &self.words[word];
        for pair in pieces.windows(2) {
            let pair = (pair[0], pair[1]);
            if let Some(total) = self.counts.get_mut(&pair) {
                *total -= count;
                if *total == 0 {
                    self.counts.remove(&pair);
                    self.places.remove(&pair);
                }
            }
        }
    }

    fn most_frequent(&self, names: &[String]) -> Option<Pair> {
        let by_name = |pair: &Pair| (&names[pair.0], &names[pair.1]);
        self.counts
            .iter()
            .max_by(|(a, count_a), (b, count_b)| {
                let by_count = count_a.cmp(count_b);
                by_count.then_with(|| by_name(b).cmp(&by_name(a)))
            })
            .map(|(pair, _)| *pair)
    }

    fn merge(&mut self, pair: Pair, merged: usize) {
        for word in self.places.get(&pair).cloned().unwrap_or_default() {
            self.leave(word);
            let old = std::mem::take(&mut self.words[word].0);
            let mut rest = old.as_slice();
            let pieces = &mut self.words[word].0;
            while let Some((&piece, tail)) = rest.split_first() {
                if piece == pair.0 && tail.first() == Some(&pair.1) {
                    pieces.push(merged);
                    rest = &tail[1..];
                } else {
                    pieces.push(piece);
                    rest = tail;
                }
            }
            self.enter(word);
        }
    }
}
