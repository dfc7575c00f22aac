//! What a reader sees.

use super::*;
use crate::exchange::model::Position;

#[test]
fn an_index_finds_by_whole_values_in_key_order_and_after_a_key() {
    let (_directory, mut bench) = Bench::fresh();
    let all = [
        said(1, "b", "320600"),
        said(2, "a", "320600"),
        said(3, "c", "3206"),
        said(4, "d", "320601"),
        said(5, "aa", "320600"),
    ];
    bench.apply(&at_zero(0, &all));
    let reader = bench.reader();
    assert_eq!(names(reader.by_index(0, "320600", None)), ["a@2", "aa@5", "b@1"]);
    assert_eq!(names(reader.by_index(0, "320600", Some("a"))), ["aa@5", "b@1"]);
    assert_eq!(names(reader.by_index(0, "320600", Some("ab"))), ["b@1"]);
    assert_eq!(names(reader.by_index(0, "3206", None)), ["c@3"]);
    assert_eq!(names(reader.by_index(1, "320600", None)), [""; 0]);
    assert_eq!(names(reader.records(Some("aa"))), ["b@1", "c@3", "d@4"]);
}

#[test]
fn a_subject_is_found_by_its_exact_kind_and_identifier() {
    let directory = tempfile::tempdir().unwrap();
    let mut bench = Bench::of(directory.path(), target("file/v1"));
    let file = |offset: u64, key: &str, kind: &str, holder: &str| {
        let mut entry = said(offset + 1, key, "").at(0, offset);
        entry.value = Some(format!(r#"{{"id":"{key}","holder":"{holder}","holder_kind":"{kind}"}}"#).into());
        entry
    };
    let files = [
        file(0, "f1", "uscc", "123"),
        file(1, "f2", "resident_id", "123"),
        file(2, "f3", "uscc", "1234"),
        file(3, "f4", "uscc", "123"),
    ];
    assert_eq!(bench.apply(&files).applied, 4);
    let reader = bench.reader();
    assert_eq!(names(reader.by_subject("uscc", "123", None)), ["f1@1", "f4@4"]);
    assert_eq!(names(reader.by_subject("uscc", "123", Some("f1"))), ["f4@4"]);
    assert_eq!(names(reader.by_subject("resident_id", "123", None)), ["f2@2"]);
    assert_eq!(names(reader.by_subject("", "123", None)), [""; 0]);
    // A file that changes hands is found with its new holder alone.
    bench.apply(&[file(4, "f1", "uscc", "999")]);
    assert_eq!(names(bench.reader().by_subject("uscc", "123", None)), ["f4@4"]);
    assert_eq!(names(bench.reader().by_subject("uscc", "999", None)), ["f1@5"]);
}

#[test]
fn a_reader_sees_one_moment_whatever_comes_after() {
    let (_directory, mut bench) = Bench::fresh();
    bench.apply(&at_zero(0, &[said(1, "a", "320600"), said(2, "b", "320600")]));
    let reader = bench.reader();
    let before = reader.digest().unwrap();
    let half = names(reader.records(None).take(1));
    bench.apply(&at_zero(2, &[deleted(3, "b"), said(4, "a", "320601"), said(5, "c", "320600")]));
    while bench.applier.prune(i64::MAX, 100).unwrap() {}
    assert_eq!(reader.digest().unwrap(), before);
    assert_eq!(half, ["a@1"]);
    assert_eq!(names(reader.records(Some("a"))), ["b@2"]);
    assert_eq!(names(reader.by_index(0, "320600", None)), ["a@1", "b@2"]);
    assert_eq!(reader.applied().unwrap(), [2, 0]);
    assert_eq!(
        (names(bench.reader().records(None)), bench.reader().applied().unwrap()),
        (vec!["a@4".into(), "c@5".into()], vec![5, 0])
    );
}

#[test]
fn the_state_before_a_position_is_the_one_that_was_live_then() {
    let (_directory, mut bench) = Bench::fresh();
    let late = Said { version: 1, ..said(3, "a", "320699") };
    let all = [said(1, "a", "320600"), said(2, "a", "320601"), late, deleted(4, "a"), said(5, "a", "320602")];
    bench.apply(&at_zero(0, &all));
    let reader = bench.reader();
    let before = |offset| {
        let item = reader.state_before("a", Position { partition: 0, offset }).unwrap();
        item.map(|item| item.record.sequence)
    };
    // Before the first nothing; the stale third never was the state; after the deletion nothing again.
    assert_eq!((0..=6).map(before).collect::<Vec<_>>(), [None, Some(1), Some(2), Some(2), None, Some(5), Some(5)]);
    assert!(reader.state_before("b", Position { partition: 0, offset: 9 }).unwrap().is_none());
}

#[test]
fn history_goes_on_below_an_offset() {
    let (_directory, mut bench) = Bench::fresh();
    let late = Said { version: 1, ..said(3, "a", "320699") };
    bench.apply(&at_zero(0, &[said(1, "a", "320600"), said(2, "a", "320601"), late, said(4, "ab", "320600")]));
    let reader = bench.reader();
    let below = |offset| names(reader.history("a", Some(offset)).unwrap());
    assert_eq!(below(3), ["a@3", "a@2", "a@1"]);
    assert_eq!(below(2), ["a@2", "a@1"]);
    assert_eq!(below(1), ["a@1"]);
    assert_eq!(below(0), [""; 0]);
    // An offset in a gap, and one where another key lies.
    bench.apply(&[said(5, "a", "320600").at(0, 9), said(6, "a", "320600").at(0, 12)]);
    let reader = bench.reader();
    let below = |offset| names(reader.history("a", Some(offset)).unwrap());
    assert_eq!(below(11), ["a@5", "a@3", "a@2", "a@1"]);
    assert_eq!(below(10), below(11));
    assert_eq!((below(9), below(4)), (below(5), below(3)));
    // What was removed ends it.
    bench.applier.prune_all(i64::MAX, 1).unwrap();
    assert_eq!(names(bench.reader().history("a", None).unwrap()), ["a@6"]);
    assert_eq!(names(bench.reader().history("a", Some(12)).unwrap()), [""; 0]);
}
