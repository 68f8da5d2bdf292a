//! Karpathy's splits of COCO and Flickr (Karpathy and Fei-Fei, 2015), on which captioning and retrieval are
//! compared.

use std::path::Path;

use serde::Deserialize;

use super::{
    captions::{CaptionedImage, captioned},
    file::read,
    pictures::check_name,
    split::KarpathySplit,
};
use crate::EvalError;

/// Reads the images of one split, in the file's order. The id is COCO's where the file has it
/// (`cocoid`), else the file's own (`imgid`); the file name has the folder in front, `val2014/COCO_….jpg`,
/// where the file gives it.
///
/// # Errors
/// As [`super::coco_captions`]; [`EvalError::EmptySplit`] if no image is of the split.
pub fn karpathy_captions(
    path: impl AsRef<Path>,
    split: KarpathySplit,
) -> Result<Vec<CaptionedImage>, EvalError> {
    let path = path.as_ref();
    let wanted = "one of Karpathy's splits, such as dataset_coco.json";
    let file: SplitFile = read(path, wanted)?;
    for (place, image) in file.images.iter().enumerate() {
        let folder = image.filepath.iter().map(|name| (name, "filepath"));
        for (name, field) in folder.chain([(&image.filename, "filename")]) {
            check_name(path, || format!("`images[{place}].{field}`"), name)?;
        }
    }
    let images = file.images.into_iter().filter(|image| image.split == split);
    let images: Vec<CaptionedImage> = images.map(Image::captioned).collect();
    if images.is_empty() {
        return Err(EvalError::EmptySplit {
            path: path.to_owned(),
            split,
        });
    }
    captioned(path, images)
}

#[derive(Deserialize)]
struct SplitFile {
    images: Vec<Image>,
}

#[derive(Deserialize)]
struct Image {
    imgid: u64,
    cocoid: Option<u64>,
    filename: String,
    filepath: Option<String>,
    split: KarpathySplit,
    sentences: Vec<Sentence>,
}

#[derive(Deserialize)]
struct Sentence {
    raw: String,
}

impl Image {
    fn captioned(self) -> CaptionedImage {
        let file_name = match self.filepath {
            Some(folder) => format!("{folder}/{}", self.filename),
            None => self.filename,
        };
        let sentences = self.sentences.into_iter();
        CaptionedImage {
            id: self.cocoid.unwrap_or(self.imgid),
            file_name,
            captions: sentences.map(|sentence| sentence.raw).collect(),
        }
    }
}
