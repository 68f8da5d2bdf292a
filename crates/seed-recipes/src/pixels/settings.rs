//! How codes become pixels.

use std::{fmt, str::FromStr};

use seed_diffusion::Sampler;
use serde::{Deserialize, Serialize};

/// What a tokenizer's codes say to the diffusion model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// States of a text, which the UNet attends to: SEED v1.
    Text,
    /// One image embedding, as unCLIP's class label: SEED v2.
    Image,
}

impl Form {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Text, Self::Image];

    fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Image => "image",
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Form {
    type Err = String;

    /// # Errors
    ///
    /// Both names, for another name.
    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|form| form.name() == name);
        found.ok_or_else(|| format!("`{name}` is neither `text` nor `image`"))
    }
}

/// How codes become pixels. What is left open is the tokenizer's or the diffusion model's own way.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PixelSettings {
    /// What the codes say to the diffusion model; else by text if the tokenizer has a text head, else by image.
    pub form: Option<Form>,
    /// How many codes count, from the first: the pictures of a prefix show what it holds.
    pub prefix: Option<usize>,
    /// Steps of the scheduler.
    pub steps: Option<usize>,
    /// How strongly the codes are followed, 1 for as they are.
    pub guidance: Option<f64>,
    /// How a step leads to the next.
    pub sampler: Option<Sampler>,
    /// A text to lead away from; by itself the empty one.
    pub negative: String,
    /// How much noise image embeddings get: pictures vary more the higher it is.
    pub noise_level: usize,
    /// Seed of all noise.
    pub seed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_have_one_name_everywhere() {
        for form in Form::ALL {
            assert_eq!(form.to_string().parse::<Form>().unwrap(), form);
            let in_files = serde_json::to_value(form).unwrap();
            assert_eq!(in_files.as_str(), Some(form.name()));
        }
        assert!("pixels".parse::<Form>().unwrap_err().contains("image"));
    }

    #[test]
    fn files_of_settings_come_back() {
        let settings = PixelSettings {
            form: Some(Form::Image),
            sampler: Some(Sampler::DpmSolverPlusPlus),
            guidance: Some(2.5),
            ..PixelSettings::default()
        };
        let text = serde_json::to_string(&settings).unwrap();
        assert_eq!(
            serde_json::from_str::<PixelSettings>(&text).unwrap(),
            settings
        );
        assert!(serde_json::from_str::<PixelSettings>(r#"{"stepps": 3}"#).is_err());
    }
}
