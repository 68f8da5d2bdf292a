//! Text tokenizers: BERT's WordPiece, OPT's and CLIP's BPE, string for string.

use std::collections::BTreeSet;

use seed_data::{TextTokenizer, byte_bpe_of_files};
use serde_json::Value;

use crate::{
    case::Case,
    comparison::{Rule, Values},
    error::ParityError,
    outputs::Recorder,
};

pub(super) fn run(case: &Case<'_>, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    let strings = case.json("strings.json")?;
    let strings: Option<Vec<&str>> = strings
        .as_array()
        .and_then(|strings| strings.iter().map(Value::as_str).collect());
    let strings = strings.ok_or_else(|| case.no_value("strings.json", "", "list of strings"))?;
    for family in ["bert", "opt", "clip"] {
        if let Some(golden) = case.expected[family].as_array() {
            if golden.len() != strings.len() {
                let wanted = "entry for each string";
                return Err(case.no_value("expected.json", family, wanted));
            }
            tokenizer(case, out, family, &strings, golden)?;
        }
    }
    if let Some(golden) = case.expected["opt_decode_raw"].as_array() {
        decoding(case, out, golden)?;
    }
    Ok(())
}

/// Any ids as text, broken UTF-8 included; and the tokenizer made of a release's two files.
fn decoding(case: &Case<'_>, out: &mut Recorder<'_>, golden: &[Value]) -> Result<(), ParityError> {
    let folder = case.path("opt");
    let tokenizer = byte_bpe_of_files(&folder.join("vocab.json"), &folder.join("merges.txt"))?;
    let (mut found, mut expected) = (Vec::new(), Vec::new());
    for entry in golden {
        let ids = entry["ids"].as_array().into_iter().flatten();
        let ids: Vec<u32> = ids.filter_map(Value::as_u64).map(|id| id as u32).collect();
        found.push(Value::from(tokenizer.decode_all(&ids)?).to_string());
        expected.push(entry["text"].to_string());
    }
    out.push(
        "expected/opt_decode_raw".to_owned(),
        Values::Rows(found),
        Values::Rows(expected),
        Rule::Exact,
    );
    let whole = TextTokenizer::from_file(&folder.join("tokenizer.json"))?;
    let strings = case.json("strings.json")?;
    let rows = |tokenizer: &TextTokenizer| -> Result<Vec<String>, ParityError> {
        let strings = strings.as_array().into_iter().flatten();
        strings
            .filter_map(Value::as_str)
            .map(|text| Ok(format!("{:?}", tokenizer.encode_all(text)?)))
            .collect()
    };
    out.push(
        "opt/vocab.json and merges.txt".to_owned(),
        Values::Rows(rows(&tokenizer)?),
        Values::Rows(rows(&whole)?),
        Rule::Exact,
    );
    Ok(())
}

/// Compares every field of the golden entries.
fn tokenizer(
    case: &Case<'_>,
    out: &mut Recorder<'_>,
    family: &str,
    strings: &[&str],
    golden: &[Value],
) -> Result<(), ParityError> {
    let path = case.path(family).join("tokenizer.json");
    let tokenizer = TextTokenizer::from_file(&path)?;
    let fields: BTreeSet<&String> = golden
        .iter()
        .filter_map(Value::as_object)
        .flat_map(|entry| entry.keys())
        .collect();
    for field in fields {
        let mut found = Vec::new();
        let mut expected = Vec::new();
        for (text, golden) in strings.iter().zip(golden) {
            // Where the reference's two implementations differ, either is right.
            let other = &golden["ids_slow"];
            if !other.is_null() && Value::from(tokenizer.encode_all(text)?) == *other {
                continue;
            }
            if let Some(value) = golden.get(field)
                && let Some(ours) = value_of(&tokenizer, field, text, golden)?
            {
                found.push(ours.to_string());
                expected.push(value.to_string());
            }
        }
        let name = format!("expected/{family}/{field}");
        if !found.is_empty() {
            out.push(
                name,
                Values::Rows(found),
                Values::Rows(expected),
                Rule::Exact,
            );
        } else if field == "tokens" {
            out.leave_out(
                name,
                "the tokenizer gives ids, not the strings of its pieces",
            );
        }
    }
    Ok(())
}

/// Our value of a golden field: `ids`, `ids_N` and `mask_N` of length N, the decoding of the golden
/// ids; none for another field.
fn value_of(
    tokenizer: &TextTokenizer,
    field: &str,
    text: &str,
    golden: &Value,
) -> Result<Option<Value>, ParityError> {
    if field == "ids" {
        return Ok(Some(tokenizer.encode_all(text)?.into()));
    }
    if field == "decode_skip_special" || field == "decode" {
        let ids = golden["ids"].as_array().into_iter().flatten();
        let ids: Vec<u32> = ids.filter_map(Value::as_u64).map(|id| id as u32).collect();
        let text = if field == "decode" {
            tokenizer.decode_all(&ids)?
        } else {
            tokenizer.decode(&ids)?
        };
        return Ok(Some(text.into()));
    }
    let Some((kind, Ok(length))) = field.split_once('_').map(|(kind, n)| (kind, n.parse())) else {
        return Ok(None);
    };
    let padded = tokenizer.encode(text, length)?;
    Ok(match kind {
        "ids" => Some(padded.ids.into()),
        "mask" => {
            let mask = padded.mask.into_iter().map(u8::from);
            Some(mask.collect::<Vec<_>>().into())
        }
        _ => None,
    })
}
