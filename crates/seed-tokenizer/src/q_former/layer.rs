//! One post-norm layer of the Q-Former.

use burn::{
    module::{Initializer, Module},
    tensor::{Device, Tensor},
};
use seed_nn::{
    Activation, AttentionBias, Dropout, LayerNorm, LayerNormConfig, Linear, LinearConfig,
    merge_heads, scaled_dot_product, split_heads,
};

use super::{BERT_NORM_EPS, QFormerConfig, bert_normal};

/// A linear layer as BERT initialises it in a model of this width: normal weights, zero biases.
pub(super) fn bert_linear(input: usize, output: usize, width: usize, device: &Device) -> Linear {
    let mut linear = LinearConfig::new(input, output)
        .with_initializer(bert_normal(width))
        .init(device);
    linear.bias = Some(Initializer::Zeros.init([output], device));
    linear
}

pub(super) fn bert_norm(width: usize, device: &Device) -> LayerNorm {
    LayerNormConfig::new(width)
        .with_epsilon(BERT_NORM_EPS)
        .init(device)
}

/// `norm(x + dropout(output(attention(x, context))))`.
#[derive(Module, Debug)]
pub struct BertAttention {
    /// Query projection.
    pub query: Linear,
    /// Key projection, from the context's width.
    pub key: Linear,
    /// Value projection, from the context's width.
    pub value: Linear,
    /// Output projection.
    pub output: Linear,
    /// Norm after the residual.
    pub norm: LayerNorm,
    /// Dropout on the attention weights and on the output.
    pub dropout: Dropout,
    heads: usize,
}

impl BertAttention {
    fn new(config: &QFormerConfig, context_width: usize, device: &Device) -> Self {
        let width = config.width;
        Self {
            query: bert_linear(width, width, width, device),
            key: bert_linear(context_width, width, width, device),
            value: bert_linear(context_width, width, width, device),
            output: bert_linear(width, width, width, device),
            norm: bert_norm(width, device),
            dropout: Dropout::new(config.dropout),
            heads: config.heads,
        }
    }

    /// # Shapes
    ///
    /// - x, output: `[batch, tokens, width]`
    /// - context: `[batch, context tokens, context width]`
    pub fn forward(
        &self,
        x: Tensor<3>,
        context: Tensor<3>,
        bias: Option<AttentionBias>,
    ) -> Tensor<3> {
        let query = split_heads(self.query.forward(x.clone()), self.heads);
        let key = split_heads(self.key.forward(context.clone()), self.heads);
        let value = split_heads(self.value.forward(context), self.heads);
        let mixed = scaled_dot_product(query, key, value, bias, Some(&self.dropout));
        let output = self.output.forward(merge_heads(mixed));
        self.norm.forward(x + self.dropout.forward(output))
    }
}

/// `norm(x + dropout(fc2(gelu(fc1(x)))))`.
#[derive(Module, Debug)]
pub struct BertMlp {
    /// `[width → hidden]`
    pub fc1: Linear,
    /// `[hidden → width]`
    pub fc2: Linear,
    /// Norm after the residual.
    pub norm: LayerNorm,
    /// Dropout on the output.
    pub dropout: Dropout,
}

impl BertMlp {
    fn new(config: &QFormerConfig, device: &Device) -> Self {
        Self {
            fc1: bert_linear(config.width, config.mlp_hidden, config.width, device),
            fc2: bert_linear(config.mlp_hidden, config.width, config.width, device),
            norm: bert_norm(config.width, device),
            dropout: Dropout::new(config.dropout),
        }
    }

    /// # Shapes
    ///
    /// - input, output: `[batch, tokens, width]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let hidden = self
            .fc2
            .forward(Activation::Gelu.forward(self.fc1.forward(x.clone())));
        self.norm.forward(x + self.dropout.forward(hidden))
    }
}

/// Self-attention over all tokens, then cross-attention of the queries, then one MLP for the queries
/// and another for the text.
#[derive(Module, Debug)]
pub struct QFormerLayer {
    /// Shared by queries and text.
    pub self_attention: BertAttention,
    /// Queries read the context, in the layers that have it.
    pub cross_attention: Option<BertAttention>,
    /// MLP of the queries.
    pub query_mlp: BertMlp,
    /// MLP of the text, with a text side.
    pub text_mlp: Option<BertMlp>,
}

impl QFormerLayer {
    pub(super) fn new(config: &QFormerConfig, crosses: bool, device: &Device) -> Self {
        Self {
            self_attention: BertAttention::new(config, config.width, device),
            cross_attention: crosses
                .then(|| BertAttention::new(config, config.context_width, device)),
            query_mlp: BertMlp::new(config, device),
            text_mlp: config.text.as_ref().map(|_| BertMlp::new(config, device)),
        }
    }

    /// The first `queries` tokens are queries, the rest is text.
    ///
    /// # Shapes
    ///
    /// - x, output: `[batch, tokens, width]`
    /// - context: `[batch, context tokens, context width]`, needed if there are queries
    ///
    /// # Panics
    ///
    /// Panics on text tokens if the layer has no text MLP.
    pub fn forward(
        &self,
        x: Tensor<3>,
        queries: usize,
        context: Option<&Tensor<3>>,
        bias: Option<AttentionBias>,
    ) -> Tensor<3> {
        let total = x.dims()[1];
        let x = self.self_attention.forward(x.clone(), x, bias);
        let text = |x: Tensor<3>| match &self.text_mlp {
            Some(mlp) => mlp.forward(x),
            None => panic!("this Q-Former was built without a text side"),
        };
        if queries == 0 {
            return text(x);
        }
        let mut read = if queries == total {
            x.clone()
        } else {
            x.clone().narrow(1, 0, queries)
        };
        if let (Some(cross), Some(context)) = (&self.cross_attention, context) {
            read = cross.forward(read, context.clone(), None);
        }
        let read = self.query_mlp.forward(read);
        if queries == total {
            return read;
        }
        Tensor::cat(vec![read, text(x.narrow(1, queries, total - queries))], 1)
    }
}
