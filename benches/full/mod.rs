//! The full-size tokenizer on this machine: time to load, memory, seconds a picture, beside PyTorch in one run.
//!
//! ```text
//! python benches/peers/random_release.py tests/keys/seed-v1.txt release/
//! cargo bench --features tch --bench compare -- full --release release/ --peer venv/bin/python --save
//! ```
//!
//! Each competitor is a process of its own, so that memory is its own; they take turns. Codes are compared
//! before times are: on the same f32 weights at least 99 % of the positions must be the same.

mod noise;
mod stage_two;

use std::{
    fmt,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use burn::tensor::{Tensor, TensorData};
use clap::Args;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use seed::{
    device::{DeviceSpec, Precision},
    tokenizer::PublishedTokenizer,
    train::BoxError,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    machine::{self, Machine},
    median::median,
};
use noise::uniform_rows;
use stage_two::StageTwoAnswer;

/// The full-size tokenizer: load, memory, seconds a picture.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Folder of a SEED v1 release.
    #[arg(long, value_name = "DIR")]
    release: PathBuf,
    /// Devices of Burn.
    #[arg(long, value_delimiter = ',', default_value = "flex,libtorch")]
    devices: Vec<DeviceSpec>,
    /// Precisions in which weights are kept.
    #[arg(long, value_delimiter = ',', default_value = "f32,f16")]
    dtypes: Vec<Precision>,
    /// Pictures, one at a time; the first of a process is warm-up.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(2..))]
    pictures: u64,
    /// Threads of each competitor.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Also train stage II with that many pictures a step, from the cache and from pixels.
    #[arg(long, value_name = "PICTURES", value_parser = clap::value_parser!(u64).range(1..))]
    stage_two: Option<u64>,
    /// A Python that can import torch and safetensors.
    #[arg(long, default_value = "python3")]
    peer: String,
    /// Write a dated record to benches/results.
    #[arg(long)]
    save: bool,
    /// Be the child that runs one device and precision over this file of pictures.
    #[arg(long, hide = true)]
    child: Option<PathBuf>,
}

/// What a competitor says, in both languages.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    /// Seconds to load.
    load: f64,
    /// Seconds of each picture.
    seconds: Vec<f64>,
    /// Codes of each picture.
    codes: Vec<Vec<i64>>,
    /// Peak memory before anything was loaded, in MB.
    base_mb: Option<f64>,
    /// Peak memory at the end, in MB.
    peak_mb: Option<f64>,
}

/// One line of the table.
struct Row {
    name: String,
    answer: Answer,
    /// Share of codes equal to the reference's.
    agreement: f64,
}

impl Arguments {
    /// Does what is asked for; false if a competitor computed something else than the others.
    pub(crate) fn run(&self) -> Result<bool, BoxError> {
        match &self.child {
            Some(pictures) => child(self, pictures).map(|()| true),
            None => compete(self),
        }
    }
}

fn child(arguments: &Arguments, pictures: &Path) -> Result<(), BoxError> {
    let ([device], [dtype]) = (&*arguments.devices, &*arguments.dtypes) else {
        return Err("--child runs one device in one precision".into());
    };
    let (base_mb, begun) = (machine::peak_mb(), Instant::now());
    let device = device.open()?;
    if let Some(count) = arguments.stage_two {
        let answer = stage_two::run(&arguments.release, &device, *dtype, count as usize)?;
        println!("{}", serde_json::to_string(&answer)?);
        return Ok(());
    }
    let published = PublishedTokenizer::open(&arguments.release)?;
    let (model, _) = published.load(&device, dtype.dtype())?;
    let load = begun.elapsed().as_secs_f64();
    let bytes = std::fs::read(pictures)?;
    let file = SafeTensors::deserialize(&bytes)?;
    let pictures = file.tensor("pictures")?;
    let shape = pictures.shape().to_vec();
    let size = shape[1] * shape[2] * shape[3];
    let values: Vec<f32> = pictures
        .data()
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        .collect();
    let (mut codes, mut seconds) = (Vec::new(), Vec::new());
    for picture in values.chunks(size) {
        let begun = Instant::now();
        let data = TensorData::new(picture.to_vec(), [1, shape[1], shape[2], shape[3]]);
        let found = model.encode(Tensor::from_data(data, &device));
        codes.push(found.into_data().iter::<i64>().collect());
        seconds.push(begun.elapsed().as_secs_f64());
    }
    let answer = Answer {
        load,
        seconds,
        codes,
        base_mb,
        peak_mb: machine::peak_mb(),
    };
    println!("{}", serde_json::to_string(&answer)?);
    Ok(())
}

fn compete(arguments: &Arguments) -> Result<bool, BoxError> {
    let folder = tempfile::tempdir()?;
    let published = PublishedTokenizer::open(&arguments.release)?;
    let sizes = folder.path().join("sizes.json");
    std::fs::write(&sizes, serde_json::to_vec(&published.config)?)?;
    let pictures = folder.path().join("pictures.safetensors");
    let size = published.config.image.image_size;
    std::fs::write(
        &pictures,
        random_pictures(arguments.pictures as usize, size)?,
    )?;

    let torch = machine::torch_version(&arguments.peer);
    if let Err(reason) = &torch {
        println!("no PyTorch beside it ({reason})");
    }
    let machine = Machine::look(arguments.threads, torch.as_deref().ok());
    let mut rows = Vec::new();
    if torch.is_ok() {
        for dtype in ["f32", "bf16"] {
            let peer = crate::repository().join("benches/peers/full.py");
            let mut command = Command::new(&arguments.peer);
            command.arg(peer).arg(&arguments.release).arg(&pictures);
            command
                .arg(&sizes)
                .arg(arguments.threads.to_string())
                .arg(dtype);
            rows.push(row(
                format!("PyTorch {dtype}"),
                command,
                arguments.threads,
                &rows,
            )?);
        }
    }
    for device in &arguments.devices {
        for dtype in &arguments.dtypes {
            let command = child_command(arguments, &pictures, device, *dtype)?;
            let name = format!("{device}, weights {dtype}");
            rows.push(row(name, command, arguments.threads, &rows)?);
        }
    }
    let mut stage_two = Vec::new();
    if let (Some(count), [dtype, ..]) = (arguments.stage_two, &*arguments.dtypes) {
        for device in &arguments.devices {
            let mut command = child_command(arguments, &pictures, device, *dtype)?;
            command.args(["--stage-two", &count.to_string()]);
            let name = format!("{device}, frozen weights {dtype}");
            let answer = said(&format!("stage II, {name}"), command, arguments.threads)?;
            stage_two.push((name, answer));
        }
    }
    let record = record(&machine, &rows, &stage_two)?;
    println!("{record}");
    if arguments.save {
        let folder = crate::repository().join("benches/results");
        let path = folder.join(format!("{}-full.md", machine.slug()));
        std::fs::write(&path, record)?;
        println!("record: {}", path.display());
    }
    let mut f32 = rows.iter().filter(|row| row.name.ends_with("f32"));
    Ok(f32.all(|row| row.agreement >= 0.99))
}

fn random_pictures(count: usize, size: usize) -> Result<Vec<u8>, BoxError> {
    let values = uniform_rows(count, 3 * size * size).concat();
    let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
    let view = TensorView::new(Dtype::F32, vec![count, 3, size, size], &bytes)?;
    Ok(safetensors::serialize([("pictures", view)], None)?)
}

/// This program as the child that runs one device in one precision.
fn child_command(
    arguments: &Arguments,
    pictures: &Path,
    device: &DeviceSpec,
    dtype: Precision,
) -> Result<Command, BoxError> {
    let mut command = crate::this_program("full")?;
    command.arg("--child").arg(pictures);
    command.arg("--release").arg(&arguments.release);
    command.args(["--devices", &device.to_string()]);
    command.args(["--dtypes", &dtype.to_string()]);
    Ok(command)
}

/// What a competitor says.
fn said<T: DeserializeOwned>(
    name: &str,
    mut command: Command,
    threads: usize,
) -> Result<T, BoxError> {
    eprintln!("{name} …");
    for variable in ["OMP_NUM_THREADS", "RAYON_NUM_THREADS"] {
        command.env(variable, threads.to_string());
    }
    let output = command.output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{name}: {}", said.lines().last().unwrap_or_default()).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Runs a competitor and compares its codes with the first's.
fn row(name: String, command: Command, threads: usize, rows: &[Row]) -> Result<Row, BoxError> {
    let answer: Answer = said(&name, command, threads)?;
    let reference = rows.first().map_or(&answer.codes, |row| &row.answer.codes);
    let pairs = reference
        .iter()
        .flatten()
        .zip(answer.codes.iter().flatten());
    let (equal, all) = pairs.fold((0, 0), |(equal, all), (a, b)| {
        (equal + u32::from(a == b), all + 1)
    });
    Ok(Row {
        name,
        agreement: f64::from(equal) / f64::from(all.max(1)),
        answer,
    })
}

impl Answer {
    /// The middle of all pictures but the first.
    fn median(&self) -> f64 {
        median(&self.seconds[1..])
    }
}

fn record(
    machine: &Machine,
    rows: &[Row],
    stage_two: &[(String, StageTwoAnswer)],
) -> Result<String, fmt::Error> {
    use fmt::Write;
    let mut text = "# SEED v1 at full size, picture → 32 codes\n\n".to_owned();
    for (name, fact) in machine.facts() {
        writeln!(text, "- {name}: {fact}")?;
    }
    if machine.busy() {
        writeln!(
            text,
            "- **something else ran beside it**: read ratios, not seconds"
        )?;
    }
    text += "\nRandom weights in the published files; one picture at a time, the median of all but the first. Codes are\n\
             compared with the first line's.\n\n\
             | | load, s | peak memory, GB | s a picture | ratio | codes equal |\n|---|---|---|---|---|---|\n";
    let first = rows.first().map_or(1.0, |row| row.answer.median());
    for Row {
        name,
        answer,
        agreement,
    } in rows
    {
        let peak = answer.peak_mb.unwrap_or_default() / 1000.0;
        let seconds = answer.median();
        writeln!(
            text,
            "| {name} | {:.1} | {peak:.2} | {seconds:.2} | {:.2} | {:.1} % |",
            answer.load,
            seconds / first,
            100.0 * agreement
        )?;
    }
    if stage_two.is_empty() {
        return Ok(text);
    }
    text += "\n## A step of stage II\n\n\
             The code autoencoder's forward and backward pass, clipping and AdamW, from cached causal embeddings and from\n\
             pixels, through the frozen image tower and Causal Q-Former; the median of three steps on noise.\n\n\
             | | pictures a step | from the cache, s | peak, GB | from pixels, s | peak, GB | ratio |\n\
             |---|---|---|---|---|---|---|\n";
    for (name, answer) in stage_two {
        let [cached, uncached] = [&answer.cached, &answer.uncached].map(|seconds| median(seconds));
        let gb = |mb: Option<f64>| mb.unwrap_or_default() / 1000.0;
        writeln!(
            text,
            "| {name} | {} | {cached:.2} | {:.2} | {uncached:.2} | {:.2} | {:.1} |",
            answer.pictures,
            gb(answer.cached_peak_mb),
            gb(answer.peak_mb),
            uncached / cached,
        )?;
    }
    Ok(text)
}
