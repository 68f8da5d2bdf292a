//! Checkpoints of the Hugging Face Hub: fetched once into its cache, then read from there.
//!
//! The cache is the one of other tools of the Hub (`HF_HOME`, `HF_HUB_CACHE`, else
//! `~/.cache/huggingface/hub`), and a download that was cut goes on where it stopped.
//! `HF_ENDPOINT` names another server, `HF_TOKEN` opens private repositories, and
//! `HF_HUB_OFFLINE=1` uses what is in the cache alone.

use std::{
    env, fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use hf_hub::{
    Cache, Repo, RepoType,
    api::sync::{Api, ApiBuilder, ApiError, ApiRepo},
};

use crate::{
    checkpoint::Checkpoint,
    error::{WeightsError, shortened},
    shards::{self, is_inside},
};

const DEFAULT_REVISION: &str = "main";
const CONFIG: &str = "config.json";
/// How often a broken download is taken up again.
const RETRIES: usize = 3;

/// A repository of models, `hf:OWNER/NAME[/FILE][@REVISION]`: a branch, tag or commit, `main` if none
/// is named, and one of its files where it holds several checkpoints.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HubRepo {
    id: String,
    file: Option<String>,
    revision: String,
}

impl HubRepo {
    /// The one file that is meant, if one is named.
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }
}

impl FromStr for HubRepo {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, HubError> {
        let invalid = || HubError::Name(text.to_owned());
        let rest = text.strip_prefix("hf:").ok_or_else(invalid)?;
        let (path, revision) = rest.split_once('@').unwrap_or((rest, DEFAULT_REVISION));
        let mut parts = path.splitn(3, '/');
        let (Some(owner), Some(name)) = (parts.next(), parts.next()) else {
            return Err(invalid());
        };
        let file = parts.next().map(str::to_owned);
        // All of it becomes part of paths in the cache.
        let is_name = |part: &str| is_inside(part) && part.bytes().all(is_name_byte);
        if ![owner, name].into_iter().all(is_name)
            || !revision.split('/').all(is_name)
            || !file.as_deref().is_none_or(is_inside)
        {
            return Err(invalid());
        }
        Ok(Self {
            id: format!("{owner}/{name}"),
            file,
            revision: revision.to_owned(),
        })
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-".contains(&byte)
}

impl fmt::Display for HubRepo {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "hf:{}", self.id)?;
        if let Some(file) = &self.file {
            write!(formatter, "/{file}")?;
        }
        if self.revision != DEFAULT_REVISION {
            write!(formatter, "@{}", self.revision)?;
        }
        Ok(())
    }
}

/// Why a repository could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The text names no repository.
    #[error(
        "`{0}` is no repository: write hf:OWNER/NAME, hf:OWNER/NAME@REVISION or hf:OWNER/NAME/FILE"
    )]
    Name(String),
    /// There is no folder for the cache.
    #[error("there is no home folder for the cache; set HF_HOME")]
    NoCache,
    /// The server does not have it, or does not show it.
    #[error(
        "{repo}: there is no such repository or revision, or it is not public (status {status}); \
         check the name, or set HF_TOKEN"
    )]
    Unknown {
        /// The repository.
        repo: HubRepo,
        /// Status of the answer.
        status: u16,
    },
    /// The server could not be reached, and the cache does not have the repository.
    #[error("{repo}: {endpoint} cannot be reached ({reason}), and it is not in the cache")]
    NoNetwork {
        /// The repository.
        repo: HubRepo,
        /// The server.
        endpoint: String,
        /// What the connection said.
        reason: String,
    },
    /// Offline, and the cache does not have what is needed.
    #[error("{repo}: HF_HUB_OFFLINE is set, and {missing} is not in the cache {}", cache.display())]
    NotCached {
        /// The repository.
        repo: HubRepo,
        /// What is missing.
        missing: String,
        /// The cache.
        cache: PathBuf,
    },
    /// The repository has no weights that this library reads.
    #[error("{repo}: no safetensors or PyTorch file among {} files", files.len())]
    NoWeights {
        /// The repository.
        repo: HubRepo,
        /// What it has.
        files: Vec<String>,
    },
    /// The repository has several checkpoints.
    #[error(
        "{repo}: several checkpoints, name one as hf:OWNER/NAME/FILE: {}",
        shortened(candidates)
    )]
    Ambiguous {
        /// The repository.
        repo: HubRepo,
        /// Its weights files.
        candidates: Vec<String>,
    },
    /// A file could not be fetched.
    #[error("{repo}: fetching {file}: {source}")]
    Download {
        /// The repository.
        repo: HubRepo,
        /// The file.
        file: String,
        /// What happened.
        source: Box<ApiError>,
    },
    /// A file came with another length than the server said, and was removed.
    #[error("{repo}: {file} came with {found} bytes of {expected}; fetch it again")]
    Length {
        /// The repository.
        repo: HubRepo,
        /// The file.
        file: String,
        /// Bytes that came.
        found: u64,
        /// Bytes the server has.
        expected: u64,
    },
    /// The cache could not be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The index of the shards is damaged.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

/// Files of a repository, in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubFiles {
    /// The weights: one file, or the index with its shards beside it.
    pub weights: PathBuf,
    /// `config.json`, if the repository has one.
    pub config: Option<PathBuf>,
    /// The commit they are of.
    pub commit: String,
}

impl HubFiles {
    /// Opens the weights.
    pub fn open(&self) -> Result<Checkpoint, WeightsError> {
        Checkpoint::open(&self.weights)
    }
}

/// Some files of a repository, in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubFolder {
    /// The folder below which they lie as in the repository.
    pub path: PathBuf,
    /// The commit they are of.
    pub commit: String,
}

/// Where repositories are fetched from and kept.
#[derive(Debug, Clone)]
pub struct Hub {
    endpoint: String,
    cache: Cache,
    token: Option<String>,
    offline: bool,
    progress: bool,
}

impl Hub {
    /// The Hub as the environment says; progress is shown on the terminal.
    pub fn from_env() -> Result<Self, HubError> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let cache = set("HF_HUB_CACHE")
            .map(PathBuf::from)
            .or_else(|| set("HF_HOME").map(|home| PathBuf::from(home).join("hub")))
            .or_else(|| env::home_dir().map(|home| home.join(".cache/huggingface/hub")))
            .ok_or(HubError::NoCache)?;
        let text = |name: &str| set(name).and_then(|value| value.into_string().ok());
        let offline = text("HF_HUB_OFFLINE").is_some_and(|value| {
            ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str())
        });
        let hub = Self::new(cache).with_offline(offline);
        Ok(Self {
            token: text("HF_TOKEN").or_else(|| hub.cache.token()),
            endpoint: text("HF_ENDPOINT").unwrap_or(hub.endpoint),
            ..hub
        })
    }

    /// The public Hub with a cache of one's own, whatever the environment says.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        Self {
            endpoint: "https://huggingface.co".to_owned(),
            cache: Cache::new(cache.into()),
            token: None,
            offline: false,
            progress: true,
        }
    }

    /// Another server.
    pub fn with_endpoint(self, endpoint: impl Into<String>) -> Self {
        let endpoint = endpoint.into().trim_end_matches('/').to_owned();
        Self { endpoint, ..self }
    }

    /// Whether the cache alone is used.
    pub fn with_offline(self, offline: bool) -> Self {
        Self { offline, ..self }
    }

    /// Whether progress is shown on the terminal.
    pub fn with_progress(self, progress: bool) -> Self {
        Self { progress, ..self }
    }

    /// Fetches the weights of a repository, with its `config.json`, unless they are in the cache: an
    /// index with its shards, or the one weights file; safetensors before PyTorch's.
    ///
    /// All files are of one commit, even if the branch moves meanwhile. Where the server cannot be
    /// reached, the commit that was fetched last is used.
    pub fn fetch(&self, repo: &HubRepo) -> Result<HubFiles, HubError> {
        let snapshot = self.snapshot(repo)?;
        let get = |name: &str| snapshot.file(name);
        let files = files_of(repo, &snapshot.names, &snapshot.commit, get);
        let files = files.map_err(|error| snapshot.reason(error))?;
        snapshot.remember()?;
        Ok(files)
    }

    /// Fetches files that `choose` picks among the names of all, unless they are in the cache, and gives the folder in
    /// which they lie as they do in the repository; none if it picks none.
    ///
    /// As with [`Self::fetch`], all are of one commit. Without the server, `choose` sees what is in the cache.
    pub fn fetch_some(
        &self,
        repo: &HubRepo,
        choose: impl FnOnce(&[String]) -> Vec<String>,
    ) -> Result<Option<HubFolder>, HubError> {
        let snapshot = self.snapshot(repo)?;
        let chosen = choose(&snapshot.names);
        if chosen.is_empty() {
            return Ok(None);
        }
        for name in chosen {
            snapshot
                .file(&name)
                .map_err(|error| snapshot.reason(error))?;
        }
        snapshot.remember()?;
        Ok(Some(HubFolder {
            path: self.folder(repo, &snapshot.commit),
            commit: snapshot.commit,
        }))
    }

    /// What a repository has, by the server's word, or without it by the cache's.
    fn snapshot<'a>(&'a self, repo: &'a HubRepo) -> Result<Snapshot<'a>, HubError> {
        if self.offline {
            return self.cached(repo);
        }
        let api = ApiBuilder::from_cache(self.cache.clone())
            .with_endpoint(self.endpoint.clone())
            .with_token(self.token.clone())
            .with_retries(RETRIES)
            .build()
            .map_err(|error| download_error(repo, "the list of files", error))?;
        let info = match api.repo(at(repo, &repo.revision)).info() {
            Ok(info) => info,
            Err(error) => match status(&error) {
                Some(status @ (401 | 403 | 404)) => {
                    return Err(HubError::Unknown {
                        repo: repo.clone(),
                        status,
                    });
                }
                Some(_) => return Err(download_error(repo, "the list of files", error)),
                None => {
                    let reason = error.to_string();
                    let cached = self.cached(repo);
                    return cached
                        .map(|cached| Snapshot {
                            unreachable: Some(reason.clone()),
                            ..cached
                        })
                        .map_err(|_| self.unreachable(repo, reason));
                }
            },
        };
        if !is_inside(&info.sha) {
            return Err(HubError::Unknown {
                repo: repo.clone(),
                status: 200,
            });
        }
        let names = info.siblings.into_iter().map(|file| file.rfilename);
        Ok(Snapshot {
            hub: self,
            repo,
            names: names.filter(|name| is_inside(name)).collect(),
            commit: info.sha,
            api: Some(api),
            unreachable: None,
        })
    }

    /// What the cache has of a repository.
    fn cached<'a>(&'a self, repo: &'a HubRepo) -> Result<Snapshot<'a>, HubError> {
        let refs = self.cache.path().join(at(repo, "").folder_name());
        let commit = fs::read_to_string(refs.join("refs").join(&repo.revision))
            .ok()
            .map_or_else(|| repo.revision.clone(), |commit| commit.trim().to_owned());
        let folder = self.folder(repo, &commit);
        if !is_inside(&commit) || !folder.is_dir() {
            return Err(self.not_cached(repo, "the revision"));
        }
        let mut names = Vec::new();
        names_in(&folder, "", &mut names).map_err(|source| HubError::Io {
            path: folder.clone(),
            source,
        })?;
        Ok(Snapshot {
            hub: self,
            repo,
            names,
            commit,
            api: None,
            unreachable: None,
        })
    }

    /// Where the cache keeps the files of a commit.
    fn folder(&self, repo: &HubRepo, commit: &str) -> PathBuf {
        let folder = self.cache.path().join(at(repo, "").folder_name());
        folder.join("snapshots").join(commit)
    }

    fn not_cached(&self, repo: &HubRepo, missing: &str) -> HubError {
        HubError::NotCached {
            repo: repo.clone(),
            missing: missing.to_owned(),
            cache: self.cache.path().clone(),
        }
    }

    fn unreachable(&self, repo: &HubRepo, reason: String) -> HubError {
        HubError::NoNetwork {
            repo: repo.clone(),
            endpoint: self.endpoint.clone(),
            reason,
        }
    }
}

/// The weights and the config among the files of a repository, each brought by `get`.
fn files_of(
    repo: &HubRepo,
    names: &[String],
    commit: &str,
    get: impl Fn(&str) -> Result<PathBuf, HubError>,
) -> Result<HubFiles, HubError> {
    let name = match &repo.file {
        Some(file) => file.clone(),
        None => choose(repo, names)?,
    };
    let config = names
        .iter()
        .any(|name| name == CONFIG)
        .then(|| get(CONFIG))
        .transpose()?;
    let weights = get(&name)?;
    if name.ends_with(".index.json") {
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        for shard in shards::names(&weights)? {
            get(format!("{folder}/{shard}").trim_start_matches('/'))?;
        }
    }
    Ok(HubFiles {
        weights,
        config,
        commit: commit.to_owned(),
    })
}

/// The one checkpoint at the root of a repository: safetensors before PyTorch's, an index before
/// single files.
fn choose(repo: &HubRepo, names: &[String]) -> Result<String, HubError> {
    // What trainers leave beside the weights.
    let beside = ["training_args", "optimizer", "scheduler", "rng_state"];
    let ends = |endings: &[&str]| -> Vec<String> {
        names
            .iter()
            .filter(|name| !name.contains('/') && !beside.iter().any(|b| name.starts_with(b)))
            .filter(|name| endings.iter().any(|ending| name.ends_with(ending)))
            .cloned()
            .collect()
    };
    let preferred = [
        ends(&[".safetensors.index.json"]),
        ends(&[".safetensors"]),
        ends(&[".bin.index.json"]),
        ends(&[".pth", ".pt", ".bin", ".ckpt"]),
    ];
    let Some(candidates) = preferred.into_iter().find(|found| !found.is_empty()) else {
        return Err(HubError::NoWeights {
            repo: repo.clone(),
            files: names.to_vec(),
        });
    };
    match candidates.as_slice() {
        [one] => Ok(one.clone()),
        _ => Err(HubError::Ambiguous {
            repo: repo.clone(),
            candidates,
        }),
    }
}

/// What a repository has at one commit, and the way to it.
struct Snapshot<'a> {
    hub: &'a Hub,
    repo: &'a HubRepo,
    commit: String,
    /// Paths of its files.
    names: Vec<String>,
    /// The server; none where the cache alone is used.
    api: Option<Api>,
    /// Why the server could not be reached, if it was tried.
    unreachable: Option<String>,
}

impl Snapshot<'_> {
    /// The path of a file in the cache, after fetching it if it is not there.
    fn file(&self, name: &str) -> Result<PathBuf, HubError> {
        let pinned = at(self.repo, &self.commit);
        let Some(api) = &self.api else {
            let path = self.hub.folder(self.repo, &self.commit).join(name);
            let found = path.exists().then_some(path);
            return found.ok_or_else(|| self.hub.not_cached(self.repo, name));
        };
        if let Some(path) = self.hub.cache.repo(pinned.clone()).get(name) {
            return Ok(path);
        }
        let files: ApiRepo = api.repo(pinned);
        let error = |error| download_error(self.repo, name, error);
        // The bar of the crate cuts a long name in bytes.
        let path = if self.hub.progress && name.is_ascii() {
            files.download(name)
        } else {
            files.download_with_progress(name, ())
        }
        .map_err(error)?;
        // A server that does not know ranges would send the whole file after a part of it.
        let expected = api.metadata(&files.url(name)).map_err(error)?.size() as u64;
        let io_error = |source| HubError::Io {
            path: path.clone(),
            source,
        };
        let found = fs::metadata(&path).map_err(io_error)?.len();
        if found != expected {
            fs::canonicalize(&path)
                .and_then(fs::remove_file)
                .map_err(io_error)?;
            fs::remove_file(&path).map_err(io_error)?;
            return Err(HubError::Length {
                repo: self.repo.clone(),
                file: name.to_owned(),
                found,
                expected,
            });
        }
        Ok(path)
    }

    /// Notes the commit, so that what is fetched by commit is found again by branch.
    fn remember(&self) -> Result<(), HubError> {
        if self.api.is_none() {
            return Ok(());
        }
        let cache = &self.hub.cache;
        cache
            .repo(at(self.repo, &self.repo.revision))
            .create_ref(&self.commit)
            .map_err(|source| HubError::Io {
                path: cache.path().clone(),
                source,
            })
    }

    /// What stands behind an error: where the server was not asked, what is missing may be there.
    fn reason(&self, error: HubError) -> HubError {
        match (&self.unreachable, error) {
            (Some(reason), _) => self.hub.unreachable(self.repo, reason.clone()),
            (None, HubError::NoWeights { .. }) if self.api.is_none() => {
                self.hub.not_cached(self.repo, "a weights file")
            }
            (None, error) => error,
        }
    }
}

fn at(repo: &HubRepo, revision: &str) -> Repo {
    Repo::with_revision(repo.id.clone(), RepoType::Model, revision.to_owned())
}

/// Adds the paths of all files of a folder, with slashes, behind `below`.
fn names_in(folder: &Path, below: &str, names: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            names_in(&entry.path(), &format!("{name}/"), names)?;
        } else {
            names.push(name);
        }
    }
    Ok(())
}

fn status(error: &ApiError) -> Option<u16> {
    match error {
        ApiError::RequestError(error) => match **error {
            ureq::Error::StatusCode(status) => Some(status),
            _ => None,
        },
        _ => None,
    }
}

fn download_error(repo: &HubRepo, file: &str, source: ApiError) -> HubError {
    HubError::Download {
        repo: repo.clone(),
        file: file.to_owned(),
        source: Box::new(source),
    }
}
