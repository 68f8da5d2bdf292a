//! Every model against golden numbers of the reference implementations, at tiny sizes.
//!
//! Each folder of `tests/fixtures` is one case: `config.json` has the sizes, `weights` and `inputs`
//! go in, `outputs` and gradients must come out, `stats.json` has the tolerance of each tensor. The
//! device is `SEED_TEST_DEVICE`.

mod causal_q_former;
mod clip_text;
mod eva_vit;
mod fixture;
mod image_head;
mod quantizer;
mod stage_two;
