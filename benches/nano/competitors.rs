//! Who is measured: devices of Burn, and PyTorch beside them. Each work of each competitor runs in a
//! process of its own, so that its peak memory is its own.

use std::{collections::BTreeMap, fmt, path::Path, process::Command};

use seed::{device::DeviceSpec, train::BoxError};

use super::works::{Answer, Work};

/// Who does a work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Competitor {
    /// `peers/nano.py`, on `cpu` or `cuda`.
    PyTorch {
        python: String,
        device: &'static str,
    },
    /// This program, on a device.
    Burn(DeviceSpec),
}

impl fmt::Display for Competitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PyTorch { device: "cpu", .. } => f.write_str("PyTorch"),
            Self::PyTorch { device, .. } => write!(f, "PyTorch {device}"),
            Self::Burn(device) => write!(f, "{device}"),
        }
    }
}

impl Competitor {
    /// The devices, each group of them after the PyTorch that it is compared with, if there is one.
    pub(crate) fn all(devices: &[DeviceSpec], python: Option<&str>) -> Vec<Self> {
        let mut all = Vec::new();
        for &device in devices {
            let peer = python.map(|python| Self::peer(device, python));
            all.extend(peer.filter(|peer| !all.contains(peer)));
            all.push(Self::Burn(device));
        }
        all
    }

    /// The PyTorch on the same hardware.
    fn peer(device: DeviceSpec, python: &str) -> Self {
        let device = match device {
            DeviceSpec::LibtorchCuda(_) | DeviceSpec::Cuda(_) | DeviceSpec::Wgpu => "cuda",
            DeviceSpec::Flex | DeviceSpec::NdArray | DeviceSpec::Libtorch => "cpu",
        };
        Self::PyTorch {
            python: python.to_owned(),
            device,
        }
    }

    /// Whether this is what `other`'s times are divided by.
    pub(crate) fn is_peer_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::PyTorch { python, .. }, Self::Burn(device)) => {
                *self == Self::peer(*device, python)
            }
            _ => false,
        }
    }

    /// How many times PyTorch's time is allowed.
    pub(crate) fn target(&self) -> Option<f64> {
        match self {
            Self::Burn(DeviceSpec::Libtorch) => Some(1.1),
            Self::Burn(DeviceSpec::Flex) => Some(2.0),
            _ => None,
        }
    }

    /// Whether it can do a work: loaders are ours alone.
    pub(crate) fn does(&self, work: Work) -> bool {
        work != Work::Loader || matches!(self, Self::Burn(_))
    }

    /// The process that does a work; `spec` says its size.
    pub(crate) fn command(
        &self,
        work: Work,
        spec: &Path,
        threads: usize,
    ) -> Result<Command, BoxError> {
        let mut command = match self {
            Self::PyTorch { python, device } => {
                let script = crate::repository().join("benches/peers/nano.py");
                let mut command = Command::new(python);
                command.arg(script).arg(spec).args([work.name(), device]);
                command
            }
            Self::Burn(device) => {
                let mut command = crate::this_program("nano")?;
                command.arg("--child").arg(spec);
                command.args(["--works", work.name(), "--devices", &device.to_string()]);
                command
            }
        };
        for variable in ["RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"] {
            command.env(variable, threads.to_string());
        }
        Ok(command)
    }

    /// Does a work in a process of its own.
    pub(crate) fn run(&self, work: Work, spec: &Path, threads: usize) -> Result<Answer, BoxError> {
        let mut command = self.command(work, spec, threads)?;
        let output = command.stderr(std::process::Stdio::inherit()).output()?;
        if !output.status.success() {
            return Err(format!("{self}, {}: the process failed: {command:?}", work.name()).into());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().last().unwrap_or_default();
        serde_json::from_str(line)
            .map_err(|error| format!("{self}, {}: no answer ({error})", work.name()).into())
    }

    /// Does a work under `perf` and names the functions that took most of the time, start included.
    pub(crate) fn profile(
        &self,
        work: Work,
        spec: &Path,
        threads: usize,
    ) -> Result<Vec<String>, BoxError> {
        /// Functions to name.
        const TOP: usize = 12;
        let record = spec.with_file_name("perf.data");
        let child = self.command(work, spec, threads)?;
        let mut perf = Command::new("perf");
        perf.args(["record", "--quiet", "--freq", "199", "--output"])
            .arg(&record)
            .arg("--")
            .arg(child.get_program())
            .args(child.get_args());
        perf.envs(
            child
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        let recorded = perf.output().map_err(|error| format!("perf: {error}"))?;
        if !recorded.status.success() {
            let reason = String::from_utf8_lossy(&recorded.stderr);
            return Err(format!("perf: {}", reason.trim()).into());
        }
        let report = Command::new("perf")
            .args(["report", "--stdio", "--quiet", "--no-children"])
            .args(["--sort", "dso,symbol", "--field-separator", ";", "--input"])
            .arg(&record)
            .output()?;
        let mut shares = shares(&String::from_utf8_lossy(&report.stdout));
        shares.truncate(TOP);
        let lines = shares
            .iter()
            .map(|(name, share)| format!("{share:5.1} %  {name}"));
        Ok(lines.collect())
    }
}

/// Functions and their share of the time in percent, the largest first, from lines
/// `share;library;[.] function`. Functions without a name count as their library's.
fn shares(report: &str) -> Vec<(String, f64)> {
    let mut shares: BTreeMap<String, f64> = BTreeMap::new();
    for line in report.lines() {
        let mut fields = line.splitn(3, ';').map(str::trim);
        let (Some(share), Some(library), Some(symbol)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let Ok(share) = share.trim_end_matches('%').parse::<f64>() else {
            continue;
        };
        let name = symbol.split_once("] ").map_or(symbol, |(_, name)| name);
        let name = if name.starts_with("0x") {
            format!("{library} (no names)")
        } else {
            shorten(name)
        };
        *shares.entry(name).or_default() += share;
    }
    let mut shares: Vec<_> = shares.into_iter().collect();
    shares.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    shares
}

/// A function's name without what all of PyTorch's loops begin with, cut where generic parameters
/// make it endless.
fn shorten(name: &str) -> String {
    const LOOP: &str = "c10::function_ref<void (char**, long const*, long, long)>::callback_fn<";
    const LONGEST: usize = 110;
    // Empty columns may follow after spaces.
    let name = name.split("  ").next().unwrap_or_default();
    let name = name.trim_start_matches(LOOP);
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}
