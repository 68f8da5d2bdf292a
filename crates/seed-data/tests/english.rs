//! Text that ships, and the byte-level BPE trained on it.

use std::collections::BTreeSet;

use seed_data::{
    Corpus, PairSet, Split, blip_caption, english_text, train_byte_bpe, training_text,
};

#[test]
fn definitions_are_lines_of_words() {
    let lines = english_text().unwrap();
    assert_eq!(lines.len(), 25_647);
    for line in &lines {
        let (words, definition) = line.split_once(": ").unwrap();
        assert!(!words.is_empty() && !definition.is_empty(), "{line}");
        assert!(
            line.chars()
                .all(|c| !c.is_uppercase() && !c.is_ascii_digit()),
            "{line}"
        );
    }
}

#[test]
fn nothing_of_a_held_out_concept_is_trained_on() {
    let corpus = Corpus::embedded().unwrap();
    let lines = training_text(&corpus, 2).unwrap();
    let held_out: BTreeSet<String> = corpus
        .concepts()
        .iter()
        .filter(|concept| matches!(concept.split, Some(Split::Validation | Split::Test)))
        .flat_map(|concept| {
            let mut captions = concept.captions.clone();
            captions.push(blip_caption(&concept.label));
            captions
        })
        .collect();
    assert!(held_out.len() > 200, "{}", held_out.len());
    for line in &lines {
        assert!(!held_out.contains(line), "{line}");
        let words = line.split(':').next().unwrap();
        if line.contains(": ") {
            assert!(
                !words.split(", ").any(|word| held_out.contains(word)),
                "{line}"
            );
        }
    }
    // Each caption of the training split, as often as asked for.
    let train = corpus.train();
    let caption = &train.captions(0)[0];
    assert_eq!(lines.iter().filter(|line| *line == caption).count(), 2);
}

#[test]
fn training_a_byte_bpe_is_deterministic_and_ordered_as_opt() {
    let lines: Vec<String> = english_text().unwrap().into_iter().take(2000).collect();
    let train = || train_byte_bpe(lines.iter(), 600).unwrap();
    let tokenizer = train();
    assert_eq!(tokenizer.to_json().unwrap(), train().to_json().unwrap());
    assert_eq!(tokenizer.vocab_size(), 600);
    let special = tokenizer.special();
    assert_eq!((special.pad, special.start, special.end), (1, 2, 2));
    for text in ["a red apple", "ünïcödé, 🍎!", ""] {
        let ids = tokenizer.encode_all(text).unwrap();
        assert_eq!(ids[0], 2);
        assert_eq!(ids[1..], tokenizer.encode_plain(text).unwrap());
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
        assert_eq!(tokenizer.decode_all(&ids).unwrap(), format!("</s>{text}"));
    }
}
