//! Convolution and GroupNorm on the `flex` CPU backend.

use burn::backend::{
    DType, Flex,
    ops::{ConvOptions, FloatTensorOps, ModuleOps},
    tensor::FloatTensor,
};

use super::{
    flex_convolution::Convolution,
    flex_group_norm::GroupNorm,
    kernels::Kernels,
    maps::{Gradients, GroupNormOptions, Inputs, Kept, MapKernels, composed, of_one_type},
};

impl MapKernels for Flex {
    fn conv2d_forward(inputs: Inputs<Self>, options: &ConvOptions<2>) -> FloatTensor<Self> {
        let wide = inputs.clone().map(widened);
        let Some(convolution) = Convolution::new(wide.each_ref(), options) else {
            let [x, weight, bias] = of_one_type::<Self>(inputs);
            return <Self as ModuleOps<Self>>::conv2d(x, weight, Some(bias), options.clone());
        };
        in_type(convolution.forward(wide.each_ref()), inputs[0].dtype())
    }

    fn conv2d_gradients(
        kept: Kept<Self, ConvOptions<2>>,
        gradient: FloatTensor<Self>,
    ) -> Gradients<Self> {
        let wide = kept.inputs.clone().map(widened);
        let Some(convolution) = Convolution::new(wide.each_ref(), &kept.options) else {
            return composed::conv2d_gradients::<Self>(kept, gradient);
        };
        let dtype = gradient.dtype();
        let gradient = widened(gradient);
        let [x, weight, _] = &wide;
        let [of_x, of_weight, of_bias] = kept.tracked;
        [
            of_x.then(|| convolution.x_gradient(weight, &gradient)),
            of_weight.then(|| convolution.weight_gradient(x, &gradient)),
            of_bias.then(|| convolution.bias_gradient(&gradient)),
        ]
        .map(|found| found.map(|found| in_type(found, dtype)))
    }

    fn group_norm_forward(inputs: Inputs<Self>, options: &GroupNormOptions) -> FloatTensor<Self> {
        match GroupNorm::new(inputs.each_ref(), options) {
            Some(norm) => norm.forward(inputs.each_ref()),
            None => composed::group_norm_forward::<Self>(inputs, *options),
        }
    }

    fn group_norm_gradients(
        kept: Kept<Self, GroupNormOptions>,
        gradient: FloatTensor<Self>,
    ) -> Gradients<Self> {
        let Some(norm) = GroupNorm::new(kept.inputs.each_ref(), &kept.options) else {
            return composed::group_norm_gradients::<Self>(kept, gradient);
        };
        let mut tracked = kept.tracked.into_iter();
        let found = norm.gradients(kept.inputs.each_ref(), &gradient);
        found.map(|found| tracked.next().unwrap_or(false).then_some(found))
    }
}

/// Half precision as f32, which the kernels are of: sums are rounded once.
fn widened(tensor: FloatTensor<Flex>) -> FloatTensor<Flex> {
    match tensor.dtype() {
        DType::F16 | DType::BF16 => Flex::cast(tensor, DType::F32),
        _ => tensor,
    }
}

fn in_type(tensor: FloatTensor<Flex>, dtype: DType) -> FloatTensor<Flex> {
    if tensor.dtype() == dtype {
        return tensor;
    }
    Flex::float_cast(tensor, dtype.into())
}
