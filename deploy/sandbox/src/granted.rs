//! Whether taxation is granted the whole record, as the exchange has it: what a newcomer wrote into a manifest may not have been applied.

use shuqiao_adapter_sdk::exchange::{Connection, Error};
use shuqiao_proto::v1;

use crate::{
    adapters::Adapter,
    resources::{DATASET, GRANTEE},
};

/// More grants of one dataset than anybody writes by hand.
const PAGE: u32 = 100;

/// Asks as the owner, who knows each grant of its dataset. Where there are several, each must be of the whole record.
pub(crate) async fn whole(owner: &Adapter) -> Result<bool, Error> {
    let connection = Connection::open(&owner.config.broker).await?;
    let mut catalogue = connection.catalogue();
    let request = v1::ListGrantsRequest { dataset: DATASET.into(), page_size: PAGE, page_token: String::new() };
    let grants = connection.in_time(catalogue.list_grants(request)).await?.into_inner().grants;
    Ok(grants.iter().filter(|grant| grant.grantee == GRANTEE && !grant.revoked).all(is_whole))
}

fn is_whole(grant: &v1::Grant) -> bool {
    let clear = |field: &v1::FieldGrant| field.treatment() == v1::Treatment::Clear;
    let all = grant.fields.iter().any(|field| field.path.is_empty());
    all && grant.fields.iter().all(clear) && grant.rows.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(fields: &[(&str, v1::Treatment)]) -> v1::Grant {
        let field = |(path, treatment): &(&str, v1::Treatment)| v1::FieldGrant {
            path: (*path).to_owned(),
            treatment: (*treatment).into(),
        };
        v1::Grant { fields: fields.iter().map(field).collect(), ..v1::Grant::default() }
    }

    #[test]
    fn whatever_hides_something_is_less_than_the_whole_record() {
        use v1::Treatment::{Clear, Masked};
        let whole = grant(&[("", Clear)]);
        assert!(is_whole(&whole));
        assert!(!is_whole(&grant(&[("/name", Clear)])));
        assert!(!is_whole(&grant(&[("", Clear), ("/contact_name", Masked)])));
        assert!(!is_whole(&v1::Grant { rows: vec![v1::RowCondition::default()], ..whole }));
    }
}
