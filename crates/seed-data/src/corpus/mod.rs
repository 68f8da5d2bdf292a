//! The corpus that ships with the crate: emoji as six vendors draw them, with their names and
//! keywords from Unicode CLDR.

mod embedded;
mod set;

pub use embedded::{Concept, Corpus, Drawing, Vendor};
pub use set::{ConceptFilter, CorpusSet, RenderedSet, Subset};
