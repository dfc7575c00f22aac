//! The catalogue of the city: who is there, what is published, who may see it. Written as manifests, and applied by the people whose business
//! it is, with the command line that everybody uses.

use std::{ffi::OsString, path::PathBuf};

use shuqiao_broker::cli::{self, exit::Exit};
use shuqiao_schemas::identifier::{OrganisationCode, Uscc};

use crate::{
    Error,
    directory::Directory,
    identities::{self, ADMINISTRATOR, Member, STEWARD, TAX_OFFICER},
};

/// What market supervision publishes into.
pub(crate) const DATASET: &str = "market-supervision.enterprise";
/// The standard of its records.
pub(crate) const RECORD_TYPE: &str = "enterprise/v1";
/// Who may see it.
pub(crate) const GRANTEE: &str = "taxation";
/// Where taxation's inbox reads.
pub(crate) const SUBSCRIPTION: &str = "taxation.enterprise";
/// What taxation was granted it for.
pub(crate) const PURPOSE: &str = "税源管理";
/// What civil affairs would ask for.
pub(crate) const PURPOSE_NOT_GRANTED: &str = "社会救助核对";

/// An organ's own code: authority 1, kind 1. Invented, like everything here.
fn organ(number: u32) -> String {
    let code = OrganisationCode::from_body(&format!("MB{number:06}"));
    let code = code.and_then(|code| Uscc::compose("11", "320600", &code));
    code.map(|code| code.as_str().to_owned()).unwrap_or_default()
}

fn department(alias: &str, name: &str, number: u32, roles: &str) -> String {
    format!(
        "kind: department\nname: {alias}\nunified_social_credit_code: {}\ndisplay_name: {name}\nroles: [{roles}]\n",
        organ(number)
    )
}

/// What a newcomer may grant instead: the legal representative's name, masked, and nothing else of the record but its key.
const NARROWER: &str = "#- path: /unified_social_credit_code\n#  treatment: clear\n#- path: /legal_representative/name\n#  treatment: masked\n";

/// By whom, under which name, what.
fn manifests() -> [(Member, &'static str, String); 3] {
    let departments = [
        department("data-bureau", "市数据局", 1, "administrator, auditor"),
        department("market-supervision", "市市场监督管理局", 2, ""),
        department("taxation", "市税务局", 3, ""),
        department("civil-affairs", "市民政局", 4, ""),
    ];
    let catalogue = format!(
        "# Who is there, and what is published: the data bureau's business.\n{}---\nkind: dataset\nname: {DATASET}\n\
         owner: market-supervision\nrecord_type: {RECORD_TYPE}\ntitle: 市场主体登记信息\nsharing_class: conditional\n\
         # Everybody may know that it exists; who may see it is another question.\nlisted: true\n",
        departments.join("---\n")
    );
    let grant = format!(
        "# Who may see it, what of it, what for and by which right: its owner's business.\n\
         kind: grant\nname: market-supervision.taxation-enterprise\ndataset: {DATASET}\ngrantee: {GRANTEE}\nfields:\n\
         # \"\" is the whole record 整条记录.\n- path: \"\"\n  treatment: clear\n\
         # To show less, remove the two lines above and the `#` of these four, and apply the file again: queries follow at once. The key stays clear,\n\
         # and only what the record type declares a mask for can be masked: `shuqiao schema describe {RECORD_TYPE}`.\n\
         # 收窄授权：删去上面两行，取消下面四行的注释，重新 apply 即可。主键须明文，只有记录标准规定了脱敏规则的字段才能脱敏。\n\
         {NARROWER}\
         purpose: {PURPOSE}\nlegal_basis: 《中华人民共和国税收征收管理法》第六条\n"
    );
    let subscription = format!(
        "# A place in its stream: the subscriber's own business.\nkind: subscription\nname: {SUBSCRIPTION}\ndataset: {DATASET}\n\
         subscriber: taxation\nstart: beginning\npurpose: {PURPOSE}\n"
    );
    [
        (ADMINISTRATOR, "resources/1-catalogue.yaml", catalogue),
        (STEWARD, "resources/2-grant.yaml", grant),
        (TAX_OFFICER, "resources/3-subscription.yaml", subscription),
    ]
}

/// Writes the manifests that are not there, and applies all of them: what a newcomer has changed in them stays changed.
pub(crate) async fn apply(directory: &Directory, endpoint: &str) -> Result<(), Error> {
    for (member, name, text) in manifests() {
        let file = match directory.path(name) {
            path if path.exists() => path,
            _ => directory.write(name, &text)?,
        };
        match cli::run(arguments(directory, member, endpoint, file.clone())).await {
            Exit::Success => {}
            exit => return Err(Error::Apply { file, exit }),
        }
    }
    Ok(())
}

/// Every setting as a flag: neither the newcomer's environment nor a profile of hers has a say.
fn arguments(directory: &Directory, member: Member, endpoint: &str, file: PathBuf) -> Vec<OsString> {
    let path = |name: PathBuf| directory.path(name).into_os_string();
    vec![
        "apply".into(),
        "--file".into(),
        file.into(),
        "--profile".into(),
        path(member.profile()),
        "--endpoint".into(),
        endpoint.into(),
        "--authorities".into(),
        path(identities::authority()),
        "--certificate".into(),
        path(member.certificate()),
        "--key".into(),
        path(member.key()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_department_has_a_valid_code_of_its_own() {
        let codes: std::collections::BTreeSet<_> = (1..=4).map(organ).collect();
        assert_eq!(codes.len(), 4);
        assert!(codes.iter().all(|code| Uscc::parse(code).is_ok()), "{codes:?}");
    }
}
