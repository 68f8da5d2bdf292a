//! Whatever is given instead of a checkpoint: an error that says what is wrong, never a panic.

use std::{
    fs,
    path::{Path, PathBuf},
};

use seed_weights::{Checkpoint, HeaderError, IndexError, WeightsError};

use crate::files::{fixture, read_all, safetensors, sound};

fn header_error(bytes: Vec<u8>) -> HeaderError {
    match Checkpoint::from_bytes("file", bytes) {
        Err(WeightsError::Malformed { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

/// A header of `a` of one f32 and `b`, in eight bytes of data.
fn with_b(b: &str) -> HeaderError {
    let header = format!(r#"{{"a":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}},"b":{b}}}"#);
    header_error(safetensors(&header, &[0; 8]))
}

#[test]
fn headers_that_are_too_long_or_none() {
    assert_eq!(header_error(vec![]), HeaderError::TooShort { bytes: 0 });
    assert_eq!(header_error(vec![1; 7]), HeaderError::TooShort { bytes: 7 });
    let mut terabytes = sound();
    terabytes[..8].copy_from_slice(&(5_u64 << 40).to_le_bytes());
    assert_eq!(
        header_error(terabytes),
        HeaderError::TooLong { bytes: 5 << 40 }
    );
    let mut beyond = sound();
    let file = beyond.len() as u64;
    beyond[..8].copy_from_slice(&file.to_le_bytes());
    assert_eq!(
        header_error(beyond),
        HeaderError::BeyondFile { bytes: file, file }
    );
    for json in ["", "[]", "{", "{\"a\":1}", "\u{fffd}{}"] {
        let error = header_error(safetensors(json, &[]));
        assert!(matches!(error, HeaderError::Json(_)), "{error}");
    }
}

#[test]
fn offsets_that_do_not_tile_the_data() {
    let cases = [
        (
            r#"{"dtype":"F32","shape":[1],"data_offsets":[2,6]}"#,
            "`b` overlaps another tensor",
        ),
        (
            r#"{"dtype":"F16","shape":[1],"data_offsets":[6,8]}"#,
            "there is a hole before `b`",
        ),
        (
            r#"{"dtype":"F32","shape":[2],"data_offsets":[4,12]}"#,
            "`b` ends at byte 12 of the data, which has 8",
        ),
        (
            r#"{"dtype":"F16","shape":[1],"data_offsets":[4,6]}"#,
            "2 bytes after the last tensor belong to none",
        ),
        (
            r#"{"dtype":"F32","shape":[2],"data_offsets":[4,8]}"#,
            "`b` of shape [2] and type F32 does not fill bytes 4 to 8",
        ),
        (
            r#"{"dtype":"F32","shape":[1],"data_offsets":[8,4]}"#,
            "`b` of shape [1] and type F32 does not fill bytes 8 to 4",
        ),
        (
            r#"{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[4,8]}"#,
            "`b` of shape [4611686018427387904, 4] and type F32 does not fill bytes 4 to 8",
        ),
    ];
    for (b, message) in cases {
        assert_eq!(with_b(b).to_string(), message);
    }
}

#[test]
fn keys_that_are_there_twice() {
    let entry = r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
    let header = format!(r#"{{"a":{entry},"a":{entry}}}"#);
    assert_eq!(
        header_error(safetensors(&header, &[0; 4])),
        HeaderError::DuplicateKey("a".to_owned())
    );
    let header = r#"{"__metadata__":{},"__metadata__":{}}"#;
    assert_eq!(
        header_error(safetensors(header, &[])),
        HeaderError::DuplicateKey("__metadata__".to_owned())
    );
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

#[test]
fn files_that_are_no_checkpoints() {
    let folder = Folder::new();
    let cases: [(&[u8], &str); 4] = [
        (b"", "empty, not a checkpoint"),
        (
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
            "a picture, not a checkpoint",
        ),
        (b"the weights are elsewhere", "text, not a checkpoint"),
        (&[0xc7; 100], "of no known format, not a checkpoint"),
    ];
    for (content, message) in cases {
        let error = Checkpoint::open(folder.file("weights.safetensors", content)).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
    let error = Checkpoint::open(folder.0.path().join("absent")).unwrap_err();
    assert!(matches!(error, WeightsError::Io { .. }), "{error}");
}

#[test]
fn folders_without_a_checkpoint_or_with_several() {
    let folder = Folder::new();
    folder.file("config.json", "{}");
    let error = Checkpoint::open(folder.0.path()).unwrap_err();
    assert!(
        error.to_string().contains("a folder without an index"),
        "{error}"
    );
    folder.file("a.safetensors", sound());
    assert!(Checkpoint::open(folder.0.path()).is_ok());
    folder.file("b.pth", "");
    let error = Checkpoint::open(folder.0.path()).unwrap_err();
    assert!(
        error.to_string().contains("a.safetensors, b.pth"),
        "{error}"
    );
}

#[test]
fn truncated_files_of_every_format() {
    let folder = Folder::new();
    let mut files = vec![sound()];
    for name in [
        "flat.pth",
        "legacy.pt",
        "below_model.pth",
        "lightning_with_a_class.ckpt",
    ] {
        files.push(fs::read(fixture(name)).unwrap());
    }
    for content in files {
        for length in (0..content.len()).step_by(37) {
            let path = folder.file("cut", &content[..length]);
            if let Ok(checkpoint) = Checkpoint::open(&path) {
                assert!(
                    read_all(&checkpoint)
                        .iter()
                        .any(|error| !matches!(error, WeightsError::ElementType { .. })),
                    "{length} of {} bytes were read as if whole",
                    content.len()
                );
            }
        }
    }
}

#[test]
fn a_file_that_is_cut_after_it_was_opened_is_an_error() {
    let folder = Folder::new();
    for content in [sound(), fs::read(fixture("flat.pth")).unwrap()] {
        let path = folder.file("weights", content);
        let checkpoint = Checkpoint::open(&path).unwrap();
        fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(64)
            .unwrap();
        let key = checkpoint.keys().next().unwrap();
        assert!(checkpoint.stored(key).is_err());
    }
}

#[test]
fn pickles_with_code_are_read_without_running_it() {
    let trace = Path::new("/tmp/seed-weights-was-hacked");
    for name in ["hostile_root.pth", "hostile_entry.pth", "hostile.pkl"] {
        let error = Checkpoint::open(fixture(name)).unwrap_err();
        assert!(matches!(error, WeightsError::Torch { .. }), "{error}");
        assert!(!trace.exists(), "{name} was executed");
    }
    let error = Checkpoint::open(fixture("no_tensors.pth")).unwrap_err();
    assert!(
        error.to_string().ends_with("it holds no tensors"),
        "{error}"
    );
}

#[test]
fn archives_that_claim_gigabytes_do_not_get_them() {
    let error = Checkpoint::open(fixture("large_pickle.pth")).unwrap_err();
    assert!(error.to_string().contains("byte limit"), "{error}");
    let checkpoint = Checkpoint::open(fixture("bomb.pth")).unwrap();
    assert_eq!(checkpoint.shape("weight"), Some([1_000_000_000].as_slice()));
    let error = checkpoint.float("weight").unwrap_err();
    assert!(matches!(error, WeightsError::Torch { .. }), "{error}");
}

#[test]
fn indices_that_do_not_fit_their_shards() {
    let folder = Folder::new();
    folder.file("one.safetensors", sound());
    folder.file(
        "nested.index.json",
        r#"{"weight_map":{"a":"nested.index.json"}}"#,
    );
    let index_error = |content: &str| {
        let path = folder.file("model.safetensors.index.json", content);
        match Checkpoint::open(path) {
            Err(WeightsError::Index { source, .. }) => source,
            other => panic!("{other:?}"),
        }
    };
    let outside = |path: &str| IndexError::OutsideFolder(path.to_owned());
    for path in ["../one.safetensors", "/etc/passwd", "a/../../b", "", "."] {
        let content = format!(r#"{{"weight_map":{{"a":"{path}"}}}}"#);
        assert_eq!(index_error(&content), outside(path));
    }
    assert_eq!(
        index_error(r#"{"weight_map":{"a":"two.safetensors"}}"#),
        IndexError::MissingShard("two.safetensors".to_owned())
    );
    assert_eq!(
        index_error(r#"{"weight_map":{"a":"one.safetensors","c":"one.safetensors"}}"#),
        IndexError::MissingKey {
            shard: "one.safetensors".to_owned(),
            key: "c".to_owned()
        }
    );
    assert_eq!(
        index_error(r#"{"weight_map":{"a":"one.safetensors","a":"one.safetensors"}}"#),
        IndexError::DuplicateKey("a".to_owned())
    );
    assert_eq!(index_error(r#"{"weight_map":{}}"#), IndexError::Empty);
    for content in [
        "{}",
        r#"{"weight_map":[]}"#,
        r#"{"weight_map":"#,
        r#"{"weight_map":{"a":1}}"#,
    ] {
        assert!(matches!(index_error(content), IndexError::Json(_)));
    }
    // An index that names itself as its shard ends there.
    let error = Checkpoint::open(folder.0.path().join("nested.index.json")).unwrap_err();
    assert!(
        error.to_string().contains("JSON, not a checkpoint"),
        "{error}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn paths_that_are_not_utf8_and_files_that_are_not_regular() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let folder = Folder::new();
    let name = OsStr::from_bytes(b"w\xffights.safetensors");
    let path = folder.file(name, sound());
    assert!(Checkpoint::open(&path).is_ok());
    let pickle = folder.file(
        OsStr::from_bytes(b"w\xff.pth"),
        fs::read(fixture("flat.pth")).unwrap(),
    );
    assert!(Checkpoint::open(&pickle).is_ok());
    let error = Checkpoint::open("/dev/zero").unwrap_err();
    assert!(error.to_string().contains("not a regular file"), "{error}");
}
