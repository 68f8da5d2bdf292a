//! A folder of the user's own pictures with captions, as a set of pairs.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Component, Path, PathBuf};

use image::RgbImage;
use rayon::prelude::*;
use serde::Deserialize;

use crate::caption::blip_caption;
use crate::error::DataError;
use crate::pair::PairSet;
use crate::picture::{Alpha, PictureOptions, read_picture};

/// The file with the captions of a whole folder.
const CAPTIONS: &str = "captions.jsonl";

/// Extensions of the pictures looked for where no [`CAPTIONS`] names them.
const EXTENSIONS: [&str; 6] = ["png", "jpg", "jpeg", "webp", "gif", "bmp"];

/// Names listed in an error about many files.
const LISTED: usize = 5;

/// How a folder is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FolderOptions {
    /// How its pictures are decoded.
    pub picture: PictureOptions,
}

/// Captioned pictures in a folder, sorted by path.
///
/// Either `captions.jsonl` in the folder holds a line for each picture, with a path below the
/// folder and one caption or several,
///
/// ```json
/// {"image": "pets/cat.jpg", "caption": "a cat on a sofa"}
/// {"image": "pets/dog.png", "captions": ["a dog", "a happy dog runs"]}
/// ```
///
/// or each picture, in the folder or below, has a text file of the same name beside it
/// (`cat.jpg`, `cat.txt`), one caption a line. Captions are cleaned with [`blip_caption`]; the
/// ids are the paths relative to the folder, with `/`.
#[derive(Debug)]
pub struct FolderSet {
    folder: PathBuf,
    options: FolderOptions,
    pairs: Vec<Pair>,
    fingerprint: [u8; 32],
}

#[derive(Debug)]
struct Pair {
    id: String,
    captions: Vec<String>,
    concept: usize,
    /// Hash of the picture file's bytes.
    content: [u8; 32],
}

/// A line of `captions.jsonl`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    image: String,
    caption: Option<String>,
    #[serde(default)]
    captions: Vec<String>,
}

impl FolderSet {
    /// Reads the captions of a folder and hashes their pictures' files, on all threads.
    ///
    /// The pictures are not decoded yet: a damaged one is an error of [`PairSet::picture`].
    pub fn open(folder: impl AsRef<Path>, options: FolderOptions) -> Result<Self, DataError> {
        let folder = folder.as_ref();
        let listed = folder.join(CAPTIONS);
        let captions = if listed.is_file() {
            read_list(folder, &listed)?
        } else {
            read_text_files(folder)?
        };
        if captions.is_empty() {
            return Err(DataError::EmptyFolder {
                path: folder.to_owned(),
            });
        }

        let contents = captions
            .par_iter()
            .map(|(id, _)| hash_file(&folder.join(id)))
            .collect::<Result<Vec<_>, _>>()?;
        let mut concepts = HashMap::new();
        let mut pairs = Vec::with_capacity(captions.len());
        for ((id, captions), content) in captions.into_iter().zip(contents) {
            let next = concepts.len();
            let concept = *concepts.entry(captions[0].clone()).or_insert(next);
            pairs.push(Pair {
                id,
                captions,
                concept,
                content,
            });
        }
        Ok(Self {
            folder: folder.to_owned(),
            fingerprint: fingerprint(&pairs, options),
            options,
            pairs,
        })
    }
}

/// Hash of what a folder's pairs are and how their pictures are decoded.
fn fingerprint(pairs: &[Pair], options: FolderOptions) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let PictureOptions {
        alpha,
        exif_orientation,
        // These refuse pictures and change none.
        max_pixels: _,
        max_file_bytes: _,
    } = options.picture;
    hasher.update(&[u8::from(alpha == Alpha::Drop), u8::from(exif_orientation)]);
    for pair in pairs {
        hasher.update(&pair.content);
        hasher.update(&(pair.captions.len() as u64).to_le_bytes());
        for text in std::iter::once(&pair.id).chain(&pair.captions) {
            // Lengths first, so that no two lists of strings look alike.
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
    }
    hasher.finalize().into()
}

/// Hash of a file's bytes, which need not fit into memory.
fn hash_file(path: &Path) -> Result<[u8; 32], DataError> {
    let mut hasher = blake3::Hasher::new();
    fs::File::open(path)
        .and_then(|file| hasher.update_reader(file).map(|hasher| hasher.finalize()))
        .map(Into::into)
        .map_err(DataError::io(path))
}

impl PairSet for FolderSet {
    fn len(&self) -> usize {
        self.pairs.len()
    }

    fn id(&self, index: usize) -> &str {
        &self.pairs[index].id
    }

    fn captions(&self, index: usize) -> &[String] {
        &self.pairs[index].captions
    }

    fn concept(&self, index: usize) -> usize {
        self.pairs[index].concept
    }

    fn picture(&self, index: usize) -> Result<RgbImage, DataError> {
        let path = self.folder.join(&self.pairs[index].id);
        read_picture(&path, &self.options.picture)
    }

    /// Hash of the picture file's bytes.
    fn content(&self, index: usize) -> [u8; 32] {
        self.pairs[index].content
    }

    /// Hash of the paths, the bytes of the picture files, how they are decoded, and the captions.
    fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }
}

/// Captions by relative path.
type Captions = BTreeMap<String, Vec<String>>;

/// Reads `captions.jsonl`. A picture named by several lines has the captions of all of them.
fn read_list(folder: &Path, list: &Path) -> Result<Captions, DataError> {
    let mut found = Captions::new();
    let mut missing = Vec::new();
    for (number, text) in lines(list)? {
        let wrong = |reason: String| DataError::Caption {
            path: list.to_owned(),
            line: number,
            reason,
        };
        let line: Line = serde_json::from_str(&text).map_err(|error| {
            wrong(format!(
                "expected {{\"image\": \"path\", \"caption\": \"text\"}}: {error}"
            ))
        })?;
        let id = relative(&line.image).ok_or_else(|| {
            wrong(format!(
                "the path `{}` leads out of the folder; use one below it",
                line.image
            ))
        })?;
        let captions: Vec<String> = line.caption.into_iter().chain(line.captions).collect();
        if captions.is_empty() {
            return Err(wrong(format!("`{}` has no caption", line.image)));
        }
        if !folder.join(&id).is_file() {
            missing.push(line.image);
            continue;
        }
        let known = found.entry(id).or_default();
        for caption in captions {
            known.push(cleaned(&caption).map_err(wrong)?);
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    Err(DataError::MissingPictures {
        path: list.to_owned(),
        count: missing.len(),
        examples: missing.into_iter().take(LISTED).collect(),
    })
}

/// Finds the pictures with a text file beside each.
fn read_text_files(folder: &Path) -> Result<Captions, DataError> {
    let mut found = Captions::new();
    let mut missing = Vec::new();
    for path in pictures_below(folder)? {
        let below = path.strip_prefix(folder).unwrap_or(&path);
        let id = below.to_str().and_then(relative);
        let id = id.ok_or_else(|| DataError::Caption {
            path: path.clone(),
            line: 1,
            reason: "the name of the picture is not UTF-8; rename it".to_owned(),
        })?;
        let text = path.with_extension("txt");
        if !text.is_file() {
            missing.push(id);
            continue;
        }
        let mut captions = Vec::new();
        for (line, caption) in lines(&text)? {
            captions.push(cleaned(&caption).map_err(|reason| DataError::Caption {
                path: text.clone(),
                line,
                reason,
            })?);
        }
        if captions.is_empty() {
            return Err(DataError::Caption {
                path: text,
                line: 1,
                reason: "the caption is empty".to_owned(),
            });
        }
        found.insert(id, captions);
    }
    // Pictures without any caption at all are reported as such, not as an empty folder.
    if missing.is_empty() {
        return Ok(found);
    }
    Err(DataError::MissingCaptions {
        path: folder.to_owned(),
        count: missing.len(),
        examples: missing.into_iter().take(LISTED).collect(),
    })
}

/// Every picture below a folder by its extension, sorted by path.
pub fn pictures_below(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut found = Vec::new();
    find_pictures(folder, &mut found)?;
    found.sort();
    Ok(found)
}

/// Collects the picture files in and below a folder. Links to folders are not followed, so there
/// are no cycles.
fn find_pictures(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), DataError> {
    for entry in fs::read_dir(folder).map_err(DataError::io(folder))? {
        let entry = entry.map_err(DataError::io(folder))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(DataError::io(&path))?;
        let extension = path.extension().and_then(|extension| extension.to_str());
        if kind.is_dir() {
            find_pictures(&path, found)?;
        } else if extension
            .is_some_and(|own| EXTENSIONS.iter().any(|e| own.eq_ignore_ascii_case(e)))
        {
            found.push(path);
        }
    }
    Ok(())
}

/// The lines of a UTF-8 file that are not blank, with their numbers from 1.
fn lines(path: &Path) -> Result<Vec<(usize, String)>, DataError> {
    let bytes = fs::read(path).map_err(DataError::io(path))?;
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
    let mut found = Vec::new();
    for (line, number) in bytes.split(|&byte| byte == b'\n').zip(1..) {
        let text = std::str::from_utf8(line).map_err(|error| DataError::Caption {
            path: path.to_owned(),
            line: number,
            reason: format!("{error}; save the file as UTF-8"),
        })?;
        if !text.trim().is_empty() {
            found.push((number, text.trim_end_matches('\r').to_owned()));
        }
    }
    Ok(found)
}

/// A path below a folder, with `/` between its parts; `None` if it leads elsewhere.
fn relative(path: &str) -> Option<String> {
    let mut parts = Vec::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => parts.push(name.to_str()?),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

fn cleaned(caption: &str) -> Result<String, String> {
    let clean = blip_caption(caption);
    if clean.trim().is_empty() {
        return Err("the caption is empty".to_owned());
    }
    Ok(clean)
}
