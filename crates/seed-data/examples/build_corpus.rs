//! Rebuilds `corpus/` from the published npm packages, byte for byte:
//!
//! ```text
//! npm pack @iconify-json/noto@1.2.9 …   # the packages and versions named in corpus/README.md
//! cargo run -p seed-data --release --example build_corpus -- PACKAGE_DIR crates/seed-data/corpus
//! ```
//!
//! `PACKAGE_DIR` holds the `.tgz` files. Each vendor becomes one xz file of JSON; the licence texts
//! beside them are not touched.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use liblzma::stream::{Check, PRESET_EXTREME, Stream};
use liblzma::write::XzEncoder;
use serde::Deserialize;
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// File stem of the package, folder in the corpus.
const VENDORS: [(&str, &str); 6] = [
    ("iconify-json-noto-1.2.9", "noto"),
    ("iconify-json-noto-v1-1.2.5", "noto-v1"),
    ("iconify-json-twemoji-1.2.5", "twemoji"),
    ("iconify-json-fluent-emoji-flat-1.2.6", "fluent-flat"),
    ("iconify-json-emojione-1.2.3", "emojione"),
    ("iconify-json-openmoji-1.2.29", "openmoji"),
];
const NAMES: &str = "emojibase-data-17.0.0";
/// Skin tones and hair alone are no pictures of anything.
const COMPONENTS: &str = "component";

/// Names that meant another emoji when the sets without a table were drawn: the insect is younger
/// than they are, their cricket is the game.
const OLD_NAMES: [(&str, &str); 1] = [("cricket", "1F3CF")];

/// An entry of emojibase's `data.json`.
#[derive(Deserialize)]
struct Named {
    hexcode: String,
    emoji: String,
    label: String,
    #[serde(default)]
    tags: Vec<String>,
    group: Option<usize>,
    subgroup: Option<usize>,
    #[serde(default)]
    order: usize,
}

/// emojibase's `groups.json`: names by number.
#[derive(Deserialize)]
struct Groups {
    groups: HashMap<usize, String>,
    subgroups: HashMap<usize, String>,
}

/// An Iconify icon set.
#[derive(Deserialize)]
struct IconSet {
    icons: HashMap<String, Icon>,
    #[serde(default)]
    aliases: HashMap<String, Alias>,
    width: f32,
    height: f32,
}

#[derive(Deserialize)]
struct Icon {
    body: String,
    #[serde(default)]
    left: f32,
    #[serde(default)]
    top: f32,
    width: Option<f32>,
    height: Option<f32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alias {
    parent: String,
    #[serde(default)]
    h_flip: bool,
    #[serde(default)]
    v_flip: bool,
    #[serde(default)]
    rotate: u8,
}

impl Alias {
    /// True if the alias is another name of the very same drawing.
    fn is_plain(&self) -> bool {
        !self.h_flip && !self.v_flip && self.rotate == 0
    }
}

/// An icon set with its map from code points to icon names, where the package has one.
struct Package {
    icons: IconSet,
    chars: BTreeMap<String, String>,
    source: Value,
}

fn main() -> Result<()> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(packages), Some(out), None) = (args.next(), args.next(), args.next()) else {
        return Err("usage: build_corpus PACKAGE_DIR OUT_DIR".into());
    };

    let concepts = read_concepts(&packages)?;
    write_xz(
        &out.join("emojibase/concepts.json.xz"),
        &concepts_json(&concepts),
    )?;

    let sets = VENDORS
        .iter()
        .map(|(package, _)| read_package(&packages, package))
        .collect::<Result<Vec<_>>>()?;
    let names = IconNames::new(&concepts, &sets, &unicode_names(&packages)?);
    for (set, (_, folder)) in sets.iter().zip(VENDORS) {
        let drawings = drawings(set, &names);
        println!("{folder}: {} drawings", drawings.len());
        let pack = json!({
            "source": set.source,
            "viewbox": [0.0, 0.0, set.icons.width, set.icons.height],
            "drawings": drawings,
        });
        write_xz(&out.join(folder).join("drawings.json.xz"), &pack)?;
    }
    Ok(())
}

/// The emoji that are concepts, in the order of the Unicode charts: every one that belongs to a
/// group, without skin tones, hair components and regional letters.
fn read_concepts(packages: &Path) -> Result<Vec<(Named, String, String)>> {
    let emoji: Vec<Named> = serde_json::from_slice(&entry(packages, NAMES, "en/data.json")?)?;
    let names: Groups = serde_json::from_slice(&entry(packages, NAMES, "meta/groups.json")?)?;
    let name = |map: &HashMap<usize, String>, key: usize| {
        map.get(&key)
            .cloned()
            .ok_or(format!("group {key} has no name"))
    };
    let mut concepts = Vec::new();
    for mut emoji in emoji {
        let (Some(group), Some(subgroup)) = (emoji.group, emoji.subgroup) else {
            continue;
        };
        let (group, subgroup) = (
            name(&names.groups, group)?,
            name(&names.subgroups, subgroup)?,
        );
        if group != COMPONENTS {
            emoji.hexcode = normalise(&emoji.hexcode);
            concepts.push((emoji, group, subgroup));
        }
    }
    concepts.sort_by_key(|(emoji, ..)| emoji.order);
    Ok(concepts)
}

fn concepts_json(concepts: &[(Named, String, String)]) -> Value {
    concepts
        .iter()
        .map(|(emoji, group, subgroup)| {
            json!({
                "hexcode": emoji.hexcode,
                "emoji": emoji.emoji,
                "label": emoji.label,
                "tags": emoji.tags,
                "group": group,
                "subgroup": subgroup,
            })
        })
        .collect()
}

fn unicode_names(packages: &Path) -> Result<BTreeMap<String, String>> {
    Ok(serde_json::from_slice(&entry(
        packages,
        NAMES,
        "meta/unicode-names.json",
    )?)?)
}

fn read_package(packages: &Path, stem: &str) -> Result<Package> {
    let package: Value = serde_json::from_slice(&entry(packages, stem, "package.json")?)?;
    let info: Value = serde_json::from_slice(&entry(packages, stem, "info.json")?)?;
    Ok(Package {
        icons: serde_json::from_slice(&entry(packages, stem, "icons.json")?)?,
        chars: serde_json::from_slice(&entry(packages, stem, "chars.json")?)?,
        source: json!({
            "package": package["name"],
            "version": package["version"],
            "licence": package["license"],
            "author": info["author"]["name"],
            "url": info["author"]["url"],
        }),
    })
}

/// Which emoji an icon's name stands for, for the packages that do not say so themselves.
struct IconNames {
    /// Hexcode by icon name; a name that could mean two emoji is left out.
    by_name: HashMap<String, String>,
    concepts: Vec<String>,
}

impl IconNames {
    /// In this order: the name is today's label; another package gives it that name;
    /// it is the character's own Unicode name.
    fn new(
        concepts: &[(Named, String, String)],
        sets: &[Package],
        unicode_names: &BTreeMap<String, String>,
    ) -> Self {
        let known: Vec<String> = concepts
            .iter()
            .map(|(emoji, ..)| emoji.hexcode.clone())
            .collect();
        let mut shared: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for set in sets {
            let hexcode: HashMap<&str, String> = set
                .chars
                .iter()
                .map(|(hex, name)| (name.as_str(), normalise(hex)))
                .collect();
            let aliases = set
                .icons
                .aliases
                .iter()
                .filter(|(_, alias)| alias.is_plain());
            let aliases = aliases.filter_map(|(name, alias)| {
                Some((name.as_str(), hexcode.get(alias.parent.as_str())?.clone()))
            });
            let own = set
                .chars
                .iter()
                .map(|(hex, name)| (name.as_str(), normalise(hex)));
            for (name, hex) in own.chain(aliases) {
                shared.entry(name).or_default().push(hex);
            }
        }

        let mut by_name = HashMap::new();
        for (hex, name) in unicode_names {
            by_name.insert(slug(name), normalise(hex));
        }
        for (name, hexcodes) in shared {
            // Where one emoji extends the other ("man", "man + beard"), the plain one is meant.
            let plain = hexcodes
                .iter()
                .min_by_key(|hex| hex.len())
                .expect("each name has one");
            if hexcodes.iter().all(|hex| hex.starts_with(plain.as_str())) {
                by_name.insert(name.to_owned(), plain.clone());
            }
        }
        for (emoji, ..) in concepts {
            by_name.insert(slug(&emoji.label), emoji.hexcode.clone());
        }
        for (name, hexcode) in OLD_NAMES {
            by_name.insert(name.to_owned(), hexcode.to_owned());
        }
        Self {
            by_name,
            concepts: known,
        }
    }

    fn hexcode(&self, name: &str) -> Option<&String> {
        // The older sets call flags `flag-for-france`, `flag-for-flag-france`, `flag-for-white-flag`.
        let Some(flag) = name.strip_prefix("flag-for-") else {
            return self.by_name.get(name);
        };
        let country = format!("flag-{}", flag.strip_prefix("flag-").unwrap_or(flag));
        self.by_name
            .get(&country)
            .or_else(|| self.by_name.get(flag))
    }
}

/// A package's drawings by hexcode: first what its own table says, then what its icons' and
/// aliases' names say.
fn drawings(set: &Package, names: &IconNames) -> BTreeMap<String, Value> {
    let mut by_name: Vec<&str> = set
        .icons
        .icons
        .keys()
        .chain(set.icons.aliases.keys())
        .map(String::as_str)
        .collect();
    by_name.sort_unstable();
    // An icon's own name comes before an alias.
    by_name.sort_by_key(|name| set.icons.aliases.contains_key(*name));
    let own = set
        .chars
        .iter()
        .map(|(hex, name)| (normalise(hex), name.as_str()));
    let named = by_name
        .into_iter()
        .filter_map(|name| Some((names.hexcode(name)?.clone(), name)));

    let mut drawings = BTreeMap::new();
    for (hexcode, name) in own.chain(named) {
        if names.concepts.contains(&hexcode)
            && !drawings.contains_key(&hexcode)
            && let Some(drawing) = drawing(&set.icons, name)
        {
            drawings.insert(hexcode, drawing);
        }
    }
    drawings
}

/// The icon called `name`, an alias's mirroring or turn baked into its body.
fn drawing(set: &IconSet, name: &str) -> Option<Value> {
    let alias = set.aliases.get(name);
    let icon = set.icons.get(alias.map_or(name, |alias| &alias.parent))?;
    let (width, height) = (
        icon.width.unwrap_or(set.width),
        icon.height.unwrap_or(set.height),
    );
    let mut body = icon.body.clone();
    if let Some(alias) = alias.filter(|alias| !alias.is_plain()) {
        let (cx, cy) = (icon.left + width / 2.0, icon.top + height / 2.0);
        let (sx, sy) = (
            if alias.h_flip { -1 } else { 1 },
            if alias.v_flip { -1 } else { 1 },
        );
        let turn = 90 * u32::from(alias.rotate);
        body = format!(
            r#"<g transform="translate({cx} {cy}) rotate({turn}) scale({sx} {sy}) translate({} {})">{body}</g>"#,
            -cx, -cy
        );
    }
    let mut drawing = json!({ "body": body });
    if (icon.left, icon.top, width, height) != (0.0, 0.0, set.width, set.height) {
        drawing["viewbox"] = json!([icon.left, icon.top, width, height]);
    }
    Some(drawing)
}

/// Upper-case code points without the variation selectors, which the sets use differently.
fn normalise(hexcode: &str) -> String {
    let hexcode = hexcode.to_ascii_uppercase();
    let points: Vec<&str> = hexcode
        .split('-')
        .filter(|point| !matches!(*point, "FE0F" | "FE0E"))
        .collect();
    points.join("-")
}

/// A label in the form the sets' icon names have: lower case, words joined by hyphens.
fn slug(label: &str) -> String {
    let mut slug = String::new();
    for c in label.to_lowercase().chars() {
        match c {
            '’' | '\'' | '“' | '”' | '.' => {}
            '*' => slug.push_str("asterisk"),
            '#' => slug.push_str("hash"),
            '&' => slug.push_str("and"),
            'á' | 'ã' | 'å' => slug.push('a'),
            'é' => slug.push('e'),
            'í' => slug.push('i'),
            'ó' | 'ô' => slug.push('o'),
            'ç' => slug.push('c'),
            'ñ' => slug.push('n'),
            'ü' => slug.push('u'),
            c if c.is_ascii_alphanumeric() => slug.push(c),
            _ if slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
    }
    slug.trim_matches('-').to_owned()
}

/// One file of a package: `package/NAME` in `STEM.tgz`.
fn entry(packages: &Path, stem: &str, name: &str) -> Result<Vec<u8>> {
    let path = packages.join(format!("{stem}.tgz"));
    let file = File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut archive = tar::Archive::new(GzDecoder::new(file));
    let wanted = Path::new("package").join(name);
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.path()? == wanted {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            return Ok(bytes);
        }
    }
    Err(format!("{} has no {name}", path.display()).into())
}

fn write_xz(path: &Path, value: &Value) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let stream = Stream::new_easy_encoder(9 | PRESET_EXTREME, Check::Crc64)?;
    let mut encoder = XzEncoder::new_stream(Vec::new(), stream);
    serde_json::to_writer(&mut encoder, value)?;
    encoder.write_all(b"\n")?;
    let bytes = encoder.finish()?;
    println!(
        "{}: {} bytes, blake3 {}",
        path.display(),
        bytes.len(),
        blake3::hash(&bytes)
    );
    fs::write(path, bytes)?;
    Ok(())
}
