//! SVG drawings as pictures, safe to use on documents from anywhere.
//!
//! A small SVG can cost its reader hours or gigabytes: references that double at every level,
//! endless dashes, noise of a billion octaves, files of the reader's own machine. What emoji need is
//! little, so everything else is refused before anything is drawn.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use image::RgbImage;
use regex::Regex;
use resvg::tiny_skia::{Color, Pixmap, Point, Transform};
use resvg::usvg::roxmltree::{self, Document, Node, NodeId, ParsingOptions};
use resvg::usvg::{self, Group, ImageHrefResolver, Stroke, Tree};
use serde::{Deserialize, Serialize};

/// Renderer and version: pictures cached from another one are made anew.
pub(crate) const RENDERER: &str = "resvg 0.49";

/// Longest document read, in bytes.
const MAX_BYTES: usize = 1 << 20;
/// Deepest nesting of elements, references followed.
const MAX_DEPTH: usize = 64;
/// Bytes of attributes, plus [`ELEMENT_COST`] an element, references followed.
const MAX_EXPANDED: usize = 4 << 20;
const ELEMENT_COST: usize = 64;
/// Dashes of all dashed lines together.
const MAX_DASHES: f32 = 10_000.0;
/// Largest picture, in pixels a side.
const MAX_SIZE: u32 = 4096;

/// All that drawings may be made of.
const ELEMENTS: &[&str] = &[
    "svg",
    "g",
    "defs",
    "symbol",
    "use",
    "title",
    "desc",
    "path",
    "rect",
    "circle",
    "ellipse",
    "line",
    "polyline",
    "polygon",
    "linearGradient",
    "radialGradient",
    "stop",
    "clipPath",
    "mask",
    "filter",
    "feBlend",
    "feColorMatrix",
    "feFlood",
    "feGaussianBlur",
    "feOffset",
];

/// Why an SVG document was not rendered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SvgError {
    /// The document is too long to be a drawing.
    #[error("the document has {bytes} bytes; at most {MAX_BYTES} are read")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The document is not well-formed XML, or has a DTD.
    #[error("not a well-formed XML document: {0}")]
    Xml(#[from] roxmltree::Error),
    /// The document uses something that is refused.
    #[error(
        "<{element}> at line {line} is refused: drawings are made of shapes, gradients, \
             masks and plain filters alone, without style sheets, text or images"
    )]
    Refused {
        /// The element.
        element: String,
        /// The line it stands on.
        line: u32,
    },
    /// Elements are nested too deep, or refer to themselves.
    #[error(
        "elements are nested deeper than {MAX_DEPTH} levels at line {line}, or refer to themselves"
    )]
    TooDeep {
        /// The line of the innermost element looked at.
        line: u32,
    },
    /// The references of the document unfold to too much.
    #[error("the document unfolds to more than {MAX_EXPANDED} bytes")]
    TooMuch,
    /// A dashed line falls into too many dashes.
    #[error("dashed lines fall into more than {MAX_DASHES} dashes")]
    TooManyDashes,
    /// The picture asked for is empty or too large.
    #[error("cannot render a picture of {size} pixels a side: it must be 1 to {MAX_SIZE}")]
    Size {
        /// The size asked for.
        size: u32,
    },
    /// The document is no valid SVG.
    #[error("not a valid SVG: {0}")]
    Invalid(#[from] usvg::Error),
}

/// How a drawing is rendered.
///
/// In TOML: `"plain"`, `{ outlined = { width = 0.03 } }`, `{ line_art = { width = 0.03 } }`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Style {
    /// As it was drawn.
    #[default]
    Plain,
    /// With a black outline around every shape that has no stroke of its own.
    Outlined {
        /// Width of the line as a fraction of the canvas, such as 0.03.
        width: f32,
    },
    /// Outlined, and every filled shape white: black lines on paper.
    LineArt {
        /// Width of the line as a fraction of the canvas.
        width: f32,
    },
}

/// A shape's own fill, unless it has none.
static FILL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"\bfill="(?:[^n"][^"]*|n[^o"][^"]*)""#).expect("a valid pattern")
});

impl Style {
    /// Attributes of the root element, which its shapes inherit.
    pub(crate) fn attributes(self, canvas: f32) -> String {
        let outline = |width: f32| {
            format!(
                r##" stroke="#000" stroke-width="{}" stroke-linejoin="round""##,
                width * canvas
            )
        };
        match self {
            Self::Plain => String::new(),
            Self::Outlined { width } => outline(width),
            Self::LineArt { width } => outline(width) + r##" fill="#fff""##,
        }
    }

    /// A drawing's elements in this style.
    pub(crate) fn restyle(self, body: &str) -> Cow<'_, str> {
        match self {
            Self::Plain | Self::Outlined { .. } => Cow::Borrowed(body),
            Self::LineArt { .. } => FILL.replace_all(body, r##"fill="#fff""##),
        }
    }
}

/// Renders an SVG document on white, fitted into and centred in a square of `size` pixels a side.
pub fn render_svg(svg: &str, size: u32) -> Result<RgbImage, SvgError> {
    if svg.len() > MAX_BYTES {
        return Err(SvgError::TooLong { bytes: svg.len() });
    }
    if size > MAX_SIZE {
        return Err(SvgError::Size { size });
    }
    let mut pixmap = Pixmap::new(size, size).ok_or(SvgError::Size { size })?;
    let nodes_limit = MAX_BYTES as u32;
    let document = Document::parse_with_options(
        svg,
        ParsingOptions {
            nodes_limit,
            ..Default::default()
        },
    )?;
    check(&document)?;

    let options = usvg::Options {
        image_href_resolver: ImageHrefResolver {
            resolve_data: Box::new(|_, _, _| None),
            resolve_string: Box::new(|_, _| None),
        },
        ..usvg::Options::default()
    };
    let tree = Tree::from_xmltree(&document, &options)?;
    let dashes = dashes(tree.root());
    if dashes.is_nan() || dashes > MAX_DASHES {
        return Err(SvgError::TooManyDashes);
    }
    let (width, height) = (tree.size().width(), tree.size().height());
    let scale = size as f32 / width.max(height);
    let margin = |side: f32| (size as f32 - side * scale) / 2.0;
    let transform =
        Transform::from_scale(scale, scale).post_translate(margin(width), margin(height));

    pixmap.fill(Color::WHITE);
    resvg::render(&tree, transform, &mut pixmap.as_mut());
    let pixels = pixmap.pixels();
    Ok(RgbImage::from_fn(size, size, |x, y| {
        let pixel = pixels[(y * size + x) as usize];
        image::Rgb([pixel.red(), pixel.green(), pixel.blue()])
    }))
}

/// Refuses what [`ELEMENTS`] does not list and what unfolds beyond the limits.
fn check(document: &Document<'_>) -> Result<(), SvgError> {
    let mut by_id: HashMap<&str, Vec<Node<'_, '_>>> = HashMap::new();
    for node in document.descendants().filter(Node::is_element) {
        let name = node.tag_name().name();
        if !ELEMENTS.contains(&name) {
            return Err(SvgError::Refused {
                element: name.to_owned(),
                line: line(node),
            });
        }
        if let Some(id) = node.attribute("id") {
            by_id.entry(id.trim()).or_default().push(node);
        }
    }
    Unfolding {
        by_id,
        known: HashMap::new(),
    }
    .unfold(document.root_element(), 0)
    .map(|_| ())
}

/// What an element unfolds to once the references in it are followed.
#[derive(Clone, Copy)]
struct Unfolded {
    bytes: usize,
    depth: usize,
}

struct Unfolding<'a, 'input> {
    by_id: HashMap<&'a str, Vec<Node<'a, 'input>>>,
    known: HashMap<NodeId, Unfolded>,
}

impl<'a, 'input> Unfolding<'a, 'input> {
    /// Counts without unfolding: each element is looked at once.
    fn unfold(&mut self, node: Node<'a, 'input>, level: usize) -> Result<Unfolded, SvgError> {
        let too_deep = || SvgError::TooDeep { line: line(node) };
        if level > MAX_DEPTH {
            return Err(too_deep());
        }
        if let Some(&known) = self.known.get(&node.id()) {
            return if level + known.depth > MAX_DEPTH {
                Err(too_deep())
            } else {
                Ok(known)
            };
        }
        let mut total = Unfolded {
            bytes: ELEMENT_COST,
            depth: 0,
        };
        let mut parts: Vec<_> = node.children().filter(Node::is_element).collect();
        for attribute in node.attributes() {
            total.bytes += attribute.value().len();
            parts.extend(self.references(attribute.value()));
        }
        for part in parts {
            let part = self.unfold(part, level + 1)?;
            total.bytes = total.bytes.saturating_add(part.bytes);
            total.depth = total.depth.max(part.depth + 1);
            if total.bytes > MAX_EXPANDED {
                return Err(SvgError::TooMuch);
            }
        }
        self.known.insert(node.id(), total);
        Ok(total)
    }

    /// The elements an attribute may refer to, as `#id` or `url(#id)`; a colour such as `#000` only
    /// counts if an element has that id.
    fn references(&self, value: &str) -> Vec<Node<'a, 'input>> {
        let mut found = Vec::new();
        for (hash, _) in value.match_indices('#') {
            let rest = &value[hash + 1..];
            let name = rest.split([' ', ')', '"', '\'']).next().unwrap_or(rest);
            let mut ids = vec![name, rest.trim()];
            ids.dedup();
            for id in ids {
                found.extend(self.by_id.get(id).into_iter().flatten());
            }
        }
        found
    }
}

/// An upper bound of the dashes of a group's lines, masks and clips included.
fn dashes(group: &Group) -> f32 {
    let mut total = 0.0;
    for node in group.children() {
        match node {
            usvg::Node::Group(group) => total += dashes(group),
            usvg::Node::Path(path) => {
                if let Some(pattern) = path.stroke().and_then(Stroke::dasharray) {
                    let period = pattern.iter().sum::<f32>() / pattern.len() as f32;
                    total += polygon_length(path.data().points()) / period;
                }
            }
            usvg::Node::Image(_) | usvg::Node::Text(_) => {}
        }
        node.subroots(|root| total += dashes(root));
    }
    total
}

/// Length of the line through the points that control a path: no path is longer.
fn polygon_length(points: &[Point]) -> f32 {
    points
        .windows(2)
        .map(|pair| pair[0].distance(pair[1]))
        .sum()
}

fn line(node: Node<'_, '_>) -> u32 {
    node.document().text_pos_at(node.range().start).row
}
