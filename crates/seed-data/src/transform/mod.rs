//! From a decoded picture to the model's input, as the reference prepares it: squash to a square
//! (evaluation) or crop at random (training), then normalise with CLIP's statistics.

mod augment;
mod evaluation;
mod normalize;
mod random;
mod resize;
mod training;
mod version;

pub use augment::{Affine, Augment, ColorJitter};
pub use evaluation::EvalTransform;
pub use normalize::{CLIP_MEAN, CLIP_STD, Normalize};
pub use resize::{Filter, Region, short_side_crop, squash, squash_region};
pub use training::TrainTransform;
pub use version::TRANSFORM_VERSION;
