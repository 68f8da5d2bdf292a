//! Models that are used as they are, and their outputs on disk.

mod identity;
mod latent_rows;
mod parts;
mod rows;
mod text_rows;

pub use identity::{checkpoint_identity, module_identity};
pub use parts::{FrozenParts, FrozenText, FrozenTower, ImageEmbedding};
pub use rows::{FrozenCache, FrozenRows, Views};
pub(crate) use rows::{bytes_of, hex};
pub use text_rows::TextRows;
