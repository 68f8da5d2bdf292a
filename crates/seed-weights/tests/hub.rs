//! Fetching from the Hub, against a server on this machine that answers as the Hub does.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

use seed_weights::{
    Format,
    hub::{Hub, HubError, HubRepo},
};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A path, and the range of bytes that was asked for.
type Request = (String, Option<String>);

/// One repository, `seed/tokenizer`, at one commit.
struct Server {
    endpoint: String,
    /// Each request: its path, and its range if it has one.
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    fn start(files: &[(&str, Vec<u8>)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let files: Arc<HashMap<String, Vec<u8>>> = Arc::new(
            files
                .iter()
                .map(|(name, content)| ((*name).to_owned(), content.clone()))
                .collect(),
        );
        let log = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (files, log) = (Arc::clone(&files), Arc::clone(&log));
                thread::spawn(move || while answer(&stream, &files, &log).is_some() {});
            }
        });
        Self { endpoint, requests }
    }

    fn hub(&self, cache: &Path) -> Hub {
        Hub::new(cache)
            .with_endpoint(&self.endpoint)
            .with_progress(false)
    }

    /// Files whose content was asked for, not only their size.
    fn downloads(&self) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        requests
            .iter()
            .filter(|(_, range)| range.as_deref().is_some_and(|range| range != "bytes=0-0"))
            .map(|(path, _)| path.rsplit_once('/').unwrap().1.to_owned())
            .collect()
    }
}

/// Answers one request of a connection; `None` at its end.
fn answer(
    mut stream: &TcpStream,
    files: &HashMap<String, Vec<u8>>,
    log: &Mutex<Vec<(String, Option<String>)>>,
) -> Option<()> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let mut range = None;
    for line in lines {
        let line = line.ok()?.to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("range: ") {
            range = Some(value.to_owned());
        }
    }
    log.lock().unwrap().push((path.clone(), range.clone()));
    let (status, headers, body) = respond(&path, range.as_deref(), files);
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(&body).ok()
}

fn respond(
    path: &str,
    range: Option<&str>,
    files: &HashMap<String, Vec<u8>>,
) -> (&'static str, String, Vec<u8>) {
    let absent = || ("404 Not Found", String::new(), Vec::new());
    let of_repo = |prefix: &str| {
        path.strip_prefix(prefix)
            .and_then(|rest| rest.strip_prefix("main").or(rest.strip_prefix(COMMIT)))
    };
    if of_repo("/api/models/seed/tokenizer/revision/") == Some("") {
        let names: Vec<_> = files
            .keys()
            .map(|name| serde_json::json!({ "rfilename": name }))
            .collect();
        let body = serde_json::json!({ "sha": COMMIT, "siblings": names });
        return ("200 OK", String::new(), body.to_string().into_bytes());
    }
    let Some(content) = of_repo("/seed/tokenizer/resolve/")
        .and_then(|rest| files.get(rest.trim_start_matches('/')))
    else {
        return absent();
    };
    let (start, end) = range
        .and_then(|range| range.strip_prefix("bytes=")?.split_once('-'))
        .unwrap_or(("0", ""));
    let start: usize = start.parse().unwrap();
    let end = end.parse().map_or(content.len(), |end: usize| end + 1);
    let headers = format!(
        "ETag: \"{:016x}\"\r\nX-Repo-Commit: {COMMIT}\r\nContent-Range: bytes {start}-{}/{}\r\n",
        content.iter().fold(content.len() as u64, |hash, &byte| {
            hash.wrapping_mul(31).wrapping_add(u64::from(byte))
        }),
        end.saturating_sub(1),
        content.len()
    );
    ("206 Partial Content", headers, content[start..end].to_vec())
}

/// A safetensors file of one f32.
fn one(key: &str, value: f32) -> Vec<u8> {
    let header = format!(r#"{{"{key}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#);
    let length = (header.len() as u64).to_le_bytes();
    [&length, header.as_bytes(), &value.to_le_bytes()].concat()
}

fn sharded() -> Vec<(&'static str, Vec<u8>)> {
    let index = br#"{"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}}"#;
    vec![
        ("config.json", b"{\"width\": 3}".to_vec()),
        ("README.md", b"# SEED".to_vec()),
        ("model.safetensors.index.json", index.to_vec()),
        ("model-1.safetensors", one("a", 1.5)),
        ("model-2.safetensors", one("b", 2.5)),
    ]
}

fn repo() -> HubRepo {
    "hf:seed/tokenizer".parse().unwrap()
}

#[test]
fn names_of_repositories() {
    for text in [
        "hf:AILab-CVC/seed-tokenizer-2",
        "hf:a/b@v1.0",
        "hf:a/b/folder/seed_quantizer.pt@refs/pr/1",
    ] {
        assert_eq!(text.parse::<HubRepo>().unwrap().to_string(), text);
    }
    assert_eq!(
        "hf:a/b@main".parse::<HubRepo>().unwrap().to_string(),
        "hf:a/b"
    );
    for text in [
        "a/b",
        "hf:",
        "hf:a",
        "hf:a/",
        "hf:/b",
        "hf:../b",
        "hf:a/..",
        "hf:a/b@",
        "hf:a/b@../x",
        "hf:a/b/../../c",
        "hf:a b/c",
        "hf:a/b@x/../..",
        "hf:a/b/",
    ] {
        let error = text.parse::<HubRepo>();
        assert!(matches!(error, Err(HubError::Name(_))), "{text}: {error:?}");
    }
}

#[test]
fn an_index_with_its_shards_and_the_config_once() {
    let server = Server::start(&sharded());
    let cache = tempfile::tempdir().unwrap();
    let hub = server.hub(cache.path());
    let files = hub.fetch(&repo()).unwrap();
    assert_eq!(files.commit, COMMIT);
    let config = fs::read_to_string(files.config.as_ref().unwrap()).unwrap();
    assert_eq!(config, "{\"width\": 3}");
    let checkpoint = files.open().unwrap();
    assert_eq!(checkpoint.format(), &Format::Sharded { files: 2 });
    let value: Vec<f32> = checkpoint.float("b").unwrap().iter().collect();
    assert_eq!(value, [2.5]);
    assert_eq!(server.downloads().len(), 4, "{:?}", server.downloads());

    // Everything is in the cache now: for the server, without it, and offline.
    assert_eq!(hub.fetch(&repo()).unwrap(), files);
    assert_eq!(server.downloads().len(), 4);
    let unreachable = hub.clone().with_endpoint("http://127.0.0.1:1");
    assert_eq!(unreachable.fetch(&repo()).unwrap(), files);
    let offline = unreachable.with_offline(true);
    assert_eq!(offline.fetch(&repo()).unwrap(), files);
    let by_commit = format!("hf:seed/tokenizer@{COMMIT}").parse().unwrap();
    assert_eq!(offline.fetch(&by_commit).unwrap(), files);

    // A shard that is lost is missed.
    fs::remove_file(files.weights.with_file_name("model-2.safetensors")).unwrap();
    let error = offline.fetch(&repo()).unwrap_err();
    assert!(matches!(error, HubError::NotCached { .. }), "{error}");
    assert!(error.to_string().contains("model-2.safetensors"), "{error}");
}

#[test]
fn chosen_files_lie_as_in_the_repository() {
    let server = Server::start(&[
        ("model_index.json", b"{}".to_vec()),
        ("unet/config.json", b"{}".to_vec()),
        ("unet/weights.safetensors", one("a", 1.0)),
        ("unet/weights.bin", b"unread".to_vec()),
    ]);
    let cache = tempfile::tempdir().unwrap();
    let hub = server.hub(cache.path());
    let choose = |names: &[String]| {
        let wanted = ["model_index.json", "unet/weights.safetensors"].map(str::to_owned);
        assert!(wanted.iter().all(|name| names.contains(name)), "{names:?}");
        wanted.to_vec()
    };
    let found = hub.fetch_some(&repo(), choose).unwrap().unwrap();
    assert_eq!(found.commit, COMMIT);
    assert!(found.path.join("model_index.json").is_file());
    let weights = fs::read(found.path.join("unet/weights.safetensors")).unwrap();
    assert_eq!(weights, one("a", 1.0));
    assert_eq!(server.downloads().len(), 2, "{:?}", server.downloads());

    // Again, without the server, and offline, where the folders of the cache are looked through.
    assert_eq!(hub.fetch_some(&repo(), choose).unwrap().unwrap(), found);
    assert_eq!(server.downloads().len(), 2);
    let unreachable = hub.clone().with_endpoint("http://127.0.0.1:1");
    assert_eq!(
        unreachable.fetch_some(&repo(), choose).unwrap(),
        Some(found.clone())
    );
    let offline = unreachable.clone().with_offline(true);
    assert_eq!(offline.fetch_some(&repo(), choose).unwrap(), Some(found));
    let missing = |_: &[String]| vec!["unet/config.json".to_owned()];
    let error = offline.fetch_some(&repo(), missing).unwrap_err();
    assert!(matches!(error, HubError::NotCached { .. }), "{error}");
    assert!(error.to_string().contains("unet/config.json"), "{error}");
    let error = unreachable.fetch_some(&repo(), missing).unwrap_err();
    assert!(matches!(error, HubError::NoNetwork { .. }), "{error}");

    // Nothing may be wanted.
    assert_eq!(hub.fetch_some(&repo(), |_| Vec::new()).unwrap(), None);
}

#[test]
fn a_download_that_was_cut_goes_on_where_it_stopped() {
    let content = one("weight", 7.0);
    let server = Server::start(&[("seed_quantizer.pt", content.clone())]);
    let cache = tempfile::tempdir().unwrap();
    let hub = server.hub(cache.path());
    let whole = hub.fetch(&repo()).unwrap();
    let blob = fs::canonicalize(&whole.weights).unwrap();
    fs::remove_file(&whole.weights).unwrap();
    fs::remove_file(&blob).unwrap();
    fs::write(blob.with_extension("part"), &content[..20]).unwrap();

    let again = hub.fetch(&repo()).unwrap();
    assert!(fs::read(&again.weights).unwrap() == content);
    let requests = server.requests.lock().unwrap();
    let resumed = |(_, range): &(String, Option<String>)| range.as_deref() == Some("bytes=20-");
    assert_eq!(
        requests.iter().filter(|request| resumed(request)).count(),
        1
    );
}

#[test]
fn safetensors_come_before_pickles_and_several_files_are_not_guessed_among() {
    let cache = tempfile::tempdir().unwrap();
    let both = [
        ("pytorch_model.bin", b"unread".to_vec()),
        ("optimizer.pt", b"unread".to_vec()),
        ("model.safetensors", one("a", 1.0)),
    ];
    let files = Server::start(&both)
        .hub(cache.path())
        .fetch(&repo())
        .unwrap();
    assert_eq!(files.weights.file_name().unwrap(), "model.safetensors");
    assert_eq!(files.config, None);

    let cache = tempfile::tempdir().unwrap();
    let several = [
        ("eva_vit_g.pth", one("a", 1.0)),
        ("seed/quantizer.pt", one("b", 2.0)),
        ("seed_quantizer.pt", one("b", 2.0)),
    ];
    let server = Server::start(&several);
    let hub = server.hub(cache.path());
    let error = hub.fetch(&repo()).unwrap_err();
    assert!(matches!(error, HubError::Ambiguous { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("eva_vit_g.pth, seed_quantizer.pt")
            || {
                error
                    .to_string()
                    .contains("seed_quantizer.pt, eva_vit_g.pth")
            }
    );
    let named: HubRepo = "hf:seed/tokenizer/seed/quantizer.pt".parse().unwrap();
    assert_eq!(named.file(), Some("seed/quantizer.pt"));
    let checkpoint = hub.fetch(&named).unwrap().open().unwrap();
    assert_eq!(checkpoint.keys().collect::<Vec<_>>(), ["b"]);
}

#[test]
fn what_cannot_be_fetched_says_why() {
    let server = Server::start(&[("README.md", b"# nothing".to_vec())]);
    let cache = tempfile::tempdir().unwrap();
    let hub = server.hub(cache.path());

    let error = hub.fetch(&repo()).unwrap_err();
    assert!(matches!(error, HubError::NoWeights { .. }), "{error}");
    for text in ["hf:seed/other", "hf:seed/tokenizer@v2"] {
        let error = hub.fetch(&text.parse().unwrap()).unwrap_err();
        assert!(
            matches!(error, HubError::Unknown { status: 404, .. }),
            "{error}"
        );
    }
    let absent = "hf:seed/tokenizer/absent.pt".parse().unwrap();
    let error = hub.fetch(&absent).unwrap_err();
    assert!(matches!(error, HubError::Download { .. }), "{error}");

    // Nothing listens on this port.
    let unreachable = hub.clone().with_endpoint("http://127.0.0.1:1");
    let error = unreachable.fetch(&repo()).unwrap_err();
    assert!(matches!(error, HubError::NoNetwork { .. }), "{error}");
    let error = hub.with_offline(true).fetch(&repo()).unwrap_err();
    assert!(matches!(error, HubError::NotCached { .. }), "{error}");
    assert!(error.to_string().contains("HF_HUB_OFFLINE"), "{error}");
}
