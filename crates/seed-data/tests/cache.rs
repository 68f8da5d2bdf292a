//! The cache: built once, bounded, whole or not at all.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use seed_data::{Cache, CacheKey, DataError, RowWriter, Rows};

const BOUND: u64 = 1 << 20;

fn key(name: &str) -> CacheKey {
    CacheKey::new("test", 4).part("name", name)
}

fn three_rows(writer: &mut RowWriter<'_>) -> Result<(), DataError> {
    (0..3u32).try_for_each(|row| writer.push(&row.to_le_bytes()))
}

fn entries(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(dir)
        .expect("the folder")
        .map(|file| file.expect("a file").path());
    files
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect()
}

/// Finds an entry; fails if it is not there.
fn find(cache: &Cache, key: &CacheKey) -> Result<Rows, DataError> {
    cache.get_or_build(key, |_| Err(DataError::NoCacheDir))
}

#[test]
fn rows_come_back_and_are_built_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let cache = Cache::open(dir.path(), BOUND).expect("a cache");
    for rows in [
        cache.get_or_build(&key("a"), three_rows),
        find(&cache, &key("a")),
    ] {
        let rows = rows.expect("the entry");
        assert_eq!((rows.len(), rows.row_bytes()), (3, 4));
        assert_eq!(rows.row(2).expect("a row"), 2u32.to_le_bytes());
        assert!(matches!(
            rows.row(3),
            Err(DataError::RowIndex { index: 3, rows: 3 })
        ));
        assert!(matches!(
            rows.read_into(0, &mut [0; 5]),
            Err(DataError::RowSize { .. })
        ));
    }
    // Another key is another entry, also where parts only shift their border.
    let keys = [
        key("b"),
        key("a").part("x", 1),
        CacheKey::new("test", 4).part("namea", ""),
    ];
    for key in keys {
        assert!(find(&cache, &key).is_err());
    }
    assert_eq!(entries(dir.path(), "rows").len(), 1);
}

#[test]
fn half_precision_rows_come_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let cache = Cache::open(dir.path(), BOUND).expect("a cache");
    let row = [0.5, -3.0, 65504.0, 1.0 / 1024.0];
    let key = CacheKey::new("features", 8);
    let rows = cache
        .get_or_build(&key, |writer| writer.push_f16(&row))
        .expect("the entry");
    let mut values = vec![7.0];
    rows.read_f16_into(0, &mut values).expect("a row");
    assert_eq!(values[1..], row);
}

#[test]
fn a_failed_build_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let cache = Cache::open(dir.path(), BOUND).expect("a cache");
    let wrong = cache.get_or_build(&key("a"), |writer| writer.push(&[1, 2, 3]));
    assert!(matches!(
        wrong,
        Err(DataError::RowSize {
            expected: 4,
            found: 3
        })
    ));
    assert!(entries(dir.path(), "rows").is_empty() && entries(dir.path(), "partial").is_empty());
    cache
        .get_or_build(&key("a"), three_rows)
        .expect("the next try");
}

#[test]
fn damaged_entries_are_made_anew() {
    let dir = tempfile::tempdir().expect("a folder");
    let cache = Cache::open(dir.path(), BOUND).expect("a cache");
    cache
        .get_or_build(&key("a"), three_rows)
        .expect("the entry");
    let path = entries(dir.path(), "rows").remove(0);
    let whole = fs::read(&path).expect("the file");
    let mut flipped = whole.clone();
    flipped[5] ^= 1;
    let cut = (0..whole.len()).map(|length| whole[..length].to_vec());
    for damaged in cut.chain([flipped]) {
        fs::write(&path, damaged).expect("a damaged file");
        assert!(find(&cache, &key("a")).is_err());
    }
    let rows = cache
        .get_or_build(&key("a"), three_rows)
        .expect("the entry");
    assert_eq!(rows.row(1).expect("a row"), 1u32.to_le_bytes());
}

#[test]
fn threads_build_an_entry_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let cache = Cache::open(dir.path(), BOUND).expect("a cache");
    let (built, start) = (AtomicUsize::new(0), Barrier::new(4));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                start.wait();
                let rows = cache.get_or_build(&key("a"), |writer| {
                    built.fetch_add(1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(50));
                    three_rows(writer)
                });
                assert_eq!(rows.expect("the entry").len(), 3);
            });
        }
    });
    assert_eq!(built.load(Ordering::SeqCst), 1);
}

const CHILD: &str = "SEED_TEST_CACHE_OF_CHILD";

/// Not a test by itself: what the processes of [`processes_build_an_entry_once`] do.
#[test]
fn child_process() {
    let Some(dir) = std::env::var_os(CHILD).map(PathBuf::from) else {
        return;
    };
    let cache = Cache::open(dir.join("cache"), BOUND).expect("a cache");
    let rows = cache.get_or_build(&key("a"), |writer| {
        fs::write(dir.join(format!("built-by-{}", std::process::id())), "")
            .map_err(DataError::io(&dir))?;
        std::thread::sleep(Duration::from_millis(300));
        three_rows(writer)
    });
    assert_eq!(rows.expect("the entry").len(), 3);
}

#[test]
fn processes_build_an_entry_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let spawn = || {
        Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "child_process"])
            .env(CHILD, dir.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("a process")
    };
    for mut child in [spawn(), spawn(), spawn()] {
        assert!(child.wait().expect("its end").success());
    }
    let files = fs::read_dir(dir.path()).expect("the folder");
    let names = files.map(|file| {
        file.expect("a file")
            .file_name()
            .into_string()
            .expect("a name")
    });
    assert_eq!(
        names.filter(|name| name.starts_with("built-by-")).count(),
        1
    );
}

#[test]
fn the_least_recently_used_entry_goes_first() {
    let dir = tempfile::tempdir().expect("a folder");
    let one = Cache::open(dir.path(), BOUND).expect("a cache");
    let mut length = 0;
    for (age, name) in ["a", "b", "c"].iter().enumerate() {
        one.get_or_build(&key(name), three_rows).expect("the entry");
        let day = Duration::from_hours(24);
        for path in entries(dir.path(), "rows") {
            // Every entry there is becomes a day older.
            let file = fs::File::options()
                .write(true)
                .open(path)
                .expect("the file");
            let metadata = file.metadata().expect("its times");
            length = metadata.len();
            let modified = metadata.modified().unwrap_or(SystemTime::now());
            file.set_modified(modified - day).expect("another time");
        }
        assert_eq!(entries(dir.path(), "rows").len(), age + 1);
    }
    // "a" is the oldest but has been used last; "b" must go.
    drop(find(&one, &key("a")).expect("the entry"));
    let full = Cache::open(dir.path(), 3 * length + 8).expect("a cache");
    full.get_or_build(&key("d"), three_rows).expect("the entry");
    for (name, there) in [("a", true), ("b", false), ("c", true), ("d", true)] {
        assert_eq!(find(&full, &key(name)).is_ok(), there, "{name}");
    }
}

#[test]
fn entries_in_use_stay() {
    let dir = tempfile::tempdir().expect("a folder");
    let one = Cache::open(dir.path(), BOUND).expect("a cache");
    let in_use = one.get_or_build(&key("a"), three_rows).expect("the entry");
    let length = entries(dir.path(), "rows")[0]
        .metadata()
        .expect("its length")
        .len();
    let small = Cache::open(dir.path(), length + 8).expect("a cache");
    small
        .get_or_build(&key("b"), three_rows)
        .expect("the entry");
    assert_eq!(entries(dir.path(), "rows").len(), 2);
    drop(in_use);
    small
        .get_or_build(&key("c"), three_rows)
        .expect("the entry");
    assert!(find(&small, &key("a")).is_err());
}

#[test]
fn an_entry_above_the_bound_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let cache = Cache::open(dir.path(), 10).expect("a cache");
    let result = cache.get_or_build(&key("a"), three_rows);
    assert!(matches!(
        result,
        Err(DataError::CacheBound { bound: 10, .. })
    ));
    assert!(entries(dir.path(), "partial").is_empty());
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let error = Cache::open(file.path().join("cache"), BOUND).expect_err("no folder");
    assert!(matches!(error, DataError::Cache { .. }));
    let message = error.to_string();
    assert!(message.contains("SEED_CACHE_DIR"), "{message}");
    assert!(
        message.contains(&file.path().display().to_string()),
        "{message}"
    );
}

/// A folder that lost its write permission; a privileged user may write all the same.
#[cfg(unix)]
#[test]
fn a_read_only_folder_serves_what_it_has_and_names_itself() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a folder");
    let cache = Cache::open(dir.path(), BOUND).expect("a cache");
    cache
        .get_or_build(&key("a"), three_rows)
        .expect("the entry");
    let permit = |mode| fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode));
    permit(0o555).expect("a read-only folder");
    let writable = tempfile::tempfile_in(dir.path()).is_ok();
    let (old, new) = (
        find(&cache, &key("a")),
        cache.get_or_build(&key("b"), three_rows),
    );
    permit(0o755).expect("a writable folder");
    assert_eq!(old.expect("the entry").len(), 3);
    match new {
        Ok(_) => assert!(writable),
        Err(error) => assert!(matches!(error, DataError::Cache { .. }), "{error}"),
    }
}
