//! Every key and shape of the published files, against the parameters of the presets.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use burn::{module::Module, tensor::DType};
use seed_device::test_device;
use seed_diffusion::{
    AutoencoderKlConfig, UnetConfig, autoencoder_kl_keys, compvis_autoencoder_kl_keys,
    compvis_averaged_unet_keys, compvis_unet_keys, unet_keys,
};
use seed_weights::{About, Checkpoint, KeyMap, load, parameter_count, parameters, save, values};

use crate::golden::{checkpoint, unet, unet_config};

/// Key and shape of every tensor of a release: one line a tensor, a tab between (`tests/keys/stable_diffusion.py`).
fn listing(name: &str) -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/keys");
    let text = fs::read_to_string(folder.join(name)).unwrap();
    text.lines()
        .map(|line| line.split_once('\t').expect("a key, a tab, a shape"))
        .map(|(key, shape)| (key.to_owned(), shape.to_owned()))
        .collect()
}

/// Key and shape of every parameter under the names of a map.
fn named<M: Module>(model: &M, keys: &KeyMap) -> BTreeMap<String, String> {
    let named = parameters(model)
        .into_iter()
        .map(|parameter| (keys.key(&parameter.path), format!("{:?}", parameter.shape)));
    named.collect()
}

/// What is listed as a 1×1 convolution is a linear layer here.
fn as_linear_layers(listing: BTreeMap<String, String>, count: usize) -> BTreeMap<String, String> {
    let mut found = 0;
    let linear = listing.into_iter().map(|(key, shape)| {
        let names = ["proj_in", "proj_out", "q", "k", "v"];
        let layer = key
            .strip_suffix(".weight")
            .and_then(|key| key.rsplit('.').next());
        let is_linear = layer.is_some_and(|layer| names.contains(&layer));
        match shape.strip_suffix(", 1, 1]").filter(|_| is_linear) {
            Some(matrix) => {
                found += 1;
                (key, format!("{matrix}]"))
            }
            None => (key, shape),
        }
    });
    let linear = linear.collect();
    assert_eq!(found, count);
    linear
}

/// The map of the autoencoder's file of this stem.
fn keys_of(stem: &str) -> KeyMap {
    autoencoder_kl_keys(&checkpoint(&format!("vae/{stem}")))
}

#[test]
fn the_unet_of_1_4_is_made_of_the_published_tensors() {
    let model = UnetConfig::sd_1_4().init(&test_device()).unwrap();
    let published = as_linear_layers(listing("sd-1.4-unet.txt"), 32);
    assert_eq!(named(&model, &unet_keys()), published);
    assert_eq!(parameter_count(&model), 859_520_964);
}

#[test]
fn the_unet_of_unclip_is_made_of_the_published_tensors() {
    let model = UnetConfig::sd_2_1_unclip().init(&test_device()).unwrap();
    let published = listing("sd-2.1-unclip-unet.txt");
    assert_eq!(named(&model, &unet_keys()), published);
    assert_eq!(parameter_count(&model), 870_173_124);
}

#[test]
fn the_autoencoder_is_made_of_the_published_tensors() {
    let model = AutoencoderKlConfig::sd().init(&test_device()).unwrap();
    let published = listing("sd-1.4-vae.txt");
    assert_eq!(
        named(&model, &keys_of("diffusion_pytorch_model")),
        published
    );
    assert_eq!(parameter_count(&model), 83_653_863);

    // The upload itself has the first names: each of them once, and nothing else renamed.
    let old = named(&model, &keys_of("old_attention_names"));
    let [new_only, old_only] = [(&published, &old), (&old, &published)].map(|(one, other)| {
        let only = one.keys().filter(|key| !other.contains_key(*key));
        only.cloned().collect::<BTreeSet<String>>()
    });
    assert_eq!((new_only.len(), old_only.len()), (16, 16));
    let renamed = [
        ("query", "to_q"),
        ("key", "to_k"),
        ("value", "to_v"),
        ("proj_attn", "to_out.0"),
    ];
    for key in old_only {
        let (stem, kind) = key.rsplit_once('.').unwrap();
        let (stem, name) = stem.rsplit_once('.').unwrap();
        let (_, new) = renamed.iter().find(|(old, _)| *old == name).unwrap();
        assert!(new_only.contains(&format!("{stem}.{new}.{kind}")), "{key}");
    }
}

/// All models of a `.ckpt` are in one file.
#[test]
fn names_of_compvis_are_those_of_its_file() {
    let device = test_device();
    let (unet, autoencoder) = (UnetConfig::sd_1_4(), AutoencoderKlConfig::sd());
    let model = unet.init(&device).unwrap();
    let mut found = named(&model, &compvis_unet_keys(&unet));
    let keys = compvis_autoencoder_kl_keys(&autoencoder);
    found.append(&mut named(&autoencoder.init(&device).unwrap(), &keys));
    assert_eq!(found, as_linear_layers(listing("sd-1.4-compvis.txt"), 40));

    let unclip = UnetConfig::sd_2_1_unclip();
    let model_of_unclip = unclip.init(&device).unwrap();
    let of_unclip = named(&model_of_unclip, &compvis_unet_keys(&unclip));
    assert_eq!(of_unclip, listing("sd-2.1-unclip-compvis.txt"));

    // Averaged weights have no dots in their names, and are never taken for the others.
    let averaged = named(&model, &compvis_averaged_unet_keys(&model));
    assert_eq!(averaged.len(), 686);
    for key in [
        "model_ema.diffusion_modelinput_blocks00weight",
        "model_ema.diffusion_modelmiddle_block1transformer_blocks0attn1to_out0bias",
        "model_ema.diffusion_modelout0bias",
    ] {
        assert!(averaged.contains_key(key), "{key}");
    }
    assert!(averaged.keys().all(|key| !found.contains_key(key)));
}

/// What is written under each set of names is read back, and no name is used twice.
#[test]
fn names_go_both_ways() {
    let device = test_device();
    let folder = tempfile::tempdir().unwrap();
    let config = unet_config("unclip_unet");
    let model = unet("unclip_unet", &device);
    let compvis = [
        compvis_unet_keys(&config),
        compvis_averaged_unet_keys(&model),
    ];
    for (index, keys) in compvis.iter().chain([&unet_keys()]).enumerate() {
        let path = folder.path().join(format!("unet-{index}.safetensors"));
        save(&model, &path, keys, DType::F32, About::default()).unwrap();
        let written = Checkpoint::open(&path).unwrap();
        let (again, report) = load(config.init(&device).unwrap(), &written, keys).unwrap();
        assert_eq!(report.unused, [""; 0]);
        let map = KeyMap::identity();
        let [found, expected] = [&again, &model].map(|model| values(model, &map));
        assert_eq!(found, expected);
    }
    let config = AutoencoderKlConfig {
        channels: vec![8, 8, 16],
        groups: 4,
        ..AutoencoderKlConfig::sd()
    };
    let keys = compvis_autoencoder_kl_keys(&config);
    let path = folder.path().join("vae.safetensors");
    let model = config.init(&device).unwrap();
    save(&model, &path, &keys, DType::F32, About::default()).unwrap();
    let written = Checkpoint::open(&path).unwrap();
    let (_, report) = load(config.init(&device).unwrap(), &written, &keys).unwrap();
    assert_eq!(report.unused, [""; 0]);
}
