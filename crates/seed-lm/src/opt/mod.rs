//! OPT, the language model that SEED teaches to read and write codes.

mod cache;
mod config;
mod layer;
mod layout;
mod model;

pub use cache::{KvCache, LayerCache};
pub use config::OptConfig;
pub use layer::{OptAttention, OptLayer};
pub use layout::Layout;
pub use model::{Opt, opt_keys};
