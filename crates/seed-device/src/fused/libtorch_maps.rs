//! Convolution and GroupNorm by libtorch's own differentiation.
//!
//! Burn has a backward pass of its own for each operation and asks libtorch for forward passes alone. Its gradient of a
//! convolution's weight is a convolution by a kernel as large as the picture, two to four times slower than libtorch's
//! `convolution_backward`, which `tch` does not have. So these forward passes are recorded by libtorch, from leaves that share
//! the inputs' memory, and their ends are kept until Burn's graph comes to them. Each record is of one operation, and is
//! gone with the node that keeps it.

use burn::backend::{LibTorch, ops::ConvOptions, tensor::FloatTensor};
use tch::Tensor;

use super::maps::{Gradients, GroupNormOptions, Inputs, Kept, MapKernels};

impl MapKernels for LibTorch {
    fn conv2d_kept(
        inputs: Inputs<Self>,
        options: ConvOptions<2>,
        tracked: [bool; 3],
    ) -> (FloatTensor<Self>, Kept<Self, ConvOptions<2>>) {
        recorded(inputs, options, tracked, convolution)
    }

    fn conv2d_gradients(
        kept: Kept<Self, ConvOptions<2>>,
        gradient: FloatTensor<Self>,
    ) -> Gradients<Self> {
        gradients(kept, gradient)
    }

    fn group_norm_forward(inputs: Inputs<Self>, options: &GroupNormOptions) -> FloatTensor<Self> {
        let output = group_norm(&inputs.map(|input| input.tensor), options);
        FloatTensor::<Self>::new(output)
    }

    fn group_norm_kept(
        inputs: Inputs<Self>,
        options: GroupNormOptions,
        tracked: [bool; 3],
    ) -> (FloatTensor<Self>, Kept<Self, GroupNormOptions>) {
        recorded(inputs, options, tracked, group_norm)
    }

    fn group_norm_gradients(
        kept: Kept<Self, GroupNormOptions>,
        gradient: FloatTensor<Self>,
    ) -> Gradients<Self> {
        gradients(kept, gradient)
    }
}

fn convolution([x, weight, bias]: &[Tensor; 3], options: &ConvOptions<2>) -> Tensor {
    let whole = |sizes: [usize; 2]| sizes.map(|size| size as i64);
    let (mut x, mut padding) = (x.shallow_clone(), whole(options.padding_begin()));
    if options.is_asymmetric() {
        let [[top, left], [bottom, right]] = [padding, whole(options.padding_end())];
        x = x.constant_pad_nd([left, right, top, bottom]);
        padding = [0, 0];
    }
    let kind = x.kind();
    x.conv2d(
        &weight.to_kind(kind),
        Some(bias.to_kind(kind)),
        whole(options.stride),
        padding,
        whole(options.dilation),
        options.groups as i64,
    )
}

fn group_norm([x, gamma, beta]: &[Tensor; 3], options: &GroupNormOptions) -> Tensor {
    let groups = options.groups as i64;
    let output = x.group_norm(groups, Some(gamma), Some(beta), options.epsilon, true);
    if options.silu { output.silu() } else { output }
}

/// A forward pass under libtorch's differentiation: the output, on which Burn goes on, and libtorch's record.
fn recorded<O>(
    inputs: Inputs<LibTorch>,
    options: O,
    tracked: [bool; 3],
    function: impl Fn(&[Tensor; 3], &O) -> Tensor,
) -> (FloatTensor<LibTorch>, Kept<LibTorch, O>) {
    tch::with_grad(|| {
        let mut tracked_of = tracked.into_iter();
        // What is kept holds on to Burn's count of users, so that nothing is computed in place of an input.
        let inputs = inputs.map(|input| FloatTensor::<LibTorch> {
            // A map that was made of tokens lies channel by channel for each place, and so would all that follows from it:
            // slower, and copied wherever it is read in order.
            tensor: input
                .tensor
                .detach()
                .contiguous()
                .set_requires_grad(tracked_of.next().unwrap_or(false)),
            storage: input.storage,
        });
        let leaves = inputs.each_ref().map(|input| input.tensor.shallow_clone());
        let output = function(&leaves, &options);
        // No backward pass here reads its output, which Burn may therefore overwrite.
        let plain = FloatTensor::<LibTorch>::new(output.detach());
        let kept = Kept {
            inputs,
            graph: Some(FloatTensor::<LibTorch>::new(output)),
            options,
            tracked,
        };
        (plain, kept)
    })
}

/// The gradients by libtorch's record.
fn gradients<O>(kept: Kept<LibTorch, O>, gradient: FloatTensor<LibTorch>) -> Gradients<LibTorch> {
    let Some(output) = kept.graph else {
        return [None, None, None];
    };
    let leaves: Vec<&Tensor> = kept
        .inputs
        .iter()
        .zip(kept.tracked)
        .filter_map(|(input, tracked)| tracked.then_some(&input.tensor))
        .collect();
    // `tch` starts a backward pass from ones alone: the output's gradient comes in as the other side of a dot product.
    let found = tch::with_grad(|| {
        let start = output.tensor.reshape(-1).dot(&gradient.tensor.reshape(-1));
        Tensor::run_backward(&[start], &leaves, false, false)
    });
    let mut found = found.into_iter();
    kept.tracked.map(|tracked| {
        let found = if tracked { found.next() } else { None };
        found.map(FloatTensor::<LibTorch>::new)
    })
}

#[cfg(test)]
mod tests {
    use burn::{
        backend::{LibTorch, ops::FloatTensorOps},
        tensor::TensorData,
    };

    use super::*;

    fn tensor(values: Vec<f32>, shape: &[usize]) -> FloatTensor<LibTorch> {
        let data = TensorData::new(values, shape.to_vec());
        LibTorch::float_from_data(data, &Default::default())
    }

    /// Two places, a weight of one tap, a bias.
    fn inputs() -> Inputs<LibTorch> {
        [
            tensor(vec![2.0, 3.0], &[1, 1, 1, 2]),
            tensor(vec![5.0], &[1, 1, 1, 1]),
            tensor(vec![7.0], &[1]),
        ]
    }

    fn options() -> ConvOptions<2> {
        ConvOptions::new([1, 1], [0, 0], [1, 1], 1)
    }

    fn values(found: Option<FloatTensor<LibTorch>>) -> Option<Vec<f32>> {
        let found = found.map(|found| found.tensor.flatten(0, -1));
        found.map(|found| Vec::<f32>::try_from(found).unwrap())
    }

    /// Whoever turned libtorch's recording off has it off again behind these passes.
    #[test]
    fn gradients_are_found_where_recording_is_off() {
        let found = tch::no_grad(|| {
            let (output, kept) = LibTorch::conv2d_kept(inputs(), options(), [true, true, false]);
            assert!(!output.tensor.requires_grad());
            let found = LibTorch::conv2d_gradients(kept, tensor(vec![1.0, 10.0], &[1, 1, 1, 2]));
            let leaf = Tensor::from_slice(&[1.0f32]).set_requires_grad(true);
            assert!(!leaf.exp().requires_grad());
            found
        });
        let expected = [Some(vec![5.0, 50.0]), Some(vec![32.0]), None];
        assert_eq!(found.map(values), expected);
    }

    /// Burn computes in place of a tensor that nobody else holds.
    #[test]
    fn what_gradients_need_is_not_overwritten() {
        let [x, weight, bias] = inputs();
        let given = [x.clone(), weight.clone(), bias];
        let (output, kept) = LibTorch::conv2d_kept(given, options(), [true; 3]);
        let tripled = [x, weight, output].map(|it| LibTorch::float_mul_scalar(it, 3.0.into()));
        assert_eq!(
            tripled.map(|it| values(Some(it))),
            [
                Some(vec![6.0, 9.0]),
                Some(vec![15.0]),
                Some(vec![51.0, 66.0])
            ]
        );
        let found = LibTorch::conv2d_gradients(kept, tensor(vec![1.0, 10.0], &[1, 1, 1, 2]));
        let expected = [Some(vec![5.0, 50.0]), Some(vec![32.0]), Some(vec![11.0])];
        assert_eq!(found.map(values), expected);
    }
}
