//! Files of annotations: as published, in small, and in all the ways they come damaged.

use std::{fs, path::PathBuf};

use seed_eval::{
    EvalError,
    annotations::{
        KarpathySplit, NoCapsDomain, check_pictures, coco_captions, gqa_questions,
        karpathy_captions, nocaps_captions, vqa_questions,
    },
};
use tempfile::TempDir;

/// A folder with one file, or two.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

const COCO: &str = r#"{
  "info": {"year": 2014, "version": "1.0"},
  "images": [
    {"license": 5, "file_name": "COCO_val2014_000000184613.jpg", "height": 336, "width": 500, "id": 184613},
    {"license": 2, "file_name": "COCO_val2014_000000403013.jpg", "height": 640, "width": 480, "id": 403013}
  ],
  "licenses": [{"id": 1, "name": "x", "url": "y"}],
  "annotations": [
    {"image_id": 403013, "id": 1, "caption": "A narrow kitchen ending with a chrome refrigerator."},
    {"image_id": 184613, "id": 474921, "caption": "A child holding an umbrella"},
    {"image_id": 403013, "id": 2, "caption": "caf\u00e9\n"}
  ]
}"#;

const NOCAPS: &str = r#"{
  "licenses": [], "info": {"version": "0.1"},
  "images": [
    {"id": 0, "open_images_id": "0013ea2087020901", "height": 1024, "width": 732, "coco_url": "u",
     "file_name": "0013ea2087020901.jpg", "license": 0, "date_captured": "2018", "domain": "in-domain"},
    {"id": 1, "open_images_id": "00", "file_name": "00.jpg", "domain": "near-domain"},
    {"id": 2, "open_images_id": "01", "file_name": "01.jpg", "domain": "out-domain"}
  ],
  "annotations": [
    {"image_id": 0, "id": 0, "caption": "A baby is standing in front of a house."},
    {"image_id": 1, "id": 1, "caption": "b"},
    {"image_id": 2, "id": 2, "caption": "c"}
  ]
}"#;

const KARPATHY: &str = r#"{
  "images": [
    {"filepath": "val2014", "sentids": [770337], "filename": "COCO_val2014_000000391895.jpg", "imgid": 0,
     "split": "test", "cocoid": 391895,
     "sentences": [{"tokens": ["a", "man"], "raw": "A man with a red helmet. ", "imgid": 0, "sentid": 770337}]},
    {"filename": "1000092795.jpg", "imgid": 1, "split": "train", "sentids": [0],
     "sentences": [{"tokens": ["two"], "raw": "Two men", "imgid": 1, "sentid": 0}]}
  ],
  "dataset": "coco"
}"#;

const QUESTIONS: &str = r#"{
  "info": {}, "task_type": "Open-Ended", "data_type": "mscoco", "license": {}, "data_subtype": "val2014",
  "questions": [
    {"image_id": 262148, "question": "Where is he looking?", "question_id": 262148000},
    {"image_id": 42, "question": "Is it red?", "question_id": 42001}
  ]
}"#;

const ANSWERS: &str = r#"{
  "info": {}, "license": {}, "data_subtype": "val2014", "data_type": "mscoco",
  "annotations": [
    {"question_type": "is it", "multiple_choice_answer": "yes", "image_id": 42, "answer_type": "yes/no",
     "answers": [{"answer": "yes", "answer_confidence": "yes", "answer_id": 1},
                 {"answer": "no", "answer_confidence": "maybe", "answer_id": 2}], "question_id": 42001},
    {"question_type": "none of the above", "image_id": 262148, "answer_type": "other",
     "answers": [{"answer": "down", "answer_confidence": "yes", "answer_id": 1}], "question_id": 262148000},
    {"question_type": "what", "image_id": 7, "answer_type": "other", "answers": [], "question_id": 7000}
  ]
}"#;

const GQA: &str = r#"{
  "20602949": {"semantic": [], "entailed": [], "question": "Does the car look red?", "imageId": "n288870",
    "isBalanced": true, "answer": "no", "types": {"detailed": "existAttr"}, "fullAnswer": "No."},
  "201640614": {"question": "Who is wearing the dress?", "imageId": "n578237", "answer": "woman"}
}"#;

#[test]
fn coco() {
    let folder = Folder::new();
    let images = coco_captions(folder.file("captions.json", COCO)).unwrap();
    assert_eq!(images.len(), 2);
    assert_eq!(images[0].id, 184_613);
    assert_eq!(images[0].file_name, "COCO_val2014_000000184613.jpg");
    assert_eq!(images[0].captions, ["A child holding an umbrella"]);
    assert_eq!(images[1].captions.len(), 2, "in whatever order they come");
    assert_eq!(images[1].captions[1], "café\n");
}

#[test]
fn nocaps() {
    let folder = Folder::new();
    let images = nocaps_captions(folder.file("nocaps.json", NOCAPS)).unwrap();
    let domains: Vec<_> = images.iter().map(|image| image.domain).collect();
    let all = [NoCapsDomain::In, NoCapsDomain::Near, NoCapsDomain::Out];
    assert_eq!(domains, all);
    assert_eq!(images[2].image.file_name, "01.jpg");
    assert_eq!(images[2].image.captions, ["c"]);
    let other = NOCAPS.replace("out-domain", "all");
    let error = nocaps_captions(folder.file("nocaps.json", other)).unwrap_err();
    assert!(error.to_string().contains("`images[2].domain`"), "{error}");
    // Captions of COCO have no domains.
    let error = nocaps_captions(folder.file("coco.json", COCO)).unwrap_err();
    assert!(
        error.to_string().contains("missing field `domain`"),
        "{error}"
    );
}

#[test]
fn karpathy() {
    let folder = Folder::new();
    let path = folder.file("dataset.json", KARPATHY);
    let test = karpathy_captions(&path, KarpathySplit::Test).unwrap();
    assert_eq!(test.len(), 1);
    assert_eq!(test[0].id, 391_895);
    assert_eq!(test[0].file_name, "val2014/COCO_val2014_000000391895.jpg");
    assert_eq!(test[0].captions, ["A man with a red helmet. "]);
    let train = karpathy_captions(&path, KarpathySplit::Train).unwrap();
    assert_eq!(
        (train[0].id, train[0].file_name.as_str()),
        (1, "1000092795.jpg")
    );
    let error = karpathy_captions(&path, KarpathySplit::Restval).unwrap_err();
    assert!(
        matches!(
            error,
            EvalError::EmptySplit {
                split: KarpathySplit::Restval,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn vqa() {
    let folder = Folder::new();
    let (questions, answers) = (
        folder.file("q.json", QUESTIONS),
        folder.file("a.json", ANSWERS),
    );
    let found = vqa_questions(questions, answers).unwrap();
    assert_eq!(found.len(), 2, "in the order of the questions");
    assert_eq!(found[0].id, 262_148_000);
    assert_eq!(found[0].file_name, "COCO_val2014_000000262148.jpg");
    assert_eq!(found[0].answers, ["down"]);
    assert_eq!(found[1].question, "Is it red?");
    assert_eq!((found[1].image_id, found[1].answers.len()), (42, 2));
    let item = found[1].answered("Yes");
    assert_eq!(
        (item.answer_type, item.question_type),
        (Some("yes/no"), Some("is it"))
    );
}

#[test]
fn gqa() {
    let folder = Folder::new();
    let found = gqa_questions(folder.file("gqa.json", GQA)).unwrap();
    let ids: Vec<_> = found.iter().map(|question| question.id.as_str()).collect();
    assert_eq!(ids, ["20602949", "201640614"], "in the file's order");
    assert_eq!(found[0].file_name, "n288870.jpg");
    assert_eq!(found[0].answered("no").answer, "no");
    // The test part has no answers.
    let without = GQA.replace(r#", "answer": "woman""#, "");
    let error = gqa_questions(folder.file("gqa.json", without))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`201640614`") && error.contains("missing field `answer`"),
        "{error}"
    );
    assert!(matches!(
        gqa_questions(folder.file("gqa.json", "{}")),
        Err(EvalError::Empty("questions"))
    ));
}

#[test]
fn a_question_without_answers_is_named() {
    let folder = Folder::new();
    let questions = folder.file("q.json", QUESTIONS);
    // It is not there at all, or has none.
    for (from, to) in [
        (r#""question_id": 42001"#, r#""question_id": 42002"#),
        (
            r#"{"answer": "down", "answer_confidence": "yes", "answer_id": 1}"#,
            "",
        ),
    ] {
        let answers = folder.file("a.json", ANSWERS.replace(from, to));
        let error = vqa_questions(&questions, &answers).unwrap_err();
        assert!(matches!(error, EvalError::Unannotated { .. }), "{error}");
        let message = error.to_string();
        assert!(
            message.contains("q.json") && message.contains("a.json"),
            "{message}"
        );
        assert!(message.contains("question 42001") || message.contains("question 262148000"));
    }
}

#[test]
fn a_missing_field_is_named_with_its_entry() {
    let folder = Folder::new();
    for (content, from, to, place, wanted) in [
        (
            COCO,
            r#""file_name": "COCO_val2014_000000403013.jpg","#,
            "",
            "`images[1]`",
            "missing field `file_name`",
        ),
        (
            COCO,
            r#""caption": "A child holding an umbrella""#,
            r#""text": 1"#,
            "`annotations[1]`",
            "missing field `caption`",
        ),
        (
            COCO,
            r#""annotations""#,
            r#""captions""#,
            "the top",
            "missing field `annotations`",
        ),
        (
            COCO,
            r#""image_id": 184613"#,
            r#""image_id": "184613""#,
            "`annotations[1].image_id`",
            "expected u64",
        ),
        (
            COCO,
            r#""image_id": 184613"#,
            r#""image_id": -1"#,
            "`annotations[1].image_id`",
            "expected u64",
        ),
        (
            COCO,
            r#""caf\u00e9\n""#,
            "null",
            "`annotations[2].caption`",
            "expected a string",
        ),
        (COCO, COCO, "[]", "the top", "expected struct"),
    ] {
        assert!(content.contains(from), "{from}");
        let path = folder.file("captions.json", content.replace(from, to));
        let error = coco_captions(path).unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, EvalError::Field { .. }), "{message}");
        for part in ["captions.json", place, wanted, "captions_val2014.json"] {
            assert!(message.contains(part), "no {part} in: {message}");
        }
    }
    let broken = KARPATHY.replace(r#""raw": "Two men","#, "");
    let path = folder.file("dataset.json", broken);
    let message = karpathy_captions(path, KarpathySplit::Test)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("`images[1].sentences[0]`") && message.contains("`raw`"),
        "{message}"
    );
    let broken = ANSWERS.replace(r#"{"answer": "no","#, "{");
    let (questions, answers) = (
        folder.file("q.json", QUESTIONS),
        folder.file("a.json", broken),
    );
    let message = vqa_questions(questions, answers).unwrap_err().to_string();
    assert!(
        message.contains("`annotations[0].answers[1]`") && message.contains("`answer`"),
        "{message}"
    );
}

#[test]
fn damaged_files_are_told_apart() {
    let folder = Folder::new();
    let open = |content: &[u8]| coco_captions(folder.file("captions.json", content)).unwrap_err();

    let error = coco_captions(folder.0.path().join("none.json")).unwrap_err();
    assert!(matches!(error, EvalError::Io { .. }), "{error}");
    assert!(matches!(open(b""), EvalError::EmptyFile { .. }));
    for end in [1, 40, COCO.len() / 2, COCO.len() - 1] {
        let error = open(&COCO.as_bytes()[..end]);
        assert!(
            matches!(error, EvalError::Truncated { .. }),
            "{end}: {error}"
        );
    }
    let half = open(&COCO.as_bytes()[..COCO.len() - 60]).to_string();
    assert!(half.contains("`annotations["), "{half}");

    let latin = COCO.replace("umbrella", "caf#").into_bytes();
    let latin: Vec<u8> = latin
        .into_iter()
        .map(|byte| if byte == b'#' { 0xe9 } else { byte })
        .collect();
    let error = open(&latin);
    assert!(matches!(error, EvalError::NotJson { .. }), "{error}");
    assert!(
        error.to_string().contains("`annotations[1].caption`"),
        "{error}"
    );
    assert!(matches!(
        open(b"PK\x03\x04 a zip"),
        EvalError::NotJson { .. }
    ));
    assert!(matches!(
        open(format!("{COCO} x").as_bytes()),
        EvalError::NotJson { .. }
    ));
}

#[test]
fn entries_that_contradict_each_other_are_refused() {
    let folder = Folder::new();
    let open = |content: String| coco_captions(folder.file("captions.json", content)).unwrap_err();
    let twice = open(COCO.replace(r#""id": 403013"#, r#""id": 184613"#));
    assert!(
        matches!(twice, EvalError::Duplicate { id: 184_613, .. }),
        "{twice}"
    );
    let stray = open(COCO.replace(r#""image_id": 184613"#, r#""image_id": 5"#));
    assert!(
        matches!(
            stray,
            EvalError::UnknownImage {
                annotation: 474_921,
                image: 5,
                ..
            }
        ),
        "{stray}"
    );
    let without = open(COCO.replace(r#""image_id": 184613"#, r#""image_id": 403013"#));
    assert!(
        matches!(without, EvalError::Uncaptioned { image: 184_613, .. }),
        "{without}"
    );
    let nothing = open(r#"{"images": [], "annotations": []}"#.to_owned());
    assert!(matches!(nothing, EvalError::Empty("images")), "{nothing}");
    let twice = QUESTIONS.replace("42001", "262148000");
    let (questions, answers) = (folder.file("q.json", twice), folder.file("a.json", ANSWERS));
    let error = vqa_questions(questions, answers).unwrap_err();
    assert!(
        matches!(
            error,
            EvalError::Duplicate {
                what: "question",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn names_of_pictures_stay_below_their_folder() {
    let folder = Folder::new();
    for (name, wrong) in [
        ("", "is empty"),
        ("../secret.png", "goes up"),
        ("val2014/../../secret.png", "goes up"),
        ("a/..", "goes up"),
        (r"a\..\..\secret.png", "goes up"),
        ("/etc/passwd", "root"),
        (r"\\server\share\a.png", "root"),
        (r"C:\a.png", "drive"),
        ("c:a.png", "drive"),
    ] {
        let quoted = serde_json::to_string(name).unwrap();
        let file = |content: &str, from: &str| {
            assert!(content.contains(from), "{from}");
            folder.file("a.json", content.replace(from, &quoted))
        };
        let karpathy = |from| {
            let path = file(KARPATHY, from);
            karpathy_captions(path, KarpathySplit::Test).unwrap_err()
        };
        let answers = folder.file("answers.json", ANSWERS);
        for (error, place) in [
            (
                coco_captions(file(COCO, r#""COCO_val2014_000000403013.jpg""#)).unwrap_err(),
                "`images[1].file_name`",
            ),
            (
                nocaps_captions(file(NOCAPS, r#""01.jpg""#)).unwrap_err(),
                "`images[2].file_name`",
            ),
            (karpathy(r#""val2014""#), "`images[0].filepath`"),
            (karpathy(r#""1000092795.jpg""#), "`images[1].filename`"),
            (
                vqa_questions(file(QUESTIONS, r#""val2014""#), answers).unwrap_err(),
                "`data_subtype`",
            ),
            (
                gqa_questions(file(GQA, r#""n578237""#)).unwrap_err(),
                "`201640614.imageId`",
            ),
        ] {
            assert!(matches!(error, EvalError::PictureName { .. }), "{error}");
            let message = error.to_string();
            for part in ["a.json", place, wrong] {
                assert!(message.contains(part), "no {part} in: {message}");
            }
        }
    }
    // Names that only look odd.
    for name in ["a..b.jpg", "...jpg", "1:b.jpg", "a b/c.jpg"] {
        let content = COCO.replace("COCO_val2014_000000403013.jpg", name);
        let images = coco_captions(folder.file("a.json", content)).unwrap();
        assert_eq!(images[1].file_name, name);
    }
}

#[test]
fn all_missing_pictures_are_counted() {
    let folder = Folder::new();
    folder.file("a.png", "a picture");
    fs::create_dir(folder.0.path().join("folder")).unwrap();
    assert!(check_pictures(folder.0.path(), ["a.png", "./a.png"]).is_ok());
    let names = [
        "a.png",
        "1.png",
        "folder",
        "a.png/2.png",
        "3\0.png",
        "4.png",
        "5.png",
        "6.png",
    ];
    let error = check_pictures(folder.0.path(), names).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("7 of 8 pictures"), "{message}");
    let EvalError::MissingPictures { first, .. } = error else {
        panic!("{message}")
    };
    assert_eq!(first, names[1..6]);
    let nowhere = folder.0.path().join("nowhere");
    let error = check_pictures(&nowhere, ["a.png"]).unwrap_err();
    assert!(matches!(error, EvalError::Io { .. }), "{error}");
    assert!(error.to_string().contains("nowhere"), "{error}");
}

#[cfg(unix)]
#[test]
fn links_may_not_lead_out_of_the_folder() {
    use std::os::unix::fs::symlink;

    let (folder, other) = (Folder::new(), Folder::new());
    folder.file("a.png", "a picture");
    let secret = other.file("secret.png", "another");
    let link = |to: &std::path::Path, name: &str| symlink(to, folder.0.path().join(name)).unwrap();
    link("a.png".as_ref(), "inside.png");
    link(&secret, "outside.png");
    link(other.0.path(), "elsewhere");
    link("nowhere.png".as_ref(), "broken.png");
    let check = |name: &'static str| check_pictures(folder.0.path(), ["a.png", name]);
    assert!(check("inside.png").is_ok());
    for name in ["outside.png", "elsewhere/secret.png"] {
        let error = check(name).unwrap_err();
        assert!(
            matches!(error, EvalError::PictureElsewhere { .. }),
            "{error}"
        );
        assert!(error.to_string().contains(name), "{error}");
    }
    let error = check("broken.png").unwrap_err();
    assert!(
        matches!(error, EvalError::MissingPictures { missing: 1, .. }),
        "{error}"
    );
    // The folder itself may be a link.
    let through = other.0.path().join("pictures");
    symlink(folder.0.path(), &through).unwrap();
    assert!(check_pictures(&through, ["a.png", "inside.png"]).is_ok());
}
