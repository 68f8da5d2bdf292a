//! All models in one file, as CompVis and Stability published them; and which form a path is of.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use burn::tensor::{DType, Device, Tensor, TensorData};
use safetensors::{Dtype, tensor::TensorView};
use seed_device::test_device;
use seed_diffusion::{
    AutoencoderKlConfig, Choices, Condition, DiffusersFolder, DiffusionError, Drawing, Guidance,
    Noise, NoiseUse, Prediction, PublishedDiffusion, Sampler, SchedulerConfig, SingleFile,
    StableDiffusion, UnetConfig, Weights, compvis_autoencoder_kl_keys, compvis_averaged_unet_keys,
    compvis_unet_keys,
};
use seed_weights::{About, Checkpoint, convert, save};
use tempfile::TempDir;

fn fixture(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/11_stable_diffusion")
        .join(file)
}

/// The fixture as a folder of diffusers, with that UNet.
fn folder(unet: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let copy = |from: String, to: String| {
        let to = folder.path().join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(fixture(&from), to).unwrap();
    };
    for (from, to) in [(unet, "unet"), ("vae", "vae")] {
        for file in ["config.json", "diffusion_pytorch_model.safetensors"] {
            copy(format!("{from}/{file}"), format!("{to}/{file}"));
        }
    }
    let scheduler = "scheduler/scheduler_config.json".to_owned();
    copy("scheduler_ddim.json".to_owned(), scheduler);
    let index = r#"{"_class_name": "StableDiffusionPipeline"}"#;
    fs::write(folder.path().join("model_index.json"), index).unwrap();
    folder
}

/// A folder of diffusers as it is opened, and its model.
fn original(unet: &str, device: &Device) -> (DiffusersFolder, StableDiffusion) {
    let folder = folder(unet);
    let opened = DiffusersFolder::open(folder.path()).unwrap();
    let model = opened.load(device).unwrap();
    (opened, model)
}

/// Whether a UNet is written as it is, averaged, or both.
const PLAIN: &[Weights] = &[Weights::Plain];
const AVERAGED: &[Weights] = &[Weights::Averaged];

/// The model in one file, and with it tensors of other names.
fn write(model: &StableDiffusion, weights: &[Weights], more: Option<Checkpoint>, path: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let autoencoder = folder.path().join("autoencoder");
    let keys = compvis_autoencoder_kl_keys(model.autoencoder.config());
    save(
        &model.autoencoder,
        &autoencoder,
        &keys,
        DType::F32,
        About::default(),
    )
    .unwrap();
    let mut whole = Checkpoint::open(&autoencoder).unwrap();
    for weights in weights {
        let keys = match weights {
            Weights::Plain => compvis_unet_keys(model.unet.config()),
            Weights::Averaged => compvis_averaged_unet_keys(&model.unet),
        };
        let unet = folder.path().join(weights.to_string());
        save(&model.unet, &unet, &keys, DType::F32, About::default()).unwrap();
        whole = whole.joined(Checkpoint::open(&unet).unwrap()).unwrap();
    }
    if let Some(more) = more {
        whole = whole.joined(more).unwrap();
    }
    convert(&whole, path, None, About::default()).unwrap();
}

/// A file of these tensors, all ones.
fn ones(tensors: &[(&str, Vec<usize>)]) -> Checkpoint {
    let largest = tensors.iter().map(|(_, shape)| shape.iter().product());
    let values: Vec<u8> = std::iter::repeat_n(1.0f32.to_le_bytes(), largest.max().unwrap())
        .flatten()
        .collect();
    let views = tensors.iter().map(|(key, shape)| {
        let bytes = &values[..4 * shape.iter().product::<usize>()];
        (
            *key,
            TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap(),
        )
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    Checkpoint::from_bytes("ones", bytes).unwrap()
}

fn picture(model: &StableDiffusion, scheduler: &SchedulerConfig, device: &Device) -> TensorData {
    let config = model.unet.config();
    let noise = |seed, shape| Noise::new(seed).draw::<3>(NoiseUse::Embedding, shape, device);
    let labels = config.class_width().map(|width| {
        let labels: Tensor<3> = noise(7, [1, 1, width]);
        labels.squeeze_dim::<2>(1)
    });
    let condition = Condition {
        context: noise(5, [1, 4, config.context_width]),
        class_labels: labels,
    };
    let drawing = Drawing {
        negative: condition.clone(),
        condition,
        guidance: Guidance::new(1.0).unwrap(),
        scheduler: scheduler.init(3).unwrap(),
        start: Noise::new(9).draw(NoiseUse::Latents, [1, 4, 8, 8], device),
    };
    let latents = model.draw(&drawing, |_| true).unwrap().unwrap();
    model.pictures(latents).into_data()
}

/// The file, with the sizes of the folder.
fn opened(path: &Path, of: &DiffusersFolder, weights: Option<Weights>) -> SingleFile {
    let checkpoint = Checkpoint::open(path).unwrap();
    SingleFile::of_sizes(
        checkpoint,
        of.unet.clone(),
        of.autoencoder.clone(),
        of.scheduler.clone(),
        weights,
    )
    .unwrap()
}

#[test]
fn a_file_draws_what_the_folder_of_the_same_model_draws() {
    let device = test_device();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.ckpt");
    for unet in ["unet", "unclip_unet"] {
        let (original, model) = original(unet, &device);
        let expected = picture(&model, &original.scheduler, &device);
        for weights in [PLAIN, AVERAGED] {
            write(&model, weights, None, &path);
            let file = opened(&path, &original, None);
            assert_eq!(file.weights(), weights[0]);
            let found = picture(&file.load(&device).unwrap(), &file.scheduler, &device);
            assert_eq!(found, expected);
        }
    }
}

#[test]
fn which_of_two_unets_is_meant_is_not_guessed() {
    let device = test_device();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("both.safetensors");
    let (original, model) = original("unet", &device);
    // Two UNets that differ: the averaged one is all ones.
    let keys = compvis_averaged_unet_keys(&model.unet);
    let parameters = seed_weights::parameters(&model.unet);
    let averaged: BTreeMap<String, Vec<usize>> = parameters
        .into_iter()
        .map(|parameter| (keys.key(&parameter.path), parameter.shape))
        .collect();
    let averaged: Vec<_> = averaged
        .iter()
        .map(|(key, shape)| (&**key, shape.clone()))
        .collect();
    write(&model, PLAIN, Some(ones(&averaged)), &path);

    let error = SingleFile::open(&path, None, None).unwrap_err();
    assert!(matches!(error, DiffusionError::Unsaid { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("averaged") && text.contains("plain"),
        "{text}"
    );

    let expected = picture(&model, &original.scheduler, &device);
    let drawn = Weights::ALL.map(|weights| {
        let file = opened(&path, &original, Some(weights));
        picture(&file.load(&device).unwrap(), &file.scheduler, &device)
    });
    assert_eq!(drawn[0], expected);
    assert_ne!(drawn[1], expected);

    // What is asked for must be there.
    for (held, asked, named) in [
        (PLAIN, Weights::Averaged, "model_ema"),
        (AVERAGED, Weights::Plain, "model.diffusion_model"),
    ] {
        write(&model, held, None, &path);
        let error = SingleFile::open(&path, Some(asked), None).unwrap_err();
        assert!(
            matches!(error, DiffusionError::MissingPart { .. }),
            "{error}"
        );
        assert!(error.to_string().contains(named), "{error}");
    }
    for weights in Weights::ALL {
        assert_eq!(weights.to_string().parse::<Weights>().unwrap(), weights);
    }
    let error = "ema".parse::<Weights>().unwrap_err().to_string();
    assert!(error.contains("averaged"), "{error}");
}

#[test]
fn statistics_of_image_embeddings_are_found_or_missed() {
    let device = test_device();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("unclip.safetensors");
    let (original, model) = original("unclip_unet", &device);
    let width = original.unet.class_width().unwrap() / 2;
    let [mean, std] = ["mean", "std"].map(|name| format!("noise_augmentor.data_{name}"));
    let rows = || vec![1, width];
    let statistics = ones(&[(&*mean, rows()), (&*std, rows())]);
    write(&model, PLAIN, Some(statistics), &path);
    let normalizer = opened(&path, &original, None)
        .image_normalizer(&device)
        .unwrap();
    assert_eq!(normalizer.unwrap().width(), width);

    write(&model, PLAIN, None, &path);
    let error = opened(&path, &original, None)
        .image_normalizer(&device)
        .unwrap_err();
    assert!(matches!(error, DiffusionError::Unsaid { .. }), "{error}");
    assert!(error.to_string().contains("image_normalizer"), "{error}");

    write(&model, PLAIN, Some(ones(&[(&*mean, rows())])), &path);
    let error = opened(&path, &original, None)
        .image_normalizer(&device)
        .unwrap_err();
    assert!(error.to_string().contains(&std), "{error}");

    let (original, model) = self::original("unet", &device);
    write(&model, PLAIN, None, &path);
    let none = opened(&path, &original, None)
        .image_normalizer(&device)
        .unwrap();
    assert!(none.is_none());
}

/// A file of the tensors that families are told by.
fn of_family(weights: Weights, context: usize, labels: Option<usize>) -> Checkpoint {
    let (context_key, label_key) = match weights {
        Weights::Plain => (
            "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
            "model.diffusion_model.label_emb.0.0.weight",
        ),
        Weights::Averaged => (
            "model_ema.diffusion_modelinput_blocks11transformer_blocks0attn2to_kweight",
            "model_ema.diffusion_modellabel_emb00weight",
        ),
    };
    let mut tensors = vec![
        (context_key, vec![320, context]),
        ("first_stage_model.quant_conv.bias", vec![8]),
    ];
    tensors.extend(labels.map(|width| (label_key, vec![1280, width])));
    ones(&tensors)
}

#[test]
fn families_are_told_by_shapes() {
    for weights in Weights::ALL {
        let open = |context, labels, prediction| {
            SingleFile::of(of_family(weights, context, labels), None, prediction)
        };
        let first = open(768, None, None).unwrap();
        assert_eq!(first.weights(), weights);
        assert_eq!(first.unet, UnetConfig::sd_1_4());
        assert_eq!(first.autoencoder, AutoencoderKlConfig::sd());
        assert_eq!(first.scheduler, SchedulerConfig::stable_diffusion());

        let velocity = Some(Prediction::Velocity);
        let first = open(768, None, velocity).unwrap();
        assert_eq!(first.scheduler.prediction_type, Prediction::Velocity);

        let second = open(1024, None, velocity).unwrap();
        assert_eq!(second.unet, UnetConfig::sd_2_1());
        assert_eq!(second.autoencoder.sample_size, 768);
        assert_eq!(second.scheduler.prediction_type, Prediction::Velocity);
        assert_eq!(second.scheduler.sampler, Sampler::Ddim);
        let base = open(1024, None, Some(Prediction::Epsilon)).unwrap();
        assert_eq!(
            (base.unet.sample_size, base.autoencoder.sample_size),
            (64, 512)
        );
        assert_eq!(base.scheduler.prediction_type, Prediction::Epsilon);

        let unclip = open(1024, Some(2048), velocity).unwrap();
        assert_eq!(unclip.unet, UnetConfig::sd_2_1_unclip());
        let small = open(1024, Some(1536), velocity).unwrap();
        assert_eq!(small.unet.class_width(), Some(1536));

        // Stable Diffusion 2 says nowhere what it predicts.
        for labels in [None, Some(2048)] {
            let error = open(1024, labels, None).unwrap_err();
            assert!(matches!(error, DiffusionError::Unsaid { .. }), "{error}");
            let text = error.to_string();
            assert!(
                text.contains("v_prediction") && text.contains("epsilon"),
                "{text}"
            );
        }
        // XL attends to another context, and not at its finest level.
        let error = open(2048, None, velocity).unwrap_err().to_string();
        assert!(error.contains("2048") && error.contains("768"), "{error}");
    }
    let other = ones(&[
        ("model.diffusion_model.input_blocks.0.0.bias", vec![320]),
        ("first_stage_model.quant_conv.bias", vec![8]),
    ]);
    let error = SingleFile::of(other, None, None).unwrap_err().to_string();
    assert!(error.contains("another family"), "{error}");
}

/// The shapes of the published file say the presets, whose tensors it holds.
#[test]
fn the_published_file_is_known_by_its_shapes() {
    let listing = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/keys/sd-1.4-compvis.txt");
    let listing = fs::read_to_string(listing).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sd-v1-4.safetensors");
    // As f16; where nothing is written the file takes no room.
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for line in listing.lines() {
        let (key, shape) = line.split_once('\t').unwrap();
        let shape: Vec<usize> = serde_json::from_str(shape).unwrap();
        let start = end;
        end += 2 * shape.iter().product::<usize>();
        let tensor =
            serde_json::json!({"dtype": "F16", "shape": shape, "data_offsets": [start, end]});
        header.insert(key.to_owned(), tensor);
    }
    let header = serde_json::Value::Object(header).to_string();
    let start = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    fs::write(&path, &start).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len((start.len() + end) as u64).unwrap();

    let file = SingleFile::open(&path, None, None).unwrap();
    assert_eq!(file.unet, UnetConfig::sd_1_4());
    assert_eq!(file.weights(), Weights::Plain);
}

#[test]
fn what_is_no_stable_diffusion_is_said_with_what_was_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    let open = |path: &Path| PublishedDiffusion::open(path, Choices::default()).unwrap_err();
    // A language model's file, alone and as what a folder has.
    let opt = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/08_opt/prenorm");
    let path = folder.path().join("model.safetensors");
    fs::copy(opt.join("model.safetensors"), &path).unwrap();
    for path in [&*path, folder.path()] {
        let error = open(path);
        assert!(
            matches!(error, DiffusionError::NotStableDiffusion { .. }),
            "{error}"
        );
        let text = error.to_string();
        for word in [
            "model.safetensors",
            "decoder",
            "model_index.json",
            "unet.safetensors",
        ] {
            assert!(text.contains(word), "{text}");
        }
    }
    // Several files, none, and something else.
    fs::copy(&path, folder.path().join("other.safetensors")).unwrap();
    let error = open(folder.path());
    assert!(
        matches!(error, DiffusionError::NotStableDiffusion { .. }),
        "{error}"
    );
    let empty = tempfile::tempdir().unwrap();
    let error = open(empty.path());
    assert!(
        matches!(error, DiffusionError::NotStableDiffusion { .. }),
        "{error}"
    );
    let text = empty.path().join("notes.txt");
    fs::write(&text, "no weights").unwrap();
    let error = open(&text);
    assert!(
        matches!(error, DiffusionError::NotStableDiffusion { .. }),
        "{error}"
    );
    let error = open(Path::new("/nowhere/at/all"));
    assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    assert!(matches!(error, DiffusionError::Weights(_)), "{error}");
}

#[test]
fn what_a_file_lacks_or_has_in_another_shape_is_named() {
    let device = test_device();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let (original, model) = original("unet", &device);
    write(&model, PLAIN, None, &path);

    // The UNet alone, the autoencoder alone.
    for (only, missing) in [
        ("model.diffusion_model", "first_stage_model"),
        ("first_stage_model", "model.diffusion_model"),
    ] {
        let part = Checkpoint::open(&path).unwrap().only(only);
        let error = SingleFile::of(part, None, None).unwrap_err();
        assert!(
            matches!(error, DiffusionError::MissingPart { .. }),
            "{error}"
        );
        assert!(error.to_string().contains(missing), "{error}");
    }

    // A tensor of another shape, and one that is not there.
    let file = opened(&path, &original, None);
    let config = UnetConfig {
        context_width: file.unet.context_width + 1,
        ..file.unet.clone()
    };
    let load = |unet: UnetConfig, autoencoder: AutoencoderKlConfig| {
        let checkpoint = Checkpoint::open(&path).unwrap();
        let scheduler = original.scheduler.clone();
        let file = SingleFile::of_sizes(checkpoint, unet, autoencoder, scheduler, None).unwrap();
        file.load(&device).unwrap_err().to_string()
    };
    let error = load(config, file.autoencoder.clone());
    assert!(
        error.contains("attn2.to_k") && error.contains("shape"),
        "{error}"
    );
    let config = AutoencoderKlConfig {
        layers: file.autoencoder.layers + 1,
        ..file.autoencoder.clone()
    };
    let error = load(file.unet.clone(), config);
    assert!(
        error.contains("missing") && error.contains("first_stage_model"),
        "{error}"
    );

    // A file that is cut short.
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = PublishedDiffusion::open(&path, Choices::default()).unwrap_err();
    assert!(error.to_string().contains("truncated"), "{error}");
}

#[test]
fn each_form_is_known_by_what_is_there() {
    let device = test_device();
    let diffusers = folder("unet");
    let open = |path: &Path| PublishedDiffusion::open(path, Choices::default()).unwrap();
    let published = open(diffusers.path());
    assert!(matches!(published, PublishedDiffusion::Folder(_)));
    let model = published.load(&device).unwrap();
    assert!(published.image_normalizer(&device).unwrap().is_none());
    assert_eq!(published.unet(), model.unet.config());
    assert_eq!(published.autoencoder(), model.autoencoder.config());
    let expected = picture(&model, published.scheduler(), &device);

    // A picture by its name.
    let by_name = PublishedDiffusion::find(diffusers.path().to_str().unwrap(), Choices::default());
    let model = by_name.unwrap().load(&device).unwrap();
    assert_eq!(picture(&model, published.scheduler(), &device), expected);

    // A choice that the folder contradicts is refused, one that it says itself is not.
    let choices = |weights, prediction| Choices {
        weights,
        prediction,
    };
    let predictions = [Prediction::Epsilon, Prediction::Velocity];
    let said = predictions[0];
    for prediction in predictions {
        let opened = PublishedDiffusion::open(diffusers.path(), choices(None, Some(prediction)));
        assert_eq!(opened.is_ok(), prediction == said);
        if let Err(error) = opened {
            assert!(error.to_string().contains(&said.to_string()), "{error}");
        }
    }
    let averaged = choices(Some(Weights::Averaged), None);
    let error = PublishedDiffusion::open(diffusers.path(), averaged).unwrap_err();
    assert!(error.to_string().contains("averaged"), "{error}");

    // A folder with one file that is a whole model.
    let single = tempfile::tempdir().unwrap();
    let path = single.path().join("sd.safetensors");
    convert(
        &of_family(Weights::Plain, 768, None),
        &path,
        None,
        About::default(),
    )
    .unwrap();
    for path in [single.path(), &path] {
        assert!(matches!(open(path), PublishedDiffusion::File(_)));
    }
}
