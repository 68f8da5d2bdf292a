//! The fused operations as nodes of the autodiff graph.

use std::fmt::Debug;

use burn::backend::{
    Autodiff, Backend, TensorMetadata,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind, unary},
    },
    ops::{ConvOptions, FloatTensorOps},
    tensor::{FloatTensor, QuantizedTensor},
};

use super::{
    FusedOps,
    kernels::{Kernels, composed, softmax_forward},
    maps::{self, GroupNormOptions, Inputs, Kept, MapKernels},
};

impl<B: MapKernels, C: CheckpointStrategy> FusedOps for Autodiff<B, C> {
    fn fused_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let weight = entering::<B, C>(weight, &x);
        let nodes = [x.node(), weight.node(), bias.node()];
        let (x_tracked, weight_tracked) = (x.is_tracked(), weight.is_tracked());
        let (x, weight, bias) = (
            x.into_primitive(),
            weight.into_primitive(),
            bias.into_primitive(),
        );
        match LinearOp.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(node) => {
                // Each is kept for the other's gradient alone.
                let kept = (
                    weight_tracked.then(|| x.clone()),
                    x_tracked.then(|| weight.clone()),
                );
                node.finish(kept, B::linear_forward(x, weight, bias))
            }
            OpsKind::UnTracked(node) => node.finish(B::linear_forward(x, weight, bias)),
        }
    }

    fn fused_product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let weight = entering::<B, C>(weight, &x);
        if weight.is_tracked() {
            return Self::float_matmul(x, weight);
        }
        let op = KeepingOp {
            gradient: B::linear_x_gradient,
        };
        frozen_product::<B, C, _>(op, x, weight.into_primitive(), B::product)
    }

    fn fused_eight_bit_product(
        x: FloatTensor<Self>,
        weight: QuantizedTensor<Self>,
    ) -> FloatTensor<Self> {
        let op = KeepingOp {
            gradient: composed::eight_bit_x_gradient::<B>,
        };
        frozen_product::<B, C, _>(op, x, weight, B::eight_bit_product)
    }

    fn fused_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), gamma.node(), beta.node()];
        let (x, gamma, beta) = (
            x.into_primitive(),
            gamma.into_primitive(),
            beta.into_primitive(),
        );
        match LayerNormOp.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(node) => {
                let output = B::layer_norm(x.clone(), gamma.clone(), Some(beta), epsilon);
                node.finish((x, gamma, epsilon), output)
            }
            OpsKind::UnTracked(node) => node.finish(B::layer_norm(x, gamma, Some(beta), epsilon)),
        }
    }

    fn fused_softmax(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let op = KeepingOp {
            gradient: B::softmax_gradient,
        };
        match op.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(node) => {
                let output = softmax_forward::<B>(x.into_primitive());
                node.finish(output.clone(), output)
            }
            OpsKind::UnTracked(node) => node.finish(softmax_forward::<B>(x.into_primitive())),
        }
    }

    fn fused_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let op = KeepingOp {
            gradient: B::gelu_gradient,
        };
        match op.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(node) => {
                let x = x.into_primitive();
                node.finish(x.clone(), B::gelu_forward(x))
            }
            OpsKind::UnTracked(node) => node.finish(B::gelu_forward(x.into_primitive())),
        }
    }

    fn fused_dropout_mask(like: FloatTensor<Self>, probability: f64) -> FloatTensor<Self> {
        FloatTensor::<Self>::new(B::dropout_mask(like.into_primitive(), probability))
    }

    fn fused_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: ConvOptions<2>,
    ) -> FloatTensor<Self> {
        let (weight, bias) = (entering::<B, C>(weight, &x), entering::<B, C>(bias, &x));
        let op = KeptOp {
            gradients: B::conv2d_gradients,
        };
        let passes = (B::conv2d_forward as _, B::conv2d_kept as _);
        of_a_layer::<B, C, _>(op, [x, weight, bias], options, passes)
    }

    fn fused_group_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        options: GroupNormOptions,
    ) -> FloatTensor<Self> {
        let op = KeptOp {
            gradients: B::group_norm_gradients,
        };
        let passes = (B::group_norm_forward as _, B::group_norm_kept as _);
        of_a_layer::<B, C, _>(op, [x, gamma, beta], options, passes)
    }
}

/// The weight as it enters the graph. A frozen one that is kept in fewer bits than are computed with stays so, and is
/// widened in each pass: a graph of widened weights would hold the model once more.
fn entering<B: Backend, C: CheckpointStrategy>(
    weight: FloatTensor<Autodiff<B, C>>,
    x: &FloatTensor<Autodiff<B, C>>,
) -> FloatTensor<Autodiff<B, C>> {
    let (kept, computed) = (weight.dtype(), x.dtype());
    if kept == computed || (!weight.is_tracked() && kept.size() < computed.size()) {
        return weight;
    }
    Autodiff::<B, C>::float_cast(weight, computed.into())
}

/// `product(x, weight)` of a weight that has no gradient, which the graph keeps as it is.
fn frozen_product<
    B: Backend + Kernels,
    C: CheckpointStrategy,
    W: Clone + Debug + Send + 'static,
>(
    op: KeepingOp<B, W>,
    x: FloatTensor<Autodiff<B, C>>,
    weight: W,
    product: fn(FloatTensor<B>, W) -> FloatTensor<B>,
) -> FloatTensor<Autodiff<B, C>> {
    match op.prepare::<C>([x.node()]).compute_bound().stateful() {
        OpsKind::Tracked(node) => node.finish(weight.clone(), product(x.into_primitive(), weight)),
        OpsKind::UnTracked(node) => node.finish(product(x.into_primitive(), weight)),
    }
}

#[derive(Debug)]
struct LinearOp;

impl<B: Backend + Kernels> Backward<B, 3> for LinearOp {
    type State = (Option<FloatTensor<B>>, Option<FloatTensor<B>>);

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<B>(&ops.node);
        let (x, weight) = ops.state;
        let [of_x, of_weight, of_bias] = ops.parents;
        if let (Some(parent), Some(weight)) = (of_x, weight) {
            let found = B::linear_x_gradient(weight, gradient.clone());
            gradients.register::<B>(parent.id, found);
        }
        if let (Some(parent), Some(x)) = (of_weight, x) {
            let found = B::linear_weight_backward(x, gradient.clone());
            gradients.register::<B>(parent.id, found);
        }
        if let Some(parent) = of_bias {
            gradients.register::<B>(parent.id, B::linear_bias_gradient(gradient));
        }
    }
}

#[derive(Debug)]
struct LayerNormOp;

impl<B: Backend + Kernels> Backward<B, 3> for LayerNormOp {
    type State = (FloatTensor<B>, FloatTensor<B>, f64);

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<B>(&ops.node);
        let (x, gamma, epsilon) = ops.state;
        let found = B::layer_norm_gradients(x, gamma, gradient, epsilon);
        for (parent, found) in ops.parents.iter().zip([found.x, found.gamma, found.beta]) {
            if let Some(parent) = parent {
                gradients.register::<B>(parent.id, found);
            }
        }
    }
}

/// A function of one tensor whose gradient follows from the output's gradient and one tensor that is kept.
#[derive(Debug)]
struct KeepingOp<B: Backend, T> {
    gradient: fn(T, FloatTensor<B>) -> FloatTensor<B>,
}

impl<B: Backend, T: Clone + Debug + Send + 'static> Backward<B, 1> for KeepingOp<B, T> {
    type State = T;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        unary::<B, _>(ops.parents, ops.node, gradients, |gradient| {
            (self.gradient)(ops.state, gradient)
        });
    }
}

/// A function of a map and two parameters, whose gradients follow from what its forward pass kept.
#[derive(Debug)]
struct KeptOp<B: Backend, O> {
    gradients: fn(Kept<B, O>, FloatTensor<B>) -> maps::Gradients<B>,
}

/// A forward pass alone, and one that keeps what gradients need.
type Passes<B, O> = (
    fn(Inputs<B>, &O) -> FloatTensor<B>,
    fn(Inputs<B>, O, [bool; 3]) -> (FloatTensor<B>, Kept<B, O>),
);

fn of_a_layer<B: Backend, C: CheckpointStrategy, O: Clone + Debug + Send + 'static>(
    op: KeptOp<B, O>,
    inputs: Inputs<Autodiff<B, C>>,
    options: O,
    (forward, keeping): Passes<B, O>,
) -> FloatTensor<Autodiff<B, C>> {
    let nodes = inputs.each_ref().map(FloatTensor::<Autodiff<B, C>>::node);
    let tracked = inputs
        .each_ref()
        .map(FloatTensor::<Autodiff<B, C>>::is_tracked);
    let inputs = inputs.map(FloatTensor::<Autodiff<B, C>>::into_primitive);
    match op.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(node) => {
            let (output, kept) = keeping(inputs, options, tracked);
            node.finish(kept, output)
        }
        OpsKind::UnTracked(node) => node.finish(forward(inputs, &options)),
    }
}

impl<B: Backend, O: Clone + Debug + Send + 'static> Backward<B, 3> for KeptOp<B, O> {
    type State = Kept<B, O>;

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<B>(&ops.node);
        let found = (self.gradients)(ops.state, gradient);
        for (parent, found) in ops.parents.into_iter().zip(found) {
            if let (Some(parent), Some(found)) = (parent, found) {
                gradients.register::<B>(parent.id, found);
            }
        }
    }
}
