//! What belongs to a grant: its dataset, whether it is in force, and each field that it shows, with what the record type says of it.

use shuqiao_schemas::engine::{Field, RecordType};
use tonic::Code;

use super::{
    super::{
        error::Error,
        manifest::{Dataset, FieldGrant, Grant, Treatment, full_name},
        output,
    },
    Client, Resource, record_type, show,
};
use crate::exchange::clock::Clock;

/// Prints it, below the grant itself.
pub(super) async fn describe(client: &mut Client, id: &str) -> Result<(), Error> {
    let grant = Grant::from(Grant::fetch(client, full_name(Grant::COLLECTION, id)).await?);
    output::print(&format!("\n# in force: {}", in_force(&grant, Clock::system().now_ms())))?;
    let dataset = match Dataset::fetch(client, full_name(Dataset::COLLECTION, &grant.dataset)).await {
        Ok(wire) => vec![Dataset::from(wire)],
        Err(status) if status.code() == Code::NotFound => Vec::new(),
        Err(status) => return Err(status.into()),
    };
    show::related("dataset", &dataset)?;
    let Some(dataset) = dataset.first() else { return Ok(()) };
    let Some(record_type) = record_type::compiled(client, &dataset.record_type).await? else {
        return output::print("\n# fields: this program does not know the record type");
    };
    let rows = shown(&record_type, &grant.fields);
    let of = record_type.fields().iter().filter(|field| field.is_leaf()).count();
    output::print(&format!(
        "\n# fields: {} of {of}\n{}",
        rows.len(),
        output::table(["field", "treatment", "sensitivity", "title"], rows)
    ))
}

/// By this machine's clock; the node judges by its own, for every answer.
fn in_force(grant: &Grant, now_ms: i64) -> String {
    let (start, end) = (grant.start_time, grant.end_time);
    if grant.revoked {
        return "no, it is revoked".to_owned();
    }
    if let Some(start) = start.filter(|start| start.as_millisecond() > now_ms) {
        return format!("not before {start}");
    }
    match end {
        Some(end) if end.as_millisecond() <= now_ms => format!("no, it ended at {end}"),
        Some(end) => format!("yes, until {end}"),
        None => "yes, without end".to_owned(),
    }
}

/// The fields with values of their own that the grant shows, in the order of the record type.
fn shown(record_type: &RecordType, grants: &[FieldGrant]) -> Vec<Vec<String>> {
    let leaves = record_type.fields().iter().filter(|field| field.is_leaf());
    leaves.filter_map(|field| nearest(grants, &field.pointer).map(|treatment| row(field, treatment))).collect()
}

/// The treatment of the longest granted path at or above a field.
fn nearest(grants: &[FieldGrant], pointer: &str) -> Option<Treatment> {
    let covers = |path: &str| pointer.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let covering = grants.iter().filter(|grant| covers(&grant.path));
    covering.max_by_key(|grant| grant.path.len()).map(|grant| grant.treatment)
}

fn row(field: &Field, treatment: Treatment) -> Vec<String> {
    let declared = field.sensitivity.unwrap_or_default();
    let treatment = match treatment {
        Treatment::Clear => "clear".to_owned(),
        Treatment::Masked => format!("masked: {}", declared.mask.as_str()),
        Treatment::KeyedHash => "keyed hash".to_owned(),
    };
    let sensitivity = match declared.personal.as_str() {
        "none" => declared.level.as_str().to_owned(),
        personal => format!("{}, {personal}", declared.level.as_str()),
    };
    let title = field.title_zh.as_ref().or(field.title_en.as_ref()).cloned().unwrap_or_default();
    vec![field.pointer.clone(), treatment, sensitivity, title]
}

#[cfg(test)]
mod tests {
    use shuqiao_schemas::registry::Registry;

    use super::*;

    fn granted(fields: &[(&str, Treatment)]) -> Vec<Vec<String>> {
        let grants: Vec<_> = fields.iter().map(|(path, treatment)| grant(path, *treatment)).collect();
        shown(Registry::builtin().get("enterprise/v1").expect("ours"), &grants)
    }

    fn grant(path: &str, treatment: Treatment) -> FieldGrant {
        FieldGrant { path: path.to_owned(), treatment }
    }

    #[test]
    fn fields_are_spelled_out_by_the_nearest_path_above_them() {
        let all = granted(&[("", Treatment::Clear), ("/name", Treatment::KeyedHash)]);
        let treatment = |field: &str| all.iter().find(|row| row[0] == field).map(|row| row[1].as_str());
        assert_eq!(treatment("/name"), Some("keyed hash"));
        assert_eq!(treatment("/unified_social_credit_code"), Some("clear"));
        // A path is no prefix of another name.
        let one = granted(&[("/name", Treatment::Clear)]);
        assert_eq!(one.iter().map(|row| row[0].as_str()).collect::<Vec<_>>(), ["/name"]);
        assert!(!one[0][2].is_empty() && !one[0][3].is_empty(), "{one:?}");
        assert_eq!(granted(&[]), Vec::<Vec<String>>::new());
    }

    #[test]
    fn a_grant_is_in_force_between_its_times_unless_revoked() {
        let time = |text: &str| Some(text.parse().expect("a time"));
        let grant = Grant {
            start_time: time("2026-01-01T00:00:00Z"),
            end_time: time("2026-02-01T00:00:00Z"),
            ..Grant::default()
        };
        let (january, february) = (1_767_225_600_000, 1_769_904_000_000);
        assert_eq!(in_force(&grant, january - 1), "not before 2026-01-01T00:00:00Z");
        assert_eq!(in_force(&grant, january), "yes, until 2026-02-01T00:00:00Z");
        assert_eq!(in_force(&grant, february), "no, it ended at 2026-02-01T00:00:00Z");
        assert_eq!(in_force(&Grant::default(), 0), "yes, without end");
        assert_eq!(in_force(&Grant { revoked: true, ..grant }, january), "no, it is revoked");
    }
}
