//! Pictures from files to tensors as Pillow and torchvision make them, and captions as LAVIS cleans
//! them.

use std::{fs, path::Path};

use image::{RgbImage, imageops};
use safetensors::{Dtype, SafeTensors};
use seed_data::{
    EvalTransform, Filter, MAX_WORDS, Normalize, PictureOptions, Region, blip_caption,
    blip_caption_with_prompt, blip_question, read_picture, short_side_crop, squash, squash_region,
};
use serde_json::Value;

use crate::{
    case::Case,
    comparison::{Rule, Values},
    error::ParityError,
    outputs::Recorder,
};

const PIXELS: &str = "pixels";
const TENSORS: &str = "tensors";
/// Resampled pixels may be a level off, where rounding falls the other way, but seldom.
const RESAMPLED: Rule = Rule::Mostly {
    close: 0.0,
    far: 1.0,
};
/// Decoders of JPEG differ in their inverse transform.
const JPEG: Rule = Rule::MeanWithin(1.5);

pub(super) fn run(case: &Case<'_>, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    if let Some(pixels) = Pixels::open(case)? {
        pictures(case, out, &pixels)?;
        tensors(case, out, &pixels)?;
    }
    captions(case, out);
    Ok(())
}

/// CLIP's mean and deviation as a case gives them.
pub(super) fn normalize(case: &Case<'_>) -> Option<Normalize> {
    let three = |key: &str| {
        let values = case.config[key].as_array()?.iter();
        let values: Vec<f32> = values
            .map(|v| Some(v.as_f64()? as f32))
            .collect::<Option<_>>()?;
        <[f32; 3]>::try_from(values).ok()
    };
    Some(Normalize::new(three("mean")?, three("std")?))
}

/// The golden pictures, `[height, width, 3]` bytes under `picture.form`.
struct Pixels<'a> {
    case: &'a Case<'a>,
    bytes: Vec<u8>,
}

impl<'a> Pixels<'a> {
    fn open(case: &'a Case<'a>) -> Result<Option<Self>, ParityError> {
        // Opened for its checks: what follows reads a sound file.
        if case.find(PIXELS)?.is_none() {
            return Ok(None);
        }
        let path = case.path("pixels.safetensors");
        let bytes = fs::read(&path).map_err(ParityError::io(&path))?;
        Ok(Some(Self { case, bytes }))
    }

    fn picture(&self, name: &str) -> Result<RgbImage, ParityError> {
        let bad = |reason: String| ParityError::Picture {
            path: self.case.path("pixels.safetensors"),
            key: name.to_owned(),
            reason,
        };
        let file = SafeTensors::deserialize(&self.bytes).map_err(|error| bad(error.to_string()))?;
        let tensor = file.tensor(name).map_err(|error| bad(error.to_string()))?;
        match *tensor.shape() {
            [height, width, 3] if tensor.dtype() == Dtype::U8 && height > 0 && width > 0 => {
                let picture =
                    RgbImage::from_raw(width as u32, height as u32, tensor.data().to_vec());
                picture.ok_or_else(|| bad("its bytes do not fill its shape".to_owned()))
            }
            ref shape => Err(bad(format!("{:?} {shape:?}", tensor.dtype()))),
        }
    }
}

fn levels(picture: &RgbImage) -> Values {
    Values::Numbers {
        shape: vec![picture.height() as usize, picture.width() as usize, 3],
        entries: picture.as_raw().iter().copied().map(f64::from).collect(),
    }
}

/// The file of a picture: `landscape` → `landscape.jpg`.
fn file_of<'a>(case: &'a Case<'_>, picture: &str) -> Option<&'a str> {
    let files = case.config["images"].as_object()?;
    let mut files = files.keys().map(String::as_str);
    files.find(|file| {
        file.rsplit_once('.')
            .is_some_and(|(stem, _)| stem == picture)
    })
}

fn pictures(
    case: &Case<'_>,
    out: &mut Recorder<'_>,
    pixels: &Pixels<'_>,
) -> Result<(), ParityError> {
    let names = case.golden_keys(PIXELS)?;
    let has = |name: &str| names.iter().any(|other| other == name);
    for name in &names {
        let Some((picture, form)) = name.split_once('.') else {
            continue;
        };
        let Some(file) = file_of(case, picture) else {
            continue;
        };
        let golden = format!("{PIXELS}/{name}");
        if form == "decoded_rgb" && has(&format!("{picture}.decoded_shift8")) {
            let reason = "16-bit levels are shifted to 8 bits here, not clipped";
            out.leave_out(golden, reason);
            continue;
        }
        let (found, rule) = if form.starts_with("decoded_") {
            let found = read_picture(&case.path(file), &PictureOptions::reference())?;
            let ending = Path::new(file).extension().unwrap_or_default();
            let lossy = ["jpg", "jpeg"]
                .iter()
                .any(|lossy| ending.eq_ignore_ascii_case(lossy));
            (Some(found), if lossy { JPEG } else { Rule::Exact })
        } else {
            (resampled(case, pixels, picture, file, form)?, RESAMPLED)
        };
        if let Some(found) = found {
            out.push(golden, levels(&found), levels(&pixels.picture(name)?), rule);
        }
    }
    Ok(())
}

/// The golden decoded picture in another form, from golden pixels, so that decoders play no part; none
/// for a form that is not known.
fn resampled(
    case: &Case<'_>,
    pixels: &Pixels<'_>,
    picture: &str,
    file: &str,
    form: &str,
) -> Result<Option<RgbImage>, ParityError> {
    // The reference resizes the clipped 16-bit picture, or the shifted one.
    let (source, form) = match form.strip_prefix("shift8_") {
        Some(form) => ("decoded_shift8", form),
        None => ("decoded_rgb", form),
    };
    let Some((form, size)) = form.rsplit_once('_') else {
        return Ok(None);
    };
    let Some(size) = size.parse::<u32>().ok().filter(|size| *size > 0) else {
        return Ok(None);
    };
    let source = pixels.picture(&format!("{picture}.{source}"))?;
    Ok(Some(match form {
        "bicubic" => squash(&source, size, size, Filter::Bicubic),
        "bilinear" => squash(&source, size, size, Filter::Bilinear),
        "short_bicubic_crop" => short_side_crop(&source, size, Filter::Bicubic),
        "short_bilinear_crop" => short_side_crop(&source, size, Filter::Bilinear),
        "train_crop" => {
            let region = &case.config["train_boxes"][file];
            let side = |key| {
                case.size_of(region, "config.json", key)
                    .map(|side| side as u32)
            };
            let given = Region {
                top: side("top")?,
                left: side("left")?,
                width: side("width")?,
                height: side("height")?,
            };
            let mut crop = squash_region(&source, given, size, size, Filter::Bicubic);
            if region["flip"].as_bool().unwrap_or(false) {
                imageops::flip_horizontal_in_place(&mut crop);
            }
            crop
        }
        _ => return Ok(None),
    }))
}

fn tensors(
    case: &Case<'_>,
    out: &mut Recorder<'_>,
    pixels: &Pixels<'_>,
) -> Result<(), ParityError> {
    let normalize = normalize(case).unwrap_or_else(Normalize::clip);
    for name in case.golden_keys(TENSORS)? {
        let Some((picture, size)) = name.split_once(".eval_") else {
            continue;
        };
        let Some(size) = size.parse::<u32>().ok().filter(|size| *size > 0) else {
            continue;
        };
        let source = pixels.picture(&format!("{picture}.decoded_rgb"))?;
        let found = EvalTransform::new(size).tensor(&source, &normalize);
        let size = size as usize;
        let found = burn::tensor::TensorData::new(found, [3, size, size]);
        out.data(TENSORS, &name, &found)?;
    }
    Ok(())
}

fn captions(case: &Case<'_>, out: &mut Recorder<'_>) {
    let Some(captions) = strings(&case.config["captions"]) else {
        return;
    };
    if let Some(words) = case.config["max_words"].as_u64()
        && words != MAX_WORDS as u64
    {
        let reason = format!("captions are cut at {MAX_WORDS} words here, not at {words}");
        out.leave_out("expected/blip_*", reason);
        return;
    }
    let mut compare = |name: &str, clean: &dyn Fn(&str) -> String| {
        // The prompted form is given for the first captions alone.
        if let Some(golden) = strings(&case.expected[name]) {
            let found = captions.iter().take(golden.len()).map(|text| clean(text));
            let found = Values::Rows(found.collect());
            out.push(
                format!("expected/{name}"),
                found,
                Values::Rows(golden),
                Rule::Exact,
            );
        }
    };
    compare("blip_caption", &blip_caption);
    compare("blip_caption_prompt_a_photo_of", &|text| {
        blip_caption_with_prompt("a photo of ", text)
    });
    compare("blip_question", &blip_question);
}

fn strings(list: &Value) -> Option<Vec<String>> {
    let strings = list.as_array()?.iter();
    strings
        .map(|text| Some(text.as_str()?.to_owned()))
        .collect()
}
