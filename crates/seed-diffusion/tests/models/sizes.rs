//! What a config says is checked before anything is made of it, and what a published one asks for beyond this code is
//! refused by name.

use seed_device::test_device;
use seed_diffusion::{AutoencoderKlConfig, ClassEmbedding, UnetConfig};
use serde_json::{Value, json};

use crate::{
    golden::{text, unet_config},
    leaves::each_integer_is_bounded,
};

#[test]
fn each_size_has_a_limit() {
    let device = test_device();
    let unet = unet_config("unclip_unet");
    let found = each_integer_is_bounded(&unet, &[], |config| config.init(&device).map(drop));
    assert_eq!(found, 11);
    let autoencoder = AutoencoderKlConfig::sd();
    let found = each_integer_is_bounded(&autoencoder, &[], |config| config.init(&device).map(drop));
    assert_eq!(found, 9);
}

#[test]
fn what_cannot_be_made_is_an_error() {
    let device = test_device();
    let refuse = |change: fn(&mut UnetConfig), words: &str| {
        let mut config = unet_config("unet");
        change(&mut config);
        let error = config.init(&device).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    refuse(|config| config.levels.clear(), "levels = 0");
    refuse(|config| config.groups = 5, "a multiple of 5 groups");
    refuse(|config| config.levels[1].heads = 5, "5 heads");
    refuse(|config| config.norm_eps = f64::NAN, "norm_eps");
    refuse(
        |config| {
            config.groups = 1;
            config.levels[0].channels = 9;
            config.levels[0].heads = 3;
        },
        "even at the finest level",
    );
    let mut config = AutoencoderKlConfig::sd();
    config.scaling_factor = 0.0;
    let error = config.init(&device).unwrap_err().to_string();
    assert!(error.contains("scaling_factor = 0"), "{error}");
}

/// A published config with one field changed.
fn with(file: &str, field: &str, value: Value) -> String {
    let mut config: Value = serde_json::from_str(&text(file)).unwrap();
    config[field] = value;
    config.to_string()
}

#[test]
fn a_field_that_would_change_what_is_computed_is_refused_by_name() {
    for (field, value) in [
        ("_class_name", json!("UNet2DModel")),
        ("act_fn", json!("gelu")),
        ("addition_embed_type", json!("text_time")),
        ("attention_head_dim", json!([2, 2])),
        ("attention_head_dim", json!(-1)),
        ("attention_type", json!("gated")),
        ("block_out_channels", json!(8)),
        ("center_input_sample", json!(true)),
        ("class_embed_type", json!("timestep")),
        ("class_embeddings_concat", json!(true)),
        ("conv_in_kernel", json!(1)),
        ("cross_attention_dim", json!([20, 20, 20])),
        ("cross_attention_norm", json!("layer_norm")),
        ("down_block_types", json!(["DownBlock2D"])),
        (
            "down_block_types",
            json!(["DownBlock2D", "DownBlock2D", "SimpleCrossAttnDownBlock2D"]),
        ),
        ("downsample_padding", json!(0)),
        ("dual_cross_attention", json!(true)),
        ("encoder_hid_dim", json!(64)),
        ("flip_sin_to_cos", json!(false)),
        ("freq_shift", json!(1)),
        ("layers_per_block", json!([1, 2, 1])),
        ("mid_block_scale_factor", json!(1.5)),
        ("mid_block_type", json!(null)),
        ("norm_num_groups", json!(null)),
        ("num_attention_heads", json!(4)),
        ("num_class_embeds", json!(1000)),
        ("only_cross_attention", json!(true)),
        ("resnet_time_scale_shift", json!("scale_shift")),
        ("something_new", json!(0.5)),
        ("time_embedding_type", json!("fourier")),
        ("transformer_layers_per_block", json!([1, 2, 10])),
        (
            "up_block_types",
            json!(["CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"]),
        ),
    ] {
        let text = with("unet/config.json", field, value);
        let error = UnetConfig::from_diffusers(&text).unwrap_err().to_string();
        assert!(error.contains(&format!("`{field}`")), "{error}");
    }
    for (field, value) in [
        ("act_fn", json!("relu")),
        (
            "down_block_types",
            json!(["DownEncoderBlock2D", "AttnDownEncoderBlock2D"]),
        ),
        ("latents_mean", json!([0.0, 0.0, 0.0, 0.0])),
        ("mid_block_add_attention", json!(false)),
        ("out_channels", json!(4)),
        ("shift_factor", json!(0.1)),
        ("use_quant_conv", json!(false)),
    ] {
        let text = with("vae/config.json", field, value);
        let error = AutoencoderKlConfig::from_diffusers(&text).unwrap_err();
        assert!(error.to_string().contains(&format!("`{field}`")), "{error}");
    }
}

#[test]
fn what_is_no_config_is_an_error() {
    for text in ["", "[]", "{", "null"] {
        let error = UnetConfig::from_diffusers(text).unwrap_err().to_string();
        assert!(
            error.contains("config.json of UNet2DConditionModel"),
            "{error}"
        );
    }
    let text = with(
        "unclip_unet/config.json",
        "projection_class_embeddings_input_dim",
        json!(0),
    );
    let error = UnetConfig::from_diffusers(&text).unwrap_err().to_string();
    assert!(error.contains("class_embedding.width = 0"), "{error}");
}

/// The published files as they are: fields that came later are absent from the first, and switched off in the others.
#[test]
fn published_configs_are_the_presets() {
    let [attends, convolves] = ["CrossAttnDownBlock2D", "DownBlock2D"];
    let down = [attends, attends, attends, convolves];
    let [attends, convolves] = ["CrossAttnUpBlock2D", "UpBlock2D"];
    let up = [convolves, attends, attends, attends];
    let mut published = json!({
        "_class_name": "UNet2DConditionModel", "_diffusers_version": "0.2.2", "act_fn": "silu",
        "attention_head_dim": 8, "block_out_channels": [320, 640, 1280, 1280], "center_input_sample": false,
        "cross_attention_dim": 768, "down_block_types": down, "downsample_padding": 1, "flip_sin_to_cos": true,
        "freq_shift": 0, "in_channels": 4, "layers_per_block": 2, "mid_block_scale_factor": 1, "norm_eps": 1e-5,
        "norm_num_groups": 32, "out_channels": 4, "sample_size": 64, "up_block_types": up,
    });
    let config = UnetConfig::from_diffusers(&published.to_string()).unwrap();
    assert_eq!(config, UnetConfig::sd_1_4());
    for (field, value) in [
        ("attention_head_dim", json!([5, 10, 20, 20])),
        ("class_embed_type", json!("projection")),
        ("cross_attention_dim", json!(1024)),
        ("cross_attention_norm", json!(null)),
        ("dual_cross_attention", json!(false)),
        ("encoder_hid_dim", json!(null)),
        ("mid_block_only_cross_attention", json!(null)),
        ("mid_block_type", json!("UNetMidBlock2DCrossAttn")),
        ("num_class_embeds", json!(null)),
        ("only_cross_attention", json!(false)),
        ("projection_class_embeddings_input_dim", json!(2048)),
        ("resnet_out_scale_factor", json!(1.0)),
        ("resnet_skip_time_act", json!(false)),
        ("resnet_time_scale_shift", json!("default")),
        ("sample_size", json!(96)),
        ("time_embedding_type", json!("positional")),
        ("upcast_attention", json!(true)),
        ("use_linear_projection", json!(true)),
    ] {
        published[field] = value;
    }
    let config = UnetConfig::from_diffusers(&published.to_string()).unwrap();
    assert_eq!(config, UnetConfig::sd_2_1_unclip());
    published["class_embed_type"] = json!(null);
    published["projection_class_embeddings_input_dim"] = json!(null);
    let config = UnetConfig::from_diffusers(&published.to_string()).unwrap();
    assert_eq!(config, UnetConfig::sd_2_1());

    let published = json!({
        "_class_name": "AutoencoderKL", "_diffusers_version": "0.2.2", "act_fn": "silu",
        "block_out_channels": [128, 256, 512, 512], "down_block_types": vec!["DownEncoderBlock2D"; 4],
        "in_channels": 3, "latent_channels": 4, "layers_per_block": 2, "out_channels": 3, "sample_size": 512,
        "up_block_types": vec!["UpDecoderBlock2D"; 4],
    });
    let config = AutoencoderKlConfig::from_diffusers(&published.to_string()).unwrap();
    assert_eq!(config, AutoencoderKlConfig::sd());
    assert_eq!(config.factor(), 8);
}

#[test]
fn a_config_is_written_and_read() {
    for config in [UnetConfig::sd_1_4(), UnetConfig::sd_2_1_unclip()] {
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<UnetConfig>(&text).unwrap(), config);
    }
    let mut config = UnetConfig::sd_1_4();
    assert_eq!((config.class_width(), config.time_width()), (None, 1280));
    config.class_embedding = Some(ClassEmbedding::Identity);
    assert_eq!(config.class_width(), Some(1280));
}
