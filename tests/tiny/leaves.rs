//! Every leaf of some settings, changed one at a time.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

/// What becomes of settings of which one leaf was changed.
pub(crate) enum Changed<T> {
    /// They are read.
    Read(T),
    /// They are refused, in these words.
    Refused(String),
}

/// The dotted keys of all leaves. A value that is absent is a leaf, and so is a list.
pub(crate) fn leaves(settings: &impl Serialize) -> Vec<String> {
    let mut found = Vec::new();
    walk("", &serde_json::to_value(settings).unwrap(), &mut found);
    found
}

fn walk(key: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            for (name, value) in entries {
                let below = if key.is_empty() {
                    name.clone()
                } else {
                    format!("{key}.{name}")
                };
                walk(&below, value, found);
            }
        }
        _ => found.push(key.to_owned()),
    }
}

/// The settings with another value at `key`: what `others` says, else twice a number, the other truth value.
pub(crate) fn changed<T: Serialize + DeserializeOwned>(
    settings: &T,
    key: &str,
    others: &[(&str, Value)],
) -> Changed<T> {
    let mut value = serde_json::to_value(settings).unwrap();
    let mut place = &mut value;
    for part in key.split('.') {
        place = place.get_mut(part).unwrap();
    }
    let other = others.iter().find(|(suffix, _)| key.ends_with(suffix));
    let before = place.clone();
    *place = match (other, place.clone()) {
        (Some((_, other)), _) => other.clone(),
        (None, Value::Bool(value)) => json!(!value),
        (None, Value::Number(number)) => match (number.as_u64(), number.as_f64()) {
            (Some(0), _) => json!(1),
            (Some(number), _) => json!(2 * number),
            (_, Some(0.0)) => json!(0.5),
            (_, number) => json!(number.unwrap() * 0.5),
        },
        (None, other) => panic!("{key}: what else than {other} could it be?"),
    };
    assert_ne!(
        *place, before,
        "{key}: a change that is none proves nothing"
    );
    // As a file: numbers that were not finite are no JSON, and errors name the key as they do for users.
    let text = toml::to_string(&without_nulls(value)).unwrap();
    match toml::from_str(&text) {
        Ok(settings) => Changed::Read(settings),
        Err(error) => Changed::Refused(error.to_string()),
    }
}

/// TOML has no null: what is absent is left out.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(entries) => {
            let kept = entries.into_iter().filter(|(_, value)| !value.is_null());
            let kept = kept.map(|(name, value)| (name, without_nulls(value)));
            Value::Object(kept.collect::<Map<_, _>>())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

/// Whether a refusal names the key; that of one form among several names the whole.
pub(crate) fn names(refusal: &str, key: &str) -> bool {
    let whole = key.strip_suffix(".kind").unwrap_or(key);
    let last = whole.rsplit('.').next().unwrap();
    refusal.contains(last)
}
