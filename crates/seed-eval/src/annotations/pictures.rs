//! The files that annotations name: each below the folder of pictures, and there.

use std::{
    io::{self, ErrorKind},
    path::Path,
};

use crate::EvalError;

/// How many missing pictures an error names.
const NAMED: usize = 5;

/// Refuses a name of a picture that is empty, or that leads out of the folder of pictures on any system: files of
/// annotations come from elsewhere. `place` is the entry of the file at `path` that has it.
pub(super) fn check_name(
    path: &Path,
    place: impl FnOnce() -> String,
    name: &str,
) -> Result<(), EvalError> {
    let wrong = match name.as_bytes() {
        [] => "is empty",
        [b'/' | b'\\', ..] => "begins at the root",
        [drive, b':', ..] if drive.is_ascii_alphabetic() => "begins with a drive",
        _ if name.split(['/', '\\']).any(|part| part == "..") => "goes up by `..`",
        _ => return Ok(()),
    };
    Err(EvalError::PictureName {
        path: path.to_owned(),
        place: place(),
        name: name.to_owned(),
        wrong,
    })
}

/// Checks that the pictures of annotations are files below `folder`, so that a missing one is found before any work and
/// not at its end. Links are followed, and may not lead out of the folder.
///
/// # Errors
/// [`EvalError::PictureElsewhere`] naming the first that lies outside; else [`EvalError::MissingPictures`] with how many
/// are missing, and the first five; [`EvalError::Io`] if the folder or a file cannot be looked at.
pub fn check_pictures<'a>(
    folder: &Path,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<(), EvalError> {
    let root = folder.canonicalize().map_err(io_error(folder))?;
    let (mut all, mut missing) = (0, Vec::new());
    for name in names {
        all += 1;
        let path = folder.join(name);
        match path.canonicalize() {
            Ok(place) if !place.starts_with(&root) => {
                return Err(EvalError::PictureElsewhere {
                    folder: folder.to_owned(),
                    name: name.to_owned(),
                    place,
                });
            }
            Ok(place) if place.is_file() => {}
            // A folder is no picture, nor is what opening it could wait for.
            Ok(_) => missing.push(name),
            Err(error) if is_absence(&error) => missing.push(name),
            Err(error) => return Err(io_error(&path)(error)),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(EvalError::MissingPictures {
        folder: folder.to_owned(),
        missing: missing.len(),
        all,
        first: missing.into_iter().take(NAMED).map(str::to_owned).collect(),
    })
}

/// Whether nothing of that name can be there.
fn is_absence(error: &io::Error) -> bool {
    use ErrorKind::{InvalidFilename, InvalidInput, NotADirectory, NotFound};
    matches!(
        error.kind(),
        NotFound | NotADirectory | InvalidInput | InvalidFilename
    )
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> EvalError {
    move |source| EvalError::Io {
        path: path.to_owned(),
        source,
    }
}
