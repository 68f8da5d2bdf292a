//! Reading the `config.json` of diffusers: what is not computed here is refused by name.

use std::fmt::Display;

use serde_json::{Map, Value};

use crate::error::DiffusionError;

/// The fields of a `config.json`, each of which is taken once.
pub(crate) struct ConfigJson {
    class: &'static str,
    fields: Map<String, Value>,
}

impl ConfigJson {
    /// Reads the text; `class` is what `_class_name` must say where it is given.
    pub(crate) fn parse(text: &str, class: &'static str) -> Result<Self, DiffusionError> {
        let fields = serde_json::from_str(text).map_err(|error| refusal(class, error))?;
        let mut config = Self { class, fields };
        config.expect(&[("_class_name", class.into())])?;
        Ok(config)
    }

    /// A size, or diffusers' default where the field is absent.
    pub(crate) fn size(&mut self, field: &str, default: usize) -> Result<usize, DiffusionError> {
        self.take(field, default, "a whole number", size)
    }

    /// A number, or diffusers' default where the field is absent.
    pub(crate) fn number(&mut self, field: &str, default: f64) -> Result<f64, DiffusionError> {
        self.take(field, default, "a number", Value::as_f64)
    }

    /// A switch, off where the field is absent.
    pub(crate) fn switch(&mut self, field: &str) -> Result<bool, DiffusionError> {
        self.take(field, false, "true or false", Value::as_bool)
    }

    /// A list of sizes, or diffusers' default where the field is absent.
    pub(crate) fn sizes(
        &mut self,
        field: &str,
        default: &[usize],
    ) -> Result<Vec<usize>, DiffusionError> {
        let supported = "a list of whole numbers";
        self.take(field, default.to_vec(), supported, |value| {
            value.as_array()?.iter().map(size).collect()
        })
    }

    /// A size for each of `count` levels, given as a list or as one for all.
    pub(crate) fn size_of_each(
        &mut self,
        field: &str,
        default: usize,
        count: usize,
    ) -> Result<Vec<usize>, DiffusionError> {
        let supported = format!("a whole number, or a list of {count}");
        self.take(
            field,
            vec![default; count],
            &supported,
            |value| match value {
                Value::Array(items) if items.len() == count => items.iter().map(size).collect(),
                value => Some(vec![size(value)?; count]),
            },
        )
    }

    /// The names of `count` blocks, or diffusers' default where the field is absent.
    pub(crate) fn names(
        &mut self,
        field: &str,
        default: &[&str],
        count: usize,
    ) -> Result<Vec<String>, DiffusionError> {
        let default: Vec<String> = default.iter().map(|&name| name.to_owned()).collect();
        let name = |value: &Value| value.as_str().map(str::to_owned);
        let supported = format!("a list of {count} names, as many as `block_out_channels` has");
        let found: Vec<String> = self.take(field, default, &supported, |value| {
            value.as_array()?.iter().map(name).collect()
        })?;
        if found.len() == count {
            Ok(found)
        } else {
            let found = format!("{found:?}");
            Err(self.unsupported(field, found, supported))
        }
    }

    /// A name, or nothing where the field is absent or null.
    pub(crate) fn name(&mut self, field: &str) -> Result<Option<String>, DiffusionError> {
        self.take(field, None, "a name or null", |value| match value {
            Value::Null => Some(None),
            value => value.as_str().map(|name| Some(name.to_owned())),
        })
    }

    /// Fields that may say one thing only.
    pub(crate) fn expect(&mut self, fields: &[(&str, Value)]) -> Result<(), DiffusionError> {
        for (field, expected) in fields {
            let same = |found: &Value| match (found.as_f64(), expected.as_f64()) {
                (Some(found), Some(expected)) => found.total_cmp(&expected).is_eq(),
                _ => found == expected,
            };
            if let Some(found) = self.fields.remove(*field).filter(|found| !same(found)) {
                return Err(self.unsupported(field, found, expected));
            }
        }
        Ok(())
    }

    /// Leaves a field out of account, because it changes nothing that is computed here.
    pub(crate) fn ignore(&mut self, field: &str) {
        self.fields.remove(field);
    }

    /// Refuses what was not asked for, unless it is switched off or a note such as `_diffusers_version`: a field that is
    /// not known here may change what is computed.
    pub(crate) fn finish(self) -> Result<(), DiffusionError> {
        let is_off = |value: &Value| matches!(value, Value::Null | Value::Bool(false));
        let unknown =
            |(field, value): &(&String, &Value)| !field.starts_with('_') && !is_off(value);
        match self.fields.iter().find(unknown) {
            Some((field, found)) => Err(self.unsupported(field, found, "null or false")),
            None => Ok(()),
        }
    }

    /// The error for a field that says what is not `supported`.
    pub(crate) fn unsupported(
        &self,
        field: &str,
        found: impl Display,
        supported: impl Display,
    ) -> DiffusionError {
        let reason = format!("`{field}` is {found}; what is supported is {supported}");
        refusal(self.class, reason)
    }

    fn take<T>(
        &mut self,
        field: &str,
        default: T,
        supported: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<T, DiffusionError> {
        match self.fields.remove(field) {
            Some(found) => read(&found).ok_or_else(|| self.unsupported(field, found, supported)),
            None => Ok(default),
        }
    }
}

/// A `config.json` of a class that cannot be read, or that asks for what is not computed here.
fn refusal(class: &str, reason: impl ToString) -> DiffusionError {
    DiffusionError::Config {
        part: format!("config.json of {class}"),
        reason: reason.to_string(),
    }
}

fn size(value: &Value) -> Option<usize> {
    value.as_u64()?.try_into().ok()
}
