//! Speed and memory of the nano models, per device, beside the same work in PyTorch, in one run.
//!
//! ```text
//! cargo bench --bench compare -- nano [--devices flex,libtorch] [--works stage-1,…] [--peer PYTHON] [--save]
//! ```
//!
//! `benches/README.md` says what is verified and how far the numbers can be trusted.

mod competitors;
mod exchange;
mod loaders;
mod results;
mod verify;
mod works;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use seed::{
    device::{DeviceSpec, compiled_backends},
    train::BoxError,
};

use crate::machine::{self, Machine};
use competitors::Competitor;
use exchange::Spec;
use results::Results;
use works::Work;

/// Speed and memory of the nano models, per device, beside PyTorch.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Devices; those of the CPU that are compiled in, if none is given.
    #[arg(long, value_delimiter = ',')]
    devices: Vec<DeviceSpec>,
    /// Works; all of them, if none is given.
    #[arg(long, value_enum, value_delimiter = ',')]
    works: Vec<Work>,
    /// A Python that can import torch and safetensors.
    #[arg(long, default_value = "python3")]
    peer: String,
    /// Measured steps of a work in a round.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(2..))]
    steps: u64,
    /// Steps before them whose time does not count.
    #[arg(long, default_value_t = 3)]
    warmup: u64,
    /// Times that competitors take turns, so that a busy minute of the machine hits them all.
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// Threads of each competitor.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Also name the functions that take most of the time (Linux, `perf`).
    #[arg(long)]
    profile: bool,
    /// Write a dated record to benches/results.
    #[arg(long)]
    save: bool,
    /// Leave the competitors' folder here, to run one of them by hand.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Be the child that does one work on one device.
    #[arg(long, hide = true)]
    child: Option<PathBuf>,
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

/// Does one work on one device and prints the answer.
fn child(arguments: &Arguments, spec_path: &Path) -> Result<(), BoxError> {
    let ([work], [device]) = (&*arguments.works, &*arguments.devices) else {
        return Err("--child does one work on one device".into());
    };
    let folder = spec_path
        .parent()
        .ok_or("the specification has no folder")?;
    let spec = Spec::open(spec_path)?;
    let device = device.open()?;
    let base_mb = machine::peak_mb();
    let answer = works::Answer {
        base_mb,
        ..works::run(*work, &spec, folder, &device)?
    };
    let answer = works::Answer {
        peak_mb: machine::peak_mb(),
        ..answer
    };
    println!("{}", serde_json::to_string(&answer)?);
    Ok(())
}

/// Verifies, measures and reports; false if a competitor computed something else than the others.
fn compete(arguments: &Arguments) -> Result<bool, BoxError> {
    let devices = devices(&arguments.devices)?;
    let works = match &*arguments.works {
        [] => Work::value_variants(),
        works => works,
    };
    let torch = machine::torch_version(&arguments.peer);
    if let Err(reason) = &torch {
        println!(
            "no PyTorch beside it ({reason}): ratios are to {}",
            devices[0]
        );
    }
    let python = torch.is_ok().then_some(arguments.peer.as_str());
    let competitors = Competitor::all(&devices, python);
    let machine = Machine::look(arguments.threads, torch.as_deref().ok());
    for (name, fact) in machine.facts() {
        println!("{name}: {fact}");
    }

    let temporary = tempfile::tempdir()?;
    let folder = arguments.keep.as_deref().unwrap_or(temporary.path());
    std::fs::create_dir_all(folder)?;
    // The folder's name becomes an argument of processes that may run elsewhere.
    let folder = folder.canonicalize()?;
    let (verify, measure) = (folder.join("verify.json"), folder.join("measure.json"));
    let spec = Spec::measure(arguments.warmup, arguments.steps, arguments.threads)?;
    spec.write(&measure)?;
    spec.without_chance(verify::STEPS).write(&verify)?;
    exchange::prepare(&folder, &spec, &devices[0].open()?)?;

    let mut results = Results::new(machine, spec);
    let mut sound = true;
    for &work in works {
        let able: Vec<_> = competitors.iter().filter(|c| c.does(work)).collect();
        println!("\n{}", work.name());
        if work != Work::Loader && !agree(work, &able, &verify, arguments.threads, &mut results)? {
            println!("  not timed: the answers differ");
            sound = false;
            continue;
        }
        for _ in 0..if work == Work::Loader {
            1
        } else {
            arguments.rounds
        } {
            for competitor in &able {
                let answer = competitor.run(work, &measure, arguments.threads)?;
                results.add(work, competitor, answer);
            }
        }
        if arguments.profile && work != Work::Loader {
            profile(work, &able, &measure, arguments.threads, &mut results);
        }
    }

    println!("\n{}", results.table());
    for line in results.lines() {
        println!("{line}");
    }
    if arguments.save {
        let path = results.save(&crate::repository().join("benches/results"))?;
        println!("record: {}", path.display());
    }
    Ok(sound)
}

/// Whether all competitors compute what the first one computes.
fn agree(
    work: Work,
    competitors: &[&Competitor],
    spec: &Path,
    threads: usize,
    results: &mut Results,
) -> Result<bool, BoxError> {
    let [first, others @ ..] = competitors else {
        return Ok(true);
    };
    let expected = first.run(work, spec, threads)?;
    let mut all = true;
    for other in others {
        let compared = verify::compare(work, &expected, &other.run(work, spec, threads)?);
        let (agrees, text) = match compared {
            Ok(text) => (true, text),
            Err(text) => (false, format!("DISAGREES: {text}")),
        };
        println!("  {other} against {first}: {text}");
        let line = format!("{}, {other} against {first}: {text}", work.name());
        results.verified.push(line);
        all &= agrees;
    }
    if others.is_empty() {
        println!("  not verified: {first} runs alone");
    }
    Ok(all)
}

/// Names what costs most; a machine without `perf` only loses this.
fn profile(
    work: Work,
    competitors: &[&Competitor],
    spec: &Path,
    threads: usize,
    results: &mut Results,
) {
    for competitor in competitors {
        match competitor.profile(work, spec, threads) {
            Ok(lines) => {
                println!("  {competitor}:\n    {}", lines.join("\n    "));
                results
                    .profiles
                    .push((format!("{} on {competitor}", work.name()), lines));
            }
            Err(error) => println!("  {competitor}: no profile ({error})"),
        }
    }
}

/// The devices to measure, each checked to be there.
fn devices(given: &[DeviceSpec]) -> Result<Vec<DeviceSpec>, BoxError> {
    let compiled = compiled_backends();
    let devices = match given {
        [] => [DeviceSpec::Flex, DeviceSpec::Libtorch, DeviceSpec::NdArray]
            .into_iter()
            .filter(|device| compiled.contains(&device.feature()))
            .collect(),
        given => given.to_vec(),
    };
    for device in &devices {
        device.open()?;
    }
    if devices.is_empty() {
        return Err("no CPU backend is compiled in: name a device with --devices".into());
    }
    Ok(devices)
}
