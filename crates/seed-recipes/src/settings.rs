//! Settings as files: presets that ship, and what is laid over any settings.

use seed_data::Style;
use seed_train::ConfigError;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use toml::Table;

/// Settings that ship with the library, as the text of their file.
///
/// # Errors
///
/// [`ConfigError::Parse`]; tests read every preset.
pub(crate) fn preset<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|source| parse_error(name, source))
}

/// `settings` with the keys of a TOML text in the place of their own. Tables are joined key by key, but for those with a
/// `kind`, which are one of several forms and are replaced whole.
///
/// # Errors
///
/// [`ConfigError::Parse`] if the result is no such settings.
pub(crate) fn overlay<T: Serialize + DeserializeOwned>(
    settings: &T,
    name: &str,
    text: &str,
) -> Result<T, ConfigError> {
    let over: Table = preset(name, text)?;
    let written = toml::to_string(settings).map_err(|error| ConfigError::Invalid {
        key: name.to_owned(),
        value: "these settings".to_owned(),
        expected: format!("what TOML can hold ({error})"),
    })?;
    let mut joined: Table = preset(name, &written)?;
    join(&mut joined, over);
    joined
        .try_into()
        .map_err(|source| parse_error(name, source))
}

fn join(under: &mut Table, over: Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(toml::Value::Table(under)), toml::Value::Table(over))
                if !over.contains_key("kind") =>
            {
                join(under, over);
            }
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

/// Settings as JSON without some dotted keys, for the identity of what follows from the others.
pub(crate) fn without(settings: &impl Serialize, keys: &[&str]) -> Value {
    let mut value = serde_json::to_value(settings).unwrap_or_default();
    for key in keys {
        let (place, last) = key.rsplit_once('.').unwrap_or(("", key));
        let mut place = place.split('.').filter(|part| !part.is_empty());
        let table = place.try_fold(&mut value, |table, part| table.get_mut(part));
        if let Some(table) = table.and_then(Value::as_object_mut) {
            table.remove(last);
        }
    }
    value
}

/// Settings that are for one kind of pictures: how the corpus' are drawn, how one's own are split.
pub(crate) struct OfPictures<'a> {
    pub(crate) render_size: u32,
    pub(crate) styles: &'a [Style],
    pub(crate) split_seed: u64,
}

fn parse_error(name: &str, source: toml::de::Error) -> ConfigError {
    ConfigError::Parse {
        path: name.into(),
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_laid_over_replaces_key_by_key() {
        let under = json!({ "a": { "b": 1, "c": 2 }, "s": { "kind": "x", "y": 1 }, "d": 3 });
        let over = "d = 4\n[a]\nb = 9\n[s]\nkind = 'z'";
        let joined: Value = overlay(&under, "over", over).unwrap();
        let expected = json!({ "a": { "b": 9, "c": 2 }, "s": { "kind": "z" }, "d": 4 });
        assert_eq!(joined, expected);
    }

    #[test]
    fn keys_are_left_out_at_any_depth() {
        let settings = json!({ "a": { "b": 1, "c": 2 }, "d": 3 });
        let kept = without(&settings, &["a.c", "d", "a.x.y"]);
        assert_eq!(kept, json!({ "a": { "b": 1 } }));
    }
}
