//! A real registry's export, where it lies: `SHUQIAO_TEST_NANTONG`, or `../shared/data` beside the workspace. It is not ours to copy.

use std::collections::BTreeMap;

use shuqiao_adapter_market_supervision::MarketSupervision;
use shuqiao_adapter_sdk::{Context, ErasedAdapter, state::State};
use tokio_util::sync::CancellationToken;

fn counted<'a>(rules: impl Iterator<Item = &'a str>) -> BTreeMap<String, usize> {
    rules.fold(BTreeMap::new(), |mut counts, rule| {
        *counts.entry(rule.to_owned()).or_default() += 1;
        counts
    })
}

#[tokio::test]
async fn every_row_of_a_real_registry_is_accounted_for_and_the_second_pass_publishes_nothing() {
    let Some(path) = shuqiao_test_needs::real_registry() else { return };
    let mut file = toml::Table::new();
    file.insert("path".into(), path.display().to_string().into());
    file.insert("encoding".into(), "utf-8".into());
    let mut table = toml::Table::new();
    table.insert("file".into(), file.into());

    let directory = tempfile::tempdir().expect("directory");
    let state = State::open(&directory.path().join("state.db")).await.expect("opens");
    let (mut letters, mut warnings, mut capitals) = (Vec::new(), Vec::new(), Vec::new());
    for pass in 0..2 {
        let context = Context::new(None, true, directory.path().into(), CancellationToken::new());
        let mut source = MarketSupervision.open_with(&table, context).await.expect("opens").source.expect("a source");
        while let Some(batch) = source.next_batch().await.expect("reads") {
            state.record(&batch).await.expect("records");
            for row in batch.rows.into_iter().filter(|_| pass == 0) {
                match row.mapped {
                    Ok(record) => {
                        let payload: serde_json::Value = serde_json::from_slice(&record.payload).expect("JSON");
                        let capital = &payload["registered_capital"];
                        capitals.push(format!("{} {}", capital["unit"], capital["currency"]).replace('"', ""));
                        warnings.extend(row.warnings.into_iter().map(|warning| warning.rule));
                    }
                    Err(error) => letters.extend(error.violations.into_iter().map(|violation| violation.rule)),
                }
            }
        }
    }
    let expected = [
        ("OLD_REGISTRATION_NUMBER_INSTEAD", 2),
        ("ORGANISATION_CODE_INSTEAD", 1),
        ("REGISTRATION_NUMBER_INSTEAD", 196),
    ];
    assert_eq!(counted(letters.iter().map(String::as_str)), expected.map(|(rule, count)| (rule.into(), count)).into());
    let counts = state.counts().await.expect("counts");
    assert_eq!((counts.read, counts.waiting), (2 * 5_072, 4_873));
    assert_eq!((counts.unchanged, counts.dead_letters), (4_873, 2 * 199));
    assert!(counts.balanced());
    assert_eq!(state.dead_letters(true, 0, 1_000).await.expect("lists").len(), 199);

    let capitals = counted(capitals.iter().map(String::as_str));
    let expected = [("null null", 196), ("万元 CNY", 4_511), ("万元 JPY", 3), ("万元 USD", 163)];
    assert_eq!(capitals, expected.map(|(capital, count)| (capital.into(), count)).into());
    // Four rows name no currency; three of them stand under an old number and are letters already.
    assert_eq!(counted(warnings.iter().map(String::as_str)), BTreeMap::from([("CAPITAL_WITHOUT_CURRENCY".into(), 1)]));
}
