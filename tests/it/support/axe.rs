//! Accessibility of a page, checked by axe-core as far as a program can.

use serde::Deserialize;
use serde_json::json;

use super::environment;
use super::window::Window;

const WCAG: &[&str] = &["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
const BEST_PRACTICE: &str = "best-practice";

/// A rule that the page violates.
#[derive(Debug, Deserialize)]
pub struct Violation {
    pub id: String,
    /// minor, moderate, serious or critical
    pub impact: Option<String>,
    pub help: String,
    pub nodes: Vec<Node>,
}

/// An element that violates the rule.
#[derive(Debug, Deserialize)]
pub struct Node {
    /// The start of its HTML.
    pub html: String,
    pub why: String,
}

impl Window {
    /// The violations of WCAG 2.2 AA.
    pub async fn axe(&self) -> Vec<Violation> {
        self.axe_by(WCAG).await
    }

    /// The violations of WCAG 2.2 AA and of axe's best practices.
    pub async fn axe_with_best_practice(&self) -> Vec<Violation> {
        self.axe_by(&[WCAG, &[BEST_PRACTICE]].concat()).await
    }

    async fn axe_by(&self, tags: &[&str]) -> Vec<Violation> {
        let axe = environment::browser().axe;
        let axe = std::fs::read_to_string(&axe).unwrap_or_else(|error| panic!("{}: {error}", axe.display()));
        let script = axe
            + "
            const options = { runOnly: { type: 'tag', values: arguments[0] }, resultTypes: ['violations'] };
            const node = ({ html, failureSummary }) => ({ html: html.slice(0, 200), why: failureSummary });
            return axe.run(document, options).then(({ violations }) =>
                violations.map(({ id, impact, help, nodes }) => ({ id, impact, help, nodes: nodes.map(node) })));";
        let found = self.run(&script, vec![json!(tags)]).await;
        serde_json::from_value(found).expect("axe tells violations")
    }
}
