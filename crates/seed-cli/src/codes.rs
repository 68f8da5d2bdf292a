//! Codes given by hand, or in a file that this program wrote.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use serde_json::Value;

/// Most bytes of a file of codes: a million pictures take less.
const MOST_BYTES: u64 = 256 << 20;

/// The codes of one image, and where they stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// The picture that they are of, or the caption, if that is said.
    pub(crate) name: Option<String>,
    /// The codes, not yet held against any tokenizer.
    pub(crate) codes: Vec<i64>,
    /// How errors name the place.
    pub(crate) place: String,
}

/// Codes as numbers between spaces, commas or brackets.
pub(crate) fn parse(text: &str) -> Result<Vec<i64>, String> {
    let is_between = |sign: char| sign.is_whitespace() || matches!(sign, ',' | '[' | ']');
    let words = text.split(is_between).filter(|word| !word.is_empty());
    words
        .map(|word| {
            word.parse()
                .map_err(|_| format!("`{word}` is no code: codes are whole numbers"))
        })
        .collect()
}

/// The rows of a file as `seed tokenize` writes them in each of its formats but safetensors, and `seed draw --codes`; or a row of
/// numbers a line. `-` is stdin.
pub(crate) fn read(path: &Path) -> Result<Vec<Row>, String> {
    let name = path.display();
    let from_stdin = path.as_os_str() == "-";
    let opened: io::Result<Box<dyn Read>> = if from_stdin {
        Ok(Box::new(io::stdin().lock()))
    } else {
        File::open(path).map(|file| Box::new(file) as Box<dyn Read>)
    };
    let mut bytes = Vec::new();
    opened
        .and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("{name}: {error}"))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format!(
            "{name}: more than {MOST_BYTES} bytes are no file of codes"
        ));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| format!("{name}: no text; codes are read from text, JSON and JSON lines"))?;
    let rows = rows(&text, &name.to_string())?;
    if rows.is_empty() {
        return Err(format!("{name}: no codes"));
    }
    Ok(rows)
}

fn rows(text: &str, file: &str) -> Result<Vec<Row>, String> {
    // The format `json` is one array of objects.
    if let Ok(Value::Array(items)) = serde_json::from_str(text)
        && items.iter().all(Value::is_object)
    {
        let items = items.iter().enumerate();
        return items
            .map(|(index, item)| of_object(item, format!("{file}: entry {}", index + 1)))
            .collect();
    }
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| of_line(line, format!("{file}:{}", index + 1)))
        .collect()
}

fn of_line(line: &str, place: String) -> Result<Row, String> {
    if line.trim_start().starts_with('{') {
        let value = serde_json::from_str(line).map_err(|error| format!("{place}: {error}"))?;
        return of_object(&value, place);
    }
    // Names may hold tabs, codes do not.
    let (name, codes) = match line.rsplit_once('\t') {
        Some((name, codes)) if parse(name).is_err() => (Some(name.to_owned()), codes),
        _ => (None, line),
    };
    match parse(codes) {
        Ok(codes) => Ok(Row { name, codes, place }),
        Err(reason) => Err(format!("{place}: {reason}")),
    }
}

fn of_object(value: &Value, place: String) -> Result<Row, String> {
    let codes = value["codes"].as_array();
    let codes = codes.and_then(|codes| codes.iter().map(Value::as_i64).collect());
    let Some(codes) = codes else {
        return Err(format!("{place}: `codes` is no list of whole numbers"));
    };
    let name = ["image", "caption"]
        .iter()
        .find_map(|key| value[*key].as_str());
    Ok(Row {
        name: name.map(str::to_owned),
        codes,
        place,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(Option<String>, Vec<i64>)> {
        let rows = rows(text, "file").unwrap();
        rows.into_iter().map(|row| (row.name, row.codes)).collect()
    }

    #[test]
    fn every_way_of_writing_codes_is_read() {
        let expected = vec![1, -2, 30];
        for text in ["1 -2 30", "1,-2,30", " [1, -2,30]\n", "1\t-2\t30"] {
            assert_eq!(parse(text).unwrap(), expected, "{text}");
            assert_eq!(found(text), [(None, expected.clone())], "{text}");
        }
        assert!(parse("1 2.5").unwrap_err().contains("2.5"));
        assert!(parse("apple").is_err());
        assert!(parse("").unwrap().is_empty());
        assert!(parse("99999999999999999999").is_err());
    }

    #[test]
    fn what_the_program_writes_is_read() {
        let named = |name: &str, codes: &[i64]| (Some(name.to_owned()), codes.to_vec());
        let expected = [named("a.png", &[1, 2]), named("b c.png", &[3, 4])];
        assert_eq!(found("a.png\t1 2\n\nb c.png\t3 4\n"), expected);
        let lines =
            "{\"image\":\"a.png\",\"codes\":[1,2]}\n{\"image\":\"b c.png\",\"codes\":[3,4]}\n";
        assert_eq!(found(lines), expected);
        let array = r#"[
  {"image": "a.png", "codes": [1, 2]},
  {"image": "b c.png", "codes": [3, 4]}
]"#;
        assert_eq!(found(array), expected);
        let drawn = r#"{"caption":"red apple","codes":[7]}"#;
        assert_eq!(found(drawn), [named("red apple", &[7])]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let refusal = |text: &str| rows(text, "codes.jsonl").unwrap_err();
        let error = refusal("{\"codes\": [1]}\n{\"codes\": null}\n");
        assert!(error.starts_with("codes.jsonl:2: `codes`"), "{error}");
        assert!(refusal("{\"codes\": [1.5]}").contains("whole numbers"));
        assert!(refusal("1 2\n3 x\n").starts_with("codes.jsonl:2: `x`"));
        assert!(refusal("{").starts_with("codes.jsonl:1: "));
        let error = refusal(r#"[{"codes": [1]}, {"image": "b"}]"#);
        assert!(error.starts_with("codes.jsonl: entry 2"), "{error}");
        assert!(
            read(Path::new("no-such-file"))
                .unwrap_err()
                .contains("no-such-file")
        );
    }
}
