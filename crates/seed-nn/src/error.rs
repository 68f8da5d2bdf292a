//! What is wrong with a model's config.

/// A config that describes no possible model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The width does not split evenly into heads.
    #[error("{part}: width {width} is not divisible by {heads} heads")]
    Heads {
        /// Which part of the model.
        part: &'static str,
        /// Its width.
        width: usize,
        /// Its number of heads.
        heads: usize,
    },
    /// The image does not split evenly into patches.
    #[error("{part}: image size {image} is not divisible by patch size {patch}")]
    Patches {
        /// Which part of the model.
        part: &'static str,
        /// Side of the image in pixels.
        image: usize,
        /// Side of a patch in pixels.
        patch: usize,
    },
    /// A number is outside of what makes sense.
    #[error("{part}: {name} = {value}, but it must be {rule}")]
    Range {
        /// Which part of the model.
        part: &'static str,
        /// The field.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        rule: String,
    },
}

impl ConfigError {
    /// Fails unless `width` splits evenly into `heads`.
    pub fn check_heads(part: &'static str, width: usize, heads: usize) -> Result<(), Self> {
        if heads > 0 && width > 0 && width.is_multiple_of(heads) {
            Ok(())
        } else {
            Err(Self::Heads { part, width, heads })
        }
    }

    /// Fails unless `holds`, saying which `rule` the field breaks.
    pub fn check(
        holds: bool,
        part: &'static str,
        name: &'static str,
        value: impl std::fmt::Display,
        rule: impl Into<String>,
    ) -> Result<(), Self> {
        if holds {
            Ok(())
        } else {
            Err(Self::Range {
                part,
                name,
                value: value.to_string(),
                rule: rule.into(),
            })
        }
    }
}
