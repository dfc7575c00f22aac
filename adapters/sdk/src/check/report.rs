//! What a check found: one line an item, each with what to do next where it is not well.

use serde::Serialize;

use crate::Mark;

/// How one item stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// A run works, but somebody should look.
    Warning,
    /// A run would not work.
    Failed,
}

/// One item looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: "broker", "source table".
    pub item: String,
    /// How it stands.
    pub verdict: Verdict,
    /// What was found.
    pub message: String,
    /// What to do next; empty where nothing is to be done.
    pub remedy: String,
}

/// All findings, in the order in which they were made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// In order.
    pub findings: Vec<Finding>,
    /// What an inbox says of itself, where one was looked at: compared with what the state file remembers of it.
    #[serde(skip)]
    pub(crate) inbox: Option<Option<Mark>>,
}

impl CheckReport {
    /// Notes what is well.
    pub fn ok(&mut self, item: impl Into<String>, message: impl Into<String>) {
        self.push(item, Verdict::Ok, message, "");
    }

    /// Notes what somebody should look at.
    pub fn warning(&mut self, item: impl Into<String>, message: impl Into<String>, remedy: impl Into<String>) {
        self.push(item, Verdict::Warning, message, remedy);
    }

    /// Notes what would make a run fail.
    pub fn failed(&mut self, item: impl Into<String>, message: impl Into<String>, remedy: impl Into<String>) {
        self.push(item, Verdict::Failed, message, remedy);
    }

    /// Whether a run would work.
    pub fn passed(&self) -> bool {
        self.findings.iter().all(|finding| finding.verdict != Verdict::Failed)
    }

    /// Adds another report's findings.
    pub fn extend(&mut self, other: Self) {
        self.findings.extend(other.findings);
        self.inbox = other.inbox.or(self.inbox.take());
    }

    fn push(
        &mut self,
        item: impl Into<String>,
        verdict: Verdict,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.findings.push(Finding { item: item.into(), verdict, message: message.into(), remedy: remedy.into() });
    }
}
