//! Old content stays until the rename, nothing is left behind, permissions are the usual ones.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use seed_files::{AtomicFile, write_file};

fn names(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_is_replaced_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    write_file(&path, b"old").unwrap();
    let mut file = AtomicFile::create(&path).unwrap();
    file.write_all(b"???-content").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"old");
    file.seek(SeekFrom::Start(0)).unwrap();
    file.write_all(b"new").unwrap();
    assert_eq!(file.as_file().metadata().unwrap().len(), 11);
    file.commit().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new-content");
    assert_eq!(names(folder.path()), ["file"]);
}

#[test]
fn what_is_not_committed_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    write_file(&path, b"old").unwrap();
    let mut file = AtomicFile::create(&path).unwrap();
    file.write_all(b"new").unwrap();
    drop(file);
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names(folder.path()), ["file"]);
}

/// A folder in the way is found out by the rename, after everything else.
#[test]
fn a_failed_rename_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("taken");
    fs::create_dir(&path).unwrap();
    write_file(&path, b"new").unwrap_err();
    write_file(&folder.path().join(".."), b"new").unwrap_err();
    write_file(&folder.path().join("missing/file"), b"new").unwrap_err();
    assert_eq!(names(folder.path()), ["taken"]);
}

#[cfg(unix)]
#[test]
fn permissions_are_those_of_any_new_file() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = tempfile::tempdir().unwrap();
    let mode = |name: &str| {
        let metadata = fs::symlink_metadata(folder.path().join(name)).unwrap();
        metadata.permissions().mode()
    };
    fs::write(folder.path().join("usual"), "").unwrap();
    write_file(&folder.path().join("new"), b"").unwrap();
    assert_eq!(mode("new"), mode("usual"));
    // A link is replaced by a file, and does not lend it its own mode, which lets everybody write.
    symlink("usual", folder.path().join("link")).unwrap();
    write_file(&folder.path().join("link"), b"new").unwrap();
    assert_eq!(mode("link"), mode("usual"));
    assert_eq!(fs::read(folder.path().join("usual")).unwrap(), b"");
}
