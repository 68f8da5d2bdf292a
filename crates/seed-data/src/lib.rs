//! Image-text pairs: where they come from, how they become tensors' worth of numbers, and in
//! which order. This crate knows no model and no tensor library.

mod byte_bpe;
mod cache;
mod caption;
mod clip_bpe;
mod corpus;
mod english;
mod error;
mod folder;
mod loader;
mod pair;
mod picture;
mod prompts;
mod questions;
mod render;
pub mod split;
mod subset;
mod text;
mod transform;
mod wordpiece;

pub use byte_bpe::{byte_bpe_of_files, train_byte_bpe};
pub use cache::{Cache, CacheKey, RowWriter, Rows, parse_size, remove_partial_files};
pub use caption::{MAX_WORDS, blip_caption, blip_caption_with_prompt, blip_question};
pub use clip_bpe::clip_bpe_of_files;
pub use corpus::{Concept, ConceptFilter, Corpus, CorpusSet, Drawing, RenderedSet, Subset, Vendor};
pub use english::{english_text, training_text};
pub use error::{DataError, PictureError};
pub use folder::{FolderOptions, FolderSet, pictures_below};
pub use loader::{Batch, Batches, ItemContext, Loader, LoaderConfig, LoaderError, item_rng, order};
pub use pair::PairSet;
pub use picture::{Alpha, PictureOptions, decode_picture, read_picture};
pub use prompts::{OtherWords, OtherWordsKind, REMARKS, is_training_prompt, wordnet_nouns};
pub use questions::{Question, questions_about};
pub use render::{Style, SvgError, render_svg};
pub use split::Split;
pub use subset::{PairSubset, split_held_out};
pub use text::{SpecialIds, TextTokenizer, TokenBatch, TokenIds};
pub use transform::{
    Affine, Augment, CLIP_MEAN, CLIP_STD, ColorJitter, EvalTransform, Filter, Normalize, Region,
    TRANSFORM_VERSION, TrainTransform, short_side_crop, squash, squash_region,
};
pub use wordpiece::train_wordpiece;
