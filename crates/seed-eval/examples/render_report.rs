//! Makes the page anew from a saved report:
//! `cargo run -p seed-eval --example render_report -- report.json report.html`

use std::{env, error::Error};

use seed_eval::Report;

fn main() -> Result<(), Box<dyn Error>> {
    let (Some(json), Some(html)) = (env::args().nth(1), env::args().nth(2)) else {
        return Err("usage: render_report REPORT.json REPORT.html".into());
    };
    let report = Report::load(json)?;
    report.save_html(html)?;
    print!("{}", report.terminal_table());
    Ok(())
}
