//! Models of the Hugging Face Hub, out of its cache.

use std::{fs, path::Path};

use seed_diffusion::{Choices, DiffusionError, PublishedDiffusion};
use seed_weights::hub::Hub;
use tempfile::TempDir;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A cache with these files of one repository, from the fixture or with another content.
fn cache(files: &[(&str, &str)]) -> (TempDir, Hub) {
    let cache = tempfile::tempdir().unwrap();
    let folder = cache.path().join("models--seed--diffusion");
    fs::create_dir_all(folder.join("refs")).unwrap();
    fs::write(folder.join("refs/main"), COMMIT).unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
    for (name, from) in files {
        let path = folder.join("snapshots").join(COMMIT).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let from = fixture.join(from);
        if from.is_file() {
            fs::copy(from, path).unwrap();
        } else {
            fs::write(path, r#"{"_class_name": "StableDiffusionPipeline"}"#).unwrap();
        }
    }
    let hub = Hub::new(cache.path()).with_offline(true);
    (cache, hub)
}

fn open(hub: &Hub, repo: &str) -> Result<PublishedDiffusion, DiffusionError> {
    PublishedDiffusion::fetch(hub, &repo.parse()?, Choices::default())
}

const OPT: &str = "08_opt/prenorm/model.safetensors";
const UNET: &str = "11_stable_diffusion/unet/diffusion_pytorch_model.safetensors";
const VAE: &str = "11_stable_diffusion/vae/diffusion_pytorch_model.safetensors";

#[test]
fn a_folder_of_diffusers_comes_before_a_file_beside_it() {
    let (_cache, hub) = cache(&[
        ("model_index.json", ""),
        (
            "scheduler/scheduler_config.json",
            "11_stable_diffusion/scheduler_ddim.json",
        ),
        ("unet/config.json", "11_stable_diffusion/unet/config.json"),
        ("unet/diffusion_pytorch_model.fp16.safetensors", UNET),
        ("vae/config.json", "11_stable_diffusion/vae/config.json"),
        ("vae/diffusion_pytorch_model.safetensors", VAE),
        ("whole.safetensors", OPT),
    ]);
    let published = open(&hub, "hf:seed/diffusion").unwrap();
    assert!(matches!(published, PublishedDiffusion::Folder(_)));
    published.load(&seed_device::test_device()).unwrap();
    // The file beside it, which is a language model's, if it is named.
    let error = open(&hub, "hf:seed/diffusion/whole.safetensors").unwrap_err();
    assert!(
        matches!(error, DiffusionError::NotStableDiffusion { .. }),
        "{error}"
    );
}

#[test]
fn a_repository_of_one_file_is_that_file() {
    let (_cache, hub) = cache(&[("sd.ckpt", OPT)]);
    let error = open(&hub, "hf:seed/diffusion").unwrap_err();
    assert!(error.to_string().contains("sd.ckpt"), "{error}");
    assert!(
        matches!(error, DiffusionError::NotStableDiffusion { .. }),
        "{error}"
    );
}

#[test]
fn what_cannot_be_fetched_says_why() {
    let (_cache, hub) = cache(&[("a.ckpt", OPT), ("b.ckpt", OPT)]);
    for (repo, word) in [
        ("hf:seed/diffusion", "b.ckpt"),
        ("hf:seed/other", "not in the cache"),
        ("hf:seed", "hf:OWNER/NAME"),
    ] {
        let error = open(&hub, repo).unwrap_err();
        assert!(matches!(error, DiffusionError::Hub(_)), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
}
