//! Pictures within a page.

use std::io::Cursor;

use base64::{Engine, prelude::BASE64_STANDARD};
use image::{ImageFormat, RgbImage};
use serde::{Deserialize, Serialize};

use crate::error::EvalError;

/// A picture embedded as a `data:image/png;base64,` URI, so that a page needs nothing but itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Png(String);

impl Png {
    const START: &str = "data:image/png;base64,";

    /// Embeds a picture.
    ///
    /// # Errors
    /// [`EvalError::Png`] if it cannot be encoded, as when it has no pixels.
    pub fn new(picture: &RgbImage) -> Result<Self, EvalError> {
        let mut png = Cursor::new(Vec::new());
        picture
            .write_to(&mut png, ImageFormat::Png)
            .map_err(EvalError::Png)?;
        Ok(Self(format!(
            "{}{}",
            Self::START,
            BASE64_STANDARD.encode(png.into_inner())
        )))
    }

    /// The URI.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Png {
    type Error = EvalError;

    fn try_from(uri: String) -> Result<Self, EvalError> {
        if uri.starts_with(Self::START) {
            Ok(Self(uri))
        } else {
            Err(EvalError::NotEmbedded {
                start: uri.chars().take(Self::START.len()).collect(),
            })
        }
    }
}

impl From<Png> for String {
    fn from(png: Png) -> Self {
        png.0
    }
}
