//! A walk over the integers of a config, for the tests of each crate that has configs.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Sets each integer of a config to sizes that no model has, one at a time, and uses the config.
///
/// Within a second it must be refused with the key's name. It may work, too, if the size is 0, or if the key is one of those
/// named `free`, of which no size follows. Gives the number of integers.
pub(crate) fn each_integer_is_bounded<C, E>(
    config: &C,
    free: &[&str],
    mut used: impl FnMut(C) -> Result<(), E>,
) -> usize
where
    C: Serialize + DeserializeOwned,
    E: Display,
{
    let sound = serde_json::to_value(config).unwrap();
    let mut paths = Vec::new();
    integers(&sound, String::new(), &mut paths);
    for path in &paths {
        let is_key = |part: &&str| part.parse::<usize>().is_err();
        let key = path.rsplit('/').find(is_key).unwrap();
        for size in [0, 1_000_000_000, u64::MAX] {
            let mut value = sound.clone();
            *value.pointer_mut(path).unwrap() = size.into();
            let begun = Instant::now();
            let Ok(config) = serde_json::from_value(value) else {
                // An id of 32 bits.
                assert_eq!(size, u64::MAX, "{path}");
                continue;
            };
            let found = used(config);
            let took = begun.elapsed();
            assert!(took < Duration::from_secs(1), "{path} = {size}: {took:?}");
            match found {
                Ok(()) => assert!(size == 0 || free.contains(&key), "{path} = {size} is used"),
                Err(error) => {
                    let [text, key] =
                        [error.to_string(), key.to_owned()].map(|text| text.replace('_', " "));
                    assert!(text.contains(&key), "{path} = {size}: {text}");
                }
            }
        }
    }
    paths.len()
}

/// Where the integers are, as JSON pointers.
fn integers(value: &Value, path: String, found: &mut Vec<String>) {
    match value {
        Value::Number(number) if number.is_u64() => found.push(path),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                integers(item, format!("{path}/{index}"), found);
            }
        }
        Value::Object(fields) => {
            for (key, field) in fields {
                integers(field, format!("{path}/{key}"), found);
            }
        }
        _ => (),
    }
}
