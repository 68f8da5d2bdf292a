//! Mistakes that others have made with these models: each must be seen.

use burn::tensor::Tensor;
use safetensors::tensor::{Dtype, TensorView};
use seed_device::test_device;
use seed_diffusion::ClassEmbedding;
use seed_weights::Checkpoint;

use crate::golden::{
    SAMPLE, WEIGHTS, assert_golden, checkpoint, data, distance, off, tensor, timesteps, unet,
    unet_config, unet_of,
};

/// A copy of a checkpoint with some of its tensors changed.
fn changed(from: &Checkpoint, change: impl Fn(&str, &mut Vec<f32>)) -> Checkpoint {
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = from
        .keys()
        .map(|key| {
            let data = from.float(key).unwrap();
            let mut values = data.try_to_vec::<f32>().unwrap();
            change(key, &mut values);
            let bytes = values.iter().flat_map(|value| value.to_le_bytes());
            (
                key.to_owned(),
                from.shape(key).unwrap().to_vec(),
                bytes.collect(),
            )
        })
        .collect();
    let views = tensors.iter().map(|(key, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap();
        (key, view)
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    Checkpoint::from_bytes("changed", bytes).unwrap()
}

/// GEGLU's product holds the value first. Were the gate first, the golden numbers would be missed by far.
#[test]
fn halves_of_geglu_are_not_the_same() {
    let device = test_device();
    let config = unet_config("unet");
    let weights = checkpoint(&format!("unet/{WEIGHTS}"));
    let same = unet_of(&config, &changed(&weights, |_, _| ()), &device);
    assert!(off(&same, &device) <= SAMPLE);
    let swapped = changed(&weights, |key, values| {
        if key.contains(".ff.net.0.proj.") {
            let half = values.len() / 2;
            values.rotate_left(half);
        }
    });
    let off = off(&unet_of(&config, &swapped, &device), &device);
    assert!(off > 100.0 * SAMPLE, "{off}");
}

/// `attention_head_dim` is the number of heads. Read as the width of one, the golden numbers are missed.
#[test]
fn heads_are_counted_not_measured() {
    let device = test_device();
    let weights = checkpoint(&format!("unet/{WEIGHTS}"));
    let mut config = unet_config("unet");
    for level in &mut config.levels {
        assert_eq!(level.heads, 2);
        level.heads = level.channels / 2;
    }
    let off = off(&unet_of(&config, &weights, &device), &device);
    assert!(off > 100.0 * SAMPLE, "{off}");
}

/// One time step for all pictures is the same as one for each.
#[test]
fn a_time_step_may_stand_for_all() {
    let device = test_device();
    let unet = unet("unet", &device);
    let forward = |timesteps: &[f32]| {
        unet.forward(
            tensor("inputs", "latents", &device),
            Tensor::from_floats(timesteps, &device),
            tensor("inputs", "context", &device),
            None,
        )
    };
    let off = distance(
        &forward(&[500.0]).into_data(),
        &forward(&[500.0, 500.0]).into_data(),
    );
    assert!(off < 1e-5, "{off}");
}

#[test]
#[should_panic(expected = "width of the class labels")]
fn class_labels_are_not_left_out() {
    let device = test_device();
    let context: Tensor<3> = tensor("inputs", "unclip_context", &device);
    unet("unclip_unet", &device).forward(
        tensor("inputs", "unclip_latents", &device),
        timesteps("unclip_timestep", &device),
        context.expand([2, 5, 12]),
        None,
    );
}

/// An embedding that is given as it is, is added to that of the time.
#[test]
fn a_class_label_may_be_an_embedding_already() {
    let device = test_device();
    let mut config = unet_config("unet");
    config.class_embedding = Some(ClassEmbedding::Identity);
    let weights = checkpoint(&format!("unet/{WEIGHTS}"));
    let unet = unet_of(&config, &weights, &device);
    let forward = |label: Tensor<2>| {
        unet.forward(
            tensor("inputs", "latents", &device),
            timesteps("timesteps", &device),
            tensor("inputs", "context", &device),
            Some(label),
        )
    };
    let shape = [2, config.class_width().unwrap()];
    let sample = forward(Tensor::zeros(shape, &device));
    assert_golden("unet", "sample", sample, SAMPLE);
    let other = forward(Tensor::ones(shape, &device)).into_data();
    assert!(distance(&other, &data("unet", "sample")) > 100.0 * SAMPLE);
}
