//! Where each parameter is in published files.

mod compvis;
mod diffusers;

pub(crate) use compvis::{AUTOENCODER, AVERAGED_UNET, UNET, averaged_key};
pub use compvis::{compvis_autoencoder_kl_keys, compvis_averaged_unet_keys, compvis_unet_keys};
pub(crate) use diffusers::saved_autoencoder_kl_keys;
pub use diffusers::{autoencoder_kl_keys, unet_keys};
