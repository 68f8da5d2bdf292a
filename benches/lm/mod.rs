//! The language model on this machine: steps of a LoRA adapter beside PyTorch and PEFT, and tokens a second beside
//! transformers and beside what the memory can deliver.
//!
//! ```text
//! cargo bench --features tch --bench compare -- lm --peer venv/bin/python [--works train-nano,…] [--save]
//! ```
//!
//! Each work of each competitor is a process of its own, so that memory is its own; they take turns. Answers are
//! compared before times are: `benches/README.md`.

mod results;
mod works;

use std::{
    fmt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use clap::{Args, ValueEnum};
use seed::{
    device::{DeviceSpec, fused::keeps_eight_bit},
    train::BoxError,
};

use crate::machine::{self, Machine};
use results::{Results, Row};
use works::{Answer, Kept, Spec, Work};

/// Steps whose losses and gradient norms are compared.
const VERIFIED_STEPS: usize = 3;

/// LoRA steps and tokens a second, beside PyTorch.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Works; all but the largest model's training, if none is given.
    #[arg(long, value_enum, value_delimiter = ',')]
    works: Vec<Work>,
    /// Devices of Burn.
    #[arg(long, value_delimiter = ',', default_value = "flex,libtorch")]
    devices: Vec<DeviceSpec>,
    /// How weights are kept while decoding; the largest model has no f32 but the peer's.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "f32,f16,bf16,q8"
    )]
    weights: Vec<Kept>,
    /// A Python that can import torch, safetensors, transformers and peft.
    #[arg(long, default_value = "python3")]
    peer: String,
    /// Models with random weights, made where they are missing; gone after the run, if no folder is given.
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// Measured steps of a training in a round.
    #[arg(long, default_value_t = 10)]
    steps: usize,
    /// Steps before them whose time does not count.
    #[arg(long, default_value_t = 3)]
    warmup: usize,
    /// Times that competitors take turns.
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// New tokens of a text.
    #[arg(long, default_value_t = 64)]
    tokens: usize,
    /// New tokens of the largest model.
    #[arg(long, default_value_t = 8)]
    large_tokens: usize,
    /// Compute in the half precision that weights are kept in, instead of widening them: for GPUs.
    #[arg(long)]
    in_halves: bool,
    /// Threads of each competitor.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Make every model a toy: shows that everything runs, and measures nothing.
    #[arg(long)]
    tiny: bool,
    /// Write a dated record to benches/results.
    #[arg(long)]
    save: bool,
    /// Be the child that does what this file says, on the one device.
    #[arg(long, hide = true)]
    child: Option<PathBuf>,
}

/// Who does a work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Competitor {
    PyTorch,
    Burn(DeviceSpec),
}

impl fmt::Display for Competitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PyTorch => f.write_str("PyTorch"),
            Self::Burn(device) => write!(f, "{device}"),
        }
    }
}

impl Arguments {
    /// Does what is asked for; false if a competitor computed something else than the others.
    pub(crate) fn run(&self) -> Result<bool, BoxError> {
        match &self.child {
            Some(spec) => child(self, spec).map(|()| true),
            None => compete(self),
        }
    }
}

fn child(arguments: &Arguments, spec: &Path) -> Result<(), BoxError> {
    let [device] = &*arguments.devices else {
        return Err("--child runs on one device".into());
    };
    let spec: Spec = serde_json::from_slice(&std::fs::read(spec)?)?;
    let device = device.open()?;
    let base_mb = machine::peak_mb();
    let answer = works::run(&spec, &device)?;
    let card = machine::card_mb(&device);
    let answer = Answer {
        base_mb: card.map_or(base_mb, |_| Some(0.0)),
        peak_mb: card.or_else(machine::peak_mb),
        ..answer
    };
    println!("{}", serde_json::to_string(&answer)?);
    Ok(())
}

/// Verifies, measures and reports; false if a competitor computed something else than the others.
fn compete(arguments: &Arguments) -> Result<bool, BoxError> {
    let peer_device = peer_device(&arguments.devices)?;
    let torch = machine::torch_version(&arguments.peer);
    if let Err(reason) = &torch {
        println!("no PyTorch beside it ({reason}): the models are made by it, too");
    }
    let machine = Machine::look(arguments.threads, Some(torch?.as_str()));
    for (name, fact) in machine.facts() {
        println!("{name}: {fact}");
    }
    let works = match &*arguments.works {
        [] => Work::value_variants()
            .iter()
            .copied()
            .filter(|work| *work != Work::Train2700m)
            .collect(),
        works => works.to_vec(),
    };
    let temporary = tempfile::tempdir()?;
    let folder = arguments.models.as_deref().unwrap_or(temporary.path());
    let mut results = Results::new(machine, results::bandwidth(arguments.threads));
    let mut sound = true;
    for work in works {
        println!("\n{}", work.name());
        let spec = Spec {
            model: model(arguments, work, folder)?,
            peer_device: peer_device.to_owned(),
            ..Spec::of(work, arguments)
        };
        sound &= measure(arguments, &spec, temporary.path(), &mut results)?;
    }
    let record = results.markdown()?;
    println!("\n{record}");
    if arguments.save {
        let folder = crate::repository().join("benches/results");
        let path = folder.join(format!("{}-lm.md", results.machine.slug()));
        std::fs::write(&path, record)?;
        println!("record: {}", path.display());
    }
    Ok(sound)
}

/// The folder of a work's model, made if it is not there.
fn model(arguments: &Arguments, work: Work, folder: &Path) -> Result<PathBuf, BoxError> {
    let name = if arguments.tiny { "tiny" } else { work.model() };
    let folder = folder.join(name);
    if !folder.join("config.json").is_file() {
        println!("  making {name} …");
        let script = crate::repository().join("benches/peers/random_opt.py");
        let sizes = works::published(&work.sizes(arguments.tiny)).to_string();
        // f16, as the release of the largest: kept so it is the same model as in f32.
        let status = Command::new(&arguments.peer)
            .arg(script)
            .arg(&folder)
            .args([&sizes, "--dtype", "f16"])
            .status()?;
        if !status.success() {
            return Err(format!("{name} could not be made").into());
        }
    }
    Ok(folder.canonicalize()?)
}

impl Spec {
    /// One step or text of a work, without chance, of a model that is yet to be made.
    fn of(work: Work, arguments: &Arguments) -> Self {
        let [rows, length] = work.batch();
        Self {
            work,
            model: PathBuf::new(),
            kept: Kept::F32,
            ids: random_ids(rows, length, work.sizes(arguments.tiny).vocab_size),
            tokens: match work {
                Work::Decode2700m => arguments.large_tokens,
                _ => arguments.tokens,
            },
            warmup: 0,
            steps: 1,
            // At larger ones Adam makes visible what rounding decides: the sign of ReLU's input.
            rate: 1e-4,
            clip: 1.0,
            chance: false,
            peer_device: String::new(),
            in_halves: arguments.in_halves,
            threads: arguments.threads,
        }
    }
}

/// Where PyTorch computes beside these devices, each of which must be there.
fn peer_device(devices: &[DeviceSpec]) -> Result<&'static str, BoxError> {
    let of = |device: &DeviceSpec| match device {
        DeviceSpec::LibtorchCuda(_) | DeviceSpec::Cuda(_) => "cuda",
        _ => "cpu",
    };
    for device in devices {
        device.open()?;
    }
    let first = devices.first().map_or("cpu", of);
    if devices.iter().any(|device| of(device) != first) {
        return Err(
            "one run compares devices of one kind: all on the processor, or all on a card".into(),
        );
    }
    Ok(first)
}

fn measure(
    arguments: &Arguments,
    spec: &Spec,
    scratch: &Path,
    results: &mut Results,
) -> Result<bool, BoxError> {
    let work = spec.work;
    let competitors = competitors(arguments, work)?;
    let run = |competitor: Competitor, kept: Kept, spec: &Spec| {
        let spec = Spec {
            kept,
            ..spec.clone()
        };
        run(&arguments.peer, competitor, &spec, scratch)
    };
    let steps = if work.trains() { VERIFIED_STEPS } else { 1 };
    let verify = Spec {
        steps,
        ..spec.clone()
    };
    let mut expected = None;
    let mut sound = true;
    for &(competitor, kept) in &competitors {
        let answer = run(competitor, kept, &verify)?;
        results.bandwidth = answer.bandwidth.unwrap_or(results.bandwidth);
        let Some(expected) = &expected else {
            // PyTorch in f32 comes first.
            expected = Some(answer);
            continue;
        };
        let rounds = Spec {
            kept,
            ..spec.clone()
        }
        .rounds();
        let (agrees, text) = results::compare(work, rounds, expected, &answer);
        println!("  {competitor} {kept}: {text}");
        let line = format!("{}, {competitor} {kept}: {text}", work.name());
        results.verified.push(line);
        // PyTorch computes in half precision where that is asked for, and may say something else.
        sound &= agrees || competitor == Competitor::PyTorch;
    }
    if !sound {
        println!("  not timed: the answers differ");
        return Ok(false);
    }
    let timed = Spec {
        chance: true,
        warmup: if work.trains() { arguments.warmup } else { 1 },
        steps: if work.trains() { arguments.steps } else { 1 },
        ..spec.clone()
    };
    for _ in 0..arguments.rounds {
        for &(competitor, kept) in &competitors {
            let answer = run(competitor, kept, &timed)?;
            results.add(Row {
                work,
                competitor,
                kept,
                sizes: work.sizes(arguments.tiny),
                answer,
            });
        }
    }
    Ok(true)
}

/// Who does a work with weights kept how; PyTorch in f32 first, the reference of all.
fn competitors(arguments: &Arguments, work: Work) -> Result<Vec<(Competitor, Kept)>, BoxError> {
    let mut found = vec![(Competitor::PyTorch, Kept::F32)];
    let mut add = |competitor: Competitor, has_eight_bit: bool| {
        let weights = match (work, work.trains()) {
            (Work::Train2700m, _) => &[Kept::F16, Kept::Bf16],
            (_, true) => &[Kept::F32][..],
            _ => &*arguments.weights,
        };
        for &kept in weights {
            let large = kept == Kept::F32 && work.large();
            let possible = !large && (kept != Kept::Q8 || has_eight_bit);
            if possible && !found.contains(&(competitor, kept)) {
                found.push((competitor, kept));
            }
        }
    };
    // PyTorch's dynamic quantisation is for processors.
    add(
        Competitor::PyTorch,
        peer_device(&arguments.devices)? == "cpu",
    );
    for device in &arguments.devices {
        add(Competitor::Burn(*device), keeps_eight_bit(&device.open()?));
    }
    Ok(found)
}

/// Words at random, the start of a text before them.
fn random_ids(rows: usize, length: usize, words: usize) -> Vec<Vec<u32>> {
    let mut state = 42u64;
    let mut word = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        3 + ((state >> 33) % (words as u64 - 3)) as u32
    };
    let mut row = || {
        (0..length)
            .map(|at| if at == 0 { 2 } else { word() })
            .collect()
    };
    (0..rows).map(|_| row()).collect()
}

/// Does a work in a process of its own.
fn run(
    peer: &str,
    competitor: Competitor,
    spec: &Spec,
    scratch: &Path,
) -> Result<Answer, BoxError> {
    let path = scratch.join("spec.json");
    std::fs::write(&path, serde_json::to_vec(spec)?)?;
    let mut command = match competitor {
        Competitor::PyTorch => {
            let script = crate::repository().join("benches/peers/lm.py");
            let mut command = Command::new(peer);
            command.arg(script).arg(&path);
            command
        }
        Competitor::Burn(device) => {
            let mut command = crate::this_program("lm")?;
            command.arg("--child").arg(&path);
            command.args(["--devices", &device.to_string()]);
            command
        }
    };
    for variable in ["RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"] {
        command.env(variable, spec.threads.to_string());
    }
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        let (work, kept) = (spec.work.name(), spec.kept);
        return Err(format!("{work}, {competitor} {kept}: the process failed").into());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(serde_json::from_str(
        text.lines().last().unwrap_or_default(),
    )?)
}
