//! The parts together: what a drawing depends on, and what is refused before anything is computed.

use std::{fs, path::PathBuf};

use burn::tensor::{Device, Tensor};
use seed_device::test_device;
use seed_diffusion::{
    AutoencoderKlConfig, Condition, DiffusionError, Drawing, Guidance, Noise, NoiseUse,
    SchedulerConfig, StableDiffusion, UnetConfig, autoencoder_kl_keys, unet_keys,
};
use seed_weights::{Checkpoint, load};

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/11_stable_diffusion")
        .join(file)
}

/// A tiny model of the published form.
fn model(device: &Device, folder: &str) -> StableDiffusion {
    let text = |file: &str| fs::read_to_string(path(file)).unwrap();
    let weights = |folder: &str| {
        let file = format!("{folder}/diffusion_pytorch_model.safetensors");
        Checkpoint::open(path(&file)).unwrap()
    };
    let config = UnetConfig::from_diffusers(&text(&format!("{folder}/config.json"))).unwrap();
    let unet = config.init(device).unwrap();
    let (unet, _) = load(unet, &weights(folder), &unet_keys()).unwrap();
    let config = AutoencoderKlConfig::from_diffusers(&text("vae/config.json")).unwrap();
    let weights = weights("vae");
    let keys = autoencoder_kl_keys(&weights);
    let (autoencoder, _) = load(config.init(device).unwrap(), &weights, &keys).unwrap();
    StableDiffusion { unet, autoencoder }
}

fn drawing(model: &StableDiffusion, batch: usize, device: &Device) -> Drawing {
    let width = model.unet.config().context_width;
    let context = |seed| Noise::new(seed).draw(NoiseUse::Embedding, [batch, 5, width], device);
    Drawing {
        condition: Condition::context(context(1)),
        negative: Condition::context(context(2).narrow(0, 0, 1)),
        guidance: Guidance::new(3.0).unwrap(),
        scheduler: SchedulerConfig::stable_diffusion().init(4).unwrap(),
        start: Noise::new(3).draw(NoiseUse::Latents, [batch, 4, 8, 8], device),
    }
}

fn latents(model: &StableDiffusion, drawing: &Drawing) -> Vec<f32> {
    let latents = model.draw(drawing, |_| true).unwrap().unwrap();
    latents.into_data().iter::<f32>().collect()
}

fn assert_close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(1.0f32, |most, x| most.max(x.abs()));
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() <= 1e-4 * largest,
            "{found} {expected}"
        );
    }
}

#[test]
fn a_picture_of_a_batch_is_that_picture_alone() {
    let device = test_device();
    let model = model(&device, "unet");
    let all = drawing(&model, 3, &device);
    let batch = latents(&model, &all);
    let size = batch.len() / 3;
    for picture in 0..3 {
        let alone = Drawing {
            condition: Condition::context(all.condition.context.clone().narrow(0, picture, 1)),
            start: all.start.clone().narrow(0, picture, 1),
            ..all.clone()
        };
        let expected = &batch[size * picture..size * (picture + 1)];
        assert_close(&latents(&model, &alone), expected);
    }
}

#[test]
fn without_guidance_the_negative_condition_is_not_looked_at() {
    let device = test_device();
    let model = model(&device, "unet");
    let mut drawing = drawing(&model, 2, &device);
    drawing.guidance = Guidance::new(1.0).unwrap();
    let expected = latents(&model, &drawing);
    drawing.negative = Condition::context(Tensor::zeros([7, 1, 1], &device));
    assert_eq!(latents(&model, &drawing), expected);
}

#[test]
fn pictures_are_between_0_and_1() {
    let device = test_device();
    let model = model(&device, "unet");
    let latents = Noise::new(4).draw(NoiseUse::Latents, [2, 4, 8, 8], &device);
    let pictures = model.pictures(latents.mul_scalar(5.0));
    assert_eq!(pictures.dims(), [2, 3, 16, 16]);
    let values = pictures.into_data();
    assert!(values.iter::<f32>().all(|x| (0.0..=1.0).contains(&x)));
}

#[test]
fn a_drawing_can_be_stopped() {
    let device = test_device();
    let model = model(&device, "unet");
    let mut calls = 0;
    let drawing = drawing(&model, 1, &device);
    let stopped = model.draw(&drawing, |step| {
        calls += 1;
        step.call < 1
    });
    assert!(stopped.unwrap().is_none());
    assert_eq!(calls, 2);
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let device = test_device();
    let (plain, unclip) = (model(&device, "unet"), model(&device, "unclip_unet"));
    let sound = drawing(&plain, 2, &device);
    let width = plain.unet.config().context_width;
    let zeros = |shape: [usize; 3]| Condition::context(Tensor::zeros(shape, &device));
    let refused = |model: &StableDiffusion, drawing: &Drawing| {
        let mut calls = 0;
        let error = model.draw(drawing, |_| {
            calls += 1;
            true
        });
        assert_eq!(calls, 0);
        match error {
            Err(DiffusionError::Shape { part, .. }) => part,
            other => panic!("{other:?}"),
        }
    };
    let with = |condition| Drawing {
        condition,
        ..sound.clone()
    };
    assert_eq!(
        refused(&plain, &with(zeros([2, 5, width + 1]))),
        "the condition"
    );
    assert_eq!(
        refused(&plain, &with(zeros([3, 5, width]))),
        "the condition"
    );
    let other_length = Drawing {
        negative: zeros([2, 6, width]),
        ..sound.clone()
    };
    assert_eq!(refused(&plain, &other_length), "the negative condition");
    let channels = Drawing {
        start: Tensor::zeros([2, 3, 8, 8], &device),
        ..sound.clone()
    };
    assert_eq!(refused(&plain, &channels), "the start's channels");
    let labels = sound
        .condition
        .clone()
        .with_class_labels(Tensor::zeros([2, 20], &device));
    assert_eq!(refused(&plain, &with(labels)), "class labels");
    assert_eq!(
        refused(&unclip, &drawing(&unclip, 2, &device)),
        "class labels"
    );
}
