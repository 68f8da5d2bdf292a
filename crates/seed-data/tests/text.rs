//! Reading tokenizers, batches, and training one, which is deterministic. That `tokenizer.json` gives the
//! reference's ids is the case `13_tokenizers` of `tests/fixtures`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use seed_data::{DataError, TextTokenizer, clip_bpe_of_files, train_wordpiece};
use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/13_tokenizers")
        .join(name)
}

#[test]
fn special_ids_are_found_in_each_family() {
    let bert = TextTokenizer::from_file(&fixture("bert/tokenizer.json")).unwrap();
    let special = bert.special();
    assert_eq!((special.pad, special.start, special.end), (0, 2, 3));
    assert_eq!(special.decode, Some(420));
    assert_eq!(bert.vocab_size(), 421);

    let clip = TextTokenizer::from_file(&fixture("clip/tokenizer.json")).unwrap();
    let special = clip.special();
    assert_eq!((special.pad, special.start, special.end), (793, 792, 793));
    assert_eq!(special.decode, None);
}

#[test]
fn a_batch_holds_the_same_rows() {
    let tokenizer = TextTokenizer::from_file(&fixture("bert/tokenizer.json")).unwrap();
    let texts = [
        "a red umbrella",
        "",
        "the couple turns near a wooden street",
    ];
    let batch = tokenizer.encode_batch(&texts, 8).unwrap();
    assert_eq!(batch.shape, [3, 8]);
    assert_eq!(batch.mask.len(), 24);
    for (row, text) in batch.ids.chunks(8).zip(texts) {
        let single = tokenizer.encode(text, 8).unwrap();
        assert!(
            row.iter()
                .copied()
                .eq(single.ids.into_iter().map(i64::from))
        );
    }
    assert_eq!(batch.ids[23], i64::from(tokenizer.special().end), "cut off");
}

const CAPTIONS: [&str; 6] = [
    "a red umbrella beside the horse",
    "the red horse sleeps under a tree",
    "two umbrellas and a horse",
    "grinning face with smiling eyes",
    "smiling face with halo, innocent",
    "Ångström café 42%",
];

#[test]
fn training_is_deterministic_and_ordered() {
    let first = train_wordpiece(CAPTIONS, 120).unwrap();
    let json = first.to_json().unwrap();
    for _ in 0..5 {
        let again = train_wordpiece(CAPTIONS, 120).unwrap();
        assert_eq!(again.to_json().unwrap(), json);
    }
    assert_eq!(first.vocab_size(), 120);
    let special = first.special();
    assert_eq!((special.pad, special.start, special.end), (0, 2, 3));
    assert_eq!(special.decode, Some(119), "[DEC] is the last id");
    // What occurs most often is one piece.
    assert_eq!(first.encode_all("horse").unwrap().len(), 3);
}

#[test]
fn a_trained_tokenizer_reads_back_and_round_trips() {
    let trained = train_wordpiece(CAPTIONS, 120).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    trained.save(&path).unwrap();
    let read = TextTokenizer::from_file(&path).unwrap();
    assert_eq!(read.to_json().unwrap(), trained.to_json().unwrap());
    for text in ["smiling horse under umbrellas", "the tree"] {
        let ids = read.encode_all(text).unwrap();
        assert!(!ids.contains(&1), "no [UNK] in {text:?}");
        assert_eq!(read.decode(&ids).unwrap(), text);
    }
    assert!(read.encode_all("日本").unwrap().contains(&1));
}

#[test]
fn a_vocabulary_below_the_alphabet_is_refused() {
    let error = train_wordpiece(CAPTIONS, 20).unwrap_err().to_string();
    assert!(error.contains("use at least"), "{error}");
    let few = train_wordpiece(["ab ab"], 1000).unwrap();
    assert_eq!(
        few.vocab_size(),
        5 + 4 + 1 + 1,
        "no more than the captions give"
    );
}

#[test]
fn unusable_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.json");
    std::fs::write(&path, "{").unwrap();
    let error = TextTokenizer::from_file(&path).unwrap_err().to_string();
    assert!(error.contains("broken.json"), "{error}");
    let missing = TextTokenizer::from_file(&folder.path().join("none.json"));
    assert!(matches!(missing, Err(DataError::Io { .. })));
}

/// The two files that the fixture's `tokenizer.json` of CLIP was made of give what it gives.
#[test]
fn clip_is_read_from_its_two_files() {
    let whole = fs::read_to_string(fixture("clip/tokenizer.json")).unwrap();
    let model = serde_json::from_str::<Value>(&whole).unwrap()["model"].take();
    let folder = tempfile::tempdir().unwrap();
    let [vocab, merges] = ["vocab.json", "merges.txt"].map(|file| folder.path().join(file));
    fs::write(&vocab, model["vocab"].to_string()).unwrap();
    let pairs = model["merges"].as_array().unwrap().iter().map(|pair| {
        let [first, second] = [&pair[0], &pair[1]].map(|part| part.as_str().unwrap());
        format!("{first} {second}\n")
    });
    let pairs: String = std::iter::once("#version: 0.2\n".to_owned())
        .chain(pairs)
        .collect();
    fs::write(&merges, pairs).unwrap();

    let whole = TextTokenizer::from_json(&whole).unwrap();
    let of_files = clip_bpe_of_files(&vocab, &merges).unwrap();
    assert_eq!(of_files.special(), whole.special());
    let strings = fs::read_to_string(fixture("strings.json")).unwrap();
    let strings: Vec<String> = serde_json::from_str(&strings).unwrap();
    for text in &strings {
        assert_eq!(
            of_files.encode(text, 32).unwrap(),
            whole.encode(text, 32).unwrap(),
            "{text:?}"
        );
    }
    let padded = of_files.with_padding("!").unwrap().encode("", 4).unwrap();
    assert_eq!(padded.ids[..2], [792, 793]);
    assert_eq!(padded.ids[2], padded.ids[3]);
    assert_eq!(model["vocab"]["!"], padded.ids[3]);

    let error = clip_bpe_of_files(&vocab, &folder.path().join("none")).unwrap_err();
    assert!(matches!(error, DataError::Io { .. }), "{error}");
    fs::write(&vocab, r#"{"a": 0}"#).unwrap();
    let error = clip_bpe_of_files(&vocab, &merges).unwrap_err().to_string();
    assert!(
        error.contains("vocab.json") && error.contains("<|startoftext|>"),
        "{error}"
    );
    assert!(whole.with_padding("no such token").is_err());
}
