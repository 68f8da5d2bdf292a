//! Parity: every model against golden numbers of its reference, and any device against another.
//!
//! A *kit* is a folder of cases, a case a folder: `config.json` has the sizes, weights and inputs go
//! in, `outputs.safetensors`, gradients and `expected.json` must come out, and `stats.json` has a
//! tolerance for each tensor. The numbers come from the original PyTorch code on random weights; the
//! repository's own kit is `tests/fixtures`, and a kit recorded with other sizes runs as well.
//!
//! A case is known by its folder's name without the number in front: `01_eva_vit` is an `eva_vit`. What
//! a case does not hold is not compared, what this library does not build is [skipped](Outcome::Skipped)
//! with the reason, and a case that compares nothing has [failed](Outcome::Failed): nothing passes
//! unseen.
//!
//! ```
//! # use seed_device::test_device;
//! # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/03_quantizer");
//! let kit = seed_parity::Kit::open(folder)?;
//! let result = seed_parity::run(&kit, &test_device(), |case| println!("{} done", case.name));
//! assert!(result.passed(), "{}", result.table());
//! # Ok::<(), seed_parity::ParityError>(())
//! ```

mod case;
mod cases;
mod comparison;
mod error;
mod kit;
mod outputs;
mod result;
mod table;

pub use comparison::{Comparison, Measure};
pub use error::ParityError;
pub use kit::{Kit, KitCase, run, run_against};
pub use result::{CaseResult, Counts, KitResult, LeftOut, Outcome};
pub use table::Table;
