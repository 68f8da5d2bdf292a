//! The golden numbers of `tests/fixtures/11_stable_diffusion`.

use std::{fs, path::PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use seed_diffusion::{
    AutoencoderKl, AutoencoderKlConfig, Unet, UnetConfig, UnetStates, autoencoder_kl_keys,
    unet_keys,
};
use seed_weights::{Checkpoint, load};

/// The weights' file in each model's folder.
pub(crate) const WEIGHTS: &str = "diffusion_pytorch_model";

/// Tolerance of the UNet's output, by the fixture's table.
pub(crate) const SAMPLE: f32 = 5e-5;

/// A file of the fixture.
pub(crate) fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/11_stable_diffusion")
        .join(file)
}

/// A text of the fixture.
pub(crate) fn text(file: &str) -> String {
    fs::read_to_string(path(file)).unwrap()
}

/// Tensors of the fixture, by the stem of their file.
pub(crate) fn checkpoint(stem: &str) -> Checkpoint {
    Checkpoint::open(path(&format!("{stem}.safetensors"))).unwrap()
}

/// A file beside these tests (`tests/fixtures/models.py`).
pub(crate) fn beside(stem: &str) -> Checkpoint {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    Checkpoint::open(format!("{folder}/{stem}.safetensors")).unwrap()
}

/// A golden tensor.
pub(crate) fn data(stem: &str, key: &str) -> TensorData {
    checkpoint(stem).float(key).unwrap()
}

/// A golden tensor on a device.
pub(crate) fn tensor<const D: usize>(stem: &str, key: &str, device: &Device) -> Tensor<D> {
    Tensor::from_data(data(stem, key), device)
}

/// The time steps of the inputs.
pub(crate) fn timesteps(key: &str, device: &Device) -> Tensor<1> {
    let whole = checkpoint("inputs").int(key).unwrap();
    Tensor::from_data(whole.convert::<f32>(), device)
}

/// The config of a UNet's folder.
pub(crate) fn unet_config(folder: &str) -> UnetConfig {
    UnetConfig::from_diffusers(&text(&format!("{folder}/config.json"))).unwrap()
}

/// The UNet of a folder.
pub(crate) fn unet(folder: &str, device: &Device) -> Unet {
    let weights = checkpoint(&format!("{folder}/{WEIGHTS}"));
    unet_of(&unet_config(folder), &weights, device)
}

/// A UNet of other sizes, or of other weights.
pub(crate) fn unet_of(config: &UnetConfig, weights: &Checkpoint, device: &Device) -> Unet {
    let (unet, report) = load(config.init(device).unwrap(), weights, &unet_keys()).unwrap();
    assert_eq!(report.unused, [""; 0]);
    unet
}

/// The autoencoder, with the weights of one of its files.
pub(crate) fn autoencoder(stem: &str, device: &Device) -> AutoencoderKl {
    let config = AutoencoderKlConfig::from_diffusers(&text("vae/config.json")).unwrap();
    let weights = checkpoint(&format!("vae/{stem}"));
    let keys = autoencoder_kl_keys(&weights);
    let (model, report) = load(config.init(device).unwrap(), &weights, &keys).unwrap();
    assert_eq!(report.unused, [""; 0]);
    model
}

/// What the first UNet gives for the golden inputs.
pub(crate) fn states(unet: &Unet, device: &Device) -> UnetStates {
    unet.forward_with_states(
        tensor("inputs", "latents", device),
        timesteps("timesteps", device),
        tensor("inputs", "context", device),
        None,
    )
}

/// How far a UNet's output is from the golden one.
pub(crate) fn off(unet: &Unet, device: &Device) -> f32 {
    let sample = states(unet, device).sample.into_data();
    distance(&sample, &data("unet", "sample"))
}

/// The largest difference between two tensors of one shape.
#[track_caller]
pub(crate) fn distance(found: &TensorData, expected: &TensorData) -> f32 {
    assert_eq!(found.shape(), expected.shape());
    let [found, expected] = [found, expected].map(|data| data.try_to_vec::<f32>().unwrap());
    let pairs = found.iter().zip(&expected);
    pairs.fold(0.0, |most, (found, expected)| {
        let distance = (found - expected).abs();
        // NaN is as far as it gets.
        if distance <= most { most } else { distance }
    })
}

/// Fails unless a tensor is within the tabled tolerance of its golden numbers, and says how far it is.
#[track_caller]
pub(crate) fn assert_golden<const D: usize>(stem: &str, key: &str, found: Tensor<D>, atol: f32) {
    let distance = distance(&found.into_data(), &data(stem, key));
    println!("{stem}/{key}: {distance:.1e} of {atol:.0e}");
    assert!(distance <= atol, "{stem}/{key}: {distance} above {atol}");
}
