//! A clean stop: Ctrl-C asks, the step loop finishes its step and writes a checkpoint.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// Exit status of a process ended by SIGINT, as shells expect it.
const INTERRUPTED: i32 = 130;

/// A request to stop after the current step. Clones share the request.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// A flag that only [`request`](Self::request) raises.
    pub fn new() -> Self {
        Self::default()
    }

    /// The process-wide flag that Ctrl-C, SIGTERM and SIGHUP raise. A second signal ends the process
    /// at once with status 130; checkpoints already written stay.
    pub fn on_ctrl_c() -> Result<Self, StopError> {
        static FLAG: OnceLock<StopFlag> = OnceLock::new();
        if let Some(flag) = FLAG.get() {
            return Ok(flag.clone());
        }
        let flag = Self::new();
        let raised = flag.clone();
        ctrlc::set_handler(move || {
            if raised.0.swap(true, Ordering::SeqCst) {
                crate::progress::restore_terminal();
                std::process::exit(INTERRUPTED);
            }
            if !crate::progress::dashboard_is_open() {
                eprintln!(
                    "\nstopping after this step, with a checkpoint; once more to stop at once"
                );
            }
        })?;
        Ok(FLAG.get_or_init(|| flag).clone())
    }

    /// Asks for a stop after the current step.
    pub fn request(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether a stop was asked for.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// The signal handler could not be installed.
#[derive(Debug, thiserror::Error)]
#[error("cannot handle Ctrl-C (does the program install its own handler?): {0}")]
pub struct StopError(#[from] ctrlc::Error);
