//! The `config.json` of a tower of CLIP, as transformers writes it.

use seed_nn::{Activation, ConfigError};
use serde_json::{Map, Value, json};

/// Why a published config makes no encoder.
#[derive(Debug, thiserror::Error)]
pub enum EncoderConfigError {
    /// It cannot be read, is of another model, or says what is not computed here.
    #[error("config.json of CLIP: {reason}")]
    Published {
        /// What is wrong.
        reason: String,
    },
    /// Sizes that do not fit together.
    #[error(transparent)]
    Sizes(#[from] ConfigError),
}

/// The fields of one tower.
pub(crate) struct ConfigJson {
    tower: Map<String, Value>,
    /// The fields around them, where the config is of both towers.
    pair: Map<String, Value>,
}

impl ConfigJson {
    /// Reads the text of a tower of that `model_type`, or of the pair with the tower's fields below `nested`.
    pub(crate) fn parse(
        text: &str,
        model_type: &str,
        nested: &str,
    ) -> Result<Self, EncoderConfigError> {
        let mut fields: Map<String, Value> = serde_json::from_str(text).map_err(refused)?;
        let kind = fields.get("model_type").and_then(Value::as_str);
        if kind == Some("clip") {
            return match fields.remove(nested) {
                Some(Value::Object(tower)) => Ok(Self {
                    tower,
                    pair: fields,
                }),
                _ => Err(refused(format!(
                    "`model_type` is clip, and there is no `{nested}`"
                ))),
            };
        }
        if kind != Some(model_type) {
            let kind = kind.unwrap_or("absent");
            let reason = format!("`model_type` is {kind}; read are clip and {model_type}");
            return Err(refused(reason));
        }
        Ok(Self {
            tower: fields,
            pair: Map::new(),
        })
    }

    /// A size, or transformers' default where the field is absent.
    pub(crate) fn size(&self, field: &str, default: usize) -> Result<usize, EncoderConfigError> {
        size(field, self.tower.get(field), default)
    }

    /// A size that the pair says for both towers, if the config is of both.
    pub(crate) fn shared_size(
        &self,
        field: &str,
        default: usize,
    ) -> Result<usize, EncoderConfigError> {
        size(
            field,
            self.pair.get(field).or(self.tower.get(field)),
            default,
        )
    }

    /// The non-linearity. Norms have one epsilon here, which is looked at too.
    pub(crate) fn activation(&self) -> Result<Activation, EncoderConfigError> {
        let epsilon = self.tower.get("layer_norm_eps");
        if epsilon.is_some_and(|epsilon| *epsilon != json!(1e-5)) {
            return Err(unsupported("layer_norm_eps", epsilon, "1e-5"));
        }
        let name = self.tower.get("hidden_act");
        match name.map(Value::as_str) {
            None | Some(Some("quick_gelu")) => Ok(Activation::QuickGelu),
            Some(Some("gelu")) => Ok(Activation::Gelu),
            Some(_) => Err(unsupported("hidden_act", name, "gelu or quick_gelu")),
        }
    }

    /// Refuses a field that says something else than what is computed here, which is its default.
    pub(crate) fn expect(&self, field: &str, expected: usize) -> Result<(), EncoderConfigError> {
        if self.size(field, expected)? == expected {
            return Ok(());
        }
        let found = self.tower.get(field);
        Err(unsupported(field, found, &expected.to_string()))
    }
}

fn size(field: &str, found: Option<&Value>, default: usize) -> Result<usize, EncoderConfigError> {
    let Some(value) = found else {
        return Ok(default);
    };
    let size = value.as_u64().and_then(|size| size.try_into().ok());
    size.ok_or_else(|| unsupported(field, found, "a whole number"))
}

fn unsupported(field: &str, found: Option<&Value>, supported: &str) -> EncoderConfigError {
    let found = found.map_or("absent".to_owned(), Value::to_string);
    refused(format!(
        "`{field}` is {found}; what is supported is {supported}"
    ))
}

fn refused(reason: impl ToString) -> EncoderConfigError {
    EncoderConfigError::Published {
        reason: reason.to_string(),
    }
}
