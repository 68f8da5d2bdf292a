//! From a loader's items to a recipe's batches.

use seed_data::{Batches, DataError, LoaderError};
use seed_train::BoxError;

/// A loader's batches, collated; a loader that cannot start becomes its one error.
pub(crate) fn batches_from<T, B>(
    batches: Result<Batches<T, DataError>, LoaderError<DataError>>,
    collate: impl Fn(Vec<T>) -> Result<B, BoxError>,
) -> impl Iterator<Item = Result<B, BoxError>> {
    let (batches, error) = match batches {
        Ok(batches) => (Some(batches), None),
        Err(error) => (None, Some(error)),
    };
    let error = error.into_iter().map(|error| Err(error.into()));
    error.chain(
        batches
            .into_iter()
            .flatten()
            .map(move |batch| collate(batch?.items)),
    )
}
