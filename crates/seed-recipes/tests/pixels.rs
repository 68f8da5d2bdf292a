//! From codes to pictures: what decides a picture, and what is refused. Weights are random.

use burn::tensor::Device;
use image::RgbImage;
use seed_device::test_device;
use seed_diffusion::{
    AutoencoderKlConfig, Choices, ClassEmbedding, DiffusionError, ImageNormalizer, Sampler,
    StableDiffusion, UnetConfig, UnetLevel, nano, save_autoencoder, save_image_normalizer,
    save_scheduler, save_unet,
};
use seed_recipes::pixels::{DiffusionModel, Form, Painter, PixelError, PixelSettings, Prompts};
use seed_tokenizer::{
    CodeAutoencoder, CodeAutoencoderConfig, ImageHeadConfig, ImageHeadForm, SeedConfig,
};

/// The nano tokenizer's codes with both heads.
fn codes_config() -> CodeAutoencoderConfig {
    let mut config = SeedConfig::nano().codes;
    config.image_head = Some(ImageHeadConfig {
        target_width: 128,
        form: ImageHeadForm::Mlp {
            widths: [64, 32, 8],
        },
    });
    config
}

fn unet_config() -> UnetConfig {
    let level = |channels, attends| UnetLevel {
        channels,
        heads: 2,
        attends,
    };
    UnetConfig {
        sample_size: 8,
        levels: vec![level(16, false), level(32, true)],
        layers: 1,
        context_width: 128,
        groups: 8,
        class_embedding: Some(ClassEmbedding::Projection { width: 256 }),
        ..UnetConfig::sd_1_4()
    }
}

fn autoencoder_config() -> AutoencoderKlConfig {
    AutoencoderKlConfig {
        sample_size: 16,
        channels: vec![16, 16],
        layers: 1,
        groups: 8,
        scaling_factor: 1.0,
        ..AutoencoderKlConfig::sd()
    }
}

struct World {
    device: Device,
    codes: CodeAutoencoder,
    config: CodeAutoencoderConfig,
    diffusion: DiffusionModel,
}

impl World {
    fn new() -> Self {
        let device = test_device();
        device.seed(7);
        let config = codes_config();
        let model = StableDiffusion {
            unet: unet_config().init(&device).unwrap(),
            autoencoder: autoencoder_config().init(&device).unwrap(),
        };
        let normalizer = ImageNormalizer::new(&[0.1; 128], &[0.5; 128], &device).unwrap();
        Self {
            codes: config.init(&device).unwrap(),
            config,
            diffusion: DiffusionModel {
                model,
                scheduler: nano::scheduler(),
                steps: 3,
                guidance: 2.0,
                normalizer: Ok(normalizer),
                prompts: Some(Prompts::nano(&device).unwrap()),
                name: "random".to_owned(),
                identity: "none".to_owned(),
            },
            device,
        }
    }

    fn painter(&self, settings: &PixelSettings) -> Result<Painter, PixelError> {
        let (codes, diffusion) = (self.codes.clone(), self.diffusion.clone());
        Painter::new(codes, &self.config, diffusion, settings, &self.device)
    }

    fn refusal(&self, settings: &PixelSettings) -> PixelError {
        self.painter(settings).map(|_| ()).unwrap_err()
    }
}

/// Codes of an image, by a number.
fn codes(number: i64) -> Vec<i64> {
    let code = |position: i64| (number * 311 + position * (17 + number)) % 1024;
    (0..32).map(code).collect()
}

/// What is done to settings.
type Change = fn(&mut PixelSettings);

fn paint(painter: &Painter, codes: &[Vec<i64>], numbers: &[u64]) -> Vec<RgbImage> {
    painter.paint(codes, numbers, |_| true).unwrap().unwrap()
}

/// Largest difference of two pictures' values.
fn difference(one: &RgbImage, other: &RgbImage) -> u8 {
    assert_eq!(one.dimensions(), other.dimensions());
    let pairs = one.as_raw().iter().zip(other.as_raw());
    pairs.map(|(x, y)| x.abs_diff(*y)).max().unwrap()
}

#[test]
fn a_picture_of_a_batch_is_that_picture_alone() {
    let world = World::new();
    for form in Form::ALL {
        let settings = PixelSettings {
            form: Some(form),
            ..PixelSettings::default()
        };
        let painter = world.painter(&settings).unwrap();
        let all: Vec<Vec<i64>> = (0..3).map(codes).collect();
        let batch = paint(&painter, &all, &[4, 5, 6]);
        for (index, codes) in all.iter().enumerate() {
            let alone = std::slice::from_ref(codes);
            let alone = paint(&painter, alone, &[4 + index as u64]);
            // Sums of a batch may be taken in another order.
            assert!(difference(&alone[0], &batch[index]) <= 1, "{form} {index}");
        }
        assert_eq!(batch, paint(&painter, &all, &[4, 5, 6]), "{form}");
        let [width, height] = painter.size();
        assert_eq!(batch[0].dimensions(), (width, height));
    }
}

#[test]
fn codes_number_and_each_setting_decide_a_picture() {
    let world = World::new();
    let usual = PixelSettings::default();
    let picture = |settings: &PixelSettings, codes: Vec<i64>, number: u64| {
        let painter = world.painter(settings).unwrap();
        paint(&painter, &[codes], &[number]).swap_remove(0)
    };
    let first = picture(&usual, codes(0), 0);
    assert_eq!(first, picture(&usual, codes(0), 0));
    assert_ne!(first, picture(&usual, codes(1), 0), "codes");
    assert_ne!(first, picture(&usual, codes(0), 1), "number");
    let changes: [(&str, Change); 7] = [
        ("form", |s| s.form = Some(Form::Image)),
        ("prefix", |s| s.prefix = Some(4)),
        ("steps", |s| s.steps = Some(5)),
        ("guidance", |s| s.guidance = Some(4.0)),
        ("sampler", |s| s.sampler = Some(Sampler::Ddim)),
        ("negative", |s| s.negative = "blue circle".to_owned()),
        ("seed", |s| s.seed = 1),
    ];
    for (name, change) in changes {
        let mut settings = usual.clone();
        change(&mut settings);
        assert_ne!(first, picture(&settings, codes(0), 0), "{name}");
    }
    // What is the usual way may be asked for.
    let said = PixelSettings {
        form: Some(Form::Text),
        prefix: Some(32),
        steps: Some(3),
        guidance: Some(2.0),
        sampler: Some(Sampler::DpmSolverPlusPlus),
        ..usual.clone()
    };
    assert_eq!(first, picture(&said, codes(0), 0));
    let image = |noise_level| {
        let settings = PixelSettings {
            form: Some(Form::Image),
            noise_level,
            ..usual.clone()
        };
        picture(&settings, codes(0), 0)
    };
    assert_ne!(image(0), image(900), "noise level");
}

/// With a prefix the codes behind it are not looked at, and need not be there.
#[test]
fn the_first_codes_alone_decide_a_prefix() {
    let world = World::new();
    for form in Form::ALL {
        let settings = PixelSettings {
            form: Some(form),
            prefix: Some(5),
            ..PixelSettings::default()
        };
        let painter = world.painter(&settings).unwrap();
        let whole = codes(3);
        let mut other_end = whole.clone();
        other_end[5] = 9;
        let mut other_start = whole.clone();
        other_start[4] = 9;
        let short = whole[..5].to_vec();
        let rows = [whole, other_end, short, other_start];
        let pictures: Vec<RgbImage> = rows
            .iter()
            .map(|row| paint(&painter, std::slice::from_ref(row), &[0]).swap_remove(0))
            .collect();
        assert_eq!(pictures[0], pictures[1], "{form}");
        assert_eq!(pictures[0], pictures[2], "{form}");
        assert_ne!(pictures[0], pictures[3], "{form}");
        assert!(painter.about().contains(&("prefix", "5".to_owned())));
    }
}

/// The query form of the image head reads a prefix as well.
#[test]
fn every_head_reads_a_prefix() {
    let mut world = World::new();
    let reverse = world.config.text_head.as_ref().unwrap().reverse.clone();
    world.config.image_head = Some(ImageHeadConfig {
        target_width: 128,
        form: ImageHeadForm::Query {
            reverse: seed_tokenizer::ReverseQFormerConfig {
                queries: 1,
                ..reverse
            },
        },
    });
    world.codes = world.config.init(&world.device).unwrap();
    let picture = |prefix| {
        let settings = PixelSettings {
            form: Some(Form::Image),
            prefix: Some(prefix),
            ..PixelSettings::default()
        };
        paint(&world.painter(&settings).unwrap(), &[codes(0)], &[0])
    };
    assert_ne!(picture(2), picture(32));
}

#[test]
fn a_drawing_can_be_stopped_and_counts_its_calls() {
    let world = World::new();
    for (sampler, expected) in [(Sampler::Pndm, 6), (Sampler::Ddim, 5)] {
        let settings = PixelSettings {
            steps: Some(5),
            sampler: Some(sampler),
            ..PixelSettings::default()
        };
        let painter = world.painter(&settings).unwrap();
        let mut calls = 0;
        let drawn = painter.paint(&[codes(0)], &[0], |_| {
            calls += 1;
            true
        });
        assert!(drawn.unwrap().is_some());
        assert_eq!((calls, painter.calls()), (expected, expected));
        assert!(painter.about().contains(&("steps", "5".to_owned())));
        let stopped = painter.paint(&[codes(0)], &[0], |_| false).unwrap();
        assert!(stopped.is_none());
    }
    let painter = world.painter(&PixelSettings::default()).unwrap();
    assert!(paint(&painter, &[], &[]).is_empty());
}

#[test]
fn codes_are_checked_before_anything_is_computed() {
    let world = World::new();
    let painter = world.painter(&PixelSettings::default()).unwrap();
    let refused = |codes: Vec<i64>| {
        let heard = |_: &seed_diffusion::Step<'_>| panic!("the UNet was called");
        painter.paint(&[codes], &[0], heard).unwrap_err()
    };
    for (count, told) in [(0, "0 codes"), (31, "31 codes"), (33, "33 codes")] {
        let error = refused(vec![1; count]);
        assert!(matches!(error, PixelError::CodeCount { .. }));
        let error = error.to_string();
        assert!(error.contains(told) && error.contains("32"), "{error}");
    }
    for code in [-1, 1024, i64::MAX, i64::MIN] {
        let mut row = codes(0);
        row[6] = code;
        let error = refused(row);
        assert!(
            matches!(error, PixelError::Code { position: 7, .. }),
            "{error}"
        );
        assert!(error.to_string().contains("1023"), "{error}");
    }
    let short = PixelSettings {
        prefix: Some(8),
        ..PixelSettings::default()
    };
    let painter = world.painter(&short).unwrap();
    let error = painter.check(&[1; 7]).unwrap_err().to_string();
    assert!(error.contains("7 codes") && error.contains('8'), "{error}");
    painter.check(&[1; 8]).unwrap();
}

#[test]
fn what_does_not_go_together_is_refused_by_name() {
    let world = World::new();
    let usual = PixelSettings::default();
    for prefix in [0, 33] {
        let settings = PixelSettings {
            prefix: Some(prefix),
            ..usual.clone()
        };
        let error = world.refusal(&settings);
        assert!(matches!(error, PixelError::Prefix { .. }), "{error}");
    }
    for steps in [0, 1001, 10_000] {
        let settings = PixelSettings {
            steps: Some(steps),
            ..usual.clone()
        };
        let error = world.refusal(&settings).to_string();
        assert!(error.contains("steps"), "{error}");
    }
    for guidance in [-1.0, f64::NAN, f64::INFINITY] {
        let settings = PixelSettings {
            guidance: Some(guidance),
            ..usual.clone()
        };
        let error = world.refusal(&settings).to_string();
        assert!(error.contains("guidance"), "{error}");
    }
    let settings = PixelSettings {
        guidance: Some(1.0),
        negative: "blue".to_owned(),
        ..usual.clone()
    };
    let error = world.refusal(&settings);
    assert!(matches!(error, PixelError::NegativeWithoutGuidance));
    let settings = PixelSettings {
        noise_level: 3,
        ..usual.clone()
    };
    let error = world.refusal(&settings);
    assert!(matches!(error, PixelError::NoiseLevelOfText));
    let settings = PixelSettings {
        form: Some(Form::Image),
        noise_level: 1000,
        ..usual
    };
    let error = world.refusal(&settings);
    assert!(
        matches!(error, PixelError::Diffusion(DiffusionError::Setting { .. })),
        "{error}"
    );
}

#[test]
fn models_that_do_not_belong_together_are_refused_by_what_does_not_fit() {
    let by = |form| PixelSettings {
        form: Some(form),
        ..PixelSettings::default()
    };
    let mut world = World::new();
    world.config.image_head = None;
    let error = world.refusal(&by(Form::Image));
    assert!(
        matches!(
            error,
            PixelError::NoHead {
                form: Form::Image,
                ..
            }
        ),
        "{error}"
    );
    // What the tokenizer has decides where nothing is asked for.
    assert!(world.painter(&PixelSettings::default()).is_ok());
    world.config.text_head = None;
    let error = world.refusal(&PixelSettings::default());
    assert!(
        matches!(
            error,
            PixelError::NoHead {
                form: Form::Text,
                ..
            }
        ),
        "{error}"
    );

    let mut world = World::new();
    world.config.text_head.as_mut().unwrap().target_width = 96;
    let error = world.refusal(&by(Form::Text));
    let expected = matches!(
        error,
        PixelError::Width {
            found: 96,
            expected: 128,
            ..
        }
    );
    assert!(expected, "{error}");
    assert!(world.painter(&by(Form::Image)).is_ok());
    world.config.image_head.as_mut().unwrap().target_width = 64;
    let error = world.refusal(&by(Form::Image)).to_string();
    assert!(error.contains("image embeddings"), "{error}");

    let mut world = World::new();
    world.diffusion.normalizer = Err("it was lost".to_owned());
    let error = world.refusal(&by(Form::Image)).to_string();
    assert!(error.contains("it was lost"), "{error}");
    world.diffusion.prompts = None;
    let error = world.refusal(&by(Form::Text));
    assert!(matches!(error, PixelError::NoPrompts { .. }), "{error}");
    // Nothing is led away from.
    let unguided = PixelSettings {
        guidance: Some(1.0),
        ..by(Form::Text)
    };
    let painter = world.painter(&unguided).unwrap();
    assert_eq!(paint(&painter, &[codes(0)], &[0]).len(), 1);

    let mut world = World::new();
    let other = UnetConfig {
        input_channels: 9,
        ..unet_config()
    };
    world.diffusion.model.unet = other.init(&world.device).unwrap();
    let error = world.refusal(&by(Form::Text));
    assert!(matches!(error, PixelError::Parts { .. }), "{error}");
    let plain = UnetConfig {
        class_embedding: None,
        ..unet_config()
    };
    world.diffusion.model.unet = plain.init(&world.device).unwrap();
    let error = world.refusal(&by(Form::Image)).to_string();
    assert!(error.contains("class embedding"), "{error}");
    let painter = world.painter(&by(Form::Text)).unwrap();
    assert_eq!(paint(&painter, &[codes(0)], &[0]).len(), 1);
}

/// What a training writes is opened with the nano CLIP's text tower, and draws what the model in memory draws.
#[test]
fn a_trainings_folder_is_opened_with_its_text_tower() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let model = &world.diffusion.model;
    save_unet(&model.unet, folder.path()).unwrap();
    save_autoencoder(&model.autoencoder, folder.path()).unwrap();
    let normalizer = world.diffusion.normalizer.as_ref().unwrap();
    save_image_normalizer(normalizer, folder.path()).unwrap();
    save_scheduler(&nano::scheduler(), true, folder.path()).unwrap();
    let reference = folder.path().to_str().unwrap();
    let open = || DiffusionModel::open(reference, Choices::default(), None, &world.device);
    let opened = open().unwrap();
    assert_eq!(
        (opened.steps, opened.guidance),
        (nano::STEPS, nano::GUIDANCE)
    );
    assert_eq!(opened.identity, open().unwrap().identity);
    assert!(opened.normalizer.is_ok() && opened.prompts.is_some());
    assert!(!opened.name.contains('/'), "{}", opened.name);
    let settings = PixelSettings {
        steps: Some(3),
        guidance: Some(2.0),
        ..PixelSettings::default()
    };
    let picture = |diffusion: DiffusionModel| {
        let codes_model = world.codes.clone();
        let painter = Painter::new(
            codes_model,
            &world.config,
            diffusion,
            &settings,
            &world.device,
        )
        .unwrap();
        paint(&painter, &[codes(0)], &[0]).swap_remove(0)
    };
    // Weights are kept as f16.
    let apart = difference(&picture(opened), &picture(world.diffusion.clone()));
    assert!(apart <= 4, "{apart}");

    let tower = tempfile::tempdir().unwrap();
    let text = Some(tower.path());
    let error = DiffusionModel::open(reference, Choices::default(), text, &world.device);
    let error = error.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("text_encoder"), "{error}");
}
