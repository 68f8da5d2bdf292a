//! A clean stop: Ctrl-C asks, and whoever works ends at the next place where nothing is lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// Exit status of a process ended by SIGINT, as shells expect it.
const INTERRUPTED: i32 = 130;

/// A request to stop. Clones share the request.
///
/// The step loop stops after its step, with a checkpoint; what fills caches or scores stops between two batches.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// A flag that only [`request`](Self::request) raises.
    pub fn new() -> Self {
        Self::default()
    }

    /// The process-wide flag that Ctrl-C, SIGTERM and SIGHUP raise. A second signal ends the process
    /// at once with status 130, after `before_exit`; checkpoints already written stay.
    ///
    /// `before_exit` removes what a process that ends at once would leave behind; the first call's counts.
    pub fn on_ctrl_c(before_exit: fn()) -> Result<Self, StopError> {
        static FLAG: OnceLock<StopFlag> = OnceLock::new();
        if let Some(flag) = FLAG.get() {
            return Ok(flag.clone());
        }
        let flag = Self::new();
        let raised = flag.clone();
        ctrlc::set_handler(move || {
            if raised.0.swap(true, Ordering::SeqCst) {
                crate::progress::restore_terminal();
                before_exit();
                std::process::exit(INTERRUPTED);
            }
            if !crate::progress::dashboard_is_open() {
                eprintln!(
                    "\nstopping: a training ends after this step with a checkpoint, other work after this batch; \
                     once more to end at once"
                );
            }
        })?;
        Ok(FLAG.get_or_init(|| flag).clone())
    }

    /// Asks for a stop.
    pub fn request(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether a stop was asked for.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// An error if a stop was asked for: between two batches of work that is not kept unless it is whole.
    pub fn check(&self) -> Result<(), Stopped> {
        if self.is_requested() {
            return Err(Stopped);
        }
        Ok(())
    }
}

/// Work was stopped because it was asked for; what was not whole is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped, as asked for")]
pub struct Stopped;

/// The signal handler could not be installed.
#[derive(Debug, thiserror::Error)]
#[error("cannot handle Ctrl-C (does the program install its own handler?): {0}")]
pub struct StopError(#[from] ctrlc::Error);
