//! What one sees while training runs: burn-train's dashboard on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, stdout};
use std::sync::Arc;
use std::time::{Duration, Instant};

use burn::train::Interrupter;
use burn::train::logger::TrainingProgressLogger;
use burn::train::metric::{
    MetricDefinition, MetricEntry, MetricId, NumericAttributes, NumericEntry, SerializedEntry,
};
use burn::train::renderer::tui::TuiMetricsRendererWrapper;
use burn::train::renderer::{MetricState, MetricsRenderer, MetricsRendererTraining};

use crate::metrics::{Evaluation, TrainMetrics};

/// Time between plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// How progress is to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProgressMode {
    /// The dashboard if standard output is a terminal and `NO_COLOR` is unset, else plain lines.
    #[default]
    Auto,
    /// A line on standard error every few seconds.
    Plain,
    /// burn-train's dashboard; `q` then `s` stops with a checkpoint, as Ctrl-C does.
    Dashboard,
    /// Nothing.
    Quiet,
}

/// The progress of one training stage.
pub enum Progress {
    /// Shows nothing.
    Quiet,
    /// Lines on standard error.
    Plain(PlainLines),
    /// burn-train's dashboard.
    Dashboard(Box<Dashboard>),
}

impl Progress {
    /// Begins to show a stage of `steps` steps.
    pub fn start(mode: ProgressMode, stage: &str, steps: u64) -> Self {
        let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        match mode {
            ProgressMode::Quiet => Self::Quiet,
            ProgressMode::Dashboard => Self::Dashboard(Box::new(Dashboard::open(stage, steps))),
            ProgressMode::Auto if colours && stdout().is_terminal() => {
                Self::start(ProgressMode::Dashboard, stage, steps)
            }
            ProgressMode::Auto | ProgressMode::Plain => Self::Plain(PlainLines {
                steps,
                last: None,
                shown: 0,
            }),
        }
    }

    /// Shows a step; `left` is the estimated time until the last one.
    pub fn step(&mut self, metrics: &TrainMetrics, left: Duration) {
        match self {
            Self::Quiet => {}
            Self::Plain(lines) => lines.step(metrics, left),
            Self::Dashboard(dashboard) => dashboard.step(metrics, left),
        }
    }

    /// Shows an evaluation.
    pub fn evaluation(&mut self, evaluation: &Evaluation) {
        match self {
            Self::Quiet => {}
            Self::Plain(lines) => eprintln!("{}", lines.evaluation(evaluation)),
            Self::Dashboard(dashboard) => dashboard.evaluation(evaluation),
        }
    }

    /// Tells something that happens once: a resume, a checkpoint that was passed over.
    pub fn note(&mut self, text: &str) {
        match self {
            Self::Quiet => {}
            Self::Plain(_) => eprintln!("{text}"),
            Self::Dashboard(dashboard) => dashboard.notes.push(text.to_owned()),
        }
    }

    /// Whether the user asked to stop from within the dashboard.
    pub fn stop_requested(&self) -> bool {
        matches!(self, Self::Dashboard(dashboard) if dashboard.interrupter.should_stop())
    }
}

/// Plain lines, one every few seconds, and the last step always.
#[derive(Debug)]
pub struct PlainLines {
    steps: u64,
    last: Option<Instant>,
    shown: u64,
}

impl PlainLines {
    fn step(&mut self, metrics: &TrainMetrics, left: Duration) {
        let due = self.last.is_none_or(|last| last.elapsed() >= LINE_EVERY);
        if (due || metrics.step == self.steps) && self.shown != metrics.step {
            eprintln!("{}", self.line(metrics, left));
            self.last = Some(Instant::now());
            self.shown = metrics.step;
        }
    }

    fn line(&self, metrics: &TrainMetrics, left: Duration) -> String {
        let TrainMetrics {
            stage,
            step,
            loss,
            rate,
            images_per_second,
            ..
        } = metrics;
        let width = self.steps.to_string().len();
        let parts = named(&metrics.parts);
        let parts = if parts.is_empty() {
            parts
        } else {
            format!(" ({parts})")
        };
        format!(
            "{stage} {step:>width$}/{}  loss {loss:.4}{parts}  lr {rate:.2e}  {images_per_second:.0} images/s  {} left",
            self.steps,
            duration(left)
        )
    }

    fn evaluation(&self, evaluation: &Evaluation) -> String {
        let Evaluation {
            stage,
            step,
            values,
        } = evaluation;
        format!(
            "{stage} {step}/{}  evaluation: {}",
            self.steps,
            named(values)
        )
    }
}

fn named(values: &std::collections::BTreeMap<String, f64>) -> String {
    let pairs: Vec<_> = values
        .iter()
        .map(|(name, value)| format!("{name} {value:.4}"))
        .collect();
    pairs.join(", ")
}

/// `42s`, `3m05s`, `2h07m`.
fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// burn-train's terminal dashboard, fed by the step loop.
pub struct Dashboard {
    renderer: Option<TuiMetricsRendererWrapper>,
    interrupter: Interrupter,
    metrics: Vec<String>,
    steps: u64,
    last: Option<String>,
    notes: Vec<String>,
}

impl Dashboard {
    fn open(stage: &str, steps: u64) -> Self {
        let interrupter = Interrupter::new();
        let mut renderer = TuiMetricsRendererWrapper::new(interrupter.clone(), None);
        // One "epoch" of all steps: the dashboard counts epochs and items only.
        renderer.start(1, 1, Some(steps as usize), Some(stage));
        renderer.start_split("train", steps as usize);
        let (metrics, notes) = (Vec::new(), Vec::new());
        Self {
            renderer: Some(renderer),
            interrupter,
            metrics,
            steps,
            last: None,
            notes,
        }
    }

    fn step(&mut self, metrics: &TrainMetrics, left: Duration) {
        keep_signals();
        let scalars = [
            ("loss", metrics.loss, false),
            ("learning rate", metrics.rate, false),
            ("gradient norm", metrics.gradient_norm, false),
            ("images/s", metrics.images_per_second, true),
        ];
        for (name, value, higher) in scalars {
            self.train_metric(name, value, higher);
        }
        for (name, value) in &metrics.parts {
            self.train_metric(name, *value, false);
        }
        if let Some(renderer) = &mut self.renderer {
            renderer.update_split(metrics.step as usize);
        }
        let lines = PlainLines {
            steps: self.steps,
            last: None,
            shown: 0,
        };
        self.last = Some(lines.line(metrics, left));
    }

    fn evaluation(&mut self, evaluation: &Evaluation) {
        for (name, value) in &evaluation.values {
            let state = self.state(name, *value, true);
            if let Some(renderer) = &mut self.renderer {
                renderer.update_valid(state);
            }
        }
    }

    fn train_metric(&mut self, name: &str, value: f64, higher_is_better: bool) {
        let state = self.state(name, value, higher_is_better);
        if let Some(renderer) = &mut self.renderer {
            renderer.update_train(state);
        }
    }

    /// The dashboard's form of a value; a name seen for the first time is registered.
    fn state(&mut self, name: &str, value: f64, higher_is_better: bool) -> MetricState {
        let id = MetricId::new(Arc::new(name.to_owned()));
        if !self.metrics.iter().any(|known| known == name) {
            self.metrics.push(name.to_owned());
            if let Some(renderer) = &mut self.renderer {
                renderer.register_metric(MetricDefinition {
                    metric_id: id.clone(),
                    name: Arc::new(name.to_owned()),
                    description: None,
                    attributes: NumericAttributes {
                        unit: None,
                        higher_is_better,
                    }
                    .into(),
                });
            }
        }
        let text = SerializedEntry::new(format!("{value:.5}"), value.to_string());
        MetricState::Numeric(MetricEntry::new(id, text), Some(NumericEntry::Value(value)))
    }
}

impl Drop for Dashboard {
    /// Gives the terminal back, then leaves there what would scroll by with plain lines.
    fn drop(&mut self) {
        drop(self.renderer.take());
        for line in self.notes.iter().chain(&self.last) {
            eprintln!("{line}");
        }
    }
}

/// The dashboard puts the terminal into raw mode, in which Ctrl-C is a mere key that it ignores: let
/// it be a signal again. The dashboard's thread sets raw mode some time after it starts, so this is
/// done with every update.
fn keep_signals() {
    #[cfg(unix)]
    {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let input = std::io::stdin();
        if let Ok(mut modes) = tcgetattr(&input)
            && !modes.local_modes.contains(LocalModes::ISIG)
        {
            modes.local_modes |= LocalModes::ISIG;
            // Without it only the dashboard's own `q` stops the run.
            let _ = tcsetattr(&input, OptionalActions::Now, &modes);
        }
    }
}

/// Whether the dashboard has the terminal.
pub(crate) fn dashboard_is_open() -> bool {
    crossterm::terminal::is_raw_mode_enabled().unwrap_or(false)
}

/// Leaves the dashboard's screen, for an exit that runs no destructor.
pub(crate) fn restore_terminal() {
    use crossterm::event::DisableMouseCapture;
    use crossterm::terminal::{LeaveAlternateScreen, disable_raw_mode};
    if dashboard_is_open() {
        // The process ends right after: there is nobody left to tell.
        let _ = disable_raw_mode();
        let _ = crossterm::execute!(
            stdout(),
            DisableMouseCapture,
            LeaveAlternateScreen,
            crossterm::cursor::Show
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn lines_read_well() {
        let metrics = TrainMetrics {
            stage: "itc".into(),
            step: 7,
            epoch: None,
            rate: 1e-4,
            loss: 3.25,
            parts: BTreeMap::from([("accuracy".into(), 0.5)]),
            gradient_norm: 1.0,
            images_per_second: 812.3,
            data_wait_seconds: 0.0,
            seconds: 1.0,
        };
        let lines = PlainLines {
            steps: 120,
            last: None,
            shown: 0,
        };
        assert_eq!(
            lines.line(&metrics, Duration::from_secs(185)),
            "itc   7/120  loss 3.2500 (accuracy 0.5000)  lr 1.00e-4  812 images/s  3m05s left"
        );
        assert_eq!(duration(Duration::from_secs(59)), "59s");
        assert_eq!(duration(Duration::from_mins(127)), "2h07m");
    }
}
