//! What every source of training data looks like from the outside: a set of image-text pairs.

use image::RgbImage;

use crate::DataError;

/// A set of image-text pairs, read by index.
///
/// The embedded corpus and a folder of the user's own pictures are both of this form, so nothing
/// downstream (loader, caches, training, evaluation) knows which one it works on.
pub trait PairSet: Send + Sync {
    /// Number of pairs.
    fn len(&self) -> usize;

    /// True if the set holds no pair.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A name that is unique in the set and stable between runs, such as `openmoji/1F431` or a
    /// relative path.
    fn id(&self, index: usize) -> &str;

    /// The cleaned captions of a pair (see [`crate::blip_caption`]), at least one.
    ///
    /// The first one is canonical and serves evaluation; training draws one at random.
    fn captions(&self, index: usize) -> &[String];

    /// What the pair shows. Pairs of the same concept count as correct for each other's captions
    /// in retrieval. A set without such knowledge gives each distinct caption its own concept.
    fn concept(&self, index: usize) -> usize;

    /// Decodes or renders the picture.
    fn picture(&self, index: usize) -> Result<RgbImage, DataError>;

    /// Hash of what the set holds (ids, captions, picture contents or versions): caches of
    /// anything computed from the set are keyed by it.
    fn fingerprint(&self) -> [u8; 32];
}
