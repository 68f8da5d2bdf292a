//! Captions in COCO's format, which NoCaps shares.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{
    file::{places, read},
    pictures::check_name,
};
use crate::EvalError;

/// An image and the captions that people gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptionedImage {
    /// The data set's number of it.
    pub id: u64,
    /// Its file, below the folder of the data set's images.
    pub file_name: String,
    /// At least one.
    pub captions: Vec<String>,
}

/// How much an image of NoCaps shows what COCO's captions speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NoCapsDomain {
    /// Only classes of COCO.
    #[serde(rename = "in-domain")]
    In,
    /// Classes of COCO and others.
    #[serde(rename = "near-domain")]
    Near,
    /// No class of COCO.
    #[serde(rename = "out-domain")]
    Out,
}

/// An image of NoCaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoCapsImage {
    /// The image and its captions.
    pub image: CaptionedImage,
    /// Its domain, by which scores are given.
    pub domain: NoCapsDomain,
}

/// Reads captions in COCO's format, images in the file's order.
///
/// # Errors
/// [`EvalError::Io`], [`EvalError::EmptyFile`], [`EvalError::Truncated`], [`EvalError::NotJson`],
/// [`EvalError::Field`], [`EvalError::PictureName`] naming the entry; [`EvalError::Duplicate`], [`EvalError::UnknownImage`],
/// [`EvalError::Uncaptioned`] naming the image; [`EvalError::Empty`] if no image is listed.
pub fn coco_captions(path: impl AsRef<Path>) -> Result<Vec<CaptionedImage>, EvalError> {
    let path = path.as_ref();
    let wanted = "captions in COCO's format, such as captions_val2014.json";
    let file: CaptionFile<Image> = read(path, wanted)?;
    let images = file.images.into_iter().map(|image| CaptionedImage {
        id: image.id,
        file_name: image.file_name,
        captions: Vec::new(),
    });
    distribute(path, images.collect(), file.annotations)
}

/// Reads captions of NoCaps, images in the file's order.
///
/// # Errors
/// As [`coco_captions`].
pub fn nocaps_captions(path: impl AsRef<Path>) -> Result<Vec<NoCapsImage>, EvalError> {
    let path = path.as_ref();
    let wanted = "the captions of NoCaps with domains, such as nocaps_val_4500_captions.json";
    let file: CaptionFile<ImageOfDomain> = read(path, wanted)?;
    let domains: Vec<NoCapsDomain> = file.images.iter().map(|image| image.domain).collect();
    let images = file.images.into_iter().map(|image| CaptionedImage {
        id: image.id,
        file_name: image.file_name,
        captions: Vec::new(),
    });
    let images = distribute(path, images.collect(), file.annotations)?;
    let pairs = images.into_iter().zip(domains);
    Ok(pairs
        .map(|(image, domain)| NoCapsImage { image, domain })
        .collect())
}

#[derive(Deserialize)]
struct CaptionFile<I> {
    images: Vec<I>,
    annotations: Vec<Annotation>,
}

#[derive(Deserialize)]
struct Image {
    id: u64,
    file_name: String,
}

#[derive(Deserialize)]
struct ImageOfDomain {
    id: u64,
    file_name: String,
    domain: NoCapsDomain,
}

#[derive(Deserialize)]
struct Annotation {
    id: u64,
    image_id: u64,
    caption: String,
}

/// Gives each image its captions.
fn distribute(
    path: &Path,
    mut images: Vec<CaptionedImage>,
    annotations: Vec<Annotation>,
) -> Result<Vec<CaptionedImage>, EvalError> {
    if images.is_empty() {
        return Err(EvalError::Empty("images"));
    }
    for (place, image) in images.iter().enumerate() {
        let place = || format!("`images[{place}].file_name`");
        check_name(path, place, &image.file_name)?;
    }
    let places = places(path, "image", images.iter().map(|image| image.id))?;
    for annotation in annotations {
        let Some(place) = places.get(&annotation.image_id) else {
            return Err(EvalError::UnknownImage {
                path: path.to_owned(),
                annotation: annotation.id,
                image: annotation.image_id,
            });
        };
        images[*place].captions.push(annotation.caption);
    }
    captioned(path, images)
}

/// Checks that each image has a caption.
pub(super) fn captioned(
    path: &Path,
    images: Vec<CaptionedImage>,
) -> Result<Vec<CaptionedImage>, EvalError> {
    match images.iter().find(|image| image.captions.is_empty()) {
        None => Ok(images),
        Some(image) => Err(EvalError::Uncaptioned {
            path: path.to_owned(),
            image: image.id,
        }),
    }
}
