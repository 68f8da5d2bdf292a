//! JSON files, and errors that name the place in them.

use std::{collections::HashMap, fs::File, io::BufReader, path::Path};

use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::EvalError;

/// Reads a JSON file; `wanted` is the file that it should be, for the errors.
pub(super) fn read<T: DeserializeOwned>(path: &Path, wanted: &'static str) -> Result<T, EvalError> {
    let io = |source| EvalError::Io {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(io)?;
    if file.metadata().map_err(io)?.len() == 0 {
        return Err(EvalError::EmptyFile {
            path: path.to_owned(),
            wanted,
        });
    }
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(file));
    let found = serde_path_to_error::deserialize(&mut json);
    let end = |found| json.end().map(|()| found).map_err(|end| (None, end));
    found
        .map_err(|error| (Some(error.path().to_string()), error.into_inner()))
        .and_then(end)
        .map_err(|(place, source)| {
            let path = path.to_owned();
            // At the top of the file there is no place to name.
            let place = place.filter(|place| place != ".");
            let place = place.map_or("the top".to_owned(), |place| format!("`{place}`"));
            match source.classify() {
                Category::Io => EvalError::Io {
                    path,
                    source: source.into(),
                },
                Category::Eof => EvalError::Truncated { path, place },
                Category::Syntax => EvalError::NotJson {
                    path,
                    place,
                    source,
                },
                Category::Data => EvalError::Field {
                    path,
                    place,
                    source,
                    wanted,
                },
            }
        })
}

/// Where the entry of each id is; no id may come twice.
pub(super) fn places(
    path: &Path,
    what: &'static str,
    ids: impl Iterator<Item = u64>,
) -> Result<HashMap<u64, usize>, EvalError> {
    let mut places = HashMap::new();
    for (place, id) in ids.enumerate() {
        if places.insert(id, place).is_some() {
            return Err(EvalError::Duplicate {
                path: path.to_owned(),
                what,
                id,
            });
        }
    }
    Ok(places)
}
