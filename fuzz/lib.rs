//! What is done with whatever a file gives: every tensor is read in every way.

use seed_weights::Checkpoint;

/// A view may repeat its elements, so that a small file can hold a large tensor; its reader says how
/// large before anything is read, and the caller decides.
const MOST_ELEMENTS: usize = 1 << 22;

/// Reads all of a checkpoint; errors are what damaged files are for.
pub fn read_all(checkpoint: &Checkpoint) {
    for key in checkpoint.keys() {
        let shape = checkpoint.shape(key).expect("every key has a shape");
        if shape.iter().product::<usize>() > MOST_ELEMENTS {
            continue;
        }
        let _ = checkpoint.element_type(key);
        let _ = checkpoint.stored(key);
        let _ = checkpoint.int(key);
        if let Ok(data) = checkpoint.float(key) {
            assert!(data.iter::<f32>().all(f32::is_finite));
            assert_eq!(data.shape().to_vec(), shape);
        }
    }
}
