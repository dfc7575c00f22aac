//! The wire does not change by accident.
//!
//! `tests/snapshots/exchange-v1.txt` is the descriptor in words: every message, field, enum value and call. A change of the protocol shows there, in review. After a wanted
//! change: `SHUQIAO_BLESS=1 cargo test -p shuqiao-tests --test proto_compat`. Blessing refuses what would break a client that was built before: a number that
//! means something else, a field or value that went without being reserved, a call that went or changed its shape.

use std::{collections::BTreeMap, path::PathBuf};

use prost::Message;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet, ServiceDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

const PACKAGE: &str = "shuqiao.exchange.v1";

/// Lines by what they are about: `message X` → number → the rest; `enum X` likewise; `service X` by the call's name.
type Wire = BTreeMap<String, BTreeMap<String, String>>;

fn current() -> Wire {
    let set = FileDescriptorSet::decode(shuqiao_proto::DESCRIPTOR_SET).expect("a descriptor set");
    let mut wire = Wire::new();
    for file in set.file.iter().filter(|file| file.package() == PACKAGE) {
        file.message_type.iter().for_each(|message| add_message(&mut wire, "", message));
        file.enum_type.iter().for_each(|one| add_enum(&mut wire, "", one));
        file.service.iter().for_each(|service| add_service(&mut wire, service));
    }
    wire
}

fn add_message(wire: &mut Wire, outer: &str, message: &DescriptorProto) {
    let name = format!("{outer}{}", message.name());
    let mut lines: BTreeMap<_, _> =
        message.field.iter().map(|field| (number(field.number()), said(message, field))).collect();
    for range in &message.reserved_range {
        // The end of a message's range is exclusive.
        (range.start()..range.end()).for_each(|one| drop(lines.insert(number(one), "reserved".into())));
    }
    wire.insert(format!("message {name}"), lines);
    let inner = format!("{name}.");
    message.nested_type.iter().for_each(|nested| add_message(wire, &inner, nested));
    message.enum_type.iter().for_each(|nested| add_enum(wire, &inner, nested));
}

fn said(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let kind = match field.r#type() {
        Type::Message | Type::Enum => short(field.type_name()),
        scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
    };
    let label = if field.label() == Label::Repeated { "repeated " } else { "" };
    let place = match field.oneof_index {
        Some(_) if field.proto3_optional() => " optional".to_owned(),
        Some(index) => {
            let index = usize::try_from(index).expect("an index");
            format!(" in {}", message.oneof_decl[index].name())
        }
        None => String::new(),
    };
    format!("{} {label}{kind}{place}", field.name())
}

fn add_enum(wire: &mut Wire, outer: &str, one: &EnumDescriptorProto) {
    let mut lines: BTreeMap<_, _> =
        one.value.iter().map(|value| (number(value.number()), value.name().to_owned())).collect();
    for range in &one.reserved_range {
        // The end of an enum's range is inclusive.
        (range.start()..=range.end()).for_each(|one| drop(lines.insert(number(one), "reserved".into())));
    }
    wire.insert(format!("enum {outer}{}", one.name()), lines);
}

fn add_service(wire: &mut Wire, service: &ServiceDescriptorProto) {
    let call = |stream: bool, kind: &str| format!("{}{}", if stream { "stream " } else { "" }, short(kind));
    let lines = service.method.iter().map(|method| {
        let asks = call(method.client_streaming(), method.input_type());
        (method.name().to_owned(), format!("{asks} -> {}", call(method.server_streaming(), method.output_type())))
    });
    wire.insert(format!("service {}", service.name()), lines.collect());
}

fn short(name: &str) -> String {
    name.trim_start_matches('.').trim_start_matches(PACKAGE).trim_start_matches('.').to_owned()
}

/// Numbers sort as numbers.
fn number(number: i32) -> String {
    format!("{number:>4}")
}

fn write(wire: &Wire) -> String {
    let mut text = format!("# {PACKAGE} as it is on the wire; see tests/tests/proto_compat.rs.\n");
    for (what, lines) in wire {
        text.push_str(&format!("\n{what}\n"));
        lines.iter().for_each(|(name, rest)| text.push_str(&format!("  {name} | {rest}\n")));
    }
    text
}

fn read(text: &str) -> Wire {
    let mut wire = Wire::new();
    let mut what = String::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix("  ").and_then(|line| line.split_once(" | ")) {
            Some((name, rest)) => {
                wire.entry(what.clone()).or_default().insert(name.to_owned(), rest.to_owned());
            }
            None => {
                what = line.to_owned();
                wire.entry(what.clone()).or_default();
            }
        }
    }
    wire
}

/// What a client built against `old` would stumble over.
fn breaks(old: &Wire, new: &Wire) -> Vec<String> {
    let mut found = Vec::new();
    for (what, lines) in old {
        let Some(now) = new.get(what) else {
            found.push(format!("{what} is gone"));
            continue;
        };
        for (name, rest) in lines {
            match now.get(name) {
                Some(same) if same == rest => {}
                Some(reserved) if reserved == "reserved" => {}
                Some(other) => found.push(format!("{what} {}: {rest} became {other}", name.trim())),
                None => found.push(format!("{what} {}: {rest} is gone and not reserved", name.trim())),
            }
        }
    }
    found
}

fn snapshot() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("snapshots/exchange-v1.txt")
}

#[test]
fn the_committed_snapshot_is_the_wire_and_no_change_breaks_a_client() {
    let committed = std::fs::read_to_string(snapshot()).unwrap_or_default();
    let new = current();
    let broken = breaks(&read(&committed), &new);
    assert!(broken.is_empty(), "clients built before would break:\n{}", broken.join("\n"));
    if std::env::var_os("SHUQIAO_BLESS").is_some() {
        std::fs::write(snapshot(), write(&new)).expect("the snapshot is written");
    } else {
        let hint = "the wire has changed: SHUQIAO_BLESS=1 cargo test -p shuqiao-tests --test proto_compat, and review the difference";
        assert!(committed == write(&new), "{hint}");
    }
}

#[test]
fn a_change_that_breaks_a_client_is_seen() {
    let old = read("message A\n     1 | a string\n     2 | b bytes\nservice S\n  Call | A -> A\n");
    assert_eq!(read(&write(&old)), old, "what is written is what is read");
    let of = |text: &str| breaks(&old, &read(text));
    assert!(
        of("message A\n     1 | a string\n     2 | reserved\n     3 | c string\nservice S\n  Call | A -> A\n")
            .is_empty()
    );
    assert_eq!(
        of("message A\n     1 | a bytes\nservice S\n  Call | A -> stream A\n"),
        [
            "message A 1: a string became a bytes",
            "message A 2: b bytes is gone and not reserved",
            "service S Call: A -> A became A -> stream A",
        ]
    );
    assert_eq!(of("service S\n  Call | A -> A\n"), ["message A is gone"]);
}
