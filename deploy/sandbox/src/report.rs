//! What went in, what came out, what was set aside and why, and whether every row is accounted for.
//!
//! Three independent witnesses are heard: the registry (how many rows it has, counted in the file where somebody has edited it), the state files of the adapters (what they did with each row and record), and the
//! exchange (count and digest of its view, as the owner and as taxation see it). What was published is held against what the exchange holds, and taxation's
//! table against what the exchange shows taxation: under a grant of less than the whole record the two pairs are not the same.
//! Examples are places in a file, never a name and never a number of a person.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use shuqiao_adapter_sdk::{
    reconcile::{Comparison, Side},
    state::{Counts, State},
};

use crate::{
    Error,
    console::{counted, thousands},
    registry::Rows,
};

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
    /// Rows of the registry's file when this run began.
    pub registry_rows: u64,
    /// Whether somebody has edited the file, so that its rows are those that were counted in it, and not those that were invented.
    pub registry_edited: bool,
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
    /// What the exchange holds: its owner sees all of it.
    pub view: Side,
    /// What the exchange shows taxation.
    pub shown: Side,
    /// What lies in taxation's table.
    pub inbox: Side,
    /// Whether taxation is granted the whole record, so that it is shown what the owner sees.
    pub granted_whole: bool,
    /// Whether the exchange holds what was published, and taxation's table what the exchange shows it.
    pub equal: bool,
    /// Whether the adapters' own counts add up, with nothing waiting.
    pub balanced: bool,
    /// Rows of the registry that are neither a record in the view nor set aside; below zero, records and letters of rows that the registry does not have.
    pub unaccounted: i64,
    /// From the first row read to the last record compared, in this run.
    pub elapsed_ms: u64,
    /// Whether all is well.
    pub accounted: bool,
}

/// What the parts of the city know.
pub(crate) struct Witnesses {
    pub(crate) registry: Rows,
    pub(crate) run: Counts,
    pub(crate) total: Counts,
    pub(crate) set_aside: Vec<Reason>,
    pub(crate) repaired: Vec<(String, u64)>,
    pub(crate) source: Comparison,
    pub(crate) sink: Comparison,
    pub(crate) granted_whole: bool,
    pub(crate) elapsed_ms: u64,
}

impl Report {
    pub(crate) fn of(witnesses: Witnesses) -> Self {
        let Witnesses { registry, run, total, set_aside, repaired, source, sink, granted_whole, elapsed_ms } =
            witnesses;
        let letters: u64 = set_aside.iter().map(|reason| reason.letters).sum();
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let unaccounted = signed(registry.count) - signed(source.exchange.count + letters);
        let equal = source.equal && sink.equal && (!granted_whole || source.exchange == sink.exchange);
        let balanced = total.balanced() && total.waiting == 0;
        let accounted = equal && balanced && unaccounted == 0;
        Self {
            registry_rows: registry.count,
            registry_edited: registry.edited,
            run,
            total,
            set_aside,
            repaired,
            source: source.ours,
            view: source.exchange,
            shown: sink.exchange,
            inbox: sink.ours,
            granted_whole,
            equal,
            balanced,
            unaccounted,
            elapsed_ms,
            accounted,
        }
    }

    /// For a person at a terminal. `refresh` is the command that has taxation delivered everything once more.
    pub(crate) fn show(&self, refresh: &str) -> String {
        let Counts { read, accepted, unchanged, dead_letters, .. } = self.total;
        let edited = if self.registry_edited { "edited by hand 已被手工修改" } else { "" };
        let rows = vec![thousands(self.registry_rows), edited.to_owned()];
        let both = |what: &str, run: u64, total: u64| vec![what.to_owned(), thousands(run), thousands(total)];
        let went_in = table(
            &["What went in 进", "this run 本次", "ever 累计"],
            &[1, 2],
            [
                [vec!["rows in the registry 登记库行数".to_owned()], rows].concat(),
                both("read, row by row 读取行次", self.run.read, read),
                both("  published 发布", self.run.accepted, accepted),
                both("  unchanged 无变化", self.run.unchanged, unchanged),
                both("  set aside 搁置", self.run.dead_letters, dead_letters),
                both("deliveries 交付次数", self.run.delivered, self.total.delivered),
            ],
        );
        // A block a rule: its words are too long for a column.
        let letters = self.set_aside.iter().map(|reason| reason.letters).sum();
        let mut why = format!("{} set aside (open dead letters), and why 搁置的行及原因", counted(letters, "row"));
        if letters != dead_letters {
            why.push_str(
                "\n  fewer than were ever set aside: a row counts each time that it is read, and a letter closes once its row is right or gone \
                 少于累计搁置数：每次读取均计一次，该行改正或删除后搁置即关闭",
            );
        }
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
                side("the exchange shows taxation 平台对税务可见", &self.shown),
                side("taxation's inbox table 税务收件表", &self.inbox),
            ],
        );
        [went_in, why, repaired, came_out, self.verdict(refresh)].join("\n\n")
    }

    fn verdict(&self, refresh: &str) -> String {
        let rate = match self.run.accepted {
            0 => String::new(),
            accepted => {
                let rate = accepted.saturating_mul(1_000) / self.elapsed_ms.max(1);
                format!(", {} a second from row to inbox", counted(rate, "record"))
            }
        };
        let time = format!("{}.{} s{rate}", self.elapsed_ms / 1_000, self.elapsed_ms % 1_000 / 100);
        if self.accounted {
            let less = if self.shown == self.view {
                ""
            } else {
                " Taxation is shown less, as granted 税务按授权可见部分内容."
            };
            return format!("Equal, and every row is accounted for 各方一致，逐行对账无误.{less} {time}");
        }
        let mut wrong: Vec<String> = self.differences(refresh);
        if !self.balanced {
            wrong.push("the adapters' counts do not add up 计数不平".to_owned());
        }
        let rows = self.unaccounted.unsigned_abs();
        if self.unaccounted > 0 {
            let are = if rows == 1 { "is" } else { "are" };
            let repeated =
                if self.registry_edited { " (a row that repeats another is one of them 含重复行)" } else { "" };
            wrong.push(format!("{} {are} unaccounted for 有未核对上的记录{repeated}", counted(rows, "row")));
        } else if self.unaccounted < 0 && self.registry_edited {
            wrong.push(format!(
                "{} fewer in the registry than records and open letters: what was published of a row that has gone since stays published \
                 登记库的行少于平台记录与搁置之和，已删除的行此前发布的记录仍在平台",
                counted(rows, "row")
            ));
        } else if self.unaccounted < 0 {
            wrong.push(format!("{} did not come from the registry 有记录并非来自登记库", counted(rows, "record")));
        }
        format!("NOT WELL 对账不平: {}. {time}", wrong.join("; "))
    }

    /// Which sides differ, and why as far as it is known.
    fn differences(&self, refresh: &str) -> Vec<String> {
        let mut differences = Vec::new();
        if self.source != self.view {
            let words = "the exchange does not hold what market supervision published 平台持有的与市场监管发布的不一致";
            differences.push(words.to_owned());
        }
        if self.granted_whole && self.view != self.shown {
            differences.push(
                "taxation is granted the whole record and is shown other records than the exchange holds \
                 税务获整条授权，可见的却与平台持有的不一致"
                    .to_owned(),
            );
        }
        if self.inbox != self.shown {
            differences.push(if !self.granted_whole && self.inbox == self.view {
                format!(
                    "the grant was narrowed after delivery: the exchange shows taxation less now, and its inbox keeps what was delivered before. \
                     Stop the city, run `{refresh}`, and the next start has it delivered once more \
                     交付后授权已收窄：平台现在对税务可见的较少，收件表仍保留此前交付的内容；停止城市后运行上述命令，再次启动即重新交付"
                )
            } else {
                format!(
                    "taxation's inbox does not hold what the exchange shows it (what was delivered before its grant changed stays as it was: stop the \
                     city, run `{refresh}`, and the next start has it delivered once more) \
                     税务收件表与平台对税务可见的不一致（授权变更前交付的内容保持原样；停止城市后运行上述命令，再次启动即重新交付）"
                )
            });
        }
        differences
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
            registry: Rows { count: 10, edited: false },
            run: counts,
            total: counts,
            set_aside: vec![reason],
            repaired: Vec::new(),
            source: comparison("source", side(8, "aa"), side(8, "aa")),
            sink: comparison("sink", side(8, "aa"), side(8, "aa")),
            granted_whole: true,
            elapsed_ms: 2_000,
        }
    }

    #[test]
    fn all_is_well_only_if_every_witness_says_the_same() {
        let report = Report::of(witnesses());
        assert!(report.accounted, "{report:?}");
        let text = report.show("refresh");
        assert!(text.contains("line 3") && text.contains("4 records a second"), "{text}");
        assert!(!text.contains("fewer than were ever"), "{text}");

        let lost_row = Report::of(Witnesses { registry: Rows { count: 11, edited: false }, ..witnesses() });
        assert_eq!((lost_row.accounted, lost_row.unaccounted), (false, 1));
        assert!(lost_row.show("refresh").contains("1 row is unaccounted for 有未核对上的记录"));
        let lost_rows = Report::of(Witnesses { registry: Rows { count: 12, edited: false }, ..witnesses() });
        assert!(lost_rows.show("refresh").contains("2 rows are unaccounted for"));

        let mut by_hand = witnesses();
        by_hand.source.exchange = side(9, "cc");
        by_hand.source.equal = false;
        by_hand.sink = comparison("sink", side(9, "cc"), side(9, "cc"));
        let by_hand = Report::of(by_hand);
        assert_eq!((by_hand.accounted, by_hand.unaccounted), (false, -1));
        assert!(
            by_hand.show("refresh").contains("1 record did not come from the registry"),
            "{}",
            by_hand.show("refresh")
        );

        let mut other_inbox = witnesses();
        other_inbox.sink = comparison("sink", side(8, "bb"), side(8, "aa"));
        assert!(!Report::of(other_inbox).accounted);

        let mut other_view = witnesses();
        other_view.sink = comparison("sink", side(8, "bb"), side(8, "bb"));
        assert!(
            !Report::of(other_view).equal,
            "each side agrees with what it is shown, but they are shown different records"
        );

        let mut under_less = witnesses();
        under_less.sink = comparison("sink", side(8, "bb"), side(8, "bb"));
        under_less.granted_whole = false;
        let under_less = Report::of(under_less);
        assert!(
            under_less.accounted && under_less.show("refresh").contains("shown less, as granted"),
            "{}",
            under_less.show("refresh")
        );

        let mut waiting = witnesses();
        waiting.total.waiting = 1;
        waiting.total.read += 1;
        assert!(!Report::of(waiting).accounted);

        // The same two rows, seen again: two letters, and no row is lost.
        let mut twice = witnesses();
        (twice.total.read, twice.total.unchanged, twice.total.dead_letters) = (20, 8, 4);
        let twice = Report::of(twice);
        let text = twice.show("refresh");
        assert!(twice.accounted && text.contains("2 rows set aside (open dead letters)"), "{text}");
        assert!(text.contains("fewer than were ever set aside"), "{text}");
    }

    /// Goal: a registry that was edited is held against its own rows; fewer than the exchange holds are never called accounted for.
    #[test]
    fn an_edited_registry_is_judged_by_the_rows_that_it_has() {
        let of = |count| Report::of(Witnesses { registry: Rows { count, edited: true }, ..witnesses() });
        let edited = of(10);
        assert!(edited.accounted && edited.show("refresh").contains("edited by hand"));
        for (count, words) in [(9, "1 row fewer in the registry"), (12, "2 rows are unaccounted for")] {
            let report = of(count);
            let text = report.show("refresh");
            assert!(!report.accounted && !text.contains("every row is accounted for"), "{text}");
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn a_difference_is_named_by_the_sides_that_differ() {
        let told = |inbox: Side, shown: Side, granted_whole: bool| {
            let sink = comparison("sink", inbox, shown);
            let report = Report::of(Witnesses { sink, granted_whole, ..witnesses() });
            assert!(!report.accounted, "{report:?}");
            let text = report.show("refresh");
            assert!(text.contains("the exchange shows taxation 平台对税务可见"), "{text}");
            text
        };
        let narrowed = told(side(8, "aa"), side(8, "bb"), false);
        assert!(narrowed.contains("narrowed after delivery") && narrowed.contains("交付后授权已收窄"), "{narrowed}");
        assert!(narrowed.contains("Stop the city, run `refresh`"), "{narrowed}");
        // Something else is missing too: the grant alone does not explain it.
        let lost = told(side(7, "cc"), side(8, "bb"), false);
        assert!(!lost.contains("narrowed after delivery") && lost.contains("inbox does not hold"), "{lost}");
        let whole = told(side(8, "aa"), side(8, "bb"), true);
        assert!(whole.contains("granted the whole record and is shown other records"), "{whole}");
    }
}
