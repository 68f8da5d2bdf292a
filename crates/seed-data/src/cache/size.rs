//! Sizes in words, and how large the cache may be.

use bytesize::ByteSize;

use super::folder::Cache;
use crate::error::DataError;

/// Bounds the cache.
const LIMIT_VARIABLE: &str = "SEED_CACHE_LIMIT";

impl Cache {
    /// A bound for [`Cache::open`] that suits the corpus and its features: 8 GiB.
    pub const DEFAULT_BYTES: u64 = 8 << 30;

    /// The bound to open the cache with: `flag` (what the user said with `--cache-limit`), else
    /// `$SEED_CACHE_LIMIT` as [`parse_size`] reads it, else [`Cache::DEFAULT_BYTES`].
    ///
    /// # Errors
    /// [`DataError::CacheLimit`] if the variable is no size.
    pub fn limit_from(flag: Option<u64>) -> Result<u64, DataError> {
        if let Some(bytes) = flag {
            return Ok(bytes);
        }
        match std::env::var_os(LIMIT_VARIABLE).filter(|text| !text.is_empty()) {
            Some(text) => parse_size(&text.to_string_lossy())
                .map_err(|reason| DataError::CacheLimit { reason }),
            None => Ok(Self::DEFAULT_BYTES),
        }
    }
}

/// The number of bytes that a size in words means: `20GB` (10⁹ bytes each), `8GiB` (2³⁰ each), or
/// plain bytes; upper or lower case, the B may be left out.
///
/// # Errors
/// A sentence that says how to write a size.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let size = text.trim().parse::<ByteSize>();
    size.map(|size| size.as_u64()).map_err(|_| {
        format!("`{text}` is no size: write bytes, or a number with its unit, such as 20GB or 8GiB")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_in_words() {
        for (text, bytes) in [
            ("0", 0),
            ("1234", 1234),
            ("20GB", 20_000_000_000),
            ("8GiB", 8 << 30),
            (" 1.5 gib ", 3 << 29),
            ("512M", 512_000_000),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "GB", "-1", "20 GX", "1e9", "many", "８GB", "1 000"] {
            let reason = parse_size(text).expect_err("no size");
            assert!(reason.contains(text) && reason.contains("8GiB"), "{reason}");
        }
    }
}
