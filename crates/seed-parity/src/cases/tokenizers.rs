//! Text tokenizers: BERT's WordPiece and CLIP's BPE, string for string.

use std::collections::BTreeSet;

use seed_data::TextTokenizer;
use serde_json::Value;

use crate::{
    ParityError,
    case::Case,
    comparison::{Rule, Values},
    outputs::Recorder,
};

pub(super) fn run(case: &Case<'_>, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    let strings = case.json("strings.json")?;
    let strings: Option<Vec<&str>> = strings
        .as_array()
        .and_then(|strings| strings.iter().map(Value::as_str).collect());
    let strings = strings.ok_or_else(|| case.no_value("strings.json", "", "list of strings"))?;
    for family in ["bert", "clip"] {
        if let Some(golden) = case.expected[family].as_array() {
            if golden.len() != strings.len() {
                let wanted = "entry for each string";
                return Err(case.no_value("expected.json", family, wanted));
            }
            tokenizer(case, out, family, &strings, golden)?;
        }
    }
    for opt in ["opt", "opt_decode_raw"] {
        if case.expected.get(opt).is_some() {
            out.leave_out(format!("expected/{opt}"), "OPT's BPE is not built here yet");
        }
    }
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
    if field == "decode_skip_special" {
        let ids = golden["ids"].as_array().into_iter().flatten();
        let ids: Vec<u32> = ids.filter_map(Value::as_u64).map(|id| id as u32).collect();
        return Ok(Some(tokenizer.decode(&ids)?.into()));
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
