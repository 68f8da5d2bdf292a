//! Text tokenizers: BERT's WordPiece and CLIP's BPE, string for string.

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

/// Compares every field of the golden entries: `ids`, `ids_N` and `mask_N` of length N, the decoding.
fn tokenizer(
    case: &Case<'_>,
    out: &mut Recorder<'_>,
    family: &str,
    strings: &[&str],
    golden: &[Value],
) -> Result<(), ParityError> {
    let path = case.path(family).join("tokenizer.json");
    let tokenizer = TextTokenizer::from_file(&path)?;
    let mut fields: Vec<&String> = golden
        .iter()
        .flat_map(|entry| entry.as_object().into_iter().flat_map(|entry| entry.keys()))
        .collect();
    fields.sort();
    fields.dedup();
    for field in fields {
        let name = format!("expected/{family}/{field}");
        let mut found = Vec::new();
        let mut expected = Vec::new();
        for (text, golden) in strings.iter().zip(golden) {
            let Some(value) = golden.get(field) else {
                continue;
            };
            let ids = tokenizer.encode_all(text)?;
            // Where the two reference implementations differ, either is right.
            if row(&ids) == golden["ids_slow"].to_string() {
                continue;
            }
            let ours = match field.split_once('_') {
                None if field == "ids" => row(&ids),
                Some(("ids" | "mask", length)) if length.parse::<usize>().is_ok() => {
                    let length = length.parse().unwrap_or_default();
                    let padded = tokenizer.encode(text, length)?;
                    if field.starts_with("ids") {
                        row(&padded.ids)
                    } else {
                        row(&padded.mask.iter().map(|mask| u32::from(*mask)).collect::<Vec<_>>())
                    }
                }
                Some(("decode", "skip_special")) => {
                    let ids: Option<Vec<u32>> = golden["ids"].as_array().and_then(|ids| {
                        ids.iter().map(|id| id.as_u64().map(|id| id as u32)).collect()
                    });
                    let ids = ids.ok_or_else(|| {
                        case.no_value("expected.json", &format!("{family}/ids"), "list of ids")
                    })?;
                    Value::from(tokenizer.decode(&ids)?).to_string()
                }
                _ => continue,
            };
            found.push(ours);
            expected.push(value.to_string());
        }
        if found.is_empty() {
            if field == "tokens" {
                out.leave_out(name, "the tokenizer gives ids, not the strings of its pieces");
            }
            continue;
        }
        out.push(name, Values::Rows(found), Values::Rows(expected), Rule::Exact);
    }
    Ok(())
}

/// Ids as JSON writes them.
fn row(ids: &[u32]) -> String {
    Value::from(ids.to_vec()).to_string()
}
