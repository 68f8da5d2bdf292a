//! Reading tokenizers, batches, and training one, which is deterministic. That `tokenizer.json` gives the
//! reference's ids is the case `13_tokenizers` of `tests/fixtures`.

use std::path::{Path, PathBuf};

use seed_data::{DataError, TextTokenizer, train_wordpiece};

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
