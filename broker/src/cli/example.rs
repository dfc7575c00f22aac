//! One example a command, as its help shows it. A test reads each with the parser.

/// A command's path, and how it is typed.
const TABLE: [(&str, &str); 35] = [
    ("serve", "shuqiao serve --config /etc/shuqiao/node.toml"),
    ("get", "shuqiao get dataset market-supervision.enterprise -o yaml"),
    ("list", "shuqiao list grants"),
    ("describe", "shuqiao describe subscription taxation.enterprise"),
    ("apply", "shuqiao apply -f manifests --dry-run"),
    ("delete", "shuqiao delete grant market-supervision.taxation-enterprise"),
    ("publish", "shuqiao publish market-supervision.enterprise records.jsonl --source-version 5"),
    ("subscribe", "shuqiao subscribe taxation.enterprise --from beginning --limit 10"),
    ("query get", "shuqiao query get market-supervision.enterprise 91350100M000100Y43 --purpose 税务登记"),
    ("query list", "shuqiao query list market-supervision.enterprise --where region=350100,350200 --purpose 税务登记"),
    ("query subject", "shuqiao query subject uscc 91350100M000100Y43 --purpose 税务登记"),
    ("query history", "shuqiao query history market-supervision.enterprise 91350100M000100Y43 --purpose 税务登记"),
    (
        "query compare",
        "shuqiao query compare market-supervision.enterprise 91350100M000100Y43 --field /name=福州示例有限公司 --purpose 税务登记",
    ),
    ("query digest", "shuqiao query digest market-supervision.enterprise --purpose 对账"),
    ("audit list", "shuqiao audit list --last 20 --department taxation"),
    ("receipt verify", "shuqiao receipt verify receipts.jsonl --status status.json"),
    ("status", "shuqiao status"),
    ("pki init", "shuqiao pki init city.example"),
    ("pki issue system", "shuqiao pki issue system market-supervision registry"),
    ("pki issue person", "shuqiao pki issue person taxation li-si --days 90"),
    ("pki issue server", "shuqiao pki issue server exchange.city.example 192.0.2.7"),
    ("pki revoke", "shuqiao pki revoke 4a1f"),
    ("pki list", "shuqiao pki list"),
    ("pki crl", "shuqiao pki crl"),
    ("pki receipt-key", "shuqiao pki receipt-key /var/lib/shuqiao/receipt.key.pem"),
    ("view digest", "shuqiao view digest market-supervision.enterprise --purpose 对账"),
    ("view rebuild", "shuqiao view rebuild --config /etc/shuqiao/node.toml market-supervision.enterprise"),
    ("inspect identifiers", "shuqiao inspect identifiers enterprises.csv --column 统一社会信用代码 -o csv"),
    ("schema check", "shuqiao schema check schemas/dog-licence"),
    ("schema diff", "shuqiao schema diff enterprise/v1 schemas/enterprise/v2"),
    ("schema describe", "shuqiao schema describe enterprise/v1"),
    ("schema tables", "shuqiao schema tables holder-id-type"),
    ("config check", "shuqiao config check /etc/shuqiao/node.toml"),
    ("config manual", "shuqiao config manual"),
    ("completions", "shuqiao completions bash"),
];

/// The command with its example, or each command below it with its own.
pub(super) fn given(command: clap::Command, path: &str) -> clap::Command {
    if let Some((_, example)) = TABLE.iter().find(|(of, _)| *of == path) {
        return command.after_help(format!("Example:\n  {example}"));
    }
    command.mut_subcommands(|below| {
        let path = format!("{path} {}", below.get_name());
        given(below, path.trim_start())
    })
}

#[cfg(test)]
mod tests {
    use super::super::{command_line, parse};

    /// Every command that does something: its path and itself.
    fn leaves(command: &clap::Command, path: &str, found: &mut Vec<(String, clap::Command)>) {
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            let path = format!("{path} {}", below.get_name()).trim_start().to_owned();
            if below.has_subcommands() {
                leaves(below, &path, found);
            } else {
                found.push((path, below.clone()));
            }
        }
    }

    #[test]
    fn every_command_says_what_it_does_with_an_example_that_is_read_and_a_word_on_each_argument() {
        let mut found = Vec::new();
        leaves(&command_line(), "", &mut found);
        assert_eq!(found.len(), super::TABLE.len(), "an example for each, and none for what is not there");
        for (path, command) in found {
            let help = command.get_after_help().unwrap_or_else(|| panic!("{path} has no example")).to_string();
            let example = help.strip_prefix("Example:\n  ").unwrap_or_else(|| panic!("{path}: {help}"));
            assert!(example.starts_with(&format!("shuqiao {path}")), "{path}: {example}");
            parse(example.split(' ').map(Into::into)).unwrap_or_else(|error| panic!("{example}: {error}"));
            assert!(command.get_about().is_some(), "{path}");
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{path}: {} says nothing", argument.get_id());
            }
        }
    }
}
