//! The subjects of the cases, one file each.

mod causal_q_former;
mod clip;
mod end_to_end;
mod eva_vit;
mod image_head;
mod lora;
mod metrics;
mod opt;
mod preprocessing;
mod quantizer;
mod sizes;
mod stable_diffusion;
mod stage_two;
mod tokenizers;

use crate::{case::Case, error::ParityError, outputs::Recorder};

/// Runs a case and records what it computes.
pub(crate) type Model = fn(&Case<'_>, &mut Recorder<'_>) -> Result<(), ParityError>;

/// The model of a case, by the folder's name without its number, or why there is none.
pub(crate) fn find(subject: &str) -> Result<Model, String> {
    Ok(match subject {
        "eva_vit" => eva_vit::run,
        "causal_qformer" => causal_q_former::run,
        "quantizer" => quantizer::run,
        "seed_v1_stage2" => stage_two::run,
        "seed_v2_head" => image_head::run,
        "end_to_end_v1" => end_to_end::run,
        "preprocessing" => preprocessing::run,
        "clip" => clip::run,
        "metrics" => metrics::run,
        "tokenizers" => tokenizers::run,
        "opt" => opt::run,
        "lora" => lora::run,
        "stable_diffusion" => stable_diffusion::run,
        _ => return Err("no such model here".to_owned()),
    })
}
