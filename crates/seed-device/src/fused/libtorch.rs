//! Kernels of libtorch, where it has them.

use burn::backend::{LibTorch, ops::ActivationOps, tensor::FloatTensor};

use super::kernels::{Kernels, like};

impl Kernels for LibTorch {
    /// One call, in which libtorch adds the bias while it multiplies.
    fn linear_forward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let weight = like::<Self>(weight, &x);
        let output = x.tensor.linear(&weight.tensor.tr(), Some(&bias.tensor));
        FloatTensor::<Self>::new(output)
    }

    /// One call; libtorch's own is exact.
    fn gelu_gradient(x: FloatTensor<Self>, gradient: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::gelu_backward(x, gradient)
    }

    fn normalize(x: FloatTensor<Self>, epsilon: f64) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let width = x.tensor.size().last().copied().unwrap_or(1);
        let one = x
            .tensor
            .new_ones([width], (x.tensor.kind(), x.tensor.device()));
        let zero = one.zeros_like();
        let (normal, _, inverse) =
            x.tensor
                .native_layer_norm([width], Some(&one), Some(&zero), epsilon);
        (
            FloatTensor::<Self>::new(normal),
            FloatTensor::<Self>::new(inverse),
        )
    }

    /// As a product with ones: libtorch adds up columns several times slower.
    fn column_sums(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let rows = x.tensor.size()[0];
        let ones = x
            .tensor
            .new_ones([rows], (x.tensor.kind(), x.tensor.device()));
        FloatTensor::<Self>::new(x.tensor.tr().mv(&ones))
    }
}
