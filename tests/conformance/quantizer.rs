use seed_tokenizer::{CodebookUpdate, QuantizerConfig, VectorQuantizer};
use seed_weights::{KeyMap, gradients};

use crate::fixture::{Case, check_scalar, scalar};

fn quantizer(case: &Case, update: CodebookUpdate, key: &'static str) -> VectorQuantizer {
    let config = QuantizerConfig {
        beta: case.config["beta"].as_f64().unwrap(),
        update,
        ..QuantizerConfig::reference(case.size("n_embed"), case.size("codebook_embed_dim"))
    };
    let device = case.device.clone().autodiff();
    let keys = KeyMap::new(if key == "fresh_codebook" {
        &[("embedding.weight", "fresh_codebook")]
    } else {
        &[("embedding.weight", "quantize.embedding.weight")]
    });
    seed_weights::load(config.init(&device).unwrap(), &case.file("inputs"), &keys)
        .unwrap()
        .0
}

#[test]
fn ids_losses_and_gradients_match_in_both_weightings() {
    let case = Case::open("03_quantizer");
    let expected = case.json("expected.json");
    for (stem, update) in [
        ("legacy", CodebookUpdate::Legacy),
        ("fixed", CodebookUpdate::Corrected),
    ] {
        let model = quantizer(&case, update, "codebook");
        let z = || case.input::<3>("inputs", "z").autodiff().require_grad();
        let codebook_gradient = |gradients: &_| {
            self::gradients(&model, gradients, &KeyMap::identity())["embedding.weight"].clone()
        };

        let input = z();
        let found = model.forward(input.clone());
        case.check_ids(stem, "ids", found.codes.clone());
        case.check(stem, "zq", found.vectors.clone().inner());
        let name = format!("{stem}_loss");
        check_scalar(
            &name,
            scalar(found.loss.clone().inner()),
            &expected[&name],
            1e-5,
        );
        let alone = found.loss.backward();
        case.check(stem, "grad_z_loss", input.grad(&alone).unwrap());
        case.check_data(stem, "grad_codebook_loss", &codebook_gradient(&alone));

        let input = z();
        let found = model.forward(input.clone());
        let cotangent = case.input::<3>("inputs", "cotangent").autodiff();
        let total = found.loss.mul_scalar(5.0) + (found.vectors * cotangent).sum();
        let total = total.backward();
        case.check(stem, "grad_z_total", input.grad(&total).unwrap());
        case.check_data(stem, "grad_codebook_total", &codebook_gradient(&total));

        let fresh = quantizer(&case, update, "fresh_codebook");
        let found = fresh.forward(case.input::<3>("inputs", "fresh_z").autodiff());
        case.check_ids(stem, "fresh_ids", found.codes);
        let name = format!("{stem}_fresh_loss");
        check_scalar(&name, scalar(found.loss.inner()), &expected[&name], 1e-5);
    }
}

#[test]
fn lookup_returns_rows_of_the_codebook() {
    let case = Case::open("03_quantizer");
    let model = quantizer(&case, CodebookUpdate::Legacy, "codebook");
    let ids = case.int_input::<2>("inputs", "lookup_ids");
    let rows = model.lookup(ids.to_device(&case.device.clone().autodiff()));
    case.check("legacy", "lookup", rows.inner());
}
