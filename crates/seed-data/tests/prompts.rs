//! Prompts that no training asks with: other words for seen concepts, and nouns that are no concept.

use std::collections::{BTreeMap, BTreeSet};

use seed_data::{
    Corpus, OtherWords, OtherWordsKind, PairSet, Split, blip_caption, is_training_prompt,
    training_text, wordnet_nouns,
};

fn other_words() -> (Corpus, Vec<OtherWords>) {
    let corpus = Corpus::embedded().unwrap();
    let words = corpus.other_words().unwrap();
    (corpus, words)
}

#[test]
fn the_embedded_synonyms_are_those_that_the_example_builds() {
    let file = include_bytes!("../corpus/wordnet/synonyms.txt");
    assert_eq!(
        blake3::hash(file).to_hex().as_str(),
        "6b85e24966971e70824e54e62395798b0fff4952a08f95af07f9222934b3dcb3",
        "rebuild the file as corpus/README.md says, and pin its hash here"
    );
}

#[test]
fn other_words_are_of_seen_concepts_and_in_the_same_order_each_time() {
    let (corpus, words) = other_words();
    let train = corpus.train();
    let seen: BTreeSet<usize> = (0..train.len()).map(|index| train.concept(index)).collect();
    assert!(words.iter().all(|words| seen.contains(&words.concept)));
    let order: Vec<_> = words
        .iter()
        .map(|words| (words.concept, words.kind))
        .collect();
    assert!(order.windows(2).all(|pair| pair[0] < pair[1]));
    let count = |kind| words.iter().filter(|words| words.kind == kind).count();
    assert_eq!(count(OtherWordsKind::Keywords), 654);
    assert_eq!(count(OtherWordsKind::Synonym), 85);
    assert_eq!(words, corpus.other_words().unwrap());
}

#[test]
fn training_asks_for_no_image_in_other_words() {
    let (corpus, words) = other_words();
    for concept in corpus.concepts() {
        assert_eq!(concept.training_prompts().len(), 1, "{}", concept.label);
        assert!(is_training_prompt(concept, &concept.label));
        for words in &words {
            assert!(!is_training_prompt(concept, &words.prompt), "{words:?}");
        }
    }
    // What the language model's training draws its prompts from, and the text it reads before any image.
    let train = corpus.train();
    for index in 0..train.len() {
        let concept = train.concept_of(index);
        assert_eq!(train.references(index), concept.training_prompts());
    }
    let lines: BTreeSet<String> = training_text(&corpus, 1).unwrap().into_iter().collect();
    let asked = |prompt: &str| lines.contains(&format!("Generate an image {prompt}"));
    assert!((0..train.len()).all(|index| asked(&train.concept_of(index).training_prompts()[0])));
    for words in &words {
        let prompt = &words.prompt;
        let shown = format!("A photo of {prompt}");
        assert!(!asked(prompt) && !lines.contains(&shown), "{words:?}");
        assert!(!lines.contains(prompt), "{words:?}");
    }
}

#[test]
fn other_words_name_their_concept_without_its_label() {
    let (corpus, words) = other_words();
    let captions: BTreeSet<&str> = corpus
        .concepts()
        .iter()
        .flat_map(|concept| concept.captions.iter().map(String::as_str))
        .collect();
    let mut prompts = BTreeSet::new();
    for OtherWords {
        concept,
        prompt,
        kind,
    } in &words
    {
        let concept = &corpus.concepts()[*concept];
        assert_eq!(*prompt, blip_caption(prompt));
        assert!(!captions.contains(prompt.as_str()), "{prompt}");
        assert!(prompts.insert(prompt), "{prompt} asks for two concepts");
        for word in prompt.split(|c: char| !c.is_alphanumeric()) {
            let label = concept.label.to_lowercase();
            let mut label = label.split(|c: char| !c.is_alphanumeric());
            let singular = |word: &str| word.trim_end_matches('s').to_owned();
            assert!(
                word.is_empty() || label.all(|other| singular(word) != singular(other)),
                "\"{prompt}\" names {}",
                concept.label
            );
        }
        if *kind == OtherWordsKind::Keywords {
            let tags: BTreeSet<String> = concept.tags.iter().map(|tag| blip_caption(tag)).collect();
            assert!(prompt.split(", ").count() >= 2, "{prompt}");
            assert!(
                prompt.split(", ").all(|tag| tags.contains(tag)),
                "{prompt}: {}",
                concept.label
            );
        }
    }
}

#[test]
fn keywords_that_fit_another_concept_ask_for_neither() {
    let (corpus, words) = other_words();
    let tags: Vec<BTreeSet<String>> = corpus
        .concepts()
        .iter()
        .map(|concept| concept.tags.iter().map(|tag| blip_caption(tag)).collect())
        .collect();
    for words in &words {
        for (other, tags) in tags.iter().enumerate() {
            let fits = words.prompt.split(", ").all(|word| tags.contains(word));
            assert!(other == words.concept || !fits, "{words:?} fits {other}");
        }
    }
}

#[test]
fn some_prompts_read_as_they_should() {
    let (corpus, words) = other_words();
    let by_label: BTreeMap<(&str, OtherWordsKind), &str> = words
        .iter()
        .map(|words| {
            let label = corpus.concepts()[words.concept].label.as_str();
            ((label, words.kind), words.prompt.as_str())
        })
        .collect();
    let keywords = |label| by_label.get(&(label, OtherWordsKind::Keywords)).copied();
    let synonym = |label| by_label.get(&(label, OtherWordsKind::Synonym)).copied();
    assert_eq!(keywords("headphone"), Some("earbud, sound"));
    assert_eq!(
        keywords("taxi"),
        Some("cab, cabbie, car, drive, vehicle, yellow")
    );
    assert_eq!(synonym("violin"), Some("fiddle"));
    assert_eq!(synonym("eggplant"), Some("aubergine"));
    assert_eq!(synonym("headstone"), Some("tombstone"));
    // A marten and a mouth organ, in WordNet too.
    for label in ["black cat", "harp"] {
        assert_eq!(synonym(label), None, "{label}");
    }
    // Held-out concepts and flags have none.
    for concept in corpus.concepts() {
        if concept.split != Some(Split::Train) {
            let label = concept.label.as_str();
            assert_eq!((keywords(label), synonym(label)), (None, None), "{label}");
        }
    }
}

#[test]
fn nouns_are_5000_words_that_the_corpus_does_not_have() {
    let corpus = Corpus::embedded().unwrap();
    let nouns = wordnet_nouns(&corpus).unwrap();
    assert_eq!(nouns.len(), 5000);
    assert_eq!(nouns.iter().collect::<BTreeSet<_>>().len(), 5000);
    assert_eq!(nouns, wordnet_nouns(&corpus).unwrap());
    let known: BTreeSet<String> = corpus
        .concepts()
        .iter()
        .flat_map(|concept| {
            let tags = concept.tags.iter().map(|tag| tag.to_lowercase());
            let captions = concept.captions.iter().cloned();
            tags.chain(captions).chain([concept.label.to_lowercase()])
        })
        .collect();
    for noun in &nouns {
        assert!(!known.contains(noun), "{noun}");
        assert!(noun.bytes().all(|byte| byte.is_ascii_lowercase()), "{noun}");
        assert_eq!(*noun, blip_caption(noun));
    }
    // In the order of a hash: any 500 of them begin with most letters.
    for part in nouns.chunks(500) {
        let letters: BTreeSet<&str> = part.iter().map(|noun| &noun[..1]).collect();
        assert!(letters.len() >= 20, "{letters:?}");
    }
    assert_eq!(nouns[..3], ["alexic", "spindle", "snook"]);
}
