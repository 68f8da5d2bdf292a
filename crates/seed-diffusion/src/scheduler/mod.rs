//! From noise to latents: how noisy each time step is, which time steps are visited, and the step from one to the next.

mod config;
mod ddim;
mod diffusers;
mod dpm_solver;
mod multistep;
mod noise_schedule;
mod path;
mod prediction;
mod sampling;
mod solver;

pub use config::{FinalNoise, Sampler, SchedulerConfig, Spacing};
pub use noise_schedule::{BetaSchedule, NoiseSchedule, NoiseScheduleConfig};
pub use prediction::Prediction;
pub use sampling::{Scheduler, Step};
