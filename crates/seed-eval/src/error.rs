//! The errors of this crate: each says what was wrong, where, and what to do about it.

use std::path::PathBuf;

use crate::annotations::KarpathySplit;

/// What can go wrong while measuring a model or writing its report.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// The number of values is not `rows × dim`, or one of the two is zero.
    #[error("features: {values} values do not make {rows} rows of {dim}; both must be at least 1")]
    Shape {
        /// Rows asked for.
        rows: usize,
        /// Width asked for.
        dim: usize,
        /// Values given.
        values: usize,
    },
    /// A value is NaN or infinite.
    #[error(
        "{what}: row {row}, column {column} is {value}; the model has diverged or its input is broken"
    )]
    NotFinite {
        /// Which table.
        what: &'static str,
        /// Its row.
        row: usize,
        /// Its column.
        column: usize,
        /// The value.
        value: f32,
    },
    /// A row of zeros has no direction, so no cosine.
    #[error("features: row {row} is all zeros and cannot be normalised")]
    ZeroRow {
        /// The row.
        row: usize,
    },
    /// A row that is not there was asked for.
    #[error("features: row {row} was asked for, but there are {rows}")]
    NoSuchRow {
        /// The row asked for.
        row: usize,
        /// Rows there are.
        rows: usize,
    },
    /// Two tables that must agree in a size do not.
    #[error("{what}: {got}, but {wanted} were expected")]
    Mismatch {
        /// What was counted.
        what: &'static str,
        /// The count found.
        got: usize,
        /// The count expected.
        wanted: usize,
    },
    /// A query whose answer is not among the candidates.
    #[error(
        "{side} {row} is of concept {concept}, which no {other} among the candidates has; leave it out"
    )]
    Unanswerable {
        /// `image` or `text`.
        side: &'static str,
        /// Row of the query.
        row: usize,
        /// Its concept.
        concept: usize,
        /// `text` or `image`.
        other: &'static str,
    },
    /// There is nothing to measure.
    #[error("{0}: none given, at least one is needed")]
    Empty(&'static str),
    /// The ridge penalty is not a positive number.
    #[error("ridge regression: the penalty must be positive and finite, not {0}")]
    Ridge(f64),
    /// The ridge penalty is lost beside the features.
    #[error(
        "ridge regression: with a penalty of {0} there is no single answer, for some inputs follow from others; give a larger one"
    )]
    Singular(f64),
    /// A label outside the classes of a judge.
    #[error("judge: picture {picture} is labelled {label}, but there are {classes} classes")]
    Label {
        /// The picture, in the order given.
        picture: usize,
        /// Its label.
        label: usize,
        /// Number of classes.
        classes: usize,
    },
    /// The values do not make a picture.
    #[error(
        "pictures: {values} values do not make pictures of 3 × {height} × {width}; both sides must be at least 1"
    )]
    PictureShape {
        /// Values given.
        values: usize,
        /// Rows asked for.
        height: usize,
        /// Columns asked for.
        width: usize,
    },
    /// A value of a picture is not from 0 to 1.
    #[error("pictures: value {at} is {value}; cut values to 0..1 first")]
    PixelValue {
        /// Its place in the picture.
        at: usize,
        /// The value.
        value: f32,
    },
    /// Two pictures that must agree in size do not.
    #[error(
        "pictures: one of {} × {} pixels (height × width) cannot be compared with one of {} × {}",
        other[0], other[1], original[0], original[1]
    )]
    PictureSizes {
        /// Height and width of the one.
        original: [usize; 2],
        /// Height and width of the other.
        other: [usize; 2],
    },
    /// A picture is smaller than the window that it is looked at through.
    #[error(
        "pictures: one of {height} × {width} pixels is too small; each side must be at least {least}"
    )]
    PictureTooSmall {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
        /// What either must be at least.
        least: usize,
    },
    /// A set of pictures is too small to say anything of, or too large to compare each with each.
    #[error(
        "pictures: the {set} set has {pictures}; a discrepancy needs {least} to {most}: take a random part of a larger one"
    )]
    SetSize {
        /// `drawn` or `real`.
        set: &'static str,
        /// How many it has.
        pictures: usize,
        /// The fewest.
        least: usize,
        /// The most.
        most: usize,
    },
    /// An image without pixels.
    #[error("pixel control: image {0} has no pixels")]
    EmptyImage(usize),
    /// A code outside the codebook.
    #[error(
        "codes: picture {picture}, position {position} has code {code}, but the codebook has {size}"
    )]
    CodeOutOfRange {
        /// The picture.
        picture: usize,
        /// The position in its sequence.
        position: usize,
        /// The code found.
        code: u32,
        /// Size of the codebook.
        size: usize,
    },
    /// The codes are not whole sequences.
    #[error("codes: {codes} codes do not make sequences of {positions}")]
    CodesShape {
        /// Codes given.
        codes: usize,
        /// Positions in a sequence.
        positions: usize,
    },
    /// A picture of a report is not an embedded PNG; anything else could make a page load from elsewhere.
    #[error(
        "report: a picture must be a `data:image/png;base64,` URI, but this one begins `{start}`"
    )]
    NotEmbedded {
        /// How it begins.
        start: String,
    },
    /// A picture could not be encoded as PNG.
    #[error("report: a picture could not be encoded as PNG: {0}")]
    Png(#[source] image::ImageError),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A saved report could not be read back.
    #[error("{}: not a saved report: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A caption is to be scored against nothing.
    #[error("captions: image {image} has no reference; leave it out, or give it one")]
    NoReferences {
        /// The image, in the order given.
        image: usize,
    },
    /// An answer is to be scored against nothing.
    #[error("questions: question {question} has no answers of people; leave it out")]
    NoAnswers {
        /// The question, in the order given.
        question: usize,
    },
    /// A file of annotations has nothing in it.
    #[error("{}: the file is empty; it should be {wanted}: download it again", path.display())]
    EmptyFile {
        /// The file.
        path: PathBuf,
        /// What it should be.
        wanted: &'static str,
    },
    /// A file of annotations ends too early.
    #[error("{}: the file ends within {place}; it was cut short: download it again", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The last place that was begun.
        place: String,
    },
    /// A file of annotations is not JSON in UTF-8.
    #[error(
        "{}: not JSON in UTF-8, at {place}: {source}; it may be packed still, or damaged", path.display()
    )]
    NotJson {
        /// The file.
        path: PathBuf,
        /// The place in it.
        place: String,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// An entry of a file of annotations lacks a field or has it in another form.
    #[error("{}: at {place}: {source}; the file should be {wanted}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The entry, such as `annotations[3].caption`.
        place: String,
        /// Which field, and what is wrong with it.
        source: serde_json::Error,
        /// What the file should be.
        wanted: &'static str,
    },
    /// Two entries have one id.
    #[error("{}: {what} {id} comes twice; take one of the two out", path.display())]
    Duplicate {
        /// The file.
        path: PathBuf,
        /// What has the id.
        what: &'static str,
        /// The id.
        id: u64,
    },
    /// A caption of an image that the file does not list.
    #[error(
        "{}: annotation {annotation} is of image {image}, which `images` does not list; the file may be of \
         several that were joined", path.display()
    )]
    UnknownImage {
        /// The file.
        path: PathBuf,
        /// The caption's id.
        annotation: u64,
        /// The id of its image.
        image: u64,
    },
    /// An image without a caption.
    #[error(
        "{}: image {image} has no caption; take the file of a part whose captions are published",
        path.display()
    )]
    Uncaptioned {
        /// The file.
        path: PathBuf,
        /// The image's id.
        image: u64,
    },
    /// No image is of the split asked for.
    #[error("{}: no image is of the split {split:?}; ask for another", path.display())]
    EmptySplit {
        /// The file.
        path: PathBuf,
        /// The split.
        split: KarpathySplit,
    },
    /// A picture's name that is empty, or that may lead out of the folder of pictures.
    #[error(
        "{}: {place} is {name:?}, which {wrong}; it should name a file below the folder of pictures", path.display()
    )]
    PictureName {
        /// The file.
        path: PathBuf,
        /// The entry, such as `images[3].file_name`.
        place: String,
        /// The name.
        name: String,
        /// What is wrong with it.
        wrong: &'static str,
    },
    /// A picture that is a link out of the folder of pictures, or lies behind one.
    #[error(
        "{name:?} leads to {}, out of {}; copy the pictures there, or name the folder that holds them",
        place.display(), folder.display()
    )]
    PictureElsewhere {
        /// The folder of pictures.
        folder: PathBuf,
        /// The picture's name in the annotations.
        name: String,
        /// Where it leads.
        place: PathBuf,
    },
    /// Pictures that the annotations name are not there.
    #[error(
        "{}: {missing} of {all} pictures are missing, these first: {first:?}; give the folder below which the annotations name them",
        folder.display()
    )]
    MissingPictures {
        /// The folder of pictures.
        folder: PathBuf,
        /// How many are missing.
        missing: usize,
        /// Of how many.
        all: usize,
        /// The names of the first five.
        first: Vec<String>,
    },
    /// A question without an answer of people.
    #[error(
        "{}: question {question} has no answers in {}; take the two files of one part, such as val2014",
        questions.display(), annotations.display()
    )]
    Unannotated {
        /// The file of questions.
        questions: PathBuf,
        /// The file of answers.
        annotations: PathBuf,
        /// The question's id.
        question: u64,
    },
}
