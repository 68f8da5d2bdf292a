//! NaN in JSON, which cannot write it: it becomes `null`, and comes back from it.

use serde::{Deserialize, Deserializer};

/// A number, NaN for `null`.
pub(crate) fn null_as_nan<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + From<f32>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or(f32::NAN.into()))
}

/// Numbers, NaN for each `null`.
pub(crate) fn nulls_as_nan<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<f64>, D::Error> {
    let values = Vec::<Option<f64>>::deserialize(deserializer)?;
    let or_nan = |value: Option<f64>| value.unwrap_or(f64::NAN);
    Ok(values.into_iter().map(or_nan).collect())
}
