//! The vector quantiser in both weightings of its loss (`VectorQuantizer2`).

use burn::tensor::Tensor;
use seed_eval::CodebookHealth;
use seed_tokenizer::{CodebookUpdate, QuantizerConfig, VectorQuantizer};
use seed_weights::KeyMap;

use super::sizes;
use crate::{
    case::{ANY, Case},
    error::ParityError,
    outputs::{Recorder, parameter, scalar},
};

/// Weight of the quantiser's loss in the case's total, SEED's own.
const WEIGHT: f64 = 5.0;

pub(super) fn run(case: &Case<'_>, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    let weightings = [
        ("legacy", CodebookUpdate::Legacy),
        ("fixed", CodebookUpdate::Corrected),
    ];
    for (stem, update) in weightings {
        trained(case, out, stem, update)?;
        fresh(case, out, stem, update)?;
    }
    let model = model(case, CodebookUpdate::Legacy, "quantize.embedding.weight")?;
    if case.has_input("lookup_ids")? {
        let ids = case.indices("lookup_ids", [ANY, ANY], case.size("n_embed")?)?;
        let rows = model.lookup(ids.to_device(&case.device.clone().autodiff()));
        out.tensor("legacy", "lookup", rows.inner())?;
    }
    let codes = model.nearest(vectors(case, "z")?.autodiff());
    let positions = codes.dims()[1];
    let codes: Vec<u32> = codes.into_data().iter::<u32>().collect();
    let health = CodebookHealth::measure(&codes, positions, case.size("n_embed")?)?;
    let expected = &case.expected;
    out.scalar(
        "codes_used",
        &expected["codes_used"],
        health.used as f64,
        0.0,
    );
    out.scalar(
        "perplexity",
        &expected["perplexity"],
        health.perplexity,
        1e-5,
    );
    Ok(())
}

fn model(
    case: &Case<'_>,
    update: CodebookUpdate,
    key: &'static str,
) -> Result<VectorQuantizer, ParityError> {
    let config = QuantizerConfig {
        update,
        ..sizes::quantizer(case)?
    };
    let model = config.init(&case.device.clone().autodiff())?;
    let keys = KeyMap::new(&[("embedding.weight", key)]);
    Ok(seed_weights::load(model, &*case.checkpoint("inputs")?, &keys)?.0)
}

fn vectors(case: &Case<'_>, key: &str) -> Result<Tensor<3>, ParityError> {
    case.input(key, [ANY, ANY, case.size("codebook_embed_dim")?])
}

/// A codebook in use: codes, loss, and gradients of the loss alone and of a sum with the
/// straight-through output.
fn trained(
    case: &Case<'_>,
    out: &mut Recorder<'_>,
    stem: &str,
    update: CodebookUpdate,
) -> Result<(), ParityError> {
    let model = model(case, update, "quantize.embedding.weight")?;
    let z = vectors(case, "z")?;
    let codebook = "embedding.weight";

    let input = z.clone().autodiff().require_grad();
    let found = model.forward(input.clone());
    out.ids(stem, "ids", found.codes)?;
    out.tensor(stem, "zq", found.vectors.inner())?;
    let name = format!("{stem}_loss");
    let loss = scalar(found.loss.clone().inner());
    out.scalar(&name, &case.expected[&name], loss, 1e-5);
    let alone = found.loss.backward();
    let gradients = seed_weights::gradients(&model, &alone, &KeyMap::identity());
    if let Some(gradient) = input.grad(&alone) {
        out.tensor(stem, "grad_z_loss", gradient)?;
    }
    let gradient = parameter(&gradients, stem, codebook)?;
    out.data(stem, "grad_codebook_loss", gradient)?;

    if case.has_input("cotangent")? {
        let input = z.autodiff().require_grad();
        let found = model.forward(input.clone());
        let cotangent = case.input("cotangent", input.dims())?.autodiff();
        let total = found.loss.mul_scalar(WEIGHT) + (found.vectors * cotangent).sum();
        let total = total.backward();
        let gradients = seed_weights::gradients(&model, &total, &KeyMap::identity());
        if let Some(gradient) = input.grad(&total) {
            out.tensor(stem, "grad_z_total", gradient)?;
        }
        let gradient = parameter(&gradients, stem, codebook)?;
        out.data(stem, "grad_codebook_total", gradient)?;
    }
    Ok(())
}

/// A codebook as it is before training, ±1/codes.
fn fresh(
    case: &Case<'_>,
    out: &mut Recorder<'_>,
    stem: &str,
    update: CodebookUpdate,
) -> Result<(), ParityError> {
    if !case.has_input("fresh_z")? {
        return Ok(());
    }
    let model = model(case, update, "fresh_codebook")?;
    let found = model.forward(vectors(case, "fresh_z")?.autodiff());
    out.ids(stem, "fresh_ids", found.codes)?;
    let name = format!("{stem}_fresh_loss");
    out.scalar(
        &name,
        &case.expected[&name],
        scalar(found.loss.inner()),
        1e-5,
    );
    Ok(())
}
