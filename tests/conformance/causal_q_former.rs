use burn::tensor::Tensor;
use seed_tokenizer::{
    CausalQFormer, CausalQFormerConfig, LABEL_SMOOTHING, QFormerConfig, QueryAttention,
    TextSideConfig, causal_q_former_keys, contrast, diagonal_targets,
};

use crate::fixture::{Case, check_scalar, scalar};

fn model(case: &Case, attention: QueryAttention, train: bool) -> CausalQFormer {
    let config = CausalQFormerConfig {
        q_former: QFormerConfig {
            width: case.size("hidden_size"),
            heads: case.size("num_attention_heads"),
            depth: case.size("num_hidden_layers"),
            mlp_hidden: case.size("intermediate_size"),
            context_width: case.size("encoder_width"),
            cross_attention_every: case.size("cross_attention_freq"),
            dropout: 0.0,
            text: Some(TextSideConfig {
                vocab_size: case.size("vocab_size"),
                max_length: case.size("max_position_embeddings"),
            }),
        },
        queries: case.size("num_query_tokens"),
        attention,
        embed_dim: Some(case.size("embed_dim")),
    };
    let device = if train {
        case.device.clone().autodiff()
    } else {
        case.device.clone()
    };
    let model = config.init(&device).unwrap();
    let (model, report) =
        seed_weights::load(model, &case.file("weights"), &causal_q_former_keys()).unwrap();
    let leftovers = report.unused.iter().all(|key| {
        key.starts_with("Qformer.cls.") || key == "Qformer.bert.embeddings.position_ids"
    });
    assert!(leftovers, "unused: {:?}", report.unused);
    model
}

fn all_query_features(model: &CausalQFormer, embeddings: Tensor<3>) -> Tensor<3> {
    seed_nn::l2_normalize(model.contrastive_heads().vision_proj.forward(embeddings))
}

#[test]
fn queries_match_layer_by_layer() {
    let case = Case::open("02_causal_qformer");
    let model = model(&case, QueryAttention::Causal, false);
    let image_tokens = case.input::<3>("inputs", "vit_output");
    let [batch, _, _] = image_tokens.dims();
    let [_, count, width] = model.query_tokens.dims();
    let context = model.ln_vision.forward(image_tokens.clone());
    let queries = model.query_tokens.val().expand([batch, count, width]);
    let mut x = model.q_former.embed_queries(queries);
    case.check("outputs", "query_hidden_0", x.clone());
    let bias = seed_nn::causal_bias(count, &case.device);
    for (index, layer) in model.q_former.layers.iter().enumerate() {
        x = layer.forward(x, count, Some(&context), Some(bias.clone()));
        case.check("outputs", &format!("query_hidden_{}", index + 1), x.clone());
    }
    case.check("outputs", "query_output", model.forward(image_tokens));
}

#[test]
fn small_queries_show_the_embedding_norms_epsilon() {
    let case = Case::open("02_causal_qformer");
    let model = model(&case, QueryAttention::Causal, false);
    let small = case.input::<3>("inputs", "small_queries");
    case.check(
        "outputs",
        "embedding_norm_of_small_queries",
        model.q_former.embed_queries(small),
    );
}

#[test]
fn text_and_the_joint_pass_match() {
    let case = Case::open("02_causal_qformer");
    let model = model(&case, QueryAttention::Causal, false);
    let ids = case.int_input::<2>("inputs", "text_ids");
    let mask = case.int_input::<2>("inputs", "text_mask");
    let states = model.q_former.forward_text(ids.clone(), mask.clone());
    case.check("outputs", "text_hidden", states);
    case.check(
        "outputs",
        "text_feature",
        model.text_feature(ids.clone(), mask.clone()),
    );

    let image_tokens = case.input::<3>("inputs", "vit_output");
    let [batch, _, _] = image_tokens.dims();
    let [_, count, width] = model.query_tokens.dims();
    let queries = model.query_tokens.val().expand([batch, count, width]);
    let context = model.ln_vision.forward(image_tokens);
    let joint = model
        .q_former
        .forward_joint(queries, ids, mask, context, QueryAttention::Causal);
    case.check("outputs", "joint_query_text", joint);
}

#[test]
fn features_and_similarities_match_causal_and_bilateral() {
    let case = Case::open("02_causal_qformer");
    let patterns = [
        ("outputs", QueryAttention::Causal),
        ("bilateral", QueryAttention::Bidirectional),
    ];
    for (stem, attention) in patterns {
        let model = model(&case, attention, false);
        let embeddings = model.forward(case.input::<3>("inputs", "vit_output"));
        case.check(stem, "query_output", embeddings.clone());
        let image = model.image_feature(embeddings.clone());
        let ids = case.int_input::<2>("inputs", "text_ids");
        let text = model.text_feature(ids, case.int_input::<2>("inputs", "text_mask"));
        case.check(stem, "image_feature", image.clone());
        case.check(stem, "text_feature", text.clone());
        case.check(
            stem,
            "sim_last_query",
            image.matmul(text.clone().transpose()),
        );

        let all = all_query_features(&model, embeddings);
        case.check(stem, "image_features_all_queries", all.clone());
        let best = all
            .matmul(text.transpose().unsqueeze::<3>())
            .max_dim(1)
            .squeeze_dim::<2>(1);
        case.check(stem, "sim_max_query", best);
    }
}

#[test]
fn the_contrastive_loss_and_its_gradients_match() {
    let case = Case::open("02_causal_qformer");
    let expected = case.json("expected.json");
    let cases = [
        (QueryAttention::Causal, "grads", "itc_loss", "grad_temp"),
        (
            QueryAttention::Bidirectional,
            "bilateral_grads",
            "bilateral_itc_loss",
            "bilateral_grad_temp",
        ),
    ];
    for (attention, stem, loss_key, temp_key) in cases {
        let model = model(&case, attention, true);
        let device = &case.device.clone().autodiff();
        let embeddings = model.forward(case.input::<3>("inputs", "vit_output").autodiff());
        let ids = case.int_input::<2>("inputs", "text_ids").to_device(device);
        let mask = case.int_input::<2>("inputs", "text_mask").to_device(device);
        let image = model.image_feature(embeddings);
        let text = model.text_feature(ids, mask);
        let targets = diagonal_targets(image.dims()[0], device);
        let loss = contrast(
            image,
            text,
            model.contrastive_heads().temp.val(),
            targets,
            LABEL_SMOOTHING,
        )
        .loss;
        check_scalar(
            loss_key,
            scalar(loss.clone().inner()),
            &expected[loss_key],
            1e-4,
        );

        let found = seed_weights::gradients(&model, &loss.backward(), &causal_q_former_keys());
        for key in case.file(stem).keys() {
            case.check_data(stem, key, &found[key]);
        }
        let temp = found["temp"].iter::<f64>().next().unwrap();
        check_scalar(temp_key, temp, &expected[temp_key], 1e-4);
    }
}
