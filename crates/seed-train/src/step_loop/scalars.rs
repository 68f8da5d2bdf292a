//! The scalars of a step, kept on the device until they are needed, and the clock beside them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use burn::tensor::{FloatDType, Tensor};

use crate::config::TrainConfig;
use crate::metrics::TrainMetrics;
use crate::recipe::Losses;

/// How long scalars may stay on the device: progress is shown at least this often.
const DRAIN_EVERY: Duration = Duration::from_secs(2);

/// The scalars of one step, on the device.
pub(super) struct Row {
    step: u64,
    rate: f64,
    /// Name and weight of each value: `None` is the loss, once per micro-batch; the gradient norm comes last.
    names: Vec<(Option<&'static str>, f64)>,
    values: Vec<Tensor<1>>,
    seconds: f64,
    waited: f64,
}

/// The scalars of one step, on the host.
pub(super) struct Values {
    pub(super) step: u64,
    rate: f64,
    loss: f64,
    parts: Vec<(&'static str, f64)>,
    gradient_norm: f64,
    seconds: f64,
    waited: f64,
}

/// The steps whose scalars were not read yet.
#[derive(Default)]
pub(super) struct Pending(Vec<Row>);

impl Row {
    pub(super) fn new(step: u64, rate: f64) -> Self {
        let (names, values) = (Vec::new(), Vec::new());
        Self {
            step,
            rate,
            names,
            values,
            seconds: 0.0,
            waited: 0.0,
        }
    }

    /// Adds a micro-batch's scalars, without their graph.
    pub(super) fn push(&mut self, losses: &Losses) {
        self.add(None, 1.0, &losses.total);
        for part in &losses.parts {
            self.add(Some(part.name), part.items, &part.value);
        }
    }

    pub(super) fn set_gradient_norm(&mut self, norm: Tensor<1>) {
        self.values.push(norm);
    }

    fn add(&mut self, name: Option<&'static str>, weight: f64, value: &Tensor<1>) {
        self.names.push((name, weight));
        self.values
            .push(value.clone().without_autodiff().cast(FloatDType::F32));
    }

    /// Means of the values read from the device, over micro-batches or over what a part says it is a mean of.
    fn read(self, values: &[f64]) -> Values {
        let mut means: Vec<(Option<&'static str>, f64, f64)> = Vec::new();
        for ((name, weight), value) in self.names.iter().zip(values) {
            let known = means.iter().position(|(other, ..)| other == name);
            let index = known.unwrap_or_else(|| {
                means.push((*name, 0.0, 0.0));
                means.len() - 1
            });
            let (_, sum, weights) = &mut means[index];
            *sum += weight * value;
            *weights += weight;
        }
        let mut loss = f64::NAN;
        let mut parts = Vec::new();
        for (name, sum, weights) in means {
            match name {
                None => loss = sum / weights,
                Some(name) => parts.push((name, sum / weights)),
            }
        }
        let gradient_norm = values[self.names.len()];
        let Self {
            step,
            rate,
            seconds,
            waited,
            ..
        } = self;
        Values {
            step,
            rate,
            loss,
            parts,
            gradient_norm,
            seconds,
            waited,
        }
    }
}

impl Values {
    /// Names of what makes training impossible from here: the loss and the gradients, and with them
    /// the parts that may be their cause.
    pub(super) fn not_finite(&self) -> Vec<String> {
        let total = [("loss", self.loss), ("gradients", self.gradient_norm)];
        if total.iter().all(|(_, value)| value.is_finite()) {
            return Vec::new();
        }
        let all = total.iter().chain(&self.parts);
        all.filter(|(_, value)| !value.is_finite())
            .map(|(name, _)| (*name).to_owned())
            .collect()
    }
}

impl Pending {
    pub(super) fn push(&mut self, row: Row, clock: &Clock) {
        self.0.push(Row {
            seconds: clock.training,
            waited: clock.waited,
            ..row
        });
    }

    /// Reads all pending scalars in one transfer.
    pub(super) fn drain(&mut self) -> Vec<Values> {
        let mut rows = std::mem::take(&mut self.0);
        if rows.is_empty() {
            return Vec::new();
        }
        let tensors: Vec<_> = rows
            .iter_mut()
            .flat_map(|row| row.values.drain(..))
            .collect();
        let data = Tensor::cat(tensors, 0).into_data();
        let mut values: Vec<f64> = data.iter::<f64>().collect();
        let mut read = Vec::with_capacity(rows.len());
        for row in rows {
            let rest = values.split_off(row.names.len() + 1);
            read.push(row.read(&values));
            values = rest;
        }
        read
    }
}

/// Times training alone: evaluation and checkpoints do not count.
pub(super) struct Clock {
    begun: Instant,
    drained: Instant,
    /// Seconds of training in this session.
    training: f64,
    /// Seconds of it that went by in the loader.
    waited: f64,
    /// Steps done when the session began.
    start: u64,
    /// Steps, seconds and waiting at the last logged line.
    logged: (u64, f64, f64),
}

impl Clock {
    pub(super) fn new(start: u64) -> Self {
        let now = Instant::now();
        let logged = (start, 0.0, 0.0);
        Self {
            begun: now,
            drained: now,
            training: 0.0,
            waited: 0.0,
            start,
            logged,
        }
    }

    /// Begins a stretch of training.
    pub(super) fn begin(&mut self) {
        self.begun = Instant::now();
    }

    /// Ends the stretch of training.
    pub(super) fn end(&mut self) {
        self.training += self.begun.elapsed().as_secs_f64();
    }

    /// Takes the next batch and counts the wait for it.
    pub(super) fn waiting<T>(&mut self, next: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let result = next();
        self.waited += begun.elapsed().as_secs_f64();
        result
    }

    /// Whether scalars have been on the device for long enough.
    pub(super) fn is_due(&self) -> bool {
        self.drained.elapsed() >= DRAIN_EVERY
    }

    pub(super) fn drained(&mut self) {
        self.drained = Instant::now();
    }

    /// Turns a step's values into metrics; `log` begins a new interval of throughput after it.
    pub(super) fn metrics(
        &mut self,
        stage: &str,
        config: &TrainConfig,
        steps_per_epoch: Option<u64>,
        values: Values,
        log: bool,
    ) -> TrainMetrics {
        let step = values.step + 1;
        let (logged_step, logged_seconds, logged_waited) = self.logged;
        let images = (step - logged_step) * config.images_per_step() as u64;
        if log {
            self.logged = (step, values.seconds, values.waited);
        }
        let finite = values
            .parts
            .into_iter()
            .filter(|(_, value)| value.is_finite());
        TrainMetrics {
            stage: stage.to_owned(),
            step,
            epoch: steps_per_epoch.map(|steps| values.step / steps.max(1)),
            rate: values.rate,
            loss: values.loss,
            parts: finite
                .map(|(name, value)| (name.to_owned(), value))
                .collect::<BTreeMap<_, _>>(),
            gradient_norm: values.gradient_norm,
            images_per_second: images as f64 / (values.seconds - logged_seconds).max(1e-9),
            data_wait_seconds: values.waited - logged_waited,
            seconds: values.seconds,
        }
    }

    /// Estimated time until `steps` are done, `step` of them being done.
    pub(super) fn left(&self, step: u64, steps: u64) -> Duration {
        let per_step = self.training / (step - self.start).max(1) as f64;
        Duration::from_secs_f64(per_step * (steps - step) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seed_device::test_device;

    fn losses(values: [f32; 2]) -> Losses {
        let scalar = |value: f32| Tensor::<1>::from_floats([value], &test_device());
        Losses::new(scalar(values[0])).with("accuracy", scalar(values[1]))
    }

    #[test]
    fn values_are_means_over_micro_batches() {
        let mut pending = Pending::default();
        let clock = Clock::new(0);
        for step in 0..2 {
            let mut row = Row::new(step, 0.1);
            row.push(&losses([1.0, 0.5]));
            row.push(&losses([3.0, 1.0]));
            row.set_gradient_norm(Tensor::from_floats([7.0 + step as f32], &test_device()));
            pending.push(row, &clock);
        }
        let read = pending.drain();
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].loss, read[0].gradient_norm), (2.0, 7.0));
        assert_eq!((read[1].loss, read[1].gradient_norm), (2.0, 8.0));
        assert_eq!(read[1].parts, [("accuracy", 0.75)]);
        assert!(pending.drain().is_empty());
    }

    /// A task that is drawn in some micro-batches only: its loss is the mean over its own sequences.
    #[test]
    fn a_part_is_a_mean_over_its_own_items() {
        let scalar = |value: f32| Tensor::<1>::from_floats([value], &test_device());
        let mut row = Row::new(0, 0.1);
        row.push(&Losses::new(scalar(1.0)).with_mean_of(3.0, "caption", scalar(2.0)));
        row.push(&Losses::new(scalar(1.0)).with_mean_of(1.0, "caption", scalar(6.0)));
        row.push(&Losses::new(scalar(1.0)).with_mean_of(2.0, "image", scalar(5.0)));
        row.set_gradient_norm(scalar(1.0));
        let mut pending = Pending::default();
        pending.push(row, &Clock::new(0));
        let read = pending.drain();
        assert_eq!(read[0].parts, [("caption", 3.0), ("image", 5.0)]);
    }

    #[test]
    fn only_loss_and_gradients_must_be_finite() {
        let values = |loss, part, gradient_norm| Values {
            step: 0,
            rate: 0.0,
            loss,
            parts: vec![("recon", part), ("usage", 1.0)],
            gradient_norm,
            seconds: 0.0,
            waited: 0.0,
        };
        assert!(values(1.0, f64::NAN, 1.0).not_finite().is_empty());
        assert_eq!(
            values(f64::NAN, f64::NAN, 1.0).not_finite(),
            ["loss", "recon"]
        );
        assert_eq!(values(1.0, 1.0, f64::INFINITY).not_finite(), ["gradients"]);
    }
}
