//! Translation between our field paths and a checkpoint's keys.

/// One line of a key map: `(ours, theirs)`, both dotted paths in whole segments, where `{}` stands
/// for one index. A rule translates the path it names and everything below it.
pub type KeyRule = (&'static str, &'static str);

/// A declarative, two-way translation from module paths to checkpoint keys.
///
/// The first rule that matches wins; a path that no rule matches keeps its name. Norms are handled
/// apart: Burn's `gamma` and `beta` are always `weight` and `bias` in a checkpoint.
#[derive(Debug, Clone, Default)]
pub struct KeyMap {
    rules: Vec<(String, String)>,
}

impl KeyMap {
    /// The map that renames nothing.
    pub fn identity() -> Self {
        Self::default()
    }

    /// A map from a table of rules.
    pub fn new(rules: &[KeyRule]) -> Self {
        Self::identity().nest("", "", rules)
    }

    /// Adds a table that lives below `ours` in the module and below `theirs` in the checkpoint.
    pub fn nest(mut self, ours: &str, theirs: &str, rules: &[KeyRule]) -> Self {
        let join = |prefix: &str, path: &str| match (prefix, path) {
            ("", path) => path.to_owned(),
            (prefix, "") => prefix.to_owned(),
            (prefix, path) => format!("{prefix}.{path}"),
        };
        self.rules.extend(
            rules
                .iter()
                .map(|(our, their)| (join(ours, our), join(theirs, their))),
        );
        self
    }

    /// The checkpoint key of a module path.
    pub fn key(&self, path: &str) -> String {
        self.rules
            .iter()
            .find_map(|(ours, theirs)| translate(path, ours, theirs))
            .unwrap_or_else(|| path.to_owned())
    }
}

/// Rewrites `path` if `from` names it or one of its parents.
fn translate(path: &str, from: &str, to: &str) -> Option<String> {
    let mut rest = path.split('.');
    let mut indices = Vec::new();
    for expected in from.split('.').filter(|segment| !segment.is_empty()) {
        let segment = rest.next()?;
        if expected == "{}" {
            segment.parse::<usize>().ok()?;
            indices.push(segment);
        } else if segment != expected {
            return None;
        }
    }
    let mut indices = indices.into_iter();
    let mut segments: Vec<&str> = Vec::new();
    for segment in to.split('.').filter(|segment| !segment.is_empty()) {
        segments.push(if segment == "{}" {
            indices.next()?
        } else {
            segment
        });
    }
    segments.extend(rest);
    Some(segments.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_rename_whole_segments_and_carry_indices() {
        let keys = KeyMap::new(&[
            (
                "layers.{}.self_attention.query",
                "encoder.layer.{}.attention.self.query",
            ),
            ("layers.{}", "encoder.layer.{}"),
        ])
        .nest("text", "Qformer.bert", &[("embed", "embeddings.word")]);
        let cases = [
            (
                "layers.3.self_attention.query.bias",
                "encoder.layer.3.attention.self.query.bias",
            ),
            ("layers.11.mlp.weight", "encoder.layer.11.mlp.weight"),
            ("layers_norm.weight", "layers_norm.weight"),
            ("text.embed.weight", "Qformer.bert.embeddings.word.weight"),
            ("other", "other"),
        ];
        for (ours, theirs) in cases {
            assert_eq!(keys.key(ours), theirs);
        }
    }

    #[test]
    fn a_whole_module_can_move_below_a_prefix() {
        let keys = KeyMap::identity().nest("", "visual_encoder", &[("", "")]);
        assert_eq!(
            keys.key("blocks.0.norm1.weight"),
            "visual_encoder.blocks.0.norm1.weight"
        );
    }
}
