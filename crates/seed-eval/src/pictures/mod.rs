//! How pictures are judged that came out of a model: rebuilt by an autoencoder, or drawn.
//!
//! - [`Picture`]: the pixels of one; [`PixelScores`]: PSNR, SSIM and sharpness of rebuilt pictures;
//! - [`paired_cosine`]: what SEED's Table 2 calls CLIP similarity; [`Recognition`]: how many pictures are found by it;
//! - [`Discrepancy`]: how far the drawn pictures as a whole are from the real ones (KID and CMMD), and how far real ones are
//!   from each other;
//! - [`RidgeJudge`]: names what a picture shows from features of an encoder that had no part in the drawing;
//! - [`Estimate`]: a figure with its interval, by a [`Bootstrap`].
//!
//! No single one of these can be trusted: a model that copies the nearest training picture has a high similarity, one
//! that draws the mean picture a high PSNR. Two encoders that know nothing of each other, and recognition beside
//! similarity, are what makes that visible.

mod bootstrap;
mod discrepancy;
mod judge;
mod picture;
mod pixels;
mod recognition;
mod sharpness;
mod similarity;
mod ssim;

pub use bootstrap::{Bootstrap, Estimate};
pub use discrepancy::{CMMD_SIGMA, Discrepancy};
pub use judge::RidgeJudge;
pub use picture::Picture;
pub use pixels::{PixelScores, psnr, psnr_drawn};
pub use recognition::Recognition;
pub use sharpness::sharpness;
pub use similarity::{cosines, paired_cosine};
pub use ssim::ssim;
