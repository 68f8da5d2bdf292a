//! Makes the page anew from a saved report, `report.json` of a tokenizer or `language.json` of a language model:
//! `cargo run -p seed-eval --example render_report -- report.json report.html`

use std::{env, error::Error, path::Path};

use seed_eval::{Report, language::LanguageReport};

fn main() -> Result<(), Box<dyn Error>> {
    let (Some(json), Some(html)) = (env::args().nth(1), env::args().nth(2)) else {
        return Err("usage: render_report REPORT.json REPORT.html".into());
    };
    let (json, html) = (Path::new(&json), Path::new(&html));
    if json.file_name().is_some_and(|name| name == "language.json") {
        let report = LanguageReport::load(json)?;
        report.save_html(html)?;
        print!("{}", report.terminal_table());
    } else {
        let report = Report::load(json)?;
        report.save_html(html)?;
        print!("{}", report.terminal_table());
    }
    Ok(())
}
