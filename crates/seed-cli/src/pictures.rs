//! Pictures named on the command line: found, decoded ahead of the model, in order.

use std::{
    io::Read,
    path::PathBuf,
    sync::mpsc::{Receiver, sync_channel},
};

use image::RgbImage;
use rayon::prelude::*;
use seed_data::{
    EvalTransform, Normalize, PictureOptions, decode_picture, pictures_below, read_picture,
};

/// One picture to look at.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// How it is called in the output.
    pub(crate) name: String,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    File(PathBuf),
    Bytes(Vec<u8>),
}

/// A picture made ready for the model, or why it could not be.
pub(crate) struct Prepared {
    /// How it is called in the output.
    pub(crate) name: String,
    /// The picture.
    pub(crate) picture: Result<Ready, String>,
}

/// A picture as the model sees it.
pub(crate) struct Ready {
    /// Squashed to the model's size.
    pub(crate) shown: RgbImage,
    /// The same, normalised: `[3, size, size]`.
    pub(crate) pixels: Vec<f32>,
}

/// What to say of a picture that cannot be read: errors of the file system name their file already.
pub(crate) fn with_name(name: &str, reason: &str) -> String {
    if reason.contains(name) {
        reason.to_owned()
    } else {
        format!("{name}: {reason}")
    }
}

/// Expands what was named: a folder into the pictures below it, sorted by name; `-` into the picture, or
/// the list of paths, that comes on stdin.
pub(crate) fn sources(inputs: &[PathBuf]) -> Result<Vec<Source>, String> {
    let mut found = Vec::new();
    for input in inputs {
        if input.as_os_str() == "-" {
            from_stdin(&mut found)?;
        } else if input.is_dir() {
            let below = pictures_below(input).map_err(|error| error.to_string())?;
            if below.is_empty() {
                return Err(format!("{}: no pictures in this folder", input.display()));
            }
            found.extend(below.into_iter().map(Source::file));
        } else {
            found.push(Source::file(input.clone()));
        }
    }
    Ok(found)
}

fn from_stdin(found: &mut Vec<Source>) -> Result<(), String> {
    let limit = PictureOptions::default().max_file_bytes;
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("stdin cannot be read: {error}"))?;
    if bytes.len() as u64 > limit {
        return Err(format!("stdin holds more than {limit} bytes"));
    }
    // A list of paths is text; no picture format is.
    match std::str::from_utf8(&bytes) {
        Ok(text) if !text.trim().is_empty() => {
            let lines = text.lines().map(str::trim_end).filter(|l| !l.is_empty());
            found.extend(lines.map(|line| Source::file(PathBuf::from(line))));
        }
        _ => found.push(Source {
            name: "-".to_owned(),
            content: Content::Bytes(bytes),
        }),
    }
    Ok(())
}

impl Source {
    fn file(path: PathBuf) -> Self {
        Self {
            name: path.display().to_string(),
            content: Content::File(path),
        }
    }

    fn prepare(&self, transform: EvalTransform, options: &PictureOptions) -> Prepared {
        let picture = match &self.content {
            Content::File(path) => read_picture(path, options).map_err(|error| error.to_string()),
            Content::Bytes(bytes) => {
                decode_picture(bytes, options).map_err(|error| format!("stdin: {error}"))
            }
        };
        Prepared {
            name: self.name.clone(),
            picture: picture.map(|picture| {
                let shown = transform.pixels(&picture);
                Ready {
                    pixels: Normalize::clip().apply(&shown),
                    shown,
                }
            }),
        }
    }
}

/// Decodes in batches on all threads, one batch ahead of whoever takes them.
pub(crate) fn prepared(
    sources: Vec<Source>,
    batch_size: usize,
    transform: EvalTransform,
    options: PictureOptions,
) -> Receiver<Vec<Prepared>> {
    let (sender, receiver) = sync_channel(1);
    std::thread::spawn(move || {
        for batch in sources.chunks(batch_size.max(1)) {
            let batch = batch
                .par_iter()
                .map(|source| source.prepare(transform, &options))
                .collect();
            if sender.send(batch).is_err() {
                return;
            }
        }
    });
    receiver
}
