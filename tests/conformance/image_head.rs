use burn::tensor::{Device, Tensor};
use seed_tokenizer::{
    BlockStackConfig, CausalQFormerConfig, CodeAutoencoder, CodeAutoencoderConfig, ImageHeadConfig,
    ImageHeadForm, QFormerConfig, QuantizerConfig, QueryAttention, ReverseQFormerConfig,
    StageTwoTargets, StageTwoWeights, causal_q_former_keys, code_autoencoder_keys,
};

use crate::fixture::{Case, check_scalar, scalar};

fn model(case: &Case, query_head: bool, device: &Device) -> CodeAutoencoder {
    let width = case.size("hidden_size");
    let widths: Vec<usize> = serde_json::from_value(case.config["image_down"].clone()).unwrap();
    let form = if query_head {
        ImageHeadForm::Query {
            reverse: ReverseQFormerConfig {
                queries: 1,
                depth: case.size("reverse_layers"),
                heads: case.size("num_attention_heads"),
                mlp_hidden: case.size("intermediate_size"),
                dropout: 0.0,
            },
        }
    } else {
        ImageHeadForm::Mlp {
            widths: widths.try_into().unwrap(),
        }
    };
    let config = CodeAutoencoderConfig {
        width,
        positions: case.size("num_query_tokens"),
        quantizer: QuantizerConfig::reference(
            case.size("n_embed"),
            case.size("codebook_embed_dim"),
        ),
        blocks: BlockStackConfig {
            depth: case.size("decoder_depth"),
            heads: case.size("decoder_heads"),
            mlp_hidden: 4 * width,
        },
        text_head: None,
        image_head: Some(ImageHeadConfig {
            target_width: case.size("image_features_dim"),
            form,
        }),
    };
    let weights = if query_head {
        "weights_query_head"
    } else {
        "weights"
    };
    let model = config.init(device).unwrap();
    seed_weights::load(model, &case.file(weights), &code_autoencoder_keys())
        .unwrap()
        .0
}

fn decode(model: &CodeAutoencoder, u: Tensor<3>) -> Tensor<2> {
    model.image_head.as_ref().unwrap().forward(u)
}

#[test]
fn ids_become_the_image_embedding_step_by_step() {
    let case = Case::open("05_seed_v2_head");
    let released = model(&case, false, &case.device);
    let u = released.decode(case.int_input::<2>("inputs", "ids"));
    case.check("outputs", "u", u.clone());
    let head = released.image_head.as_ref().unwrap();
    let memory = head.stack.forward(u.clone());
    case.check("outputs", "blocks_image", memory.clone());
    case.check("outputs", "image_down", head.narrow(memory));
    case.check("outputs", "image_embedding", head.forward(u.clone()));
    let trained = model(&case, true, &case.device);
    case.check("query_head", "image_embedding", decode(&trained, u));
}

#[test]
fn images_make_the_round_trip() {
    let case = Case::open("05_seed_v2_head");
    let config = CausalQFormerConfig {
        q_former: QFormerConfig {
            width: case.size("hidden_size"),
            heads: case.size("num_attention_heads"),
            depth: case.size("num_hidden_layers"),
            mlp_hidden: case.size("intermediate_size"),
            context_width: case.size("encoder_width"),
            cross_attention_every: 2,
            dropout: 0.0,
            // The released quantiser file has the text side's projections but not its network.
            text: None,
        },
        queries: case.size("num_query_tokens"),
        attention: QueryAttention::Causal,
        embed_dim: None,
    };
    let encoder = config.init(&case.device).unwrap();
    let keys = causal_q_former_keys();
    let (encoder, _) = seed_weights::load(encoder, &case.file("weights"), &keys).unwrap();
    let codes = model(&case, false, &case.device);
    let ids = codes.encode(encoder.forward(case.input::<3>("inputs", "vit_output")));
    case.check_ids("outputs", "encode_ids", ids.clone());
    let u = codes.decode(ids);
    case.check("outputs", "encode_u", u.clone());
    case.check("outputs", "roundtrip_embedding", decode(&codes, u));
}

#[test]
fn losses_and_gradients_match_for_both_heads() {
    let case = Case::open("05_seed_v2_head");
    let expected = case.json("expected.json");
    for (query_head, losses_key, stem) in [
        (false, "mlp_losses", "mlp_grads"),
        (true, "query_losses", "query_grads"),
    ] {
        let model = model(&case, query_head, &case.device.clone().autodiff());
        let targets = StageTwoTargets {
            text: None,
            image: Some(case.input::<2>("inputs", "image_features").autodiff()),
        };
        let embeddings = case.input::<3>("inputs", "causal_embeddings").autodiff();
        let losses = model.losses(embeddings, targets, &StageTwoWeights::default());
        let golden = &expected[losses_key];
        let weighted = [
            ("vq_weighted", losses.quantization.mul_scalar(5.0)),
            ("recon_weighted", losses.reconstruction.mul_scalar(2.0)),
            ("image_weighted", losses.image.unwrap().mul_scalar(0.5)),
            ("total", losses.total.clone()),
        ];
        for (name, value) in weighted {
            check_scalar(name, scalar(value.inner()), &golden[name], 1e-5);
        }
        let gradients = losses.total.backward();
        let found = seed_weights::gradients(&model, &gradients, &code_autoencoder_keys());
        for key in case.file(stem).keys() {
            case.check_data(stem, key, &found[key]);
        }
    }
}
