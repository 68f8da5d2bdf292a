//! What every source of training data looks like from the outside: a set of image-text pairs.

use image::RgbImage;

use crate::error::DataError;

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

    /// The cleaned captions of a pair (see [`crate::blip_caption`]), at least one, the canonical one
    /// first. Contrastive training draws one at random.
    fn captions(&self, index: usize) -> &[String];

    /// The captions that retrieval chooses among: each is a candidate of its own, and correct for this
    /// pair's picture, as the reference scores COCO's and Flickr30K's five captions a picture.
    ///
    /// All captions, unless a set's captions are parts of one another: then the canonical one alone.
    fn candidates(&self, index: usize) -> &[String] {
        self.captions(index)
    }

    /// What a language model is taught to say of the picture, one drawn at random each time, and what
    /// its answers are judged by, all of them.
    ///
    /// All captions, unless a set has captions that nobody would say, such as lists of keywords.
    fn references(&self, index: usize) -> &[String] {
        self.captions(index)
    }

    /// What the pair shows. Pairs of the same concept count as correct for each other's captions
    /// in retrieval. A set without such knowledge gives each distinct caption its own concept.
    fn concept(&self, index: usize) -> usize;

    /// Decodes or renders the picture.
    fn picture(&self, index: usize) -> Result<RgbImage, DataError>;

    /// Hash of what the picture shows: pairs of the same picture have the same hash, and it depends on
    /// nothing else in the set. Pairs are held out by it (see [`crate::split_held_out`]).
    ///
    /// A hash of the id, for a set whose ids stand for one picture each.
    fn content(&self, index: usize) -> [u8; 32] {
        blake3::hash(self.id(index).as_bytes()).into()
    }

    /// Hash of what the set holds (ids, captions, picture contents or versions): caches of
    /// anything computed from the set are keyed by it.
    fn fingerprint(&self) -> [u8; 32];
}
