//! The engine that trains: one step loop for every stage. It knows neither data nor models.
//!
//! A [`Recipe`] says what a batch is and what its loss is; everything else is here and is shared by
//! all stages: schedule, AdamW with the reference's decay grouping, accumulation, clipping, the
//! exchange of gradients between processes, checkpoints that resume at the exact step, metrics,
//! progress, and a clean stop.
//!
//! ```text
//! batches ─► Recipe::loss ─► backward ─► accumulate ─► exchange ─► clip ─► AdamW ─► Recipe::after_update
//!                │                                                                        │
//!                └── loss parts ─► metrics.jsonl, progress                 checkpoints ◄──┘
//! ```
//!
//! [`Trainer`] drives it. A resumed run computes the very numbers of an uninterrupted one: the state
//! of a step is the model, the optimiser and the step index, and nothing else; dropout and data order
//! are functions of the seed and the step.

mod average;
mod checkpoint;
mod config;
mod config_error;
mod gradients;
mod metrics;
mod optimizer;
mod progress;
mod recipe;
mod run_dir;
mod schedule;
mod step_loop;
mod stop;

pub use average::Averaged;
pub use checkpoint::{CheckpointError, CheckpointState, Checkpoints, FileRecord, Found};
pub use config::TrainConfig;
pub use config_error::{ConfigError, load_config};
pub use gradients::{GradientExchange, SingleProcess, clip_by_norm, global_norm};
pub use metrics::{Evaluation, MetricsError, MetricsLine, TrainMetrics, read_metrics};
pub use optimizer::{AdamWConfig, ParameterGroup, RateMultiplier, decays};
pub use progress::{Progress, ProgressMode};
pub use recipe::{Losses, Part, Recipe, ReplacedRows, Updated};
pub use run_dir::{Existing, RunDir, RunError, RunInfo};
pub use schedule::LrSchedule;
pub use step_loop::{BoxError, Outcome, TrainError, Trained, Trainer, check_stage};
pub use stop::{StopError, StopFlag, Stopped};
