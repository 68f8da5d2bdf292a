//! What the numbers depend on besides the code: machine, versions, time, memory.

use std::{fs, process::Command, time::SystemTime};

use seed::device::Device;
use serde::Serialize;

/// Where and with what a run took place.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) threads: usize,
    /// Load of the last minute when the run began: above 0 something else ran, too.
    pub(crate) load: String,
    pub(crate) commit: String,
    pub(crate) rustc: String,
    pub(crate) burn: String,
    pub(crate) pytorch: String,
    /// Arguments of this program.
    pub(crate) arguments: Vec<String>,
}

impl Machine {
    pub(crate) fn look(threads: usize, pytorch: Option<&str>) -> Self {
        let cpu = proc_field("/proc/cpuinfo", "model name");
        let load = fs::read_to_string("/proc/loadavg").ok();
        let load = load.as_deref().and_then(|text| text.split(' ').next());
        Self {
            date: today(),
            cpu: cpu.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            threads,
            load: load.unwrap_or("unknown").to_owned(),
            commit: said_by("git", &["describe", "--always", "--dirty"]),
            rustc: said_by("rustc", &["--version"]),
            burn: burn_version(),
            pytorch: pytorch.unwrap_or("none").to_owned(),
            arguments: std::env::args()
                .skip(1)
                .filter(|a| a != "--bench")
                .map(without_folders)
                .collect(),
        }
    }

    /// Whether something else ran when the run began.
    pub(crate) fn busy(&self) -> bool {
        self.load.parse::<f64>().is_ok_and(|load| load > 0.5)
    }

    /// Date and CPU as a file name.
    pub(crate) fn slug(&self) -> String {
        let cpu = self.cpu.to_lowercase();
        let words = cpu.split(|c: char| !c.is_ascii_alphanumeric());
        let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
        format!("{}-{}", self.date, words.join("-"))
    }

    /// The facts, one a line.
    pub(crate) fn facts(&self) -> Vec<(&'static str, String)> {
        vec![
            ("date", self.date.clone()),
            ("CPU", format!("{}, {} cores", self.cpu, self.cores)),
            ("threads of each process", self.threads.to_string()),
            ("load before the run", self.load.clone()),
            ("commit", self.commit.clone()),
            (
                "versions",
                format!(
                    "{}, Burn {}, PyTorch {}",
                    self.rustc, self.burn, self.pytorch
                ),
            ),
            (
                "command",
                format!(
                    "cargo bench --bench compare -- {}",
                    self.arguments.join(" ")
                ),
            ),
        ]
    }
}

/// Peak memory of this process so far in MB, where the system tells.
pub(crate) fn peak_mb() -> Option<f64> {
    let text = proc_field("/proc/self/status", "VmHWM")?;
    let kilobytes: f64 = text.split(' ').next()?.parse().ok()?;
    Some(kilobytes / 1024.0)
}

/// Memory that this process reserved on a card in MB, where the backend tells.
pub(crate) fn card_mb(device: &Device) -> Option<f64> {
    let usage = device.memory_pool_usage()?;
    Some(usage.bytes_reserved as f64 / 1e6)
}

/// The version of the peer's PyTorch, or why there is none.
pub(crate) fn torch_version(python: &str) -> Result<String, String> {
    let program = "import safetensors, torch; print(torch.__version__)";
    let output = Command::new(python).args(["-c", program]).output();
    let output = output.map_err(|error| format!("{python}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let status = output.status.to_string();
    let last = said.lines().last().unwrap_or(&status);
    Err(format!("{python}: {last}; give another with --peer"))
}

/// An argument as a record keeps it: of a path, whose folders are nobody's business, the last part.
fn without_folders(argument: String) -> String {
    let (option, value) = argument.split_once('=').unwrap_or(("", &argument));
    match value.rsplit_once(['/', '\\']) {
        Some((_, last)) if option.is_empty() => last.to_owned(),
        Some((_, last)) => format!("{option}={last}"),
        None => argument,
    }
}

fn proc_field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn said_by(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    let output = command
        .current_dir(crate::repository())
        .args(arguments)
        .output();
    let text = output
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok());
    text.map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned())
}

fn burn_version() -> String {
    let lock = include_str!("../Cargo.lock");
    let mut lines = lock.lines().skip_while(|line| *line != "name = \"burn\"");
    let version = lines.nth(1).and_then(|line| line.split('"').nth(1));
    version.unwrap_or("unknown").to_owned()
}

/// The day in UTC, `YYYY-MM-DD`.
fn today() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let days = since.map_or(0, |since| since.as_secs() / 86_400);
    // Howard Hinnant's `civil_from_days`: years begin in March, so that leap days come last.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, early) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    format!("{:04}-{month:02}-{day:02}", era * 400 + year + early)
}
