//! Folders as diffusers saves them.

use std::{fs, path::Path};

use burn::tensor::Tensor;
use seed_device::test_device;
use seed_diffusion::{Condition, DiffusersFolder, Drawing, Guidance};
use seed_weights::Checkpoint;
use tempfile::TempDir;

const FIXTURE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../tests/fixtures/11_stable_diffusion"
);

/// A folder of the fixture's parts, with that UNet.
fn folder(unet: &str, class: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let copy = |from: &str, to: &str| {
        let to = folder.path().join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(Path::new(FIXTURE).join(from), to).unwrap();
    };
    for (from, to) in [(unet, "unet"), ("vae", "vae")] {
        for file in ["config.json", "diffusion_pytorch_model.safetensors"] {
            copy(&format!("{from}/{file}"), &format!("{to}/{file}"));
        }
    }
    copy("scheduler_ddim.json", "scheduler/scheduler_config.json");
    copy(
        "unclip_normalizer.safetensors",
        "image_normalizer/diffusion_pytorch_model.safetensors",
    );
    let index =
        format!(r#"{{"_class_name": "{class}", "unet": ["diffusers", "UNet2DConditionModel"]}}"#);
    fs::write(folder.path().join("model_index.json"), index).unwrap();
    folder
}

fn refusal(folder: &TempDir) -> String {
    let device = test_device();
    let opened = DiffusersFolder::open(folder.path()).and_then(|opened| opened.load(&device));
    opened.expect_err("a refusal").to_string()
}

#[test]
fn a_folder_draws_what_its_parts_draw() {
    let device = test_device();
    let folder = folder("unet", "StableDiffusionPipeline");
    let opened = DiffusersFolder::open(folder.path()).unwrap();
    assert!(opened.image_normalizer(&device).unwrap().is_none());
    let model = opened.load(&device).unwrap();
    let file = |stem: &str| Checkpoint::open(format!("{FIXTURE}/{stem}.safetensors")).unwrap();
    let (inputs, golden) = (file("inputs"), file("context_to_image_ddim"));
    let context: Tensor<3> = Tensor::from_data(inputs.float("seed_context").unwrap(), &device);
    let drawing = Drawing {
        condition: Condition::context(context.clone()),
        negative: Condition::context(context),
        guidance: Guidance::new(1.0).unwrap(),
        scheduler: opened.scheduler.init(5).unwrap(),
        start: Tensor::from_data(inputs.float("start_latents").unwrap(), &device),
    };
    let latents = model.draw(&drawing, |_| true).unwrap().unwrap();
    // Of the golden run's shape; its numbers, which are guided, are the conformance kit's.
    assert_eq!(latents.dims()[..], golden.shape("latents").unwrap()[1..]);
}

#[test]
fn unclip_brings_its_normaliser() {
    let device = test_device();
    let folder = folder("unclip_unet", "StableUnCLIPImg2ImgPipeline");
    let opened = DiffusersFolder::open(folder.path()).unwrap();
    let normalizer = opened.image_normalizer(&device).unwrap().unwrap();
    assert_eq!(opened.unet.class_width(), Some(2 * normalizer.width()));
    fs::remove_dir_all(folder.path().join("image_normalizer")).unwrap();
    let error = opened.image_normalizer(&device).unwrap_err().to_string();
    assert!(error.contains("image_normalizer"), "{error}");
}

#[test]
fn half_precision_files_are_found() {
    let folder = folder("unet", "StableDiffusionPipeline");
    let of = |file: &str| folder.path().join("unet").join(file);
    fs::rename(
        of("diffusion_pytorch_model.safetensors"),
        of("diffusion_pytorch_model.fp16.safetensors"),
    )
    .unwrap();
    let opened = DiffusersFolder::open(folder.path()).unwrap();
    opened.load(&test_device()).unwrap();
}

#[test]
fn what_is_wrong_is_named_with_its_file() {
    let other = folder("unet", "FluxPipeline");
    let error = refusal(&other);
    assert!(
        error.contains("model_index.json") && error.contains("FluxPipeline"),
        "{error}"
    );

    let missing = folder("unet", "StableDiffusionPipeline");
    fs::remove_file(missing.path().join("vae/config.json")).unwrap();
    assert!(refusal(&missing).contains("vae"), "{}", refusal(&missing));

    let no_weights = folder("unet", "StableDiffusionPipeline");
    fs::remove_file(
        no_weights
            .path()
            .join("unet/diffusion_pytorch_model.safetensors"),
    )
    .unwrap();
    let error = refusal(&no_weights);
    assert!(
        error.contains("no weights") && error.contains("unet"),
        "{error}"
    );

    let mixed = folder("unet", "StableDiffusionPipeline");
    fs::copy(
        Path::new(FIXTURE).join("unclip_unet/config.json"),
        mixed.path().join("unet/config.json"),
    )
    .unwrap();
    assert!(refusal(&mixed).contains("missing"), "{}", refusal(&mixed));

    let broken = folder("unet", "StableDiffusionPipeline");
    fs::write(broken.path().join("model_index.json"), "{").unwrap();
    assert!(refusal(&broken).contains("model_index.json"));
    fs::remove_dir_all(broken.path().join("scheduler")).unwrap();
    fs::write(
        broken.path().join("model_index.json"),
        r#"{"_class_name": "StableDiffusionPipeline"}"#,
    )
    .unwrap();
    assert!(refusal(&broken).contains("scheduler"));
}
