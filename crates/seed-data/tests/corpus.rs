//! The embedded corpus: what it holds, how it is split, and that it renders.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use image::RgbImage;
use seed_data::split::{family_key, split_of};
use seed_data::{
    Cache, ConceptFilter, Corpus, CorpusSet, PairSet, PairSubset, Split, Style, Subset, SvgError,
    Vendor, blip_caption, render_svg,
};

/// File in `corpus`, blake3.
const FILES: [(&str, &str); 8] = [
    (
        "wordnet/glosses.txt.xz",
        "7a086c58683307d24644c00e66335aa7c59967fe03f37fb7950cf5efe0c364a9",
    ),
    (
        "emojibase/concepts.json.xz",
        "04af297b43c6910720a7d36229752e135c9cbe608c74d76b512260f745c966af",
    ),
    (
        "noto/drawings.json.xz",
        "802c600279c24ffe8664deb5e595a0f01e6eba1d5328b9fb552035c49ac24a45",
    ),
    (
        "noto-v1/drawings.json.xz",
        "376729f750fe9a95fa76247b5e09eaa779c07db75f3b25dc02a382e00af52177",
    ),
    (
        "twemoji/drawings.json.xz",
        "c9b82eeed99d546cff9c05e3ca06061d10b339869587daaaf6a376e020cb8602",
    ),
    (
        "fluent-flat/drawings.json.xz",
        "131438a5afcfdb3d38a5bafcbce7739bfee90b3d51866131fb42713c889b9e67",
    ),
    (
        "emojione/drawings.json.xz",
        "a3820bb64ada80087a0d81c51013d74fd9067c98b0d7118a6fee7d3219a99e71",
    ),
    (
        "openmoji/drawings.json.xz",
        "19301112d8b08ed8ec4d30683aed7b28a30c96d37643388928a611790d280264",
    ),
];

fn corpus() -> Corpus {
    Corpus::embedded().expect("the embedded corpus is whole")
}

fn held_out(corpus: &Corpus) -> [CorpusSet; 4] {
    [
        corpus.validation_seen(),
        corpus.validation_unseen(),
        corpus.test_seen(),
        corpus.test_unseen(),
    ]
}

#[test]
fn files_are_the_ones_the_tool_builds_and_have_a_licence() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (file, hash) in FILES {
        let path = folder.join(file);
        let bytes = std::fs::read(&path).expect("the file is there");
        assert_eq!(blake3::hash(&bytes).to_hex().as_str(), hash, "{file}");
        let licence = std::fs::read_to_string(path.with_file_name("LICENSE")).expect("a licence");
        assert!(licence.len() > 1000, "{file}");
    }
}

#[test]
fn counts() {
    let corpus = corpus();
    assert_eq!(corpus.concepts().len(), 1914);
    assert_eq!(
        corpus
            .concepts()
            .iter()
            .filter(|concept| concept.is_flag())
            .count(),
        270
    );
    let count = |vendor| {
        corpus
            .drawings()
            .iter()
            .filter(|d| d.vendor == vendor)
            .count()
    };
    assert_eq!(Vendor::ALL.map(count), [1653, 1233, 1914, 1595, 1369, 1914]);
    let ids: HashSet<_> = corpus
        .drawings()
        .iter()
        .map(|drawing| &drawing.id)
        .collect();
    assert_eq!(ids.len(), corpus.drawings().len());
}

#[test]
fn captions_are_cleaned_and_never_empty() {
    let corpus = corpus();
    let glass = corpus
        .concepts()
        .iter()
        .find(|concept| concept.label == "wine glass");
    let glass = glass.expect("there is a wine glass");
    assert!(
        glass.captions[0].starts_with("wine glass, alcohol, "),
        "{:?}",
        glass.captions
    );
    assert_eq!(glass.captions[1], "wine glass");
    for concept in corpus.concepts() {
        assert!(!concept.captions.is_empty());
        for caption in &concept.captions {
            assert!(!caption.trim().is_empty(), "{}", concept.hexcode);
            assert_eq!(*caption, seed_data::blip_caption(caption));
        }
    }
}

#[test]
fn twins_are_one_family() {
    let person = |label| family_key(label, "people-body");
    for twins in [
        ["health worker", "man health worker"],
        ["man", "woman: curly hair"],
        ["person walking", "woman walking: facing right"],
        ["prince", "princess"],
        ["merman", "mermaid"],
        ["Santa Claus", "Mrs. Claus"],
        ["men holding hands", "woman and man holding hands"],
        ["kiss: woman, man", "kiss"],
        ["family: man, woman, boy", "family: adult, child"],
        ["boy", "child"],
    ] {
        assert_eq!(person(twins[0]), person(twins[1]));
    }
    let other = |label| family_key(label, "symbols");
    for twins in [
        ["one o’clock", "twelve-thirty"],
        ["keycap: 1", "keycap: #"],
        ["waxing crescent moon", "full moon face"],
        ["red heart", "light blue heart"],
        ["up arrow", "down-left arrow"],
        ["black medium-small square", "red square"],
    ] {
        assert_eq!(other(twins[0]), other(twins[1]));
    }
    assert_ne!(other("Aries"), other("Leo"));
    assert_eq!(
        family_key("cat face", "animals-nature"),
        family_key("cat", "animals-nature")
    );
    assert_ne!(person("farmer"), person("singer"));
}

#[test]
fn a_tenth_of_the_families_is_held_out_for_each() {
    let corpus = corpus();
    let mut families = BTreeMap::new();
    for concept in corpus.concepts() {
        match concept.split {
            // All members of a family are in one part.
            Some(split) => assert_eq!(*families.entry(concept.family).or_insert(split), split),
            None => assert!(concept.is_flag()),
        }
    }
    for split in [Split::Validation, Split::Test] {
        let count = families.values().filter(|found| **found == split).count();
        let share = count as f64 / families.len() as f64;
        assert!((0.08..0.12).contains(&share), "{split:?}: {share}");
    }
}

#[test]
fn the_draw_is_the_one_results_were_measured_with() {
    use Split::{Test, Train, Validation};
    let drawn =
        ["snail", "farmer", "gorilla", "watermelon", "fox", "pizza"].map(|key| split_of(key, 1));
    assert_eq!(drawn, [Train, Train, Validation, Validation, Test, Test]);
    // Large families are never held out.
    assert_eq!([split_of("fox", 12), split_of("fox", 13)], [Test, Train]);

    let corpus = corpus();
    let sets = held_out(&corpus).map(|set| set.len());
    assert_eq!((corpus.train().len(), sets), (4916, [896, 117, 1327, 149]));
}

#[test]
fn training_shares_nothing_with_what_is_held_out() {
    let corpus = corpus();
    let train = corpus.train();
    let captions: HashSet<&String> = (0..train.len())
        .flat_map(|index| train.captions(index))
        .collect();
    let families: HashSet<usize> = (0..train.len())
        .map(|index| train.concept_of(index).family)
        .collect();
    let concepts: HashSet<usize> = (0..train.len()).map(|index| train.concept(index)).collect();
    for index in 0..train.len() {
        assert_eq!(train.drawing(index).vendor.split(), Split::Train);
        assert_eq!(train.concept_of(index).split, Some(Split::Train));
    }
    for concept in corpus
        .concepts()
        .iter()
        .filter(|c| c.split != Some(Split::Train))
    {
        assert!(
            concept.is_flag() || !families.contains(&concept.family),
            "{}",
            concept.label
        );
        for caption in &concept.captions {
            assert!(!captions.contains(caption), "{caption}");
        }
    }
    for (set, unseen) in held_out(&corpus).iter().zip([false, true, false, true]) {
        assert!(set.len() > 90, "{}", set.len());
        for index in 0..set.len() {
            assert_ne!(set.drawing(index).vendor.split(), Split::Train);
            assert!(!set.concept_of(index).is_flag());
            assert_ne!(
                concepts.contains(&set.concept(index)),
                unseen,
                "{}",
                set.id(index)
            );
        }
    }
    // Validation and test share neither a vendor nor an unseen concept.
    let [_, validation, _, test] = held_out(&corpus);
    let unseen: HashSet<usize> = (0..validation.len())
        .map(|i| validation.concept(i))
        .collect();
    assert!((0..test.len()).all(|index| !unseen.contains(&test.concept(index))));
}

#[test]
fn flags_are_a_set_of_their_own() {
    let flags = corpus().flags(Split::Test);
    assert_eq!(flags.len(), 270);
    assert!((0..flags.len()).all(|index| flags.concept_of(index).is_flag()));
}

#[test]
fn every_drawing_renders() {
    let corpus = corpus();
    let all = Subset {
        vendors: &Vendor::ALL,
        concepts: ConceptFilter::All,
    };
    let set = corpus.select(all).with_size(16);
    let folder = tempfile::tempdir().expect("a folder");
    let cache = Cache::open(folder.path(), 1 << 26).expect("a cache");
    let rendered = set.render_all(&cache).expect("every drawing renders");
    assert_eq!(rendered.rows().len(), corpus.drawings().len());
    assert_eq!(rendered.fingerprint(), set.fingerprint());
    let mut blank = Vec::new();
    for index in 0..rendered.len() {
        let picture = rendered.picture(index).expect("a picture");
        if picture
            .pixels()
            .all(|pixel| pixel.0.iter().all(|&value| value > 250))
        {
            blank.push(rendered.id(index).to_owned());
        }
    }
    assert!(blank.is_empty(), "{blank:?}");
    assert_eq!(rendered.candidates(77), set.candidates(77));
    assert_eq!(rendered.references(77), set.references(77));
    assert_eq!(rendered.content(77), set.content(77));
    // The cache gives the same pictures as rendering one by one.
    assert_eq!(
        rendered.picture(77).expect("a picture"),
        set.picture(77).expect("a picture")
    );
}

#[test]
fn retrieval_chooses_among_full_captions_and_a_language_model_says_labels() {
    let set = Arc::new(corpus().test_seen());
    let several = (0..set.len()).filter(|&index| set.captions(index).len() == 2);
    assert!(several.count() > 500);
    let subset = PairSubset::new(set.clone(), vec![70, 7]);
    for (index, whole) in [(0, 70), (1, 7)] {
        assert_eq!(subset.candidates(index), set.candidates(whole));
        assert_eq!(subset.references(index), set.references(whole));
        assert_eq!(subset.content(index), set.content(whole));
    }
    for index in 0..set.len() {
        let captions = set.captions(index);
        assert_eq!(set.candidates(index), [captions[0].clone()]);
        let label = blip_caption(&set.concept_of(index).label);
        assert_eq!(set.references(index), [label]);
    }
    let contents: HashSet<[u8; 32]> = (0..set.len()).map(|index| set.content(index)).collect();
    assert!(contents.len() > set.len() * 9 / 10);
}

#[test]
fn fingerprints_follow_size_style_and_choice() {
    let corpus = corpus();
    let plain = corpus.test_unseen();
    let all = [
        plain.fingerprint(),
        plain.clone().with_size(64).fingerprint(),
        plain
            .clone()
            .with_style(Style::Outlined { width: 0.03 })
            .fingerprint(),
        plain
            .clone()
            .with_style(Style::LineArt { width: 0.03 })
            .fingerprint(),
        corpus.validation_unseen().fingerprint(),
    ];
    assert_eq!(HashSet::from(all).len(), 5);
    assert_eq!(plain.fingerprint(), corpus.test_unseen().fingerprint());
}

#[test]
fn drawings_are_fitted_centred_and_on_white() {
    let svg = r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 20 10"><rect width="20" height="10" fill="#f00"/></svg>"##;
    let picture = render_svg(svg, 40).expect("a rectangle");
    for (point, colour) in [
        ((20, 2), [255; 3]),
        ((20, 37), [255; 3]),
        ((1, 20), [255, 0, 0]),
        ((38, 12), [255, 0, 0]),
    ] {
        assert_eq!(picture.get_pixel(point.0, point.1).0, colour, "{point:?}");
    }
}

#[test]
fn an_outline_darkens_a_shape_without_one() {
    let set = corpus().train();
    let yellow = (0..set.len()).find(|&index| set.id(index) == "twemoji/1F7E1");
    let index = yellow.expect("twemoji's yellow circle is for training");
    let dark = |set: &CorpusSet| {
        let picture = set.picture(index).expect("a picture");
        picture
            .pixels()
            .filter(|pixel| pixel.0.iter().all(|&value| value < 40))
            .count()
    };
    assert_eq!(dark(&set), 0);
    let outlined = set.clone().with_style(Style::Outlined { width: 0.03 });
    assert!(dark(&outlined) > 100);
    let drawn = set.with_style(Style::LineArt { width: 0.03 });
    assert!(dark(&drawn) > 100);
    let grey = |picture: RgbImage| {
        picture
            .pixels()
            .all(|p| p.0[0] == p.0[1] && p.0[1] == p.0[2])
    };
    assert!(!grey(outlined.picture(index).expect("a picture")));
    assert!(grey(drawn.picture(index).expect("a picture")), "no colour");
}

fn document(body: &str) -> String {
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 8 8">{body}</svg>"#
    )
}

#[test]
fn references_that_double_are_refused() {
    let mut body = r#"<path id="a0" d="M0 0h1v1z"/>"#.to_owned();
    for level in 1..=40 {
        let below = level - 1;
        let used = format!(r##"<use href="#a{below}"/>"##).repeat(2);
        body.extend(["<g id=\"a", &level.to_string(), "\">", &used, "</g>"]);
    }
    let error = render_svg(&document(&body), 8).expect_err("a bomb");
    assert!(
        matches!(error, SvgError::TooMuch | SvgError::TooDeep { .. }),
        "{error}"
    );

    let mut masks = String::new();
    for level in 0..30 {
        let (next, shape) = (
            level + 1,
            r#"<rect width="8" height="8" mask="url( '#M' )"/>"#,
        );
        let shape = shape.replace('M', &format!("m{next}")).repeat(2);
        masks.extend(["<mask id=\"m", &level.to_string(), "\">", &shape, "</mask>"]);
    }
    let error = render_svg(&document(&masks), 8).expect_err("a bomb of masks");
    assert!(
        matches!(error, SvgError::TooMuch | SvgError::TooDeep { .. }),
        "{error}"
    );
}

#[test]
fn references_to_oneself_are_refused() {
    for body in [
        r##"<g id="a"><use xlink:href="#a"/></g>"##,
        r##"<g id="a"><use href="#b"/></g><g id="b"><use href="#a"/></g>"##,
        r#"<mask id="m"><rect width="8" height="8" style="mask:url(#m)"/></mask>"#,
    ] {
        let error = render_svg(&document(body), 8).expect_err(body);
        assert!(matches!(error, SvgError::TooDeep { .. }), "{body}: {error}");
    }
}

#[test]
fn depth_and_length_are_bounded() {
    let deep = "<g>".repeat(5000) + &"</g>".repeat(5000);
    assert!(matches!(
        render_svg(&document(&deep), 8),
        Err(SvgError::TooDeep { .. })
    ));
    let long = format!("<path d=\"{}\"/>", "M0 0".repeat(1 << 18));
    assert!(matches!(
        render_svg(&document(&long), 8),
        Err(SvgError::TooLong { .. })
    ));
}

#[test]
fn what_drawings_do_not_need_is_refused() {
    for body in [
        r#"<image href="/etc/hostname" width="8" height="8"/>"#,
        r#"<image href="data:image/png;base64,AAAA" width="8" height="8"/>"#,
        r#"<filter id="f"><feTurbulence baseFrequency="1" numOctaves="1000000000"/></filter>"#,
        "<style>g{mask:url(#m)}</style>",
        "<script/>",
    ] {
        let error = render_svg(&document(body), 8).expect_err(body);
        assert!(matches!(error, SvgError::Refused { .. }), "{body}: {error}");
    }
}

#[test]
fn endless_dashes_are_refused() {
    let line = r#"<path d="M0 0h9999999" style="stroke:red;stroke-dasharray:0.001"/>"#;
    let clip = format!(r#"<mask id="m">{line}</mask><rect width="8" height="8" mask="url(#m)"/>"#);
    for body in [line, &clip] {
        let error = render_svg(&document(body), 8).expect_err(body);
        assert!(matches!(error, SvgError::TooManyDashes), "{body}: {error}");
    }
    let few = r#"<path d="M0 4h8" stroke="red" stroke-dasharray="1"/>"#;
    render_svg(&document(few), 8).expect("eight dashes");
}

#[test]
fn entities_and_broken_documents_are_refused() {
    let entities = r#"<!DOCTYPE svg [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><svg xmlns="http://www.w3.org/2000/svg">&b;</svg>"#;
    for svg in [entities, "", "<svg", "\u{0}"] {
        assert!(matches!(render_svg(svg, 8), Err(SvgError::Xml(_))), "{svg}");
    }
    assert!(matches!(
        render_svg("<html/>", 8),
        Err(SvgError::Refused { .. })
    ));
    let flat = r#"<svg xmlns="http://www.w3.org/2000/svg" width="0"/>"#;
    assert!(matches!(render_svg(flat, 8), Err(SvgError::Invalid(_))));
}

#[test]
fn sizes_are_bounded() {
    for size in [0, 5000, u32::MAX] {
        let error = render_svg(&document(""), size).expect_err("a size out of bounds");
        assert!(matches!(error, SvgError::Size { .. }));
    }
    let huge = r#"<svg xmlns="http://www.w3.org/2000/svg" width="1e9" height="1e9"><rect width="1e9" height="1e9"/></svg>"#;
    assert_eq!(
        render_svg(huge, 8).expect("drawn small").get_pixel(4, 4).0,
        [0; 3]
    );
}
