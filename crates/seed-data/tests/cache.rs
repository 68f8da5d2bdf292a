//! The cache: built once, bounded, whole or not at all.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use seed_data::{Cache, CacheKey, DataError, RowWriter, Rows, remove_partial_files};

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
    cache.get_or_build(key, 3, |_| Err(DataError::NoCacheDir))
}

#[test]
fn rows_come_back_and_are_built_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let cache = Cache::open(dir.path(), BOUND).expect("a cache");
    for rows in [
        cache.get_or_build(&key("a"), 3, three_rows),
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
        .get_or_build(&key, 1, |writer| writer.push_f16(&row))
        .expect("the entry");
    let mut values = vec![7.0];
    rows.read_f16_into(0, &mut values).expect("a row");
    assert_eq!(values[1..], row);
}

#[test]
fn a_failed_build_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let cache = Cache::open(dir.path(), BOUND).expect("a cache");
    let wrong = cache.get_or_build(&key("a"), 3, |writer| writer.push(&[1, 2, 3]));
    assert!(matches!(
        wrong,
        Err(DataError::RowSize {
            expected: 4,
            found: 3
        })
    ));
    assert_eq!(fs::read_dir(dir.path()).expect("the folder").count(), 0);
    let panicked = std::panic::catch_unwind(|| {
        cache.get_or_build(&key("a"), 3, |writer| -> Result<(), DataError> {
            writer.push(&[1; 4])?;
            panic!("the builder")
        })
    });
    assert!(panicked.is_err());
    assert_eq!(fs::read_dir(dir.path()).expect("the folder").count(), 0);
    cache
        .get_or_build(&key("a"), 3, three_rows)
        .expect("the next try");
}

#[test]
fn damaged_entries_are_made_anew() {
    let dir = tempfile::tempdir().expect("a folder");
    let cache = Cache::open(dir.path(), BOUND).expect("a cache");
    cache
        .get_or_build(&key("a"), 3, three_rows)
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
        .get_or_build(&key("a"), 3, three_rows)
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
                let rows = cache.get_or_build(&key("a"), 3, |writer| {
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
const TASK: &str = "SEED_TEST_TASK_OF_CHILD";

/// Not a test by itself: what the processes of other tests do.
#[test]
fn child_process() {
    let Some(dir) = std::env::var_os(CHILD).map(PathBuf::from) else {
        return;
    };
    let cache = Cache::open(dir.join("cache"), BOUND).expect("a cache");
    match std::env::var(TASK).expect("a task").as_str() {
        "build" => {
            let rows = cache.get_or_build(&key("a"), 3, |writer| {
                fs::write(dir.join(format!("built-by-{}", std::process::id())), "")
                    .map_err(DataError::io(&dir))?;
                std::thread::sleep(Duration::from_millis(300));
                three_rows(writer)
            });
            assert_eq!(rows.expect("the entry").len(), 3);
        }
        "hang" => {
            let rows = cache.get_or_build(&key("a"), 3, |writer| {
                writer.push(&[9; 4])?;
                fs::write(dir.join("begun"), "").map_err(DataError::io(&dir))?;
                std::thread::sleep(Duration::from_mins(1));
                three_rows(writer)
            });
            panic!("it was not killed: {rows:?}");
        }
        // Ends at once, as at a second Ctrl-C.
        "leave" => {
            let rows = cache.get_or_build(&key("a"), 3, |writer| {
                writer.push(&[9; 4])?;
                remove_partial_files();
                three_rows(writer).ok();
                std::process::exit(0)
            });
            panic!("it goes on: {:?}", rows.map_err(|error: DataError| error));
        }
        "limit" => {
            let limit = Cache::limit_from(None).map_err(|error| error.to_string());
            fs::write(dir.join("limit"), format!("{limit:?}")).expect("a file");
        }
        other => panic!("{other}"),
    }
}

fn child(dir: &Path, task: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args(["--exact", "child_process"])
        .env(CHILD, dir)
        .env(TASK, task)
        .env_remove("SEED_CACHE_LIMIT")
        .stdout(std::process::Stdio::null());
    command
}

#[test]
fn processes_build_an_entry_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let spawn = || child(dir.path(), "build").spawn().expect("a process");
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
    let cache = dir.path().join("cache");
    assert_eq!(fs::read_dir(cache).expect("the folder").count(), 1);
}

/// A process in the middle of building, once it has written.
fn hanging(dir: &Path) -> Child {
    let child = child(dir, "hang").spawn().expect("a process");
    let start = Instant::now();
    while !dir.join("begun").exists() {
        assert!(start.elapsed() < Duration::from_secs(30), "it never began");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

fn kill(mut child: Child) {
    child.kill().expect("its end");
    child.wait().expect("its end");
}

#[test]
fn what_a_killed_process_left_goes_at_the_next_opening() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("cache");
    let child = hanging(dir.path());
    // What others still write stays, and so does what is not the cache's.
    let others = ["notes", "Cargo.lock", "movie.partial", "corn.rows"];
    for name in others {
        fs::write(folder.join(name), "").expect("a file");
    }
    let held_path = folder.join(key("held").name()).with_extension("partial");
    let held = File::create(&held_path).expect("a file");
    held.lock().expect("its lock");
    // As earlier versions named theirs.
    fs::write(folder.join(".tmpAbCdEf.partial"), "rows").expect("a file");
    fs::write(folder.join(key("a").name()).with_extension("lock"), "").expect("a file");
    let opened = || {
        Cache::open(&folder, BOUND).expect("a cache");
        let files = fs::read_dir(&folder).expect("the folder").count();
        files - others.len()
    };
    assert_eq!(opened(), 2, "of the process and of this one");
    kill(child);
    assert_eq!(entries(&folder, "partial").len(), 3);
    assert_eq!(opened(), 1);
    assert!(held_path.exists() && others.iter().all(|name| folder.join(name).exists()));
    // Nor is anything but entries removed for the bound.
    let small = Cache::open(&folder, 400).expect("a cache");
    for name in ["a", "b", "c"] {
        small
            .get_or_build(&key(name), 3, three_rows)
            .expect("the entry");
    }
    assert!(others.iter().all(|name| folder.join(name).exists()));
}

#[test]
fn who_waits_for_a_killed_process_builds() {
    let dir = tempfile::tempdir().expect("a folder");
    let cache = Cache::open(dir.path().join("cache"), BOUND).expect("a cache");
    let child = hanging(dir.path());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| cache.get_or_build(&key("a"), 3, three_rows));
        std::thread::sleep(Duration::from_millis(100));
        assert!(!waiting.is_finished());
        kill(child);
        let rows = waiting.join().expect("no panic").expect("the entry");
        assert_eq!(rows.row(0).expect("a row"), 0u32.to_le_bytes());
    });
    assert_eq!(fs::read_dir(cache.dir()).expect("the folder").count(), 1);
}

/// Failing builds, good ones and openings of the cache at the same time.
#[test]
fn one_builds_at_a_time_whoever_fails() {
    let dir = tempfile::tempdir().expect("a folder");
    let cache = Cache::open(dir.path(), BOUND).expect("a cache");
    let (building, built) = (AtomicUsize::new(0), AtomicUsize::new(0));
    for round in 0..20 {
        let name = round.to_string();
        std::thread::scope(|scope| {
            for thread in 0..6 {
                let (cache, building, built, name) = (&cache, &building, &built, &name);
                scope.spawn(move || {
                    if thread == 0 {
                        (0..20).for_each(|_| drop(Cache::open(cache.dir(), BOUND)));
                    }
                    let rows = cache.get_or_build(&key(name), 3, |writer| {
                        assert_eq!(building.fetch_add(1, Ordering::SeqCst), 0);
                        let result = three_rows(writer);
                        std::thread::sleep(Duration::from_micros(200));
                        building.fetch_sub(1, Ordering::SeqCst);
                        built.fetch_add(1, Ordering::SeqCst);
                        // All but the last fail.
                        if thread < 5 {
                            Err(DataError::NoCacheDir)
                        } else {
                            result
                        }
                    });
                    if let Ok(rows) = rows {
                        assert_eq!(rows.row(2).expect("a row"), 2u32.to_le_bytes());
                    } else {
                        assert_ne!(thread, 5);
                    }
                });
            }
        });
        assert_eq!(entries(dir.path(), "rows").len(), round + 1);
        assert!(entries(dir.path(), "partial").is_empty());
    }
    assert!(built.load(Ordering::SeqCst) >= 20);
}

#[test]
fn partial_files_can_be_removed_at_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let status = child(dir.path(), "leave").status().expect("a process");
    assert!(status.success());
    assert_eq!(
        fs::read_dir(dir.path().join("cache")).expect("it").count(),
        0
    );
}

#[test]
fn the_environment_bounds_the_cache() {
    let dir = tempfile::tempdir().expect("a folder");
    let limit = |text: Option<&str>| {
        let mut child = child(dir.path(), "limit");
        text.map(|text| child.env("SEED_CACHE_LIMIT", text));
        assert!(child.status().expect("a process").success());
        fs::read_to_string(dir.path().join("limit")).expect("its answer")
    };
    assert_eq!(limit(None), format!("Ok({})", 8_u64 << 30));
    assert_eq!(limit(Some("")), format!("Ok({})", 8_u64 << 30));
    assert_eq!(limit(Some("20GB")), "Ok(20000000000)");
    let wrong = limit(Some("20 apples"));
    assert!(
        wrong.contains("SEED_CACHE_LIMIT: `20 apples`") && wrong.contains("20GB"),
        "{wrong}"
    );
    assert_eq!(Cache::limit_from(Some(5)).expect("the flag"), 5);
}

/// `/dev/full` fails every write as a full disk does.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named_and_left_clean() {
    let dir = tempfile::tempdir().expect("a folder");
    let cache = Cache::open(dir.path(), BOUND).expect("a cache");
    let partial = dir.path().join(key("a").name()).with_extension("partial");
    std::os::unix::fs::symlink("/dev/full", partial).expect("a link");
    let error = cache
        .get_or_build(&key("a"), 3, three_rows)
        .expect_err("the disk is full");
    let message = error.to_string();
    assert!(matches!(error, DataError::Cache { .. }), "{message}");
    assert!(
        message.contains(&dir.path().display().to_string()),
        "{message}"
    );
    assert!(message.contains("SEED_CACHE_DIR"), "{message}");
    assert_eq!(fs::read_dir(dir.path()).expect("the folder").count(), 0);
}

#[test]
fn the_least_recently_used_entry_goes_first() {
    let dir = tempfile::tempdir().expect("a folder");
    let one = Cache::open(dir.path(), BOUND).expect("a cache");
    let mut length = 0;
    for (age, name) in ["a", "b", "c"].iter().enumerate() {
        one.get_or_build(&key(name), 3, three_rows)
            .expect("the entry");
        let day = Duration::from_hours(24);
        for path in entries(dir.path(), "rows") {
            // Every entry there is becomes a day older.
            let file = File::options().write(true).open(path).expect("the file");
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
    full.get_or_build(&key("d"), 3, three_rows)
        .expect("the entry");
    for (name, there) in [("a", true), ("b", false), ("c", true), ("d", true)] {
        assert_eq!(find(&full, &key(name)).is_ok(), there, "{name}");
    }
}

#[test]
fn entries_in_use_stay() {
    let dir = tempfile::tempdir().expect("a folder");
    let one = Cache::open(dir.path(), BOUND).expect("a cache");
    let in_use = one
        .get_or_build(&key("a"), 3, three_rows)
        .expect("the entry");
    let length = entries(dir.path(), "rows")[0]
        .metadata()
        .expect("its length")
        .len();
    let small = Cache::open(dir.path(), length + 8).expect("a cache");
    small
        .get_or_build(&key("b"), 3, three_rows)
        .expect("the entry");
    assert_eq!(entries(dir.path(), "rows").len(), 2);
    drop(in_use);
    small
        .get_or_build(&key("c"), 3, three_rows)
        .expect("the entry");
    assert!(find(&small, &key("a")).is_err());
}

#[test]
fn an_entry_above_the_bound_is_refused_before_work() {
    let dir = tempfile::tempdir().expect("a folder");
    let cache = Cache::open(dir.path(), 3_000_000_000).expect("a cache");
    let key = CacheKey::new("test", 1_000_000_000);
    let error = cache
        .get_or_build(&key, 5, |_| -> Result<(), DataError> {
            panic!("work began")
        })
        .expect_err("too large");
    assert!(matches!(
        error,
        DataError::CacheBound {
            bound: 3_000_000_000,
            needed: 5_000_000_000..5_000_001_000,
            ..
        }
    ));
    let message = error.to_string();
    for part in [
        "4.66 GiB",
        "2.79 GiB",
        &dir.path().display().to_string(),
        "--cache-limit",
        "SEED_CACHE_LIMIT, such as 6GB",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(fs::read_dir(dir.path()).expect("the folder").count(), 0);
    // As large as it may be, footer and all.
    let whole = Cache::open(dir.path().join("other"), BOUND).expect("a cache");
    let rows = whole.get_or_build(&self::key("a"), 3, three_rows);
    drop(rows.expect("the entry"));
    let length = entries(whole.dir(), "rows")[0]
        .metadata()
        .expect("it")
        .len();
    for (bound, fits) in [(length, true), (length - 1, false)] {
        let cache = Cache::open(dir.path(), bound).expect("a cache");
        let rows = cache.get_or_build(&self::key("a"), 3, three_rows);
        assert_eq!(rows.is_ok(), fits);
        for path in entries(dir.path(), "rows") {
            fs::remove_file(path).expect("the entry");
        }
    }
}

#[test]
fn an_entry_of_another_number_of_rows_is_an_error() {
    let dir = tempfile::tempdir().expect("a folder");
    let cache = Cache::open(dir.path(), BOUND).expect("a cache");
    for (announced, told) in [(2, 3), (4, 3)] {
        let error = cache.get_or_build(&key("a"), announced, three_rows);
        assert!(
            matches!(error, Err(DataError::RowCount { expected, found }) if (expected, found) == (announced, told))
        );
    }
    assert_eq!(fs::read_dir(dir.path()).expect("the folder").count(), 0);
    // An entry that was made when the set had fewer rows is made anew.
    cache.get_or_build(&key("a"), 3, three_rows).expect("three");
    let one = |writer: &mut RowWriter<'_>| writer.push(&[7; 4]);
    let rows = cache.get_or_build(&key("a"), 1, one).expect("one");
    assert_eq!(rows.row(0).expect("a row"), [7; 4]);
}

#[test]
fn a_run_that_does_not_fit_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let cache = Cache::open(dir.path(), 1000).expect("a cache");
    cache.check_fits(1000).expect("it fits");
    let error = cache.check_fits(1001).expect_err("too much");
    assert!(
        matches!(error, DataError::CacheBound { needed: 1001, .. }),
        "{error}"
    );

    // More than any disk has.
    let unbounded = Cache::open(dir.path(), u64::MAX).expect("a cache");
    let error = unbounded.check_fits(1 << 62).expect_err("too much");
    assert!(
        matches!(error, DataError::CacheSpace { free, .. } if free > 0),
        "{error}"
    );
    assert!(error.to_string().contains("4.00 EiB"), "{error}");
    let key = CacheKey::new("test", 1 << 40);
    let error = unbounded
        .get_or_build(&key, 1 << 22, |_| -> Result<(), DataError> {
            panic!("work began")
        })
        .expect_err("too much");
    assert!(matches!(error, DataError::CacheSpace { .. }), "{error}");
    assert_eq!(fs::read_dir(dir.path()).expect("the folder").count(), 0);
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
        .get_or_build(&key("a"), 3, three_rows)
        .expect("the entry");
    let permit = |mode| fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode));
    permit(0o555).expect("a read-only folder");
    let writable = tempfile::tempfile_in(dir.path()).is_ok();
    let (old, new) = (
        find(&cache, &key("a")),
        cache.get_or_build(&key("b"), 3, three_rows),
    );
    permit(0o755).expect("a writable folder");
    assert_eq!(old.expect("the entry").len(), 3);
    match new {
        Ok(_) => assert!(writable),
        Err(error) => assert!(matches!(error, DataError::Cache { .. }), "{error}"),
    }
}
