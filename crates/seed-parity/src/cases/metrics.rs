//! Retrieval recall as LAVIS counts it (`retrieval.py`, `_report_metrics`).

use seed_eval::GroundTruth;

use crate::{
    ParityError,
    case::{ANY, Case},
    outputs::Recorder,
};

pub(super) fn run(case: &Case<'_>, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    if case.has_input("scores")? {
        retrieval(case, out)?;
    }
    let unbuilt = [
        ("caption_metrics", "caption metrics are not built here yet"),
        ("vqa", "the VQA score is not built here yet"),
        ("gqa", "the GQA score is not built here yet"),
        ("fid", "FID is not built here yet"),
        ("clip_cosine", "the CLIP similarity is not built here yet"),
    ];
    for (section, reason) in unbuilt {
        if case.expected.get(section).is_some() {
            out.leave_out(format!("expected/{section}"), reason);
        }
    }
    Ok(())
}

fn retrieval(case: &Case<'_>, out: &mut Recorder<'_>) -> Result<(), ParityError> {
    let scores = case.input("scores", [ANY, ANY])?;
    let [images, texts] = scores.dims();
    let image_of_text = case.indices("txt2img", [texts], images)?;
    let image_of_text: Vec<usize> = image_of_text
        .into_data()
        .iter::<i64>()
        .map(|image| image as usize)
        .collect();
    let images: Vec<usize> = (0..images).collect();
    let scores: Vec<f32> = scores.into_data().iter::<f32>().collect();
    let found = GroundTruth::new(&images, &image_of_text)?.scores(&scores)?;
    let golden = &case.expected["retrieval"];
    let mut compare = |name: &str, value: f64| {
        out.scalar(&format!("retrieval/{name}"), &golden[name], value, 1e-6);
    };
    for (side, recall) in [("txt", found.image_to_text), ("img", found.text_to_image)] {
        compare(&format!("{side}_r1"), recall.r1);
        compare(&format!("{side}_r5"), recall.r5);
        compare(&format!("{side}_r10"), recall.r10);
        compare(&format!("{side}_r_mean"), recall.mean());
    }
    compare("r_mean", found.r_mean);
    Ok(())
}
