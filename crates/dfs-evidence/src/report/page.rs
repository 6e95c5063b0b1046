//! The page: one file of HTML.

use std::fmt::Write;

use super::chart::{Chart, escape};
use super::{Matrix, PROMISES, Series};
use crate::faults::FaultKind;
use crate::history::Event;

/// Slices of time across the timeline.
const SLICES: usize = 240;

/// A fault as it was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Band {
    /// What: `kill-leader`.
    pub kind: String,
    /// On whom it fell.
    pub label: String,
    /// When it began, in nanoseconds of the history.
    pub begin: u64,
    /// When it was healed.
    pub end: u64,
}

/// What stands on the page of a run.
#[derive(Debug)]
pub struct Page<'a> {
    /// Its heading.
    pub title: String,
    /// What was found, a sentence each; nothing is the best.
    pub violations: &'a [String],
    /// Why the run proves nothing, if it does not.
    pub rejected: &'a [String],
    /// Figures, with their names, in the order in which they are to be read.
    pub figures: Vec<(String, String)>,
    /// What happened.
    pub history: &'a [Event],
    /// The faults.
    pub bands: Vec<Band>,
    /// What each promise has withstood.
    pub matrix: &'a Matrix,
    /// The command that repeats the run.
    pub replay: String,
}

const STYLE: &str = "\
:root{--ink:#1c2430;--soft:#667085;--line:#e3e7ee;--back:#fbfcfe;--card:#fff;--done:#2f6fde;\
--lost:#d64545;--good:#12805c;--p99:#b7791f;--most:#c05621}\
@media(prefers-color-scheme:dark){:root{--ink:#e6eaf2;--soft:#98a2b3;--line:#2b3340;\
--back:#12161d;--card:#191f29;--done:#6ea0ff;--lost:#ff7b7b;--good:#4cc38a;--p99:#e0b155;\
--most:#f0925a}}\
body{margin:0;background:var(--back);color:var(--ink);\
font:15px/1.55 system-ui,-apple-system,'Segoe UI',sans-serif}\
main{max-width:1240px;margin:0 auto;padding:32px 24px 64px}\
h1{font-size:26px;margin:0 0 4px;letter-spacing:-.01em}h2{font-size:16px;margin:36px 0 10px}\
p.verdict{font-size:17px;margin:0 0 24px}.good{color:var(--good)}.bad{color:var(--lost)}\
.figures{display:grid;grid-template-columns:repeat(auto-fill,minmax(190px,1fr));gap:12px}\
.figure,.card{background:var(--card);border:1px solid var(--line);border-radius:10px}\
.figure{padding:12px 14px}.card{padding:16px 18px;overflow-x:auto}\
.figure b{display:block;font-size:20px;font-variant-numeric:tabular-nums}\
.figure span{color:var(--soft);font-size:13px}\
svg{width:100%;height:auto;display:block}svg text{font:11.5px system-ui,sans-serif}\
.title{fill:var(--ink);font-weight:600;font-size:13px}.label{fill:var(--soft)}\
.end{text-anchor:end}.middle{text-anchor:middle}\
.rule{stroke:var(--line);fill:none}.shade{fill:var(--lost);opacity:.055}\
.done{fill:var(--done);opacity:.16}.done-line{fill:none;stroke:var(--done);stroke-width:1.6}\
.lost-line{fill:none;stroke:var(--lost);stroke-width:1.3}\
.p50,.p99,.most{fill:none;stroke-width:1.5;stroke-linecap:round;stroke-linejoin:round}\
.p50{stroke:var(--done)}.p99{stroke:var(--p99)}.most{stroke:var(--most);stroke-dasharray:2 3}\
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}\
th,td{padding:3px 10px;text-align:right;border-bottom:1px solid var(--line)}\
th:first-child,td:first-child{text-align:left;padding-left:0}th{font-weight:600}\
td.none{color:var(--soft)}code{font:13px ui-monospace,monospace}\
ul{padding-left:20px;margin:0}li{margin:4px 0}";

impl Page<'_> {
    /// The whole page.
    pub fn html(&self) -> String {
        let series = Series::of(self.history, SLICES);
        let mut html = String::from("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">");
        let title = escape(&self.title);
        let _ = write!(
            html,
            "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
             <title>{title}</title><style>{STYLE}</style><main><h1>{title}</h1>{}",
            self.verdict()
        );
        html.push_str("<div class=\"figures\">");
        for (name, value) in &self.figures {
            let (name, value) = (escape(name), escape(value));
            let _ = write!(
                html,
                "<div class=\"figure\"><b>{value}</b><span>{name}</span></div>"
            );
        }
        let _ = write!(
            html,
            "</div><h2>What happened</h2><div class=\"card\">{}</div>{}\
             <h2>Faults and promises</h2><div class=\"card\">{}</div>\
             <h2>Again</h2><div class=\"card\"><code>{}</code></div></main></html>",
            Chart::timeline(&series, &self.bands),
            self.findings(),
            self.table(),
            escape(&self.replay)
        );
        html
    }

    fn verdict(&self) -> String {
        match self.violations.len() {
            0 if !self.rejected.is_empty() => {
                let why = escape(&self.rejected.join("; "));
                format!("<p class=\"verdict bad\">The run proves nothing: {why}.</p>")
            }
            0 => "<p class=\"verdict good\">No promise was broken.</p>".to_owned(),
            1 => "<p class=\"verdict bad\">A promise was broken.</p>".to_owned(),
            n => format!("<p class=\"verdict bad\">Promises were broken: {n} findings.</p>"),
        }
    }

    fn findings(&self) -> String {
        if self.violations.is_empty() {
            return String::new();
        }
        let items = self.violations.iter();
        let items: String = items.map(|v| format!("<li>{}</li>", escape(v))).collect();
        format!("<h2>Findings</h2><div class=\"card bad\"><ul>{items}</ul></div>")
    }

    fn table(&self) -> String {
        let mut table = String::from("<table><tr><th></th>");
        for promise in PROMISES {
            let _ = write!(table, "<th>{}</th>", escape(promise));
        }
        table.push_str("</tr>");
        for fault in FaultKind::ALL {
            let _ = write!(table, "<tr><td>{fault}</td>");
            for promise in PROMISES {
                let _ = match self.matrix.count(fault, promise) {
                    0 => write!(table, "<td class=\"none\">·</td>"),
                    count => write!(table, "<td>{count}</td>"),
                };
            }
            table.push_str("</tr>");
        }
        table.push_str("</table>");
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_what_was_found_and_how_to_see_it_again() {
        let mut matrix = Matrix::default();
        matrix.add(&[FaultKind::Loss], &["M1"]);
        let violations = ["M1: a <read> went back".to_owned()];
        let page = Page {
            title: "A run".to_owned(),
            violations: &violations,
            rejected: &[],
            figures: vec![("operations".to_owned(), "12".to_owned())],
            history: &[],
            bands: Vec::new(),
            matrix: &matrix,
            replay: "dfs chaos --seed 7".to_owned(),
        };
        let html = page.html();
        assert!(html.contains("a &lt;read&gt; went back"));
        assert!(html.contains("dfs chaos --seed 7"));
        let row = html.split("<td>loss</td>").nth(1).unwrap();
        let row = row.split("</tr>").next().unwrap();
        assert_eq!(row.matches("<td>1</td>").count(), 1);
        assert_eq!(row.matches("·").count(), PROMISES.len() - 1);
    }

    #[test]
    fn a_run_that_proves_nothing_is_not_called_good() {
        let rejected = ["no leader was killed".to_owned()];
        let page = Page {
            title: String::new(),
            violations: &[],
            rejected: &rejected,
            figures: Vec::new(),
            history: &[],
            bands: Vec::new(),
            matrix: &Matrix::default(),
            replay: String::new(),
        };
        assert!(
            page.verdict()
                .contains("proves nothing: no leader was killed")
        );
        let proves = Page {
            rejected: &[],
            ..page
        };
        assert!(proves.verdict().contains("No promise was broken"));
    }
}
