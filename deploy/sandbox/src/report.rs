//! What went in, what came out, what was set aside and why, and whether every row is accounted for.
//!
//! Three independent witnesses are heard: the registry (how many rows it has), the state files of the adapters (what they did with each row and record), and the
//! exchange (count and digest of its view). Examples are places in a file, never a name and never a number of a person.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use shuqiao_adapter_sdk::{
    reconcile::{Comparison, Side},
    state::{Counts, State},
};

use crate::{Error, console::thousands};

/// Letters looked at together.
const PAGE: u32 = 500;

/// Why rows were set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The rule that they break, the first of a letter's.
    pub rule: String,
    /// How many letters.
    pub letters: u64,
    /// Where one of them is found: "line 17".
    pub example: String,
    /// For a person.
    pub message_en: String,
    /// For a person.
    pub message_zh: String,
}

/// The whole account, as `report.json` in the data directory holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Rows of the registry's file; none where somebody has edited it.
    pub registry_rows: Option<u64>,
    /// What the two adapters did in this run.
    pub run: Counts,
    /// The same since the city was made.
    pub total: Counts,
    /// Open dead letters of the source by rule, most first.
    pub set_aside: Vec<Reason>,
    /// Records published with something repaired or left out, by rule, most first.
    pub repaired: Vec<(String, u64)>,
    /// What market supervision has published.
    pub source: Side,
    /// What the exchange shows.
    pub view: Side,
    /// What lies in taxation's table.
    pub inbox: Side,
    /// Whether the three are the same.
    pub equal: bool,
    /// Whether the adapters' own counts add up, with nothing waiting.
    pub balanced: bool,
    /// Rows of the registry that are neither a record in the view nor set aside.
    pub unaccounted: i64,
    /// From the first row read to the last record compared, in this run.
    pub elapsed_ms: u64,
    /// Whether all is well.
    pub accounted: bool,
}

/// What the parts of the city know.
pub(crate) struct Witnesses {
    pub(crate) registry_rows: Option<u64>,
    pub(crate) run: Counts,
    pub(crate) total: Counts,
    pub(crate) set_aside: Vec<Reason>,
    pub(crate) repaired: Vec<(String, u64)>,
    pub(crate) source: Comparison,
    pub(crate) sink: Comparison,
    pub(crate) elapsed_ms: u64,
}

impl Report {
    pub(crate) fn of(witnesses: Witnesses) -> Self {
        let Witnesses { registry_rows, run, total, set_aside, repaired, source, sink, elapsed_ms } = witnesses;
        let letters: u64 = set_aside.iter().map(|reason| reason.letters).sum();
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let unaccounted = registry_rows.map_or(0, |rows| signed(rows) - signed(source.exchange.count + letters));
        // Taxation is granted every field, so it sees what the owner sees.
        let equal = source.equal && sink.equal && source.exchange == sink.exchange;
        let balanced = total.balanced() && total.waiting == 0;
        let accounted = equal && balanced && unaccounted == 0;
        Self {
            registry_rows,
            run,
            total,
            set_aside,
            repaired,
            source: source.ours,
            view: source.exchange,
            inbox: sink.ours,
            equal,
            balanced,
            unaccounted,
            elapsed_ms,
            accounted,
        }
    }

    /// For a person at a terminal.
    pub(crate) fn show(&self) -> String {
        let Counts { read, accepted, unchanged, dead_letters, .. } = self.total;
        let rows = match self.registry_rows {
            Some(rows) => vec![thousands(rows), String::new()],
            None => vec!["?".into(), "edited by hand 已被手工修改".into()],
        };
        let both = |what: &str, run: u64, total: u64| vec![what.to_owned(), thousands(run), thousands(total)];
        let went_in = table(
            &["What went in 进", "this run 本次", "ever 累计"],
            &[1, 2],
            [
                [vec!["rows in the registry 登记库行数".to_owned()], rows].concat(),
                both("rows read 读取", self.run.read, read),
                both("published 发布", self.run.accepted, accepted),
                both("unchanged 无变化", self.run.unchanged, unchanged),
                both("set aside 搁置", self.run.dead_letters, dead_letters),
                both("delivered 交付", self.run.delivered, self.total.delivered),
            ],
        );
        // A block a rule: its words are too long for a column.
        let mut why = String::from("Set aside, and why 搁置及原因");
        for Reason { rule, letters, example, message_en, message_zh } in &self.set_aside {
            why.push_str(&format!("\n{:>8}  {rule}, for example {example}", thousands(*letters)));
            why.push_str(&format!("\n          {message_en}\n          {message_zh}"));
        }
        let repaired = self.repaired.iter().map(|(rule, count)| vec![rule.clone(), thousands(*count)]);
        let repaired = table(&["Published all the same, with a word 发布但有提示", "records"], &[1], repaired);
        let side = |what: &str, side: &Side| vec![what.to_owned(), thousands(side.count), side.digest.clone()];
        let came_out = table(
            &["What came out 出", "records", "digest 摘要"],
            &[1],
            [
                side("market supervision published 市场监管已发布", &self.source),
                side("the exchange holds 平台持有", &self.view),
                side("taxation's inbox table 税务收件表", &self.inbox),
            ],
        );
        [went_in, why, repaired, came_out, self.verdict()].join("\n\n")
    }

    fn verdict(&self) -> String {
        let rate = match self.run.accepted {
            0 => String::new(),
            accepted => {
                let rate = accepted.saturating_mul(1_000) / self.elapsed_ms.max(1);
                format!(", {} records a second from row to inbox", thousands(rate))
            }
        };
        let time = format!("{}.{} s{rate}", self.elapsed_ms / 1_000, self.elapsed_ms % 1_000 / 100);
        if self.accounted {
            return format!("Equal, and every row is accounted for 三方一致，逐行对账无误. {time}");
        }
        let mut wrong = Vec::new();
        if !self.equal {
            wrong.push("the three do not hold the same records 三方数据不一致".to_owned());
        }
        if !self.balanced {
            wrong.push("the adapters' counts do not add up 计数不平".to_owned());
        }
        if self.unaccounted != 0 {
            wrong.push(format!("{} rows are unaccounted for 有行未对上", self.unaccounted));
        }
        format!("NOT WELL 对账不平: {}. {time}", wrong.join("; "))
    }
}

/// The open letters of a source by rule, page by page.
pub(crate) async fn reasons(state: &State) -> Result<Vec<Reason>, Error> {
    let mut reasons: BTreeMap<String, Reason> = BTreeMap::new();
    let mut after = 0;
    loop {
        let letters = state.dead_letters(true, after, PAGE).await?;
        let Some(last) = letters.last() else { break };
        after = last.id;
        for letter in letters {
            // Set aside without a reason: the contract forbids it, and the account must still add up.
            let (rule, en, zh) = match letter.violations.into_iter().next() {
                Some(first) => (first.rule, first.message_en, first.message_zh),
                None => ("?".into(), String::new(), String::new()),
            };
            let reason = reasons.entry(rule.clone()).or_insert_with(|| Reason {
                rule,
                letters: 0,
                example: letter.place,
                message_en: en,
                message_zh: zh,
            });
            reason.letters += 1;
        }
    }
    let mut reasons: Vec<_> = reasons.into_values().collect();
    reasons.sort_by(|one, other| other.letters.cmp(&one.letters).then_with(|| one.rule.cmp(&other.rule)));
    Ok(reasons)
}

/// A table without frames; `numbers` are the columns that stand to the right. Empty without rows.
fn table(columns: &[&str], numbers: &[usize], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(columns.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    for (number, column) in table.column_iter_mut().enumerate() {
        column.set_padding((if number == 0 { 0 } else { 1 }, 2));
        if numbers.contains(&number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(count: u64, digest: &str) -> Side {
        Side { count, digest: digest.into() }
    }

    fn comparison(role: &'static str, ours: Side, exchange: Side) -> Comparison {
        Comparison { role, dataset: "d".into(), equal: ours == exchange, ours, exchange }
    }

    fn witnesses() -> Witnesses {
        let counts = Counts { read: 10, accepted: 8, dead_letters: 2, delivered: 8, taken: 8, ..Counts::default() };
        let reason = Reason {
            rule: "LENGTH".into(),
            letters: 2,
            example: "line 3".into(),
            message_en: "too short".into(),
            message_zh: "过短".into(),
        };
        Witnesses {
            registry_rows: Some(10),
            run: counts,
            total: counts,
            set_aside: vec![reason],
            repaired: Vec::new(),
            source: comparison("source", side(8, "aa"), side(8, "aa")),
            sink: comparison("sink", side(8, "aa"), side(8, "aa")),
            elapsed_ms: 2_000,
        }
    }

    #[test]
    fn all_is_well_only_if_every_witness_says_the_same() {
        let report = Report::of(witnesses());
        assert!(report.accounted, "{report:?}");
        let text = report.show();
        assert!(text.contains("line 3") && text.contains("4 records a second"), "{text}");

        let lost_row = Report::of(Witnesses { registry_rows: Some(11), ..witnesses() });
        assert_eq!((lost_row.accounted, lost_row.unaccounted), (false, 1));
        assert!(lost_row.show().contains("1 rows are unaccounted for"));

        let mut other_inbox = witnesses();
        other_inbox.sink = comparison("sink", side(8, "bb"), side(8, "aa"));
        assert!(!Report::of(other_inbox).accounted);

        let mut other_view = witnesses();
        other_view.sink = comparison("sink", side(8, "bb"), side(8, "bb"));
        assert!(
            !Report::of(other_view).equal,
            "each side agrees with what it is shown, but they are shown different records"
        );

        let mut waiting = witnesses();
        waiting.total.waiting = 1;
        waiting.total.read += 1;
        assert!(!Report::of(waiting).accounted);

        let edited = Report::of(Witnesses { registry_rows: None, ..witnesses() });
        assert!(edited.accounted && edited.show().contains("edited by hand"));
    }
}
