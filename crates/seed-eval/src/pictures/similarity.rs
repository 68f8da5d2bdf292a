//! How like pictures are to those that they should be.

use rayon::prelude::*;

use crate::{
    error::EvalError,
    features::{Features, dot},
    retrieval::expect,
};

use super::bootstrap::{Bootstrap, Estimate};

/// The cosine of each row of `drawn` with the same row of `real`, −1 to 1.
///
/// # Errors
/// [`EvalError::Mismatch`] if rows or widths disagree, [`EvalError::ZeroRow`].
pub fn cosines(drawn: &Features, real: &Features) -> Result<Vec<f64>, EvalError> {
    expect("rows of real features", real.rows(), drawn.rows())?;
    expect("width of real features", real.dim(), drawn.dim())?;
    let (drawn, real) = (drawn.clone().normalize()?, real.clone().normalize()?);
    let cosine = |row| f64::from(dot(drawn.row(row), real.row(row)));
    Ok((0..drawn.rows()).into_par_iter().map(cosine).collect())
}

/// The mean cosine × 100 of pictures and those that they should be, row by row: CLIP similarity, if the features are
/// CLIP's (SEED, arXiv 2307.08041, Table 2, which follows GILL). The interval is over pictures.
///
/// It says little alone: features of any two pictures have something in common, so rows of a random and of a mean picture
/// belong beside it, and a picture that is like the right one may show something else (see
/// [`Recognition`](super::Recognition)).
///
/// # Errors
/// Those of [`cosines`].
pub fn paired_cosine(
    drawn: &Features,
    real: &Features,
    bootstrap: Bootstrap,
) -> Result<Estimate, EvalError> {
    Ok(bootstrap.mean(&cosines(drawn, real)?).times(100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_do_not_count() {
        let drawn = Features::new(2, 2, vec![3.0, 0.0, 0.0, 1e-9]).unwrap();
        let real = Features::new(2, 2, vec![1.0, 1.0, 0.0, -7.0]).unwrap();
        let found = cosines(&drawn, &real).unwrap();
        for (found, wanted) in found.iter().zip([0.5_f64.sqrt(), -1.0]) {
            assert!((found - wanted).abs() < 1e-6, "{found} is not {wanted}");
        }
    }

    #[test]
    fn refuses_what_has_no_pair() {
        let features = |rows, dim| Features::new(rows, dim, vec![1.0; rows * dim]).unwrap();
        for other in [features(3, 2), features(2, 3)] {
            let error = paired_cosine(&features(2, 2), &other, Bootstrap::default()).unwrap_err();
            assert!(matches!(error, EvalError::Mismatch { .. }), "{error}");
        }
        let zero = Features::new(2, 2, vec![1.0, 0.0, 0.0, 0.0]).unwrap();
        let error = cosines(&features(2, 2), &zero).unwrap_err();
        assert!(matches!(error, EvalError::ZeroRow { row: 1 }), "{error}");
    }
}
