//! Readers of the annotation files that evaluations are run on, as their authors publish them.
//!
//! | file | reader |
//! |---|---|
//! | COCO's `captions_val2014.json` | [`coco_captions`] |
//! | Karpathy's `dataset_coco.json`, `dataset_flickr30k.json` | [`karpathy_captions`] |
//! | NoCaps' `nocaps_val_4500_captions.json` | [`nocaps_captions`] |
//! | VQAv2's questions and annotations | [`vqa_questions`] |
//! | GQA's `testdev_balanced_questions.json` | [`gqa_questions`] |
//!
//! Fields that nothing here needs are skipped, and need not be there. A picture's name is a path below the folder of
//! pictures, and anything else an error; [`check_pictures`] says whether they are all there.

mod captions;
mod file;
mod gqa;
mod karpathy;
mod pictures;
mod split;
mod vqa;

pub use captions::{CaptionedImage, NoCapsDomain, NoCapsImage, coco_captions, nocaps_captions};
pub use gqa::{GqaQuestion, gqa_questions};
pub use karpathy::karpathy_captions;
pub use pictures::check_pictures;
pub use split::KarpathySplit;
pub use vqa::{VqaQuestion, vqa_questions};
