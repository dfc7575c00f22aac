//! `shuqiao schema describe`: a record type for people and programs.

use clap::Args;
use shuqiao_schemas::engine::{Description, FieldDescription, describe};

use super::{
    super::{
        error::Error,
        exit::Exit,
        output::{self, Format},
    },
    Tables, load,
    tables::listed,
};

/// `shuqiao schema describe NAME|FILE`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Describe {
    /// A name (`enterprise/v1`), a file or a directory.
    record_type: String,
    /// How the answer is written.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    tables: Tables,
}

impl Describe {
    pub(super) fn run(self) -> Result<Exit, Error> {
        let description = describe(&*load(&self.record_type, &self.tables)?);
        output::print(&match self.output {
            Format::Json => output::json(&description)?,
            Format::Yaml => output::yaml(&description)?,
            Format::Table => page(&description),
        })?;
        Ok(Exit::Success)
    }
}

/// A page: what it is, then its fields, rules and code tables.
pub(in crate::cli) fn page(description: &Description) -> String {
    let titles = [&description.title_zh, &description.title_en];
    let titles = titles.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" / ");
    let subject = description.subject.as_ref().map_or("none".to_owned(), |subject| {
        let kind = subject
            .kind
            .map(str::to_owned)
            .or_else(|| subject.kind_field.as_ref().map(|field| format!("kind in {field}")));
        format!("{} ({})", subject.value, kind.unwrap_or_default())
    });
    let mut text = format!(
        "{}  {titles}\nkey      {}\nsubject  {subject}\nindexed  {}\ndigest   {}\n\n",
        description.name,
        description.key.join(" "),
        description.indexed.join(" "),
        description.digest
    );
    let columns = ["field", "type", "required", "sensitivity", "mask", "values", "title"];
    text.push_str(&output::table(columns, description.fields.iter().map(row)));
    if !description.rules.is_empty() {
        let rows = description.rules.iter().map(|rule| vec![rule.name.clone().unwrap_or_default(), rule.text.clone()]);
        text.push_str(&format!("\n\n{}", output::table(["rule", "says"], rows)));
    }
    if !description.tables.is_empty() {
        text.push_str(&format!("\n\n{}", listed(&description.tables)));
    }
    text
}

fn row(field: &FieldDescription) -> Vec<String> {
    let kind = if field.nullable { format!("{} or null", field.field_type) } else { field.field_type.to_owned() };
    let sensitivity = match (field.level, field.personal) {
        (Some(level), Some(personal)) if personal != "none" => format!("{level}, {personal}"),
        (level, _) => level.unwrap_or_default().to_owned(),
    };
    let values = match (&field.code_table, field.identifier) {
        (Some(table), _) => format!("table {table}"),
        (None, Some(identifier)) => identifier.to_owned(),
        (None, None) => String::new(),
    };
    let title = field.title_zh.as_ref().or(field.title_en.as_ref()).cloned().unwrap_or_default();
    vec![
        field.pointer.clone(),
        kind,
        if field.required { "yes".to_owned() } else { String::new() },
        sensitivity,
        field.mask.filter(|mask| *mask != "none").unwrap_or_default().to_owned(),
        values,
        title,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standard_is_described_by_its_name_with_every_field() {
        let description = describe(&load("enterprise/v1", &Tables::default()).expect("ours"));
        let text = page(&description);
        for field in &description.fields {
            assert!(text.contains(&field.pointer), "{}", field.pointer);
        }
        assert!(text.contains("key      /unified_social_credit_code\n") && text.contains("CODE TABLE"), "{text}");
    }

    #[test]
    fn a_name_that_is_nothing_says_what_there_is() {
        let error = load("enterprise/v9", &Tables::default()).expect_err("unknown").to_string();
        assert!(error.contains("enterprise/v1, "), "{error}");
    }
}
