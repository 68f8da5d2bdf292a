//! What is wrong with a model's config.

/// Where sizes end: far beyond any model there is, and low enough that a parameter of such sizes can be counted.
///
/// A checkpoint's config is input like any other. What it says is held against these before anything is made of that size.
pub mod limits {
    /// Layers of a stack.
    pub const DEPTH: usize = 1 << 10;
    /// Width of tokens, hidden layers, embeddings and codes; rank of an adapter.
    pub const WIDTH: usize = 1 << 17;
    /// Rows of a table: a vocabulary, a codebook.
    pub const ROWS: usize = 1 << 24;
    /// Places in a sequence: of a text, of queries, of an image's codes.
    pub const POSITIONS: usize = 1 << 20;
    /// Side of an image.
    pub const PIXELS: usize = 1 << 14;
}

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
    /// Fails unless `width` splits evenly into `heads`, and is within its limit.
    pub fn check_heads(part: &'static str, width: usize, heads: usize) -> Result<(), Self> {
        if heads == 0 || width == 0 || !width.is_multiple_of(heads) {
            return Err(Self::Heads { part, width, heads });
        }
        Self::check_size(part, "width", width, limits::WIDTH)
    }

    /// Fails unless a size is at least 1 and at most `most`, one of the [`limits`].
    pub fn check_size(
        part: &'static str,
        name: &'static str,
        value: usize,
        most: usize,
    ) -> Result<(), Self> {
        let sound = (1..=most).contains(&value);
        Self::check(sound, part, name, value, format!("between 1 and {most}"))
    }

    /// Fails unless a number is at least 0 and below 1: a dropout, a decay.
    pub fn check_share(part: &'static str, name: &'static str, value: f64) -> Result<(), Self> {
        let sound = (0.0..1.0).contains(&value);
        Self::check(sound, part, name, value, "at least 0 and below 1")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_between_1_and_its_limit() {
        let check = |size| ConfigError::check_size("part", "size", size, limits::DEPTH);
        check(1).unwrap();
        check(limits::DEPTH).unwrap();
        for size in [0, limits::DEPTH + 1, usize::MAX] {
            let error = check(size).unwrap_err().to_string();
            let expected = format!("part: size = {size}, but it must be between 1 and 1024");
            assert_eq!(error, expected);
        }
        ConfigError::check_heads("part", limits::WIDTH, 8).unwrap();
        let error = ConfigError::check_heads("part", 2 * limits::WIDTH, 8).unwrap_err();
        assert!(error.to_string().contains("width = 262144"), "{error}");
    }

    #[test]
    fn a_share_is_below_1_and_a_number() {
        let check = |share| ConfigError::check_share("part", "decay", share);
        check(0.0).unwrap();
        check(0.999).unwrap();
        for share in [-0.1, 1.0, f64::INFINITY, f64::NAN] {
            let error = check(share).unwrap_err().to_string();
            assert!(error.contains("decay = "), "{error}");
        }
    }
}
