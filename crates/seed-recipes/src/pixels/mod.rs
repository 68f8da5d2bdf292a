//! From codes to pixels: the generation embeddings of a tokenizer condition a diffusion model, which is frozen (SEED §2.2.2).
//!
//! - paper: SEED, <https://arxiv.org/abs/2307.08041>, §2.2.2, for the form of text; SEED-LLaMA,
//!   <https://arxiv.org/abs/2310.01218>, for that of an image
//! - original code: `pipeline_stable_unclip_img2img.py` of the SEED repository

mod diffusion;
mod error;
mod painter;
mod prompts;
mod settings;
mod sheet;

pub use diffusion::DiffusionModel;
pub use error::PixelError;
pub use painter::Painter;
pub use prompts::Prompts;
pub use settings::{Form, PixelSettings};
pub use sheet::ContactSheet;
