//! The report of a run: one struct that holds everything shown, saved as JSON beside the page made of it.
//!
//! Every part may be missing (a run of stage I alone has no codes); its section is then absent.
//!
//! ```
//! use seed_eval::{Share, report::{Curve, Headline, Report, Series, Stage}};
//! let report = Report::new("nano, seed 0")
//!     .fact("device", "flex")
//!     .headline(Headline::new("R@1 image→text", Share::new(362, 1327)))
//!     .stage(Stage::new("Stage I").curve(
//!         Curve::new("Loss").series(Series::new("ITC", [(0.0, 5.5), (100.0, 3.1)])),
//!     ));
//! assert!(report.html().contains("nano, seed 0"));
//! ```

mod candidates;
pub(crate) mod chart;
mod contents;
mod curves;
mod galleries;
mod headline;
mod html;
pub(crate) mod judge;
mod measured;
pub(crate) mod page;
mod png;
pub(crate) mod save;
pub(crate) mod terminal;

pub use candidates::RetrievalResult;
pub use contents::{Fact, Report};
pub use curves::{Curve, Series, Stage};
pub use galleries::{CaptionMatch, CodeExample, CodeGallery, NearestCaptions};
pub use headline::Headline;
pub use png::Png;
