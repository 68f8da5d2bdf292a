//! The step loop on a small model with dropout, norm, clipping and accumulation.
//!
//! The tests share one random stream (the device's), so they run one at a time.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use burn::module::{Module, ModuleVisitor, Param};
use burn::nn::{Dropout, DropoutConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::{Device, Tensor, TensorData};
use proptest::prelude::*;
use seed_device::test_device;
use seed_train::{
    AdamWConfig, CheckpointError, Existing, Losses, LrSchedule, MetricsLine, Outcome, ProgressMode,
    Recipe, RunDir, RunInfo, StopFlag, TrainConfig, TrainError, Trained, Trainer, Updated,
    check_stage, read_metrics,
};
use serde_json::{Value, json};

const WIDTH: usize = 48;

#[derive(Module, Debug)]
struct Toy {
    up: Linear,
    norm: LayerNorm,
    dropout: Dropout,
    down: Linear,
}

/// A fresh model, with parameters and ids of its own.
fn toy(device: &Device, dropout: f64) -> Toy {
    Toy {
        up: LinearConfig::new(4, WIDTH).init(device),
        norm: LayerNormConfig::new(WIDTH).init(device),
        dropout: DropoutConfig::new(dropout).init(),
        down: LinearConfig::new(WIDTH, 4).init(device),
    }
}

/// Learns to reverse the order of four numbers.
struct Reverse {
    device: Device,
    width: usize,
    /// Raised after this step, as Ctrl-C would.
    stop_after: Option<(u64, StopFlag)>,
}

impl Recipe for Reverse {
    type Model = Toy;
    type Batch = Vec<[f32; 4]>;

    fn name(&self) -> &'static str {
        "reverse"
    }

    fn config(&self) -> Value {
        json!({ "width": self.width })
    }

    fn loss(&self, model: &Toy, batch: Self::Batch) -> Losses {
        let rows = batch.len();
        let flat: Vec<f32> = batch.into_iter().flatten().collect();
        let input = Tensor::<2>::from_data(TensorData::new(flat, [rows, 4]), &self.device);
        let hidden = model.norm.forward(model.up.forward(input.clone()).tanh());
        let output = model.down.forward(model.dropout.forward(hidden));
        let error = (output - input.flip([1])).square().mean();
        Losses::new(error.clone().mul_scalar(2.0)).with("mse", error)
    }

    fn after_update(&self, model: Toy, step: u64) -> Updated<Toy> {
        if let Some((after, flag)) = &self.stop_after
            && step == *after
        {
            flag.request();
        }
        Updated::new(model)
    }
}

/// Batch number `index`, a function of the index alone.
fn batch(index: u64, rows: usize) -> Vec<[f32; 4]> {
    let value = |row: usize, column: usize| {
        ((index as usize * rows + row) as f32 * 0.37 + column as f32 * 1.3).sin()
    };
    (0..rows)
        .map(|row| std::array::from_fn(|column| value(row, column)))
        .collect()
}

fn config() -> TrainConfig {
    TrainConfig {
        steps: 12,
        batch_size: 4,
        accumulation: 2,
        optimizer: AdamWConfig {
            weight_decay: 0.1,
            ..Default::default()
        },
        schedule: LrSchedule::Cosine {
            peak: 1e-2,
            warmup_steps: 3,
            floor: 1e-4,
        },
        clip_norm: Some(0.5),
        checkpoint_every: 3,
        keep_last: 2,
        log_every: 2,
        seed: 7,
    }
}

/// One training in `root/run`, with what the tests vary.
struct Run<'a> {
    root: &'a Path,
    config: TrainConfig,
    existing: Existing,
    width: usize,
    dropout: f64,
    stop_after: Option<u64>,
    stop: StopFlag,
    nan_from_batch: u64,
    batches: u64,
}

impl<'a> Run<'a> {
    fn new(root: &'a Path) -> Self {
        Self {
            root,
            config: config(),
            existing: Existing::Refuse,
            width: WIDTH,
            dropout: 0.2,
            stop_after: None,
            stop: StopFlag::new(),
            nan_from_batch: u64::MAX,
            batches: u64::MAX,
        }
    }

    fn resume(root: &'a Path) -> Self {
        Self {
            existing: Existing::Resume,
            ..Self::new(root)
        }
    }

    fn train(self) -> Result<Trained<Toy>, TrainError> {
        self.train_from(17)
    }

    /// Trains from the initial parameters of `init_seed`.
    fn train_from(self, init_seed: u64) -> Result<Trained<Toy>, TrainError> {
        let device = test_device().autodiff();
        device.seed(init_seed);
        let model = toy(&device, self.dropout);
        // Parameters are drawn at first use; all now, so that they depend on the seed alone.
        let _ = bits(&model);
        let recipe = Reverse {
            device: device.clone(),
            width: self.width,
            stop_after: self.stop_after.map(|step| (step, self.stop.clone())),
        };
        let info = RunInfo {
            config: json!({}),
            seed: self.config.seed,
            device: "test".into(),
            outputs: &[],
        };
        let mut run = RunDir::open(self.root, "run", self.existing, &info).unwrap();
        let rows = self.config.batch_size;
        let batches = |start: u64| {
            (start..self.batches).map(move |index| {
                let mut batch = batch(index, rows);
                if index >= self.nan_from_batch {
                    batch[0][0] = f32::NAN;
                }
                Ok::<_, std::io::Error>(batch)
            })
        };
        Trainer::new(&recipe, &self.config)
            .progress(ProgressMode::Quiet)
            .stop(self.stop.clone())
            .steps_per_epoch(5)
            .on_evaluate(4, |model, _| {
                let weight = model.up.weight.val();
                assert!(
                    !weight.is_autodiff(),
                    "evaluation gets the model without autodiff"
                );
                Ok(vec![(
                    "size".to_owned(),
                    f64::from(weight.abs().sum().into_scalar::<f32>()),
                )])
            })
            .train(model, batches, &mut run)
    }
}

/// All parameters of a model, bit by bit.
fn bits(model: &Toy) -> Vec<u32> {
    struct Collect(Vec<u32>);
    impl ModuleVisitor for Collect {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0
                .extend(param.val().into_data().iter::<f32>().map(f32::to_bits));
        }
    }
    let mut collect = Collect(Vec::new());
    model.visit(&mut collect);
    collect.0
}

/// The metrics of a run without what the clock says.
fn metrics(root: &Path) -> Vec<MetricsLine> {
    let mut lines = read_metrics(&root.join("run/metrics.jsonl")).unwrap();
    for line in &mut lines {
        if let MetricsLine::Train(train) = line {
            (
                train.images_per_second,
                train.data_wait_seconds,
                train.seconds,
            ) = (0.0, 0.0, 0.0);
        }
    }
    lines
}

fn checkpoint(root: &Path, step: u64) -> PathBuf {
    root.join(format!("run/checkpoints/reverse/step-{step:06}"))
}

fn saved_steps(root: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(root.join("run/checkpoints/reverse"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The shared random stream allows one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static STREAM: Mutex<()> = Mutex::new(());
    STREAM.lock().unwrap_or_else(PoisonError::into_inner)
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn training_learns_and_writes_what_it_says() {
    let _alone = alone();
    let root = folder();
    let config = TrainConfig {
        steps: 60,
        ..config()
    };
    let trained = Run {
        config,
        dropout: 0.0,
        ..Run::new(root.path())
    }
    .train()
    .unwrap();
    assert_eq!(trained.outcome, Outcome::Finished);
    let lines = metrics(root.path());
    let train: Vec<_> = lines
        .iter()
        .filter_map(|line| match line {
            MetricsLine::Train(train) => Some(train),
            MetricsLine::Evaluation(_) => None,
        })
        .collect();
    assert_eq!(
        train.iter().map(|line| line.step).collect::<Vec<_>>(),
        (2..=60).step_by(2).collect::<Vec<_>>()
    );
    assert!(
        train[29].loss < 0.2 * train[0].loss,
        "{} → {}",
        train[0].loss,
        train[29].loss
    );
    assert!((train[0].loss - 2.0 * train[0].parts["mse"]).abs() < 1e-6);
    assert_eq!(
        train[2].epoch,
        Some(1),
        "step 6 begins the second epoch of 5"
    );
    assert!(train[0].gradient_norm > 0.5, "told before clipping");
    let evaluations = lines.len() - train.len();
    assert_eq!(evaluations, 15);
    assert_eq!(saved_steps(root.path()), ["step-000057", "step-000060"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..Default::default() })]

    #[test]
    fn resumed_is_uninterrupted_bit_for_bit(stop in 1_u64..12, accumulation in 1_usize..4) {
        let _alone = alone();
        let config = TrainConfig { accumulation, ..config() };
        let (whole, parts) = (folder(), folder());
        let expected = Run { config: config.clone(), ..Run::new(whole.path()) }.train().unwrap();

        let first = Run { config: config.clone(), stop_after: Some(stop), ..Run::new(parts.path()) };
        let stopped = first.train().unwrap();
        prop_assert_eq!(stopped.outcome, Outcome::Interrupted { step: stop });
        // Other initial parameters, and other ids: all must come from the checkpoint.
        let second = Run { config, ..Run::resume(parts.path()) };
        let resumed = second.train_from(stop).unwrap();

        prop_assert_eq!(resumed.outcome, Outcome::Finished);
        prop_assert!(bits(&resumed.model) == bits(&expected.model), "parameters differ");
        prop_assert_eq!(metrics(parts.path()), metrics(whole.path()));
    }
}

#[test]
fn dropout_follows_the_seed() {
    let _alone = alone();
    let train = |seed| {
        let root = folder();
        let run = Run {
            config: TrainConfig { seed, ..config() },
            ..Run::new(root.path())
        };
        bits(&run.train().unwrap().model)
    };
    assert_eq!(train(1), train(1));
    assert_ne!(train(1), train(2));
}

#[test]
fn a_crash_costs_the_steps_since_the_last_checkpoint_only() {
    let _alone = alone();
    let (whole, parts) = (folder(), folder());
    let expected = Run::new(whole.path()).train().unwrap();
    let error = Run {
        batches: 16,
        ..Run::new(parts.path())
    }
    .train()
    .unwrap_err();
    assert!(
        matches!(error, TrainError::DataEnded { step: 8, steps: 12 }),
        "{error}"
    );
    // Step 8 was logged, and is done again from the checkpoint of step 6.
    let resumed = Run::resume(parts.path()).train_from(1).unwrap();
    assert_eq!(bits(&resumed.model), bits(&expected.model));
    assert_eq!(metrics(parts.path()), metrics(whole.path()));
}

#[test]
fn a_stage_that_another_config_began_is_refused_before_work() {
    let _alone = alone();
    let root = folder();
    Run::new(root.path()).train().unwrap();
    let info = RunInfo {
        config: json!({}),
        seed: 7,
        device: "test".into(),
        outputs: &[],
    };
    let run = RunDir::open(root.path(), "run", Existing::Resume, &info).unwrap();
    let check = |stage: &str, config: &TrainConfig, recipe: Value| {
        check_stage(&run, stage, config, recipe).map_err(|error| error.to_string())
    };
    let recipe = || json!({ "width": WIDTH });
    assert_eq!(check("reverse", &config(), recipe()), Ok(()));
    let longer = TrainConfig {
        steps: 20,
        ..config()
    };
    assert_eq!(check("reverse", &longer, recipe()), Ok(()));
    let error = check("reverse", &config(), json!({ "width": 3 })).unwrap_err();
    assert!(error.contains("recipe.width: 48 → 3"), "{error}");
    // What an earlier stage gives is not known yet, and a stage that has not begun fits anything.
    let inputs = json!({ "width": WIDTH, "inputs": "a hash" });
    assert!(
        check("reverse", &config(), inputs).is_err(),
        "known, and not the same"
    );
    assert_eq!(check("later", &config(), json!({ "width": 3 })), Ok(()));
}

#[test]
fn a_finished_stage_is_handed_back_as_it_is() {
    let _alone = alone();
    let root = folder();
    let trained = Run::new(root.path()).train().unwrap();
    let again = Run {
        batches: 0,
        ..Run::resume(root.path())
    }
    .train_from(1)
    .unwrap();
    assert_eq!((again.outcome, again.last), (Outcome::Finished, None));
    assert_eq!(bits(&again.model), bits(&trained.model));
}

#[test]
fn accumulation_is_a_larger_batch() {
    let _alone = alone();
    let train = |batch_size, accumulation| {
        let root = folder();
        let config = TrainConfig {
            steps: 3,
            batch_size,
            accumulation,
            ..config()
        };
        let trained = Run {
            config,
            dropout: 0.0,
            ..Run::new(root.path())
        }
        .train()
        .unwrap();
        (bits(&trained.model), trained.last.unwrap().loss)
    };
    let (large, large_loss) = train(8, 1);
    let (small, small_loss) = train(2, 4);
    assert!(
        (large_loss - small_loss).abs() < 1e-5,
        "{large_loss} {small_loss}"
    );
    for (a, b) in large.into_iter().zip(small) {
        let (a, b) = (f32::from_bits(a), f32::from_bits(b));
        // AdamW divides by the gradient's own size: rounding is amplified where it is near 0.
        assert!((a - b).abs() < 2e-4, "{a} {b}");
    }
}

#[test]
fn a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint() {
    let _alone = alone();
    let root = folder();
    let error = Run {
        nan_from_batch: 15,
        ..Run::new(root.path())
    }
    .train()
    .unwrap_err();
    let message = error.to_string();
    let TrainError::NotFinite {
        step,
        parts,
        last_good,
    } = error
    else {
        panic!("{message}")
    };
    assert_eq!(
        (step, parts),
        (7, ["loss", "gradients", "mse"].map(String::from).to_vec())
    );
    assert_eq!(last_good, Some(checkpoint(root.path(), 6)));
    assert!(
        message.contains("step 7") && message.contains("mse"),
        "{message}"
    );
    assert_eq!(saved_steps(root.path()), ["step-000003", "step-000006"]);
    assert!(metrics(root.path()).iter().all(|line| match line {
        MetricsLine::Train(train) => train.step <= 6,
        MetricsLine::Evaluation(evaluation) => evaluation.step <= 6,
    }));
    // With the data mended it goes on to the end.
    Run::resume(root.path()).train().unwrap();
}

type Damage = fn(&Path);

#[test]
fn a_damaged_checkpoint_is_passed_over() {
    let _alone = alone();
    let whole = folder();
    let expected = bits(&Run::new(whole.path()).train().unwrap().model);
    let damages: [(&str, Damage); 5] = [
        ("truncated model", |path| truncate(&path.join("model.bpk"))),
        ("altered optimiser", |path| {
            alter(&path.join("optimizer.bpk"));
        }),
        ("truncated state", |path| truncate(&path.join("state.json"))),
        ("missing model", |path| {
            std::fs::remove_file(path.join("model.bpk")).unwrap();
        }),
        ("no file at all", |path| {
            std::fs::remove_dir_all(path).unwrap();
            std::fs::create_dir(path).unwrap();
        }),
    ];
    for (name, damage) in damages {
        let root = folder();
        Run {
            stop_after: Some(9),
            ..Run::new(root.path())
        }
        .train()
        .unwrap();
        damage(&checkpoint(root.path(), 9));
        let resumed = Run::resume(root.path()).train_from(1).unwrap();
        assert_eq!(bits(&resumed.model), expected, "{name}");
        assert_eq!(
            saved_steps(root.path()),
            ["step-000009", "step-000012"],
            "{name}"
        );
    }
}

#[test]
fn damage_is_named() {
    let _alone = alone();
    let root = folder();
    Run {
        stop_after: Some(4),
        ..Run::new(root.path())
    }
    .train()
    .unwrap();
    truncate(&checkpoint(root.path(), 4).join("model.bpk"));
    alter(&checkpoint(root.path(), 3).join("optimizer.bpk"));
    let error = Run::resume(root.path()).train().unwrap_err();
    let TrainError::Checkpoint(CheckpointError::AllDamaged { damaged, .. }) = &error else {
        panic!("{error}")
    };
    assert!(
        matches!(&damaged[0], CheckpointError::Size { path, .. } if path.ends_with("step-000004/model.bpk"))
    );
    assert!(
        matches!(&damaged[1], CheckpointError::Altered { path } if path.ends_with("step-000003/optimizer.bpk"))
    );
    assert!(error.to_string().contains("truncated"), "{error}");
}

#[test]
fn a_run_may_be_made_longer_but_not_shorter() {
    let _alone = alone();
    let root = folder();
    Run::new(root.path()).train().unwrap();
    let steps = |steps| TrainConfig { steps, ..config() };
    let shorter = Run {
        config: steps(6),
        ..Run::resume(root.path())
    };
    let message = shorter.train().unwrap_err().to_string();
    assert!(message.contains("train.steps: 12 → 6"), "{message}");
    let longer = Run {
        config: steps(18),
        ..Run::resume(root.path())
    };
    assert_eq!(longer.train().unwrap().outcome, Outcome::Finished);
    assert_eq!(
        saved_steps(root.path()).last().map(String::as_str),
        Some("step-000018")
    );
}

#[test]
fn a_checkpoint_of_another_config_or_format_is_refused() {
    let _alone = alone();
    let root = folder();
    Run {
        stop_after: Some(4),
        ..Run::new(root.path())
    }
    .train()
    .unwrap();
    let decay = AdamWConfig {
        weight_decay: 0.2,
        ..Default::default()
    };
    let other = TrainConfig {
        optimizer: decay,
        ..config()
    };
    let message = Run {
        config: other,
        width: 49,
        ..Run::resume(root.path())
    }
    .train()
    .unwrap_err()
    .to_string();
    assert!(
        message.contains("train.optimizer.weight_decay: 0.1 → 0.2"),
        "{message}"
    );
    assert!(message.contains("recipe.width: 48 → 49"), "{message}");

    let state = checkpoint(root.path(), 4).join("state.json");
    let text = std::fs::read_to_string(&state).unwrap();
    std::fs::write(&state, text.replace("\"format\": 1", "\"format\": 99")).unwrap();
    let error = Run::resume(root.path()).train().unwrap_err();
    let TrainError::Checkpoint(CheckpointError::OtherFormat { found: 99, .. }) = error else {
        panic!("{error}")
    };
    // How often it logs and keeps is no part of what it computes.
    std::fs::write(&state, text).unwrap();
    let quieter = TrainConfig {
        log_every: 3,
        keep_last: 1,
        checkpoint_every: 5,
        ..config()
    };
    Run {
        config: quieter,
        ..Run::resume(root.path())
    }
    .train()
    .unwrap();
    assert_eq!(saved_steps(root.path()), ["step-000012"]);
}

#[test]
fn a_checkpoint_that_cannot_be_written_leaves_the_others() {
    let _alone = alone();
    let root = folder();
    Run {
        stop_after: Some(4),
        ..Run::new(root.path())
    }
    .train()
    .unwrap();
    // A file where the next checkpoint's folder is to be made.
    std::fs::write(
        root.path()
            .join("run/checkpoints/reverse/.writing-step-000006"),
        "",
    )
    .unwrap();
    let error = Run::resume(root.path()).train().unwrap_err();
    assert!(
        matches!(error, TrainError::Checkpoint(CheckpointError::Write { .. })),
        "{error}"
    );
    assert!(checkpoint(root.path(), 4).join("state.json").exists());
}

#[test]
fn a_model_that_cannot_be_trained_is_refused() {
    let _alone = alone();
    let root = folder();
    let device = test_device();
    let recipe = Reverse {
        device: device.clone(),
        width: WIDTH,
        stop_after: None,
    };
    let info = RunInfo {
        config: json!({}),
        seed: 1,
        device: "test".into(),
        outputs: &[],
    };
    let mut run = RunDir::open(root.path(), "run", Existing::Refuse, &info).unwrap();
    let config = config();
    for model in [toy(&device, 0.1), toy(&device.autodiff(), 0.1).freeze()] {
        let batches = |_| std::iter::empty::<Result<_, std::io::Error>>();
        let trainer = Trainer::new(&recipe, &config).progress(ProgressMode::Quiet);
        let error = trainer.train(model, batches, &mut run).unwrap_err();
        assert!(matches!(error, TrainError::NothingToTrain), "{error}");
    }
}

fn truncate(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

fn alter(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// Tests that need a process of their own start this binary again for one ignored test.
#[cfg(unix)]
mod own_process {
    use super::*;

    const FOLDER: &str = "SEED_TEST_FOLDER";

    fn child(script: &str, test: &str, root: &Path) -> Command {
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                &format!("{script} exec \"$0\" --exact own_process::{test} --ignored --nocapture"),
            ])
            .arg(std::env::current_exe().unwrap())
            .env(FOLDER, root)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn child_folder() -> PathBuf {
        PathBuf::from(std::env::var_os(FOLDER).expect("started by the test beside it"))
    }

    #[test]
    fn a_full_disk_leaves_what_was_saved() {
        let _alone = alone();
        let root = folder();
        Run {
            stop_after: Some(4),
            ..Run::new(root.path())
        }
        .train()
        .unwrap();
        // No file may grow beyond 8 blocks: less than the optimiser's state, more than the metrics.
        let script = "trap '' XFSZ; ulimit -f 8;";
        let status = child(script, "a_full_disk_child", root.path())
            .status()
            .unwrap();
        assert!(status.success(), "{status}");
        assert_eq!(saved_steps(root.path()), ["step-000003", "step-000004"]);
        Run::resume(root.path()).train().unwrap();
    }

    #[test]
    #[ignore = "the other half of a_full_disk_leaves_what_was_saved"]
    fn a_full_disk_child() {
        let error = Run::resume(&child_folder()).train().unwrap_err();
        assert!(
            matches!(error, TrainError::Checkpoint(CheckpointError::Write { .. })),
            "{error}"
        );
    }

    #[test]
    fn ctrl_c_stops_with_a_checkpoint_and_twice_at_once() {
        let _alone = alone();
        for (signals, status) in [(1, 0), (2, 130)] {
            let root = folder();
            let mut child = child("", "a_ctrl_c_child", root.path()).spawn().unwrap();
            for signal in 1..=signals {
                let sign = root.path().join(format!("ready-{signal}"));
                while !sign.exists() {
                    assert!(
                        child.try_wait().unwrap().is_none(),
                        "ended before the signal"
                    );
                    std::thread::sleep(Duration::from_millis(5));
                }
                let id = child.id().to_string();
                assert!(
                    Command::new("kill")
                        .args(["-INT", &id])
                        .status()
                        .unwrap()
                        .success()
                );
                if signals == 1 {
                    std::fs::write(root.path().join("go"), "").unwrap();
                }
            }
            assert_eq!(child.wait().unwrap().code(), Some(status));
            assert_eq!(checkpoint(root.path(), 2).exists(), signals == 1);
        }
    }

    /// Waits in the loader at step index 1 until it sees the signal; with a file `go` it goes on.
    #[test]
    #[ignore = "the other half of ctrl_c_stops_with_a_checkpoint_and_twice_at_once"]
    fn a_ctrl_c_child() {
        let root = child_folder();
        let device = test_device().autodiff();
        let recipe = Reverse {
            device: device.clone(),
            width: WIDTH,
            stop_after: None,
        };
        let info = RunInfo {
            config: json!({}),
            seed: 1,
            device: "test".into(),
            outputs: &[],
        };
        let mut run = RunDir::open(&root, "run", Existing::Refuse, &info).unwrap();
        let stop = StopFlag::on_ctrl_c(|| {}).unwrap();
        let asked = Cell::new(false);
        let batches = |start: u64| {
            (start..).map(|index| {
                if index == 2 && !asked.replace(true) {
                    std::fs::write(root.join("ready-1"), "").unwrap();
                    while !stop.is_requested() {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    std::fs::write(root.join("ready-2"), "").unwrap();
                    while !root.join("go").exists() {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                }
                Ok::<_, std::io::Error>(batch(index, 4))
            })
        };
        let trained = Trainer::new(&recipe, &config())
            .progress(ProgressMode::Plain)
            .stop(stop.clone())
            .train(toy(&device, 0.1), batches, &mut run)
            .unwrap();
        assert_eq!(trained.outcome, Outcome::Interrupted { step: 2 });
    }
}
