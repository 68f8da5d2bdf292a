//! How sharp the edges of a picture are.

use super::picture::Picture;

/// Share of the differences that count.
const STEEPEST: f64 = 0.02;

/// The mean of the steepest 2 % of the differences between neighbouring pixels, along rows and columns, in each colour;
/// 0 of a picture without any.
///
/// A blurred picture may have a better PSNR than a sharp one; beside the original's, this shows it.
pub fn sharpness(picture: Picture<'_>) -> f64 {
    let width = picture.width();
    let mut differences: Vec<f32> = Vec::new();
    for plane in picture.planes() {
        let below = plane.iter().zip(&plane[width..]);
        differences.extend(below.map(|(a, b)| (a - b).abs()));
        for row in plane.chunks_exact(width) {
            let beside = row.iter().zip(&row[1..]);
            differences.extend(beside.map(|(a, b)| (a - b).abs()));
        }
    }
    if differences.is_empty() {
        return 0.0;
    }
    let count = ((differences.len() as f64 * STEEPEST) as usize).max(1);
    differences.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a));
    let steepest = &differences[..count];
    steepest.iter().map(|&v| f64::from(v)).sum::<f64>() / count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_steepest_of_both_directions() {
        // 12×12 with one bright pixel in red: 4 differences of 0.8 among 792, of which 15 count.
        let mut values = [0.1_f32; 3 * 12 * 12];
        values[5 * 12 + 6] = 0.9;
        let found = sharpness(Picture::new(&values, 12, 12).unwrap());
        assert!((found - 4.0 * 0.8 / 15.0).abs() < 1e-6, "{found}");
    }

    #[test]
    fn a_blurred_edge_is_less_sharp() {
        let edge = |at: &[f32]| -> Vec<f32> { (0..3 * 16).flat_map(|_| at.to_vec()).collect() };
        let mut hard = [0.0_f32; 16];
        hard[8..].fill(1.0);
        let mut soft = hard;
        [soft[7], soft[8]] = [0.25, 0.75];
        let [hard, soft] = [edge(&hard), edge(&soft)];
        let [hard, soft] = [&hard, &soft].map(|v| sharpness(Picture::new(v, 16, 16).unwrap()));
        assert!(
            (hard - 1.0).abs() < 1e-9 && (soft - 0.5).abs() < 1e-9,
            "{hard} {soft}"
        );
    }

    #[test]
    fn a_single_pixel_has_no_edge() {
        assert_eq!(
            sharpness(Picture::new(&[0.5; 3], 1, 1).unwrap()).to_bits(),
            0
        );
    }
}
